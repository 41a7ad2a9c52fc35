//! Each thing that can stop a move: what it is, in a sentence, and the next command or wait that removes it.
//!
//! Whoever reads this was woken by it. So a next step is never a command that will be refused: where a rule has to
//! be overridden, the command names it.

use crate::decide::{Bar, Hindrance};
use crate::durable::{Freeze, FreezeCause};
use crate::explain::{Stop, text};
use crate::fit::Obstacle;
use crate::fleet::Fleet;
use crate::id::{GroupId, SiteId};
use crate::state::State;

type Told = (&'static str, String, Option<String>);

/// Confirm mode has everything ready.
pub(crate) fn confirmation(fleet: &Fleet, state: &State, id: GroupId, to: SiteId) -> Stop {
    let (group, site) = (fleet.group(id), &fleet.site(to).name);
    let ready = format!("everything is ready to move to `{site}`; mode is confirm, so a person has to agree");
    let (text, rule) = if group.is_stateless() {
        (ready, "")
    } else {
        (format!("{ready}; {}", unfenced(fleet, state, id)), " --override no-fence")
    };
    let next = format!("tidegate confirm {}{rule} --reason WHY", group.name);
    Stop { label: "confirmation".into(), text, next: Some(next) }
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
        next: Some(switch_command(fleet, id, site)),
    }
}

pub(crate) fn stop(fleet: &Fleet, state: &State, id: GroupId, bar: &Bar) -> Stop {
    let name = &fleet.group(id).name;
    let site_name = |site: &SiteId| &fleet.site(*site).name;
    let home = |site: &SiteId| way_home(fleet, id, *site);
    let (label, text, next): Told = match bar {
        Bar::Undecided => (
            "undecided",
            "nobody has said where the group lives, and the configuration lets only a person say so".into(),
            Some(format!("tidegate switch {name} SITE --reason WHY")),
        ),
        Bar::FirstRound => (
            "first-round",
            "the first complete round of probes is not in, and nothing is decided on a guess".into(),
            Some("wait for the round; `tidegate status` shows the origins still unknown".into()),
        ),
        Bar::FailoverAfter { left } => (
            "failover-after",
            format!("the active site has to stay unfit for another {} (failover_after)", text(*left)),
            Some(format!("wait, or {}", switch_command(fleet, id, "SITE"))),
        ),
        Bar::LossUnconfirmed { to } => (
            "loss-unconfirmed",
            format!(
                "`{}` became fit only now; the active site may be coming back, too, and has to fail once more",
                site_name(to)
            ),
            Some("wait for its next probe".into()),
        ),
        Bar::Frozen(freeze) => frozen(fleet, state, id, freeze),
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
        Bar::Candidate { site, hindrance } => candidate(fleet, id, site_name(site), hindrance),
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
        Bar::MinimumStay { left } => (
            "minimum-stay",
            format!("the group stays here for at least another {} (minimum stay)", text(*left)),
            Some(format!("wait, or {}", switch_command(fleet, id, "SITE"))),
        ),
    };
    Stop { label: label.into(), text, next }
}

fn frozen(fleet: &Fleet, state: &State, id: GroupId, freeze: &Freeze) -> Told {
    let name = &fleet.group(id).name;
    let switch = switch_command(fleet, id, "SITE");
    let next = match freeze.cause {
        // Lifting the freeze alone would freeze it again at once.
        FreezeCause::NoFence => {
            format!(
                "{}, then {switch}; afterwards tidegate unfreeze {name} --reason WHY",
                unfenced(fleet, state, id)
            )
        }
        FreezeCause::Operator | FreezeCause::TooManySwitches => {
            format!("tidegate unfreeze {name} --reason WHY, or move it by hand: {switch}")
        }
    };
    let text = format!("frozen ({}) by {}: {}", freeze.cause.label(), freeze.actor, freeze.reason);
    ("frozen", text, Some(next))
}

fn candidate(fleet: &Fleet, id: GroupId, site: &str, hindrance: &Hindrance) -> Told {
    let group = &fleet.group(id).name;
    match hindrance {
        Hindrance::Obstacle(obstacle) => {
            let (label, text) = (obstacle.label(), format!("`{site}` cannot take over: {obstacle}"));
            (label, text, Some(remedy(group, site, obstacle)))
        }
        Hindrance::Latched => (
            "latched",
            format!("`{site}` cannot take over: it was active since the last acknowledgement (return latch)"),
            Some(format!("tidegate ack {group} --reason WHY, or {}", switch_command(fleet, id, site))),
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

fn remedy(group: &str, site: &str, obstacle: &Obstacle) -> String {
    let all_the_same = |rule: &str| format!("tidegate switch {group} {site} --override {rule} --reason WHY");
    match obstacle {
        Obstacle::OriginsDown { of: 0, service, .. } => {
            format!("give service `{service}` origins at `{site}` in the configuration")
        }
        Obstacle::OriginsDown { .. } => {
            format!("repair `{site}`; `tidegate status` says why its origins fail")
        }
        Obstacle::OriginsUnknown { .. } => "wait for its probes; `tidegate status` shows them".into(),
        Obstacle::CapabilityMissing(name) => {
            format!(
                "if `{site}` does provide `{name}`, say so in the configuration; else {}",
                all_the_same("unfit")
            )
        }
        Obstacle::GateFailed(gate) | Obstacle::GateUnknown(gate) => {
            format!("see what gate `{gate}` says at `{site}`; to go without it: {}", all_the_same("gate"))
        }
        Obstacle::FrontDoorLost => {
            format!("repair the published address of `{site}`: its origins are no use behind it")
        }
        Obstacle::Forbidden(rule) => {
            format!(
                "see why `{rule}` forbids `{site}`; to go there all the same: {}",
                all_the_same("forbidden")
            )
        }
        Obstacle::Diverged => {
            format!("resync `{site}` from the active site, then {}", all_the_same("diverged"))
        }
    }
}

/// The command that moves the group, with the rule that always stands against it.
fn switch_command(fleet: &Fleet, id: GroupId, site: &str) -> String {
    let group = fleet.group(id);
    let rule = if group.is_stateless() { "" } else { " --override no-fence" };
    format!("tidegate switch {} {site}{rule} --reason WHY", group.name)
}

/// `failback` means the most preferred site; any other way home is a switch.
fn way_home(fleet: &Fleet, id: GroupId, site: SiteId) -> String {
    let group = fleet.group(id);
    if group.sites[0] != site {
        return switch_command(fleet, id, &fleet.site(site).name);
    }
    let rule = if group.is_stateless() { "" } else { " --override no-fence" };
    format!("tidegate failback {}{rule} --reason WHY", group.name)
}

fn unfenced(fleet: &Fleet, state: &State, id: GroupId) -> String {
    match state.group(id).active {
        Some(active) => {
            format!("make sure that nothing at `{}` writes data any more", fleet.site(active).name)
        }
        None => "make sure that no other site writes data".into(),
    }
}
