//! From the core's state to a World: everything a reader needs, worked out before it is visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_config::{Protocol, Spill, SteerSettings};
use tidegate_dns::{Steered, SteeredAnswer, ZoneView};
use tidegate_health::durable::SwitchKind;
use tidegate_health::fit;
use tidegate_health::fleet::Fleet;
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{GroupId, Name, SiteId};
use tidegate_health::state::State;
use tidegate_proxy::{OriginView, ServiceView, SiteView};

use super::persist::Zone;
use super::plan::{Plan, Service};
use crate::world::{World, Worlds};

#[cfg(test)]
mod tests;

/// Builds Worlds and publishes them. A change of one origin costs what its group costs: the rest of the last World is
/// used again.
pub struct Publisher {
    worlds: Worlds,
    generation: u64,
    /// The epoch last published, by group.
    epochs: Vec<u64>,
    last: Option<Last>,
}

/// What of the last World the next one may use again. Both belong to one configuration.
struct Last {
    /// What each group's services were built from; parallel to the groups.
    bases: Vec<Vec<u64>>,
    proxy: Arc<tidegate_proxy::View>,
    /// Parallel to the configuration's zones; none for one that could not be built.
    zones: Vec<(Vec<u64>, Option<Arc<ZoneView>>)>,
}

impl Publisher {
    /// Decisions that `state` already holds are not counted as switches.
    #[must_use]
    pub fn new(worlds: Worlds, state: &State) -> Self {
        Self { worlds, generation: 0, epochs: epochs(state), last: None }
    }

    /// Groups have other numbers from now on; none of them has moved with it.
    pub(super) fn take_over(&mut self, state: &State) {
        self.epochs = epochs(state);
        self.last = None;
    }

    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Publishes what `state` says. Returns the groups whose active site is new to readers. Another plan than last time
    /// needs a [`take_over`](Self::take_over) before.
    pub fn publish(
        &mut self,
        plan: &Plan,
        state: &State,
        serials: &BTreeMap<Name, Zone>,
    ) -> Vec<(GroupId, SwitchKind)> {
        let fleet = &plan.fleet;
        self.generation += 1;
        let last = self.last.take();
        let (last_proxy, last_zones) = last.map(|last| ((last.bases, last.proxy), last.zones)).unzip();
        let (bases, proxy) = proxy(plan, state, self.generation, last_proxy);
        let zones = zones(plan, state, serials, last_zones.unwrap_or_default());
        let views: Vec<Arc<ZoneView>> = zones.iter().filter_map(|(_, view)| view.clone()).collect();
        let undecided = fleet.groups.iter().zip(&state.groups).filter(|(_, own)| own.serving().is_none());
        let world = World {
            generation: self.generation,
            fleet: fleet.clone(),
            dns: Arc::new(tidegate_dns::View::new(views)),
            proxy: proxy.clone(),
            active: state.groups.iter().map(|own| own.active).collect(),
            degraded: degraded(fleet, state),
            undecided: undecided.map(|(group, _)| group.name.clone()).collect(),
            settings: plan.settings.clone(),
        };
        self.worlds.publish(world);
        self.last = Some(Last { bases, proxy, zones });
        self.switched(fleet, state)
    }

    fn switched(&mut self, fleet: &Fleet, state: &State) -> Vec<(GroupId, SwitchKind)> {
        let mut switched = Vec::new();
        for (id, own) in fleet.group_ids().zip(&state.groups) {
            let epoch = own.durable.epoch();
            if std::mem::replace(&mut self.epochs[id.index()], epoch) != epoch
                && let Some(decision) = &own.durable.decision
            {
                switched.push((id, decision.kind));
            }
        }
        switched
    }
}

fn degraded(fleet: &Fleet, state: &State) -> Vec<(Name, Vec<Name>)> {
    let degraded = fleet.group_ids().filter_map(|id| {
        let wanted: Vec<_> = fit::degraded(fleet, id, state.group(id).active?).cloned().collect();
        (!wanted.is_empty()).then(|| (fleet.group(id).name.clone(), wanted))
    });
    degraded.collect()
}

fn epochs(state: &State) -> Vec<u64> {
    state.groups.iter().map(|group| group.durable.epoch()).collect()
}

/// The zones with their steered names; one whose serial and active sites are what they were is the same as before.
fn zones(
    plan: &Plan,
    state: &State,
    serials: &BTreeMap<Name, Zone>,
    last: Vec<(Vec<u64>, Option<Arc<ZoneView>>)>,
) -> Vec<(Vec<u64>, Option<Arc<ZoneView>>)> {
    let mut last = last.into_iter();
    let zones = plan.zones.iter().map(|source| {
        let serial = serials.get(&source.name).map_or(source.zone.serial(), |zone| zone.record.serial);
        let active = source.steer.iter().map(|steer| site_word(state.group(steer.group).serving()));
        let basis: Vec<u64> = [u64::from(serial)].into_iter().chain(active).collect();
        if let Some(same) = last.next().filter(|(before, _)| *before == basis) {
            return same;
        }
        let steered: Vec<_> = source.steer.iter().map(|steer| steered(&plan.fleet, state, steer)).collect();
        match ZoneView::build(source.zone.clone(), serial, &steered) {
            Ok(view) => (basis, Some(Arc::new(view))),
            // The same names were built before the daemon began to serve, so only a bug leads here.
            Err(error) => {
                tracing::error!(zone = &*source.name, %error, "zone left out of this generation");
                (basis, None)
            }
        }
    });
    zones.collect()
}

