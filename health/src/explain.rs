//! Why traffic is where it is, what would change that, and the next command: the rules told in plain sentences.

mod stops;
mod ways;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chain::{self, Link};
use crate::decide::{self, Bar, Hindrance, Outlook};
use crate::fit::{self, Obstacle};
use crate::fleet::{Fleet, Mode};
use crate::id::{GroupId, Name, SiteId};
use crate::safety;
use crate::state::State;
use crate::time::Now;

/// The explanation of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub group: Name,
    /// Where the group is active, since when and why, in a sentence.
    pub headline: String,
    /// What it would do by itself: `settled`, `moving`, `waiting`, `barred`.
    pub outlook: Name,
    /// From the cause to the decision that brought it there, as it was known then.
    #[serde(default)]
    pub decided: Vec<Link>,
    /// From the cause down, why its site is not fit now; empty where it is.
    #[serde(default)]
    pub present: Vec<Link>,
    pub sites: Vec<SiteLine>,
    /// Everything that keeps the group from moving by itself now.
    pub stops: Vec<Stop>,
    /// What would change where it is.
    #[serde(default)]
    pub ways: Vec<Way>,
    /// What a person should do next, if anything.
    #[serde(default)]
    pub next: Option<String>,
    /// Things to know that stop nothing.
    pub notes: Vec<String>,
}

/// One site of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteLine {
    pub site: Name,
    pub active: bool,
    /// `fit`, `unfit` or `unknown`.
    pub fitness: Name,
    pub why: Vec<String>,
}

/// One thing that stops a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// A short, stable word.
    pub label: Name,
    pub text: String,
    /// The command, or the wait, that removes it.
    pub next: Option<String>,
    /// How long it lasts by itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

/// One way in which a group would come to another site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// `failover`, `failback` or `switch`.
    pub label: Name,
    /// The condition, and what comes of it.
    pub text: String,
    /// How much of the condition is left, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// The command, where it is a person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Explains one group.
#[must_use]
pub fn explain(fleet: &Fleet, state: &State, id: GroupId, now: Now) -> Explanation {
    let (group, own) = (fleet.group(id), state.group(id));
    let outlook = decide::outlook(fleet, state, id, now);
    let (word, stops) = match &outlook {
        Outlook::Settled => ("settled", Vec::new()),
        Outlook::Move { .. } => ("moving", Vec::new()),
        Outlook::Propose { to } => ("waiting", vec![stops::confirmation(fleet, state, id, *to)]),
        Outlook::Freeze { cause, to } => ("barred", vec![stops::freezing(fleet, state, id, *cause, *to)]),
        Outlook::Barred(bars) => {
            ("barred", bars.iter().map(|bar| stops::stop(fleet, state, id, bar)).collect())
        }
    };
    Explanation {
        group: group.name.clone(),
        headline: headline(fleet, state, id, now),
        outlook: word.into(),
        sites: group.sites.iter().map(|site| site_line(fleet, state, id, *site)).collect(),
        decided: own.durable.decision.as_ref().map_or_else(Vec::new, |decision| decision.chain.clone()),
        present: own.active.map_or_else(Vec::new, |active| chain::unfit(fleet, state, id, active, now)),
        ways: ways::ways(fleet, state, id, &outlook),
        next: next(fleet, state, id, &stops),
        stops,
        notes: notes(fleet, state, id, now, &outlook),
    }
}

/// What stops a move comes before what only waits for daylight; where all is well there is nothing to do.
fn next(fleet: &Fleet, state: &State, id: GroupId, stops: &[Stop]) -> Option<String> {
    let own = state.group(id);
    let ack = || format!("tidegate ack {} --reason WHY", fleet.group(id).name);
    let is_command = |stop: &&Stop| stop.next.as_ref().is_some_and(|next| next.contains("tidegate "));
    let stop = stops.iter().find(is_command).or(stops.first());
    let waiting = || (!own.durable.latched.is_empty()).then(ack);
    // Someone who is only on the way home should first have looked at what was lost.
    match stop {
        Some(stop) if own.unfit_since.is_some() || own.durable.latched.is_empty() => stop.next.clone(),
        _ => waiting().or_else(|| stop.and_then(|stop| stop.next.clone())),
    }
}

fn headline(fleet: &Fleet, state: &State, id: GroupId, now: Now) -> String {
    let (group, own) = (fleet.group(id), state.group(id));
    let (Some(active), Some(decision)) = (own.active, &own.durable.decision) else {
        return format!("`{}` is active nowhere: nobody has decided where it lives", group.name);
    };
    let serving = match (own.unfit_since, own.fitness_at(group, active).label()) {
        (Some(since), _) => format!(", which has been unfit for {}", text(now.mono.since(since))),
        (None, "unknown") => String::from(", whose fitness is not known yet"),
        _ => String::new(),
    };
    format!(
        "`{}` is active at `{}`{serving}; epoch {}, {} by {} {} ago: {}",
        group.name,
        decision.site,
        decision.epoch,
        decision.kind.label(),
        decision.actor,
        text(now.wall.since(decision.since)),
        decision.reason
    )
}

