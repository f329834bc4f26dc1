//! Times and sizes (OPS-10): a unit is never guessed.
//!
//! A key whose name ends in its unit (`_ms`, `_s`, `_bytes`, `_bytes_max`) takes a bare number,
//! or text with a unit that converts exactly. Every other key wants text with a unit.

use super::number::{decimal, in_range, number};
use super::{Kind, Shape, Written, Wrong};
use crate::tree::Node;
use serde_json::{Value as Json, json};
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

const TIME_UNITS: [(&str, i128); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZE_UNITS: [(&str, i128); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

const TIME_PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";
const SIZE_PATTERN: &str = "^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB)$";

/// What writers of logs call a mebibyte, and mean nothing else by it.
const LOG_UNITS: [(&str, i128); 1] = [("M", 1 << 20)];
const LOG_SIZE_PATTERN: &str = "^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB|M)$";

/// A time.
pub(crate) struct Time {
    /// In milliseconds.
    range: RangeInclusive<i64>,
    bare: Bare,
}

/// What a bare number means.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Bare {
    Millis,
    Seconds,
    /// An error.
    Nothing,
    /// Milliseconds, if it can't be meant as seconds.
    MillisFrom1000,
}

/// A key that ends in `_ms`. The range is in milliseconds.
pub(crate) const fn millis(range: RangeInclusive<i64>) -> Time {
    let bare = Bare::Millis;
    Time { range, bare }
}

/// A key that ends in `_s`. The range is in milliseconds.
pub(crate) const fn seconds(range: RangeInclusive<i64>) -> Time {
    let bare = Bare::Seconds;
    Time { range, bare }
}

/// A time written with its unit. The range is in milliseconds.
pub(crate) const fn duration(range: RangeInclusive<i64>) -> Time {
    let bare = Bare::Nothing;
    Time { range, bare }
}

/// The key `timeout` of an upstream (EDGE-110). The range is in milliseconds.
pub(crate) const fn upstream_timeout(range: RangeInclusive<i64>) -> Time {
    let bare = Bare::MillisFrom1000;
    Time { range, bare }
}

impl Bare {
    /// Milliseconds of one.
    const fn factor(self) -> i128 {
        match self {
            Self::Millis | Self::MillisFrom1000 | Self::Nothing => 1,
            Self::Seconds => 1_000,
        }
    }

    const fn schema(self) -> Option<&'static str> {
        match self {
            Self::Millis | Self::Seconds | Self::MillisFrom1000 => Some("integer"),
            Self::Nothing => None,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Millis => "milliseconds or a time",
            Self::Seconds => "seconds or a time",
            Self::Nothing => "a time",
            Self::MillisFrom1000 => "a time, or milliseconds from 1000",
        }
    }

    fn missing_unit(self, number: i128) -> Option<String> {
        let ask = format!("needs a unit, such as `{number}s` or `{number}ms`");
        match self {
            Self::Millis | Self::Seconds => None,
            Self::Nothing => Some(ask),
            Self::MillisFrom1000 => (number < 1_000).then_some(ask),
        }
    }
}

impl Kind for Time {
    type Value = Duration;

    fn shape(&self) -> Shape {
        let (min, max) = (*self.range.start(), *self.range.end());
        let schema = unit_schema(TIME_PATTERN, self.bare.schema());
        let words = self.bare.words();
        let range = format!("{} to {}", spell_time(min), spell_time(max));
        Shape::new(schema, format!("{words}, {range}"))
    }

    fn read(&self, node: &Node) -> Result<Duration, Vec<Wrong>> {
        let wrong = |problem: String| Wrong::of(node, problem);
        let millis = match decimal(node) {
            Some(number) => match self.bare.missing_unit(number) {
                Some(problem) => return Err(wrong(problem)),
                None => number.saturating_mul(self.bare.factor()),
            },
            None => with_unit(node, &TIME_UNITS)
                .ok_or_else(|| wrong(format!("want a time such as `30s`, not {}", node.told())))?,
        };
        if millis % self.bare.factor() != 0 {
            let problem = format!("want whole seconds, not {}", node.told());
            return Err(wrong(problem));
        }
        let fits = in_range(millis, &self.range).and_then(|millis| u64::try_from(millis).ok());
        fits.map(Duration::from_millis).ok_or_else(|| {
            let (min, max) = (*self.range.start(), *self.range.end());
            let (min, max) = (spell_time(min), spell_time(max));
            wrong(format!("want {min} to {max}, not {}", node.told()))
        })
    }
}

