//! Usage of OpenAI's calls: completions name their whole counts one way, all later calls another.

use super::{COUNT_MAX, Part, detail, details, whole};
use crate::json::{Broken, Cursor};
use crate::usage::tally::{Field, Tally};

pub(super) fn chat(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Part, Broken> {
    if key == b"prompt_tokens" {
        return whole(tally, Field::Input, value);
    }
    if key == b"completion_tokens" {
        return whole(tally, Field::Output, value);
    }
    if key == b"total_tokens" {
        detail(tally, Field::Total, value)
    } else if key == b"prompt_tokens_details" {
        input_details(tally, value)
    } else if key == b"completion_tokens_details" {
        output_details(tally, value)
    } else if key == b"prompt_cache_hit_tokens" {
        // DeepSeek's name.
        detail(tally, Field::Cached, value)
    } else {
        value.skip()
    }?;
    Ok(Part::Detail)
}

/// Transcription and realtime leave an `s` out of the names of details.
pub(super) fn responses(
    tally: &mut Tally,
    key: &[u8],
    value: &mut Cursor<'_>,
) -> Result<Part, Broken> {
    if key == b"input_tokens" {
        return whole(tally, Field::Input, value);
    }
    if key == b"output_tokens" {
        return whole(tally, Field::Output, value);
    }
    if key == b"seconds" {
        return seconds(tally, value);
    }
    if key == b"total_tokens" {
        detail(tally, Field::Total, value)
    } else if key == b"input_tokens_details" || key == b"input_token_details" {
        input_details(tally, value)
    } else if key == b"output_tokens_details" || key == b"output_token_details" {
        output_details(tally, value)
    } else {
        value.skip()
    }?;
    Ok(Part::Detail)
}

fn input_details(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"cached_tokens" {
            detail(tally, Field::Cached, value)
        } else if key == b"cache_write_tokens" {
            detail(tally, Field::Written, value)
        } else if key == b"audio_tokens" {
            detail(tally, Field::AudioIn, value)
        } else if key == b"image_tokens" {
            detail(tally, Field::ImageIn, value)
        } else if key == b"cached_tokens_details" {
            details(value, |key, value| {
                if key == b"text_tokens" {
                    detail(tally, Field::CachedText, value)
                } else if key == b"audio_tokens" {
                    detail(tally, Field::CachedAudio, value)
                } else if key == b"image_tokens" {
                    detail(tally, Field::CachedImage, value)
                } else {
                    value.skip()
                }
            })
        } else {
            value.skip()
        }
    })
}

fn output_details(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"reasoning_tokens" {
            detail(tally, Field::Reasoning, value)
        } else if key == b"audio_tokens" {
            detail(tally, Field::AudioOut, value)
        } else if key == b"text_tokens" {
            detail(tally, Field::TextOut, value)
        } else {
            value.skip()
        }
    })
}

/// Seconds with a fraction, as milliseconds rounded up: by their digits, not as a float.
fn seconds(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<Part, Broken> {
    if value.null() {
        return Ok(Part::Detail);
    }
    let number = std::str::from_utf8(value.number()?).map_err(|_| Broken)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return Err(Broken);
    }
    let (milli, rest) = fraction.split_at_checked(3).unwrap_or((fraction, ""));
    let seconds: u64 = whole.parse().map_err(|_| Broken)?;
    let milli: u64 = format!("{milli:0<3}").parse().map_err(|_| Broken)?;
    let more = u64::from(rest.bytes().any(|byte| byte != b'0'));
    let ms = seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(milli + more))
        .filter(|ms| *ms <= COUNT_MAX)
        .ok_or(Broken)?;
    tally.raise(Field::AudioInMs, ms);
    Ok(Part::Whole)
}
