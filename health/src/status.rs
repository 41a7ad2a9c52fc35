//! What is known, in names, for people and machines: the shape behind `status` and the status API.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::durable::{Durable, SwitchKind};
use crate::fit::{self, Obstacle};
use crate::fleet::Fleet;
use crate::force::{self, ForceKind, ForceStatus};
use crate::gate::{Purpose, Verdict};
use crate::id::{GroupId, Name, OriginId, SiteId};
use crate::phase::Phase;
use crate::safety;
use crate::state::State;
use crate::time::Wall;

/// Everything, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the first complete round of probes is in.
    pub round_complete: bool,
    pub groups: Vec<GroupStatus>,
    /// What people say of origins, whatever the checks see.
    #[serde(default)]
    pub forces: Vec<ForceStatus>,
    /// `connected`, `isolated` or `unknown`; absent where no witnesses are configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessStatus>,
    /// Sites whose published addresses are checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub front_doors: Vec<FrontDoorStatus>,
}

/// One witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessStatus {
    pub address: Name,
    /// Absent: not known.
    pub reachable: Option<bool>,
}

/// The published addresses of one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontDoorStatus {
    pub site: Name,
    /// `reachable` if one of the addresses is, `lost` or `unknown`.
    pub state: Name,
    pub addresses: Vec<DoorStatus>,
}

/// One published address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorStatus {
    pub address: IpAddr,
    /// `up`, `down` or `unknown`.
    pub health: Name,
    pub failure: Option<Name>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub name: Name,
    pub condition: Condition,
    /// Where it is between one decision and the next.
    #[serde(default)]
    pub phase: Phase,
    pub active: Option<Name>,
    pub epoch: u64,
    pub since: Option<Wall>,
    pub kind: Option<SwitchKind>,
    pub actor: Option<Name>,
    pub reason: Option<Name>,
    /// Capabilities that are wanted and not there.
    pub degraded: Vec<Name>,
    /// The move a person is asked to confirm.
    pub proposal: Option<Name>,
    pub stateless: bool,
    /// Freeze, return latch, diverged marks.
    pub durable: Durable,
    /// Safety rules that would not let it go where it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules_broken: Vec<Name>,
    pub sites: Vec<SiteStatus>,
}

/// The state of a group in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    Ok,
    /// It serves, and something about it needs a person's attention.
    Degraded,
    /// Nothing is known of the active site yet.
    Unknown,
    /// The active site is unfit.
    Unfit,
    /// The active site is unfit, and there is none to go to.
    FailStatic,
    /// Nobody has decided where it lives.
    Undecided,
}

impl Condition {
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Degraded, Self::Unknown, Self::Unfit, Self::FailStatic, Self::Undecided];

    /// The word of the API and of metrics.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unfit => "unfit",
            Self::FailStatic => "fail-static",
            Self::Undecided => "undecided",
        }
    }

    /// The word for people: what needs them stands out.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unfit => "UNFIT",
            Self::FailStatic => "FAIL STATIC",
            Self::Undecided => "UNDECIDED",
        }
    }
}

/// One site of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    pub name: Name,
    pub label: Name,
    pub active: bool,
    /// `fit`, `unfit` or `unknown`.
    pub fitness: Name,
    pub why: Vec<String>,
    pub origins: Vec<OriginStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateStatus>,
    /// Safety rules that forbid the site to the group now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<Name>,
}

/// One gate at one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateStatus {
    pub name: Name,
    pub purpose: Purpose,
    pub verdict: Verdict,
    /// What was read, or why nothing is known; may be empty.
    pub why: Name,
    /// Since the latest measurement began.
    pub age_ms: Option<u64>,
}

/// One origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginStatus {
    pub name: Name,
    pub service: Name,
    pub host: Option<Name>,
    /// The name that the configuration gives, where the address was resolved from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_from: Option<Name>,
    /// `up`, `down` or `unknown`: what the probes say.
    pub real: Name,
    /// What traffic follows.
    pub effective: Name,
    /// What a person says of it, if anybody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<ForceKind>,
    /// Requests and tunnels that it is working on.
    #[serde(default)]
    pub in_flight: u32,
    pub since: Wall,
    pub failure: Option<Name>,
}

/// What is under way at an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Requests and tunnels.
    pub in_flight: u32,
    /// Whether nothing at all is open to it, not even an idle connection, and nothing will be while it is out.
    pub quiet: bool,
    /// Whether its traffic passes here, so that the others mean something.
    pub proxied: bool,
}

impl Status {
    /// Leaves out who did what, and why they said they did.
    pub fn forget_people(&mut self) {
        let nobody = Name::from("");
        for group in &mut self.groups {
            (group.actor, group.reason) = (None, None);
            if let Some(decision) = &mut group.durable.decision {
                (decision.actor, decision.reason) = (nobody.clone(), nobody.clone());
            }
            if let Some(freeze) = &mut group.durable.freeze {
                (freeze.actor, freeze.reason) = (nobody.clone(), nobody.clone());
            }
        }
        for ForceStatus { force, .. } in &mut self.forces {
            (force.actor, force.reason) = (nobody.clone(), nobody.clone());
        }
    }
}

