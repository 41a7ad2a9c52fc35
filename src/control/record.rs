//! Entries of the history that nothing waits for: on their way to the disk in few, bounded writes.
//!
//! A lost site may change thousands of origins at once, and a write costs the disk the same for one entry as for many. So
//! entries are gathered while the one before is written, and the store's queue holds one such write at most: a decision
//! never waits behind more than that.

use std::sync::Arc;
use std::time::Duration;

use tidegate_health::SELF;
use tidegate_health::event::{Class, Event};
use tidegate_health::time::Mono;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;

use crate::history::Flood;
use crate::metrics::Metrics;
use crate::store::{Before, Change, Store};

/// Entries waiting to be written; beyond it they only reach the log.
const RECORDS_MAX: usize = 16_384;
/// Entries of one write.
const BATCH_MAX: usize = 512;
/// Between two writes: however much happens, the disk has time for decisions.
const PAUSE: Duration = Duration::from_millis(100);
/// How often what is too old is looked for.
const TRIM: Duration = Duration::from_secs(60);
/// How often what was left out is looked at.
const DUE: Duration = Duration::from_secs(1);

/// Hands entries to the store.
pub(super) struct Recorder {
    entries: mpsc::Sender<Event>,
    /// One permit for each entry that is not written yet.
    waiting: Arc<Semaphore>,
    flood: Flood,
    looked: Mono,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// Starts the task that writes.
    pub(super) fn start(store: Store, metrics: Arc<Metrics>) -> Self {
        let (entries, queue) = mpsc::channel(RECORDS_MAX);
        let waiting = Arc::new(Semaphore::new(RECORDS_MAX));
        tokio::spawn(write(store, queue, waiting.clone(), metrics.clone()));
        Self { entries, waiting, flood: Flood::default(), looked: Mono::default(), metrics }
    }

    /// Whether an entry may be written now; of what changes too often the latest comes later. What people do is always
    /// written.
    pub(super) fn admit(&mut self, event: Event, now: Mono) -> Option<Event> {
        let by_itself = event.kind.class() != Class::Decision && &*event.actor == SELF;
        if by_itself { self.flood.take(event, now.0) } else { Some(event) }
    }

    /// Entries that had to wait and may be told now.
    pub(super) fn due(&mut self, now: Mono) -> Vec<Event> {
        if now.since(self.looked) < DUE {
            return Vec::new();
        }
        self.looked = now;
        self.flood.due(now.0)
    }

    /// Adds to the history; nothing waits for it.
    pub(super) fn record(&self, event: Event) {
        match self.waiting.try_acquire() {
            // The writer gives it back.
            Ok(permit) if self.entries.try_send(event).is_ok() => permit.forget(),
            _ => self.metrics.record_dropped(),
        }
    }

    /// Waits until everything is written.
    pub(super) async fn drain(&self) {
        // Fails only if it was closed, which it never is.
        let _ = self.waiting.acquire_many(RECORDS_MAX as u32).await;
    }
}

/// Writes until every sender is gone.
async fn write(
    store: Store,
    mut queue: mpsc::Receiver<Event>,
    waiting: Arc<Semaphore>,
    metrics: Arc<Metrics>,
) {
    let mut trim = tokio::time::interval(TRIM);
    trim.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut records = Vec::with_capacity(BATCH_MAX);
    loop {
        let trim = tokio::select! {
            count = queue.recv_many(&mut records, BATCH_MAX) => {
                if count == 0 {
                    return;
                }
                false
            }
            _ = trim.tick() => true,
        };
        let count = records.len();
        let change = Change { records: std::mem::take(&mut records), trim, ..Change::default() };
        if let Err(error) = store.write(change, Before::default()).await {
            (0..count).for_each(|_| metrics.record_dropped());
            tracing::warn!(%error, entries = count, "entries of the history could not be written");
        }
        waiting.add_permits(count);
        tokio::time::sleep(PAUSE).await;
    }
}
