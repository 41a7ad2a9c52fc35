//! Leaving a lost site: when, where to, and when not.

use tidegate_health::durable::SwitchKind;
use tidegate_health::event::EventKind;
use tidegate_health::order::Verb;
use tidegate_health::step::{Input, Pace};

use crate::world::{DR, GROUP, MAIN, Shape, THIRD, World, fleet, ms, one, secs};

/// A settled world whose clock ticks every millisecond, at the moment the main site became unfit.
fn just_lost() -> World {
    let mut world = World::settled(one());
    world.tick = ms(1);
    world.set(MAIN, false);
    world.run_until_true(secs(5), |world| !world.events(EventKind::Unfit).is_empty());
    world
}

#[test]
fn fails_over_after_failover_after_and_not_a_millisecond_earlier() {
    let mut world = just_lost();
    let lost = world.events(EventKind::Unfit)[0].0;
    world.run_until(lost + secs(10) - ms(1));
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.stops(), ["failover-after"]);
    assert!(world.explain().stops[0].text.contains("another 1 ms"), "{:?}", world.explain());
    world.run(ms(1));
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.epoch(), 2);
    assert_eq!(world.moves(), ["failover>linode"]);
    let decision = world.durable().decision.clone().expect("decided");
    assert_eq!((decision.kind, &*decision.actor), (SwitchKind::Failover, "tidegate"));
    assert!(
        decision.reason.contains("0 of 1 origins of critical service `web` are up"),
        "{}",
        decision.reason
    );
    assert_eq!(world.durable().latched.iter().map(|name| &**name).collect::<Vec<_>>(), ["main"]);
}

#[test]
fn a_recovery_one_millisecond_before_the_end_prevents_the_failover() {
    let mut world = just_lost();
    let lost = world.events(EventKind::Unfit)[0].0;
    // Two passes make it fit; at the fast pace they are 250 ms apart, so the second comes in the last interval.
    world.run_until(lost + secs(10) - ms(500));
    world.set(MAIN, true);
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN), "{}", world.told());
    assert_eq!(world.events(EventKind::Recovered).len(), 1);
    assert_eq!(world.moves(), Vec::<String>::new());
}

#[test]
fn the_unfit_time_starts_anew_after_a_recovery() {
    let mut world = World::settled(one());
    let start = world.at;
    // Nine seconds unfit, then three fit, for an hour: never ten seconds without a break.
    world.script(MAIN, move |at| at < start || (at - start).as_millis() % 12_000 >= 9_000);
    world.run(secs(3600));
    assert_eq!(world.site(), Some(MAIN));
    assert!(world.events(EventKind::Recovered).len() > 200, "it was unfit again and again");
}

/// PowerDNS #7469: one slow answer flapped the record. Caddy #7625: failures added up though passes lay between.
#[test]
fn failures_that_are_not_consecutive_never_add_up() {
    for (fails, of) in [(1, 2), (2, 3)] {
        let mut fleet = one();
        fleet.groups[0].failover_after = ms(500);
        let mut world = World::settled(fleet);
        let generations = world.generations;
        let calls = std::cell::Cell::new(0_u64);
        let calls = std::rc::Rc::new(calls);
        world.script(MAIN, move |_| {
            calls.set(calls.get() + 1);
            calls.get() % of >= fails
        });
        world.run(secs(6 * 3600));
        assert_eq!(world.site(), Some(MAIN));
        assert_eq!(world.generations, generations, "{fails} failures of {of} changed what readers see");
        assert!(world.events(EventKind::Unfit).is_empty());
    }
}

#[test]
fn chained_failover_goes_on_and_never_back_to_a_latched_site_until_acknowledged() {
    let mut world = World::settled(one());
    world.set(MAIN, false);
    world.run(secs(20));
    world.set(DR, false);
    world.run(secs(20));
    assert_eq!(world.moves(), ["failover>linode", "failover>ocean"]);

    // Main comes back: nothing moves by itself, for hours.
    world.set(MAIN, true);
    world.run(secs(2 * 3600));
    assert_eq!(world.site(), Some(THIRD));
    assert_eq!(world.stops(), ["failback-manual"]);

    // The third site is lost as well: main is fit, but latched.
    world.set(THIRD, false);
    world.run(secs(3600));
    assert_eq!(world.site(), Some(THIRD));
    assert!(world.stops().contains(&"latched".to_owned()), "{:?}", world.stops());
    assert!(world.explain().notes.iter().any(|note| note.contains("fail static")));

    // An acknowledgement lifts the latch, and the failover is due at once.
    world.order(Verb::Ack).expect("acknowledged");
    world.run(secs(1));
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.epoch(), 4);
}

#[test]
fn fail_static_when_all_are_unfit_stays_and_publishes_nothing_else() {
    let mut world = World::settled(one());
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    world.run(secs(10));
    let generations = world.generations;
    world.run(secs(2 * 3600));
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.epoch(), 1);
    assert_eq!(world.generations, generations, "nothing changed for readers");
    let explanation = world.explain();
    let labels: Vec<_> = explanation.stops.iter().map(|stop| &*stop.label).collect();
    assert_eq!(labels, ["origins-down", "origins-down"]);
    assert!(explanation.notes[0].contains("traffic stays at `main`"), "{explanation:?}");
}

