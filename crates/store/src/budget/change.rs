//! Making, changing and ending budgets.

use super::{
    BUDGETS_MAX, BudgetChange, BudgetRecord, DURABILITIES, ENFORCEMENTS, MEASURES, NewBudget,
    SHORTS, name_fault, new_id, read, scope_columns, warn_fault, window_columns, word,
};
use crate::error::is_duplicate_of;
use crate::follow::Changed;
use crate::open::Inner;
use crate::query::{Connection, query};
use crate::row::{self, millis};
use crate::{Conflict, Scope, Store, StoreError};
use tollkeep_types::{BudgetId, WallMillis};

const COUNT: &str = "SELECT count(*) FROM budgets WHERE tenant_id = $1 AND deleted_at IS NULL";

const INSERT: &str = "INSERT INTO budgets
  (id, tenant_id, name, scope_kind, scope_id, scope_value, measure, limit_units, window_kind,
   window_period, window_ms, timezone, enforcement, durability, warn, origin, created_at, updated_at,
   version, on_short)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17, 1, $18)";

const UPDATE: &str = "UPDATE budgets SET name = $2, limit_units = $3, enforcement = $4,
    durability = $5, warn = $6, origin = $7, updated_at = $8, on_short = $9, deleted_at = NULL,
    version = version + 1
  WHERE id = $1";

const END: &str = "UPDATE budgets SET deleted_at = $3, updated_at = $3, version = version + 1
  WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2) AND deleted_at IS NULL";

impl Store {
    /// Makes a budget. It counts from the next call on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the tenant has one of that name, or there are too many;
    /// [`StoreError::NotFound`] for another tenant; [`StoreError::Invalid`]; the disk.
    pub async fn create_budget(
        &self,
        scope: Scope,
        new: NewBudget,
    ) -> Result<BudgetRecord, StoreError> {
        let is_own = scope.tenant().is_none_or(|id| id == new.tenant.to_string());
        if !is_own {
            return Err(StoreError::NotFound);
        }
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let id = insert(&inner, write.connection(), &new, now).await?;
            let record = read::by_id(write.connection(), scope, id).await?;
            let shown = record.clone();
            let show = || inner.show_budget(&shown);
            write.commit_then(&[Changed::budget(id)], show).await?;
            Ok(record)
        })
        .await
    }

    /// Changes a budget. Another limit holds for what is taken from then on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`] if the tenant has one of that name,
    /// [`StoreError::Invalid`], or the disk.
    pub async fn change_budget(
        &self,
        scope: Scope,
        id: BudgetId,
        change: BudgetChange,
    ) -> Result<BudgetRecord, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let mut record = read::by_id(write.connection(), scope, id).await?;
            record.name = change.name.unwrap_or(record.name);
            let budget = &mut record.budget;
            budget.limit = change.limit.unwrap_or(budget.limit);
            budget.enforcement = change.enforcement.unwrap_or(budget.enforcement);
            budget.on_short = change.on_short.unwrap_or(budget.on_short);
            budget.warn = change
                .warn
                .unwrap_or_else(|| std::mem::take(&mut budget.warn));
            update(write.connection(), &record, now).await?;
            let record = read::by_id(write.connection(), scope, id).await?;
            let shown = record.clone();
            let show = || inner.show_budget(&shown);
            write.commit_then(&[Changed::budget(id)], show).await?;
            Ok(record)
        })
        .await
    }

    /// Ends a budget: no call has to fit it any more. What it counted stays; its name is free.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn end_budget(&self, scope: Scope, id: BudgetId) -> Result<BudgetRecord, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let record = read::by_id(write.connection(), scope, id).await?;
            end(write.connection(), scope, id, now).await?;
            let show = || inner.forget_budget(id);
            write.commit_then(&[Changed::budget(id)], show).await?;
            Ok(record)
        })
        .await
    }
}

pub(super) async fn insert(
    inner: &Inner,
    connection: &mut Connection,
    new: &NewBudget,
    now: WallMillis,
) -> Result<BudgetId, StoreError> {
    if let Some(fault) = new.fault() {
        return Err(StoreError::Invalid(fault));
    }
    let count = query(COUNT).bind(new.tenant.to_string());
    if count.fetch_number(connection).await? >= i64::from(BUDGETS_MAX) {
        return Err(StoreError::Conflict(Conflict::BudgetsFull));
    }
    let id = new_id(inner);
    let (scope_kind, scope_id, scope_value) = scope_columns(&new.scope)?;
    let (window_kind, period, length_ms, zone) = window_columns(&new.window);
    let inserted = query(INSERT)
        .bind(id.to_string())
        .bind(new.tenant.to_string())
        .bind(&new.name)
        .bind(scope_kind)
        .bind(scope_id)
        .bind(scope_value)
        .bind(word(&MEASURES, new.measure))
        .bind(new.limit.units())
        .bind(window_kind)
        .bind(period)
        .bind(length_ms)
        .bind(zone)
        .bind(word(&ENFORCEMENTS, new.enforcement))
        .bind(word(&DURABILITIES, new.durability))
        .bind(row::to_json(&new.warn)?)
        .bind(new.origin.as_str())
        .bind(millis(now))
        .bind(word(&SHORTS, new.on_short))
        .execute(connection);
    inserted.await.map_err(name_conflict)?;
    Ok(id)
}

/// Writes what can change of a budget, and that it lives.
pub(super) async fn update(
    connection: &mut Connection,
    record: &BudgetRecord,
    now: WallMillis,
) -> Result<(), StoreError> {
    let budget = &record.budget;
    if let Some(fault) = name_fault(&record.name).or_else(|| warn_fault(&budget.warn)) {
        return Err(StoreError::Invalid(fault));
    }
    let updated = query(UPDATE)
        .bind(budget.id.to_string())
        .bind(&record.name)
        .bind(budget.limit.units())
        .bind(word(&ENFORCEMENTS, budget.enforcement))
        .bind(word(&DURABILITIES, budget.durability))
        .bind(row::to_json(&budget.warn)?)
        .bind(record.origin.as_str())
        .bind(millis(now))
        .bind(word(&SHORTS, budget.on_short))
        .execute(connection);
    updated.await.map_err(name_conflict)?;
    Ok(())
}

pub(super) async fn end(
    connection: &mut Connection,
    scope: Scope,
    id: BudgetId,
    now: WallMillis,
) -> Result<(), StoreError> {
    let ended = query(END)
        .bind(id.to_string())
        .bind(scope.tenant())
        .bind(millis(now))
        .execute(connection);
    ended.await?;
    Ok(())
}

fn name_conflict(error: sqlx::Error) -> StoreError {
    if is_duplicate_of(&error, "budgets", "name") {
        return StoreError::Conflict(Conflict::BudgetName);
    }
    error.into()
}
