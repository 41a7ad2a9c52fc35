//! What Prometheus scrapes. Every label is bounded by the configuration or by a fixed set.

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use tidegate_dns::{DropReason, Protocol};
use tidegate_health::durable::SwitchKind;
use tidegate_health::event::{Event, EventKind};
use tidegate_health::fleet::Fleet;
use tidegate_health::hysteresis::Health;
use tidegate_health::id::GroupId;
use tidegate_health::state::State;
use tidegate_health::status::{self, Condition};
use tidegate_probe::Observation;
use tidegate_proxy::RetryReason;

/// Seconds: from a local origin's answer to a client's patience.
const REQUEST_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const PROBE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The metrics of one daemon, on a registry of their own.
pub struct Metrics {
    registry: Registry,
    origin_up: IntGaugeVec,
    origin_effective_up: IntGaugeVec,
    group_active: IntGaugeVec,
    group_epoch: IntGaugeVec,
    group_frozen: IntGaugeVec,
    group_latched: IntGaugeVec,
    group_unfit: IntGaugeVec,
    generation: IntGauge,
    switches: IntCounterVec,
    refused_orders: IntCounter,
    group_condition: IntGaugeVec,
    group_proposal: IntGaugeVec,
    group_diverged: IntGaugeVec,
    ready: IntGauge,
    stalls: IntCounter,
    records_dropped: IntCounter,
    store_failures: IntCounter,
    probes: IntCounterVec,
    probe_seconds: HistogramVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) request_seconds: HistogramVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) spills: IntCounterVec,
    pub(crate) ejections: IntCounterVec,
    pub(crate) connections: IntGauge,
    pub(crate) tunnels: IntGauge,
    pub(crate) accept_failures: IntCounterVec,
    pub(crate) dns_queries: IntCounterVec,
    pub(crate) dns_dropped: IntCounterVec,
}

