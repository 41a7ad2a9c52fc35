//! Names that certificates serve, in the one form in which they are compared.

use std::fmt;

/// Longest DNS name as text (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A name or a whole-label wildcard, in lower case and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pattern {
    Exact(Box<str>),
    /// `*.` before this: exactly one label.
    Wildcard(Box<str>),
}

impl Pattern {
    /// Reads `www.example.com`, `*.example.com`, with or without a trailing dot. A star elsewhere is no name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let (rest, pattern): (&str, fn(Box<str>) -> Self) = match name.strip_prefix("*.") {
            Some(parent) => (parent, Self::Wildcard),
            None => (&name, Self::Exact),
        };
        let is_label = |label: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(plain)
        };
        (name.len() <= NAME_BYTES_MAX && rest.split('.').all(is_label)).then(|| pattern(rest.into()))
    }

    /// Whether a client that asks for this accepts a certificate with the other.
    pub(super) fn is_covered_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), Self::Wildcard(parent)) => {
                name.split_once('.').is_some_and(|(_, rest)| rest == &**parent)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let parse = |text: &str| Pattern::parse(text).map(|pattern| pattern.to_string());
        assert_eq!(parse("WWW.Example.com.").as_deref(), Some("www.example.com"));
        assert_eq!(parse("*.Example.com").as_deref(), Some("*.example.com"));
        assert_eq!(parse("localhost").as_deref(), Some("localhost"));
        let label = "a".repeat(LABEL_BYTES_MAX);
        assert!(parse(&label).is_some());
        for wrong in ["", ".", "*", "*.", "a..b", "f*.example.com", "www.*.com", "*.*.com", "ü.example"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse(&format!("{label}a")), None);
        let longest = [label.as_str(); 4].join(".");
        assert!(parse(&longest[..NAME_BYTES_MAX]).is_some());
        assert_eq!(parse(&longest[..=NAME_BYTES_MAX]), None);
    }

    #[test]
    fn a_star_covers_one_label() {
        let covered =
            |name: &str, by: &str| Pattern::parse(name).unwrap().is_covered_by(&Pattern::parse(by).unwrap());
        assert!(covered("www.example.com", "*.example.com"));
        assert!(covered("*.example.com", "*.example.com"));
        assert!(!covered("a.b.example.com", "*.example.com"));
        assert!(!covered("example.com", "*.example.com"));
        assert!(!covered("*.example.com", "www.example.com"));
    }
}