/// Writes down what is known; `work` is asked for what only traffic knows.
#[must_use]
pub fn status(fleet: &Fleet, state: &State, work: impl Fn(OriginId) -> Work) -> Status {
    Status {
        round_complete: state.round_complete,
        groups: fleet.group_ids().map(|id| group_status(fleet, state, id, &work)).collect(),
        forces: force::forces(fleet, state, &work),
        isolation: state.facts.isolation.map(|isolation| isolation.label().into()),
        witnesses: witnesses(fleet, state),
        front_doors: front_doors(fleet, state),
    }
}

fn witnesses(fleet: &Fleet, state: &State) -> Vec<WitnessStatus> {
    let known = fleet.witnesses.addresses.iter().zip(state.facts.witnesses());
    known.map(|(address, it)| WitnessStatus { address: address.clone(), reachable: it.reachable }).collect()
}

fn front_doors(fleet: &Fleet, state: &State) -> Vec<FrontDoorStatus> {
    let sites = fleet.sites.iter().enumerate().filter_map(|(position, site)| {
        let id = SiteId(position as u16);
        let addresses = state.facts.doors(id).iter().map(|door| DoorStatus {
            address: door.address,
            health: door.health().label().into(),
            failure: door.failure.clone(),
        });
        let front_door = state.facts.front_door(id)?;
        Some(FrontDoorStatus {
            site: site.name.clone(),
            state: front_door.label().into(),
            addresses: addresses.collect(),
        })
    });
    sites.collect()
}

fn gates(fleet: &Fleet, state: &State, id: GroupId, site: SiteId) -> Vec<GateStatus> {
    let gates = fleet.group(id).gates.iter().filter_map(|gate| {
        let known = state.facts.gate(id, site, &gate.name)?;
        let age = known.latest().map(|sample| state.last.mono.since(sample.measured));
        Some(GateStatus {
            name: gate.name.clone(),
            purpose: gate.purpose,
            verdict: known.verdict,
            why: known.why(gate),
            age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        })
    });
    gates.collect()
}

fn group_status(fleet: &Fleet, state: &State, id: GroupId, work: &impl Fn(OriginId) -> Work) -> GroupStatus {
    let (group, own) = (fleet.group(id), state.group(id));
    let mut durable = own.durable.clone();
    // It is long, and in words of people; `explain` tells it.
    if let Some(decision) = &mut durable.decision {
        decision.chain.clear();
    }
    let decision = durable.decision.clone();
    let site_name = |site: SiteId| fleet.site(site).name.clone();
    let degraded: Vec<_> =
        own.active.map(|site| fit::degraded(fleet, id, site).cloned().collect()).unwrap_or_default();
    GroupStatus {
        name: group.name.clone(),
        condition: condition(fleet, state, id),
        phase: Phase::of(own),
        active: own.active.map(site_name),
        epoch: own.durable.epoch(),
        since: decision.as_ref().map(|decision| decision.since),
        kind: decision.as_ref().map(|decision| decision.kind),
        actor: decision.as_ref().map(|decision| decision.actor.clone()),
        reason: decision.map(|decision| decision.reason),
        degraded,
        proposal: own.proposal.map(site_name),
        stateless: group.is_stateless(),
        durable,
        rules_broken: safety::broken(fleet, state, id).into_iter().map(|by| by.rule).collect(),
        sites: group.sites.iter().map(|site| site_status(fleet, state, id, *site, work)).collect(),
    }
}

/// The condition of a group.
#[must_use]
pub fn condition(fleet: &Fleet, state: &State, id: GroupId) -> Condition {
    let own = state.group(id);
    let Some(active) = own.active else { return Condition::Undecided };
    let degraded = fit::degraded(fleet, id, active).next().is_some();
    match own.fitness_at(fleet.group(id), active) {
        fit::Fitness::Unfit(_) if own.is_fail_static() => Condition::FailStatic,
        fit::Fitness::Unfit(_) => Condition::Unfit,
        fit::Fitness::Unknown(_) => Condition::Unknown,
        fit::Fitness::Fit if degraded || own.durable.freeze.is_some() => Condition::Degraded,
        fit::Fitness::Fit => Condition::Ok,
    }
}

fn site_status(
    fleet: &Fleet,
    state: &State,
    id: GroupId,
    site: SiteId,
    work: &impl Fn(OriginId) -> Work,
) -> SiteStatus {
    let (group, own) = (fleet.group(id), state.group(id));
    let fitness = own.fitness_at(group, site);
    let origins = group.services.iter().flat_map(|service| {
        let service = fleet.service(*service);
        service.origins_at(site).iter().map(|id| {
            let (origin, known) = (fleet.origin(*id), state.origin(*id));
            OriginStatus {
                name: origin.name.clone(),
                service: service.name.clone(),
                host: origin.host.clone(),
                resolved_from: origin.resolved_from.clone(),
                real: known.real().label().into(),
                effective: known.effective().label().into(),
                force: known.force,
                in_flight: work(*id).in_flight,
                since: known.since,
                failure: known.failure.clone(),
            }
        })
    });
    let forbidden = fitness.obstacles().iter().filter_map(|obstacle| match obstacle {
        Obstacle::Forbidden(by) => Some(by.rule.clone()),
        _ => None,
    });
    SiteStatus {
        name: fleet.site(site).name.clone(),
        label: fleet.site(site).label.clone(),
        active: own.active == Some(site),
        fitness: fitness.label().into(),
        why: fitness.obstacles().iter().map(ToString::to_string).collect(),
        origins: origins.collect(),
        gates: gates(fleet, state, id, site),
        forbidden: forbidden.collect(),
    }
}
