//! The small text encodings inside record data: times, character strings, hexadecimal, base64.

use crate::name;

/// Longest TTL or SOA time (RFC 2181 section 8: the top bit is zero).
pub(crate) const SECONDS_MAX: u32 = 0x7fff_ffff;

/// `3600`, `1h`, `1h30m`, in units s, m, h, d, w of any case.
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let mut total = 0_u64;
    let mut number = None;
    for byte in text.bytes() {
        let unit = match byte.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                let digits: u64 = number.unwrap_or(0) * 10 + u64::from(digit - b'0');
                // Bounded at every digit, so that no later step can overflow.
                number = Some(digits).filter(|number| *number <= u64::from(SECONDS_MAX));
                number?;
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()? * unit)?;
    }
    if text.is_empty() {
        return None;
    }
    total = total.checked_add(number.unwrap_or(0))?;
    u32::try_from(total).ok().filter(|total| *total <= SECONDS_MAX)
}

/// Resolves `\X` and `\DDD`; other text, UTF-8 included, is taken as its bytes.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, _, used)) = name::next_byte(rest).map_err(|error| error.to_string())? {
        bytes.push(byte);
        rest = &rest[used..];
    }
    Ok(bytes)
}

pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Standard alphabet, padded (RFC 4648 section 4).
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in body.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_their_limits() {
        assert_eq!(seconds("3600"), Some(3600));
        assert_eq!(seconds("1h30M"), Some(5400));
        assert_eq!(seconds("2147483647"), Some(SECONDS_MAX));
        for bad in ["", "h", "1x", "2147483648", "99999999999999999999", "4000w", "-1"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn encodings() {
        assert_eq!(hex("00fF"), Some(vec![0, 255]));
        assert_eq!(hex("0"), None);
        assert_eq!(base64("aGk="), Some(b"hi".to_vec()));
        assert_eq!(base64("aGkh"), Some(b"hi!".to_vec()));
        for bad in ["aGk", "a===", "aG=k", "aGl=", "\u{e9}aa"] {
            assert_eq!(base64(bad), None, "{bad}");
        }
        assert_eq!(unescape("a\\\"\\000").unwrap(), b"a\"\0");
    }
}
