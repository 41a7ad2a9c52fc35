//! Sets of status codes: which answers pass.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

/// A set of status codes: sorted ranges that neither overlap nor touch. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusSet(Arc<[(u16, u16)]>);

/// Why a text is not a set of status codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusSetError {
    #[error("the set is empty")]
    Empty,
    #[error("more than {STATUS_RANGES_MAX} ranges")]
    TooMany,
    #[error("not a status or a range of statuses from 100 to 599: {0:?}")]
    Range(String),
}

const STATUS_RANGES_MAX: usize = 64;

impl StatusSet {
    /// # Errors
    /// When there is no range, too many, or one that is not within 100 to 599.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Result<Self, StatusSetError> {
        let mut sorted = Vec::new();
        for range in ranges {
            let (from, to) = range.into_inner();
            if !(100..=to).contains(&from) || to > 599 {
                return Err(StatusSetError::Range(format!("{from}-{to}")));
            }
            if sorted.len() == STATUS_RANGES_MAX {
                return Err(StatusSetError::TooMany);
            }
            sorted.push((from, to));
        }
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (from, to) in sorted {
            match merged.last_mut() {
                Some(last) if from <= last.1 + 1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        if merged.is_empty() {
            return Err(StatusSetError::Empty);
        }
        Ok(Self(merged.into()))
    }

    /// 200 to 299.
    #[must_use]
    pub fn success() -> Self {
        Self(Arc::new([(200, 299)]))
    }

    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(from, to)| (from..=to).contains(&status))
    }
}

/// Statuses and ranges between commas: `200-299, 304`.
impl FromStr for StatusSet {
    type Err = StatusSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(StatusSetError::Empty);
        }
        let mut ranges = Vec::new();
        for part in text.split(',') {
            if ranges.len() == STATUS_RANGES_MAX {
                return Err(StatusSetError::TooMany);
            }
            let part = part.trim();
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let range = status(from).zip(status(to)).filter(|(from, to)| from <= to);
            let (from, to) = range.ok_or_else(|| StatusSetError::Range(part.to_owned()))?;
            ranges.push(from..=to);
        }
        Self::new(ranges)
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (from, to)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if from == to { write!(f, "{comma}{from}")? } else { write!(f, "{comma}{from}-{to}")? }
        }
        Ok(())
    }
}

fn status(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|status| (100..=599).contains(status))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn status_sets_are_read_sorted_and_merged() {
        for (text, shown) in [
            ("200-299", "200-299"),
            ("204", "204"),
            (" 304 , 200 - 204,205", "200-205,304"),
            ("200,200-210,205-299,404", "200-299,404"),
            ("100-599", "100-599"),
        ] {
            let set: StatusSet = text.parse().unwrap();
            assert_eq!(set.to_string(), shown);
            assert_eq!(shown.parse(), Ok(set));
        }
        assert_eq!("200-299".parse(), Ok(StatusSet::success()));
    }

    #[test]
    fn status_sets_that_mean_nothing_are_refused() {
        for text in ["", " ", ",", "2xx", "299-200", "99", "600", "+20", "200-", "-200", "200--299", "0200"] {
            assert!(text.parse::<StatusSet>().is_err(), "{text:?}");
        }
        assert_eq!(StatusSet::new([]), Err(StatusSetError::Empty));
        assert!(StatusSet::new([200..=u16::MAX]).is_err());
        let ranges = |count| vec!["200"; count].join(",").parse::<StatusSet>();
        assert!(ranges(64).is_ok());
        assert_eq!(ranges(65), Err(StatusSetError::TooMany));
    }

    #[test]
    fn membership_is_exact_at_the_edges() {
        let set: StatusSet = "200-299,404".parse().unwrap();
        for (status, contained) in [(199, false), (200, true), (299, true), (300, false), (404, true)] {
            assert_eq!(set.contains(status), contained, "{status}");
        }
    }

    proptest! {
        #[test]
        fn a_set_holds_what_its_ranges_hold(ranges in vec((100_u16..600, 0_u16..40), 1..20)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(from, more)| from..=(from + more).min(599)).collect();
            let set = StatusSet::new(ranges.clone()).unwrap();
            for status in 0..=700 {
                prop_assert_eq!(set.contains(status), ranges.iter().any(|range| range.contains(&status)));
            }
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }

        #[test]
        fn no_text_is_too_much(status in "[0-9, -]{0,40}", text in any::<String>()) {
            drop(status.parse::<StatusSet>());
            drop(text.parse::<StatusSet>());
        }
    }
}
