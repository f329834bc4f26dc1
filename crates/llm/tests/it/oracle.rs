//! Request bodies are judged as serde_json judges them, keys compared.

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use tollkeep_llm::body::{BodyFault, CallView};
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::usage::{Asked, BodyUsage};
use tollkeep_types::usage::{Class, UnknownUsage, UsageReport};

/// What serde_json makes of a text, with keys compared: the oracle.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value without duplicate keys")
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_unit<E: Error>(self) -> Result<Strict, E> {
        Ok(Strict)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        while items.next_element::<Strict>()?.is_some() {}
        Ok(Strict)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, _)) = members.next_entry::<String, Strict>()? {
            if !keys.insert(key) {
                return Err(A::Error::custom("duplicate"));
            }
        }
        Ok(Strict)
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Accepted,
    Duplicate,
    Invalid,
}

fn ours(body: &[u8]) -> Verdict {
    match CallView::read(body, 120).map_err(|refusal| refusal.fault) {
        Ok(_) => Verdict::Accepted,
        Err(BodyFault::DuplicateKey(_)) => Verdict::Duplicate,
        Err(BodyFault::Syntax(_) | BodyFault::TooDeep(_)) => Verdict::Invalid,
    }
}

/// `None` where serde_json has a limit of its own.
fn theirs(body: &[u8]) -> Option<Verdict> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    match serde_json::from_slice::<Strict>(body) {
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(error) if error.to_string().starts_with("duplicate") => Some(Verdict::Duplicate),
        Ok(_) if is_object => Some(Verdict::Accepted),
        Ok(_) | Err(_) => Some(Verdict::Invalid),
    }
}

fn blanks() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r\n  ")]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-c]{1,12}".boxed(),
        1 => "[a-c{}:, \\[\\]]{1,90}".boxed(),
        1 => r#"\\["\\/bfnrt]"#.boxed(),
        1 => r"\\u00[46][1-3]".boxed(),
        1 => Just(r"\ud83e\udd80".to_owned()).boxed(),
        1 => "[é🦀\u{7f}\u{2028}]".boxed(),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// Keys that are often equal, often only after unescaping.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => string(),
        1 => prop_oneof![Just(r#""a""#), Just(r#""\u0061""#), Just(r#""""#), Just(r#""ab""#), Just(r#""\u0061b""#)]
            .prop_map(str::to_owned),
    ]
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
        prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned),
    ];
    let value = leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec((blanks(), inner.clone(), blanks()), 0..6).prop_map(
                |items| {
                    let items: Vec<_> = items
                        .iter()
                        .map(|(a, item, b)| format!("{a}{item}{b}"))
                        .collect();
                    format!("[{}]", items.join(","))
                }
            ),
            object(inner, 6),
        ]
    });
    (blanks(), object(value, 40), blanks()).prop_map(|(a, object, b)| format!("{a}{object}{b}"))
}

fn object(value: impl Strategy<Value = String>, size: usize) -> impl Strategy<Value = String> {
    let member = (blanks(), key(), blanks(), blanks(), value, blanks());
    proptest::collection::vec(member, 0..size).prop_map(|members| {
        let members: Vec<_> = members
            .iter()
            .map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn json_is_judged_as_serde_json_judges_it(body in json()) {
        prop_assert_eq!(Some(ours(body.as_bytes())), theirs(body.as_bytes()));
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_judges_it(
        body in json(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop_oneof![
            3 => prop::sample::select(b"{}[],:\"\\ue0123456789.-+ \ntfna".to_vec()),
            1 => any::<u8>(),
        ]), 1..4),
    ) {
        let mut body = body.into_bytes();
        for (place, how, byte) in damage {
            let at = place.index(body.len() + 1);
            match how {
                0 => body.insert(at, byte),
                1 if at < body.len() => body[at] = byte,
                _ if at < body.len() => { body.remove(at); }
                _ => body.push(byte),
            }
        }
        if let Some(want) = theirs(&body) {
            // With two faults in one body the readers may meet different ones first.
            let (got, clean) = (ours(&body), want == Verdict::Accepted);
            prop_assert_eq!(got == Verdict::Accepted, clean, "{:?} {:?}", got, want);
        }
    }

    #[test]
    fn anything_is_judged(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let want = theirs(&body).unwrap_or(Verdict::Invalid);
        prop_assert_eq!(ours(&body) == Verdict::Accepted, want == Verdict::Accepted);
    }

    #[test]
    fn the_members_read_are_those_serde_json_reads(model in "\\PC{0,20}", stream: bool, rest in json()) {
        let model_json = serde_json::to_string(&model).unwrap();
        let body = format!("{{\"z\":{rest},\"model\":{model_json},\"stream\":{stream}}}");
        if let Ok(view) = CallView::read(body.as_bytes(), 128) {
            prop_assert_eq!(view.model.as_deref(), Some(&*model));
            prop_assert_eq!(view.stream, Some(stream));
            let edited = view.with_model(body.as_bytes(), "other").unwrap();
            let want = body.replacen(&format!("\"model\":{model_json},\"stream\""), "\"model\":\"other\",\"stream\"", 1);
            prop_assert_eq!(String::from_utf8(edited).unwrap(), want);
        }
    }

    #[test]
    fn usage_is_found_beside_anything_and_in_no_part_of_a_body(
        (before, after) in (json(), json()),
        cut in any::<prop::sample::Index>(),
    ) {
        let read = |body: &str| {
            BodyUsage::read(UsageDialect::Chat, &Asked::default(), 200, body.as_bytes()).told.report
        };
        let usage = r#""usage" : {"prompt_tokens":3,"x":[{}],"completion_tokens":4}"#;
        let body = format!("{{\"a\":{before},{usage},\"b\":[{after}]}}");
        let UsageReport::Reported(found) = read(&body) else { panic!("{body}") };
        prop_assert_eq!((found.first.usage.count(Class::InText), found.first.usage.count(Class::OutText)), (3, 4));

        let inside = format!("{{\"a\":{before},\"c\":{{{usage}}},\"b\":[{after}]}}");
        prop_assert_eq!(read(&inside), UsageReport::Unknown(UnknownUsage::Absent));

        let cut = cut.index(body.len());
        let part = String::from_utf8_lossy(&body.as_bytes()[..cut]);
        prop_assert_eq!(read(&part), UsageReport::Unknown(UnknownUsage::Unreadable));
    }
}
