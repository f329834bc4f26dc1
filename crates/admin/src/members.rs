//! Reading the members of a JSON object: each once, typed, all faults at once, and none unknown.

use crate::once::{Once, TWICE};
use crate::problem::{Fault, Problem};
use crate::shape::{Kind, Member};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tollkeep_types::{Secret, WallMillis};

/// Unknown members that are told; who sends more sends no request of ours.
const FAULTS_MAX: usize = 100;
/// Characters of an unknown name that are told.
const NAME_CHARS_MAX: usize = 100;
/// Objects in a list at most.
const OBJECTS_MAX: usize = 200;

/// The members of a request body, taken out one by one. What is taken must be declared, and what
/// is declared must be taken; tests fail where that is not so.
#[derive(Debug)]
pub(crate) struct Members {
    declared: &'static [Member],
    left: Map<String, Value>,
    faults: Vec<Fault>,
    taken: Vec<&'static str>,
    present: Vec<&'static str>,
}

impl Members {
    /// Reads a body of these members; an empty one is an object without members.
    pub(crate) fn read(declared: &'static [Member], body: &[u8]) -> Result<Self, Problem> {
        let of = |left| Self::of(declared, left);
        if body.is_empty() {
            return Ok(of(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Once(Value::Object(left))) => Ok(of(left)),
            Ok(Once(_)) => Err(Problem::bad_request("The body must be a JSON object.")),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let place = format!("(line {line}, column {column})");
                Err(if error.to_string().starts_with(TWICE) {
                    Problem::duplicate_key(format!("A key is there twice {place}."))
                } else {
                    Problem::bad_request(format!("The body is not JSON {place}."))
                })
            }
        }
    }

