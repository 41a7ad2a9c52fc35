//! Groups: where they may live, and the conditions of moving.

use std::time::Duration;

use tidegate_health::fleet::{Data, Failback, Group, SwitchLimit};
use tidegate_health::id::{Name, SiteId};

use super::{Capabilities, Directory, small, value_or, value_or_default};
use crate::reader::Named;
use crate::source::{At, Source};
use crate::spec::{FailbackSpec, GroupSpec, SwitchesSpec};

/// Lowers groups, still without their services.
pub(super) fn lower(
    source: &Source<'_>,
    specs: &Named<GroupSpec>,
    sites: &Directory<'_>,
    capabilities: &Capabilities,
) -> Vec<Group> {
    let lower = |(name, spec): &(At<String>, GroupSpec)| Group {
        name: Name::from(name.value.as_str()),
        sites: group_sites(source, spec, sites),
        services: Vec::new(),
        data: data(source, spec),
        mode: value_or_default(&spec.mode),
        failover_after: value_or(&spec.failover_after, Duration::from_secs(10)),
        minimum_stay: value_or(&spec.minimum_stay, Duration::ZERO),
        switch_limit: switch_limit(spec.switches_max.as_ref().map(|at| &at.value)),
        standby_unfit_after: value_or(&spec.standby_unfit_after, Duration::from_secs(300)),
        requires: capabilities.find(source, spec.requires.as_ref()),
        wants: capabilities.find(source, spec.wants.as_ref()),
        gates: Vec::new(),
    };
    specs.iter().map(lower).collect()
}

fn group_sites(source: &Source<'_>, spec: &GroupSpec, sites: &Directory<'_>) -> Vec<SiteId> {
    let Some(named) = spec.sites.as_ref() else {
        return Vec::new();
    };
    // An unreadable element is an error of its own; the list is then not called empty.
    if named.value.is_empty() && !source.failed_below(&named.place.path) {
        source.error(&named.place, "a group needs at least one site");
    }
    named.value.iter().filter_map(|site| sites.find(source, site)).map(SiteId).collect()
}

fn data(source: &Source<'_>, spec: &GroupSpec) -> Data {
    let stateless = value_or_default(&spec.stateless);
    let failback = match spec.failback.as_ref().map(|at| &at.value) {
        None | Some(FailbackSpec::Manual | FailbackSpec::Automatic { after: None }) => Failback::Manual,
        Some(&FailbackSpec::Automatic { after: Some(after) }) => Failback::Automatic { after },
    };
    if stateless {
        return Data::Stateless { failback };
    }
    if let (Some(at), Failback::Automatic { .. }) = (spec.failback.as_ref(), failback) {
        let help = "set `stateless = true` if the group's services share no data";
        source.error_help(&at.place, "a group that shares data never returns by itself", help);
    }
    Data::Stateful
}

fn switch_limit(spec: Option<&SwitchesSpec>) -> SwitchLimit {
    let default = SwitchLimit { count: 3, window: Duration::from_secs(3_600) };
    spec.map_or(default, |spec| SwitchLimit {
        count: small(&spec.count, default.count),
        window: value_or(&spec.window, default.window),
    })
}
