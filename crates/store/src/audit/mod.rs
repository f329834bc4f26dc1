//! The audit log in the database: its records, found by what they say; where each chain stands; and
//! what is pruned; and changes whose record is due.
//!
//! Records are written by whoever keeps the log, in batches beside all other changes; nobody but the
//! prune job takes any away, and nothing is ever changed. Both the tables see to that.

mod due;
mod find;
mod line;
mod prune;
mod told;

pub use due::{DueRecord, OwedRecord};
pub use find::{AuditBy, AuditFilter, AuditOrder, AuditPlace, AuditSum};
pub use prune::Prunable;
pub use told::ToldEntries;

use crate::query::{Bulk, Row, query};
use crate::row::{count, millis, number, text, value};
use crate::{Store, StoreError};
use line::{Before, COLUMNS, Record};
use tollkeep_types::WallMillis;

static KEEP: Bulk = Bulk::new(
    COLUMNS,
    "INSERT INTO audit_events (id, stream, seq, timestamp, action, class, actor, actor_id, tenant_id,
       project_id, request_id, correlation_id, client_ip, method, path, user_agent, outcome, reason,
       token_id, metadata, prev, hash, line)",
    " ON CONFLICT DO NOTHING",
);

const STAND: &str = "INSERT INTO audit_streams (stream, replica, through, pruned, updated_at)
  VALUES ($1, $2, $3, 0, $4)
  ON CONFLICT (stream) DO UPDATE SET replica = excluded.replica, updated_at = excluded.updated_at,
    through = CASE WHEN excluded.through > audit_streams.through THEN excluded.through
      ELSE audit_streams.through END";

const LAST: &str = "SELECT e.stream AS stream, e.seq AS seq, e.hash AS hash, s.through AS through
  FROM audit_streams AS s JOIN audit_events AS e ON e.stream = s.stream
  WHERE s.stream = $1 ORDER BY e.seq DESC LIMIT 1";

const LAST_OF_REPLICA: &str =
    "SELECT e.stream AS stream, e.seq AS seq, e.hash AS hash, s.through AS through
  FROM audit_streams AS s JOIN audit_events AS e ON e.stream = s.stream
  WHERE s.stream = (SELECT stream FROM audit_streams WHERE replica = $1
    ORDER BY updated_at DESC, stream DESC LIMIT 1)
  ORDER BY e.seq DESC LIMIT 1";

const HEADS: &str = "SELECT e.stream AS stream, e.seq AS seq, e.hash AS hash, s.through AS through
  FROM audit_streams AS s JOIN audit_events AS e ON e.stream = s.stream AND e.seq = s.through
  ORDER BY s.updated_at DESC, s.stream LIMIT $1";

const AFTER: &str = "SELECT id, stream, seq, timestamp, action, class, actor, actor_id, tenant_id,
    project_id, request_id, correlation_id, client_ip, outcome, reason, metadata, prev, hash, line
  FROM audit_events WHERE stream = $1 AND seq > $2 ORDER BY seq LIMIT $3";

/// Where a chain stands in the database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditStanding {
    /// The chain.
    pub stream: String,
    /// The number of its last record.
    pub seq: u64,
    /// The hash of that.
    pub hash: [u8; 32],
    /// No record up to this one is missing.
    pub through: u64,
}

/// Which chain.
#[derive(Clone, Copy, Debug)]
pub enum AuditStream<'s> {
    /// This one.
    Named(&'s str),
    /// The one that this replica wrote last.
    OfReplica(&'s str),
}

impl Store {
    /// Keeps records, given as their lines: all of them, or none. Those that are there already stay
    /// as they are. If they follow all that were kept before, `through` is the number of the last.
    ///
    /// # Errors
    /// The disk or the server; they may be given again.
    pub async fn keep_audit(
        &self,
        replica: &str,
        lines: &str,
        through: Option<u64>,
    ) -> Result<(), StoreError> {
        let records = read(lines)?;
        let stream = records
            .last()
            .map(|record| record.stream.as_str().to_owned());
        let inner = &self.0;
        let mut before = Before::default();
        let values = records.iter().flat_map(|record| record.values(&mut before));
        let values = values.collect();
        let mut turn = inner.database.begin_audit().await?;
        let connection = turn.connection();
        let kept = async {
            KEEP.execute(values, connection).await?;
            if let (Some(stream), Some(through)) = (stream, through) {
                query(STAND)
                    .bind(stream)
                    .bind(replica)
                    .bind(count(through))
                    .bind(millis(inner.wall.now()))
                    .execute(connection)
                    .await?;
            }
            Ok(())
        };
        match kept.await {
            Ok(()) => turn.commit().await.map(drop),
            Err(error) => {
                turn.undo().await;
                Err(error)
            }
        }
    }

    /// Where a chain stands, if any of it is here.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_standing(
        &self,
        of: AuditStream<'_>,
    ) -> Result<Option<AuditStanding>, StoreError> {
        let mut connection = self.0.database.read(crate::database::GATEWAY).await?;
        let found = match of {
            AuditStream::Named(stream) => query(LAST).bind(stream),
            AuditStream::OfReplica(replica) => query(LAST_OF_REPLICA).bind(replica),
        };
        let row = found.fetch_optional(&mut connection).await?;
        row.as_ref().map(standing).transpose()
    }

    /// Where chains stand that have all their records here, those written to last first.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_heads(&self, chains: u32) -> Result<Vec<AuditStanding>, StoreError> {
        let mut connection = self.0.database.read(crate::database::GATEWAY).await?;
        let rows = query(HEADS).bind(chains).fetch_all(&mut connection).await?;
        rows.iter().map(standing).collect()
    }

    /// Lines of a chain behind a number, in their order, each with its end.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_lines_after(
        &self,
        stream: &str,
        seq: u64,
        records: u32,
    ) -> Result<String, StoreError> {
        let mut connection = self.0.database.read(crate::database::GATEWAY).await?;
        let found = query(AFTER).bind(stream).bind(count(seq)).bind(records);
        let rows = found.fetch_all(&mut connection).await?;
        let mut lines = String::new();
        for row in &rows {
            lines.push_str(&Record::of_row(row)?.line());
            lines.push('\n');
        }
        Ok(lines)
    }
}

fn standing(row: &Row) -> Result<AuditStanding, StoreError> {
    let hash: Vec<u8> = value(row, "hash")?;
    let wrong = |_| StoreError::Unavailable("column `hash` is no hash".to_owned());
    Ok(AuditStanding {
        stream: text(row, "stream")?,
        seq: number(row, "seq")?,
        hash: hash.try_into().map_err(wrong)?,
        through: number(row, "through")?,
    })
}

/// The records of lines.
fn read(lines: &str) -> Result<Vec<Record<'_>>, StoreError> {
    let records: Option<Vec<_>> = lines.lines().map(Record::read).collect();
    records.ok_or(StoreError::Invalid("a line is no record of the audit log"))
}

/// A time as records have it.
pub(super) fn stamp(at: WallMillis) -> String {
    at.to_string()
}
