//! The fleets that are measured, and where their groups live.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tidegate_health::fleet::{
    Data, Failback, Fleet, Group, Mode, Origin, Service, Site, SwitchLimit, Thresholds,
};
use tidegate_health::id::{GroupId, OriginId, ServiceId, SiteId};
use tidegate_health::state::State;
use tidegate_health::step::{Effect, Input, step};
use tidegate_health::time::Now;

/// How many origins there are.
pub(crate) const SIZES: [u32; 3] = [10, 1_000, 10_000];
pub(crate) const ORIGINS_PER_SERVICE: u32 = ORIGINS_PER_SITE * SITES as u32;
const ORIGINS_PER_SITE: u32 = 5;
const SITES: u16 = 2;

/// Services of two sites with five origins each, one group per service.
pub(crate) fn fleet(origins: u32) -> Fleet {
    let mut fleet = Fleet::default();
    for site in 0..SITES {
        fleet.sites.push(Site {
            name: format!("site{site}").into(),
            label: format!("site {site}").into(),
            provides: Default::default(),
            front_door: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, site as u8 + 1))],
            front_door_check: None,
        });
    }
    for number in 0..origins / ORIGINS_PER_SERVICE {
        add_service(&mut fleet, number as u16);
    }
    fleet
}

/// Every origin has passed and every group is active, all of it as if it were stored.
pub(crate) fn settled(fleet: &Fleet) -> (State, Now) {
    let mut now = Now::default();
    let mut state = State::new(fleet, &BTreeMap::new(), now).expect("nothing is stored");
    for turn in 0..3 {
        now = now.plus(Duration::from_millis(20));
        let passes =
            fleet.origin_ids().map(|origin| Input::Observation { origin, started: now.mono, failure: None });
        let inputs: Vec<Input> = if turn == 2 { vec![Input::Tick] } else { passes.collect() };
        for input in inputs {
            let effects = step(fleet, &mut state, input, now);
            for effect in effects {
                if let Effect::Persist { group, ticket, .. } = effect {
                    // That it is adopted is all that is wanted here.
                    let _ = step(fleet, &mut state, Input::Stored { group, ticket }, now);
                }
            }
        }
    }
    let undecided = state.groups.iter().filter(|group| group.active.is_none()).count();
    assert_eq!(undecided, 0, "a group without an active site is less work");
    (state, now)
}

fn add_service(fleet: &mut Fleet, number: u16) {
    let thresholds = Thresholds {
        fall: 3,
        rise: 2,
        interval: Duration::from_secs(1),
        fast_interval: Duration::from_millis(250),
        timeout: Duration::from_millis(500),
    };
    let mut origins = BTreeMap::new();
    for site in (0..SITES).map(SiteId) {
        for place in 0..ORIGINS_PER_SITE {
            let id = OriginId(fleet.origins.len() as u32);
            let name = format!("service{number}/site{}/{place}", site.0).into();
            fleet.origins.push(Origin {
                name,
                service: ServiceId(number),
                site,
                host: None,
                resolved_from: None,
                thresholds,
            });
            origins.entry(site).or_insert_with(Vec::new).push(id);
        }
    }
    let name = format!("service{number}").into();
    fleet.services.push(Service { name, group: GroupId(number), critical: true, min_up: 1, origins });
    fleet.groups.push(Group {
        name: format!("group{number}").into(),
        sites: (0..SITES).map(SiteId).collect(),
        services: vec![ServiceId(number)],
        data: Data::Stateless { failback: Failback::Manual },
        mode: Mode::Automatic,
        failover_after: Duration::from_secs(10),
        minimum_stay: Duration::ZERO,
        switch_limit: SwitchLimit { count: 3, window: Duration::from_secs(3600) },
        standby_unfit_after: Duration::from_secs(300),
        requires: Default::default(),
        wants: Default::default(),
        gates: Vec::new(),
    });
}
