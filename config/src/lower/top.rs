//! The node, and where it keeps what must last.

use std::path::PathBuf;

use tidegate_health::id::{Name, SiteId};

use super::Directory;
use crate::domain::Node;
use crate::source::Source;
use crate::spec::RootSpec;

pub(super) fn state_dir(spec: &RootSpec) -> PathBuf {
    spec.state_dir.as_ref().map_or_else(|| PathBuf::from("/var/lib/tidegate"), |at| at.value.clone())
}

pub(super) fn node(source: &Source<'_>, spec: &RootSpec, sites: &Directory<'_>) -> Node {
    let node = spec.node.as_ref().map(|at| &at.value);
    let name = node.and_then(|node| node.name.as_ref()).map_or("edge", |at| at.value.as_str());
    let site = node.and_then(|node| node.site.as_ref()).and_then(|site| sites.find(source, site));
    Node { name: Name::from(name), site: site.map(SiteId) }
}
