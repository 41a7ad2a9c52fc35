//! Dangers of groups and services.

use std::net::IpAddr;
use std::time::Duration;

use tidegate_health::fleet::{Data, Group};

use super::{Config, GroupId, GroupSpec, ServiceSpec, Source};
use crate::spec::{CheckSpec, OriginSpec, OriginUrl, TlsSpec, UrlScheme, VerifySpec};

pub(super) fn warn_group(source: &Source<'_>, spec: &GroupSpec, id: GroupId, config: &Config) {
    let group = config.fleet.group(id);
    if group.services.is_empty() {
        source.warn(&spec.place, "the group has no services: nothing decides where it is fit");
    }
    if let (Some(at), [only]) = (spec.sites.as_ref(), group.sites.as_slice()) {
        let message =
            format!("`{}` is the only site: there is nowhere to fail over to", config.fleet.site(*only).name);
        source.warn(&at.place, message);
    }
    never_by_itself(source, spec, group);
    pointless_failover_after(source, spec, group, config);
    for site in group.sites.iter().map(|&site| config.fleet.site(site)) {
        for capability in group.requires.difference(&site.provides) {
            let place = spec.requires.as_ref().map_or(&spec.place, |at| &at.place);
            let message =
                format!("the site `{}` does not provide `{capability}`: it can never be fit", site.name);
            source.warn(place, message);
        }
    }
}

pub(super) fn warn_service(source: &Source<'_>, spec: &ServiceSpec, config: &Config) {
    if let Some(check) = spec.check.as_ref().map(|at| &at.value) {
        flapping(source, check);
        never_answered_in_time(source, check);
        unverified(source, check.tls.as_ref().map(|at| &at.value));
    }
    unverified(source, spec.tls.as_ref().map(|at| &at.value));
    for origin in spec.origins.iter().flat_map(|at| &at.value).flat_map(|(_, listed)| listed) {
        plain_in_public(source, &origin.value);
        unverified(source, origin.value.tls.as_ref().map(|at| &at.value));
        without_vantage(source, &origin.value, config);
    }
}

fn never_by_itself(source: &Source<'_>, spec: &GroupSpec, group: &Group) {
    if group.sites.len() < 2 || group.data != Data::Stateful {
        return;
    }
    if spec.fence.is_some() || spec.fence_lease.is_some() {
        let message = "the group shares data and fencing has no effect yet: it never switches by itself";
        source.warn_help(&spec.place, message, "it freezes with the reason no-fence; a person switches it");
    } else {
        let message = "the group shares data and has no fence: it never switches by itself";
        let help = "it freezes with the reason no-fence and a person switches it; set `stateless = true` if its \
                    services share no data";
        source.warn_help(&spec.place, message, help);
    }
}

/// A target must pass a complete fresh round of checks first, which takes up to the fast interval.
fn pointless_failover_after(source: &Source<'_>, spec: &GroupSpec, group: &Group, config: &Config) {
    let Some(at) = spec.failover_after.as_ref().filter(|at| !at.value.is_zero()) else {
        return;
    };
    let fleet = &config.fleet;
    let critical = group.services.iter().map(|&id| fleet.service(id)).filter(|service| service.critical);
    let origins = critical.flat_map(|service| service.origins.values().flatten());
    let round = origins.map(|&id| fleet.origin(id).thresholds.fast_interval).max().unwrap_or(Duration::ZERO);
    if at.value < round {
        let round = crate::duration::format_duration(round);
        let message =
            format!("shorter than the round of checks ({round}) that a target needs: it changes nothing");
        source.warn(&at.place, message);
    }
}

fn flapping(source: &Source<'_>, check: &CheckSpec) {
    if let Some(fall) = check.fall.as_ref().filter(|fall| fall.value == 1) {
        source.warn(&fall.place, "one failed check takes an origin down: a lost packet makes it flap");
    }
}

fn never_answered_in_time(source: &Source<'_>, check: &CheckSpec) {
    let interval = check.interval.as_ref().map_or(Duration::from_secs(1), |at| at.value);
    if let Some(timeout) = check.timeout.as_ref().filter(|timeout| timeout.value >= interval) {
        let message =
            "a check may take as long as the interval: a silent origin is noticed later than it seems";
        source.warn_help(&timeout.place, message, "set `timeout` below `interval`");
    }
}

fn unverified(source: &Source<'_>, tls: Option<&TlsSpec>) {
    if let Some(at) = tls.and_then(|tls| tls.verify.as_ref()).filter(|at| matches!(at.value, VerifySpec::Off))
    {
        let message = "certificates are not verified: anyone on the way can answer for the origin";
        source.warn_help(&at.place, message, "trust your own CA instead: verify = { ca = \"FILE\" }");
    }
}

fn plain_in_public(source: &Source<'_>, origin: &OriginSpec) {
    let Some(url) = origin.url.as_ref() else { return };
    let OriginUrl { scheme, addr } = url.value;
    if scheme == UrlScheme::Http && is_public(addr.ip()) {
        let message = format!(
            "plain http to {}, a public address: anyone on the way can read and change it",
            addr.ip()
        );
        source.warn_help(&url.place, message, "use https://, or a private network between the sites");
    }
}

fn without_vantage(source: &Source<'_>, origin: &OriginSpec, config: &Config) {
    let Some(vantages) = origin.vantages.as_ref() else { return };
    if vantages.value.iter().all(|vantage| *vantage.value != *config.node.name) {
        let message = format!("no vantage can reach the origin: the only node is `{}`", config.node.name);
        source.warn(&vantages.place, message);
    }
}

/// Whether packets to an address may cross networks of others.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64; // RFC 6598
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_end_where_the_standards_say() {
        let table = [
            ("10.255.255.255", false),
            ("11.0.0.0", true),
            ("172.15.255.255", true),
            ("172.16.0.0", false),
            ("172.31.255.255", false),
            ("172.32.0.0", true),
            ("192.168.0.1", false),
            ("192.169.0.1", true),
            ("100.63.255.255", true),
            ("100.64.0.0", false),
            ("100.127.255.255", false),
            ("100.128.0.0", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("203.0.113.1", true),
            ("::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("2001:db8::1", true),
            ("::ffff:10.0.0.1", false),
            ("::ffff:203.0.113.1", true),
        ];
        for (ip, public) in table {
            assert_eq!(is_public(ip.parse().expect("the table's addresses are valid")), public, "{ip}");
        }
    }
}
