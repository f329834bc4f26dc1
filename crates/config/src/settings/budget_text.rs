//! What budgets limit, up to how much and in which time, as operators write it.

use crate::kind::{Kind, Limit, Shape, Wrong, choice};
use crate::tree::{Node, Value};
use serde_json::json;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::window::{Period, Window, Zone};

pub(super) const UNITS: [(&str, Unit); 3] = [
    ("usd", Unit::Usd),
    ("tokens", Unit::Tokens),
    ("requests", Unit::Requests),
];
pub(super) const COUNTS: [(&str, Count); 3] = [
    ("total", Count::Total),
    ("output", Count::Output),
    ("billable", Count::Billable),
];
const PERIODS: [(&str, Period); 4] = [
    ("day", Period::Day),
    ("week", Period::Week),
    ("month", Period::Month),
    ("year", Period::Year),
];

/// A rolling window moves in 60 parts of whole seconds.
const ROLLING_STEP_MS: u64 = 60_000;
const ROLLING_MAX_MS: u64 = 366 * 86_400_000;

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Usd,
    Tokens,
    Requests,
}

/// Which tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Count {
    Total,
    Output,
    Billable,
}

/// A window as it is written, before its zone is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WindowText {
    Calendar(Period),
    Rolling(u64),
    Lifetime,
}

impl std::str::FromStr for WindowText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "lifetime" {
            return Ok(Self::Lifetime);
        }
        let mut periods = PERIODS.iter();
        if let Some((_, period)) = periods.find(|(word, _)| *word == text) {
            return Ok(Self::Calendar(*period));
        }
        rolling(text).map(Self::Rolling)
    }
}

fn rolling(text: &str) -> Result<u64, &'static str> {
    const WANT: &str =
        "want `day`, `week`, `month`, `year`, `lifetime`, or a rolling time such as `24h`";
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(WANT)?;
    let (digits, unit) = text.split_at(split);
    let unit: u64 = match unit {
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "s" => 1_000,
        _ => return Err(WANT),
    };
    let millis = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    let millis = millis.ok_or(WANT)?;
    if millis == 0 || millis % ROLLING_STEP_MS != 0 || millis > ROLLING_MAX_MS {
        return Err("a rolling window has 1 minute to 366 days, in whole minutes");
    }
    Ok(millis)
}

/// The kind of a window.
pub(super) struct WindowKind;

impl Kind for WindowKind {
    type Value = WindowText;

    fn shape(&self) -> Shape {
        let periods: Vec<_> = PERIODS.iter().map(|(word, _)| *word).collect();
        let calendar = json!({"type": "object", "properties": {"calendar": {"enum": periods}},
            "required": ["calendar"], "additionalProperties": false});
        let rolling = json!({"type": "object", "properties": {"rolling": {"type": "string"}},
            "required": ["rolling"], "additionalProperties": false});
        let schema = json!({"anyOf": [{"type": "string"}, calendar, rolling]});
        Shape::new(
            schema,
            "`{calendar: day, week, month or year}`, `{rolling: \"24h\"}`, or `lifetime`",
        )
    }

    fn read(&self, node: &Node) -> Result<WindowText, Vec<Wrong>> {
        let Value::Map(entries) = &node.value else {
            let text = node.text()?;
            return text.parse().map_err(|problem| Wrong::of(node, problem));
        };
        let [entry] = entries.as_slice() else {
            return Err(Wrong::of(node, format!("want {}", self.shape().words)));
        };
        let wrong = |problem: &str| Wrong::of(&entry.node, problem);
        match entry.name.as_str() {
            "calendar" => choice(&PERIODS).read(&entry.node).map(WindowText::Calendar),
            "rolling" => rolling(entry.node.text()?)
                .map(WindowText::Rolling)
                .map_err(wrong),
            "lifetime" if matches!(entry.node.value, Value::Bool(true)) => Ok(WindowText::Lifetime),
            other => {
                let problem = format!("{other:?} is no window: want {}", self.shape().words);
                Err(Wrong::of(node, problem))
            }
        }
    }
}

