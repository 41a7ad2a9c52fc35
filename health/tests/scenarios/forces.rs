//! What a person says of origins: drains and forces, their ends, and what they may not do unasked.

use std::time::Duration;

use tidegate_health::event::EventKind;
use tidegate_health::force::{FORCES_MAX, ForceKind, ForceVerb, PATTERN_MAX, Scope, preview};
use tidegate_health::hysteresis::Health;
use tidegate_health::id::OriginId;
use tidegate_health::order::{Rule, Verb};
use tidegate_health::status::Work;
use tidegate_health::step::Input;

use crate::world::{DR, GROUP, MAIN, Shape, Store, THIRD, World, fleet, ms, one, secs, witnessed};

const DRAIN: ForceVerb = ForceVerb::Set { kind: ForceKind::Drain, length: None };
const UNDRAIN: ForceVerb = ForceVerb::Lift { drain: true };
const UNFORCE: ForceVerb = ForceVerb::Lift { drain: false };

fn force(kind: ForceKind, length: Option<Duration>) -> ForceVerb {
    ForceVerb::Set { kind, length }
}

/// One service with two origins at each of three sites; the second ones of all sites are one machine each.
fn pairs() -> World {
    let mut fleet = fleet(Shape { groups: 1, sites: 3, services: 1, origins: 2 });
    for (number, origin) in fleet.origins.iter_mut().enumerate() {
        origin.host = Some(["canterbury", "donnager"][number % 2].into());
    }
    World::settled(fleet)
}

fn healths(world: &World, origin: u32) -> (Health, Health) {
    let origin = world.state.origin(OriginId(origin));
    (origin.real(), origin.effective())
}

#[test]
fn a_drained_origin_is_out_and_its_real_health_stays_visible() {
    let mut world = pairs();
    let done = world.force(Scope::Origin, "web/main/0", DRAIN).expect("one is left");
    assert!(done.changed && done.preview.origins == ["web/main/0".into()], "{done:?}");
    assert_eq!(healths(&world, 0), (Health::Up, Health::Down));
    assert_eq!(healths(&world, 1), (Health::Up, Health::Up));
    world.set(MAIN, false);
    world.run(secs(5));
    assert_eq!(healths(&world, 0).0, Health::Down, "its checks go on");
    let again = world.force(Scope::Origin, "web/main/0", DRAIN).expect("it is so already");
    assert!(!again.changed);
}