#[test]
fn the_target_has_to_be_seen_after_the_loss() {
    let mut fleet = one();
    fleet.groups[0].failover_after = ms(0);
    let mut world = World::settled(fleet);
    world.tick = ms(1);
    world.probes.latency(world.origins_at(DR)[0], ms(300));
    world.set(MAIN, false);
    world.run_until_true(secs(5), |world| !world.events(EventKind::Unfit).is_empty());
    let lost = world.events(EventKind::Unfit)[0].0;
    assert_eq!(world.site(), Some(MAIN), "linode's older results prove nothing");
    assert!(world.stops().contains(&"not-proven".to_owned()), "{:?}", world.stops());
    let moved = world.run_until_true(secs(5), |world| world.site() == Some(DR));
    assert!(moved >= lost + ms(300), "a probe that began after the loss takes 300 ms");
    assert!(moved <= lost + ms(700), "and is asked for at once");
}

#[test]
fn every_origin_of_the_target_is_seen_before_it_is_proven() {
    let mut fleet = fleet(Shape { groups: 1, sites: 2, services: 2, origins: 2 });
    fleet.groups[0].failover_after = ms(0);
    let mut world = World::settled(fleet);
    let slow = *world.origins_at(DR).last().expect("four");
    world.probes.latency(slow, ms(400));
    world.set(MAIN, false);
    world.run_until_true(secs(5), |world| world.site() == Some(DR));
    let lost = world.events(EventKind::Unfit)[0].0;
    assert!(world.at >= lost + ms(400), "{}", world.told());
}

#[test]
fn the_target_has_to_pass_after_the_loss_not_only_to_be_asked() {
    // The edge loses its network: every probe fails, and the main site is the first to be believed down.
    let mut fleet = one();
    fleet.groups[0].failover_after = ms(0);
    for origin in &mut fleet.origins[1..] {
        origin.thresholds.fall = 20;
    }
    let mut world = World::settled(fleet);
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    world.run(secs(4));
    assert!(world.state.group(GROUP).fitness[1].is_fit(), "linode still counts as up");
    assert_eq!(world.site(), Some(MAIN), "but it has failed every probe since the loss\n{}", world.told());
    world.run(secs(3600));
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn preference_is_not_a_race_of_probes() {
    let mut fleet = one();
    fleet.groups[0].failover_after = ms(0);
    let mut world = World::settled(fleet);
    world.tick = ms(1);
    world.probes.latency(world.origins_at(DR)[0], ms(300));
    world.set(MAIN, false);
    world.run(secs(10));
    assert_eq!(world.moves(), ["failover>linode"], "the third site answers faster, but is liked less");
}

#[test]
fn a_preferred_site_that_does_not_answer_is_waited_for_only_so_long() {
    let mut fleet = one();
    fleet.groups[0].failover_after = ms(0);
    let mut world = World::settled(fleet);
    world.tick = ms(1);
    // Its probes hang for ever: no result, neither pass nor failure.
    world.probes.latency(world.origins_at(DR)[0], secs(1_000_000));
    world.run(secs(3));
    world.set(MAIN, false);
    world.run_until_true(secs(10), |world| world.site() == Some(THIRD));
    let lost = world.events(EventKind::Unfit)[0].0;
    assert_eq!(world.at, lost + ms(750), "a timeout and a fast interval");
}

#[test]
fn only_critical_services_and_min_up_count() {
    let mut fleet = fleet(Shape { groups: 1, sites: 2, services: 2, origins: 3 });
    fleet.services[1].critical = false;
    fleet.services[0].min_up = 2;
    let mut world = World::settled(fleet);
    let web = world.fleet.services[0].origins_at(MAIN).to_vec();
    for origin in world.fleet.services[1].origins_at(MAIN).to_vec() {
        world.probes.script(origin, |_| false);
    }
    world.probes.script(web[0], |_| false);
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN), "two of three are enough, and the other service is not critical");
    world.probes.script(web[1], |_| false);
    world.run(secs(20));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn groups_move_on_their_own() {
    let mut world = World::settled(fleet(Shape { groups: 3, sites: 2, services: 1, origins: 1 }));
    let second = world.fleet.services[1].origins_at(MAIN)[0];
    world.probes.script(second, |_| false);
    world.run(secs(60));
    assert_eq!(
        world.visible.iter().map(|seen| seen.0).collect::<Vec<_>>(),
        [Some(MAIN), Some(DR), Some(MAIN)]
    );
}

#[test]
fn probes_are_fast_while_a_group_looks_for_a_site_and_an_ejection_asks_at_once() {
    let mut world = World::settled(one());
    world.trace.clear();
    world.set(MAIN, false);
    world.run(secs(3));
    for wanted in ["fast main", "fast linode", "fast ocean", "probe linode", "probe ocean"] {
        assert!(world.trace.iter().any(|effect| effect == wanted), "{wanted} in {:?}", world.trace);
    }
    world.set(MAIN, true);
    world.run(secs(3));
    world.trace.clear();
    assert!(world.feed(Input::Ejected { origin: world.fleet.services[0].origins_at(MAIN)[0] }).len() == 1);
    assert_eq!(world.trace, ["probe main"]);
    assert_eq!(Pace::default(), Pace::Fast, "nothing is known at the start");
}

#[test]
fn a_probe_that_began_earlier_and_ends_later_does_not_undo_what_was_seen() {
    let mut world = World::settled(one());
    let origin = world.origins_at(DR)[0];
    let (earlier, later) = (world.now().mono, world.now().mono.plus(ms(10)));
    world.run(ms(20));
    world.feed(Input::Observation { origin, started: later, failure: None });
    world.feed(Input::Observation { origin, started: earlier, failure: Some("timeout".into()) });
    assert_eq!(world.state.origin(origin).seen, Some(later));
}
