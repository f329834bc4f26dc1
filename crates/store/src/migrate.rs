//! Schema versions: forward only, each in one transaction, recorded in the file.

use crate::row::millis;
use crate::{OpenError, StoreError};
use sqlx::{Connection, SqliteConnection};
use std::path::Path;
use tollkeep_types::WallMillis;

/// One step of the schema.
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

/// All steps, in order.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "foundation",
        sql: include_str!("../../../migrations/sqlite/0001_foundation.sql"),
    },
    Migration {
        version: 2,
        name: "service_tokens",
        sql: include_str!("../../../migrations/sqlite/0002_service_tokens.sql"),
    },
    Migration {
        version: 3,
        name: "ip_entries",
        sql: include_str!("../../../migrations/sqlite/0003_ip_entries.sql"),
    },
    Migration {
        version: 4,
        name: "tenants_and_keys",
        sql: include_str!("../../../migrations/sqlite/0004_tenants_and_keys.sql"),
    },
];

const RECORD_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
  version    INTEGER PRIMARY KEY NOT NULL,
  name       TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT";

const VERSION: &str = "SELECT coalesce(max(version), 0) FROM schema_migrations";

const RECORD: &str =
    "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?1, ?2, ?3)";

/// Brings the file to the newest schema; gives the steps made.
///
/// # Errors
/// [`OpenError::Newer`] for a file of a later program, which is left as it is; a failed step
/// leaves the file at the step before.
pub(crate) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    now: WallMillis,
) -> Result<usize, OpenError> {
    sqlx::query(RECORD_TABLE)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::from)?;
    let found: i64 = sqlx::query_scalar(VERSION)
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::from)?;
    let known = MIGRATIONS
        .iter()
        .map(|step| step.version)
        .max()
        .unwrap_or(0);
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    let missing = MIGRATIONS.iter().filter(|step| step.version > found);
    let mut made = 0;
    for step in missing {
        apply(connection, step, now).await?;
        made += 1;
    }
    Ok(made)
}

async fn apply(
    connection: &mut SqliteConnection,
    step: &Migration,
    now: WallMillis,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(step.sql).execute(&mut *transaction).await?;
    sqlx::query(RECORD)
        .bind(step.version)
        .bind(step.name)
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one_without_a_gap() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|step| step.version).collect();
        let want: Vec<_> = (1..).take(versions.len()).collect();
        assert_eq!(versions, want);
    }
}
