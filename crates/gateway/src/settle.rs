//! What finished calls used and cost, made from what their answers told: after the answer, when a
//! batch of records is due, and for an attempt that failed before the next one. Their holds end
//! with it.

use crate::holds::{Bears, CallHold, HungUp, uncounted};
use crate::lifecycle::Exchange;
use crate::plan::{Target, TargetKind};
use crate::record::{Asked, Facts, LlmFacts};
use crate::seed_names;
use crate::token_rates;
use crate::worker::Worker;
use tollkeep_ledger::price::{Book, Cost, Payer, Provider};
use tollkeep_ledger::usage::{Estimating, settle};
use tollkeep_store::ledger::{CallRecord, PriceMark};
use tollkeep_store::live::LiveToken;
use tollkeep_types::WallMillis;
use tollkeep_types::money::{NanoUsd, Ratio};
use tollkeep_types::usage::{Flag, Quality, UsageReport};

/// Input tokens that templates and roles may add to the bytes of a body.
const TEMPLATE_TOKENS: u64 = 64;

impl Worker {
    /// Settles the calls of a batch and hands it over.
    pub(crate) fn deliver(&self, mut batch: Vec<Facts>) {
        let book = self.shared.prices.load();
        let mut uncounted = Vec::new();
        for facts in &mut batch {
            if let Some(record) = self.settle_one(&book, facts) {
                uncounted.push(record);
            }
        }
        self.shared.holds.leave(uncounted);
        seed_names::count(&self.shared.metrics, &batch);
        self.shared.recorder.take(batch, &book);
    }

    /// Gives the record of a call that no budget counts; the others have theirs with their hold.
    fn settle_one(&self, book: &Book, facts: &mut Facts) -> Option<CallRecord> {
        let began = facts.at.0.saturating_sub(facts.duration_ns / 1_000_000);
        if let (Some(asked), Some(llm)) = (&facts.asked, &mut facts.llm) {
            if !llm.is_settled {
                let sizes = Sizes::of(facts.bytes_in, began, facts.hold.as_deref());
                settle_call(book, (asked, llm), &sizes.by(facts.token.as_deref()));
            }
            if facts.from_cache {
                llm.upstream_cost = Some(NanoUsd::ZERO);
            }
        }
        if facts.taken.is_some() {
            token_rates::correct(facts, self.shared.clock.mono());
        }
        if let Some(hold) = facts.hold.take() {
            self.counters.hold_ended();
            let redactor = self.shared.recorder.redactor();
            // An attempt that brought an answer is paid for, whatever came of it then.
            let bears = match facts.status {
                500.. => self.shared.plan.load().llm.bounds.failed,
                _ => Bears::Payer,
            };
            let (unsaid, most) = (hold.cost_unsaid(), hold.charged_at_most());
            self.shared.holds.end((*hold, bears), facts, redactor);
            charge_at_most(facts, most);
            self.count_settled(facts, unsaid);
            return None;
        }
        self.count_settled(facts, None);
        self.uncounted(facts, WallMillis(began), book)
    }

    /// The record of a call that no budget counts, where such calls are written down. HOT.
    fn uncounted(&self, facts: &Facts, at: WallMillis, book: &Book) -> Option<CallRecord> {
        if facts.llm.is_none() || !self.shared.plan.load().llm.records_all {
            return None;
        }
        let tenant = facts
            .token
            .as_ref()
            .map_or(self.shared.store.default_tenant().id, |token| {
                token.project.tenant_id
            });
        let redactor = self.shared.recorder.redactor();
        uncounted(facts, (tenant, at, book), redactor)
    }

    /// Counts what an attempt cost; `unsaid` is charged where nobody says that.
    fn count_settled(&self, facts: &Facts, unsaid: Option<NanoUsd>) {
        let (Some(asked), Some(llm)) = (&facts.asked, &facts.llm) else {
            return;
        };
        let provider = asked.label;
        let quality = llm.told.as_ref().map(|told| told.report.quality());
        let spent = match (llm.cost.as_ref(), quality) {
            (_, Some(Quality::Released)) => None,
            (Some(Ok(cost)), Some(quality)) => Some((quality, *cost)),
            (Some(_) | None, _) => unsaid.map(|cost| (Quality::Unknown, cost)),
        };
        if let Some((quality, cost)) = spent {
            self.counters
                .spent(provider, llm.model_label, quality, cost);
        }
        let Some(told) = &llm.told else { return };
        let quality = told.report.quality();
        let reason = match &told.report {
            UsageReport::Unknown(why) => why.name(),
            _ if told.flags.has(Flag::Unpriced) => Flag::Unpriced.name(),
            UsageReport::Estimated(_) if told.flags.has(Flag::Cut) => Flag::Cut.name(),
            UsageReport::Estimated(_) => Flag::NoUsage.name(),
            UsageReport::Reported(_) | UsageReport::Released => "none",
        };
        self.counters.usage_quality(quality, reason);
    }
}

