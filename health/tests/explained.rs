//! Whatever stops a switch is told by `explain`, with a next step that works.

mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use tidegate_health::decide::{Bar, Hindrance, Outlook, outlook};
use tidegate_health::durable::FreezeCause;
use tidegate_health::event::EventKind;
use tidegate_health::explain::Explanation;
use tidegate_health::facts::Isolation;
use tidegate_health::fit::Obstacle;
use tidegate_health::fleet::{Data, Failback, FirstStart, Fleet, Mode};
use tidegate_health::gate::{Limit, Purpose, Reading, Value, Verdict};
use tidegate_health::id::{GroupId, ServiceId};
use tidegate_health::order::{Order, Verb};
use tidegate_health::safety::{Demand, Hours, Span};
use tidegate_health::step::{Effect, Input, step};
use world::{
    DR, GROUP, MAIN, Shape, Store, THIRD, WALL_START, World, doored, fleet, gated, ms, one, ruled, secs,
    stateful, with_gate, witnessed,
};

/// A label for every variant: a new one does not compile until it has a line here, and then fails the test below
/// until it has a scenario.
macro_rules! labels {
    ($name:ident, $all:ident, $type:ty, { $($pattern:pat => $label:literal,)+ }) => {
        fn $name(it: &$type) -> &'static str {
            match it { $($pattern => $label,)+ }
        }
        const $all: &[&str] = &[$($label,)+];
    };
}

labels!(of_bar, BARS, Bar, {
    Bar::Undecided => "undecided",
    Bar::FirstRound => "first-round",
    Bar::FailoverAfter { .. } => "failover-after",
    Bar::LossUnconfirmed { .. } => "loss-unconfirmed",
    Bar::Frozen(_) => "frozen",
    Bar::NotLeading => "not-leading",
    Bar::Isolated => "isolated",
    Bar::IsolationUnknown => "isolation-unknown",
    Bar::Store(_) => "store",
    Bar::ChangePending => "pending",
    Bar::NoOtherSite => "no-other-site",
    Bar::FailbackManual { .. } => "failback-manual",
    Bar::MovedOnPurpose { .. } => "moved-on-purpose",
    Bar::FailbackAfter { .. } => "failback-after",
    Bar::MinimumStay { .. } => "minimum-stay",
    Bar::Held(_) => "sites-fit",
    Bar::Candidate { hindrance: Hindrance::Latched, .. } => "latched",
    Bar::Candidate { hindrance: Hindrance::NotProven, .. } => "not-proven",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::OriginsDown { .. }), .. } => "origins-down",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::OriginsUnknown { .. }), .. } => "origins-unknown",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::NamesUnresolved { .. }), .. } => "names-unresolved",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::CapabilityMissing(_)), .. } => "capability-missing",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::GateFailed { .. }), .. } => "gate-failed",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::GateUnknown { .. }), .. } => "gate-unknown",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::FrontDoorLost), .. } => "front-door-lost",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::FrontDoorUnknown), .. } => "front-door-unknown",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::Forbidden(_)), .. } => "forbidden",
    Bar::Candidate { hindrance: Hindrance::Obstacle(Obstacle::Diverged), .. } => "diverged",
});

labels!(of_cause, CAUSES, FreezeCause, {
    FreezeCause::Operator => "operator",
    FreezeCause::NoFence => "no-fence",
    FreezeCause::TooManySwitches => "too-many-switches",
});

/// A node of a cluster that another one leads.
fn following() -> World {
    let mut world = World::settled(one());
    world.join(false);
    lost(world, secs(60))
}

