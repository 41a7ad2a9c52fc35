//! Watches how a client writes a chunked body (RFC 9112, section 7.1), byte by byte and strictly.
//!
//! pingora's reader takes an empty size for zero, anything but a carriage return in an extension (a line feed, too), and
//! any bytes for trailers. Another proxy before us may read such a body to another end, and then what it took for a
//! body is a request here. So what is not written as the RFC says is refused, as it is in a head; of what passes both
//! readers find the same end. Nothing is copied: data is only counted.

use crate::head;

/// Bytes of all extensions of a body together. They mean nothing to anybody here, and a client could send them without
/// end (RFC 9112, section 7.1.1 asks for a bound).
const EXTENSIONS_MAX: usize = 16 * 1024;
/// Bytes of all trailers together.
const TRAILERS_MAX: usize = 16 * 1024;
/// Hexadecimal digits of a size: it fits 64 bits whatever they are.
const DIGITS_MAX: u8 = 15;

/// The body is not written as a chunked body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// See the module. One for each body.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    place: Place,
    /// Of the chunk that is read.
    size: u64,
    digits: u8,
    extensions: usize,
    trailers: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    /// Blanks after a size, which only an extension may follow.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer or of the end.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

impl Chunks {
    /// Looks at the next bytes of the connection. What follows the end of the body is not looked at.
    pub(crate) fn watch(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.place {
                Place::End => return Ok(()),
                Place::Data => {
                    let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[here..];
                    self.size -= here as u64;
                    if self.size == 0 {
                        self.place = Place::DataCr;
                    }
                }
                place => {
                    self.place = self.step(place, byte)?;
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    /// Whether the body has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.place == Place::End
    }

    fn step(&mut self, place: Place, byte: u8) -> Result<Place, Malformed> {
        match (place, byte) {
            (Place::Size, _) if byte.is_ascii_hexdigit() => self.digit(byte),
            (Place::Size, b'\r') if self.digits > 0 => Ok(Place::SizeLf),
            (Place::Size | Place::Blank, b' ' | b'\t') if self.digits > 0 => self.extend(Place::Blank),
            (Place::Size | Place::Blank, b';') if self.digits > 0 => self.extend(Place::Extension),
            (Place::Extension, b'\r') => Ok(Place::SizeLf),
            (Place::Extension, _) if is_text(byte) => self.extend(Place::Extension),
            (Place::SizeLf, b'\n') => {
                self.digits = 0;
                Ok(if self.size == 0 { Place::Trailer } else { Place::Data })
            }
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(Place::Size),
            (Place::Trailer, b'\r') => Ok(Place::EndLf),
            (Place::Trailer | Place::TrailerName, _) if head::is_token(byte) => {
                self.trail(Place::TrailerName)
            }
            (Place::TrailerName, b':') => self.trail(Place::TrailerValue),
            (Place::TrailerValue, b'\r') => Ok(Place::TrailerLf),
            (Place::TrailerValue, _) if is_text(byte) => self.trail(Place::TrailerValue),
            (Place::TrailerLf, b'\n') => Ok(Place::Trailer),
            (Place::EndLf, b'\n') => Ok(Place::End),
            _ => Err(Malformed),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<Place, Malformed> {
        let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
        // Counts zeros in front, too.
        self.digits += 1;
        if self.digits > DIGITS_MAX {
            return Err(Malformed);
        }
        self.size = self.size * 16 + u64::from(digit);
        Ok(Place::Size)
    }

    fn extend(&mut self, place: Place) -> Result<Place, Malformed> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS_MAX { Err(Malformed) } else { Ok(place) }
    }

    fn trail(&mut self, place: Place) -> Result<Place, Malformed> {
        self.trailers += 1;
        if self.trailers > TRAILERS_MAX { Err(Malformed) } else { Ok(place) }
    }
}

/// Anything but control characters.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the body passes and has ended; the same in one go and byte by byte.
    fn watch(body: &[u8]) -> Option<bool> {
        let (mut whole, mut pieces) = (Chunks::default(), Chunks::default());
        let at_once = whole.watch(body).ok().map(|()| whole.is_over());
        let bytes = body.chunks(1).try_for_each(|byte| pieces.watch(byte));
        assert_eq!(bytes.ok().map(|()| pieces.is_over()), at_once, "{}", body.escape_ascii());
        at_once
    }

    #[test]
    fn what_the_rfc_allows_passes() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"000\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A\r\n0123456789\r\na\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
            b"5;a=b;c=\"d e\"\r\nhello\r\n0;last\r\n\r\n",
            b"5 \t;a\r\nhello\r\n0\r\n\r\n",
            b"0\r\nX-Sum: 1\r\nX-Other:\r\n\r\n",
            b"0\r\n\r\nwhatever follows is not a body \n\0",
        ] {
            assert_eq!(watch(body), Some(true), "{}", body.escape_ascii());
        }
        for body in
            [&b""[..], b"5", b"5\r\nhell", b"0\r\n", b"0\r\n\r", b"0\r\nX: y\r\n", b"fffffffffffffff\r\nx"]
        {
            assert_eq!(watch(body), Some(false), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_does_not_pass() {
        for body in [
            &b"\r\n\r\n"[..],
            b";a\r\n\r\n",
            b" 5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-1\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5 5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b"5\r\r\nhello\r\n",
            b"5;a\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"1000000000000005\r\nhello\r\n",
            b"0000000000000005\r\nhello\r\n",
            b"0\r\n\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
            b"0\r\nX: \0\r\n\r\n",
        ] {
            assert_eq!(watch(body), None, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extended = |size: usize| format!("1;{}\r\nx\r\n", "a".repeat(size - 1));
        assert_eq!(watch(extended(EXTENSIONS_MAX).as_bytes()), Some(false));
        assert_eq!(watch(extended(EXTENSIONS_MAX + 1).as_bytes()), None);
        let many = "1;a\r\nx\r\n".repeat(EXTENSIONS_MAX / 2);
        assert_eq!(watch(many.as_bytes()), Some(false));
        assert_eq!(watch((many + "1;\r\n").as_bytes()), None, "all of them together");
        let trailing = |size: usize| format!("0\r\nx:{}\r\n\r\n", "a".repeat(size - 2));
        assert_eq!(watch(trailing(TRAILERS_MAX).as_bytes()), Some(true));
        assert_eq!(watch(trailing(TRAILERS_MAX + 1).as_bytes()), None);
    }
}
