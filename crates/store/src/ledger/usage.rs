//! Usage records as they are read: one by one, and summed up.

use super::columns::{QUALITIES, word};
use super::recorded::{UsageRecord, read, read_columns};
use super::{CallRecord, Failure, Ledger, record};
use crate::query::{Query, Row, query};
use crate::row::{self, millis};
use crate::{Page, PageRequest, Scope, StoreError};
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::row::Quality;
use tollkeep_ledger::write::NoAnswer;
use tollkeep_types::{LineageId, ProjectId, RequestId, TokenId, WallMillis};

/// Records written with one transaction.
const RECORDS_MAX: usize = 4096;
/// Groups of sums that are given at once.
const GROUPS_MAX: u32 = 10_000;

/// Which records are wanted; what is not given says nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsageFilter {
    /// From this time on.
    pub from: Option<WallMillis>,
    /// Before this time.
    pub to: Option<WallMillis>,
    /// Of this request.
    pub request: Option<RequestId>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this token alone.
    pub token: Option<TokenId>,
    /// Of this line of tokens.
    pub lineage: Option<LineageId>,
    /// Of this route.
    pub route: Option<String>,
    /// Of this provider.
    pub provider: Option<String>,
    /// Where this model answered, or was asked for and none answered.
    pub model: Option<String>,
    /// Of costs that are known so far.
    pub quality: Option<Quality>,
}

/// By what sums are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UsageBy {
    /// By tenant.
    Tenant,
    /// By project.
    Project,
    /// By line of tokens.
    Lineage,
    /// By token.
    Token,
    /// By route.
    Route,
    /// By provider.
    Provider,
    /// By the model that answered, or was asked for where none did.
    Model,
}

/// What the calls of one group used together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageSum {
    /// What they have in common, in the order in which it was asked for.
    pub group: Vec<Option<String>>,
    /// Which of the times that were given they are of.
    pub time: Option<usize>,
    /// How many they are.
    pub calls: u64,
    /// What they cost and used.
    pub charge: Charge,
    /// What their upstreams ask: without markups, and with what the operator bears.
    pub upstream_cost: Amount,
    /// The cost of calls whose upstream said it.
    pub reported: Amount,
    /// The cost of calls that is an upper estimate.
    pub estimated: Amount,
    /// What was charged for calls of which nobody said anything.
    pub unknown: Amount,
    /// Of the calls: those whose cost nobody knows and nobody was charged. The sums are without them.
    pub costs_unknown: u64,
}

/// Which of the groups are wanted, in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Groups {
    /// Not so many of the first.
    pub skip: u64,
    /// So many at most, and never more than 10,000.
    pub most: u32,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            skip: 0,
            most: GROUPS_MAX,
        }
    }
}

/// Sums, and whether there are more groups than are given at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageSums {
    /// In the order of what they have in common.
    pub rows: Vec<UsageSum>,
    /// Whether groups are missing.
    pub more: bool,
}

/// What the filter's parameters, the first eleven, let through.
macro_rules! filtered {
    () => {
        filtered!("($4 IS NULL OR request_id = $4)")
    };
    ($of_request:literal) => {
        concat!(
            $of_request,
            " AND ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR at >= $2)
       AND ($3 IS NULL OR at < $3) AND ($5 IS NULL OR project_id = $5)
       AND ($6 IS NULL OR token_id = $6) AND ($7 IS NULL OR lineage_id = $7)
       AND ($8 IS NULL OR route = $8) AND ($9 IS NULL OR provider = $9)
       AND ($10 IS NULL OR coalesce(model_served, model_requested) = $10)
       AND ($11 IS NULL OR quality = $11)"
        )
    };
}

macro_rules! list {
    ($filtered:expr) => {
        concat!(
            "SELECT ",
            read_columns!(),
            " FROM usage_records WHERE ",
            $filtered,
            " AND ($12 IS NULL OR (at, id) < ($12, $13)) ORDER BY at DESC, id DESC LIMIT $14"
        )
    };
}

const LIST: &str = list!(filtered!());
/// The first record of a request mostly has an id made of the request's own, so it needs no place in an
/// index of requests: that has the others alone.
const OF_REQUEST: &str = list!(filtered!(
    "(id = 'hld_' || substr($4, 5) OR id = $4 || '.1'
       OR (request_id = $4 AND id <> 'hld_' || substr(request_id, 5) AND id <> request_id || '.1'))
     AND request_id = $4"
));

