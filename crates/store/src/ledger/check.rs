//! Whether the rows are what they must be (`tollkeep ledger check`).

use super::Ledger;
use super::chain::{Link, postings_of_cost};
use crate::StoreError;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use std::collections::HashMap;
use std::sync::Arc;
use tollkeep_types::WallMillis;

/// Entries looked at with one statement.
const ENTRIES_AT_ONCE: i64 = 2000;
/// Violations of one kind that are told one by one.
const TOLD_MAX: u32 = 20;

/// Statements that give the name of each row that breaks a rule, and what to say of it.
const RULES: &[(&str, &str)] = &[
    (
        "I2: the balance of an account is not the sum of its postings",
        "SELECT coalesce(name, account) AS what FROM accounts FULL JOIN
           (SELECT account, sum(amount) AS moved FROM
              (SELECT account, amount FROM postings
               UNION ALL SELECT 'payable:' || tenant_id || coalesce(':' || provider, ''), -sum(cost)
                 FROM entries WHERE cost IS NOT NULL GROUP BY tenant_id, provider
               UNION ALL SELECT 'upstream_cost:' || tenant_id || coalesce(':' || provider, ''), sum(cost)
                 FROM entries WHERE cost IS NOT NULL GROUP BY tenant_id, provider) AS movements
            GROUP BY account) AS sums
           ON account = name
         WHERE coalesce(balance, 0) <> coalesce(moved, 0) LIMIT $1",
    ),
    (
        "I2: the balances of a unit do not come to zero",
        "SELECT unit AS what FROM accounts GROUP BY unit HAVING sum(balance) <> 0 LIMIT $1",
    ),
    (
        "I2: the postings of an entry do not come to zero",
        "SELECT CAST(entry AS text) AS what FROM postings GROUP BY entry
         HAVING sum(amount) <> 0 OR count(*) < 2 LIMIT $1",
    ),
    (
        "I2: what is leased of a window is not what its active slices have left",
        "SELECT budget_windows.budget_id AS what FROM budget_windows LEFT JOIN
           (SELECT budget_id, window_start, sum(amount - used - returned) AS rest
            FROM budget_leases WHERE state = 'active' GROUP BY budget_id, window_start) AS slices
           ON slices.budget_id = budget_windows.budget_id
             AND slices.window_start = budget_windows.window_start
         WHERE leased <> coalesce(rest, 0) LIMIT $1",
    ),
    (
        "I4: an account of a payer is below zero",
        "SELECT name AS what FROM accounts
         WHERE kind IN ('credit', 'held') AND balance < 0 LIMIT $1",
    ),
    (
        "I4: more is taken of a window than may be",
        "SELECT budget_id AS what FROM budget_windows
         WHERE enforcement = 'hard' AND spent + reserved + leased > ceiling LIMIT $1",
    ),
    (
        "I5: a hold that ended has no usage record",
        "SELECT id AS what FROM holds WHERE state NOT IN ('held', 'committed') AND covers <> '[]'
           AND NOT EXISTS (SELECT 1 FROM usage_records WHERE usage_records.id = holds.id) LIMIT $1",
    ),
    (
        "I5: a hold that is open has a usage record",
        "SELECT holds.id AS what FROM holds JOIN usage_records ON usage_records.id = holds.id
         WHERE state IN ('held', 'committed') LIMIT $1",
    ),
    (
        "I10: what is kept of a payment is not what its state says",
        "SELECT payments.id AS what FROM payments
           LEFT JOIN accounts ON accounts.name = 'credit:' || payments.id
         WHERE coalesce(accounts.balance, 0) <>
           CASE WHEN state IN ('settled', 'delivering', 'credit', 'redeeming') THEN received ELSE 0 END
         LIMIT $1",
    ),
    (
        "I10: a payment has money that no entry brought, or the reverse",
        "SELECT payments.id AS what FROM payments
           LEFT JOIN accounts ON accounts.name = 'credit:' || payments.id
         WHERE (received IS NULL) <> (accounts.name IS NULL)
           -- What was sent back had come.
           AND (state <> 'voided' OR received IS NOT NULL) LIMIT $1",
    ),
    (
        "I11: what is owed to the holder of a session is not what is kept of it",
        "SELECT sessions.id AS what FROM sessions
           LEFT JOIN accounts ON accounts.name = 'credit:' || sessions.id
         WHERE coalesce(accounts.balance, -1) <> money + held LIMIT $1",
    ),
    (
        "I11: what calls have taken of a session is not what is set aside of it",
        "SELECT sessions.id AS what FROM sessions LEFT JOIN
           (SELECT session_id, sum(money) AS taken FROM session_uses GROUP BY session_id) AS uses
           ON uses.session_id = sessions.id
         WHERE held <> coalesce(taken, 0) LIMIT $1",
    ),
];

/// The same, by the clock that times are ended by: one that went back lets everything live for longer.
const OVERDUE: &[(&str, &str)] = &[
    (
        "I6: a hold is open long after its time",
        "SELECT id AS what FROM holds WHERE state IN ('held', 'committed')
           AND expires_at + 120000 < $2 LIMIT $1",
    ),
    (
        "I6: a slice is out long after its time",
        "SELECT id AS what FROM budget_leases WHERE state = 'active'
           AND expires_at + 150000 < $2 LIMIT $1",
    ),
];

const CLOCK: &str = "SELECT $1 AS clock";

