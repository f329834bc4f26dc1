//! The usage of a streamed answer, read while it goes by.

use super::certain::Certain;
use super::delivered;
use super::event::Event;
use super::lines::EventLines;
use super::side::Side;
use super::tally::{Field, Tally};
use super::{Asked, Outcome};
use crate::json::{Broken, Cursor};
use crate::surface::UsageDialect;
use memchr::memmem::Finder;
use std::sync::LazyLock;
use tollkeep_types::usage::{Flag, Flags, Lines, Partial, Told, UnknownUsage, UsageReport};

/// How the upstream's body ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyEnd {
    /// As announced: last chunk, full length.
    Clean,
    /// Before its announced end, or stopped by us.
    Broken,
}

/// What a stream told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamReport {
    /// The usage.
    pub told: Told,
    /// How the stream ended.
    pub outcome: Outcome,
    /// The model the stream names, at most 256 bytes.
    pub model: Option<Box<str>>,
}

/// Bytes of text that no vendor's tokens have on an average, by far: common ones have three to five.
const BYTES_PER_TOKEN_MOST: u64 = 16;

/// Watches an SSE stream go by. Feeding costs a search for line ends and a look at each event,
/// whose content is counted in bytes. The result does not depend on how the bytes were cut. Memory: one line, or the data of one event
/// whose end has not come, and not even that when both lie in the piece that is fed.
#[derive(Debug)]
pub struct StreamUsage {
    lines: EventLines,
    seen: Seen,
}

#[derive(Debug)]
struct Seen {
    dialect: UsageDialect,
    asked: Asked,
    events: u64,
    model: Option<Box<str>>,
    tally: Option<Tally>,
    /// What is counted by what the answer contains.
    made: Tally,
    side: Side,
    regressed: bool,
    /// UTF-8 bytes of content.
    delivered: u64,
    certain: Certain,
    unknown: Option<UnknownUsage>,
    content: bool,
    /// The upstream's own start of an answer (anthropic): from here on it bills.
    started: bool,
    /// A chat choice said why it ended.
    finish: bool,
    /// Its upstream has nothing more to say but that.
    is_ending: bool,
    terminal: bool,
    error: bool,
    /// The event that told the failure told the usage too.
    error_with_usage: bool,
}

impl StreamUsage {
    /// A reader for one answer.
    pub fn new(dialect: UsageDialect, asked: Asked) -> Self {
        Self {
            lines: EventLines::default(),
            seen: Seen {
                dialect,
                asked,
                events: 0,
                model: None,
                tally: None,
                made: Tally::default(),
                side: Side::default(),
                regressed: false,
                delivered: 0,
                certain: Certain::default(),
                unknown: None,
                content: false,
                started: false,
                finish: false,
                is_ending: false,
                terminal: false,
                error: false,
                error_with_usage: false,
            },
        }
    }

    /// Takes the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { lines, seen } = self;
        lines.feed(bytes, |data| seen.event(data));
    }

    /// Tokens of output that were likely seen: as many as its content would be if all tokens were very
    /// long.
    pub const fn output_at_least(&self) -> u64 {
        self.seen.delivered / BYTES_PER_TOKEN_MOST
    }

    /// Whether the upstream goes on though it has brought more tokens of output than these, by its own
    /// count or by what its content proves.
    pub fn goes_on_beyond(&self, cap: u64) -> bool {
        let seen = &self.seen;
        let told = if seen.is_ending {
            0
        } else {
            seen.told_output()
        };
        !seen.terminal && seen.certain.tokens().max(told) > cap
    }

    /// Whether content was seen: text, thinking, tool arguments, a refusal.
    pub const fn saw_content(&self) -> bool {
        self.seen.content
    }

    /// Whether the dialect's end mark was seen.
    pub const fn saw_terminal(&self) -> bool {
        self.seen.terminal
    }

    /// Whether an error event came before any content.
    pub const fn failed_before_content(&self) -> bool {
        self.seen.error && !self.seen.content
    }

    /// Events so far; the next `sequence_number` of a responses stream.
    pub const fn events(&self) -> u64 {
        self.seen.events
    }

    /// The end of the body. An event whose blank line is missing counts when its JSON is whole.
    pub fn finish(mut self, end: BodyEnd) -> StreamReport {
        let rest = self.lines.unfinished();
        if rest.trim_ascii() == DONE || Event::of_stream(self.seen.dialect, &rest).is_ok() {
            self.seen.event(&rest);
        }
        if self.lines.overlong() {
            self.seen.unknown = Some(UnknownUsage::TooLarge);
        }
        let outcome = self.seen.outcome(end);
        StreamReport {
            told: self.seen.told_in_all(outcome),
            outcome,
            model: self.seen.model,
        }
    }
}

