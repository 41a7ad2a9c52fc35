//! The text of a token: `tgt_`, 64 hexadecimal digits of randomness, 8 of a checksum.
//!
//! The prefix and the checksum let scanners of repositories and logs find a token that leaked, and tell a typing error
//! from a token that is not known. What is kept of a token is its SHA-256. A slow hash, as passwords need one, would add
//! nothing: 256 random bits cannot be guessed from their hash, however fast it is.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

const PREFIX: &str = "tgt_";
const RANDOM_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
/// As characters: two for each byte.
const LENGTH: usize = PREFIX.len() + 2 * (RANDOM_BYTES + CHECKSUM_BYTES);

/// SHA-256 of a token.
pub(super) type Hash = [u8; 32];

/// A new token. None if the system has no randomness.
pub(super) fn make() -> Option<String> {
    let mut random = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut random).ok()?;
    let mut token = PREFIX.to_owned();
    push_hex(&mut token, &random);
    let checksum = hash(&token);
    push_hex(&mut token, &checksum[..CHECKSUM_BYTES]);
    Some(token)
}

/// Whether a text has the form of a token and the right checksum.
#[must_use]
pub fn is_token(text: &str) -> bool {
    read(text).is_some()
}

/// The hash of what has the form of a token and the right checksum; none for everything else.
pub(super) fn read(text: &str) -> Option<Hash> {
    let is_hex = |digits: &str| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let digits = text.strip_prefix(PREFIX)?;
    if text.len() != LENGTH || !is_hex(digits) {
        return None;
    }
    let (front, checksum) = text.split_at(LENGTH - 2 * CHECKSUM_BYTES);
    (hex(&hash(front)[..CHECKSUM_BYTES]) == checksum).then(|| hash(text))
}

pub(super) fn hash(text: &str) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

/// Reads what [`hex`] wrote of a hash.
pub(super) fn hash_of_hex(text: &str) -> Option<Hash> {
    let mut out = [0; 32];
    if text.len() != 2 * out.len() || !text.is_ascii() {
        return None;
    }
    for (byte, place) in out.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16).ok()?;
    }
    Some(out)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_read_as_it_was_made_and_no_two_are_alike() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 76);
        assert_eq!(read(&one), Some(hash(&one)));
        assert_eq!(hash_of_hex(&hex(&hash(&one))), Some(hash(&one)));
    }

    #[test]
    fn every_typing_error_is_noticed() {
        let token = make().unwrap();
        for place in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[place] = if wrong[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(read(&String::from_utf8(wrong).unwrap()), None, "at {place}");
            assert_eq!(read(&token[..place]), None);
        }
        assert_eq!(read(&format!("{token}0")), None);
        assert_eq!(read(&token.to_uppercase()), None);
    }

    proptest! {
        #[test]
        fn nothing_else_is_a_token(text in "\\PC*") {
            prop_assert_eq!(read(&text), None);
            let _ = hash_of_hex(&text);
        }
    }
}
