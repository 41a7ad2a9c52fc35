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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FAST: Duration = Duration::from_millis(250);

    fn cadence(seed: u64) -> (Cadence, Instant) {
        let timing = Timing { interval: SECOND, fast_interval: FAST, timeout: SECOND };
        let now = Instant::now();
        (Cadence::new(timing, now, seed), now)
    }

    /// Starts when due, `late` after it.
    fn start(cadence: &mut Cadence, pace: Pace, late: Duration) -> Instant {
        let at = cadence.due(pace) + late;
        cadence.started(at);
        at
    }

    #[test]
    fn the_first_probe_is_due_when_told() {
        let (mut cadence, now) = cadence(1);
        assert_eq!(cadence.due(Pace::Normal), now);
        assert_eq!(cadence.due(Pace::Fast), now);
    }

    #[test]
    fn lateness_does_not_add_up() {
        for seed in 0..50 {
            let (mut cadence, _) = cadence(seed);
            start(&mut cadence, Pace::Normal, Duration::ZERO);
            let second = start(&mut cadence, Pace::Normal, Duration::ZERO);
            let mut last = second;
            for _ in 0..1000 {
                last = start(&mut cadence, Pace::Normal, Duration::from_millis(200));
            }
            let took = (last - second).as_secs_f64();
            assert!((999.8..1000.4).contains(&took), "a thousand intervals took {took}");
        }
    }

    #[test]
    fn each_gap_is_the_interval_give_or_take_its_jitter() {
        let (mut cadence, _) = cadence(3);
        start(&mut cadence, Pace::Normal, Duration::ZERO);
        let mut last = start(&mut cadence, Pace::Normal, Duration::ZERO);
        let mut gaps = Vec::new();
        for _ in 0..200 {
            let at = start(&mut cadence, Pace::Normal, Duration::ZERO);
            gaps.push(at - last);
            last = at;
        }
        assert!(gaps.iter().all(|gap| *gap >= SECOND.mul_f64(0.899) && *gap <= SECOND.mul_f64(1.101)));
        gaps.dedup();
        assert!(gaps.len() > 100, "the jitter varies");
    }

    #[test]
    fn origins_that_start_together_drift_apart_at_once() {
        let mut seconds: Vec<Duration> = (0..400)
            .map(|seed| {
                let (mut cadence, now) = cadence(seed);
                start(&mut cadence, Pace::Normal, Duration::ZERO);
                cadence.due(Pace::Normal) - now
            })
            .collect();
        seconds.sort_unstable();
        assert!(seconds[0] >= SECOND.mul_f64(0.475) && seconds[399] <= SECOND.mul_f64(1.05));
        let median = seconds[200].as_secs_f64();
        assert!((0.7..0.8).contains(&median), "{median}");
    }

    #[test]
    fn the_fast_pace_counts_from_the_last_start() {
        let (mut cadence, _) = cadence(5);
        let last = start(&mut cadence, Pace::Normal, Duration::ZERO);
        let gap = cadence.due(Pace::Fast) - last;
        assert!(gap >= FAST.mul_f64(0.95) && gap <= FAST.mul_f64(1.05), "{gap:?}");
        let at = start(&mut cadence, Pace::Fast, Duration::ZERO);
        let back = cadence.due(Pace::Normal) - at;
        assert!(back >= SECOND.mul_f64(0.475) && back <= SECOND.mul_f64(1.05), "{back:?}");
    }

    #[test]
    fn a_probe_out_of_turn_leaves_the_grid_alone() {
        let (mut cadence, _) = cadence(6);
        start(&mut cadence, Pace::Normal, Duration::ZERO);
        let due = cadence.due(Pace::Normal);
        cadence.started(due - Duration::from_millis(300));
        assert_eq!(cadence.due(Pace::Normal), due);
    }

    #[test]
    fn after_a_long_stall_there_is_no_catching_up() {
        let (mut cadence, _) = cadence(7);
        start(&mut cadence, Pace::Normal, Duration::ZERO);
        let late = start(&mut cadence, Pace::Normal, SECOND * 60);
        assert!(cadence.due(Pace::Normal) >= late + SECOND.mul_f64(0.95));
    }
}
