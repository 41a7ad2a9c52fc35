//! Checks in virtual time: as often as the daemon's own, with the same jitter, each with an outcome from the script.

use std::time::Duration;

use tidegate_health::fleet::Thresholds;
use tidegate_health::step::Pace;

use super::script::Condition;

/// A start lies at most this share of its gap before or after its place on the grid.
pub(super) const JITTER: f64 = 0.05;
/// What a healthy origin takes to answer.
const LATENCY: Duration = Duration::from_millis(5);

/// The checks of one thing.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    timing: Thresholds,
    rng: fastrand::Rng,
    pace: Pace,
    /// The place on the grid of the latest start, and the gap to the next one.
    place: Duration,
    gap: Duration,
    /// When the next one is due by the grid, and when it comes.
    due: Duration,
    next: Duration,
    last: Option<Duration>,
    in_flight: Option<Flight>,
    /// Whether another is wanted at once when the one in flight has ended.
    again: bool,
}

#[derive(Clone, Debug)]
struct Flight {
    started: Duration,
    ends: Duration,
    failure: Option<&'static str>,
}

/// A check that ended.
pub(super) struct Ended {
    pub(super) started: Duration,
    pub(super) failure: Option<&'static str>,
}

impl Condition {
    /// What a check that starts at `at` comes to: after what time, and why it fails.
    fn answer(self, at: Duration, timeout: Duration) -> (Duration, Option<&'static str>) {
        match self {
            Self::Up => (LATENCY.min(timeout), None),
            Self::Down => (LATENCY.min(timeout), Some("refused")),
            Self::Silent => (timeout, Some("timeout")),
            Self::Slow(latency) if latency < timeout => (latency, None),
            Self::Slow(_) => (timeout, Some("timeout")),
            Self::Flapping(half) if (at.as_nanos() / half.as_nanos()).is_multiple_of(2) => {
                (LATENCY.min(timeout), None)
            }
            Self::Flapping(_) => (LATENCY.min(timeout), Some("refused")),
        }
    }

    /// Whether a client that comes at `at` is served.
    pub(super) fn serves(self, at: Duration, timeout: Duration) -> bool {
        self.answer(at, timeout).1.is_none()
    }
}

impl Prober {
    pub(super) fn new(timing: Thresholds, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let next = timing.interval.min(Duration::from_secs(1)).mul_f64(rng.f64());
        let (pace, zero) = (Pace::Fast, Duration::ZERO);
        Self {
            timing,
            rng,
            pace,
            place: zero,
            gap: zero,
            due: next,
            next,
            last: None,
            in_flight: None,
            again: false,
        }
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Duration {
        self.in_flight.as_ref().map_or(self.next, |flight| flight.ends)
    }

    /// What is due happens: a check starts, or it ends.
    pub(super) fn go_on(&mut self, at: Duration, condition: Condition) -> Option<Ended> {
        if let Some(flight) = self.in_flight.take() {
            self.next = if std::mem::take(&mut self.again) { at } else { self.next.max(at) };
            return Some(Ended { started: flight.started, failure: flight.failure });
        }
        let (takes, failure) = condition.answer(at, self.timing.timeout);
        self.in_flight = Some(Flight { started: at, ends: at + takes, failure });
        let first = self.last.replace(at).is_none();
        if first {
            self.settle(at);
        } else if at >= self.due {
            let step = self.step();
            let place = self.place + self.gap;
            self.place = if at.saturating_sub(place) < step / 2 { place } else { at };
            self.aim(step);
        } else {
            // Asked for ahead of its time: the grid stays.
            self.next = self.due;
        }
        None
    }

    pub(super) fn pace(&mut self, pace: Pace, at: Duration) {
        if self.pace == pace {
            return;
        }
        self.pace = pace;
        if let Some(last) = self.last {
            self.settle(last);
            self.next = self.next.max(at);
        }
    }

    pub(super) fn now(&mut self, at: Duration) {
        self.again = self.in_flight.is_some();
        if !self.again {
            self.next = at;
        }
    }

    fn settle(&mut self, last: Duration) {
        self.place = last;
        let gap = match self.pace {
            Pace::Normal => self.timing.interval.mul_f64(0.5 + self.rng.f64() / 2.0),
            Pace::Fast => self.timing.fast_interval,
        };
        self.aim(gap);
    }

    fn aim(&mut self, gap: Duration) {
        self.gap = gap;
        self.due = self.place + gap.mul_f64(1.0 - JITTER + 2.0 * JITTER * self.rng.f64());
        self.next = self.due;
    }

    fn step(&self) -> Duration {
        match self.pace {
            Pace::Normal => self.timing.interval,
            Pace::Fast => self.timing.fast_interval,
        }
    }
}
