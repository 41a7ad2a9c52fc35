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

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

#[allow(unused_imports, reason = "likewise")]
pub(crate) use build::{
    DR, GROUP, MAIN, Shape, THIRD, doored, fleet, gated, one, ruled, stateful, with_gate, witnessed,
};
use probes::Probes;
pub(crate) use says::Says;
use tidegate_health::durable::{Decision, Durable, SwitchKind};
use tidegate_health::event::{Class, Event};
use tidegate_health::fleet::Fleet;
use tidegate_health::force::{Force, Forced};
use tidegate_health::id::{GroupId, Name, OriginId, SiteId};
use tidegate_health::order::{Done, Refusal};
use tidegate_health::refit::Misfit;
use tidegate_health::state::State;
use tidegate_health::step::{Effect, Input, step};
use tidegate_health::time::{Mono, Now, Wall};

/// 2023-11-14T22:13:20Z: where the wall clock starts.
pub(crate) const WALL_START: u64 = 1_700_000_000_000;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// How the store answers a `Persist`.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    AtOnce,
    After(Duration),
    /// It hangs: no answer until it is set to something else.
    Never,
    Fails(&'static str),
}

/// Looks at every step that had an effect: the fleet, whether it was an order, the effects, the state, the time.
pub(crate) type Watch = fn(&Fleet, bool, &[Effect], &State, Now);

#[derive(Clone, Debug)]
struct Write {
    due: Option<Duration>,
    what: Written,
    ticket: u64,
    event: Event,
}

#[derive(Clone, Debug)]
enum Written {
    Group(GroupId, Durable),
    Forces(Vec<Force>),
}

impl Write {
    fn stored(&self) -> Input {
        match self.what {
            Written::Group(group, _) => Input::Stored { group, ticket: self.ticket },
            Written::Forces(_) => Input::ForcesStored { ticket: self.ticket },
        }
    }

    fn not_stored(&self, detail: &str) -> Input {
        let (ticket, detail) = (self.ticket, detail.into());
        match self.what {
            Written::Group(group, _) => Input::NotStored { group, ticket, detail },
            Written::Forces(_) => Input::ForcesNotStored { ticket, detail },
        }
    }
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
    pub(crate) store: Store,
    pub(crate) stored: BTreeMap<Name, Durable>,
    pub(crate) stored_forces: Vec<Force>,
    writes: Vec<Write>,
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
    pub(crate) watch: Option<Watch>,
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
            store: Store::AtOnce,
            stored,
            stored_forces: Vec::new(),
            writes: Vec::new(),
            history: Vec::new(),
            observed: Vec::new(),
            replies: BTreeMap::new(),
            force_replies: BTreeMap::new(),
            generations: 0,
            trace: Vec::new(),
            orders: 0,
            watch: None,
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

    /// The process dies and starts anew; what the store was not done with is lost.
    pub(crate) fn restart(&mut self) {
        self.writes.clear();
        self.boot = self.at;
        let state = State::new(&self.fleet, &self.stored, self.now()).expect("the store fits the fleet");
        self.state = state.with_forces(&self.fleet, self.stored_forces.clone(), self.now());
        self.probes.restart(self.at);
        self.next_tick = self.at;
        self.see();
    }

