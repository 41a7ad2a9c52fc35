//! What is configured, as the core sees it: sites, groups, services, origins.
//!
//! A fleet is immutable. It is made by the configuration's lowering, which guarantees what the types cannot say:
//! indices are in range, every group names at least one site, every origin's site is one of its group's sites, and
//! `fall`, `rise` and `min_up` are at least one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::gate::Gate;
use crate::id::{GroupId, Name, OriginId, ServiceId, SiteId};
use crate::safety::SafetyRule;

/// Everything that is checked and decided about.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub sites: Vec<Site>,
    pub groups: Vec<Group>,
    pub services: Vec<Service>,
    pub origins: Vec<Origin>,
    /// Names that stand for origins and have never been resolved: what is there is not known. Never an empty list.
    pub unresolved: BTreeMap<(ServiceId, SiteId), Vec<Name>>,
    /// What an empty store means.
    pub first_start: FirstStart,
    /// Addresses outside all sites that tell whether this edge is cut off; none: nobody is asked.
    pub witnesses: Witnesses,
    /// What must never happen, whatever the checks say; names are unique.
    pub rules: Vec<SafetyRule>,
}

/// Who tells whether this edge is cut off: a majority of them.
#[derive(Clone, Debug, Default)]
pub struct Witnesses {
    pub addresses: Vec<Name>,
    /// What an attempt says when it began longer ago is not known.
    pub max_age: Duration,
}

/// A place that can serve.
#[derive(Clone, Debug)]
pub struct Site {
    pub name: Name,
    /// For people; the name where none was given.
    pub label: Name,
    /// Capabilities, each one declared.
    pub provides: BTreeSet<Name>,
    /// The published addresses: what steered names answer with.
    pub front_door: Vec<IpAddr>,
    /// How it is known that they work; none: they are not checked.
    pub front_door_check: Option<FrontDoorCheck>,
}

/// When results change what is believed of a published address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontDoorCheck {
    pub thresholds: Thresholds,
    /// What was seen when a check began longer ago is not known any more.
    pub max_age: Duration,
    /// Stands for what is asked: over a reload, what is known by another check is not kept.
    pub check: u64,
}

/// Services that move together.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: Name,
    /// In order of preference, never empty, without repeats.
    pub sites: Vec<SiteId>,
    pub services: Vec<ServiceId>,
    pub data: Data,
    pub mode: Mode,
    /// How long the active site must be unfit before a failover.
    pub failover_after: Duration,
    /// No automatic failback earlier than this after a switch.
    pub minimum_stay: Duration,
    /// More automatic switches than this in the window freeze the group.
    pub switch_limit: SwitchLimit,
    /// A site where the group could go and that is not fit for longer than this is told.
    pub standby_unfit_after: Duration,
    /// Capabilities without which a site is unfit.
    pub requires: BTreeSet<Name>,
    /// Capabilities without which the group runs degraded.
    pub wants: BTreeSet<Name>,
    /// Names are unique within the group.
    pub gates: Vec<Gate>,
}

/// Whether the services of a group share data, and what that allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing is shared: the group may move by itself, and even home by itself.
    Stateless { failback: Failback },
    /// Data is shared: without a fence the group never moves by itself, and never home by itself.
    Stateful,
}

/// The way home from a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// A person says when.
    Manual,
    /// Once a preferred site has been fit without a break for this long.
    Automatic { after: Duration },
}

/// Who has the last word on a failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Automatic,
    /// Everything is prepared, then a person confirms.
    Confirm,
}

/// A bound on automatic switches: `count` of them in `window` are allowed, the next one freezes the group instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchLimit {
    pub count: u32,
    pub window: Duration,
}

/// What is served: HTTP hosts, a TCP port, a TLS name.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: Name,
    pub group: GroupId,
    /// Only critical services make a site unfit.
    pub critical: bool,
    /// Origins that must be up at a site for the service to count as served there.
    pub min_up: u32,
    pub origins: BTreeMap<SiteId, Vec<OriginId>>,
}

