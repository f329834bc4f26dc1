//! Budgets as the database has them.

use super::{
    BudgetFilter, BudgetRecord, DURABILITIES, ENFORCEMENTS, MEASURES, SHORTS, meant, scope_of,
    window_of,
};
use crate::database::GATEWAY;
use crate::query::{Connection, Row, query};
use crate::{Page, PageRequest, Scope, Store, StoreError, row};
use std::sync::Arc;
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::window::Window;
use tollkeep_types::{BudgetId, TenantId};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, name, scope_kind, scope_id, scope_value, measure, limit_units,
               window_kind, window_period, window_ms, timezone, enforcement, on_short, durability, warn,
               origin, created_at, updated_at, version
             FROM budgets ",
            $rest
        )
    };
}

const BY_ID: &str = select!(
    "WHERE deleted_at IS NULL AND id = $1
  AND ($2 IS NULL OR tenant_id = $2)"
);

const ALL: &str = select!("WHERE deleted_at IS NULL ORDER BY id");

const LIST: &str = select!(
    "WHERE deleted_at IS NULL AND ($1 IS NULL OR tenant_id = $1)
       AND ($2 IS NULL OR name = $2) AND ($3 IS NULL OR scope_kind = $3)
       AND ($4 IS NULL OR scope_id = $4) AND ($5 IS NULL OR (created_at, id) < ($5, $6))
     ORDER BY created_at DESC, id DESC LIMIT $7"
);

const ENDED: &str = select!(
    "WHERE deleted_at IS NOT NULL AND tenant_id = $1 AND name = $2
     ORDER BY deleted_at DESC, id DESC LIMIT 1"
);

impl Store {
    /// Every living budget, in ascending order of ids: from memory, without waiting. The list is
    /// exchanged as a whole, so another pointer says that something changed.
    pub fn budgets_in_use(&self) -> Arc<Vec<BudgetRecord>> {
        self.0.budgets.load_full()
    }

    /// Every living budget of every tenant, in ascending order of ids, from the database.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn budgets_all(&self) -> Result<Vec<Budget>, StoreError> {
        let records = in_use(&mut self.0.read(GATEWAY).await?).await?;
        Ok(records.into_iter().map(|record| record.budget).collect())
    }

    /// One budget.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn budget(&self, scope: Scope, id: BudgetId) -> Result<BudgetRecord, StoreError> {
        by_id(&mut self.0.read(scope).await?, scope, id).await
    }

    /// Budgets, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn budgets(
        &self,
        scope: Scope,
        filter: BudgetFilter,
        page: PageRequest<BudgetId>,
    ) -> Result<Page<BudgetRecord>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(filter.name)
            .bind(filter.scope_kind)
            .bind(filter.scope_id)
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let records = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page.page(records))
    }
}

/// Every living budget, in ascending order of ids.
pub(crate) async fn in_use(connection: &mut Connection) -> Result<Vec<BudgetRecord>, StoreError> {
    let rows = query(ALL).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: BudgetId,
) -> Result<BudgetRecord, StoreError> {
    let found = query(BY_ID).bind(id.to_string()).bind(scope.tenant());
    read(&found.fetch_one(connection).await?)
}

/// The last budget of that tenant and name that was ended.
pub(super) async fn ended(
    connection: &mut Connection,
    tenant: TenantId,
    name: &str,
) -> Result<Option<BudgetRecord>, StoreError> {
    let found = query(ENDED).bind(tenant.to_string()).bind(name);
    let found = found.fetch_optional(connection).await?;
    found.as_ref().map(read).transpose()
}

/// The window of a budget, of its columns.
pub(crate) fn read_window(row: &Row) -> Result<Window, StoreError> {
    let kind = row::text(row, "window_kind")?;
    let period: Option<String> = row::value(row, "window_period")?;
    let zone: Option<String> = row::value(row, "timezone")?;
    let length_ms = row::number_if_set(row, "window_ms")?;
    window_of(&kind, period.as_deref(), length_ms, zone.as_deref())
        .ok_or_else(|| StoreError::Unavailable("the window of a budget can't be read".to_owned()))
}

fn read(row: &Row) -> Result<BudgetRecord, StoreError> {
    let known = |words| row::text(row, words);
    let unreadable = || StoreError::Unavailable("a budget can't be read".to_owned());
    let scope_id: Option<String> = row::value(row, "scope_id")?;
    let scope_value: Option<String> = row::value(row, "scope_value")?;
    let scope = scope_of(
        &known("scope_kind")?,
        scope_id.as_deref(),
        scope_value.as_deref(),
    );
    let measure = meant(&MEASURES, &known("measure")?);
    let enforcement = meant(&ENFORCEMENTS, &known("enforcement")?);
    let on_short = meant(&SHORTS, &known("on_short")?);
    let durability = meant(&DURABILITIES, &known("durability")?);
    let budget = Budget {
        id: row::id(row, "id")?,
        tenant: row::id(row, "tenant_id")?,
        scope: scope.ok_or_else(unreadable)?,
        measure: measure.ok_or_else(unreadable)?,
        limit: Amount::new(row::value(row, "limit_units")?).ok_or_else(unreadable)?,
        window: read_window(row)?,
        enforcement: enforcement.ok_or_else(unreadable)?,
        on_short: on_short.ok_or_else(unreadable)?,
        durability: durability.ok_or_else(unreadable)?,
        warn: row::json(row, "warn")?,
    };
    Ok(BudgetRecord {
        budget,
        name: row::text(row, "name")?,
        origin: row::id(row, "origin")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        version: row::number(row, "version")?,
    })
}
