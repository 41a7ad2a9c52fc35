//! Everything the core remembers between two inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::durable::Durable;
use crate::event::{Event, EventKind};
use crate::facts::Facts;
use crate::fit::{self, Fitness};
use crate::fleet::{Fleet, Group};
use crate::force::{self, Force, ForceKind, Selector};
use crate::hysteresis::{Health, Hysteresis};
use crate::id::{GroupId, Name, OriginId, SiteId};
use crate::step::Pace;
use crate::step::watch::Spell;
use crate::time::{Mono, Now, Wall};

/// The state of the core. Made once per fleet, changed only by [`step`](crate::step::step), carried to another fleet by
/// [`refit`](Self::refit).
#[derive(Clone, Debug)]
pub struct State {
    pub origins: Vec<OriginState>,
    pub groups: Vec<GroupState>,
    pub facts: Facts,
    /// What people say of origins, whatever the checks see; durable.
    pub forces: Vec<Force>,
    /// The origins that each is about; parallel to `forces`.
    pub(crate) force_origins: Vec<Vec<OriginId>>,
    /// A change of them on its way to the store; there is one at a time.
    pub(crate) forces_pending: Option<ForcesPending>,
    /// When the next automatic change of them may be tried, after the store failed.
    pub(crate) forces_retry: Option<Mono>,
    /// Drains that were told to be overdue, and since when.
    pub(crate) told_overdue: BTreeSet<(Selector, Wall)>,
    /// Results of probes that started earlier do not count.
    pub round: Mono,
    /// Whether every origin has been known at some time since the start.
    pub round_complete: bool,
    /// Origins nothing is known of yet.
    pub(crate) unknown: usize,
    /// Since when nothing says that this edge is cut off; what was seen before proves nothing about a site.
    pub(crate) connected: Mono,
    pub(crate) last: Now,
    /// [`Fleet::stall_max`], which looks at every origin and is asked for with every input.
    pub(crate) stall_max: Duration,
    pub(crate) tickets: u64,
    /// Where others decide with this node; none where it decides alone.
    pub(crate) cluster: Option<Cluster>,
    /// When it is next looked for what lasts.
    pub(crate) watch_at: Mono,
    /// That nothing shows this edge to be connected.
    pub(crate) isolated: Spell,
    /// Observations on their way into the effects of this step; empty between two steps of one fleet.
    pub(crate) noticed: Vec<Event>,
    /// Groups that the store knows and the fleet does not: they may come back.
    pub(crate) retired: BTreeMap<Name, Retired>,
}

/// What outlives a group that no configuration names at present.
#[derive(Clone, Debug)]
pub(crate) struct Retired {
    pub(crate) durable: Durable,
    /// The highest epoch that was ever handed to the store.
    pub(crate) epoch_max: u64,
}

/// Forces that are being made durable.
#[derive(Clone, Debug)]
pub(crate) struct ForcesPending {
    pub(crate) ticket: u64,
    pub(crate) next: Vec<Force>,
    /// The operator's order that waits for it.
    pub(crate) order: Option<(u64, Box<force::Preview>)>,
}

/// What is known of one origin.
#[derive(Clone, Debug, Default)]
pub struct OriginState {
    pub(crate) hysteresis: Hysteresis,
    pub(crate) pace: Pace,
    /// What a person says of it.
    pub force: Option<ForceKind>,
    /// When a person let it in again; probes that started earlier say nothing of it.
    pub(crate) heed_from: Mono,
    /// When its latest conclusive probe started.
    pub seen: Option<Mono>,
    /// When its latest passing probe started, and its latest failing one.
    pub(crate) passed: Option<Mono>,
    pub(crate) failed: Option<Mono>,
    /// Since when its health is what it is.
    pub since: Wall,
    /// Since when its probes have failed without a pass between them.
    pub(crate) failing_since: Option<Wall>,
    /// What all vantages of a cluster say of it, where they were merged.
    pub(crate) merged: Option<Health>,
    /// Why the latest failing probe failed; kept until the origin is up again.
    pub failure: Option<Arc<str>>,
}

/// What is known of one group.
#[derive(Clone, Debug)]
pub struct GroupState {
    pub durable: Durable,
    /// The decision's site in this fleet.
    pub active: Option<SiteId>,
    /// A change on its way to the store; nothing else may change the durable part meanwhile.
    pub(crate) pending: Option<Pending>,
    /// Since when it has been where it is, as far as this process knows.
    pub(crate) moved: Mono,
    /// Since when the active site has been unfit without a break.
    pub unfit_since: Option<Mono>,
    /// Since when each site has been fit without a break; parallel to the group's sites.
    pub fit_since: Vec<Option<Mono>>,
    /// Parallel to the group's sites.
    pub fitness: Vec<Fitness>,
    /// In confirm mode: the move a person is asked to confirm.
    pub proposal: Option<SiteId>,
    /// Why the latest write failed, and when the next automatic one may be tried.
    pub store_trouble: Option<(Arc<str>, Mono)>,
    /// Its data may be served elsewhere by now: this node may not serve it.
    pub(crate) withheld: bool,
    /// Whether it has been told that no site is left to go to.
    pub(crate) told_static: bool,
    /// That a site is no place to go to; parallel to the group's sites.
    pub(crate) standby_spells: Vec<Spell>,
    /// The marks of diverged data that were told.
    pub(crate) told_diverged: BTreeSet<Name>,
    /// The highest epoch ever handed to the store, seen by readers or not.
    pub(crate) epoch_max: u64,
}

