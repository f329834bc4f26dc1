//! Holds as operators see them: those of calls under way, and those that nobody told the cost of.

use super::columns::{self, charge_of};
use super::{Job, Ledger};
use crate::query::{Row, query};
use crate::{Conflict, Page, PageRequest, Scope, StoreError, row};
use std::str::FromStr;
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::row::{Quality, UsageRow};
use tollkeep_ledger::step::{Asked, Command};
use tollkeep_ledger::write::{Entries, Refusal};
use tollkeep_types::money::{NanoUsd, Ratio};
use tollkeep_types::{HoldId, RequestId, TenantId, WallMillis};

/// Where a hold stands that somebody may want to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HoldStanding {
    /// Taken aside, nothing sent.
    Held,
    /// A call is under way.
    Committed,
    /// It ended, and an upper estimate is charged.
    Estimated,
    /// It ended, nobody said what it cost, and the whole bound is charged.
    Unknown,
}

impl HoldStanding {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Committed => "committed",
            Self::Estimated => "estimated",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for HoldStanding {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = [Self::Held, Self::Committed, Self::Estimated, Self::Unknown].into_iter();
        all.find(|standing| standing.as_str() == word).ok_or(())
    }
}

/// A hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HoldRecord {
    /// Its id.
    pub id: HoldId,
    /// Whose call it is.
    pub tenant: TenantId,
    /// Where it stands.
    pub standing: HoldStanding,
    /// What the call may cost and use at most.
    pub bound: Charge,
    /// What is charged now.
    pub cost: Amount,
    /// When it was taken, or for one that ended, when it did.
    pub at: WallMillis,
    /// When its time is over, of a call under way.
    pub expires_at: Option<WallMillis>,
    /// The request, as far as anybody told.
    pub request: Option<RequestId>,
}

/// Holds of lease budgets are in the memory of their replica while they are open; here are those of
/// strict ones, and what ended without a word of its cost.
macro_rules! holds {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, standing, bound, cost, at, expires_at, request_id FROM
               (SELECT id, tenant_id, state AS standing, bound, CAST(0 AS bigint) AS cost,
                  granted_at AS at, expires_at, request_id
                FROM holds WHERE state IN ('held', 'committed')
                UNION ALL
                SELECT id, tenant_id, quality AS standing, bound, cost, at,
                  CAST(NULL AS bigint) AS expires_at, request_id
                FROM usage_records WHERE quality IN ('estimated', 'unknown') AND NOT is_corrected
                  AND substr(id, 1, 4) = 'hld_') AS open
             WHERE ($1 IS NULL OR tenant_id = $1) ",
            $rest
        )
    };
}

const LIST: &str = holds!(
    "AND ($2 IS NULL OR standing = $2) AND ($3 IS NULL OR (at, id) < ($3, $4))
     ORDER BY at DESC, id DESC LIMIT $5"
);

const ONE: &str = holds!("AND id = $2");

const USAGE: &str = "SELECT id, tenant_id, quality, bound, cost, tokens, output_tokens,
    billable_tokens, requests, charged, hold_version, is_swept, is_corrected, upstream_cost, markup
  FROM usage_records WHERE id = $2 AND ($1 IS NULL OR tenant_id = $1)";

