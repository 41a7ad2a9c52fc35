//! What Prometheus scrapes. Every label is bounded by the configuration or by a fixed set.

mod access_log;
mod api;
mod checks;
mod fleet;
mod forget;
mod names;
mod notify;
mod origins;
mod questions;
mod readiness;
mod register;
mod reload;
mod series;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::proto::MetricType;
use prometheus::{Encoder, IntCounter, IntGaugeVec, Registry, TextEncoder};
use tidegate_health::durable::SwitchKind;
use tidegate_health::event::{Event, EventKind};
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, OriginId};
use tidegate_health::state::State;
use tidegate_probe::Observation;

use crate::certs::Certificates;
use crate::names::NameStatus;
pub use access_log::AccessLogMetrics;
use api::ApiMetrics;
use checks::CheckMetrics;
use fleet::FleetMetrics;
use forget::Known;
use names::NameMetrics;
pub(crate) use notify::ReceiverMetrics;
pub use notify::{HeartbeatMetrics, HeldBack, NotifyMetrics};
use readiness::ReadinessMetrics;
pub use register::Described;
use register::Register;
use reload::ReloadMetrics;
pub use series::Series;
pub(crate) use traffic::TrafficMetrics;

/// The metrics of one daemon, on a registry of their own.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    fleet: FleetMetrics,
    checks: CheckMetrics,
    readiness: ReadinessMetrics,
    pub(crate) traffic: TrafficMetrics,
    reload: ReloadMetrics,
    names: NameMetrics,
    refused_orders: IntCounter,
    stalls: IntCounter,
    store_failures: IntCounter,
    records_dropped: IntCounter,
    certificate_expires: IntGaugeVec,
    pub(crate) access_log: AccessLogMetrics,
    pub(crate) notify: NotifyMetrics,
    pub(crate) heartbeat: HeartbeatMetrics,
    pub(crate) api: ApiMetrics,
}

