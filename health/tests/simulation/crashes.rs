//! The process dies at every moment there is: before each effect and after it, with a write that was under way lost or on
//! the disk. The moments are counted in a first run, so none is forgotten when an effect is added.
//!
//! The referee looks on, so all of its rules hold for both processes: what readers saw and what was acknowledged is
//! there after the restart. Here it is said in addition where each story has to end.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_health::durable::Durable;
use tidegate_health::fleet::{Data, Failback, Fleet, Mode};
use tidegate_health::force::{ForceKind, ForceVerb, Scope};
use tidegate_health::id::{OriginId, SiteId};
use tidegate_health::order::{Rule, Verb};

use crate::referee::Referee;
use crate::world::{DR, MAIN, Store, THIRD, World, one, secs, stateful};

/// A story that is told to its end whoever dies in it.
struct Story {
    name: &'static str,
    fleet: fn() -> Fleet,
    /// What comes before; nobody dies in it.
    before: fn(&mut World),
    tell: fn(&mut World),
    /// Where the group may be in the end; nowhere, if nobody has decided yet.
    ends: &'static [Option<SiteId>],
    /// What has to be true in the end if the order of the story was acknowledged.
    acknowledged: fn(&Durable, &World) -> bool,
}

const NOTHING: fn(&Durable, &World) -> bool = |_, _| true;

