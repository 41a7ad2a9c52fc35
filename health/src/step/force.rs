//! Forces: ordered, written, adopted, over.

use std::sync::Arc;
use std::time::Duration;

use super::notice::groups_of;
use super::{Effect, consider, note, repace};
use crate::event::{Event, EventKind};
use crate::fleet::Fleet;
use crate::force::{
    self, FORCES_MAX, Force, ForceKind, ForceOrder, ForceVerb, Forced, PATTERN_MAX, Preview, Selector,
};
use crate::id::Name;
use crate::order::{self, Refusal, Rule};
use crate::state::{ForcesPending, State};
use crate::time::{Now, Wall};

/// How long the end of a force waits after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Of many things that are alike this many are told.
const TOLD_MAX: usize = 5;

/// What an order leads to.
enum Verdict {
    Already,
    Refused(Refusal),
    Change { next: Vec<Force>, kind: EventKind, preview: Preview, overridden: bool },
}

pub(super) fn obey(
    fleet: &Fleet,
    state: &mut State,
    order: &ForceOrder,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let groups = groups_of(fleet, &order.selector.origins(fleet));
    let event = |kind, reason: String| Event {
        actor: order.actor.clone(),
        groups: groups.clone(),
        ..note(None, kind, reason, now)
    };
    match judge(fleet, state, order, now) {
        Verdict::Already => {
            let preview = force::compare(fleet, state, &order.selector, &state.forces);
            let outcome = Ok(Forced { changed: false, preview });
            effects.push(Effect::ReplyForce { order: order.id, outcome });
        }
        Verdict::Refused(refusal) => {
            let wish = wish(order);
            let reason = format!("{wish} (asked because: {}) was refused: {}", order.reason, refusal.message);
            let overrides = order.overrides.iter().map(|rule| rule.label().into()).collect();
            effects.push(Effect::Record(Event { overrides, ..event(EventKind::Refused, reason) }));
            effects.push(Effect::ReplyForce { order: order.id, outcome: Err(refusal) });
        }
        Verdict::Change { next, kind, preview, overridden } => {
            let s = if preview.count == 1 { "" } else { "s" };
            let reason = format!("{} ({} origin{s}): {}", wish(order), preview.count, order.reason);
            let overrides = overridden.then(|| Rule::Unfit.label().into()).into_iter().collect();
            let event = Event { overrides, ..event(kind, reason) };
            persist(state, (next, event), Some((order.id, Box::new(preview))), effects);
        }
    }
}

fn wish(order: &ForceOrder) -> String {
    let verb = match order.verb {
        ForceVerb::Set { kind, .. } => kind.verb(),
        ForceVerb::Lift { drain: true } => ForceKind::Drain.lifted_by(),
        ForceVerb::Lift { drain: false } => ForceKind::Down.lifted_by(),
    };
    format!("{verb} {}", order.selector)
}

/// Judges an order; changes nothing.
fn judge(fleet: &Fleet, state: &State, order: &ForceOrder, now: Now) -> Verdict {
    if let Some(refusal) = order::no_such_rule(fleet, &order.overrides) {
        return Verdict::Refused(refusal);
    }
    if !state.may_decide(now) {
        return Verdict::Refused(Refusal::not_leading());
    }
    let mut meant = order.selector.origins(fleet).into_iter().map(|id| fleet.group_of(id));
    let message = if state.forces_pending.is_some() {
        Some("another force is being written")
    } else if meant.any(|group| state.group(group).pending.is_some()) {
        Some("a change of a group that this is about is being written")
    } else {
        None
    };
    if let Some(message) = message {
        return Verdict::Refused(Refusal::new("busy", message, "repeat the order".to_owned()));
    }
    match order.verb {
        ForceVerb::Set { kind, length } => set(fleet, state, order, kind, length, now),
        ForceVerb::Lift { drain } => lift(fleet, state, order, drain),
    }
}

