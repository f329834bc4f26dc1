//! The usage objects of the dialects as they stand in JSON.

use super::tally::Tally;
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
) -> Result<Option<Tally>, UnknownUsage> {
    let start = json.offset();
    let mut tally = Tally::default();
    let mut told = false;
    json.members(|key, value| {
        let part = match dialect {
            UsageDialect::Chat | UsageDialect::Embeddings => chat(&mut tally, key, value),
            UsageDialect::Responses => responses(&mut tally, key, value),
            UsageDialect::Anthropic => anthropic(&mut tally, key, value),
        }?;
        told |= matches!(part, Part::Whole);
        Ok::<_, Broken>(())
    })
    .map_err(|Broken| UnknownUsage::Malformed)?;
    if json.offset().saturating_sub(start) > USAGE_BYTES_MAX {
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

fn chat(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Part, Broken> {
    match key {
        b"prompt_tokens" => return whole(&mut tally.input, value),
        b"completion_tokens" => return whole(&mut tally.output, value),
        b"total_tokens" => detail(&mut tally.total, value),
        b"prompt_tokens_details" => input_details(tally, value),
        b"completion_tokens_details" => output_details(tally, value),
        // DeepSeek's name.
        b"prompt_cache_hit_tokens" => detail(&mut tally.cached, value),
        _ => value.skip(),
    }?;
    Ok(Part::Detail)
}

fn responses(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Part, Broken> {
    match key {
        b"input_tokens" => return whole(&mut tally.input, value),
        b"output_tokens" => return whole(&mut tally.output, value),
        b"total_tokens" => detail(&mut tally.total, value),
        b"input_tokens_details" => input_details(tally, value),
        b"output_tokens_details" => output_details(tally, value),
        _ => value.skip(),
    }?;
    Ok(Part::Detail)
}

fn anthropic(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Part, Broken> {
    match key {
        b"input_tokens" => return whole(&mut tally.input, value),
        b"output_tokens" => return whole(&mut tally.output, value),
        b"cache_read_input_tokens" => detail(&mut tally.cached, value),
        b"cache_creation_input_tokens" => detail(&mut tally.written, value),
        b"cache_creation" => details(value, |key, value| match key {
            b"ephemeral_5m_input_tokens" => detail(&mut tally.written_5m, value),
            b"ephemeral_1h_input_tokens" => detail(&mut tally.written_1h, value),
            _ => value.skip(),
        }),
        b"output_tokens_details" => details(value, |key, value| match key {
            b"thinking_tokens" => detail(&mut tally.reasoning, value),
            _ => value.skip(),
        }),
        _ => value.skip(),
    }?;
    Ok(Part::Detail)
}

fn input_details(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| match key {
        b"cached_tokens" => detail(&mut tally.cached, value),
        b"cache_write_tokens" => detail(&mut tally.written, value),
        b"audio_tokens" => detail(&mut tally.audio_in, value),
        b"image_tokens" => detail(&mut tally.image_in, value),
        _ => value.skip(),
    })
}

fn output_details(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| match key {
        b"reasoning_tokens" => detail(&mut tally.reasoning, value),
        b"audio_tokens" => detail(&mut tally.audio_out, value),
        _ => value.skip(),
    })
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

fn whole(field: &mut u64, value: &mut Cursor<'_>) -> Result<Part, Broken> {
    if value.null() {
        return Ok(Part::Detail);
    }
    *field = (*field).max(count(value)?);
    Ok(Part::Whole)
}

fn detail(field: &mut u64, value: &mut Cursor<'_>) -> Result<(), Broken> {
    whole(field, value).map(|_| ())
}

/// A token count: a whole number, or a float without a fraction.
fn count(value: &mut Cursor<'_>) -> Result<u64, Broken> {
    let number = value.number()?;
    let count = match digits(number) {
        Some(count) => count,
        None => {
            let number = std::str::from_utf8(number).map_err(|_| Broken)?;
            integral(number.parse().map_err(|_| Broken)?).ok_or(Broken)?
        }
    };
    if count > COUNT_MAX {
        return Err(Broken);
    }
    Ok(count)
}

/// The number that is nothing but digits and fits.
fn digits(number: &[u8]) -> Option<u64> {
    number.iter().try_fold(0_u64, |count, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        count.checked_mul(10)?.checked_add(digit)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative and small by then"
)]
fn integral(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=2e12).contains(&number)).then_some(number as u64)
}