const SUMS: &str = "count(*) AS calls, CAST(sum(cost) AS bigint) AS cost,
  CAST(sum(tokens) AS bigint) AS tokens, CAST(sum(output_tokens) AS bigint) AS output_tokens,
  CAST(sum(billable_tokens) AS bigint) AS billable_tokens,
  CAST(sum(requests) AS bigint) AS requests,
  CAST(sum(coalesce(upstream_cost, cost)) AS bigint) AS upstream_cost,
  CAST(sum(CASE quality WHEN 'reported' THEN cost ELSE 0 END) AS bigint) AS reported,
  CAST(sum(CASE quality WHEN 'estimated' THEN cost ELSE 0 END) AS bigint) AS estimated,
  CAST(sum(CASE quality WHEN 'unknown' THEN cost ELSE 0 END) AS bigint) AS unknown,
  count(CASE WHEN quality = 'unknown' AND substr(id, 1, 4) = 'req_' THEN 1 END) AS costs_unknown";

/// The time that a record is of, by its place in the list.
const TIMES: &str = " JOIN (SELECT key AS place, CAST(value ->> 0 AS bigint) AS start,
    CAST(value ->> 1 AS bigint) AS stop FROM json_each($14)) AS slot
  ON at >= slot.start AND at < slot.stop";

const SERVER_TIMES: &str =
    " JOIN (SELECT ordinality - 1 AS place, CAST(value ->> 0 AS bigint) AS start,
    CAST(value ->> 1 AS bigint) AS stop
    FROM jsonb_array_elements(CAST($14 AS jsonb)) WITH ORDINALITY) AS slot
  ON at >= slot.start AND at < slot.stop";

impl UsageBy {
    const fn column(self) -> &'static str {
        match self {
            Self::Tenant => "tenant_id",
            Self::Project => "project_id",
            Self::Lineage => "lineage_id",
            Self::Token => "token_id",
            Self::Route => "route",
            Self::Provider => "provider",
            Self::Model => "coalesce(model_served, model_requested)",
        }
    }
}

impl UsageFilter {
    fn bind(&self, scope: Scope, query: Query) -> Query {
        query
            .bind(scope.tenant())
            .bind(self.from.map(millis))
            .bind(self.to.map(millis))
            .bind(self.request.map(|id| id.to_string()))
            .bind(self.project.map(|id| id.to_string()))
            .bind(self.token.map(|id| id.to_string()))
            .bind(self.lineage.map(|id| id.to_string()))
            .bind(&self.route)
            .bind(&self.provider)
            .bind(&self.model)
            .bind(self.quality.map(|quality| word(QUALITIES, quality)))
    }
}

impl Ledger {
    /// Writes the records of calls that no budget counted. A record that is there stays as it is.
    ///
    /// # Errors
    /// Nobody knows which were written; they may be given again.
    pub async fn record(&self, records: &[CallRecord]) -> Result<(), NoAnswer> {
        for records in records.chunks(RECORDS_MAX) {
            if !self.heal().await {
                return Err(NoAnswer);
            }
            match self.try_record(records).await {
                Ok(()) => self.0.ledger.standing.works(),
                // What the tables refuse of one call is refused for ever, and must not keep the others.
                Err(failure) if failure.is_of_one() => self.each_alone(records).await?,
                Err(failure) => {
                    self.note(&failure).await;
                    tracing::warn!("Usage can't be recorded: {failure}");
                    return Err(NoAnswer);
                }
            }
        }
        Ok(())
    }

    /// Writes records one by one, but for those that can't be written by any means.
    async fn each_alone(&self, records: &[CallRecord]) -> Result<(), NoAnswer> {
        for record in records {
            match self.try_record(std::slice::from_ref(record)).await {
                Ok(()) => {}
                Err(failure) if failure.is_of_one() => {
                    let request = record.request;
                    tracing::error!(
                        "The usage of {request} can't be recorded, which is a fault: {failure}"
                    );
                }
                Err(failure) => {
                    self.note(&failure).await;
                    return Err(NoAnswer);
                }
            }
        }
        Ok(())
    }

