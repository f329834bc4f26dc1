//! What is to be told to others: at least once, also if the process ends in between.
//!
//! What a change of a payment is to be told to is decided by whoever put the parts together, and is
//! written in the transaction of the change.

use crate::database::GATEWAY;
use crate::open::Inner;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{PaymentRecord, PaymentState, SessionEnded, SessionRecord, Store, StoreError};
use std::fmt;
use std::sync::{Arc, OnceLock};
use tollkeep_types::{BudgetId, WallMillis};

/// Rows of a receiver that are given at once.
const ROWS_MAX: i64 = 16;

const ADD: &str = "INSERT INTO outbox (event_id, receiver, event, body, tries, next_at, created_at)
  VALUES ($1, $2, $3, $4, 0, $5, $5) ON CONFLICT DO NOTHING";

const DUE: &str = "SELECT event_id, receiver, event, body, tries, created_at FROM outbox
  WHERE receiver = $1 AND next_at <= $2 ORDER BY next_at, event_id LIMIT $3";

const TAKE: &str = "UPDATE outbox SET tries = tries + 1, next_at = $4
  WHERE event_id = $1 AND receiver = $2 AND tries = $3";

const REMOVE: &str = "DELETE FROM outbox WHERE event_id = $1 AND receiver = $2";

const RECEIVERS: &str = "SELECT DISTINCT receiver FROM outbox";

const REMOVE_OF: &str = "DELETE FROM outbox WHERE receiver = $1 AND created_at < $2";

const COUNT: &str = "SELECT count(*) AS waiting FROM outbox";

const REMOVE_OLDEST: &str = "DELETE FROM outbox WHERE (event_id, receiver) IN
  (SELECT event_id, receiver FROM outbox ORDER BY created_at, event_id, receiver LIMIT $1)";

/// Something to be told to one receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The id of what happened, the same at each try.
    pub id: String,
    /// Whose it is: a digest of its address.
    pub receiver: String,
    /// What happened, in a word.
    pub event: &'static str,
    /// As it is sent.
    pub body: String,
}

/// Something that is still to be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DueNotice {
    /// The id of what happened.
    pub id: String,
    /// Whose it is.
    pub receiver: String,
    /// What happened.
    pub event: String,
    /// As it is sent.
    pub body: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it happened.
    pub created_at: WallMillis,
}

/// What was taken out without having been told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Untold {
    /// Rows of receivers that are not known any more.
    pub of_nobody: u64,
    /// The oldest rows, as there were too many.
    pub surplus: u64,
}

/// Something that others may want to be told.
#[derive(Clone, Copy, Debug)]
pub enum Happened<'a> {
    /// A payment was changed.
    Payment {
        /// What it was.
        from: PaymentState,
        /// What it is.
        record: &'a PaymentRecord,
    },
    /// A payment became a session.
    SessionBegan {
        /// It.
        session: &'a SessionRecord,
    },
    /// A session is over.
    SessionEnded {
        /// It.
        session: &'a SessionRecord,
        /// Why.
        because: SessionEnded,
    },
    /// So many percent of a budget are used.
    Budget {
        /// Which.
        budget: BudgetId,
        /// How much of it.
        percent: u8,
    },
}

/// Says who is to be told what of something that happened.
pub type Teller = Arc<dyn Fn(&Happened<'_>) -> Vec<Notice> + Send + Sync>;

/// Where the one teller stands.
#[derive(Default)]
pub(crate) struct TellerSlot(OnceLock<Teller>);

impl fmt::Debug for TellerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TellerSlot")
    }
}

impl Inner {
    /// Writes down who is to be told of something, in the transaction of that.
    pub(crate) async fn tell(
        &self,
        connection: &mut Connection,
        happened: &Happened<'_>,
        now: WallMillis,
    ) -> Result<(), StoreError> {
        let Some(teller) = self.teller.0.get() else {
            return Ok(());
        };
        for notice in teller(happened) {
            add(connection, &notice, now).await?;
        }
        Ok(())
    }
}

