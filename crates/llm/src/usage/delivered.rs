//! How many bytes of content an event delivers: text, reasoning, names and arguments of tools. A
//! token is at least a byte, so that a stream that breaks off can be estimated by them.

use super::certain::Spoken;
use crate::json::{Broken, Cursor};

/// What a delta of chat brings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta {
    pub(super) bytes: u64,
    /// Something but the role.
    pub(super) has_substance: bool,
    pub(super) spoken: Spoken,
}

/// Takes the `delta` of a choice.
pub(super) fn chat_delta(value: &mut Cursor<'_>) -> Result<Delta, Broken> {
    let mut delta = Delta::default();
    value.members(|key, value| {
        if key == b"role" {
            return value.skip();
        }
        delta.has_substance |= value.clone().has_substance()?;
        delta.bytes += match key {
            b"tool_calls" => list(value, |call| tool_call(call, &mut delta.spoken))?,
            b"function_call" => function(value, &mut delta.spoken)?,
            b"content" | b"refusal" => spoken_text(value, &mut delta.spoken)?,
            _ => text(value)?,
        };
        Ok::<_, Broken>(())
    })?;
    Ok(delta)
}

/// Takes any value. The bytes of a string, unescaped; of a list or an object as it is written.
pub(super) fn text(value: &mut Cursor<'_>) -> Result<u64, Broken> {
    spoken_text(value, &mut Spoken::default())
}

/// The same of what the model says itself.
pub(super) fn spoken_text(value: &mut Cursor<'_>, spoken: &mut Spoken) -> Result<u64, Broken> {
    if let Ok(text) = value.clone().string() {
        value.skip()?;
        spoken.then(Spoken::of(&text));
        return Ok(len(text.len()));
    }
    let substance = value.clone().has_substance()?;
    let written = written(value)?;
    Ok(if substance { written } else { 0 })
}

/// Takes an item or a content block: the bytes of its name if it is a call of a tool.
pub(super) fn tool_name(value: &mut Cursor<'_>) -> Result<u64, Broken> {
    let mut name = 0;
    let named = |value: &mut Cursor<'_>| {
        value.members(|key, value| match key {
            b"name" => {
                name = text(value)?;
                Ok::<_, Broken>(())
            }
            _ => value.skip(),
        })
    };
    value.or_skip(named)?.unwrap_or_default();
    Ok(name)
}

/// The bytes of what is told under one of these names in the object that follows `"delta":`, and what
/// of it the model says itself.
pub(super) fn block_delta(event: &[u8]) -> (u64, Spoken) {
    let (mut bytes, mut spoken) = (0, Spoken::default());
    let Some(at) = memchr::memmem::find(event, b"\"delta\":") else {
        return (0, spoken);
    };
    let after = event.get(at.saturating_add(8)..).unwrap_or_default();
    let members = Cursor::new(after).members(|key, value| {
        bytes += match key {
            b"text" | b"partial_json" => spoken_text(value, &mut spoken)?,
            b"thinking" => text(value)?,
            _ => {
                value.skip()?;
                0
            }
        };
        Ok::<_, Broken>(())
    });
    match members {
        Ok(()) => (bytes, spoken),
        Err(Broken) => (len(after.len()), Spoken::default()),
    }
}

/// Takes parts of Gemini's content.
pub(super) fn parts(value: &mut Cursor<'_>, spoken: &mut Spoken) -> Result<u64, Broken> {
    list(value, |part| {
        let (mut bytes, mut said, mut is_thought) = (0, Spoken::default(), false);
        part.members(|key, value| {
            bytes += match key {
                b"text" => spoken_text(value, &mut said)?,
                b"thought" => {
                    is_thought = true;
                    value.skip()?;
                    0
                }
                // As it is written here, the model need not have written it.
                b"functionCall" => function(value, &mut Spoken::default())?,
                b"executableCode" | b"codeExecutionResult" => written(value)?,
                _ => {
                    value.skip()?;
                    0
                }
            };
            Ok::<_, Broken>(())
        })?;
        if !is_thought {
            spoken.then(said);
        }
        Ok(bytes)
    })
}

fn list(
    value: &mut Cursor<'_>,
    mut each: impl FnMut(&mut Cursor<'_>) -> Result<u64, Broken>,
) -> Result<u64, Broken> {
    let mut bytes = 0;
    let read = |value: &mut Cursor<'_>| {
        value.items(|item| {
            bytes += each(item)?;
            Ok::<_, Broken>(())
        })
    };
    value.or_skip(read)?.unwrap_or_default();
    Ok(bytes)
}

fn tool_call(value: &mut Cursor<'_>, spoken: &mut Spoken) -> Result<u64, Broken> {
    let mut bytes = 0;
    value.members(|key, value| {
        bytes += match key {
            b"function" | b"custom" => function(value, spoken)?,
            _ => {
                value.skip()?;
                0
            }
        };
        Ok::<_, Broken>(())
    })?;
    Ok(bytes)
}

/// The name and arguments of a call.
fn function(value: &mut Cursor<'_>, spoken: &mut Spoken) -> Result<u64, Broken> {
    let mut bytes = 0;
    let read = |value: &mut Cursor<'_>| {
        value.members(|key, value| {
            bytes += match key {
                b"name" | b"arguments" | b"input" | b"args" => spoken_text(value, spoken)?,
                _ => {
                    value.skip()?;
                    0
                }
            };
            Ok::<_, Broken>(())
        })
    };
    value.or_skip(read)?.unwrap_or_default();
    Ok(bytes)
}

/// Takes any value: how many bytes it is written with.
fn written(value: &mut Cursor<'_>) -> Result<u64, Broken> {
    let before = value.left();
    value.skip()?;
    Ok(len(before.saturating_sub(value.left())))
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
