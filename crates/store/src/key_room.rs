//! How many management keys there may be and must be, and for how long ended ones are kept.

use crate::query::{Connection, query};
use crate::row::millis;
use crate::{Conflict, StoreError};
use tollkeep_types::WallMillis;

/// Most keys that may be used, in all.
const KEYS_MAX: i64 = 10_000;
/// How many of these are kept free for the deployment's own: tenants together can't take them.
const KEYS_RESERVED: i64 = 1_000;
/// Most keys of one tenant that may be used.
const TENANT_KEYS_MAX: i64 = 200;
/// Most keys of one tenant on record, ended ones included.
const TENANT_RECORDS_MAX: i64 = 2_000;

/// An owner that ends within a day is none to rely on.
const OWNER_LASTS_MS: u64 = 86_400_000;

const COUNT_LIVE: &str = "SELECT count(*) FROM management_keys
  WHERE state = 'active' AND expires_at > $1 AND ($2 IS NULL OR tenant_id = $2)";

const COUNT_RECORDS: &str = "SELECT count(*) FROM management_keys WHERE tenant_id = $1";

const PURGE: &str = "DELETE FROM management_keys
  WHERE expires_at <= $1 OR (state = 'revoked' AND revoked_at <= $1)";

/// Keys of one tenant.
#[derive(Clone, Copy)]
struct OfTenant {
    live: i64,
    records: i64,
}

const fn has_room(live: i64, of_tenant: Option<OfTenant>) -> bool {
    match of_tenant {
        None => live < KEYS_MAX,
        Some(own) => {
            live < KEYS_MAX - KEYS_RESERVED
                && own.live < TENANT_KEYS_MAX
                && own.records < TENANT_RECORDS_MAX
        }
    }
}

/// After when an owner must end for another one to go.
pub(crate) const fn lasting(now: WallMillis) -> WallMillis {
    WallMillis(now.0.saturating_add(OWNER_LASTS_MS))
}

/// Whether one more may be made, for this tenant or for the deployment.
pub(crate) async fn check(
    connection: &mut Connection,
    tenant: Option<String>,
    now: WallMillis,
) -> Result<(), StoreError> {
    let live = count_live(connection, None, now).await?;
    let of_tenant = match tenant {
        None => None,
        Some(tenant) => Some(OfTenant {
            live: count_live(connection, Some(tenant.clone()), now).await?,
            records: query(COUNT_RECORDS)
                .bind(tenant)
                .fetch_number(connection)
                .await?,
        }),
    };
    if has_room(live, of_tenant) {
        Ok(())
    } else {
        Err(StoreError::Conflict(Conflict::ManagementKeysFull))
    }
}

async fn count_live(
    connection: &mut Connection,
    tenant: Option<String>,
    now: WallMillis,
) -> Result<i64, StoreError> {
    let count = query(COUNT_LIVE)
        .bind(millis(now))
        .bind(tenant)
        .fetch_number(connection);
    Ok(count.await?)
}

/// Deletes the records of keys that ended by then.
pub(crate) async fn purge(
    connection: &mut Connection,
    before: WallMillis,
) -> Result<u64, StoreError> {
    let purged = query(PURGE).bind(millis(before)).execute(connection);
    Ok(purged.await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-52
    #[test]
    fn tenants_leave_room_for_the_deployment_and_for_each_other() {
        let own = |live, records| Some(OfTenant { live, records });
        for (name, live, of_tenant, want) in [
            ("the deployment's last", 9_999, None, true),
            ("no more", 10_000, None, false),
            ("the tenants' last", 8_999, own(0, 0), true),
            ("the rest is the deployment's", 9_000, own(0, 0), false),
            ("a tenant's last", 199, own(199, 199), true),
            ("a tenant's full", 200, own(200, 200), false),
            ("records to the last", 0, own(0, 1_999), true),
            ("made and ended over and over", 0, own(0, 2_000), false),
        ] {
            assert_eq!(has_room(live, of_tenant), want, "{name}");
        }
    }
}
