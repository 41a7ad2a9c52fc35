//! The way home.

use tidegate_health::durable::SwitchKind;
use tidegate_health::event::EventKind;
use tidegate_health::fleet::{Data, Failback, Fleet, Mode};
use tidegate_health::order::{Rule, Verb};

use crate::world::{DR, MAIN, THIRD, World, ms, one, secs};

fn automatic_after(seconds: u64) -> Fleet {
    let mut fleet = one();
    fleet.groups[0].data = Data::Stateless { failback: Failback::Automatic { after: secs(seconds) } };
    fleet
}

/// At linode after a failover, main still lost.
fn away(fleet: Fleet) -> World {
    let mut world = World::settled(fleet);
    world.set(MAIN, false);
    world.run_until_true(secs(30), |world| world.site() == Some(DR));
    world
}

/// The moment main became fit again.
fn home_fit(world: &mut World) -> std::time::Duration {
    world.set(MAIN, true);
    world.run_until_true(secs(10), |world| world.state.groups[0].fitness[0].is_fit())
}

#[test]
fn a_person_brings_it_home() {
    let mut world = away(one());
    world.set(MAIN, true);
    world.run(secs(3600));
    assert_eq!(world.site(), Some(DR));
    let done = world.order(Verb::Failback).expect("home is fit");
    assert_eq!((done.site.as_deref(), done.epoch, done.changed), (Some("main"), 3, true));
    assert_eq!(world.site(), Some(MAIN));
    assert!(world.durable().latched.is_empty());
    let again = world.order(Verb::Failback).expect("already there");
    assert_eq!((again.epoch, again.changed), (3, false));
}

#[test]
fn failback_to_an_unfit_home_names_the_rule_and_the_override_is_on_record() {
    let mut world = away(one());
    let refusal = world.order(Verb::Failback).expect_err("main is down");
    assert_eq!(&*refusal.label, "unfit");
    assert!(refusal.message.contains("0 of 1 origins"), "{refusal:?}");
    let next = refusal.next.expect("a next command");
    assert_eq!(next, "to do it all the same: tidegate failback app --override unfit --reason WHY");
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.events(EventKind::Refused).len(), 1);

    world.order_with(Verb::Failback, &[Rule::Unfit, Rule::Gate]).expect("overridden by name");
    assert_eq!(world.site(), Some(MAIN));
    let event = &world.events(EventKind::Failback)[0].1;
    assert_eq!(
        event.overrides,
        ["unfit".into()],
        "what stood against it, not what was said for good measure"
    );
    assert_eq!(&*event.actor, "naomi");
}

#[test]
fn what_a_person_insisted_on_is_not_undone_by_the_next_failover() {
    let mut world = away(one());
    world.order_with(Verb::Failback, &[Rule::Unfit]).expect("overridden by name");
    world.run(secs(3600));
    assert_eq!(world.site(), Some(MAIN), "{}", world.told());
    assert_eq!(world.stops().first().map(String::as_str), Some("frozen"));
    world.order(Verb::Unfreeze).expect("it is frozen");
    world.run(secs(60));
    assert_eq!(world.site(), Some(DR), "without the freeze the rules hold again: {}", world.told());
}

#[test]
fn automatic_failback_after_unbroken_fitness_and_not_a_millisecond_earlier() {
    let mut world = away(automatic_after(600));
    world.tick = ms(1);
    let fit = home_fit(&mut world);
    world.tick = ms(100);
    world.run_until(fit + secs(599));
    world.tick = ms(1);
    world.run_until(fit + secs(600) - ms(1));
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.stops(), ["failback-after"]);
    world.run(ms(1));
    assert_eq!(world.site(), Some(MAIN), "{}", world.told());
    assert_eq!(world.moves(), ["failover>linode", "failback>main"]);
    assert_eq!(world.durable().decision.as_ref().map(|it| it.kind), Some(SwitchKind::Failback));
}

