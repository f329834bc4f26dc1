//! Routes on which a call of a model costs what it uses.

use super::provider_kind::ProviderKind;
use super::sale::Sale;
use crate::check::Checks;
use crate::error::nearest;
use crate::field::KindExt;
use crate::kind::{choice, text, whole};
use crate::reader::keys;
use crate::tree::KeyPath;

/// How what a request uses is reckoned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenPrices {
    /// What its calls are.
    pub calls: TokenCalls,
    /// By whose prices.
    pub provider: ProviderKind,
    /// Whole percents that are taken above the price of the provider.
    pub markup_percent: u32,
    /// Whether callers may also pay the most that a call can cost, whose rest is their credit.
    pub keeps_rest: bool,
}

/// What the calls of a route are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenCalls {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/responses`
    Responses,
    /// `/v1/messages`
    Messages,
    /// `/v1/embeddings`
    Embeddings,
}

const CALLS: [(&str, TokenCalls); 5] = [
    ("chat", TokenCalls::Chat),
    ("completions", TokenCalls::Completions),
    ("responses", TokenCalls::Responses),
    ("messages", TokenCalls::Messages),
    ("embeddings", TokenCalls::Embeddings),
];

keys! {
    /// How what a request uses is reckoned, with `model: tokens`.
    pub(crate) struct TokenPricesFile {
        /// Whole percents above the price table, with `model: tokens`. Default: 0.
        markup_percent: Option<u32> = whole(0..=10_000).optional(),
        /// What becomes of ways to pay by which the whole amount is taken, with `model: tokens`:
        /// `keep_out`, they are not offered; `credit`, they are, for the most that the call can
        /// cost, and what it does not use is credit of its payer. Default: `keep_out`.
        overpay: Option<bool> = choice(&[("keep_out", false), ("credit", true)]).optional(),
        /// What the calls are, with `model: tokens`: `chat`, `completions`, `responses`, `messages`,
        /// `embeddings`. Default: `chat`.
        calls: Option<TokenCalls> = choice(&CALLS).optional(),
        /// Whose prices hold, with `model: tokens`: a kind of provider. Default: `openai`.
        provider: Option<String> = text().optional(),
    }
}

impl TokenPricesFile {
    /// How what requests use is reckoned, beside what else says what they cost; `None` where they
    /// don't cost that.
    pub(super) fn check(
        &self,
        (by_tokens, others): (bool, &[(&str, bool)]),
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<TokenPrices> {
        let at = path.name("pricing");
        if !by_tokens {
            for (name, is_written) in [
                ("markup_percent", self.markup_percent.is_some()),
                ("overpay", self.overpay.is_some()),
                ("calls", self.calls.is_some()),
                ("provider", self.provider.is_some()),
            ] {
                if is_written {
                    let problem = "has an effect with `pricing.model: tokens` only";
                    checks.error_at(&at.name(name), problem);
                }
            }
            return None;
        }
        for (name, is_written) in others {
            if *is_written {
                let problem = "has no effect with `pricing.model: tokens`: a call costs what it \
                               uses";
                checks.error_at(&path.name(name), problem);
            }
        }
        let name = self.provider.as_deref().unwrap_or("openai");
        let Some(provider) = ProviderKind::named(name) else {
            let mut problem = format!("is no kind of provider: {name:?}");
            if let Some(near) = nearest(name, ProviderKind::names()) {
                problem.push_str(&format!("; did you mean `{near}`?"));
            }
            checks.error_at(&at.name("provider"), problem);
            return None;
        };
        Some(TokenPrices {
            calls: self.calls.unwrap_or(TokenCalls::Chat),
            provider,
            markup_percent: self.markup_percent.unwrap_or(0),
            keeps_rest: self.overpay.unwrap_or(false),
        })
    }
}

impl Sale {
    /// What can't be sold by what it uses.
    pub(super) fn check_tokens(&self, path: &KeyPath, checks: &mut Checks<'_>) {
        let mut accepts = self.accepts.iter();
        let has_none = !accepts.any(|accept| accept.asset.is_dollar);
        if self.tokens.is_some() && has_none && !self.accepts.is_empty() {
            let problem = "costs what it uses, in dollars, and no token in `accepts` is a dollar: \
                           nothing is left to pay it with";
            checks.error_at(path, problem);
        }
    }
}
