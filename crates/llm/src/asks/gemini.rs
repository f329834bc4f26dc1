//! What a call of Gemini's asks for. Its members have two spellings, and either counts.

use super::{Asks, Count, count};
use crate::gemini::camel;
use crate::json::values::{DEPTH_MAX, key_text};
use crate::json::{Broken, Cursor};

/// Tools that search the web, and the one that fetches what a text names.
const SEARCH_TOOLS: [&str; 5] = [
    "googleSearch",
    "googleSearchRetrieval",
    "enterpriseWebSearch",
    "googleMaps",
    "urlContext",
];
/// Tools that go to addresses that the call names.
const FETCHING_TOOLS: [&str; 2] = ["urlContext", "mcpServers"];

impl Asks {
    /// Takes a call, or the whole call that one to count is about.
    pub(super) fn gemini(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        cursor.members(|key, cursor| {
            let key = key_text(key)?;
            match &*camel(&key) {
                "contents" => self.contents(cursor, 0),
                "systemInstruction" => self.content(cursor, 0),
                "generationConfig" => self.generation(cursor),
                "generateContentRequest" if cursor.first() == Some(b'{') => self.gemini(cursor),
                "tools" => self.gemini_tools(cursor),
                // What was kept before is as good as a document.
                "cachedContent" => {
                    self.files |= cursor.has_substance()?;
                    Ok(())
                }
                _ => cursor.skip(),
            }
        })
    }

    fn contents(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        match cursor.first() {
            Some(b'[') => cursor.items(|content| self.content(content, depth)),
            _ => self.content(cursor, depth),
        }
    }

    fn content(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        if cursor.first() != Some(b'{') {
            return self.data(cursor);
        }
        self.messages = self.messages.saturating_add(1);
        self.parts_of(cursor, depth)
    }

    /// Takes an object that has parts.
    fn parts_of(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        if depth > DEPTH_MAX {
            return Err(Broken);
        }
        cursor.members(|key, cursor| {
            match &*key_text(key)? {
                "parts" => {}
                "role" => return cursor.skip(),
                _ => return self.data(cursor),
            }
            match cursor.first() {
                Some(b'[') => cursor.items(|part| self.gemini_part(part, depth)),
                _ => self.gemini_part(cursor, depth),
            }
        })
    }

    fn gemini_part(&mut self, part: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        if part.first() != Some(b'{') {
            return self.data(part);
        }
        part.members(|key, cursor| {
            let key = key_text(key)?;
            let is_object = cursor.first() == Some(b'{');
            match &*camel(&key) {
                "text" if cursor.first() == Some(b'"') => {
                    let text = cursor.string()?;
                    self.text_bytes = self.text_bytes.saturating_add(count(text.len()));
                    Ok(())
                }
                "inlineData" | "fileData" if is_object => self.blob(cursor),
                // A function may answer with pictures.
                "functionResponse" if is_object => self.parts_of(cursor, depth.saturating_add(1)),
                _ => self.data(cursor),
            }
        })
    }

    /// Takes what a part brings beside text: its bytes, or where they are.
    fn blob(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        let (mut is_image, mut is_other, mut bytes) = (false, false, 0_u64);
        cursor.members(|key, cursor| {
            let key = key_text(key)?;
            if cursor.first() != Some(b'"') {
                return cursor.skip();
            }
            let text = cursor.string()?;
            match &*camel(&key) {
                "mimeType" => {
                    let image = text.to_ascii_lowercase().starts_with("image/");
                    is_image |= image;
                    is_other |= !image;
                }
                "fileUri" => self.remote_urls |= text.contains("://"),
                _ => bytes = bytes.saturating_add(count(text.len())),
            }
            Ok::<_, Broken>(())
        })?;
        self.images = self.images.saturating_add(u64::from(is_image));
        if is_other || !is_image {
            self.files = true;
            self.file_bytes = self.file_bytes.saturating_add(bytes);
        }
        Ok(())
    }

    fn generation(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        if cursor.first() != Some(b'{') {
            return cursor.skip();
        }
        cursor.members(|key, cursor| {
            let key = key_text(key)?;
            let into = match &*camel(&key) {
                "maxOutputTokens" => &mut self.output_tokens,
                "candidateCount" => &mut self.choices,
                _ => return cursor.skip(),
            };
            let asked = count_of(cursor)?;
            *into = asked.map(|asked| asked.most(*into)).or(*into);
            Ok(())
        })
    }

    fn gemini_tools(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        let start = cursor.left();
        match cursor.first() {
            Some(b'[') => cursor.items(|tool| self.gemini_tool(tool))?,
            _ => self.gemini_tool(cursor)?,
        }
        let len = start.saturating_sub(cursor.left());
        self.text_bytes = self.text_bytes.saturating_add(count(len));
        Ok(())
    }

    /// Takes an object whose members are tools, or a list of functions.
    fn gemini_tool(&mut self, tool: &mut Cursor<'_>) -> Result<(), Broken> {
        match tool.first() {
            Some(b'{') => {}
            Some(b'n') => return tool.skip(),
            _ => {
                self.tools = self.tools.saturating_add(1);
                return tool.skip();
            }
        }
        tool.members(|key, value| {
            let key = key_text(key)?;
            let name = camel(&key);
            if value.null() {
                return Ok(());
            }
            if name == "functionDeclarations" && value.first() == Some(b'[') {
                return value.items(|function| {
                    self.tools = self.tools.saturating_add(1);
                    function.skip()
                });
            }
            self.tools = self.tools.saturating_add(1);
            self.web_search |= SEARCH_TOOLS.contains(&&*name);
            self.remote_urls |= FETCHING_TOOLS.contains(&&*name);
            value.skip()
        })
    }
}

/// Takes what stands for a number, which may be in quotes; `None` where nothing does.
pub(super) fn count_of(cursor: &mut Cursor<'_>) -> Result<Option<Count>, Broken> {
    match cursor.first() {
        Some(b'n') => {
            cursor.skip()?;
            Ok(None)
        }
        Some(b'-' | b'0'..=b'9') => cursor.number().map(|text| Some(Count::of(text))),
        Some(b'"') => {
            let text = cursor.string()?;
            Ok(Some(Count::of(text.as_bytes())))
        }
        _ => {
            cursor.skip()?;
            Ok(Some(Count::Other))
        }
    }
}
