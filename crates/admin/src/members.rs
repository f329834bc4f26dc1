//! Reading the members of a JSON object: each once, typed, all faults at once, and none unknown.

use crate::problem::{Fault, Problem};
use serde_json::{Map, Value};
use tollkeep_types::WallMillis;

/// The members of a request body, taken out one by one.
pub(crate) struct Members {
    left: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Members {
    /// Reads a body; an empty one is an object without members.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self {
                left: Map::new(),
                faults: Vec::new(),
            });
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(left)) => Ok(Self {
                left,
                faults: Vec::new(),
            }),
            Ok(_) => Err(Problem::bad_request("The body must be a JSON object.")),
            Err(error) => Err(Problem::bad_request(format!(
                "The body is not JSON (line {}, column {}).",
                error.line(),
                error.column()
            ))),
        }
    }

    /// Whether `expires_at` or `ttl` is there as `null`: without end.
    pub(crate) fn never_expires(&self) -> bool {
        ["expires_at", "ttl"]
            .iter()
            .any(|name| self.left.get(*name).is_some_and(Value::is_null))
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

    /// Takes a member; absent and `null` are the same.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
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

    /// Takes a text of at most `max` characters.
    pub(crate) fn text(&mut self, name: &str, max: usize) -> Option<String> {
        self.take_as(name, |value| match value {
            Value::String(text) if text.chars().count() > max => {
                Err(format!("at most {max} characters"))
            }
            Value::String(text) if text.chars().any(char::is_control) => {
                Err("no control characters".to_owned())
            }
            Value::String(text) => Ok(text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => Err("must be a string".to_owned()),
        })
    }

    /// Takes a whole number from 0.
    pub(crate) fn number(&mut self, name: &str) -> Option<u64> {
        self.take_as(name, |value| {
            value
                .as_u64()
                .ok_or_else(|| "must be a whole number from 0".to_owned())
        })
    }

    /// Takes a duration such as `90s`, in milliseconds.
    pub(crate) fn duration(&mut self, name: &str) -> Option<u64> {
        self.take_as(name, |value| {
            let text = value.as_str().ok_or("must be a string such as \"24h\"")?;
            duration_ms(text).ok_or_else(|| {
                "must be a duration such as \"90s\", \"15m\", \"24h\", \"30d\"".to_owned()
            })
        })
    }

    /// Takes a time.
    pub(crate) fn time(&mut self, name: &str) -> Option<WallMillis> {
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

    /// Ends the reading: unknown members are faults too.
    pub(crate) fn done(mut self) -> Result<(), Problem> {
        let unknown: Vec<String> = self.left.keys().cloned().collect();
        for name in unknown {
            self.fault(&pointer(&name), "unknown member");
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.faults))
        }
    }
}

/// A member's name as a part of a JSON pointer (RFC 6901).
fn pointer(name: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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

    // ID-101
    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let mut members = Members::read(br#"{"name":5,"ttl":"soon","max":-1,"a/b":1}"#).unwrap();
        assert_eq!(
            (
                members.text("name", 10),
                members.duration("ttl"),
                members.number("max")
            ),
            (None, None, None)
        );
        let problem = members.done().unwrap_err();
        let text = format!("{problem:?}");
        for place in ["/name", "/ttl", "/max", "/a~1b"] {
            assert!(text.contains(place), "{place} in {text}");
        }
    }
}
