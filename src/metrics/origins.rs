//! Three gauges of every origin, made when they are scraped.
//!
//! The library's vectors keep about a kilobyte per gauge, the help text included, and look labels up each time one is
//! set. Of a fleet of thousands that would be a good part of the daemon's memory, and most of what a publication
//! costs; so only what the gauges say is kept.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::Result;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use tidegate_health::fleet::{Fleet, Origin};
use tidegate_health::hysteresis::Health;
use tidegate_health::state::{OriginState, State};

const LABELS: [&str; 3] = ["service", "site", "origin"];

/// What one of them says of an origin.
type Reading = fn(Said) -> bool;

const GAUGES: [(&str, &str, Reading); 3] = [
    ("origin_up", "Whether the probes say that an origin is up (1) or not (0).", |said| said.up),
    (
        "origin_effective_up",
        "Whether traffic takes an origin for up (1) or not (0), after an operator's force.",
        |said| said.effective_up,
    ),
    ("origin_out", "1 for an origin that is drained or forced down.", |said| said.out),
];

/// The gauges of all origins of the fleet that was published last.
#[derive(Clone)]
pub(super) struct OriginGauges {
    descs: Arc<[Desc]>,
    published: Arc<Mutex<Published>>,
}

#[derive(Default)]
struct Published {
    fleet: Arc<Fleet>,
    /// Parallel to its origins.
    said: Vec<Said>,
}

#[derive(Clone, Copy)]
struct Said {
    up: bool,
    effective_up: bool,
    out: bool,
}

impl OriginGauges {
    pub(super) fn new() -> Result<Self> {
        let labels = LABELS.map(str::to_owned);
        let desc = |(name, help, _): (&str, &str, Reading)| {
            Desc::new(name.to_owned(), help.to_owned(), labels.to_vec(), Default::default())
        };
        let descs: Result<Arc<[Desc]>> = GAUGES.into_iter().map(desc).collect();
        Ok(Self { descs: descs?, published: Arc::default() })
    }

    pub(super) fn publish(&self, fleet: &Arc<Fleet>, state: &State) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.fleet = Arc::clone(fleet);
        published.said.clear();
        published.said.extend(state.origins.iter().map(Said::of));
    }
}

impl Collector for OriginGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // A scrape takes milliseconds, and control is not to wait for it.
        let (fleet, said) = {
            let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&published.fleet), published.said.clone())
        };
        let families = GAUGES.into_iter().map(|(name, help, reading)| {
            let origins = fleet.origins.iter().zip(&said);
            let metrics = origins.map(|(origin, said)| metric(&fleet, origin, reading(*said)));
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(MetricType::GAUGE);
            family.set_metric(metrics.collect());
            family
        });
        families.collect()
    }
}

impl Said {
    fn of(origin: &OriginState) -> Self {
        Self {
            up: origin.real() == Health::Up,
            effective_up: origin.effective() == Health::Up,
            out: origin.is_out(),
        }
    }
}

fn metric(fleet: &Fleet, origin: &Origin, holds: bool) -> Metric {
    let values = [&fleet.service(origin.service).name, &fleet.site(origin.site).name, &origin.name];
    let labels = LABELS.into_iter().zip(values).map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value.to_string());
        label
    });
    let mut labels: Vec<_> = labels.collect();
    // In the order of their names, as the library's own are.
    labels.sort_unstable_by(|one, other| one.name().cmp(other.name()));
    let mut gauge = Gauge::default();
    gauge.set_value(f64::from(u8::from(holds)));
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}
