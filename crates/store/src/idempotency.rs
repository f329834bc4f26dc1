//! Requests that are carried out once, however often they are sent (`Idempotency-Key`).
//!
//! A request claims its slot before it begins. Its first change marks the slot in the same
//! transaction, so that after a crash it is known whether anything was done: a run that did nothing
//! may be begun again, one that did something and whose answer is lost never is. A run that was
//! taken for dead and goes on finds its slot taken, and its change is refused.

use crate::database::GATEWAY;
use crate::intent::Intent;
use crate::query::{Connection, Row, query};
use crate::row::{self, count, millis};
use crate::{Conflict, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_types::WallMillis;

/// How long answers are kept: 24 hours.
const KEPT_MS: u64 = 86_400_000;
/// After so long a run that has changed nothing is taken for dead.
const RUN_MS: u64 = 30_000;
/// Requests kept of one owner at most.
const OF_OWNER_MAX: i64 = 10_000;

const FIND: &str = "SELECT request, started_at, acted_at, ends_at, status, answer FROM idempotency
  WHERE slot = $1";

const COUNT: &str = "SELECT count(*) FROM idempotency WHERE owner = $1";

const CLAIM: &str = "INSERT INTO idempotency (slot, owner, request, run, started_at, ends_at)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (slot) DO UPDATE SET owner = excluded.owner, request = excluded.request,
    run = excluded.run, started_at = excluded.started_at, acted_at = NULL,
    ends_at = excluded.ends_at, status = NULL, answer = NULL";

const MARK: &str = "UPDATE idempotency SET acted_at = $3 WHERE slot = $1 AND run = $2";

const SERVER_MARK: &str = "SELECT tollkeep_mark_acted($1, $2, $3)";

const ANSWER: &str = "UPDATE idempotency SET status = $3, answer = $4 WHERE slot = $1 AND run = $2";

const RELEASE: &str = "DELETE FROM idempotency WHERE slot = $1 AND run = $2 AND acted_at IS NULL";

const LOSE: &str = "UPDATE idempotency SET started_at = 0 WHERE slot = $1 AND run = $2";

const FORGET: &str = "DELETE FROM idempotency WHERE ends_at <= $1";

/// One carrying out of one request.
#[derive(Clone, Debug)]
pub struct RunKey {
    /// The digest of who asks, where, and the key's text.
    pub slot: [u8; 32],
    /// Who asks.
    pub owner: String,
    /// The digest of what is asked.
    pub request: [u8; 32],
    /// Tells this run from every other.
    pub run: String,
}

/// An answer as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptAnswer {
    /// Its status.
    pub status: u16,
    /// The rest of it, sealed.
    pub sealed: String,
}

/// Whether a request may be carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claim {
    /// It may, by this run.
    Begun,
    /// Another run is under way.
    Running,
    /// It was, and this was the answer.
    Answered(KeptAnswer),
    /// It was, and the answer is lost.
    Lost,
    /// Something else was asked by the same key.
    OtherRequest,
    /// The owner has too many requests on record.
    Full,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum RunEnd {
    /// With an answer.
    Answered(KeptAnswer),
    /// With a refusal: it is kept only if something was changed before.
    Refused(KeptAnswer),
    /// Nobody knows how, if something was changed.
    Broken,
}

/// A run, as a handle of the store holds it.
#[derive(Clone)]
pub(crate) struct Run {
    key: RunKey,
    marked: Arc<AtomicBool>,
}

impl Run {
    /// Bytes that are the same whenever the same is asked under the same key.
    pub(crate) fn own_bytes(&self) -> [u8; 16] {
        let digest = tollkeep_crypto::sha256(&[&self.key.slot, &self.key.request]);
        let mut bytes = [0; 16];
        for (into, from) in bytes.iter_mut().zip(digest) {
            *into = from;
        }
        bytes
    }
}

impl Store {
    /// Whether this handle carries out a request once, however often it is sent, or only tries it.
    pub fn does_it_once(&self) -> bool {
        self.0.intent.run.is_some() || self.0.intent.trial.is_some()
    }

    /// A handle that carries out the request of a run that was begun.
    #[must_use]
    pub fn running(&self, key: RunKey) -> Self {
        let marked = Arc::default();
        let run = Some(Run { key, marked });
        let intent = self.0.intent.clone();
        self.with(Intent { run, ..intent })
    }

