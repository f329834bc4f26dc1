//! Writes what a transaction has changed: many rows with one statement.

use super::about::about_text;
use super::columns::{
    HOLD_STATES, account_name, charge_text, covers_text, enforcement_word, lease_state_word, word,
};
use super::kept::KeptHold;
use super::load::Chain;
use super::rows::Rows;
use super::{Failure, Job, chain, record};
use crate::query::{Bulk, Connection, Value, query};
use crate::row::{count, millis};
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::row::{LeaseRow, WindowRow};
use tollkeep_ledger::window::WindowKey;
use tollkeep_types::{BudgetId, TenantId};

/// Where a row has changed since it was loaded, which the turn of the ledger rules out, its version
/// is another, and nothing is written.
static WINDOWS: Bulk = Bulk::new(
    12,
    "INSERT INTO budget_windows (budget_id, window_start, tenant_id, enforcement, limit_units,
      ceiling, spent, reserved, leased, recall, floor, version)",
    " ON CONFLICT (budget_id, window_start) DO UPDATE SET enforcement = excluded.enforcement,
      limit_units = excluded.limit_units, ceiling = excluded.ceiling, spent = excluded.spent,
      reserved = excluded.reserved, leased = excluded.leased, recall = excluded.recall,
      floor = excluded.floor, version = excluded.version
      WHERE budget_windows.version < excluded.version",
);

static BUCKETS: Bulk = Bulk::new(
    5,
    "INSERT INTO budget_buckets (budget_id, window_start, bucket_start, tenant_id, spent)",
    " ON CONFLICT (budget_id, window_start, bucket_start)
      DO UPDATE SET spent = excluded.spent",
);

const DROP_BUCKET: &str = "DELETE FROM budget_buckets
  WHERE budget_id = $1 AND window_start = $2 AND bucket_start = $3";

static WARNINGS: Bulk = Bulk::new(
    5,
    "INSERT INTO budget_warnings (budget_id, window_start, percent, tenant_id, warned_at)",
    "",
);

static LEASES: Bulk = Bulk::new(
    13,
    "INSERT INTO budget_leases (id, tenant_id, budget_id, window_start, replica_id, epoch,
      amount, used, returned, state, expires_at, serial, version)",
    " ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, used = excluded.used,
      returned = excluded.returned, state = excluded.state, expires_at = excluded.expires_at,
      serial = excluded.serial, version = excluded.version
      WHERE budget_leases.version < excluded.version",
);

static HOLDS: Bulk = Bulk::new(
    13,
    "INSERT INTO holds (id, tenant_id, replica_id, state, bound, covers, granted_at,
      expires_at, request_id, attempt, version, about, owed)",
    " ON CONFLICT (id) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at,
      version = excluded.version WHERE holds.version < excluded.version",
);

static ACCOUNTS: Bulk = Bulk::new(
    6,
    "INSERT INTO accounts (name, tenant_id, kind, unit, balance, version)",
    " ON CONFLICT (name) DO UPDATE SET balance = excluded.balance,
      version = excluded.version WHERE accounts.version < excluded.version",
);

static REPLICAS: Bulk = Bulk::new(
    3,
    "INSERT INTO replicas (id, epoch, boot)",
    " ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, boot = excluded.boot
      WHERE replicas.epoch < excluded.epoch",
);

const LIMIT: &str = "UPDATE budgets SET limit_units = $2, updated_at = $3, version = version + 1
  WHERE id = $1 AND version = $4";

const STATE: &str = "UPDATE ledger_state SET seen = $1, entries = $2, chain = $3";

/// Rows to be written, and how.
struct Batch {
    bulk: &'static Bulk,
    values: Vec<Value>,
}

impl Batch {
    const fn new(bulk: &'static Bulk) -> Self {
        Self {
            bulk,
            values: Vec::new(),
        }
    }

    fn row<const N: usize>(&mut self, values: [Value; N]) {
        self.values.extend(values);
    }

    /// Writes them; each must be written.
    async fn write(self, connection: &mut Connection) -> Result<(), Failure> {
        let rows = self.values.len() / self.bulk.columns;
        if rows == 0 {
            return Ok(());
        }
        let written = self.bulk.execute(self.values, connection).await?;
        if usize::try_from(written) == Ok(rows) {
            Ok(())
        } else {
            Err(Failure::Overtaken)
        }
    }
}

