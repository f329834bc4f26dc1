//! Which records are looked for, by statements that are put together of what is asked: each uses the
//! index that fits, and is never longer than its conditions.

use super::line::Record;
use super::stamp;
use crate::query::{Connection, Query, Row, Value, query};
use crate::row::{count, text, value};
use crate::{Scope, Store, StoreError};
use tollkeep_types::{ProjectId, WallMillis};

/// Most records of one page.
const ROWS_MAX: u32 = 1000;
/// Most actions that are each looked for by themselves; more are looked for together.
const ACTIONS_APART_MAX: usize = 16;
/// Most groups of one statistic.
const GROUPS_MAX: i64 = 1000;

macro_rules! columns {
    () => {
        "id, stream, seq, timestamp, action, class, actor, actor_id, tenant_id, project_id, request_id,
       correlation_id, client_ip, outcome, reason, metadata, prev, hash, line"
    };
}

const SELECT: &str = concat!("SELECT ", columns!(), " FROM audit_events WHERE ");

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM audit_events WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)"
);

/// Which records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuditFilter {
    /// Of one of these actions; of any, where none is named.
    pub actions: Vec<String>,
    /// That ended in one of these ways.
    pub outcomes: Vec<String>,
    /// Of one of these classes.
    pub classes: Vec<String>,
    /// About one of these paths; `*` stands for any text.
    pub paths: Vec<String>,
    /// In this project.
    pub project: Option<ProjectId>,
    /// From this address, as it was written.
    pub client_ip: Option<String>,
    /// By this kind of actor.
    pub actor: Option<String>,
    /// By this actor.
    pub actor_id: Option<String>,
    /// In this request.
    pub request_id: Option<String>,
    /// That came with this id.
    pub correlation_id: Option<String>,
    /// For this reason.
    pub reason: Option<String>,
    /// By requests of this method.
    pub method: Option<String>,
    /// About this token, by id, mask or fingerprint.
    pub token: Option<String>,
    /// With this text anywhere.
    pub search: Option<String>,
    /// With at least this amount.
    pub min_amount: Option<u64>,
    /// Not before.
    pub start: Option<WallMillis>,
    /// Before.
    pub end: Option<WallMillis>,
}

/// Where a record stands in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditPlace {
    /// When it was.
    pub at: WallMillis,
    /// Its id; behind its time and a space, where its time is written otherwise, as to the second.
    pub id: String,
}

impl AuditPlace {
    fn of(timestamp: &str, id: &str) -> Option<Self> {
        let at = timestamp.parse().ok()?;
        let id = match stamp(at) == timestamp {
            true => id.to_owned(),
            false => format!("{timestamp} {id}"),
        };
        Some(Self { at, id })
    }

    /// Time and id as they stand in the database.
    fn values(&self) -> [String; 2] {
        match self.id.split_once(' ') {
            Some((timestamp, id)) => [timestamp.to_owned(), id.to_owned()],
            None => [stamp(self.at), self.id.clone()],
        }
    }
}

/// In which order records are given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditOrder {
    /// The last first.
    LastFirst,
    /// As they happened.
    AsHappened,
}

/// By what records are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditBy {
    /// By what happened.
    Action,
    /// By how it ended.
    Outcome,
    /// By how durable it must be.
    Class,
    /// By who did it.
    Actor,
    /// By why.
    Reason,
    /// By project.
    Project,
    /// By address.
    ClientIp,
    /// By day.
    Day,
}

/// How many records have something in common.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditSum {
    /// What, in the order in which it was asked for.
    pub group: Vec<Option<String>>,
    /// How many.
    pub records: u64,
}

impl AuditBy {
    const fn column(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Outcome => "outcome",
            Self::Class => "class",
            Self::Actor => "actor",
            Self::Reason => "reason",
            Self::Project => "project_id",
            Self::ClientIp => "client_ip",
            Self::Day => "substr(timestamp, 1, 10)",
        }
    }
}

/// Conditions, each with its parameters.
struct Conditions {
    text: String,
    values: Vec<Value>,
    /// Where numbers are in the details, for this database.
    amount: &'static str,
}

impl Conditions {
    fn of(connection: &Connection, scope: Scope) -> Self {
        let mut all = Self {
            text: "1 = 1".to_owned(),
            values: Vec::new(),
            amount: connection.dialect(
                "json_extract(metadata, '$.amount')",
                "CAST(CAST(metadata AS jsonb) ->> 'amount' AS bigint)",
            ),
        };
        if let Some(tenant) = scope.tenant() {
            all.add("tenant_id = ?", [tenant]);
        }
        all
    }

