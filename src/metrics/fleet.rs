//! Groups, sites and origins: what the core knows and decides.

use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Result};
use tidegate_health::durable::SwitchKind;
use tidegate_health::fit;
use tidegate_health::fleet::Fleet;
use tidegate_health::force::ForceKind;
use tidegate_health::hysteresis::Health;
use tidegate_health::id::GroupId;
use tidegate_health::state::State;
use tidegate_health::status::{self, Condition};
use tidegate_probe::Observation;

use super::forget::Known;
use super::register::Register;

/// Upper bounds in seconds.
const PROBE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

const ORIGIN: [&str; 3] = ["service", "site", "origin"];
const GROUP_SITE: [&str; 2] = ["group", "site"];

pub(super) struct FleetMetrics {
    generation: IntGauge,
    first_round: IntGauge,
    origin_up: IntGaugeVec,
    origin_effective_up: IntGaugeVec,
    origin_out: IntGaugeVec,
    group: GroupMetrics,
    forces: IntGaugeVec,
    drains_overdue: IntGauge,
    switches: IntCounterVec,
    probes: IntCounterVec,
    probe_seconds: HistogramVec,
}

struct GroupMetrics {
    active: IntGaugeVec,
    epoch: IntGaugeVec,
    condition: IntGaugeVec,
    unfit: IntGaugeVec,
    frozen: IntGaugeVec,
    proposal: IntGaugeVec,
    latched: IntGaugeVec,
    diverged: IntGaugeVec,
    site_fit: IntGaugeVec,
}