fn site_line(fleet: &Fleet, state: &State, id: GroupId, site: SiteId) -> SiteLine {
    let own = state.group(id);
    let fitness = own.fitness_at(fleet.group(id), site);
    SiteLine {
        site: fleet.site(site).name.clone(),
        active: own.active == Some(site),
        fitness: fitness.label().into(),
        why: fitness.obstacles().iter().map(ToString::to_string).collect(),
    }
}

fn notes(fleet: &Fleet, state: &State, id: GroupId, now: Now, outlook: &Outlook) -> Vec<String> {
    let (group, own) = (fleet.group(id), state.group(id));
    let name = &group.name;
    let told = match outlook {
        Outlook::Barred(bars) => bars.as_slice(),
        _ => &[],
    };
    let mut notes = Vec::new();
    if let Some(active) = own.active {
        let site = &fleet.site(active).name;
        let no_target = |bar: &Bar| matches!(bar, Bar::Candidate { .. } | Bar::NoOtherSite);
        if own.unfit_since.is_some() && told.iter().any(no_target) {
            notes.push(format!(
                "no other site can take over now: traffic stays at `{site}`, and every origin there is tried whatever \
                 its health (fail static)"
            ));
        }
        for wanted in fit::degraded(fleet, id, active) {
            notes.push(format!("degraded: `{site}` does not provide `{wanted}`"));
        }
    }
    // What would stop a move that is not due now is worth knowing before it is.
    for bar in decide::standing_bars(state, own, now).iter().filter(|bar| !told.contains(bar)) {
        notes.push(format!("no automatic move now: {}", stops::stop(fleet, state, id, bar).text));
    }
    let told_of = |site: &Name, wanted: &Hindrance| {
        told.iter().any(|bar| {
            matches!(bar, Bar::Candidate { site: of, hindrance } if fleet.site(*of).name == *site && hindrance == wanted)
        })
    };
    for site in own.durable.latched.iter().filter(|site| !told_of(site, &Hindrance::Latched)) {
        notes.push(format!(
            "return latch: no automatic failover to `{site}` before `tidegate ack {name} --reason WHY`"
        ));
    }
    let forked = Hindrance::Obstacle(Obstacle::Diverged);
    for site in own.durable.diverged.iter().filter(|site| !told_of(site, &forked)) {
        let gates =
            fleet.site_named(site).map(|site| stops::resynced_by(fleet, id, site)).unwrap_or_default();
        let or = match gates.as_slice() {
            [] => String::new(),
            gates => format!("before gate `{}` passes there, or ", gates.join("`, `")),
        };
        notes.push(format!(
            "`{site}` is diverged: its data may have forked while `{name}` lived elsewhere; nothing moves there \
             {or}without `--override diverged`"
        ));
    }
    notes.extend(gates_by_last(fleet, state, id));
    for by in safety::broken(fleet, state, id) {
        notes.push(format!(
            "safety rule `{}` would not let `{name}` go where it is ({}); it bars moves and evicts nobody",
            by.rule, by.why
        ));
    }
    notes.extend(forces(fleet, state, id, now));
    if group.mode == Mode::Confirm {
        notes.push("mode is confirm: a move waits until a person confirms it".into());
    }
    if !group.is_stateless() {
        notes.push(
            "not stateless, and nothing fences the old site: it never moves by itself (no-fence)".into(),
        );
    }
    notes
}

/// Gates that count by what they said before the active site was lost.
fn gates_by_last(fleet: &Fleet, state: &State, id: GroupId) -> Vec<String> {
    let mut found = Vec::new();
    for gate in &fleet.group(id).gates {
        for site in &gate.sites {
            let Some(known) = state.facts.gate(id, *site, &gate.name).filter(|known| known.by_last) else {
                continue;
            };
            found.push(format!(
                "gate `{}` of `{}` passes {}",
                gate.name,
                fleet.site(*site).name,
                known.why(gate)
            ));
        }
    }
    found
}

/// What people say of the group's origins, whatever the checks see.
fn forces(fleet: &Fleet, state: &State, id: GroupId, now: Now) -> impl Iterator<Item = String> {
    state.forces.iter().zip(&state.force_origins).filter_map(move |(force, origins)| {
        let count = origins.iter().filter(|origin| fleet.group_of(**origin) == id).count();
        let s = if count == 1 { "" } else { "s" };
        let over = if force.is_overdue(now.wall) { ", which should be over" } else { "" };
        (count > 0).then(|| {
            format!(
                "{count} origin{s} {} by {} {} ago{over}: {}; undone by: {}",
                force.kind.done(),
                force.actor,
                text(now.wall.since(force.since)),
                force.reason,
                force.lifted_by()
            )
        })
    })
}

/// A duration for people: at most two units.
pub(crate) fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
