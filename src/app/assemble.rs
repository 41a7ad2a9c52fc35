//! From a checked configuration to a control task that is ready to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_config::Config;
use tidegate_health::fleet::Fleet;
use tidegate_health::force::Force;
use tidegate_health::id::Name;
use tidegate_health::state::State;
use tidegate_probe::{Observation, Scheduler, Settings};
use tokio::sync::{mpsc, watch};

use super::AppError;
use crate::clock::Clock;
use crate::control::{Control, Parts, Plan, Publisher, Zone};
use crate::coord::Local;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::store::{Before, Change, Store, Stored, ZoneRecord};
use crate::watchers::Watchers;
use crate::world::Worlds;

/// What the control task is connected to.
pub(super) struct Wiring {
    pub(super) results: mpsc::Sender<Observation>,
    pub(super) worlds: Worlds,
    pub(super) metrics: Arc<Metrics>,
    pub(super) notifier: Notifier,
    pub(super) clock: Clock,
    pub(super) round: watch::Sender<bool>,
}

pub(super) async fn assemble(
    config: &Config,
    plan: Plan,
    (store, stored): (Store, Stored),
    Wiring { results, worlds, metrics, notifier, clock, round }: Wiring,
) -> Result<Control, AppError> {
    let fleet = plan.fleet.clone();
    let known = |name: &Name| stored.zones.get(name).map(|record| (*record, record.serial));
    let zones = plan.zone_records(known, &BTreeMap::new());
    let absent = stored.zones.iter().filter(|(name, _)| !zones.contains_key(*name)).map(|(name, record)| {
        (name.clone(), Zone { record: *record, serial_max: record.serial, groups: Vec::new() })
    });
    let absent = absent.collect();
    keep_serials(&store, &zones, &stored.zones).await;

    let state = State::new(&fleet, &stored.groups, clock.now())?;
    let state = state.with_forces(&fleet, stored.forces, clock.now());
    tell_start(&fleet, &state);
    metrics.expect(&fleet);
    let watchers = Watchers::start(&plan.watches, worlds.clone());
    let publisher = Publisher::new(worlds, &state);
    let settings = Settings {
        per_target_max: config.probes_per_target_max as usize,
        commands_max: config.check_commands_max as usize,
        seed: fastrand::u64(..),
    };
    let probes = Scheduler::start(plan.probes.clone(), results, settings);
    Ok(Control::new(Parts {
        plan,
        state,
        clock,
        probes,
        coord: Arc::new(Local::new(store.clone())),
        watchers,
        store,
        publisher,
        zones,
        absent,
        metrics,
        notifier,
        round,
    }))
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
    for Force { selector, kind, actor, reason, .. } in &state.forces {
        tracing::info!("still held: {} {selector} by {actor}: {reason}", kind.verb());
    }
}

/// Writes down serials that are new with this start. Where that fails they are served all the same: the next start
/// works them out again from the same files.
async fn keep_serials(store: &Store, zones: &BTreeMap<Name, Zone>, stored: &BTreeMap<Name, ZoneRecord>) {
    let changed = zones.iter().filter(|(name, zone)| stored.get(*name) != Some(&zone.record));
    let zones: Vec<_> = changed.map(|(name, zone)| (name.clone(), zone.record)).collect();
    if zones.is_empty() {
        return;
    }
    if let Err(error) = store.write(Change { zones, ..Change::default() }, Before::default()).await {
        tracing::error!(%error, "the zones' serials could not be written; switching will be refused, too");
    }
}
