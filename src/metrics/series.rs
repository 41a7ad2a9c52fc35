//! The series of one fleet that are set often, each found by its labels once.
//!
//! A fleet of thousands of origins counts as many probes each second, and sets thousands of gauges with every
//! publication. To hash labels and take a lock each time was most of what either cost.

use prometheus::{Histogram, IntCounter, IntGauge};
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, SiteId};
use tidegate_health::state::State;
use tidegate_health::status::{self, Condition};
use tidegate_probe::{Observation, Outcome};

use super::fleet::FleetMetrics;

/// Made anew with every fleet.
pub struct Series {
    /// Parallel to the fleet's origins; there from an origin's first probe on.
    probes: Vec<Option<ProbeSeries>>,
    /// Parallel to the fleet's groups.
    groups: Vec<GroupSeries>,
}

/// Of all origins of a service at a site.
struct ProbeSeries {
    passes: IntCounter,
    seconds: Histogram,
}

struct GroupSeries {
    epoch: IntGauge,
    unfit: IntGauge,
    frozen: IntGauge,
    proposal: IntGauge,
    conditions: [(Condition, IntGauge); Condition::ALL.len()],
    sites: Vec<SiteSeries>,
}

struct SiteSeries {
    site: SiteId,
    active: IntGauge,
    fit: IntGauge,
    latched: IntGauge,
    diverged: IntGauge,
}

impl Series {
    pub(super) fn new(metrics: &FleetMetrics, fleet: &Fleet) -> Self {
        let groups = fleet.group_ids().map(|id| GroupSeries::new(metrics, fleet, id));
        Self { probes: fleet.origins.iter().map(|_| None).collect(), groups: groups.collect() }
    }

    pub(super) fn published(&self, fleet: &Fleet, state: &State) {
        for (id, series) in fleet.group_ids().zip(&self.groups) {
            series.published(fleet, state, id);
        }
    }

    pub(super) fn probed(&mut self, metrics: &FleetMetrics, fleet: &Fleet, observation: &Observation) {
        let origin = fleet.origin(observation.origin);
        let (service, site) = (&*fleet.service(origin.service).name, &*fleet.site(origin.site).name);
        let series = self.probes[observation.origin.index()].get_or_insert_with(|| ProbeSeries {
            passes: metrics.probes.with_label_values(&[service, site, Outcome::Pass.label()]),
            seconds: metrics.probe_seconds.with_label_values(&[service, site]),
        });
        match &observation.outcome {
            Outcome::Pass => series.passes.inc(),
            other => metrics.probes.with_label_values(&[service, site, other.label()]).inc(),
        }
        series.seconds.observe(observation.took().as_secs_f64());
    }
}

impl GroupSeries {
    fn new(metrics: &FleetMetrics, fleet: &Fleet, id: GroupId) -> Self {
        let (all, group) = (&metrics.group, fleet.group(id));
        let name = &*group.name;
        let sites = group.sites.iter().map(|id| {
            let labels = [name, &*fleet.site(*id).name];
            SiteSeries {
                site: *id,
                active: all.active.with_label_values(&labels),
                fit: all.site_fit.with_label_values(&labels),
                latched: all.latched.with_label_values(&labels),
                diverged: all.diverged.with_label_values(&labels),
            }
        });
        Self {
            epoch: all.epoch.with_label_values(&[name]),
            unfit: all.unfit.with_label_values(&[name]),
            frozen: all.frozen.with_label_values(&[name]),
            proposal: all.proposal.with_label_values(&[name]),
            conditions: Condition::ALL
                .map(|condition| (condition, all.condition.with_label_values(&[name, condition.slug()]))),
            sites: sites.collect(),
        }
    }

    fn published(&self, fleet: &Fleet, state: &State, id: GroupId) {
        let (group, own) = (fleet.group(id), state.group(id));
        let durable = &own.durable;
        let flag = |gauge: &IntGauge, holds| gauge.set(i64::from(holds));
        self.epoch.set(i64::try_from(durable.epoch()).unwrap_or(i64::MAX));
        flag(&self.frozen, durable.freeze.is_some());
        flag(&self.unfit, own.unfit_since.is_some());
        flag(&self.proposal, own.proposal.is_some());
        let condition = status::condition(fleet, state, id);
        for (known, gauge) in &self.conditions {
            flag(gauge, *known == condition);
        }
        for series in &self.sites {
            let name = &fleet.site(series.site).name;
            flag(&series.active, own.active == Some(series.site));
            flag(&series.fit, own.fitness_at(group, series.site).is_fit());
            flag(&series.latched, durable.latched.contains(name));
            flag(&series.diverged, durable.diverged.contains(name));
        }
    }
}
