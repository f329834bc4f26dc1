//! The usage objects of the dialects as they stand in JSON.
//!
//! Keys are compared by `==`, which looks at words; a `match` on bytes goes one by one.

mod anthropic;
mod gemini;
mod openai;

use super::side::Side;
use super::tally::{Field, Tally};
use crate::json::{Broken, Cursor};
use crate::surface::UsageDialect;
use tollkeep_types::usage::UnknownUsage;

/// Largest usage object that is read.
const USAGE_BYTES_MAX: usize = 64 * 1024;
/// Largest count that can be meant.
const COUNT_MAX: u64 = 1 << 40;

/// Takes a usage object. `None` when it tells neither input nor output. A count that comes twice
/// is the larger one.
pub(super) fn read_usage(
    dialect: UsageDialect,
    json: &mut Cursor<'_>,
    side: &mut Side,
) -> Result<Option<Tally>, UnknownUsage> {
    let before = json.left();
    let mut tally = Tally::default();
    let mut told = false;
    json.members(|key, value| {
        let part = match dialect {
            UsageDialect::Chat | UsageDialect::Embeddings => openai::chat(&mut tally, key, value),
            UsageDialect::Responses
            | UsageDialect::Images
            | UsageDialect::Transcription
            | UsageDialect::Speech
            | UsageDialect::Realtime => openai::responses(&mut tally, key, value),
            UsageDialect::Anthropic => anthropic::usage(&mut tally, side, key, value),
            UsageDialect::Gemini => gemini::usage(&mut tally, side, key, value),
        }?;
        told |= matches!(part, Part::Whole);
        Ok::<_, Broken>(())
    })
    .map_err(|Broken| UnknownUsage::Malformed)?;
    if before.saturating_sub(json.left()) > USAGE_BYTES_MAX {
        return Err(UnknownUsage::TooLarge);
    }
    Ok(told.then_some(tally))
}

/// What a member is of a usage object.
enum Part {
    /// All input or all output.
    Whole,
    /// Anything else, and null.
    Detail,
}

/// An object, or null.
fn details<'a>(
    value: &mut Cursor<'a>,
    each: impl FnMut(&'a [u8], &mut Cursor<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    if value.null() {
        return Ok(());
    }
    value.members(each)
}

/// A token count, or null.
fn whole(tally: &mut Tally, field: Field, value: &mut Cursor<'_>) -> Result<Part, Broken> {
    let Some(count) = value.digits() else {
        return odd_whole(tally, field, value);
    };
    if count > COUNT_MAX {
        return Err(Broken);
    }
    tally.raise(field, count);
    Ok(Part::Whole)
}

fn detail(tally: &mut Tally, field: Field, value: &mut Cursor<'_>) -> Result<(), Broken> {
    whole(tally, field, value).map(|_| ())
}

/// The same for null and for a count with a sign, a point, an exponent or many digits.
#[cold]
fn odd_whole(tally: &mut Tally, field: Field, value: &mut Cursor<'_>) -> Result<Part, Broken> {
    if value.null() {
        return Ok(Part::Detail);
    }
    let number = std::str::from_utf8(value.number()?).map_err(|_| Broken)?;
    let count = match number.parse() {
        Ok(count) => count,
        Err(_) => integral(number.parse().map_err(|_| Broken)?).ok_or(Broken)?,
    };
    if count > COUNT_MAX {
        return Err(Broken);
    }
    tally.raise(field, count);
    Ok(Part::Whole)
}

/// A float without a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative and small by then"
)]
fn integral(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=2e12).contains(&number)).then_some(number as u64)
}
