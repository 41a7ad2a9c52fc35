//! The durable store: one redb file in `state_dir`, written by one thread of its own.
//!
//! Nothing that serves ever waits for the disk. The control task hands a change over and gets told when it is on
//! disk, or that it is not: after [`DEADLINE`] it is told the latter, and the thread takes the late write back as
//! soon as it ends, so that the file and what readers saw agree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};
use tidegate_health::durable::Durable;
use tidegate_health::event::Event;
use tidegate_health::id::Name;
use tokio::sync::oneshot;

/// How long a change may take before it counts as not stored.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// Entries of the history that are kept, newest first.
pub const HISTORY_MAX: u64 = 10_000;
/// Jobs waiting for the disk; beyond it new ones are refused.
const QUEUE_MAX: usize = 1024;
/// The layout of the file; a newer one is not touched.
const SCHEMA: u64 = 1;

#[cfg(test)]
mod tests;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");
const ZONES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("zones");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");

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
    #[error("the store {path} has layout {found}, this version knows {SCHEMA}; run the newer tidegate")]
    Newer { path: PathBuf, found: u64 },
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
}

/// One atomic change.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub groups: Vec<(Name, Durable)>,
    pub zones: Vec<(Name, ZoneRecord)>,
    pub event: Option<Event>,
}

/// A handle to the store's thread.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::SyncSender<Job>,
}

#[derive(Debug)]
enum Job {
    Write { write: Box<Write>, done: oneshot::Sender<Result<(), StoreError>> },
    History { limit: usize, group: Option<Name>, done: oneshot::Sender<Result<Vec<Event>, StoreError>> },
}

#[derive(Debug)]
struct Write {
    change: Change,
    undo: Change,
    fate: Arc<Fate>,
}

/// Who had the last word on a write: the disk, or the deadline.
#[derive(Debug, Default)]
struct Fate(AtomicU8);

impl Fate {
    const OPEN: u8 = 0;
    const WRITTEN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// True if nobody was faster.
    fn settle(&self, outcome: u8) -> bool {
        self.0.compare_exchange(Self::OPEN, outcome, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::GIVEN_UP
    }
}

impl Store {
    /// Opens the store in `folder`, creating both if need be, and reads what it holds.
    ///
    /// # Errors
    /// The folder cannot be created, another process has the store, or it cannot be read.
    pub fn open(folder: &Path) -> Result<(Self, Stored), StoreError> {
        create_folder(folder)?;
        let path = folder.join("tidegate.redb");
        let database = open(&path)?;
        let stored = load(&database)?;
        let (jobs, queue) = mpsc::sync_channel(QUEUE_MAX);
        let worker = Worker { path, database: Some(database) };
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || worker.run(&queue))
            .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        Ok((Self { jobs }, stored))
    }

    /// Makes `change` durable. On an error it is not, and `undo` describes what holds instead.
    ///
    /// # Errors
    /// The disk failed or did not answer in time, or too many writes wait for it.
    pub async fn write(&self, change: Change, undo: Change) -> Result<(), StoreError> {
        let fate = Arc::new(Fate::default());
        let (done, mut answer) = oneshot::channel();
        self.send(Job::Write { write: Box::new(Write { change, undo, fate: fate.clone() }), done })?;
        let answer = match tokio::time::timeout(DEADLINE, &mut answer).await {
            Ok(answer) => answer,
            Err(_) if fate.settle(Fate::GIVEN_UP) => return Err(StoreError::Stalled),
            // The disk was faster by a hair; whether it did the work is on its way.
            Err(_) => answer.await,
        };
        answer.unwrap_or(Err(StoreError::Gone))
    }

    /// The newest entries of the history, newest first.
    ///
    /// # Errors
    /// The disk failed or did not answer in time.
    pub async fn history(&self, limit: usize, group: Option<Name>) -> Result<Vec<Event>, StoreError> {
        let (done, answer) = oneshot::channel();
        self.send(Job::History { limit, group, done })?;
        let answer = tokio::time::timeout(DEADLINE, answer).await.map_err(|_| StoreError::Stalled)?;
        answer.unwrap_or(Err(StoreError::Gone))
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => StoreError::Full,
            mpsc::TrySendError::Disconnected(_) => StoreError::Gone,
        })
    }
}

struct Worker {
    path: PathBuf,
    /// None after a failed write: redb wants the file opened anew then.
    database: Option<Database>,
}

