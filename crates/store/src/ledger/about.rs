//! What a hold says of its call beside the money: enough for a record of it, if the process that made
//! the call does not live to tell its end.

use super::record::{CallRecord, PriceMark};
use crate::query::Row;
use crate::{StoreError, row};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::row::Quality;
use tollkeep_types::usage::Flags;
use tollkeep_types::{LineageId, ProjectId, TenantId, TokenId, WallMillis};

/// How a bound may have been found.
const METHODS: [&str; 2] = ["bytes", "texts"];
/// With which methods calls come.
const CALL_METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// It as JSON has it.
#[derive(Deserialize, Serialize)]
struct AboutText {
    project: ProjectId,
    #[serde(skip_serializing_if = "Option::is_none")]
    lineage: Option<LineageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenId>,
    route: String,
    provider: String,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    markup: Option<String>,
    /// The version of the price table, and its hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<(String, String)>,
    started_at: u64,
}

pub(super) fn about_text(about: &CallRecord) -> Result<String, StoreError> {
    let price = about.price.as_ref();
    row::to_json(&AboutText {
        project: about.project,
        lineage: about.lineage,
        token: about.token,
        route: about.route.to_string(),
        provider: about.provider.to_string(),
        model: about.model_requested.to_string(),
        method: about.bound_method.map(str::to_owned),
        by: Some(about.method)
            .filter(|method| !method.is_empty())
            .map(str::to_owned),
        markup: about.markup.map(|markup| markup.to_string()),
        price: price.map(|mark| (mark.version.to_string(), mark.sha256.to_string())),
        started_at: about.started_at.0,
    })
}

/// What the row of a hold says of its call.
pub(super) fn about_of(row: &Row, bound: Charge) -> Result<Option<Arc<CallRecord>>, StoreError> {
    let text: Option<String> = row::value(row, "about")?;
    let (Some(_), Some(request)) = (text, row::id_if_set(row, "request_id")?) else {
        return Ok(None);
    };
    let tenant: TenantId = row::id(row, "tenant_id")?;
    let attempt = row::number_if_set(row, "attempt")?.unwrap_or(0);
    let told: AboutText = row::json(row, "about")?;
    let method = |word: &String| METHODS.into_iter().find(|method| method == word);
    let came = told.by.as_deref();
    let came = came.and_then(|word| CALL_METHODS.into_iter().find(|method| *method == word));
    Ok(Some(Arc::new(CallRecord {
        request,
        attempt: u32::try_from(attempt).unwrap_or(0),
        tenant,
        project: told.project,
        lineage: told.lineage,
        token: told.token,
        method: came.unwrap_or_default(),
        route: told.route.into(),
        provider: told.provider.into(),
        model_requested: told.model.into(),
        quarantines: None,
        model_served: None,
        lines: None,
        quality: Quality::Unknown,
        flags: Flags::default(),
        bound,
        bound_method: told.method.as_ref().and_then(method),
        charge: Charge::NOTHING,
        upstream_cost: None::<Amount>,
        markup: told.markup.and_then(|markup| markup.parse().ok()),
        price: told.price.map(|(version, sha256)| PriceMark {
            version: version.into(),
            sha256: sha256.into(),
        }),
        started_at: WallMillis(told.started_at),
        duration_ms: 0,
        from_cache: false,
        status: None,
    })))
}
