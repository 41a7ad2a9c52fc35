//! Changes on their way to the disk, and the zone serials that travel with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_health::durable::Durable;
use tidegate_health::event::Event;
use tidegate_health::fleet::Fleet;
use tidegate_health::force::Force;
use tidegate_health::id::{GroupId, Name};
use tokio::sync::{mpsc, oneshot};

use super::Plan;
use super::record::Recorder;
use crate::coord;
use crate::metrics::Metrics;
use crate::serial;
use crate::store::{Before, Change, Store, StoreError, ZoneRecord};

/// At a stop, writes under way get this long.
const DRAIN: Duration = Duration::from_secs(3);

/// Writes started and not finished.
pub(super) struct Persister {
    coord: coord::Shared,
    /// This node's own, with its history.
    store: Store,
    fleet: Arc<Fleet>,
    zones: BTreeMap<Name, Zone>,
    /// Of zones that the configuration does not name at present.
    absent: BTreeMap<Name, Zone>,
    /// At most one per group and one of forces: the core starts no second change before the first is done.
    started: BTreeMap<u64, Started>,
    finished: mpsc::Receiver<(u64, Result<(), String>)>,
    finish: mpsc::Sender<(u64, Result<(), String>)>,
    pub(super) recorder: Recorder,
}

/// A zone whose answers depend on decisions.
#[derive(Clone, Debug)]
pub struct Zone {
    /// What is published.
    pub record: ZoneRecord,
    /// The highest serial ever handed to the store; a serial is never used for two contents.
    pub serial_max: u32,
    /// The groups its steered names follow.
    pub groups: Vec<GroupId>,
}

/// What a write is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Group(GroupId),
    Forces,
}

/// A write that was started, by ticket.
struct Started {
    subject: Subject,
    event: Event,
    /// The serials that zones get with it.
    serials: Vec<(Name, u32)>,
}

/// A write that ended: of which change, and why it failed.
pub(super) struct Finished {
    pub(super) subject: Subject,
    pub(super) ticket: u64,
    pub(super) event: Event,
    pub(super) outcome: Result<(), String>,
}

impl Persister {
    pub(super) fn new(
        (coord, store): (coord::Shared, Store),
        plan: &Plan,
        (zones, absent): (BTreeMap<Name, Zone>, BTreeMap<Name, Zone>),
        metrics: Arc<Metrics>,
    ) -> Self {
        let (finish, finished) = mpsc::channel(64);
        let fleet = plan.fleet.clone();
        store.bound(plan.history);
        let recorder = Recorder::start(store.clone(), metrics);
        Self { coord, store, fleet, zones, absent, started: BTreeMap::new(), finished, finish, recorder }
    }

    /// Starts a write. A change of the active site takes new serials of the zones that follow the group along.
    pub(super) fn start(
        &mut self,
        group: GroupId,
        ticket: u64,
        (next, event): (Durable, Event),
        previous: Durable,
    ) {
        let mut zones = Vec::new();
        if next.epoch() != previous.epoch() {
            for (name, zone) in self.zones.iter_mut().filter(|(_, zone)| zone.groups.contains(&group)) {
                zone.serial_max = serial::next(zone.serial_max);
                zones.push((name.clone(), ZoneRecord { serial: zone.serial_max, ..zone.record }));
            }
        }
        let serials = zones.iter().map(|(name, record)| (name.clone(), record.serial)).collect();
        self.started
            .insert(ticket, Started { subject: Subject::Group(group), event: event.clone(), serials });
        let name = self.fleet.group(group).name.clone();
        let groups = vec![(name.clone(), next)];
        let change = Change { groups, zones, event: Some(event), ..Change::default() };
        self.write(ticket, change, Before { groups: vec![(name, previous)], ..Before::default() });
    }

