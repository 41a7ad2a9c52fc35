//! The way out of a diverged mark: every `resynced` gate of the site passes, measured since the group came to live where
//! it lives now. A person's acknowledgement does not do it, and neither does a measurement from before: what was whole
//! when the group left may have forked since.

use super::note;
use crate::durable::Durable;
use crate::event::{Event, EventKind};
use crate::fleet::{Fleet, Group};
use crate::gate::{Gate, Purpose};
use crate::id::{GroupId, Name, SiteId};
use crate::state::State;
use crate::time::Now;

/// The durable part without the marks that gates clear now; none where there is nothing to clear, or where it cannot be
/// written now.
pub(super) fn cleared(fleet: &Fleet, state: &State, id: GroupId, now: Now) -> Option<(Durable, Event)> {
    let (group, own) = (fleet.group(id), state.group(id));
    let waits = own.store_trouble.as_ref().is_some_and(|(_, retry)| now.mono < *retry);
    if own.durable.diverged.is_empty() || own.pending.is_some() || waits {
        return None;
    }
    let whole: Vec<_> = own
        .durable
        .diverged
        .iter()
        .filter_map(|name| Some((name, fleet.site_named(name)?)))
        .filter_map(|(name, site)| Some((name, proof(group, state, id, site, now)?)))
        .collect();
    if whole.is_empty() {
        return None;
    }
    let mut next = own.durable.clone();
    let mut told = Vec::new();
    for (site, gates) in &whole {
        next.diverged.remove(*site);
        told.push(format!("gate `{}` passes at `{site}`: its data is whole again", gates.join("`, `")));
    }
    let mut event = note(Some(&group.name), EventKind::Resynced, told.join("; "), now);
    event.epoch = Some(next.epoch());
    Some((next, event))
}

/// The gates that prove a site whole, if all of them do.
fn proof(group: &Group, state: &State, id: GroupId, site: SiteId, now: Now) -> Option<Vec<Name>> {
    let own = state.group(id);
    if own.active == Some(site) {
        return None;
    }
    let asked = |gate: &&Gate| gate.purpose == Purpose::Resynced && gate.sites.contains(&site);
    let gates: Vec<_> = group.gates.iter().filter(asked).collect();
    let passes = |gate: &&Gate| {
        let known = state.facts.gate(id, site, &gate.name);
        known.is_some_and(|known| known.passes_since(gate, own.moved, now.mono))
    };
    (!gates.is_empty() && gates.iter().all(passes))
        .then(|| gates.iter().map(|gate| gate.name.clone()).collect())
}
