//! Random fleets, outages, flaps, stalls, store failures, restarts, reloads and orders, with rules that must hold at every step.
//!
//! A run is a function of its seed. A failure prints the seed; `TIDEGATE_SEED=n cargo test --test simulation` plays
//! that one run alone, and `TIDEGATE_SEEDS=n` plays another number of them.

mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use tidegate_health::durable::{Durable, SwitchKind};
use tidegate_health::event::{Event, EventKind};
use tidegate_health::facts::Isolation;
use tidegate_health::fit::Fitness;
use tidegate_health::fleet::{Data, Failback, FirstStart, Fleet, Mode, SwitchLimit};
use tidegate_health::force::{FORCES_MAX, Force, ForceKind, ForceVerb, Scope};
use tidegate_health::gate::{Purpose, Reading, Verdict};
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{GroupId, OriginId, ServiceId, SiteId};
use tidegate_health::order::{Rule, Verb};
use tidegate_health::safety::Demand;
use tidegate_health::state::State;
use tidegate_health::step::Effect;
use tidegate_health::time::Now;
use world::{Shape, Store, World, doored, fleet, ms, ruled, secs, with_gate, witnessed};

const SEEDS: u64 = 2_000;
/// Things that happen in one run.
const TURNS: usize = 40;

#[test]
fn the_rules_hold_whatever_happens() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SEEDS").unwrap_or(SEEDS),
    };
    let next = AtomicU64::new(seeds.start);
    let met = Mutex::new(Met::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let run = catch_unwind(AssertUnwindSafe(|| play(seed)));
                    let new = run.unwrap_or_else(|panic| {
                        eprintln!("TIDEGATE_SEED={seed} fails");
                        resume_unwind(panic)
                    });
                    met.lock().expect("no worker panics with the lock").add(&new);
                }
            });
        }
    });
    let met = met.into_inner().expect("no worker panics with the lock");
    if seeds.end - seeds.start >= SEEDS {
        // A simulation in which nothing happens proves nothing.
        assert!(met.enough(), "too little happened: {met:?}");
    }
}

/// What a run came across.
#[derive(Clone, Debug, Default)]
struct Met {
    failovers: usize,
    failbacks: usize,
    freezes: usize,
    proposals: usize,
    not_stored: usize,
    stalls: usize,
    restarts: usize,
    reloads: usize,
    refused_reloads: usize,
    forces: usize,
    ended_forces: usize,
    overdue: usize,
}

impl Met {
    fn add(&mut self, new: &Self) {
        self.failovers += new.failovers;
        self.failbacks += new.failbacks;
        self.freezes += new.freezes;
        self.proposals += new.proposals;
        self.not_stored += new.not_stored;
        self.stalls += new.stalls;
        self.restarts += new.restarts;
        self.reloads += new.reloads;
        self.refused_reloads += new.refused_reloads;
        self.forces += new.forces;
        self.ended_forces += new.ended_forces;
        self.overdue += new.overdue;
    }

    fn enough(&self) -> bool {
        let counts =
            [self.failovers, self.failbacks, self.freezes, self.proposals, self.not_stored, self.stalls];
        counts
            .into_iter()
            .chain([self.restarts, self.reloads, self.refused_reloads])
            .chain([self.forces, self.ended_forces, self.overdue])
            .all(|count| count >= 100)
    }
}

fn play(seed: u64) -> Met {
    let mut rng = Rng::with_seed(seed);
    let whole = random_fleet(&mut rng);
    let mut world = World::new(whole.clone());
    world.tick = ms(500);
    world.all_good();
    world.watch = Some(hold);
    let mut met = Met::default();
    for _ in 0..TURNS {
        if rng.u8(..12) == 0 {
            match reload(&mut rng, &mut world, &whole) {
                true => met.reloads += 1,
                false => met.refused_reloads += 1,
            }
        }
        met.restarts += usize::from(turn(&mut rng, &mut world));
        world.run(ms(rng.u64(0..5_000)));
    }
    let count = |kind: EventKind| world.events(kind).len();
    met.failovers = count(EventKind::Failover);
    met.failbacks = count(EventKind::Failback);
    met.freezes = count(EventKind::Frozen);
    met.proposals = count(EventKind::Proposed);
    met.not_stored = count(EventKind::NotStored);
    met.stalls = count(EventKind::Stalled);
    met.forces = count(EventKind::Forced);
    met.ended_forces = count(EventKind::Unforced);
    met.overdue = count(EventKind::Overdue);
    history_holds(&world);
    met
}