#[test]
fn hosts_sites_and_patterns_are_found_in_every_service() {
    let world = pairs();
    let of = |scope, pattern: &str| {
        let selector = tidegate_health::force::Selector { scope, pattern: pattern.into() };
        selector.origins(&world.fleet).into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(of(Scope::Host, "donnager"), [1, 3, 5]);
    assert_eq!(of(Scope::Host, "d?nn*"), [1, 3, 5]);
    assert_eq!(of(Scope::Site, "linode"), [2, 3]);
    assert_eq!(of(Scope::Site, "*"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(of(Scope::Origin, "web/*/1"), [1, 3, 5]);
    assert_eq!(of(Scope::Origin, "web/main"), [0_u32; 0], "a pattern is the whole name");
    assert_eq!(of(Scope::Host, "Donnager"), [0_u32; 0]);
}

#[test]
fn what_would_make_a_group_unfit_is_refused_and_goes_through_by_name_of_the_rule() {
    let mut world = pairs();
    let refusal = world.force(Scope::Site, "main", DRAIN).expect_err("nothing would be left");
    assert_eq!(&*refusal.label, "unfit");
    assert!(refusal.message.contains("`app` is active at `main`"), "{refusal:?}");
    assert!(refusal.next.as_deref().is_some_and(|next| next.contains("tidegate switch app")), "{refusal:?}");
    assert!(world.state.forces.is_empty());
    assert_eq!(world.events(EventKind::Refused).len(), 1);

    world.force(Scope::Site, "linode", DRAIN).expect("nobody is active there");
    assert!(!world.state.group(GROUP).fitness[1].is_fit(), "but it is no target now");
    world.send_force(Scope::Site, "main", DRAIN, &[Rule::Unfit]);
    assert_eq!(&*world.events(EventKind::Forced)[1].1.overrides[0], "unfit");
    world.run(secs(12));
    assert_eq!(world.site(), Some(THIRD), "the group leaves, past the site that is drained");
}

#[test]
fn the_last_origin_of_a_site_is_refused_where_the_one_before_was_not() {
    let mut world = pairs();
    world.force(Scope::Host, "canterbury", DRAIN).expect("one of two");
    let refusal = world.force(Scope::Host, "donnager", DRAIN).expect_err("the other of two");
    assert!(refusal.message.contains("2 drained or forced down"), "{refusal:?}");
}

#[test]
fn a_drain_of_a_site_after_the_move_away_is_no_trouble() {
    let mut world = pairs();
    world.order(Verb::Switch { to: DR }).expect("fit");
    world.force(Scope::Site, "main", DRAIN).expect("nothing is there");
    world.run(secs(60));
    assert_eq!((world.site(), world.epoch()), (Some(DR), 2));
    let refusal = world.order(Verb::Failback).expect_err("it is out");
    assert_eq!(&*refusal.label, "unfit");
}

#[test]
fn an_undrained_origin_comes_back_through_rise() {
    let mut world = pairs();
    world.force(Scope::Origin, "web/main/0", DRAIN).expect("one is left");
    world.run(secs(60));
    world.force(Scope::Origin, "web/main/0", UNDRAIN).expect("it was drained");
    assert_eq!(healths(&world, 0), (Health::Down, Health::Down), "one pass of long ago is no proof");
    assert!(world.state.group(GROUP).fitness[0].is_fit());
    let undrained = world.at;
    world.run_until_true(secs(5), |world| healths(world, 0).1 == Health::Up);
    assert!(world.at - undrained >= ms(250), "two passes, at the fast pace");
    assert_eq!(world.events(EventKind::Unforced).len(), 1);
}

#[test]
fn a_site_whose_every_origin_was_undrained_is_not_known_until_it_is_proven_and_moves_nothing() {
    let mut world = pairs();
    world.send_force(Scope::Site, "main", force(ForceKind::Drain, None), &[Rule::Unfit]);
    world.run(secs(5));
    world.force(Scope::Site, "main", UNDRAIN).expect("it was drained");
    assert_eq!(world.state.group(GROUP).fitness[0].label(), "unknown");
    world.run(secs(60));
    assert_eq!((world.site(), world.epoch()), (Some(MAIN), 1), "it was over before `failover_after`");
}

#[test]
fn forces_on_health_hold_against_the_checks_until_their_time_is_over() {
    let mut world = pairs();
    world.set(MAIN, false);
    world.force(Scope::Site, "main", force(ForceKind::Up, Some(secs(30)))).expect("it can do no harm");
    world.run(secs(29));
    assert_eq!(world.site(), Some(MAIN), "a person knows better than the checks");
    assert_eq!(healths(&world, 0), (Health::Down, Health::Up));
    world.run(secs(20));
    assert!(world.state.forces.is_empty(), "it is over");
    assert_eq!(&*world.events(EventKind::Unforced)[0].1.actor, "tidegate");
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn a_force_down_is_evidence_enough_for_a_failover() {
    let mut world = World::settled(one());
    world.send_force(Scope::Site, "main", force(ForceKind::Down, None), &[Rule::Unfit]);
    world.run(secs(15));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn a_word_is_no_proof_that_the_edge_is_connected() {
    let mut world = World::settled(one());
    world.force(Scope::Site, "linode", force(ForceKind::Up, None)).expect("it can do no harm");
    // The edge has lost its network.
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN), "nothing was seen to live anywhere");
    assert!(world.stops().contains(&"not-proven".to_owned()), "{:?}", world.stops());
    world.order(Verb::Switch { to: DR }).expect("a person knows");
}

#[test]
fn where_witnesses_see_the_edge_a_site_that_is_forced_up_takes_over_although_its_checks_fail() {
    let mut world = World::settled(witnessed(one()));
    world.all_good();
    world.set(DR, false);
    world.run(secs(5));
    world.force(Scope::Site, "linode", force(ForceKind::Up, None)).expect("it can do no harm");
    world.set(MAIN, false);
    world.run(secs(15));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn what_has_just_been_let_in_does_not_stand_for_what_is_drained_next() {
    let mut world = pairs();
    world.force(Scope::Origin, "web/main/0", DRAIN).expect("one is left");
    world.run(secs(60));
    world.force(Scope::Origin, "web/main/0", UNDRAIN).expect("it was drained");
    let refusal = world.force(Scope::Origin, "web/main/1", DRAIN).expect_err("the first is not back yet");
    assert!(refusal.message.contains("would be unknown"), "{refusal:?}");
    assert!(refusal.next.as_deref().is_some_and(|next| next.contains("has just come back")), "{refusal:?}");
    world.run(secs(5));
    world.force(Scope::Origin, "web/main/1", DRAIN).expect("the first is back");
}

#[test]
fn a_drain_and_a_force_of_the_same_machine_stand_beside_each_other() {
    let mut world = pairs();
    world.force(Scope::Host, "canterbury", force(ForceKind::Down, None)).expect("one is left");
    world.force(Scope::Host, "canterbury", DRAIN).expect("one is left");
    world.force(Scope::Host, "canterbury", UNDRAIN).expect("it is there");
    assert_eq!(world.state.origin(OriginId(0)).force, Some(ForceKind::Down), "nobody lifted that");
    world.force(Scope::Host, "canterbury", DRAIN).expect("one is left");
    world.force(Scope::Host, "canterbury", force(ForceKind::Up, None)).expect("in place of down");
    assert_eq!(world.state.origin(OriginId(0)).force, Some(ForceKind::Drain), "the disks are still out");
    assert_eq!(world.state.forces.len(), 2);
}

#[test]
fn a_lift_that_would_make_a_group_unfit_is_refused_too() {
    let mut world = World::settled(one());
    world.set(MAIN, false);
    world.force(Scope::Site, "main", force(ForceKind::Up, None)).expect("it can do no harm");
    world.run(secs(60));
    let refusal = world.force(Scope::Site, "main", UNFORCE).expect_err("its checks fail");
    assert_eq!(&*refusal.label, "unfit");
    world.run(secs(60));
    assert_eq!(world.site(), Some(MAIN));
    world.send_force(Scope::Site, "main", UNFORCE, &[Rule::Unfit]);
    world.run(secs(15));
    assert_eq!(world.site(), Some(DR));
}

#[test]
fn the_last_origin_that_serves_an_unfit_group_is_not_taken_unasked() {
    let mut fleet = fleet(Shape { groups: 1, sites: 1, services: 1, origins: 3 });
    fleet.services[0].min_up = 2;
    let mut world = World::settled(fleet);
    for origin in [0, 1] {
        world.probes.script(OriginId(origin), |_| false);
    }
    world.run(secs(10));
    assert_eq!(world.state.group(GROUP).fitness[0].label(), "unfit");
    let refusal = world.force(Scope::Origin, "web/main/2", DRAIN).expect_err("it alone serves");
    assert!(refusal.message.contains("no origin left"), "{refusal:?}");
    world.force(Scope::Origin, "web/main/0", DRAIN).expect("it serves nobody");
}

#[test]
fn moves_and_forces_wait_for_each_other() {
    let mut world = pairs();
    world.store = Store::Never;
    world.send(Verb::Switch { to: DR }, &[]);
    assert_eq!(&*world.force(Scope::Site, "linode", DRAIN).expect_err("a move there").label, "busy");
    world.release(None);
    world.store = Store::Never;
    world.send_force(Scope::Site, "main", DRAIN, &[]);
    assert_eq!(&*world.order(Verb::Failback).expect_err("it may not be fit").label, "busy");
    world.set(DR, false);
    world.run(secs(20));
    assert_eq!(world.stops(), ["pending"]);
    world.store = Store::AtOnce;
    world.release(None);
    world.run(secs(20));
    assert_eq!(world.site(), Some(THIRD));
}

#[test]
fn a_probe_that_began_before_an_undrain_says_nothing() {
    let mut world = pairs();
    world.force(Scope::Origin, "web/main/0", DRAIN).expect("one is left");
    world.run(secs(10));
    let before = world.now().mono;
    world.run(ms(100));
    world.force(Scope::Origin, "web/main/0", UNDRAIN).expect("it was drained");
    let since = world.state.origin(OriginId(0)).since;
    assert_eq!(since, world.now().wall, "it is down since now");
    for _ in 0..5 {
        world.feed(Input::Observation { origin: OriginId(0), started: before, failure: None });
    }
    assert_eq!(healths(&world, 0).1, Health::Down);
}

#[test]
fn the_most_careful_of_several_forces_holds() {
    let mut world = pairs();
    world.force(Scope::Host, "canterbury", force(ForceKind::Up, None)).expect("harmless");
    world.force(Scope::Origin, "web/main/0", DRAIN).expect("one is left");
    assert_eq!(world.state.origin(OriginId(0)).force, Some(ForceKind::Drain));
    world.force(Scope::Origin, "web/*/0", force(ForceKind::Down, None)).expect("one is left");
    assert_eq!(world.state.origin(OriginId(0)).force, Some(ForceKind::Down));
    world.force(Scope::Origin, "web/*/0", UNFORCE).expect("it is there");
    world.force(Scope::Origin, "web/main/0", UNDRAIN).expect("it is there");
    assert_eq!(world.state.origin(OriginId(0)).force, Some(ForceKind::Up));
}

#[test]
fn a_drain_that_should_be_over_stays_and_is_told_once() {
    let mut world = pairs();
    world.force(Scope::Origin, "web/main/0", force(ForceKind::Drain, Some(secs(60)))).expect("one is left");
    world.run(secs(59));
    assert!(world.events(EventKind::Overdue).is_empty());
    let generations = world.generations;
    world.run(secs(60));
    assert_eq!(world.events(EventKind::Overdue).len(), 1);
    assert!(world.generations > generations, "readers see it");
    assert_eq!(healths(&world, 0).1, Health::Down, "the machine may be in pieces");
    assert!(tidegate_health::force::forces(&world.fleet, &world.state, &|_| Work::default())[0].overdue);
    // Another time is another promise.
    world.force(Scope::Origin, "web/main/0", force(ForceKind::Drain, Some(secs(10)))).expect("one is left");
    world.run(secs(20));
    assert_eq!(world.events(EventKind::Overdue).len(), 2);
}

#[test]
fn what_is_lifted_must_be_there_as_it_was_ordered() {
    let mut world = pairs();
    let refusal = world.force(Scope::Host, "canterbury", UNDRAIN).expect_err("there is none");
    assert_eq!(&*refusal.label, "no-such-force");
    world.force(Scope::Host, "canterbury", DRAIN).expect("one is left");
    let refusal = world.force(Scope::Origin, "web/main/0", UNDRAIN).expect_err("it was said of the host");
    assert!(refusal.next.as_deref().is_some_and(|next| next.contains("host `canterbury`")), "{refusal:?}");
    world.force(Scope::Host, "canterbury", UNFORCE).expect_err("it is a drain");
    world.force(Scope::Host, "canterbury", UNDRAIN).expect("it is there");
}

#[test]
fn what_matches_nothing_or_is_out_of_bounds_is_refused() {
    let mut world = pairs();
    let label = |world: &mut World, pattern: &str| {
        world.force(Scope::Host, pattern, DRAIN).expect_err("refused").label.to_string()
    };
    assert_eq!(label(&mut world, "rocinante"), "no-match");
    assert_eq!(label(&mut world, ""), "pattern");
    assert_eq!(label(&mut world, &"a".repeat(PATTERN_MAX + 1)), "pattern");
    assert_eq!(label(&mut world, &"a".repeat(PATTERN_MAX)), "no-match");
    for number in 0..FORCES_MAX {
        let pattern =
            format!("web/main/0{}", "*".repeat(number % 200)) + if number < 200 { "" } else { "**" };
        let pattern = if number < 200 { pattern } else { format!("*{}", "*".repeat(number - 200)) };
        world.force(Scope::Origin, &pattern, force(ForceKind::Up, None)).expect("there is room");
    }
    let one_more = world.force(Scope::Host, "canterbury", DRAIN).expect_err("there is no room");
    assert_eq!(&*one_more.label, "too-many");
    world.force(Scope::Origin, "web/main/0", force(ForceKind::Down, None)).expect("in place of another");
}

#[test]
fn forces_are_durable_before_they_hold_and_survive_a_restart() {
    let mut world = pairs();
    world.store = Store::Never;
    let id = world.send_force(Scope::Origin, "web/main/0", DRAIN, &[]);
    assert_eq!(healths(&world, 0).1, Health::Up, "not before it is on disk");
    assert_eq!(&*world.force(Scope::Host, "donnager", DRAIN).expect_err("one at a time").label, "busy");
    world.release(None);
    assert!(world.force_replies[&id].is_ok());
    assert_eq!(healths(&world, 0).1, Health::Down);
    world.store = Store::AtOnce;
    world.restart();
    assert_eq!(healths(&world, 0).1, Health::Down, "from the first moment on");
    world.run(secs(5));
    assert_eq!(healths(&world, 0), (Health::Up, Health::Down));
}

#[test]
fn a_force_that_cannot_be_stored_did_not_happen_and_its_end_is_tried_again() {
    let mut world = pairs();
    world.store = Store::Fails("no space left on device");
    let refusal = world.force(Scope::Origin, "web/main/0", DRAIN).expect_err("not stored");
    assert_eq!(&*refusal.label, "store");
    assert_eq!(healths(&world, 0).1, Health::Up);
    world.store = Store::AtOnce;
    world.force(Scope::Host, "canterbury", force(ForceKind::Up, Some(secs(10)))).expect("harmless");
    world.store = Store::Fails("no space left on device");
    world.run(secs(15));
    assert_eq!(world.state.forces.len(), 1, "what is on disk is what is lived by");
    let failures = world.events(EventKind::NotStored).len();
    assert!((5..=8).contains(&failures), "once a second, not once a tick: {failures}");
    world.store = Store::AtOnce;
    world.run(secs(2));
    assert!(world.state.forces.is_empty());
}

#[test]
fn all_unfit_still_tries_no_drained_origin() {
    let mut world = pairs();
    world.force(Scope::Origin, "web/main/0", DRAIN).expect("one is left");
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    world.run(secs(60));
    assert!(world.state.group(GROUP).is_fail_static());
    assert!(world.state.origin(OriginId(0)).is_out() && !world.state.origin(OriginId(1)).is_out());
}

#[test]
fn a_reload_keeps_forces_and_drains_what_comes_new_to_a_drained_host() {
    let mut world = pairs();
    world.force(Scope::Host, "canterbury", DRAIN).expect("one is left");
    let mut new = fleet(Shape { groups: 1, sites: 3, services: 1, origins: 3 });
    for (number, origin) in new.origins.iter_mut().enumerate() {
        origin.host = Some(["canterbury", "donnager", "canterbury"][number % 3].into());
    }
    let kept: Vec<_> =
        (0..9).map(|number| (number % 3 < 2).then(|| OriginId(number / 3 * 2 + number % 3))).collect();
    world.reload(new, &kept).expect("it fits");
    let out: Vec<_> = (0..9).filter(|number| world.state.origin(OriginId(*number)).is_out()).collect();
    assert_eq!(out, [0, 2, 3, 5, 6, 8]);
}

#[test]
fn an_explanation_names_who_took_what_out_and_how_it_comes_back() {
    let mut world = pairs();
    world.force(Scope::Host, "canterbury", force(ForceKind::Drain, Some(secs(60)))).expect("one is left");
    world.run(secs(90));
    let notes = world.explain().notes.join("\n");
    assert!(
        notes.contains("3 origins drained by amos 1 min 30 s ago, which should be over: new disks"),
        "{notes}"
    );
    assert!(notes.contains("tidegate undrain host 'canterbury' --reason WHY"), "{notes}");
}

#[test]
fn a_preview_says_what_would_be_left_and_changes_nothing() {
    let world = pairs();
    let selector = tidegate_health::force::Selector { scope: Scope::Host, pattern: "canterbury".into() };
    let preview = preview(&world.fleet, &world.state, &selector, ForceKind::Drain);
    assert_eq!(preview.origins.len(), 3);
    assert_eq!(preview.sites.len(), 3);
    let main = &preview.sites[0];
    assert!(main.active && main.loss().is_none());
    assert_eq!((&*main.now, &*main.then), ("fit", "fit"));
    let service = &main.services[0];
    assert_eq!((service.of, service.now, service.then), (2, 2, 1));
    assert!(world.state.forces.is_empty());
}
