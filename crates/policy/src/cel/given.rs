//! What an expression is handed, and what it gives: values that are made once and looked at in
//! place.

use super::value::Value;
use super::{COST_MAX, Failed};

/// A value from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Nothing.
    Null,
    /// Nobody knows which of several counts: whoever asks about it gets no answer.
    Unclear,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A fraction.
    Double(f64),
    /// A text.
    Text(Box<str>),
    /// A list.
    List(Vec<Self>),
    /// Members in their order, each name once.
    Map(Vec<(Box<str>, Self)>),
    /// Header fields, by names in any case. `None`: sent more than once, or no text.
    Fields(Vec<(Box<str>, Option<Box<str>>)>),
}

impl Given {
    /// A text.
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Members.
    pub fn map<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Map(members.map(|(name, value)| (name.into(), value)).into())
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else {
            return None;
        };
        let mut members = members.iter();
        members
            .find(|(known, _)| **known == *name)
            .map(|(_, value)| value)
    }

    /// How many stand right within it.
    pub(super) fn len(&self) -> u32 {
        let len = match self {
            Self::Null | Self::Unclear | Self::Bool(_) | Self::Int(_) | Self::Double(_) => 0,
            Self::Text(text) => text.chars().count(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Fields(fields) => fields.len(),
        };
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    /// What looking at all of it costs; no more is counted than any expression may cost.
    pub(super) fn weight(&self) -> u32 {
        let mut left = vec![self];
        let mut sum = 0_u32;
        while let Some(next) = left.pop() {
            let own = match next {
                Self::Text(text) => u32::try_from(text.len() / 16).unwrap_or(u32::MAX),
                Self::Null | Self::Unclear | Self::Bool(_) | Self::Int(_) | Self::Double(_) => 0,
                Self::Fields(_) => next.len(),
                Self::List(list) => {
                    left.extend(list.iter().take(usize::try_from(COST_MAX).unwrap_or(0)));
                    next.len()
                }
                Self::Map(map) => {
                    let values = map.iter().map(|(_, value)| value);
                    left.extend(values.take(usize::try_from(COST_MAX).unwrap_or(0)));
                    next.len()
                }
            };
            sum = sum.saturating_add(own).saturating_add(1);
            if sum > COST_MAX {
                break;
            }
        }
        sum
    }

    /// What an expression gave. Its cost was paid.
    pub(super) fn made(value: &Value<'_>) -> Result<Self, Failed> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(is_so) => Self::Bool(*is_so),
            Value::Int(number) => Self::Int(*number),
            Value::Double(number) => Self::Double(*number),
            Value::Text(text) => Self::Text(text.as_ref().into()),
            Value::List(list) => Self::List(list.iter().map(Self::made).collect::<Result<_, _>>()?),
            Value::Map(map) => {
                let pairs = map.iter().map(|(key, value)| match key {
                    Value::Text(key) => Ok((key.as_ref().into(), Self::made(value)?)),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Int(_)
                    | Value::Double(_)
                    | Value::Time(_)
                    | Value::Span(_)
                    | Value::List(_)
                    | Value::Map(_)
                    | Value::Headers
                    | Value::Given(_) => Err(Failed::Type),
                });
                Self::Map(pairs.collect::<Result<_, _>>()?)
            }
            Value::Given(given) => (*given).clone(),
            Value::Time(_) | Value::Span(_) | Value::Headers => return Err(Failed::Type),
        })
    }
}