fn set(
    fleet: &Fleet,
    state: &State,
    order: &ForceOrder,
    kind: ForceKind,
    length: Option<Duration>,
    now: Now,
) -> Verdict {
    let selector = &order.selector;
    if selector.pattern.is_empty() || selector.pattern.chars().count() > PATTERN_MAX {
        let message = format!("a pattern has 1 to {PATTERN_MAX} characters");
        return Verdict::Refused(Refusal::new("pattern", message, None));
    }
    if length.is_some_and(|length| length.is_zero()) {
        return Verdict::Refused(Refusal::new("length", "a force has to last for a while", None));
    }
    let present = state.forces.iter().find(|force| force.is_of(selector, kind));
    if present.is_some_and(|force| force.kind == kind && force.until.is_none() && length.is_none()) {
        return Verdict::Already;
    }
    if present.is_none() && state.forces.len() >= FORCES_MAX {
        let message = format!("there are {FORCES_MAX} forces already");
        return Verdict::Refused(Refusal::new("too-many", message, "lift some: tidegate status".to_owned()));
    }
    let (actor, reason) = (order.actor.clone(), order.reason.clone());
    let until = length.map(|length| now.wall.plus(length));
    let others = state.forces.iter().filter(|force| !force.is_of(selector, kind));
    let mut next: Vec<_> = others.cloned().collect();
    next.push(Force { selector: selector.clone(), kind, since: now.wall, until, actor, reason });
    let preview = force::compare(fleet, state, selector, &next);
    if preview.count == 0 {
        let message = format!("no origin matches {selector}");
        return Verdict::Refused(Refusal::new("no-match", message, "tidegate status --all".to_owned()));
    }
    unless_lost(order, next, EventKind::Forced, preview)
}

/// The change, unless a group would lose what it lives on and the order does not say that it may.
fn unless_lost(order: &ForceOrder, next: Vec<Force>, kind: EventKind, preview: Preview) -> Verdict {
    let losses: Vec<_> = preview.sites.iter().filter_map(|site| Some((&site.group, site.loss()?))).collect();
    let Some((group, _)) = losses.first() else {
        return Verdict::Change { next, kind, preview, overridden: false };
    };
    if order.overrides.contains(&Rule::Unfit) {
        return Verdict::Change { next, kind, preview, overridden: true };
    }
    let mut told: Vec<_> = losses.iter().take(TOLD_MAX).map(|(_, loss)| loss.clone()).collect();
    if losses.len() > told.len() {
        told.push(format!("{} more groups are in the same place", losses.len() - told.len()));
    }
    let next = format!(
        "move it first: tidegate switch {group} SITE --reason WHY; where something has just come back, wait until \
         `tidegate status` says that it is up; or to do it all the same, repeat it with{}",
        order::flags(&[Rule::Unfit].into())
    );
    Verdict::Refused(Refusal::new(Rule::Unfit.label(), told.join("; "), next))
}

fn lift(fleet: &Fleet, state: &State, order: &ForceOrder, drain: bool) -> Verdict {
    let is_meant =
        |force: &&Force| force.selector == order.selector && (force.kind == ForceKind::Drain) == drain;
    if !state.forces.iter().any(|force| is_meant(&force)) {
        let what = if drain { "drain" } else { "force" };
        let kind = |force: &&Force| (force.kind == ForceKind::Drain) == drain;
        let there: Vec<_> =
            state.forces.iter().filter(kind).take(TOLD_MAX).map(|it| it.selector.to_string()).collect();
        let next = match there.as_slice() {
            [] => format!("there is no {what} at all"),
            some => format!("name it as it was ordered: {}", some.join(", ")),
        };
        let message = format!("there is no {what} of {}", order.selector);
        return Verdict::Refused(Refusal::new("no-such-force", message, next));
    }
    let next: Vec<_> = state.forces.iter().filter(|force| !is_meant(force)).cloned().collect();
    let preview = force::compare(fleet, state, &order.selector, &next);
    unless_lost(order, next, EventKind::Unforced, preview)
}