    /// The members of an object, of which these are declared.
    fn of(declared: &'static [Member], left: Map<String, Value>) -> Self {
        let names = declared.iter().map(|member| member.name);
        Self {
            declared,
            present: names.filter(|name| left.contains_key(*name)).collect(),
            left,
            faults: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// Takes what a change by a session carries beside its cookie, where no field does.
    pub(crate) fn take_csrf(&mut self) -> Option<Secret> {
        match self.left.remove("_csrf")? {
            Value::String(text) => Some(Secret::new(text)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// The names of the members that were sent, for records of changes.
    pub(crate) fn present(&self) -> String {
        self.present.join(",")
    }

    /// Takes a list of objects with these members, each read by `read`.
    pub(crate) fn each<T>(
        &mut self,
        name: &'static str,
        declared: &'static [Member],
        mut read: impl FnMut(&mut Self) -> T,
    ) -> Option<Vec<T>> {
        let Value::Array(list) = self.take(name)? else {
            self.fault(name, "must be a list");
            return None;
        };
        if list.len() > OBJECTS_MAX {
            self.fault(name, format!("at most {OBJECTS_MAX}"));
            return None;
        }
        let mut all = Vec::new();
        for (number, value) in list.into_iter().enumerate() {
            let Value::Object(object) = value else {
                self.fault(&format!("{name}/{number}"), "must be an object");
                continue;
            };
            let mut members = Self::of(declared, object);
            all.push(read(&mut members));
            for fault in members.end() {
                let path = format!("/{name}/{number}{}", fault.path);
                self.faults.push(Fault { path, ..fault });
            }
        }
        Some(all)
    }

    /// Whether `expires_at` or `ttl` is there as `null`: without end.
    pub(crate) fn never_expires(&self) -> bool {
        ["expires_at", "ttl"]
            .iter()
            .any(|name| self.left.get(*name).is_some_and(Value::is_null))
    }

    /// Whether a member is there as `null`.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(Value::is_null)
    }

    /// Takes a member by `read`, and `null` as what `cleared` gives.
    pub(crate) fn or_cleared<T>(
        &mut self,
        name: &str,
        cleared: impl FnOnce() -> T,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let is_null = self.is_null(name);
        let value = read(self);
        value.or_else(|| is_null.then(cleared))
    }

    /// A fault at a member.
    pub(crate) fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(Fault {
            path: format!("/{name}"),
            message: message.into(),
        });
    }

    /// Whether something was wrong so far.
    pub(crate) fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Whether a member is there, as whatever.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// Takes a member; absent and `null` are the same.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.declaration(name);
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// How a member is declared; one that must be there and is not is a fault.
    fn declaration(&mut self, name: &str) -> Option<&'static Kind> {
        let declared = self.declared;
        let member = declared.iter().find(|member| member.name == name);
        debug_assert!(member.is_some(), "`{name}` is taken and not declared");
        let member = member?;
        if member.is_required && self.left.get(name).is_none_or(Value::is_null) {
            self.fault(name, "required");
        }
        self.taken.push(member.name);
        Some(&member.kind)
    }

    /// Takes a member through `read`, which says what is wrong with it.
    pub(crate) fn take_as<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.take(name)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(name, message);
                None
            }
        }
    }

    /// Takes a text of at most as many characters as are declared.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let max = match self.kind(name) {
            Some(Kind::Text(max)) => *max,
            _ => wrong_kind(name),
        };
        self.take_as(name, |value| text_of(&value, max))
    }

    /// Takes a name, which is more than blanks.
    pub(crate) fn name(&mut self, name: &str) -> Option<String> {
        let text = self.text(name);
        let is_blank = text.as_ref().is_some_and(|text| text.trim().is_empty());
        if let (true, Some(Kind::Text(max))) = (is_blank, self.kind(name)) {
            self.fault(name, format!("1 to {max} characters"));
        }
        text
    }

    /// Takes a whole number within its bounds.
    pub(crate) fn number(&mut self, name: &str) -> Option<u64> {
        let (min, max) = match self.kind(name) {
            Some(Kind::Number(min, max)) => (*min, *max),
            _ => wrong_kind(name),
        };
        self.take_as(name, |value| match value.as_u64() {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            Some(_) | None if max < u64::MAX => {
                Err(format!("must be a whole number from {min} to {max}"))
            }
            Some(_) | None => Err(format!("must be a whole number from {min}")),
        })
    }

    /// Takes a whole number that may be negative.
    pub(crate) fn signed(&mut self, name: &str) -> Option<i64> {
        let (min, max) = match self.kind(name) {
            Some(Kind::Signed(min, max)) => (*min, *max),
            _ => wrong_kind(name),
        };
        self.take_as(name, |value| {
            let number = value.as_i64().filter(|number| (min..=max).contains(number));
            number.ok_or_else(|| format!("must be a whole number from {min} to {max}"))
        })
    }

    /// Takes a yes or no.
    pub(crate) fn switch(&mut self, name: &str) -> Option<bool> {
        debug_assert!(matches!(self.kind(name), Some(Kind::Switch)), "{name}");
        self.take_as(name, |value| {
            value.as_bool().ok_or_else(|| "true or false".to_owned())
        })
    }

    /// Takes one of the words that are declared.
    pub(crate) fn choice<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let words = match self.kind(name) {
            Some(Kind::Choice(words)) => *words,
            _ => wrong_kind(name),
        };
        self.take_as(name, |value| {
            let word = value.as_str().filter(|word| words.contains(word));
            let read = word.and_then(|word| word.parse().ok());
            read.ok_or_else(|| format!("must be one of: {}", words.join(", ")))
        })
    }

    /// Takes texts, each of a form that `read` knows.
    pub(crate) fn texts<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (items, chars) = match self.kind(name) {
            Some(Kind::Texts(items, chars)) => (*items, *chars),
            _ => wrong_kind(name),
        };
        self.take_as(name, |value| {
            let list = value.as_array().filter(|list| list.len() <= items);
            let list = list.ok_or_else(|| format!("must be a list of at most {items}"))?;
            list.iter()
                .map(|item| read(&text_of(item, chars)?))
                .collect()
        })
    }

    /// Takes hundredths, in ascending order then.
    pub(crate) fn percents(&mut self, name: &str) -> Option<Vec<u8>> {
        debug_assert!(matches!(self.kind(name), Some(Kind::Percents)), "{name}");
        self.take_as(name, |value| {
            let numbers = value.as_array().filter(|numbers| numbers.len() <= 10);
            let number = |number: &Value| {
                let number = number.as_u64().and_then(|number| u8::try_from(number).ok());
                number.filter(|number| (1..=100).contains(number))
            };
            let numbers: Option<Vec<u8>> =
                numbers.and_then(|numbers| numbers.iter().map(number).collect());
            let mut numbers = numbers.ok_or("must be at most 10 whole numbers from 1 to 100")?;
            numbers.sort_unstable();
            numbers.dedup();
            Ok(numbers)
        })
    }

    /// Takes networks; an address stands for the network of itself.
    pub(crate) fn networks(&mut self, name: &str) -> Option<Vec<ipnet::IpNet>> {
        self.texts(name, tollkeep_policy::ip_list::parse_network)
    }

    /// Takes a duration such as `90s`, in milliseconds.
    pub(crate) fn duration(&mut self, name: &str) -> Option<u64> {
        debug_assert!(matches!(self.kind(name), Some(Kind::Duration)), "{name}");
        self.take_as(name, |value| {
            let text = value.as_str().ok_or("must be a string such as \"24h\"")?;
            duration_ms(text).ok_or_else(|| {
                "must be a duration such as \"90s\", \"15m\", \"24h\", \"30d\"".to_owned()
            })
        })
    }

    /// Takes a time.
    pub(crate) fn time(&mut self, name: &str) -> Option<WallMillis> {
        debug_assert!(matches!(self.kind(name), Some(Kind::Time)), "{name}");
        self.take_as(name, |value| {
            let text = value.as_str().ok_or("must be a string")?;
            text.parse()
                .map_err(|_| "must be a time such as \"2026-11-22T10:15:30Z\"".to_owned())
        })
    }

    /// Takes a member of a type that checks itself.
    pub(crate) fn typed<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        self.take_as(name, |value| {
            serde_json::from_value(value).map_err(|error| error.to_string())
        })
    }

    /// Takes free pairs, bounded in their number and size.
    pub(crate) fn metadata(&mut self, name: &str) -> Option<BTreeMap<String, String>> {
        let pairs: Option<BTreeMap<String, String>> = self.typed(name);
        let size = |(key, value): (&String, &String)| key.len() + value.len();
        let is_large = |pairs: &BTreeMap<String, String>| {
            pairs.len() > 32 || pairs.iter().map(size).sum::<usize>() > 4096
        };
        if pairs.as_ref().is_some_and(is_large) {
            self.fault(name, "at most 32 pairs and 4 KiB");
        }
        pairs
    }

    fn kind(&self, name: &str) -> Option<&'static Kind> {
        let mut declared = self.declared.iter();
        let member = declared.find(|member| member.name == name)?;
        Some(&member.kind)
    }

    /// Ends the reading: unknown members are faults too.
    pub(crate) fn done(mut self) -> Result<(), Problem> {
        let faults = self.end();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(faults))
        }
    }

    /// All faults, unknown members among them.
    fn end(&mut self) -> Vec<Fault> {
        for member in self.declared {
            let is_taken = self.taken.contains(&member.name);
            debug_assert!(is_taken, "`{}` is declared and not taken", member.name);
        }
        let unknown: Vec<String> = self.left.keys().take(FAULTS_MAX).cloned().collect();
        for name in unknown {
            let name: String = name.chars().take(NAME_CHARS_MAX).collect();
            self.fault(&pointer(&name), "unknown member");
        }
        std::mem::take(&mut self.faults)
    }
}

