//! The functions of conditions.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is of no kind that is named is of the wrong kind, whatever it is"
)]

use super::tree::{Call, Expr};
use super::value::Value;
use super::{Failed, MADE_BYTES_MAX};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use tollkeep_types::WallMillis;

const DAY_MS: i64 = 86_400_000;

/// The function of a name, and how many values it takes, the one before it included.
pub(super) fn function(name: &str, is_method: bool) -> Option<(Call, RangeInclusive<usize>)> {
    let found = match (name, is_method) {
        ("size", _) => (Call::Size, 1..=1),
        ("startsWith", true) => (Call::StartsWith, 2..=2),
        ("endsWith", true) => (Call::EndsWith, 2..=2),
        ("contains", true) => (Call::Contains, 2..=2),
        ("lowerAscii", true) => (Call::LowerAscii, 1..=1),
        ("upperAscii", true) => (Call::UpperAscii, 1..=1),
        ("int", false) => (Call::ToInt, 1..=1),
        ("double", false) => (Call::ToDouble, 1..=1),
        ("string", false) => (Call::ToText, 1..=1),
        ("timestamp", false) => (Call::ToTime, 1..=1),
        ("duration", false) => (Call::ToSpan, 1..=1),
        ("getFullYear", true) => (Call::Year, 1..=2),
        ("getMonth", true) => (Call::Month, 1..=2),
        ("getDate", true) => (Call::Date, 1..=2),
        ("getDayOfMonth", true) => (Call::DayOfMonth, 1..=2),
        ("getDayOfWeek", true) => (Call::DayOfWeek, 1..=2),
        ("getDayOfYear", true) => (Call::DayOfYear, 1..=2),
        ("getHours", true) => (Call::Hours, 1..=2),
        ("getMinutes", true) => (Call::Minutes, 1..=2),
        ("getSeconds", true) => (Call::Seconds, 1..=2),
        ("getMilliseconds", true) => (Call::Millis, 1..=2),
        _ => return None,
    };
    Some(found)
}

impl Call {
    /// Whether a second value is a time zone.
    pub(super) const fn takes_zone(self) -> bool {
        matches!(
            self,
            Self::Year
                | Self::Month
                | Self::Date
                | Self::DayOfMonth
                | Self::DayOfWeek
                | Self::DayOfYear
                | Self::Hours
                | Self::Minutes
                | Self::Seconds
                | Self::Millis
        )
    }
}

/// A time or span that is written as a constant.
pub(super) fn constant(call: Call, text: &str) -> Option<Expr> {
    match call {
        Call::ToTime => time(text).map(Expr::Time),
        Call::ToSpan => span(text).map(Expr::Span),
        _ => None,
    }
}

/// Calls a function. What it looks at was paid for.
pub(super) fn call<'a>(call: Call, values: &[Value<'a>]) -> Result<Value<'a>, Failed> {
    match values {
        [one] => of_one(call, one),
        [one, two] => of_two(call, one, two),
        _ => Err(Failed::Type),
    }
}

fn of_one<'a>(call: Call, value: &Value<'a>) -> Result<Value<'a>, Failed> {
    let count = |count: usize| Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)));
    match (call, value) {
        (Call::Size, Value::Text(text)) => count(text.chars().count()),
        (Call::Size, Value::List(list)) => count(list.len()),
        (Call::Size, Value::Map(map)) => count(map.len()),
        (Call::Size, Value::Given(given)) => Ok(Value::Int(given.len().into())),
        (Call::LowerAscii, Value::Text(text)) => Ok(Value::Text(text.to_ascii_lowercase().into())),
        (Call::UpperAscii, Value::Text(text)) => Ok(Value::Text(text.to_ascii_uppercase().into())),
        (Call::ToInt, _) => to_int(value),
        (Call::ToDouble, _) => to_double(value),
        (Call::ToText, _) => to_text(value),
        (Call::ToTime, Value::Time(_)) | (Call::ToSpan, Value::Span(_)) => Ok(value.clone()),
        (Call::ToTime, Value::Text(text)) => time(text).map(Value::Time).ok_or(Failed::Range),
        (Call::ToTime, Value::Int(seconds)) => {
            let ms = seconds.checked_mul(1000).filter(|ms| in_time(*ms));
            ms.map(Value::Time).ok_or(Failed::Range)
        }
        (Call::ToSpan, Value::Text(text)) => span(text).map(Value::Span).ok_or(Failed::Range),
        (_, Value::Time(ms)) if call.takes_zone() => Ok(Value::Int(of_time(call, *ms)?)),
        (_, Value::Span(ms)) => Ok(Value::Int(match call {
            Call::Hours => ms / 3_600_000,
            Call::Minutes => ms / 60_000,
            Call::Seconds => ms / 1_000,
            Call::Millis => ms % 1_000,
            _ => return Err(Failed::Type),
        })),
        _ => Err(Failed::Type),
    }
}

