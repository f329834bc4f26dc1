//! Values, and how they compare.

#![expect(
    clippy::float_arithmetic,
    reason = "the language has fractions; no money is reckoned here"
)]

use super::{Failed, Given};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

/// A value. Clones are cheap but for texts that a condition made itself.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    /// Milliseconds since 1970.
    Time(i64),
    /// Milliseconds.
    Span(i64),
    List(Rc<[Self]>),
    Map(Rc<[(Self, Self)]>),
    /// The header fields of the request.
    Headers,
    /// Something that was handed in, and is looked at in place: a list, a map or fields.
    Given(&'a Given),
}

impl<'a> Value<'a> {
    /// What was handed in.
    pub(super) fn given(given: &'a Given) -> Self {
        match given {
            Given::Null => Self::Null,
            Given::Bool(is_so) => Self::Bool(*is_so),
            Given::Int(number) => Self::Int(*number),
            Given::Double(number) => Self::Double(*number),
            Given::Text(text) => Self::Text(Cow::Borrowed(text)),
            Given::Unclear | Given::List(_) | Given::Map(_) | Given::Fields(_) => {
                Self::Given(given)
            }
        }
    }

    /// The same, with what stands right within it at hand.
    pub(super) fn opened(self) -> Self {
        let Self::Given(given) = self else {
            return self;
        };
        let text = |text: &'a str| Self::Text(Cow::Borrowed(text));
        match given {
            Given::List(list) => Self::List(list.iter().map(Self::given).collect()),
            Given::Map(map) => {
                let pairs = map
                    .iter()
                    .map(|(key, value)| (text(key), Self::given(value)));
                Self::Map(pairs.collect())
            }
            Given::Null
            | Given::Unclear
            | Given::Bool(_)
            | Given::Int(_)
            | Given::Double(_)
            | Given::Text(_)
            | Given::Fields(_) => self,
        }
    }
}

impl Value<'_> {
    /// What looking at all of it costs.
    pub(super) fn weight(&self) -> u32 {
        let size = match self {
            Self::Text(text) => text.len() / 16,
            Self::List(list) => return list.iter().map(Self::weight).fold(1, u32::saturating_add),
            Self::Map(map) => {
                let weights = map
                    .iter()
                    .map(|(key, value)| key.weight().saturating_add(value.weight()));
                return weights.fold(1, u32::saturating_add);
            }
            Self::Given(given) => return given.weight(),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Time(_)
            | Self::Span(_)
            | Self::Headers => 0,
        };
        u32::try_from(size).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Whether two values are the same. Those of different kinds are not, but for numbers.
    pub(super) fn equals(&self, other: &Self) -> Result<bool, Failed> {
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(one), Self::List(two)) => {
                one.len() == two.len() && all_equal(one.iter().zip(two.iter()))?
            }
            (Self::Map(one), Self::Map(two)) => {
                if one.len() != two.len() {
                    return Ok(false);
                }
                for (key, value) in one.iter() {
                    match entry(two, key)? {
                        Some(other) if value.equals(other)? => {}
                        Some(_) | None => return Ok(false),
                    }
                }
                true
            }
            (Self::Headers | Self::Given(Given::Fields(_) | Given::Unclear), _)
            | (_, Self::Headers | Self::Given(Given::Fields(_) | Given::Unclear)) => {
                return Err(Failed::Type);
            }
            (Self::Given(_), other) => return self.clone().opened().equals(other),
            (_, Self::Given(_)) => return self.equals(&other.clone().opened()),
            _ => self.order(other) == Some(Ordering::Equal),
        })
    }

    /// Which of two is more, where that has a meaning.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(two)) => Some(one.cmp(two)),
            (Self::Int(one), Self::Int(two))
            | (Self::Time(one), Self::Time(two))
            | (Self::Span(one), Self::Span(two)) => Some(one.cmp(two)),
            (Self::Double(one), Self::Double(two)) => one.partial_cmp(two),
            (Self::Int(one), Self::Double(two)) => int_and_double(*one, *two),
            (Self::Double(one), Self::Int(two)) => {
                int_and_double(*two, *one).map(Ordering::reverse)
            }
            (Self::Text(one), Self::Text(two)) => Some(one.cmp(two)),
            _ => None,
        }
    }
}

fn all_equal<'v, 'a: 'v>(
    pairs: impl Iterator<Item = (&'v Value<'a>, &'v Value<'a>)>,
) -> Result<bool, Failed> {
    for (one, two) in pairs {
        if !one.equals(two)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The value of a key.
pub(super) fn entry<'m, 'a>(
    map: &'m [(Value<'a>, Value<'a>)],
    key: &Value<'a>,
) -> Result<Option<&'m Value<'a>>, Failed> {
    for (own, value) in map {
        if own.equals(key)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Exact, also where a whole number has no double of its own.
fn int_and_double(int: i64, double: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= BEYOND {
        return Some(Ordering::Less);
    }
    if double < -BEYOND {
        return Some(Ordering::Greater);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it lies within the range of i64"
    )]
    let whole = double.trunc() as i64;
    let by_whole = int.cmp(&whole);
    Some(by_whole.then_with(|| {
        0.0_f64
            .partial_cmp(&double.fract())
            .unwrap_or(Ordering::Equal)
    }))
}
