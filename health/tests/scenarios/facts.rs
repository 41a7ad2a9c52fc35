//! News about the world beside the origins: each bars, each is told, each stops barring.

use tidegate_health::durable::SwitchKind;
use tidegate_health::order::{Rule, Verb};
use tidegate_health::state::{Isolation, Verdict};
use tidegate_health::step::Fact;

use crate::world::{DR, GROUP, MAIN, THIRD, World, one, secs};

fn gate(verdict: Verdict) -> Fact {
    Fact::Gate { group: GROUP, site: DR, gate: "replica".into(), verdict }
}

fn forbidden(holds: bool) -> Fact {
    Fact::Forbidden { group: GROUP, site: DR, rule: "upgrade".into(), holds }
}

fn front_door(reachable: bool) -> Fact {
    Fact::FrontDoor { site: DR, reachable }
}

#[test]
fn a_fact_bars_the_preferred_target_and_the_next_one_is_taken() {
    for fact in [gate(Verdict::Fail), gate(Verdict::Unknown), forbidden(true), front_door(false)] {
        let mut world = World::settled(one());
        world.fact(fact.clone());
        world.set(MAIN, false);
        world.run(secs(30));
        assert_eq!(world.site(), Some(THIRD), "{fact:?}");
    }
}

#[test]
fn with_no_other_target_each_fact_stops_the_failover_and_is_explained_until_it_passes() {
    let table = [
        (gate(Verdict::Fail), gate(Verdict::Pass), "gate-failed", Rule::Gate),
        (gate(Verdict::Unknown), gate(Verdict::Pass), "gate-unknown", Rule::Gate),
        (forbidden(true), forbidden(false), "forbidden", Rule::Forbidden),
        (front_door(false), front_door(true), "front-door-lost", Rule::Unfit),
    ];
    for (bad, good, label, rule) in table {
        let mut fleet = one();
        fleet.groups[0].sites.truncate(2);
        let mut world = World::settled(fleet);
        world.fact(bad);
        world.set(MAIN, false);
        world.run(secs(3600));
        assert_eq!(world.site(), Some(MAIN), "{label}");
        assert_eq!(world.stops(), [label]);
        assert_eq!(&*world.order(Verb::Switch { to: DR }).expect_err(label).label, rule.label());

        world.fact(good);
        world.run(secs(2));
        assert_eq!(world.site(), Some(DR), "{label} passed\n{}", world.told());
    }
}

#[test]
fn each_rule_can_be_overridden_by_its_name_and_no_other() {
    let table = [
        (gate(Verdict::Fail), Rule::Gate),
        (gate(Verdict::Unknown), Rule::Gate),
        (forbidden(true), Rule::Forbidden),
        (front_door(false), Rule::Unfit),
        (Fact::Isolation(Some(Isolation::Isolated)), Rule::Isolated),
        (Fact::Isolation(Some(Isolation::Unknown)), Rule::Isolated),
    ];
    for (fact, rule) in table {
        let mut world = World::settled(one());
        world.fact(fact);
        let others: Vec<_> = Rule::ALL.into_iter().filter(|other| *other != rule).collect();
        let refusal = world.order_with(Verb::Switch { to: DR }, &others).expect_err("the wrong names");
        assert_eq!(&*refusal.label, rule.label());
        world.order_with(Verb::Switch { to: DR }, &[rule]).expect("the right name");
        assert_eq!(world.site(), Some(DR));
    }
}

#[test]
fn gates_and_forbidding_rules_do_not_evict_the_active_site_but_its_front_door_does() {
    let mut world = World::settled(one());
    world.order(Verb::Switch { to: DR }).expect("fit");
    world.fact(gate(Verdict::Fail));
    world.fact(forbidden(true));
    world.run(secs(3600));
    assert_eq!(world.site(), Some(DR));
    world.fact(front_door(false));
    world.run(secs(12));
    assert_eq!(world.site(), Some(MAIN), "healthy origins are no use behind a dead address");
    assert_eq!(world.durable().decision.as_ref().map(|it| it.kind), Some(SwitchKind::Failover));
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
    let mut world = World::settled(one());
    for fact in
        [gate(Verdict::Fail), forbidden(true), front_door(false), Fact::Isolation(Some(Isolation::Connected))]
    {
        world.fact(fact.clone());
        let generations = world.generations;
        world.fact(fact.clone());
        assert_eq!(world.generations, generations, "{fact:?} again");
    }
}

#[test]
fn a_first_start_waits_for_the_gate_of_a_preferred_site() {
    let mut world = World::new(one());
    world.fact(Fact::Gate { group: GROUP, site: MAIN, gate: "replica".into(), verdict: Verdict::Unknown });
    world.run(secs(5));
    assert_eq!(world.site(), None);
    assert_eq!(
        world.stops(),
        ["gate-unknown"],
        "the round of probes is complete, so it is not told to be missing"
    );
}
