//! An edge that loses its own network sees every site die, and come back.

use tidegate_health::event::EventKind;
use tidegate_health::facts::Isolation;
use tidegate_health::fleet::Fleet;

use crate::world::{DR, MAIN, THIRD, World, ms, one, secs, witnessed};

fn three_seconds() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].failover_after = secs(3);
    fleet
}

#[test]
fn when_the_network_returns_the_first_site_to_be_seen_does_not_win() {
    // The order in which the sites' probes come is chance: try many.
    for offset in 0..25 {
        let mut world = World::settled(three_seconds());
        world.probes.latency(world.origins_at(MAIN)[0], ms(10 * offset));
        world.run(secs(5) + ms(37 * offset));
        let (dark, light) = (world.at, world.at + secs(60));
        for site in [MAIN, DR, THIRD] {
            world.script(site, move |at| at < dark || at >= light);
        }
        world.run(secs(120));
        assert_eq!(world.site(), Some(MAIN), "offset {offset}\n{}", world.told());
    }
}

#[test]
fn a_site_that_comes_back_late_takes_over_once_the_active_one_fails_again() {
    let mut world = World::settled(three_seconds());
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    world.run(secs(60));
    world.set(DR, true);
    let back = world.at;
    world.run_until_true(secs(5), |world| world.site() == Some(DR));
    assert!(
        world.at <= back + ms(900),
        "two passes and one more failure at the fast pace: {:?}",
        world.at - back
    );
}

#[test]
fn witnesses_that_are_gone_or_too_few_stop_every_automatic_move() {
    for (isolation, label) in [(Isolation::Isolated, "isolated"), (Isolation::Unknown, "isolation-unknown")] {
        let mut world = World::settled(witnessed(three_seconds()));
        world.all_good();
        world.isolate(isolation);
        world.set(MAIN, false);
        world.run(secs(3600));
        assert_eq!(world.site(), Some(MAIN));
        assert_eq!(world.stops(), [label]);
        world.isolate(Isolation::Connected);
        world.run(secs(1));
        assert_eq!(world.site(), Some(DR), "main still fails");
    }
}

#[test]
fn what_was_seen_while_cut_off_is_no_proof_afterwards() {
    let mut world = World::settled(witnessed(three_seconds()));
    world.all_good();
    world.isolate(Isolation::Isolated);
    // Only the way to main is cut; it comes back with the witnesses, who notice before main's next probe.
    let (dark, light) = (world.at, world.at + ms(60_100));
    world.script(MAIN, move |at| at < dark || at >= light);
    world.run_until(light);
    world.isolate(Isolation::Connected);
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN), "{}", world.told());
    assert_eq!(world.events(EventKind::Recovered).len(), 1);
}

#[test]
fn a_site_on_its_way_back_is_not_left_at_the_last_moment() {
    // Probes come every 250 ms: the first of two passes before the failover is due, the second after it.
    for (passes_for, expected) in [(ms(60_000), MAIN), (ms(200), DR)] {
        let mut fleet = one();
        fleet.groups[0].failover_after = ms(10_100);
        let mut world = World::settled(fleet);
        world.tick = ms(1);
        world.set(MAIN, false);
        world.run_until_true(secs(5), |world| !world.events(EventKind::Unfit).is_empty());
        let back = world.at + secs(10);
        world.script(MAIN, move |at| at >= back && at < back + passes_for);
        world.run_until(back + ms(200));
        assert_eq!((world.site(), world.stops()), (Some(MAIN), vec!["loss-unconfirmed".to_owned()]));
        world.run(secs(30));
        assert_eq!(world.site(), Some(expected), "{}", world.told());
    }
}
