//! What time ends: grace after rotations, lifetimes, records, blocks.

use crate::database::GATEWAY;
use crate::ledger::USAGE_DAYS;
use crate::query::{Connection, query};
use crate::row::millis;
use crate::token::ROTATED;
use crate::{
    Store, StoreError, blocklist, console_session, follow, idempotency, key_room, line_use,
    operator, payment,
};
use tollkeep_types::WallMillis;

/// How long the record of an ended token or management key is kept for reports: 90 days.
const RECORD_KEPT_MS: u64 = 90 * 86_400_000;

/// What one clean-up did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cleaned {
    /// Tokens revoked because the grace after their rotation is over.
    pub rotated: u64,
    /// Tokens ended by their lifetime or by disuse.
    pub expired: u64,
    /// Records of tokens deleted, 90 days after their end.
    pub purged: u64,
    /// Records of management keys deleted, 90 days after their end.
    pub purged_keys: u64,
    /// Console sessions, and answered logins, that are over.
    pub forgotten_sessions: u64,
    /// Digests that no longer need to be blocked.
    pub unblocked: u64,
    /// Records of usage deleted, 400 days after the call.
    pub forgotten_usage: u64,
    /// Tokens dropped from the live table.
    pub swept: usize,
}

macro_rules! ended_by_rotation {
    () => {
        "state = 'rotating' AND ended_at IS NULL AND grace_ends_at <= $1"
    };
}

macro_rules! ended_by_time {
    () => {
        "ended_at IS NULL AND expires_at <= $1"
    };
}

macro_rules! ended_by_disuse {
    () => {
        "ended_at IS NULL AND idle_ttl_ms IS NOT NULL
           AND coalesce(last_used_at, created_at) <= $1 - idle_ttl_ms"
    };
}

/// Blocks the digests of the tokens that the condition names, for 30 days past their lifetime.
macro_rules! block {
    ($condition:expr) => {
        concat!(
            "INSERT INTO blocklist (digest, until)
             SELECT digest, expires_at + 2592000000 FROM tokens WHERE ",
            $condition,
            " ON CONFLICT (digest) DO NOTHING"
        )
    };
}

const BLOCK_ROTATED: &str = block!(ended_by_rotation!());

const END_ROTATED: &str = concat!(
    "UPDATE tokens SET state = 'revoked', revoked_at = grace_ends_at, revoked_reason = $2,
       ended_at = grace_ends_at WHERE ",
    ended_by_rotation!()
);

const BLOCK_EXPIRED: &str = block!(ended_by_time!());

const END_EXPIRED: &str = concat!(
    "UPDATE tokens SET ended_at = expires_at WHERE ",
    ended_by_time!()
);

const BLOCK_IDLE: &str = block!(ended_by_disuse!());

const END_IDLE: &str = concat!(
    "UPDATE tokens SET ended_at = coalesce(last_used_at, created_at) + idle_ttl_ms WHERE ",
    ended_by_disuse!()
);

/// The same where other processes must be told: a token that they saw used a moment ago ends.
const SERVER_END_IDLE: &str = concat!(
    "WITH ended AS (UPDATE tokens
       SET ended_at = coalesce(last_used_at, created_at) + idle_ttl_ms WHERE ",
    ended_by_disuse!(),
    " RETURNING id)
     INSERT INTO changes (what, row_id, at) SELECT 'token', id, $1 FROM ended"
);

const PURGE: &str = "DELETE FROM tokens WHERE ended_at <= $1";

const PURGE_LINEAGES: &str = "DELETE FROM lineages
  WHERE NOT EXISTS (SELECT 1 FROM tokens WHERE lineage_id = lineages.id)";

impl Store {
    /// Ends in the records what time has ended (the data plane saw it at once), drops it from the
    /// live table, and deletes records that are old enough. For every tenant; call it every
    /// `auth.token_cleanup_interval`.
    ///
    /// # Errors
    /// The disk; the live table is swept all the same.
    pub async fn clean(&self) -> Result<Cleaned, StoreError> {
        // Before the flush: a token used since then is not idle by this time.
        let now = self.now();
        let swept = self.0.live.sweep(now);
        self.flush_usage().await?;
        let forgotten_usage = self.ledger().forget_usage(USAGE_DAYS).await?;
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let before = WallMillis(now.0.saturating_sub(RECORD_KEPT_MS));
            let cleaned = Cleaned {
                rotated: end_rotated(connection, now).await?,
                expired: end_expired(connection, now).await?,
                purged: purge(connection, before).await?,
                purged_keys: key_room::purge(connection, before).await?,
                forgotten_sessions: console_session::forget(connection, now).await?
                    + operator::forget_logins(connection, now).await?,
                unblocked: blocklist::forget(connection, now).await?,
                forgotten_usage,
                swept,
            };
            follow::forget(connection, now).await?;
            line_use::forget(connection, now).await?;
            idempotency::forget(connection, now).await?;
            payment::identifier::forget(connection, now).await?;
            write.commit(&[]).await?;
            Ok(cleaned)
        })
        .await
    }
}

async fn end_rotated(connection: &mut Connection, now: WallMillis) -> Result<u64, StoreError> {
    run(connection, BLOCK_ROTATED, now).await?;
    let ended = query(END_ROTATED)
        .bind(millis(now))
        .bind(ROTATED)
        .execute(connection)
        .await?;
    Ok(ended)
}

async fn end_expired(connection: &mut Connection, now: WallMillis) -> Result<u64, StoreError> {
    run(connection, BLOCK_EXPIRED, now).await?;
    let expired = run(connection, END_EXPIRED, now).await?;
    run(connection, BLOCK_IDLE, now).await?;
    let end_idle = connection.dialect(END_IDLE, SERVER_END_IDLE);
    let idle = run(connection, end_idle, now).await?;
    Ok(expired + idle)
}

async fn purge(connection: &mut Connection, before: WallMillis) -> Result<u64, StoreError> {
    let purged = run(connection, PURGE, before).await?;
    if purged > 0 {
        query(PURGE_LINEAGES).execute(connection).await?;
    }
    Ok(purged)
}

/// Runs a statement whose one parameter is a time; gives the rows it changed.
async fn run(
    connection: &mut Connection,
    statement: &'static str,
    at: WallMillis,
) -> Result<u64, StoreError> {
    let done = query(statement).bind(millis(at)).execute(connection);
    Ok(done.await?)
}