const DONE: &[u8] = b"[DONE]";

impl Seen {
    fn event(&mut self, data: &[u8]) {
        self.events = self.events.saturating_add(1);
        if self.terminal {
            return;
        }
        match self.dialect {
            UsageDialect::Chat | UsageDialect::Embeddings => self.chat(data),
            UsageDialect::Responses
            | UsageDialect::Images
            | UsageDialect::Transcription
            | UsageDialect::Speech
            | UsageDialect::Realtime => self.responses(data),
            UsageDialect::Anthropic => self.anthropic(data),
            UsageDialect::Gemini => self.gemini(data),
        }
    }

    fn chat(&mut self, data: &[u8]) {
        if data.trim_ascii() == DONE {
            self.terminal = true;
            return;
        }
        let Ok(event) = Event::of_stream(self.dialect, data) else {
            // From the first content on, what has no marker could say nothing new but content.
            if self.content && !has_marker(data) {
                self.delivered = self.delivered.saturating_add(len(data));
            } else {
                self.broken(data);
            }
            return;
        };
        self.content |= event.content;
        self.finish |= event.finish;
        self.is_ending |= event.finish;
        self.said(&event);
        self.told(&event, false);
    }

    fn responses(&mut self, data: &[u8]) {
        if let Some(kind) = leading_type(data)
            && let Some(name) = kind.strip_prefix(b"response.")
            && !RESPONSE_EVENTS.contains(&name)
        {
            self.content |= name.ends_with(b".delta");
            if name.ends_with(b".delta") || name == b"output_item.added" {
                let event = Event::of_stream(self.dialect, data);
                if let Ok(event) = &event
                    && SPOKEN_EVENTS.contains(&name)
                {
                    self.said(event);
                }
                let bytes = event.map_or(len(data), |event| event.delivered);
                self.delivered = self.delivered.saturating_add(bytes);
            }
            return;
        }
        let Some(event) = self.parsed(data) else {
            return;
        };
        let kind = &*event.kind;
        let name = kind.strip_prefix("response.").unwrap_or_default();
        self.content |= name.ends_with(".delta");
        if SPOKEN_EVENTS.contains(&name.as_bytes()) {
            self.said(&event);
        }
        self.told(&event, name == "failed" || kind == "error" || event.error);
        self.terminal |= matches!(name, "completed" | "incomplete" | "failed" | "cancelled")
            // Images and transcripts end so.
            || kind.ends_with(".completed")
            || kind.ends_with(".done") && self.dialect != UsageDialect::Responses;
    }

    fn anthropic(&mut self, data: &[u8]) {
        match leading_type(data) {
            Some(b"content_block_delta") => {
                return self.block_delta(data);
            }
            Some(b"content_block_start") => {
                let bytes = block_name(data);
                self.delivered = self.delivered.saturating_add(bytes);
                return;
            }
            Some(b"content_block_stop" | b"ping") => return,
            _ => {}
        }
        let Some(event) = self.parsed(data) else {
            return;
        };
        let kind = &*event.kind;
        if kind == "content_block_delta" {
            self.block_delta(data);
        }
        self.is_ending |= kind == "message_delta";
        self.started |= kind == "message_start";
        self.told(&event, kind == "error");
        self.terminal |= kind == "message_stop";
    }

