//! The history in the file: a ring for each class of entries, so that none displaces what matters more.
//!
//! Entries are numbered in one row over all rings, and a number is never used twice. In a reader's eyes an entry's id is
//! its number and its ring, which tells entries apart even where an older version has written between two of ours.

use redb::{
    Database, Range, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};
use tidegate_health::event::{Class, Event};
use tidegate_health::time::Wall;

use super::file::{META, decode, encode};
use super::{StoreError, boxed};
use crate::history::{Bounds, Entry, Filter, Order};

type Ring = TableDefinition<'static, u64, &'static [u8]>;

/// The number of the next entry.
const NEXT: &str = "next_entry";
/// Room for the ring in an id.
const RINGS: u64 = 4;
/// Entries that go for their age at a time: a clock that jumped ahead for a moment takes no history with it.
const AGED_MAX: u64 = 64;
/// Entries that go at a time beside those that make room, after a bound was lowered.
const SURPLUS_MAX: u64 = 64;

fn ring(class: Class) -> Ring {
    TableDefinition::new(match class {
        Class::Decision => "history",
        Class::Note => "notes",
        Class::Observation => "observations",
    })
}

fn id(number: u64, class: Class) -> u64 {
    number.saturating_mul(RINGS) + class as u64
}

pub(super) fn prepare(transaction: &WriteTransaction) -> Result<(), StoreError> {
    for class in Class::ALL {
        transaction.open_table(ring(class)).map_err(boxed)?;
    }
    transaction.open_table(META).map_err(boxed)?.insert(NEXT, 0).map_err(boxed)?;
    Ok(())
}

/// Whether entries have numbers that go on over all rings.
pub(super) fn is_numbered(database: &Database) -> Result<bool, StoreError> {
    let transaction = database.begin_read().map_err(boxed)?;
    let meta = transaction.open_table(META).map_err(boxed)?;
    Ok(meta.get(NEXT).map_err(boxed)?.is_some())
}

/// Numbers the entries of a version that numbered each ring for itself, by their times.
pub(super) fn number(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(boxed)?;
    let mut entries = Vec::new();
    for class in Class::ALL {
        let mut table = transaction.open_table(ring(class)).map_err(boxed)?;
        while let Some((_, record)) = table.pop_first().map_err(boxed)? {
            let event: Event = decode("history", record.value())?;
            entries.push((event.at, class, record.value().to_vec()));
        }
    }
    entries.sort_by_key(|(at, ..)| *at);
    let mut next = 0;
    for (_, class, record) in entries {
        transaction.open_table(ring(class)).map_err(boxed)?.insert(next, record.as_slice()).map_err(boxed)?;
        next += 1;
    }
    transaction.open_table(META).map_err(boxed)?.insert(NEXT, next).map_err(boxed)?;
    Ok(transaction.commit().map_err(boxed)?)
}

/// Adds entries, and makes room for them.
pub(super) fn add(
    transaction: &WriteTransaction,
    events: &[&Event],
    bounds: &Bounds,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut next = next(transaction)?;
    for class in Class::ALL {
        let mut table = transaction.open_table(ring(class)).map_err(boxed)?;
        let mut added = 0;
        for (n, event) in (next..).zip(events).filter(|(_, event)| event.kind.class() == class) {
            table.insert(n, encode(event).as_slice()).map_err(boxed)?;
            added += 1;
        }
        shorten(&mut table, bounds.entries_max(class), added + SURPLUS_MAX)?;
    }
    next += events.len() as u64;
    transaction.open_table(META).map_err(boxed)?.insert(NEXT, next).map_err(boxed)?;
    Ok(())
}

/// The number of the next entry. Where none is kept, the rings are those of an older version.
fn next(transaction: &WriteTransaction) -> Result<u64, StoreError> {
    let meta = transaction.open_table(META).map_err(boxed)?;
    let mut next = meta.get(NEXT).map_err(boxed)?.map_or(0, |number| number.value());
    for class in Class::ALL {
        let table = transaction.open_table(ring(class)).map_err(boxed)?;
        // An older version may have gone on in between.
        next = next.max(table.last().map_err(boxed)?.map_or(0, |(last, _)| last.value() + 1));
    }
    Ok(next)
}

fn shorten(
    table: &mut Table<'_, u64, &'static [u8]>,
    entries_max: u64,
    budget: u64,
) -> Result<(), StoreError> {
    for _ in 0..budget {
        if table.len().map_err(boxed)? <= entries_max {
            break;
        }
        table.pop_first().map_err(boxed)?;
    }
    Ok(())
}