impl Metrics {
    /// Registers every metric on a new registry.
    ///
    /// # Errors
    /// Two metrics have one name, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("tidegate".into()), None)?;
        let build = keep(
            &registry,
            IntGaugeVec::new(Opts::new("build_info", "The version that runs; always 1."), &["version"])?,
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<_, prometheus::Error> {
            keep(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<_, prometheus::Error> {
            keep(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let seconds =
            |name: &str, help: &str, labels: &[&str], buckets: &[f64]| -> Result<_, prometheus::Error> {
                keep(
                    &registry,
                    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?,
                )
            };
        let plain_gauge = |name: &str, help: &str| -> Result<_, prometheus::Error> {
            keep(&registry, IntGauge::new(name, help)?)
        };
        let plain_counter = |name: &str, help: &str| -> Result<_, prometheus::Error> {
            keep(&registry, IntCounter::new(name, help)?)
        };
        Ok(Self {
            origin_up: gauge(
                "origin_up",
                "Whether the probes say that an origin is up (1) or not (0).",
                &["service", "site", "origin"],
            )?,
            origin_effective_up: gauge(
                "origin_effective_up",
                "Whether traffic takes an origin for up (1) or not (0), after an operator's force.",
                &["service", "site", "origin"],
            )?,
            group_active: gauge(
                "group_active",
                "1 for the site at which a group is active, 0 for its other sites.",
                &["group", "site"],
            )?,
            group_epoch: gauge(
                "group_epoch",
                "The epoch of a group's decision; 0 before the first.",
                &["group"],
            )?,
            group_frozen: gauge(
                "group_frozen",
                "1 while a freeze bars a group's automatic moves.",
                &["group"],
            )?,
            group_latched: gauge(
                "group_latched",
                "1 for sites that the return latch bars from automatic failover.",
                &["group", "site"],
            )?,
            group_unfit: gauge(
                "group_active_site_unfit",
                "1 while a group's active site is unfit.",
                &["group"],
            )?,
            generation: plain_gauge(
                "world_generation",
                "The number of the published World; grows with every change.",
            )?,
            switches: counter("switches_total", "Changes of a group's active site.", &["group", "kind"])?,
            refused_orders: plain_counter("refused_orders_total", "Orders of operators that were refused.")?,
            group_condition: gauge(
                "group_condition",
                "1 for the condition a group is in, as `tidegate status` names it.",
                &["group", "condition"],
            )?,
            group_proposal: gauge(
                "group_proposal_waiting",
                "1 while a move of the group waits for a person to confirm it.",
                &["group"],
            )?,
            group_diverged: gauge(
                "group_diverged",
                "1 for sites whose data may have forked.",
                &["group", "site"],
            )?,
            ready: plain_gauge(
                "first_round_complete",
                "1 once every origin has been known since the start.",
            )?,
            records_dropped: plain_counter(
                "history_dropped_total",
                "Entries of the history that could not be written and are only in the log.",
            )?,
            stalls: plain_counter(
                "control_stalls_total",
                "Times the control loop found that it had been stopped.",
            )?,
            store_failures: plain_counter(
                "store_failures_total",
                "Changes that could not be made durable, and so did not happen.",
            )?,
            probes: counter("probes_total", "Finished probes.", &["service", "site", "outcome"])?,
            probe_seconds: seconds(
                "probe_duration_seconds",
                "How long probes took.",
                &["service", "site"],
                &PROBE_BUCKETS,
            )?,
            requests: counter(
                "requests_total",
                "Answered requests; spilled ones were served by a site that is not active.",
                &["service", "site", "code", "spilled"],
            )?,
            request_seconds: seconds(
                "request_duration_seconds",
                "From a request's head to its answer's last byte.",
                &["service", "site"],
                &REQUEST_BUCKETS,
            )?,
            retries: counter(
                "retries_total",
                "Further tries of requests within the active site.",
                &["service", "reason"],
            )?,
            spills: counter(
                "spills_total",
                "Requests tried at another site before the group had switched.",
                &["service", "from", "to"],
            )?,
            ejections: counter(
                "ejections_total",
                "Origins that live traffic took out of picking.",
                &["service", "site"],
            )?,
            connections: plain_gauge("client_connections", "Open client connections of the proxy.")?,
            tunnels: plain_gauge("tunnels", "Open tunnels of upgraded connections.")?,
            accept_failures: counter(
                "accept_failures_total",
                "Times a listener could not accept a connection.",
                &["listener"],
            )?,
            dns_queries: counter(
                "dns_queries_total",
                "Answered DNS queries.",
                &["protocol", "type", "rcode"],
            )?,
            dns_dropped: counter(
                "dns_dropped_total",
                "DNS packets and connections that got no answer.",
                &["protocol", "reason"],
            )?,
            registry,
        })
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
        for group in &fleet.groups {
            for kind in SwitchKind::ALL {
                self.switches.with_label_values(&[&*group.name, kind.label()]).inc_by(0);
            }
        }
        for service in &fleet.services {
            for reason in [RetryReason::Connect, RetryReason::Died, RetryReason::Stale] {
                self.retries.with_label_values(&[&*service.name, reason.as_str()]).inc_by(0);
            }
            for site in service.origins.keys().map(|site| &*fleet.site(*site).name) {
                self.ejections.with_label_values(&[&*service.name, site]).inc_by(0);
                for spilled in ["false", "true"] {
                    self.requests.with_label_values(&[&*service.name, site, "200", spilled]).inc_by(0);
                }
                for other in service.origins.keys().map(|other| &*fleet.site(*other).name) {
                    if other != site {
                        self.spills.with_label_values(&[&*service.name, site, other]).inc_by(0);
                    }
                }
            }
        }
        self.accept_failures.with_label_values(&["http"]).inc_by(0);
        for protocol in Protocol::ALL {
            for reason in DropReason::ALL {
                self.dns_dropped.with_label_values(&[protocol.as_str(), reason.as_str()]).inc_by(0);
            }
        }
    }

    /// Takes over what a new World says.
    pub fn published(&self, fleet: &Fleet, state: &State, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        for id in fleet.origin_ids() {
            let (origin, known) = (fleet.origin(id), state.origin(id));
            let labels =
                [&*fleet.service(origin.service).name, &*fleet.site(origin.site).name, &*origin.name];
            self.origin_up.with_label_values(&labels).set(i64::from(known.real() == Health::Up));
            self.origin_effective_up
                .with_label_values(&labels)
                .set(i64::from(known.effective() == Health::Up));
        }
        self.ready.set(i64::from(state.round_complete));
        for id in fleet.group_ids() {
            self.published_group(fleet, state, id);
        }
    }

    fn published_group(&self, fleet: &Fleet, state: &State, id: GroupId) {
        let (group, own) = (fleet.group(id), state.group(id));
        let name = &*group.name;
        self.group_epoch
            .with_label_values(&[name])
            .set(i64::try_from(own.durable.epoch()).unwrap_or(i64::MAX));
        self.group_frozen.with_label_values(&[name]).set(i64::from(own.durable.freeze.is_some()));
        self.group_unfit.with_label_values(&[name]).set(i64::from(own.unfit_since.is_some()));
        self.group_proposal.with_label_values(&[name]).set(i64::from(own.proposal.is_some()));
        let condition = status::condition(fleet, state, id);
        for known in Condition::ALL {
            self.group_condition.with_label_values(&[name, known.slug()]).set(i64::from(known == condition));
        }
        for site in &group.sites {
            let labels = [name, &*fleet.site(*site).name];
            let diverged = own.durable.diverged.contains(&fleet.site(*site).name);
            self.group_diverged.with_label_values(&labels).set(i64::from(diverged));
            self.group_active.with_label_values(&labels).set(i64::from(own.active == Some(*site)));
            let latched = own.durable.latched.contains(&fleet.site(*site).name);
            self.group_latched.with_label_values(&labels).set(i64::from(latched));
        }
    }

    /// Counts a switch that readers now see.
    pub fn switched(&self, fleet: &Fleet, group: GroupId, kind: SwitchKind) {
        self.switches.with_label_values(&[&*fleet.group(group).name, kind.label()]).inc();
    }

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

    pub fn store_failed(&self) {
        self.store_failures.inc();
    }

    pub fn probed(&self, fleet: &Fleet, observation: &Observation) {
        let origin = fleet.origin(observation.origin);
        let (service, site) = (&*fleet.service(origin.service).name, &*fleet.site(origin.site).name);
        let outcome = observation.outcome.label();
        self.probes.with_label_values(&[service, site, outcome]).inc();
        self.probe_seconds.with_label_values(&[service, site]).observe(observation.took().as_secs_f64());
    }
}

fn keep<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// `process_...`, as every Prometheus client names them: without the daemon's prefix.
fn process() -> Vec<prometheus::proto::MetricFamily> {
    use prometheus::process_collector::ProcessCollector;
    ProcessCollector::for_self().collect()
}
