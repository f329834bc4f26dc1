//! How many tokens a call has, roughly: for callers that ask so where no provider can be asked.
//!
//! Never for money: what a call may cost is bounded by its bytes ([`crate::demand`]).

use crate::json::{Broken, Cursor};

/// Bytes of text that are taken for one token.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens that a message adds to its text.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens that a tool adds to its text.
const TOOL_TOKENS: u64 = 32;
/// Tokens of an image.
const IMAGE_TOKENS: u64 = 1600;
/// Tokens of a document for each [`DOCUMENT_BYTES`].
const DOCUMENT_TOKENS: u64 = 3000;
/// The unit that documents are counted in.
const DOCUMENT_BYTES: u64 = 100 * 1024;
/// Blocks within blocks that are looked into; deeper ones are counted as they are written.
const DEPTH_MAX: usize = 8;

/// The call has no messages, or has them in another form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("messages: want a list of messages")]
pub struct NoMessages;

/// Tokens of the input of a Messages call, whose body [`crate::body::CallView`] has read before.
///
/// # Errors
/// When it has no messages.
pub fn estimate_messages(body: &[u8]) -> Result<u64, NoMessages> {
    let mut count = Count::default();
    let mut has_messages = false;
    let read = Cursor::new(body).members(|key, value| match key {
        b"messages" => {
            has_messages = true;
            value.items(|message| count.message(message))
        }
        b"system" => {
            count.fixed = count.fixed.saturating_add(MESSAGE_TOKENS);
            count.content(value, 0)
        }
        b"tools" => value.items(|tool| {
            count.fixed = count.fixed.saturating_add(TOOL_TOKENS);
            count.written(tool)
        }),
        _ => value.skip(),
    });
    match read {
        Ok(()) if has_messages => Ok(count.tokens()),
        Ok(()) | Err(Broken) => Err(NoMessages),
    }
}

#[derive(Default)]
struct Count {
    /// Bytes of text.
    text: u64,
    /// Tokens of what is no text.
    fixed: u64,
}

impl Count {
    const fn tokens(&self) -> u64 {
        self.fixed
            .saturating_add(self.text.div_ceil(BYTES_PER_TOKEN))
    }

    fn add(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.text = self.text.saturating_add(bytes);
    }

    /// As many bytes as the value is written with.
    fn written(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        let bytes = value.taken()?.len();
        self.add(bytes);
        Ok(())
    }

    fn message(&mut self, message: &mut Cursor<'_>) -> Result<(), Broken> {
        self.fixed = self.fixed.saturating_add(MESSAGE_TOKENS);
        message.members(|key, value| match key {
            b"content" => self.content(value, 0),
            _ => value.skip(),
        })
    }

    /// A text, or blocks.
    fn content(&mut self, value: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        if let Ok(text) = value.clone().string() {
            self.add(text.len());
            return value.skip();
        }
        if value.first() != Some(b'[') || depth >= DEPTH_MAX {
            return self.written(value);
        }
        value.items(|block| self.block(block, depth))
    }

    fn block(&mut self, block: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        if block.first() != Some(b'{') {
            return self.written(block);
        }
        let mut kind = std::borrow::Cow::Borrowed("");
        block.clone().members(|key, value| {
            if key == b"type" {
                kind = value.or_skip(Cursor::string)?.unwrap_or_default();
                return Ok(());
            }
            value.skip()
        })?;
        match &*kind {
            "image" => {
                self.fixed = self.fixed.saturating_add(IMAGE_TOKENS);
                block.skip()
            }
            "document" => block.members(|key, value| match key {
                b"source" => self.source(value, depth),
                b"title" | b"context" => self.content(value, DEPTH_MAX),
                _ => value.skip(),
            }),
            _ => block.members(|key, value| match key {
                b"type" | b"id" | b"tool_use_id" | b"cache_control" | b"signature"
                | b"is_error" => value.skip(),
                b"content" => self.content(value, depth.saturating_add(1)),
                b"text" | b"thinking" | b"name" => self.content(value, DEPTH_MAX),
                _ => self.written(value),
            }),
        }
    }

    /// Of a document: its bytes in base64, its text, or where it is.
    fn source(&mut self, value: &mut Cursor<'_>, depth: usize) -> Result<(), Broken> {
        let (mut kind, mut data) = (std::borrow::Cow::Borrowed(""), None);
        let inside = |value: &mut Cursor<'_>| {
            value.members(|key, value| {
                match key {
                    b"type" => kind = value.string()?.into_owned().into(),
                    b"data" => data = Some(value.string()?.len()),
                    b"content" => self.content(value, depth.saturating_add(1))?,
                    _ => value.skip()?,
                }
                Ok::<_, Broken>(())
            })
        };
        value.or_skip(inside).map(|_: Result<(), Broken>| ())?;
        match (&*kind, data) {
            ("text", data) => self.add(data.unwrap_or(0)),
            ("content", _) => {}
            (_, data) => {
                let coded = u64::try_from(data.unwrap_or(0)).unwrap_or(u64::MAX);
                let parts = (coded / 4)
                    .saturating_mul(3)
                    .div_ceil(DOCUMENT_BYTES)
                    .max(1);
                let tokens = parts.saturating_mul(DOCUMENT_TOKENS);
                self.fixed = self.fixed.saturating_add(tokens);
            }
        }
        Ok(())
    }
}
