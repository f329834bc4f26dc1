//! The JSON of an answer or of one stream event, as far as usage needs it.

use super::certain::Spoken;
use super::delivered;
use super::kept_model;
use super::made;
use super::side::Side;
use super::tally::{Field, Tally};
use super::wire::read_usage;
use crate::json::{Broken, Cursor};
use crate::surface::UsageDialect;
use std::borrow::Cow;
use tollkeep_types::usage::UnknownUsage;

/// What an answer body, or an event of a stream, says.
#[derive(Default)]
pub(super) struct Event<'a> {
    /// Anthropic and responses name their events.
    pub(super) kind: Cow<'a, str>,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) tally: Option<Tally>,
    /// What is counted by what the answer contains.
    pub(super) made: Tally,
    pub(super) side: Side,
    /// There is usage that can't be read.
    pub(super) unknown: Option<UnknownUsage>,
    /// There is an error object.
    pub(super) error: bool,
    /// A chat choice has text, thinking, tool calls or a refusal.
    pub(super) content: bool,
    /// A chat choice or a candidate says why it ended.
    pub(super) finish: bool,
    /// UTF-8 bytes of content.
    pub(super) delivered: u64,
    /// What the model says itself.
    pub(super) spoken: Spoken,
    /// It is of an answer beside the first one.
    pub(super) is_many: bool,
}

/// What a member of an event tells.
#[derive(Clone, Copy)]
enum Member {
    Kind,
    Error,
    /// An object in which model and usage may stand.
    Inner,
    Model,
    Usage,
    Service,
    /// Items of a response.
    Output,
    /// Candidates of Gemini.
    Candidates,
    /// Why Gemini did not begin.
    PromptFeedback,
    /// Images.
    Data,
}

impl Member {
    /// `None` when it tells nothing.
    #[inline]
    fn of(dialect: UsageDialect, key: &[u8]) -> Option<Self> {
        if key == b"type" {
            return Some(Self::Kind);
        }
        if key == b"error" {
            return Some(Self::Error);
        }
        // Anthropic's `message_start` has its message here, events of responses theirs.
        if key == b"x_groq"
            || key == b"message" && dialect == UsageDialect::Anthropic
            || key == b"response"
                && matches!(dialect, UsageDialect::Responses | UsageDialect::Realtime)
        {
            return Some(Self::Inner);
        }
        Self::of_inner(dialect, key)
    }

    /// The same for an inner object.
    #[inline]
    fn of_inner(dialect: UsageDialect, key: &[u8]) -> Option<Self> {
        if dialect == UsageDialect::Gemini {
            return Self::of_gemini(key);
        }
        if key == b"model" {
            return Some(Self::Model);
        }
        if key == b"usage" {
            return Some(Self::Usage);
        }
        let is = |of: UsageDialect| dialect == of;
        match key {
            b"service_tier" if is(UsageDialect::Chat) || is(UsageDialect::Responses) => {
                Some(Self::Service)
            }
            b"output" if is(UsageDialect::Responses) => Some(Self::Output),
            b"data" if is(UsageDialect::Images) => Some(Self::Data),
            _ => None,
        }
    }

    fn of_gemini(key: &[u8]) -> Option<Self> {
        match key {
            b"usageMetadata" => Some(Self::Usage),
            b"modelVersion" => Some(Self::Model),
            b"candidates" => Some(Self::Candidates),
            b"promptFeedback" => Some(Self::PromptFeedback),
            b"serviceTier" => Some(Self::Service),
            _ => None,
        }
    }
}

impl<'a> Event<'a> {
    /// An event of a stream. `Err` when the bytes are not one JSON object.
    pub(super) fn of_stream(dialect: UsageDialect, json: &'a [u8]) -> Result<Self, Broken> {
        let mut event = Self::default();
        whole(json, |key, value| {
            if key == b"choices" {
                return value.or_skip(|value| event.choices(value)).map(|_| ());
            }
            if key == b"delta" && dialect == UsageDialect::Responses {
                event.delivered += delivered::spoken_text(value, &mut event.spoken)?;
                return Ok(());
            }
            if key == b"item" && dialect == UsageDialect::Responses {
                event.delivered += delivered::tool_name(value)?;
                return Ok(());
            }
            match Member::of(dialect, key) {
                Some(member) => event.take(member, dialect, value),
                None => value.skip(),
            }
        })?;
        Ok(event)
    }