const SERVER_CLOCK: &str =
    "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint) AS clock,
       CAST($1 AS bigint) AS own";

const STATE: &str = "SELECT entries, chain FROM ledger_state";

const ENTRIES: &str = "SELECT number, id, tenant_id, kind, corrects, request_id, at, hash, cost,
    provider
  FROM entries WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3";

const POSTINGS: &str = "SELECT entry, account, amount FROM postings
  WHERE entry > $1 AND entry <= $2 ORDER BY entry, line";

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckReport {
    /// How many entries were followed.
    pub entries: u64,
    /// What is not as it must be, for a reader: the invariant, and the row.
    pub violations: Vec<String>,
}

/// An entry of the chain, as it was read.
struct Read {
    number: i64,
    id: String,
    tenant: String,
    kind: String,
    corrects: Option<String>,
    request: Option<String>,
    at: WallMillis,
    hash: Vec<u8>,
    /// It moves just this from what is payable to the cost of upstreams.
    cost: Option<i64>,
    /// Of such a one: whose provider's.
    provider: Option<String>,
}

impl Ledger {
    /// Looks at all rows for what can't be: sums that differ, holds without an end, a chain of
    /// entries that was changed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn check(&self) -> Result<CheckReport, StoreError> {
        let mut connection = self.0.database.read_long().await?;
        let mut report = CheckReport::default();
        for (rule, statement) in RULES {
            let found = query(statement).bind(TOLD_MAX);
            for row in found.fetch_all(&mut connection).await? {
                let what = row::text(&row, "what")?;
                report.violations.push(format!("{rule}: {what}"));
            }
        }
        let clock = connection.dialect(CLOCK, SERVER_CLOCK);
        let clock = query(clock).bind(millis(self.0.wall.now()));
        let clock = row::time(&clock.fetch_one(&mut connection).await?, "clock")?;
        for (rule, statement) in OVERDUE {
            let found = query(statement).bind(TOLD_MAX).bind(millis(clock));
            for row in found.fetch_all(&mut connection).await? {
                let what = row::text(&row, "what")?;
                report.violations.push(format!("{rule}: {what}"));
            }
        }
        follow(&mut connection, &mut report).await?;
        Ok(report)
    }
}

/// Follows the chain of entries from its beginning to its end.
async fn follow(connection: &mut Connection, report: &mut CheckReport) -> Result<(), StoreError> {
    let state = query(STATE).fetch_one(connection).await?;
    let count: i64 = row::value(&state, "entries")?;
    let want: Vec<u8> = row::value(&state, "chain")?;
    let (mut end, mut number) = ([0; 32], 0);
    loop {
        let entries = query(ENTRIES)
            .bind(number)
            .bind(count)
            .bind(ENTRIES_AT_ONCE);
        let entries = entries.fetch_all(connection).await?;
        let entries: Vec<Read> = entries.iter().map(read).collect::<Result<_, _>>()?;
        let Some(last) = entries.last().map(|entry| entry.number) else {
            break;
        };
        let mut postings = postings(connection, number, last).await?;
        for entry in &entries {
            number += 1;
            let mut all = entry.postings_of_cost();
            all.extend(postings.remove(&entry.number).into_iter().flatten());
            let hash = entry.hash(&end, &all);
            if entry.number != number || entry.hash != hash {
                let what = format!("I9: the chain of entries is broken at {}", entry.id);
                report.violations.push(what);
                return Ok(());
            }
            end = hash;
            report.entries += 1;
        }
    }
    if number != count || want != end {
        let what = format!("I9: the chain of entries is cut or spliced, at {number} of {count}");
        report.violations.push(what);
    }
    Ok(())
}

async fn postings(
    connection: &mut Connection,
    after: i64,
    last: i64,
) -> Result<HashMap<i64, Vec<(Arc<str>, i64)>>, StoreError> {
    let rows = query(POSTINGS).bind(after).bind(last);
    let mut postings: HashMap<i64, Vec<(Arc<str>, i64)>> = HashMap::new();
    for row in rows.fetch_all(connection).await? {
        let of: i64 = row::value(&row, "entry")?;
        let posting = (
            row::text(&row, "account")?.into(),
            row::value(&row, "amount")?,
        );
        postings.entry(of).or_default().push(posting);
    }
    Ok(postings)
}

fn read(row: &Row) -> Result<Read, StoreError> {
    Ok(Read {
        number: row::value(row, "number")?,
        id: row::text(row, "id")?,
        tenant: row::text(row, "tenant_id")?,
        kind: row::text(row, "kind")?,
        corrects: row::value(row, "corrects")?,
        request: row::value(row, "request_id")?,
        at: row::time(row, "at")?,
        hash: row::value(row, "hash")?,
        cost: row::value(row, "cost")?,
        provider: row::value(row, "provider")?,
    })
}

impl Read {
    fn postings_of_cost(&self) -> Vec<(Arc<str>, i64)> {
        let cost = self.cost.into_iter();
        cost.flat_map(|cost| postings_of_cost(&self.tenant, self.provider.as_deref(), cost))
            .collect()
    }

    fn hash(&self, before: &[u8; 32], postings: &[(Arc<str>, i64)]) -> [u8; 32] {
        let link = Link {
            number: self.number,
            id: &self.id,
            tenant: &self.tenant,
            kind: &self.kind,
            corrects: self.corrects.as_deref(),
            request: self.request.as_deref(),
            at: self.at,
            postings,
        };
        link.hash(before)
    }
}