impl Worker {
    /// Runs until every handle is gone.
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        for job in queue {
            match job {
                Job::Write { write: job, done } => {
                    let Write { change, undo, fate } = *job;
                    if fate.is_given_up() {
                        continue;
                    }
                    let result = self.with(|database| write(database, &change));
                    if fate.settle(Fate::WRITTEN) {
                        // The asker may be gone at a shutdown.
                        let _ = done.send(result);
                    } else if result.is_ok()
                        && let Err(error) = self.with(|database| write(database, &undo))
                    {
                        tracing::error!(%error, "a write that came too late could not be taken back");
                    }
                }
                Job::History { limit, group, done } => {
                    let _ = done.send(self.with(|database| history(database, limit, group.as_deref())));
                }
            }
        }
    }

    fn with<T>(&mut self, action: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        let result = action(&database);
        if !matches!(result, Err(StoreError::Io(_))) {
            self.database = Some(database);
        }
        result
    }
}

fn create_folder(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(folder)
        .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let database = Database::create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        other => StoreError::Open { path: path.to_owned(), source: Box::new(other.into()) },
    })?;
    match layout(&database)? {
        // Nothing is written where nothing has to be, so that a full disk keeps no daemon from starting.
        Some(SCHEMA) => Ok(database),
        Some(found) => Err(StoreError::Newer { path: path.to_owned(), found }),
        None => prepare(&database).map(|()| database),
    }
}

/// The layout's number; none in a new file.
fn layout(database: &Database) -> Result<Option<u64>, StoreError> {
    let transaction = database.begin_read().map_err(boxed)?;
    match transaction.open_table(META) {
        Ok(meta) => Ok(meta.get("schema").map_err(boxed)?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(boxed(error).into()),
    }
}

/// Makes every table, and last of all says which layout they have.
fn prepare(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(boxed)?;
    transaction.open_table(GROUPS).map_err(boxed)?;
    transaction.open_table(ZONES).map_err(boxed)?;
    transaction.open_table(HISTORY).map_err(boxed)?;
    transaction.open_table(META).map_err(boxed)?.insert("schema", SCHEMA).map_err(boxed)?;
    Ok(transaction.commit().map_err(boxed)?)
}

fn load(database: &Database) -> Result<Stored, StoreError> {
    let transaction = database.begin_read().map_err(boxed)?;
    let mut stored = Stored::default();
    for entry in transaction.open_table(GROUPS).map_err(boxed)?.iter().map_err(boxed)? {
        let (name, record) = entry.map_err(boxed)?;
        stored.groups.insert(name.value().into(), decode("groups", record.value())?);
    }
    for entry in transaction.open_table(ZONES).map_err(boxed)?.iter().map_err(boxed)? {
        let (name, record) = entry.map_err(boxed)?;
        stored.zones.insert(name.value().into(), decode("zones", record.value())?);
    }
    Ok(stored)
}

fn write(database: &Database, change: &Change) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(boxed)?;
    {
        let mut groups = transaction.open_table(GROUPS).map_err(boxed)?;
        for (name, durable) in &change.groups {
            groups.insert(&**name, encode(durable).as_slice()).map_err(boxed)?;
        }
        let mut zones = transaction.open_table(ZONES).map_err(boxed)?;
        for (name, record) in &change.zones {
            zones.insert(&**name, encode(record).as_slice()).map_err(boxed)?;
        }
        if let Some(event) = &change.event {
            let mut history = transaction.open_table(HISTORY).map_err(boxed)?;
            let next = history.last().map_err(boxed)?.map_or(0, |(key, _)| key.value() + 1);
            history.insert(next, encode(event).as_slice()).map_err(boxed)?;
            while history.len().map_err(boxed)? > HISTORY_MAX {
                history.pop_first().map_err(boxed)?;
            }
        }
    }
    Ok(transaction.commit().map_err(boxed)?)
}

fn history(database: &Database, limit: usize, group: Option<&str>) -> Result<Vec<Event>, StoreError> {
    let transaction = database.begin_read().map_err(boxed)?;
    let table = transaction.open_table(HISTORY).map_err(boxed)?;
    let mut events = Vec::new();
    for entry in table.iter().map_err(boxed)?.rev() {
        let (_, record) = entry.map_err(boxed)?;
        let event: Event = decode("history", record.value())?;
        if group.is_none() || event.group.as_deref() == group {
            events.push(event);
        }
        if events.len() >= limit {
            break;
        }
    }
    Ok(events)
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are plain maps with string keys, which JSON can always hold")
}

fn decode<T: for<'a> Deserialize<'a>>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Record { table, detail: error.to_string() })
}
