//! Dangers of groups and services.

use std::time::Duration;

use tidegate_health::fleet::{Data, Group};

use super::{At, Config, GroupId, GroupSpec, ServiceSpec, Source};
use crate::network::is_public;
use crate::spec::{CheckSpec, OriginSpec, OriginUrl, TlsSpec, UrlHost, UrlScheme, VerifySpec};

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
    needs_resolver(source, spec);
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
    let UrlHost::Address(ip) = url.value.host else { return };
    if url.value.scheme == UrlScheme::Http && is_public(ip) {
        let message =
            format!("plain http to {ip}, a public address: anyone on the way can read and change it");
        source.warn_help(&url.place, message, "use https://, or a private network between the sites");
    }
}

/// Once per service: what there is to say is the same of each.
fn needs_resolver(source: &Source<'_>, spec: &ServiceSpec) {
    let listed = spec.origins.iter().flat_map(|at| &at.value).flat_map(|(_, listed)| listed);
    let is_name = |url: &&At<OriginUrl>| matches!(url.value.host, UrlHost::Name(_));
    if let Some(url) = listed.filter_map(|at| at.value.url.as_ref()).find(is_name) {
        let message = format!(
            "{} is a name: a daemon that starts while nobody answers for it knows its addresses only of an earlier time",
            url.value
        );
        let help = "have a resolver outside the sites that may be lost, or give addresses";
        source.warn_help(&url.place, message, help);
    }
}

fn without_vantage(source: &Source<'_>, origin: &OriginSpec, config: &Config) {
    let Some(vantages) = origin.vantages.as_ref() else { return };
    if vantages.value.iter().all(|vantage| *vantage.value != *config.node.name) {
        let message = format!("no vantage can reach the origin: the only node is `{}`", config.node.name);
        source.warn(&vantages.place, message);
    }
}
