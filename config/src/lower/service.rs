//! Services: their group, their hosts, and the origins at each of the group's sites.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidegate_health::fleet::{Fleet, Group, Service};
use tidegate_health::id::{GroupId, Name, OriginId, ServiceId, SiteId};

use super::origin::{self, Template};
use super::{Directory, NAMES_MAX, ORIGINS_MAX, small, value_or, value_or_default};
use crate::dns_name::domain_name;
use crate::domain::{
    Ejection, HostPattern, Hsts, LongLived, NamedOrigin, OriginEndpoint, Protocol, Retry, ServiceSettings,
    Spill, Timeouts,
};
use crate::reader::{Named, join};
use crate::source::{At, Source};
use crate::spec::{OriginSpec, ServiceSpec, UrlHost};

/// What the fleet does not hold of services and origins.
#[derive(Default)]
pub(super) struct Lowered {
    /// Parallel to the fleet's origins.
    pub(super) origins: Vec<OriginEndpoint>,
    pub(super) named: Vec<NamedOrigin>,
    /// Parallel to the fleet's services.
    pub(super) services: Vec<ServiceSettings>,
}

/// Lowers services and their origins into the fleet.
pub(super) fn lower(
    source: &Source<'_>,
    specs: &Named<ServiceSpec>,
    sites: &Directory<'_>,
    groups: &Directory<'_>,
    fleet: &mut Fleet,
) -> Lowered {
    let mut out = Lowered::default();
    let mut taken = HashMap::new();
    // What is no table at all is an error already, and has nothing to look at.
    let readable = specs.iter().filter(|(_, spec)| spec.place.line > 0);
    for (id, (name, spec)) in (0..=u16::MAX).map(ServiceId).zip(readable) {
        let group = spec.group.as_ref().and_then(|group| groups.find(source, group)).map(GroupId);
        if let Some(group) = group {
            fleet.groups[group.index()].services.push(id);
        }
        let lowered = ServiceSettings {
            protocol: protocol(source, spec),
            hosts: hosts(source, name, spec, &mut taken),
            redirect_https: value_or(&spec.redirect_https, false),
            hsts: hsts(spec),
            origin_http: value_or_default(&spec.origin_http),
            spill: value_or_default(&spec.spill),
            long_lived: value_or_default(&spec.long_lived),
            timeouts: timeouts(spec),
            retry: retry(spec),
            ejection: ejection(source, spec),
            slow_start: value_or_default(&spec.slow_start),
        };
        deny_http_of_other_protocols(source, spec);
        deny_for_shared_data(source, spec, group.map(|group| fleet.group(group)));

        let template = Template::new(source, spec, &lowered.hosts);
        let (mut origins, mut counts) = (BTreeMap::new(), BTreeMap::new());
        for (site_name, listed) in spec.origins.iter().flat_map(|at| &at.value) {
            let Some(site) = sites.find(source, site_name).map(SiteId) else { continue };
            deny_foreign_site(source, site_name, site, group, fleet);
            let names_before = out.named.len();
            let ids = lower_origins(source, listed, &template, (id, site), fleet, &mut out, &name.value);
            counts.insert(site, Count { addresses: ids.len(), names: out.named.len() - names_before });
            if !ids.is_empty() {
                origins.insert(site, ids);
            }
        }
        check_origins(source, spec, group.map(|group| fleet.group(group)), fleet, &counts);
        fleet.services.push(Service {
            name: Name::from(name.value.as_str()),
            group: group.unwrap_or(GroupId(0)),
            critical: value_or(&spec.critical, true),
            min_up: small(&spec.min_up, 1),
            origins,
        });
        out.services.push(lowered);
    }
    deny_too_many_names(source, specs, &out);
    out
}

/// How many origins of a service are given at a site.
#[derive(Clone, Copy, Default)]
struct Count {
    addresses: usize,
    names: usize,
}

