//! The one way the state changes: `step(state, input, now) -> effects`.
//!
//! A decision is a conversation with the store. The core asks for a change to be made durable
//! ([`Effect::Persist`]), goes on living by the old decision, and only when it hears [`Input::Stored`] does it
//! adopt the change and ask for it to be published. So what readers see was always on disk first, a stalled disk
//! stops switching and nothing else, and a crash between any two effects loses no acknowledged decision.

mod change;
mod cluster;
mod facts;
mod force;
pub(crate) mod notice;
mod resync;
pub(crate) mod watch;

use std::net::IpAddr;
use std::sync::Arc;

use change::{adopt, frozen, give_up, move_reason, obey, persist};

use crate::cluster::News;
use crate::decide::{self, Outlook};
use crate::durable::Durable;
use crate::event::{Event, EventKind};
use crate::fit::Fitness;
use crate::fleet::Fleet;
use crate::force::{Force, ForceOrder, Forced};
use crate::gate::Reading;
use crate::hysteresis::Health;
use crate::id::{GroupId, Name, OriginId, SiteId};
use crate::order::{Done, Order, Refusal};
use crate::state::State;
use crate::switch::{SELF, switched};
use crate::time::{Mono, Now};
use watch::Spell;

/// Something the core is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passes. Must come several times per [`Fleet::stall_max`].
    Tick,
    /// A conclusive probe result: nothing, or why it failed.
    Observation {
        origin: OriginId,
        started: Mono,
        failure: Option<Arc<str>>,
    },
    /// Live traffic took the origin out of picking.
    Ejected {
        origin: OriginId,
    },
    Order(Order),
    /// The store has made the change with this ticket durable.
    Stored {
        group: GroupId,
        ticket: u64,
    },
    /// The store has not, and will not.
    NotStored {
        group: GroupId,
        ticket: u64,
        detail: Arc<str>,
    },
    Fact(Fact),
    /// What the cluster says, where there is one.
    Cluster(News),
    Force(ForceOrder),
    /// The store has made the change of forces with this ticket durable.
    ForcesStored {
        ticket: u64,
    },
    /// The store has not, and will not.
    ForcesNotStored {
        ticket: u64,
        detail: Arc<str>,
    },
}

/// News about the world beside the origins. `measured` is when the measurement began.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Whether a witness was reached.
    Witness { address: Name, measured: Mono, reachable: bool },
    /// What a gate read at a site, and in words what else there is to say.
    Gate { group: GroupId, site: SiteId, gate: Name, measured: Mono, reading: Reading, detail: Option<Name> },
    /// The check of a published address of a site: nothing, or why it failed.
    FrontDoor { site: SiteId, address: IpAddr, measured: Mono, failure: Option<Name> },
}

/// Something the core wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write this, then say [`Input::Stored`] or [`Input::NotStored`].
    Persist {
        group: GroupId,
        ticket: u64,
        change: Box<(Durable, Event)>,
    },
    /// Add this to the history; nothing waits for it.
    Record(Event),
    /// What readers see has changed.
    Publish,
    /// Answer an order. Comes after the `Publish` that makes it true.
    Reply {
        order: u64,
        outcome: Result<Done, Refusal>,
    },
    /// Write these forces in place of all others, then say [`Input::ForcesStored`] or [`Input::ForcesNotStored`].
    PersistForces {
        ticket: u64,
        change: Box<(Vec<Force>, Event)>,
    },
    /// Answer an order about origins. Comes after the `Publish` that makes it true.
    ReplyForce {
        order: u64,
        outcome: Result<Forced, Refusal>,
    },
    /// Probe at once.
    ProbeNow(OriginId),
    Pace(OriginId, Pace),
}

/// How often an origin is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    Normal,
    /// As at the start: nothing is known yet.
    #[default]
    Fast,
}

/// Takes one input in.
#[must_use]
pub fn step(fleet: &Fleet, state: &mut State, input: Input, now: Now) -> Vec<Effect> {
    let mut effects = Vec::new();
    notice_stall(fleet, state, now, &mut effects);
    facts::grow_old(fleet, state, now, &mut effects);
    match input {
        Input::Tick => {
            cluster::watch(fleet, state, now, &mut effects);
            force::watch(fleet, state, now, &mut effects);
            for group in fleet.group_ids() {
                consider(fleet, state, group, now, &mut effects);
            }
            watch::watch(fleet, state, now, &mut effects);
        }
        Input::Observation { origin, started, failure } => {
            observe(fleet, state, origin, started, failure, now, &mut effects);
        }
        Input::Ejected { origin } => effects.push(Effect::ProbeNow(origin)),
        Input::Order(order) => obey(fleet, state, &order, now, &mut effects),
        Input::Stored { group, ticket } => adopt(fleet, state, group, ticket, now, &mut effects),
        Input::NotStored { group, ticket, detail } => {
            give_up(fleet, state, group, ticket, &detail, now, &mut effects);
        }
        Input::Cluster(news) => cluster::learn(fleet, state, news, now, &mut effects),
        Input::Fact(fact) => facts::learn(fleet, state, fact, now, &mut effects),
        Input::Force(order) => force::obey(fleet, state, &order, now, &mut effects),
        Input::ForcesStored { ticket } => force::adopt(fleet, state, ticket, now, &mut effects),
        Input::ForcesNotStored { ticket, detail } => {
            force::give_up(state, ticket, &detail, now, &mut effects);
        }
    }
    state.tell_noticed(&mut effects);
    effects
}

