//! An empty store, and a restart.

use std::collections::BTreeMap;

use tidegate_health::durable::SwitchKind;
use tidegate_health::event::EventKind;
use tidegate_health::fleet::FirstStart;
use tidegate_health::id::Name;
use tidegate_health::order::Verb;
use tidegate_health::state::State;
use tidegate_health::time::Now;

use crate::world::{DR, MAIN, THIRD, World, at_site, ms, one, secs, stateful};

#[test]
fn starts_at_the_most_preferred_fit_site() {
    let mut world = World::new(one());
    world.run(ms(100));
    assert_eq!((world.site(), world.epoch()), (Some(MAIN), 1));
    assert_eq!(world.moves(), ["start>main"]);
    assert!(world.durable().automatic.is_empty(), "a start is not a switch");
}

#[test]
fn starts_at_the_first_fit_site_when_preferred_ones_are_down() {
    let mut world = World::new(one());
    world.set(MAIN, false);
    world.run(secs(5));
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.durable().decision.as_ref().map(|it| it.kind), Some(SwitchKind::Start));
    assert!(world.durable().latched.is_empty());
}

#[test]
fn waits_while_a_more_preferred_site_is_unknown() {
    let mut world = World::new(one());
    let main = world.origins_at(MAIN)[0];
    world.probes.delay(main, secs(3));
    world.run(ms(2900));
    assert_eq!(world.site(), None, "linode is fit, but main may be, too");
    assert_eq!(world.stops(), ["first-round"]);
    world.run(secs(1));
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn starts_nowhere_while_no_site_is_fit_and_says_why() {
    let mut world = World::new(one());
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    world.run(secs(3600));
    assert_eq!(world.site(), None);
    assert_eq!(world.stops(), ["origins-down"; 3]);
    world.set(THIRD, true);
    world.run(secs(5));
    assert_eq!(world.site(), Some(THIRD));
}

#[test]
fn a_stall_during_the_first_round_starts_the_round_over() {
    let mut world = World::new(one());
    // Main's first probe hangs through the stall; linode was seen before it.
    let main = world.origins_at(MAIN)[0];
    world.probes.delay(main, ms(1500));
    world.run(ms(1000));
    world.set(DR, false);
    world.set(MAIN, false);
    world.stall(secs(10));
    world.run(secs(10));
    assert_eq!(
        world.site(),
        Some(THIRD),
        "what was seen of linode before the stall is no proof\n{}",
        world.told()
    );
}

#[test]
fn undecided_groups_wait_for_a_person_once() {
    let mut undecided = one();
    undecided.first_start = FirstStart::Undecided;
    for fleet in [undecided, stateful()] {
        let mut world = World::new(fleet);
        world.run(secs(3600));
        assert_eq!(world.site(), None);
        assert_eq!(world.stops(), ["undecided"]);
        assert_eq!(&*world.order(Verb::Failback).expect_err("nowhere").label, "undecided");
        let done = world.order(Verb::Switch { to: DR }).expect("no old site, so nothing to fence");
        assert_eq!(done.epoch, 1);
        assert_eq!(world.durable().decision.as_ref().map(|it| it.kind), Some(SwitchKind::Start));
        assert!(world.durable().diverged.is_empty());
    }
}

#[test]
fn a_restart_resumes_at_the_dr_site_although_main_is_healthy() {
    let mut world = World::settled(one());
    world.set(MAIN, false);
    world.run(secs(20));
    world.set(MAIN, true);
    world.run(secs(20));
    for _ in 0..10 {
        world.restart();
        assert_eq!(world.site(), Some(DR), "from the first moment");
        world.run(secs(30));
    }
    assert_eq!((world.site(), world.epoch()), (Some(DR), 2));
    assert!(world.durable().latched.contains("main"), "the latch outlives the process");
}

#[test]
fn nothing_switches_before_the_first_complete_round_after_a_restart() {
    let mut fleet = one();
    fleet.groups[0].failover_after = ms(0);
    let mut world = World::settled(fleet);
    world.set(MAIN, false);
    let dr = world.origins_at(DR)[0];
    world.probes.latency(dr, secs(1));
    world.probes.latency(world.origins_at(THIRD)[0], secs(1));
    world.restart();
    world.run(ms(990));
    assert_eq!(world.site(), Some(MAIN));
    assert!(!world.state.round_complete);
    world.run(secs(2));
    assert!(world.state.round_complete);
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.events(EventKind::Failover).len(), 1);
}

#[test]
fn a_stored_site_that_the_configuration_lost_is_an_error() {
    let stored = BTreeMap::from([(Name::from("app"), at_site("gone", 7))]);
    let error = State::new(&one(), &stored, Now::default()).expect_err("no such site");
    assert_eq!((&*error.group, &*error.site, error.epoch), ("app", "gone", 7));
    assert!(error.to_string().contains("put it back"), "{error}");

    // A site of the fleet that the group no longer lists is as lost.
    let mut fleet = one();
    fleet.groups[0].sites.pop();
    let stored = BTreeMap::from([(Name::from("app"), at_site("ocean", 7))]);
    assert!(State::new(&fleet, &stored, Now::default()).is_err());
}