#[test]
fn a_blip_of_home_starts_the_wait_anew() {
    let mut world = away(automatic_after(600));
    home_fit(&mut world);
    world.run(secs(590));
    world.set(MAIN, false);
    world.run(secs(4));
    let fit = home_fit(&mut world);
    world.run_until(fit + secs(599));
    assert_eq!(world.site(), Some(DR));
    world.run(secs(2));
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn it_stays_for_the_minimum_stay() {
    let mut fleet = automatic_after(1);
    fleet.groups[0].minimum_stay = secs(120);
    let mut world = away(fleet);
    let since = world.at;
    home_fit(&mut world);
    world.run_until(since + secs(119));
    assert_eq!(world.site(), Some(DR));
    assert_eq!(world.stops(), ["minimum-stay"]);
    world.run(secs(2));
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn it_does_not_go_home_by_itself_after_a_planned_switchover() {
    let mut fleet = automatic_after(60);
    for origin in &mut fleet.origins {
        origin.thresholds.interval = secs(60);
    }
    let mut world = World::settled(fleet);
    world.tick = secs(60);
    world.order(Verb::Switch { to: DR }).expect("linode is fit");
    world.run(secs(14 * 24 * 3600));
    assert_eq!(world.site(), Some(DR), "two weeks at the DR site");
    assert_eq!(world.stops(), ["moved-on-purpose"]);
    assert!(world.durable().latched.is_empty(), "a planned move latches nothing");
    world.order(Verb::Failback).expect("main is fit");
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn an_automatic_way_home_is_open_while_the_active_site_is_lost_and_home_is_proven() {
    let mut world = away(automatic_after(600));
    let fit = home_fit(&mut world);
    world.run_until(fit + secs(300));
    world.set(DR, false);
    world.set(THIRD, false);
    world.run_until(fit + secs(599));
    assert_eq!(world.site(), Some(DR), "main is latched, and not fit for long enough");
    world.run(secs(3));
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn in_confirm_mode_the_way_home_is_proposed_even_when_the_active_site_is_lost() {
    let mut fleet = automatic_after(600);
    fleet.groups[0].mode = Mode::Confirm;
    let mut world = World::settled(fleet);
    world.set(MAIN, false);
    world.run(secs(15));
    world.order(Verb::Confirm).expect("a failover is proposed");
    assert_eq!(world.site(), Some(DR));
    home_fit(&mut world);
    world.run(secs(601));
    assert_eq!(world.state.groups[0].proposal, Some(MAIN));
    world.set(DR, false);
    world.set(THIRD, false);
    world.run(secs(60));
    assert_eq!(world.state.groups[0].proposal, Some(MAIN), "{:?}", world.explain());
    world.order(Verb::Confirm).expect("confirmed");
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn the_next_command_of_a_partial_way_home_is_one_that_works() {
    let mut world = World::settled(one());
    world.order(Verb::Switch { to: THIRD }).expect("fit");
    world.set(MAIN, false);
    world.run(secs(20));
    let explanation = world.explain();
    let next = explanation.stops[0].next.as_deref();
    assert_eq!(
        next,
        Some("tidegate switch app linode --reason WHY"),
        "`failback` would go to main, which is down"
    );
    world.order(Verb::Switch { to: DR }).expect("the command works");
}

#[test]
fn the_wait_for_an_automatic_failback_starts_over_after_a_stall() {
    let mut world = away(automatic_after(600));
    home_fit(&mut world);
    world.run(secs(590));
    world.stall(secs(10));
    world.run(secs(590));
    assert_eq!(world.site(), Some(DR), "the loop did not see whether home was fit all the time");
    world.run(secs(15));
    assert_eq!(world.site(), Some(MAIN));
}

#[test]
fn home_is_proven_before_a_lost_site_is_left_for_it() {
    // The edge is cut off just before the minimum stay ends; main and ocean are believed up for longer than linode.
    let mut world = away(automatic_after(0));
    let since = world.at;
    world.fleet.origins[0].thresholds.fall = 100;
    world.fleet.origins[2].thresholds.fall = 100;
    home_fit(&mut world);
    world.run_until(since + secs(50));
    for site in [MAIN, DR, THIRD] {
        world.set(site, false);
    }
    world.run_until(since + secs(62));
    assert!(world.state.groups[0].fitness[0].is_fit(), "main still counts as up");
    assert_eq!(world.site(), Some(DR), "but has failed every probe since linode was lost\n{}", world.told());
}