    fn block_delta(&mut self, data: &[u8]) {
        self.content = true;
        let (bytes, spoken) = delivered::block_delta(data);
        self.delivered = self.delivered.saturating_add(bytes);
        self.certain.event(spoken);
    }

    /// Every chunk is of the same form, and the last one says why it ended.
    fn gemini(&mut self, data: &[u8]) {
        let Some(event) = self.parsed(data) else {
            return;
        };
        self.content |= event.content;
        self.finish |= event.finish;
        self.is_ending |= event.finish;
        self.said(&event);
        self.told(&event, false);
    }

    /// Takes what the model says itself.
    fn said(&mut self, event: &Event<'_>) {
        if event.is_many {
            self.certain.many();
        }
        self.certain.event(event.spoken);
    }

    /// Tokens of output as the upstream told them as last.
    fn told_output(&self) -> u64 {
        let Some(tally) = &self.tally else { return 0 };
        // Gemini tells its thoughts beside its answer.
        let thoughts = match self.dialect {
            UsageDialect::Gemini => tally.count(Field::Reasoning),
            UsageDialect::Chat
            | UsageDialect::Responses
            | UsageDialect::Embeddings
            | UsageDialect::Images
            | UsageDialect::Transcription
            | UsageDialect::Speech
            | UsageDialect::Realtime
            | UsageDialect::Anthropic => 0,
        };
        tally.count(Field::Output).saturating_add(thoughts)
    }

    fn parsed<'a>(&mut self, data: &'a [u8]) -> Option<Event<'a>> {
        let event = Event::of_stream(self.dialect, data).ok();
        if event.is_none() {
            self.broken(data);
        }
        event
    }

    /// An event that begins like an object and is none may have hidden anything.
    fn broken(&mut self, data: &[u8]) {
        if data.trim_ascii_start().starts_with(b"{") {
            self.unknown.get_or_insert(UnknownUsage::Unreadable);
        }
    }

    /// Keeps what an event tells. It is an error by its name or by having one.
    fn told(&mut self, event: &Event<'_>, named_error: bool) {
        let is_error = named_error || event.error;
        self.error |= is_error;
        self.unknown = self.unknown.or(event.unknown);
        if self.model.is_none() {
            self.model = event.model.as_deref().map(Box::from);
        }
        self.delivered = self.delivered.saturating_add(event.delivered);
        self.made.merge(&event.made);
        self.side.merge(event.side.clone());
        if let Some(tally) = &event.tally {
            self.regressed |= self.tally.get_or_insert_default().merge(tally);
            self.error_with_usage |= is_error;
        }
    }

    const fn outcome(&self, end: BodyEnd) -> Outcome {
        // Many servers of the chat form leave `[DONE]` out.
        let ended = self.terminal
            || self.finish
                && (matches!(end, BodyEnd::Clean) || matches!(self.dialect, UsageDialect::Gemini));
        if self.error {
            Outcome::Error
        } else if ended {
            Outcome::Complete
        } else {
            Outcome::Cut
        }
    }

    fn told_in_all(&self, outcome: Outcome) -> Told {
        let mut flags = Flags::default();
        let report = self.report(outcome, &mut flags);
        let partial = match report {
            UsageReport::Unknown(UnknownUsage::Cut) => {
                flags.add(Flag::Cut);
                self.partial(&mut flags)
            }
            UsageReport::Unknown(UnknownUsage::Absent) => self.partial(&mut flags),
            UsageReport::Unknown(
                UnknownUsage::Malformed | UnknownUsage::TooLarge | UnknownUsage::Unreadable,
            )
            | UsageReport::Reported(_)
            | UsageReport::Estimated(_)
            | UsageReport::Released => None,
        };
        if self.regressed {
            flags.add(Flag::Regressed);
        }
        Told {
            report,
            flags,
            partial,
            certain_output: self.certain.tokens(),
        }
    }

    /// Gemini and Anthropic tell their usage from the start: one that never did is no answer of
    /// theirs that could be estimated.
    fn partial(&self, flags: &mut Flags) -> Option<Box<Partial>> {
        let tells_late = matches!(self.dialect, UsageDialect::Chat | UsageDialect::Responses);
        if self.tally.is_none() && !tells_late {
            return None;
        }
        let lines = self.tally.as_ref().map(|tally| self.lines(tally, flags));
        Some(Box::new(Partial {
            lines,
            service: self.side.service(self.dialect, &self.asked, flags),
            delivered_bytes: self.delivered,
        }))
    }

    fn lines(&self, tally: &Tally, flags: &mut Flags) -> Lines {
        let mut all = *tally;
        all.merge(&self.made);
        self.side.lines(&all, self.dialect, &self.asked, flags)
    }

    fn report(&self, outcome: Outcome, flags: &mut Flags) -> UsageReport {
        if let Some(unknown) = self.unknown {
            return UsageReport::Unknown(unknown);
        }
        match (outcome, &self.tally) {
            (Outcome::Complete, Some(tally)) => UsageReport::Reported(self.lines(tally, flags)),
            (Outcome::Complete, None) => UsageReport::Unknown(UnknownUsage::Absent),
            (Outcome::Error, Some(tally)) if self.error_with_usage => {
                UsageReport::Reported(self.lines(tally, flags))
            }
            (Outcome::Error, None) if !self.content && !self.started => UsageReport::Released,
            (Outcome::Error | Outcome::Cut, _) => UsageReport::Unknown(UnknownUsage::Cut),
        }
    }
}