impl Exchange<'_> {
    /// Ends the hold of an attempt that failed, so that the next one has its own.
    pub(crate) fn end_attempt(&mut self) {
        let bears = self.plan.llm.bounds.failed;
        let hold = self.work.facts.hold.as_ref();
        let unsaid = hold.and_then(|hold| hold.cost_unsaid());
        self.end_hold(bears);
        if bears == Bears::Payer {
            self.worker.count_settled(&self.work.facts, unsaid);
        }
        let facts = &mut self.work.facts;
        facts.attempts = facts.attempts.saturating_add(1);
    }

    /// No budget counts the attempt that failed: what it was billed at is written down all the same.
    pub(crate) fn end_uncounted(&mut self) {
        if !self.is_free_so_far() {
            self.end_attempt();
        }
    }

    /// Ends the hold of the call before its record is made.
    pub(crate) fn end_hold(&mut self, bears: Bears) {
        let facts = &mut self.work.facts;
        let Some(hold) = facts.hold.take() else {
            self.settle_now();
            let facts = &mut self.work.facts;
            if let Some(llm) = &mut facts.llm {
                // The next attempt has an end of its own.
                llm.is_settled = false;
            }
            let book = self.worker.shared.prices.load();
            let left = self.worker.uncounted(facts, facts.at, &book);
            self.worker.shared.holds.leave(left.into_iter().collect());
            return;
        };
        if let (Some(asked), Some(llm)) = (&facts.asked, &mut facts.llm)
            && !llm.is_settled
        {
            let sizes = Sizes::of(facts.bytes_in, facts.at.0, Some(&hold));
            let sizes = sizes.by(facts.token.as_deref());
            settle_call(&hold.book, (asked, llm), &sizes);
        }
        self.worker.counters.hold_ended();
        let shared = &self.worker.shared;
        let redactor = shared.recorder.redactor();
        let most = hold.charged_at_most();
        shared.holds.end((*hold, bears), facts, redactor);
        charge_at_most(facts, most);
    }

    /// Reckons what the call cost before its answer ends.
    pub(crate) fn settle_now(&mut self) {
        let now = self.worker.shared.clock.mono();
        let facts = &mut self.work.facts;
        // Until the exchange ends and says it itself.
        facts.duration_ns = now.since(self.started);
        if let (Some(asked), Some(llm)) = (&facts.asked, &mut facts.llm) {
            let book = self.worker.shared.prices.load();
            let sizes = Sizes::of(facts.bytes_in, facts.at.0, facts.hold.as_deref());
            let sizes = sizes.by(facts.token.as_deref());
            settle_call(&book, (asked, llm), &sizes);
            llm.is_settled = true;
        }
    }
}

/// What is known of a call's size and time before its answer.
struct Sizes<'a> {
    input_tokens: u64,
    /// Tokens of output at most, over all answers.
    output_tokens: Option<u64>,
    /// Answers that are asked for.
    choices: Option<u64>,
    /// What its upstream does by itself can't be estimated.
    works_in_rounds: bool,
    at: WallMillis,
    /// The prices of its quote.
    book: Option<&'a Book>,
    /// Who pays for it.
    payer: Payer,
}

impl<'a> Sizes<'a> {
    fn of(bytes_in: u64, began: u64, hold: Option<&'a CallHold>) -> Self {
        let by_bytes = bytes_in.saturating_add(TEMPLATE_TOKENS);
        Self {
            input_tokens: hold.and_then(CallHold::input_tokens).unwrap_or(by_bytes),
            output_tokens: hold.and_then(CallHold::output_tokens),
            choices: hold.and_then(CallHold::choices),
            works_in_rounds: hold.is_some_and(CallHold::works_in_rounds),
            at: hold.map_or(WallMillis(began), |hold| hold.at),
            book: hold.map(|hold| &*hold.book),
            payer: Payer::default(),
        }
    }

