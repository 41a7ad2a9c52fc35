//! What would change where a group is: what it does by itself and under which condition, and what a person can do.

use super::{Way, stops, text};
use crate::decide::{Bar, Outlook};
use crate::durable::SwitchKind;
use crate::fleet::{Failback, Fleet, Mode};
use crate::id::{GroupId, SiteId};
use crate::state::State;

/// Sites that a person could move the group to and that are told.
const SITES_MAX: usize = 4;

pub(super) fn ways(fleet: &Fleet, state: &State, id: GroupId, outlook: &Outlook) -> Vec<Way> {
    let (group, own) = (fleet.group(id), state.group(id));
    let mut ways = Vec::new();
    if own.active.is_some() {
        match outlook {
            Outlook::Move { to, kind } => {
                let text = format!("{} to `{}` is about to happen", kind.label(), fleet.site(*to).name);
                ways.push(Way { label: kind.label().into(), text, left_ms: Some(0), next: None });
            }
            _ if own.unfit_since.is_some() => ways.extend(waiting(outlook)),
            _ => ways.push(failover(fleet, state, id)),
        }
    }
    ways.extend(failback(fleet, state, id, outlook));
    let others = group.sites.iter().filter(|site| own.active != Some(**site)).take(SITES_MAX);
    ways.extend(others.map(|site| by_hand(fleet, state, id, *site)));
    ways
}

/// It is on its way: all of these have to go.
fn waiting(outlook: &Outlook) -> Option<Way> {
    let Outlook::Barred(bars) = outlook else { return None };
    let left = bars.iter().filter_map(left).max();
    let text = match bars.len() {
        1 => "it moves by itself when what stops it now is gone".to_owned(),
        count => {
            format!("it moves by itself when one site has nothing of the {count} things that stop it now")
        }
    };
    Some(Way { label: "failover".into(), text, left_ms: left, next: None })
}

/// What a loss of the active site would lead to.
fn failover(fleet: &Fleet, state: &State, id: GroupId) -> Way {
    let (group, own) = (fleet.group(id), state.group(id));
    let active = own.active.map_or("its site", |site| &fleet.site(site).name);
    let loss = format!("if `{active}` stays unfit for {} (failover_after)", text(group.failover_after));
    let is_ready = |site: &&SiteId| {
        own.active != Some(**site)
            && own.fitness_at(group, **site).is_fit()
            && !own.durable.latched.contains(&fleet.site(**site).name)
    };
    let text = match group.sites.iter().find(is_ready) {
        _ if own.durable.freeze.is_some() => format!("{loss}, it stays all the same: it is frozen"),
        None => format!("{loss}, it stays all the same: no other site can take over now"),
        Some(to) => {
            let to = &fleet.site(*to).name;
            match group.mode {
                Mode::Confirm => format!("{loss}, it asks a person to confirm a move to `{to}`"),
                Mode::Automatic if group.is_stateless() => format!("{loss}, it fails over to `{to}`"),
                Mode::Automatic => {
                    format!("{loss}, it freezes: `{to}` is ready, but nothing fences `{active}`")
                }
            }
        }
    };
    Way { label: "failover".into(), text, left_ms: None, next: None }
}

/// The way home that a configuration allows without a person, unless a person moved it away on purpose.
fn failback(fleet: &Fleet, state: &State, id: GroupId, outlook: &Outlook) -> Option<Way> {
    let (group, own) = (fleet.group(id), state.group(id));
    let Failback::Automatic { after } = group.failback() else { return None };
    if own.durable.decision.as_ref().is_some_and(|decision| decision.kind == SwitchKind::Switchover) {
        return None;
    }
    let home = group.sites.first().filter(|site| own.active.is_some_and(|active| active != **site))?;
    let (home, after) = (&fleet.site(*home).name, text(after));
    let text = format!(
        "it goes home by itself when a site it prefers, as `{home}`, has been fit for {after} without a break"
    );
    let left_ms = match outlook {
        Outlook::Barred(bars) if own.unfit_since.is_none() => bars.iter().filter_map(left).max(),
        _ => None,
    };
    Some(Way { label: "failback".into(), text, left_ms, next: None })
}

/// What a person would have to say.
fn by_hand(fleet: &Fleet, state: &State, id: GroupId, to: SiteId) -> Way {
    let (group, own) = (fleet.group(id), state.group(id));
    let site = &fleet.site(to).name;
    let fitness = own.fitness_at(group, to);
    let text = match fitness.obstacles().first() {
        None => format!("a person moves it to `{site}`"),
        Some(first) => format!("a person moves it to `{site}`, which is {}: {first}", fitness.label()),
    };
    // Where another edge decides, an order is for that one; here it would only be refused.
    let is_heard = state.may_decide(state.last);
    let text = if is_heard { text } else { format!("{text}, at the edge that leads") };
    let next = is_heard.then(|| stops::command(fleet, state, id, "switch", to));
    Way { label: "switch".into(), text, left_ms: None, next }
}

/// How long a bar lasts by itself, where that is known.
pub(super) fn left(bar: &Bar) -> Option<u64> {
    match bar {
        Bar::FailoverAfter { left } | Bar::FailbackAfter { left, .. } | Bar::MinimumStay { left } => {
            Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
        }
        _ => None,
    }
}