impl Metrics {
    /// Registers every metric on a new registry.
    ///
    /// # Errors
    /// Two metrics have one name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some(register::PREFIX.into()), None)?;
        let new = Register::new(&registry);
        let build = new.gauges("build_info", "The version that runs; always 1.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            fleet: FleetMetrics::new(&new)?,
            checks: CheckMetrics::new(&new)?,
            readiness: ReadinessMetrics::new(&new)?,
            traffic: TrafficMetrics::new(&new)?,
            reload: ReloadMetrics::new(&new)?,
            names: NameMetrics::new(&new)?,
            refused_orders: new.counter("refused_orders_total", "Orders of operators that were refused.")?,
            stalls: new
                .counter("control_stalls_total", "Times the control loop found that it had been stopped.")?,
            store_failures: new.counter(
                "store_failures_total",
                "Changes that could not be made durable, and so did not happen.",
            )?,
            records_dropped: new.counter(
                "history_dropped_total",
                "Entries of the history that could not be written and are only in the log.",
            )?,
            certificate_expires: new.gauges(
                "certificate_expires_timestamp_seconds",
                "When a certificate ends, in seconds since 1970; named by its first DNS name, or by its file.",
                &["name"],
            )?,
            access_log: AccessLogMetrics::new(&new)?,
            notify: NotifyMetrics::new(&new)?,
            heartbeat: HeartbeatMetrics::new(&new)?,
            api: ApiMetrics::new(&new)?,
            described: new.described(),
            registry,
        })
    }

    /// Every metric that may be scraped, those of the process included, in no order that means anything.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        let of_process = process().into_iter().map(|family| Described {
            name: family.name().to_owned(),
            kind: if family.get_field_type() == MetricType::COUNTER { "counter" } else { "gauge" },
            labels: Vec::new(),
            help: family.help().to_owned(),
        });
        self.described.iter().cloned().chain(of_process).collect()
    }

    /// The text format, version 0.0.4, of everything and of the process itself.
    ///
    /// # Errors
    /// A metric cannot be written as text, which would be a bug of the library's.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        families.extend(process());
        let mut out = Vec::new();
        TextEncoder::new().encode(&families, &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Makes every counter whose labels are known exist: rate() cannot see the first step of one that appears with it.
    pub fn expect(&self, fleet: &Fleet) {
        self.fleet.expect(fleet);
        self.traffic.expect(fleet);
    }

    /// Another fleet: series of what is gone go with it, those of what is new appear.
    pub fn replace(&self, new: &Fleet) {
        let known = Known::of(new);
        self.fleet.forget(&known);
        self.checks.forget(&known);
        self.readiness.forget();
        self.traffic.forget(&known);
        self.expect(new);
    }

    /// Takes over which certificates are served. Of two under one name the one that ends first counts.
    pub fn certificates(&self, certificates: &Certificates) {
        self.certificate_expires.reset();
        let mut ends = BTreeMap::new();
        for (name, end) in certificates.expiries() {
            ends.entry(name).and_modify(|known: &mut i64| *known = end.min(*known)).or_insert(end);
        }
        for (name, end) in ends {
            self.certificate_expires.with_label_values(&[name]).set(end);
        }
    }

    /// Takes over how it stands with every name.
    pub(crate) fn names(&self, names: &[NameStatus]) {
        self.names.published(names);
    }

    /// Counts an answer about a name: `found`, `nothing` or `failed`.
    pub(crate) fn name_answered(&self, outcome: &str) {
        self.names.answers.with_label_values(&[outcome]).inc();
    }

    /// A configuration was taken.
    pub fn reloaded(&self) {
        self.reload.taken(crate::clock::wall());
    }

    /// A configuration was refused; the old one runs on.
    pub fn reload_refused(&self) {
        self.reload.refused();
    }

    /// The series of a fleet that are set often. To be made anew after [`replace`](Self::replace).
    #[must_use]
    pub fn series(&self, fleet: &Fleet) -> Series {
        Series::new(&self.fleet, fleet)
    }

    /// Takes over what a new World says; `series` are those of `fleet`.
    pub fn published(&self, series: &Series, fleet: &Arc<Fleet>, state: &State, generation: u64) {
        self.fleet.published(fleet, state, generation);
        series.published(fleet, state);
        self.readiness.published(fleet, state);
    }

    /// Counts a switch that readers now see.
    pub fn switched(&self, fleet: &Fleet, group: GroupId, kind: SwitchKind) {
        self.fleet.switched(fleet, group, kind);
    }

    /// Counts a finished probe; `series` are those of `fleet`.
    pub fn probed(&self, series: &mut Series, fleet: &Fleet, observation: &Observation) {
        series.probed(&self.fleet, fleet, observation);
    }

    /// Takes over when the certificate of an origin ends, in seconds since 1970.
    pub fn certificate_of(&self, fleet: &Fleet, origin: OriginId, end: i64) {
        self.checks.certificate_ends(fleet, origin, end);
    }

    /// Takes over whether the check of an origin warns.
    pub fn check_warns(&self, fleet: &Fleet, origin: OriginId, warns: bool) {
        self.checks.warns(fleet, origin, warns);
    }

    /// Counts what is only an entry of the history.
    pub fn happened(&self, event: &Event) {
        match event.kind {
            EventKind::Stalled => self.stalls.inc(),
            EventKind::Refused => self.refused_orders.inc(),
            _ => {}
        }
    }

    /// An entry of the history was lost.
    pub fn record_dropped(&self) {
        self.records_dropped.inc();
    }

    /// A change was not made durable.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }
}

/// `process_...`, as every Prometheus client names them: without the daemon's prefix.
fn process() -> Vec<prometheus::proto::MetricFamily> {
    use prometheus::core::Collector;
    use prometheus::process_collector::ProcessCollector;
    ProcessCollector::for_self().collect()
}