/// A member is taken as another kind than it is declared: a slip that tests meet at once.
fn wrong_kind<T: Default>(name: &str) -> T {
    debug_assert!(false, "`{name}` is taken as another kind than declared");
    T::default()
}

fn text_of(value: &Value, max: usize) -> Result<String, String> {
    match value {
        Value::String(text) if text.chars().count() > max => {
            Err(format!("at most {max} characters"))
        }
        Value::String(text) if text.chars().any(char::is_control) => {
            Err("no control characters".to_owned())
        }
        Value::String(text) => Ok(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err("must be a string".to_owned())
        }
    }
}

/// A member's name as a part of a JSON pointer (RFC 6901).
pub(crate) fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// `90s`, `15m`, `24h`, `30d` in milliseconds.
fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.len().checked_sub(1)?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms: u64 = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}

/// Milliseconds as they are written, in the largest unit that fits.
pub(crate) fn duration_text(millis: u64) -> String {
    let seconds = millis.div_ceil(1_000);
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let mut fitting = units
        .into_iter()
        .filter(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    match fitting.next() {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{duration, number, switch, text};

    #[test]
    fn durations_have_a_unit() {
        for (text, want) in [
            ("0s", Some(0)),
            ("90s", Some(90_000)),
            ("15m", Some(900_000)),
            ("30d", Some(2_592_000_000)),
            ("30", None),
            ("d", None),
            ("", None),
            ("-1s", None),
            ("1.5h", None),
            ("30ä", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(duration_ms(text), want, "{text}");
        }
    }

    #[test]
    fn a_duration_reads_back_as_it_is_shown() {
        for text in ["1s", "90s", "15m", "24h", "1d", "36h", "30d", "0s"] {
            let shown = duration_text(duration_ms(text).unwrap());
            assert_eq!(duration_ms(&shown), duration_ms(text), "{text} {shown}");
        }
        assert_eq!(duration_text(5_400_000), "90m");
    }

    // ID-101
    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        const MEMBERS: &[Member] = &[
            text("name", 10, ""),
            duration("ttl", ""),
            number("max", ""),
            switch("must", "").required(),
        ];
        let body = br#"{"name":5,"ttl":"soon","max":-1,"a/b":1}"#;
        let mut members = Members::read(MEMBERS, body).unwrap();
        assert_eq!(members.switch("must"), None);
        assert_eq!(
            (
                members.text("name"),
                members.duration("ttl"),
                members.number("max")
            ),
            (None, None, None)
        );
        let problem = members.done().unwrap_err();
        let told = format!("{problem:?}");
        let many: Map<String, Value> = (0..5_000)
            .map(|number| (format!("{number:0500}"), Value::Null))
            .collect();
        let many = Members::read(&[], Value::from(many).to_string().as_bytes()).unwrap();
        let refused = format!("{:?}", many.done().unwrap_err());
        assert!(
            refused.len() < 30_000,
            "no answer is longer for a longer question"
        );
        for place in ["/must", "/name", "/ttl", "/max", "/a~1b"] {
            assert!(told.contains(place), "{place} in {told}");
        }
    }
}
