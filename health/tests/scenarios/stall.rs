//! A control loop that was stopped must not take its own sleep for an outage.

use tidegate_health::event::EventKind;
use tidegate_health::fleet::Fleet;
use tidegate_health::hysteresis::Health;
use tidegate_health::step::Input;
use tidegate_health::time::{Mono, Now};

use crate::world::{DR, GROUP, MAIN, World, doored, ms, one, secs};

fn hasty() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].failover_after = ms(500);
    fleet
}

#[test]
fn ten_stops_of_ten_seconds_move_nothing() {
    let mut world = World::settled(hasty());
    for origin in world.fleet.origin_ids() {
        world.probes.latency(origin, ms(200));
    }
    world.run(secs(5));
    for n in 1..=10 {
        // Stopped at a different moment of the round each time, with probes on their way.
        world.run(ms(970 * n));
        world.stall(secs(10));
        world.run(secs(7));
        assert_eq!(world.events(EventKind::Stalled).len(), n as usize);
        assert_eq!(world.site(), Some(MAIN), "{}", world.told());
    }
    assert_eq!(world.moves(), Vec::<String>::new());
    assert!(world.events(EventKind::Unfit).is_empty());
}

#[test]
fn results_of_probes_that_began_before_the_stall_do_not_count() {
    let mut world = World::settled(hasty());
    let origin = world.origins_at(MAIN)[0];
    let before = world.now().mono;
    world.stall(secs(10));
    for _ in 0..20 {
        world.feed(Input::Observation { origin, started: before, failure: Some("timeout".into()) });
    }
    assert_eq!(world.state.origin(origin).real(), Health::Up);
    // Three that began at the wake-up do.
    let after = world.now().mono;
    for _ in 0..3 {
        world.feed(Input::Observation { origin, started: after, failure: Some("refused".into()) });
    }
    assert_eq!(world.state.origin(origin).real(), Health::Down);
}

#[test]
fn a_down_from_before_a_stall_is_no_evidence() {
    let mut world = World::settled(hasty());
    world.set(MAIN, false);
    world.run_until_true(secs(5), |world| !world.events(EventKind::Unfit).is_empty());
    // Stopped before the failover was due; main comes back meanwhile.
    world.stall(secs(10));
    world.set(MAIN, true);
    let origin = world.origins_at(MAIN)[0];
    world.feed(Input::Tick);
    assert_eq!(world.state.origin(origin).real(), Health::Down, "it gets no traffic");
    assert_eq!(world.state.origin(origin).evidence(), Health::Unknown, "but it proves nothing");
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN), "{}", world.told());
}

#[test]
fn the_time_unfit_starts_over_after_a_stall() {
    let mut world = World::settled(one());
    world.set(MAIN, false);
    world.run_until_true(secs(5), |world| !world.events(EventKind::Unfit).is_empty());
    world.run(secs(9));
    world.stall(secs(10));
    world.run(secs(9));
    assert_eq!(world.site(), Some(MAIN), "nine seconds before and nine after are not ten");
    world.run(secs(3));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn the_time_without_a_front_door_starts_over_after_a_stall_too() {
    let mut world = World::settled(doored(one()));
    world.all_good();
    world.front_door(MAIN, false);
    world.run_until_true(secs(5), |world| world.state.group(GROUP).unfit_since.is_some());
    world.run(secs(9));
    world.stall(secs(10));
    world.run(secs(9));
    assert_eq!(world.site(), Some(MAIN));
    world.run(secs(2));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn two_intervals_are_no_stall_and_a_millisecond_more_is() {
    let max = one().stall_max();
    assert_eq!(max, secs(2));
    for (silence, stalls) in [(max, 0), (max + ms(1), 1)] {
        let mut world = World::settled(one());
        world.feed(Input::Tick);
        world.stall(silence);
        world.feed(Input::Tick);
        assert_eq!(world.events(EventKind::Stalled).len(), stalls, "after {silence:?}");
    }
}

#[test]
fn a_suspended_machine_whose_monotonic_clock_stood_still_is_noticed_by_the_wall_clock() {
    let mut world = World::settled(hasty());
    let now = world.now();
    let woke = Now { mono: now.mono.plus(ms(10)), wall: now.wall.plus(secs(3600)) };
    let effects = tidegate_health::step::step(&world.fleet, &mut world.state, Input::Tick, woke);
    let told: Vec<_> = effects.iter().map(|effect| crate::world::brief(&world.fleet, effect)).collect();
    assert!(told.contains(&"record stalled".to_owned()), "{told:?}");
    assert!(world.state.round > Mono(now.mono.0));
}
