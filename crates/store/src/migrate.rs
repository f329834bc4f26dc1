//! Schema versions: forward only, each in one transaction, recorded in the database.

use crate::query::{Connection, query, script};
use crate::row::millis;
use crate::write::Turn;
use crate::{OpenError, StoreError};
use tollkeep_types::WallMillis;

/// One step of the schema.
struct Migration {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// The step of that number and name, whose texts are in `migrations`.
macro_rules! step {
    ($version:literal, $number:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!(
                "../../../migrations/sqlite/",
                $number,
                "_",
                $name,
                ".sql"
            )),
            postgres: include_str!(concat!(
                "../../../migrations/postgres/",
                $number,
                "_",
                $name,
                ".sql"
            )),
        }
    };
}

/// All steps, in order.
const MIGRATIONS: &[Migration] = &[
    step!(1, "0001", "foundation"),
    step!(2, "0002", "service_tokens"),
    step!(3, "0003", "ip_entries"),
    step!(4, "0004", "tenants_and_keys"),
    step!(5, "0005", "leases"),
    step!(6, "0006", "cuts"),
    step!(7, "0007", "policies"),
    step!(8, "0008", "sealed_dates"),
    step!(9, "0009", "credentials"),
    step!(10, "0010", "idempotency"),
    step!(11, "0011", "operators"),
    step!(12, "0012", "withering"),
    step!(13, "0013", "budgets"),
    step!(14, "0014", "ledger"),
    step!(15, "0015", "spend"),
    step!(16, "0016", "cut_credentials"),
    step!(18, "0018", "receipts"),
    step!(19, "0019", "prepaid"),
    step!(22, "0022", "places_and_people"),
    step!(23, "0023", "audit_checkpoints"),
    step!(24, "0024", "audit_events"),
    step!(25, "0025", "payments"),
    step!(27, "0027", "audit_due"),
    step!(30, "0030", "upto_payments"),
    step!(38, "0038", "outbox"),
    step!(45, "0045", "lean_ledger"),
    step!(46, "0046", "records_of_request"),
    step!(49, "0049", "outbox_turns"),
    step!(51, "0051", "sessions"),
    step!(54, "0054", "payment_identifiers"),
    step!(56, "0056", "session_ends"),
    step!(61, "0061", "prices"),
    step!(62, "0062", "audit_addresses"),
    step!(66, "0066", "credit_sessions"),
    step!(67, "0067", "payers_credit"),
    step!(70, "0070", "accounts_of_providers"),
    step!(71, "0071", "methods_and_receipts"),
    step!(72, "0072", "markups_of_calls"),
];

/// What is done about a schema of an earlier version.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Migrate {
    /// It is brought up to date.
    #[default]
    Auto,
    /// It is refused.
    Check,
    /// Nobody looks.
    Off,
    /// Nobody looks, and nothing is written: another process may have it open.
    Beside,
}

const RECORD_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
  version    INTEGER PRIMARY KEY NOT NULL,
  name       TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT";

const SERVER_RECORD_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
  version    BIGINT PRIMARY KEY,
  name       TEXT NOT NULL,
  applied_at BIGINT NOT NULL
);
GRANT SELECT ON schema_migrations TO tollkeep_app, tollkeep_jobs";

const IS_RECORDED: &str =
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'";

const SERVER_IS_RECORDED: &str =
    "SELECT count(*) FROM pg_class WHERE oid = to_regclass('schema_migrations')";

const VERSION: &str = "SELECT coalesce(max(version), 0) FROM schema_migrations";

const RECORD: &str =
    "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)";

/// The newest schema known here.
fn known() -> i64 {
    MIGRATIONS.last().map_or(0, |step| step.version)
}

/// Where a schema stands.
pub(crate) enum Standing {
    /// It is the newest one, or nobody looks.
    Fit,
    /// Steps are missing.
    Behind {
        /// The version found.
        found: i64,
        /// The newest one.
        known: i64,
    },
}

/// Whether the database has the schema that this program needs.
///
/// # Errors
/// [`OpenError::Newer`] for a database of a later program, which is left as it is;
/// [`OpenError::Older`] for one that must not be changed.
pub(crate) async fn look(
    connection: &mut Connection,
    place: &str,
    migrate: Migrate,
) -> Result<Standing, OpenError> {
    if matches!(migrate, Migrate::Off | Migrate::Beside) {
        return Ok(Standing::Fit);
    }
    let (found, known) = (version(connection).await?, known());
    let place = || place.to_owned();
    if found > known {
        return Err(OpenError::Newer {
            place: place(),
            found,
            known,
        });
    }
    if found < known && migrate == Migrate::Check {
        return Err(OpenError::Older {
            place: place(),
            found,
            known,
            how: "`store.migrate: auto` brings it up to date at the next start",
        });
    }
    Ok(if found < known {
        Standing::Behind { found, known }
    } else {
        Standing::Fit
    })
}

/// Makes the next missing step; whether there was one. A failed step leaves the database at the
/// step before.
pub(crate) async fn next(mut turn: Turn, now: WallMillis) -> Result<bool, StoreError> {
    let connection = turn.connection();
    // Another process may have been here meanwhile.
    let found = version(connection).await?;
    let Some(step) = MIGRATIONS.iter().find(|step| step.version > found) else {
        return Ok(false);
    };
    script(
        connection.dialect(RECORD_TABLE, SERVER_RECORD_TABLE),
        connection,
    )
    .await?;
    script(connection.dialect(step.sqlite, step.postgres), connection).await?;
    query(RECORD)
        .bind(step.version)
        .bind(step.name)
        .bind(millis(now))
        .execute(connection)
        .await?;
    drop(turn.commit().await?);
    tracing::info!(
        store.version = step.version,
        "Store schema brought up to `{}`",
        step.name
    );
    Ok(true)
}

async fn version(connection: &mut Connection) -> Result<i64, StoreError> {
    let is_recorded = connection.dialect(IS_RECORDED, SERVER_IS_RECORDED);
    if query(is_recorded).fetch_number(connection).await? == 0 {
        return Ok(0);
    }
    Ok(query(VERSION).fetch_number(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|step| step.version).collect();
        assert_eq!(versions.first(), Some(&1));
        assert!(
            versions.is_sorted_by(|one, next| one < next),
            "{versions:?}"
        );
    }
}
