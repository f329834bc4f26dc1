//! Requests of OpenAI's calls.

use super::{Reader, member_text};
use crate::json::{Broken, Cursor};

impl Reader<'_> {
    pub(super) fn chat(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        self.body(body, |reader, key, value| {
            match key {
                b"messages" => reader.list(value, Self::chat_message)?,
                b"max_tokens" => return reader.cap_above_zero("max_tokens", value),
                b"max_completion_tokens" => {
                    return reader.cap_above_zero("max_completion_tokens", value);
                }
                b"n" => return reader.choices("n", value),
                b"service_tier" => return reader.service(value),
                b"modalities" => reader.list(value, |reader, item| {
                    match &*item.string()? {
                        "text" => {}
                        "audio" => reader.demand.audio_out = true,
                        "image" => reader.demand.image_out = true,
                        other => reader.unknown_type("modality", other),
                    }
                    Ok(())
                })?,
                b"tools" => reader.list(value, |reader, tool| {
                    let kind = member_text(tool, b"type")?.unwrap_or_default();
                    reader.tool("chat.tools", &kind, None);
                    reader.object(tool, |_, _, value| value.skip())
                })?,
                // The older form of tools.
                b"functions" => reader.list(value, |reader, tool| {
                    reader.tool("chat.tools", "function", None);
                    tool.skip()
                })?,
                b"web_search_options" => {
                    value.skip()?;
                    reader.demand.searches.in_round = true;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn chat_message(&mut self, message: &mut Cursor<'_>) -> Result<(), Broken> {
        self.message();
        self.object(message, |reader, key, value| match key {
            b"content" => reader.chat_content(value),
            // Audio of an earlier answer, by its id.
            b"audio" => {
                reader.demand.audio_in |= !value.null() && value.skip().map(|()| true)?;
                Ok(())
            }
            _ => value.skip(),
        })
    }

    fn chat_content(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        if value.null() || value.clone().string().is_ok() {
            return value.skip().or(Ok(()));
        }
        self.list(value, |reader, part| {
            let kind = member_text(part, b"type")?.unwrap_or_default();
            reader.object(part, |reader, key, value| match (&*kind, key) {
                ("image_url", b"image_url") if value.clone().string().is_ok() => {
                    reader.image(value)
                }
                ("image_url", b"image_url") => reader.object(value, |reader, key, value| {
                    if key == b"url" {
                        return reader.image(value);
                    }
                    value.skip()
                }),
                ("input_audio", b"input_audio") => {
                    reader.demand.audio_in = true;
                    value.skip()
                }
                ("file", b"file") => {
                    reader.demand.whole_window = true;
                    value.skip()
                }
                _ => value.skip(),
            })?;
            if !matches!(
                &*kind,
                "text" | "refusal" | "image_url" | "input_audio" | "file"
            ) {
                reader.unknown_type("content", &kind);
            }
            Ok(())
        })
    }

    /// Each of several prompts has answers of its own.
    pub(super) fn completions(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        let mut prompts = 0_u64;
        self.body(body, |reader, key, value| {
            match key {
                b"prompt" => prompts = reader.texts(value)?,
                b"max_tokens" => return reader.cap("max_tokens", value),
                b"n" => return reader.choices("n", value),
                b"best_of" => return reader.choices("best_of", value),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        self.demand.messages = prompts.max(1);
        self.demand.choices = self.demand.choices.saturating_mul(prompts.max(1));
        Ok(())
    }

    pub(super) fn embeddings(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        let mut texts = 0;
        self.body(body, |reader, key, value| {
            if key == b"input" {
                texts = reader.texts(value)?;
                return Ok(true);
            }
            Ok(false)
        })?;
        self.demand.messages = texts;
        Ok(())
    }

    /// Takes a text, a list of tokens, or a list of either: how many there are.
    fn texts(&mut self, value: &mut Cursor<'_>) -> Result<u64, Broken> {
        if value.clone().string().is_ok() {
            value.skip()?;
            return Ok(1);
        }
        let (mut texts, mut tokens) = (0_u64, 0_u64);
        self.list(value, |_, item| {
            match item.clone().number() {
                Ok(_) => tokens += 1,
                Err(Broken) => texts += 1,
            }
            item.skip()
        })?;
        Ok(texts + u64::from(tokens > 0))
    }

    pub(super) fn responses(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        let mut server_tools = ServerTools::default();
        let mut calls = None;
        self.body(body, |reader, key, value| {
            match key {
                b"input" => reader.responses_input(value)?,
                b"instructions" => {
                    value.skip()?;
                    reader.message();
                }
                b"max_output_tokens" => return reader.cap_above_zero("max_output_tokens", value),
                b"max_tool_calls" => calls = reader.whole("max_tool_calls", value)?,
                b"service_tier" => return reader.service(value),
                // What is stored there is not seen.
                b"previous_response_id" | b"conversation" => {
                    value.skip()?;
                    reader.demand.whole_window = true;
                }
                b"tools" => reader.list(value, |reader, tool| {
                    let kind = member_text(tool, b"type")?.unwrap_or_default();
                    if reader.tool("responses.tools", &kind, None) {
                        server_tools.web |= kind.starts_with("web_search");
                        server_tools.files |= kind == "file_search";
                    }
                    reader.object(tool, |_, _, value| value.skip())
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        self.server_tools(server_tools, calls);
        Ok(())
    }

    fn server_tools(&mut self, tools: ServerTools, calls: Option<u64>) {
        if !tools.web && !tools.files {
            return;
        }
        let Some(calls) = calls else {
            self.obstacle("searches of the upstream need `max_tool_calls`");
            return;
        };
        self.demand.searches.web = if tools.web { calls } else { 0 };
        self.demand.searches.files = if tools.files { calls } else { 0 };
        // Without a single call the context may still be searched for nothing.
        self.demand.whole_window |= calls == 0;
    }

    fn responses_input(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        if value.clone().string().is_ok() {
            self.message();
            return value.skip();
        }
        self.list(value, |reader, item| {
            reader.message();
            let kind = member_text(item, b"type")?;
            let kind = kind.as_deref().unwrap_or("message");
            match kind {
                "message"
                | "function_call_output"
                | "custom_tool_call_output"
                | "function_call"
                | "custom_tool_call"
                | "reasoning" => {}
                // By reference, or with results that are kept elsewhere.
                "item_reference" | "web_search_call" | "file_search_call" => {
                    reader.demand.whole_window = true;
                }
                other => reader.unknown_type("item", other),
            }
            reader.object(item, |reader, key, value| match key {
                b"content" | b"output" => reader.responses_content(value),
                _ => value.skip(),
            })
        })
    }

    fn responses_content(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        if value.null() || value.clone().string().is_ok() {
            return value.skip().or(Ok(()));
        }
        self.list(value, |reader, part| {
            let kind = member_text(part, b"type")?.unwrap_or_default();
            let mut by_id = false;
            reader.object(part, |reader, key, value| match (&*kind, key) {
                ("input_image", b"image_url") if !value.null() => reader.image(value),
                ("input_image", b"file_id") => {
                    by_id |= !value.null() && value.skip().map(|()| true)?;
                    Ok(())
                }
                ("input_image", b"image_url") => Ok(()),
                _ => value.skip(),
            })?;
            match &*kind {
                "input_text" | "output_text" | "refusal" | "summary_text" | "reasoning_text" => {}
                "input_image" => reader.demand.whole_window |= by_id,
                "input_file" => reader.demand.whole_window = true,
                "input_audio" => reader.demand.audio_in = true,
                other => reader.unknown_type("content", other),
            }
            Ok(())
        })
    }
}

/// Tools that the upstream runs by itself.
#[derive(Clone, Copy, Default)]
struct ServerTools {
    web: bool,
    files: bool,
}