fn of_two<'a>(call: Call, one: &Value<'a>, two: &Value<'a>) -> Result<Value<'a>, Failed> {
    let Value::Text(part) = two else {
        return Err(Failed::Type);
    };
    match (call, one) {
        (Call::StartsWith, Value::Text(text)) => Ok(Value::Bool(text.starts_with(&**part))),
        (Call::EndsWith, Value::Text(text)) => Ok(Value::Bool(text.ends_with(&**part))),
        (Call::Contains, Value::Text(text)) => Ok(Value::Bool(text.contains(&**part))),
        (_, Value::Time(ms)) if call.takes_zone() => {
            let ms = zone_ms(part).and_then(|zone| ms.checked_add(zone));
            Ok(Value::Int(of_time(call, ms.ok_or(Failed::Range)?)?))
        }
        _ => Err(Failed::Type),
    }
}

fn to_int<'a>(value: &Value<'a>) -> Result<Value<'a>, Failed> {
    Ok(Value::Int(match value {
        Value::Int(number) => *number,
        Value::Double(number) if number.abs() < 9.2e18 => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it lies within the range of i64"
            )]
            let whole = number.trunc() as i64;
            whole
        }
        Value::Double(_) => return Err(Failed::Range),
        Value::Text(text) => text.parse().map_err(|_| Failed::Range)?,
        Value::Time(ms) => ms / 1_000,
        _ => return Err(Failed::Type),
    }))
}

fn to_double<'a>(value: &Value<'a>) -> Result<Value<'a>, Failed> {
    Ok(Value::Double(match value {
        #[expect(clippy::cast_precision_loss, reason = "that is what a double is")]
        Value::Int(number) => *number as f64,
        Value::Double(number) => *number,
        Value::Text(text) => text.parse().map_err(|_| Failed::Range)?,
        _ => return Err(Failed::Type),
    }))
}

fn to_text<'a>(value: &Value<'a>) -> Result<Value<'a>, Failed> {
    Ok(Value::Text(match value {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string().into(),
        Value::Double(number) => number.to_string().into(),
        Value::Bool(is_so) => is_so.to_string().into(),
        Value::Time(ms) => wall(*ms)?.to_string().into(),
        _ => return Err(Failed::Type),
    }))
}

/// Puts two texts together.
pub(super) fn joined<'a>(one: &str, two: &str) -> Result<Cow<'a, str>, Failed> {
    if one.len().saturating_add(two.len()) > MADE_BYTES_MAX {
        return Err(Failed::Cost);
    }
    Ok(Cow::Owned([one, two].concat()))
}

/// Whether a time can be told: from 1970 to 9999.
pub(super) fn in_time(ms: i64) -> bool {
    wall(ms).is_ok()
}

fn wall(ms: i64) -> Result<WallMillis, Failed> {
    let ms = u64::try_from(ms).map_err(|_| Failed::Range)?;
    Some(WallMillis(ms))
        .filter(|at| *at <= WallMillis::MAX)
        .ok_or(Failed::Range)
}

fn time(text: &str) -> Option<i64> {
    let at: WallMillis = text.parse().ok()?;
    i64::try_from(at.0).ok()
}

/// `1h30m`, `-90s`, `1.5h`, `250ms`.
fn span(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1_i64, rest),
        None => (1, text),
    };
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    let mut sum = 0_i64;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (digits, unit) = rest.split_at_checked(end)?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_ms = unit.starts_with("ms");
        let unit_ms = match unit.chars().next()? {
            'h' => 3_600_000,
            'm' if is_ms => 1,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        let fraction = fraction.get(..fraction.len().min(9))?;
        let scale = 10_i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction
            .parse::<i64>()
            .ok()?
            .checked_mul(unit_ms)?
            .checked_div(scale)?;
        let whole = whole.parse::<i64>().ok()?.checked_mul(unit_ms)?;
        sum = sum.checked_add(whole)?.checked_add(part)?;
        rest = unit.get(if is_ms { 2 } else { 1 }..)?;
    }
    sum.checked_mul(sign)
}

/// How far a zone is from UTC, in milliseconds.
pub(super) fn zone_ms(zone: &str) -> Option<i64> {
    if matches!(zone, "UTC" | "Z" | "") {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let part = |text: &str, max: i64| {
        let is_part = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_part.then(|| text.parse::<i64>().ok())??;
        (number <= max).then_some(number)
    };
    let minutes = part(hours, 14)?
        .checked_mul(60)?
        .checked_add(part(minutes, 59)?)?;
    minutes.checked_mul(60_000)?.checked_mul(sign)
}

fn of_time(call: Call, ms: i64) -> Result<i64, Failed> {
    let at = wall(ms)?;
    let (year, month, day) = at.date();
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(match call {
        Call::Year => number(year),
        Call::Month => number(month.saturating_sub(1)),
        Call::Date => number(day),
        Call::DayOfMonth => number(day.saturating_sub(1)),
        // The first day of 1970 was a Thursday.
        Call::DayOfWeek => (ms / DAY_MS).saturating_add(4) % 7,
        Call::DayOfYear => {
            let begun = time(&format!("{year:04}-01-01T00:00:00Z")).ok_or(Failed::Range)?;
            ms.saturating_sub(begun) / DAY_MS
        }
        Call::Hours => ms / 3_600_000 % 24,
        Call::Minutes => ms / 60_000 % 60,
        Call::Seconds => ms / 1_000 % 60,
        Call::Millis => ms % 1_000,
        _ => return Err(Failed::Type),
    })
}