impl FleetMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let up = "Whether the probes say that an origin is up (1) or not (0).";
        let effective = "Whether traffic takes an origin for up (1) or not (0), after an operator's force.";
        let generation = "The number of the published World; grows with every change.";
        Ok(Self {
            generation: new.gauge("world_generation", generation)?,
            first_round: new
                .gauge("first_round_complete", "1 once every origin has been known since the start.")?,
            origin_up: new.gauges("origin_up", up, &ORIGIN)?,
            origin_effective_up: new.gauges("origin_effective_up", effective, &ORIGIN)?,
            origin_out: new.gauges(
                "origin_out",
                "1 for an origin that is drained or forced down.",
                &ORIGIN,
            )?,
            group: GroupMetrics::new(new)?,
            forces: new.gauges(
                "forces",
                "What people say of origins at present, whatever the checks see: `drain`, `up` or `down`.",
                &["kind"],
            )?,
            drains_overdue: new.gauge("drains_overdue", "Drains whose time is over.")?,
            switches: new.counters(
                "switches_total",
                "Changes of a group's active site.",
                &["group", "kind"],
            )?,
            probes: new.counters("probes_total", "Finished probes.", &["service", "site", "outcome"])?,
            probe_seconds: new.seconds(
                "probe_duration_seconds",
                "How long probes took.",
                &["service", "site"],
                &PROBE_BUCKETS,
            )?,
        })
    }

    pub(super) fn expect(&self, fleet: &Fleet) {
        for group in &fleet.groups {
            for kind in SwitchKind::ALL {
                self.switches.with_label_values(&[&*group.name, kind.label()]).inc_by(0);
            }
        }
    }

    pub(super) fn forget(&self, known: &Known<'_>) {
        for gauges in [&self.origin_up, &self.origin_effective_up, &self.origin_out] {
            known.sweep(gauges);
        }
        let GroupMetrics { active, epoch, condition, unfit, frozen, proposal, latched, diverged, site_fit } =
            &self.group;
        for gauges in [active, epoch, condition, unfit, frozen, proposal, latched, diverged, site_fit] {
            known.sweep(gauges);
        }
        known.sweep(&self.switches);
        known.sweep(&self.probes);
        known.sweep(&self.probe_seconds);
    }

    pub(super) fn published(&self, fleet: &Fleet, state: &State, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.first_round.set(i64::from(state.round_complete));
        for id in fleet.origin_ids() {
            let (origin, known) = (fleet.origin(id), state.origin(id));
            let labels =
                [&*fleet.service(origin.service).name, &*fleet.site(origin.site).name, &*origin.name];
            let set = |gauge: &IntGaugeVec, health| {
                gauge.with_label_values(&labels).set(i64::from(health == Health::Up));
            };
            set(&self.origin_up, known.real());
            set(&self.origin_effective_up, known.effective());
            self.origin_out.with_label_values(&labels).set(i64::from(known.is_out()));
        }
        for id in fleet.group_ids() {
            self.group.published(fleet, state, id);
        }
        for kind in ForceKind::ALL {
            let count = state.forces.iter().filter(|force| force.kind == kind).count();
            self.forces.with_label_values(&[kind.label()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.drains_overdue.set(i64::try_from(state.drains_overdue()).unwrap_or(i64::MAX));
    }

    pub(super) fn switched(&self, fleet: &Fleet, group: GroupId, kind: SwitchKind) {
        self.switches.with_label_values(&[&*fleet.group(group).name, kind.label()]).inc();
    }

    pub(super) fn probed(&self, fleet: &Fleet, observation: &Observation) {
        let origin = fleet.origin(observation.origin);
        let (service, site) = (&*fleet.service(origin.service).name, &*fleet.site(origin.site).name);
        self.probes.with_label_values(&[service, site, observation.outcome.label()]).inc();
        self.probe_seconds.with_label_values(&[service, site]).observe(observation.took().as_secs_f64());
    }
}

impl GroupMetrics {
    fn new(new: &Register<'_>) -> Result<Self> {
        let active = "1 for the site at which a group is active, 0 for its other sites.";
        let latched = "1 for sites that the return latch bars from automatic failover.";
        let condition = "1 for the condition a group is in, as `tidegate status` names it.";
        let proposal = "1 while a move of the group waits for a person to confirm it.";
        Ok(Self {
            active: new.gauges("group_active", active, &GROUP_SITE)?,
            epoch: new.gauges(
                "group_epoch",
                "The epoch of a group's decision; 0 before the first.",
                &["group"],
            )?,
            condition: new.gauges("group_condition", condition, &["group", "condition"])?,
            unfit: new.gauges(
                "group_active_site_unfit",
                "1 while a group's active site is unfit.",
                &["group"],
            )?,
            frozen: new.gauges(
                "group_frozen",
                "1 while a freeze bars a group's automatic moves.",
                &["group"],
            )?,
            proposal: new.gauges("group_proposal_waiting", proposal, &["group"])?,
            latched: new.gauges("group_latched", latched, &GROUP_SITE)?,
            diverged: new.gauges("group_diverged", "1 for sites whose data may have forked.", &GROUP_SITE)?,
            site_fit: new.gauges(
                "group_site_fit",
                "1 for sites that are fit for a group, 0 for those that are not or of which too little is known.",
                &GROUP_SITE,
            )?,
        })
    }

    fn published(&self, fleet: &Fleet, state: &State, id: GroupId) {
        let (group, own) = (fleet.group(id), state.group(id));
        let (name, durable) = (&*group.name, &own.durable);
        self.epoch.with_label_values(&[name]).set(i64::try_from(durable.epoch()).unwrap_or(i64::MAX));
        let flag = |gauge: &IntGaugeVec, holds| gauge.with_label_values(&[name]).set(i64::from(holds));
        flag(&self.frozen, durable.freeze.is_some());
        flag(&self.unfit, own.unfit_since.is_some());
        flag(&self.proposal, own.proposal.is_some());
        let condition = status::condition(fleet, state, id);
        for known in Condition::ALL {
            self.condition.with_label_values(&[name, known.slug()]).set(i64::from(known == condition));
        }
        for site_id in &group.sites {
            let site = &fleet.site(*site_id).name;
            let flag =
                |gauge: &IntGaugeVec, holds| gauge.with_label_values(&[name, site]).set(i64::from(holds));
            flag(&self.active, own.active == Some(*site_id));
            flag(&self.site_fit, fit::fitness(fleet, state, id, *site_id).is_fit());
            flag(&self.latched, durable.latched.contains(site));
            flag(&self.diverged, durable.diverged.contains(site));
        }
    }
}