    /// Adds a condition in whose text a question mark stands for each value.
    fn add<V: Into<Value>>(&mut self, condition: &str, values: impl IntoIterator<Item = V>) {
        self.text.push_str(" AND ");
        let mut number = self.values.len();
        for part in condition.split_inclusive('?') {
            match part.strip_suffix('?') {
                Some(text) => {
                    number += 1;
                    self.text.push_str(text);
                    self.text.push_str(&format!("${number}"));
                }
                None => self.text.push_str(part),
            }
        }
        self.values.extend(values.into_iter().map(Into::into));
    }

    fn equal(&mut self, column: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.add(&format!("{column} = ?"), [value]);
        }
    }

    /// One of several: by the index of the column where it is one.
    fn among(&mut self, column: &str, values: &[String]) {
        match values {
            [] => {}
            [value] => self.add(&format!("{column} = ?"), [value]),
            values => {
                let marks = vec!["?"; values.len()].join(", ");
                // Not by its index: what is wanted comes in the order of time.
                self.add(&format!("{column} || '' IN ({marks})"), values);
            }
        }
    }

    fn paths(&mut self, paths: &[String]) {
        if paths.is_empty() {
            return;
        }
        let any = vec!["path LIKE ? ESCAPE '\\'"; paths.len()].join(" OR ");
        let patterns = paths.iter().map(|path| pattern(path));
        self.add(&format!("({any})"), patterns);
    }

    fn filter(&mut self, filter: &AuditFilter) {
        self.among("outcome", &filter.outcomes);
        self.among("class", &filter.classes);
        self.paths(&filter.paths);
        if let Some(project) = filter.project {
            self.add("project_id = ?", [project.to_string()]);
        }
        for (column, value) in [
            ("client_ip", &filter.client_ip),
            ("actor", &filter.actor),
            ("actor_id", &filter.actor_id),
            ("request_id", &filter.request_id),
            ("correlation_id", &filter.correlation_id),
            ("reason", &filter.reason),
            ("method", &filter.method),
        ] {
            self.equal(column, value.as_ref());
        }
        if let Some(token) = &filter.token {
            let told = |name: &str| format!("%\"{name}\":\"{}\"%", literal(token));
            self.add(
                "(token_id = ? OR metadata LIKE ? ESCAPE '\\' OR metadata LIKE ? ESCAPE '\\')",
                [token.clone(), told("token_ref"), told("fingerprint")],
            );
        }
        if let Some(search) = &filter.search {
            let pattern = format!("%{}%", literal(&search.to_lowercase()));
            self.add(
                "lower(action || ' ' || actor || ' ' || coalesce(actor_id, '') || ' ' || outcome || ' '
                   || coalesce(reason, '') || ' ' || coalesce(project_id, '') || ' '
                   || coalesce(request_id, '') || ' ' || coalesce(correlation_id, '') || ' '
                   || coalesce(client_ip, '') || ' ' || id || ' ' || metadata) LIKE ? ESCAPE '\\'",
                [pattern],
            );
        }
        if let Some(amount) = filter.min_amount {
            self.add(&format!("{} >= ?", self.amount), [count(amount)]);
        }
        if let Some(start) = filter.start {
            self.add("timestamp >= ?", [stamp(start)]);
        }
        if let Some(end) = filter.end {
            self.add("timestamp < ?", [stamp(end)]);
        }
    }

    /// The statement, between what stands before and behind the conditions.
    fn query(self, before: &str, behind: &str) -> Query {
        let query = Query::composed(format!("{before}{}{behind}", self.text));
        self.values.into_iter().fold(query, Query::bind)
    }
}

/// A pattern for what has `*` for any text.
fn pattern(text: &str) -> String {
    literal(text).replace('*', "%")
}

