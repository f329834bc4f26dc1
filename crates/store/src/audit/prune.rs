//! What is old enough is taken away: always the beginning of a chain, so that one record tells of all
//! that is gone, and never past what somebody wants held.

use super::stamp;
use crate::database::GATEWAY;
use crate::query::{Connection, Query, query};
use crate::row::{count, number, text, value};
use crate::{Store, StoreError};
use tollkeep_types::{ProjectId, WallMillis};

const STREAMS: &str = "SELECT stream FROM audit_streams ORDER BY stream";

/// The first record that stays.
const FIRST_TO_STAY: &str = "SELECT seq FROM audit_events WHERE stream = $1 AND (timestamp >= $2";

const LAST_TO_GO: &str =
    "SELECT seq, hash FROM audit_events WHERE stream = $1 AND seq < $2 ORDER BY seq DESC LIMIT 1";

const COUNT: &str = "SELECT count(*) FROM audit_events WHERE stream = $1 AND seq <= $2";

const ALLOW: &str = "INSERT INTO audit_pruning (stream, through) VALUES ($1, $2)";

const DELETE: &str = "DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events
  WHERE stream = $1 AND seq <= $2 ORDER BY seq LIMIT $3)";

const FORBID: &str = "DELETE FROM audit_pruning";

const NOTE: &str = "UPDATE audit_streams SET pruned = $2 WHERE stream = $1 AND pruned < $2";

/// Records of one chain that are old enough to go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prunable {
    /// The chain.
    pub stream: String,
    /// The number of the last that goes.
    pub through: u64,
    /// The hash of that, in hex.
    pub head: String,
    /// How many go.
    pub records: u64,
}

impl Store {
    /// What of each chain is older than a time: its beginning, up to the first record that is not, or
    /// is of a project that is held.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_prunable(
        &self,
        before: WallMillis,
        held: &[ProjectId],
    ) -> Result<Vec<Prunable>, StoreError> {
        let mut connection = self.0.database.read(GATEWAY).await?;
        let connection = &mut connection;
        let rows = query(STREAMS).fetch_all(connection).await?;
        let mut found = Vec::new();
        for row in &rows {
            let stream = text(row, "stream")?;
            found.extend(prunable(connection, stream, before, held).await?);
        }
        Ok(found)
    }

    /// Deletes the first records of a chain, at most so many, up to one that [`Self::audit_prunable`]
    /// named; gives how many. Call it until that is 0, with pauses.
    ///
    /// # Errors
    /// The disk or the server; nothing is deleted then.
    pub async fn prune_audit(
        &self,
        stream: &str,
        through: u64,
        records: u32,
    ) -> Result<u64, StoreError> {
        let mut turn = self.0.database.begin_audit().await?;
        let connection = turn.connection();
        let pruned = async {
            let bind = |text| query(text).bind(stream).bind(count(through));
            bind(ALLOW).execute(connection).await?;
            let deleted = bind(DELETE).bind(records).execute(connection).await?;
            bind(NOTE).execute(connection).await?;
            query(FORBID).execute(connection).await?;
            Ok(deleted)
        };
        match pruned.await {
            Ok(deleted) => turn.commit().await.map(|_| deleted),
            Err(error) => {
                turn.undo().await;
                Err(error)
            }
        }
    }
}

async fn prunable(
    connection: &mut Connection,
    stream: String,
    before: WallMillis,
    held: &[ProjectId],
) -> Result<Option<Prunable>, StoreError> {
    let mut first = FIRST_TO_STAY.to_owned();
    for place in 0..held.len() {
        first.push_str(&format!(" OR project_id = ${}", place + 3));
    }
    first.push_str(") ORDER BY seq LIMIT 1");
    let first = Query::composed(first).bind(&stream).bind(stamp(before));
    let first = held
        .iter()
        .fold(first, |query, project| query.bind(project.to_string()));
    let first = match first.fetch_optional(connection).await? {
        Some(row) => number(&row, "seq")?,
        None => u64::MAX,
    };
    let last = query(LAST_TO_GO).bind(&stream).bind(count(first));
    let Some(row) = last.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let through = number(&row, "seq")?;
    let head: Vec<u8> = value(&row, "hash")?;
    let records = query(COUNT).bind(&stream).bind(count(through));
    let records = records.fetch_number(connection).await?;
    Ok(Some(Prunable {
        stream,
        through,
        head: head.iter().map(|byte| format!("{byte:02x}")).collect(),
        records: u64::try_from(records).unwrap_or(0),
    }))
}
