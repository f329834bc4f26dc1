//! What a call asks of a model, as far as an operator may bound it: how much, and which features.

mod bounded;
mod gemini;

pub use bounded::{BoundFault, Bounds, bounded};

use crate::json::values::{DEPTH_MAX, key_text};
use crate::json::{Broken, Cursor};
use crate::params::Unreadable;
use crate::surface::{Dialect, Surface};

/// A number that a call asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Count {
    /// This.
    Number(u64),
    /// No whole number.
    Other,
}

/// What a call asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asks {
    /// Tokens of output: the most of all spellings; `None` where it says nothing.
    pub output_tokens: Option<Count>,
    /// Answers at once; `None` where it says nothing.
    pub choices: Option<Count>,
    /// Tools it brings.
    pub tools: u64,
    /// Images it brings.
    pub images: u64,
    /// It brings a file, a document or audio.
    pub files: bool,
    /// It wants its answer as a stream, or something that may be read so.
    pub stream: bool,
    /// It wants the provider to search the web.
    pub web_search: bool,
    /// It names addresses for the provider to fetch from.
    pub remote_urls: bool,
    /// Messages it brings.
    messages: u64,
    /// Bytes of text.
    text_bytes: u64,
    /// Bytes of files, encoded.
    file_bytes: u64,
    /// Tokens that are given as such.
    tokens: u64,
}

impl Count {
    fn of(written: &[u8]) -> Self {
        let text = std::str::from_utf8(written).unwrap_or_default();
        text.parse().map_or(Self::Other, Self::Number)
    }

    const fn exceeds(self, max: u64) -> bool {
        match self {
            Self::Number(number) => number > max,
            Self::Other => true,
        }
    }

    const fn most(self, other: Option<Self>) -> Self {
        match (self, other) {
            (Self::Number(number), Some(Self::Number(other))) if other > number => {
                Self::Number(other)
            }
            (Self::Number(_), Some(Self::Other)) => Self::Other,
            _ => self,
        }
    }
}

/// How a surface spells its bound of output.
const fn output_keys(surface: Surface) -> &'static [&'static str] {
    match surface {
        Surface::Chat => &["max_completion_tokens", "max_tokens"],
        Surface::Completions | Surface::Messages => &["max_tokens"],
        Surface::Responses => &["max_output_tokens"],
        Surface::Embeddings
        | Surface::Images
        | Surface::Speech
        | Surface::CountTokens
        | Surface::Generate
        | Surface::StreamGenerate
        | Surface::GeminiCount
        | Surface::Models
        | Surface::Model => &[],
    }
}

/// How a surface asks for several answers.
const fn choice_keys(surface: Surface) -> &'static [&'static str] {
    match surface {
        Surface::Chat | Surface::Completions => &["n", "best_of"],
        Surface::Images => &["n"],
        Surface::Responses
        | Surface::Messages
        | Surface::Embeddings
        | Surface::Speech
        | Surface::CountTokens
        | Surface::Generate
        | Surface::StreamGenerate
        | Surface::GeminiCount
        | Surface::Models
        | Surface::Model => &[],
    }
}

/// Members that lead a provider to a search of the web.
const SEARCH_KEYS: [&str; 2] = ["web_search_options", "search_parameters"];
/// Members that hold addresses a provider fetches from.
const URL_KEYS: [&str; 7] = [
    "url",
    "image_url",
    "file_url",
    "file_uri",
    "server_url",
    "video_url",
    "audio_url",
];
/// Members whose inside is data of the caller's tools, and names no part of the call.
const DATA_KEYS: [&str; 4] = ["input", "arguments", "parameters", "input_schema"];
/// Members that hold encoded bytes.
const BYTES_KEYS: [&str; 2] = ["data", "file_data"];

