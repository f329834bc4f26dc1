//! Usage of Messages, whose cache counts stand beside the input.

use super::{Part, detail, details, whole};
use crate::json::{Broken, Cursor};
use crate::surface::UsageDialect;
use crate::usage::side::{Iteration, Side};
use crate::usage::tally::{Field, Tally};

/// Most iterations of one call that are read.
const ITERATIONS_MAX: usize = 256;

pub(super) fn usage(
    tally: &mut Tally,
    side: &mut Side,
    key: &[u8],
    value: &mut Cursor<'_>,
) -> Result<Part, Broken> {
    if let Some(part) = counts(tally, key, value)? {
        return Ok(part);
    }
    if key == b"server_tool_use" {
        details(value, |key, value| {
            if key == b"web_search_requests" {
                detail(tally, Field::WebSearches, value)
            } else if key == b"web_fetch_requests" {
                detail(tally, Field::WebFetches, value)
            } else {
                value.skip()
            }
        })
    } else if key == b"service_tier" {
        side.take_service(UsageDialect::Anthropic, value)
    } else if key == b"speed" {
        side.take_speed(value)
    } else if key == b"inference_geo" {
        side.take_geo(value)
    } else if key == b"iterations" {
        iterations(side, value)
    } else {
        value.skip()
    }?;
    Ok(Part::Detail)
}

/// The members that iterations have too. `None`: none of them.
fn counts(tally: &mut Tally, key: &[u8], value: &mut Cursor<'_>) -> Result<Option<Part>, Broken> {
    if key == b"input_tokens" {
        return whole(tally, Field::Input, value).map(Some);
    }
    if key == b"output_tokens" {
        return whole(tally, Field::Output, value).map(Some);
    }
    if key == b"cache_read_input_tokens" {
        detail(tally, Field::Cached, value)
    } else if key == b"cache_creation_input_tokens" {
        detail(tally, Field::Written, value)
    } else if key == b"cache_creation" {
        cache_creation(tally, value)
    } else if key == b"output_tokens_details" {
        thinking(tally, value)
    } else {
        return Ok(None);
    }?;
    Ok(Some(Part::Detail))
}

fn cache_creation(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"ephemeral_5m_input_tokens" {
            detail(tally, Field::Written5m, value)
        } else if key == b"ephemeral_1h_input_tokens" {
            detail(tally, Field::Written1h, value)
        } else {
            value.skip()
        }
    })
}

fn thinking(tally: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    details(value, |key, value| {
        if key == b"thinking_tokens" {
            detail(tally, Field::Reasoning, value)
        } else {
            value.skip()
        }
    })
}

/// Compactions and advisors are not in the totals above them; messages are.
fn iterations(side: &mut Side, value: &mut Cursor<'_>) -> Result<(), Broken> {
    if value.null() {
        return Ok(());
    }
    let mut list = Vec::new();
    let mut fallback = None;
    value.items(|item| {
        let mut iteration = Iteration::default();
        let (mut apart, mut falls_back) = (false, false);
        item.members(|key, value| {
            if counts(&mut iteration.tally, key, value)?.is_some() {
                return Ok(());
            }
            if key == b"type" {
                let kind = value.or_skip(Cursor::string)?.unwrap_or_default();
                apart = matches!(&*kind, "compaction" | "advisor_message");
                falls_back = kind == "fallback_message";
            } else if key == b"model" {
                let model = value.or_skip(Cursor::string)?.ok();
                iteration.model = model.and_then(crate::usage::kept_model).map(Into::into);
            } else {
                value.skip()?;
            }
            Ok::<_, Broken>(())
        })?;
        if falls_back {
            fallback = iteration.model.take().or(fallback.take());
        }
        if apart {
            if list.len() >= ITERATIONS_MAX {
                return Err(Broken);
            }
            list.push(iteration);
        }
        Ok(())
    })?;
    side.take_iterations(list, fallback);
    Ok(())
}