fn random_fleet(rng: &mut Rng) -> Fleet {
    let shape = Shape {
        groups: rng.u16(1..=2),
        sites: rng.u16(1..=4),
        services: rng.u16(1..=2),
        origins: rng.u32(1..=2),
    };
    let mut fleet = fleet(shape);
    if rng.u8(..10) == 0 {
        fleet.first_start = FirstStart::Undecided;
    }
    for group in &mut fleet.groups {
        group.data = match rng.u8(..4) {
            0 => Data::Stateful,
            1 => Data::Stateless { failback: Failback::Manual },
            _ => Data::Stateless { failback: Failback::Automatic { after: secs(rng.u64(0..20)) } },
        };
        group.mode = if rng.u8(..4) == 0 { Mode::Confirm } else { Mode::Automatic };
        group.failover_after = ms(rng.u64(0..3_000));
        group.minimum_stay = secs(rng.u64(0..20));
        group.switch_limit = SwitchLimit { count: rng.u32(0..4), window: secs(rng.u64(20..300)) };
    }
    for service in &mut fleet.services {
        service.critical = rng.u8(..5) > 0;
        service.min_up = rng.u32(1..=shape.origins);
    }
    for origin in &mut fleet.origins {
        origin.thresholds.fall = rng.u32(1..=3);
        origin.thresholds.rise = rng.u32(1..=3);
    }
    if shape.sites > 1 && rng.u8(..3) == 0 {
        let purposes = [Purpose::Ready, Purpose::Data, Purpose::Resynced];
        fleet = with_gate(fleet, "replica", purposes[rng.usize(..3)]);
    }
    if rng.u8(..3) == 0 {
        fleet = witnessed(fleet);
    }
    if rng.u8(..3) == 0 {
        fleet = doored(fleet);
    }
    if shape.groups > 1 && rng.u8(..3) == 0 {
        fleet = ruled(fleet, "apart", Demand::Apart { groups: [GroupId(0), GroupId(1)].into() });
    }
    fleet
}

/// Something happens. Returns whether it was a restart.
fn turn(rng: &mut Rng, world: &mut World) -> bool {
    let site = SiteId(rng.u16(..u16::try_from(world.fleet.sites.len()).expect("few sites")));
    let group = GroupId(rng.u16(..u16::try_from(world.fleet.groups.len()).expect("few groups")));
    match rng.u8(..24) {
        0..=4 => world.set(site, false),
        5..=9 => world.set(site, true),
        10 => {
            let period = rng.u64(200..5_000);
            world.script(site, move |at| (at.as_millis() as u64 / period).is_multiple_of(2));
        }
        11 => {
            for origin in world.fleet.origin_ids().collect::<Vec<_>>() {
                let up = rng.bool();
                world.probes.script(origin, move |_| up);
                world.probes.latency(origin, ms(rng.u64(0..400)));
            }
        }
        12 => world.stall(ms(rng.u64(100..10_000))),
        13 => {
            world.restart();
            return true;
        }
        14 => {
            world.store = match rng.u8(..4) {
                0 => Store::Never,
                1 => Store::Fails("disk full"),
                2 => Store::After(ms(rng.u64(0..3_000))),
                _ => Store::AtOnce,
            };
        }
        15 => {
            world.release(if rng.bool() { None } else { Some("gave up") });
            world.store = Store::AtOnce;
        }
        16 => random_fact(rng, world, site),
        17 => world.all_good(),
        18 => random_force(rng, world, site),
        _ => {
            let verb = match rng.u8(..8) {
                0..=1 => Verb::Switch { to: site },
                2 => Verb::Failback,
                3 => Verb::Ack,
                4 => Verb::Freeze,
                5 => Verb::Unfreeze,
                _ => Verb::Confirm,
            };
            let overrides: Vec<_> = rules(&world.fleet).into_iter().filter(|_| rng.bool()).collect();
            world.send_to(group, verb, &overrides);
        }
    }
    false
}

