//! Random fleets, outages, flaps, stalls, clocks that are set, store failures, deaths between any two effects, reloads and
//! orders, with rules that must hold at every step.
//!
//! A run is a function of its seed. A failure prints the seed; `TIDEGATE_SEED=n cargo test -p tidegate-health --test
//! simulation` plays that one run alone, and `TIDEGATE_SEEDS=n` plays another number of them.
//!
//! [`truth`] keeps what is true, [`referee`] knows the rules, [`turns`] and [`fleets`] make things happen, and
//! [`crashes`] dies at every moment of runs that are written down.

#[path = "../world/mod.rs"]
mod world;

mod beside;
mod calm;
mod crashes;
mod fleets;
mod referee;
mod truth;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use fleets::random_fleet;
use referee::Referee;
use tidegate_health::phase::Phase;
use world::{World, ms};

const SEEDS: u64 = 2_000;
/// Things that happen in one run.
const TURNS: usize = 40;

/// What must be met often: a simulation in which nothing happens proves nothing.
const MEETS: [&str; 16] = [
    "failover",
    "failback",
    "frozen",
    "proposed",
    "not-stored",
    "stalled",
    "forced",
    "unforced",
    "overdue",
    "refused",
    "fail-static",
    "a restart",
    "a death between two effects",
    "a clock that is set",
    "a reload",
    "a refused reload",
];

#[test]
fn the_rules_hold_whatever_happens() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SEEDS").unwrap_or(SEEDS),
    };
    let next = AtomicU64::new(seeds.start);
    let met = Mutex::new(BTreeMap::new());
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
                    let mut met = met.lock().expect("no worker panics with the lock");
                    for (what, count) in new {
                        *met.entry(what).or_insert(0) += count;
                    }
                }
            });
        }
    });
    let met = met.into_inner().expect("no worker panics with the lock");
    if seeds.end - seeds.start >= SEEDS {
        for what in MEETS {
            assert!(met.get(what).is_some_and(|count| *count >= 100), "too little of {what}: {met:?}");
        }
        for (from, to) in Phase::ALL.into_iter().flat_map(|from| Phase::ALL.map(|to| (from, to))) {
            let is_met = from == to || !from.leads_to(to) || met.contains_key(&phases(from, to));
            assert!(is_met, "the diagram has {from:?} to {to:?}, and no run does");
        }
    }
}

fn phases(from: Phase, to: Phase) -> String {
    format!("{} to {}", from.label(), to.label())
}

/// One run; what it came across.
fn play(seed: u64) -> BTreeMap<String, usize> {
    let mut rng = Rng::with_seed(seed);
    let whole = random_fleet(&mut rng);
    let mut world = World::new(whole.clone());
    world.tick = ms(500);
    let referee = Referee::default();
    world.look_on(referee.clone());
    world.all_good();
    let mut met = BTreeMap::new();
    let mut meet = |what: &str| *met.entry(what.to_owned()).or_insert(0) += 1;
    for _ in 0..TURNS {
        if rng.u8(..12) == 0 {
            meet(if turns::reload(&mut rng, &mut world, &whole) { "a reload" } else { "a refused reload" });
        }
        if let Some(what) = turns::turn(&mut rng, &mut world) {
            meet(what);
        }
        world.run(ms(rng.u64(0..5_000)));
    }
    for _ in 0..world.deaths {
        meet("a death between two effects");
    }
    for (_, event) in &world.history {
        meet(event.kind.label());
    }
    history_holds(&world);
    calm::settles(world);
    for (from, to) in referee.met() {
        *met.entry(phases(from, to)).or_insert(0) += 1;
    }
    met
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
