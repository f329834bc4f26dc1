//! Usage records as answers show them.

use super::{QUALITIES, usd};
use crate::shape::{Member, choice, number, switch, text, texts, time};
use serde_json::{Value, json};
use tollkeep_ledger::amount::Charge;
use tollkeep_ledger::row::Quality;
use tollkeep_store::ledger::UsageRecord;

/// What never stands here: prompts, answers, secrets.
pub(super) const SHOWN: &[Member] = &[
    text(
        "id",
        80,
        "Its id: that of its hold, or of its request and attempt",
    ),
    crate::shape::id("hold", "hld_", "The hold, where a budget counted it").or_null(),
    time("at", "When it was written"),
    crate::shape::id("request_id", "req_", "The request").or_null(),
    number("attempt", "Which attempt of it").or_null(),
    crate::shape::id("tenant_id", "ten_", "The tenant"),
    crate::shape::id("project_id", "prj_", "The project").or_null(),
    crate::shape::id("token_id", "tid_", "The token").or_null(),
    crate::shape::id("lineage_id", "lin_", "The line of the token").or_null(),
    text("method", 16, "With which method the call came").or_null(),
    text("route", 256, "The route").or_null(),
    text("provider", 256, "The provider").or_null(),
    text("model_requested", 256, "The model that was asked for").or_null(),
    text("model_served", 256, "The model that answered").or_null(),
    text("lines", 65_536, "What was used, as a JSON text").or_null(),
    choice("quality", QUALITIES, "How far the cost is known"),
    texts("flags", 64, 64, "What was odd"),
    number(
        "bound_nano_usd",
        "What it could cost at most, where a budget counted it",
    )
    .or_null(),
    text("bound_method", 40, "How that was found").or_null(),
    number(
        "cost_nano_usd",
        "What it cost, in nano-dollars; null where nobody knows and nobody was charged",
    )
    .or_null(),
    text("cost_usd", 30, "The same in dollars").or_null(),
    number(
        "upstream_cost_nano_usd",
        "What the upstream asks, where that is another amount",
    )
    .or_null(),
    text(
        "markup",
        20,
        "The factor it is charged by, where that is more than its upstream asks",
    )
    .or_null(),
    number("tokens", "Tokens in all"),
    number("output_tokens", "Tokens of output"),
    number("billable_tokens", "Tokens without those read from a cache"),
    text("price_version", 64, "The version of the price table").or_null(),
    text("price_sha256", 64, "Its hash").or_null(),
    switch("is_swept", "Its time was over before its end was told"),
    switch("is_corrected", "Evidence that came later is in it"),
    time("started_at", "When the call began").or_null(),
    number("duration_ms", "How long it took").or_null(),
    switch("from_cache", "A kept answer was given"),
    number("status", "The status of the answer").or_null(),
    text(
        "receipt_chain",
        80,
        "The chain of its receipt, if it has one",
    )
    .or_null(),
    number("receipt_seq", "The place of its receipt in that chain").or_null(),
];

pub(super) fn shown(record: &UsageRecord) -> Value {
    let Charge {
        cost,
        tokens,
        output_tokens,
        billable_tokens,
        ..
    } = record.charge;
    let flags = record.flags.as_deref();
    let flags: Vec<String> = flags
        .and_then(|flags| serde_json::from_str(flags).ok())
        .unwrap_or_default();
    json!({
        "id": record.id,
        "hold": record.hold,
        "at": record.at,
        "request_id": record.request,
        "attempt": record.attempt,
        "tenant_id": record.tenant,
        "project_id": record.project,
        "token_id": record.token,
        "lineage_id": record.lineage,
        "method": record.method,
        "route": record.route,
        "provider": record.provider,
        "model_requested": record.model_requested,
        "model_served": record.model_served,
        "lines": record.lines,
        "quality": match record.quality {
            Quality::Reported => "reported",
            Quality::Estimated => "estimated",
            Quality::Unknown => "unknown",
        },
        "flags": flags,
        "bound_nano_usd": record.hold.map(|_| record.bound.cost.units()),
        "bound_method": record.bound_method,
        "cost_nano_usd": record.has_cost().then(|| cost.units()),
        "cost_usd": record.has_cost().then(|| usd(cost)),
        "upstream_cost_nano_usd": record.upstream_cost.map(|cost| cost.units()),
        "markup": record.markup,
        "tokens": tokens.units(),
        "output_tokens": output_tokens.units(),
        "billable_tokens": billable_tokens.units(),
        "price_version": record.price_version,
        "price_sha256": record.price_sha256,
        "is_swept": record.is_swept,
        "is_corrected": record.is_corrected,
        "started_at": record.started_at,
        "duration_ms": record.duration_ms,
        "from_cache": record.from_cache,
        "status": record.status,
        "receipt_chain": record.receipt.as_ref().map(|(chain, _)| chain),
        "receipt_seq": record.receipt.as_ref().map(|(_, seq)| seq),
    })
}
