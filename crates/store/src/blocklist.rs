//! Digests of tokens that ended: no import brings one back.

use crate::StoreError;
use crate::query::{Connection, query};
use crate::row::millis;
use tollkeep_types::{TokenHash, WallMillis};

/// How long after its own end a digest stays blocked.
const KEPT_MS: u64 = 30 * 86_400_000;

const BLOCK: &str = "INSERT INTO blocklist (digest, until) VALUES ($1, $2)
  ON CONFLICT (digest) DO UPDATE SET until =
    CASE WHEN blocklist.until > excluded.until THEN blocklist.until
      WHEN blocklist.until IS NULL THEN NULL ELSE excluded.until END";

const FIND: &str =
    "SELECT count(*) FROM blocklist WHERE digest = $1 AND (until IS NULL OR until > $2)";

const FORGET: &str = "DELETE FROM blocklist WHERE until <= $1";

/// Blocks a digest until 30 days after the token would have expired; for ever if it never would.
pub(crate) async fn block(
    connection: &mut Connection,
    digest: &TokenHash,
    expires_at: Option<WallMillis>,
) -> Result<(), StoreError> {
    let until = expires_at.map(|end| millis(WallMillis(end.0.saturating_add(KEPT_MS))));
    query(BLOCK)
        .bind(digest.bytes().as_slice())
        .bind(until)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a digest is blocked at `now`.
pub(crate) async fn blocks(
    connection: &mut Connection,
    digest: &TokenHash,
    now: WallMillis,
) -> Result<bool, StoreError> {
    let found = query(FIND)
        .bind(digest.bytes().as_slice())
        .bind(millis(now))
        .fetch_number(connection)
        .await?;
    Ok(found > 0)
}

/// Forgets digests whose time is over.
pub(crate) async fn forget(
    connection: &mut Connection,
    now: WallMillis,
) -> Result<u64, StoreError> {
    let gone = query(FORGET).bind(millis(now)).execute(connection);
    Ok(gone.await?)
}
