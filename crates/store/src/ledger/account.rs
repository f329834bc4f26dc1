//! Accounts as they are read.

use super::Ledger;
use crate::query::{Row, query};
use crate::{Scope, StoreError, row};
use tollkeep_types::TenantId;

/// Accounts that are given at once.
const ACCOUNTS_MAX: u32 = 1000;

const ACCOUNTS: &str = "SELECT name, tenant_id, kind, unit, balance FROM accounts
  WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR name > $2) ORDER BY name LIMIT $3";

/// An account and its balance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountRecord {
    /// Its name: the kind, and whose it is.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its kind, as `credit`.
    pub kind: String,
    /// In what it counts, as `usd`.
    pub unit: String,
    /// Nano-dollars, or whatever its unit is.
    pub balance: i64,
}

impl Ledger {
    /// Accounts in the order of their names, those behind `after`, at most 1,000.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn accounts(
        &self,
        scope: Scope,
        after: Option<&str>,
    ) -> Result<Vec<AccountRecord>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let rows = query(ACCOUNTS)
            .bind(scope.tenant())
            .bind(after)
            .bind(ACCOUNTS_MAX)
            .fetch_all(&mut connection)
            .await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<AccountRecord, StoreError> {
    Ok(AccountRecord {
        name: row::text(row, "name")?,
        tenant: row::id(row, "tenant_id")?,
        kind: row::text(row, "kind")?,
        unit: row::text(row, "unit")?,
        balance: row::value(row, "balance")?,
    })
}