/// A change that is being made durable.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: u64,
    pub(crate) next: Durable,
    pub(crate) kind: EventKind,
    /// The operator's order that waits for it.
    pub(crate) order: Option<u64>,
}

/// A stored record that this fleet cannot honour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "group `{group}` is active at site `{site}` according to the store (epoch {epoch}), but the configuration \
     does not list that site for the group; put it back, switch the group away, and then remove it"
)]
pub struct LostSite {
    pub group: Name,
    pub site: Name,
    pub epoch: u64,
}

impl State {
    /// The state at a start: nothing is known of any origin, decisions are what the store holds.
    ///
    /// # Errors
    /// A group's stored active site is not among its sites.
    pub fn new(fleet: &Fleet, stored: &BTreeMap<Name, Durable>, now: Now) -> Result<Self, LostSite> {
        let groups = fleet
            .groups
            .iter()
            .map(|group| GroupState::new(fleet, group, stored.get(&group.name), now.mono))
            .collect::<Result<_, _>>()?;
        let mut state = Self {
            origins: vec![OriginState { since: now.wall, ..OriginState::default() }; fleet.origins.len()],
            groups,
            facts: Facts::new(fleet, now),
            forces: Vec::new(),
            force_origins: Vec::new(),
            forces_pending: None,
            forces_retry: None,
            told_overdue: BTreeSet::new(),
            round: now.mono,
            round_complete: fleet.origins.is_empty(),
            unknown: fleet.origins.len(),
            connected: now.mono,
            last: now,
            stall_max: fleet.stall_max(),
            tickets: 0,
            cluster: None,
            watch_at: now.mono,
            isolated: Spell::default(),
            noticed: Vec::new(),
            retired: retired(fleet, stored),
        };
        for group in fleet.group_ids() {
            state.weigh(fleet, group, now);
        }
        Ok(state)
    }

    /// The same for a node of a cluster, of which it has not heard yet. `serves_isolated`: groups that share data are served without
    /// a lease, too.
    #[must_use]
    pub fn in_cluster(mut self, fleet: &Fleet, serves_isolated: bool, now: Now) -> Self {
        let cluster = Cluster { serves_isolated, ..Cluster::default() };
        for (group, own) in fleet.groups.iter().zip(&mut self.groups) {
            own.withheld = cluster.withholds(group, now);
        }
        self.cluster = Some(cluster);
        self
    }

    /// Whether this node may decide: it is alone, or leads.
    #[must_use]
    pub fn may_decide(&self, now: Now) -> bool {
        self.cluster.is_none_or(|cluster| cluster.leads(now))
    }

    /// The moment of the latest input.
    #[must_use]
    pub fn last_seen(&self) -> Mono {
        self.last.mono
    }

    /// What this node's own checks see of every origin, by name.
    #[must_use]
    pub fn healths(&self, fleet: &Fleet) -> BTreeMap<Name, Health> {
        let origins = fleet.origins.iter().zip(&self.origins);
        origins.map(|(origin, own)| (origin.name.clone(), own.hysteresis.evidence())).collect()
    }

    /// The same with the forces that the store holds.
    #[must_use]
    pub fn with_forces(mut self, fleet: &Fleet, forces: Vec<Force>, now: Now) -> Self {
        self.force(fleet, forces, now);
        for group in fleet.group_ids() {
            self.weigh(fleet, group, now);
        }
        self
    }

    #[must_use]
    pub fn group(&self, id: GroupId) -> &GroupState {
        &self.groups[id.index()]
    }

    /// Whether a change of any group, or of forces, is on its way to the store.
    #[must_use]
    pub fn is_deciding(&self) -> bool {
        self.forces_pending.is_some() || self.groups.iter().any(|group| group.pending.is_some())
    }

    #[must_use]
    pub fn origin(&self, id: OriginId) -> &OriginState {
        &self.origins[id.index()]
    }

    pub(crate) fn group_mut(&mut self, id: GroupId) -> &mut GroupState {
        &mut self.groups[id.index()]
    }

    pub(crate) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Drains whose time is over.
    #[must_use]
    pub fn drains_overdue(&self) -> usize {
        self.forces.iter().filter(|force| force.is_overdue(self.last.wall)).count()
    }