    /// Claims a request for a run.
    ///
    /// # Errors
    /// The disk; then nothing is claimed.
    pub async fn claim_run(&self, key: RunKey) -> Result<Claim, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let now = inner.wall.now();
            let found = query(FIND).bind(key.slot.to_vec());
            let found = found.fetch_optional(connection).await?;
            if let Some(row) = found
                && let Some(claim) = judge(&row, &key, now)?
            {
                return Ok(claim);
            }
            let of_owner = query(COUNT)
                .bind(&key.owner)
                .fetch_number(connection)
                .await?;
            if of_owner >= OF_OWNER_MAX {
                return Ok(Claim::Full);
            }
            query(CLAIM)
                .bind(key.slot.to_vec())
                .bind(key.owner)
                .bind(key.request.to_vec())
                .bind(key.run)
                .bind(millis(now))
                .bind(millis(WallMillis(now.0.saturating_add(KEPT_MS))))
                .execute(connection)
                .await?;
            write.commit(&[]).await?;
            Ok(Claim::Begun)
        })
        .await
    }

    /// Ends a run.
    ///
    /// # Errors
    /// The disk; then the run is taken for dead some time later.
    pub async fn end_run(&self, key: RunKey, end: RunEnd) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let of_run = |text| query(text).bind(key.slot.to_vec()).bind(&key.run);
            let released = match end {
                RunEnd::Answered(_) => 0,
                RunEnd::Refused(_) | RunEnd::Broken => of_run(RELEASE).execute(connection).await?,
            };
            match end {
                _ if released > 0 => {}
                RunEnd::Answered(answer) | RunEnd::Refused(answer) => {
                    let keep = of_run(ANSWER).bind(count(answer.status.into()));
                    keep.bind(answer.sealed).execute(connection).await?;
                }
                RunEnd::Broken => {
                    of_run(LOSE).execute(connection).await?;
                }
            }
            write.commit(&[]).await
        })
        .await
    }
}

/// What a request on record means for another one by the same key; `None` if it means nothing.
fn judge(row: &Row, key: &RunKey, now: WallMillis) -> Result<Option<Claim>, StoreError> {
    if row::time(row, "ends_at")? <= now {
        return Ok(None);
    }
    let request: Vec<u8> = row::value(row, "request")?;
    if request != key.request {
        return Ok(Some(Claim::OtherRequest));
    }
    if let Some(status) = row::number_if_set(row, "status")? {
        let sealed: Option<String> = row::value(row, "answer")?;
        return Ok(Some(Claim::Answered(KeptAnswer {
            status: u16::try_from(status).unwrap_or(500),
            sealed: sealed.unwrap_or_default(),
        })));
    }
    let is_late = now.0.saturating_sub(row::time(row, "started_at")?.0) >= RUN_MS;
    let has_acted = row::time_if_set(row, "acted_at")?.is_some();
    Ok(match (is_late, has_acted) {
        (false, _) => Some(Claim::Running),
        (true, true) => Some(Claim::Lost),
        (true, false) => None,
    })
}

impl Run {
    /// Marks the slot, in the transaction of a change.
    pub(crate) async fn mark(
        &self,
        connection: &mut Connection,
        now: WallMillis,
    ) -> Result<(), StoreError> {
        if self.marked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mark = query(connection.dialect(MARK, SERVER_MARK))
            .bind(self.key.slot.to_vec())
            .bind(&self.key.run)
            .bind(millis(now));
        let marked = match connection {
            Connection::Postgres(_) => mark.fetch_number(connection).await?,
            Connection::Sqlite(_) | Connection::Lent(_) => count(mark.execute(connection).await?),
        };
        if marked == 0 {
            return Err(StoreError::Conflict(Conflict::Overtaken));
        }
        Ok(())
    }

    /// The change is on disk.
    pub(crate) fn is_marked(&self) {
        self.marked.store(true, Ordering::Relaxed);
    }
}

/// Forgets requests whose time is over.
pub(crate) async fn forget(connection: &mut Connection, now: WallMillis) -> Result<(), StoreError> {
    query(FORGET).bind(millis(now)).execute(connection).await?;
    Ok(())
}
