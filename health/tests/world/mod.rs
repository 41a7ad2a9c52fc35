//! A world in virtual time around the core: probes that follow a script, a store that answers at once, late, never or
//! with a failure, and a clock that only moves when told, by the millisecond.
//!
//! It plays the daemon's part exactly as the core's contract says, and holds the core to its side: whatever is
//! published must be what the store holds.

#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

mod ask;
mod build;
mod probes;
mod says;
mod store;
mod trace;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

#[allow(unused_imports, reason = "likewise")]
pub(crate) use build::{
    DR, GROUP, MAIN, Shape, THIRD, doored, fleet, gated, one, ruled, stateful, with_gate, witnessed,
};
use probes::Probes;
pub(crate) use says::Says;
pub(crate) use store::Store;
use store::Write;
use tidegate_health::durable::{Decision, Durable, SwitchKind};
use tidegate_health::event::{Class, Event};
use tidegate_health::fleet::Fleet;
use tidegate_health::force::{Force, Forced};
use tidegate_health::id::{Name, OriginId, SiteId};
use tidegate_health::order::{Done, Refusal};
use tidegate_health::refit::Misfit;
use tidegate_health::state::State;
use tidegate_health::step::{Effect, Input, step};
use tidegate_health::time::{Mono, Now, Wall};
#[allow(unused_imports, reason = "likewise")]
pub(crate) use trace::{brief, is_observation};

/// 2023-11-14T22:13:20Z: where the wall clock starts.
pub(crate) const WALL_START: u64 = 1_700_000_000_000;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Whoever looks on: it learns what the core is told and what comes of it, and may object.
pub(crate) trait Onlooker {
    /// What the core is told next, and what the store has confirmed by then.
    fn hears(&mut self, fleet: &Fleet, input: &Input, stored: &Stored, now: Now);
    /// What the core asks for; nothing of it is done yet.
    fn decides(&mut self, fleet: &Fleet, ordered: bool, effects: &[Effect], state: &State, now: Now);
    /// What readers see from here on.
    fn shows(&mut self, fleet: &Fleet, state: &State, stored: &Stored);
    /// What an operator is told of an order.
    fn answers(&mut self, order: u64, outcome: &Result<Done, Refusal>, stored: &Stored);
    fn answers_force(&mut self, order: u64, outcome: &Result<Forced, Refusal>, stored: &Stored);
    /// The process died, and one starts with what is on the disk.
    fn restarts(&mut self, fleet: &Fleet, stored: &Stored, now: Now);
    /// Another configuration takes the place of one: which of the origins are kept, as in [`State::refit`].
    fn reloads(&mut self, fleets: (&Fleet, &Fleet), kept: &[Option<OriginId>], stored: &Stored, now: Now);
}

/// What the store has told to be written, and what is on the disk at a start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) groups: BTreeMap<Name, Durable>,
    pub(crate) forces: Vec<Force>,
}

pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) state: State,
    /// Time since the world began; the process may have started later.
    pub(crate) at: Duration,
    boot: Duration,
    pub(crate) tick: Duration,
    next_tick: Duration,
    pub(crate) probes: Probes,
    /// What is told of gates, witnesses and published addresses, again and again.
    pub(crate) says: Says,
    /// How far the wall clock is ahead of what it showed at the beginning, in milliseconds.
    pub(crate) wall_ahead: i64,
    pub(crate) store: Store,
    pub(crate) stored: Stored,
    writes: Vec<Write>,
    /// The process dies at this many moments from now: there is one before and one after each effect.
    pub(crate) fuse: Option<u32>,
    /// Whether a write that was under way then is on the disk.
    pub(crate) unanswered_land: bool,
    /// Moments at which the process could have died, and how often it did.
    pub(crate) moments: u32,
    pub(crate) deaths: u32,
    /// Everything in the history that was done or noticed, with the time of the world; and what was seen to change.
    pub(crate) history: Vec<(Duration, Event)>,
    pub(crate) observed: Vec<(Duration, Event)>,
    pub(crate) replies: BTreeMap<u64, Result<Done, Refusal>>,
    pub(crate) force_replies: BTreeMap<u64, Result<Forced, Refusal>>,
    /// What readers see: active site and epoch of each group.
    pub(crate) visible: Vec<(Option<SiteId>, u64)>,
    pub(crate) generations: u64,
    /// Every effect, in a word, for tables.
    pub(crate) trace: Vec<String>,
    orders: u64,
    pub(crate) onlooker: Option<Box<dyn Onlooker>>,
    /// Every decision handed to the store: process, group and epoch, and site.
    pub(crate) persisted: Vec<((Duration, Name), u64, Option<Name>)>,
}