/// After a silence of the loop, results may be artefacts of our own sleep: start over.
fn notice_stall(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    let silence = now.mono.since(state.last.mono);
    // A suspended machine may stop the monotonic clock, but not the wall clock.
    let slept = now.wall.since(state.last.wall).max(silence);
    let unaccounted = slept.saturating_sub(silence);
    state.last = now;
    if slept <= state.stall_max {
        return;
    }
    state.round = now.mono;
    state.isolated.start_over();
    for origin in &mut state.origins {
        origin.hysteresis.start_over();
    }
    for door in state.facts.doors.iter_mut().flatten() {
        door.hysteresis.start_over();
    }
    for id in fleet.group_ids() {
        let group = state.group_mut(id);
        group.unfit_since = None;
        group.proposal = None;
        group.fit_since.fill(None);
        group.standby_spells.iter_mut().for_each(Spell::start_over);
        facts::settle_all(fleet, state, id, now, effects);
        state.weigh(fleet, id, now);
        repace(fleet, state, id, effects);
    }
    // Facts are dated by the monotonic clock, which tells their age unless it stood still.
    if unaccounted > state.stall_max {
        facts::forget(fleet, state, now, effects);
    }
    // Proposals are withdrawn, and what was known is doubted.
    effects.push(Effect::Publish);
    let reason = format!("the control loop was stopped for {} ms; its round is discarded", slept.as_millis());
    effects.push(Effect::Record(note(None, EventKind::Stalled, reason, now)));
}

fn observe(
    fleet: &Fleet,
    state: &mut State,
    id: OriginId,
    started: Mono,
    failure: Option<Arc<str>>,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let origin = &mut state.origins[id.index()];
    if started < state.round.max(origin.heed_from) {
        return;
    }
    let was = origin.hysteresis.health();
    // An older probe may end later, for instance when it ran into its timeout.
    origin.seen = origin.seen.max(Some(started));
    let latest = if failure.is_none() { &mut origin.passed } else { &mut origin.failed };
    *latest = (*latest).max(Some(started));
    origin.failing_since = failure.as_ref().map(|_| origin.failing_since.unwrap_or(now.wall));
    let changed = origin.hysteresis.observe(failure.is_none(), &fleet.origin(id).thresholds);
    let health = origin.hysteresis.health();
    match failure {
        None if health == Health::Up => origin.failure = None,
        None => {}
        failure => origin.failure = failure,
    }
    if health != was {
        origin.since = now.wall;
        state.notice_origin(fleet, id, was, now.wall);
        state.unknown -= usize::from(was == Health::Unknown);
    }
    if changed {
        effects.push(Effect::Publish);
    }
    let group = fleet.group_of(id);
    pace(fleet, state, id, effects);
    if changed {
        state.weigh(fleet, group, now);
    }
    if state.unknown == 0 && !state.round_complete {
        state.round_complete = true;
        state.notice_round(now.wall);
    }
    // Even an expected result may be the proof that a waiting move needs.
    let waiting = state.group(group).unfit_since.is_some() || state.group(group).active.is_none();
    if changed || waiting {
        consider(fleet, state, group, now, effects);
    }
}