    async fn try_record(&self, records: &[CallRecord]) -> Result<(), Failure> {
        let mut turn = self.0.database.begin_ledger().await?;
        let connection = turn.connection();
        // By the clock of the gateway: the time of the ledger is not needed, nor its turn.
        let now = self.0.wall.now();
        let mut values = Vec::with_capacity(records.len() * record::RECORDS_ONCE.columns);
        let mut common = record::Common::default();
        for one in records {
            record::of_call(one, now, &mut common, &mut values)?;
        }
        record::RECORDS_ONCE.execute(values, connection).await?;
        let _turn = turn.commit_raw().await?;
        Ok(())
    }

    /// Records, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn usage_records(
        &self,
        scope: Scope,
        filter: &UsageFilter,
        page: &PageRequest<String>,
    ) -> Result<Page<UsageRecord>, StoreError> {
        let (at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let list = filter.request.map_or(LIST, |_| OF_REQUEST);
        let rows = filter
            .bind(scope, query(list))
            .bind(at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let records = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page.page(records))
    }

    /// What calls used together, told apart by what is asked for, and by the times that are given:
    /// from the first of each to before the second. Of several times that a call is in, it counts
    /// in each.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn usage_sums(
        &self,
        scope: Scope,
        by: &[UsageBy],
        times: Option<&[(WallMillis, WallMillis)]>,
        (filter, groups): (&UsageFilter, Groups),
    ) -> Result<UsageSums, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let most = groups.most.clamp(1, GROUPS_MAX);
        let joined = times.map_or("", |_| connection.dialect(TIMES, SERVER_TIMES));
        let mut statement = filter
            .bind(scope, Query::composed(sums_text(by, joined)))
            .bind(most.saturating_add(1))
            .bind(row::count(groups.skip));
        if let Some(times) = times {
            let times: Vec<_> = times
                .iter()
                .map(|(start, stop)| (millis(*start), millis(*stop)))
                .collect();
            statement = statement.bind(row::to_json(&times)?);
        }
        let rows = statement.fetch_all(&mut connection).await?;
        let more = rows.len() > most as usize;
        let rows = rows.iter().take(most as usize);
        let rows = rows.map(|row| sum(row, by, times.is_some()));
        Ok(UsageSums {
            rows: rows.collect::<Result<_, _>>()?,
            more,
        })
    }
}

/// The statement, of our own texts alone.
fn sums_text(by: &[UsageBy], joined: &str) -> String {
    let mut groups = String::new();
    let mut places = String::new();
    for (number, column) in by.iter().map(|by| by.column()).enumerate() {
        groups.push_str(&format!("{column} AS group_{number}, "));
        places.push_str(&format!("{column}, "));
    }
    let (time, place) = if joined.is_empty() {
        ("", "1")
    } else {
        ("slot.place AS place, ", "slot.place")
    };
    let filtered = filtered!();
    let grouped = if by.is_empty() && joined.is_empty() {
        String::new()
    } else if joined.is_empty() {
        let places = places.trim_end_matches(", ");
        format!(" GROUP BY {places} ORDER BY {places}")
    } else {
        format!(" GROUP BY {places}{place} ORDER BY {place}, {places}1")
    };
    format!(
        "SELECT {groups}{time}{SUMS} FROM usage_records{joined} WHERE {filtered}{grouped} LIMIT $12 OFFSET $13"
    )
}

fn sum(row: &Row, by: &[UsageBy], has_time: bool) -> Result<UsageSum, StoreError> {
    let group = (0..by.len())
        .map(|number| row::value(row, &format!("group_{number}")))
        .collect::<Result<_, _>>()?;
    let units = |column: &str| -> Result<Amount, StoreError> {
        let units: Option<i64> = row::value(row, column)?;
        Ok(Amount::new(units.unwrap_or(0)).unwrap_or(Amount::MAX))
    };
    let time = if has_time {
        let place = row::number(row, "place")?;
        Some(usize::try_from(place).unwrap_or(usize::MAX))
    } else {
        None
    };
    Ok(UsageSum {
        group,
        time,
        calls: row::number(row, "calls")?,
        charge: Charge {
            cost: units("cost")?,
            tokens: units("tokens")?,
            output_tokens: units("output_tokens")?,
            billable_tokens: units("billable_tokens")?,
            requests: units("requests")?,
        },
        upstream_cost: units("upstream_cost")?,
        reported: units("reported")?,
        estimated: units("estimated")?,
        unknown: units("unknown")?,
        costs_unknown: row::number(row, "costs_unknown")?,
    })
}
