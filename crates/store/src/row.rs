//! Columns as values that cannot be wrong.

use crate::StoreError;
use crate::query::Row;
use sqlx::{Decode, Postgres, Sqlite, Type};
use std::str::FromStr;
use std::sync::Arc;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::{TokenHash, WallMillis};

/// A time as the database keeps it; one past the year 9999 as the last one before, so that
/// statements can add to it.
pub(crate) fn millis(at: WallMillis) -> i64 {
    i64::try_from(at.min(WallMillis::MAX).0).unwrap_or(i64::MAX)
}

/// A count or duration as the database keeps it.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The value of a column as it is.
pub(crate) fn value<'r, T>(row: &'r Row, column: &str) -> Result<T, StoreError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
{
    use sqlx::Row as _;
    let value = match row {
        Row::Sqlite(row) => row.try_get(column),
        Row::Postgres(row) => row.try_get(column),
    };
    value.map_err(|_| unreadable(column))
}

pub(crate) fn text(row: &Row, column: &str) -> Result<String, StoreError> {
    value(row, column)
}

/// A text column that some type reads: an id, a state.
pub(crate) fn id<T: FromStr>(row: &Row, column: &str) -> Result<T, StoreError> {
    let text: &str = value(row, column)?;
    text.parse().map_err(|_| unreadable(column))
}

pub(crate) fn id_if_set<T: FromStr>(row: &Row, column: &str) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = value(row, column)?;
    text.map(str::parse)
        .transpose()
        .map_err(|_| unreadable(column))
}

/// A column that is never negative.
pub(crate) fn number(row: &Row, column: &str) -> Result<u64, StoreError> {
    let number: i64 = value(row, column)?;
    u64::try_from(number).map_err(|_| unreadable(column))
}

pub(crate) fn number_if_set(row: &Row, column: &str) -> Result<Option<u64>, StoreError> {
    let number: Option<i64> = value(row, column)?;
    number
        .map(u64::try_from)
        .transpose()
        .map_err(|_| unreadable(column))
}

pub(crate) fn time(row: &Row, column: &str) -> Result<WallMillis, StoreError> {
    number(row, column).map(WallMillis)
}

pub(crate) fn time_if_set(row: &Row, column: &str) -> Result<Option<WallMillis>, StoreError> {
    Ok(number_if_set(row, column)?.map(WallMillis))
}

pub(crate) fn digest(row: &Row, column: &str) -> Result<TokenHash, StoreError> {
    let bytes: &[u8] = value(row, column)?;
    let bytes = bytes.try_into().map_err(|_| unreadable(column))?;
    Ok(TokenHash::from_bytes(bytes))
}

/// A column that holds JSON we wrote.
pub(crate) fn json<T: serde::de::DeserializeOwned>(
    row: &Row,
    column: &str,
) -> Result<T, StoreError> {
    let text: &str = value(row, column)?;
    serde_json::from_str(text).map_err(|_| unreadable(column))
}

/// A column that holds JSON we wrote, or nothing.
pub(crate) fn json_if_set<T: serde::de::DeserializeOwned>(
    row: &Row,
    column: &str,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = value(row, column)?;
    let read = text.map(serde_json::from_str).transpose();
    read.map_err(|_| unreadable(column))
}

/// A column that holds a policy, or nothing.
pub(crate) fn policy(row: &Row, column: &str) -> Result<Option<Arc<CallPolicy>>, StoreError> {
    Ok(json_if_set(row, column)?.map(Arc::new))
}

/// The text of a value for a JSON column that may be empty.
pub(crate) fn json_text<T: serde::Serialize>(
    value: Option<&T>,
) -> Result<Option<String>, StoreError> {
    value.map(to_json).transpose()
}

/// The text of a value for a JSON column.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Invalid("value has no JSON form"))
}

/// A row that this program did not write, or not this version of it. The value is not shown.
fn unreadable(column: &str) -> StoreError {
    StoreError::Unavailable(format!("column `{column}` of a row can't be read"))
}
