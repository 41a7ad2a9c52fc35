//! Readiness gates: tests of a site for a group, and what a sample comes to.
//!
//! A gate passes, fails, or is unknown, and only a pass lets a site become active. Whoever measures says what it read
//! and when it began to look; whether that is enough, and whether it is still true, is decided here.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::explain::text;
use crate::id::{Name, SiteId};
use crate::time::Mono;

/// One readiness test of a group's sites.
#[derive(Clone, Debug)]
pub struct Gate {
    pub name: Name,
    /// Where it is measured and where it counts; sites of the group.
    pub sites: BTreeSet<SiteId>,
    /// A sample whose measurement began longer ago says nothing any more.
    pub max_age: Duration,
    /// What a measured value has to be; without one the measurement itself says pass or fail.
    pub limit: Option<Limit>,
    pub purpose: Purpose,
    /// Stands for how it is measured: over a reload, samples of another check are not kept.
    pub check: u64,
}

/// What a gate is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Whether the site can take the group. It has to pass at the moment of any move.
    #[default]
    Ready,
    /// How far the site's data follows the active site's. Once that one is lost, nothing can be measured any more, or the
    /// measure only grows: then the last sample before the loss counts.
    Data,
    /// Whether data that had forked is whole again. It bars nothing; it clears the diverged mark.
    Resynced,
}

/// What a measured value has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// Seconds behind; a negative lag is no lag that anybody measured.
    MaxLag(Duration),
    AtMost(f64),
    AtLeast(f64),
    Equals(Value),
}

/// A measured value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    /// Text; `true` and `false` are text, too.
    Word(Name),
}

/// What a measurement says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    Verdict(Verdict),
    Value(Value),
}

/// What a gate says; a stale verdict is [`Unknown`](Self::Unknown).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Fail,
    #[default]
    Unknown,
}

/// One measurement, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When the measurement began.
    pub measured: Mono,
    pub verdict: Verdict,
    /// What was read, against what was wanted, or why nothing was read.
    pub detail: Option<Name>,
}

/// What is known of a gate at one site.
#[derive(Clone, Debug, Default)]
pub struct GateState {
    latest: Option<Sample>,
    /// The latest one that passed or failed.
    conclusive: Option<Sample>,
    /// While the active site is lost: the last one that passed or failed before, if it was not stale by then.
    at_loss: Option<Sample>,
    /// What counts now.
    pub verdict: Verdict,
    /// Whether it counts by its last sample before the loss.
    pub by_last: bool,
    /// Whether it has been told that it does not pass, and not yet that it does again.
    pub(crate) told: bool,
}

impl Gate {
    /// What a reading comes to.
    #[must_use]
    pub fn judge(&self, measured: Mono, reading: &Reading, detail: Option<Name>) -> Sample {
        let (verdict, told) = match (reading, &self.limit) {
            (Reading::Verdict(Verdict::Pass), Some(_)) => {
                (Verdict::Unknown, Some("a value is needed, not a verdict".into()))
            }
            (Reading::Verdict(verdict), _) => (*verdict, None),
            (Reading::Value(value), None) => (Verdict::Unknown, Some(format!("{value} is no verdict"))),
            (Reading::Value(value), Some(limit)) => limit.judge(value),
        };
        Sample { measured, verdict, detail: told.map(Into::into).or(detail) }
    }
}

impl GateState {
    /// Takes a sample in, unless a newer measurement is known. `lost` is since when the active site has been unfit.
    pub(crate) fn take(&mut self, gate: &Gate, sample: Sample, lost: Option<Mono>) {
        let is_newer =
            |known: &Option<Sample>| known.as_ref().is_none_or(|it| it.measured <= sample.measured);
        if sample.verdict != Verdict::Unknown {
            // What began before the loss and ended after it still tells of the time before.
            if lost.is_some_and(|lost| sample.measured < lost && !gate.is_stale(&sample, lost))
                && is_newer(&self.at_loss)
            {
                self.at_loss = Some(sample.clone());
            }
            if is_newer(&self.conclusive) {
                self.conclusive = Some(sample.clone());
            }
        }
        if is_newer(&self.latest) {
            self.latest = Some(sample);
        }
    }

    /// The active site has been lost: what was known up to now is the last that was known before.
    pub(crate) fn lose(&mut self, gate: &Gate, lost: Mono) {
        self.at_loss = self.conclusive.clone().filter(|it| it.measured <= lost && !gate.is_stale(it, lost));
    }

