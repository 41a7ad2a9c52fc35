//! Every condition of a group against every input: what the core asks for, cell by cell.
//!
//! The table is a snapshot. A change of a rule shows as changed cells, to be read one by one.

mod world;

use std::fmt::Write as _;

use tidegate_health::fleet::{Fleet, Mode};
use tidegate_health::id::SiteId;
use tidegate_health::order::{Order, Rule, Verb};
use tidegate_health::step::{Input, step};
use world::{DR, GROUP, MAIN, Store, THIRD, World, brief, is_observation, one, secs, stateful};

type Condition = (&'static str, fn() -> World);

const CONDITIONS: &[Condition] = &[
    ("undecided", || World::new(stateful())),
    ("settled at main", || World::settled(one())),
    ("waiting: main lost for 5 s of 10", || lost(one(), 8)),
    ("frozen by a person", frozen),
    ("frozen no-fence: main lost, data shared", || lost(stateful(), 60)),
    ("proposed: main lost, confirm mode", || lost(confirming(), 60)),
    ("pending: failover being written", pending),
    ("fail static: all lost", fail_static),
    ("away: at linode after a failover, main latched", || lost(one(), 60)),
];

type Event = (&'static str, fn(&World) -> Vec<Input>);

const EVENTS: &[Event] = &[
    ("tick", |_| vec![Input::Tick]),
    ("main fails", |world| seen(world, MAIN, false)),
    ("main passes", |world| seen(world, MAIN, true)),
    ("linode fails", |world| seen(world, DR, false)),
    ("linode passes", |world| seen(world, DR, true)),
    ("stored", |world| vec![Input::Stored { group: GROUP, ticket: ticket(world) }]),
    ("not stored", |world| {
        vec![Input::NotStored { group: GROUP, ticket: ticket(world), detail: "disk full".into() }]
    }),
    ("switch linode", |_| order(Verb::Switch { to: DR }, &[])),
    ("switch linode!", |_| order(Verb::Switch { to: DR }, &Rule::BUILT_IN)),
    ("switch ocean", |_| order(Verb::Switch { to: THIRD }, &[])),
    ("failback", |_| order(Verb::Failback, &[])),
    ("failback!", |_| order(Verb::Failback, &Rule::BUILT_IN)),
    ("ack", |_| order(Verb::Ack, &[])),
    ("freeze", |_| order(Verb::Freeze, &[])),
    ("unfreeze", |_| order(Verb::Unfreeze, &[])),
    ("confirm", |_| order(Verb::Confirm, &[])),
];

#[test]
fn every_condition_against_every_input() {
    let mut table = String::from("`!` overrides every rule; a site fails or passes as often as it takes\n");
    for (condition, make) in CONDITIONS {
        let world = make();
        let _ = writeln!(table, "\n{condition}");
        for (event, inputs) in EVENTS {
            let mut state = world.state.clone();
            let mut effects = Vec::new();
            for input in inputs(&world) {
                let new = step(&world.fleet, &mut state, input, world.now());
                // What was seen to change is for the history alone.
                let new = new.iter().filter(|effect| !is_observation(effect));
                effects.extend(new.map(|effect| brief(&world.fleet, effect)));
            }
            effects.dedup();
            let effects = if effects.is_empty() { "-".to_owned() } else { effects.join(", ") };
            let _ = writeln!(table, "  {event:<14} {effects}");
        }
    }
    insta::assert_snapshot!("conditions", table);
}

/// As many results as any threshold asks for.
fn seen(world: &World, site: SiteId, pass: bool) -> Vec<Input> {
    let result = |origin| {
        let failure = (!pass).then(|| "refused".into());
        vec![Input::Observation { origin, started: world.now().mono, failure }; 3]
    };
    world.origins_at(site).into_iter().flat_map(result).collect()
}

fn order(verb: Verb, overrides: &[Rule]) -> Vec<Input> {
    let (actor, reason) = ("naomi".into(), "because".into());
    let overrides = overrides.iter().cloned().collect();
    vec![Input::Order(Order { id: 1, group: GROUP, actor, reason, verb, overrides })]
}

/// The ticket of the open write; one that was never given where none is open.
fn ticket(world: &World) -> u64 {
    world.tickets().first().copied().unwrap_or(u64::MAX)
}

fn lost(fleet: Fleet, seconds: u64) -> World {
    let mut world = World::settled(fleet);
    world.set(MAIN, false);
    world.run(secs(seconds));
    world
}

fn confirming() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].mode = Mode::Confirm;
    fleet
}

fn frozen() -> World {
    let mut world = World::settled(one());
    world.order(Verb::Freeze).expect("not frozen");
    world.set(MAIN, false);
    world.run(secs(60));
    world
}

fn pending() -> World {
    let mut world = World::settled(one());
    world.store = Store::Never;
    world.set(MAIN, false);
    world.run(secs(60));
    world
}

fn fail_static() -> World {
    let mut world = World::settled(one());
    for site in [DR, THIRD, MAIN] {
        world.set(site, false);
    }
    world.run(secs(60));
    world
}
