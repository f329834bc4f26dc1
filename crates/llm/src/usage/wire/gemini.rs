//! Usage of Gemini, whose details are told by modality.

use super::{Part, detail, whole};
use crate::json::{Broken, Cursor};
use crate::surface::UsageDialect;
use crate::usage::side::Side;
use crate::usage::tally::{Field, Tally};

pub(super) fn usage(
    tally: &mut Tally,
    side: &mut Side,
    key: &[u8],
    value: &mut Cursor<'_>,
) -> Result<Part, Broken> {
    if key == b"promptTokenCount" {
        return whole(tally, Field::Input, value);
    }
    if key == b"candidatesTokenCount" {
        return whole(tally, Field::Output, value);
    }
    if key == b"thoughtsTokenCount" {
        return whole(tally, Field::Reasoning, value);
    }
    if key == b"totalTokenCount" {
        detail(tally, Field::Total, value)
    } else if key == b"toolUsePromptTokenCount" {
        detail(tally, Field::ToolInput, value)
    } else if key == b"cachedContentTokenCount" {
        detail(tally, Field::Cached, value)
    } else if key == b"promptTokensDetails" || key == b"toolUsePromptTokensDetails" {
        by_modality(tally, value, |modality| match modality {
            "IMAGE" | "DOCUMENT" => Some(Field::ImageIn),
            "AUDIO" => Some(Field::AudioIn),
            "VIDEO" => Some(Field::VideoIn),
            _ => None,
        })
    } else if key == b"cacheTokensDetails" {
        by_modality(tally, value, |modality| match modality {
            "TEXT" => Some(Field::CachedText),
            "IMAGE" | "DOCUMENT" => Some(Field::CachedImage),
            "AUDIO" => Some(Field::CachedAudio),
            "VIDEO" => Some(Field::CachedVideo),
            _ => None,
        })
    } else if key == b"candidatesTokensDetails" {
        by_modality(tally, value, |modality| match modality {
            "IMAGE" => Some(Field::ImageOut),
            "AUDIO" => Some(Field::AudioOut),
            _ => None,
        })
    } else if key == b"serviceTier" || key == b"trafficType" {
        side.take_service(UsageDialect::Gemini, value)
    } else {
        value.skip()
    }?;
    Ok(Part::Detail)
}

fn by_modality(
    tally: &mut Tally,
    value: &mut Cursor<'_>,
    field: impl Fn(&str) -> Option<Field>,
) -> Result<(), Broken> {
    if value.null() {
        return Ok(());
    }
    value.items(|item| {
        let mut one = Tally::default();
        let mut of = None;
        item.members(|key, value| {
            if key == b"modality" {
                of = field(&value.or_skip(Cursor::string)?.unwrap_or_default());
                Ok(())
            } else if key == b"tokenCount" {
                detail(&mut one, Field::Input, value)
            } else {
                value.skip()
            }
        })?;
        if let Some(of) = of {
            tally.add(of, one.count(Field::Input));
        }
        Ok(())
    })
}