    /// Nothing that was measured so far counts any more.
    pub(crate) fn forget(&mut self) {
        (self.latest, self.conclusive, self.at_loss) = (None, None, None);
    }

    /// Works out what counts at `now`. Returns true if that is something else than before.
    pub(crate) fn settle(&mut self, gate: &Gate, is_lost: bool, now: Mono) -> bool {
        if !is_lost {
            self.at_loss = None;
        }
        let before = self.verdict;
        let latest = self.latest.as_ref().filter(|it| !gate.is_stale(it, now));
        self.verdict = latest.map_or(Verdict::Unknown, |it| it.verdict);
        let passed_before = self.at_loss.as_ref().is_some_and(|it| it.verdict == Verdict::Pass);
        self.by_last = gate.purpose == Purpose::Data && self.verdict != Verdict::Pass && passed_before;
        if self.by_last {
            self.verdict = Verdict::Pass;
        }
        before != self.verdict
    }

    /// When what counts may change by the mere passing of time.
    pub(crate) fn due(&self, gate: &Gate) -> Option<Mono> {
        self.latest.as_ref().map(|it| it.measured.plus(gate.max_age))
    }

    /// The latest measurement.
    #[must_use]
    pub fn latest(&self) -> Option<&Sample> {
        self.latest.as_ref()
    }

    /// Whether a measurement that began after `since` passes and is not stale.
    pub(crate) fn passes_since(&self, gate: &Gate, since: Mono, now: Mono) -> bool {
        let passes =
            |it: &&Sample| it.verdict == Verdict::Pass && it.measured > since && !gate.is_stale(it, now);
        self.latest.as_ref().filter(passes).is_some()
    }

    /// What was read, or why nothing is known, for a sentence that names the gate.
    #[must_use]
    pub fn why(&self, gate: &Gate) -> Name {
        match (&self.latest, self.verdict) {
            (None, _) => "it has not been measured yet".into(),
            (Some(_), _) if self.by_last => {
                let last = self.at_loss.as_ref().and_then(|it| it.detail.as_deref());
                format!(
                    "by its last sample before the loss{}",
                    last.map(|it| format!(": {it}")).unwrap_or_default()
                )
                .into()
            }
            (Some(latest), verdict) if latest.verdict == verdict => latest.detail.clone().unwrap_or_default(),
            (Some(_), _) => format!("no measurement began in the last {}", text(gate.max_age)).into(),
        }
    }
}

impl Gate {
    fn is_stale(&self, sample: &Sample, now: Mono) -> bool {
        now.since(sample.measured) > self.max_age
    }
}

impl Limit {
    fn judge(&self, value: &Value) -> (Verdict, Option<String>) {
        let verdict = |holds: bool| if holds { Verdict::Pass } else { Verdict::Fail };
        let verdict = match (self, value) {
            (_, Value::Number(number)) if !number.is_finite() => Verdict::Unknown,
            (Self::MaxLag(_), Value::Number(number)) if *number < 0.0 => Verdict::Unknown,
            (Self::MaxLag(most), Value::Number(number)) => verdict(*number <= most.as_secs_f64()),
            (Self::AtMost(most), Value::Number(number)) => verdict(number <= most),
            (Self::AtLeast(least), Value::Number(number)) => verdict(number >= least),
            (Self::Equals(wanted), value) => verdict(wanted == value),
            (Self::MaxLag(_) | Self::AtMost(_) | Self::AtLeast(_), Value::Word(_)) => Verdict::Unknown,
        };
        let read = match (self, value) {
            (Self::MaxLag(_), Value::Number(_)) => format!("{value} s"),
            _ => value.to_string(),
        };
        (verdict, Some(format!("{read}, wanted: {self}")))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxLag(most) => write!(f, "at most {} s", most.as_secs_f64()),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Equals(value) => write!(f, "{value}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => write!(f, "`{word}`"),
        }
    }
}

impl Verdict {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

impl Purpose {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Data => "data",
            Self::Resynced => "resynced",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    fn gate(limit: Option<Limit>, purpose: Purpose) -> Gate {
        let max_age = Duration::from_secs(30);
        Gate { name: "replica".into(), sites: BTreeSet::new(), max_age, limit, purpose, check: 0 }
    }

    fn judged(limit: Limit, value: Value) -> Verdict {
        gate(Some(limit), Purpose::Ready).judge(at(0), &Reading::Value(value), None).verdict
    }

