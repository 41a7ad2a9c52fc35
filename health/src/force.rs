//! What a person says of origins, whatever the checks see.
//!
//! A force is durable, has an author and a reason, and stands beside the real health, which goes on being watched.
//! A *drain* takes origins out on purpose: they get no new work, finish what they have, and do not count for a site. *Down*
//! is the same in words of health, for an origin whose checks lie; *up* makes one count and serve that its checks refuse.
//!
//! ```text
//!                    drain, force down                 undrain, unforce, or its time is over
//!   real health ------------------------> out -------------------------------------------------> down, until
//!        |                                 ^  \  of a drain: overdue, an alarm; it stays out      `rise` checks pass
//!        | force up                        |   `-------------------------------------------.
//!        `--------------> up --------------'                                                |
//!                          \  unforce, or its time is over: real health                     |
//! ```
//!
//! Where several forces match one origin, the most careful one holds: down before drain before up. A drain and a force on
//! health of the same selector stand beside each other; each is lifted by its own word.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::fleet::{Fleet, Service};
use crate::hysteresis::Health;
use crate::id::{GroupId, Name, OriginId, SiteId};
use crate::order::Rule;
use crate::state::State;
use crate::status::Work;
use crate::time::Wall;

/// Forces at a time; each is matched against every origin when one of them changes.
pub const FORCES_MAX: usize = 256;
/// Characters of a pattern.
pub const PATTERN_MAX: usize = 255;
/// Origins that are named where there may be thousands.
const NAMED_MAX: usize = 20;

/// Which origins are meant: all whose name, host or site matches a pattern, in which `*` stands for any characters and
/// `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selector {
    pub scope: Scope,
    pub pattern: Name,
}

/// What a pattern is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `service/site/address`.
    Origin,
    /// The machine, in every service.
    Host,
    Site,
}

/// What is said of the origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForceKind {
    Up,
    Drain,
    Down,
}

/// A durable word about origins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Force {
    #[serde(flatten)]
    pub selector: Selector,
    pub kind: ForceKind,
    pub since: Wall,
    /// When it ends by itself; a drain does not, it is overdue then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    pub actor: Name,
    pub reason: Name,
}

/// An operator's order about origins.
#[derive(Clone, Debug)]
pub struct ForceOrder {
    /// The caller's handle for the answer.
    pub id: u64,
    pub actor: Name,
    pub reason: Name,
    pub selector: Selector,
    pub verb: ForceVerb,
    /// Rules the operator overrides by name; [`Rule::Unfit`] is the only one that stands in the way of a force.
    pub overrides: BTreeSet<Rule>,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForceVerb {
    Set {
        kind: ForceKind,
        /// How long; none for until it is lifted.
        length: Option<Duration>,
    },
    /// Lifts a drain, or a force on health.
    Lift { drain: bool },
}

/// What a force leads, or would lead, to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    #[serde(flatten)]
    pub selector: Selector,
    /// How many origins it is about, and the names of the first of them.
    pub count: usize,
    pub origins: Vec<Name>,
    /// What is left of the sites that have one of them.
    pub sites: Vec<SitePreview>,
}

/// One site of one group, with and without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SitePreview {
    pub group: Name,
    pub site: Name,
    /// Whether the group is active there.
    pub active: bool,
    /// `fit`, `unfit` or `unknown`.
    pub now: Name,
    pub then: Name,
    /// What would be in the way then.
    pub why: Vec<String>,
    pub services: Vec<ServicePreview>,
}

/// One service there: how many of its origins get traffic, with and without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePreview {
    pub service: Name,
    pub of: usize,
    pub now: usize,
    pub then: usize,
}

/// An order that was carried out, or found already done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// False: it was so already.
    pub changed: bool,
    #[serde(flatten)]
    pub preview: Preview,
}

/// A force with what is to be known of it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForceStatus {
    #[serde(flatten)]
    pub force: Force,
    /// A drain whose time is over.
    pub overdue: bool,
    /// How many origins it is about, and the names of the first of them.
    pub count: usize,
    pub origins: Vec<Name>,
    /// Requests and tunnels that they are working on.
    pub in_flight: u32,
    /// Whether there are any whose traffic does not pass here: what is open to them is not known.
    pub unseen: bool,
    /// Whether they are out and nothing at all is open to them from here: they can be switched off.
    pub safe: bool,
}

impl Scope {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Host => "host",
            Self::Site => "site",
        }
    }
}

impl ForceKind {
    pub const ALL: [Self; 3] = [Self::Up, Self::Drain, Self::Down];

    /// Whether origins under it get no new work.
    #[must_use]
    pub fn is_out(self) -> bool {
        self != Self::Up
    }

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }

    /// As a person orders it.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Up => "force up",
            Self::Drain => "drain",
            Self::Down => "force down",
        }
    }

    /// What has become of origins under it.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Up => "forced up",
            Self::Drain => "drained",
            Self::Down => "forced down",
        }
    }

    /// The order that lifts it.
    #[must_use]
    pub fn lifted_by(self) -> &'static str {
        if self == Self::Drain { "undrain" } else { "unforce" }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.scope.label(), self.pattern)
    }
}

impl Selector {
    /// The origins it is about.
    #[must_use]
    pub fn origins(&self, fleet: &Fleet) -> Vec<OriginId> {
        let pattern = WildMatch::new(&self.pattern);
        let is_meant = |id: &OriginId| {
            let origin = fleet.origin(*id);
            match self.scope {
                Scope::Origin => pattern.matches(&origin.name),
                Scope::Host => origin.host.as_deref().is_some_and(|host| pattern.matches(host)),
                Scope::Site => pattern.matches(&fleet.site(origin.site).name),
            }
        };
        fleet.origin_ids().filter(is_meant).collect()
    }
}

