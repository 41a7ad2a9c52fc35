//! Every condition of a group against every input: what the core asks for, and the phase it comes to, cell by cell.
//!
//! The table is a snapshot. A change of a rule shows as changed cells, to be read one by one.

mod world;

use std::fmt::Write as _;

use tidegate_health::facts::Isolation;
use tidegate_health::fleet::{Fleet, Mode, SwitchLimit};
use tidegate_health::force::{ForceKind, ForceOrder, ForceVerb, Scope, Selector};
use tidegate_health::gate::{Reading, Verdict};
use tidegate_health::id::SiteId;
use tidegate_health::order::{Order, Rule, Verb};
use tidegate_health::phase::Phase;
use tidegate_health::step::{Fact, Input, step};
use world::{
    DR, GROUP, MAIN, Store, THIRD, World, brief, doored, gated, is_observation, ms, one, secs, stateful,
    witnessed,
};

type Condition = (&'static str, fn() -> World);

const CONDITIONS: &[Condition] = &[
    ("undecided", || begun(stateful())),
    ("nothing known yet", || begun(one())),
    ("first decision being written", starting),
    ("settled at main", || settled(one())),
    ("unknown again after a stall", stalled),
    ("waiting: main lost for 5 s of 10", || lost(one(), 8)),
    ("frozen by a person", frozen),
    ("frozen no-fence: main lost, data shared", || lost(stateful(), 60)),
    ("frozen too-many-switches: main lost", || lost(no_switches(), 60)),
    ("proposed: main lost, confirm mode", || lost(confirming(), 60)),
    ("pending: failover being written", pending),
    ("store in trouble: failover could not be written", troubled),
    ("fail static: all lost", fail_static),
    ("isolated: main lost, and the witnesses, too", isolated),
    ("away: at linode after a failover, main latched", || lost(one(), 60)),
    ("diverged: data moved to linode by hand", diverged),
    ("drained: linode, by a person", || drained(DR)),
    ("drained: main, where the group is", || drained(MAIN)),
    ("a drain being written", draining),
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
    ("main ejected", |world| vec![Input::Ejected { origin: world.origins_at(MAIN)[0] }]),
    ("drain main", |_| force("main", DRAIN, &[])),
    ("drain main!", |_| force("main", DRAIN, &Rule::BUILT_IN)),
    ("drain linode", |_| force("linode", DRAIN, &[])),
    ("undrain main", |_| force("main", ForceVerb::Lift { drain: true }, &[])),
    ("undrain linode", |_| force("linode", ForceVerb::Lift { drain: true }, &[])),
    ("force up main", |_| force("main", ForceVerb::Set { kind: ForceKind::Up, length: None }, &[])),
    ("forces stored", |world| vec![Input::ForcesStored { ticket: ticket(world) }]),
    ("forces not st.", |world| {
        vec![Input::ForcesNotStored { ticket: ticket(world), detail: "disk full".into() }]
    }),
    ("gate fails", |world| gate(world, Verdict::Fail)),
    ("gate passes", |world| gate(world, Verdict::Pass)),
    ("witnesses lost", |world| witnesses(world, false)),
    ("witnesses back", |world| witnesses(world, true)),
    ("main's door shut", |world| door(world, false)),
];

const DRAIN: ForceVerb = ForceVerb::Set { kind: ForceKind::Drain, length: None };

#[test]
fn every_condition_against_every_input() {
    let mut table = String::from("`!` overrides every rule; a site fails or passes as often as it takes\n");
    for (condition, make) in CONDITIONS {
        let world = make();
        let _ = writeln!(table, "\n{condition} ({})", Phase::of(world.state.group(GROUP)).label());
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
            let mut effects = if effects.is_empty() { "-".to_owned() } else { effects.join(", ") };
            let (before, after) = (Phase::of(world.state.group(GROUP)), Phase::of(state.group(GROUP)));
            assert!(before.leads_to(after), "{condition}, {event}: from {before:?} to {after:?}");
            if before != after {
                let _ = write!(effects, " => {}", after.label());
            }
            let _ = writeln!(table, "  {event:<16} {effects}");
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

fn force(site: &str, verb: ForceVerb, overrides: &[Rule]) -> Vec<Input> {
    let (actor, reason) = ("amos".into(), "new disks".into());
    let selector = Selector { scope: Scope::Site, pattern: site.into() };
    let overrides = overrides.iter().cloned().collect();
    vec![Input::Force(ForceOrder { id: 1, actor, reason, selector, verb, overrides })]
}

fn gate(world: &World, verdict: Verdict) -> Vec<Input> {
    let (measured, reading) = (world.now().mono, Reading::Verdict(verdict));
    let gate = "replica".into();
    vec![Input::Fact(Fact::Gate { group: GROUP, site: DR, gate, measured, reading, detail: None })]
}

fn witnesses(world: &World, reachable: bool) -> Vec<Input> {
    let measured = world.now().mono;
    let all = world.fleet.witnesses.addresses.iter().cloned();
    all.map(|address| Input::Fact(Fact::Witness { address, measured, reachable })).collect()
}

/// As many results as any threshold asks for.
fn door(world: &World, up: bool) -> Vec<Input> {
    let (measured, address) = (world.now().mono, world.fleet.site(MAIN).front_door[0]);
    let failure = (!up).then(|| "refused".into());
    vec![Input::Fact(Fact::FrontDoor { site: MAIN, address, measured, failure }); 3]
}

/// With everything that can be configured, and all of it well.
fn begun(fleet: Fleet) -> World {
    let mut world = World::new(witnessed(doored(gated(fleet))));
    world.all_good();
    world
}

fn settled(fleet: Fleet) -> World {
    let mut world = World::settled(witnessed(doored(gated(fleet))));
    world.all_good();
    world
}

fn starting() -> World {
    let mut world = begun(one());
    world.store = Store::Never;
    world.run(secs(5));
    world
}

fn stalled() -> World {
    let mut world = settled(one());
    world.stall(secs(30));
    world.feed(Input::Tick);
    world
}

fn lost(fleet: Fleet, seconds: u64) -> World {
    let mut world = settled(fleet);
    world.set(MAIN, false);
    world.run(secs(seconds));
    world
}

fn confirming() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].mode = Mode::Confirm;
    fleet
}

fn no_switches() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].switch_limit = SwitchLimit { count: 0, ..fleet.groups[0].switch_limit };
    fleet
}