/// The services of HTTP, and what those of each group were built from.
fn proxy(
    plan: &Plan,
    state: &State,
    generation: u64,
    last: Option<(Vec<Vec<u64>>, Arc<tidegate_proxy::View>)>,
) -> (Vec<Vec<u64>>, Arc<tidegate_proxy::View>) {
    let http = || plan.services.iter().filter(|service| service.protocol == Protocol::Http);
    let Some((mut bases, view)) = last else {
        let services = http().map(|own| service(plan, state, own)).collect();
        let bases = plan.fleet.group_ids().map(|id| basis(plan, state, id).collect()).collect();
        return (bases, Arc::new(tidegate_proxy::View::build(generation, services)));
    };
    let mut changed = vec![false; bases.len()];
    for ((id, before), changed) in plan.fleet.group_ids().zip(&mut bases).zip(&mut changed) {
        if !before.iter().copied().eq(basis(plan, state, id)) {
            *before = basis(plan, state, id).collect();
            *changed = true;
        }
    }
    let group = |own: &Service| plan.fleet.service(own.id).group.index();
    let services = http().enumerate().filter(|(_, own)| changed[group(own)]);
    let services = services.map(|(place, own)| (place, service(plan, state, own)));
    (bases, Arc::new(view.next(generation, services)))
}

/// All that changes between two publications and [`service`] looks at for the services of a group, as words that are
/// compared and nothing else. What is forgotten here goes unseen until something else of the group changes.
fn basis(plan: &Plan, state: &State, id: GroupId) -> impl Iterator<Item = u64> {
    let (group, own) = (plan.fleet.group(id), state.group(id));
    let fit = own.fitness.iter().map(|fitness| u64::from(fitness.is_fit()));
    let services = group.services.iter().map(|service| plan.fleet.service(*service));
    let origins = services.flat_map(|service| service.origins.values().flatten());
    let origins = origins.flat_map(|id| {
        let origin = state.origin(*id);
        // A view that holds the target keeps its place from being given to another.
        let target = Arc::as_ptr(&plan.targets[id.index()]).addr() as u64;
        [target, u64::from(origin.effective() == Health::Up), u64::from(origin.is_out())]
    });
    [own.durable.epoch(), site_word(own.serving())].into_iter().chain(fit).chain(origins)
}

fn site_word(site: Option<SiteId>) -> u64 {
    site.map_or(u64::MAX, |site| u64::from(site.0))
}

fn service(plan: &Plan, state: &State, service: &Service) -> ServiceView {
    let id = plan.fleet.service(service.id).group;
    let (group, own) = (plan.fleet.group(id), state.group(id));
    let ready = |site: &&SiteId| own.serving() != Some(**site) && own.fitness_at(group, **site).is_fit();
    let view = |site| site_view(plan, state, service, site);
    ServiceView {
        name: plan.fleet.service(service.id).name.clone(),
        group: group.name.clone(),
        hosts: service.hosts.clone(),
        epoch: own.durable.epoch(),
        active: own.serving().map(view),
        spill: match service.spill {
            Spill::Never => tidegate_proxy::Spill::Never,
            Spill::Safe => tidegate_proxy::Spill::Safe,
            Spill::Any => tidegate_proxy::Spill::Any,
        },
        spill_sites: match service.spill {
            Spill::Never => Vec::new(),
            _ => group.sites.iter().filter(ready).map(|site| view(*site)).collect(),
        },
        settings: service.settings.clone(),
        budget: service.budget.clone(),
    }
}

fn site_view(plan: &Plan, state: &State, service: &Service, site: SiteId) -> SiteView {
    let origins = plan.fleet.service(service.id).origins_at(site).iter().map(|id| OriginView {
        target: plan.targets[id.index()].clone(),
        up: state.origin(*id).effective() == Health::Up,
        forced_down: state.origin(*id).is_out(),
    });
    SiteView {
        site: plan.fleet.site(site).name.clone(),
        origins: origins.collect(),
        slow_start: service.slow_start,
    }
}

/// A steered name answers with the front doors of its group's active site, or says that it cannot answer.
fn steered(fleet: &Fleet, state: &State, steer: &SteerSettings) -> Steered {
    let answer = state.group(steer.group).serving().map_or(SteeredAnswer::Unavailable, |site| {
        SteeredAnswer::Addresses(fleet.site(site).front_door.clone())
    });
    crate::load::steered(steer, answer)
}
