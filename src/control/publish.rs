//! From the core's state to a World: everything a reader needs, worked out before it is visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_config::{Protocol, Spill, SteerSettings};
use tidegate_dns::{Steered, SteeredAnswer, ZoneView};
use tidegate_health::durable::SwitchKind;
use tidegate_health::fleet::Fleet;
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{GroupId, Name, SiteId};
use tidegate_health::state::State;
use tidegate_proxy::{OriginView, ServiceView, SiteView};

use super::persist::Zone;
use super::plan::{Plan, Service};
use crate::world::{World, Worlds};

/// Builds Worlds and publishes them.
pub struct Publisher {
    worlds: Worlds,
    generation: u64,
    /// The epoch last published, by group.
    epochs: Vec<u64>,
}

impl Publisher {
    /// Decisions that `state` already holds are not counted as switches.
    #[must_use]
    pub fn new(worlds: Worlds, state: &State) -> Self {
        Self { worlds, generation: 0, epochs: epochs(state) }
    }

    /// Groups have other numbers from now on; none of them has moved with it.
    pub(super) fn take_over(&mut self, state: &State) {
        self.epochs = epochs(state);
    }

    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Publishes what `state` says. Returns the groups whose active site is new to readers.
    pub fn publish(
        &mut self,
        plan: &Plan,
        state: &State,
        serials: &BTreeMap<Name, Zone>,
    ) -> Vec<(GroupId, SwitchKind)> {
        let fleet = &plan.fleet;
        self.generation += 1;
        let undecided = fleet.groups.iter().zip(&state.groups).filter(|(_, own)| own.serving().is_none());
        let world = World {
            generation: self.generation,
            fleet: fleet.clone(),
            dns: dns(plan, state, serials),
            proxy: proxy(plan, state, self.generation),
            undecided: undecided.map(|(group, _)| group.name.clone()).collect(),
            settings: plan.settings.clone(),
        };
        self.worlds.publish(world);
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

fn epochs(state: &State) -> Vec<u64> {
    state.groups.iter().map(|group| group.durable.epoch()).collect()
}

fn dns(plan: &Plan, state: &State, serials: &BTreeMap<Name, Zone>) -> Arc<tidegate_dns::View> {
    let mut views = Vec::with_capacity(plan.zones.len());
    for source in &plan.zones {
        let steered: Vec<_> = source.steer.iter().map(|steer| steered(&plan.fleet, state, steer)).collect();
        let serial = serials.get(&source.name).map_or(source.zone.serial(), |zone| zone.record.serial);
        match ZoneView::build(source.zone.clone(), serial, &steered) {
            Ok(view) => views.push(view),
            // The same names were built before the daemon began to serve, so only a bug leads here.
            Err(error) => tracing::error!(zone = &*source.name, %error, "zone left out of this generation"),
        }
    }
    Arc::new(tidegate_dns::View::new(views))
}

fn proxy(plan: &Plan, state: &State, generation: u64) -> Arc<tidegate_proxy::View> {
    let http = plan.services.iter().filter(|service| service.protocol == Protocol::Http);
    let services = http.map(|it| service(plan, state, it)).collect();
    Arc::new(tidegate_proxy::View::build(generation, services))
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
