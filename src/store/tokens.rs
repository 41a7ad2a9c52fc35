//! Tokens of the API, as they are kept: who may call, never what they call with.

use redb::{ReadTransaction, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use tidegate_health::id::Name;
use tidegate_health::time::Wall;

use super::file::{ALL, Records, decode, encode};
use super::{StoreError, boxed};
use crate::admin::Role;

/// One record with all of them: there are few, and they change together.
const TOKENS: Records = TableDefinition::new("tokens");

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Unique.
    pub name: Name,
    pub role: Role,
    /// SHA-256 of the token's text, in lower-case hexadecimal digits.
    pub hash: String,
    pub made: Wall,
    pub made_by: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
}

pub(super) fn load(transaction: &ReadTransaction) -> Result<Vec<TokenRecord>, StoreError> {
    match transaction.open_table(TOKENS) {
        Ok(tokens) => match tokens.get(ALL).map_err(boxed)? {
            Some(record) => decode("tokens", record.value()),
            None => Ok(Vec::new()),
        },
        // There never was one.
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
        Err(error) => Err(boxed(error).into()),
    }
}

pub(super) fn write(
    transaction: &WriteTransaction,
    tokens: Option<&[TokenRecord]>,
) -> Result<(), StoreError> {
    if let Some(tokens) = tokens {
        let mut table = transaction.open_table(TOKENS).map_err(boxed)?;
        table.insert(ALL, encode(&tokens).as_slice()).map_err(boxed)?;
    }
    Ok(())
}