/// A text in a pattern, as it is.
fn literal(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

impl Store {
    /// The lines of records in an order, and where the list goes on if there are more. Those behind
    /// `after`, if that is given.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_lines(
        &self,
        scope: Scope,
        filter: &AuditFilter,
        (order, after): (AuditOrder, Option<&AuditPlace>),
        limit: u32,
    ) -> Result<(Vec<String>, Option<AuditPlace>), StoreError> {
        let (behind, ordered) = match order {
            AuditOrder::LastFirst => ("<", "timestamp DESC, id DESC"),
            AuditOrder::AsHappened => (">", "timestamp, id"),
        };
        let mut connection = self.0.read(scope).await?;
        let limit = limit.clamp(1, ROWS_MAX);
        // Each action by its index, in the order of time; together they would have to be sorted.
        let apart: Vec<&[String]> = match filter.actions.len() {
            2..=ACTIONS_APART_MAX => filter.actions.chunks(1).collect(),
            _ => vec![&filter.actions],
        };
        let mut found = Vec::new();
        for actions in apart {
            let mut conditions = Conditions::of(&connection, scope);
            conditions.among("action", actions);
            conditions.filter(filter);
            if let Some(after) = after {
                let condition = format!("(timestamp, id) {behind} (?, ?)");
                conditions.add(&condition, after.values());
            }
            let rows = conditions
                .query(SELECT, &format!(" ORDER BY {ordered} LIMIT {}", limit + 1))
                .fetch_all(&mut connection)
                .await?;
            for row in &rows {
                found.push((
                    text(row, "timestamp")?,
                    text(row, "id")?,
                    Record::of_row(row)?.line(),
                ));
            }
        }
        found.sort_unstable_by(|one, other| match order {
            AuditOrder::LastFirst => other.cmp(one),
            AuditOrder::AsHappened => one.cmp(other),
        });
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > wanted;
        found.truncate(wanted);
        let last = found.last().filter(|_| more);
        let last = last.and_then(|(at, id, _)| AuditPlace::of(at, id));
        Ok((found.into_iter().map(|(.., line)| line).collect(), last))
    }

    /// A page of the lines of records, the last first, and how many there are in all, as far as
    /// `counted_max`.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_page(
        &self,
        scope: Scope,
        filter: &AuditFilter,
        (skip, take): (u64, u32),
        counted_max: u32,
    ) -> Result<(Vec<String>, u64), StoreError> {
        let mut connection = self.0.read(scope).await?;
        let conditions = |connection: &Connection| {
            let mut conditions = Conditions::of(connection, scope);
            conditions.among("action", &filter.actions);
            conditions.filter(filter);
            conditions
        };
        let behind = format!(" LIMIT {}) AS counted", u64::from(counted_max) + 1);
        let counting = "SELECT count(*) FROM (SELECT 1 AS one FROM audit_events WHERE ";
        let counted = conditions(&connection).query(counting, &behind);
        let counted = counted.fetch_number(&mut connection).await?;
        let take = take.clamp(1, ROWS_MAX);
        let behind = format!(" ORDER BY timestamp DESC, id DESC LIMIT {take} OFFSET {skip}");
        let rows = conditions(&connection).query(SELECT, &behind);
        let rows = rows.fetch_all(&mut connection).await?;
        let lines = rows.iter().map(|row| Ok(Record::of_row(row)?.line()));
        let lines = lines.collect::<Result<_, StoreError>>()?;
        Ok((lines, u64::try_from(counted).unwrap_or(0)))
    }

    /// The line of a record.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_line(&self, scope: Scope, id: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let found = query(ONE).bind(id).bind(scope.tenant());
        let row = found.fetch_optional(&mut connection).await?;
        row.map(|row| Ok(Record::of_row(&row)?.line())).transpose()
    }

    /// How many records there are of each kind, the most first, and whether kinds are left out.
    ///
    /// # Errors
    /// The disk or the server.
    pub async fn audit_sums(
        &self,
        scope: Scope,
        filter: &AuditFilter,
        by: &[AuditBy],
    ) -> Result<(Vec<AuditSum>, bool), StoreError> {
        let mut connection = self.0.read(scope).await?;
        let mut conditions = Conditions::of(&connection, scope);
        conditions.among("action", &filter.actions);
        conditions.filter(filter);
        let (mut shown, mut grouped) = (String::new(), String::new());
        for (place, by) in by.iter().enumerate() {
            shown.push_str(&format!("{} AS by_{place}, ", by.column()));
            grouped.push_str(&format!("{}, ", by.column()));
        }
        let before = format!("SELECT {shown}count(*) AS records FROM audit_events WHERE ");
        let grouped = grouped.trim_end_matches(", ");
        let behind = match grouped {
            "" => String::new(),
            _ => format!(
                " GROUP BY {grouped} ORDER BY records DESC, {grouped} LIMIT {}",
                GROUPS_MAX + 1
            ),
        };
        let rows = conditions.query(&before, &behind);
        let rows = rows.fetch_all(&mut connection).await?;
        let sum = |row: &Row| {
            let group = (0..by.len()).map(|place| value(row, &format!("by_{place}")));
            Ok(AuditSum {
                group: group.collect::<Result<_, StoreError>>()?,
                records: crate::row::number(row, "records")?,
            })
        };
        let mut sums: Vec<AuditSum> = rows.iter().map(sum).collect::<Result<_, StoreError>>()?;
        let groups = usize::try_from(GROUPS_MAX).unwrap_or(usize::MAX);
        let more = sums.len() > groups;
        sums.truncate(groups);
        Ok((sums, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-71
    #[test]
    fn what_a_pattern_says_is_taken_as_it_is() {
        assert_eq!(pattern("/api/*"), "/api/%");
        assert_eq!(pattern("100%_\\*"), "100\\%\\_\\\\%");
    }
}
