//! Probes that follow a script, at the pace the core asks for.

use std::sync::Arc;
use std::time::Duration;

use tidegate_health::fleet::Fleet;
use tidegate_health::id::OriginId;
use tidegate_health::step::Pace;

/// Whether a probe that starts at this time of the world passes.
type Script = Box<dyn Fn(Duration) -> bool>;

pub(crate) struct Probes {
    probes: Vec<Probe>,
}

struct Probe {
    script: Script,
    /// How long a probe takes.
    latency: Duration,
    intervals: (Duration, Duration),
    pace: Pace,
    started: Option<Duration>,
    next: Duration,
    in_flight: Option<InFlight>,
    /// Whether another is asked for while one is on its way.
    again: bool,
}

struct InFlight {
    started: Duration,
    ends: Duration,
    failure: Option<Arc<str>>,
}

impl Probes {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let probes = fleet.origins.iter().map(|origin| Probe {
            script: Box::new(|_| true),
            latency: Duration::ZERO,
            intervals: (origin.thresholds.interval, origin.thresholds.fast_interval),
            pace: Pace::default(),
            started: None,
            next: Duration::ZERO,
            in_flight: None,
            again: false,
        });
        Self { probes: probes.collect() }
    }

    /// Probes of another fleet: those that are kept go on, the others begin.
    pub(crate) fn refit(self, fleet: &Fleet, kept: &[Option<OriginId>], at: Duration) -> Self {
        let mut new = Self::new(fleet);
        let mut old: Vec<_> = self.probes.into_iter().map(Some).collect();
        for (probe, was) in new.probes.iter_mut().zip(kept) {
            match was.and_then(|was| old[was.index()].take()) {
                Some(same) => *probe = Probe { intervals: probe.intervals, ..same },
                None => probe.next = at,
            }
        }
        new
    }

    pub(crate) fn script(&mut self, origin: OriginId, script: impl Fn(Duration) -> bool + 'static) {
        self.probes[origin.index()].script = Box::new(script);
    }

    pub(crate) fn latency(&mut self, origin: OriginId, latency: Duration) {
        self.probes[origin.index()].latency = latency;
    }

    /// The first probe of `origin` starts this much later than the others'.
    pub(crate) fn delay(&mut self, origin: OriginId, by: Duration) {
        self.probes[origin.index()].next += by;
    }

    pub(crate) fn pace(&mut self, origin: OriginId, pace: Pace, at: Duration) {
        let probe = &mut self.probes[origin.index()];
        probe.pace = pace;
        let due = probe.started.map_or(at, |started| started + probe.interval());
        probe.next = probe.next.min(due.max(at));
    }

    pub(crate) fn now(&mut self, origin: OriginId, at: Duration) {
        let probe = &mut self.probes[origin.index()];
        probe.next = at;
        probe.again = probe.in_flight.is_some();
    }

    /// When the next thing happens, and to which probe.
    pub(crate) fn next_due(&self) -> Option<(Duration, OriginId)> {
        let (mut first, mut soonest) = (None, u128::MAX);
        // A plain loop: this is what a simulation spends its time on.
        for (i, probe) in self.probes.iter().enumerate() {
            let due = match &probe.in_flight {
                Some(flight) => flight.ends,
                None => probe.next,
            };
            if due.as_nanos() < soonest {
                soonest = due.as_nanos();
                first = Some((due, OriginId(u32::try_from(i).expect("few origins"))));
            }
        }
        first
    }

    /// What is due happens: a probe starts, or it ends and says when it started and why it failed.
    pub(crate) fn go_on(&mut self, origin: OriginId, at: Duration) -> Option<(Duration, Option<Arc<str>>)> {
        let probe = &mut self.probes[origin.index()];
        if let Some(flight) = probe.in_flight.take() {
            if std::mem::take(&mut probe.again) {
                probe.next = at;
            }
            return Some((flight.started, flight.failure));
        }
        let failure = (!(probe.script)(at)).then(|| Arc::from("refused"));
        probe.started = Some(at);
        probe.next = at + probe.interval();
        probe.in_flight = Some(InFlight { started: at, ends: at + probe.latency, failure });
        None
    }

    pub(crate) fn overslept(&mut self, at: Duration) {
        for probe in &mut self.probes {
            probe.next = probe.next.max(at);
            if let Some(flight) = &mut probe.in_flight {
                flight.ends = flight.ends.max(at);
                flight.failure = Some(Arc::from("timeout"));
            }
        }
    }

    pub(crate) fn restart(&mut self, at: Duration) {
        for probe in &mut self.probes {
            probe.pace = Pace::default();
            probe.in_flight = None;
            probe.again = false;
            probe.started = None;
            probe.next = at;
        }
    }
}

impl Probe {
    fn interval(&self) -> Duration {
        match self.pace {
            Pace::Normal => self.intervals.0,
            Pace::Fast => self.intervals.1,
        }
    }
}
