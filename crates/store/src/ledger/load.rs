//! Locks and loads the rows that a transaction works on.

use super::about::about_of;
use super::columns::{self, account_name};
use super::kept::{AccountKey, Balance, KeptHold, KeptUsage, KnownBudget};
use super::named::{Needs, budgets as budgets_of};
use super::rows::Rows;
use super::{Failure, Job, NO_JOB};
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{StoreError, budget};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_ledger::lease::LOST_AFTER_MS;
use tollkeep_ledger::window::{Window, WindowKey};
use tollkeep_types::{BudgetId, ReplicaId, WallMillis};

/// Overdue rows that one look shows.
const DUE_MAX: u32 = 1000;

/// A statement whose first parameter is a list of ids, for both databases.
macro_rules! of_ids {
    ($text:literal) => {
        (
            concat!($text, " IN (SELECT value FROM json_each($1))"),
            concat!(
                $text,
                " IN (SELECT jsonb_array_elements_text(CAST($1 AS jsonb)))"
            ),
        )
    };
}

type Both = (&'static str, &'static str);

/// Takes the turn of the ledger: the row is locked until the transaction ends, as all of a file is.
const BEGIN: &str = "SELECT seen, entries, chain FROM ledger_state";

const SERVER_BEGIN: &str = "SELECT seen, entries, chain,
    CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint) AS clock
  FROM ledger_state FOR UPDATE";

const BUDGETS: Both = of_ids!(
    "SELECT id, tenant_id, measure, limit_units, window_kind, window_period, window_ms, timezone,
       enforcement, version, deleted_at IS NOT NULL AS is_ended FROM budgets WHERE id"
);

const LATEST: Both = (
    "SELECT budget_id, max(window_start) AS latest FROM budget_windows
       WHERE budget_id IN (SELECT value FROM json_each($1)) GROUP BY budget_id",
    "SELECT budget_id, max(window_start) AS latest FROM budget_windows
       WHERE budget_id IN (SELECT jsonb_array_elements_text(CAST($1 AS jsonb))) GROUP BY budget_id",
);

const WINDOW: &str = "SELECT budget_id, window_start, enforcement, limit_units, ceiling, spent,
    reserved, leased, recall, floor, version
  FROM budget_windows WHERE budget_id = $1 AND window_start = $2";

const BUCKETS: &str = "SELECT bucket_start, spent FROM budget_buckets
  WHERE budget_id = $1 AND window_start = $2";

const BUCKET: &str = "SELECT bucket_start, spent FROM budget_buckets
  WHERE budget_id = $1 AND window_start = $2 AND bucket_start = $3";

const WARNED: &str = "SELECT percent FROM budget_warnings
  WHERE budget_id = $1 AND window_start = $2";

const LEASES: Both = of_ids!(
    "SELECT id, budget_id, window_start, replica_id, epoch, amount, used, returned, state,
       expires_at, serial, version FROM budget_leases WHERE id"
);

const HOLDS: Both = of_ids!(
    "SELECT id, tenant_id, replica_id, state, version, bound, covers, granted_at, expires_at,
       request_id, attempt, about, owed FROM holds WHERE id"
);

const USAGE: Both = of_ids!(
    "SELECT id, tenant_id, quality, bound, cost, tokens, output_tokens, billable_tokens, requests,
       charged, hold_version, is_swept, is_corrected, provider FROM usage_records WHERE id"
);

/// As the index of ids has them.
const ENTRIES: Both = of_ids!("SELECT id FROM entries WHERE cost IS NULL AND id");

const ACCOUNTS: Both = of_ids!(
    "SELECT name, tenant_id, unit, balance, version, closed_at IS NOT NULL AS is_closed
     FROM accounts WHERE name"
);

const REPLICAS: Both = of_ids!("SELECT id, epoch, boot FROM replicas WHERE id");

const DUE_HOLDS: &str = "SELECT id FROM holds
  WHERE state IN ('held', 'committed') AND expires_at <= $1 ORDER BY expires_at LIMIT $2";

const DUE_LEASES: &str = "SELECT lease.id FROM budget_leases AS lease
    LEFT JOIN replicas ON replicas.id = lease.replica_id
  WHERE lease.state = 'active' AND (lease.expires_at <= $1 OR replicas.epoch > lease.epoch)
  ORDER BY lease.expires_at LIMIT $2";

/// The end of the chain of entries.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) entries: i64,
    pub(super) end: [u8; 32],
    /// What was put behind it: of which job, and its hash.
    pub(super) made: Vec<(usize, [u8; 32])>,
}

