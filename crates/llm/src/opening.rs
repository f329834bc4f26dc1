//! How a streamed answer begins: which of its events say nothing yet, and which say that it failed.
//!
//! A stream that has said nothing can still be asked for elsewhere. So only what is known to say nothing
//! does: greetings, and blocks that are opened and empty. Whatever else comes is content.

use crate::failure::{Failure, of_answer};
use crate::json::{Broken, Cursor, write_string};
use crate::surface::UsageDialect;
use crate::usage::EventLines;
use std::borrow::Cow;

/// Longest message of an error that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = crate::error::MESSAGE_BYTES_MAX;
/// Longest word that names an error, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// What a stream has said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Begun {
    /// Nothing but that it begins.
    Nothing,
    /// Something of an answer, or something nobody here knows.
    Content,
    /// That there is no answer.
    Failed(FailedStart),
}

/// What a stream says that failed before it said anything else, as if it had been an error answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailedStart {
    /// The status that such an answer would have.
    pub status: u16,
    /// What kind of failure it is.
    pub failure: Failure,
    /// The body of such an answer, in the dialect of the stream.
    pub body: Vec<u8>,
}

/// Looks at the events of a stream until one of them says something.
#[derive(Debug)]
pub struct Opening {
    dialect: UsageDialect,
    lines: EventLines,
}

impl Opening {
    /// For a stream of this dialect.
    pub fn new(dialect: UsageDialect) -> Self {
        Self {
            dialect,
            lines: EventLines::default(),
        }
    }

    /// Takes the next bytes of the body. What they say first counts.
    pub fn feed(&mut self, bytes: &[u8]) -> Begun {
        let Self { dialect, lines } = self;
        let mut begun = Begun::Nothing;
        lines.feed(bytes, |data| {
            if begun == Begun::Nothing {
                begun = said_by(*dialect, data);
            }
        });
        begun
    }

    /// The body has ended: what an event says whose blank line is missing.
    pub fn end(mut self) -> Begun {
        let rest = self.lines.unfinished();
        if rest.is_empty() {
            return Begun::Nothing;
        }
        said_by(self.dialect, &rest)
    }
}

/// What one event says.
fn said_by(dialect: UsageDialect, data: &[u8]) -> Begun {
    let mut event = Event::default();
    match event.read(dialect, data) {
        Ok(()) => {}
        // It is for the caller to understand it.
        Err(Broken) => return Begun::Content,
    }
    if event.is_error || event.said.is_some() {
        return Begun::Failed(event.said.unwrap_or_default().failed(dialect));
    }
    if event.greets(dialect) {
        Begun::Nothing
    } else {
        Begun::Content
    }
}

/// An event, as far as it matters.
#[derive(Default)]
struct Event<'a> {
    /// Its `type`.
    kind: Cow<'a, str>,
    /// It is an error by its name.
    is_error: bool,
    /// What its error says.
    said: Option<Said<'a>>,
    /// It has `choices`, which say nothing.
    has_choices: bool,
    /// It is a chunk of Gemini's.
    has_candidates: bool,
    /// Something in it says something.
    has_content: bool,
    /// The `type` of the block or item it opens.
    opened: Cow<'a, str>,
}

impl<'a> Event<'a> {
    fn read(&mut self, dialect: UsageDialect, data: &'a [u8]) -> Result<(), Broken> {
        let mut cursor = Cursor::new(data);
        let mut flat = Said::default();
        cursor.members(|key, value| match key {
            b"type" => {
                self.kind = value.or_skip(Cursor::string)?.unwrap_or_default();
                Ok(())
            }
            b"object" => {
                let object = value.or_skip(Cursor::string)?.unwrap_or_default();
                self.is_error |= object == "error";
                Ok(())
            }
            b"error" => self.error(value),
            b"choices" => {
                self.has_choices = true;
                self.choices(value)
            }
            b"candidates" if dialect == UsageDialect::Gemini => self.candidates(value),
            b"promptFeedback" if dialect == UsageDialect::Gemini => {
                self.has_content |= value.has_substance()?;
                Ok(())
            }
            b"usageMetadata" | b"modelVersion" | b"responseId"
                if dialect == UsageDialect::Gemini =>
            {
                self.has_candidates = true;
                value.skip()
            }
            b"response" => self.response(value),
            b"content_block" | b"item" => self.opened(value),
            _ => flat.member(key, value),
        })?;
        if !cursor.is_at_end() {
            return Err(Broken);
        }
        let failed = matches!(dialect, UsageDialect::Responses) && self.kind == "response.failed";
        self.is_error |= failed || self.kind == "error";
        if self.is_error && self.said.is_none() {
            self.said = Some(flat);
        }
        Ok(())
    }