impl Asks {
    /// Reads a body that [`crate::body::CallView::read`] has read.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn read(surface: Surface, body: &[u8]) -> Result<Self, Unreadable> {
        let mut asks = Self::default();
        if surface.dialect() == Dialect::Gemini {
            asks.stream = surface == Surface::StreamGenerate;
            asks.gemini(&mut Cursor::new(body))?;
            return Ok(asks);
        }
        Cursor::new(body).members(|key, cursor| {
            let key = key_text(key)?;
            asks.member(surface, &key, cursor)?;
            Ok::<_, Unreadable>(())
        })?;
        Ok(asks)
    }

    /// Tokens of input, estimated (LLM-75): one for three bytes of text, 16 a message, 32 a tool,
    /// 1600 an image, 3000 for 100 KiB of a file.
    pub const fn input_tokens(&self) -> u64 {
        let text = self.text_bytes.div_ceil(3);
        let file = (self.file_bytes / 4).saturating_mul(3);
        let file = file.saturating_mul(3000).div_ceil(100 * 1024);
        text.saturating_add(self.messages.saturating_mul(16))
            .saturating_add(self.tools.saturating_mul(32))
            .saturating_add(self.images.saturating_mul(1600))
            .saturating_add(file)
            .saturating_add(self.tokens)
    }

    fn member(
        &mut self,
        surface: Surface,
        key: &str,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Broken> {
        let is_null = cursor.first() == Some(b'n');
        if output_keys(surface).contains(&key) {
            return note_count(&mut self.output_tokens, cursor);
        }
        if choice_keys(surface).contains(&key) {
            return note_count(&mut self.choices, cursor);
        }
        match key {
            "stream" => {
                self.stream = !matches!(cursor.first(), Some(b'f' | b'n'));
                cursor.skip()
            }
            "tools" | "functions" | "mcp_servers" => self.tools(cursor),
            "plugins" => {
                let inside = Self::walked(cursor)?;
                self.web_search |= inside.web_search;
                Ok(())
            }
            "model" if cursor.first() == Some(b'"') => {
                let model = cursor.string()?;
                self.web_search |= model.contains("-search-preview") || model.ends_with(":online");
                Ok(())
            }
            "messages" | "input" | "prompt" | "system" | "instructions" | "documents" => {
                self.messages = self.messages.saturating_add(messages(cursor.clone())?);
                self.walk(cursor, 0)
            }
            _ => {
                self.web_search |= SEARCH_KEYS.contains(&key) && !is_null;
                cursor.skip()
            }
        }
    }

    /// What a value holds, for itself.
    fn walked(cursor: &mut Cursor<'_>) -> Result<Self, Broken> {
        let mut inside = Self::default();
        inside.walk(cursor, 0)?;
        Ok(inside)
    }

    fn tools(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        let start = cursor.left();
        match cursor.first() {
            Some(b'[') => cursor.items(|cursor| {
                self.tools = self.tools.saturating_add(1);
                let inside = Self::walked(cursor)?;
                self.web_search |= inside.web_search;
                self.remote_urls |= inside.remote_urls;
                Ok::<_, Broken>(())
            })?,
            Some(b'n') => cursor.skip()?,
            _ => {
                self.tools = self.tools.saturating_add(1);
                cursor.skip()?;
            }
        }
        let len = start.saturating_sub(cursor.left());
        self.text_bytes = self.text_bytes.saturating_add(count(len));
        Ok(())
    }

    /// Takes a value and notes what is in it.
    fn walk(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        if depth > DEPTH_MAX {
            return Err(Broken);
        }
        let deeper = depth.saturating_add(1);
        match cursor.first() {
            Some(b'"') => {
                let text = cursor.string()?;
                self.text_bytes = self.text_bytes.saturating_add(count(text.len()));
                Ok(())
            }
            Some(b'[') => cursor.items(|cursor| self.walk(cursor, deeper)),
            Some(b'{') => cursor.members(|key, cursor| {
                let key = key_text(key)?;
                if DATA_KEYS.contains(&&*key) {
                    return self.data(cursor);
                }
                if cursor.first() != Some(b'"') {
                    return self.walk(cursor, deeper);
                }
                let text = cursor.string()?;
                self.part(&key, &text);
                Ok(())
            }),
            Some(b'-' | b'0'..=b'9') => {
                self.tokens = self.tokens.saturating_add(1);
                cursor.skip()
            }
            _ => cursor.skip(),
        }
    }

    /// A text in a part of a message, or of a tool.
    fn part(&mut self, key: &str, text: &str) {
        if key == "type" || key == "id" {
            match text {
                "image_url" | "input_image" | "image" => {
                    self.images = self.images.saturating_add(1);
                }
                "file" | "input_file" | "document" | "container_upload" | "input_audio" => {
                    self.files = true;
                }
                // Of a plugin.
                "web" => self.web_search = true,
                _ => {
                    let searches = ["web_search", "web_fetch", "browser_search"];
                    self.web_search |= searches.iter().any(|search| text.starts_with(search));
                }
            }
            return;
        }
        let is_encoded = is_data_url(text);
        if URL_KEYS.contains(&key) && text.contains("://") && !is_encoded {
            self.remote_urls = true;
        }
        let len = count(text.len());
        if is_encoded || BYTES_KEYS.contains(&key) {
            self.file_bytes = self.file_bytes.saturating_add(len);
        } else {
            self.text_bytes = self.text_bytes.saturating_add(len);
        }
    }

    /// Data of tools: text and no more.
    fn data(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
        let start = cursor.left();
        cursor.skip()?;
        let len = start.saturating_sub(cursor.left());
        self.text_bytes = self.text_bytes.saturating_add(count(len));
        Ok(())
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn is_data_url(text: &str) -> bool {
    text.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("data:"))
}

/// How many objects a list has.
fn messages(mut cursor: Cursor<'_>) -> Result<u64, Broken> {
    let mut messages = 0_u64;
    if cursor.first() == Some(b'[') {
        cursor.items(|cursor| {
            messages = messages.saturating_add(u64::from(cursor.first() == Some(b'{')));
            cursor.skip()
        })?;
    }
    Ok(messages)
}

fn note_count(most: &mut Option<Count>, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
    let asked = match cursor.first() {
        Some(b'n') => {
            cursor.skip()?;
            return Ok(());
        }
        Some(b'-' | b'0'..=b'9') => Count::of(cursor.number()?),
        _ => {
            cursor.skip()?;
            Count::Other
        }
    };
    *most = Some(asked.most(*most));
    Ok(())
}
