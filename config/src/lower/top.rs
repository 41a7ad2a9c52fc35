//! The node, and where it keeps what must last.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_health::id::{Name, SiteId};

use super::{Directory, value_or};
use crate::domain::{History, Node, Resolver};
use crate::source::At;
use crate::source::Source;
use crate::spec::{HistorySpec, RootSpec};

pub(super) fn state_dir(spec: &RootSpec) -> PathBuf {
    spec.state_dir.as_ref().map_or_else(|| PathBuf::from("/var/lib/tidegate"), |at| at.value.clone())
}

pub(super) fn node(source: &Source<'_>, spec: &RootSpec, sites: &Directory<'_>) -> Node {
    let node = spec.node.as_ref().map(|at| &at.value);
    let name = node.and_then(|node| node.name.as_ref()).map_or("edge", |at| at.value.as_str());
    let site = node.and_then(|node| node.site.as_ref()).and_then(|site| sites.find(source, site));
    Node { name: Name::from(name), site: site.map(SiteId) }
}

pub(super) fn history(spec: &RootSpec) -> History {
    let given = spec.history.as_ref().map(|at| &at.value);
    let count = |key: fn(&HistorySpec) -> &Option<At<u64>>, otherwise| {
        given.and_then(|given| key(given).as_ref()).map_or(otherwise, |at| at.value)
    };
    let max_age = given.and_then(|given| given.max_age.as_ref());
    History {
        decisions_max: count(|given| &given.decisions_max, 10_000),
        notes_max: count(|given| &given.notes_max, 2_000),
        observations_max: count(|given| &given.observations_max, 20_000),
        max_age: max_age.map_or(Duration::from_secs(400 * 86_400), |at| at.value),
    }
}

pub(super) fn resolver(source: &Source<'_>, spec: &RootSpec) -> Resolver {
    let default = Resolver::default();
    let Some(spec) = spec.resolver.as_ref().map(|at| &at.value) else { return default };
    // Whoever sets one of the bounds beyond the default of the other means both.
    let ttl_min = spec.ttl_min.as_ref().map(|at| at.value);
    let ttl_max = spec.ttl_max.as_ref().map(|at| at.value);
    let ttl_min = ttl_min.unwrap_or_else(|| default.ttl_min.min(ttl_max.unwrap_or(default.ttl_min)));
    let ttl_max = ttl_max.unwrap_or_else(|| default.ttl_max.max(ttl_min));
    if let Some(at) = spec.ttl_max.as_ref().filter(|_| ttl_max < ttl_min) {
        source.error(&at.place, "`ttl_max` is shorter than `ttl_min`");
    }
    Resolver {
        servers: spec.servers.iter().flat_map(|at| &at.value).map(|at| at.value).collect(),
        ttl_min,
        ttl_max,
        timeout: value_or(&spec.timeout, default.timeout),
    }
}