    /// Starts to write forces in place of the previous ones.
    pub(super) fn start_forces(
        &mut self,
        ticket: u64,
        (next, event): (Vec<Force>, Event),
        previous: Vec<Force>,
    ) {
        let started = Started { subject: Subject::Forces, event: event.clone(), serials: Vec::new() };
        self.started.insert(ticket, started);
        let change = Change { forces: Some(next), event: Some(event), ..Change::default() };
        self.write(ticket, change, Before { forces: Some(previous), ..Before::default() });
    }

    fn write(&self, ticket: u64, change: Change, before: Before) {
        let (commit, finish) = (self.coord.commit(change, before), self.finish.clone());
        tokio::spawn(async move {
            let outcome = commit.await.map_err(|error| error.to_string());
            // Fails only when the control task is gone.
            let _ = finish.send((ticket, outcome)).await;
        });
    }

    /// The next write that ended. Serials of a change that is durable are the zones' serials from then on.
    pub(super) async fn finished(&mut self) -> Option<Finished> {
        let (ticket, outcome) = self.finished.recv().await?;
        let Started { subject, event, serials } = self.started.remove(&ticket)?;
        if outcome.is_ok() {
            for (name, serial) in serials {
                if let Some(zone) = self.zones.get_mut(&name)
                    && serial::is_newer(serial, zone.record.serial)
                {
                    zone.record.serial = serial;
                }
            }
        }
        Some(Finished { subject, ticket, event, outcome })
    }

    /// The zones of another configuration with their serials, and those serials that are not on disk yet.
    pub(super) fn records_for(
        &self,
        plan: &Plan,
        written: &BTreeMap<Name, ZoneRecord>,
    ) -> (BTreeMap<Name, Zone>, Vec<(Name, ZoneRecord)>) {
        let known = |name: &Name| self.zones.get(name).or_else(|| self.absent.get(name));
        let records =
            plan.zone_records(|name| known(name).map(|zone| (zone.record, zone.serial_max)), written);
        let is_stored = |name: &Name, record: &ZoneRecord| {
            written.get(name) == Some(record) || known(name).is_some_and(|zone| zone.record == *record)
        };
        let missing = records.iter().map(|(name, zone)| (name.clone(), zone.record));
        let missing = missing.filter(|(name, record)| !is_stored(name, record)).collect();
        (records, missing)
    }

    /// Begins to write serials ahead of the zones that will have them. Nobody else gets these serials.
    pub(super) fn write_serials(
        &mut self,
        zones: Vec<(Name, ZoneRecord)>,
    ) -> oneshot::Receiver<Result<(), StoreError>> {
        for (name, record) in &zones {
            if let Some(zone) = self.zones.get_mut(name).or(self.absent.get_mut(name)) {
                zone.serial_max = record.serial;
            }
        }
        let (done, outcome) = oneshot::channel();
        let commit = self.coord.commit(Change { zones, ..Change::default() }, Before::default());
        tokio::spawn(async move {
            // Whoever waited may be gone at a stop.
            let _ = done.send(commit.await);
        });
        outcome
    }

    /// Lives on by another configuration.
    pub(super) fn take_over(&mut self, plan: &Plan, written: &BTreeMap<Name, ZoneRecord>) {
        let (records, _) = self.records_for(plan, written);
        self.absent.append(&mut std::mem::replace(&mut self.zones, records));
        self.absent.retain(|name, _| !self.zones.contains_key(name));
        self.fleet = plan.fleet.clone();
        self.store.bound(plan.history);
    }

    /// The serial of every zone, as published.
    pub(super) fn zones(&self) -> &BTreeMap<Name, Zone> {
        &self.zones
    }

    /// Waits for writes under way, for a while; returns those that ended.
    pub(super) async fn drain(&mut self) -> Vec<Finished> {
        let mut ended = Vec::new();
        let all = async {
            while !self.started.is_empty() {
                ended.extend(self.finished().await);
            }
            self.recorder.drain().await;
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::warn!("stopping although the disk has not answered");
        }
        ended
    }
}
