//! Changes of a group's durable part: asked for, written, adopted or given up.

use std::sync::Arc;
use std::time::Duration;

use super::{Effect, consider, facts, note, repace};
use crate::chain;
use crate::durable::{Durable, Freeze, FreezeCause, SwitchKind};
use crate::event::{Event, EventKind};
use crate::fleet::Fleet;
use crate::id::{GroupId, SiteId};
use crate::order::{self, Done, Order, Refusal, Verb, Verdict};
use crate::safety;
use crate::state::{Pending, State};
use crate::switch::SELF;
use crate::time::Now;

/// How long an automatic change waits after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

pub(super) fn obey(fleet: &Fleet, state: &mut State, order: &Order, now: Now, effects: &mut Vec<Effect>) {
    match order::judge(fleet, state, order, now) {
        Verdict::Already => {
            let outcome = Ok(done(fleet, state, order.group, false));
            effects.push(Effect::Reply { order: order.id, outcome });
        }
        Verdict::Refused(refusal) => {
            effects.push(Effect::Record(refused(fleet, order, &refusal, now)));
            effects.push(Effect::Reply { order: order.id, outcome: Err(refusal) });
        }
        Verdict::Change(change) => {
            persist(fleet, state, order.group, *change, Some(order.id), now, effects);
        }
    }
}

/// Who wanted what and why, and why not.
fn refused(fleet: &Fleet, order: &Order, refusal: &Refusal, now: Now) -> Event {
    let wish = match order.verb {
        Verb::Switch { to } => format!("switch to `{}`", fleet.site(to).name),
        verb => verb.label().to_owned(),
    };
    let reason = format!("{wish} (asked because: {}) was refused: {}", order.reason, refusal.message);
    let overrides = order.overrides.iter().map(|rule| rule.label().into()).collect();
    let event = note(Some(&fleet.group(order.group).name), EventKind::Refused, reason, now);
    Event { actor: order.actor.clone(), overrides, ..event }
}

pub(super) fn persist(
    fleet: &Fleet,
    state: &mut State,
    group: GroupId,
    change: (Durable, Event),
    order: Option<u64>,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let ticket = state.ticket();
    let own = state.group_mut(group);
    let (next, event) = &change;
    own.epoch_max = own.epoch_max.max(next.epoch());
    own.pending = Some(Pending { ticket, next: next.clone(), kind: event.kind, order });
    effects.push(Effect::Persist { group, ticket, change: Box::new(change) });
    weigh_kept_apart(fleet, state, group, now, effects);
}

/// Where a group goes is closed to those that a safety rule keeps apart from it: as soon as it wants to go there.
fn weigh_kept_apart(fleet: &Fleet, state: &mut State, group: GroupId, now: Now, effects: &mut Vec<Effect>) {
    for other in safety::kept_apart(fleet, group) {
        state.weigh(fleet, other, now);
        let own = state.group_mut(other);
        let closed = own.proposal.is_some_and(|to| !own.fitness_at(fleet.group(other), to).is_fit());
        if closed {
            own.proposal = None;
            effects.push(Effect::Publish);
        }
    }
}

/// A change is durable: it becomes what the group lives by.
pub(super) fn adopt(
    fleet: &Fleet,
    state: &mut State,
    id: GroupId,
    ticket: u64,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let own = state.group_mut(id);
    let Some(pending) = own.pending.take_if(|pending| pending.ticket == ticket) else { return };
    let moved = pending.next.epoch() != own.durable.epoch();
    own.durable = pending.next;
    own.store_trouble = None;
    if moved {
        own.active = own.durable.decision.as_ref().and_then(|decision| fleet.site_named(&decision.site));
        own.unfit_since = None;
        own.proposal = None;
        own.moved = now.mono;
        facts::settle_all(fleet, state, id, now, effects);
        weigh_kept_apart(fleet, state, id, now, effects);
    }
    state.weigh(fleet, id, now);
    repace(fleet, state, id, effects);
    effects.push(Effect::Publish);
    if let Some(order) = pending.order {
        effects.push(Effect::Reply { order, outcome: Ok(done(fleet, state, id, true)) });
    }
    consider(fleet, state, id, now, effects);
}

/// A change could not be made durable: it did not happen.
pub(super) fn give_up(
    fleet: &Fleet,
    state: &mut State,
    id: GroupId,
    ticket: u64,
    detail: &Arc<str>,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let own = state.group_mut(id);
    let Some(pending) = own.pending.take_if(|pending| pending.ticket == ticket) else { return };
    own.store_trouble = Some((detail.clone(), now.mono.plus(STORE_RETRY)));
    weigh_kept_apart(fleet, state, id, now, effects);
    let what = pending.kind.label();
    let reason = format!("{what} did not happen, because the store could not be written: {detail}");
    effects.push(Effect::Record(note(Some(&fleet.group(id).name), EventKind::NotStored, reason, now)));
    if let Some(order) = pending.order {
        effects.push(Effect::Reply { order, outcome: Err(Refusal::not_stored(detail)) });
    }
}

pub(super) fn frozen(
    fleet: &Fleet,
    state: &State,
    id: GroupId,
    cause: FreezeCause,
    to: SiteId,
    now: Now,
) -> (Durable, Event) {
    let (group, site) = (fleet.group(id), &fleet.site(to).name);
    let reason = match cause {
        FreezeCause::NoFence => format!(
            "`{site}` is ready, but the group is neither stateless nor has a fence that works, so moving it by \
             itself could leave two sites writing; set `stateless = true` if it shares no data, or move it by hand"
        ),
        FreezeCause::TooManySwitches => format!(
            "`{site}` is ready, but {} automatic switches in {} s are the most that `switches_max` allows",
            group.switch_limit.count,
            group.switch_limit.window.as_secs()
        ),
        FreezeCause::Operator => String::from("frozen by an operator"),
    };
    let mut next = state.group(id).durable.clone();
    next.freeze = Some(Freeze { cause, since: now.wall, actor: SELF.into(), reason: reason.clone().into() });
    let mut event = note(Some(&group.name), EventKind::Frozen, reason, now);
    event.epoch = Some(next.epoch());
    event.chain = chain::frozen(fleet, state, id, &event.reason, now);
    (next, event)
}

pub(super) fn move_reason(fleet: &Fleet, state: &State, id: GroupId, to: SiteId, kind: SwitchKind) -> String {
    let (group, own) = (fleet.group(id), state.group(id));
    let target = &fleet.site(to).name;
    match (kind, own.active) {
        (SwitchKind::Failover, Some(active)) => {
            let why: Vec<_> =
                own.fitness_at(group, active).obstacles().iter().map(ToString::to_string).collect();
            format!("`{}` is unfit ({}); `{target}` is proven fit", fleet.site(active).name, why.join("; "))
        }
        (SwitchKind::Failback, _) => format!("preferred site `{target}` has been fit for long enough"),
        _ => format!("first decision of this group: `{target}` is the first fit site in order of preference"),
    }
}

fn done(fleet: &Fleet, state: &State, id: GroupId, changed: bool) -> Done {
    let own = state.group(id);
    Done {
        group: fleet.group(id).name.clone(),
        site: own.active.map(|site| fleet.site(site).name.clone()),
        epoch: own.durable.epoch(),
        changed,
    }
}