fn lower_origins(
    source: &Source<'_>,
    listed: &[At<OriginSpec>],
    template: &Template<'_>,
    (service, site): (ServiceId, SiteId),
    fleet: &mut Fleet,
    out: &mut Lowered,
    service_name: &str,
) -> Vec<OriginId> {
    let mut ids = Vec::with_capacity(listed.len());
    for at in listed {
        let Some(url) = at.value.url.as_ref() else { continue };
        // A name may come to stand for as many origins as its longest answer has.
        if fleet.origins.len() + out.named.len() * NamedOrigin::ADDRESSES_MAX >= ORIGINS_MAX {
            source.error(&at.place, format!("more than {ORIGINS_MAX} origins"));
            return ids;
        }
        let site_name = fleet.site(site).name.clone();
        let (origin, endpoint) = origin::lower(source, &at.value, url, template);
        if let UrlHost::Name(name) = &url.value.host {
            let (name, host) = (Name::from(name.as_str()), origin.host);
            let thresholds = template.thresholds;
            out.named.push(NamedOrigin { name, service, site, host, thresholds, endpoint });
            continue;
        }
        let id = OriginId(u32::try_from(out.origins.len()).expect("bounded by ORIGINS_MAX"));
        fleet.origins.push(tidegate_health::fleet::Origin {
            name: Name::from(format!("{service_name}/{site_name}/{}", endpoint.addr)),
            service,
            site,
            host: origin.host,
            resolved_from: None,
            thresholds: template.thresholds,
        });
        out.origins.push(endpoint);
        ids.push(id);
    }
    ids
}

fn deny_too_many_names(source: &Source<'_>, specs: &Named<ServiceSpec>, out: &Lowered) {
    let names: BTreeSet<_> = out.named.iter().map(|named| &named.name).collect();
    if let Some((_, spec)) = specs.last().filter(|_| names.len() > NAMES_MAX) {
        source.error(&spec.place, format!("more than {NAMES_MAX} names stand for origins"));
    }
}

fn protocol(source: &Source<'_>, spec: &ServiceSpec) -> Protocol {
    let protocol = value_or_default(&spec.protocol);
    if let Some(at) = spec.protocol.as_ref().filter(|_| protocol != Protocol::Http) {
        source.warn(
            &at.place,
            "only `protocol = \"http\"` has an effect yet: the service is checked, not served",
        );
    }
    protocol
}

/// Normalizes host names and holds them against those of the services before.
fn hosts<'s>(
    source: &Source<'_>,
    name: &'s At<String>,
    spec: &ServiceSpec,
    taken: &mut HashMap<HostPattern, &'s str>,
) -> Vec<HostPattern> {
    let protocol = value_or_default(&spec.protocol);
    let Some(at) = spec.hosts.as_ref() else {
        if protocol != Protocol::Tcp && !source.failed_below(&join(&spec.place.path, "hosts")) {
            source.error(&spec.place, "`hosts` is missing");
        }
        return Vec::new();
    };
    if protocol == Protocol::Tcp {
        source.error(&at.place, "a tcp service has no host names; `tls` is routed by name");
    } else if at.value.is_empty() && !source.failed_below(&at.place.path) {
        source.error(&at.place, "a service needs at least one host name");
    }
    let mut hosts = Vec::with_capacity(at.value.len());
    for host in &at.value {
        let pattern = match host_pattern(&host.value) {
            Ok(pattern) => pattern,
            Err(fault) => {
                source.error(&host.place, fault);
                continue;
            }
        };
        match taken.insert(pattern.clone(), &name.value) {
            None => hosts.push(pattern),
            Some(other) if other == name.value => {
                source.error(&host.place, format!("`{}` is listed twice", host.value));
            }
            Some(other) => {
                source.error(&host.place, format!("`{}` is served by the service `{other}` too", host.value));
            }
        }
    }
    hosts
}

pub(super) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    let (suffix, wildcard) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
    if suffix.contains('*') {
        return Err(format!("`{text}`: a `*` stands only at the front, as in `*.example.com`"));
    }
    if suffix.contains("://") || suffix.contains('/') {
        return Err(format!("`{text}` is not a host name; paths and schemes do not belong here"));
    }
    if suffix.contains(':') {
        return Err(format!(
            "`{text}` is not a host name; requests to any port are meant, leave the port out"
        ));
    }
    let name = Name::from(domain_name(suffix)?);
    if &*name == "." {
        return Err(format!("`{text}` is not a host name"));
    }
    Ok(if wildcard { HostPattern::Wildcard(name) } else { HostPattern::Exact(name) })
}

fn timeouts(spec: &ServiceSpec) -> Timeouts {
    let default = Timeouts::default();
    spec.timeouts.as_ref().map_or(default, |at| Timeouts {
        connect: value_or(&at.value.connect, default.connect),
        response: value_or(&at.value.response, default.response),
        body_idle: value_or(&at.value.body_idle, default.body_idle),
        pool_idle: value_or(&at.value.pool_idle, default.pool_idle),
        tunnel_idle: value_or(&at.value.tunnel_idle, default.tunnel_idle),
    })
}

fn retry(spec: &ServiceSpec) -> Retry {
    let default = Retry::default();
    spec.retry.as_ref().map_or(default, |at| Retry { attempts: small(&at.value.attempts, default.attempts) })
}

