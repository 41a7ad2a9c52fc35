//! Sets of HTTP status codes, as checks expect them.

use std::fmt;

/// A set of HTTP status codes, 100..=599; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet {
    /// Sorted, apart by at least one code, inclusive.
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
}

impl StatusSet {
    const LOWEST: u16 = 100;
    const HIGHEST: u16 = 599;

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
            .map(Self::from_ranges)
    }

    /// The set of all codes of several sets, of at least one.
    pub(crate) fn union(sets: impl IntoIterator<Item = Self>) -> Option<Self> {
        let ranges: Vec<_> = sets.into_iter().flat_map(|set| set.ranges).collect();
        if ranges.is_empty() { None } else { Some(Self::from_ranges(ranges)) }
    }

    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|&(first, last)| (first..=last).contains(&status))
    }

    fn from_ranges(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
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
