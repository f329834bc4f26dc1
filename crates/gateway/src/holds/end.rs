//! The end of a hold: what is known of a call becomes what is charged, and its record.

use super::Gate;
use super::Holds;
use super::inbox::Message;
use super::quote::{Bears, ONE, Quote, amount, cost};
use super::take::{Aside, CallHold, State};
use crate::lifecycle::Exchange;
use crate::record::{Facts, LlmFacts};
use std::borrow::Cow;
use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::hold::{NotBilled, Sure};
use tollkeep_ledger::price::{Book, CostError};
use tollkeep_ledger::row::Quality;
use tollkeep_observe::redact::Redactor;
use tollkeep_store::ledger::{CallRecord, PriceMark};
use tollkeep_types::money::{NanoUsd, Ratio};
use tollkeep_types::usage::{Class, Flags, Lines, UsageReport};
use tollkeep_types::{ProjectId, TenantId, WallMillis};

/// The project of calls without a token.
const NOBODY: ProjectId = ProjectId::from_bytes([0; 16]);

impl Holds {
    /// Ends the hold of a call that is settled, and leaves its record.
    pub(crate) fn end(&self, (hold, bears): (CallHold, Bears), facts: &Facts, redactor: &Redactor) {
        let under = Under {
            tenant: hold.tenant,
            at: hold.at,
            bound: hold.quote.charge,
            bound_method: hold.quote.is_priced.then_some(hold.quote.method.name()),
            price: hold.quote.is_priced.then(|| mark(&hold.book)),
            markup: markup(&hold.quote),
        };
        let llm = facts.llm.as_ref();
        let told = llm.and_then(|llm| llm.told.as_ref());
        let report = told.map(|told| &told.report);
        let certain_output = told.map_or(0, |told| told.certain_output);
        let cost = llm.and_then(|llm| llm.cost.as_ref());
        let borne = match bears {
            Bears::Payer => None,
            Bears::Operator => hold.billed(report, llm),
        };
        // Where its upstream asks more than the bound, nobody is charged that.
        let asked = |llm: &LlmFacts| {
            let known = llm.cost.as_ref()?.as_ref().ok();
            let known = known.filter(|_| hold.quote.sure == Sure::Bound);
            let beyond = known.filter(|known| known.get() > hold.quote.charge.cost.units());
            self::cost(llm.upstream_cost.or(beyond.copied())?)
        };
        let marked_up = || llm.filter(|_| hold.quote.is_priced).and_then(asked);
        let unasked = facts.from_cache.then_some(Amount::ZERO);
        let record = CallRecord {
            upstream_cost: unasked
                .or(borne)
                .or_else(marked_up)
                .or_else(|| hold.owed_unsaid(report, cost)),
            ..record(under, facts, redactor)
        };
        self.inbox.put(Message::Record(hold.id, Arc::new(record)));
        match (hold.state, borne) {
            (State::Committed(committed), Some(cost)) => committed.bear(cost),
            (state, _) => {
                let asked = llm.and_then(|llm| self::cost(llm.upstream_cost?));
                let known = Known {
                    report,
                    cost,
                    asked,
                    certain_output,
                };
                end((state, hold.quote, hold.gate), known);
            }
        }
    }
}

impl CallHold {
    /// What is charged for it if nobody says what it cost.
    pub(crate) fn cost_unsaid(&self) -> Option<NanoUsd> {
        let is_sent = matches!(self.state, State::Committed(_));
        let is_charged = is_sent && self.quote.is_priced && self.gate.is_none();
        is_charged.then(|| NanoUsd::new(self.quote.charge.cost.units()))
    }

    /// What its payer is charged at most, whatever its upstream asks.
    pub(crate) fn charged_at_most(&self) -> Option<NanoUsd> {
        let is_bound = self.quote.is_priced && self.quote.sure == Sure::Bound;
        is_bound.then(|| NanoUsd::new(self.quote.charge.cost.units()))
    }

    /// What its upstream may ask at most, where nobody says what it does and that is another amount than
    /// is charged.
    fn owed_unsaid(
        &self,
        report: Option<&UsageReport>,
        known_cost: Option<&Result<NanoUsd, CostError>>,
    ) -> Option<Amount> {
        let is_free = matches!(report, Some(UsageReport::Released));
        let is_sent = matches!(self.state, State::Committed(_));
        let is_unsaid = matches!(report, Some(UsageReport::Unknown(_)) | None)
            || !matches!(known_cost, Some(Ok(_)));
        self.quote
            .owed()
            .filter(|_| is_sent && !is_free && is_unsaid)
    }

