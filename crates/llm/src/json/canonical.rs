//! One text for all texts that say the same: members sorted, no blanks, strings escaped one way.
//!
//! Numbers stay as they are written: whether `1` and `1.0` are the same to an upstream is not for
//! us to say.

use super::tokens::{Tokens, syntax};
use super::write_string;
use crate::body::{BodyFault, BodyRefusal};
use std::borrow::Cow;

/// Deeper ones have no canonical text here: each level of objects copies what is in it.
const DEPTH_MAX: usize = 32;

/// The canonical text of a body that was read strictly before, without those members of the body
/// itself that are `left_out`. `None` if it is nested too deep.
pub(crate) fn canonical(body: &[u8], left_out: &[&str]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut writer = Writer {
        text,
        tokens: Tokens::new(text),
        left_out,
    };
    let mut out = Vec::with_capacity(body.len());
    writer.value(&mut out, 0).ok()?;
    writer.tokens.next_byte().is_none().then_some(out)
}

struct Writer<'a, 'n> {
    text: &'a str,
    tokens: Tokens<'a>,
    left_out: &'n [&'n str],
}

impl<'a> Writer<'a, '_> {
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), BodyRefusal> {
        if depth > DEPTH_MAX {
            let offset = self.tokens.at();
            let fault = BodyFault::TooDeep(DEPTH_MAX);
            return Err(BodyRefusal { fault, offset });
        }
        match self.tokens.next_byte() {
            Some(b'{') => self.object(out, depth),
            Some(b'[') => self.array(out, depth),
            Some(b'"') => {
                let text = self.string()?;
                write_string(out, &text);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                let start = self.tokens.at();
                self.tokens.number()?;
                let number = self.text.get(start..self.tokens.at());
                out.extend_from_slice(number.unwrap_or_default().as_bytes());
                Ok(())
            }
            _ => {
                let word = match self.tokens.literal()? {
                    Some(true) => "true",
                    Some(false) => "false",
                    None => "null",
                };
                out.extend_from_slice(word.as_bytes());
                Ok(())
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, BodyRefusal> {
        Ok(self.tokens.string()?.text(self.text))
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), BodyRefusal> {
        self.tokens.advance(1);
        out.push(b'[');
        if self.tokens.next_byte() == Some(b']') {
            self.tokens.advance(1);
            out.push(b']');
            return Ok(());
        }
        loop {
            self.value(out, depth + 1)?;
            match self.tokens.next_byte() {
                Some(b',') => out.push(b','),
                Some(b']') => {
                    self.tokens.advance(1);
                    out.push(b']');
                    return Ok(());
                }
                _ => return Err(syntax("`,` or `]`", self.tokens.at())),
            }
            self.tokens.advance(1);
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), BodyRefusal> {
        self.tokens.advance(1);
        let mut members: Vec<(Cow<'a, str>, Vec<u8>)> = Vec::new();
        if self.tokens.next_byte() == Some(b'}') {
            self.tokens.advance(1);
        } else {
            self.members(&mut members, depth)?;
        }
        members.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        out.push(b'{');
        for (at, (name, value)) in members.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(out, name);
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
        Ok(())
    }

    fn members(
        &mut self,
        members: &mut Vec<(Cow<'a, str>, Vec<u8>)>,
        depth: usize,
    ) -> Result<(), BodyRefusal> {
        loop {
            if self.tokens.next_byte() != Some(b'"') {
                return Err(syntax("a name", self.tokens.at()));
            }
            let name = self.string()?;
            if self.tokens.next_byte() != Some(b':') {
                return Err(syntax("`:`", self.tokens.at()));
            }
            self.tokens.advance(1);
            let mut value = Vec::new();
            self.value(&mut value, depth + 1)?;
            if depth > 0 || !self.left_out.contains(&&*name) {
                members.push((name, value));
            }
            match self.tokens.next_byte() {
                Some(b',') => self.tokens.advance(1),
                Some(b'}') => {
                    self.tokens.advance(1);
                    return Ok(());
                }
                _ => return Err(syntax("`,` or `}`", self.tokens.at())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn of(text: &str) -> Option<String> {
        canonical(text.as_bytes(), &["stream"]).map(|out| String::from_utf8(out).unwrap())
    }

    // LLM-81
    #[test]
    fn what_says_the_same_has_one_text_and_what_does_not_has_another() {
        for (name, one, other, same) in [
            ("order", r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, true),
            ("blanks", r#"{"a":[1,2]}"#, "{ \"a\" :\n[1 ,\t2] }", true),
            (
                "deep order",
                r#"{"x":{"a":1,"b":{}}}"#,
                r#"{"x":{"b":{},"a":1}}"#,
                true,
            ),
            ("escapes", r#"{"a":"A\/"}"#, r#"{"\u0061":"\u0041/"}"#, true),
            ("left out", r#"{"a":1,"stream":true}"#, r#"{"a":1}"#, true),
            (
                "left out by another spelling",
                r#"{"\u0073tream":true}"#,
                "{}",
                true,
            ),
            (
                "not left out below",
                r#"{"a":{"stream":true}}"#,
                r#"{"a":{}}"#,
                false,
            ),
            ("order of a list", r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, false),
            ("number and text", r#"{"a":1}"#, r#"{"a":"1"}"#, false),
            ("spelling of a number", r#"{"a":1}"#, r#"{"a":1.0}"#, false),
            (
                "large numbers",
                r#"{"a":18446744073709551616}"#,
                r#"{"a":18446744073709551617}"#,
                false,
            ),
            ("null and nothing", r#"{"a":null}"#, "{}", false),
            (
                "one text or two members",
                r#"{"a":"1\",\"b\":\"2"}"#,
                r#"{"a":"1","b":"2"}"#,
                false,
            ),
        ] {
            let (one, other) = (of(one).unwrap(), of(other).unwrap());
            assert_eq!(one == other, same, "{name}: {one} {other}");
        }
    }

    #[test]
    fn what_is_nested_deep_or_broken_has_no_text() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(of(&nested(DEPTH_MAX)).is_some());
        assert!(of(&nested(DEPTH_MAX + 2)).is_none());
        for broken in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "[1 2]",
            "{} {}",
            "{\"a\":1,}",
            "\u{0}",
        ] {
            assert!(of(broken).is_none(), "{broken}");
        }
    }

    fn json() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The members in the order of names, however they came.
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(sorted).collect(),
            Value::Object(map) => {
                let map: BTreeMap<_, _> = map.iter().map(|(name, it)| (name, sorted(it))).collect();
                map.into_iter()
                    .map(|(name, it)| (name.clone(), it))
                    .collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    proptest::proptest! {
        #[test]
        fn the_text_says_what_was_said_and_is_its_own(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let out = canonical(pretty.as_bytes(), &[]).unwrap();
            let read: Value = serde_json::from_slice(&out).unwrap();
            proptest::prop_assert_eq!(
                serde_json::to_string(&read).unwrap(),
                serde_json::to_string(&sorted(&value)).unwrap()
            );
            proptest::prop_assert_eq!(canonical(&out, &[]).unwrap(), out);
        }

        #[test]
        fn anything_ends(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            drop(canonical(&bytes, &[]));
        }
    }
}
