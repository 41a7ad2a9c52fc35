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

    pub(crate) fn next_due(&self) -> Option<Duration> {
        let due = |probe: &Probe| probe.in_flight.as_ref().map_or(probe.next, |flight| flight.ends);
        self.probes.iter().map(due).min()
    }

    /// One probe that has ended: whose, when it started, and why it failed.
    pub(crate) fn finish(&mut self, at: Duration) -> Option<(OriginId, Duration, Option<Arc<str>>)> {
        for (i, probe) in self.probes.iter_mut().enumerate() {
            if let Some(flight) = probe.in_flight.take_if(|flight| flight.ends <= at) {
                if std::mem::take(&mut probe.again) {
                    probe.next = at;
                }
                return Some((
                    OriginId(u32::try_from(i).expect("few origins")),
                    flight.started,
                    flight.failure,
                ));
            }
        }
        None
    }

    /// Starts one probe that is due, if any is.
    pub(crate) fn start(&mut self, at: Duration) -> bool {
        let Some(probe) = self.probes.iter_mut().find(|probe| probe.in_flight.is_none() && probe.next <= at)
        else {
            return false;
        };
        let failure = (!(probe.script)(at)).then(|| Arc::from("refused"));
        probe.started = Some(at);
        probe.next = at + probe.interval();
        probe.in_flight = Some(InFlight { started: at, ends: at + probe.latency, failure });
        true
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