    /// What its upstream asks for it at most, if it may ask for anything.
    fn billed(&self, report: Option<&UsageReport>, llm: Option<&LlmFacts>) -> Option<Amount> {
        let known_cost = llm.and_then(|llm| llm.cost.as_ref());
        match (&self.state, report, known_cost) {
            (State::Held(_) | State::Moving, ..) | (_, Some(UsageReport::Released), _) => None,
            (State::Committed(_), _, Some(Ok(known))) => {
                let asked = llm.and_then(|llm| llm.upstream_cost);
                cost(asked.unwrap_or(*known))
            }
            (State::Committed(_), _, Some(Err(_)) | None) => Some(self.quote.upstream_cost),
        }
    }
}

impl Exchange<'_> {
    /// What is known of a call before it goes out.
    pub(super) fn about(&self, (aside, quote): (&Aside<'_>, &Quote), book: &Book) -> CallRecord {
        let facts = &self.work.facts;
        let under = Under {
            tenant: self.payer(),
            at: facts.at,
            bound: quote.charge,
            bound_method: quote.is_priced.then_some(quote.method.name()),
            price: quote.is_priced.then(|| mark(book)),
            markup: markup(quote),
        };
        CallRecord {
            provider: Arc::clone(&aside.target.name),
            // An attempt before it may have told something.
            model_served: None,
            lines: None,
            flags: Flags::default(),
            status: None,
            ..record(under, facts, self.worker.shared.recorder.redactor())
        }
    }
}

/// Under what a call was made.
struct Under {
    tenant: TenantId,
    /// The instant that selects rates.
    at: WallMillis,
    bound: Charge,
    bound_method: Option<&'static str>,
    /// The price table of it.
    price: Option<PriceMark>,
    markup: Option<Ratio>,
}

/// The factor that a call is charged by, if it has one.
fn markup(quote: &Quote) -> Option<Ratio> {
    Some(quote.markup).filter(|_| quote.owed().is_some())
}

fn mark(book: &Book) -> PriceMark {
    let (version, sha256) = book.shared_version();
    PriceMark { version, sha256 }
}

/// The record of a call that no budget counted, if it went to a provider and has none yet.
pub(crate) fn uncounted(
    facts: &Facts,
    (tenant, at, book): (TenantId, WallMillis, &Book),
    redactor: &Redactor,
) -> Option<CallRecord> {
    let llm = facts.llm.as_ref()?;
    let told = llm.told.as_ref().filter(|_| llm.told_hold.is_none())?;
    let under = Under {
        tenant,
        at,
        bound: Charge::NOTHING,
        bound_method: None,
        // Other prices may have come since it was settled.
        price: Some(llm.price.clone().unwrap_or_else(|| mark(book))),
        markup: None,
    };
    let (quality, mut charge) = known(&told.report, llm.cost.as_ref());
    if facts.from_cache {
        charge.requests = ONE;
    }
    Some(CallRecord {
        quality,
        charge,
        upstream_cost: llm.upstream_cost.and_then(cost),
        ..record(under, facts, redactor)
    })
}

/// What a call cost and used, as far as anybody knows. What it used can be known without a price.
fn known(
    report: &UsageReport,
    known_cost: Option<&Result<NanoUsd, CostError>>,
) -> (Quality, Charge) {
    let used = |lines, quality| {
        let (cost, quality) = match known_cost {
            Some(Ok(known)) => (cost(*known)?, quality),
            Some(Err(_)) | None => (Amount::ZERO, Quality::Unknown),
        };
        Some((quality, charge(cost, lines)?))
    };
    let known = match report {
        UsageReport::Released => Some((Quality::Reported, Charge::NOTHING)),
        UsageReport::Reported(lines) => used(lines, Quality::Reported),
        UsageReport::Estimated(lines) => used(lines, Quality::Estimated),
        UsageReport::Unknown(_) => None,
    };
    known.unwrap_or((
        Quality::Unknown,
        Charge {
            requests: ONE,
            ..Charge::NOTHING
        },
    ))
}