/// Another configuration, of what `whole` has: parts leave and come back, and everything gets other numbers. Returns
/// whether it was taken.
fn reload(rng: &mut Rng, world: &mut World, whole: &Fleet) -> bool {
    let new = part(rng, whole);
    let kept: Vec<_> = new
        .origins
        .iter()
        .map(|origin| world.fleet.origin_named(&origin.name).filter(|_| rng.u8(..8) > 0))
        .collect();
    let before = (world.state.groups.len(), world.generations);
    match world.reload(new, &kept) {
        Ok(()) => true,
        Err(misfits) => {
            assert!(!misfits.is_empty(), "refused without a reason");
            assert_eq!(
                before,
                (world.state.groups.len(), world.generations),
                "refused, but something changed"
            );
            false
        }
    }
}

/// A fleet of some of the sites, groups and origins of `whole`, in an order by chance.
fn part(rng: &mut Rng, whole: &Fleet) -> Fleet {
    let mut fleet = Fleet { first_start: whole.first_start, ..Fleet::default() };
    let mut sites = whole.sites.clone();
    rng.shuffle(&mut sites);
    sites.truncate(if rng.u8(..3) == 0 { rng.usize(1..=sites.len()) } else { sites.len() });
    fleet.sites = sites;
    let mut groups: Vec<_> = whole.groups.iter().collect();
    rng.shuffle(&mut groups);
    groups.truncate(if rng.u8(..3) == 0 { rng.usize(1..=groups.len()) } else { groups.len() });
    for was in groups {
        let id = GroupId(u16::try_from(fleet.groups.len()).expect("few groups"));
        let mut group = was.clone();
        let named = |site: &SiteId| fleet.site_named(&whole.site(*site).name);
        group.sites = was.sites.iter().filter_map(named).collect();
        rng.shuffle(&mut group.sites);
        for gate in &mut group.gates {
            gate.sites = gate.sites.iter().filter_map(named).collect();
        }
        group.failover_after = ms(rng.u64(0..3_000));
        group.services.clear();
        for service in &was.services {
            let mut service = whole.service(*service).clone();
            let service_id = ServiceId(u16::try_from(fleet.services.len()).expect("few services"));
            group.services.push(service_id);
            service.group = id;
            let old = std::mem::take(&mut service.origins);
            for site in &group.sites {
                let origins = old.iter().filter(|(at, _)| whole.site(**at).name == fleet.site(*site).name);
                let mut origins: Vec<_> = origins.flat_map(|(_, ids)| ids).collect();
                rng.shuffle(&mut origins);
                origins.truncate(rng.usize(1..=origins.len()));
                for origin in origins {
                    let mut origin = whole.origin(*origin).clone();
                    (origin.service, origin.site) = (service_id, *site);
                    if rng.u8(..6) == 0 {
                        origin.thresholds.fall = rng.u32(1..=3);
                    }
                    let origin_id = OriginId(u32::try_from(fleet.origins.len()).expect("few origins"));
                    service.origins.entry(*site).or_default().push(origin_id);
                    fleet.origins.push(origin);
                }
            }
            fleet.services.push(service);
        }
        fleet.groups.push(group);
    }
    fleet.witnesses = whole.witnesses.clone();
    for rule in &whole.rules {
        let Demand::Apart { groups } = &rule.demand else { continue };
        let groups = groups.iter().filter_map(|id| fleet.group_named(&whole.group(*id).name)).collect();
        fleet = ruled(fleet, &rule.name, Demand::Apart { groups });
    }
    fleet
}

/// Something else is said of the world beside the origins from now on, or nothing any more.
fn random_fact(rng: &mut Rng, world: &mut World, site: SiteId) {
    match rng.u8(..5) {
        0 => {
            for address in world.fleet.witnesses.addresses.clone() {
                world.says.witnesses.insert(address, rng.bool());
            }
        }
        1 => {
            for reading in world.says.gates.values_mut() {
                let verdicts = [Verdict::Fail, Verdict::Unknown, Verdict::Pass];
                *reading = Reading::Verdict(verdicts[rng.usize(..3)]);
            }
        }
        2 => world.front_door(site, rng.u8(..3) > 0),
        3 => world.says.gates.clear(),
        _ => world.says.witnesses.clear(),
    }
}

