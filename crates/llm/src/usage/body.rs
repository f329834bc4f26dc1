//! The usage of a whole (not streamed) answer.

use super::event::Event;
use super::side::Side;
use super::tally::{Field, Tally};
use super::{Asked, Outcome};
use crate::surface::UsageDialect;
use std::borrow::Cow;
use tollkeep_types::usage::{Flags, Told, UnknownUsage, UsageReport};

/// What a whole answer told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BodyUsage<'a> {
    /// The usage.
    pub told: Told,
    /// The model the answer names, at most 256 bytes.
    pub model: Option<Cow<'a, str>>,
    /// `Error` for a failing status, an error object, and a body that is no JSON object. Whether
    /// the body was cut only its reader knows.
    pub outcome: Outcome,
}

impl<'a> BodyUsage<'a> {
    /// Reads a whole answer body.
    pub fn read(dialect: UsageDialect, asked: &Asked, status: u16, body: &'a [u8]) -> Self {
        let refused = status >= 400;
        if dialect == UsageDialect::Speech {
            // The answer is sound; what is billed are the characters of the request.
            return Self::of_request(asked, refused);
        }
        let mut event = Event::default();
        if event.read_body(dialect, body).is_err() {
            return Self {
                told: Told::plain(unless_refused(refused, UnknownUsage::Unreadable)),
                model: None,
                outcome: Outcome::Error,
            };
        }
        let failed = refused || event.error;
        let mut flags = Flags::default();
        // Images are counted where they are not told as tokens.
        if event.tally.is_none() && event.made.count(Field::Images) > 0 {
            event.tally = Some(Tally::default());
        }
        let report = match (event.unknown, &mut event.tally) {
            (Some(unknown), _) => UsageReport::Unknown(unknown),
            (None, Some(tally)) => {
                tally.merge(&event.made);
                UsageReport::Reported(event.side.lines(tally, dialect, asked, &mut flags))
            }
            (None, None) => unless_refused(failed, UnknownUsage::Absent),
        };
        let outcome = if failed {
            Outcome::Error
        } else {
            Outcome::Complete
        };
        Self {
            told: Told {
                report,
                flags,
                partial: None,
                certain_output: 0,
            },
            model: event.model,
            outcome,
        }
    }

    fn of_request(asked: &Asked, refused: bool) -> Self {
        let mut flags = Flags::default();
        let lines =
            Side::default().lines(&Tally::default(), UsageDialect::Speech, asked, &mut flags);
        let (report, outcome) = if refused {
            (UsageReport::Released, Outcome::Error)
        } else {
            (UsageReport::Reported(lines), Outcome::Complete)
        };
        Self {
            told: Told::plain(report),
            model: None,
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