    #[test]
    fn values_are_judged_on_both_sides_of_each_limit() {
        use Verdict::{Fail, Pass, Unknown};
        let number = Value::Number;
        let lag = || Limit::MaxLag(Duration::from_secs(5));
        let primary = || Limit::Equals(Value::Word("primary".into()));
        let table = [
            (lag(), number(5.0), Pass),
            (lag(), number(5.001), Fail),
            (lag(), number(0.0), Pass),
            // What tools print when replication does not run.
            (lag(), number(-1.0), Unknown),
            (lag(), Value::Word("NULL".into()), Unknown),
            (Limit::AtMost(0.8), number(0.8), Pass),
            (Limit::AtMost(0.8), number(0.81), Fail),
            (Limit::AtMost(0.8), number(f64::NAN), Unknown),
            (Limit::AtLeast(3.0), number(3.0), Pass),
            (Limit::AtLeast(3.0), number(2.0), Fail),
            (Limit::AtLeast(3.0), number(f64::INFINITY), Unknown),
            (primary(), Value::Word("primary".into()), Pass),
            (primary(), Value::Word("replica".into()), Fail),
            (primary(), number(1.0), Fail),
            (Limit::Equals(number(1.0)), number(1.0), Pass),
        ];
        for (limit, value, expected) in table {
            assert_eq!(judged(limit.clone(), value.clone()), expected, "{value} against {limit}");
        }
    }

    #[test]
    fn a_gate_with_a_limit_takes_no_mere_pass_and_one_without_takes_no_value() {
        let limited = gate(Some(Limit::AtMost(1.0)), Purpose::Ready);
        let verdict = |gate: &Gate, reading| gate.judge(at(0), &reading, None).verdict;
        assert_eq!(verdict(&limited, Reading::Verdict(Verdict::Pass)), Verdict::Unknown);
        assert_eq!(verdict(&limited, Reading::Verdict(Verdict::Fail)), Verdict::Fail);
        let plain = gate(None, Purpose::Ready);
        assert_eq!(verdict(&plain, Reading::Verdict(Verdict::Pass)), Verdict::Pass);
        assert_eq!(verdict(&plain, Reading::Value(Value::Number(0.0))), Verdict::Unknown);
    }

    #[test]
    fn a_sample_counts_for_as_long_as_max_age_from_the_start_of_its_measurement() {
        let gate = gate(None, Purpose::Ready);
        let mut state = GateState::default();
        state.take(&gate, gate.judge(at(1_000), &Reading::Verdict(Verdict::Pass), None), None);
        state.settle(&gate, false, at(31_000));
        assert_eq!(state.verdict, Verdict::Pass);
        state.settle(&gate, false, at(31_001));
        assert_eq!(state.verdict, Verdict::Unknown, "a stale pass is no pass");
        // A late answer to an older question changes nothing.
        state.take(&gate, gate.judge(at(40_000), &Reading::Verdict(Verdict::Fail), None), None);
        state.take(&gate, gate.judge(at(39_999), &Reading::Verdict(Verdict::Pass), None), None);
        state.settle(&gate, false, at(40_001));
        assert_eq!(state.verdict, Verdict::Fail);
    }

    #[test]
    fn only_a_gate_of_data_counts_by_its_last_sample_before_the_loss() {
        for (purpose, expected) in [(Purpose::Data, Verdict::Pass), (Purpose::Ready, Verdict::Fail)] {
            let gate = gate(None, purpose);
            let mut state = GateState::default();
            let hear = |state: &mut GateState, ms, verdict, lost| {
                state.take(&gate, gate.judge(at(ms), &Reading::Verdict(verdict), None), lost);
                state.settle(&gate, lost.is_some(), at(ms));
            };
            hear(&mut state, 1_000, Verdict::Pass, None);
            state.lose(&gate, at(5_000));
            hear(&mut state, 6_000, Verdict::Fail, Some(at(5_000)));
            assert_eq!((state.verdict, state.by_last), (expected, purpose == Purpose::Data));
            state.settle(&gate, false, at(6_000));
            assert_eq!(state.verdict, Verdict::Fail, "the loss is over, and so is its exception");
        }
    }

    #[test]
    fn a_sample_that_was_stale_or_failing_at_the_loss_excuses_nothing() {
        let gate = gate(None, Purpose::Data);
        for (verdict, lost) in [(Verdict::Fail, 5_000), (Verdict::Pass, 31_001)] {
            let mut state = GateState::default();
            state.take(&gate, gate.judge(at(1_000), &Reading::Verdict(verdict), None), None);
            state.lose(&gate, at(lost));
            state.settle(&gate, true, at(lost + 40_000));
            assert_eq!(state.verdict, Verdict::Unknown);
        }
    }
}
