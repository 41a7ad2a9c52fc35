//! A node of a cluster: who decides, who follows, and what is served without a lease.

use std::time::Duration;

use tidegate_health::cluster::{Membership, News};
use tidegate_health::fleet::Fleet;
use tidegate_health::force::{ForceKind, ForceVerb, Scope};
use tidegate_health::hysteresis::Health;
use tidegate_health::order::Verb;

use crate::world::{DR, GROUP, MAIN, World, at_site, ms, one, secs, stateful};

/// A node of a cluster whose group lives at main, without a lease yet.
fn node(fleet: Fleet) -> World {
    let mut world = World::settled(fleet);
    world.join(false);
    world
}

fn lease(world: &mut World, length: Duration, leads: bool) {
    let until = world.now().mono.plus(length);
    world.news(News::Membership(Membership { until, leads }));
}

#[test]
fn who_follows_neither_decides_nor_obeys_and_who_leads_does_both() {
    let mut world = node(one());
    lease(&mut world, secs(3600), false);
    world.set(MAIN, false);
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.stops(), ["not-leading"]);
    for verb in [Verb::Switch { to: DR }, Verb::Freeze, Verb::Failback] {
        assert_eq!(&*world.order(verb).expect_err("it follows").label, "not-leading");
    }
    let drain = ForceVerb::Set { kind: ForceKind::Drain, length: None };
    assert_eq!(&*world.force(Scope::Site, "linode", drain).expect_err("it follows").label, "not-leading");
    lease(&mut world, secs(3600), true);
    assert_eq!(world.site(), Some(DR), "all was known already:\n{}", world.told());
    world.order(Verb::Freeze).expect("it leads");
}

#[test]
fn a_lead_ends_with_its_lease_to_the_moment() {
    let mut world = node(one());
    lease(&mut world, secs(60), true);
    world.run(secs(60) - ms(1));
    world.order(Verb::Freeze).expect("it leads still");
    world.run(ms(1));
    assert_eq!(&*world.order(Verb::Unfreeze).expect_err("not any more").label, "not-leading");
    world.set(MAIN, false);
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn without_a_lease_shared_data_is_not_served_and_all_else_is() {
    let serving = |world: &World| world.state.group(GROUP).serving();
    let mut world = node(stateful());
    assert_eq!(serving(&world), None, "it has not heard of the cluster yet");
    lease(&mut world, secs(10), false);
    assert_eq!(serving(&world), Some(MAIN));
    let generations = world.generations;
    world.run(secs(10) - ms(1));
    assert_eq!(serving(&world), Some(MAIN), "the lease lasts");
    world.run(world.tick);
    assert_eq!(serving(&world), None, "another node may have moved it");
    assert!(world.generations > generations, "readers learn of it");
    assert_eq!(world.state.group(GROUP).active, Some(MAIN), "the decision stands");
    lease(&mut world, secs(10), false);
    assert_eq!(serving(&world), Some(MAIN));

    let mut world = node(one());
    assert_eq!(serving(&world), Some(MAIN));
    lease(&mut world, secs(10), true);
    world.run(secs(60));
    assert_eq!(serving(&world), Some(MAIN), "it shares no data");

    let mut world = World::settled(stateful());
    world.join(true);
    world.run(secs(60));
    assert_eq!(serving(&world), Some(MAIN), "`isolated` says so");
}

#[test]
fn what_others_committed_is_taken_over_and_what_is_older_is_not() {
    let mut world = node(one());
    lease(&mut world, secs(3600), false);
    let mut commit = |epoch, site: &str| {
        let durable = Box::new(at_site(site, epoch));
        world.news(News::Group { group: GROUP, durable });
        (world.state.group(GROUP).active, world.epoch())
    };
    assert_eq!(commit(7, "linode"), (Some(DR), 7));
    assert_eq!(commit(6, "main"), (Some(DR), 7), "an epoch only grows");
    assert_eq!(commit(8, "mars"), (None, 8), "a site that this configuration lacks");
    assert_eq!(commit(9, "main"), (Some(MAIN), 9));
    lease(&mut world, secs(3600), true);
    let done = world.order(Verb::Switch { to: DR }).expect("it leads");
    assert_eq!(done.epoch, 10, "it goes on from what others did");
}

#[test]
fn what_all_vantages_say_counts_for_as_long_as_the_lease_lasts() {
    let mut world = node(one());
    lease(&mut world, secs(60), true);
    let origin = world.origins_at(MAIN)[0];
    world.news(News::Merged { origin, health: Health::Down });
    assert!(!world.state.group(GROUP).fitness[0].is_fit(), "others cannot reach it");
    assert_eq!(world.state.origin(origin).real(), Health::Up, "this node's own word stays beside it");
    world.news(News::Merged { origin, health: Health::Unknown });
    assert_eq!(world.state.group(GROUP).fitness[0].label(), "unknown");
    world.news(News::Merged { origin, health: Health::Down });
    world.run(secs(60) + world.tick);
    assert!(world.state.group(GROUP).fitness[0].is_fit(), "alone it has its own eyes");
}