    /// Another configuration takes the place of the present one, or is refused.
    pub(crate) fn reload(&mut self, new: Fleet, kept: &[Option<OriginId>]) -> Result<(), Vec<Misfit>> {
        let now = self.now();
        let (state, effects) = self.state.refit(&self.fleet, &new, kept, now)?;
        assert!(self.writes.is_empty(), "a reload overtook a write");
        let quiet = |effect: &Effect| matches!(effect, Effect::Pace(..) | Effect::Publish);
        assert!(effects.iter().all(quiet), "a reload decided something: {effects:?}");
        let probes = std::mem::replace(&mut self.probes, Probes::new(&new));
        self.probes = probes.refit(&new, kept, self.at);
        let old = std::mem::replace(&mut self.fleet, new);
        let old_visible = std::mem::replace(&mut self.visible, vec![(None, 0); self.fleet.groups.len()]);
        self.state = state;
        if let Some(watch) = self.watch {
            watch(&self.fleet, false, &effects, &self.state, now);
        }
        for effect in &effects {
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
        Now {
            mono: Mono(self.at.saturating_sub(self.boot)),
            wall: Wall(WALL_START + u64::try_from(self.at.as_millis()).expect("a short simulation")),
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
            if let Input::Stored { ticket, .. } | Input::ForcesStored { ticket } = &input
                && let Some(i) = self.writes.iter().position(|write| write.ticket == *ticket)
            {
                let Write { what, event, .. } = self.writes.remove(i);
                match what {
                    Written::Group(group, durable) => {
                        drop(self.stored.insert(self.fleet.group(group).name.clone(), durable));
                    }
                    Written::Forces(forces) => self.stored_forces = forces,
                }
                self.history.push((self.at, event));
            }
            let now = self.now();
            let ordered = matches!(input, Input::Order(_) | Input::Force(_));
            let effects = step(&self.fleet, &mut self.state, input, now);
            if let Some(watch) = self.watch.filter(|_| !effects.is_empty()) {
                watch(&self.fleet, ordered, &effects, &self.state, now);
            }
            for effect in &effects {
                if self.watch.is_none() {
                    self.trace.push(brief(&self.fleet, effect));
                }
                inputs.extend(self.perform(effect));
            }
            all.extend(effects);
        }
        all
    }

    fn perform(&mut self, effect: &Effect) -> Option<Input> {
        match effect {
            Effect::Persist { group, ticket, change } => {
                let (group, ticket) = (*group, *ticket);
                let (durable, event) = (change.0.clone(), change.1.clone());
                if durable.epoch() > self.state.group(group).durable.epoch() {
                    let site = durable.decision.as_ref().map(|decision| decision.site.clone());
                    let name = self.fleet.group(group).name.clone();
                    self.persisted.push(((self.boot, name), durable.epoch(), site));
                }
                return self.write(ticket, Written::Group(group, durable), event);
            }
            Effect::PersistForces { ticket, change } => {
                return self.write(*ticket, Written::Forces(change.0.clone()), change.1.clone());
            }
            Effect::Record(event) if event.kind.class() == Class::Observation => {
                self.observed.push((self.at, event.clone()));
            }
            Effect::Record(event) => self.history.push((self.at, event.clone())),
            Effect::Publish => {
                self.generations += 1;
                self.see();
            }
            Effect::Reply { order, outcome } => {
                let twice = self.replies.insert(*order, outcome.clone());
                assert!(twice.is_none(), "order {order} was answered twice");
            }
            Effect::ReplyForce { order, outcome } => {
                let twice = self.force_replies.insert(*order, outcome.clone());
                assert!(twice.is_none(), "order {order} was answered twice");
            }
            Effect::ProbeNow(origin) => self.probes.now(*origin, self.at),
            Effect::Pace(origin, pace) => self.probes.pace(*origin, *pace, self.at),
        }
        None
    }

    fn write(&mut self, ticket: u64, what: Written, event: Event) -> Option<Input> {
        let due = match self.store {
            Store::After(span) => Some(self.at + span),
            _ => None,
        };
        let write = Write { due, what, ticket, event };
        if let Store::Fails(detail) = self.store {
            return Some(write.not_stored(detail));
        }
        let stored = write.stored();
        self.writes.push(write);
        matches!(self.store, Store::AtOnce).then_some(stored)
    }

    /// The hanging store answers now: done, or not.
    pub(crate) fn release(&mut self, failure: Option<&str>) {
        for write in self.writes.clone() {
            self.feed(failure.map_or_else(|| write.stored(), |detail| write.not_stored(detail)));
        }
        self.writes.clear();
    }

    /// The tickets of the writes that the store has not answered.
    pub(crate) fn tickets(&self) -> Vec<u64> {
        self.writes.iter().map(|write| write.ticket).collect()
    }

    /// Writes that the store has not answered.
    pub(crate) fn writes_open(&self) -> usize {
        self.writes.len()
    }

    /// What readers see from here on; it must be what is stored.
    fn see(&mut self) {
        assert_eq!(
            self.state.forces, self.stored_forces,
            "a force shows that is not stored, at {:?}",
            self.at
        );
        for id in self.fleet.group_ids() {
            let (group, own) = (self.fleet.group(id), self.state.group(id));
            let stored = self.stored.get(&group.name).cloned().unwrap_or_default();
            assert_eq!(own.durable, stored, "`{}` shows what is not stored, at {:?}", group.name, self.at);
            let site = stored.decision.as_ref().map(|decision| self.fleet.site_named(&decision.site));
            assert_eq!(own.active, site.flatten(), "the active site is the stored one");
            self.visible[id.index()] = (own.active, stored.epoch());
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
    };
    Durable { decision: Some(decision), ..Durable::default() }
}

/// Whether an effect only tells what was seen to change.
pub(crate) fn is_observation(effect: &Effect) -> bool {
    matches!(effect, Effect::Record(event) if event.kind.class() == Class::Observation)
}

/// An effect in a word or two.
pub(crate) fn brief(fleet: &Fleet, effect: &Effect) -> String {
    match effect {
        Effect::Persist { change, .. } => {
            let to = change.1.to.as_ref().map(|to| format!(">{to}")).unwrap_or_default();
            format!("persist {}{to}", change.1.kind.label())
        }
        Effect::Record(event) => format!("record {}", event.kind.label()),
        Effect::Publish => "publish".into(),
        Effect::Reply { outcome: Ok(done), .. } if done.changed => "reply done".into(),
        Effect::Reply { outcome: Ok(_), .. } => "reply already".into(),
        Effect::Reply { outcome: Err(refusal), .. } => format!("refuse {}", refusal.label),
        Effect::PersistForces { change, .. } => format!("persist {}", change.1.kind.label()),
        Effect::ReplyForce { outcome: Ok(forced), .. } if forced.changed => "reply done".into(),
        Effect::ReplyForce { outcome: Ok(_), .. } => "reply already".into(),
        Effect::ReplyForce { outcome: Err(refusal), .. } => format!("refuse {}", refusal.label),
        Effect::ProbeNow(origin) => format!("probe {}", fleet.site(fleet.origin(*origin).site).name),
        Effect::Pace(origin, pace) => {
            format!("{pace:?} {}", fleet.site(fleet.origin(*origin).site).name).to_lowercase()
        }
    }
}