/// Every rule that can be overridden in a fleet.
fn rules(fleet: &Fleet) -> Vec<Rule> {
    let safety = fleet.rules.iter().map(|rule| Rule::Safety(rule.name.clone()));
    Rule::BUILT_IN.into_iter().chain(safety).collect()
}

fn random_force(rng: &mut Rng, world: &mut World, site: SiteId) {
    let (scope, pattern) = match rng.u8(..3) {
        0 => (Scope::Site, world.name(site).to_string()),
        1 => (Scope::Origin, format!("*/{}/{}", world.name(site), rng.u32(..2))),
        _ => (Scope::Origin, "*".into()),
    };
    let verb = match rng.u8(..5) {
        0 => ForceVerb::Lift { drain: true },
        1 => ForceVerb::Lift { drain: false },
        _ => ForceVerb::Set {
            kind: ForceKind::ALL[rng.usize(..ForceKind::ALL.len())],
            length: rng.bool().then(|| ms(rng.u64(0..20_000))),
        },
    };
    let overrides: &[Rule] = if rng.bool() { &[Rule::Unfit] } else { &[] };
    world.send_force(scope, &pattern, verb, overrides);
}

/// What must hold of a change of forces.
fn forces_hold(fleet: &Fleet, ordered: bool, (next, event): &(Vec<Force>, Event), after: &State, now: Now) {
    assert!(next.len() <= FORCES_MAX);
    let removed = after.forces.iter().filter(|force| !next.contains(force));
    if !ordered {
        assert_eq!(
            (event.kind, &*event.actor),
            (EventKind::Unforced, "tidegate"),
            "only an end is automatic"
        );
        for force in removed {
            assert!(force.kind != ForceKind::Drain && force.is_over(now.wall), "ended by itself: {force:?}");
        }
        assert!(next.iter().all(|force| after.forces.contains(force)));
    }
    if event.kind == EventKind::Unforced || event.overrides.iter().any(|rule| &**rule == "unfit") {
        return;
    }
    let then = after.clone().with_forces(fleet, next.clone(), now);
    for id in fleet.group_ids() {
        let unfit = |state: &State| {
            let own = state.group(id);
            own.active.is_some_and(|site| matches!(own.fitness_at(fleet.group(id), site), Fitness::Unfit(_)))
        };
        assert!(unfit(after) || !unfit(&then), "a force took a group's site unasked: {event:?}");
    }
}

/// What must hold after every step.
fn hold(fleet: &Fleet, ordered: bool, effects: &[Effect], after: &State, now: Now) {
    for effect in effects {
        if let Effect::PersistForces { change, .. } = effect {
            forces_hold(fleet, ordered, change, after, now);
        }
        let Effect::Persist { group, change, .. } = effect else { continue };
        let (next, event) = (&change.0, &change.1);
        let current = &after.group(*group).durable;
        if next.epoch() != current.epoch() {
            assert!(next.epoch() > current.epoch(), "an epoch shrank: {event:?}");
        } else {
            assert_eq!(next.decision, current.decision, "a decision changed without an epoch");
        }
        if &*event.actor == "tidegate" && event.to.is_some() {
            moves_by_itself(fleet, after, *group, current, event, now);
        }
        if ordered {
            continue;
        }
        assert_eq!(&*event.actor, "tidegate", "only an order is an operator's doing");
        let is_mark = event.kind == EventKind::Resynced;
        assert!(current.freeze.is_none() || is_mark, "a frozen group acts: {event:?}");
    }
    for id in fleet.group_ids() {
        let own = after.group(id);
        if let Some(to) = own.proposal {
            assert_eq!(fleet.group(id).mode, Mode::Confirm);
            assert!(own.fitness_at(fleet.group(id), to).is_fit(), "an unfit site is proposed");
        }
    }
}

