//! What one process of several does at a time.

use crate::database::GATEWAY;
use crate::query::query;
use crate::row::millis;
use crate::{Store, StoreError};
use std::time::Duration;
use tollkeep_types::WallMillis;

/// Takes what is free, is over, or is the holder's own.
const TAKE: &str = "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3)
  ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
  WHERE leases.holder = excluded.holder OR leases.until <= $4";

const GIVE_BACK: &str = "DELETE FROM leases WHERE name = $1 AND holder = $2";

impl Store {
    /// Takes the lease of that name for so long, or takes it for longer. Leases are the
    /// deployment's, so there is no scope; of a holder that is gone, time frees them.
    ///
    /// Gives whether `holder` has it now.
    ///
    /// # Errors
    /// The disk.
    pub async fn take_lease(
        &self,
        name: &str,
        holder: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            // With the turn to write: who waited for it must not judge by an older time.
            let now = inner.wall.now();
            let until = WallMillis(now.0.saturating_add(ms));
            let taken = query(TAKE)
                .bind(name)
                .bind(holder)
                .bind(millis(until))
                .bind(millis(now))
                .execute(write.connection());
            let taken = taken.await? > 0;
            write.commit(&[]).await?;
            Ok(taken)
        })
        .await
    }

    /// Gives a lease back, if `holder` has it.
    ///
    /// # Errors
    /// The disk.
    pub async fn give_lease_back(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let given = query(GIVE_BACK).bind(name).bind(holder);
            given.execute(write.connection()).await?;
            write.commit(&[]).await
        })
        .await
    }
}
