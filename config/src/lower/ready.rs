//! Gates, witnesses and checks of published addresses: what the core weighs, and how it is learned.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tidegate_health::fleet::{FrontDoorCheck, Group, Thresholds, Witnesses};
use tidegate_health::gate::{Gate, Limit, Purpose, Value};
use tidegate_health::id::{GroupId, Name, SiteId};

use super::{Directory, small, value_or, value_or_default};
use crate::domain::{
    FrontDoorProbe, FrontDoorSettings, GateSettings, GateSource, WantedValue, WitnessSettings,
};
use crate::source::{At, Place, Source};
use crate::spec::{FrontDoorCheckSpec, GateHttpSpec, GateSpec, GroupSpec, RootSpec, name_fault};
use crate::status_set::StatusSet;
use crate::web_url::WebUrl;

/// Gates of one group; each is measured at each of its sites.
const GATES_MAX: usize = 64;
/// They are asked every other second.
const WITNESSES_MAX: usize = 16;
const WITNESS_INTERVAL: Duration = Duration::from_secs(2);
const WITNESS_TIMEOUT: Duration = Duration::from_secs(1);
/// Two attempts may be lost on our own machine's account.
const WITNESS_AGE_MAX: Duration = Duration::from_secs(7);

/// Adds the gates of a group to it, and says how they are measured.
pub(super) fn gates(
    source: &Source<'_>,
    spec: &GroupSpec,
    id: GroupId,
    group: &mut Group,
    sites: &Directory<'_>,
) -> Vec<GateSettings> {
    let named = spec.gate.as_ref().map_or(&[][..], |at| &at.value);
    if let Some((beyond, _)) = named.get(GATES_MAX) {
        source.error(&beyond.place, format!("a group has at most {GATES_MAX} gates"));
    }
    let mut settings = Vec::new();
    for (name, spec) in named.iter().take(GATES_MAX) {
        if let Some(fault) = name_fault(&name.value) {
            source.error(&name.place, fault);
        }
        let Some((gate, measured)) = gate(source, name, spec, id, group, sites) else { continue };
        group.gates.push(gate);
        settings.push(measured);
    }
    settings
}

fn gate(
    source: &Source<'_>,
    name: &At<String>,
    spec: &GateSpec,
    id: GroupId,
    group: &Group,
    sites: &Directory<'_>,
) -> Option<(Gate, GateSettings)> {
    // What could not be read counts as named: it is an error already.
    if spec.ways() != 1 {
        if !source.failed_below(&spec.place.path) {
            let message = "a gate needs exactly one of `command`, `http` and `push = true`";
            source.error(&spec.place, message);
        }
        return None;
    }
    if let Some(word) = spec.command.as_ref().and_then(|at| at.value.first())
        && !word.value.starts_with('/')
    {
        source.error(&word.place, "the program of a gate is given by its whole path, from `/`");
    }
    let limit = limit(source, spec);
    let places = places(source, spec, group, sites)?;
    let max_age = value_or(&spec.max_age, Duration::from_secs(60));
    let interval = value_or(&spec.interval, Duration::from_secs(5));
    let timeout = value_or(&spec.timeout, Duration::from_secs(2));
    let measures = spec.command.is_some() || spec.http.is_some();
    if measures && max_age < interval + timeout {
        let at = spec.max_age.as_ref().or(spec.interval.as_ref()).or(spec.timeout.as_ref());
        let help = "give `max_age` at least the sum of `interval` and `timeout`, better three times that";
        source.error_help(
            at.map_or(&spec.place, |at| &at.place),
            "the gate would be unknown between two tests",
            help,
        );
    }
    let counts_at = places.keys().copied().collect();
    let measured = GateSettings {
        group: id,
        gate: Name::from(name.value.as_str()),
        source: how(spec, places, limit.is_some()),
        interval,
        timeout,
    };
    let gate = Gate {
        name: measured.gate.clone(),
        sites: counts_at,
        max_age,
        limit,
        purpose: purpose(source, spec),
        check: measured.source.digest(),
    };
    Some((gate, measured))
}

fn purpose(source: &Source<'_>, spec: &GateSpec) -> Purpose {
    let data = value_or(&spec.data, spec.max_lag.is_some());
    if value_or_default(&spec.resynced) {
        if let Some(at) = spec.data.as_ref().filter(|at| at.value) {
            source.error(&at.place, "a gate that clears the mark of diverged data bars no failover");
        }
        return Purpose::Resynced;
    }
    if data { Purpose::Data } else { Purpose::Ready }
}

fn limit(source: &Source<'_>, spec: &GateSpec) -> Option<Limit> {
    let set = spec.limits();
    if set.len() > 1 {
        source.error(&spec.place, format!("a gate has one limit, this one has `{}`", set.join("` and `")));
    }
    if let (Some(at), true) = (&spec.value, set.is_empty()) {
        let help = "say what it is to be: one of `max_lag`, `at_most`, `at_least` and `equals`";
        source.error_help(&at.place, "nothing is said of the value", help);
    }
    if let Some(at) = spec.value.as_ref().filter(|_| spec.http.is_none()) {
        source.error(&at.place, "`value` is about the answer to `http`");
    }
    let wanted = |at: &At<WantedValue>| match &at.value {
        WantedValue::Number(number) => Value::Number(*number),
        WantedValue::Word(word) => Value::Word(word.as_str().into()),
    };
    let max_lag = spec.max_lag.as_ref().map(|at| Limit::MaxLag(at.value));
    let at_most = spec.at_most.as_ref().map(|at| Limit::AtMost(at.value));
    let at_least = spec.at_least.as_ref().map(|at| Limit::AtLeast(at.value));
    let equals = spec.equals.as_ref().map(|at| Limit::Equals(wanted(at)));
    max_lag.or(at_most).or(at_least).or(equals)
}