    fn by(self, token: Option<&LiveToken>) -> Self {
        let payer = payer(token);
        Self { payer, ..self }
    }
}

/// What its upstream asks beyond the bound is told beside what the call costs, and nobody pays it.
fn charge_at_most(facts: &mut Facts, most: Option<NanoUsd>) {
    let (Some(llm), Some(most)) = (&mut facts.llm, most) else {
        return;
    };
    if let Some(Ok(cost)) = &mut llm.cost
        && *cost > most
    {
        llm.upstream_cost.get_or_insert(*cost);
        *cost = most;
    }
}

/// Who pays for calls with this token, as markups see it.
pub(crate) fn payer(token: Option<&LiveToken>) -> Payer {
    Payer {
        token: token.map(|token| token.id),
        lineage: token.map(|token| token.lineage.id),
        project: token.map(|token| token.project.id),
    }
}

/// Makes what an answer told into what the call used and cost.
fn settle_call(book: &Book, (asked, llm): (&Asked, &mut LlmFacts), sizes: &Sizes<'_>) {
    let book = sizes.book.unwrap_or(book);
    let provider = Provider {
        name: &asked.name,
        kind: asked.kind,
        self_hosted: asked.self_hosted,
    };
    let model = llm.model_sent.as_deref().or(llm.model_asked.as_deref());
    let (output_cap, ended_by_us) = (llm.output_cap, llm.ended_by_us);
    let choices = sizes.choices.unwrap_or(llm.choices);
    let Some(told) = &mut llm.told else { return };
    settle(told, || {
        if sizes.works_in_rounds {
            return None;
        }
        let found = book
            .find(provider, model.unwrap_or_default(), sizes.at)
            .ok();
        let of = found.map(|found| found.model.facts);
        let max_output = of.and_then(|of| of.max_output);
        let max_input = of.and_then(|of| of.max_input);
        let of_one = output_cap.into_iter().chain(max_output).min();
        let of_all = || of_one?.checked_mul(choices);
        Some(Estimating {
            input_tokens: max_input.map_or(sizes.input_tokens, |max| max.min(sizes.input_tokens)),
            cap: sizes.output_tokens.or_else(of_all),
            hidden_reasoning: of.is_some_and(|of| of.hidden_reasoning),
            billing_goes_on: ended_by_us && !asked.hung_up.ends_bill(of.as_ref()),
        })
    });
    let marked = match &told.report {
        UsageReport::Reported(lines) | UsageReport::Estimated(lines) => {
            let cost = Cost {
                provider,
                asked: model.unwrap_or_default(),
                served: llm.model_served.as_deref(),
                at: sizes.at,
            };
            let markup = book.markup(provider, sizes.payer);
            Some(cost.marked_up(book, lines, markup).map(|marked| {
                let upstream = (markup != Ratio::ONE).then_some(marked.upstream);
                (marked.cost, upstream)
            }))
        }
        UsageReport::Released => Some(Ok((NanoUsd::ZERO, None))),
        UsageReport::Unknown(_) => None,
    };
    llm.upstream_cost = marked.as_ref().and_then(|marked| marked.as_ref().ok()?.1);
    llm.cost = marked.map(|marked| marked.map(|(cost, _)| cost));
    let (version, sha256) = book.shared_version();
    llm.price = Some(PriceMark { version, sha256 });
    if let Some(Err(_)) = llm.cost {
        told.flags.add(Flag::Unpriced);
    }
}

impl Target {
    /// The name of its kind; empty for plain upstreams.
    pub(crate) const fn kind_name(&self) -> &'static str {
        match &self.kind {
            TargetKind::Plain { .. } => "",
            TargetKind::Provider(provider) => provider.kind.name,
        }
    }

    /// What becomes of its calls whose caller hangs up.
    pub(crate) const fn hung_up(&self) -> HungUp {
        match &self.kind {
            TargetKind::Plain { hung_up, .. } => *hung_up,
            TargetKind::Provider(provider) => provider.hung_up,
        }
    }

    /// Whether it is a provider on machines of the operator.
    pub(crate) const fn self_hosted(&self) -> bool {
        match &self.kind {
            TargetKind::Plain { .. } => false,
            TargetKind::Provider(provider) => provider.self_hosted,
        }
    }
}
