//! News about the world beside the origins, and what becomes of it when it grows old.

use std::net::IpAddr;

use super::notice::{changed, groups_at};
use super::{Effect, Fact, consider, note};
use crate::event::{Event, EventKind};
use crate::facts::{FrontDoor, Isolation};
use crate::fleet::Fleet;
use crate::gate::{Gate, Verdict};
use crate::id::{GroupId, Name, SiteId};
use crate::safety;
use crate::state::State;
use crate::time::{Mono, Now};

/// Takes one fact in. What is about something that is not configured says nothing.
pub(super) fn learn(fleet: &Fleet, state: &mut State, fact: Fact, now: Now, effects: &mut Vec<Effect>) {
    match fact {
        Fact::Witness { address, measured, reachable } => {
            let Some(at) = fleet.witnesses.addresses.iter().position(|known| *known == address) else {
                return;
            };
            let witness = &mut state.facts.witnesses[at];
            if witness.latest.is_some_and(|(known, _)| measured < known) {
                return;
            }
            witness.latest = Some((measured, reachable));
            let due = witness.due(fleet);
            state.facts.expect(due);
            witnesses(fleet, state, now, effects);
        }
        Fact::Gate { group, site, gate, measured, reading, detail } => {
            let Some(gate) = fleet.group(group).gate(&gate) else { return };
            let lost = state.group(group).unfit_since;
            let Some(known) = state.facts.gates.get_mut(&(group, site)).and_then(|at| at.get_mut(&gate.name))
            else {
                return;
            };
            known.take(gate, gate.judge(measured, &reading, detail), lost);
            let due = known.due(gate);
            state.facts.expect(due);
            let news = settle(fleet, state, group, site, gate, now, effects);
            // What it read shows in why a site is not fit, even where the verdict is the same.
            state.weigh(fleet, group, now);
            if news {
                effects.push(Effect::Publish);
            }
            consider(fleet, state, group, now, effects);
        }
        Fact::FrontDoor { site, address, measured, failure } => {
            front_door(fleet, state, site, Some((address, measured, failure)), now, effects);
        }
    }
}

/// Lets time pass: what is too old is unknown, and other safety rules may hold than before.
pub(super) fn grow_old(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    by_the_clock(fleet, state, now, effects);
    if state.facts.due.is_none_or(|due| now.mono <= due) {
        return;
    }
    for id in fleet.group_ids() {
        judge(fleet, state, id, now, effects);
    }
    for site in (0..fleet.sites.len()).map(|position| SiteId(position as u16)) {
        front_door(fleet, state, site, None, now, effects);
    }
    witnesses(fleet, state, now, effects);
    state.facts.due = next_due(fleet, state, now.mono);
}

/// Judges the gates of a group anew, and weighs its sites if that changes anything.
pub(super) fn judge(fleet: &Fleet, state: &mut State, id: GroupId, now: Now, effects: &mut Vec<Effect>) {
    if settle_all(fleet, state, id, now, effects) {
        state.weigh(fleet, id, now);
        effects.push(Effect::Publish);
        consider(fleet, state, id, now, effects);
    }
}

/// Works out what the gates of a group say now; its sites have to be weighed anew if that is news.
pub(super) fn settle_all(
    fleet: &Fleet,
    state: &mut State,
    id: GroupId,
    now: Now,
    effects: &mut Vec<Effect>,
) -> bool {
    let mut news = false;
    for gate in &fleet.group(id).gates {
        for site in &gate.sites {
            news |= settle(fleet, state, id, *site, gate, now, effects);
        }
    }
    news
}

/// The active site has been lost: gates of data may count by what they said last.
pub(super) fn lose(fleet: &Fleet, state: &mut State, id: GroupId, lost: Mono) {
    for gate in &fleet.group(id).gates {
        for site in &gate.sites {
            if let Some(known) = state.facts.gates.get_mut(&(id, *site)).and_then(|at| at.get_mut(&gate.name))
            {
                known.lose(gate, lost);
            }
        }
    }
}

/// The machine slept, or its clock ran ahead: how old anything is cannot be told.
pub(super) fn forget(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    state.facts.forget();
    state.facts.due = None;
    for id in fleet.group_ids() {
        judge(fleet, state, id, now, effects);
    }
    witnesses(fleet, state, now, effects);
}

/// Rules by the hour go by the minute.
fn by_the_clock(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    const MINUTE: u64 = 60_000;
    let was = std::mem::replace(&mut state.facts.wall, now.wall);
    if was.0 / MINUTE == now.wall.0 / MINUTE {
        return;
    }
    for id in safety::by_the_clock(fleet) {
        let before = state.group(id).fitness.clone();
        state.weigh(fleet, id, now);
        if state.group(id).fitness != before {
            effects.push(Effect::Publish);
            consider(fleet, state, id, now, effects);
        }
    }
}

/// When the next fact becomes too old, beside those that are.
fn next_due(fleet: &Fleet, state: &State, now: Mono) -> Option<Mono> {
    let gates = state.facts.gates.iter().flat_map(|((group, _), gates)| {
        gates
            .iter()
            .filter_map(|(name, known)| fleet.group(*group).gate(name).and_then(|gate| known.due(gate)))
    });
    let doors = fleet.sites.iter().zip(&state.facts.doors).filter_map(|(site, doors)| {
        let check = site.front_door_check.as_ref()?;
        doors.iter().filter_map(|door| door.due(check)).filter(|due| *due >= now).min()
    });
    let witnesses = state.facts.witnesses.iter().filter_map(|witness| witness.due(fleet));
    gates.chain(doors).chain(witnesses).filter(|due| *due >= now).min()
}

