//! The end of a hold: what is known of a call becomes what is charged, and its record.

use super::Gate;
use super::Holds;
use super::inbox::Message;
use super::quote::{ONE, amount, cost};
use super::take::{CallHold, State};
use crate::record::Facts;
use std::borrow::Cow;
use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::hold::NotBilled;
use tollkeep_ledger::price::CostError;
use tollkeep_ledger::row::Quality;
use tollkeep_observe::redact::Redactor;
use tollkeep_store::ledger::{CallRecord, PriceMark};
use tollkeep_types::ProjectId;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::usage::{Class, Lines, UsageReport};

/// The project of calls without a token.
const NOBODY: ProjectId = ProjectId::from_bytes([0; 16]);

impl Holds {
    /// Ends the hold of a call that is settled, and leaves its record.
    pub(crate) fn end(&self, hold: CallHold, facts: &Facts, redactor: &Redactor) {
        let record = Arc::new(record(&hold, facts, redactor));
        self.inbox.put(Message::Record(hold.id, record));
        let llm = facts.llm.as_ref();
        let told = llm.and_then(|llm| llm.told.as_ref());
        let cost = llm.and_then(|llm| llm.cost.as_ref());
        end(hold, told.map(|told| &told.report), cost);
    }
}

fn record(hold: &CallHold, facts: &Facts, redactor: &Redactor) -> CallRecord {
    let (llm, token) = (facts.llm.as_ref(), facts.token.as_ref());
    let told = llm.and_then(|llm| llm.told.as_ref());
    let name = |name: &Option<Arc<str>>| {
        let name = name.as_ref()?;
        Some(match redactor.hide(name) {
            Cow::Borrowed(_) => Arc::clone(name),
            Cow::Owned(hidden) => hidden.into(),
        })
    };
    let named = |name: Option<&Arc<str>>, else_: &'static str| {
        name.map_or_else(|| else_.into(), Arc::clone)
    };
    CallRecord {
        request: facts.id,
        attempt: facts.attempts.saturating_add(1),
        tenant: hold.tenant,
        project: token.map_or(NOBODY, |token| token.project.id),
        lineage: token.map(|token| token.lineage.id),
        token: token.map(|token| token.id),
        route: named(facts.route.as_ref(), "-"),
        provider: named(facts.asked.as_ref().map(|asked| &asked.name), ""),
        model_requested: llm
            .and_then(|llm| name(&llm.model_asked))
            .unwrap_or_default(),
        model_priced: named(
            llm.and_then(|llm| llm.model_sent.as_ref().or(llm.model_asked.as_ref())),
            "",
        ),
        model_served: llm.and_then(|llm| name(&llm.model_served)),
        lines: told.and_then(|told| told.report.lines().cloned()),
        // The end of the hold says it.
        quality: Quality::Unknown,
        flags: told.map(|told| told.flags).unwrap_or_default(),
        bound: hold.quote.charge,
        bound_method: hold.quote.is_priced.then_some(hold.quote.method.name()),
        charge: Charge::NOTHING,
        upstream_cost: None,
        price: hold.quote.is_priced.then(|| {
            let (version, sha256) = hold.book.shared_version();
            PriceMark { version, sha256 }
        }),
        started_at: hold.at,
        duration_ms: facts.duration_ns / 1_000_000,
        from_cache: false,
        status: Some(facts.status).filter(|status| *status > 0),
    }
}

/// Ends a hold by what the call used, and what that cost. Without a word about it the whole bound is
/// charged, unless nothing went out.
fn end(
    hold: CallHold,
    report: Option<&UsageReport>,
    known_cost: Option<&Result<NanoUsd, CostError>>,
) {
    let quote = hold.quote;
    // What was not committed is released by its drop, and what is not settled charged by its own.
    let State::Committed(committed) = hold.state else {
        return;
    };
    if let Some(gate) = hold.gate {
        let cost = match gate {
            Gate::Charged => quote.charge.cost,
            Gate::Free => Amount::ZERO,
        };
        return committed.settle(
            Quality::Reported,
            Charge {
                cost,
                ..quote.charge
            },
        );
    }
    // Nothing more than that it was made.
    let counts_requests_alone = quote.charge.tokens.is_zero() && !quote.is_priced;
    let (lines, quality) = match report {
        Some(UsageReport::Released) => return committed.release(NotBilled::Refused),
        _ if counts_requests_alone => {
            return committed.settle(Quality::Reported, quote.charge);
        }
        Some(UsageReport::Reported(lines)) => (lines, Quality::Reported),
        Some(UsageReport::Estimated(lines)) => (lines, Quality::Estimated),
        Some(UsageReport::Unknown(_)) | None => return,
    };
    let cost = match known_cost {
        Some(Ok(known)) => cost(*known),
        Some(Err(_)) | None if quote.is_priced => None,
        Some(Err(_)) | None => Some(Amount::ZERO),
    };
    let cost = cost.map(|cost| if quote.is_priced { cost } else { Amount::ZERO });
    if let Some(actual) = cost.and_then(|cost| charge(cost, lines)) {
        committed.settle(quality, actual);
    }
}

fn charge(cost: Amount, lines: &Lines) -> Option<Charge> {
    let tokens = lines.input().checked_add(lines.output())?;
    let cached: u64 =
        lines
            .iter()
            .flat_map(|line| line.usage.iter())
            .fold(0, |sum: u64, (class, count)| {
                let is_cached = matches!(
                    class,
                    Class::CacheReadText
                        | Class::CacheReadAudio
                        | Class::CacheReadImage
                        | Class::CacheReadVideo
                );
                sum.saturating_add(if is_cached { count } else { 0 })
            });
    Some(Charge {
        cost,
        tokens: amount(tokens)?,
        output_tokens: amount(lines.output())?,
        billable_tokens: amount(tokens.saturating_sub(cached))?,
        requests: ONE,
    })
}
