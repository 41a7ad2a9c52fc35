//! What is known of the world beside the origins: gates, published addresses, witnesses, and what time it is.
//!
//! Every fact carries when its measurement began, and is as old as that. A fact that was never told, or that is too old, is
//! unknown, and unknown is never good news: a gate that is unknown does not pass, an address that is unknown lets no site
//! become active, and an edge that its witnesses cannot place moves nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::fleet::{Fleet, FrontDoorCheck};
use crate::gate::{Gate, GateState};
use crate::hysteresis::{Health, Hysteresis};
use crate::id::{GroupId, Name, SiteId};
use crate::time::{Mono, Now, Wall};

/// Made for one fleet, as the state is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether this edge is cut off, where witnesses are configured.
    pub isolation: Option<Isolation>,
    /// Parallel to the fleet's witnesses.
    pub(crate) witnesses: Vec<WitnessState>,
    /// By the group's gate: only those that are configured, at the sites where they count.
    pub(crate) gates: BTreeMap<(GroupId, SiteId), BTreeMap<Name, GateState>>,
    /// Parallel to the fleet's sites, and to the addresses of each; empty where they are not checked.
    pub(crate) doors: Vec<Vec<Door>>,
    /// After this moment something may have become too old.
    pub(crate) due: Option<Mono>,
    /// What time safety rules go by.
    pub(crate) wall: Wall,
}

/// What the witnesses say of this edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Connected,
    Isolated,
    /// Too few witnesses are known to tell.
    Unknown,
}

/// What is known of one witness.
#[derive(Clone, Debug, Default)]
pub struct WitnessState {
    /// When the latest attempt to reach it began, and whether it was reached.
    pub(crate) latest: Option<(Mono, bool)>,
    /// As far as it is not too old.
    pub reachable: Option<bool>,
}

/// What is known of one published address of a site.
#[derive(Clone, Debug)]
pub struct Door {
    pub address: IpAddr,
    pub(crate) hysteresis: Hysteresis,
    /// When the latest check began, and the latest one that failed.
    pub(crate) seen: Option<Mono>,
    pub(crate) failed: Option<Mono>,
    /// Why the latest failing check failed; kept until it passes.
    pub failure: Option<Name>,
}

/// Whether a site's published addresses work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontDoor {
    /// At least one of them does.
    Reachable,
    /// None does.
    Lost,
    Unknown,
}

impl Isolation {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Isolated => "isolated",
            Self::Unknown => "unknown",
        }
    }
}

impl FrontDoor {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }
}

impl Facts {
    /// Nothing is known yet.
    pub(crate) fn new(fleet: &Fleet, now: Now) -> Self {
        let mut facts = Self { wall: now.wall, ..Self::default() };
        facts.witnesses = vec![WitnessState::default(); fleet.witnesses.addresses.len()];
        facts.doors = fleet.sites.iter().map(|site| site.doors().map(Door::new).collect()).collect();
        for id in fleet.group_ids() {
            for gate in &fleet.group(id).gates {
                for site in &gate.sites {
                    facts
                        .gates
                        .entry((id, *site))
                        .or_default()
                        .insert(gate.name.clone(), GateState::default());
                }
            }
        }
        facts.isolation = facts.isolation(fleet);
        facts
    }

    /// The same facts, as far as `new` has what they are about, and measures it the same.
    pub(crate) fn refit(&self, old: &Fleet, new: &Fleet, now: Now) -> Self {
        let mut facts = Self::new(new, now);
        (facts.wall, facts.due) = (self.wall, self.due);
        for ((group, site), gates) in &mut facts.gates {
            let was = old.group_named(&new.group(*group).name).zip(old.site_named(&new.site(*site).name));
            let Some((old_group, old_site)) = was else { continue };
            for (name, state) in gates {
                let same = old.group(old_group).gate(name).zip(new.group(*group).gate(name));
                let known = self.gate(old_group, old_site, name);
                if let (Some((was, is)), Some(known)) = (same, known)
                    && was.is_measured_like(is)
                {
                    *state = known.clone();
                }
            }
        }
        for (site, doors) in new.sites.iter().zip(&mut facts.doors) {
            let Some(was) = old.site_named(&site.name) else { continue };
            if old.site(was).front_door_check != site.front_door_check {
                continue;
            }
            for door in doors {
                let known = self.doors[was.index()].iter().find(|known| known.address == door.address);
                *door = known.unwrap_or(door).clone();
            }
        }
        for (address, state) in new.witnesses.addresses.iter().zip(&mut facts.witnesses) {
            let known = old.witnesses.addresses.iter().position(|known| known == address);
            *state = known.map(|position| self.witnesses[position].clone()).unwrap_or_default();
        }
        facts.isolation = facts.isolation(new);
        facts
    }

