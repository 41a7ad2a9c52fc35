//! The durable store: one redb file in `state_dir`, written by one thread of its own.
//!
//! Nothing that serves ever waits for the disk. The control task hands a change over and gets told when it is on
//! disk, or that it is not: after [`DEADLINE`] it is told the latter, and the thread takes the late write back as
//! soon as it ends, so that the file and what readers saw agree. Reading the history never stands in a writer's way.

mod file;
mod names;
mod rings;
mod tokens;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;
use serde::{Deserialize, Serialize};
use tidegate_health::durable::Durable;
use tidegate_health::event::Event;
use tidegate_health::force::Force;
use tidegate_health::id::Name;
use tidegate_health::time::Wall;
pub use tokens::TokenRecord;
use tokio::sync::{Semaphore, oneshot};
use worker::{Fate, Job, Worker};

use crate::history::{Bounds, Entry, Filter, Order};
use crate::names::NameRecord;

/// How long a change may take before it counts as not stored.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// Jobs waiting for the disk; beyond it new ones are refused.
const QUEUE_MAX: usize = 1024;
/// Readers of the history at a time.
const READERS_MAX: usize = 2;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "cannot create the state folder {path}: {source}; create it, or set `state_dir` to one that can be"
    )]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the store {path} is in use: is another tidegate running with the same `state_dir`?")]
    InUse { path: PathBuf },
    #[error(
        "cannot open the store {path}: {source}; restore it from a backup, or move it away to start anew"
    )]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("the store {path} has layout {found}, this version knows {known}; run the newer tidegate")]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error(
        "the store {path} is empty, which it never is after a start; restore it from a backup, or remove it to start anew"
    )]
    Empty { path: PathBuf },
    #[error("a record of {table} in the store cannot be read: {detail}")]
    Record { table: &'static str, detail: String },
    #[error("{0}")]
    Io(#[from] Box<redb::Error>),
    #[error("the disk did not answer within {} s", DEADLINE.as_secs())]
    Stalled,
    #[error("more than {QUEUE_MAX} writes wait for the disk")]
    Full,
    #[error("the store's thread has ended")]
    Gone,
    #[error("the disk that holds {path} has {free} bytes left")]
    NoRoom { path: PathBuf, free: u64 },
    #[error("a write failed, and the store could not be opened anew since")]
    Broken,
}

/// What a zone's serial is derived from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRecord {
    pub serial: u32,
    /// Of everything that shapes the zone's answers beside the decisions.
    pub content: u64,
}

/// All that the store held at the start.
#[derive(Debug, Default)]
pub struct Stored {
    pub groups: BTreeMap<Name, Durable>,
    pub zones: BTreeMap<Name, ZoneRecord>,
    pub forces: Vec<Force>,
    /// The last good addresses of names that stand for origins.
    pub names: BTreeMap<Name, NameRecord>,
    pub tokens: Vec<TokenRecord>,
}

/// One atomic change.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub groups: Vec<(Name, Durable)>,
    pub zones: Vec<(Name, ZoneRecord)>,
    /// All forces, in place of those that are there.
    pub forces: Option<Vec<Force>>,
    /// All names, in place of those that are there. A write that comes too late is not taken back: it is as good.
    pub names: Option<BTreeMap<Name, NameRecord>>,
    /// All tokens, likewise.
    pub tokens: Option<Vec<TokenRecord>>,
    /// Its own entry in the history: it is taken back with the change.
    pub event: Option<Event>,
    /// Entries that nothing depends on.
    pub records: Vec<Event>,
    /// That it can be written at all: the time.
    pub alive: Option<Wall>,
    /// Also lets go of what is too old or too much.
    pub trim: bool,
}

impl Change {
    fn is_empty(&self) -> bool {
        let Self { groups, zones, forces, tokens, names, event, records, alive, trim: _ } = self;
        let lists = groups.is_empty() && zones.is_empty() && records.is_empty();
        let kept = forces.is_none() && tokens.is_none();
        lists && kept && names.is_none() && event.is_none() && alive.is_none()
    }
}

/// What holds instead where a change fails.
#[derive(Clone, Debug, Default)]
pub struct Before {
    pub groups: Vec<(Name, Durable)>,
    pub forces: Option<Vec<Force>>,
    pub tokens: Option<Vec<TokenRecord>>,
}

/// The open file. None after a failed write: redb wants it opened anew then.
type Shared = Arc<Mutex<Option<Arc<Database>>>>;

/// A handle to the store's thread.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::SyncSender<Job>,
    database: Shared,
    readers: Arc<Semaphore>,
    bounds: Arc<Mutex<Bounds>>,
    thread: Arc<JoinHandle<()>>,
}

impl Store {
    /// Opens the store in `folder`, creating both if need be, and reads what it holds.
    ///
    /// # Errors
    /// The folder cannot be created, another process has the store, or it cannot be read.
    pub fn open(folder: &Path) -> Result<(Self, Stored), StoreError> {
        file::create_folder(folder)?;
        let path = folder.join("tidegate.redb");
        let database = file::open(&path)?;
        let stored = file::load(&database)?;
        Ok((Self::start(path, database)?, stored))
    }

    /// Starts the thread that writes `database`, which is the file at `path`.
    fn start(path: PathBuf, database: Database) -> Result<Self, StoreError> {
        let database = Arc::new(Mutex::new(Some(Arc::new(database))));
        let (jobs, queue) = mpsc::sync_channel(QUEUE_MAX);
        let bounds = Arc::new(Mutex::new(Bounds::default()));
        let worker = Worker::new(path.clone(), database.clone(), bounds.clone());
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || worker.run(&queue))
            .map_err(|source| StoreError::Folder { path, source })?;
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        Ok(Self { jobs, database, readers, bounds, thread: Arc::new(thread) })
    }

    /// Makes `change` durable. On an error it is not, and what `before` says holds instead.
    ///
    /// # Errors
    /// The disk failed or did not answer in time, or too many writes wait for it.
    pub async fn write(&self, change: Change, before: Before) -> Result<(), StoreError> {
        let fate = Arc::new(Fate::default());
        let (done, mut answer) = oneshot::channel();
        let job = Job { change, before, fate: fate.clone(), done };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => StoreError::Full,
            mpsc::TrySendError::Disconnected(_) => StoreError::Gone,
        })?;
        match tokio::time::timeout(DEADLINE, &mut answer).await {
            Ok(answer) => answer.unwrap_or(Err(StoreError::Gone)),
            Err(_) if fate.give_up() => Err(StoreError::Stalled),
            // It ended in the last moment, and its answer is on the way.
            Err(_) => answer.await.unwrap_or(Err(StoreError::Gone)),
        }
    }

    /// From now on this much of the history is kept.
    pub fn bound(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    /// The first `limit` entries of the history that `filter` wants, in this order.
    ///
    /// # Errors
    /// The disk failed or did not answer in time.
    pub async fn history(
        &self,
        filter: Filter,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let read = async {
            let permit = self.readers.clone().acquire_owned().await.map_err(|_| StoreError::Gone)?;
            let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let database = database.ok_or(StoreError::Broken)?;
            let read = tokio::task::spawn_blocking(move || {
                let entries = rings::page(&database, &filter, order, limit);
                drop(permit);
                entries
            });
            read.await.unwrap_or(Err(StoreError::Gone))
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap_or(Err(StoreError::Stalled))
    }

    /// Whether its thread runs; without it nothing can be made durable.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

#[cfg(test)]
mod tests;
