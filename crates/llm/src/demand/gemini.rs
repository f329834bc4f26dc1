//! Requests of Gemini's generateContent, whose members have two spellings.

use super::known::known;
use super::{Reader, member_text};
use crate::gemini::camel;
use crate::json::{Broken, Cursor};

impl Reader<'_> {
    pub(super) fn gemini(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        self.body(body, |reader, key, value| {
            let name = String::from_utf8_lossy(key);
            match camel(&name).as_bytes() {
                b"contents" => reader.list(value, |reader, content| {
                    reader.message();
                    reader.parts_of(content)
                })?,
                b"systemInstruction" => {
                    reader.message();
                    reader.parts_of(value)?;
                }
                b"generationConfig" => reader.generation(value)?,
                b"cachedContent" => {
                    value.skip()?;
                    reader.demand.whole_window = true;
                }
                b"tools" => reader.list(value, Self::gemini_tools)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn generation(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        self.object(value, |reader, key, value| {
            let name = String::from_utf8_lossy(key);
            let name = camel(&name);
            if value.null() {
                return Ok(());
            }
            let is_known = known("gemini.generation", &name).is_some()
                || reader
                    .widened
                    .has_field(&format!("generationConfig.{name}"));
            if !is_known {
                reader.obstacle(&format!(
                    "the field `generationConfig.{name}` is not understood"
                ));
            }
            match name.as_bytes() {
                b"maxOutputTokens" => reader.cap_above_zero("maxOutputTokens", value).map(|_| ()),
                b"candidateCount" => reader.choices("candidateCount", value).map(|_| ()),
                b"responseModalities" => reader.list(value, |reader, item| {
                    match &*item.string()?.to_ascii_uppercase() {
                        "TEXT" => {}
                        "AUDIO" => reader.demand.audio_out = true,
                        "IMAGE" => reader.demand.image_out = true,
                        other => reader.unknown_type("modality", other),
                    }
                    Ok(())
                }),
                b"thinkingConfig" => reader.object(value, |reader, key, value| {
                    let budget = key == b"thinkingBudget" || key == b"thinking_budget";
                    // -1 leaves it to the model.
                    if budget
                        && value
                            .clone()
                            .taken()
                            .is_ok_and(|text| !text.starts_with(b"-"))
                    {
                        reader.demand.thinking_budget = reader.whole("thinkingBudget", value)?;
                        return Ok(());
                    }
                    value.skip()
                }),
                _ => value.skip(),
            }
        })
    }

    fn gemini_tools(&mut self, tool: &mut Cursor<'_>) -> Result<(), Broken> {
        self.object(tool, |reader, key, value| {
            let name = String::from_utf8_lossy(key);
            let name = camel(&name);
            let is_known = known("gemini.tools", &name).is_some();
            match name.as_bytes() {
                _ if !is_known => {
                    reader.tool("gemini.tools", &name, None);
                    value.skip()
                }
                b"functionDeclarations" => reader.list(value, |reader, declaration| {
                    reader.tool("gemini.tools", "functionDeclarations", None);
                    declaration.skip()
                }),
                b"googleSearch" => {
                    reader.demand.searches.grounded = true;
                    value.skip()
                }
                _ => value.skip(),
            }
        })
    }

    fn parts_of(&mut self, content: &mut Cursor<'_>) -> Result<(), Broken> {
        self.object(content, |reader, key, value| {
            if key != b"parts" {
                return value.skip();
            }
            if value.clone().items(|item| item.skip()).is_ok() {
                return reader.list(value, Self::part);
            }
            reader.part(value)
        })
    }

    fn part(&mut self, part: &mut Cursor<'_>) -> Result<(), Broken> {
        self.object(part, |reader, key, value| {
            match camel(&String::from_utf8_lossy(key)).as_bytes() {
                b"text" | b"thought" | b"thoughtSignature" | b"functionCall" => value.skip(),
                b"functionResponse" => reader.parts_of(value),
                b"inlineData" => {
                    let camel = member_text(value, b"mimeType")?;
                    let snake = member_text(value, b"mime_type")?;
                    if camel.is_some() && snake.is_some() {
                        reader.obstacle("`mimeType` has both of its spellings");
                    }
                    let kind = camel.or(snake).unwrap_or_default();
                    let is_image = kind.starts_with("image/");
                    if is_image {
                        reader.demand.images = reader.demand.images.saturating_add(1);
                    } else {
                        reader.demand.audio_in |= kind.starts_with("audio/");
                        reader.demand.whole_window = true;
                    }
                    reader.object(value, |reader, key, value| {
                        if key == b"data" && is_image {
                            let written = Self::written(value)?;
                            // Without its quotes.
                            reader.media(written.saturating_sub(2));
                            return Ok(());
                        }
                        value.skip()
                    })
                }
                b"fileData" => {
                    reader.demand.whole_window = true;
                    value.skip()
                }
                _ => {
                    reader.unknown_type("part", &String::from_utf8_lossy(key));
                    value.skip()
                }
            }
        })
    }
}
