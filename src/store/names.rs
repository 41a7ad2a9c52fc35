//! The last good addresses of names: one record, since they change rarely and are read once.

use std::collections::BTreeMap;

use redb::{ReadTransaction, WriteTransaction};
use tidegate_health::id::Name;

use super::file::{ALL, Records, decode, encode};
use super::{StoreError, boxed};
use crate::names::NameRecord;

const NAMES: Records = Records::new("names");

pub(super) fn load(transaction: &ReadTransaction) -> Result<BTreeMap<Name, NameRecord>, StoreError> {
    match transaction.open_table(NAMES) {
        Ok(names) => match names.get(ALL).map_err(boxed)? {
            Some(record) => decode("names", record.value()),
            None => Ok(BTreeMap::new()),
        },
        // No name was ever resolved.
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(BTreeMap::new()),
        Err(error) => Err(boxed(error).into()),
    }
}

pub(super) fn write(
    transaction: &WriteTransaction,
    names: Option<&BTreeMap<Name, NameRecord>>,
) -> Result<(), StoreError> {
    if let Some(names) = names {
        let mut table = transaction.open_table(NAMES).map_err(boxed)?;
        table.insert(ALL, encode(names).as_slice()).map_err(boxed)?;
    }
    Ok(())
}
