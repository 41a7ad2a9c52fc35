//! From a checked configuration to a control task that is ready to run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tidegate_config::{Config, Ejection, HostPattern, Scheme, Tls, Verify};
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name, OriginId, ServiceId};
use tidegate_health::state::State;
use tidegate_probe::{Observation, ProbeSpec, Scheduler, Settings};
use tidegate_proxy::{BudgetPolicy, EjectionPolicy, RetryBudget, ServiceSettings, Target, TlsTarget};
use tokio::sync::{mpsc, watch};

use super::AppError;
use crate::clock::Clock;
use crate::control::{Control, Parts, Publisher, Service, Zone, ZoneSource};
use crate::load::Bundles;
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

#[expect(clippy::too_many_arguments, reason = "called once, with the parts of one daemon")]
pub(super) async fn assemble(
    config: &Config,
    zones: Vec<Arc<tidegate_dns::Zone>>,
    probes: Vec<ProbeSpec>,
    bundles: &Bundles,
    results: mpsc::Sender<Observation>,
    worlds: Worlds,
    metrics: Arc<Metrics>,
    clock: Clock,
    round: watch::Sender<bool>,
) -> Result<Assembly, AppError> {
    let (store, stored) = Store::open(&config.state_dir)?;
    let fleet = Arc::new(config.fleet.clone());
    let state = State::new(&fleet, &stored.groups, clock.now())?;
    let sources = zone_sources(config, zones);
    let zones = zone_records(&fleet, &sources, &stored.zones);
    keep_serials(&store, &zones, &stored.zones).await;

    let targets = fleet.origin_ids().map(|id| target(config, bundles, id)).collect::<Result<_, _>>()?;
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

fn target(config: &Config, bundles: &Bundles, id: OriginId) -> Result<Arc<Target>, AppError> {
    let (origin, endpoint) = (config.fleet.origin(id), &config.origins[id.index()]);
    let tls = match &endpoint.scheme {
        Scheme::Https(tls) => Some(tls_target(tls, bundles)?),
        Scheme::Http | Scheme::Tcp => None,
    };
    let policy = ejection(config.services[origin.service.index()].ejection);
    Target::new(id, origin.name.clone(), endpoint.addr, tls, policy)
        .map_err(|error| AppError::Assemble(format!("origin {}: {error}", origin.name)))
}

fn tls_target(tls: &Tls, bundles: &Bundles) -> Result<TlsTarget, AppError> {
    let verify = match &tls.verify {
        Verify::System => tidegate_proxy::Verify::System,
        Verify::Off => tidegate_proxy::Verify::Off,
        Verify::Ca(path) => tidegate_proxy::Verify::Ca(certificates(path, bundles)?),
    };
    Ok(TlsTarget { sni: tls.server_name.clone(), verify })
}

fn certificates(path: &Path, bundles: &Bundles) -> Result<Arc<[CertificateDer<'static>]>, AppError> {
    let pem = bundles.read(path);
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    parsed
        .map(Into::into)
        .map_err(|error| AppError::Assemble(format!("certificates in {}: {error}", path.display())))
}

fn ejection(configured: Ejection) -> EjectionPolicy {
    EjectionPolicy {
        transport_max: configured.failures,
        status_max: configured.status_failures,
        base: configured.base,
        max: configured.max,
        share_percent: u32::from(configured.share_percent_max),
    }
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
