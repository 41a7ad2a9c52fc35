//! Why traffic is where it is, what would change that, and the next command: the rules told in plain sentences.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::{self, Bar, Hindrance, Outlook};
use crate::durable::FreezeCause;
use crate::fit::{self, Obstacle};
use crate::fleet::{Fleet, Mode};
use crate::id::{GroupId, Name, SiteId};
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
    pub sites: Vec<SiteLine>,
    /// Everything that keeps the group from moving by itself now.
    pub stops: Vec<Stop>,
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
}

/// Explains one group.
#[must_use]
pub fn explain(fleet: &Fleet, state: &State, id: GroupId, now: Now) -> Explanation {
    let group = fleet.group(id);
    let outlook = decide::outlook(fleet, state, id, now);
    let (word, stops) = match &outlook {
        Outlook::Settled => ("settled", Vec::new()),
        Outlook::Move { .. } => ("moving", Vec::new()),
        Outlook::Propose { to } => ("waiting", vec![awaits_confirmation(fleet, id, *to)]),
        Outlook::Freeze { cause, to } => ("barred", vec![about_to_freeze(fleet, id, *cause, *to)]),
        Outlook::Barred(bars) => ("barred", bars.iter().map(|bar| stop(fleet, id, bar)).collect()),
    };
    Explanation {
        group: group.name.clone(),
        headline: headline(fleet, state, id, now),
        outlook: word.into(),
        sites: group.sites.iter().map(|site| site_line(fleet, state, id, *site)).collect(),
        stops,
        notes: notes(fleet, state, id, now, &outlook),
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
    let mut notes = Vec::new();
    let lost = own.unfit_since.is_some();
    let no_target = matches!(outlook, Outlook::Barred(bars) if bars.iter().any(|bar| matches!(bar, Bar::Candidate { .. })));
    if lost && no_target && group.sites.iter().all(|site| !own.fitness_at(group, *site).is_fit()) {
        notes.push(
            "no site is fit: traffic stays and every origin of the active site is tried (fail static)".into(),
        );
    }
    if let Some(active) = own.active {
        for name in fit::degraded(fleet, id, active) {
            notes.push(format!("degraded: `{}` does not provide `{name}`", fleet.site(active).name));
        }
    }
    if !own.durable.latched.is_empty() {
        let names: Vec<_> = own.durable.latched.iter().map(|name| &**name).collect();
        notes.push(format!(
            "return latch: no automatic failover to {} before `tidegate ack {} --reason WHY`",
            names.join(", "),
            group.name
        ));
    }
    for name in &own.durable.diverged {
        notes.push(format!(
            "`{name}` is diverged: its data may have forked while `{}` lived elsewhere",
            group.name
        ));
    }
    if let Some(freeze) = &own.durable.freeze {
        notes.push(format!(
            "frozen ({}) by {} {} ago: {}",
            freeze.cause.label(),
            freeze.actor,
            text(now.wall.since(freeze.since)),
            freeze.reason
        ));
    }
    if group.mode == Mode::Confirm {
        notes.push("mode is confirm: every failover waits for a person".into());
    }
    if !group.is_stateless() {
        notes.push(
            "not stateless and nothing fences the old site: it never moves by itself (no-fence)".into(),
        );
    }
    notes
}

fn awaits_confirmation(fleet: &Fleet, id: GroupId, to: SiteId) -> Stop {
    let (group, site) = (&fleet.group(id).name, &fleet.site(to).name);
    Stop {
        label: "confirmation".into(),
        text: format!("everything is ready to move to `{site}`; mode is confirm, so a person has to agree"),
        next: Some(format!("tidegate confirm {group} --reason WHY")),
    }
}

fn about_to_freeze(fleet: &Fleet, id: GroupId, cause: FreezeCause, to: SiteId) -> Stop {
    let (group, site) = (&fleet.group(id).name, &fleet.site(to).name);
    Stop {
        label: cause.label().into(),
        text: format!("`{site}` is ready, but the group may not move by itself and is being frozen"),
        next: Some(format!("tidegate switch {group} {site} --reason WHY")),
    }
}

fn stop(fleet: &Fleet, id: GroupId, bar: &Bar) -> Stop {
    let name = &fleet.group(id).name;
    let site_name = |site: &SiteId| &fleet.site(*site).name;
    let (label, text, next) = match bar {
        Bar::Undecided => (
            "undecided",
            "the store knows nothing of this group and the configuration lets only a person say where it lives".into(),
            Some(format!("tidegate switch {name} SITE --reason WHY")),
        ),
        Bar::FirstRound => (
            "first-round",
            "the first complete round of probes is not in: nothing is decided on a guess".into(),
            Some("wait for the round; `tidegate status` shows the origins still unknown".into()),
        ),
        Bar::FailoverAfter { left } => (
            "failover-after",
            format!("the active site has to stay unfit for another {}", text(*left)),
            Some(format!("wait, or tidegate switch {name} SITE --reason WHY")),
        ),
        Bar::Frozen(freeze) => (
            "frozen",
            format!("frozen ({}) by {}: {}", freeze.cause.label(), freeze.actor, freeze.reason),
            Some(format!("tidegate unfreeze {name} --reason WHY, or move it: tidegate switch {name} SITE --reason WHY")),
        ),
        Bar::Isolated => (
            "isolated",
            "the witnesses say that this edge is cut off, so its view of the sites proves nothing".into(),
            Some("look at this machine's network".into()),
        ),
        Bar::IsolationUnknown => (
            "isolation-unknown",
            "too few witnesses answer to tell whether this edge is cut off".into(),
            Some("look at the witnesses and at this machine's network".into()),
        ),
        Bar::Store(detail) => (
            "store",
            format!("decisions cannot be made durable: {detail}"),
            Some("free or repair the disk that holds state_dir; it is tried again every second".into()),
        ),
        Bar::ChangePending => ("pending", "a change of this group is being written".into(), None),
        Bar::NoOtherSite => (
            "no-other-site",
            "the group has no other site".into(),
            Some("give the group a second site in the configuration".into()),
        ),
        Bar::Candidate { site, hindrance } => candidate(name, site_name(site), hindrance),
        Bar::FailbackManual { site } => (
            "failback-manual",
            format!("preferred site `{}` is fit, and the way home is a person's decision", site_name(site)),
            Some(format!("tidegate failback {name} --reason WHY")),
        ),
        Bar::MovedOnPurpose { site } => (
            "moved-on-purpose",
            format!("preferred site `{}` is fit, but a person moved the group here on purpose", site_name(site)),
            Some(format!("tidegate failback {name} --reason WHY")),
        ),
        Bar::FailbackAfter { site, left } => (
            "failback-after",
            format!("preferred site `{}` has to stay fit for another {}", site_name(site), text(*left)),
            Some(format!("wait, or tidegate failback {name} --reason WHY")),
        ),
        Bar::MinimumStay { left } => (
            "minimum-stay",
            format!("the group stays here for at least another {}", text(*left)),
            Some(format!("wait, or tidegate failback {name} --reason WHY")),
        ),
    };
    Stop { label: label.into(), text, next }
}

fn candidate(group: &str, site: &str, hindrance: &Hindrance) -> (&'static str, String, Option<String>) {
    match hindrance {
        Hindrance::Obstacle(obstacle) => {
            let next = match obstacle {
                Obstacle::Diverged => format!(
                    "resync `{site}`, or tidegate switch {group} {site} --override diverged --reason WHY"
                ),
                Obstacle::CapabilityMissing(name) => {
                    format!("add `{name}` to what `{site}` provides, if it does")
                }
                _ => format!("repair `{site}`; tidegate status shows its origins"),
            };
            (obstacle.label(), format!("`{site}` cannot take over: {obstacle}"), Some(next))
        }
        Hindrance::Latched => (
            "latched",
            format!("`{site}` cannot take over: it was active since the last acknowledgement (return latch)"),
            Some(format!(
                "tidegate ack {group} --reason WHY, or tidegate switch {group} {site} --reason WHY"
            )),
        ),
        Hindrance::NotProven => (
            "not-proven",
            format!("`{site}` has no complete round of probes since the active site was lost"),
            Some("wait for its probes".into()),
        ),
    }
}

/// A duration for people: at most two units.
fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
