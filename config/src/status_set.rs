//! Sets of HTTP status codes, as checks expect them.

use std::fmt;
use std::ops::RangeInclusive;

/// A set of HTTP status codes, 100..=599; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    /// Sorted, apart by at least one code, inclusive; at most [`Self::RANGES_MAX`].
    ranges: Vec<(u16, u16)>,
}

/// Why a text is not a status set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusSetError {
    #[error("no status code given")]
    Empty,
    #[error("`{0}` is not a status code")]
    NotACode(String),
    #[error("status {0} is outside 100..=599")]
    OutOfBounds(String),
    #[error("the range {0}-{1} ends before it begins")]
    Backwards(u16, u16),
    #[error("more than {} ranges of status codes", StatusSet::RANGES_MAX)]
    TooMany,
}

impl StatusSet {
    const LOWEST: u16 = 100;
    const HIGHEST: u16 = 599;
    const RANGES_MAX: usize = 64;

    /// Parses codes and ranges separated by commas: `200-299,301`.
    ///
    /// # Errors
    /// Names the first part that is no code, no range, or outside 100..=599.
    pub fn parse(text: &str) -> Result<Self, StatusSetError> {
        if text.trim().is_empty() {
            return Err(StatusSetError::Empty);
        }
        text.split(',')
            .map(|part| parse_range(part.trim()))
            .collect::<Result<Vec<_>, _>>()
            .and_then(Self::from_ranges)
    }

    /// The set of all codes of several sets.
    ///
    /// # Errors
    /// There is no set, or there are too many ranges.
    pub(crate) fn union(sets: impl IntoIterator<Item = Self>) -> Result<Self, StatusSetError> {
        let ranges: Vec<_> = sets.into_iter().flat_map(|set| set.ranges).collect();
        if ranges.is_empty() { Err(StatusSetError::Empty) } else { Self::from_ranges(ranges) }
    }

    /// The ranges, sorted and apart.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        self.ranges.iter().map(|&(first, last)| first..=last)
    }

    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|&(first, last)| (first..=last).contains(&status))
    }

    fn from_ranges(mut ranges: Vec<(u16, u16)>) -> Result<Self, StatusSetError> {
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        if merged.len() > Self::RANGES_MAX {
            return Err(StatusSetError::TooMany);
        }
        Ok(Self { ranges: merged })
    }
}

impl Default for StatusSet {
    /// Every success: 200..=299.
    fn default() -> Self {
        Self { ranges: vec![(200, 299)] }
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(first, last)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

fn parse_range(text: &str) -> Result<(u16, u16), StatusSetError> {
    let Some((first, last)) = text.split_once('-') else {
        let code = parse_code(text)?;
        return Ok((code, code));
    };
    let (first, last) = (parse_code(first.trim())?, parse_code(last.trim())?);
    if first > last {
        return Err(StatusSetError::Backwards(first, last));
    }
    Ok((first, last))
}

fn parse_code(text: &str) -> Result<u16, StatusSetError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(StatusSetError::NotACode(text.to_owned()));
    }
    match text.parse() {
        Ok(code) if (StatusSet::LOWEST..=StatusSet::HIGHEST).contains(&code) => Ok(code),
        _ => Err(StatusSetError::OutOfBounds(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_and_ranges_are_read_and_merged() {
        let table = [
            ("200", "200"),
            ("200-299", "200-299"),
            ("301,200-299", "200-299,301"),
            ("200-250, 240-299", "200-299"),
            ("200,201,202", "200-202"),
            ("200, 202", "200,202"),
            (" 100 - 599 ", "100-599"),
            ("404,404", "404"),
        ];
        for (text, shown) in table {
            assert_eq!(StatusSet::parse(text).map(|set| set.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused_with_the_reason() {
        let table = [
            ("", "no status code given"),
            (" ", "no status code given"),
            ("200,", "`` is not a status code"),
            ("2xx", "`2xx` is not a status code"),
            ("-200", "`` is not a status code"),
            ("200-", "`` is not a status code"),
            ("200-250-299", "`250-299` is not a status code"),
            ("+200", "`+200` is not a status code"),
            ("99", "status 99 is outside 100..=599"),
            ("600", "status 600 is outside 100..=599"),
            ("99999999999", "status 99999999999 is outside 100..=599"),
            ("299-200", "the range 299-200 ends before it begins"),
        ];
        for (text, message) in table {
            let refused = StatusSet::parse(text).map_err(|error| error.to_string());
            assert_eq!(refused, Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn both_ends_of_every_bound() {
        let ends = StatusSet::parse("100-199,599").expect("the outermost codes are codes");
        for (status, inside) in
            [(99, false), (100, true), (199, true), (200, false), (598, false), (599, true)]
        {
            assert_eq!(ends.contains(status), inside, "{status}");
        }
        let apart = |count: u16| (0..count).map(|i| (100 + 2 * i).to_string()).collect::<Vec<_>>().join(",");
        assert!(StatusSet::parse(&apart(64)).is_ok());
        assert_eq!(StatusSet::parse(&apart(65)), Err(StatusSetError::TooMany));
    }

    proptest! {
        #[test]
        fn a_set_holds_exactly_the_codes_it_was_given(codes in prop::collection::vec(100..=599_u16, 1..60)) {
            let text = codes.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
            let set = StatusSet::parse(&text).expect("sixty codes are at most sixty ranges");
            for status in 0..=700_u16 {
                prop_assert_eq!(set.contains(status), codes.contains(&status));
            }
            prop_assert_eq!(StatusSet::parse(&set.to_string()), Ok(set));
        }
    }
}