fn ejection(source: &Source<'_>, spec: &ServiceSpec) -> Ejection {
    let default = Ejection::default();
    let Some(ejection) = spec.ejection.as_ref().map(|at| &at.value) else {
        return default;
    };
    let base_default = ejection.max.as_ref().map_or(default.base, |max| max.value.min(default.base));
    let base = value_or(&ejection.base, base_default);
    if let Some(max) = ejection.max.as_ref().filter(|max| max.value < base) {
        source.error(&max.place, "the longest ejection is shorter than the first (`base`)");
    }
    Ejection {
        failures: small(&ejection.failures, default.failures),
        status_failures: small(&ejection.status_failures, default.status_failures),
        base,
        max: value_or(&ejection.max, default.max.max(base)),
        share_percent_max: small(&ejection.share_percent_max, default.share_percent_max),
    }
}

fn hsts(spec: &ServiceSpec) -> Option<Hsts> {
    let default = Hsts::default();
    spec.hsts.as_ref().map(|at| Hsts {
        max_age: value_or(&at.value.max_age, default.max_age),
        include_subdomains: value_or(&at.value.include_subdomains, default.include_subdomains),
        preload: value_or(&at.value.preload, default.preload),
    })
}

/// What is not read as HTTP is handed on as it comes.
fn deny_http_of_other_protocols(source: &Source<'_>, spec: &ServiceSpec) {
    if value_or_default(&spec.protocol) == Protocol::Http {
        return;
    }
    let keys = [
        ("redirect_https", spec.redirect_https.as_ref().filter(|at| at.value).map(|at| &at.place)),
        ("hsts", spec.hsts.as_ref().map(|at| &at.place)),
        ("origin_http", spec.origin_http.as_ref().map(|at| &at.place)),
    ];
    for (key, place) in keys {
        if let Some(place) = place {
            source.error(place, format!("`{key}` is for http services; a tcp or tls service is not read"));
        }
    }
}

/// Two sites must not both serve what shares data.
fn deny_for_shared_data(source: &Source<'_>, spec: &ServiceSpec, group: Option<&Group>) {
    let Some(group) = group.filter(|group| !group.is_stateless()) else {
        return;
    };
    let help = format!("set `stateless = true` for the group `{}` if its services share no data", group.name);
    if let Some(at) = spec.spill.as_ref().filter(|at| at.value == Spill::Any) {
        source.error_help(&at.place, "`spill = \"any\"` is only for stateless groups", help.clone());
    }
    if let Some(at) = spec.long_lived.as_ref().filter(|at| at.value == LongLived::Keep) {
        source.error_help(&at.place, "`long_lived = \"keep\"` is only for stateless groups", help);
    }
}

fn deny_foreign_site(
    source: &Source<'_>,
    name: &At<String>,
    site: SiteId,
    group: Option<GroupId>,
    fleet: &Fleet,
) {
    let Some(group) = group.map(|group| fleet.group(group)).filter(|group| !group.sites.contains(&site))
    else {
        return;
    };
    let message = format!("the site `{}` is not one of the group `{}`'s sites", name.value, group.name);
    source.error_help(
        &name.place,
        message,
        format!("add it to `group.{}.sites`, or leave it out", group.name),
    );
}

/// Whether the service can be served at all of the group's sites.
fn check_origins(
    source: &Source<'_>,
    spec: &ServiceSpec,
    group: Option<&Group>,
    fleet: &Fleet,
    origins: &BTreeMap<SiteId, Count>,
) {
    let (Some(group), Some(at)) = (group, spec.origins.as_ref()) else {
        return;
    };
    if source.failed_below(&at.place.path) {
        return;
    }
    if origins.values().all(|count| count.addresses + count.names == 0) {
        source.error(&at.place, "the service has no origins");
        return;
    }
    let min_up = spec.min_up.as_ref();
    for &id in &group.sites {
        let site = &fleet.site(id).name;
        let Count { addresses: count, names } = origins.get(&id).copied().unwrap_or_default();
        // How many a name stands for is known when it is resolved.
        if names > 0 {
            continue;
        }
        if count == 0 && value_or(&spec.critical, true) {
            let message =
                format!("the site `{site}` has no origins of this critical service: it can never be fit");
            source.warn_help(
                &spec.place,
                message,
                format!("add `origins.{site}`, or set `critical = false`"),
            );
        } else if let Some(min_up) = min_up.filter(|at| count > 0 && at.value > count as u64) {
            let message = format!("`min_up` is {}, but the site `{site}` has only {count}", min_up.value);
            source.error_help(&min_up.place, message, "the site could never be fit");
        }
    }
}