/// The bytes of the name of a tool that a content block begins to call.
fn block_name(data: &[u8]) -> u64 {
    let mut bytes = 0;
    let read = Cursor::new(data).members(|key, value| {
        if key == b"content_block" {
            bytes = delivered::tool_name(value)?;
            return Ok(());
        }
        value.skip()
    });
    read.map_or_else(|_: Broken| len(data), |()| bytes)
}

fn len(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

/// The events of responses that carry the whole response object.
const RESPONSE_EVENTS: [&[u8]; 7] = [
    b"created",
    b"queued",
    b"in_progress",
    b"completed",
    b"incomplete",
    b"failed",
    b"cancelled",
];

/// The events of responses in which the model speaks; what it thought is told in other words.
const SPOKEN_EVENTS: [&[u8]; 4] = [
    b"output_text.delta",
    b"refusal.delta",
    b"function_call_arguments.delta",
    b"custom_tool_call_input.delta",
];

/// The value of `type` when it is the first member, as vendors write it.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(b"{\"type\":")?;
    let rest = rest
        .strip_prefix(b" ")
        .unwrap_or(rest)
        .strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    let (kind, after) = rest.split_at_checked(end)?;
    after.starts_with(b"\"").then_some(kind)
}

/// Whether a chat event may carry usage, an error or a finish reason. A quote inside a JSON
/// string is escaped, so what is found is a key of some object, or a string of that very text.
fn has_marker(data: &[u8]) -> bool {
    static KEYS: LazyLock<[Finder<'static>; 3]> =
        LazyLock::new(|| ["\"usage\"", "\"error\"", "\"finish_reason\""].map(Finder::new));
    KEYS.iter().any(|key| {
        let mut rest = data;
        while let Some(at) = key.find(rest) {
            rest = rest
                .get(at.saturating_add(key.needle().len())..)
                .unwrap_or_default();
            let value = rest.trim_ascii_start().strip_prefix(b":");
            if value.is_some_and(|value| !value.trim_ascii_start().starts_with(b"null")) {
                return true;
            }
        }
        false
    })
}
