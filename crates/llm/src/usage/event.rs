//! The JSON of an answer or of one stream event, as far as usage needs it.

use super::kept_model;
use super::tally::Tally;
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
    /// There is usage that can't be read.
    pub(super) unknown: Option<UnknownUsage>,
    /// There is an error object.
    pub(super) error: bool,
    /// A chat choice has text, thinking, tool calls or a refusal.
    pub(super) content: bool,
    /// A chat choice says why it ended.
    pub(super) finish: bool,
}

/// What a member of an event tells.
enum Member {
    Kind,
    Error,
    /// An object in which model and usage may stand.
    Inner,
    Model,
    Usage,
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
            || key == b"response" && dialect == UsageDialect::Responses
        {
            return Some(Self::Inner);
        }
        Self::of_inner(key)
    }

    /// The same for an inner object.
    #[inline]
    fn of_inner(key: &[u8]) -> Option<Self> {
        if key == b"model" {
            return Some(Self::Model);
        }
        (key == b"usage").then_some(Self::Usage)
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
            match Member::of(dialect, key) {
                Some(member) => event.take(&member, dialect, value),
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
            Some(member) => self.take(&member, dialect, value),
            None => value.skip(),
        })
    }

    #[inline(never)]
    fn take(
        &mut self,
        member: &Member,
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
        }
        Ok(())
    }

    /// Anything but an object tells nothing.
    fn inner(&mut self, dialect: UsageDialect, value: &mut Cursor<'a>) -> Result<(), Broken> {
        let inner = |value: &mut Cursor<'a>| {
            value.members(|key, value| match Member::of_inner(key) {
                Some(member) => self.take(&member, dialect, value),
                None => value.skip(),
            })
        };
        value.or_skip(inner).map(|_: Result<(), Broken>| ())
    }

    fn usage(&mut self, dialect: UsageDialect, value: &mut Cursor<'a>) -> Result<(), Broken> {
        if value.null() {
            return Ok(());
        }
        match value.or_skip(|value| read_usage(dialect, value))? {
            Ok(Some(tally)) => self.add(tally),
            Ok(None) => {}
            Err(unknown) => self.unknown = Some(unknown),
        }
        Ok(())
    }

    fn add(&mut self, tally: Tally) {
        match &mut self.tally {
            Some(before) => before.merge(&tally),
            none => *none = Some(tally),
        }
    }

    fn choices(&mut self, value: &mut Cursor<'a>) -> Result<(), Broken> {
        value.items(|choice| {
            choice.members(|key, value| {
                match key {
                    b"finish_reason" => self.finish |= value.has_substance()?,
                    b"text" => self.content |= value.has_substance()?,
                    b"delta" if !value.null() => value.members(|key, value| {
                        self.content |= value.has_substance()? && key != b"role";
                        Ok::<_, Broken>(())
                    })?,
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
