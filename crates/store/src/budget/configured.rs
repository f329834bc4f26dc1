//! Budgets that the settings ask for: brought into line with them at start and at each reload.

use super::{BudgetOrigin, BudgetRecord, NewBudget, change, read};
use crate::database::GATEWAY;
use crate::follow::Changed;
use crate::open::Inner;
use crate::query::Connection;
use crate::{Store, StoreError};
use std::collections::HashMap;
use std::sync::Arc;
use tollkeep_types::{BudgetId, WallMillis};

/// What became of the budgets of the settings, by their names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfiguredBudgets {
    /// They are new.
    pub made: Vec<String>,
    /// They were there and are changed.
    pub changed: Vec<String>,
    /// The settings do not have them any more.
    pub ended: Vec<String>,
}

impl ConfiguredBudgets {
    /// Whether everything was as the settings ask for.
    pub const fn is_empty(&self) -> bool {
        self.made.is_empty() && self.changed.is_empty() && self.ended.is_empty()
    }
}

impl Store {
    /// Brings the budgets that come from settings into line with `wanted`: by tenant and name, a
    /// budget stays the one it is while its scope, measure and window do. One of that name that an
    /// operator made belongs to the settings from then on; others of operators stay.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::Conflict`] if there are too many, or the disk; then
    /// everything is as it was.
    pub async fn set_configured_budgets(
        &self,
        wanted: Vec<NewBudget>,
    ) -> Result<ConfiguredBudgets, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            let there = read::in_use(write.connection()).await?;
            let mut there: HashMap<_, _> = there
                .into_iter()
                .map(|record| ((record.budget.tenant, record.name.clone()), record))
                .collect();
            let mut done = ConfiguredBudgets::default();
            let mut touched = Vec::new();
            for new in &wanted {
                let known = there.remove(&(new.tenant, new.name.clone()));
                let is_met =
                    |known: &BudgetRecord| is_same(known, new) && with(known, new) == *known;
                if known.as_ref().is_some_and(is_met) {
                    continue;
                }
                let list = match &known {
                    Some(_) => &mut done.changed,
                    None => &mut done.made,
                };
                list.push(new.name.clone());
                touched.extend(set(&inner, write.connection(), known, new, now).await?);
            }
            for gone in there.into_values() {
                if gone.origin != BudgetOrigin::Api {
                    let id = gone.budget.id;
                    change::end(write.connection(), GATEWAY, id, now).await?;
                    touched.push(id);
                    done.ended.push(gone.name);
                }
            }
            if done.is_empty() {
                return Ok(done);
            }
            done.ended.sort_unstable();
            let shown = Arc::new(read::in_use(write.connection()).await?);
            let changed: Vec<_> = touched.into_iter().map(Changed::budget).collect();
            let show = || inner.budgets.store(shown);
            write.commit_then(&changed, show).await?;
            Ok(done)
        })
        .await
    }
}

/// Writes a budget of the settings, and gives those that changed. One that ended and was the same is
/// brought back: leaving it out for a while gives nobody anew what was spent.
async fn set(
    inner: &Inner,
    connection: &mut Connection,
    known: Option<BudgetRecord>,
    new: &NewBudget,
    now: WallMillis,
) -> Result<Vec<BudgetId>, StoreError> {
    let mut touched = Vec::new();
    let known = match known {
        Some(known) if is_same(&known, new) => Some(known),
        other => {
            if let Some(other) = other {
                change::end(connection, GATEWAY, other.budget.id, now).await?;
                touched.push(other.budget.id);
            }
            let ended = read::ended(connection, new.tenant, &new.name).await?;
            ended.filter(|ended| is_same(ended, new))
        }
    };
    touched.push(match known {
        Some(known) => {
            change::update(connection, &with(&known, new), now).await?;
            known.budget.id
        }
        None => change::insert(inner, connection, new, now).await?,
    });
    Ok(touched)
}

/// Whether it counts the same, in the same time.
fn is_same(known: &BudgetRecord, new: &NewBudget) -> bool {
    known.budget.scope == new.scope
        && known.budget.measure == new.measure
        && known.budget.window == new.window
}

fn with(known: &BudgetRecord, new: &NewBudget) -> BudgetRecord {
    let mut record = known.clone();
    record.origin = new.origin;
    record.budget.limit = new.limit;
    record.budget.enforcement = new.enforcement;
    record.budget.on_short = new.on_short;
    record.budget.durability = new.durability;
    record.budget.warn.clone_from(&new.warn);
    record
}