    /// What is known of a gate at a site, if it counts there.
    #[must_use]
    pub fn gate(&self, group: GroupId, site: SiteId, name: &str) -> Option<&GateState> {
        self.gates.get(&(group, site))?.get(name)
    }

    /// Whether the published addresses of a site work; none where they are not checked.
    #[must_use]
    pub fn front_door(&self, site: SiteId) -> Option<FrontDoor> {
        let doors = &self.doors[site.index()];
        let is = |wanted| doors.iter().any(|door| door.hysteresis.evidence() == wanted);
        let known = || {
            if is(Health::Up) {
                FrontDoor::Reachable
            } else if is(Health::Unknown) {
                FrontDoor::Unknown
            } else {
                FrontDoor::Lost
            }
        };
        (!doors.is_empty()).then(known)
    }

    /// The published addresses of a site that are checked.
    #[must_use]
    pub fn doors(&self, site: SiteId) -> &[Door] {
        &self.doors[site.index()]
    }

    /// What is known of the witnesses, in the fleet's order.
    #[must_use]
    pub fn witnesses(&self) -> &[WitnessState] {
        &self.witnesses
    }

    /// Whether every published address of a site has been seen to fail since `after`.
    pub(crate) fn door_failed_since(&self, site: SiteId, after: Option<Mono>) -> bool {
        self.doors[site.index()].iter().all(|door| door.failed >= after)
    }

    /// What the witnesses come to: a majority decides, and one that is not known belongs to none.
    pub(crate) fn isolation(&self, fleet: &Fleet) -> Option<Isolation> {
        let (all, majority) = (self.witnesses.len(), fleet.witnesses.majority());
        let count = |wanted| self.witnesses.iter().filter(|it| it.reachable == wanted).count();
        let (reached, unknown) = (count(Some(true)), count(None));
        match all {
            0 => None,
            _ if reached >= majority => Some(Isolation::Connected),
            _ if reached + unknown < majority => Some(Isolation::Isolated),
            _ => Some(Isolation::Unknown),
        }
    }

    /// Nothing that was measured so far counts any more.
    pub(crate) fn forget(&mut self) {
        self.gates.values_mut().flat_map(BTreeMap::values_mut).for_each(GateState::forget);
        self.witnesses.iter_mut().for_each(|witness| witness.latest = None);
    }

    /// Remembers when the next fact becomes too old.
    pub(crate) fn expect(&mut self, due: Option<Mono>) {
        self.due = self.due.into_iter().chain(due).min();
    }
}

impl WitnessState {
    pub(crate) fn due(&self, fleet: &Fleet) -> Option<Mono> {
        self.latest.map(|(measured, _)| measured.plus(fleet.witnesses.max_age))
    }

    /// What counts at `now`.
    pub(crate) fn settle(&mut self, fleet: &Fleet, now: Mono) {
        let is_fresh = |measured: Mono| now.since(measured) <= fleet.witnesses.max_age;
        self.reachable = self.latest.filter(|(measured, _)| is_fresh(*measured)).map(|(_, reached)| reached);
    }
}

impl Door {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self { address, hysteresis: Hysteresis::default(), seen: None, failed: None, failure: None }
    }

    /// What is believed of it.
    #[must_use]
    pub fn health(&self) -> Health {
        self.hysteresis.evidence()
    }

    pub(crate) fn due(&self, check: &FrontDoorCheck) -> Option<Mono> {
        self.seen.map(|seen| seen.plus(check.max_age))
    }

    pub(crate) fn take(&mut self, check: &FrontDoorCheck, measured: Mono, failure: Option<Name>) {
        if self.seen.is_some_and(|seen| measured < seen) {
            return;
        }
        self.seen = Some(measured);
        self.hysteresis.observe(failure.is_none(), &check.thresholds);
        if failure.is_some() {
            self.failed = Some(measured);
            self.failure = failure;
        } else if self.hysteresis.health() == Health::Up {
            self.failure = None;
        }
    }

    /// Forgets what is too old.
    pub(crate) fn settle(&mut self, check: &FrontDoorCheck, now: Mono) {
        if self.seen.is_some_and(|seen| now.since(seen) > check.max_age) {
            *self = Self::new(self.address);
        }
    }
}

impl Gate {
    /// Whether samples of one are samples of the other.
    fn is_measured_like(&self, other: &Self) -> bool {
        self.check == other.check && self.limit == other.limit && self.purpose == other.purpose
    }
}
