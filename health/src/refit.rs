//! Another fleet for a state that goes on: what a reload of the configuration does to the core.
//!
//! A reload is no start. Decisions, latches, epochs and timers of a group go on under its name, and what is known of an
//! origin goes on where the origin is asked the same as before. Nothing moves because of a reload: an origin that is new
//! is unknown, which is no evidence against a site, and a change that would move traffic without a switch is refused.

use crate::fleet::Fleet;
use crate::id::{GroupId, Name, OriginId, SiteId};
use crate::state::{GroupState, LostSite, OriginState, Retired, State};
use crate::step::watch::Spell;
use crate::step::{Effect, repace, watch_recovery};
use crate::time::Now;

/// Why a fleet cannot take the place of the present one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error(
        "group `{group}` is active at site `{site}`, which the new configuration does not list for it; put it back, or \
         move the group first: `tidegate switch {group} SITE --reason WHY`"
    )]
    Active { group: Name, site: Name },
    #[error(
        "service `{service}` is served at site `{site}`, where its group `{from}` is active; with group `{to}` it would \
         {would}, and a reload moves nothing; leave it in its group, or bring both groups to one site first: \
         `tidegate switch {from} SITE --reason WHY`"
    )]
    Moved { service: Name, site: Name, from: Name, to: Name, would: String },
    #[error(transparent)]
    Stored(LostSite),
    #[error("a decision of group `{group}` is on its way to the disk; try again when it has ended")]
    Pending { group: Name },
    #[error("a force is on its way to the disk; try again when it is there")]
    PendingForces,
}

impl State {
    /// This state for the fleet `new`, in place of `old`, which it was made for; and what is to be done.
    ///
    /// `kept` is parallel to the origins of `new`: which of `old` is the same service at the same site and address, and
    /// is asked the same. Its health goes on; where its thresholds are others now, the run of results starts over.
    ///
    /// # Errors
    /// Everything that speaks against it, at once. Then nothing has changed.
    pub fn refit(
        &self,
        old: &Fleet,
        new: &Fleet,
        kept: &[Option<OriginId>],
        now: Now,
    ) -> Result<(Self, Vec<Effect>), Vec<Misfit>> {
        let pending = old.groups.iter().zip(&self.groups).filter(|(_, own)| own.pending.is_some());
        let mut misfits: Vec<_> =
            pending.map(|(group, _)| Misfit::Pending { group: group.name.clone() }).collect();
        let groups: Vec<_> = new
            .group_ids()
            .filter_map(|id| self.group_for(old, new, id, now).map_err(|misfit| misfits.push(misfit)).ok())
            .collect();
        misfits.extend(self.moved(old, new));
        misfits.extend(self.forces_pending.is_some().then_some(Misfit::PendingForces));
        if !misfits.is_empty() {
            return Err(misfits);
        }
        let origins: Vec<_> = new.origin_ids().map(|id| self.origin_for(old, new, id, kept, now)).collect();
        let unknown = origins.iter().filter(|origin| origin.is_unknown()).count();
        let mut state = Self {
            origins,
            groups,
            facts: self.facts.refit(old, new, now),
            forces: Vec::new(),
            force_origins: Vec::new(),
            forces_pending: None,
            told_overdue: self.told_overdue.clone(),
            round_complete: self.round_complete || unknown == 0,
            unknown,
            stall_max: new.stall_max(),
            retired: self.retired_beside(old, new),
            noticed: Vec::new(),
            ..*self
        };
        // Matched anew: a new origin of a host that is drained is drained, too.
        state.force(new, self.forces.clone(), now);
        let mut effects = Vec::new();
        for id in new.group_ids() {
            state.weigh(new, id, now);
            let group = state.group_mut(id);
            let is_fit = |to: &SiteId| group.fitness_at(new.group(id), *to).is_fit();
            group.proposal = group.proposal.filter(is_fit);
            // Where what made it unfit is asked anew, its time has not begun.
            watch_recovery(new, &mut state, id, now, &mut effects);
            repace(new, &mut state, id, &mut effects);
        }
        // Of every origin: also one that is kept may be asked by a check that begins anew, at another interval.
        effects.retain(|effect| !matches!(effect, Effect::Pace(..)));
        effects.extend(new.origin_ids().map(|id| Effect::Pace(id, state.origin(id).pace)));
        effects.push(Effect::Publish);
        Ok((state, effects))
    }

