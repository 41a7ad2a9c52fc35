//! The thread that writes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use redb::Database;
use tokio::sync::oneshot;

use super::{Before, Change, Shared, StoreError, file, rings};
use crate::clock::wall;
use crate::history::Bounds;

/// One change to make durable.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) change: Change,
    /// What holds instead if the change comes too late.
    pub(super) before: Before,
    pub(super) fate: Arc<Fate>,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

/// Who had the last word on a write: the disk, or the deadline.
#[derive(Debug, Default)]
pub(super) struct Fate(AtomicU8);

const OPEN: u8 = 0;
const ENDED: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Fate {
    /// The deadline has passed; false if the write ended before.
    pub(super) fn give_up(&self) -> bool {
        self.settle(GIVEN_UP)
    }

    /// The write has ended; false if it was given up before.
    pub(super) fn end(&self) -> bool {
        self.settle(ENDED)
    }

    fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == GIVEN_UP
    }

    fn settle(&self, outcome: u8) -> bool {
        self.0.compare_exchange(OPEN, outcome, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

pub(super) struct Worker {
    path: PathBuf,
    database: Shared,
    bounds: Arc<Mutex<Bounds>>,
}

impl Worker {
    pub(super) fn new(path: PathBuf, database: Shared, bounds: Arc<Mutex<Bounds>>) -> Self {
        Self { path, database, bounds }
    }

    /// Runs until every handle is gone.
    pub(super) fn run(self, queue: &mpsc::Receiver<Job>) {
        for job in queue {
            self.work(job);
        }
    }

    pub(super) fn work(&self, Job { change, before, fate, done }: Job) {
        if fate.is_given_up() {
            return;
        }
        let bounds = *self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        let room = if change.alive.is_some() { file::check_room(&self.path) } else { Ok(()) };
        let mut result = room.and_then(|()| self.with(|database| file::write(database, &change, &bounds)));
        if change.trim && result.is_ok() {
            result = self.with(|database| rings::trim(database, &bounds, wall()));
        }
        let in_time = fate.end();
        // A commit that failed may have reached the disk all the same.
        let take_back = !in_time || matches!(result, Err(StoreError::Io(_)));
        if take_back && let Err(error) = self.with(|database| file::take_back(database, &change, &before)) {
            tracing::error!(%error, "a write that did not count could not be taken back");
        }
        if in_time {
            // The asker may be gone at a stop.
            let _ = done.send(result);
        }
    }

    #[cfg(test)]
    pub(super) fn database(&self) -> Arc<Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("no write has failed")
    }

    /// Runs `action` on the open file, opening it anew where it has to be.
    fn with<T>(&self, action: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let open = self.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let database = match open {
            Some(database) => database,
            None => {
                let database = Arc::new(file::open(&self.path)?);
                *self.database.lock().unwrap_or_else(PoisonError::into_inner) = Some(database.clone());
                database
            }
        };
        let result = action(&database);
        if matches!(result, Err(StoreError::Io(_))) {
            *self.database.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result
    }
}
