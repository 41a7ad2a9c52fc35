//! Series that end with what they are about: a reload takes services, sites, groups and origins away.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use tidegate_health::fleet::Fleet;

/// The labels that a fleet has.
pub(super) struct Known<'a> {
    services: BTreeMap<&'a str, BTreeSet<&'a str>>,
    groups: BTreeMap<&'a str, BTreeSet<&'a str>>,
    origins: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    pub(super) fn of(fleet: &'a Fleet) -> Self {
        let services = fleet.services.iter().map(|service| {
            let sites = &fleet.group(service.group).sites;
            (&*service.name, sites.iter().map(|site| &*fleet.site(*site).name).collect())
        });
        let groups = fleet
            .groups
            .iter()
            .map(|group| (&*group.name, group.sites.iter().map(|site| &*fleet.site(*site).name).collect()));
        Self {
            services: services.collect(),
            groups: groups.collect(),
            origins: fleet.origins.iter().map(|origin| &*origin.name).collect(),
        }
    }

    /// Whether everything that the labels name is there. `none` stands for requests that reached no service or site.
    fn has(&self, labels: &HashMap<&str, &str>) -> bool {
        let label = |name| labels.get(name).copied().filter(|value| *value != "none");
        let sites = match (label("service"), label("group")) {
            (Some(service), _) => self.services.get(service),
            (None, Some(group)) => self.groups.get(group),
            (None, None) => return true,
        };
        let Some(sites) = sites else { return false };
        ["site", "from", "to"].into_iter().filter_map(label).all(|site| sites.contains(site))
            && label("origin").is_none_or(|origin| self.origins.contains(origin))
    }

    /// Removes the series of `metric` whose labels name something else.
    pub(super) fn sweep<T: MetricVecBuilder>(&self, metric: &MetricVec<T>)
    where
        MetricVec<T>: Collector,
    {
        for family in metric.collect() {
            for series in family.get_metric() {
                let labels = series.get_label().iter().map(|label| (label.name(), label.value()));
                let labels: HashMap<_, _> = labels.collect();
                if !self.has(&labels) {
                    // One that is gone already is as good.
                    let _ = metric.remove(&labels);
                }
            }
        }
    }
}

/// Keeps the series of `metric` whose label has a value that is wanted.
pub(super) fn retain<T: MetricVecBuilder>(metric: &MetricVec<T>, label: &str, wanted: impl Fn(&str) -> bool)
where
    MetricVec<T>: Collector,
{
    for family in metric.collect() {
        for series in family.get_metric() {
            let labels = series.get_label().iter().map(|label| (label.name(), label.value()));
            let labels: HashMap<_, _> = labels.collect();
            if labels.get(label).is_none_or(|value| !wanted(value)) {
                // One that is gone already is as good.
                let _ = metric.remove(&labels);
            }
        }
    }
}
