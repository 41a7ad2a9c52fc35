//! Dangers of where things stand: edges, name servers and cluster members at a site they must survive, and sites
//! and capabilities that nothing uses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tidegate_health::id::SiteId;

use super::{Config, RootSpec, Source, named};
use crate::diagnostic::{Diagnostic, Severity};

pub(super) fn warn(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    only_edge(source, spec, config);
    cluster_in_one_place(source, spec);
    unused_sites(source, spec, config);
    unused_capabilities(source, spec, config);
}

/// Looks for a zone whose name servers are all lost with one site. `servers` are the names of the zone's NS records
/// with their addresses, as far as the zone file gives them; a server without a known address counts as elsewhere.
///
/// Addresses are known by the sites' front doors and by where this node listens.
#[must_use]
pub fn check_name_servers(config: &Config, zone: &str, servers: &[(String, Vec<IpAddr>)]) -> Vec<Diagnostic> {
    let Some(zone) = config.zones.iter().find(|settings| *settings.origin == *zone) else {
        return Vec::new();
    };
    let warning = |message: &str, help: &str| {
        vec![Diagnostic::new(Severity::Warning, &zone.declared, message, Some(help))]
    };
    let mut sites = servers.iter().flat_map(|(_, addresses)| match addresses.as_slice() {
        [] => vec![None],
        known => known.iter().map(|&address| site_of(config, address)).collect(),
    });
    match sites.next() {
        Some(Some(first)) if sites.all(|site| site == Some(first)) => {
            let site = &config.fleet.site(first).name;
            let message = format!("every name server of `{}` is at the site `{site}`", zone.origin);
            warning(&message, "when that site is lost, nobody answers; add a name server elsewhere")
        }
        Some(_) if servers.len() == 1 => {
            let message = format!("`{}` has only one name server", zone.origin);
            warning(&message, "when it is lost, nobody answers; add one elsewhere")
        }
        _ => Vec::new(),
    }
}

fn site_of(config: &Config, address: IpAddr) -> Option<SiteId> {
    let fleet = &config.fleet;
    let front_door = fleet.sites.iter().position(|site| site.front_door.contains(&address));
    let by_front_door = front_door.and_then(|i| u16::try_from(i).ok()).map(SiteId);
    let listens = || config.listen.dns.iter().any(|listen| listen.ip() == address);
    by_front_door.or_else(|| config.node.site.filter(|_| listens()))
}

fn only_edge(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    let (Some(site), Some(at)) =
        (config.node.site, spec.node.as_ref().and_then(|node| node.value.site.as_ref()))
    else {
        return;
    };
    let must_survive =
        |group: &&tidegate_health::fleet::Group| group.sites.len() > 1 && group.sites.contains(&site);
    let groups: Vec<_> =
        config.fleet.groups.iter().filter(must_survive).map(|group| format!("`{}`", group.name)).collect();
    if !groups.is_empty() {
        let which = if groups.len() == 1 { "group" } else { "groups" };
        let message = format!(
            "the only edge stands at `{}`, a site that the {which} {} must survive",
            at.value,
            groups.join(", ")
        );
        source.warn_help(
            &at.place,
            message,
            "when that site is lost, the edge is lost with it; run it elsewhere",
        );
    }
}

fn cluster_in_one_place(source: &Source<'_>, spec: &RootSpec) {
    let Some(members) = spec.etcd.as_ref().and_then(|etcd| etcd.value.members.as_ref()) else {
        return;
    };
    let domains: BTreeSet<_> = members
        .value
        .iter()
        .filter_map(|member| member.value.site.as_ref())
        .map(|at| at.value.as_str())
        .collect();
    if domains.len() < 3 {
        let message = match domains.first() {
            Some(only) if domains.len() == 1 => format!("every etcd member is at `{only}`"),
            _ => "the etcd members are in fewer than three failure domains".to_owned(),
        };
        let help = "losing one place can lose the majority; spread the members over three";
        source.warn_help(&members.place, message, help);
    }
}

fn unused_sites(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    let used: BTreeSet<_> = config.fleet.groups.iter().flat_map(|group| &group.sites).collect();
    for (i, (name, _)) in (0..=u16::MAX).zip(named(&spec.site)) {
        if !used.contains(&SiteId(i)) {
            source.warn(&name.place, format!("no group uses the site `{}`", name.value));
        }
    }
}

fn unused_capabilities(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    let fleet = &config.fleet;
    for capability in spec.capabilities.iter().flat_map(|at| &at.value) {
        let name = capability.value.as_str();
        if !fleet.groups.iter().any(|group| group.requires.contains(name) || group.wants.contains(name)) {
            source.warn(&capability.place, format!("no group requires or wants `{name}`"));
        } else if !fleet.sites.iter().any(|site| site.provides.contains(name)) {
            source.warn(&capability.place, format!("no site provides `{name}`"));
        }
    }
}
