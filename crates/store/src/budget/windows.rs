//! Windows of budgets: what was taken in which time, and beginning anew before a time is over.

use super::{BudgetRecord, read};
use crate::database::GATEWAY;
use crate::follow::Changed;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Scope, Store, StoreError};
use tollkeep_ledger::amount::Amount;
use tollkeep_types::{BudgetId, WallMillis};

/// Windows that are given at once.
const WINDOWS_MAX: u32 = 400;

/// What was taken of a budget in one of its windows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BudgetWindow {
    /// When it began; 0 for one that always was.
    pub start: WallMillis,
    /// Up to how much may be taken.
    pub limit: Amount,
    /// What calls that ended were charged.
    pub spent: Amount,
    /// What is taken aside for calls under way.
    pub reserved: Amount,
    /// What replicas have in hand to grant from.
    pub leased: Amount,
}

impl BudgetWindow {
    /// What nobody has taken.
    pub fn left(&self) -> Amount {
        let taken = self.spent.plus(self.reserved);
        let taken = taken.and_then(|taken| taken.plus(self.leased));
        self.limit.above(taken.unwrap_or(Amount::MAX))
    }
}

const WINDOWS: &str = "SELECT window_start, limit_units, spent, reserved, leased
  FROM budget_windows WHERE budget_id = $1 ORDER BY window_start DESC LIMIT $2";

const SEEN: &str = "SELECT seen FROM ledger_state";

/// The turn of the ledger, whose transactions come one after the other.
const SERVER_SEEN: &str = "SELECT seen FROM ledger_state FOR UPDATE";

const BEGIN_ANEW: &str = "INSERT INTO budget_windows
  (budget_id, window_start, tenant_id, enforcement, limit_units, ceiling, spent, reserved, leased,
   recall, floor, version)
  SELECT id, $2, tenant_id, enforcement, limit_units, limit_units, 0, 0, 0, 0, 0, 0
  FROM budgets WHERE id = $1
  ON CONFLICT (budget_id, window_start) DO NOTHING";

const COUNT_CHANGE: &str = "UPDATE budgets SET version = version + 1 WHERE id = $1";

impl Store {
    /// Windows of a budget that something was taken in, the latest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn budget_windows(
        &self,
        scope: Scope,
        id: BudgetId,
    ) -> Result<Vec<BudgetWindow>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        read::by_id(&mut connection, scope, id).await?;
        windows(&mut connection, id, WINDOWS_MAX).await
    }

    /// The budget with the window that calls are counted in now; a budget that nothing was taken of
    /// has an empty one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn present_window(&self, record: &BudgetRecord) -> Result<BudgetWindow, StoreError> {
        let budget = &record.budget;
        let mut connection = self.0.read(Scope::Tenant(budget.tenant)).await?;
        let latest = windows(&mut connection, budget.id, 1).await?.pop();
        let start = latest.as_ref().map(|window| window.start);
        let start = budget.window.current(self.now(), start);
        let latest = latest.filter(|latest| latest.start == start);
        Ok(match latest {
            // Another limit reaches the row with the next call.
            Some(latest) => BudgetWindow {
                limit: budget.limit,
                ..latest
            },
            None => BudgetWindow {
                start,
                limit: budget.limit,
                spent: Amount::ZERO,
                reserved: Amount::ZERO,
                leased: Amount::ZERO,
            },
        })
    }

    /// Begins a window of a budget now: what was taken before counts no more. Calls that are under
    /// way end in the window that they began in.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn reset_budget(
        &self,
        scope: Scope,
        id: BudgetId,
    ) -> Result<BudgetRecord, StoreError> {
        drop(self.budget(scope, id).await?);
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let seen = connection.dialect(SEEN, SERVER_SEEN);
            let seen = query(seen).fetch_one(connection).await?;
            let now = inner.wall.now().max(row::time(&seen, "seen")?);
            query(BEGIN_ANEW)
                .bind(id.to_string())
                .bind(millis(now))
                .execute(connection)
                .await?;
            query(COUNT_CHANGE)
                .bind(id.to_string())
                .execute(connection)
                .await?;
            let record = read::by_id(connection, GATEWAY, id).await?;
            let show = || inner.show_budget(&record);
            write.commit_then(&[Changed::budget(id)], show).await?;
            Ok(record.clone())
        })
        .await
    }
}

async fn windows(
    connection: &mut Connection,
    id: BudgetId,
    limit: u32,
) -> Result<Vec<BudgetWindow>, StoreError> {
    let rows = query(WINDOWS).bind(id.to_string()).bind(limit);
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(window).collect()
}

fn window(row: &Row) -> Result<BudgetWindow, StoreError> {
    let amount = |column: &str| {
        let unreadable = || StoreError::Unavailable("a window can't be read".to_owned());
        Amount::new(row::value(row, column)?).ok_or_else(unreadable)
    };
    Ok(BudgetWindow {
        start: row::time(row, "window_start")?,
        limit: amount("limit_units")?,
        spent: amount("spent")?,
        reserved: amount("reserved")?,
        leased: amount("leased")?,
    })
}
