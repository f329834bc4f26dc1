//! The usage of a whole (not streamed) answer.

use super::event::Event;
use super::{Asked, Outcome};
use crate::surface::UsageDialect;
use std::borrow::Cow;
use tollkeep_types::usage::{UnknownUsage, UsageReport};

/// What a whole answer told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BodyUsage<'a> {
    /// The usage.
    pub report: UsageReport,
    /// The model the answer names, at most 256 bytes.
    pub model: Option<Cow<'a, str>>,
    /// `Error` for a failing status, an error object, and a body that is no JSON object. Whether
    /// the body was cut only its reader knows.
    pub outcome: Outcome,
}

impl<'a> BodyUsage<'a> {
    /// Reads a whole answer body.
    pub fn read(dialect: UsageDialect, asked: Asked, status: u16, body: &'a [u8]) -> Self {
        let refused = status >= 400;
        let mut event = Event::default();
        if event.read_body(dialect, body).is_err() {
            return Self {
                report: unless_refused(refused, UnknownUsage::Unreadable),
                model: None,
                outcome: Outcome::Error,
            };
        }
        let failed = refused || event.error;
        let report = match (event.unknown, &event.tally) {
            (Some(unknown), _) => UsageReport::Unknown(unknown),
            (None, Some(tally)) => UsageReport::Reported(tally.usage(dialect, asked)),
            (None, None) => unless_refused(failed, UnknownUsage::Absent),
        };
        let outcome = if failed {
            Outcome::Error
        } else {
            Outcome::Complete
        };
        Self {
            report,
            model: event.model,
            outcome,
        }
    }
}

/// A refusal that tells no usage costs nothing; any other silence is not zero.
const fn unless_refused(refused: bool, unknown: UnknownUsage) -> UsageReport {
    if refused {
        UsageReport::Released
    } else {
        UsageReport::Unknown(unknown)
    }
}
