//! What is in the file, and how it is read and written.

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use tidegate_health::durable::Durable;
use tidegate_health::force::Force;
use tidegate_health::id::Name;

use super::{Before, Change, StoreError, Stored, boxed, names, rings, tokens};
use crate::history::Bounds;

/// The layout of the file; a newer one is not touched.
const SCHEMA: u64 = 1;

/// Room for some dozens of decisions.
const ROOM_MIN: u64 = 256 << 10;

pub(super) type Records = TableDefinition<'static, &'static str, &'static [u8]>;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const GROUPS: Records = TableDefinition::new("groups");
const ZONES: Records = TableDefinition::new("zones");
/// One record with all forces: they change together.
const FORCES: Records = TableDefinition::new("forces");
pub(super) const ALL: &str = "all";
pub(super) fn create_folder(folder: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(folder)
        .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })
}

/// Whether the disk has room for the file to grow: a write that fits into what the file has already does not show it.
pub(super) fn check_room(path: &Path) -> Result<(), StoreError> {
    let failed = |error: rustix::io::Errno| StoreError::from(boxed(redb::Error::Io(error.into())));
    let disk = rustix::fs::statvfs(path).map_err(failed)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < ROOM_MIN { Err(StoreError::NoRoom { path: path.to_owned(), free }) } else { Ok(()) }
}

/// Opens the file, or makes it where there is none.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() == 0) {
        return Err(StoreError::Empty { path: path.to_owned() });
    }
    let broken = |source: redb::Error| StoreError::Open { path: path.to_owned(), source: Box::new(source) };
    // Reasons and names of people are nobody else's business.
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|error| broken(redb::Error::Io(error)))?;
    let failed = |error: redb::DatabaseError| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        other => broken(other.into()),
    };
    // The backend takes the file's lock, so that there is never a second writer.
    let backend = FileBackend::new(file).map_err(failed)?;
    let database = Builder::new().create_with_backend(backend).map_err(failed)?;
    match layout(&database)? {
        // Nothing is written where nothing has to be, so that a full disk keeps no daemon from starting.
        Some(SCHEMA) if rings::is_numbered(&database)? => Ok(database),
        Some(SCHEMA) => number(database, path),
        Some(found) => Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA }),
        None => prepare(&database).map(|()| database),
    }
}

/// Gives the entries of an older version numbers that go on over all rings. Where that cannot be written, their order
/// among each other stays as it was.
fn number(database: Database, path: &Path) -> Result<Database, StoreError> {
    let Err(error) = rings::number(&database) else { return Ok(database) };
    tracing::warn!(%error, "older entries of the history are not in order: the store cannot be written");
    // After a failed write the file has to be opened anew.
    drop(database);
    let broken = |source: redb::Error| StoreError::Open { path: path.to_owned(), source: Box::new(source) };
    Database::open(path).map_err(|error| broken(error.into()))
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
pub(super) fn prepare(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(boxed)?;
    transaction.open_table(GROUPS).map_err(boxed)?;
    transaction.open_table(ZONES).map_err(boxed)?;
    transaction.open_table(FORCES).map_err(boxed)?;
    rings::prepare(&transaction)?;
    transaction.open_table(META).map_err(boxed)?.insert("schema", SCHEMA).map_err(boxed)?;
    Ok(transaction.commit().map_err(boxed)?)
}

pub(super) fn load(database: &Database) -> Result<Stored, StoreError> {
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
    match transaction.open_table(FORCES) {
        Ok(forces) => {
            if let Some(record) = forces.get(ALL).map_err(boxed)? {
                stored.forces = decode("forces", record.value())?;
            }
        }
        // Written by a version that knew none.
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(boxed(error).into()),
    }
    stored.names = names::load(&transaction)?;
    stored.tokens = tokens::load(&transaction)?;
    Ok(stored)
}

/// All of a change, or nothing of it.
pub(super) fn write(database: &Database, change: &Change, bounds: &Bounds) -> Result<(), StoreError> {
    if change.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(boxed)?;
    write_groups(&transaction, &change.groups)?;
    write_forces(&transaction, change.forces.as_deref())?;
    names::write(&transaction, change.names.as_ref())?;
    tokens::write(&transaction, change.tokens.as_deref())?;
    {
        let mut zones = transaction.open_table(ZONES).map_err(boxed)?;
        for (name, record) in &change.zones {
            zones.insert(&**name, encode(record).as_slice()).map_err(boxed)?;
        }
    }
    let entries: Vec<_> = change.event.iter().chain(&change.records).collect();
    rings::add(&transaction, &entries, bounds)?;
    if let Some(at) = change.alive {
        transaction.open_table(META).map_err(boxed)?.insert("alive", at.0).map_err(boxed)?;
    }
    Ok(transaction.commit().map_err(boxed)?)
}

/// Makes a change that did not count undone: groups and forces are as before, and its entry leaves the history. Serials stay:
/// one that nobody saw is only a gap.
pub(super) fn take_back(database: &Database, change: &Change, before: &Before) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(boxed)?;
    write_groups(&transaction, &before.groups)?;
    write_forces(&transaction, before.forces.as_deref())?;
    tokens::write(&transaction, before.tokens.as_deref())?;
    if let Some(event) = &change.event {
        rings::take_back(&transaction, event)?;
    }
    Ok(transaction.commit().map_err(boxed)?)
}

fn write_groups(transaction: &WriteTransaction, records: &[(Name, Durable)]) -> Result<(), StoreError> {
    let mut groups = transaction.open_table(GROUPS).map_err(boxed)?;
    for (name, durable) in records {
        groups.insert(&**name, encode(durable).as_slice()).map_err(boxed)?;
    }
    Ok(())
}

fn write_forces(transaction: &WriteTransaction, forces: Option<&[Force]>) -> Result<(), StoreError> {
    if let Some(forces) = forces {
        let mut table = transaction.open_table(FORCES).map_err(boxed)?;
        table.insert(ALL, encode(&forces).as_slice()).map_err(boxed)?;
    }
    Ok(())
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are plain maps with string keys, which JSON can always hold")
}

pub(super) fn decode<T: for<'a> Deserialize<'a>>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Record { table, detail: error.to_string() })
}
