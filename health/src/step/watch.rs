//! What is told because it lasts, once per spell, and once more when it is over: a place to go to that is none, an edge
//! that is cut off. Nothing here decides anything.

use std::time::Duration;

use super::{Effect, note};
use crate::event::{Event, EventKind};
use crate::facts::Isolation;
use crate::fleet::Fleet;
use crate::id::GroupId;
use crate::state::State;
use crate::time::{Mono, Now};

/// How often it is looked for; what lasts can wait for that.
const EVERY: Duration = Duration::from_millis(250);
/// Witnesses that were lost for a moment only are no news.
const ISOLATED_TOLD_AFTER: Duration = Duration::from_secs(10);

/// Since when something is not as it should be, and whether that was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spell {
    since: Option<Mono>,
    is_told: bool,
}

/// What a spell has to tell.
enum News {
    /// It has lasted for this long.
    Lasts(Duration),
    /// It was told, and is over.
    Over,
}

impl Spell {
    /// The time so far proves nothing, as after a stall; what was told was told.
    pub(crate) fn start_over(&mut self) {
        self.since = None;
    }

    fn look(&mut self, is_bad: bool, told_after: Duration, now: Mono) -> Option<News> {
        if !is_bad {
            let was_told = std::mem::take(self).is_told;
            return was_told.then_some(News::Over);
        }
        let lasted = now.since(*self.since.get_or_insert(now));
        if self.is_told || lasted < told_after {
            return None;
        }
        self.is_told = true;
        Some(News::Lasts(lasted))
    }
}

/// Looks for all that lasts.
pub(super) fn watch(fleet: &Fleet, state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    if now.mono < state.watch_at {
        return;
    }
    state.watch_at = now.mono.plus(EVERY);
    isolation(state, now, effects);
    for id in fleet.group_ids() {
        standbys(fleet, state, id, now, effects);
        diverged(fleet, state, id, now, effects);
    }
}

fn isolation(state: &mut State, now: Now, effects: &mut Vec<Effect>) {
    let is_cut_off = !matches!(state.facts.isolation, None | Some(Isolation::Connected));
    let (kind, reason) = match state.isolated.look(is_cut_off, ISOLATED_TOLD_AFTER, now.mono) {
        None => return,
        Some(News::Lasts(lasted)) => {
            let lasted = lasted.as_secs();
            let reason = format!(
                "for {lasted} s the witnesses have not confirmed that this edge is connected: nothing moves by itself"
            );
            (EventKind::Isolated, reason)
        }
        Some(News::Over) => {
            (EventKind::Connected, "the witnesses confirm that this edge is connected".to_owned())
        }
    };
    effects.push(Effect::Record(note(None, kind, reason, now)));
}

/// A standby that is not fit is missed only when it is needed, which is too late.
fn standbys(fleet: &Fleet, state: &mut State, id: GroupId, now: Now, effects: &mut Vec<Effect>) {
    let group = fleet.group(id);
    let own = state.group_mut(id);
    let Some(active) = own.active else { return };
    for (position, site) in group.sites.iter().enumerate() {
        let (fitness, spell) = (&own.fitness[position], &mut own.standby_spells[position]);
        if *site == active {
            *spell = Spell::default();
            continue;
        }
        let name = &fleet.site(*site).name;
        let (kind, reason) = match spell.look(!fitness.is_fit(), group.standby_unfit_after, now.mono) {
            None => continue,
            Some(News::Lasts(lasted)) => {
                let why: Vec<_> = fitness.obstacles().iter().map(ToString::to_string).collect();
                let lasted = lasted.as_secs();
                let reason =
                    format!("standby site `{name}` has not been fit for {lasted} s: {}", why.join("; "));
                (EventKind::StandbyUnfit, reason)
            }
            Some(News::Over) => (EventKind::StandbyFit, format!("standby site `{name}` is fit again")),
        };
        let event = note(Some(&group.name), kind, reason, now);
        effects.push(Effect::Record(Event { site: Some(name.clone()), ..event }));
    }
}

/// A mark comes with the switch that set it; it is told for itself, since it stays when the switch is forgotten.
fn diverged(fleet: &Fleet, state: &mut State, id: GroupId, now: Now, effects: &mut Vec<Effect>) {
    let own = state.group_mut(id);
    if own.told_diverged == own.durable.diverged {
        return;
    }
    for site in own.durable.diverged.difference(&own.told_diverged) {
        let reason = format!(
            "the data at `{site}` may have forked: the group left it and nothing fenced it; no move goes there before it \
             is resynced"
        );
        let event = note(Some(&fleet.group(id).name), EventKind::Diverged, reason, now);
        effects.push(Effect::Record(Event { site: Some(site.clone()), ..event }));
    }
    own.told_diverged.clone_from(&own.durable.diverged);
}
