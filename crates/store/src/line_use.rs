//! How lines of tokens are used, minute by minute, and what is usual for them (ID-40).
//!
//! Each process writes rows of its own, so that no process adds to what another counted and a row
//! may be written twice. Whoever judges sums them up. It is the deployment's affair, so there is
//! no scope.

use crate::database::{Database, GATEWAY};
use crate::query::{Connection, Row, query};
use crate::row::{self, count};
use crate::{Store, StoreError, meta};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_types::{LineageId, WallMillis};

/// How long minutes are kept: 30 days.
const KEPT_MINUTES: u64 = 30 * 1440;
/// Rows written with one statement.
const ROWS_MAX: usize = 1_000;
/// Up to which minute lines were judged.
const JUDGED: &str = "lines_judged_to_minute";

/// What the tokens of a line did in a minute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LineMinute {
    /// Which minute, counted from 1970.
    pub minute: u64,
    /// The line.
    pub lineage: LineageId,
    /// Its requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that were for what the token may not.
    pub refusals: u64,
    /// What they cost, in nano-dollars.
    pub spend_nano: u64,
    /// The networks they came from, hashed.
    pub networks: Vec<u64>,
    /// The kinds of clients they came by, hashed.
    pub clients: Vec<u64>,
}

const KEEP: &str = "INSERT INTO line_minutes
    (minute, lineage_id, replica, requests, errors, refusals, spend_nano, networks, clients)
  SELECT value ->> 'minute', value ->> 'lineage_id', $2, value ->> 'requests',
    value ->> 'errors', value ->> 'refusals', value ->> 'spend_nano', value ->> 'networks',
    value ->> 'clients'
  FROM json_each($1) WHERE true
  ON CONFLICT (minute, lineage_id, replica) DO UPDATE SET requests = excluded.requests,
    errors = excluded.errors, refusals = excluded.refusals, spend_nano = excluded.spend_nano,
    networks = excluded.networks, clients = excluded.clients";

const SERVER_KEEP: &str = "INSERT INTO line_minutes
    (minute, lineage_id, replica, requests, errors, refusals, spend_nano, networks, clients)
  SELECT minute, lineage_id, $2, requests, errors, refusals, spend_nano, networks, clients
  FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS counted (minute bigint, lineage_id text,
    requests bigint, errors bigint, refusals bigint, spend_nano bigint, networks text,
    clients text)
  ON CONFLICT (minute, lineage_id, replica) DO UPDATE SET requests = excluded.requests,
    errors = excluded.errors, refusals = excluded.refusals, spend_nano = excluded.spend_nano,
    networks = excluded.networks, clients = excluded.clients";

const MINUTES: &str = "SELECT DISTINCT minute FROM line_minutes WHERE minute > $1
  ORDER BY minute LIMIT $2";

const OF_MINUTE: &str =
    "SELECT lineage_id, requests, errors, refusals, spend_nano, networks, clients
  FROM line_minutes WHERE minute = $1 ORDER BY lineage_id, replica";

const HABITS: &str = "SELECT lineage_id, habits FROM line_habits
  WHERE lineage_id IN (SELECT value FROM json_each($1))";

const SERVER_HABITS: &str = "SELECT lineage_id, habits FROM line_habits
  WHERE lineage_id IN (SELECT jsonb_array_elements_text(CAST($1 AS jsonb)))";

const KEEP_HABITS: &str = "INSERT INTO line_habits (lineage_id, habits)
  SELECT value ->> 'lineage_id', value ->> 'habits' FROM json_each($1) WHERE true
  ON CONFLICT (lineage_id) DO UPDATE SET habits = excluded.habits";

const SERVER_KEEP_HABITS: &str = "INSERT INTO line_habits (lineage_id, habits)
  SELECT lineage_id, habits
  FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS known (lineage_id text, habits text)
  ON CONFLICT (lineage_id) DO UPDATE SET habits = excluded.habits";

const FORGET: &str = "DELETE FROM line_minutes WHERE minute <= $1";

const FORGET_HABITS: &str = "DELETE FROM line_habits
  WHERE NOT EXISTS (SELECT 1 FROM lineages WHERE id = line_habits.lineage_id)";

