//! What the records in the database tell of the ledger's entries, for whoever looks whether one was
//! not told of.

use super::stamp;
use crate::database::GATEWAY;
use crate::query::{Row, query};
use crate::row::{number, text};
use crate::{Store, StoreError};
use std::collections::HashSet;
use tollkeep_types::WallMillis;

/// Records that are read at once.
const ROWS: u32 = 1000;
/// Behind every time that is written.
const LAST: &str = "9999-12-31T23:59:59.999Z";

const TELLING: &str = "SELECT timestamp, id, metadata FROM audit_events
  WHERE timestamp >= $1 AND (timestamp, id) < ($2, $3) AND metadata LIKE '%\"entry_digest\":%'
  ORDER BY timestamp DESC, id DESC LIMIT $4";

const OLDEST: &str = "SELECT timestamp, seq FROM audit_events ORDER BY timestamp, id LIMIT 1";

/// What records tell of entries.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ToldEntries {
    /// The hashes of entries, in hex.
    pub digests: HashSet<String>,
    /// All that was told since then is there; `None` where there are no records.
    pub since: Option<WallMillis>,
}

impl Store {
    /// The entries that records tell of, the last first: back to this time, or until there are so
    /// many.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn entries_told(
        &self,
        from: WallMillis,
        most: usize,
    ) -> Result<ToldEntries, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let Some(oldest) = query(OLDEST).fetch_optional(&mut connection).await? else {
            return Ok(ToldEntries::default());
        };
        let first = number(&oldest, "seq")?;
        let since = match time(&oldest)? {
            at if at <= from => from,
            // Before the very first record nothing was told.
            _ if first == 1 => WallMillis(0),
            at => at,
        };
        let mut told = ToldEntries {
            digests: HashSet::new(),
            since: Some(since),
        };
        let mut before = (LAST.to_owned(), String::new());
        loop {
            let rows = query(TELLING)
                .bind(stamp(from))
                .bind(&before.0)
                .bind(&before.1)
                .bind(ROWS);
            let rows = rows.fetch_all(&mut connection).await?;
            for row in &rows {
                told.take(&text(row, "metadata")?);
            }
            let Some(last) = rows.last() else {
                return Ok(told);
            };
            if told.digests.len() >= most {
                told.since = Some(time(last)?);
                return Ok(told);
            }
            before = (text(last, "timestamp")?, text(last, "id")?);
        }
    }
}

impl ToldEntries {
    fn take(&mut self, details: &str) {
        let details: Option<serde_json::Value> = serde_json::from_str(details).ok();
        let told = details.as_ref().and_then(|it| it.get("entry_digest"));
        let told = told.and_then(serde_json::Value::as_str).unwrap_or_default();
        self.digests
            .extend(told.split_ascii_whitespace().map(str::to_owned));
    }
}

fn time(row: &Row) -> Result<WallMillis, StoreError> {
    let unreadable = |_| StoreError::Unavailable("a record's time can't be read".to_owned());
    text(row, "timestamp")?.parse().map_err(unreadable)
}