fn persist(
    state: &mut State,
    change: (Vec<Force>, Event),
    order: Option<(u64, Box<Preview>)>,
    effects: &mut Vec<Effect>,
) {
    let ticket = state.ticket();
    state.forces_pending = Some(ForcesPending { ticket, next: change.0.clone(), order });
    effects.push(Effect::PersistForces { ticket, change: Box::new(change) });
}

/// Forces are durable: they hold.
pub(super) fn adopt(fleet: &Fleet, state: &mut State, ticket: u64, now: Now, effects: &mut Vec<Effect>) {
    let Some(pending) = state.forces_pending.take_if(|pending| pending.ticket == ticket) else { return };
    state.force(fleet, pending.next, now);
    state.forces_retry = None;
    let State { forces, told_overdue, .. } = &mut *state;
    told_overdue.retain(|told| forces.iter().any(|force| overdue_mark(force).as_ref() == Some(told)));
    for id in fleet.group_ids() {
        state.weigh(fleet, id, now);
        repace(fleet, state, id, effects);
    }
    effects.push(Effect::Publish);
    if let Some((order, preview)) = pending.order {
        effects.push(Effect::ReplyForce { order, outcome: Ok(Forced { changed: true, preview: *preview }) });
    }
    for id in fleet.group_ids() {
        consider(fleet, state, id, now, effects);
    }
}

/// Forces could not be made durable: it did not happen.
pub(super) fn give_up(
    state: &mut State,
    ticket: u64,
    detail: &Arc<str>,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let Some(pending) = state.forces_pending.take_if(|pending| pending.ticket == ticket) else { return };
    state.forces_retry = Some(now.mono.plus(STORE_RETRY));
    let reason = format!("a force did not change, because the store could not be written: {detail}");
    effects.push(Effect::Record(note(None, EventKind::NotStored, reason, now)));
    if let Some((order, _)) = pending.order {
        effects.push(Effect::ReplyForce { order, outcome: Err(Refusal::not_stored(detail)) });
    }
}

/// Ends forces whose time is over, and says of drains that theirs is.
pub(super) fn watch(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    if state.forces.is_empty() {
        return;
    }
    let of = |state: &State, wanted: &dyn Fn(&Force) -> bool| -> (Vec<Force>, Vec<Name>) {
        let found = state.forces.iter().zip(&state.force_origins).filter(|(force, _)| wanted(force));
        let (forces, origins): (Vec<_>, Vec<_>) =
            found.map(|(force, at)| (force.clone(), at.clone())).unzip();
        (forces, groups_of(fleet, &origins.concat()))
    };
    let overdue = state.forces.iter().filter(|force| force.is_overdue(now.wall)).cloned();
    for force in overdue.collect::<Vec<_>>() {
        if !overdue_mark(&force).is_some_and(|mark| state.told_overdue.insert(mark)) {
            continue;
        }
        let (_, groups) = of(state, &|other| *other == force);
        let reason =
            format!("the drain of {} by {} should be over: {}", force.selector, force.actor, force.reason);
        effects.push(Effect::Record(Event { groups, ..note(None, EventKind::Overdue, reason, now) }));
        effects.push(Effect::Publish);
    }
    let may_write = state.may_decide(now)
        && state.forces_pending.is_none()
        && state.forces_retry.is_none_or(|at| now.mono >= at);
    let is_over = |force: &Force| force.kind != ForceKind::Drain && force.is_over(now.wall);
    if !may_write || !state.forces.iter().any(is_over) {
        return;
    }
    let (over, groups) = of(state, &is_over);
    let next = state.forces.iter().filter(|force| !is_over(force)).cloned().collect();
    let told = over.iter().take(TOLD_MAX).map(|force| format!("{} {}", force.kind.verb(), force.selector));
    let told: Vec<_> = told.collect();
    let reason = format!("{} was ordered for a time that is over", told.join(", "));
    let event = Event { groups, ..note(None, EventKind::Unforced, reason, now) };
    persist(state, (next, event), None, effects);
}

/// What is remembered of a drain that was told to be overdue: with another end it is told again.
fn overdue_mark(force: &Force) -> Option<(Selector, Wall)> {
    Some((force.selector.clone(), force.until?))
}
