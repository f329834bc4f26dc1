//! What images and speech can cost at most (LED-44): so many of the dearest sort that the request
//! leaves room for, and exactly as many characters as there are.

use super::{NotBounded, Pricing, too_large};
use tollkeep_types::demand::ImagesWanted;
use tollkeep_types::money::{ExactSum, NanoUsd, PicoUsd};
use tollkeep_types::usage::{Class, Unit};

/// Tokens of output at most, and what the images can cost. Where a model has prices for tokens and
/// for images, either may be billed, so that both are in it.
pub(super) fn images(
    pricing: &Pricing<'_>,
    wanted: &ImagesWanted,
) -> Result<(u64, NanoUsd), NotBounded> {
    let (demand, base) = (pricing.demand, &pricing.found.rates.base);
    let by_token = base.token(Class::OutImage).is_some();
    if !by_token && base.images().next().is_none() {
        return Err(NotBounded::NotPriced(Class::OutImage.name().into()));
    }
    let (mut sum, mut output_tokens) = (ExactSum::default(), 0);
    if by_token || base.token(Class::InText).is_some() {
        sum = with_tokens(
            pricing,
            sum,
            pricing.input_tokens,
            &[Class::InText, Class::CacheReadText],
        )?;
    }
    if by_token {
        let each = pricing.found.model.facts.image_output_tokens_max;
        let each = each.ok_or_else(|| {
            NotBounded::not("the model's price entry has no `image_output_tokens_max`, which images that are made need")
        })?;
        output_tokens = demand.choices.checked_mul(each).ok_or_else(too_large)?;
        let mut classes = vec![Class::OutImage];
        classes.extend(base.token(Class::OutText).map(|_| Class::OutText));
        sum = with_tokens(pricing, sum, output_tokens, &classes)?;
    }
    if base.images().next().is_some() {
        let rate = dearest_sort(pricing, wanted)?;
        sum = sum.plus(demand.choices, rate, &[]).ok_or_else(too_large)?;
    }
    Ok((output_tokens, pricing.with_fee(sum)?))
}

/// What a text costs that is spoken.
pub(super) fn speech(pricing: &Pricing<'_>, chars: u64) -> Result<NanoUsd, NotBounded> {
    let rate = pricing.unit(Unit::CharIn)?;
    let sum = ExactSum::default().plus(chars, rate, &[]);
    pricing.with_fee(sum.ok_or_else(too_large)?)
}

fn with_tokens(
    pricing: &Pricing<'_>,
    sum: ExactSum,
    count: u64,
    classes: &[Class],
) -> Result<ExactSum, NotBounded> {
    let (rate, of_service) = pricing.dearest(classes)?;
    sum.plus(count, rate, &[of_service]).ok_or_else(too_large)
}

/// The dearest of the qualities and sizes that the request leaves open.
fn dearest_sort(pricing: &Pricing<'_>, wanted: &ImagesWanted) -> Result<PicoUsd, NotBounded> {
    let fits = |wanted: &Option<Box<str>>, has: &str| {
        let wanted = wanted.as_deref().filter(|wanted| *wanted != "auto");
        wanted.is_none_or(|wanted| wanted == has)
    };
    let sorts = pricing.found.rates.base.images().filter(|(sort, _)| {
        let (quality, size) = sort.split_once(':').unwrap_or((sort, ""));
        fits(&wanted.quality, quality) && fits(&wanted.size, size)
    });
    sorts.map(|(_, rate)| rate).max().ok_or_else(|| {
        let told = |wanted: &Option<Box<str>>| wanted.as_deref().unwrap_or("*").to_owned();
        let sort = format!("image:{}:{}", told(&wanted.quality), told(&wanted.size));
        NotBounded::NotPriced(sort.into())
    })
}