/// The sites where it counts, with the URL of each where there is one: those it names, those it has a URL for, or all.
fn places(
    source: &Source<'_>,
    spec: &GateSpec,
    group: &Group,
    sites: &Directory<'_>,
) -> Option<BTreeMap<SiteId, Option<WebUrl>>> {
    let find = |name: &At<String>| {
        let site = SiteId(sites.find(source, name)?);
        if group.sites.contains(&site) {
            return Some(site);
        }
        source.error(&name.place, format!("`{}` is not one of the group's sites", name.value));
        None
    };
    let at_least_one = |place: &Place, count: usize| {
        if count == 0 {
            source.error(place, "a gate counts at one site at least");
        }
    };
    if let Some(At { value: GateHttpSpec::Each(urls), place }) = &spec.http {
        if let Some(at) = &spec.sites {
            source.error(&at.place, "the table of `http` says already at which sites the gate counts");
        }
        at_least_one(place, urls.len());
        return urls.iter().map(|(name, url)| Some((find(name)?, Some(url.clone()?)))).collect();
    }
    let found: Option<Vec<_>> = match &spec.sites {
        None => Some(group.sites.clone()),
        Some(named) => {
            at_least_one(&named.place, named.value.len());
            named.value.iter().map(find).collect()
        }
    };
    let url = match &spec.http {
        Some(At { value: GateHttpSpec::One(url), place }) => {
            if found.as_ref().is_some_and(|found| found.len() > 1) {
                let help =
                    "write one for each site: { SITE = \"http://...\" }, or name one site with `sites`";
                source.error_help(place, "one URL cannot tell several sites apart", help);
            }
            Some(url.clone())
        }
        _ => None,
    };
    Some(found?.into_iter().map(|site| (site, url.clone())).collect())
}

fn how(spec: &GateSpec, places: BTreeMap<SiteId, Option<WebUrl>>, has_limit: bool) -> GateSource {
    if let Some(command) = &spec.command {
        return GateSource::Command(command.value.iter().map(|word| word.value.clone()).collect());
    }
    if spec.http.is_none() {
        return GateSource::Push;
    }
    let pointer = spec.value.as_ref().map_or("", |at| at.value.as_str());
    let urls = places.into_iter().filter_map(|(site, url)| Some((site, url?))).collect();
    GateSource::Http { urls, pointer: has_limit.then(|| Name::from(pointer)) }
}

/// Who the witnesses are, and how they are asked.
pub(super) fn witnesses(source: &Source<'_>, spec: &RootSpec) -> (Witnesses, WitnessSettings) {
    let named = spec.witnesses.as_ref().map_or(&[][..], |at| &at.value);
    if let Some(beyond) = named.get(WITNESSES_MAX) {
        source.error(&beyond.place, format!("more than {WITNESSES_MAX} witnesses"));
    }
    for at in named.iter().filter(|at| at.value.ip().is_unspecified() || at.value.ip().is_multicast()) {
        source.error(&at.place, format!("nobody can reach {}", at.value.ip()));
    }
    let addresses: Vec<_> = named.iter().map(|at| at.value).collect();
    let names = addresses.iter().map(|address| Name::from(address.to_string())).collect();
    (
        Witnesses { addresses: names, max_age: WITNESS_AGE_MAX },
        WitnessSettings { addresses, interval: WITNESS_INTERVAL, timeout: WITNESS_TIMEOUT },
    )
}

/// The check of a site's published addresses: what the core makes of the results, and what is asked.
pub(super) fn front_door(
    source: &Source<'_>,
    spec: &FrontDoorCheckSpec,
    site: SiteId,
    front_door: &[IpAddr],
) -> Option<(FrontDoorCheck, FrontDoorSettings)> {
    if front_door.is_empty() {
        let help = "list the published addresses under `front_door`, or leave the check out";
        source.error_help(&spec.place, "the site has no front door to check", help);
    }
    let probe = match (&spec.url, &spec.tcp) {
        (Some(url), None) => {
            let any = || StatusSet::parse("200-399").expect("it is a set of statuses");
            let expect_status = spec.expect_status.as_ref().map_or_else(any, |at| at.value.clone());
            FrontDoorProbe::Http { url: url.value.clone(), expect_status }
        }
        (None, Some(port)) => {
            if let Some(at) = &spec.expect_status {
                source.error(&at.place, "`expect_status` is about the answer to `url`");
            }
            FrontDoorProbe::Tcp { port: u16::try_from(port.value).unwrap_or(u16::MAX) }
        }
        _ if source.failed_below(&spec.place.path) => return None,
        _ => {
            source.error(&spec.place, "a front door is checked by exactly one of `url` and `tcp`");
            return None;
        }
    };
    let interval = value_or(&spec.interval, Duration::from_secs(5));
    let timeout = value_or(&spec.timeout, Duration::from_secs(2));
    let thresholds = Thresholds {
        fall: small(&spec.fall, 3),
        rise: small(&spec.rise, 2),
        interval,
        fast_interval: interval.min(Duration::from_secs(1)),
        timeout,
    };
    // A check or two may be lost on our own machine's account.
    let max_age = (interval + timeout) * 3;
    let check = FrontDoorCheck { thresholds, max_age, check: probe.digest() };
    Some((check, FrontDoorSettings { site, check: probe }))
}
