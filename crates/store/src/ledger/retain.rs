//! How long usage records are kept, and the rows of holds and slices with them. Entries and their
//! postings are kept for ever.

use super::{Failure, Ledger, load};
use crate::StoreError;
use crate::query::{Connection, query};
use crate::row::{count, millis};
use tollkeep_types::WallMillis;

/// How many days usage records are kept.
pub(crate) const USAGE_DAYS: u32 = 400;
/// Rows deleted with one transaction.
const ROWS_AT_ONCE: u64 = 1000;
/// Transactions of one clean-up at most; the next one goes on.
const TIMES_MAX: u32 = 100;

const DAY_MS: u64 = 86_400_000;

const HOLDS: &str = "DELETE FROM holds WHERE id IN (SELECT id FROM holds
  WHERE granted_at < $1 AND state NOT IN ('held', 'committed') ORDER BY granted_at LIMIT $2)";

const LEASES: &str = "DELETE FROM budget_leases WHERE id IN (SELECT id FROM budget_leases
  WHERE state <> 'active' AND expires_at < $1 ORDER BY expires_at LIMIT $2)";

/// A record of a hold that is there stays with it.
const USAGE: &str = "DELETE FROM usage_records WHERE id IN (SELECT id FROM usage_records
  WHERE tenant_id IN (SELECT id FROM tenants) AND at < $1
    AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.id = usage_records.id) LIMIT $2)";

impl Ledger {
    /// Deletes usage records that are older than so many days; gives how many.
    ///
    /// # Errors
    /// The disk; what was deleted before stays so.
    pub async fn forget_usage(&self, days: u32) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for statement in [HOLDS, LEASES, USAGE] {
            for _ in 0..TIMES_MAX {
                let some = self.forget_some(statement, days).await;
                let some = match some {
                    Ok(some) => some,
                    Err(failure) => {
                        self.note(&failure).await;
                        return Err(failure.into_error());
                    }
                };
                if statement == USAGE {
                    deleted += some;
                }
                if some < ROWS_AT_ONCE {
                    break;
                }
            }
        }
        Ok(deleted)
    }

    async fn forget_some(&self, statement: &'static str, days: u32) -> Result<u64, Failure> {
        let mut turn = self.0.database.begin_ledger().await?;
        let connection: &mut Connection = turn.connection();
        let (rows, _) = load::begin(connection, self.0.wall.now()).await?;
        let kept_ms = u64::from(days).saturating_mul(DAY_MS);
        let before = WallMillis(rows.now.0.saturating_sub(kept_ms));
        let deleted = query(statement)
            .bind(millis(before))
            .bind(count(ROWS_AT_ONCE))
            .execute(connection)
            .await?;
        let _turn = turn.commit_raw().await?;
        Ok(deleted)
    }
}