impl World {
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self::resume(fleet, BTreeMap::new())
    }

    /// A process that starts with this in the store.
    pub(crate) fn resume(fleet: Fleet, stored: BTreeMap<Name, Durable>) -> Self {
        let start = Now { mono: Mono(Duration::ZERO), wall: Wall(WALL_START) };
        let state = State::new(&fleet, &stored, start).expect("the store fits the fleet");
        let mut world = Self {
            probes: Probes::new(&fleet),
            says: Says::default(),
            visible: vec![(None, 0); fleet.groups.len()],
            state,
            fleet,
            at: Duration::ZERO,
            boot: Duration::ZERO,
            tick: ms(250),
            next_tick: Duration::ZERO,
            wall_ahead: 0,
            store: Store::AtOnce,
            stored: Stored { groups: stored, forces: Vec::new() },
            writes: Vec::new(),
            fuse: None,
            unanswered_land: false,
            moments: 0,
            deaths: 0,
            history: Vec::new(),
            observed: Vec::new(),
            replies: BTreeMap::new(),
            force_replies: BTreeMap::new(),
            generations: 0,
            trace: Vec::new(),
            orders: 0,
            onlooker: None,
            persisted: Vec::new(),
        };
        world.see();
        world
    }

    /// A world whose group lives at the main site and whose probes are all in.
    pub(crate) fn settled(fleet: Fleet) -> Self {
        let names: Vec<_> = fleet.groups.iter().map(|group| group.name.clone()).collect();
        let home: Vec<_> = fleet.groups.iter().map(|group| fleet.site(group.sites[0]).name.clone()).collect();
        let stored = names.into_iter().zip(home).map(|(name, home)| (name, at_site(&home, 1))).collect();
        let mut world = Self::resume(fleet, stored);
        world.run(secs(5));
        world
    }

    /// Somebody looks on from here.
    pub(crate) fn look_on(&mut self, mut onlooker: impl Onlooker + 'static) {
        onlooker.restarts(&self.fleet, &self.stored, self.now());
        self.onlooker = Some(Box::new(onlooker));
    }

    /// The process dies and starts anew. Of what the store was not done with, that is on the disk which was there
    /// already, and the rest if `unanswered_land`.
    pub(crate) fn restart(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            if write.landed || self.unanswered_land {
                self.confirm(write);
            }
        }
        self.boot = self.at;
        let now = self.now();
        let state = State::new(&self.fleet, &self.stored.groups, now).expect("the store fits the fleet");
        self.state = state.with_forces(&self.fleet, self.stored.forces.clone(), now);
        self.probes.restart(self.at);
        self.next_tick = self.at;
        if let Some(onlooker) = &mut self.onlooker {
            onlooker.restarts(&self.fleet, &self.stored, now);
        }
        self.see();
    }

    /// A moment at which the process may die; returns whether it did.
    fn dies(&mut self) -> bool {
        self.moments += 1;
        match &mut self.fuse {
            None => return false,
            Some(0) => {}
            Some(moments) => {
                *moments -= 1;
                return false;
            }
        }
        self.fuse = None;
        self.deaths += 1;
        self.restart();
        true
    }

    /// Another configuration takes the place of the present one, or is refused.
    pub(crate) fn reload(&mut self, new: Fleet, kept: &[Option<OriginId>]) -> Result<(), Vec<Misfit>> {
        let now = self.now();
        let (state, effects) = self.state.refit(&self.fleet, &new, kept, now)?;
        assert!(self.writes.is_empty(), "a reload overtook a write");
        let quiet =
            |effect: &Effect| matches!(effect, Effect::Pace(..) | Effect::Publish | Effect::Record(_));
        assert!(effects.iter().all(quiet), "a reload decided something: {effects:?}");
        let probes = std::mem::replace(&mut self.probes, Probes::new(&new));
        self.probes = probes.refit(&new, kept, self.at);
        let old = std::mem::replace(&mut self.fleet, new);
        let old_visible = std::mem::replace(&mut self.visible, vec![(None, 0); self.fleet.groups.len()]);
        self.state = state;
        if let Some(onlooker) = &mut self.onlooker {
            onlooker.reloads((&old, &self.fleet), kept, &self.stored, now);
            onlooker.decides(&self.fleet, false, &effects, &self.state, now);
        }
        for effect in &effects {
            if self.dies() {
                break;
            }
            self.perform(effect);
        }
        for (group, (site, epoch)) in old.groups.iter().zip(old_visible) {
            let Some(id) = self.fleet.group_named(&group.name) else { continue };
            let (now_at, now_epoch) = self.visible[id.index()];
            assert_eq!(
                (site.map(|site| &old.site(site).name), epoch),
                (now_at.map(|site| &self.fleet.site(site).name), now_epoch),
                "a reload moved `{}`",
                group.name
            );
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Now {
        let passed = u64::try_from(self.at.as_millis()).expect("a short simulation");
        Now {
            mono: Mono(self.at.saturating_sub(self.boot)),
            wall: Wall((WALL_START + passed).saturating_add_signed(self.wall_ahead)),
        }
    }

    pub(crate) fn run(&mut self, span: Duration) {
        self.run_until(self.at + span);
    }

    /// Lets everything happen that is due up to and including `until`.
    pub(crate) fn run_until(&mut self, until: Duration) {
        loop {
            let write = self.writes.iter().filter_map(|write| write.due).min();
            let (probe, origin) = self.probes.next_due().expect("there are origins");
            let next = probe.min(self.next_tick).min(write.unwrap_or(Duration::MAX)).max(self.at);
            if next > until {
                self.at = until;
                return;
            }
            self.at = next;
            if probe <= next {
                if let Some((started, failure)) = self.probes.go_on(origin, next) {
                    let started = Mono(started.saturating_sub(self.boot));
                    self.feed(Input::Observation { origin, started, failure });
                }
            } else if let Some(i) =
                self.writes.iter().position(|write| write.due.is_some_and(|due| due <= next))
            {
                self.feed(self.writes[i].stored());
            } else {
                self.next_tick = self.at + self.tick;
                self.tell_facts();
                self.feed(Input::Tick);
            }
        }
    }

    /// Runs until `done` holds, checked after every step of `self.tick`; fails after `limit`.
    pub(crate) fn run_until_true(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let end = self.at + limit;
        while !done(self) {
            assert!(self.at < end, "it did not happen within {limit:?}\n{}", self.told());
            self.run(self.tick);
        }
        self.at
    }

    /// SIGSTOP, `span`, SIGCONT: probes that were on their way end in a timeout, everything else is late.
    pub(crate) fn stall(&mut self, span: Duration) {
        self.at += span;
        self.probes.overslept(self.at);
        self.next_tick = self.next_tick.max(self.at);
    }

    /// Gives the core one input and does what it asks for.
    pub(crate) fn feed(&mut self, input: Input) -> Vec<Effect> {
        let mut all = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.hear(&input);
            let now = self.now();
            let ordered = matches!(input, Input::Order(_) | Input::Force(_));
            let effects = step(&self.fleet, &mut self.state, input, now);
            if let Some(onlooker) = &mut self.onlooker {
                onlooker.decides(&self.fleet, ordered, &effects, &self.state, now);
            }
            for effect in &effects {
                if self.dies() {
                    return all;
                }
                if self.onlooker.is_none() {
                    self.trace.push(brief(&self.fleet, effect));
                }
                inputs.extend(self.perform(effect));
            }
            if !effects.is_empty() && self.dies() {
                return all;
            }
            all.extend(effects);
        }
        all
    }

    fn hear(&mut self, input: &Input) {
        if let Input::Stored { ticket, .. } | Input::ForcesStored { ticket } = input
            && let Some(i) = self.writes.iter().position(|write| write.ticket == *ticket)
        {
            let write = self.writes.remove(i);
            self.confirm(write);
        }
        let now = self.now();
        if let Some(onlooker) = &mut self.onlooker {
            onlooker.hears(&self.fleet, input, &self.stored, now);
        }
    }

    fn perform(&mut self, effect: &Effect) -> Option<Input> {
        match effect {
            Effect::Persist { group, ticket, change } => {
                return self.persist_group(*group, *ticket, change);
            }
            Effect::PersistForces { ticket, change } => return self.persist_forces(*ticket, change),
            Effect::Record(event) if event.kind.class() == Class::Observation => {
                self.observed.push((self.at, event.clone()));
            }
            Effect::Record(event) => self.history.push((self.at, event.clone())),
            Effect::Publish => {
                self.generations += 1;
                self.see();
            }
            Effect::Reply { order, outcome } => {
                if let Some(onlooker) = &mut self.onlooker {
                    onlooker.answers(*order, outcome, &self.stored);
                }
                let twice = self.replies.insert(*order, outcome.clone());
                assert!(twice.is_none(), "order {order} was answered twice");
            }
            Effect::ReplyForce { order, outcome } => {
                if let Some(onlooker) = &mut self.onlooker {
                    onlooker.answers_force(*order, outcome, &self.stored);
                }
                let twice = self.force_replies.insert(*order, outcome.clone());
                assert!(twice.is_none(), "order {order} was answered twice");
            }
            Effect::ProbeNow(origin) => self.probes.now(*origin, self.at),
            Effect::Pace(origin, pace) => self.probes.pace(*origin, *pace, self.at),
        }
        None
    }

    /// What readers see from here on; it must be what is stored.
    fn see(&mut self) {
        assert_eq!(
            self.state.forces, self.stored.forces,
            "a force shows that is not stored, at {:?}",
            self.at
        );
        for id in self.fleet.group_ids() {
            let (group, own) = (self.fleet.group(id), self.state.group(id));
            let stored = self.stored.groups.get(&group.name).cloned().unwrap_or_default();
            assert_eq!(own.durable, stored, "`{}` shows what is not stored, at {:?}", group.name, self.at);
            let site = stored.decision.as_ref().map(|decision| self.fleet.site_named(&decision.site));
            assert_eq!(own.active, site.flatten(), "the active site is not the stored one");
            self.visible[id.index()] = (own.active, stored.epoch());
        }
        if let Some(onlooker) = &mut self.onlooker {
            onlooker.shows(&self.fleet, &self.state, &self.stored);
        }
    }
}

/// A group that lives at `site` since the world began.
pub(crate) fn at_site(site: &str, epoch: u64) -> Durable {
    let decision = Decision {
        site: site.into(),
        epoch,
        kind: SwitchKind::Start,
        since: Wall(WALL_START),
        actor: "tidegate".into(),
        reason: "first decision".into(),
        chain: Vec::new(),
    };
    Durable { decision: Some(decision), ..Durable::default() }
}
