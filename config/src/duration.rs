//! Durations as people write them: `250ms`, `10s`, `1m30s`, `7d`.
//!
//! Only whole numbers with units, from the largest unit to the smallest: a bare number would leave the unit to
//! guessing, and `1m` as "one month" must not be possible.

use std::fmt::Write as _;
use std::time::Duration;

/// Unit and its length in milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("a duration is missing")]
    Empty,
    #[error("`{0}` has no number before its unit")]
    NoNumber(String),
    #[error("`{0}` has no unit")]
    NoUnit(String),
    #[error("`{0}` is not a unit of time")]
    UnknownUnit(String),
    #[error("the unit `{0}` comes twice or after a smaller one")]
    Order(String),
    #[error("`{0}` is too long a time")]
    TooLong(String),
}

/// Parses numbers with the units `d`, `h`, `m`, `s`, `ms`, from the largest unit to the smallest, each at most once.
///
/// # Errors
/// Names the first part that is no number with a unit.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut total_ms = 0_u64;
    let mut units = UNITS.as_slice();
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |char| char.is_ascii_digit());
        let (unit, after) = split_while(after, |char| !char.is_ascii_digit());
        if number.is_empty() {
            return Err(DurationError::NoNumber(rest.to_owned()));
        }
        if unit.is_empty() {
            return Err(DurationError::NoUnit(number.to_owned()));
        }
        if !UNITS.iter().any(|&(known, _)| known == unit) {
            return Err(DurationError::UnknownUnit(unit.to_owned()));
        }
        let Some(at) = units.iter().position(|&(known, _)| known == unit) else {
            return Err(DurationError::Order(unit.to_owned()));
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(units[at].1));
        let sum = part.and_then(|part| total_ms.checked_add(part));
        total_ms = sum.ok_or_else(|| DurationError::TooLong(text.trim().to_owned()))?;
        units = &units[at + 1..];
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration as [`parse_duration`] reads it; what is shorter than a millisecond is left out.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (unit, length_ms) in UNITS {
        let count = rest / length_ms;
        rest %= length_ms;
        if count > 0 {
            // Writing to a String does not fail.
            let _ = write!(out, "{count}{unit}");
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|char| !keep(char)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_written() {
        let table = [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("30m", 1_800_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("1d2h3m4s5ms", 93_784_005),
            (" 5s ", 5_000),
        ];
        for (text, ms) in table {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_named() {
        let table = [
            ("", "a duration is missing"),
            ("10", "`10` has no unit"),
            ("s", "`s` has no number before its unit"),
            ("-1s", "`-1s` has no number before its unit"),
            ("1.5s", "`.` is not a unit of time"),
            ("10 s", "` s` is not a unit of time"),
            ("1month", "`month` is not a unit of time"),
            ("1S", "`S` is not a unit of time"),
            ("30s1m", "the unit `m` comes twice or after a smaller one"),
            ("1s1s", "the unit `s` comes twice or after a smaller one"),
            ("99999999999999999999d", "`99999999999999999999d` is too long a time"),
            ("213503982335d", "`213503982335d` is too long a time"),
        ];
        for (text, message) in table {
            assert_eq!(
                parse_duration(text).map_err(|error| error.to_string()),
                Err(message.to_owned()),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0..u64::MAX / 2) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-z .-]{0,12}|\\PC{0,12}") {
            let _ = parse_duration(&text);
        }
    }
}