type Scenario = (&'static str, fn() -> World);

/// A label that must be told, and how the group comes to it.
const SCENARIOS: &[Scenario] = &[
    ("undecided", || World::new(undecided())),
    ("first-round", || World::new(one())),
    ("failover-after", || lost(World::settled(one()), secs(6))),
    ("loss-unconfirmed", loss_unconfirmed),
    ("frozen", || frozen(one())),
    ("frozen", || lost(World::settled(stateful()), secs(60))),
    ("frozen", too_many_switches),
    ("too-many-switches", || about_to_freeze(no_switches())),
    ("no-fence", || about_to_freeze(stateful())),
    ("not-leading", following),
    ("isolated", || cut_off(Isolation::Isolated)),
    ("isolation-unknown", || cut_off(Isolation::Unknown)),
    ("store", || storing(Store::Fails("no space left on device"))),
    ("pending", || storing(Store::Never)),
    ("no-other-site", || lost(World::settled(with_sites(1)), secs(60))),
    ("failback-manual", || home_again(one())),
    ("failback-manual", by_hand_with_data),
    ("moved-on-purpose", moved_on_purpose),
    ("failback-after", || home_again(automatic(secs(1800)))),
    ("minimum-stay", || home_again(automatic(secs(0)))),
    ("latched", latched),
    ("not-proven", not_proven),
    ("origins-down", all_down),
    ("origins-down", || lost(World::settled(nothing_at_dr()), secs(60))),
    ("origins-unknown", origins_unknown),
    ("names-unresolved", names_unresolved),
    ("capability-missing", capability_missing),
    ("gate-failed", || gate(Verdict::Fail)),
    ("gate-failed", slow_replica),
    ("gate-unknown", || gate(Verdict::Unknown)),
    ("gate-unknown", silent_gate),
    ("front-door-lost", front_door_lost),
    ("front-door-unknown", || lost(World::settled(doored(with_sites(2))), secs(60))),
    ("forbidden", by_the_hour),
    ("forbidden", kept_apart),
    ("sites-fit", too_few_fit),
    ("diverged", || diverged(with_sites(2))),
    ("diverged", || diverged(with_gate(with_sites(2), "timeline", Purpose::Resynced))),
    ("confirmation", || lost(World::settled(confirming(one())), secs(60))),
    ("confirmation", || lost(World::settled(confirming(stateful())), secs(60))),
];

#[test]
fn every_reason_that_can_stop_a_switch_is_explained() {
    let (mut bars_met, mut causes_met) = (BTreeSet::new(), BTreeSet::new());
    for (label, scenario) in SCENARIOS {
        let world = scenario();
        let explanation = world.explain();
        let stop = explanation.stops.iter().find(|stop| &*stop.label == *label);
        let stop = stop.unwrap_or_else(|| panic!("{label} is not told:\n{}", render(&explanation)));
        assert!(stop.text.len() > 10, "{label} has a text");
        assert!(stop.next.as_ref().is_some_and(|next| next.len() > 10), "{label} has a next step");

        match outlook(&world.fleet, &world.state, GROUP, world.now()) {
            Outlook::Barred(bars) => {
                let told: Vec<_> = explanation.stops.iter().map(|stop| &*stop.label).collect();
                assert_eq!(
                    told,
                    bars.iter().map(of_bar).collect::<Vec<_>>(),
                    "each bar is told once, in order"
                );
                bars_met.extend(bars.iter().map(of_bar));
            }
            Outlook::Freeze { cause, .. } => assert_eq!(of_cause(&cause), *label),
            Outlook::Propose { .. } => assert_eq!("confirmation", *label),
            other => panic!("{label}: nothing stops {other:?}"),
        }
        causes_met.extend(world.durable().freeze.iter().map(|freeze| of_cause(&freeze.cause)));
    }
    assert_eq!(bars_met, BARS.iter().copied().collect(), "every bar has a scenario");
    assert_eq!(causes_met, CAUSES.iter().copied().collect(), "every cause of a freeze has a scenario");
}

/// These are read by tired people: review a change of the snapshot by reading it.
#[test]
fn explanations_read_well() {
    let mut text = String::new();
    for (label, scenario) in SCENARIOS {
        let _ = writeln!(text, "### {label}\n{}", render(&scenario().explain()));
    }
    insta::assert_snapshot!("explanations", text);
}

#[test]
fn a_command_that_is_suggested_is_never_refused() {
    let mut tried = 0;
    for (label, scenario) in SCENARIOS {
        let world = scenario();
        let explanation = world.explain();
        let stops = explanation.stops.iter().map(|stop| &stop.next);
        let nexts = stops.chain(explanation.ways.iter().map(|way| &way.next)).chain([&explanation.next]);
        for next in nexts {
            for command in commands(next.as_deref().unwrap_or_default()) {
                // What waits for the store has to wait; a place holder is the reader's to fill.
                if command.contains("SITE") || *label == "pending" {
                    continue;
                }
                let order = parse(&world, &command);
                let mut state = world.state.clone();
                let effects = step(&world.fleet, &mut state, Input::Order(order), world.now());
                let refused = effects.iter().find_map(|effect| match effect {
                    Effect::Reply { outcome: Err(refusal), .. } => Some(refusal.clone()),
                    _ => None,
                });
                assert!(refused.is_none(), "{label}: {command}: {refused:?}");
                assert!(
                    effects.iter().any(|effect| matches!(effect, Effect::Persist { .. })),
                    "{label}: {command}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 20, "only {tried} commands were tried");
}

#[test]
fn what_would_stop_a_later_move_is_a_note_while_all_is_well() {
    let mut world = World::settled(witnessed(confirming(one())));
    assert_eq!(world.explain().outlook, "settled".into());
    world.order(Verb::Freeze).expect("not frozen");
    world.isolate(Isolation::Isolated);
    let explanation = world.explain();
    assert!(explanation.stops.is_empty());
    for wanted in ["frozen (operator) by naomi", "this edge is cut off", "mode is confirm"] {
        assert!(explanation.notes.iter().any(|note| note.contains(wanted)), "{wanted}: {explanation:?}");
    }
}

/// What was down at night has long been up again in the morning.
#[test]
fn the_chain_of_a_move_is_kept_until_the_next_one() {
    let mut whole = fleet(Shape { groups: 1, sites: 2, services: 1, origins: 2 });
    whole.origins[0].host = Some("canterbury".into());
    let mut world = lost(World::settled(whole), secs(20));
    let event = world.events(EventKind::Failover)[0].1.clone();
    world.set(MAIN, true);
    world.run(secs(3600));
    world.restart();
    world.run(secs(60));
    let explanation = world.explain();
    assert_eq!(explanation.decided, event.chain, "as it stands in the history");
    assert!(explanation.present.is_empty(), "it is well now: {:?}", explanation.present);
    let labels: Vec<_> = explanation.decided.iter().map(|link| &*link.label).collect();
    assert_eq!(labels, ["origin", "origin", "service", "site", "wait", "proof", "move"]);
    let told: Vec<_> = explanation.decided.iter().map(|link| &*link.text).collect();
    assert!(
        told[0].contains("`web/main/0` on canterbury") && told[0].contains("in a row: refused"),
        "{told:?}"
    );
    assert!(told[2].contains("0 of 2 origins"), "{told:?}");
    assert!(told[6].starts_with("failover to `linode`, epoch 2, by tidegate"), "{told:?}");
    let times: Vec<_> = explanation.decided.iter().filter_map(|link| link.at).collect();
    assert!(times.is_sorted(), "from the cause to the move: {times:?}");
    // A person's move names the person, and takes the place of the old chain.
    world.order(Verb::Ack).expect("latched");
    world.order(Verb::Failback).expect("fit");
    let decided = world.explain().decided;
    assert_eq!(decided.iter().map(|link| &*link.label).collect::<Vec<_>>(), ["order", "move"]);
    assert!(decided[0].text.contains("naomi") && decided[0].text.contains("because"), "{decided:?}");
}

#[test]
fn a_chain_has_a_bound_however_much_is_down() {
    let whole = fleet(Shape { groups: 1, sites: 2, services: 6, origins: 5 });
    let world = lost(World::settled(whole), secs(20));
    let chain = &world.events(EventKind::Failover)[0].1.chain;
    assert!(chain.len() <= 20, "{} links", chain.len());
    assert_eq!(chain.last().map(|link| &*link.label), Some("move"), "its end is not cut off");
    let bytes = serde_json::to_vec(chain).expect("plain").len();
    assert!(bytes < 8_000, "{bytes} bytes");
}

/// Whatever can be in a site's way is the beginning of a chain, and every explanation says what would change it.
#[test]
fn every_loss_has_a_chain_and_every_group_a_way() {
    for (label, scenario) in SCENARIOS {
        let world = scenario();
        let explanation = world.explain();
        let own = world.state.group(GROUP);
        let unfit = own.active.is_some_and(|active| !own.fitness_at(&world.fleet.groups[0], active).is_fit());
        assert_eq!(explanation.present.is_empty(), !unfit, "{label}: {}", render(&explanation));
        if unfit {
            assert_eq!(explanation.present.last().map(|link| &*link.label), Some("site"), "{label}");
        }
        let others = world.fleet.groups[0].sites.len() - usize::from(own.active.is_some());
        let by_hand = explanation.ways.iter().filter(|way| &*way.label == "switch").count();
        assert_eq!(by_hand, others, "{label}");
        if !explanation.stops.is_empty() {
            assert!(explanation.next.is_some(), "{label} has a next step");
        }
        let bars = explanation
            .stops
            .iter()
            .filter(|stop| ["failover-after", "failback-after", "minimum-stay"].contains(&&*stop.label));
        assert!(bars.clone().all(|stop| stop.left_ms.is_some_and(|left| left > 0)), "{label}");
    }
}

fn render(explanation: &Explanation) -> String {
    let mut out = format!("{} [{}]\n", explanation.headline, explanation.outlook);
    for site in &explanation.sites {
        let active = if site.active { "*" } else { " " };
        let line = format!(" {active} {:<7} {:<7} {}", site.site, site.fitness, site.why.join("; "));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for (name, chain) in [("decided", &explanation.decided), ("present", &explanation.present)] {
        for link in chain {
            let at = link.at.map_or_else(|| "-".into(), |at| (at.0 - WALL_START).to_string());
            let _ = writeln!(out, " {name} {at:>6} {:<8} {}", link.label, link.text);
        }
    }
    for stop in &explanation.stops {
        let _ = writeln!(
            out,
            " - {}: {}\n     next: {}",
            stop.label,
            stop.text,
            stop.next.as_deref().unwrap_or("-")
        );
    }
    for way in &explanation.ways {
        let left = way.left_ms.map_or_else(String::new, |left| format!(" [{left} ms left]"));
        let next = way.next.as_ref().map_or_else(String::new, |next| format!(": {next}"));
        let _ = writeln!(out, " + {}: {}{left}{next}", way.label, way.text);
    }
    for note in &explanation.notes {
        let _ = writeln!(out, " . {note}");
    }
    let _ = writeln!(out, " > {}", explanation.next.as_deref().unwrap_or("nothing to do"));
    out
}

/// Every `tidegate ... WHY` in a sentence.
fn commands(next: &str) -> Vec<String> {
    let from = next.split("tidegate ").skip(1);
    from.filter_map(|rest| rest.split_once(" --reason WHY").map(|(command, _)| command.to_owned())).collect()
}

fn parse(world: &World, command: &str) -> Order {
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words[1], "app", "{command}");
    let mut rest = &words[2..];
    let verb = match words[0] {
        "switch" => {
            let to = world.fleet.site_named(rest[0]).expect("a site");
            rest = &rest[1..];
            Verb::Switch { to }
        }
        "failback" => Verb::Failback,
        "confirm" => Verb::Confirm,
        "ack" => Verb::Ack,
        "unfreeze" => Verb::Unfreeze,
        other => panic!("no such command: {other}"),
    };
    let overrides = rest.chunks(2).map(|flag| {
        assert_eq!(flag[0], "--override", "{command}");
        flag[1].parse().expect("a rule")
    });
    let overrides = overrides.collect();
    Order { id: 1, group: GROUP, actor: "naomi".into(), reason: "because".into(), verb, overrides }
}

fn with_sites(count: usize) -> Fleet {
    let mut fleet = one();
    fleet.groups[0].sites.truncate(count);
    fleet
}

fn undecided() -> Fleet {
    Fleet { first_start: FirstStart::Undecided, ..one() }
}

fn automatic(after: std::time::Duration) -> Fleet {
    let mut fleet = one();
    fleet.groups[0].data = Data::Stateless { failback: Failback::Automatic { after } };
    fleet
}

fn confirming(mut fleet: Fleet) -> Fleet {
    fleet.groups[0].mode = Mode::Confirm;
    fleet
}

fn no_switches() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].switch_limit.count = 0;
    fleet
}

fn nothing_at_dr() -> Fleet {
    let mut fleet = with_sites(2);
    fleet.services[0].origins.remove(&DR);
    fleet
}

fn lost(mut world: World, span: std::time::Duration) -> World {
    world.set(MAIN, false);
    world.run(span);
    world
}

fn gate(verdict: Verdict) -> World {
    let mut world = World::settled(gated(with_sites(2)));
    world.replica(verdict);
    lost(world, secs(60))
}

fn slow_replica() -> World {
    let mut fleet = gated(with_sites(2));
    fleet.groups[0].gates[0].limit = Some(Limit::MaxLag(secs(5)));
    let mut world = World::settled(fleet);
    world.gate_of(GROUP, DR, "replica", Reading::Value(Value::Number(12.5)));
    lost(world, secs(60))
}

fn silent_gate() -> World {
    let mut world = World::settled(gated(with_sites(2)));
    world.replica(Verdict::Pass);
    world.silence(DR, "replica");
    world.run(secs(55));
    lost(world, secs(60))
}

fn front_door_lost() -> World {
    let mut world = World::settled(doored(with_sites(2)));
    world.all_good();
    world.front_door(DR, false);
    world.run(secs(5));
    lost(world, secs(60))
}

/// Tuesday, 22:13 UTC.
fn by_the_hour() -> World {
    let span = Span { days: [true; 7], from: 22 * 60, to: 6 * 60 };
    let hours = Hours { zone: TimeZone::UTC, text: "22:00-06:00 (UTC)".into(), spans: vec![span] };
    let demand = Demand::Closed { groups: [GROUP].into(), sites: [DR].into(), hours: Some(hours) };
    lost(World::settled(ruled(with_sites(2), "night-batch", demand)), secs(60))
}

fn kept_apart() -> World {
    let mut fleet = fleet(Shape { groups: 2, sites: 2, services: 1, origins: 1 });
    fleet.groups[1].sites.reverse();
    let groups = [GROUP, GroupId(1)].into();
    lost(World::settled(ruled(fleet, "apart", Demand::Apart { groups })), secs(60))
}

fn too_few_fit() -> World {
    let demand = Demand::SitesFit { groups: [GROUP].into(), at_least: 3 };
    let mut world = lost(World::settled(ruled(automatic(secs(60)), "spare", demand)), secs(20));
    world.set(MAIN, true);
    world.set(THIRD, false);
    world.run(secs(3600));
    world
}

fn cut_off(isolation: Isolation) -> World {
    let mut world = World::settled(witnessed(one()));
    world.all_good();
    world.isolate(isolation);
    lost(world, secs(60))
}

fn frozen(fleet: Fleet) -> World {
    let mut world = World::settled(fleet);
    world.order(Verb::Freeze).expect("not frozen");
    lost(world, secs(60))
}

fn too_many_switches() -> World {
    lost(World::settled(no_switches()), secs(60))
}

/// The freeze could not be stored, and is due again.
fn about_to_freeze(fleet: Fleet) -> World {
    let mut world = World::settled(fleet);
    world.store = Store::Fails("no space left on device");
    let mut world = lost(world, secs(60));
    world.at += secs(1);
    world
}

fn storing(store: Store) -> World {
    let mut world = World::settled(one());
    world.store = store;
    lost(world, secs(14))
}

fn home_again(fleet: Fleet) -> World {
    let mut world = lost(World::settled(fleet), secs(20));
    world.set(MAIN, true);
    world.run(secs(5));
    world
}

fn by_hand_with_data() -> World {
    let mut world = lost(World::settled(stateful()), secs(20));
    world
        .order_with(Verb::Switch { to: THIRD }, &[tidegate_health::order::Rule::NoFence])
        .expect("overridden");
    world
}

fn moved_on_purpose() -> World {
    let mut world = World::settled(automatic(secs(60)));
    world.order(Verb::Switch { to: DR }).expect("fit");
    world.run(secs(3600));
    world
}

fn latched() -> World {
    let mut world = home_again(with_sites(2));
    world.set(DR, false);
    world.run(secs(60));
    world
}

fn all_down() -> World {
    let mut world = World::settled(one());
    world.set(DR, false);
    world.set(THIRD, false);
    lost(world, secs(60))
}

fn loss_unconfirmed() -> World {
    let mut world = all_down();
    world.set(DR, true);
    let fit = |world: &World| world.state.group(GROUP).fitness[1].is_fit();
    world.tick = ms(1);
    // Main's probes are slower, so that its next one began before linode was fit.
    world.probes.latency(world.origins_at(MAIN)[0], ms(240));
    world.run_until_true(secs(5), fit);
    world
}

fn not_proven() -> World {
    let mut world = World::settled(with_sites(2));
    world.tick = ms(1);
    world.probes.latency(world.origins_at(DR)[0], ms(400));
    world.set(MAIN, false);
    world.run_until_true(secs(5), |world| world.state.group(GROUP).unfit_since.is_some());
    world
}

fn origins_unknown() -> World {
    let mut world = lost(World::settled(with_sites(2)), secs(1));
    world.restart();
    world.probes.latency(world.origins_at(DR)[0], secs(60));
    world.run(secs(20));
    world
}

fn names_unresolved() -> World {
    let mut fleet = with_sites(2);
    fleet.services[0].origins.remove(&DR);
    fleet.unresolved.insert((ServiceId(0), DR), vec!["app.dr.example".into()]);
    lost(World::settled(fleet), secs(60))
}

fn capability_missing() -> World {
    let mut fleet = with_sites(2);
    fleet.sites[0].provides.insert("email".into());
    fleet.groups[0].requires.insert("email".into());
    lost(World::settled(fleet), secs(60))
}

fn diverged(mut fleet: Fleet) -> World {
    fleet.groups[0].data = Data::Stateful;
    let mut world = World::settled(fleet);
    world.order_with(Verb::Switch { to: DR }, &[tidegate_health::order::Rule::NoFence]).expect("overridden");
    world.set(DR, false);
    world.run(secs(60));
    world
}