    fn group_for(&self, old: &Fleet, new: &Fleet, id: GroupId, now: Now) -> Result<GroupState, Misfit> {
        let group = new.group(id);
        let Some(was) = old.group_named(&group.name) else {
            let retired = self.retired.get(&group.name);
            let stored = retired.map(|retired| &retired.durable);
            let mut own = GroupState::new(new, group, stored, now.mono).map_err(Misfit::Stored)?;
            own.epoch_max = own.epoch_max.max(retired.map_or(0, |retired| retired.epoch_max));
            return Ok(own);
        };
        let own = self.group(was);
        let there = |site: SiteId| {
            let name = &old.site(site).name;
            let site = new.site_named(name).filter(|site| group.sites.contains(site));
            site.ok_or_else(|| Misfit::Active { group: group.name.clone(), site: name.clone() })
        };
        let position = |site: &SiteId| {
            let old_site = old.site_named(&new.site(*site).name);
            old.group(was).sites.iter().position(|site| Some(*site) == old_site)
        };
        let fit_since = group.sites.iter().map(|site| position(site).and_then(|at| own.fit_since[at]));
        let spells = group
            .sites
            .iter()
            .map(|site| position(site).map_or(Spell::default(), |at| own.standby_spells[at]));
        Ok(GroupState {
            active: own.active.map(there).transpose()?,
            fit_since: fit_since.collect(),
            standby_spells: spells.collect(),
            fitness: vec![Default::default(); group.sites.len()],
            proposal: own.proposal.and_then(|site| there(site).ok()),
            ..own.clone()
        })
    }

    /// Services that would be served elsewhere, because they follow another group than before.
    fn moved(&self, old: &Fleet, new: &Fleet) -> Vec<Misfit> {
        let mut moved = Vec::new();
        for service in &new.services {
            let Some(was) = old.services.iter().find(|was| was.name == service.name) else { continue };
            let (from, to) = (old.group(was.group), new.group(service.group));
            let Some(site) = self.group(was.group).active.filter(|_| from.name != to.name) else { continue };
            let site = old.site(site).name.clone();
            let next = match old.group_named(&to.name) {
                Some(known) => self.group(known).active.map(|site| old.site(site).name.clone()),
                None => self.retired.get(&to.name).and_then(|retired| retired.durable.site().cloned()),
            };
            if next.as_ref() == Some(&site) {
                continue;
            }
            let would =
                next.map_or("wait for a first decision".into(), |next| format!("be served at `{next}`"));
            moved.push(Misfit::Moved {
                service: service.name.clone(),
                site,
                from: from.name.clone(),
                to: to.name.clone(),
                would,
            });
        }
        moved
    }

    fn origin_for(
        &self,
        old: &Fleet,
        new: &Fleet,
        id: OriginId,
        kept: &[Option<OriginId>],
        now: Now,
    ) -> OriginState {
        let Some(was) = kept[id.index()] else {
            return OriginState { since: now.wall, ..OriginState::default() };
        };
        let mut origin = self.origin(was).clone();
        if old.origin(was).thresholds != new.origin(id).thresholds {
            origin.hysteresis.start_over();
        }
        origin
    }

    /// What is known of groups that `new` does not have.
    fn retired_beside(&self, old: &Fleet, new: &Fleet) -> std::collections::BTreeMap<Name, Retired> {
        let leaving = old.groups.iter().zip(&self.groups).map(|(group, own)| {
            (group.name.clone(), Retired { durable: own.durable.clone(), epoch_max: own.epoch_max })
        });
        let mut retired = self.retired.clone();
        retired.extend(leaving);
        retired.retain(|name, _| new.group_named(name).is_none());
        retired
    }
}
