//! Dangers of what bars moves: witnesses that are too few or stand in the wrong place, rules that never let anything
//! happen, gates that clear what is never marked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tidegate_health::fleet::{Fleet, Group};
use tidegate_health::gate::Purpose;
use tidegate_health::id::{GroupId, SiteId};
use tidegate_health::safety::Demand;

use super::{Config, RootSpec, Source, named};
use crate::source::Place;

/// With fewer, one that is down alone decides.
const WITNESSES_MIN: usize = 3;

pub(super) fn warn(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    witnesses(source, spec, config);
    for (_, group) in named(&spec.group) {
        for (name, _) in named(&group.gate) {
            let lowered = config.fleet.groups.iter().find(|it| it.gate(&name.value).is_some());
            let clears = |group: &&Group| {
                group.is_stateless()
                    && group.gate(&name.value).is_some_and(|it| it.purpose == Purpose::Resynced)
            };
            if lowered.filter(clears).is_some() {
                let message =
                    "a group that shares no data is never marked diverged, so this gate clears nothing";
                source.warn(&name.place, message);
            }
        }
    }
    for (name, _) in named(&spec.rule) {
        if let Some(rule) = config.fleet.rules.iter().find(|rule| *rule.name == *name.value) {
            rule_that_bars_all(source, &name.place, &config.fleet, &rule.demand);
        }
    }
}

fn witnesses(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    let Some(at) = &spec.witnesses else { return };
    if (1..WITNESSES_MIN).contains(&at.value.len()) {
        let message = "with fewer than three witnesses one that is down stops every automatic move";
        source.warn_help(&at.place, message, "add some, of different providers");
    }
    let doors = config.fleet.sites.iter().flat_map(|site| &site.front_door).copied();
    let origins = config.origins.iter().map(|origin| origin.addr.ip());
    let ours: BTreeSet<IpAddr> = doors.chain(origins).collect();
    for witness in at.value.iter().filter(|at| ours.contains(&at.value.ip())) {
        let message = format!("the witness {} stands at one of the sites", witness.value);
        source.warn_help(
            &witness.place,
            message,
            "what is lost together with a site is no witness of its loss",
        );
    }
}

fn rule_that_bars_all(source: &Source<'_>, place: &Place, fleet: &Fleet, demand: &Demand) {
    match demand {
        Demand::Apart { groups } => {
            let sites: BTreeSet<_> = groups.iter().flat_map(|id| &fleet.group(*id).sites).collect();
            if sites.len() < groups.len() {
                let (groups, sites) = (groups.len(), sites.len());
                let message = format!("{groups} groups cannot be kept apart at {sites} sites");
                source.warn(place, message);
            }
        }
        Demand::Closed { groups, sites, hours } => {
            closed(source, place, fleet, groups, sites, hours.is_some());
        }
        Demand::SitesFit { groups, at_least } => {
            for group in groups.iter().map(|id| fleet.group(*id)).filter(|it| it.sites.len() < *at_least) {
                let (name, count) = (&group.name, group.sites.len());
                let message = format!(
                    "the group `{name}` has {count} sites, so a planned move of it always needs an override"
                );
                source.warn(place, message);
            }
        }
    }
}

fn closed(
    source: &Source<'_>,
    place: &Place,
    fleet: &Fleet,
    groups: &BTreeSet<GroupId>,
    sites: &BTreeSet<SiteId>,
    has_hours: bool,
) {
    let all: BTreeSet<_> = groups.iter().flat_map(|id| &fleet.group(*id).sites).copied().collect();
    for site in sites.difference(&all) {
        let message = format!("none of the rule's groups can be at `{}` anyway", fleet.site(*site).name);
        source.warn(place, message);
    }
    let shut = |group: &&Group| group.sites.iter().all(|site| sites.contains(site));
    for group in groups.iter().map(|id| fleet.group(*id)).filter(shut) {
        let when = if has_hours { "in these hours" } else { "at all" };
        source.warn(place, format!("the group `{}` can move nowhere {when}", group.name));
    }
}
