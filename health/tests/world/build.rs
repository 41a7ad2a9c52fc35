//! Fleets for tests: as many groups, sites, services and origins as asked for, with the thresholds of the
//! documentation's example.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tidegate_health::fleet::{
    Data, Failback, FirstStart, Fleet, FrontDoorCheck, Group, Mode, Origin, Service, Site, SwitchLimit,
    Thresholds, Witnesses,
};
use tidegate_health::gate::{Gate, Purpose};
use tidegate_health::id::{GroupId, Name, OriginId, ServiceId, SiteId};
use tidegate_health::safety::{Demand, SafetyRule};

pub(crate) const GROUP: GroupId = GroupId(0);
pub(crate) const MAIN: SiteId = SiteId(0);
pub(crate) const DR: SiteId = SiteId(1);
pub(crate) const THIRD: SiteId = SiteId(2);

/// How many of each; services per group, origins per service and site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) groups: u16,
    pub(crate) sites: u16,
    pub(crate) services: u16,
    pub(crate) origins: u32,
}

/// One group of one service with one origin at each of three sites.
pub(crate) fn one() -> Fleet {
    fleet(Shape { groups: 1, sites: 3, services: 1, origins: 1 })
}

/// The same, but the services share data.
pub(crate) fn stateful() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].data = Data::Stateful;
    fleet
}

/// The fleet with a gate `replica` of its first group at the second site, for which samples count for a minute.
pub(crate) fn gated(fleet: Fleet) -> Fleet {
    with_gate(fleet, "replica", Purpose::Ready)
}

pub(crate) fn with_gate(mut fleet: Fleet, name: &str, purpose: Purpose) -> Fleet {
    let sites = [DR].into();
    let max_age = Duration::from_secs(60);
    fleet.groups[0].gates.push(Gate { name: name.into(), sites, max_age, limit: None, purpose, check: 0 });
    fleet
}

/// The fleet with three witnesses.
pub(crate) fn witnessed(mut fleet: Fleet) -> Fleet {
    let addresses = ["192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"].map(Name::from).into();
    fleet.witnesses = Witnesses { addresses, max_age: Duration::from_secs(10) };
    fleet
}

/// The fleet with a checked address at every site.
pub(crate) fn doored(mut fleet: Fleet) -> Fleet {
    let check = FrontDoorCheck { thresholds: THRESHOLDS, max_age: Duration::from_secs(10), check: 0 };
    for (n, site) in (1..).zip(&mut fleet.sites) {
        site.front_door = vec![IpAddr::from([198, 51, 100, n])];
        site.front_door_check = Some(check);
    }
    fleet
}

/// The fleet with a safety rule.
pub(crate) fn ruled(mut fleet: Fleet, name: &str, demand: Demand) -> Fleet {
    fleet.rules.push(SafetyRule { name: name.into(), demand });
    fleet
}

pub(crate) fn fleet(shape: Shape) -> Fleet {
    let mut fleet = Fleet { first_start: FirstStart::Preferred, ..Fleet::default() };
    fleet.sites = (0..shape.sites).map(site).collect();
    for group in 0..shape.groups {
        let sites: Vec<_> = (0..shape.sites).map(SiteId).collect();
        let mut services = Vec::new();
        for service in 0..shape.services {
            let id = ServiceId(u16::try_from(fleet.services.len()).expect("a small fleet"));
            let name: Name =
                if group + service == 0 { "web".into() } else { format!("s{group}-{service}").into() };
            let mut origins = BTreeMap::new();
            for site in &sites {
                let first = u32::try_from(fleet.origins.len()).expect("a small fleet");
                let new = (0..shape.origins).map(|n| Origin {
                    name: format!("{name}/{}/{n}", fleet.site(*site).name).into(),
                    service: id,
                    site: *site,
                    host: None,
                    resolved_from: None,
                    thresholds: THRESHOLDS,
                });
                fleet.origins.extend(new.collect::<Vec<_>>());
                origins.insert(*site, (first..first + shape.origins).map(OriginId).collect());
            }
            fleet.services.push(Service { name, group: GroupId(group), critical: true, min_up: 1, origins });
            services.push(id);
        }
        fleet.groups.push(Group {
            name: if group == 0 { "app".into() } else { format!("app{group}").into() },
            sites,
            services,
            data: Data::Stateless { failback: Failback::Manual },
            mode: Mode::Automatic,
            failover_after: Duration::from_secs(10),
            minimum_stay: Duration::from_secs(60),
            switch_limit: SwitchLimit { count: 3, window: Duration::from_secs(3600) },
            standby_unfit_after: Duration::from_secs(300),
            requires: BTreeSet::new(),
            wants: BTreeSet::new(),
            gates: Vec::new(),
        });
    }
    fleet
}

const THRESHOLDS: Thresholds = Thresholds {
    fall: 3,
    rise: 2,
    interval: Duration::from_secs(1),
    fast_interval: Duration::from_millis(250),
    timeout: Duration::from_millis(500),
};

fn site(n: u16) -> Site {
    let name: Name = match n {
        0 => "main".into(),
        1 => "linode".into(),
        2 => "ocean".into(),
        n => format!("site{n}").into(),
    };
    Site {
        label: name.clone(),
        name,
        provides: BTreeSet::new(),
        front_door: Vec::new(),
        front_door_check: None,
    }
}