    /// Takes forces in place of the present ones; fitness has to be weighed anew. An origin that is let in again has to
    /// prove itself: what its checks saw while nothing was sent there says little.
    pub(crate) fn force(&mut self, fleet: &Fleet, forces: Vec<Force>, now: Now) {
        let origins: Vec<_> = forces.iter().map(|force| force.selector.origins(fleet)).collect();
        let held = force::by_origin(fleet, &forces, &origins);
        for (origin, force) in self.origins.iter_mut().zip(held) {
            if origin.is_out() && !force.is_some_and(ForceKind::is_out) {
                let was = origin.real();
                origin.hysteresis.prove_again();
                origin.heed_from = now.mono;
                if origin.real() != was {
                    origin.since = now.wall;
                }
            }
            origin.force = force;
        }
        (self.forces, self.force_origins) = (forces, origins);
    }

    /// Works out anew how fit each site is for a group, and since when.
    pub(crate) fn weigh(&mut self, fleet: &Fleet, id: GroupId, now: Now) {
        for (position, site) in fleet.group(id).sites.iter().enumerate() {
            let fitness = fit::fitness(fleet, self, id, *site);
            let group = self.group_mut(id);
            group.fit_since[position] = match &fitness {
                Fitness::Fit => group.fit_since[position].or(Some(now.mono)),
                _ => None,
            };
            let was = std::mem::replace(&mut group.fitness[position], fitness.clone());
            self.notice_fitness(fleet, id, *site, (&was, &fitness), now.wall);
        }
    }
}

fn retired(fleet: &Fleet, stored: &BTreeMap<Name, Durable>) -> BTreeMap<Name, Retired> {
    let absent = stored.iter().filter(|(name, _)| fleet.group_named(name).is_none());
    let retired = |durable: &Durable| Retired { durable: durable.clone(), epoch_max: durable.epoch() };
    absent.map(|(name, durable)| (name.clone(), retired(durable))).collect()
}

impl OriginState {
    pub(crate) fn is_unknown(&self) -> bool {
        self.real() == Health::Unknown
    }

    /// What the probes say.
    #[must_use]
    pub fn real(&self) -> Health {
        self.hysteresis.health()
    }

    /// What traffic follows: a person's word, or else the real health.
    #[must_use]
    pub fn effective(&self) -> Health {
        self.forced().unwrap_or(self.real())
    }

    /// What a decision may build on.
    #[must_use]
    pub fn evidence(&self) -> Health {
        self.forced().or(self.merged).unwrap_or(self.hysteresis.evidence())
    }

    /// Whether a person has taken it out: it gets no new work, whatever else is down.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.force.is_some_and(ForceKind::is_out)
    }

    fn forced(&self) -> Option<Health> {
        self.force.map(|kind| if kind.is_out() { Health::Down } else { Health::Up })
    }
}

impl GroupState {
    pub(crate) fn new(
        fleet: &Fleet,
        group: &Group,
        stored: Option<&Durable>,
        now: Mono,
    ) -> Result<Self, LostSite> {
        let durable = stored.cloned().unwrap_or_default();
        let active = match &durable.decision {
            None => None,
            Some(decision) => {
                let site = fleet.site_named(&decision.site).filter(|site| group.sites.contains(site));
                Some(site.ok_or_else(|| LostSite {
                    group: group.name.clone(),
                    site: decision.site.clone(),
                    epoch: decision.epoch,
                })?)
            }
        };
        Ok(Self {
            epoch_max: durable.epoch(),
            told_diverged: durable.diverged.clone(),
            durable,
            active,
            moved: now,
            pending: None,
            unfit_since: None,
            fit_since: vec![None; group.sites.len()],
            fitness: vec![Fitness::default(); group.sites.len()],
            proposal: None,
            store_trouble: None,
            told_static: false,
            withheld: false,
            standby_spells: vec![Spell::default(); group.sites.len()],
        })
    }

    /// Where this node serves it from.
    #[must_use]
    pub fn serving(&self) -> Option<SiteId> {
        self.active.filter(|_| !self.withheld)
    }

    /// Whether its active site is unfit and no site is fit: traffic stays, and every origin there is tried.
    #[must_use]
    pub fn is_fail_static(&self) -> bool {
        self.unfit_since.is_some() && !self.fitness.iter().any(Fitness::is_fit)
    }

    /// Whether its first decision is being written.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.active.is_none() && self.pending.is_some()
    }

    /// The fitness of one of the group's sites; unknown for any other.
    #[must_use]
    pub fn fitness_at(&self, group: &Group, site: SiteId) -> &Fitness {
        static NOT_OURS: Fitness = Fitness::Unknown(Vec::new());
        let position = group.sites.iter().position(|candidate| *candidate == site);
        position.map_or(&NOT_OURS, |position| &self.fitness[position])
    }
}