impl Written for Time {
    fn write(&self, value: &Duration) -> Json {
        let millis = i64::try_from(value.as_millis()).unwrap_or(i64::MAX);
        match self.bare {
            Bare::Millis | Bare::MillisFrom1000 => Json::from(millis),
            Bare::Seconds => Json::from(value.as_secs()),
            Bare::Nothing => Json::from(spell_time(millis)),
        }
    }
}

/// A size in bytes.
pub(crate) struct Bytes<T> {
    range: RangeInclusive<i64>,
    pattern: &'static str,
    /// Units besides the usual ones.
    more: &'static [(&'static str, i128)],
    target: PhantomData<T>,
}

/// A key that ends in `_bytes` or `_bytes_max`.
pub(crate) const fn bytes<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> Bytes<T> {
    Bytes {
        range,
        pattern: SIZE_PATTERN,
        more: &[],
        target: PhantomData,
    }
}

/// The size of a log file, as those are written elsewhere: `100M` too.
pub(crate) const fn log_bytes<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> Bytes<T> {
    Bytes {
        range,
        pattern: LOG_SIZE_PATTERN,
        more: &LOG_UNITS,
        target: PhantomData,
    }
}

impl<T: TryFrom<i64>> Kind for Bytes<T> {
    type Value = T;

    fn shape(&self) -> Shape {
        let schema = unit_schema(self.pattern, Some("integer"));
        let (min, max) = (
            spell_size(*self.range.start()),
            spell_size(*self.range.end()),
        );
        let words = format!("bytes or a size, {min} to {max}");
        Shape::new(schema, words)
    }

    fn read(&self, node: &Node) -> Result<T, Vec<Wrong>> {
        let size = decimal(node)
            .or_else(|| with_unit(node, &SIZE_UNITS))
            .or_else(|| with_unit(node, self.more));
        let size = size.ok_or_else(|| {
            let problem = format!("want a size such as `1MiB`, not {}", node.told());
            Wrong::of(node, problem)
        })?;
        in_range(size, &self.range)
            .and_then(|size| T::try_from(size).ok())
            .ok_or_else(|| {
                let (min, max) = (*self.range.start(), *self.range.end());
                let (min, max) = (spell_size(min), spell_size(max));
                Wrong::of(node, format!("want {min} to {max}, not {}", node.told()))
            })
    }
}

impl<T: TryFrom<i64> + fmt::Display> Written for Bytes<T> {
    fn write(&self, value: &T) -> Json {
        number(value)
    }
}

/// `auto`, or a size.
pub(crate) struct BytesOrAuto(Bytes<u64>);

/// `auto` (`None`), 0 for off, or a size from this on.
pub(crate) const fn bytes_or_auto(range: RangeInclusive<i64>) -> BytesOrAuto {
    BytesOrAuto(bytes(range))
}

impl Kind for BytesOrAuto {
    type Value = Option<u64>;

    fn shape(&self) -> Shape {
        let of = self.0.shape();
        let schema = json!({"anyOf": [{"const": "auto"}, {"const": 0}, of.schema]});
        Shape::new(schema, format!("`auto`, `0`, or {}", of.words))
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        if node.as_text() == Some("auto") {
            return Ok(None);
        }
        if decimal(node) == Some(0) {
            return Ok(Some(0));
        }
        self.0.read(node).map(Some)
    }
}

impl Written for BytesOrAuto {
    fn write(&self, value: &Self::Value) -> Json {
        value.as_ref().map_or_else(|| Json::from("auto"), number)
    }
}

/// The value of `<digits><unit>` in the smallest unit.
fn with_unit(node: &Node, units: &[(&str, i128)]) -> Option<i128> {
    let text = node.as_text()?;
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<i128>().ok()?.checked_mul(*factor)
}

