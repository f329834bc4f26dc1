//! Conditions of a rule: a place in the request, and what must stand there.

use super::asked::Facts;
use super::{Decimal, Pattern};
use crate::json::Value;
use std::fmt;

/// What must stand somewhere in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    place: Place,
    wanted: Wanted,
}

/// Where a condition looks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// A segment of the path, by its name in the route.
    Param(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
    /// A field, by its name in lower case.
    Header(Box<str>),
    /// A member of the body, step by step; digits index lists.
    Body(Box<[Box<str>]>),
}

/// What must stand there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// A text that fits.
    Text(Pattern),
    /// This number.
    Number(Decimal),
    /// This switch.
    Bool(bool),
}

/// Why a condition could never hold, or is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConditionFault {
    /// It doesn't say where to look.
    #[error("want `params.…`, `query.…`, `headers.…` or `body.…`")]
    NoPlace,
    /// Paths, queries and fields hold texts only.
    #[error("holds text, which is never a number or switch: write the value in quotes")]
    TextOnly,
    /// The body would be searched too deeply.
    #[error("has too many steps")]
    TooDeep,
}

/// Steps into a body at most.
const STEPS_MAX: usize = 16;

impl Condition {
    /// The condition that this stands at the dotted `place`.
    ///
    /// # Errors
    /// The place is none, or can't hold such a value.
    pub fn new(place: &str, wanted: Wanted) -> Result<Self, ConditionFault> {
        let (kind, name) = place.split_once('.').ok_or(ConditionFault::NoPlace)?;
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Err(ConditionFault::NoPlace);
        }
        let place = match kind {
            "params" => Place::Param(name.into()),
            "query" => Place::Query(name.into()),
            "headers" => Place::Header(name.to_ascii_lowercase().into()),
            "body" => Place::Body(name.split('.').map(Into::into).collect()),
            _ => return Err(ConditionFault::NoPlace),
        };
        match (&place, &wanted) {
            (Place::Body(steps), _) if steps.len() > STEPS_MAX => Err(ConditionFault::TooDeep),
            (Place::Body(_), _) | (_, Wanted::Text(_)) => Ok(Self { place, wanted }),
            (Place::Param(_) | Place::Query(_) | Place::Header(_), _) => {
                Err(ConditionFault::TextOnly)
            }
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The name in the path it looks at, if it looks there.
    pub fn param(&self) -> Option<&str> {
        match &self.place {
            Place::Param(name) => Some(name),
            Place::Query(_) | Place::Header(_) | Place::Body(_) => None,
        }
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let text = |found: Option<&str>| match &self.wanted {
            Wanted::Text(pattern) => found.is_some_and(|found| pattern.fits(found)),
            Wanted::Number(_) | Wanted::Bool(_) => false,
        };
        match &self.place {
            Place::Param(name) => text(facts.param(name)),
            Place::Query(name) => text(facts.query(name)),
            Place::Header(name) => text(facts.header(name)),
            Place::Body(steps) => facts.body(steps).is_some_and(|found| self.is(found)),
        }
    }

    fn is(&self, found: &Value) -> bool {
        match &self.wanted {
            Wanted::Text(pattern) => found.as_text().is_some_and(|text| pattern.fits(text)),
            Wanted::Number(number) => {
                let found = found.as_number().and_then(Decimal::new);
                found.is_some_and(|found| found == *number)
            }
            Wanted::Bool(wanted) => found.as_bool() == Some(*wanted),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Param(name) => write!(out, "params.{name}")?,
            Place::Query(name) => write!(out, "query.{name}")?,
            Place::Header(name) => write!(out, "headers.{name}")?,
            Place::Body(steps) => write!(out, "body.{}", steps.join("."))?,
        }
        match &self.wanted {
            Wanted::Text(pattern) => write!(out, "={pattern}"),
            Wanted::Number(number) => write!(out, "={number}"),
            Wanted::Bool(wanted) => write!(out, "={wanted}"),
        }
    }
}
