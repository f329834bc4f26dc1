//! The most that a call can cost whose price is what it uses: for the request path, and for
//! operators who ask without sending anything.

use crate::holds::{BoundOptions, Counted, Quote, Quoting};
use crate::read_call::is_json;
use crate::refusal::Refusal;
use tollkeep_config::settings::{Settings, TokenCalls, TokenPrices};
use tollkeep_ledger::amount::Measure;
use tollkeep_ledger::price::{Book, Provider};
use tollkeep_llm::Surface;
use tollkeep_llm::body::CallView;
use tollkeep_payments::pricing::QuoteFault;
use tollkeep_types::WallMillis;
use tollkeep_types::money::{NanoUsd, Ratio};

/// What bounds a call that costs what it uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenBound {
    /// Its model.
    pub model: Box<str>,
    /// Tokens it has at most.
    pub input_tokens: u64,
    /// Tokens it may make at most: the cap that is written into it.
    pub output_tokens: Option<u64>,
    /// What it costs at most.
    pub most: NanoUsd,
}

/// What a call with a body of this kind costs at most on a route of these terms.
///
/// # Errors
/// The status and the code that its caller would get.
pub fn token_bound(
    settings: &Settings,
    (tokens, upstream): (TokenPrices, &str),
    (kind, body): (&str, &[u8]),
    book: &Book,
    at: WallMillis,
) -> Result<TokenBound, (u16, &'static str)> {
    let options = BoundOptions::of(settings);
    let read = read(kind.as_bytes(), body, settings.llm.max_depth).and_then(|view| {
        let bound = bound((tokens, upstream), &view, body, (book, &options), at)?;
        let model = view.model.as_deref().unwrap_or_default();
        Ok(TokenBound {
            model: model.into(),
            input_tokens: bound.quote.input_tokens,
            output_tokens: bound.quote.cap,
            most: bound.price,
        })
    });
    read.map_err(|refusal| {
        let public = refusal.public();
        (public.status, public.code)
    })
}

/// What is taken of a call, and what that is for whoever pays.
pub(super) struct Bounded {
    pub(super) quote: Quote,
    pub(super) price: NanoUsd,
}

/// # Errors
/// 415 for what is said to be no JSON, 400 for what is none.
pub(super) fn read<'b>(
    kind: &[u8],
    body: &'b [u8],
    max_depth: usize,
) -> Result<CallView<'b>, Refusal> {
    if !is_json(kind) {
        return Err(Refusal::BadContentType);
    }
    CallView::read(body, max_depth).map_err(|refused| Refusal::of_body(&refused))
}

/// # Errors
/// 400 for a call that can't be bounded, or names no model that has a price.
pub(super) fn bound(
    (tokens, upstream): (TokenPrices, &str),
    view: &CallView<'_>,
    body: &[u8],
    (book, options): (&Book, &BoundOptions),
    at: WallMillis,
) -> Result<Bounded, Refusal> {
    let model = view.model.as_deref().unwrap_or_default();
    if model.is_empty() {
        return Err(Refusal::Unpriced(QuoteFault::NoModel));
    }
    let quoting = Quoting {
        provider: Provider {
            name: upstream,
            kind: tokens.provider.name(),
            self_hosted: false,
        },
        model,
        surface: surface_of(tokens),
        body,
        at,
        // What is added here stands with the route's price.
        markup: Ratio::ONE,
    };
    let counted = Counted::of([Measure::Cost].into_iter());
    let quote = quoting.quote(book, counted, options).map_err(|refusal| {
        if matches!(refusal, Refusal::ModelNotPriced(_)) {
            // It speaks of a budget, and there is none.
            return Refusal::Unpriced(QuoteFault::UnknownModel);
        }
        refusal
    })?;
    let cost = NanoUsd::new(quote.charge.cost.units());
    let price = marked_up(cost, tokens.markup_percent);
    let price = price.ok_or(Refusal::Unpriced(QuoteFault::OutOfBounds))?;
    Ok(Bounded { quote, price })
}

/// A price with so many percent more, rounded up; `None` beyond what can be said.
pub(super) fn marked_up(cost: NanoUsd, percent: u32) -> Option<NanoUsd> {
    let nanos = u128::try_from(cost.get()).ok()?;
    let more = nanos.checked_mul(u128::from(percent).checked_add(100)?)?;
    let nanos = i64::try_from(more.div_ceil(100)).ok()?;
    Some(NanoUsd::new(nanos))
}

pub(super) const fn surface_of(tokens: TokenPrices) -> Surface {
    match tokens.calls {
        TokenCalls::Chat => Surface::Chat,
        TokenCalls::Completions => Surface::Completions,
        TokenCalls::Responses => Surface::Responses,
        TokenCalls::Messages => Surface::Messages,
        TokenCalls::Embeddings => Surface::Embeddings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-29
    #[test]
    fn a_markup_is_rounded_up_and_never_wraps() {
        for (nanos, percent, want) in [
            (0, 20, Some(0)),
            (1, 0, Some(1)),
            (1, 20, Some(2)),
            (100, 20, Some(120)),
            (101, 20, Some(122)),
            (7, 10_000, Some(707)),
            (i64::MAX, 0, Some(i64::MAX)),
            (i64::MAX, 1, None),
        ] {
            let got = marked_up(NanoUsd::new(nanos), percent);
            assert_eq!(got.map(NanoUsd::get), want, "{nanos} {percent}");
        }
        assert_eq!(marked_up(NanoUsd::new(-1), 0), None);
    }
}
