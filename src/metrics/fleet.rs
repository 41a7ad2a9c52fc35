//! Groups, sites and origins: what the core knows and decides.

use std::sync::Arc;

use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Result};
use tidegate_health::durable::SwitchKind;
use tidegate_health::fleet::Fleet;
use tidegate_health::force::ForceKind;
use tidegate_health::id::GroupId;
use tidegate_health::state::State;

use super::forget::Known;
use super::origins::OriginGauges;
use super::register::Register;

/// Upper bounds in seconds.
const PROBE_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

const GROUP_SITE: [&str; 2] = ["group", "site"];

pub(super) struct FleetMetrics {
    generation: IntGauge,
    first_round: IntGauge,
    origins: OriginGauges,
    pub(super) group: GroupMetrics,
    forces: IntGaugeVec,
    drains_overdue: IntGauge,
    switches: IntCounterVec,
    pub(super) probes: IntCounterVec,
    pub(super) probe_seconds: HistogramVec,
}

pub(super) struct GroupMetrics {
    pub(super) active: IntGaugeVec,
    pub(super) epoch: IntGaugeVec,
    pub(super) condition: IntGaugeVec,
    pub(super) unfit: IntGaugeVec,
    pub(super) frozen: IntGaugeVec,
    pub(super) proposal: IntGaugeVec,
    pub(super) latched: IntGaugeVec,
    pub(super) diverged: IntGaugeVec,
    pub(super) site_fit: IntGaugeVec,
}

impl FleetMetrics {
    pub(super) fn new(new: &Register<'_>) -> Result<Self> {
        let generation = "The number of the published World; grows with every change.";
        Ok(Self {
            generation: new.gauge("world_generation", generation)?,
            first_round: new
                .gauge("first_round_complete", "1 once every origin has been known since the start.")?,
            origins: new.keep("gauge", OriginGauges::new()?)?,
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
        let GroupMetrics { active, epoch, condition, unfit, frozen, proposal, latched, diverged, site_fit } =
            &self.group;
        for gauges in [active, epoch, condition, unfit, frozen, proposal, latched, diverged, site_fit] {
            known.sweep(gauges);
        }
        known.sweep(&self.switches);
        known.sweep(&self.probes);
        known.sweep(&self.probe_seconds);
    }

    pub(super) fn published(&self, fleet: &Arc<Fleet>, state: &State, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.first_round.set(i64::from(state.round_complete));
        self.origins.publish(fleet, state);
        for kind in ForceKind::ALL {
            let count = state.forces.iter().filter(|force| force.kind == kind).count();
            self.forces.with_label_values(&[kind.label()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.drains_overdue.set(i64::try_from(state.drains_overdue()).unwrap_or(i64::MAX));
    }

    pub(super) fn switched(&self, fleet: &Fleet, group: GroupId, kind: SwitchKind) {
        self.switches.with_label_values(&[&*fleet.group(group).name, kind.label()]).inc();
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
}