impl Store {
    /// Whether other processes may use the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.0.database, Database::Postgres(_))
    }

    /// Keeps what `replica` counted, in place of what it kept of the same minutes before.
    ///
    /// # Errors
    /// The disk.
    pub async fn keep_line_minutes(
        &self,
        replica: &str,
        counted: Vec<LineMinute>,
    ) -> Result<(), StoreError> {
        let replica = replica.to_owned();
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let keep = connection.dialect(KEEP, SERVER_KEEP);
            for counted in counted.chunks(ROWS_MAX) {
                let rows: Vec<Value> = counted.iter().map(told).collect();
                let keep = query(keep).bind(row::to_json(&rows)?).bind(&replica);
                keep.execute(connection).await?;
            }
            write.commit(&[]).await
        })
        .await
    }

    /// Up to which minute lines were judged; 0 when none was.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn judged_to(&self) -> Result<u64, StoreError> {
        let judged = self.meta(JUDGED).await?;
        Ok(judged.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Minutes after that one in which any line was used, the earliest first, so many at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn minutes_of_use(&self, after: u64, max: u32) -> Result<Vec<u64>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let rows = query(MINUTES).bind(count(after)).bind(max);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(|row| row::number(row, "minute")).collect()
    }

    /// What all processes together counted in a minute, by line.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn lines_in(&self, minute: u64) -> Result<Vec<LineMinute>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let rows = query(OF_MINUTE).bind(count(minute));
        let rows = rows.fetch_all(&mut connection).await?;
        let mut lines: Vec<LineMinute> = Vec::with_capacity(rows.len());
        for row in &rows {
            let one = read(minute, row)?;
            match lines.last_mut().filter(|last| last.lineage == one.lineage) {
                Some(last) => last.add(one),
                None => lines.push(one),
            }
        }
        Ok(lines)
    }

    /// What is known to be usual for these lines, as it was kept.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn habits(
        &self,
        lines: &[LineageId],
    ) -> Result<BTreeMap<LineageId, String>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let find = connection.dialect(HABITS, SERVER_HABITS);
        let mut habits = BTreeMap::new();
        for lines in lines.chunks(ROWS_MAX) {
            let rows = query(find).bind(row::to_json(&lines)?);
            for row in rows.fetch_all(&mut connection).await? {
                habits.insert(row::id(&row, "lineage_id")?, row::text(&row, "habits")?);
            }
        }
        Ok(habits)
    }

    /// Keeps what is usual, and up to which minute that was judged, if a minute is over.
    ///
    /// # Errors
    /// The disk.
    pub async fn keep_habits(
        &self,
        habits: Vec<(LineageId, String)>,
        judged_to: Option<u64>,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let keep = connection.dialect(KEEP_HABITS, SERVER_KEEP_HABITS);
            for habits in habits.chunks(ROWS_MAX) {
                let rows: Vec<Value> = habits
                    .iter()
                    .map(|(id, habits)| json!({ "lineage_id": id, "habits": habits }))
                    .collect();
                let keep = query(keep).bind(row::to_json(&rows)?);
                keep.execute(connection).await?;
            }
            if let Some(judged_to) = judged_to {
                meta::write(connection, JUDGED, &judged_to.to_string()).await?;
            }
            write.commit(&[]).await
        })
        .await
    }
}

/// Forgets minutes that are old enough, and habits of lines that are gone.
pub(crate) async fn forget(connection: &mut Connection, now: WallMillis) -> Result<(), StoreError> {
    let before = (now.0 / 60_000).saturating_sub(KEPT_MINUTES);
    let forget = query(FORGET).bind(count(before));
    forget.execute(connection).await?;
    query(FORGET_HABITS).execute(connection).await?;
    Ok(())
}

impl LineMinute {
    /// Adds what another process counted of the same line in the same minute.
    fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.refusals = self.refusals.saturating_add(other.refusals);
        self.spend_nano = self.spend_nano.saturating_add(other.spend_nano);
        self.networks.extend(other.networks);
        self.clients.extend(other.clients);
    }
}

fn told(line: &LineMinute) -> Value {
    json!({
        "minute": line.minute,
        "lineage_id": line.lineage,
        "requests": count(line.requests),
        "errors": count(line.errors),
        "refusals": count(line.refusals),
        "spend_nano": count(line.spend_nano),
        "networks": json!(line.networks).to_string(),
        "clients": json!(line.clients).to_string(),
    })
}

fn read(minute: u64, row: &Row) -> Result<LineMinute, StoreError> {
    Ok(LineMinute {
        minute,
        lineage: row::id(row, "lineage_id")?,
        requests: row::number(row, "requests")?,
        errors: row::number(row, "errors")?,
        refusals: row::number(row, "refusals")?,
        spend_nano: row::number(row, "spend_nano")?,
        networks: row::json(row, "networks")?,
        clients: row::json(row, "clients")?,
    })
}
