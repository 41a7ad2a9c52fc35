//! Gates over time: what is old is unknown, what was last known before a loss, and what clears a diverged mark.

use tidegate_health::event::EventKind;
use tidegate_health::facts::Isolation;
use tidegate_health::fleet::Fleet;
use tidegate_health::gate::{Limit, Purpose, Reading, Value, Verdict};
use tidegate_health::order::{Rule, Verb};
use tidegate_health::step::{Fact, Input, step};
use tidegate_health::time::{Mono, Now};

use crate::world::{DR, GROUP, MAIN, World, ms, one, secs, stateful, with_gate, witnessed};

/// Two sites and the gate `replica` at the second one, for which samples count for a minute.
fn gate_of(purpose: Purpose) -> Fleet {
    let mut fleet = with_gate(one(), "replica", purpose);
    fleet.groups[0].sites.truncate(2);
    fleet
}

fn passing(purpose: Purpose) -> World {
    let mut world = World::settled(gate_of(purpose));
    world.replica(Verdict::Pass);
    world.run(secs(1));
    world
}

#[test]
fn a_gate_that_nobody_measures_any_more_is_unknown_exactly_after_its_maximum_age() {
    let mut world = World::settled(gate_of(Purpose::Ready));
    world.tick = ms(1);
    world.replica(Verdict::Pass);
    world.silence(DR, "replica");
    world.run(secs(60));
    assert!(world.state.group(GROUP).fitness[1].is_fit(), "60 s old, and 60 s count");
    world.run(ms(1));
    assert!(!world.state.group(GROUP).fitness[1].is_fit());
    assert_eq!(&*world.order(Verb::Switch { to: DR }).expect_err("stale").label, "gate");
    let told = world.events(EventKind::Gate);
    assert_eq!(told.len(), 1, "{}", world.told());
    assert!(told[0].1.reason.contains("says unknown, after pass: no measurement began in the last 1 min"));
}

#[test]
fn an_order_between_two_ticks_meets_the_gate_as_old_as_it_is() {
    let mut world = World::settled(gate_of(Purpose::Ready));
    world.replica(Verdict::Pass);
    world.silence(DR, "replica");
    world.run(secs(60));
    world.at += ms(1);
    assert_eq!(&*world.order(Verb::Switch { to: DR }).expect_err("stale").label, "gate");
}

#[test]
fn a_measurement_is_as_old_as_its_beginning() {
    let mut world = World::settled(gate_of(Purpose::Ready));
    let measured = world.now().mono;
    world.run(secs(61));
    let (gate, reading) = ("replica".into(), Reading::Verdict(Verdict::Pass));
    world.fact(Fact::Gate { group: GROUP, site: DR, gate, measured, reading, detail: None });
    assert_eq!(&*world.order(Verb::Switch { to: DR }).expect_err("it took 61 s to answer").label, "gate");
}

#[test]
fn a_lag_is_compared_with_its_limit_and_told() {
    let mut fleet = gate_of(Purpose::Data);
    fleet.groups[0].gates[0].limit = Some(Limit::MaxLag(secs(5)));
    let mut world = World::settled(fleet);
    world.gate_of(GROUP, DR, "replica", Reading::Value(Value::Number(5.5)));
    let refusal = world.order(Verb::Switch { to: DR }).expect_err("too far behind");
    assert!(refusal.message.contains("gate `replica` fails (5.5 s, wanted: at most 5 s)"), "{refusal:?}");
    world.gate_of(GROUP, DR, "replica", Reading::Value(Value::Number(5.0)));
    world.order(Verb::Switch { to: DR }).expect("just near enough");
}

