//! Calls of tokens that may make so many and no more, counted over all processes.
//!
//! The store counts a call before it is granted: a process takes some at once for a line of tokens,
//! and grants from those. The fewer are left, the fewer it takes; the last ones one for each caller
//! who waits. What it does not use it gives back with the next flush but one. So there are never more
//! calls than may be; a process that is killed takes with it what it had not used.

use crate::live::{Lineage, LiveToken};
use crate::open::Inner;
use crate::postgres::Server;
use crate::query::query;
use crate::{Store, StoreError};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};
use tollkeep_types::{LineageId, MonoNanos, WallMillis};

/// Callers who wait at the same time.
const WAITING_MAX: usize = 4096;
/// Callers answered with one look at what is asked.
const BATCH_MAX: usize = 256;
/// How long a line that had nothing left is not asked for again.
const SPENT_NS: u64 = 250_000_000;

/// Counts `$2` calls and some more, if at most `$3` are counted then; gives how many. More are
/// taken while many are left: a sixteenth of what is above the last 64, at most 256.
const TAKE: &str = "WITH line AS (
    SELECT id, request_count AS counted FROM lineages WHERE id = $1 FOR UPDATE
  ), taken AS (
    SELECT id, counted,
      least($3 - counted, $2 + least(256, greatest(0, $3 - counted - 64) / 16)) AS calls
    FROM line WHERE counted < $3
  )
  UPDATE lineages SET request_count = taken.counted + taken.calls FROM taken
  WHERE lineages.id = taken.id RETURNING taken.calls";

/// Where callers ask.
pub(crate) struct Lender {
    asks: mpsc::Sender<Ask>,
    asked: Mutex<mpsc::Receiver<Ask>>,
}

struct Ask {
    lineage: Arc<Lineage>,
    max: NonZeroU64,
    answer: oneshot::Sender<Option<Leased>>,
}

/// A call that the store has counted. It goes back unless it is granted.
struct Leased(Option<Arc<Lineage>>);

impl Leased {
    fn grant(mut self) {
        if let Some(lineage) = self.0.take() {
            lineage.note_granted();
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(lineage) = &self.0 {
            lineage.add_leased(1);
        }
    }
}

impl Default for Lender {
    fn default() -> Self {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        Self {
            asks,
            asked: Mutex::new(asked),
        }
    }
}

impl Store {
    /// Asks for one call of a token whose calls other processes count too, where
    /// [`LiveToken::try_grant`] says so; whether it is granted. It needs [`Store::follow`] to run.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if nobody knows how many are left.
    pub async fn take_call(&self, token: &LiveToken, now: WallMillis) -> Result<bool, StoreError> {
        let Some(max) = token.max_requests else {
            return Ok(true);
        };
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            lineage: Arc::clone(&token.lineage),
            max,
            answer,
        };
        let unknown = || StoreError::Unavailable("nobody knows how many calls are left".to_owned());
        self.0.lender.asks.try_send(ask).map_err(|_| unknown())?;
        match answered.await.map_err(|_| unknown())? {
            Some(leased) => {
                leased.grant();
                token.used(now);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

impl Inner {
    /// Answers who asks for calls. Who gets no answer, since the server gave none, is told so by
    /// dropping what he waits on.
    pub(crate) async fn lend(&self, server: &Server) {
        let mut asked = self.lender.asked.lock().await;
        let mut batch = Vec::new();
        while asked.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut lines: HashMap<LineageId, Vec<Ask>> = HashMap::new();
            for ask in batch.drain(..) {
                lines.entry(ask.lineage.id).or_default().push(ask);
            }
            for asks in lines.into_values() {
                let now = self.wall.clock().mono();
                if let Err(error) = lend_line(server, asks, now).await {
                    tracing::debug!("Calls can't be counted: {error}");
                }
            }
        }
    }
}

/// Answers those who ask for calls of one line.
async fn lend_line(server: &Server, asks: Vec<Ask>, now: MonoNanos) -> Result<(), StoreError> {
    // Whoever hung up meanwhile needs none, and what came back meanwhile is there already.
    let mut waiting = Vec::with_capacity(asks.len());
    for ask in asks.into_iter().filter(|ask| !ask.answer.is_closed()) {
        if ask.lineage.take_leased() {
            ask.answer_with(true);
        } else if ask.lineage.is_spent(now) {
            ask.answer_with(false);
        } else {
            waiting.push(ask);
        }
    }
    let Some(first) = waiting.first() else {
        return Ok(());
    };
    let (lineage, wanted) = (Arc::clone(&first.lineage), waiting.len());
    let taken = take(server, first, wanted).await?;
    for (number, ask) in waiting.into_iter().enumerate() {
        ask.answer_with(number < taken);
    }
    match taken.checked_sub(wanted) {
        Some(more) => lineage.add_leased(u64::try_from(more).unwrap_or(0)),
        None => lineage.set_spent(MonoNanos(now.0.saturating_add(SPENT_NS))),
    }
    Ok(())
}

async fn take(server: &Server, ask: &Ask, wanted: usize) -> Result<usize, StoreError> {
    let mut connection = server.lending().await?;
    let taken = query(TAKE)
        .bind(ask.lineage.id.to_string())
        .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
        .bind(i64::try_from(ask.max.get()).unwrap_or(i64::MAX))
        .fetch_number(&mut connection)
        .await;
    match taken {
        Ok(taken) => Ok(usize::try_from(taken).unwrap_or(0)),
        Err(sqlx::Error::RowNotFound) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

impl Ask {
    fn answer_with(self, granted: bool) {
        let leased = granted.then(|| Leased(Some(self.lineage)));
        // Who hung up lets it drop, and so it goes back.
        drop(self.answer.send(leased));
    }
}
