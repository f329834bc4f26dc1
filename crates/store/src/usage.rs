//! Counts of calls, from memory to disk.

use crate::live::{Change, LiveTokens, Usage};
use crate::open::Inner;
use crate::row::millis;
use crate::{Store, StoreError, project, tenant, token};
use sqlx::SqliteConnection;

const COUNT: &str = "UPDATE lineages SET request_count = max(0, request_count + ?2) WHERE id = ?1";

const USED: &str = "UPDATE tokens SET last_used_at = max(coalesce(last_used_at, 0), ?2)
  WHERE id = ?1";

impl Store {
    /// Stores what the live tokens counted since the last flush, in one transaction; gives how many
    /// tokens had news. For every tenant; call it every second or so.
    ///
    /// # Errors
    /// The disk; then the counts stay in memory for the next flush.
    pub async fn flush_usage(&self) -> Result<usize, StoreError> {
        self.unattended(async move |inner| {
            let batch = inner.live.take_usage();
            let tokens = batch.rows().len();
            if tokens == 0 {
                return Ok(0);
            }
            let mut write = inner.begin().await?;
            for usage in batch.rows() {
                add(write.connection(), usage).await?;
            }
            write.commit(&[]).await?;
            batch.stored();
            Ok(tokens)
        })
        .await
    }
}

impl Inner {
    /// The live table as the file has it.
    pub(crate) async fn load_live(&self) -> Result<LiveTokens, StoreError> {
        let projects = project::all(self).await?;
        let tokens = token::open(self).await?;
        let service_tokens = self.all_service_tokens().await?;
        let live = LiveTokens::load(&projects, &tokens, &service_tokens);
        for tenant in tenant::not_active(self).await? {
            live.apply(Change::Tenant(&tenant));
        }
        Ok(live)
    }
}

async fn add(connection: &mut SqliteConnection, usage: &Usage) -> Result<(), StoreError> {
    if usage.count != 0 {
        sqlx::query(COUNT)
            .bind(usage.lineage.to_string())
            .bind(usage.count)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(at) = usage.last_used_at {
        sqlx::query(USED)
            .bind(usage.token.to_string())
            .bind(millis(at))
            .execute(connection)
            .await?;
    }
    Ok(())
}
