//! Counts of calls, from memory to disk.

use crate::database::GATEWAY;
use crate::live::Usage;
use crate::query::{Connection, query};
use crate::row::{self, millis};
use crate::{Store, StoreError};
use serde_json::json;
use std::collections::BTreeMap;

const COUNT: &str = "UPDATE lineages SET request_count = max(0, request_count + used.count)
  FROM (SELECT value ->> 'id' AS id, value ->> 'count' AS count FROM json_each($1)) AS used
  WHERE lineages.id = used.id";

const SERVER_COUNT: &str = "UPDATE lineages
  SET request_count = greatest(0, request_count + used.count)
  FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS used (id text, count bigint)
  WHERE lineages.id = used.id";

const USED: &str = "UPDATE tokens SET last_used_at = max(coalesce(last_used_at, 0), used.at)
  FROM (SELECT value ->> 'id' AS id, value ->> 'at' AS at FROM json_each($1)) AS used
  WHERE tokens.id = used.id";

const SERVER_USED: &str = "UPDATE tokens SET last_used_at = greatest(last_used_at, used.at)
  FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS used (id text, at bigint)
  WHERE tokens.id = used.id";

impl Store {
    /// Stores what the live tokens counted since the last flush, in one transaction; gives how many
    /// tokens had news. For every tenant; call it every second or so.
    ///
    /// # Errors
    /// The disk; then the counts stay in memory for the next flush.
    pub async fn flush_usage(&self) -> Result<usize, StoreError> {
        self.unattended(async move |inner| {
            let batch = inner.live.take_usage();
            let tokens = batch.rows().len();
            if tokens == 0 {
                return Ok(0);
            }
            let mut write = inner.begin(GATEWAY).await?;
            add(write.connection(), batch.rows()).await?;
            write.commit(&[]).await?;
            batch.stored();
            Ok(tokens)
        })
        .await
    }
}

/// Stores all of them at once: a server is far away, and others wait for their turn.
async fn add(connection: &mut Connection, uses: &[Usage]) -> Result<(), StoreError> {
    // Two tokens of one line may both have counted.
    let mut lines = BTreeMap::new();
    for usage in uses.iter().filter(|usage| usage.count != 0) {
        *lines.entry(usage.lineage.to_string()).or_insert(0_i64) += usage.count;
    }
    let counts: Vec<_> = lines
        .into_iter()
        .map(|(id, count)| json!({ "id": id, "count": count }))
        .collect();
    if !counts.is_empty() {
        let count = connection.dialect(COUNT, SERVER_COUNT);
        let count = query(count).bind(row::to_json(&counts)?);
        count.execute(connection).await?;
    }
    let used = |usage: &Usage| {
        let at = millis(usage.last_used_at?);
        Some(json!({ "id": usage.token.to_string(), "at": at }))
    };
    let used: Vec<_> = uses.iter().filter_map(used).collect();
    if !used.is_empty() {
        let store = connection.dialect(USED, SERVER_USED);
        let store = query(store).bind(row::to_json(&used)?);
        store.execute(connection).await?;
    }
    Ok(())
}