const STORIES: &[Story] = &[
    Story {
        name: "first start",
        fleet: one,
        before: |_| {},
        tell: |world| world.run(secs(30)),
        ends: &[Some(MAIN)],
        acknowledged: NOTHING,
    },
    Story {
        name: "a group that shares data is told where it lives",
        fleet: stateful,
        before: |world| world.run(secs(5)),
        tell: |world| {
            give(world, Verb::Switch { to: DR }, &[]);
        },
        ends: &[None, Some(DR)],
        acknowledged: |durable, _| is_at(durable, "linode"),
    },
    Story {
        name: "failover",
        fleet: one,
        before: at_home,
        tell: lose_main,
        ends: &[Some(DR)],
        acknowledged: NOTHING,
    },
    Story {
        name: "failover with a slow disk",
        fleet: one,
        before: |world| {
            at_home(world);
            world.store = Store::After(secs(1));
        },
        tell: lose_main,
        ends: &[Some(DR)],
        acknowledged: NOTHING,
    },
    Story {
        name: "failover with a disk that is full for a while",
        fleet: one,
        before: |world| {
            at_home(world);
            world.store = Store::Fails("no space left on device");
        },
        tell: |world| {
            lose_main(world);
            world.store = Store::AtOnce;
            world.run(secs(30));
        },
        ends: &[Some(DR)],
        acknowledged: NOTHING,
    },
    Story {
        name: "everything is lost, and one site comes back",
        fleet: one,
        before: at_home,
        tell: |world| {
            for site in [MAIN, DR, THIRD] {
                world.set(site, false);
            }
            world.run(secs(30));
            world.set(DR, true);
            world.run(secs(30));
        },
        ends: &[Some(DR)],
        acknowledged: NOTHING,
    },
    Story {
        name: "a person confirms, once it can be",
        fleet: confirming,
        before: at_home,
        tell: |world| {
            give(world, Verb::Confirm, &[]);
            lose_main(world);
            give(world, Verb::Confirm, &[]);
        },
        ends: &[Some(MAIN), Some(DR)],
        acknowledged: |durable, _| is_at(durable, "linode") && durable.latched.contains("main"),
    },
    Story {
        name: "switchover",
        fleet: one,
        before: at_home,
        tell: |world| give(world, Verb::Switch { to: DR }, &[]),
        ends: &[Some(MAIN), Some(DR)],
        acknowledged: |durable, _| is_at(durable, "linode"),
    },
    Story {
        name: "switchover with a slow disk",
        fleet: one,
        before: |world| {
            at_home(world);
            world.store = Store::After(secs(1));
        },
        tell: |world| give(world, Verb::Switch { to: DR }, &[]),
        ends: &[Some(MAIN), Some(DR)],
        acknowledged: |durable, _| is_at(durable, "linode"),
    },
    Story {
        name: "switchover of data",
        fleet: stateful,
        before: at_home,
        tell: |world| give(world, Verb::Switch { to: DR }, &[Rule::NoFence]),
        ends: &[Some(MAIN), Some(DR)],
        acknowledged: |durable, _| is_at(durable, "linode") && durable.diverged.contains("main"),
    },
    Story {
        name: "a move to a site that is unfit",
        fleet: one,
        before: |world| {
            at_home(world);
            world.set(DR, false);
            world.run(secs(30));
        },
        tell: |world| give(world, Verb::Switch { to: DR }, &[Rule::Unfit]),
        ends: &[Some(MAIN), Some(DR)],
        acknowledged: |durable, _| is_at(durable, "linode") && durable.freeze.is_some(),
    },
    Story {
        name: "failback by hand",
        fleet: one,
        before: away,
        tell: |world| give(world, Verb::Failback, &[]),
        ends: &[Some(DR), Some(MAIN)],
        acknowledged: |durable, _| is_at(durable, "main"),
    },
    Story {
        name: "away, with main well again: nobody said that it goes home",
        fleet: one,
        before: away,
        tell: |world| {
            for up in [false, true, false, true] {
                world.set(DR, up);
                world.run(secs(8));
            }
        },
        ends: &[Some(DR)],
        acknowledged: NOTHING,
    },
    Story {
        name: "failback by itself",
        fleet: going_home,
        before: away,
        tell: |world| world.run(secs(150)),
        ends: &[Some(MAIN)],
        acknowledged: NOTHING,
    },
    Story {
        name: "acknowledgement",
        fleet: one,
        before: away,
        tell: |world| give(world, Verb::Ack, &[]),
        ends: &[Some(DR)],
        acknowledged: |durable, _| durable.latched.is_empty(),
    },
    Story {
        name: "freeze, and main is lost",
        fleet: one,
        before: at_home,
        tell: |world| {
            give(world, Verb::Freeze, &[]);
            lose_main(world);
        },
        ends: &[Some(MAIN), Some(DR)],
        acknowledged: |durable, _| is_at(durable, "main") && durable.freeze.is_some(),
    },
    Story {
        name: "unfreeze while main is lost",
        fleet: one,
        before: |world| {
            at_home(world);
            world.order(Verb::Freeze).expect("not frozen");
            world.set(MAIN, false);
            world.run(secs(60));
        },
        tell: |world| give(world, Verb::Unfreeze, &[]),
        ends: &[Some(MAIN), Some(DR)],
        acknowledged: |durable, _| is_at(durable, "linode") && durable.freeze.is_none(),
    },
    Story {
        name: "drain, and main is lost",
        fleet: one,
        before: at_home,
        tell: |world| {
            let kind = ForceKind::Drain;
            world.send_force(Scope::Site, "linode", ForceVerb::Set { kind, length: Some(secs(5)) }, &[]);
            world.run(secs(5));
            lose_main(world);
        },
        ends: &[Some(DR), Some(THIRD)],
        acknowledged: |durable, world| is_at(durable, "ocean") && world.stored.forces.len() == 1,
    },
    Story {
        name: "undrain",
        fleet: one,
        before: |world| forced(world, ForceKind::Drain, None),
        tell: |world| {
            world.send_force(Scope::Site, "linode", ForceVerb::Lift { drain: true }, &[]);
            world.run(secs(30));
        },
        ends: &[Some(MAIN)],
        acknowledged: |_, world| world.stored.forces.is_empty(),
    },
    Story {
        name: "a force that ends",
        fleet: one,
        before: |world| forced(world, ForceKind::Down, Some(secs(10))),
        tell: |world| world.run(secs(60)),
        ends: &[Some(MAIN)],
        acknowledged: NOTHING,
    },
    Story {
        name: "reload",
        fleet: one,
        before: at_home,
        tell: |world| {
            let new = one();
            let kept: Vec<_> = new.origin_ids().map(|id| Some(id).filter(|id| *id != OriginId(1))).collect();
            world.reload(new, &kept).expect("the same sites");
            lose_main(world);
        },
        ends: &[Some(DR)],
        acknowledged: NOTHING,
    },
];