    /// An object, or nothing but a sentence.
    fn error(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        if !value.clone().has_substance()? {
            return value.skip();
        }
        let mut said = Said::default();
        if let Ok(message) = value.clone().string() {
            said.message = Some(message);
            value.skip()?;
        } else {
            let read = |value: &mut Cursor<'a>| {
                value.members(|key, value| match key {
                    b"type" => {
                        said.kind = value.or_skip(Cursor::string)?.ok();
                        Ok(())
                    }
                    // Of Gemini's.
                    b"status" => {
                        said.word = value.or_skip(Cursor::string)?.ok();
                        Ok(())
                    }
                    _ => said.member(key, value),
                })
            };
            value.or_skip(read).map(|_: Result<(), Broken>| ())?;
        }
        self.said = Some(said);
        Ok(())
    }

    fn response(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        let inside = |value: &mut Cursor<'a>| {
            value.members(|key, value| match key {
                b"error" => self.error(value),
                _ => value.skip(),
            })
        };
        value.or_skip(inside).map(|_: Result<(), Broken>| ())
    }

    fn choices(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        value.items(|choice| {
            choice.members(|key, value| match key {
                b"delta" if !value.null() => value.members(|key, value| {
                    self.has_content |= value.has_substance()? && key != b"role";
                    Ok::<_, Broken>(())
                }),
                b"delta" => Ok(()),
                b"text" | b"finish_reason" => {
                    self.has_content |= value.has_substance()?;
                    Ok(())
                }
                _ => value.skip(),
            })
        })
    }

    /// Gemini's: their parts say something but for a text that is empty.
    fn candidates(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        self.has_candidates = true;
        let mut candidate = |value: &mut Cursor<'a>| {
            value.members(|key, value| match key {
                b"index" => value.skip(),
                b"content" if !value.null() => value.members(|key, value| match key {
                    b"role" => value.skip(),
                    b"parts" if value.first() == Some(b'[') => value.items(|part| self.part(part)),
                    _ => {
                        self.has_content |= value.has_substance()?;
                        Ok(())
                    }
                }),
                b"content" => Ok(()),
                _ => {
                    self.has_content |= value.has_substance()?;
                    Ok::<_, Broken>(())
                }
            })
        };
        if value.null() {
            return Ok(());
        }
        value.items(&mut candidate)
    }

    fn part(&mut self, part: &mut Cursor<'a>) -> Result<(), Broken> {
        part.members(|key, value| {
            // That it is a thought says nothing of it.
            let is_said = value.has_substance()? && key != b"thought";
            self.has_content |= is_said;
            Ok(())
        })
    }

    /// A block or an item that begins: what it is, and whether it has a text already.
    fn opened(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        let inside = |value: &mut Cursor<'a>| {
            value.members(|key, value| {
                match key {
                    b"type" => self.opened = value.string()?,
                    b"text" | b"thinking" | b"content" | b"summary" | b"signature" => {
                        self.has_content |= value.has_substance()?;
                    }
                    _ => value.skip()?,
                }
                Ok::<_, Broken>(())
            })
        };
        value.or_skip(inside).map(|_: Result<(), Broken>| ())
    }

    /// Whether it says nothing but that an answer begins.
    fn greets(&self, dialect: UsageDialect) -> bool {
        if self.has_content {
            return false;
        }
        match dialect {
            UsageDialect::Chat | UsageDialect::Embeddings => self.has_choices,
            UsageDialect::Anthropic => match &*self.kind {
                "message_start" | "ping" => true,
                "content_block_start" => matches!(&*self.opened, "text" | "thinking"),
                _ => false,
            },
            UsageDialect::Responses => match &*self.kind {
                "response.created"
                | "response.queued"
                | "response.in_progress"
                | "response.content_part.added"
                | "response.reasoning_summary_part.added" => true,
                "response.output_item.added" => {
                    matches!(&*self.opened, "message" | "reasoning")
                }
                _ => false,
            },
            UsageDialect::Images
            | UsageDialect::Transcription
            | UsageDialect::Speech
            | UsageDialect::Realtime => false,
            UsageDialect::Gemini => self.has_candidates,
        }
    }
}

/// What an error says.
#[derive(Default)]
struct Said<'a> {
    kind: Option<Cow<'a, str>>,
    /// The name of its status at Google.
    word: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    /// A code that is a status.
    status: Option<u16>,
    message: Option<Cow<'a, str>>,
    param: Option<Cow<'a, str>>,
}

