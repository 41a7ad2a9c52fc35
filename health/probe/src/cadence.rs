//! When the next probe of an origin is due: a function of the starts so far, the pace and a random number.
//!
//! Starts lie on a grid, so that a wait for a permit or a busy runtime does not add up to a drift; each start is
//! moved a little around its place, so that many origins do not beat in step. For the same reason the first gap at
//! the normal pace is shortened by chance: after a start, or after an outage of a whole site, all origins come back
//! to the normal pace at once and would keep asking at once for ever.

use std::time::Duration;

use tokio::time::Instant;

use crate::spec::Timing;

/// How often to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Every `interval`.
    #[default]
    Normal,
    /// Every `fast_interval`: the origin is in doubt.
    Fast,
}

/// A start lies at most this share of the interval before or after its place on the grid.
const JITTER: f64 = 0.05;

/// The schedule of one origin.
pub(crate) struct Cadence {
    timing: Timing,
    rng: fastrand::Rng,
    pace: Pace,
    /// The place on the grid of the last start; before the first one, when that one is due.
    place: Instant,
    /// From `place` to the next place.
    gap: Duration,
    /// The gap as this round's jitter makes it.
    jittered: Duration,
    last_start: Option<Instant>,
}

impl Cadence {
    /// A schedule whose first probe is due at `first`.
    pub(crate) fn new(timing: Timing, first: Instant, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        let zero = Duration::ZERO;
        Self { timing, rng, pace: Pace::Normal, place: first, gap: zero, jittered: zero, last_start: None }
    }

    /// When the next probe is due at this pace.
    pub(crate) fn due(&mut self, pace: Pace) -> Instant {
        if self.pace != pace {
            self.pace = pace;
            if let Some(last) = self.last_start {
                self.settle(last);
            }
        }
        self.place + self.jittered
    }

    /// Notes that a probe began. One that was asked for ahead of its time leaves the grid alone.
    pub(crate) fn started(&mut self, at: Instant) {
        let first = self.last_start.replace(at).is_none();
        if first {
            return self.settle(at);
        }
        if at < self.place + self.jittered {
            return;
        }
        let place = self.place + self.gap;
        let step = self.step();
        // Too late for its place: begin a new grid rather than hurry after the old one.
        self.place = if at.saturating_duration_since(place) < step / 2 { place } else { at };
        self.aim(step);
    }

    /// Begins a new grid with the start at `last`.
    fn settle(&mut self, last: Instant) {
        self.place = last;
        let gap = match self.pace {
            Pace::Normal => self.timing.interval.mul_f64(0.5 + self.rng.f64() / 2.0),
            Pace::Fast => self.timing.fast_interval,
        };
        self.aim(gap);
    }

    fn aim(&mut self, gap: Duration) {
        self.gap = gap;
        self.jittered = gap.mul_f64(1.0 - JITTER + 2.0 * JITTER * self.rng.f64());
    }

    fn step(&self) -> Duration {
        match self.pace {
            Pace::Normal => self.timing.interval,
            Pace::Fast => self.timing.fast_interval,
        }
    }
}