impl Force {
    /// Whether it is lifted, and replaced, as one of this kind.
    #[must_use]
    pub fn is_of(&self, selector: &Selector, kind: ForceKind) -> bool {
        let is_drain = |kind| kind == ForceKind::Drain;
        self.selector == *selector && is_drain(self.kind) == is_drain(kind)
    }

    /// The command that lifts it.
    #[must_use]
    pub fn lifted_by(&self) -> String {
        let Selector { scope, pattern } = &self.selector;
        format!("tidegate {} {} '{pattern}' --reason WHY", self.kind.lifted_by(), scope.label())
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Wall) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// A drain that should have ended: whoever began it may have forgotten it.
    #[must_use]
    pub fn is_overdue(&self, now: Wall) -> bool {
        self.kind == ForceKind::Drain && self.is_over(now)
    }
}

/// What holds for each origin under these forces, by position.
pub(crate) fn by_origin(
    fleet: &Fleet,
    forces: &[Force],
    origins: &[Vec<OriginId>],
) -> Vec<Option<ForceKind>> {
    let mut held = vec![None; fleet.origins.len()];
    for (force, origins) in forces.iter().zip(origins) {
        for id in origins {
            let own: &mut Option<ForceKind> = &mut held[id.index()];
            *own = (*own).max(Some(force.kind));
        }
    }
    held
}

/// What the present forces are and mean.
#[must_use]
pub fn forces(fleet: &Fleet, state: &State, work: &impl Fn(OriginId) -> Work) -> Vec<ForceStatus> {
    let now = state.last.wall;
    let status = |(force, origins): (&Force, &Vec<OriginId>)| {
        let at_work: Vec<_> = origins.iter().map(|id| work(*id)).collect();
        let are_out = origins.iter().all(|id| state.origin(*id).is_out());
        let unseen = at_work.iter().any(|work| !work.proxied);
        let quiet = at_work.iter().all(|work| work.quiet);
        ForceStatus {
            force: force.clone(),
            overdue: force.is_overdue(now),
            in_flight: at_work.iter().map(|work| work.in_flight).sum(),
            unseen,
            // Of a force that matches nothing any more nobody knows what it was about.
            safe: force.kind.is_out() && !unseen && !origins.is_empty() && are_out && quiet,
            count: origins.len(),
            origins: names(fleet, origins),
        }
    };
    state.forces.iter().zip(&state.force_origins).map(status).collect()
}

/// What would be left if `kind` were said of these origins; nothing changes.
#[must_use]
pub fn preview(fleet: &Fleet, state: &State, selector: &Selector, kind: ForceKind) -> Preview {
    let mut forces = state.forces.clone();
    forces.retain(|force| !force.is_of(selector, kind));
    let (actor, reason) = ("".into(), "".into());
    let force = Force { selector: selector.clone(), kind, since: Wall(0), until: None, actor, reason };
    forces.push(force);
    compare(fleet, state, selector, &forces)
}

/// The sites of the meant origins under the present forces and under others.
pub(crate) fn compare(fleet: &Fleet, state: &State, selector: &Selector, forces: &[Force]) -> Preview {
    let meant = selector.origins(fleet);
    let places: BTreeSet<(GroupId, SiteId)> =
        meant.iter().map(|id| (fleet.group_of(*id), fleet.origin(*id).site)).collect();
    let mut then = state.clone();
    then.force(fleet, forces.to_vec(), state.last);
    let sites = places.into_iter().map(|(group, site)| {
        let own = state.group(group);
        let fitness = crate::fit::fitness(fleet, &then, group, site);
        SitePreview {
            group: fleet.group(group).name.clone(),
            site: fleet.site(site).name.clone(),
            active: own.active == Some(site),
            now: own.fitness_at(fleet.group(group), site).label().into(),
            then: fitness.label().into(),
            why: fitness.obstacles().iter().map(ToString::to_string).collect(),
            services: services(fleet, state, &then, group, site),
        }
    });
    let (count, origins) = (meant.len(), names(fleet, &meant));
    Preview { selector: selector.clone(), count, origins, sites: sites.collect() }
}

impl SitePreview {
    /// What the group would lose where it is active: its fit site, or a service's last origin.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        let rank = |label: &str| ["unfit", "unknown", "fit"].iter().position(|known| *known == label);
        let emptied = self.services.iter().find(|service| service.now > 0 && service.then == 0);
        let Self { group, site, then, why, .. } = self;
        if !self.active {
            None
        } else if rank(then) < rank(&self.now) {
            Some(format!("`{group}` is active at `{site}`, which would be {then}: {}", why.join("; ")))
        } else {
            let service = &emptied?.service;
            Some(format!("`{group}` is active at `{site}`, where `{service}` would have no origin left"))
        }
    }
}

fn services(fleet: &Fleet, now: &State, then: &State, group: GroupId, site: SiteId) -> Vec<ServicePreview> {
    let services = fleet.group(group).services.iter().map(|id| fleet.service(*id));
    let preview = |service: &Service| {
        let origins = service.origins_at(site);
        let up =
            |state: &State| origins.iter().filter(|id| state.origin(**id).effective() == Health::Up).count();
        ServicePreview { service: service.name.clone(), of: origins.len(), now: up(now), then: up(then) }
    };
    services.map(preview).collect()
}

fn names(fleet: &Fleet, origins: &[OriginId]) -> Vec<Name> {
    origins.iter().take(NAMED_MAX).map(|id| fleet.origin(*id).name.clone()).collect()
}
