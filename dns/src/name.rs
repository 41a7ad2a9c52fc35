//! Domain names as this crate keeps them: uncompressed wire form (RFC 1035 section 3.1).
//!
//! Wire form makes a suffix of a name a sub-slice of it, so that finding the closest encloser or the longest matching
//! zone is a walk over slices of the question, with no allocation and no second representation to keep in step.

use std::fmt::Write as _;

/// Longest name in wire form, in bytes, root label included (RFC 1035 section 2.3.4).
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Longest label, in bytes.
pub(crate) const LABEL_BYTES_MAX: usize = 63;

/// An owned, uncompressed wire name. Case is kept as written.
pub(crate) type Name = Box<[u8]>;

/// A lower-cased copy of a name that lives on the stack, for lookups.
#[derive(Clone)]
pub(crate) struct LowerName {
    bytes: [u8; NAME_BYTES_MAX],
    len: usize,
}

impl LowerName {
    /// Lower-cases `wire`, which must be a whole uncompressed name of at most 255 bytes; a longer one is cut short and
    /// then matches nothing.
    pub(crate) fn new(wire: &[u8]) -> Self {
        let len = wire.len().min(NAME_BYTES_MAX);
        let mut bytes = [0; NAME_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(&wire[..len]) {
            // Length bytes are at most 63 and so never upper-case letters: the whole slice can be lowered blindly.
            *to = from.to_ascii_lowercase();
        }
        Self { bytes, len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Lower-cases a wire name into an owned key.
pub(crate) fn lower(wire: &[u8]) -> Name {
    wire.to_ascii_lowercase().into_boxed_slice()
}

/// The name without its first label; `None` for the root.
pub(crate) fn parent(wire: &[u8]) -> Option<&[u8]> {
    let length = usize::from(*wire.first()?);
    if length == 0 { None } else { wire.get(length + 1..) }
}

/// The name and each of its ancestors, longest first, the root last.
pub(crate) fn suffixes(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors((!wire.is_empty()).then_some(wire), |name| parent(name))
}

/// Number of labels, the root label not counted.
pub(crate) fn label_count(wire: &[u8]) -> usize {
    suffixes(wire).count().saturating_sub(1)
}

/// Whether `name` is `zone` or below it, whatever the case.
pub(crate) fn is_within(name: &[u8], zone: &[u8]) -> bool {
    suffixes(name).any(|suffix| suffix.eq_ignore_ascii_case(zone))
}

/// `*.` in front of `encloser`; `None` if that would be too long to be a name.
pub(crate) fn wildcard_of(encloser: &[u8]) -> Option<Name> {
    let mut name = Vec::with_capacity(encloser.len() + 2);
    name.extend_from_slice(b"\x01*");
    name.extend_from_slice(encloser);
    (name.len() <= NAME_BYTES_MAX).then(|| name.into_boxed_slice())
}

/// Whether the first label is a lone asterisk (RFC 4592 section 2.1.1).
pub(crate) fn is_wildcard(wire: &[u8]) -> bool {
    wire.starts_with(b"\x01*")
}

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("a name may not be empty")]
    Empty,
    #[error("a name may not have an empty label")]
    EmptyLabel,
    #[error("a label is longer than 63 bytes")]
    LabelTooLong,
    #[error("a name is longer than 255 bytes")]
    TooLong,
    #[error("a backslash must be followed by a character or by three digits up to 255")]
    BadEscape,
    #[error("a name here may only have ASCII characters (write others in their xn-- form)")]
    NotAscii,
    #[error("a relative name needs an origin")]
    NoOrigin,
}

/// Parses the text form of a name (RFC 1035 section 5.1: `@`, `\X`, `\DDD`); a name without a final dot gets `origin`.
pub(crate) fn parse(text: &str, origin: Option<&[u8]>) -> Result<Name, NameError> {
    match text {
        "" => return Err(NameError::Empty),
        "@" => return origin.map(Box::from).ok_or(NameError::NoOrigin),
        "." => return Ok(Box::from(&b"\0"[..])),
        _ => {}
    }
    let mut wire = vec![0];
    let mut label_at = 0;
    let mut rest = text.as_bytes();
    while let Some((byte, escaped, used)) = next_byte(rest)? {
        rest = &rest[used..];
        if byte == b'.' && !escaped {
            close_label(&mut wire, label_at)?;
            if rest.is_empty() {
                // `close_label` has just opened the label that, being empty and last, is the root.
                return bounded(wire);
            }
            label_at = wire.len() - 1;
            continue;
        }
        if !byte.is_ascii() && !escaped {
            return Err(NameError::NotAscii);
        }
        if wire.len() - label_at > LABEL_BYTES_MAX {
            return Err(NameError::LabelTooLong);
        }
        wire.push(byte);
    }
    close_label(&mut wire, label_at)?;
    wire.pop();
    wire.extend_from_slice(origin.ok_or(NameError::NoOrigin)?);
    bounded(wire)
}

/// Writes the length of the label that starts at `label_at` and opens the next one.
fn close_label(wire: &mut Vec<u8>, label_at: usize) -> Result<(), NameError> {
    let length = wire.len() - label_at - 1;
    if length == 0 {
        return Err(NameError::EmptyLabel);
    }
    wire[label_at] = u8::try_from(length).map_err(|_| NameError::LabelTooLong)?;
    wire.push(0);
    Ok(())
}

fn bounded(wire: Vec<u8>) -> Result<Name, NameError> {
    if wire.len() > NAME_BYTES_MAX { Err(NameError::TooLong) } else { Ok(wire.into_boxed_slice()) }
}

/// Takes one possibly escaped byte off `text`: the byte, whether it was escaped, and how many bytes it took.
pub(crate) fn next_byte(text: &[u8]) -> Result<Option<(u8, bool, usize)>, NameError> {
    match text {
        [] => Ok(None),
        [b'\\', a, b, c, ..] if a.is_ascii_digit() => {
            if !b.is_ascii_digit() || !c.is_ascii_digit() {
                return Err(NameError::BadEscape);
            }
            let value = u32::from(a - b'0') * 100 + u32::from(b - b'0') * 10 + u32::from(c - b'0');
            let byte = u8::try_from(value).map_err(|_| NameError::BadEscape)?;
            Ok(Some((byte, true, 4)))
        }
        [b'\\', a, ..] if !a.is_ascii_digit() => Ok(Some((*a, true, 2))),
        [b'\\', ..] => Err(NameError::BadEscape),
        [byte, ..] => Ok(Some((*byte, false, 1))),
    }
}

/// The text form of a wire name, with a final dot and with escapes where needed.
pub(crate) fn display(wire: &[u8]) -> String {
    let mut text = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((&length, tail)) = rest.split_first().filter(|(length, _)| **length != 0) {
        let (label, after) = tail.split_at(usize::from(length).min(tail.len()));
        for &byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'@' | b'(' | b')' | b'$' => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                0x21..=0x7e => text.push(char::from(byte)),
                _ => {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\{byte:03}");
                }
            }
        }
        text.push('.');
        rest = after;
    }
    if text.is_empty() { ".".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_forms_agree() {
        let origin = parse("Example.test.", None).unwrap();
        assert_eq!(&*origin, b"\x07Example\x04test\0");
        assert_eq!(&*parse("www", Some(&origin)).unwrap(), b"\x03www\x07Example\x04test\0");
        assert_eq!(&*parse("@", Some(&origin)).unwrap(), &*origin);
        assert_eq!(&*parse("a\\.b\\003.", None).unwrap(), b"\x04a.b\x03\0");
        assert_eq!(display(b"\x04a.b\x03\0"), "a\\.b\\003.");
        assert_eq!(display(b"\0"), ".");
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let label = "a".repeat(63);
        assert!(parse(&format!("{label}."), None).is_ok());
        assert_eq!(parse(&format!("{label}a."), None), Err(NameError::LabelTooLong));
        let three = format!("{label}.{label}.{label}.");
        assert!(parse(&format!("{three}{}.", "b".repeat(61)), None).is_ok());
        assert_eq!(parse(&format!("{three}{}.", "b".repeat(62)), None), Err(NameError::TooLong));
        for bad in ["a..b.", ".a.", "a\\25", "a\\256.", "a\\", "\u{e9}."] {
            assert!(parse(bad, Some(b"\0")).is_err(), "{bad}");
        }
        assert_eq!(parse("a", None), Err(NameError::NoOrigin));
    }

    #[test]
    fn suffixes_end_at_the_root() {
        let wire = b"\x01a\x01b\0";
        assert_eq!(suffixes(wire).collect::<Vec<_>>(), [&wire[..], b"\x01b\0", b"\0"]);
        assert_eq!(label_count(wire), 2);
        assert!(is_within(wire, b"\x01B\0") && !is_within(b"\x01b\0", wire));
    }
}