/// One address at a site that serves one service.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `service/site/address`, unique in the fleet.
    pub name: Name,
    pub service: ServiceId,
    pub site: SiteId,
    pub host: Option<Name>,
    /// The name that the configuration gives, where that and not the address is written there.
    pub resolved_from: Option<Name>,
    pub thresholds: Thresholds,
}

/// When results change an origin's health, and how often it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Consecutive failures from up to down.
    pub fall: u32,
    /// Consecutive passes from down to up.
    pub rise: u32,
    pub interval: Duration,
    /// While in doubt: unknown, or on the way up or down, or when the group is looking for a site.
    pub fast_interval: Duration,
    pub timeout: Duration,
}

/// What to do with a group the store knows nothing of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstStart {
    /// A stateless group starts at the first fit site in order of preference.
    #[default]
    Preferred,
    /// Every group waits for a person.
    Undecided,
}

impl Fleet {
    #[must_use]
    pub fn site(&self, id: SiteId) -> &Site {
        &self.sites[id.index()]
    }

    #[must_use]
    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[id.index()]
    }

    #[must_use]
    pub fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.index()]
    }

    #[must_use]
    pub fn origin(&self, id: OriginId) -> &Origin {
        &self.origins[id.index()]
    }

    /// The group an origin belongs to.
    #[must_use]
    pub fn group_of(&self, origin: OriginId) -> GroupId {
        self.service(self.origin(origin).service).group
    }

    #[must_use]
    pub fn site_named(&self, name: &str) -> Option<SiteId> {
        self.sites.iter().position(|site| &*site.name == name).map(|i| SiteId(i as u16))
    }

    #[must_use]
    pub fn group_named(&self, name: &str) -> Option<GroupId> {
        self.groups.iter().position(|group| &*group.name == name).map(|i| GroupId(i as u16))
    }

    #[must_use]
    pub fn origin_named(&self, name: &str) -> Option<OriginId> {
        self.origins.iter().position(|origin| &*origin.name == name).map(|i| OriginId(i as u32))
    }

    pub fn group_ids(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.groups.len()).map(|i| GroupId(i as u16))
    }

    pub fn origin_ids(&self) -> impl Iterator<Item = OriginId> + use<> {
        (0..self.origins.len()).map(|i| OriginId(i as u32))
    }

    /// The longest silence of the control loop that still counts as running: two of the shortest intervals, at
    /// least half a second. After a longer one every result may be an artefact of our own sleep.
    #[must_use]
    pub fn stall_max(&self) -> Duration {
        let shortest = self.origins.iter().map(|origin| origin.thresholds.interval).min();
        shortest.map_or(Duration::from_secs(2), |interval| (interval * 2).max(Duration::from_millis(500)))
    }
}

impl Site {
    /// The published addresses that are checked.
    pub(crate) fn doors(&self) -> impl Iterator<Item = IpAddr> {
        self.front_door.iter().copied().filter(|_| self.front_door_check.is_some())
    }
}

impl Witnesses {
    /// How many of them decide.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.addresses.len() / 2 + 1
    }
}

impl Service {
    /// The origins of the service at a site, possibly none.
    #[must_use]
    pub fn origins_at(&self, site: SiteId) -> &[OriginId] {
        self.origins.get(&site).map_or(&[], Vec::as_slice)
    }
}

impl Group {
    #[must_use]
    pub fn gate(&self, name: &str) -> Option<&Gate> {
        self.gates.iter().find(|gate| &*gate.name == name)
    }

    #[must_use]
    pub fn is_stateless(&self) -> bool {
        matches!(self.data, Data::Stateless { .. })
    }

    #[must_use]
    pub fn failback(&self) -> Failback {
        match self.data {
            Data::Stateless { failback } => failback,
            Data::Stateful => Failback::Manual,
        }
    }
}