impl Ledger {
    /// Holds, the last first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn holds(
        &self,
        scope: Scope,
        standing: Option<HoldStanding>,
        page: &PageRequest<HoldId>,
    ) -> Result<Page<HoldRecord>, StoreError> {
        let (at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(standing.map(HoldStanding::as_str))
            .bind(at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let holds = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page.page(holds))
    }

    /// One hold.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn hold(&self, scope: Scope, id: HoldId) -> Result<HoldRecord, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let found = query(ONE).bind(scope.tenant()).bind(id.to_string());
        read(&found.fetch_one(&mut connection).await?)
    }

    /// Puts the cost of a call right that nobody knew, once, by what its upstream asks: its payer is
    /// charged that with the markup of the call, and what is charged too much goes back to where it came
    /// from. In a trial nothing is done.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] for a call under way, or one whose cost is
    /// known by now, or too large a one; [`StoreError::Unavailable`] if nobody knows whether it was done.
    pub async fn resolve_hold(
        &self,
        scope: Scope,
        id: HoldId,
        cost: Amount,
    ) -> Result<Entries, StoreError> {
        let mut connection = self.0.read(scope).await?;
        let found = query(USAGE).bind(scope.tenant()).bind(id.to_string());
        let Some(found) = found.fetch_optional(&mut connection).await? else {
            drop(connection);
            let open = self.hold(scope, id).await?;
            tracing::debug!(hold = %open.id, "A call under way has no cost yet");
            return Err(StoreError::Conflict(Conflict::HoldOpen));
        };
        let usage = columns::usage(&found)?;
        let asked = asked(&found, &usage, cost)?;
        drop(connection);
        if usage.corrected || usage.quality == Quality::Reported {
            return Err(StoreError::Conflict(Conflict::HoldSettled));
        }
        if self.0.intent.trial.is_some() {
            return Ok(Entries::new());
        }
        // What was used is known no better; a call that cost nothing used nothing.
        let actual = if cost.is_zero() {
            Charge {
                requests: usage.charge.requests,
                ..Charge::NOTHING
            }
        } else {
            Charge {
                cost: asked.charged,
                ..usage.charge
            }
        };
        let command = Command::Correct {
            usage: Box::new(usage),
            actual: Box::new(actual),
            asked: asked.upstream.map(Box::new),
        };
        let job = Job {
            command,
            about: None,
        };
        match self.run(&[job]).await.pop() {
            Some(Ok(reply)) => match reply.refusal {
                None => Ok(reply.entries),
                Some(Refusal::Moved | Refusal::Repeat) => {
                    Err(StoreError::Conflict(Conflict::HoldSettled))
                }
                Some(refusal) => Err(StoreError::Unavailable(format!("refused: {refusal:?}"))),
            },
            Some(Err(_)) | None => Err(StoreError::Unavailable(
                "nobody knows whether it was done: look again".to_owned(),
            )),
        }
    }
}

/// What a call is charged by what its upstream asks, and what is booked of that.
struct Evidence {
    charged: Amount,
    /// Where it is another amount, or was.
    upstream: Option<Asked>,
}

fn asked(row: &Row, usage: &UsageRow, truth: Amount) -> Result<Evidence, StoreError> {
    let markup: Option<String> = row::value(row, "markup")?;
    let markup: Option<Ratio> = markup.and_then(|markup| markup.parse().ok());
    let booked = columns::amount_if_set(row, "upstream_cost")?;
    let times = markup.unwrap_or(Ratio::ONE);
    let charged = times.of_amount(NanoUsd::new(truth.units()));
    let charged = charged.and_then(|charged| Amount::new(charged.get()));
    let charged = charged.ok_or(StoreError::Conflict(Conflict::CostTooLarge))?;
    if markup.is_none() && booked.is_none() {
        return Ok(Evidence {
            charged,
            upstream: None,
        });
    }
    let booked = booked.unwrap_or(usage.charge.cost);
    // Only what its payer is not charged is beyond the bound, and somebody has seen it.
    let is_seen = usage.quality == Quality::Estimated;
    let is_capped = is_seen && usage.charge.cost == usage.bound.cost;
    let overrun = booked.above(without(times, usage.bound.cost));
    let overrun = if is_capped { overrun } else { Amount::ZERO };
    Ok(Evidence {
        charged,
        upstream: Some(Asked {
            within: booked.above(overrun),
            overrun,
            truth,
        }),
    })
}

/// The amount of which a markup makes this one. It is at least one, so no other one is as near.
fn without(markup: Ratio, charged: Amount) -> Amount {
    let (over, under) = markup.parts();
    let whole = i128::from(charged.units()).saturating_mul(i128::from(under));
    let whole = whole.checked_div(i128::from(over)).unwrap_or_default();
    i64::try_from(whole)
        .ok()
        .and_then(Amount::new)
        .unwrap_or(charged)
}

fn read(row: &Row) -> Result<HoldRecord, StoreError> {
    let cost: i64 = row::value(row, "cost")?;
    Ok(HoldRecord {
        id: row::id(row, "id")?,
        tenant: row::id(row, "tenant_id")?,
        standing: row::id(row, "standing")?,
        bound: charge_of(row, "bound")?,
        cost: Amount::new(cost).unwrap_or_default(),
        at: row::time(row, "at")?,
        expires_at: row::time_if_set(row, "expires_at")?,
        request: row::id_if_set(row, "request_id")?,
    })
}
