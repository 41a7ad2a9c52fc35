//! Fleets by chance, and parts of them.

use std::collections::BTreeSet;

use fastrand::Rng;
use jiff::tz::TimeZone;
use tidegate_health::fleet::{Data, Failback, FirstStart, Fleet, Mode, SwitchLimit};
use tidegate_health::gate::Purpose;
use tidegate_health::id::{GroupId, OriginId, ServiceId, SiteId};
use tidegate_health::safety::{Demand, Hours, Span};

use crate::world::{Shape, doored, fleet, ms, ruled, secs, with_gate, witnessed};

pub(crate) fn random_fleet(rng: &mut Rng) -> Fleet {
    let shape = Shape {
        groups: rng.u16(1..=2),
        sites: rng.u16(1..=4),
        services: rng.u16(1..=2),
        origins: rng.u32(1..=2),
    };
    let mut fleet = fleet(shape);
    if rng.u8(..10) == 0 {
        fleet.first_start = FirstStart::Undecided;
    }
    for group in &mut fleet.groups {
        group.data = match rng.u8(..4) {
            0 => Data::Stateful,
            1 => Data::Stateless { failback: Failback::Manual },
            _ => Data::Stateless { failback: Failback::Automatic { after: secs(rng.u64(0..20)) } },
        };
        group.mode = if rng.u8(..4) == 0 { Mode::Confirm } else { Mode::Automatic };
        group.failover_after = ms(rng.u64(0..3_000));
        group.minimum_stay = secs(rng.u64(0..20));
        group.switch_limit = SwitchLimit { count: rng.u32(0..4), window: secs(rng.u64(20..300)) };
    }
    for service in &mut fleet.services {
        service.critical = rng.u8(..5) > 0;
        service.min_up = rng.u32(1..=shape.origins);
    }
    for origin in &mut fleet.origins {
        origin.thresholds.fall = rng.u32(1..=3);
        origin.thresholds.rise = rng.u32(1..=3);
    }
    if shape.sites > 1 && rng.u8(..3) == 0 {
        let purposes = [Purpose::Ready, Purpose::Data, Purpose::Resynced];
        fleet = with_gate(fleet, "replica", purposes[rng.usize(..3)]);
        fleet.groups[0].gates[0].max_age = secs(rng.u64(1..20));
    }
    if rng.u8(..3) == 0 {
        fleet = witnessed(fleet);
    }
    if rng.u8(..3) == 0 {
        fleet = doored(fleet);
    }
    if shape.groups > 1 && rng.u8(..3) == 0 {
        fleet = ruled(fleet, "apart", Demand::Apart { groups: [GroupId(0), GroupId(1)].into() });
    }
    let groups: BTreeSet<_> = fleet.group_ids().collect();
    if shape.sites > 1 && rng.u8(..6) == 0 {
        fleet = ruled(fleet, "two", Demand::SitesFit { groups: groups.clone(), at_least: 2 });
    }
    if shape.sites > 1 && rng.u8(..6) == 0 {
        let sites = [SiteId(rng.u16(..shape.sites))].into();
        let span = Span { days: [true; 7], from: 0, to: 1_335 };
        let hours = Hours { zone: TimeZone::UTC, text: "until 22:15".into(), spans: vec![span] };
        let hours = rng.bool().then_some(hours);
        fleet = ruled(fleet, "closed", Demand::Closed { groups, sites, hours });
    }
    fleet
}

/// A fleet of some of the sites, groups and origins of `whole`, in an order by chance.
pub(crate) fn part(rng: &mut Rng, whole: &Fleet) -> Fleet {
    let mut fleet = Fleet { first_start: whole.first_start, ..Fleet::default() };
    let mut sites = whole.sites.clone();
    rng.shuffle(&mut sites);
    sites.truncate(if rng.u8(..3) == 0 { rng.usize(1..=sites.len()) } else { sites.len() });
    fleet.sites = sites;
    let mut groups: Vec<_> = whole.groups.iter().collect();
    rng.shuffle(&mut groups);
    groups.truncate(if rng.u8(..3) == 0 { rng.usize(1..=groups.len()) } else { groups.len() });
    for was in groups {
        let id = GroupId(u16::try_from(fleet.groups.len()).expect("few groups"));
        let mut group = was.clone();
        let named = |site: &SiteId| fleet.site_named(&whole.site(*site).name);
        group.sites = was.sites.iter().filter_map(named).collect();
        rng.shuffle(&mut group.sites);
        for gate in &mut group.gates {
            gate.sites = gate.sites.iter().filter_map(named).collect();
        }
        group.failover_after = ms(rng.u64(0..3_000));
        group.services.clear();
        for service in &was.services {
            let mut service = whole.service(*service).clone();
            let service_id = ServiceId(u16::try_from(fleet.services.len()).expect("few services"));
            group.services.push(service_id);
            service.group = id;
            let old = std::mem::take(&mut service.origins);
            for site in &group.sites {
                let origins = old.iter().filter(|(at, _)| whole.site(**at).name == fleet.site(*site).name);
                let mut origins: Vec<_> = origins.flat_map(|(_, ids)| ids).collect();
                rng.shuffle(&mut origins);
                origins.truncate(rng.usize(1..=origins.len()));
                for origin in origins {
                    let mut origin = whole.origin(*origin).clone();
                    (origin.service, origin.site) = (service_id, *site);
                    if rng.u8(..6) == 0 {
                        origin.thresholds.fall = rng.u32(1..=3);
                    }
                    let origin_id = OriginId(u32::try_from(fleet.origins.len()).expect("few origins"));
                    service.origins.entry(*site).or_default().push(origin_id);
                    fleet.origins.push(origin);
                }
            }
            fleet.services.push(service);
        }
        fleet.groups.push(group);
    }
    fleet.witnesses = whole.witnesses.clone();
    for rule in &whole.rules {
        let there = |ids: &BTreeSet<GroupId>| -> BTreeSet<GroupId> {
            ids.iter().filter_map(|id| fleet.group_named(&whole.group(*id).name)).collect()
        };
        let site = |id: &SiteId| fleet.site_named(&whole.site(*id).name);
        let demand = match &rule.demand {
            Demand::Apart { groups } => Demand::Apart { groups: there(groups) },
            Demand::Closed { groups, sites, hours } => Demand::Closed {
                groups: there(groups),
                sites: sites.iter().filter_map(site).collect(),
                hours: hours.clone(),
            },
            Demand::SitesFit { groups, at_least } => {
                Demand::SitesFit { groups: there(groups), at_least: *at_least }
            }
        };
        fleet = ruled(fleet, &rule.name, demand);
    }
    fleet
}
