//! Names that stand for origins: what is not resolved is not known, and is no evidence against a site.

use tidegate_health::event::EventKind;
use tidegate_health::fleet::{Fleet, Origin};
use tidegate_health::id::{OriginId, ServiceId, SiteId};
use tidegate_health::order::Verb;

use crate::world::{DR, GROUP, MAIN, World, one, secs};

/// The only origin of the service at `site` is a name that has never been resolved.
fn unresolved(site: SiteId) -> Fleet {
    let mut fleet = one();
    fleet.services[0].origins.remove(&site);
    fleet.unresolved.insert((ServiceId(0), site), vec!["app.example".into()]);
    fleet
}

/// The same once an address of it is known: its origin is the last one.
fn resolved(mut fleet: Fleet, site: SiteId) -> Fleet {
    fleet.unresolved.clear();
    let id = OriginId(u32::try_from(fleet.origins.len()).expect("a small fleet"));
    let name = "web/somewhere/192.0.2.1:80".into();
    let resolved_from = Some("app.example".into());
    fleet.origins.push(Origin { name, site, resolved_from, ..fleet.origins[0].clone() });
    fleet.services[0].origins.insert(site, vec![id]);
    fleet
}

fn fitness(world: &World, site: SiteId) -> &'static str {
    world.state.group(GROUP).fitness_at(world.fleet.group(GROUP), site).label()
}

#[test]
fn a_name_that_is_not_resolved_does_not_make_the_active_site_unfit() {
    let mut world = World::settled(one());
    let stored =
        std::collections::BTreeMap::from([(world.fleet.group(GROUP).name.clone(), world.durable().clone())]);
    world = World::resume(unresolved(MAIN), stored);
    world.run(secs(3600));
    assert_eq!((world.site(), fitness(&world, MAIN)), (Some(MAIN), "unknown"));
    assert!(world.events(EventKind::Failover).is_empty());
}

#[test]
fn a_site_whose_names_are_not_resolved_is_no_target() {
    let mut world = World::settled(unresolved(DR));
    world.set(MAIN, false);
    world.run(secs(60));
    assert_eq!(fitness(&world, DR), "unknown");
    assert_eq!(world.moves(), ["failover>ocean"]);
}

#[test]
fn a_group_starts_elsewhere_while_the_names_of_its_first_site_are_not_resolved() {
    let mut world = World::new(unresolved(MAIN));
    world.run(secs(5));
    assert_eq!(world.site(), Some(DR), "a name that is not resolved keeps nobody from serving");
    let fleet = resolved(world.fleet.clone(), MAIN);
    let kept: Vec<_> =
        (0..fleet.origins.len() as u32 - 1).map(|id| Some(OriginId(id))).chain([None]).collect();
    world.reload(fleet, &kept).expect("it fits");
    world.run(secs(60));
    assert_eq!((world.site(), fitness(&world, MAIN)), (Some(DR), "fit"));
    world.order(Verb::Switch { to: MAIN }).expect("fit");
}

#[test]
fn fewer_known_origins_than_needed_are_no_evidence_while_a_name_is_not_resolved() {
    let mut fleet = one();
    fleet.services[0].min_up = 2;
    fleet.unresolved.insert((ServiceId(0), MAIN), vec!["app.example".into()]);
    let mut world = World::new(fleet.clone());
    world.run(secs(60));
    assert_eq!(fitness(&world, MAIN), "unknown", "one is up, and there may be another");
    fleet.unresolved.clear();
    let mut world = World::new(fleet);
    world.run(secs(60));
    assert_eq!(fitness(&world, MAIN), "unfit", "all are known, and they are too few");
}
