//! Safety rules: what may never happen does not, until a person names the rule.

use jiff::tz::TimeZone;
use tidegate_health::fleet::{Data, Failback, Fleet};
use tidegate_health::id::GroupId;
use tidegate_health::order::{Rule, Verb};
use tidegate_health::safety::{Demand, Hours, Span};

use crate::world::{DR, GROUP, MAIN, Shape, Store, THIRD, World, fleet, one, ruled, secs};

const OTHER: GroupId = GroupId(1);

fn named(name: &str) -> Rule {
    Rule::Safety(name.into())
}

/// Two groups that may never be at one site; the first is at main, the second at home where `sites` of it begin.
fn apart(sites: u16) -> Fleet {
    let mut fleet = fleet(Shape { groups: 2, sites, services: 1, origins: 1 });
    fleet.groups[1].sites.swap(0, 1);
    ruled(fleet, "apart", Demand::Apart { groups: [GROUP, OTHER].into() })
}

#[test]
fn two_groups_of_a_set_are_never_at_one_site() {
    let mut world = World::settled(apart(3));
    world.set(MAIN, false);
    world.run(secs(30));
    assert_eq!(world.site(), Some(THIRD), "linode is taken");
    let refusal = world.order(Verb::Switch { to: DR }).expect_err("linode is taken");
    assert_eq!(&*refusal.label, "apart");
    assert!(refusal.next.expect("says how").contains("--override apart"));
    world.order_with(Verb::Switch { to: DR }, &[named("apart")]).expect("named");
    assert_eq!(world.site(), Some(DR));
    let note = "safety rule `apart` would not let `app` go where it is (`app1` is there";
    assert!(world.explain().notes.iter().any(|it| it.contains(note)), "{:?}", world.explain().notes);
    assert_eq!(world.history.last().expect("recorded").1.overrides, ["apart".into()]);
}

#[test]
fn two_groups_that_lose_their_sites_at_once_do_not_take_the_same_one() {
    for store in [Store::AtOnce, Store::After(secs(1))] {
        let mut world = World::settled(apart(3));
        world.store = store;
        world.set(MAIN, false);
        world.set(DR, false);
        world.run(secs(60));
        let sites: Vec<_> = world.visible.iter().map(|(site, _)| *site).collect();
        assert!(sites.contains(&Some(THIRD)), "one of them moves: {sites:?}");
        assert_ne!(sites[0], sites[1]);
    }
}

#[test]
fn a_site_that_could_not_be_taken_is_free_again_when_the_write_failed() {
    let mut world = World::settled(apart(3));
    world.store = Store::Never;
    world.send(Verb::Switch { to: THIRD }, &[]);
    let order = world.send_to(OTHER, Verb::Switch { to: THIRD }, &[]);
    assert_eq!(&*world.replies[&order].clone().expect_err("taken").label, "apart");
    world.release(Some("disk full"));
    world.store = Store::AtOnce;
    let order = world.send_to(OTHER, Verb::Switch { to: THIRD }, &[]);
    world.replies[&order].clone().expect("free");
    assert_eq!(world.visible[1].0, Some(THIRD));
}

#[test]
fn a_first_start_keeps_them_apart_too() {
    let mut fleet = apart(2);
    fleet.groups[1].sites.swap(0, 1);
    let mut world = World::new(fleet);
    world.run(secs(10));
    assert_eq!(world.visible.iter().map(|(site, _)| *site).collect::<Vec<_>>(), [Some(MAIN), Some(DR)]);
}

/// The world begins on a Tuesday at 22:13:20 UTC.
fn closed_until(to: u16) -> Fleet {
    let span = Span { days: [true; 7], from: 22 * 60, to };
    let hours = Hours { zone: TimeZone::UTC, text: "22:00-22:20 (UTC)".into(), spans: vec![span] };
    let mut fleet = one();
    fleet.groups[0].sites.truncate(2);
    let demand = Demand::Closed { groups: [GROUP].into(), sites: [DR].into(), hours: Some(hours) };
    ruled(fleet, "batch", demand)
}

#[test]
fn a_site_that_is_closed_in_some_hours_takes_over_when_they_are_over() {
    let mut world = World::settled(closed_until(22 * 60 + 20));
    world.set(MAIN, false);
    // Twenty past is 400 s after the world began.
    world.run_until(secs(399));
    assert_eq!((world.site(), world.stops()), (Some(MAIN), vec!["forbidden".to_owned()]));
    world.run_until(secs(402));
    assert_eq!(world.site(), Some(DR), "{}", world.told());
}

#[test]
fn the_hours_hold_to_the_minute_for_orders_and_a_person_names_the_rule() {
    let mut world = World::settled(closed_until(22 * 60 + 20));
    world.run_until(secs(400) - std::time::Duration::from_millis(1));
    assert_eq!(&*world.order(Verb::Switch { to: DR }).expect_err("closed").label, "batch");
    let misspelt = world.order_with(Verb::Switch { to: DR }, &[named("bach")]).expect_err("no such rule");
    assert_eq!(&*misspelt.label, "no-such-rule");
    assert!(misspelt.next.expect("lists them").ends_with("isolated, batch"));
    world.at = secs(400);
    world.order(Verb::Switch { to: DR }).expect("open");
    world.order(Verb::Failback).expect("main is open");
}

#[test]
fn a_planned_move_waits_for_enough_fit_sites_and_a_failover_does_not() {
    let demand = Demand::SitesFit { groups: [GROUP].into(), at_least: 3 };
    let mut world = World::settled(ruled(one(), "spare", demand));
    world.set(THIRD, false);
    world.run(secs(5));
    let refusal = world.order(Verb::Switch { to: DR }).expect_err("two are fit");
    assert_eq!(&*refusal.label, "spare");
    assert!(refusal.message.contains("2 of its sites are fit, and a planned move wants 3"), "{refusal:?}");
    let mut by_name = World::settled(world.fleet.clone());
    by_name.set(THIRD, false);
    by_name.run(secs(5));
    by_name.order_with(Verb::Switch { to: DR }, &[named("spare")]).expect("named");

    world.set(MAIN, false);
    world.run(secs(15));
    assert_eq!(world.site(), Some(DR), "leaving a lost site is no planned move");
}

#[test]
fn an_automatic_way_home_is_a_planned_move() {
    let demand = Demand::SitesFit { groups: [GROUP].into(), at_least: 3 };
    let mut fleet = ruled(one(), "spare", demand);
    fleet.groups[0].data = Data::Stateless { failback: Failback::Automatic { after: secs(60) } };
    let mut world = World::settled(fleet);
    world.set(MAIN, false);
    world.run(secs(20));
    world.set(MAIN, true);
    world.set(THIRD, false);
    world.run(secs(600));
    assert_eq!((world.site(), world.stops()), (Some(DR), vec!["sites-fit".to_owned()]));
    world.set(THIRD, true);
    world.run(secs(5));
    assert_eq!(world.site(), Some(MAIN));
}