/// The rules of a move that nobody ordered.
fn moves_by_itself(fleet: &Fleet, state: &State, id: GroupId, current: &Durable, event: &Event, now: Now) {
    let (group, own) = (fleet.group(id), state.group(id));
    let to = event.to.as_deref().and_then(|to| fleet.site_named(to)).expect("a site of the fleet");
    assert!(group.is_stateless(), "a group that shares data moved by itself: {event:?}");
    assert!(current.freeze.is_none(), "a frozen group moved by itself: {event:?}");
    assert!(
        matches!(state.facts.isolation, None | Some(Isolation::Connected)),
        "a cut off edge moved a group: {event:?}"
    );
    assert_eq!(own.fitness_at(group, to), &Fitness::Fit, "moved to an unfit site: {event:?}");
    assert!(!current.diverged.contains(&fleet.site(to).name), "moved to a diverged site: {event:?}");
    if event.kind == EventKind::Start {
        assert!(current.decision.is_none() && fleet.first_start == FirstStart::Preferred);
        return;
    }
    assert_eq!(group.mode, Mode::Automatic, "moved without the confirmation: {event:?}");
    let recent =
        current.automatic.iter().filter(|at| now.wall.since(**at) < group.switch_limit.window).count();
    assert!(recent < group.switch_limit.count as usize, "more automatic moves than allowed: {event:?}");

    // Every origin of the target that counts was seen since the loss.
    let since = own.unfit_since.unwrap_or(state.round).max(state.round);
    for service in group.services.iter().map(|id| fleet.service(*id)).filter(|service| service.critical) {
        let origins = service.origins_at(to);
        let seen = |id: &OriginId| state.origin(*id).force.is_some() || state.origin(*id).seen >= Some(since);
        assert!(origins.iter().all(seen), "moved unproven: {event:?}");
        let up = origins.iter().filter(|id| state.origin(**id).evidence() == Health::Up).count();
        assert!(up >= service.min_up as usize);
    }
    match event.kind {
        EventKind::Failover => {
            assert!(
                !current.latched.contains(&fleet.site(to).name),
                "failed over to a latched site: {event:?}"
            );
            let unfit = now.mono.since(own.unfit_since.expect("a failover leaves an unfit site"));
            assert!(unfit >= group.failover_after, "too early: {event:?}");
            let active = own.active.expect("a failover leaves a site");
            assert!(matches!(own.fitness_at(group, active), Fitness::Unfit(_)), "left a site that serves");
        }
        EventKind::Failback => {
            let Failback::Automatic { after } = group.failback() else {
                panic!("a manual failback happened by itself: {event:?}");
            };
            let position = group.sites.iter().position(|site| *site == to).expect("a site of the group");
            let fit = now.mono.since(own.fit_since[position].expect("fit"));
            assert!(fit >= after, "home after {fit:?} of {after:?}");
            let decision = current.decision.as_ref().expect("decided");
            assert_ne!(decision.kind, SwitchKind::Switchover, "home from a move on purpose");
            assert!(now.wall.since(decision.since) >= group.minimum_stay, "home too early");
        }
        kind => panic!("{kind:?} is never automatic"),
    }
}

/// What must hold for the history of a run.
fn history_holds(world: &World) {
    let groups: BTreeSet<_> = world.history.iter().filter_map(|(_, event)| event.group.clone()).collect();
    for group in groups {
        let moves = world
            .history
            .iter()
            .filter(|(_, event)| event.group.as_ref() == Some(&group) && event.to.is_some());
        let epochs: Vec<_> = moves.map(|(_, event)| event.epoch.expect("a move has an epoch")).collect();
        assert!(epochs.is_sorted_by(|a, b| a < b), "epochs repeat or shrink: {epochs:?}\n{}", world.told());
    }
    let asked: BTreeSet<_> =
        world.persisted.iter().map(|(group, epoch, site)| (group, epoch, site)).collect();
    let epochs: BTreeSet<_> = world.persisted.iter().map(|(group, epoch, _)| (group, epoch)).collect();
    assert_eq!(asked.len(), epochs.len(), "an epoch was handed out for two decisions of one process");
}
