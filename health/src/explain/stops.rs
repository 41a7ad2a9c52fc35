//! Each thing that can stop a move: what it is, in a sentence, and the next command or wait that removes it.
//!
//! Whoever reads this was woken by it. So a next step is never a command that will be refused: where a rule has to
//! be overridden, the command names it.

use crate::decide::{Bar, Hindrance};
use crate::durable::{Freeze, FreezeCause};
use crate::explain::ways::left;
use crate::explain::{Stop, text};
use crate::fit::Obstacle;
use crate::fleet::Fleet;
use crate::gate::{Gate, Purpose};
use crate::id::{GroupId, SiteId};
use crate::order;
use crate::state::State;

type Told = (&'static str, String, Option<String>);

/// Confirm mode has everything ready.
pub(crate) fn confirmation(fleet: &Fleet, state: &State, id: GroupId, to: SiteId) -> Stop {
    let (group, site) = (fleet.group(id), &fleet.site(to).name);
    let ready = format!("everything is ready to move to `{site}`; mode is confirm, so a person has to agree");
    let text =
        if group.is_stateless() { ready } else { format!("{ready}; first {}", unfenced(fleet, state, id)) };
    let next = command(fleet, state, id, "confirm", to);
    Stop { label: "confirmation".into(), text, next: Some(next), left_ms: None }
}

/// The group would move, and will be frozen instead.
pub(crate) fn freezing(fleet: &Fleet, state: &State, id: GroupId, cause: FreezeCause, to: SiteId) -> Stop {
    let site = &fleet.site(to).name;
    let why = match cause {
        FreezeCause::NoFence => unfenced(fleet, state, id),
        FreezeCause::TooManySwitches => "it has moved by itself as often as `switches_max` allows".into(),
        FreezeCause::Operator => "an operator froze it".into(),
    };
    Stop {
        label: cause.label().into(),
        text: format!("`{site}` is ready, but the group may not move by itself and is being frozen: {why}"),
        next: Some(command(fleet, state, id, "switch", to)),
        left_ms: None,
    }
}

pub(crate) fn stop(fleet: &Fleet, state: &State, id: GroupId, bar: &Bar) -> Stop {
    let site_name = |site: &SiteId| &fleet.site(*site).name;
    let home = |site: &SiteId| way_home(fleet, state, id, *site);
    let (label, text, next): Told = match bar {
        Bar::Undecided => (
            "undecided",
            "nobody has said where the group lives, and the configuration lets only a person say so".into(),
            Some(anywhere(fleet, state, id)),
        ),
        Bar::FirstRound => (
            "first-round",
            "the first complete round of probes is not in, and nothing is decided on a guess".into(),
            Some("wait for the round; `tidegate status` shows the origins still unknown".into()),
        ),
        Bar::FailoverAfter { left } => (
            "failover-after",
            format!("the active site has to stay unfit for another {} (failover_after)", text(*left)),
            Some(format!("wait, or {}", anywhere(fleet, state, id))),
        ),
        Bar::LossUnconfirmed { to } => (
            "loss-unconfirmed",
            format!(
                "`{}` could take over, but the active site may be coming back: it has to fail once more",
                site_name(to)
            ),
            Some("wait for its next probe".into()),
        ),
        Bar::Frozen(freeze) => frozen(fleet, state, id, freeze),
        Bar::NotLeading => (
            "not-leading",
            "this edge does not lead its cluster, so another one decides".into(),
            Some("ask the edge that leads; if none does, look at the cluster".into()),
        ),
        Bar::Isolated => (
            "isolated",
            "the witnesses say that this edge is cut off, so what it sees of the sites proves nothing".into(),
            Some("look at this machine's network".into()),
        ),
        Bar::IsolationUnknown => (
            "isolation-unknown",
            "too few witnesses answer to tell whether this edge is cut off".into(),
            Some("look at the witnesses and at this machine's network".into()),
        ),
        Bar::Store(detail) => (
            "store",
            format!("the decision could not be made durable, so it was not made: {detail}"),
            Some("free or repair the disk that holds state_dir; it is tried again every second".into()),
        ),
        Bar::ChangePending => (
            "pending",
            "a change of this group is being written to state_dir".into(),
            Some("wait; if it lasts, look at the disk that holds state_dir".into()),
        ),
        Bar::NoOtherSite => (
            "no-other-site",
            "the group has no other site".into(),
            Some("repair the active site; give the group a second site in the configuration".into()),
        ),
        Bar::Candidate { site, hindrance } => candidate(fleet, state, id, *site, hindrance),
        Bar::FailbackManual { site } => (
            "failback-manual",
            format!("preferred site `{}` is fit, and the way home is a person's decision", site_name(site)),
            Some(home(site)),
        ),
        Bar::MovedOnPurpose { site } => (
            "moved-on-purpose",
            format!(
                "preferred site `{}` is fit, but a person moved the group here on purpose",
                site_name(site)
            ),
            Some(home(site)),
        ),
        Bar::FailbackAfter { site, left } => (
            "failback-after",
            format!("preferred site `{}` has to stay fit for another {}", site_name(site), text(*left)),
            Some(format!("wait, or {}", home(site))),
        ),
        Bar::Held(by) => (
            "sites-fit",
            format!("safety rule `{}` holds planned moves back: {}", by.rule, by.why),
            Some(format!("repair the other sites, or {}", anywhere(fleet, state, id))),
        ),
        Bar::MinimumStay { left } => (
            "minimum-stay",
            format!("the group stays here for at least another {} (minimum stay)", text(*left)),
            Some(format!("wait, or {}", anywhere(fleet, state, id))),
        ),
    };
    Stop { label: label.into(), text, next, left_ms: left(bar) }
}

fn frozen(fleet: &Fleet, state: &State, id: GroupId, freeze: &Freeze) -> Told {
    let name = &fleet.group(id).name;
    let switch = anywhere(fleet, state, id);
    let next = match freeze.cause {
        // Lifting the freeze alone would freeze it again at once.
        FreezeCause::NoFence => {
            format!(
                "{}, then {switch}; afterwards tidegate unfreeze {name} --reason WHY",
                unfenced(fleet, state, id)
            )
        }
        FreezeCause::TooManySwitches => {
            format!(
                "find out why it went back and forth, then tidegate unfreeze {name} --reason WHY, or move it by hand: {switch}"
            )
        }
        FreezeCause::Operator => {
            format!("tidegate unfreeze {name} --reason WHY, or move it by hand: {switch}")
        }
    };
    let text = format!("frozen ({}) by {}: {}", freeze.cause.label(), freeze.actor, freeze.reason);
    ("frozen", text, Some(next))
}

fn candidate(fleet: &Fleet, state: &State, id: GroupId, to: SiteId, hindrance: &Hindrance) -> Told {
    let (group, site) = (&fleet.group(id).name, &fleet.site(to).name);
    let switch = command(fleet, state, id, "switch", to);
    match hindrance {
        Hindrance::Obstacle(obstacle) => {
            let text = format!("`{site}` cannot take over: {obstacle}");
            let resynced = resynced_by(fleet, id, to);
            (obstacle.label(), text, Some(remedy(site, &switch, obstacle, &resynced)))
        }
        Hindrance::Latched => (
            "latched",
            format!("`{site}` cannot take over: it was active since the last acknowledgement (return latch)"),
            Some(format!("tidegate ack {group} --reason WHY, or {switch}")),
        ),
        Hindrance::NotProven => (
            "not-proven",
            format!(
                "`{site}` is not proven yet: it needs a complete round of probes that began after the loss"
            ),
            Some("wait for its probes".into()),
        ),
    }
}

/// `resynced` are the gates that would clear a diverged mark.
fn remedy(site: &str, switch: &str, obstacle: &Obstacle, resynced: &[&str]) -> String {
    match obstacle {
        Obstacle::OriginsDown { of: 0, service, .. } => {
            format!("give service `{service}` origins at `{site}` in the configuration")
        }
        Obstacle::OriginsDown { out: 1.., .. } => {
            format!(
                "`tidegate status` says who drained what at `{site}` and why: undrain it, or wait for them"
            )
        }
        Obstacle::OriginsDown { .. } => {
            format!("repair `{site}`; `tidegate status` says why its origins fail")
        }
        Obstacle::OriginsUnknown { .. } => "wait for its probes; `tidegate status` shows them".into(),
        Obstacle::NamesUnresolved { .. } => {
            format!(
                "`tidegate status` says why names of `{site}` are not resolved: repair that, or give addresses"
            )
        }
        Obstacle::CapabilityMissing(name) => {
            format!(
                "if `{site}` does provide `{name}`, say so in the configuration; to go without it: {switch}"
            )
        }
        Obstacle::GateFailed { gate, .. } | Obstacle::GateUnknown { gate, .. } => {
            format!("see what gate `{gate}` says at `{site}`; to go without it: {switch}")
        }
        Obstacle::FrontDoorLost => {
            format!("repair the published address of `{site}`: its origins are no use behind it")
        }
        Obstacle::FrontDoorUnknown => {
            format!("wait for the checks of its published address; to go there without them: {switch}")
        }
        Obstacle::Forbidden(by) => {
            format!("see why rule `{}` is there; to go to `{site}` all the same: {switch}", by.rule)
        }
        Obstacle::Diverged => match resynced {
            [] => format!("resync `{site}` from the active site, then {switch}"),
            gates => format!(
                "resync `{site}` from the active site: the mark goes when gate `{}` passes there; or, to declare its \
                 data the truth: {switch}",
                gates.join("`, `")
            ),
        },
    }
}

/// The gates that clear a site's diverged mark.
pub(crate) fn resynced_by(fleet: &Fleet, id: GroupId, site: SiteId) -> Vec<&str> {
    let clears = |gate: &&Gate| gate.purpose == Purpose::Resynced && gate.sites.contains(&site);
    fleet.group(id).gates.iter().filter(clears).map(|gate| &*gate.name).collect()
}

/// The command that moves the group to a site, with every rule that stands against it now.
pub(super) fn command(fleet: &Fleet, state: &State, id: GroupId, verb: &str, to: SiteId) -> String {
    let rules = order::rules_against(fleet, state, id, to).into_iter().map(|(rule, _)| rule).collect();
    let site = if verb == "switch" { format!(" {}", fleet.site(to).name) } else { String::new() };
    format!("tidegate {verb} {}{site}{} --reason WHY", fleet.group(id).name, order::flags(&rules))
}

/// `failback` means the most preferred site; any other way home is a switch.
fn way_home(fleet: &Fleet, state: &State, id: GroupId, site: SiteId) -> String {
    let verb = if fleet.group(id).sites[0] == site { "failback" } else { "switch" };
    command(fleet, state, id, verb, site)
}

/// The command that moves the group to the best other site; without one the reader has to choose.
fn anywhere(fleet: &Fleet, state: &State, id: GroupId) -> String {
    let (group, own) = (fleet.group(id), state.group(id));
    let fit = |site: &&SiteId| own.active != Some(**site) && own.fitness_at(group, **site).is_fit();
    match group.sites.iter().find(fit) {
        Some(site) => command(fleet, state, id, "switch", *site),
        None => format!("tidegate switch {} SITE --reason WHY", group.name),
    }
}

fn unfenced(fleet: &Fleet, state: &State, id: GroupId) -> String {
    match state.group(id).active {
        Some(active) => {
            format!("make sure that nothing at `{}` writes data any more", fleet.site(active).name)
        }
        None => "make sure that no other site writes data".into(),
    }
}