impl<'a> Said<'a> {
    fn member(&mut self, key: &[u8], value: &mut Cursor<'a>) -> Result<(), Broken> {
        match key {
            b"message" => self.message = value.or_skip(Cursor::string)?.ok(),
            b"param" => self.param = value.or_skip(Cursor::string)?.ok(),
            b"code" => {
                let text = match value.clone().number() {
                    Ok(digits) => std::str::from_utf8(digits).ok().map(Cow::Borrowed),
                    Err(Broken) => value.clone().string().ok(),
                };
                value.skip()?;
                let status = text.as_deref().and_then(|text| text.parse().ok());
                self.status = status.filter(|status| (400..=599).contains(status));
                self.code = text;
            }
            _ => value.skip()?,
        }
        Ok(())
    }

    fn failed(mut self, dialect: UsageDialect) -> FailedStart {
        for word in [
            &mut self.kind,
            &mut self.word,
            &mut self.code,
            &mut self.param,
        ] {
            word.take_if(|word| word.len() > WORD_BYTES_MAX);
        }
        let words = [
            self.kind.as_deref(),
            self.code.as_deref(),
            self.word.as_deref(),
        ];
        let guessed = self.status.or_else(|| {
            let mut known = words.into_iter().flatten();
            known.find_map(status_of_word)
        });
        let looks_like = of_answer(guessed.unwrap_or(500), false, &self.body(dialect));
        let status = status_of(looks_like, guessed);
        if dialect == UsageDialect::Gemini {
            self.status = Some(status);
        }
        if self.kind.is_none() {
            self.kind = Some(Cow::Borrowed(match (status, dialect) {
                (..500, _) => "invalid_request_error",
                (_, UsageDialect::Anthropic) => "api_error",
                (..) => "server_error",
            }));
        }
        FailedStart {
            status,
            failure: looks_like,
            body: self.body(dialect),
        }
    }

    fn body(&self, dialect: UsageDialect) -> Vec<u8> {
        let message = self.message.as_deref().unwrap_or("The upstream failed.");
        let short = message.get(..message.floor_char_boundary(MESSAGE_BYTES_MAX));
        let short = short.unwrap_or_default();
        let mut out = Vec::with_capacity(short.len() + 128);
        if dialect == UsageDialect::Gemini {
            let code = self.status.unwrap_or(500);
            out.extend_from_slice(b"{\"error\":{\"code\":");
            out.extend_from_slice(code.to_string().as_bytes());
            out.extend_from_slice(b",\"message\":");
            write_string(&mut out, short);
            out.extend_from_slice(b",\"status\":");
            write_string(&mut out, self.word.as_deref().unwrap_or("UNKNOWN"));
        } else if dialect == UsageDialect::Anthropic {
            out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
            write_word(&mut out, self.kind.as_deref());
            out.extend_from_slice(b",\"message\":");
            write_string(&mut out, short);
        } else {
            out.extend_from_slice(b"{\"error\":{\"message\":");
            write_string(&mut out, short);
            for (name, word) in [
                ("type", &self.kind),
                ("param", &self.param),
                ("code", &self.code),
            ] {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                write_word(&mut out, word.as_deref());
            }
        }
        out.extend_from_slice(b"}}");
        out
    }
}

fn write_word(out: &mut Vec<u8>, word: Option<&str>) {
    match word {
        Some(word) => write_string(out, word),
        None => out.extend_from_slice(b"null"),
    }
}

/// The status of error answers that have this word.
fn status_of_word(word: &str) -> Option<u16> {
    let status = match word {
        "authentication_error" | "UNAUTHENTICATED" => 401,
        "billing_error" => 402,
        "permission_error" | "PERMISSION_DENIED" => 403,
        "not_found_error" | "NOT_FOUND" => 404,
        "request_too_large" => 413,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "insufficient_quota"
        | "RESOURCE_EXHAUSTED" => 429,
        "timeout_error" | "DEADLINE_EXCEEDED" => 504,
        "overloaded_error" => 529,
        "server_error" | "api_error" | "INTERNAL" | "UNKNOWN" | "ABORTED" => 500,
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAVAILABLE" => 503,
        other if other.starts_with("invalid_") || other.starts_with("image_") => 400,
        _ => return None,
    };
    Some(status)
}

/// The status of an answer that fails so: the one it was told with, if that fits.
fn status_of(failure: Failure, told: Option<u16>) -> u16 {
    let (usual, fitting) = match failure {
        Failure::BadRequest | Failure::ContextOverflow | Failure::Policy => (400, 400..=499),
        Failure::ModelMissing => (404, 404..=404),
        Failure::Auth => (401, 401..=403),
        Failure::Billing => (402, 402..=402),
        Failure::RateLimit | Failure::Quota => (429, 429..=429),
        Failure::Overload => (503, 503..=529),
        Failure::Timeout => (504, 504..=504),
        Failure::Transient | Failure::Resource | Failure::Challenge => (500, 500..=599),
    };
    told.filter(|told| fitting.contains(told)).unwrap_or(usual)
}
