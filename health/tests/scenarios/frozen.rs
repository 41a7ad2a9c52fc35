//! What freezes a group, and what lifts it.

use tidegate_health::durable::FreezeCause;
use tidegate_health::event::EventKind;
use tidegate_health::fleet::{Data, Failback};
use tidegate_health::order::{Rule, Verb};

use crate::world::{DR, MAIN, World, one, secs, stateful};

/// Alternately loses the active site and acknowledges, until `switches` automatic ones have happened.
fn back_and_forth(world: &mut World, switches: usize) {
    for n in 0..switches {
        let (lost, other) = if n % 2 == 0 { (MAIN, DR) } else { (DR, MAIN) };
        world.set(other, true);
        world.run(secs(5));
        world.set(lost, false);
        world.run_until_true(secs(30), |world| world.site() == Some(other));
        world.order(Verb::Ack).expect("latched");
    }
}

#[test]
fn one_automatic_switch_more_than_the_limit_freezes_and_unfreeze_clears() {
    let mut world = World::settled(one());
    back_and_forth(&mut world, 3);
    assert_eq!(world.site(), Some(DR));
    assert!(world.durable().freeze.is_none(), "three are allowed");
    world.set(MAIN, true);
    world.run(secs(5));
    world.set(DR, false);
    world.run(secs(60));
    assert_eq!(world.site(), Some(DR), "the fourth is not");
    assert_eq!(world.durable().freeze.as_ref().map(|it| it.cause), Some(FreezeCause::TooManySwitches));
    assert_eq!(world.events(EventKind::Frozen).len(), 1);
    assert_eq!(world.stops(), ["frozen"]);

    world.order(Verb::Unfreeze).expect("frozen");
    assert_eq!(world.site(), Some(MAIN), "the failover that was due happens at once");
    assert_eq!(world.durable().automatic.len(), 1, "and is the first of a new window");
}

#[test]
fn switches_older_than_the_window_do_not_count() {
    let mut world = World::settled(one());
    back_and_forth(&mut world, 3);
    world.run(secs(3600));
    world.set(MAIN, true);
    world.run(secs(5));
    world.set(DR, false);
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN));
    assert!(world.durable().freeze.is_none());
}

#[test]
fn a_flapping_home_with_automatic_failback_is_stopped_by_the_limit() {
    let mut fleet = one();
    fleet.groups[0].data = Data::Stateless { failback: Failback::Automatic { after: secs(30) } };
    let mut world = World::settled(fleet);
    world.script(MAIN, |at| at.as_secs() % 180 < 90);
    world.run(secs(6 * 3600));
    assert_eq!(world.moves().len(), 3, "{:?}", world.moves());
    assert_eq!(world.durable().freeze.as_ref().map(|it| it.cause), Some(FreezeCause::TooManySwitches));
}

#[test]
fn a_frozen_group_stays_whatever_happens_and_moves_by_hand() {
    let mut world = World::settled(one());
    world.order(Verb::Freeze).expect("not frozen");
    world.set(MAIN, false);
    world.run(secs(2 * 3600));
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.stops(), ["frozen"]);
    world.order(Verb::Switch { to: DR }).expect("a person may");
    assert_eq!(world.site(), Some(DR));
    assert!(world.durable().freeze.is_some(), "moving does not thaw");
    assert!(!world.order(Verb::Freeze).expect("no error").changed);
}

#[test]
fn a_stateful_group_freezes_no_fence_exactly_once() {
    let mut world = World::settled(stateful());
    world.set(MAIN, false);
    world.run(secs(2 * 3600));
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.epoch(), 1);
    assert_eq!(world.durable().freeze.as_ref().map(|it| it.cause), Some(FreezeCause::NoFence));
    let frozen = world.events(EventKind::Frozen);
    assert_eq!(frozen.len(), 1);
    assert!(frozen[0].1.reason.contains("stateless = true"), "it says what to configure");

    // Lifted while main is still lost, it freezes again, once.
    world.order(Verb::Unfreeze).expect("frozen");
    world.run(secs(3600));
    assert_eq!(world.events(EventKind::Frozen).len(), 2);
}

#[test]
fn a_stateful_group_moves_by_hand_only_by_override_and_the_old_site_is_diverged() {
    let mut world = World::settled(stateful());
    world.set(MAIN, false);
    world.run(secs(60));
    let refusal = world.order(Verb::Switch { to: DR }).expect_err("nothing fences main");
    assert_eq!(&*refusal.label, "no-fence");
    let next = refusal.next.expect("a next command");
    assert_eq!(next, "to do it all the same: tidegate switch app linode --override no-fence --reason WHY");
    world.order_with(Verb::Switch { to: DR }, &[Rule::NoFence]).expect("overridden");
    assert_eq!(world.site(), Some(DR));
    assert!(world.durable().diverged.contains("main"));
    assert_eq!(world.events(EventKind::Switchover)[0].1.overrides, ["no-fence".into()]);

    // Diverged beats health and acknowledgement.
    world.set(MAIN, true);
    world.run(secs(60));
    assert!(!world.order(Verb::Ack).expect("nothing latched").changed);
    let refusal = world.order_with(Verb::Failback, &[Rule::NoFence]).expect_err("main is diverged");
    assert_eq!(&*refusal.label, "diverged");
    let next = refusal.next.expect("a next command");
    assert!(next.contains("failback app --override diverged --override no-fence"), "{next}");
    world.order_with(Verb::Failback, &[Rule::NoFence, Rule::Diverged]).expect("overridden");
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.durable().diverged.iter().map(|it| &**it).collect::<Vec<_>>(), ["linode"]);
}

#[test]
fn a_diverged_site_is_no_target_of_a_failover() {
    let mut fleet = stateful();
    fleet.groups[0].sites.truncate(2);
    let mut world = World::settled(fleet);
    world.order_with(Verb::Switch { to: DR }, &[Rule::NoFence]).expect("overridden");
    world.set(DR, false);
    world.run(secs(3600));
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.stops(), ["diverged"]);
    assert!(world.durable().freeze.is_none(), "there is nowhere to go, so nothing to freeze");
}
