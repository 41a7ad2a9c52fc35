//! What a person asks for: confirm mode, refusals, and orders that find it already done.

use tidegate_health::durable::SwitchKind;
use tidegate_health::event::EventKind;
use tidegate_health::fleet::Mode;
use tidegate_health::id::SiteId;
use tidegate_health::order::{Rule, Verb};

use crate::world::{DR, GROUP, MAIN, Shape, World, fleet, ms, one, secs, stateful};

fn confirming() -> World {
    let mut fleet = one();
    fleet.groups[0].mode = Mode::Confirm;
    World::settled(fleet)
}

#[test]
fn confirm_mode_proposes_once_and_waits() {
    let mut world = confirming();
    world.set(MAIN, false);
    world.run(secs(2 * 3600));
    assert_eq!(world.site(), Some(MAIN));
    assert_eq!(world.state.group(GROUP).proposal, Some(DR));
    assert_eq!(world.events(EventKind::Proposed).len(), 1, "one page, not one per tick");
    assert_eq!(world.stops(), ["confirmation"]);
}

#[test]
fn a_single_pass_of_a_dying_site_does_not_page_anew() {
    let mut world = confirming();
    let lost = world.at;
    // At the fast pace, one probe of eight passes.
    world.script(MAIN, move |at| (at - lost) > secs(20) && ((at - lost).as_millis() / 250).is_multiple_of(8));
    world.run(secs(3600));
    assert_eq!(world.events(EventKind::Proposed).len(), 1);
    assert_eq!(world.state.group(GROUP).proposal, Some(DR));
}

#[test]
fn a_proposal_is_withdrawn_when_the_active_site_recovers() {
    let mut world = confirming();
    world.set(MAIN, false);
    world.run(secs(20));
    world.set(MAIN, true);
    let generations = world.generations;
    world.run(secs(5));
    assert_eq!(world.state.group(GROUP).proposal, None);
    assert!(world.generations > generations, "readers no longer see it");
    let refusal = world.order(Verb::Confirm).expect_err("nothing is proposed");
    assert_eq!(&*refusal.label, "nothing-proposed");
}

#[test]
fn confirm_executes_the_proposal_and_latches() {
    let mut world = confirming();
    world.set(MAIN, false);
    world.run(secs(20));
    let done = world.order(Verb::Confirm).expect("proposed");
    assert_eq!((done.site.as_deref(), done.changed), (Some("linode"), true));
    let decision = world.durable().decision.clone().expect("decided");
    assert_eq!((decision.kind, &*decision.actor), (SwitchKind::Failover, "naomi"));
    assert!(world.durable().latched.contains("main"));
    assert!(world.durable().automatic.is_empty(), "a person's move is not an automatic one");
    assert_eq!(world.state.group(GROUP).proposal, None);
}

#[test]
fn a_stalled_loop_withdraws_its_proposal_and_says_so() {
    let mut world = confirming();
    world.set(MAIN, false);
    world.run(secs(20));
    let generations = world.generations;
    world.stall(secs(10));
    world.run(ms(0));
    assert_eq!(world.state.group(GROUP).proposal, None);
    assert!(world.generations > generations, "readers no longer see it");
    world.run(secs(20));
    assert_eq!(world.state.group(GROUP).proposal, Some(DR), "and it is proposed anew on new evidence");
}

#[test]
fn confirming_a_stateful_move_names_the_missing_fence() {
    let mut fleet = stateful();
    fleet.groups[0].mode = Mode::Confirm;
    let mut world = World::settled(fleet);
    world.set(MAIN, false);
    world.run(secs(20));
    let stop = &world.explain().stops[0];
    assert_eq!(stop.next.as_deref(), Some("tidegate confirm app --override no-fence --reason WHY"));
    let refusal = world.order(Verb::Confirm).expect_err("not fenced");
    assert_eq!(&*refusal.label, "no-fence");
    world.order_with(Verb::Confirm, &[Rule::NoFence]).expect("overridden");
    assert_eq!(world.site(), Some(DR));
    assert!(world.durable().diverged.contains("main") && world.durable().latched.contains("main"));
}

#[test]
fn an_order_that_is_already_so_changes_nothing() {
    let mut world = World::settled(one());
    let generations = world.generations;
    for verb in [Verb::Switch { to: MAIN }, Verb::Failback, Verb::Ack, Verb::Unfreeze] {
        let done = world.order(verb).expect("no error");
        assert!(!done.changed, "{verb:?}");
    }
    assert_eq!(world.generations, generations);
    assert_eq!(world.history, []);
}

#[test]
fn a_site_of_another_group_is_refused_with_the_sites_there_are() {
    let mut fleet = fleet(Shape { groups: 1, sites: 4, services: 1, origins: 1 });
    fleet.groups[0].sites.pop();
    let mut world = World::settled(fleet);
    let refusal = world.order(Verb::Switch { to: SiteId(3) }).expect_err("not a site of the group");
    assert_eq!(&*refusal.label, "no-such-site");
    assert_eq!(refusal.next.as_deref(), Some("its sites are main, linode, ocean"));
}

#[test]
fn a_refusal_names_every_rule_at_once() {
    let mut world = World::settled(stateful());
    world.order_with(Verb::Switch { to: DR }, &[Rule::NoFence]).expect("overridden");
    world.set(MAIN, false);
    world.run(secs(5));
    let refusal = world.order(Verb::Failback).expect_err("three rules stand against it");
    let next = refusal.next.expect("a next command");
    assert!(
        next.contains("tidegate failback app --override unfit --override diverged --override no-fence"),
        "{next}"
    );
}

#[test]
fn rules_are_read_by_their_names() {
    for rule in Rule::BUILT_IN.into_iter().chain([Rule::Safety("month-end".into())]) {
        assert_eq!(rule.label().parse::<Rule>(), Ok(rule.clone()));
        let text = format!("\"{rule}\"");
        assert_eq!(serde_json::to_string(&rule).expect("a word"), text);
        assert_eq!(serde_json::from_str::<Rule>(&text).expect("a rule"), rule);
    }
    for text in ["", "no such", "a\"b", &"x".repeat(65)] {
        let error = text.parse::<Rule>().expect_err("no name of a rule").to_string();
        for rule in Rule::BUILT_IN {
            assert!(error.contains(rule.label()), "{error}");
        }
    }
    assert_eq!("x".repeat(64).parse::<Rule>(), Ok(Rule::Safety("x".repeat(64).into())));
}
