//! News about the world beside the origins: each bars, each is told, each stops barring.

use tidegate_health::durable::SwitchKind;
use tidegate_health::event::EventKind;
use tidegate_health::gate::Verdict;
use tidegate_health::order::{Rule, Verb};
use tidegate_health::safety::Demand;

use crate::world::{DR, GROUP, MAIN, THIRD, World, doored, gated, one, ruled, secs, witnessed};

/// What can be in the way of the second site, and what takes it away.
type Case = (&'static str, Rule, fn(&mut World), fn(&mut World));

const CASES: [Case; 3] = [
    ("gate-failed", Rule::Gate, |world| world.replica(Verdict::Fail), |world| world.replica(Verdict::Pass)),
    (
        "gate-unknown",
        Rule::Gate,
        |world| world.replica(Verdict::Unknown),
        |world| world.replica(Verdict::Pass),
    ),
    ("front-door-lost", Rule::Unfit, |world| world.front_door(DR, false), |world| world.front_door(DR, true)),
];

/// With a gate, checked front doors, and all of it well.
fn world(sites: usize) -> World {
    let mut fleet = doored(gated(one()));
    fleet.groups[0].sites.truncate(sites);
    let mut world = World::settled(fleet);
    world.all_good();
    world.run(secs(1));
    world
}

#[test]
fn a_fact_bars_the_preferred_target_and_the_next_one_is_taken() {
    for (label, _, bad, _) in CASES {
        let mut world = world(3);
        bad(&mut world);
        world.run(secs(2));
        world.set(MAIN, false);
        world.run(secs(30));
        assert_eq!(world.site(), Some(THIRD), "{label}");
    }
}

#[test]
fn with_no_other_target_each_fact_stops_the_failover_and_is_explained_until_it_passes() {
    for (label, rule, bad, good) in CASES {
        let mut world = world(2);
        bad(&mut world);
        world.set(MAIN, false);
        world.run(secs(3600));
        assert_eq!(world.site(), Some(MAIN), "{label}");
        assert_eq!(world.stops(), [label]);
        assert_eq!(&*world.order(Verb::Switch { to: DR }).expect_err(label).label, rule.label());

        good(&mut world);
        world.run(secs(2));
        assert_eq!(world.site(), Some(DR), "{label} passed\n{}", world.told());
    }
}

#[test]
fn each_rule_can_be_overridden_by_its_name_and_no_other() {
    let closed = Demand::Closed { groups: [GROUP].into(), sites: [DR].into(), hours: None };
    let fleet = || ruled(witnessed(doored(gated(one()))), "upgrade", closed.clone());
    let isolated: fn(&mut World) = |world| world.isolate(tidegate_health::facts::Isolation::Isolated);
    let unknown: fn(&mut World) = |world| world.isolate(tidegate_health::facts::Isolation::Unknown);
    let cases = CASES.map(|(_, rule, bad, _)| (rule, bad));
    for (rule, bad) in cases.into_iter().chain([(Rule::Isolated, isolated), (Rule::Isolated, unknown)]) {
        let upgrade = Rule::Safety("upgrade".into());
        let mut world = World::settled(fleet());
        world.all_good();
        bad(&mut world);
        world.run(secs(2));
        let others: Vec<_> = Rule::BUILT_IN.into_iter().filter(|other| *other != rule).collect();
        let refusal = world.order_with(Verb::Switch { to: DR }, &others).expect_err("the wrong names");
        let next = refusal.next.expect("says how");
        assert!(next.contains(rule.label()) && next.contains("--override upgrade"), "{next}");
        world
            .order_with(Verb::Switch { to: DR }, &[others, vec![upgrade.clone()]].concat())
            .expect_err("likewise");
        world
            .order_with(Verb::Switch { to: DR }, std::slice::from_ref(&rule))
            .expect_err("the safety rule is not named");
        world.order_with(Verb::Switch { to: DR }, &[rule, upgrade]).expect("the right names");
        assert_eq!(world.site(), Some(DR));
    }
}

#[test]
fn gates_do_not_evict_the_active_site_but_its_front_door_does() {
    let mut world = world(3);
    world.order(Verb::Switch { to: DR }).expect("fit");
    world.replica(Verdict::Fail);
    world.run(secs(3600));
    assert_eq!(world.site(), Some(DR));
    world.front_door(DR, false);
    world.run(secs(13));
    assert_eq!(world.site(), Some(MAIN), "healthy origins are no use behind a dead address");
    assert_eq!(world.durable().decision.as_ref().map(|it| it.kind), Some(SwitchKind::Failover));
    assert_eq!(world.events(EventKind::FrontDoorLost).len(), 1);
}

#[test]
fn a_required_capability_bars_and_a_wanted_one_degrades() {
    let mut fleet = one();
    fleet.sites[0].provides.insert("email".into());
    fleet.sites[2].provides.insert("email".into());
    let mut wanting = fleet.clone();
    wanting.groups[0].wants.insert("email".into());
    let mut world = World::settled(wanting);
    world.set(MAIN, false);
    world.run(secs(30));
    assert_eq!(world.site(), Some(DR));
    let explanation = world.explain();
    assert!(
        explanation.notes.contains(&"degraded: `linode` does not provide `email`".to_owned()),
        "{explanation:?}"
    );

    fleet.groups[0].requires.insert("email".into());
    let mut world = World::settled(fleet);
    world.set(MAIN, false);
    world.run(secs(30));
    assert_eq!(world.site(), Some(THIRD));
}

#[test]
fn a_fact_that_is_no_news_makes_no_generation() {
    let mut world = World::settled(witnessed(doored(gated(one()))));
    world.all_good();
    world.replica(Verdict::Fail);
    world.front_door(THIRD, false);
    world.run(secs(5));
    let generations = world.generations;
    world.run(secs(60));
    assert_eq!(world.generations, generations, "the same was told again and again");
}

#[test]
fn a_first_start_waits_for_the_gate_of_a_preferred_site() {
    let mut fleet = gated(one());
    fleet.groups[0].gates[0].sites = [MAIN].into();
    let mut world = World::new(fleet);
    world.run(secs(5));
    assert_eq!(world.site(), None);
    assert_eq!(
        world.stops(),
        ["gate-unknown"],
        "the round of probes is complete, so it is not told to be missing"
    );
    world.gate(MAIN, "replica", Verdict::Pass);
    world.run(secs(2));
    assert_eq!(world.site(), Some(MAIN));
}
