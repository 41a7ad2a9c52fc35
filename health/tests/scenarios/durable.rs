//! Durable before visible: what happens while the store is slow, stuck or failing.

use tidegate_health::event::EventKind;
use tidegate_health::order::Verb;

use crate::world::{DR, MAIN, Store, THIRD, World, ms, one, secs};

#[test]
fn a_decision_is_invisible_until_it_is_stored() {
    let mut world = World::settled(one());
    world.store = Store::Never;
    world.set(MAIN, false);
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN), "a stalled disk stops switching, not serving");
    assert_eq!(world.writes_open(), 1, "and it is asked once, not once per tick");
    assert_eq!(world.stops(), ["pending"]);
    world.release(None);
    assert_eq!((world.site(), world.epoch()), (Some(DR), 2));
}

#[test]
fn what_is_not_stored_did_not_happen_and_is_tried_again_after_a_second() {
    let mut world = World::settled(one());
    world.tick = ms(1);
    world.store = Store::Fails("no space left on device");
    world.set(MAIN, false);
    world.run_until_true(secs(30), |world| !world.events(EventKind::NotStored).is_empty());
    let first = world.at;
    assert_eq!(world.stops(), ["store"]);
    assert!(world.explain().stops[0].text.contains("no space left"), "{:?}", world.explain());
    world.run_until(first + ms(999));
    assert_eq!(world.events(EventKind::NotStored).len(), 1);
    world.run(ms(1));
    assert_eq!(world.events(EventKind::NotStored).len(), 2);
    assert_eq!((world.site(), world.epoch()), (Some(MAIN), 1));

    world.store = Store::AtOnce;
    world.run(secs(1));
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.epoch(), 4, "epochs 2 and 3 were handed out and are never used again");
}

#[test]
fn an_order_that_cannot_be_stored_is_refused() {
    let mut world = World::settled(one());
    world.store = Store::Fails("read-only file system");
    for verb in [Verb::Switch { to: DR }, Verb::Freeze] {
        let refusal = world.order(verb).expect_err("not stored");
        assert_eq!(&*refusal.label, "store");
        assert!(refusal.message.contains("read-only file system") && refusal.next.is_some(), "{refusal:?}");
    }
    assert_eq!(world.site(), Some(MAIN));
    assert!(world.durable().freeze.is_none());
    world.store = Store::AtOnce;
    assert_eq!(world.order(Verb::Switch { to: DR }).expect("stored").epoch, 3);
}

#[test]
fn a_change_being_written_makes_others_busy_until_it_is_answered() {
    let mut world = World::settled(one());
    world.store = Store::Never;
    let first = world.send(Verb::Switch { to: DR }, &[]);
    assert!(!world.replies.contains_key(&first));
    for verb in [Verb::Switch { to: THIRD }, Verb::Freeze, Verb::Ack, Verb::Confirm, Verb::Failback] {
        assert_eq!(&*world.order(verb).expect_err("busy").label, "busy", "{verb:?}");
    }
    world.release(None);
    let done = world.replies[&first].clone().expect("stored");
    assert_eq!((done.site.as_deref(), done.epoch), (Some("linode"), 2));
    world.store = Store::AtOnce;
    world.order(Verb::Freeze).expect("no longer busy");
}

#[test]
fn the_answer_comes_after_the_publish_that_makes_it_true() {
    let mut world = World::settled(one());
    world.trace.clear();
    world.order(Verb::Switch { to: DR }).expect("fit");
    assert_eq!(world.trace, ["persist switchover>linode", "publish", "reply done"]);
}

#[test]
fn a_late_answer_to_a_change_that_was_given_up_is_ignored() {
    let mut world = World::settled(one());
    let before = world.durable().clone();
    let stale = tidegate_health::step::Input::Stored { group: crate::world::GROUP, ticket: 77 };
    assert!(world.feed(stale).is_empty());
    assert_eq!(*world.durable(), before);
}

#[test]
fn a_slow_store_delays_the_switch_by_its_own_time_only() {
    let mut world = World::settled(one());
    world.tick = ms(1);
    world.store = Store::After(ms(40));
    world.set(MAIN, false);
    world.run_until_true(secs(30), |world| world.site() == Some(DR));
    let lost = world.events(EventKind::Unfit)[0].0;
    assert_eq!(world.at, lost + secs(10) + ms(40));
}

#[test]
fn a_recovery_while_the_decision_is_written_does_not_unmake_it() {
    let mut world = World::settled(one());
    world.store = Store::Never;
    world.set(MAIN, false);
    world.run(secs(15));
    world.set(MAIN, true);
    world.run(secs(5));
    world.release(None);
    assert_eq!(world.site(), Some(DR), "what is on disk is what is lived by");
}

#[test]
fn a_change_that_is_stored_ends_the_trouble_with_the_store() {
    let mut world = World::settled(one());
    world.store = Store::Fails("no space left on device");
    world.set(MAIN, false);
    world.run_until_true(secs(30), |world| !world.events(EventKind::NotStored).is_empty());
    world.store = Store::AtOnce;
    world.order(Verb::Freeze).expect("stored");
    assert_eq!(world.stops(), ["frozen"]);
}