/// A window by its text and the zone of its days, for operators too.
///
/// # Errors
/// What is wrong with either.
pub fn window_of(text: &str, timezone: Option<&str>) -> Result<Window, String> {
    let zone = timezone.map(Zone::named).transpose();
    let zone = zone.map_err(|error| error.to_string())?;
    joined(text.parse().map_err(str::to_owned)?, zone)
}

pub(super) fn joined(text: WindowText, zone: Option<Zone>) -> Result<Window, String> {
    match (text, zone) {
        (WindowText::Calendar(period), zone) => Ok(Window::Calendar {
            period,
            zone: zone.unwrap_or_else(Zone::utc),
        }),
        (WindowText::Rolling(_) | WindowText::Lifetime, Some(_)) => {
            Err("only windows of a calendar have a time zone".to_owned())
        }
        (WindowText::Rolling(millis), None) => {
            Window::rolling(millis).map_err(|error| error.to_string())
        }
        (WindowText::Lifetime, None) => Ok(Window::Lifetime),
    }
}

/// What is counted, by the words for it: the unit, and which tokens.
///
/// # Errors
/// Which tokens is said of something else, or a word is none.
pub fn measure_of(unit: &str, count: Option<&str>) -> Result<Measure, String> {
    let unit = UNITS.iter().find(|(word, _)| *word == unit);
    let count = count.map(|count| COUNTS.iter().find(|(word, _)| *word == count));
    match (unit, count) {
        (Some((_, unit)), None) => measure(*unit, None),
        (Some((_, unit)), Some(Some((_, count)))) => measure(*unit, Some(*count)),
        (None, _) | (_, Some(None)) => Err("no such unit or count".to_owned()),
    }
}

pub(super) fn measure(unit: Unit, count: Option<Count>) -> Result<Measure, String> {
    match (unit, count) {
        (Unit::Usd, None) => Ok(Measure::Cost),
        (Unit::Requests, None) => Ok(Measure::Requests),
        (Unit::Tokens, None | Some(Count::Total)) => Ok(Measure::Tokens),
        (Unit::Tokens, Some(Count::Output)) => Ok(Measure::OutputTokens),
        (Unit::Tokens, Some(Count::Billable)) => Ok(Measure::BillableTokens),
        (Unit::Usd | Unit::Requests, Some(_)) => {
            Err("is only for budgets of tokens (`unit: tokens`)".to_owned())
        }
    }
}

/// A limit as JSON has it, in the unit of the measure: money as text or `{"nano_usd": N}`, the
/// others as whole numbers.
///
/// # Errors
/// What is wrong with it.
pub fn limit_of(measure: Measure, written: &serde_json::Value) -> Result<Amount, String> {
    let limit = match written {
        serde_json::Value::String(text) => {
            let amount = text.parse().map(Limit::Usd);
            amount.map_err(|error| error.to_string())?
        }
        serde_json::Value::Number(number) => {
            let whole = number.as_i64().filter(|whole| *whole >= 0);
            let float = "no float and nothing negative is an amount: write money as \"$12.50\"";
            Limit::Count(whole.ok_or(float)?)
        }
        serde_json::Value::Object(members) => {
            let nano = members.get("nano_usd").and_then(serde_json::Value::as_i64);
            let nano = nano.filter(|nano| *nano >= 0 && members.len() == 1);
            let nano = nano.ok_or("want a whole number of nano-dollars at `nano_usd` alone")?;
            Limit::Usd(tollkeep_types::money::NanoUsd::new(nano))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Array(_) => {
            return Err("want an amount, such as \"$12.50\"".to_owned());
        }
    };
    amount(measure, limit)
}

pub(super) fn amount(measure: Measure, limit: Limit) -> Result<Amount, String> {
    let units = match (measure, limit) {
        (Measure::Cost, Limit::Usd(usd)) => usd.get(),
        (Measure::Cost, Limit::Count(_)) => {
            return Err("is money: write it as \"$12.50\" or \"12.50\", in quotes".to_owned());
        }
        (_, Limit::Usd(_)) => {
            return Err("is no money: want a whole number of tokens or requests".to_owned());
        }
        (_, Limit::Count(count)) => count,
    };
    Amount::new(units).ok_or_else(|| "is below zero".to_owned())
}
