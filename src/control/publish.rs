//! From the core's state to a World: everything a reader needs, worked out before it is visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_config::{Protocol, Spill, SteerSettings};
use tidegate_dns::{Steered, SteeredAnswer, ZoneView};
use tidegate_health::durable::SwitchKind;
use tidegate_health::fleet::Fleet;
use tidegate_health::hysteresis::Health;
use tidegate_health::id::{GroupId, Name, OriginId, ServiceId, SiteId};
use tidegate_health::state::State;
use tidegate_proxy::{OriginView, RetryBudget, ServiceSettings, ServiceView, SiteView, Target};

use super::persist::Zone;
use crate::world::{World, Worlds};

/// What of a service does not change with decisions.
pub struct Service {
    pub id: ServiceId,
    pub protocol: Protocol,
    pub hosts: Vec<Arc<str>>,
    pub spill: Spill,
    pub settings: ServiceSettings,
    pub budget: Arc<RetryBudget>,
}

/// What of a zone does not change with decisions.
pub struct ZoneSource {
    pub name: Name,
    pub zone: Arc<tidegate_dns::Zone>,
    pub steer: Vec<SteerSettings>,
}

/// Builds Worlds and publishes them.
pub struct Publisher {
    worlds: Worlds,
    generation: u64,
    /// Live state of the origins, by origin; outlives every World.
    targets: Vec<Arc<Target>>,
    services: Vec<Service>,
    zones: Vec<ZoneSource>,
    /// The epoch last published, by group.
    epochs: Vec<u64>,
}

impl Publisher {
    /// Decisions that `state` already holds are not counted as switches.
    #[must_use]
    pub fn new(
        worlds: Worlds,
        targets: Vec<Arc<Target>>,
        services: Vec<Service>,
        zones: Vec<ZoneSource>,
        state: &State,
    ) -> Self {
        let epochs = state.groups.iter().map(|group| group.durable.epoch()).collect();
        Self { worlds, generation: 0, targets, services, zones, epochs }
    }

    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A probe passed: live traffic may try the origin again.
    pub fn reinstate(&self, origin: OriginId) {
        self.targets[origin.index()].reinstate();
    }

    /// Publishes what `state` says. Returns the groups whose active site is new to readers.
    pub fn publish(
        &mut self,
        fleet: &Fleet,
        state: &State,
        serials: &BTreeMap<Name, Zone>,
    ) -> Vec<(GroupId, SwitchKind)> {
        self.generation += 1;
        let undecided = fleet.groups.iter().zip(&state.groups).filter(|(_, own)| own.active.is_none());
        let world = World {
            generation: self.generation,
            dns: self.dns(fleet, state, serials),
            proxy: self.proxy(fleet, state),
            undecided: undecided.map(|(group, _)| group.name.clone()).collect(),
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

    fn dns(&self, fleet: &Fleet, state: &State, serials: &BTreeMap<Name, Zone>) -> Arc<tidegate_dns::View> {
        let mut views = Vec::with_capacity(self.zones.len());
        for source in &self.zones {
            let steered: Vec<_> = source.steer.iter().map(|steer| steered(fleet, state, steer)).collect();
            let serial = serials.get(&source.name).map_or(source.zone.serial(), |zone| zone.record.serial);
            match ZoneView::build(source.zone.clone(), serial, &steered) {
                Ok(view) => views.push(view),
                // The same names were built before the daemon began to serve, so only a bug leads here.
                Err(error) => {
                    tracing::error!(zone = &*source.name, %error, "zone left out of this generation");
                }
            }
        }
        Arc::new(tidegate_dns::View::new(views))
    }

    fn proxy(&self, fleet: &Fleet, state: &State) -> Arc<tidegate_proxy::View> {
        let http = self.services.iter().filter(|service| service.protocol == Protocol::Http);
        let services = http.map(|service| self.service(fleet, state, service)).collect();
        Arc::new(tidegate_proxy::View::build(self.generation, services))
    }

    fn service(&self, fleet: &Fleet, state: &State, service: &Service) -> ServiceView {
        let id = fleet.service(service.id).group;
        let (group, own) = (fleet.group(id), state.group(id));
        let ready = |site: &&SiteId| own.active != Some(**site) && own.fitness_at(group, **site).is_fit();
        ServiceView {
            name: fleet.service(service.id).name.clone(),
            group: group.name.clone(),
            hosts: service.hosts.clone(),
            epoch: own.durable.epoch(),
            active: own.active.map(|site| self.site(fleet, state, service.id, site)),
            spill: match service.spill {
                Spill::Never => tidegate_proxy::Spill::Never,
                Spill::Safe => tidegate_proxy::Spill::Safe,
                Spill::Any => tidegate_proxy::Spill::Any,
            },
            spill_sites: match service.spill {
                Spill::Never => Vec::new(),
                _ => group
                    .sites
                    .iter()
                    .filter(ready)
                    .map(|site| self.site(fleet, state, service.id, *site))
                    .collect(),
            },
            settings: service.settings.clone(),
            budget: service.budget.clone(),
        }
    }

    fn site(&self, fleet: &Fleet, state: &State, service: ServiceId, site: SiteId) -> SiteView {
        let origins = fleet.service(service).origins_at(site).iter().map(|id| OriginView {
            target: self.targets[id.index()].clone(),
            up: state.origin(*id).effective() == Health::Up,
            forced_down: false,
        });
        SiteView { site: fleet.site(site).name.clone(), origins: origins.collect() }
    }
}

/// A steered name answers with the front doors of its group's active site, or says that it cannot answer.
fn steered(fleet: &Fleet, state: &State, steer: &SteerSettings) -> Steered {
    let answer = state.group(steer.group).active.map_or(SteeredAnswer::Unavailable, |site| {
        SteeredAnswer::Addresses(fleet.site(site).front_door.clone())
    });
    crate::load::steered(steer, answer)
}
