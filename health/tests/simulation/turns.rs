//! What happens in a run: outages, flaps, stalls, clocks that are set, a store that fails, deaths, reloads and orders.

use fastrand::Rng;
use tidegate_health::fleet::Fleet;
use tidegate_health::force::{ForceKind, ForceVerb, Scope};
use tidegate_health::gate::{Reading, Verdict};
use tidegate_health::id::{GroupId, SiteId};
use tidegate_health::order::{Rule, Verb};

use crate::fleets::part;
use crate::world::{Store, World, ms};

/// Something happens. Returns what, where nothing else tells of it.
pub(crate) fn turn(rng: &mut Rng, world: &mut World) -> Option<&'static str> {
    let site = SiteId(rng.u16(..u16::try_from(world.fleet.sites.len()).expect("few sites")));
    let group = GroupId(rng.u16(..u16::try_from(world.fleet.groups.len()).expect("few groups")));
    match rng.u8(..28) {
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
            return Some("a restart");
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
        19..=21 => {
            world.fuse = Some(rng.u32(..20));
            world.unanswered_land = rng.bool();
        }
        22 => {
            let span = [1_500, 60_000, 86_400_000][rng.usize(..3)];
            world.wall_ahead += rng.i64(-span..span);
            return Some("a clock that is set");
        }
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
    None
}

/// Another configuration, of what `whole` has: parts leave and come back, and everything gets other numbers. Returns
/// whether it was taken.
pub(crate) fn reload(rng: &mut Rng, world: &mut World, whole: &Fleet) -> bool {
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

/// Something else is said of the world beside the origins from now on, or nothing any more.
fn random_fact(rng: &mut Rng, world: &mut World, site: SiteId) {
    match rng.u8(..6) {
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
        4 => world.says.lag = ms(rng.u64(0..4_000)),
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
