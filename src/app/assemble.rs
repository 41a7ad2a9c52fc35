//! From a checked configuration to a control task that is ready to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_config::{Config, HostPattern};
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name, ServiceId};
use tidegate_health::state::State;
use tidegate_probe::{Observation, ProbeSpec, Scheduler, Settings};
use tidegate_proxy::{BudgetPolicy, RetryBudget, ServiceSettings, Target};
use tokio::sync::{mpsc, watch};

use super::AppError;
use crate::clock::Clock;
use crate::control::{Control, Parts, Publisher, Service, Zone, ZoneSource};
use crate::metrics::Metrics;
use crate::serial;
use crate::store::{Change, Store, ZoneRecord};
use crate::world::Worlds;

/// What the rest of the daemon needs of it.
pub(super) struct Assembly {
    pub(super) control: Control,
    pub(super) fleet: Arc<Fleet>,
    pub(super) store: Store,
}

/// What the control task is connected to.
pub(super) struct Wiring {
    pub(super) results: mpsc::Sender<Observation>,
    pub(super) worlds: Worlds,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) round: watch::Sender<bool>,
}

pub(super) async fn assemble(
    config: &Config,
    zones: Vec<Arc<tidegate_dns::Zone>>,
    probes: Vec<ProbeSpec>,
    targets: Vec<Arc<Target>>,
    Wiring { results, worlds, metrics, clock, round }: Wiring,
) -> Result<Assembly, AppError> {
    let (store, stored) = Store::open(&config.state_dir)?;
    let fleet = Arc::new(config.fleet.clone());
    let sources = zone_sources(config, zones);
    let zones = zone_records(&fleet, &sources, &stored.zones);
    keep_serials(&store, &zones, &stored.zones).await;

    let state = State::new(&fleet, &stored.groups, clock.now())?;
    tell_start(&fleet, &state);
    metrics.expect(&fleet);
    let publisher = Publisher::new(worlds, targets, services(config), sources, &state);
    let settings =
        Settings { per_target_max: config.probes_per_target_max as usize, seed: fastrand::u64(..) };
    let probes = Scheduler::start(probes, results, settings);
    let control = Control::new(Parts {
        fleet: fleet.clone(),
        state,
        clock,
        probes,
        store: store.clone(),
        publisher,
        zones,
        metrics,
        round,
    });
    Ok(Assembly { control, fleet, store })
}

/// A store that is new where it should not be must be seen at once: a failover would be forgotten.
fn tell_start(fleet: &Fleet, state: &State) {
    for (group, own) in fleet.groups.iter().zip(&state.groups) {
        match &own.durable.decision {
            Some(decision) => tracing::info!(
                group = &*group.name,
                site = &*decision.site,
                epoch = decision.epoch,
                "resumed: {} by {}: {}",
                decision.kind.label(),
                decision.actor,
                decision.reason
            ),
            None => {
                tracing::warn!(group = &*group.name, "the store knows nothing of this group: it starts anew");
            }
        }
    }
}

fn zone_sources(config: &Config, zones: Vec<Arc<tidegate_dns::Zone>>) -> Vec<ZoneSource> {
    let sources = config.zones.iter().zip(zones);
    sources
        .map(|(settings, zone)| ZoneSource {
            name: settings.origin.clone(),
            zone,
            steer: settings.steer.clone(),
        })
        .collect()
}

/// The file's own serial, where it is newer than the last one served; else a zone whose content changed since then
/// gets the next.
fn zone_records(
    fleet: &Fleet,
    sources: &[ZoneSource],
    stored: &BTreeMap<Name, ZoneRecord>,
) -> BTreeMap<Name, Zone> {
    let zones = sources.iter().map(|source| {
        let (own, content) = (source.zone.serial(), content(fleet, source));
        let serial = match stored.get(&source.name) {
            None => own,
            Some(record) if serial::is_newer(own, record.serial) => own,
            Some(record) if record.content == content => record.serial,
            Some(record) => serial::next(record.serial),
        };
        let mut groups: Vec<GroupId> = source.steer.iter().map(|steer| steer.group).collect();
        groups.sort_unstable();
        groups.dedup();
        (source.name.clone(), Zone { record: ZoneRecord { serial, content }, serial_max: serial, groups })
    });
    zones.collect()
}

/// Writes down serials that are new with this start. Where that fails they are served all the same: the next start
/// works them out again from the same files.
async fn keep_serials(store: &Store, zones: &BTreeMap<Name, Zone>, stored: &BTreeMap<Name, ZoneRecord>) {
    let changed = zones.iter().filter(|(name, zone)| stored.get(*name) != Some(&zone.record));
    let zones: Vec<_> = changed.map(|(name, zone)| (name.clone(), zone.record)).collect();
    if zones.is_empty() {
        return;
    }
    if let Err(error) = store.write(Change { zones, ..Change::default() }, Vec::new()).await {
        tracing::error!(%error, "the zones' serials could not be written; switching will be refused, too");
    }
}

/// A digest of all that shapes a zone's answers beside the decisions.
fn content(fleet: &Fleet, source: &ZoneSource) -> u64 {
    let mut text = format!("{}", source.zone.content_hash());
    for steer in &source.steer {
        let group = fleet.group(steer.group);
        text.push_str(&format!("\n{} {:?} {}", steer.name, steer.ttl, group.name));
        for site in &group.sites {
            text.push_str(&format!(" {:?}", fleet.site(*site).front_door));
        }
    }
    // FNV-1a: the same on every machine and in every version, which std's hashers do not promise.
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn services(config: &Config) -> Vec<Service> {
    let services = config.services.iter().enumerate().map(|(position, settings)| Service {
        id: ServiceId(position as u16),
        protocol: settings.protocol,
        hosts: settings.hosts.iter().map(host).collect(),
        spill: settings.spill,
        settings: ServiceSettings {
            connect_timeout: settings.timeouts.connect,
            first_byte_timeout: settings.timeouts.response,
            body_idle_timeout: settings.timeouts.body_idle,
            pool_idle_timeout: settings.timeouts.pool_idle,
            tunnel_idle_timeout: settings.timeouts.tunnel_idle,
            attempts_max: settings.retry.attempts,
        },
        budget: Arc::new(RetryBudget::new(BudgetPolicy::default())),
    });
    services.collect()
}

fn host(pattern: &HostPattern) -> Arc<str> {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}").into(),
    }
}
