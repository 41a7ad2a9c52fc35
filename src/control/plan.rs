//! All that the control task needs of one configuration, at a start and at a reload alike.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tidegate_config::{Config, HostPattern, Protocol, Spill, SteerSettings};
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name, OriginId, ServiceId};
use tidegate_probe::ProbeSpec;
use tidegate_proxy::{BudgetPolicy, RetryBudget, ServiceSettings, Target};

use super::persist::Zone;
use crate::history::Bounds;
use crate::serial;
use crate::store::ZoneRecord;
use crate::watchers::Watch;
use crate::world::Settings;

/// A configuration, lowered to what is checked, decided and published.
#[derive(Debug)]
pub struct Plan {
    pub fleet: Arc<Fleet>,
    /// Parallel to the fleet's origins, as are the targets.
    pub probes: Vec<ProbeSpec>,
    /// Live state of the origins; outlives every World.
    pub targets: Vec<Arc<Target>>,
    pub services: Vec<Service>,
    pub zones: Vec<ZoneSource>,
    /// What is looked at beside the origins.
    pub watches: Vec<Watch>,
    pub settings: Arc<Settings>,
    /// How much of the history is kept.
    pub history: Bounds,
}

/// What of a service does not change with decisions.
#[derive(Debug)]
pub struct Service {
    pub id: ServiceId,
    pub protocol: Protocol,
    pub hosts: Vec<Arc<str>>,
    pub spill: Spill,
    pub slow_start: Duration,
    pub settings: ServiceSettings,
    pub budget: Arc<RetryBudget>,
}

/// What of a zone does not change with decisions.
#[derive(Debug)]
pub struct ZoneSource {
    pub name: Name,
    pub zone: Arc<tidegate_dns::Zone>,
    pub steer: Vec<SteerSettings>,
}

impl Plan {
    /// The parts that were read with `config`, zones parallel to its zones, probes and targets to its origins.
    #[must_use]
    pub fn new(
        config: &Config,
        zones: Vec<Arc<tidegate_dns::Zone>>,
        probes: Vec<ProbeSpec>,
        targets: Vec<Arc<Target>>,
        watches: Vec<Watch>,
        settings: Arc<Settings>,
    ) -> Self {
        let sources = config.zones.iter().zip(zones).map(|(settings, zone)| ZoneSource {
            name: settings.origin.clone(),
            zone,
            steer: settings.steer.clone(),
        });
        Self {
            fleet: Arc::new(config.fleet.clone()),
            probes,
            targets,
            services: services(config),
            zones: sources.collect(),
            watches,
            settings,
            history: Bounds {
                decisions_max: config.history.decisions_max,
                notes_max: config.history.notes_max,
                observations_max: config.history.observations_max,
                max_age: config.history.max_age,
            },
        }
    }

    /// For each origin the one of `old` that is the same service, site and address, and is asked the same.
    pub(super) fn kept(&self, old: &Self) -> Vec<Option<OriginId>> {
        let numbers = old.fleet.origin_ids().map(|id| (&old.fleet.origin(id).name, id));
        let numbers: HashMap<_, _> = numbers.collect();
        let origins = self.fleet.origins.iter().zip(&self.probes);
        let kept = origins.map(|(origin, probe)| {
            let was = numbers.get(&origin.name)?;
            probe.asks_the_same(&old.probes[was.index()]).then_some(*was)
        });
        kept.collect()
    }

    /// Takes over what live traffic knows: connections, ejections and requests in flight of targets that are reached as
    /// before, and the retry budgets of services that stay.
    pub(super) fn inherit(&mut self, old: &Self) {
        let known: HashMap<_, _> = old.targets.iter().map(|target| (target.name(), target)).collect();
        for target in &mut self.targets {
            if let Some(same) = known.get(target.name()).filter(|known| known.is_like(target)) {
                *target = Arc::clone(same);
            }
        }
        let name = |plan: &Self, service: &Service| plan.fleet.service(service.id).name.clone();
        let budgets: HashMap<_, _> =
            old.services.iter().map(|service| (name(old, service), &service.budget)).collect();
        let fleet = self.fleet.clone();
        for service in &mut self.services {
            if let Some(budget) = budgets.get(&fleet.service(service.id).name) {
                service.budget = Arc::clone(budget);
            }
        }
    }

    /// Whether requests of a service pass through this daemon.
    pub(super) fn is_proxied(&self, service: ServiceId) -> bool {
        let own = self.services.get(service.index()).filter(|own| own.id == service);
        own.is_some_and(|own| own.protocol == Protocol::Http)
    }

    /// The serials that the zones are to be served with.
    ///
    /// The file's own serial, where it is newer than the last one served; else a zone whose content changed since then
    /// gets the next. `known` is what was served and the highest serial ever handed out; `written` is what is on disk
    /// for this very change already.
    #[must_use]
    pub fn zone_records(
        &self,
        known: impl Fn(&Name) -> Option<(ZoneRecord, u32)>,
        written: &BTreeMap<Name, ZoneRecord>,
    ) -> BTreeMap<Name, Zone> {
        let zones = self.zones.iter().map(|source| {
            let (own, content) = (source.zone.serial(), content(&self.fleet, source));
            let already = written.get(&source.name).filter(|record| record.content == content);
            let (serial, serial_max) = match (known(&source.name), already) {
                (None, _) => (own, own),
                (Some((_, max)), Some(written)) if written.serial == max => (max, max),
                (Some((record, max)), _) if record.content == content && !serial::is_newer(own, max) => {
                    (record.serial, max)
                }
                (Some((_, max)), _) if serial::is_newer(own, max) => (own, own),
                (Some((_, max)), _) => (serial::next(max), serial::next(max)),
            };
            let mut groups: Vec<GroupId> = source.steer.iter().map(|steer| steer.group).collect();
            groups.sort_unstable();
            groups.dedup();
            (source.name.clone(), Zone { record: ZoneRecord { serial, content }, serial_max, groups })
        });
        zones.collect()
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
        slow_start: settings.slow_start,
        settings: ServiceSettings {
            connect_timeout: settings.timeouts.connect,
            first_byte_timeout: settings.timeouts.response,
            body_idle_timeout: settings.timeouts.body_idle,
            pool_idle_timeout: settings.timeouts.pool_idle,
            tunnel_idle_timeout: settings.timeouts.tunnel_idle,
            attempts_max: settings.retry.attempts,
            redirect_https: settings.redirect_https,
            hsts: settings.hsts.map(hsts),
        },
        budget: Arc::new(RetryBudget::new(BudgetPolicy::default())),
    });
    services.collect()
}

/// RFC 6797, section 6.1.
fn hsts(settings: tidegate_config::Hsts) -> HeaderValue {
    let mut text = format!("max-age={}", settings.max_age.as_secs());
    if settings.include_subdomains {
        text.push_str("; includeSubDomains");
    }
    if settings.preload {
        text.push_str("; preload");
    }
    HeaderValue::try_from(text).expect("letters, digits and punctuation make a header's value")
}

fn host(pattern: &HostPattern) -> Arc<str> {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}").into(),
    }
}
