//! Changes whose record in the audit log is due.
//!
//! What is known of an act before it is done goes into the transaction of its first change, and is
//! taken out once the record is durable. So there is no change without a record, whatever ends
//! between the two: a process, a disk, the patience of who asked.

use crate::database::GATEWAY;
use crate::intent::Intent;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_types::WallMillis;

/// Rows that are given at once.
const ROWS_MAX: i64 = 500;

const ADD: &str = "INSERT INTO audit_due (act, replica, at, told) VALUES ($1, $2, $3, $4)
  ON CONFLICT DO NOTHING";

const OF_REPLICA: &str = "SELECT act, at, told FROM audit_due
  WHERE (replica = $1 AND at < $2) OR at < $3 ORDER BY at LIMIT $4";

const REMOVE: &str = "DELETE FROM audit_due WHERE act = $1";

/// An act, as a handle of the store holds it.
#[derive(Clone, Debug)]
pub struct DueRecord(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    act: String,
    replica: String,
    told: String,
    /// A change was made whose record is not known to be durable.
    is_owed: AtomicBool,
    is_durable: AtomicBool,
}

/// An act whose record is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwedRecord {
    /// Its id.
    pub act: String,
    /// When it was done.
    pub at: WallMillis,
    /// What was known of it before.
    pub told: String,
}

impl DueRecord {
    /// Its record is durable: further changes owe nothing.
    pub fn is_recorded(&self) {
        self.0.is_durable.store(true, Ordering::Relaxed);
    }

    /// The id of the act, if it changed something and so has a row; and whether its record is
    /// durable.
    pub fn owed(&self) -> Option<(&str, bool)> {
        let is_owed = self.0.is_owed.load(Ordering::Relaxed);
        let is_durable = self.0.is_durable.load(Ordering::Relaxed);
        is_owed.then_some((&self.0.act, is_durable))
    }

    /// Adds the row, in the transaction of a change.
    pub(crate) async fn mark(
        &self,
        connection: &mut Connection,
        now: WallMillis,
    ) -> Result<(), StoreError> {
        let shared = &self.0;
        let is_known = [&shared.is_owed, &shared.is_durable];
        if is_known.iter().any(|known| known.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let add = query(ADD).bind(&shared.act).bind(&shared.replica);
        let add = add.bind(millis(now)).bind(&shared.told);
        add.execute(connection).await?;
        Ok(())
    }

    /// The change is on disk.
    pub(crate) fn is_marked(&self) {
        if !self.0.is_durable.load(Ordering::Relaxed) {
            self.0.is_owed.store(true, Ordering::Relaxed);
        }
    }
}

impl Store {
    /// A handle whose first change brings the row of an act with it, and that row's state.
    #[must_use]
    pub fn owing(&self, act: &str, replica: &str, told: String) -> (Self, DueRecord) {
        let due = DueRecord(Arc::new(Shared {
            act: act.to_owned(),
            replica: replica.to_owned(),
            told,
            is_owed: AtomicBool::default(),
            is_durable: AtomicBool::default(),
        }));
        let intent = Intent {
            due: Some(due.clone()),
            ..self.0.intent.clone()
        };
        (self.with(intent), due)
    }

    /// Acts whose records are due, the oldest first: of this replica those before `own`, of all
    /// those before `any`.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_owed(
        &self,
        replica: &str,
        own: WallMillis,
        any: WallMillis,
    ) -> Result<Vec<OwedRecord>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let find = query(OF_REPLICA).bind(replica).bind(millis(own));
        let rows = find.bind(millis(any)).bind(ROWS_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        let owed = |found: &Row| {
            Ok(OwedRecord {
                act: row::text(found, "act")?,
                at: row::time(found, "at")?,
                told: row::text(found, "told")?,
            })
        };
        rows.iter().map(owed).collect()
    }

    /// The records of these acts are durable.
    ///
    /// # Errors
    /// The disk or the server; the rows stay.
    pub async fn audit_recorded(&self, acts: Vec<String>) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            for act in acts {
                query(REMOVE).bind(act).execute(write.connection()).await?;
            }
            write.commit(&[]).await
        })
        .await
    }
}
