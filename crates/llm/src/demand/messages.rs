//! Requests of Anthropic's messages.

use super::{Reader, member_text};
use crate::json::{Broken, Cursor};

impl Reader<'_> {
    pub(super) fn messages(&mut self, body: &mut Cursor<'_>) -> Result<(), Broken> {
        self.body(body, |reader, key, value| {
            match key {
                b"messages" => reader.list(value, |reader, message| {
                    reader.message();
                    reader.object(message, |reader, key, value| match key {
                        b"content" => reader.blocks(value),
                        _ => value.skip(),
                    })
                })?,
                b"system" => {
                    reader.message();
                    reader.blocks(value)?;
                }
                b"max_tokens" => return reader.cap("max_tokens", value),
                b"service_tier" => return reader.service(value),
                b"cache_control" => reader.cache_control(value)?,
                b"speed" => {
                    let speed = value.string()?;
                    if speed != "standard" {
                        reader.demand.modifiers.speed = Some(speed.into());
                    }
                }
                b"inference_geo" => {
                    let geo = value.string()?;
                    if geo != "global" {
                        reader.demand.modifiers.inference_geo = Some(geo.into());
                    }
                }
                b"thinking" => reader.object(value, |reader, key, value| {
                    if key == b"budget_tokens" && !value.clone().null() {
                        let budget = reader.whole("thinking.budget_tokens", value)?;
                        reader.demand.thinking_budget = budget;
                        return Ok(());
                    }
                    value.skip()
                })?,
                b"tools" => reader.list(value, Self::anthropic_tool)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    /// A tool without a type is the client's own.
    fn anthropic_tool(&mut self, tool: &mut Cursor<'_>) -> Result<(), Broken> {
        let kind = member_text(tool, b"type")?;
        let kind = kind.as_deref().unwrap_or("custom");
        let mut uses = None;
        self.object(tool, |reader, key, value| match key {
            b"max_uses" if !value.clone().null() => {
                uses = reader.whole("max_uses", value)?;
                Ok(())
            }
            b"cache_control" => reader.cache_control(value),
            _ => value.skip(),
        })?;
        if !self.tool("messages.tools", kind, uses) {
            return Ok(());
        }
        let (web, fetch) = (
            kind.starts_with("web_search_"),
            kind.starts_with("web_fetch_"),
        );
        if !web && !fetch {
            return Ok(());
        }
        let Some(uses) = uses else {
            self.obstacle(&format!("the tool `{kind}` needs `max_uses`"));
            return Ok(());
        };
        let searches = &mut self.demand.searches;
        let counted = if web {
            &mut searches.web
        } else {
            &mut searches.fetches
        };
        *counted = counted.saturating_add(uses);
        self.demand.whole_window |= uses == 0;
        Ok(())
    }

    /// Takes content: a text, or blocks.
    fn blocks(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        if value.null() || value.clone().string().is_ok() {
            return value.skip().or(Ok(()));
        }
        self.list(value, |reader, block| {
            let kind = member_text(block, b"type")?.unwrap_or_default();
            match &*kind {
                "text"
                | "tool_use"
                | "tool_result"
                | "thinking"
                | "redacted_thinking"
                | "search_result"
                | "server_tool_use"
                | "web_search_tool_result"
                | "web_fetch_tool_result"
                | "web_search_result" => {}
                "image" => reader.demand.images = reader.demand.images.saturating_add(1),
                "document" => reader.demand.whole_window = true,
                other => reader.unknown_type("content", other),
            }
            reader.object(block, |reader, key, value| match (&*kind, key) {
                (_, b"cache_control") => reader.cache_control(value),
                ("tool_result" | "search_result", b"content") => reader.blocks(value),
                ("image", b"source") => reader.source(value),
                _ => value.skip(),
            })
        })
    }

    fn source(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        let kind = member_text(value, b"type")?.unwrap_or_default();
        self.object(value, |reader, key, value| match (&*kind, key) {
            ("base64", b"data") => {
                let written = Self::written(value)?;
                // Without its quotes.
                reader.media(written.saturating_sub(2));
                Ok(())
            }
            _ => value.skip(),
        })?;
        match &*kind {
            "base64" | "url" => {}
            "file" => self.demand.whole_window = true,
            other => self.unknown_type("source", other),
        }
        Ok(())
    }
}
