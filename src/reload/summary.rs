//! What a configuration consists of, so that two of them can be compared part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_config::Config;
use tidegate_dns::Zone;
use tidegate_health::fleet::Fleet;
use tidegate_health::id::GroupId;
use tidegate_health::safety::Demand;
use tidegate_probe::ProbeSpec;

use crate::app::listeners;
use crate::certs::Certificates;

/// A digest of each part, by kind and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary(BTreeMap<&'static str, BTreeMap<String, u64>>);

/// How many parts of a kind came, went and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub added: usize,
    pub removed: usize,
    pub changed: usize,
}

/// By kind (`sites`, `groups`, `rules`, `services`, `origins`, `names`, `zones`, `listeners`, `certificates`, `receivers`, `settings`); kinds without a change are
/// left out.
pub type Changes = BTreeMap<String, Changed>;

impl Summary {
    /// Whatever has an influence is in it; numbers, which only mean something in one fleet, are not.
    pub(super) fn of(
        config: &Config,
        probes: &[ProbeSpec],
        zones: &[Arc<Zone>],
        certificates: &Certificates,
        outbound: &[u64],
    ) -> Self {
        let fleet = &config.fleet;
        let mut parts = Self::default();
        for site in &fleet.sites {
            parts.add("sites", &site.name, &format!("{site:?}"));
        }
        for (id, group) in fleet.group_ids().zip(&fleet.groups) {
            let mut unnumbered = group.clone();
            (unnumbered.sites, unnumbered.services) = (Vec::new(), Vec::new());
            let gates = std::mem::take(&mut unnumbered.gates);
            let mut text = format!("{unnumbered:?}");
            for site in &group.sites {
                let _ = write!(text, " {}", fleet.site(*site).name);
            }
            for mut gate in gates {
                let sites: Vec<_> = gate.sites.iter().map(|site| &fleet.site(*site).name).collect();
                let _ = write!(text, " {sites:?}");
                gate.sites.clear();
                let how = config.gates.iter().find(|it| it.group == id && it.gate == gate.name);
                let times = how.map(|how| (how.interval, how.timeout));
                let _ = write!(text, " {gate:?} {times:?}");
            }
            parts.add("groups", &group.name, &text);
        }
        for rule in &fleet.rules {
            parts.add("rules", &rule.name, &demand(fleet, &rule.demand));
        }
        for (service, settings) in fleet.services.iter().zip(&config.services) {
            let group = &fleet.group(service.group).name;
            let text = format!("{group} {} {} {settings:?}", service.critical, service.min_up);
            parts.add("services", &service.name, &text);
        }
        for ((origin, endpoint), probe) in fleet.origins.iter().zip(&config.origins).zip(probes) {
            let text = format!("{:?} {:?} {endpoint:?} {}", origin.host, origin.thresholds, probe.digest());
            parts.add("origins", &origin.name, &text);
        }
        for named in &config.named {
            let (service, site) = (fleet.service(named.service), fleet.site(named.site));
            let name = format!("{}/{}/{}:{}", service.name, site.name, named.name, named.port());
            parts.add("names", &name, &format!("{:?} {:?} {named:?}", named.host, named.thresholds));
        }
        for (settings, zone) in config.zones.iter().zip(zones) {
            let mut text = format!("{} {}", zone.content_hash(), zone.serial());
            for steer in &settings.steer {
                let _ = write!(text, " {} {:?} {}", steer.name, steer.ttl, group_name(fleet, steer.group));
            }
            parts.add("zones", &settings.origin, &text);
        }
        for (kind, address) in listeners::doors(config) {
            parts.add("listeners", &format!("{kind:?} {address}"), "");
        }
        for (path, certificate) in certificates.files() {
            parts.add("certificates", &path.display().to_string(), &format!("{certificate:?}"));
        }
        for (receiver, digest) in config.receivers.iter().zip(outbound) {
            parts.add("receivers", &receiver.name, &format!("{receiver:?} {digest}"));
        }
        let heartbeat = (&config.heartbeat, outbound.last());
        parts.add("settings", "heartbeat", &format!("{heartbeat:?}"));
        let listen = &config.listen;
        parts.add(
            "settings",
            "tls",
            &format!("{} {:?} {}", listen.http2, listen.tls_version_min, listen.api_tls),
        );
        parts.add("settings", "resolver", &format!("{:?}", config.resolver));
        parts.add("settings", "access_log", &format!("{:?}", config.access_log));
        parts.add("settings", "limits", &format!("{:?}", config.limits));
        parts.add("settings", "client_address", &format!("{:?}", config.client_address));
        parts.add("settings", "witnesses", &format!("{:?}", fleet.witnesses));
        parts.add("settings", "history", &format!("{:?}", config.history));
        let node_site = config.node.site.map(|site| &fleet.site(site).name);
        parts.add("settings", "node.site", &format!("{node_site:?}"));
        parts.add("settings", "capabilities", &format!("{:?}", config.capabilities));
        parts.add("settings", "first_start", &format!("{:?}", fleet.first_start));
        parts.add("settings", "startup_deadline", &format!("{:?}", config.startup_deadline));
        parts.add("settings", "drain_deadline", &format!("{:?}", config.drain_deadline));
        parts
    }

    fn add(&mut self, kind: &'static str, name: &str, text: &str) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.0.entry(kind).or_default().insert(name.to_owned(), hasher.finish());
    }

    /// What is different in `new`.
    pub(super) fn changes(&self, new: &Self) -> Changes {
        let none = BTreeMap::new();
        let kinds: BTreeSet<_> = self.0.keys().chain(new.0.keys()).copied().collect();
        let changes = kinds.into_iter().map(|kind| {
            let (old, new) = (self.0.get(kind).unwrap_or(&none), new.0.get(kind).unwrap_or(&none));
            let changed = Changed {
                added: new.keys().filter(|name| !old.contains_key(*name)).count(),
                removed: old.keys().filter(|name| !new.contains_key(*name)).count(),
                changed: new.iter().filter(|(name, it)| old.get(*name).is_some_and(|was| was != *it)).count(),
            };
            (kind.to_owned(), changed)
        });
        changes.filter(|(_, changed)| *changed != Changed::default()).collect()
    }
}

fn demand(fleet: &Fleet, demand: &Demand) -> String {
    let groups = |ids: &BTreeSet<GroupId>| {
        ids.iter().map(|id| fleet.group(*id).name.to_string()).collect::<BTreeSet<_>>()
    };
    match demand {
        Demand::Apart { groups: apart } => format!("apart {:?}", groups(apart)),
        Demand::Closed { groups: closed, sites, hours } => {
            let sites: BTreeSet<_> = sites.iter().map(|site| &fleet.site(*site).name).collect();
            let hours = hours.as_ref().map(ToString::to_string);
            format!("never {sites:?} {:?} {hours:?}", groups(closed))
        }
        Demand::SitesFit { groups: about, at_least } => format!("{at_least} {:?}", groups(about)),
    }
}

fn group_name(fleet: &Fleet, group: GroupId) -> &str {
    &fleet.group(group).name
}

/// The changes in a line: `origins: 1 added, 2 changed; zones: 1 changed`.
pub(crate) fn line(changes: &Changes) -> String {
    let kinds = changes.iter().map(|(kind, changed)| {
        let counts = [(changed.added, "added"), (changed.removed, "removed"), (changed.changed, "changed")];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        format!("{kind}: {}", counts.join(", "))
    });
    let text = kinds.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "nothing changed".into() } else { text }
}