#[test]
fn a_failover_goes_by_the_last_lag_before_the_loss_which_nobody_can_measure_any_more() {
    // Once the primary is gone, its replica falls further and further behind, or says nothing at all.
    for verdict in [Some(Verdict::Fail), Some(Verdict::Unknown), None] {
        let mut world = passing(Purpose::Data);
        world.set(MAIN, false);
        world.run_until_true(secs(5), |world| world.state.group(GROUP).unfit_since.is_some());
        match verdict {
            Some(verdict) => world.replica(verdict),
            None => world.silence(DR, "replica"),
        }
        world.run(secs(5));
        let notes = world.explain().notes;
        let by_last =
            notes.iter().any(|note| note.contains("`replica` of `linode` passes by its last sample before"));
        assert_eq!(by_last, verdict.is_some(), "{notes:?}");
        world.run(secs(10));
        assert_eq!(world.site(), Some(DR), "{verdict:?}\n{}", world.told());
    }
}

#[test]
fn a_gate_of_readiness_has_to_pass_at_the_moment_of_a_failover() {
    for verdict in [Verdict::Fail, Verdict::Unknown] {
        let mut world = passing(Purpose::Ready);
        world.set(MAIN, false);
        world.run_until_true(secs(5), |world| world.state.group(GROUP).unfit_since.is_some());
        world.replica(verdict);
        world.run(secs(60));
        assert_eq!(world.site(), Some(MAIN), "{verdict:?}");
    }
}

#[test]
fn a_lag_that_was_too_long_or_too_old_before_the_loss_bars_the_failover_until_it_passes() {
    for late in [false, true] {
        let mut world = passing(Purpose::Data);
        if late {
            world.silence(DR, "replica");
            world.run(secs(61));
        } else {
            world.replica(Verdict::Fail);
        }
        world.set(MAIN, false);
        world.run(secs(300));
        assert_eq!(world.site(), Some(MAIN), "late: {late}");
        world.order(Verb::Switch { to: DR }).expect_err("nor does a person move there by accident");
        world.replica(Verdict::Pass);
        world.run(secs(1));
        assert_eq!(world.site(), Some(DR), "what is measured to be there is there");
    }
}

#[test]
fn the_last_sample_before_a_loss_counts_no_longer_than_the_loss() {
    let mut world = passing(Purpose::Data);
    world.set(MAIN, false);
    world.run(secs(5));
    world.replica(Verdict::Fail);
    world.run(secs(1));
    world.set(MAIN, true);
    world.run(secs(5));
    assert_eq!(world.site(), Some(MAIN));
    let refusal = world.order(Verb::Switch { to: DR }).expect_err("a planned move wants a passing gate");
    assert_eq!(&*refusal.label, "gate");
}

#[test]
fn a_suspended_machine_does_not_take_a_gate_of_hours_ago_for_a_fresh_one() {
    let mut world = passing(Purpose::Ready);
    let now = world.now();
    // The monotonic clock stood still meanwhile.
    let woke = Now { mono: now.mono.plus(ms(10)), wall: now.wall.plus(secs(3 * 3600)) };
    assert!(world.state.group(GROUP).fitness[1].is_fit());
    drop(step(&world.fleet, &mut world.state, Input::Tick, woke));
    assert!(!world.state.group(GROUP).fitness[1].is_fit());
}

#[test]
fn a_reload_keeps_what_a_gate_said_and_a_new_or_changed_one_is_unknown() {
    let mut world = passing(Purpose::Ready);
    let kept: Vec<_> = world.fleet.origin_ids().map(Some).collect();
    world.reload(world.fleet.clone(), &kept).expect("the same");
    assert!(world.state.group(GROUP).fitness[1].is_fit());

    let mut changed = world.fleet.clone();
    changed.groups[0].gates[0].check = 1;
    world.reload(changed, &kept).expect("another command");
    assert!(!world.state.group(GROUP).fitness[1].is_fit());
    world.run(secs(1));
    assert!(world.state.group(GROUP).fitness[1].is_fit());

    let more = with_gate(world.fleet.clone(), "capacity", Purpose::Ready);
    world.reload(more, &kept).expect("one more");
    world.run(secs(1));
    assert!(!world.state.group(GROUP).fitness[1].is_fit());
}

