//! The usage objects of the dialects as they stand in JSON.
//!
//! Keys are compared by `==`, which looks at words; a `match` on bytes goes one by one.

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
    let before = json.left();
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

fn chat(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Part, Broken> {
    if key == b"prompt_tokens" {
        return whole(&mut tally.input, value);
    }
    if key == b"completion_tokens" {
        return whole(&mut tally.output, value);
    }
    if key == b"total_tokens" {
        detail(&mut tally.total, value)
    } else if key == b"prompt_tokens_details" {
        input_details(tally, value)
    } else if key == b"completion_tokens_details" {
        output_details(tally, value)
    } else if key == b"prompt_cache_hit_tokens" {
        // DeepSeek's name.
        detail(&mut tally.cached, value)
    } else {
        value.skip()
    }?;
    Ok(Part::Detail)
}

fn responses(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Part, Broken> {
    if key == b"input_tokens" {
        return whole(&mut tally.input, value);
    }
    if key == b"output_tokens" {
        return whole(&mut tally.output, value);
    }
    if key == b"total_tokens" {
        detail(&mut tally.total, value)
    } else if key == b"input_tokens_details" {
        input_details(tally, value)
    } else if key == b"output_tokens_details" {
        output_details(tally, value)
    } else {
        value.skip()
    }?;
    Ok(Part::Detail)
}

fn anthropic(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Part, Broken> {
    if key == b"input_tokens" {
        return whole(&mut tally.input, value);
    }
    if key == b"output_tokens" {
        return whole(&mut tally.output, value);
    }
    if key == b"cache_read_input_tokens" {
        detail(&mut tally.cached, value)
    } else if key == b"cache_creation_input_tokens" {
        detail(&mut tally.written, value)
    } else if key == b"cache_creation" {
        cache_creation(tally, value)
    } else if key == b"output_tokens_details" {
        thinking(tally, value)
    } else {
        value.skip()
    }?;
    Ok(Part::Detail)
}

fn cache_creation(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"ephemeral_5m_input_tokens" {
            detail(&mut tally.written_5m, value)
        } else if key == b"ephemeral_1h_input_tokens" {
            detail(&mut tally.written_1h, value)
        } else {
            value.skip()
        }
    })
}

fn thinking(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"thinking_tokens" {
            detail(&mut tally.reasoning, value)
        } else {
            value.skip()
        }
    })
}

fn input_details(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"cached_tokens" {
            detail(&mut tally.cached, value)
        } else if key == b"cache_write_tokens" {
            detail(&mut tally.written, value)
        } else if key == b"audio_tokens" {
            detail(&mut tally.audio_in, value)
        } else if key == b"image_tokens" {
            detail(&mut tally.image_in, value)
        } else {
            value.skip()
        }
    })
}

fn output_details(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"reasoning_tokens" {
            detail(&mut tally.reasoning, value)
        } else if key == b"audio_tokens" {
            detail(&mut tally.audio_out, value)
        } else {
            value.skip()
        }
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

/// A token count, or null.
fn whole(field: &mut u64, value: &mut Cursor<'_>) -> Result<Part, Broken> {
    let Some(count) = value.digits() else {
        return odd_whole(field, value);
    };
    if count > COUNT_MAX {
        return Err(Broken);
    }
    *field = (*field).max(count);
    Ok(Part::Whole)
}

fn detail(field: &mut u64, value: &mut Cursor<'_>) -> Result<(), Broken> {
    whole(field, value).map(|_| ())
}

/// The same for null and for a count with a sign, a point, an exponent or many digits.
#[cold]
fn odd_whole(field: &mut u64, value: &mut Cursor<'_>) -> Result<Part, Broken> {
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
    *field = (*field).max(count);
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
