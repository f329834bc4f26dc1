//! What finished calls used and cost, made from what their answers told: after the answer, when a
//! batch of records is due.

use crate::plan::{Target, TargetKind};
use crate::record::{Facts, LlmFacts};
use crate::worker::Worker;
use tollkeep_ledger::money::NanoUsd;
use tollkeep_ledger::price::{Book, Cost, CostError, Provider};
use tollkeep_ledger::usage::{Estimating, settled};
use tollkeep_observe::metrics::ProviderLabel;
use tollkeep_types::WallMillis;
use tollkeep_types::usage::{Flag, Flags, Quality, UsageReport};

/// Input tokens that templates and roles may add to the bytes of a body.
const TEMPLATE_TOKENS: u64 = 64;

/// What a call used, and what that cost.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) report: UsageReport,
    pub(crate) flags: Flags,
    /// `None` where nothing is known of its usage.
    pub(crate) cost: Option<Result<NanoUsd, CostError>>,
}

impl Worker {
    /// Settles the calls of a batch and hands it over.
    pub(crate) fn deliver(&self, mut batch: Vec<Facts>) {
        let book = self.shared.prices.load();
        for facts in &mut batch {
            self.settle_one(&book, facts);
        }
        self.shared.recorder.take(batch, &book);
    }

    fn settle_one(&self, book: &Book, facts: &mut Facts) {
        let began = facts.at.0.saturating_sub(facts.duration_ns / 1_000_000);
        let input_tokens = facts.bytes_in.saturating_add(TEMPLATE_TOKENS);
        let (Some(asked), Some(llm)) = (&facts.asked, &mut facts.llm) else {
            return;
        };
        let provider = Provider {
            name: &asked.name,
            kind: asked.kind,
            self_hosted: asked.self_hosted,
        };
        let model = llm.model_sent.as_deref().or(llm.model_asked.as_deref());
        let at = WallMillis(began);
        let Some(told) = llm.told.take() else { return };
        let by = || {
            let found = book.find(provider, model.unwrap_or_default(), at).ok();
            let of = found.map(|found| found.model.facts);
            let max_output = of.and_then(|of| of.max_output);
            let max_input = of.and_then(|of| of.max_input);
            Some(Estimating {
                input_tokens: max_input.map_or(input_tokens, |max| max.min(input_tokens)),
                cap: llm.output_cap.into_iter().chain(max_output).min(),
                hidden_reasoning: of.is_some_and(|of| of.hidden_reasoning),
                billing_goes_on: llm.ended_by_us && !of.is_some_and(|of| of.cancel_stops_billing),
            })
        };
        let (report, mut flags) = settled(told, by);
        let cost = match &report {
            UsageReport::Reported(lines) | UsageReport::Estimated(lines) => {
                let cost = Cost {
                    provider,
                    asked: model.unwrap_or_default(),
                    served: llm.model_served.as_deref(),
                    at,
                };
                Some(cost.of(book, lines))
            }
            UsageReport::Released => Some(Ok(NanoUsd::ZERO)),
            UsageReport::Unknown(_) => None,
        };
        if let Some(Err(_)) = cost {
            flags.add(Flag::Unpriced);
        }
        let settled = Settled {
            report,
            flags,
            cost,
        };
        self.count_settled(asked.label, llm, &settled);
        llm.settled = Some(settled);
    }

    fn count_settled(&self, provider: ProviderLabel, llm: &LlmFacts, settled: &Settled) {
        let quality = settled.report.quality();
        if let Some(Ok(cost)) = settled.cost
            && quality != Quality::Released
        {
            self.counters
                .spent(provider, llm.model_label, quality, cost);
        }
        let reason = match &settled.report {
            UsageReport::Unknown(why) => why.name(),
            _ if settled.flags.has(Flag::Unpriced) => Flag::Unpriced.name(),
            UsageReport::Estimated(_) if settled.flags.has(Flag::Cut) => Flag::Cut.name(),
            UsageReport::Estimated(_) => Flag::NoUsage.name(),
            UsageReport::Reported(_) | UsageReport::Released => "none",
        };
        self.counters.usage_quality(quality, reason);
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

    /// Whether it is a provider on machines of the operator.
    pub(crate) const fn self_hosted(&self) -> bool {
        match &self.kind {
            TargetKind::Plain { .. } => false,
            TargetKind::Provider(provider) => provider.self_hosted,
        }
    }
}