/// Works out what a gate says now. Returns true if that is news, and records it where the site is not active.
fn settle(
    fleet: &Fleet,
    state: &mut State,
    group: GroupId,
    site: SiteId,
    gate: &Gate,
    now: Now,
    effects: &mut Vec<Effect>,
) -> bool {
    let (is_lost, is_active) =
        (state.group(group).unfit_since.is_some(), state.group(group).active == Some(site));
    let Some(known) = state.facts.gates.get_mut(&(group, site)).and_then(|at| at.get_mut(&gate.name)) else {
        return false;
    };
    let before = known.verdict;
    if !known.settle(gate, is_lost, now.mono) {
        return false;
    }
    // That the first sample passes is how every start looks.
    let is_start = before == Verdict::Unknown && known.verdict == Verdict::Pass && !known.told;
    if !is_active && !is_start {
        known.told = known.verdict != Verdict::Pass;
        let (why, verdict) = (known.why(gate), known.verdict);
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let reason = format!(
            "gate `{}` of `{}` says {}, after {}{why}",
            gate.name,
            fleet.site(site).name,
            verdict.label(),
            before.label()
        );
        let event = Event {
            group: Some(fleet.group(group).name.clone()),
            site: Some(fleet.site(site).name.clone()),
            gate: Some(gate.name.clone()),
            ..changed(now.wall, EventKind::Gate, before.label(), verdict.label(), reason)
        };
        effects.push(Effect::Record(event));
    }
    true
}

fn witnesses(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    let facts = &mut state.facts;
    let seen =
        |facts: &crate::facts::Facts| facts.witnesses.iter().map(|it| it.reachable).collect::<Vec<_>>();
    let before = (facts.isolation, seen(facts));
    facts.witnesses.iter_mut().for_each(|witness| witness.settle(fleet, now.mono));
    facts.isolation = facts.isolation(fleet);
    if before == (facts.isolation, seen(facts)) {
        return;
    }
    effects.push(Effect::Publish);
    if before.0 == facts.isolation {
        return;
    }
    let cut_off = |isolation| !matches!(isolation, None | Some(Isolation::Connected));
    if cut_off(before.0) && !cut_off(facts.isolation) {
        state.connected = now.mono;
    }
    state.notice_isolation(before.0, now.wall);
    for group in fleet.group_ids() {
        consider(fleet, state, group, now, effects);
    }
}

/// Takes the result of a check of a published address in, if there is one, and works out what is known of the site's.
fn front_door(
    fleet: &Fleet,
    state: &mut State,
    site: SiteId,
    news: Option<(IpAddr, Mono, Option<Name>)>,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let Some(check) = &fleet.site(site).front_door_check else { return };
    let before = state.facts.front_door(site);
    let doors = &mut state.facts.doors[site.index()];
    let healths =
        |doors: &[crate::facts::Door]| doors.iter().map(crate::facts::Door::health).collect::<Vec<_>>();
    let was = healths(doors);
    if let Some((address, measured, failure)) = news {
        let Some(door) = doors.iter_mut().find(|door| door.address == address) else { return };
        if measured < state.round {
            return;
        }
        door.take(check, measured, failure);
        let due = door.due(check);
        state.facts.expect(due);
    } else {
        doors.iter_mut().for_each(|door| door.settle(check, now.mono));
    }
    let changed = was != healths(&state.facts.doors[site.index()]);
    let after = state.facts.front_door(site);
    if changed {
        effects.push(Effect::Publish);
    }
    if before != after {
        tell_front_door(fleet, state, site, before, after, now, effects);
        for group in fleet.group_ids() {
            state.weigh(fleet, group, now);
        }
    }
    // Even an expected failure may be the one that a waiting move needs.
    for group in fleet.group_ids().filter(|id| fleet.group(*id).sites.contains(&site)) {
        if before != after || state.group(group).unfit_since.is_some() {
            consider(fleet, state, group, now, effects);
        }
    }
}

fn tell_front_door(
    fleet: &Fleet,
    state: &State,
    site: SiteId,
    before: Option<FrontDoor>,
    after: Option<FrontDoor>,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let name = &fleet.site(site).name;
    let (kind, reason) = match (before, after) {
        (_, Some(FrontDoor::Lost)) => {
            let why = state.facts.doors[site.index()]
                .iter()
                .map(|door| format!("{}: {}", door.address, door.failure.as_deref().unwrap_or("no answer")));
            let why: Vec<_> = why.collect();
            (
                EventKind::FrontDoorLost,
                format!("the front door of `{name}` does not answer: {}", why.join("; ")),
            )
        }
        (Some(FrontDoor::Lost), Some(FrontDoor::Reachable)) => {
            (EventKind::FrontDoorBack, format!("the front door of `{name}` answers again"))
        }
        _ => return,
    };
    let groups = groups_at(fleet, site);
    let site = Some(name.clone());
    effects.push(Effect::Record(Event { site, groups, ..note(None, kind, reason, now) }));
}
