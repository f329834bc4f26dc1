//! Owners: who may do everything. One of them stays.

use crate::key_room::lasting;
use crate::query::{Connection, query};
use crate::row::millis;
use crate::{Conflict, Scope, Store, StoreError};
use tollkeep_types::WallMillis;

/// Keys, and people with a password of their own: whether a provider still vouches for somebody,
/// nobody here knows.
const COUNT_OWNERS: &str = "SELECT
  (SELECT count(*) FROM management_keys
   WHERE role = 'owner' AND state = 'active' AND scopes IS NULL AND allowed_ips = '[]'
     AND operator_id IS NULL AND expires_at > $1 AND ($2 IS NULL OR tenant_id = $2))
  + (SELECT count(*) FROM operators
     WHERE role = 'owner' AND disabled_at IS NULL AND password IS NOT NULL
       AND ($2 IS NULL OR tenant_id = $2))";

impl Store {
    /// How many owners there are that do everything, from anywhere, for more than a day yet: keys,
    /// and people with a password.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn count_live_owners(&self, scope: Scope) -> Result<u64, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let count = query(COUNT_OWNERS)
            .bind(millis(lasting(self.now())))
            .bind(scope.tenant())
            .fetch_number(&mut connection)
            .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// Whether somebody still may do everything.
///
/// # Errors
/// [`Conflict::LastOwner`] if nobody may, or the disk.
pub(crate) async fn owner_stays(
    connection: &mut Connection,
    now: WallMillis,
) -> Result<(), StoreError> {
    let owners = query(COUNT_OWNERS)
        .bind(millis(lasting(now)))
        .bind(None::<String>)
        .fetch_number(connection)
        .await?;
    match owners {
        0 => Err(StoreError::Conflict(Conflict::LastOwner)),
        _ => Ok(()),
    }
}