async fn add(
    connection: &mut Connection,
    notice: &Notice,
    now: WallMillis,
) -> Result<(), StoreError> {
    let add = query(ADD).bind(&notice.id).bind(&notice.receiver);
    let add = add.bind(notice.event).bind(&notice.body);
    add.bind(millis(now)).execute(connection).await?;
    Ok(())
}

impl Store {
    /// Who says from now on whom things are told to. Only the first one does.
    pub fn tell_with(&self, teller: Teller) {
        // Nobody else sets it.
        drop(self.0.teller.0.set(teller));
    }

    /// Writes down who is to be told that so much of a budget is used.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn tell_of_budget(&self, budget: BudgetId, percent: u8) -> Result<(), StoreError> {
        let Some(teller) = self.0.teller.0.get() else {
            return Ok(());
        };
        let notices = teller(&Happened::Budget { budget, percent });
        self.add_notices(notices).await
    }

    /// Writes down what is to be told.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn add_notices(&self, notices: Vec<Notice>) -> Result<(), StoreError> {
        if notices.is_empty() {
            return Ok(());
        }
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            for notice in &notices {
                add(write.connection(), notice, now).await?;
            }
            write.commit(&[]).await
        })
        .await
    }

    /// What is due to be told to one receiver, the longest due first.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn due_notices(
        &self,
        receiver: &str,
        now: WallMillis,
    ) -> Result<Vec<DueNotice>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let rows = query(DUE).bind(receiver).bind(millis(now)).bind(ROWS_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        let due = |found: &Row| {
            Ok(DueNotice {
                id: row::text(found, "event_id")?,
                receiver: row::text(found, "receiver")?,
                event: row::text(found, "event")?,
                body: row::text(found, "body")?,
                tries: u32::try_from(row::number(found, "tries")?).unwrap_or(u32::MAX),
                created_at: row::time(found, "created_at")?,
            })
        };
        rows.iter().map(due).collect()
    }

    /// Takes out what was written before a time for receivers other than those `known`, and what is
    /// too many, the oldest first.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn clear_notices(
        &self,
        known: Vec<String>,
        before: WallMillis,
        most: u32,
    ) -> Result<Untold, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let mut untold = Untold::default();
            let rows = query(RECEIVERS).fetch_all(write.connection()).await?;
            for found in &rows {
                let receiver = row::text(found, "receiver")?;
                if known.contains(&receiver) {
                    continue;
                }
                let remove = query(REMOVE_OF).bind(receiver).bind(millis(before));
                untold.of_nobody += remove.execute(write.connection()).await?;
            }
            let count = query(COUNT).fetch_one(write.connection()).await?;
            let surplus = row::number(&count, "waiting")?.saturating_sub(u64::from(most));
            if surplus > 0 {
                let surplus = i64::try_from(surplus).unwrap_or(i64::MAX);
                let remove = query(REMOVE_OLDEST).bind(surplus);
                untold.surplus = remove.execute(write.connection()).await?;
            }
            write.commit(&[]).await?;
            Ok(untold)
        })
        .await
    }

    /// Takes the turn to tell something, and says when the next one is, should this one fail.
    /// `false`: somebody else has it.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn take_notice(&self, due: &DueNotice, next: WallMillis) -> Result<bool, StoreError> {
        let (id, receiver, tries) = (due.id.clone(), due.receiver.clone(), due.tries);
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let take = query(TAKE).bind(id).bind(receiver);
            let take = take.bind(tries).bind(millis(next));
            let taken = take.execute(write.connection()).await?;
            write.commit(&[]).await?;
            Ok(taken > 0)
        })
        .await
    }

    /// It was told, or never will be.
    ///
    /// # Errors
    /// The disk or the server; it is told again.
    pub async fn end_notice(&self, due: &DueNotice) -> Result<(), StoreError> {
        let (id, receiver) = (due.id.clone(), due.receiver.clone());
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let remove = query(REMOVE).bind(id).bind(receiver);
            remove.execute(write.connection()).await?;
            write.commit(&[]).await
        })
        .await
    }
}