/// Lets go of what is too old or too much, a bounded part of it at a time.
pub(super) fn trim(database: &Database, bounds: &Bounds, now: Wall) -> Result<(), StoreError> {
    let is_old = |record: &[u8]| -> Result<bool, StoreError> {
        let event: Event = decode("history", record)?;
        Ok(now.since(event.at) > bounds.max_age)
    };
    // To find out costs no write.
    let reading = database.begin_read().map_err(boxed)?;
    let mut due = false;
    for class in Class::ALL {
        let table = match reading.open_table(ring(class)) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(boxed(error).into()),
        };
        due |= table.len().map_err(boxed)? > bounds.entries_max(class);
        if let Some((_, record)) = table.first().map_err(boxed)? {
            due |= is_old(record.value())?;
        }
    }
    if !due {
        return Ok(());
    }
    drop(reading);
    let transaction = database.begin_write().map_err(boxed)?;
    for class in Class::ALL {
        let mut table = transaction.open_table(ring(class)).map_err(boxed)?;
        shorten(&mut table, bounds.entries_max(class), SURPLUS_MAX)?;
        let mut left = AGED_MAX;
        while left > 0
            && table.first().map_err(boxed)?.map_or(Ok(false), |(_, record)| is_old(record.value()))?
        {
            table.pop_first().map_err(boxed)?;
            left -= 1;
        }
    }
    Ok(transaction.commit().map_err(boxed)?)
}

/// Removes an entry if it is the last one of its ring.
pub(super) fn take_back(transaction: &WriteTransaction, event: &Event) -> Result<(), StoreError> {
    let mut entries = transaction.open_table(ring(event.kind.class())).map_err(boxed)?;
    let is_last = entries.last().map_err(boxed)?.is_some_and(|(_, record)| record.value() == encode(event));
    if is_last {
        entries.pop_last().map_err(boxed)?;
    }
    Ok(())
}

/// The first `limit` entries that `filter` wants, in this order.
pub(super) fn page(
    database: &Database,
    filter: &Filter,
    order: Order,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let transaction = database.begin_read().map_err(boxed)?;
    let mut rings = Vec::new();
    for class in filter.classes.iter().copied() {
        let table = match transaction.open_table(ring(class)) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(boxed(error).into()),
        };
        let mut reader =
            Reader { class, range: table.range(numbers(filter, class)).map_err(boxed)?, head: None };
        reader.advance(order)?;
        rings.push(reader);
    }
    let mut entries = Vec::new();
    while entries.len() < limit {
        let heads = rings.iter_mut().filter(|reader| reader.head.is_some());
        let first = match order {
            Order::NewestFirst => heads.max_by_key(|reader| reader.id()),
            Order::OldestFirst => heads.min_by_key(|reader| reader.id()),
        };
        let Some(reader) = first else { break };
        let (id, class) = (reader.id(), reader.class);
        if let Some((_, event)) = reader.head.take().filter(|(_, event)| filter.wants(event)) {
            entries.push(Entry { id, class, event });
        }
        reader.advance(order)?;
    }
    Ok(entries)
}

/// The numbers of a ring whose ids a filter wants.
fn numbers(filter: &Filter, class: Class) -> std::ops::Range<u64> {
    let class = class as u64;
    let from = filter.after.map_or(0, |after| match after.checked_sub(class) {
        Some(after) => after / RINGS + 1,
        None => 0,
    });
    let to = filter.before.map_or(u64::MAX, |before| before.saturating_sub(class).div_ceil(RINGS));
    from..to.max(from)
}

/// One ring on its way through.
struct Reader {
    class: Class,
    range: Range<'static, u64, &'static [u8]>,
    head: Option<(u64, Event)>,
}

impl Reader {
    fn id(&self) -> u64 {
        self.head.as_ref().map_or(0, |(number, _)| id(*number, self.class))
    }

    fn advance(&mut self, order: Order) -> Result<(), StoreError> {
        let next = match order {
            Order::NewestFirst => self.range.next_back(),
            Order::OldestFirst => self.range.next(),
        };
        self.head = match next {
            None => None,
            Some(entry) => {
                let (number, record) = entry.map_err(boxed)?;
                Some((number.value(), decode("history", record.value())?))
            }
        };
        Ok(())
    }
}