fn unit_schema(pattern: &str, bare: Option<&str>) -> Json {
    let text = json!({"type": "string", "pattern": pattern});
    match bare {
        Some(bare) => json!({"anyOf": [{"type": bare, "minimum": 0}, text]}),
        None => text,
    }
}

/// The shortest way to write a time.
fn spell_time(millis: i64) -> String {
    spell(millis, TIME_UNITS.iter().rev(), "ms")
}

fn spell_size(size: i64) -> String {
    let binary = SIZE_UNITS.iter().take(3).rev();
    spell(size, binary, "B")
}

fn spell<'u>(
    value: i64,
    mut units: impl Iterator<Item = &'u (&'u str, i128)>,
    smallest: &str,
) -> String {
    let value = i128::from(value);
    match units.find(|(_, factor)| value != 0 && value % factor == 0) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => format!("{value}{smallest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Source, Value};

    fn number(text: &str) -> Node {
        Node::new(Value::Number(text.to_owned()), Source::Flag)
    }

    fn text(text: &str) -> Node {
        Node::new(Value::Text(text.to_owned()), Source::Flag)
    }

    const YEAR: RangeInclusive<i64> = 0..=31_536_000_000;

    type TimeCase = (&'static str, Time, Node, Result<u64, &'static str>);

    fn time_cases() -> Vec<TimeCase> {
        vec![
            ("ms bare", millis(YEAR), number("250"), Ok(250)),
            ("ms with unit", millis(YEAR), text("2s"), Ok(2_000)),
            (
                "ms as quoted number",
                millis(YEAR),
                text("250"),
                Err("want a time such as `30s`, not \"250\""),
            ),
            ("s bare", seconds(YEAR), number("3"), Ok(3_000)),
            ("s exact", seconds(YEAR), text("2000ms"), Ok(2_000)),
            (
                "s inexact",
                seconds(YEAR),
                text("1500ms"),
                Err("want whole seconds, not \"1500ms\""),
            ),
            ("text", duration(YEAR), text("30d"), Ok(2_592_000_000)),
            (
                "text bare",
                duration(YEAR),
                number("60"),
                Err("needs a unit, such as `60s` or `60ms`"),
            ),
            (
                "unknown unit",
                duration(YEAR),
                text("2w"),
                Err("want a time such as `30s`, not \"2w\""),
            ),
            (
                "negative",
                duration(YEAR),
                text("-2s"),
                Err("want a time such as `30s`, not \"-2s\""),
            ),
            (
                "fraction",
                millis(YEAR),
                number("1.5"),
                Err("want a time such as `30s`, not `1.5`"),
            ),
            (
                "too long",
                duration(0..=60_000),
                text("61s"),
                Err("want 0ms to 1m, not \"61s\""),
            ),
            (
                "absurd",
                duration(YEAR),
                text("99999999999999999999999999999999999999d"),
                Err("want a time such as `30s`, not \"99999999999999999999999999999999999999d\""),
            ),
        ]
    }

    // OPS-10
    #[test]
    fn times_want_a_unit_unless_the_key_names_it() {
        for (name, kind, node, want) in time_cases() {
            let got = kind.read(&node).map_err(|wrong| wrong[0].problem.clone());
            let want = want.map(Duration::from_millis).map_err(str::to_owned);
            assert_eq!(got, want, "{name}");
        }
    }

    // OPS-10
    #[test]
    fn sizes_take_decimal_and_binary_units() {
        let kind = bytes::<u64>(1..=1 << 40);
        for (name, node, want) in [
            ("bare", number("1048576"), Ok(1 << 20)),
            ("binary", text("1MiB"), Ok(1 << 20)),
            ("decimal", text("10MB"), Ok(10_000_000)),
            ("bytes", text("512B"), Ok(512)),
            (
                "no unit in quotes",
                text("512"),
                Err("want a size such as `1MiB`, not \"512\""),
            ),
            (
                "unit of nothing",
                text("10mb"),
                Err("want a size such as `1MiB`, not \"10mb\""),
            ),
            ("zero", number("0"), Err("want 1B to 1024GiB, not `0`")),
        ] {
            let got = kind.read(&node).map_err(|wrong| wrong[0].problem.clone());
            assert_eq!(got, want.map_err(str::to_owned), "{name}");
        }
    }
}
