//! Dangers of a configuration that is valid: it does what it says, but perhaps not what was meant.

mod fleet;
mod front;
mod notify;
mod ready;
mod site;

pub use site::check_name_servers;
use tidegate_health::id::GroupId;

use crate::domain::{Config, Protocol};
use crate::reader::Named;
use crate::source::{At, Source};
use crate::spec::{GroupSpec, RootSpec, ServiceSpec, ZoneSpec};

/// Records every danger. Only for what was lowered without an error.
pub(crate) fn warn(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    listeners(source, spec, config);
    front::warn(source, spec, config);
    site::warn(source, spec, config);
    notify::warn(source, spec);
    ready::warn(source, spec, config);
    for ((_, group), id) in named(&spec.group).iter().zip(config.fleet.group_ids()) {
        fleet::warn_group(source, group, id, config);
    }
    for (_, service) in named(&spec.service) {
        fleet::warn_service(source, service, config);
    }
    for (_, zone) in named(&spec.zone) {
        long_ttls(source, zone);
    }
}

fn listeners(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    let place = spec.listen.as_ref().map_or(&spec.place, |listen| &listen.place);
    let proxies = config.services.iter().any(|service| service.protocol == Protocol::Http);
    if proxies && config.listen.http.is_empty() && config.listen.https.is_empty() {
        source.warn_help(place, "there are services, but nothing listens for HTTP", "set `listen.http`");
    }
    if !config.zones.is_empty() && config.listen.dns.is_empty() && config.listen.dot.is_empty() {
        source.warn_help(place, "there are zones, but nothing listens for DNS", "set `listen.dns`");
    }
}

/// Clients keep an answer for its TTL, whatever happens meanwhile.
fn long_ttls(source: &Source<'_>, zone: &ZoneSpec) {
    const TTL_MAX: std::time::Duration = std::time::Duration::from_secs(300);
    for (_, steer) in named(&zone.steer) {
        if let Some(ttl) = steer.ttl.as_ref().filter(|ttl| ttl.value > TTL_MAX) {
            let message =
                "clients keep answers this long after a switch; more than 5m is long for a steered name";
            source.warn(&ttl.place, message);
        }
    }
}

fn named<T>(table: &Option<At<Named<T>>>) -> &[(At<String>, T)] {
    table.as_ref().map_or(&[], |at| &at.value)
}