/// Two sites, data, and a gate at main that tells whether its data is whole; the group was moved away by hand.
fn forked() -> World {
    let mut fleet = with_gate(stateful(), "timeline", Purpose::Resynced);
    fleet.groups[0].sites.truncate(2);
    fleet.groups[0].gates[0].sites = [MAIN].into();
    let mut world = World::settled(fleet);
    world.gate(MAIN, "timeline", Verdict::Pass);
    world.order_with(Verb::Switch { to: DR }, &[Rule::NoFence]).expect("overridden");
    assert!(world.durable().diverged.contains("main"));
    world
}

#[test]
fn only_a_resynced_gate_that_was_measured_since_the_move_clears_the_diverged_mark() {
    let mut world = forked();
    // The same moment, and what was measured before it.
    for measured in [world.now().mono, Mono(world.now().mono.0.saturating_sub(ms(1)))] {
        let (gate, reading) = ("timeline".into(), Reading::Verdict(Verdict::Pass));
        world.fact(Fact::Gate { group: GROUP, site: MAIN, gate, measured, reading, detail: None });
        world.feed(Input::Tick);
        assert!(world.durable().diverged.contains("main"));
    }
    world.order(Verb::Ack).expect("nothing is latched, or it is lifted");
    assert!(world.durable().diverged.contains("main"), "an acknowledgement does not clear it");
    world.run(secs(1));
    assert!(world.durable().diverged.is_empty(), "{}", world.told());
    let events = world.events(EventKind::Resynced);
    assert_eq!(events.len(), 1);
    assert_eq!((&*events[0].1.actor, events[0].1.epoch), ("tidegate", Some(world.epoch())));
    world.order_with(Verb::Failback, &[Rule::NoFence]).expect("the way home is free but for the fence");
}

#[test]
fn a_resynced_gate_that_fails_or_is_unknown_leaves_the_mark_and_bars_nothing_else() {
    for verdict in [Verdict::Fail, Verdict::Unknown] {
        let mut world = forked();
        world.gate(MAIN, "timeline", verdict);
        world.run(secs(600));
        assert!(world.durable().diverged.contains("main"), "{verdict:?}");
        let refusal = world.order_with(Verb::Failback, &[Rule::NoFence]).expect_err("forked");
        assert_eq!(&*refusal.label, "diverged", "and not the gate");
        assert!(!refusal.message.contains("timeline"), "{refusal:?}");
    }
}

#[test]
fn a_mark_outlives_a_restart_and_is_cleared_by_what_is_measured_after_it() {
    let mut world = forked();
    world.says.gates.clear();
    world.restart();
    world.run(secs(5));
    assert!(world.durable().diverged.contains("main"));
    world.gate(MAIN, "timeline", Verdict::Pass);
    world.run(secs(1));
    assert!(world.durable().diverged.is_empty());
}

#[test]
fn a_mark_that_could_not_be_cleared_on_disk_stays_and_is_tried_again() {
    let mut world = forked();
    world.store = crate::world::Store::Fails("no space left on device");
    world.run(secs(5));
    assert!(world.durable().diverged.contains("main"));
    let tries = world.events(EventKind::NotStored).len();
    assert!((2..=6).contains(&tries), "about once a second: {tries}");
    world.store = crate::world::Store::AtOnce;
    world.run(secs(2));
    assert!(world.durable().diverged.is_empty());
}

#[test]
fn what_is_old_already_keeps_nothing_else_from_growing_old() {
    let mut world = World::settled(witnessed(gate_of(Purpose::Ready)));
    world.all_good();
    world.silence(DR, "replica");
    world.run(secs(90));
    assert!(!world.state.group(GROUP).fitness[1].is_fit(), "the gate is stale");
    world.says.witnesses.clear();
    world.run(secs(20));
    assert_eq!(world.state.facts.isolation, Some(Isolation::Unknown), "nobody was asked for 20 s");
}