/// Lets a group do what it would do by itself.
fn consider(fleet: &Fleet, state: &mut State, id: GroupId, now: Now, effects: &mut Vec<Effect>) {
    // What was seen comes before what is made of it.
    state.tell_noticed(effects);
    watch_active(fleet, state, id, now, effects);
    let outlook = decide::outlook(fleet, state, id, now);
    let proposed = match &outlook {
        Outlook::Propose { to } => Some(*to),
        _ => None,
    };
    if state.group(id).proposal != proposed {
        state.group_mut(id).proposal = proposed;
        if let Some(to) = proposed {
            let reason =
                format!("ready to move to `{}`; waiting for a person to confirm", fleet.site(to).name);
            effects.push(Effect::Record(note(Some(&fleet.group(id).name), EventKind::Proposed, reason, now)));
        }
        effects.push(Effect::Publish);
    }
    watch_static(fleet, state, id, now, effects);
    match outlook {
        Outlook::Settled | Outlook::Barred(_) | Outlook::Propose { .. } => {
            if state.may_decide(now)
                && let Some(change) = resync::cleared(fleet, state, id, now)
            {
                persist(fleet, state, id, change, None, now, effects);
            }
        }
        Outlook::Move { to, kind } => {
            let reason = move_reason(fleet, state, id, to, kind).into();
            let change = switched(fleet, state, id, to, kind, &SELF.into(), &reason, now);
            persist(fleet, state, id, change, None, now, effects);
        }
        Outlook::Freeze { cause, to } => {
            let change = frozen(fleet, state, id, cause, to, now);
            persist(fleet, state, id, change, None, now, effects);
        }
    }
}

/// Keeps account of since when the active site has been unfit.
fn watch_active(fleet: &Fleet, state: &mut State, id: GroupId, now: Now, effects: &mut Vec<Effect>) {
    let (group, own) = (fleet.group(id), state.group(id));
    let Some(active) = own.active else { return };
    let name = &fleet.site(active).name;
    match (own.fitness_at(group, active), own.unfit_since) {
        (Fitness::Unfit(obstacles), None) => {
            let why: Vec<_> = obstacles.iter().map(ToString::to_string).collect();
            let reason = format!("active site `{name}` is unfit: {}", why.join("; "));
            effects.push(Effect::Record(note(Some(&group.name), EventKind::Unfit, reason, now)));
            state.group_mut(id).unfit_since = Some(now.mono);
            facts::lose(fleet, state, id, now.mono);
            // A target has to be seen after the loss, so look at once.
            for service in &group.services {
                let others = fleet.service(*service).origins.iter().filter(|(site, _)| **site != active);
                effects
                    .extend(others.flat_map(|(_, origins)| origins).map(|origin| Effect::ProbeNow(*origin)));
            }
            repace(fleet, state, id, effects);
        }
        (Fitness::Unfit(_), Some(_)) => {}
        (Fitness::Fit | Fitness::Unknown(_), _) => watch_recovery(fleet, state, id, now, effects),
    }
}

/// Ends the account of an active site that is no longer known to be unfit: what was counted up to here counts no more.
pub(crate) fn watch_recovery(
    fleet: &Fleet,
    state: &mut State,
    id: GroupId,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let (group, own) = (fleet.group(id), state.group(id));
    let Some(active) = own.active.filter(|_| own.unfit_since.is_some()) else { return };
    if matches!(own.fitness_at(group, active), Fitness::Unfit(_)) {
        return;
    }
    let reason = format!("active site `{}` is no longer known to be unfit", fleet.site(active).name);
    effects.push(Effect::Record(note(Some(&group.name), EventKind::Recovered, reason, now)));
    state.group_mut(id).unfit_since = None;
    repace(fleet, state, id, effects);
    facts::judge(fleet, state, id, now, effects);
}

/// Says it loudly, once, when no site is left to go to.
fn watch_static(fleet: &Fleet, state: &mut State, id: GroupId, now: Now, effects: &mut Vec<Effect>) {
    let own = state.group(id);
    let fail_static = own.is_fail_static();
    if own.told_static == fail_static {
        return;
    }
    state.group_mut(id).told_static = fail_static;
    if fail_static {
        let reason = "no site is fit: traffic stays, and every origin of the active site is tried".to_owned();
        effects.push(Effect::Record(note(Some(&fleet.group(id).name), EventKind::FailStatic, reason, now)));
    }
    effects.push(Effect::Publish);
}

pub(crate) fn repace(fleet: &Fleet, state: &mut State, group: GroupId, effects: &mut Vec<Effect>) {
    for service in &fleet.group(group).services {
        for origin in fleet.service(*service).origins.values().flatten() {
            pace(fleet, state, *origin, effects);
        }
    }
}

/// Asks often while a result may change something: of the origin, or of where its group goes.
fn pace(fleet: &Fleet, state: &mut State, id: OriginId, effects: &mut Vec<Effect>) {
    let looking = state.group(fleet.group_of(id)).unfit_since.is_some();
    let origin = &mut state.origins[id.index()];
    let pace = if looking || origin.hysteresis.in_doubt() { Pace::Fast } else { Pace::Normal };
    if origin.pace != pace {
        origin.pace = pace;
        effects.push(Effect::Pace(id, pace));
    }
}

fn note(group: Option<&Name>, kind: EventKind, reason: String, now: Now) -> Event {
    Event { group: group.cloned(), ..Event::new(now.wall, kind, SELF.into(), reason) }
}