/// Windows as their rules are, by budget and version: zones are slow to read.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<BTreeMap<BudgetId, (u64, Arc<Window>)>>);

/// Takes the turn and reads the clock.
pub(super) async fn begin(
    connection: &mut Connection,
    wall: WallMillis,
) -> Result<(Rows, Chain), Failure> {
    let begin = connection.dialect(BEGIN, SERVER_BEGIN);
    let state = query(begin).fetch_one(connection).await?;
    let now = match connection {
        Connection::Postgres(_) => row::time(&state, "clock")?,
        Connection::Sqlite(_) | Connection::Lent(_) => wall,
    };
    let rows = Rows {
        now,
        seen: row::time(&state, "seen")?.max(now),
        ..Rows::default()
    };
    let end: &[u8] = row::value(&state, "chain")?;
    let broken = || StoreError::Unavailable("the end of the chain can't be read".to_owned());
    let chain = Chain {
        entries: row::value(&state, "entries")?,
        end: end.try_into().map_err(|_| broken())?,
        made: Vec::new(),
    };
    Ok((rows, chain))
}

/// Loads the budgets that the jobs name, and which windows of them are open.
pub(super) async fn budgets(
    connection: &mut Connection,
    jobs: &[Job],
    windows: &Windows,
    rows: &mut Rows,
) -> Result<(), Failure> {
    let mut wanted = BTreeSet::new();
    for job in jobs {
        budgets_of(&job.command, &mut wanted);
    }
    if wanted.is_empty() {
        return Ok(());
    }
    for row in of_ids(connection, BUDGETS, &wanted).await? {
        let id: BudgetId = row::id(&row, "id")?;
        rows.budgets.insert(id, known_budget(id, &row, windows)?);
    }
    for row in of_ids(connection, LATEST, &wanted).await? {
        let latest = row::time(&row, "latest")?;
        rows.latest.load(row::id(&row, "budget_id")?, latest);
    }
    Ok(())
}

fn known_budget(id: BudgetId, row: &Row, windows: &Windows) -> Result<KnownBudget, StoreError> {
    let version = row::number(row, "version")?;
    let mut known = windows.0.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.get(&id).filter(|(of, _)| *of == version);
    let window = match found {
        Some((_, window)) => Arc::clone(window),
        None => {
            let window = Arc::new(budget::read_window(row)?);
            known.insert(id, (version, Arc::clone(&window)));
            window
        }
    };
    Ok(KnownBudget {
        tenant: row::id(row, "tenant_id")?,
        unit: columns::unit_word(columns::measure(row, "measure")?),
        version,
        limit: columns::amount(row, "limit_units")?,
        enforcement: columns::enforcement(row, "enforcement")?,
        window,
        ended: row::value(row, "is_ended")?,
    })
}

/// Loads what is needed.
pub(super) async fn load(
    connection: &mut Connection,
    needs: &Needs,
    rows: &mut Rows,
) -> Result<(), Failure> {
    for key in &needs.windows {
        if let Some(row) = at(connection, WINDOW, *key).await?.first() {
            rows.windows.load(*key, columns::window(row)?);
        }
    }
    for key in &needs.rolling {
        for row in at(connection, BUCKETS, *key).await? {
            let bucket = row::time(&row, "bucket_start")?;
            rows.buckets
                .load((*key, bucket), columns::amount(&row, "spent")?);
        }
    }
    let single = needs.buckets.iter();
    for (key, bucket) in single.filter(|(key, _)| !needs.rolling.contains(key)) {
        let one = query(BUCKET)
            .bind(key.budget.to_string())
            .bind(millis(key.start))
            .bind(millis(*bucket));
        if let Some(row) = one.fetch_optional(connection).await? {
            rows.buckets
                .load((*key, *bucket), columns::amount(&row, "spent")?);
        }
    }
    for key in &needs.warned {
        for row in at(connection, WARNED, *key).await? {
            let percent = u8::try_from(columns::small(&row, "percent")?).unwrap_or(u8::MAX);
            rows.warned.load((*key, percent), ());
        }
    }
    leases(connection, &needs.leases, rows).await?;
    holds(connection, &needs.holds, rows).await?;
    for row in of_ids(connection, USAGE, &needs.usage).await? {
        let kept = KeptUsage {
            row: columns::usage(&row)?,
            tenant: row::id(&row, "tenant_id")?,
            provider: row::value::<Option<String>>(&row, "provider")?.map(Into::into),
            job: NO_JOB,
        };
        rows.usage.load(kept.row.hold, Box::new(kept));
    }
    for row in of_ids(connection, ENTRIES, &needs.entries).await? {
        rows.entries.load(row::id(&row, "id")?, None);
    }
    accounts(connection, &needs.accounts, rows).await?;
    let mut replicas = needs.replicas.clone();
    if needs.lives {
        replicas.extend(rows.leases.range(..).map(|(_, row)| row.replica));
    }
    lives(connection, &replicas, rows).await
}