/// What the stories must have come across; a death beside each of these is a death at a different place.
const ASKED: [&str; 23] = [
    "persist start>main",
    "persist start>linode",
    "persist failover>linode",
    "persist switchover>linode",
    "persist failback>main",
    "persist acknowledged",
    "persist frozen",
    "persist unfrozen",
    "persist forced",
    "persist unforced",
    "record unfit",
    "record fail-static",
    "record recovered",
    "record not-stored",
    "record overdue",
    "record proposed",
    "record refused",
    "refuse nothing-proposed",
    "publish",
    "reply done",
    "probe linode",
    "fast main",
    "normal main",
];

#[test]
fn a_death_before_and_after_every_effect_loses_nothing_and_moves_nothing_by_accident() {
    let mut asked = BTreeSet::new();
    let mut deaths = 0;
    for story in STORIES {
        let mut world = World::new((story.fleet)());
        (story.before)(&mut world);
        world.trace.clear();
        world.moments = 0;
        (story.tell)(&mut world);
        let moments = world.moments;
        asked.extend(world.trace);
        assert!(moments > 0, "nothing happens in `{}`", story.name);
        for moment in 0..moments {
            for unanswered_land in [false, true] {
                deaths += die(story, moment, unanswered_land);
            }
        }
    }
    for effect in ASKED {
        assert!(asked.contains(effect), "no story has `{effect}`: {asked:?}");
    }
    assert!(deaths > 900, "only {deaths} deaths");
}

/// Tells a story in which the process dies at one moment; how often it died.
fn die(story: &Story, moment: u32, unanswered_land: bool) -> u32 {
    let mut world = World::new((story.fleet)());
    world.look_on(Referee::default());
    (story.before)(&mut world);
    world.replies.clear();
    world.force_replies.clear();
    (world.fuse, world.unanswered_land) = (Some(moment), unanswered_land);
    (story.tell)(&mut world);
    world.run(secs(30));
    let place = format!("`{}`, dead at moment {moment}, writes land: {unanswered_land}", story.name);
    assert_eq!(world.deaths, 1, "{place}: it was to die");
    let found = world.site();
    assert!(story.ends.contains(&found), "{place}: it is at {found:?}\n{}", world.told());
    let done = world.replies.values().any(|outcome| outcome.as_ref().is_ok_and(|done| done.changed));
    let forced = world.force_replies.values().any(|outcome| outcome.as_ref().is_ok_and(|done| done.changed));
    if done || forced {
        let durable = &world.stored.groups["app"];
        assert!((story.acknowledged)(durable, &world), "{place}: what was acknowledged is lost: {durable:?}");
    }
    world.deaths
}

/// Gives an order and lets things happen.
fn give(world: &mut World, verb: Verb, overrides: &[Rule]) {
    world.send(verb, overrides);
    world.run(secs(30));
}

fn lose_main(world: &mut World) {
    world.set(MAIN, false);
    world.run(secs(60));
}

fn is_at(durable: &Durable, site: &str) -> bool {
    durable.site().map(|site| &**site) == Some(site)
}

/// The group lives at main.
fn at_home(world: &mut World) {
    world.run(secs(5));
    if world.site().is_none() {
        world.order(Verb::Switch { to: MAIN }).expect("it lives nowhere, and main is fit");
    }
}

/// Main was lost, the group went to the next site, and main is well again.
fn away(world: &mut World) {
    at_home(world);
    lose_main(world);
    world.set(MAIN, true);
    world.run(secs(5));
}

fn going_home() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].data = Data::Stateless { failback: Failback::Automatic { after: secs(60) } };
    fleet.groups[0].minimum_stay = secs(60);
    fleet
}

fn confirming() -> Fleet {
    let mut fleet = one();
    fleet.groups[0].mode = Mode::Confirm;
    fleet
}

fn forced(world: &mut World, kind: ForceKind, length: Option<Duration>) {
    at_home(world);
    world.force(Scope::Site, "linode", ForceVerb::Set { kind, length }).expect("main is fit");
}
