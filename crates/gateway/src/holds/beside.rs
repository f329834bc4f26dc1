//! What is looked at beside a hold: a closer bound before a call is refused, the most tokens of a call
//! for limits that are no budgets, and what callers and operators are told.

use super::Pot;
use super::quote::{Counted, Quote};
use super::take::{Aside, CallHold, Wanted};
use crate::lifecycle::Exchange;
use tollkeep_ledger::amount::{Charge, Measure};
use tollkeep_ledger::hold::Sure;
use tollkeep_ledger::keeper::Refused;
use tollkeep_ledger::price::Book;
use tollkeep_ledger::row;
use tollkeep_types::HoldId;
use tollkeep_types::money::NanoUsd;

impl CallHold {
    /// Its id, and what is left besides it.
    pub(crate) fn told(&self) -> (HoldId, Option<Box<str>>) {
        (self.id, self.remaining.clone())
    }

    /// Tokens of input at most.
    pub(crate) const fn input_tokens(&self) -> Option<u64> {
        if self.quote.input_tokens > 0 {
            Some(self.quote.input_tokens)
        } else {
            None
        }
    }

    /// Answers that are asked for, where that is known.
    pub(crate) const fn choices(&self) -> Option<u64> {
        self.quote.choices
    }

    /// Whether an end that its upstream did not tell is worth nothing less than its bound: what was
    /// searched and read meanwhile is told at the end alone.
    pub(crate) const fn works_in_rounds(&self) -> bool {
        self.quote.works_in_rounds
    }
}

impl Exchange<'_> {
    /// A closer bound of a call whose first one does not fit, if there is one (LED-46).
    pub(super) fn closer(
        &self,
        aside: &Aside<'_>,
        book: &Book,
        (quote, refused): (&Quote, Refused),
        wanted: &Wanted,
    ) -> Option<Quote> {
        if !matches!(refused, Refused::Short(..)) || quote.sure != Sure::Bound {
            return None;
        }
        let settings = &self.plan.llm.bounds;
        let quoting = self.quoting(aside, book)?;
        let closer = quoting.closer(book, wanted.counted(), settings)?;
        (closer.input_tokens < quote.input_tokens).then_some(closer)
    }

    /// Counts a call that did not fit, by the unit of its budget.
    pub(super) fn count_refused(&self, refused: Refused, pots: &[Pot]) {
        let unit = match refused {
            Refused::Short(row::Pot::Window(key), _) => pots
                .iter()
                .find(|pot| pot.budget.id == key.budget)
                .map_or("usd", |pot| unit(pot.budget.measure)),
            Refused::Short(row::Pot::Account(_), _) => "account",
            Refused::TooLate | Refused::Closed => return,
        };
        self.worker.shared.metrics.ledger().refused(unit);
    }

    /// What is left of the budget that has the least: in its unit for those who may see amounts, in
    /// hundredths for others.
    pub(super) fn remaining(&self, pots: &[Pot]) -> Option<Box<str>> {
        let left = pots.iter().filter_map(|pot| {
            let left = pot.left()?.max(0);
            let limit = i128::from(pot.budget.limit.units()).max(1);
            Some((i128::from(left) * 1_000_000 / limit, left, pot))
        });
        let (millionths, left, pot) = left.min_by_key(|(millionths, ..)| *millionths)?;
        let token = self.work.facts.token.as_ref()?;
        if !token.reads_usage {
            return Some(format!("{}%", millionths / 10_000).into());
        }
        Some(match unit(pot.budget.measure) {
            "usd" => NanoUsd::new(left).to_string().into(),
            unit => format!("{left} {unit}").into(),
        })
    }

    /// The most tokens that a call can use: by its hold, or else by what it says.
    pub(crate) fn token_bound(&self, aside: &Aside<'_>) -> u64 {
        let tokens = |charge: Charge| u64::try_from(charge.tokens.units()).unwrap_or(u64::MAX);
        if let Some(hold) = &self.work.facts.hold
            && hold.quote.sure == Sure::Bound
            && !hold.quote.charge.tokens.is_zero()
        {
            return tokens(hold.quote.charge);
        }
        let book = self.worker.shared.prices.load();
        let counted = Counted::of(std::iter::once(Measure::Tokens));
        let quoting = self.quoting(aside, &book);
        let quote = quoting.map(|quoting| quoting.quote(&book, counted, &self.plan.llm.bounds));
        match quote {
            Some(Ok(quote)) => tokens(quote.charge),
            // What nothing bounds: a token has a byte at least.
            Some(Err(_)) | None => {
                let cap = self.work.facts.llm.as_ref().and_then(|llm| llm.output_cap);
                let cap = cap.unwrap_or(self.plan.llm.bounds.options.default_output_cap);
                cap.saturating_add(u64::try_from(self.body().len()).unwrap_or(u64::MAX))
            }
        }
    }
}

const fn unit(measure: Measure) -> &'static str {
    match measure {
        Measure::Cost => "usd",
        Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => "tokens",
        Measure::Requests => "requests",
    }
}
