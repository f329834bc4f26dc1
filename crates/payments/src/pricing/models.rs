//! Flat prices by model: those of the route, then a built-in table.

use super::Pattern;
use crate::price::Price;
use tollkeep_types::money::NanoUsd;

/// Prices by the model that a body names.
#[derive(Clone, Debug)]
pub struct ModelPrices {
    written: Vec<(Pattern, Price)>,
    unknown: Option<UnknownModel>,
    built_in: Vec<(&'static str, Price)>,
}

/// What becomes of a model that has no price.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownModel {
    /// It costs what the route costs otherwise.
    Fallback,
    /// It is refused.
    Reject,
}

/// What a request for a model costs, in nano-dollars, where the route says nothing.
const BUILT_IN: [(&str, i64); 25] = [
    ("gpt-4o", 10_000_000),
    ("gpt-4o-mini", 1_000_000),
    ("gpt-4-turbo", 30_000_000),
    ("gpt-4", 60_000_000),
    ("gpt-3.5-turbo", 2_000_000),
    ("o1", 60_000_000),
    ("o1-mini", 12_000_000),
    ("o1-pro", 600_000_000),
    ("o3", 100_000_000),
    ("o3-mini", 12_000_000),
    ("o4-mini", 12_000_000),
    ("claude-opus-4-5-20250514", 75_000_000),
    ("claude-sonnet-4-5-20250514", 15_000_000),
    ("claude-haiku-3-5-20241022", 4_000_000),
    ("gemini-2.5-pro", 15_000_000),
    ("gemini-2.5-flash", 3_000_000),
    ("gemini-2.0-flash", 1_000_000),
    ("llama-3.3-70b", 3_000_000),
    ("llama-3.1-405b", 15_000_000),
    ("llama-3.1-70b", 3_000_000),
    ("llama-3.1-8b", 500_000),
    ("mistral-large-latest", 8_000_000),
    ("mistral-small-latest", 2_000_000),
    ("deepseek-chat", 2_000_000),
    ("deepseek-reasoner", 8_000_000),
];

impl ModelPrices {
    /// The prices of a route, in their order, and what it says of models without one.
    pub fn new(written: Vec<(Pattern, Price)>, unknown: Option<UnknownModel>) -> Self {
        let built_in = BUILT_IN.iter();
        let built_in = built_in.map(|(model, nano)| (*model, Price::Usd(NanoUsd::new(*nano))));
        Self {
            written,
            unknown,
            built_in: built_in.collect(),
        }
    }

    /// What the route says itself.
    pub(super) fn written(&self) -> impl Iterator<Item = (&str, &Price)> {
        let built_in = self.built_in.iter();
        let built_in = built_in.map(|(model, price)| (*model, price));
        let hidden = move |model: &str| self.of_route(model).is_some();
        let written = self.written.iter();
        written
            .map(|(pattern, price)| (pattern.written(), price))
            .chain(built_in.filter(move |(model, _)| !hidden(model)))
    }

    fn of_route(&self, model: &str) -> Option<&Price> {
        let fits = |exact: bool| {
            let mut written = self.written.iter();
            written.find(|(pattern, _)| pattern.is_exact() == exact && pattern.fits(model))
        };
        fits(true).or_else(|| fits(false)).map(|(_, price)| price)
    }

    /// What a request for this model costs, if that is known.
    pub(super) fn price_of(&self, model: &str) -> Option<&Price> {
        self.of_route(model).or_else(|| {
            let mut built_in = self.built_in.iter();
            let known = built_in.find(|(known, _)| *known == model);
            known.map(|(_, price)| price)
        })
    }

    /// Whether a model without a price is refused rather than had for the usual one: where nothing
    /// is said, if that is below what most models cost.
    pub(super) fn rejects_unknown(&self, usual: Option<&Price>) -> bool {
        match (self.unknown, usual) {
            (Some(UnknownModel::Fallback), _) => false,
            (None, Some(usual)) => usual.usd().is_none_or(|usd| usd < median()),
            (Some(UnknownModel::Reject), _) | (None, None) => true,
        }
    }
}

/// What half of the models of the table cost at most.
fn median() -> NanoUsd {
    let mut prices = BUILT_IN.map(|(_, nano)| nano);
    prices.sort_unstable();
    NanoUsd::new(prices.get(BUILT_IN.len() / 2).copied().unwrap_or_default())
}