async fn leases<T: ToString>(
    connection: &mut Connection,
    ids: &BTreeSet<T>,
    rows: &mut Rows,
) -> Result<(), Failure> {
    for row in of_ids(connection, LEASES, ids).await? {
        let lease = columns::lease(&row)?;
        rows.leases.load(lease.id, lease);
    }
    Ok(())
}

async fn holds<T: ToString>(
    connection: &mut Connection,
    ids: &BTreeSet<T>,
    rows: &mut Rows,
) -> Result<(), Failure> {
    for row in of_ids(connection, HOLDS, ids).await? {
        let request: Option<String> = row::value(&row, "request_id")?;
        let attempt = row::number_if_set(&row, "attempt")?.unwrap_or(0);
        let hold = columns::hold(&row)?;
        let kept = KeptHold {
            tenant: row::id(&row, "tenant_id")?,
            granted_at: row::time(&row, "granted_at")?,
            request: request.map(|id| (id, u32::try_from(attempt).unwrap_or(0))),
            about: about_of(&row, hold.bound)?,
            row: hold,
        };
        rows.holds.load(kept.row.id, Box::new(kept));
    }
    Ok(())
}

/// Loads accounts that are not loaded yet.
pub(super) async fn accounts(
    connection: &mut Connection,
    wanted: &BTreeSet<AccountKey>,
    rows: &mut Rows,
) -> Result<(), Failure> {
    let names: BTreeMap<String, _> = wanted
        .iter()
        .filter(|key| rows.balances.get(key).is_none())
        .map(|key| (account_name(key).0, key.clone()))
        .collect();
    let wanted: BTreeSet<&String> = names.keys().collect();
    for row in of_ids(connection, ACCOUNTS, &wanted).await? {
        let name: &str = row::value(&row, "name")?;
        if let Some(key) = names.get(name) {
            let balance = Balance {
                tenant: row::id(&row, "tenant_id")?,
                unit: columns::unit(&row, "unit")?,
                units: row::value(&row, "balance")?,
                version: row::value(&row, "version")?,
                closed: row::value(&row, "is_closed")?,
            };
            rows.balances.load(key.clone(), balance);
        }
    }
    Ok(())
}

async fn lives(
    connection: &mut Connection,
    ids: &BTreeSet<ReplicaId>,
    rows: &mut Rows,
) -> Result<(), Failure> {
    for row in of_ids(connection, REPLICAS, ids).await? {
        let boot: i64 = row::value(&row, "boot")?;
        let life = (row::number(&row, "epoch")?, boot.cast_unsigned());
        rows.epochs.load(row::id(&row, "id")?, life);
    }
    Ok(())
}

/// Loads what is overdue, so far as it is written.
pub(super) async fn due(connection: &mut Connection, rows: &mut Rows) -> Result<(), Failure> {
    let lost_at = WallMillis(rows.now.0.saturating_sub(LOST_AFTER_MS));
    for (statement, at) in [(DUE_HOLDS, rows.now), (DUE_LEASES, lost_at)] {
        let ids = query(statement).bind(millis(at)).bind(DUE_MAX);
        let ids = ids.fetch_all(connection).await?;
        let ids: BTreeSet<String> = ids
            .iter()
            .map(|row| row::text(row, "id"))
            .collect::<Result<_, _>>()?;
        if statement == DUE_HOLDS {
            holds(connection, &ids, rows).await?;
        } else {
            leases(connection, &ids, rows).await?;
        }
    }
    let replicas = rows.leases.range(..).map(|(_, row)| row.replica).collect();
    lives(connection, &replicas, rows).await
}

/// The rows of the statement for a list of ids.
async fn of_ids<T: ToString>(
    connection: &mut Connection,
    statement: Both,
    ids: &BTreeSet<T>,
) -> Result<Vec<Row>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let statement = connection.dialect(statement.0, statement.1);
    let rows = query(statement).bind(row::to_json(&ids)?);
    Ok(rows.fetch_all(connection).await?)
}

/// The rows of the statement for a window.
async fn at(
    connection: &mut Connection,
    statement: &'static str,
    key: WindowKey,
) -> Result<Vec<Row>, Failure> {
    let rows = query(statement)
        .bind(key.budget.to_string())
        .bind(millis(key.start));
    Ok(rows.fetch_all(connection).await?)
}