    /// Reads a whole answer, whose choices don't matter. `Err` when the bytes are not one JSON
    /// object.
    pub(super) fn read_body(
        &mut self,
        dialect: UsageDialect,
        json: &'a [u8],
    ) -> Result<(), Broken> {
        whole(json, |key, value| match Member::of(dialect, key) {
            Some(member) => self.take(member, dialect, value),
            None => value.skip(),
        })
    }

    #[inline(never)]
    fn take(
        &mut self,
        member: Member,
        dialect: UsageDialect,
        value: &mut Cursor<'a>,
    ) -> Result<(), Broken> {
        match member {
            Member::Kind => self.kind = value.or_skip(Cursor::string)?.unwrap_or_default(),
            Member::Error => self.error |= !value.null() && value.skip().map(|()| true)?,
            Member::Inner => return self.inner(dialect, value),
            Member::Model => {
                let model = value.or_skip(Cursor::string)?.ok();
                self.model = self.model.take().or_else(|| model.and_then(kept_model));
            }
            Member::Usage => return self.usage(dialect, value),
            Member::Service => return self.side.take_service(dialect, value),
            Member::Output => {
                let made = &mut self.made;
                return value.or_skip(|value| made::items(made, value)).map(|_| ());
            }
            Member::Candidates => {
                let candidates = value.or_skip(|value| made::candidates(&mut self.made, value))?;
                if let Ok(candidates) = candidates {
                    self.finish |= candidates.finished;
                    self.content |= candidates.delivered > 0;
                    self.delivered += candidates.delivered;
                    self.spoken.then(candidates.spoken);
                    self.is_many |= candidates.is_many;
                }
            }
            Member::PromptFeedback => self.finish |= value.has_substance()?,
            Member::Data => {
                let mut images = 0;
                let count = |value: &mut Cursor<'_>| {
                    value.items(|item| {
                        images += 1;
                        item.skip()
                    })
                };
                value.or_skip(count)?.unwrap_or_default();
                self.made.raise(Field::Images, images);
            }
        }
        Ok(())
    }

    /// Anything but an object tells nothing.
    fn inner(&mut self, dialect: UsageDialect, value: &mut Cursor<'a>) -> Result<(), Broken> {
        let inner = |value: &mut Cursor<'a>| {
            value.members(|key, value| match Member::of_inner(dialect, key) {
                Some(member) => self.take(member, dialect, value),
                None => value.skip(),
            })
        };
        value.or_skip(inner).map(|_: Result<(), Broken>| ())
    }

    fn usage(&mut self, dialect: UsageDialect, value: &mut Cursor<'a>) -> Result<(), Broken> {
        if value.null() {
            return Ok(());
        }
        let side = &mut self.side;
        match value.or_skip(|value| read_usage(dialect, value, side))? {
            Ok(Some(tally)) => self.add(&tally),
            Ok(None) => {}
            Err(unknown) => self.unknown = Some(unknown),
        }
        Ok(())
    }

    fn add(&mut self, tally: &Tally) {
        self.tally.get_or_insert_default().merge(tally);
    }

    fn choices(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        value.items(|choice| {
            choice.members(|key, value| {
                match key {
                    b"finish_reason" => self.finish |= value.has_substance()?,
                    b"text" => {
                        let text = delivered::spoken_text(value, &mut self.spoken)?;
                        self.content |= text > 0;
                        self.delivered += text;
                    }
                    b"delta" if !value.null() => {
                        let delta = delivered::chat_delta(value)?;
                        self.content |= delta.has_substance;
                        self.delivered += delta.bytes;
                        self.spoken.then(delta.spoken);
                    }
                    b"index" => self.is_many |= made::is_not_first(value)?,
                    b"delta" => {}
                    _ => value.skip()?,
                }
                Ok(())
            })
        })
    }
}

/// Takes a text that is one object and nothing more.
#[inline]
fn whole<'a>(
    json: &'a [u8],
    member: impl FnMut(&'a [u8], &mut Cursor<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut cursor = Cursor::new(json);
    cursor.members(member)?;
    if cursor.is_at_end() {
        Ok(())
    } else {
        Err(Broken)
    }
}
