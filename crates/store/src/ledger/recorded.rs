//! One usage record as it is kept, and how it is read.

use super::columns::{self, charge_of, covers_of};
use crate::query::Row;
use crate::{StoreError, row};
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::row::{Covers, Quality};
use tollkeep_types::{HoldId, LineageId, ProjectId, RequestId, TenantId, TokenId, WallMillis};

/// One record as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageRecord {
    /// Its name: that of its hold, or of its request and attempt.
    pub id: String,
    /// The hold, where a budget counted it.
    pub hold: Option<HoldId>,
    /// Whose call it was.
    pub tenant: TenantId,
    /// When it was written.
    pub at: WallMillis,
    /// The request, and which of its attempts. Nothing where a process ended before it told.
    pub request: Option<RequestId>,
    /// The first attempt is 1.
    pub attempt: Option<u32>,
    /// Its project.
    pub project: Option<ProjectId>,
    /// The line of its token.
    pub lineage: Option<LineageId>,
    /// Its token.
    pub token: Option<TokenId>,
    /// With which method the call came.
    pub method: Option<String>,
    /// The name of the route.
    pub route: Option<String>,
    /// The name of the provider.
    pub provider: Option<String>,
    /// The model that was asked for.
    pub model_requested: Option<String>,
    /// The model that answered.
    pub model_served: Option<String>,
    /// What was used, as JSON: a list of lines.
    pub lines: Option<String>,
    /// How far the cost is known.
    pub quality: Quality,
    /// What was odd, as a JSON list of names.
    pub flags: Option<String>,
    /// What it could cost at most.
    pub bound: Charge,
    /// How the bound was found.
    pub bound_method: Option<String>,
    /// What it cost.
    pub charge: Charge,
    /// What was charged to which pot.
    pub charged: Covers,
    /// What the upstream asks for it, where that is another amount.
    pub upstream_cost: Option<Amount>,
    /// The factor that it is charged by, where that is more than its upstream asks.
    pub markup: Option<String>,
    /// The version of the price table, and its SHA-256.
    pub price_version: Option<String>,
    /// In hex.
    pub price_sha256: Option<String>,
    /// Its time was over before its holder told the end.
    pub is_swept: bool,
    /// Evidence that came later is in it.
    pub is_corrected: bool,
    /// When the call began.
    pub started_at: Option<WallMillis>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// Whether a kept answer was given.
    pub from_cache: bool,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The chain of its receipt, if one was made, and the place there.
    pub receipt: Option<(String, u64)>,
}

impl UsageRecord {
    /// Whether it says what the call cost. Where a budget counted it, the bound is charged if nobody
    /// knows; of other calls an unknown cost is no cost of zero.
    pub const fn has_cost(&self) -> bool {
        self.hold.is_some() || !matches!(self.quality, Quality::Unknown)
    }
}

/// What [`read`] reads of a record.
macro_rules! read_columns {
    () => {
        "id, tenant_id, at, request_id, attempt, project_id, lineage_id, token_id, method, route, provider,
     model_requested, model_served, lines, quality, flags, bound, bound_method, cost, tokens,
     output_tokens, billable_tokens, requests, charged, upstream_cost, price_version, price_sha256,
     is_swept, is_corrected, started_at, duration_ms, from_cache, status, markup, receipt_chain, receipt_seq"
    };
}
pub(super) use read_columns;

pub(super) fn read(row: &Row) -> Result<UsageRecord, StoreError> {
    let id = row::text(row, "id")?;
    let upstream_cost: Option<i64> = row::value(row, "upstream_cost")?;
    let attempt = row::number_if_set(row, "attempt")?;
    let status = row::number_if_set(row, "status")?;
    Ok(UsageRecord {
        hold: id.parse().ok(),
        id,
        tenant: row::id(row, "tenant_id")?,
        at: row::time(row, "at")?,
        request: row::id_if_set(row, "request_id")?,
        attempt: attempt.and_then(|attempt| u32::try_from(attempt).ok()),
        project: row::id_if_set(row, "project_id")?,
        lineage: row::id_if_set(row, "lineage_id")?,
        token: row::id_if_set(row, "token_id")?,
        method: row::value(row, "method")?,
        route: row::value(row, "route")?,
        provider: row::value(row, "provider")?,
        model_requested: row::value(row, "model_requested")?,
        model_served: row::value(row, "model_served")?,
        lines: row::value(row, "lines")?,
        quality: columns::quality(row, "quality")?,
        flags: row::value(row, "flags")?,
        bound: charge_of(row, "bound")?,
        bound_method: row::value(row, "bound_method")?,
        charge: columns::charge(row)?,
        charged: covers_of(row, "charged")?,
        upstream_cost: upstream_cost.and_then(Amount::new),
        markup: row::value(row, "markup")?,
        price_version: row::value(row, "price_version")?,
        price_sha256: row::value(row, "price_sha256")?,
        is_swept: row::value(row, "is_swept")?,
        is_corrected: row::value(row, "is_corrected")?,
        started_at: row::time_if_set(row, "started_at")?,
        duration_ms: row::number_if_set(row, "duration_ms")?,
        from_cache: row::value(row, "from_cache")?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        receipt: Option::zip(
            row::value(row, "receipt_chain")?,
            row::number_if_set(row, "receipt_seq")?,
        ),
    })
}