fn record(under: Under, facts: &Facts, redactor: &Redactor) -> CallRecord {
    let (llm, token) = (facts.llm.as_ref(), facts.token.as_ref());
    let told = llm.and_then(|llm| llm.told.as_ref());
    let name = |name: &Option<Arc<str>>| {
        let name = name.as_ref()?;
        // A server takes no text with a zero byte, and it is the upstream that names what answered.
        if name.bytes().any(|byte| byte.is_ascii_control()) {
            let printable = name.replace(|char: char| char.is_ascii_control(), "\u{fffd}");
            return Some(redactor.hide(&printable).into());
        }
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
        tenant: under.tenant,
        project: token.map_or(NOBODY, |token| token.project.id),
        lineage: token.map(|token| token.lineage.id),
        token: token.map(|token| token.id),
        method: facts.method,
        route: named(facts.route.as_ref(), "-"),
        provider: named(facts.asked.as_ref().map(|asked| &asked.name), ""),
        model_requested: llm
            .and_then(|llm| name(&llm.model_asked))
            .unwrap_or_default(),
        quarantines: facts
            .asked
            .as_ref()
            .filter(|asked| !asked.is_elsewhere)
            .and(llm)
            .and_then(|llm| llm.model_sent.as_ref().or(llm.model_asked.as_ref()))
            .map(Arc::clone),
        model_served: llm.and_then(|llm| name(&llm.model_served)),
        lines: told.and_then(|told| told.report.lines().cloned()),
        // The end of the hold says it.
        quality: Quality::Unknown,
        flags: told.map(|told| told.flags).unwrap_or_default(),
        bound: under.bound,
        bound_method: under.bound_method,
        charge: Charge::NOTHING,
        upstream_cost: None,
        markup: under.markup,
        price: under.price,
        started_at: under.at,
        duration_ms: facts.duration_ns / 1_000_000,
        from_cache: facts.from_cache,
        status: Some(facts.status).filter(|status| *status > 0),
    }
}

/// What is known of a call.
#[derive(Clone, Copy)]
struct Known<'a> {
    report: Option<&'a UsageReport>,
    cost: Option<&'a Result<NanoUsd, CostError>>,
    /// What its upstream asks, where that is another amount.
    asked: Option<Amount>,
    /// Tokens of output that were seen for certain.
    certain_output: u64,
}

/// Ends a hold by what the call used, and what that cost. Without a word about it the whole bound is
/// charged, unless nothing went out.
fn end((state, quote, gate): (State, Quote, Option<Gate>), known: Known<'_>) {
    // What was not committed is released by its drop, and what is not settled charged by its own.
    let State::Committed(committed) = state else {
        return;
    };
    if let Some(gate) = gate {
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
    let (lines, quality) = match known.report {
        Some(UsageReport::Released) => return committed.release(NotBilled::Refused),
        _ if counts_requests_alone => {
            return committed.settle(Quality::Reported, quote.charge);
        }
        Some(UsageReport::Reported(lines)) => (lines, Quality::Reported),
        Some(UsageReport::Estimated(lines)) => (lines, Quality::Estimated),
        Some(UsageReport::Unknown(_)) | None => {
            if let Some(beyond) = beyond_cap(&quote, known.certain_output) {
                committed.settle(Quality::Unknown, beyond);
            }
            return;
        }
    };
    let cost = match known.cost {
        Some(Ok(known)) => cost(*known),
        Some(Err(_)) | None if quote.is_priced => None,
        Some(Err(_)) | None => Some(Amount::ZERO),
    };
    let cost = cost.map(|cost| if quote.is_priced { cost } else { Amount::ZERO });
    if let Some(actual) = cost.and_then(|cost| charge(cost, lines)) {
        match known.asked.filter(|_| quote.is_priced) {
            Some(asked) => committed.settle_asked(quality, actual, asked),
            None => committed.settle(quality, actual),
        }
    }
}

/// A call of which nothing is known but that it brought more output than it was bounded to: its whole
/// bound, and what was seen beyond it.
fn beyond_cap(quote: &Quote, certain_output: u64) -> Option<Charge> {
    let most = quote.output_tokens()?;
    let beyond = certain_output.checked_sub(most).filter(|more| *more > 0)?;
    let more = amount(beyond)?;
    let bound = quote.charge;
    Some(Charge {
        tokens: bound.tokens.plus(more)?,
        output_tokens: bound.output_tokens.plus(more)?,
        billable_tokens: bound.billable_tokens.plus(more)?,
        ..bound
    })
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
