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

impl<'a> Event<'a> {
    /// `Err` when the bytes are not one JSON object.
    pub(super) fn parse(dialect: UsageDialect, json: &'a [u8]) -> Result<Self, Broken> {
        let mut event = Self::default();
        let mut cursor = Cursor::new(json);
        cursor.members(|key, value| match key {
            b"type" => {
                event.kind = value.or_skip(Cursor::string)?.unwrap_or_default();
                Ok(())
            }
            b"error" => {
                event.error |= !value.null() && value.skip().map(|()| true)?;
                Ok(())
            }
            b"x_groq" => event.inner(dialect, value),
            // Anthropic's `message_start` has its message here, events of responses theirs.
            b"message" if dialect == UsageDialect::Anthropic => event.inner(dialect, value),
            b"response" if dialect == UsageDialect::Responses => event.inner(dialect, value),
            b"choices" => value.or_skip(|value| event.choices(value)).map(|_| ()),
            _ => event.common(dialect, key, value),
        })?;
        if cursor.is_at_end() {
            Ok(event)
        } else {
            Err(Broken)
        }
    }

    /// An object in which model and usage may stand; anything else tells nothing.
    fn inner(&mut self, dialect: UsageDialect, value: &mut Cursor<'a>) -> Result<(), Broken> {
        let inner =
            |value: &mut Cursor<'a>| value.members(|key, value| self.common(dialect, key, value));
        value.or_skip(inner).map(|_: Result<(), Broken>| ())
    }

    fn common(
        &mut self,
        dialect: UsageDialect,
        key: &[u8],
        value: &mut Cursor<'a>,
    ) -> Result<(), Broken> {
        match key {
            b"model" => {
                let model = value.or_skip(Cursor::string)?.ok();
                self.model = self.model.take().or_else(|| model.and_then(kept_model));
                Ok(())
            }
            b"usage" if !value.null() => {
                match value.or_skip(|value| read_usage(dialect, value))? {
                    Ok(Some(tally)) => self.tally.get_or_insert_default().merge(&tally),
                    Ok(None) => {}
                    Err(unknown) => self.unknown = Some(unknown),
                }
                Ok(())
            }
            b"usage" => Ok(()),
            _ => value.skip(),
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