fn frozen() -> World {
    let mut world = settled(one());
    world.order(Verb::Freeze).expect("not frozen");
    world.set(MAIN, false);
    world.run(secs(60));
    world
}

fn pending() -> World {
    let mut world = settled(one());
    world.store = Store::Never;
    world.set(MAIN, false);
    world.run(secs(60));
    world
}

fn troubled() -> World {
    let mut world = settled(one());
    world.store = Store::Fails("disk full");
    world.set(MAIN, false);
    world.run_until_true(secs(60), |world| !world.stops().contains(&"failover-after".into()));
    world.run(ms(500));
    world
}

fn fail_static() -> World {
    let mut world = settled(one());
    for site in [DR, THIRD, MAIN] {
        world.set(site, false);
    }
    world.run(secs(60));
    world
}

fn isolated() -> World {
    let mut world = settled(one());
    world.isolate(Isolation::Isolated);
    world.set(MAIN, false);
    world.run(secs(60));
    world
}

fn diverged() -> World {
    let mut world = settled(stateful());
    world.order_with(Verb::Switch { to: DR }, &[Rule::NoFence]).expect("fit");
    world.run(secs(5));
    world
}

fn drained(site: SiteId) -> World {
    let mut world = settled(one());
    let name = world.name(site);
    let id = world.send_force(Scope::Site, &name, DRAIN, &[Rule::Unfit]);
    world.force_replies[&id].clone().expect("it is allowed to");
    world
}

fn draining() -> World {
    let mut world = settled(one());
    world.store = Store::Never;
    world.send_force(Scope::Site, "linode", DRAIN, &[]);
    world
}