/// Writes all that is not as it is stored.
pub(super) async fn keep(
    connection: &mut Connection,
    jobs: &[Job],
    rows: &Rows,
    chain: &mut Chain,
) -> Result<(), Failure> {
    windows(connection, rows).await?;
    leases_and_holds(connection, rows).await?;
    record::keep(connection, jobs, rows).await?;
    chain::keep(connection, rows, chain).await?;
    accounts(connection, rows).await?;
    let mut replicas = Batch::new(&REPLICAS);
    for (id, _, life) in rows.epochs.changed() {
        if let Some((epoch, boot)) = life {
            replicas.row([
                id.to_string().into(),
                count(*epoch).into(),
                boot.cast_signed().into(),
            ]);
        }
    }
    replicas.write(connection).await?;
    query(STATE)
        .bind(millis(rows.seen))
        .bind(chain.entries)
        .bind(chain.end.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

async fn windows(connection: &mut Connection, rows: &Rows) -> Result<(), Failure> {
    for (id, _, limit) in rows.limits.changed() {
        let Some((limit, budget)) = limit.zip(rows.budgets.get(&id)) else {
            continue;
        };
        let changed = query(LIMIT)
            .bind(id.to_string())
            .bind(limit.units())
            .bind(millis(rows.seen))
            .bind(count(budget.version))
            .execute(connection);
        if changed.await? == 0 {
            return Err(Failure::Overtaken);
        }
    }
    let mut windows = Batch::new(&WINDOWS);
    for (key, _, row) in rows.windows.changed() {
        if let Some(row) = row {
            windows.row(window_values(key, rows.tenant_of(key.budget)?, row));
        }
    }
    windows.write(connection).await?;
    let mut buckets = Batch::new(&BUCKETS);
    for ((key, bucket), was_stored, spent) in rows.buckets.changed() {
        let [budget, start] = key_values(key);
        match spent {
            Some(spent) => buckets.row([
                budget,
                start,
                millis(bucket).into(),
                rows.tenant_of(key.budget)?.to_string().into(),
                spent.units().into(),
            ]),
            None if was_stored => {
                let drop = query(DROP_BUCKET)
                    .bind(budget)
                    .bind(start)
                    .bind(millis(bucket));
                drop.execute(connection).await?;
            }
            None => {}
        }
    }
    buckets.write(connection).await?;
    let mut warnings = Batch::new(&WARNINGS);
    for ((key, percent), _, is_there) in rows.warned.changed() {
        if is_there.is_some() {
            let [budget, start] = key_values(key);
            warnings.row([
                budget,
                start,
                i64::from(percent).into(),
                rows.tenant_of(key.budget)?.to_string().into(),
                millis(rows.seen).into(),
            ]);
        }
    }
    warnings.write(connection).await
}

fn key_values(key: WindowKey) -> [Value; 2] {
    [key.budget.to_string().into(), millis(key.start).into()]
}

fn window_values(key: WindowKey, tenant: TenantId, row: &WindowRow) -> [Value; 12] {
    let [budget, start] = key_values(key);
    [
        budget,
        start,
        tenant.to_string().into(),
        enforcement_word(row.enforcement).into(),
        row.limit.units().into(),
        row.ceiling.units().into(),
        row.spent.units().into(),
        row.reserved.units().into(),
        row.leased.units().into(),
        row.recall.into(),
        millis(row.floor).into(),
        count(row.version).into(),
    ]
}

async fn leases_and_holds(connection: &mut Connection, rows: &Rows) -> Result<(), Failure> {
    let mut leases = Batch::new(&LEASES);
    for (_, _, row) in rows.leases.changed() {
        if let Some(row) = row {
            leases.row(lease_values(rows.tenant_of(row.key.budget)?, row));
        }
    }
    leases.write(connection).await?;
    let mut holds = Batch::new(&HOLDS);
    for (_, _, kept) in rows.holds.changed() {
        if let Some(kept) = kept {
            holds.row(hold_values(kept)?);
        }
    }
    holds.write(connection).await
}

fn lease_values(tenant: TenantId, row: &LeaseRow) -> [Value; 13] {
    let [budget, start] = key_values(row.key);
    [
        row.id.to_string().into(),
        tenant.to_string().into(),
        budget,
        start,
        row.replica.to_string().into(),
        count(row.epoch).into(),
        row.amount.units().into(),
        row.used.units().into(),
        row.returned.units().into(),
        lease_state_word(row.state).into(),
        millis(row.expires_at).into(),
        row.serial.into(),
        row.version.into(),
    ]
}

fn hold_values(kept: &KeptHold) -> Result<[Value; 13], Failure> {
    let row = &kept.row;
    let about = kept.about.as_deref().map(about_text).transpose()?;
    let request = kept.request.as_ref();
    Ok([
        row.id.to_string().into(),
        kept.tenant.to_string().into(),
        row.replica.to_string().into(),
        word(HOLD_STATES, row.state).into(),
        charge_text(&row.bound)?.into(),
        covers_text(&row.covers)?.into(),
        millis(kept.granted_at).into(),
        millis(row.expires_at).into(),
        request.map(|(id, _)| id.as_str()).into(),
        request.map(|(_, attempt)| i64::from(*attempt)).into(),
        row.version.into(),
        about.into(),
        row.owed.map(Amount::units).into(),
    ])
}

async fn accounts(connection: &mut Connection, rows: &Rows) -> Result<(), Failure> {
    let mut accounts = Batch::new(&ACCOUNTS);
    for (key, _, balance) in rows.balances.changed() {
        let Some(balance) = balance else {
            continue;
        };
        let (name, kind) = account_name(&key);
        accounts.row([
            name.into(),
            balance.tenant.to_string().into(),
            kind.into(),
            rows.unit_of(key.account).into(),
            balance.units.into(),
            balance.version.into(),
        ]);
    }
    accounts.write(connection).await
}

impl Rows {
    /// Whose a budget is.
    fn tenant_of(&self, budget: BudgetId) -> Result<TenantId, Failure> {
        let known = self.budgets.get(&budget);
        known.map(|known| known.tenant).ok_or(Failure::Overtaken)
    }

    /// What was written need not be written again in this transaction.
    pub(super) fn are_stored(&mut self) {
        self.latest.is_stored();
        self.limits.is_stored();
        self.windows.is_stored();
        self.buckets.is_stored();
        self.leases.is_stored();
        self.holds.is_stored();
        self.usage.is_stored();
        self.entries.is_stored();
        self.balances.is_stored();
        self.warned.is_stored();
        self.epochs.is_stored();
    }
}
