//! Numbers and switches.

use super::{Kind, Shape, Written, Wrong};
use crate::tree::{Node, Value};
use serde_json::{Value as Json, json};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

/// A whole number.
pub(crate) struct Whole<T> {
    range: RangeInclusive<i64>,
    target: PhantomData<T>,
}

/// A whole number in a range.
pub(crate) const fn whole<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> Whole<T> {
    Whole {
        range,
        target: PhantomData,
    }
}

impl<T: TryFrom<i64>> Kind for Whole<T> {
    type Value = T;

    fn shape(&self) -> Shape {
        let (min, max) = (self.range.start(), self.range.end());
        let schema = json!({"type": "integer", "minimum": min, "maximum": max});
        let words = match (*min, *max) {
            (min, max) if min == max => format!("`{min}`"),
            (min, i64::MAX) => format!("whole number from {min}"),
            (min, max) => format!("whole number, {min} to {max}"),
        };
        Shape::new(schema, words)
    }

    fn read(&self, node: &Node) -> Result<T, Vec<Wrong>> {
        let number = decimal(node).ok_or_else(|| {
            let problem = format!("want a whole number, not {}", node.told());
            Wrong::of(node, problem)
        })?;
        in_range(number, &self.range)
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                let (min, max) = (self.range.start(), self.range.end());
                Wrong::of(node, format!("want {min} to {max}, not {}", node.told()))
            })
    }
}

impl<T: TryFrom<i64> + fmt::Display> Written for Whole<T> {
    fn write(&self, value: &T) -> Json {
        number(value)
    }
}

/// A number as JSON.
pub(super) fn number(value: &impl fmt::Display) -> Json {
    value.to_string().parse().unwrap_or(Json::Null)
}

/// The number of a node that is a plain decimal integer; beyond 128 bits it is no number.
pub(super) fn decimal(node: &Node) -> Option<i128> {
    match &node.value {
        Value::Number(text) | Value::Loose(text) => text.parse().ok(),
        // An interpolated number is text: `port: ${PORT}`.
        Value::Text(text) if node.interpolated => text.parse().ok(),
        Value::Text(_) | Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    }
}

pub(super) fn in_range(number: i128, range: &RangeInclusive<i64>) -> Option<i64> {
    let number = i64::try_from(number).ok()?;
    range.contains(&number).then_some(number)
}

/// `true` or `false`.
pub(crate) struct Switch;

/// `true` or `false`, no other spelling but for variables of the environment.
pub(crate) const fn switch() -> Switch {
    Switch
}

impl Kind for Switch {
    type Value = bool;

    fn shape(&self) -> Shape {
        Shape::new(json!({"type": "boolean"}), "`true` or `false`")
    }

    fn read(&self, node: &Node) -> Result<bool, Vec<Wrong>> {
        as_switch(node).or_else(|| as_word(node)).ok_or_else(|| {
            let problem = format!("want `true` or `false`, not {}", node.told());
            Wrong::of(node, problem)
        })
    }
}

impl Written for Switch {
    fn write(&self, value: &bool) -> Json {
        Json::Bool(*value)
    }
}

/// A switch as variables of the environment are often written. A file says `true` or `false`.
fn as_word(node: &Node) -> Option<bool> {
    let Value::Loose(text) = &node.value else {
        return None;
    };
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match () {
        () if is(["true", "1", "yes", "on"]) => Some(true),
        () if is(["false", "0", "no", "off"]) => Some(false),
        () => None,
    }
}

/// The value of a node that is a switch.
pub(super) fn as_switch(node: &Node) -> Option<bool> {
    match &node.value {
        Value::Bool(on) => Some(*on),
        Value::Loose(text) => text.parse().ok(),
        Value::Text(text) if node.interpolated => text.parse().ok(),
        Value::Text(_) | Value::Null | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// `auto`, or a count.
pub(crate) struct WholeOrAuto {
    max: i64,
}

/// `auto` (`None`), or a count from 1.
pub(crate) const fn whole_or_auto(max: i64) -> WholeOrAuto {
    WholeOrAuto { max }
}

impl Kind for WholeOrAuto {
    type Value = Option<NonZeroUsize>;

    fn shape(&self) -> Shape {
        let count = json!({"type": "integer", "minimum": 1, "maximum": self.max});
        let schema = json!({"anyOf": [{"const": "auto"}, count]});
        Shape::new(
            schema,
            format!("`auto`, or whole number, 1 to {}", self.max),
        )
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        if node.as_text() == Some("auto") {
            return Ok(None);
        }
        whole::<usize>(1..=self.max)
            .read(node)
            .map(NonZeroUsize::new)
    }
}

impl Written for WholeOrAuto {
    fn write(&self, value: &Self::Value) -> Json {
        value.as_ref().map_or_else(|| Json::from("auto"), number)
    }
}
