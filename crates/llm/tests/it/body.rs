//! Strict reading of request bodies.

use std::fmt::Write as _;
use tollkeep_llm::body::{BodyFault, CallView};
use tollkeep_llm::error::ErrorKind;

fn fault(body: &str) -> Option<BodyFault> {
    CallView::read(body.as_bytes(), 128)
        .err()
        .map(|refusal| refusal.fault)
}

// LLM-35
#[test]
fn only_one_strict_json_object_is_a_body() {
    #[rustfmt::skip]
    let rows = [
        ("nothing", "", 0),
        ("blanks", " \n", 2),
        ("an array", "[]", 0),
        ("a string", r#""a""#, 0),
        ("null", "null", 0),
        ("open", "{", 1),
        ("bare key", "{a:1}", 1),
        ("single quotes", "{'a':1}", 1),
        ("no colon", r#"{"a" 1}"#, 5),
        ("no value", r#"{"a":}"#, 5),
        ("comma before the end", r#"{"a":1,}"#, 7),
        ("comma first", r#"{,"a":1}"#, 1),
        ("no comma", r#"{"a":1 "b":2}"#, 7),
        ("array comma before the end", r#"{"a":[1,]}"#, 8),
        ("array closed by a brace", r#"{"a":[1}"#, 7),
        ("object closed by a bracket", r#"{"a":1]"#, 6),
        ("comment", "{/**/}", 1),
        ("trailing object", "{}{}", 2),
        ("trailing letter", "{} x", 3),
        ("NaN", r#"{"a":NaN}"#, 5),
        ("infinity", r#"{"a":-Infinity}"#, 6),
        ("leading zero", r#"{"a":01}"#, 6),
        ("leading plus", r#"{"a":+1}"#, 5),
        ("point without digits", r#"{"a":1.}"#, 7),
        ("exponent without digits", r#"{"a":1e}"#, 7),
        ("hex", r#"{"a":0x1}"#, 6),
        ("half a literal", r#"{"a":tru}"#, 5),
        ("open string", r#"{"a":"b"#, 7),
        ("newline in a string", "{\"a\":\"b\nc\"}", 7),
        ("NUL in a key", "{\"a\0\":1}", 3),
        ("unknown escape", r#"{"a":"\x41"}"#, 6),
        ("short unicode escape", r#"{"a":"\u12"}"#, 6),
        ("signed unicode escape", r#"{"a":"\u+123"}"#, 6),
        ("lone high surrogate", r#"{"a":"\ud83e"}"#, 6),
        ("lone low surrogate", r#"{"a":"\udd80"}"#, 6),
        ("two high surrogates", r#"{"a":"\ud83e\ud83e"}"#, 6),
        ("lone surrogate in a key", r#"{"\ud83e":1}"#, 2),
    ];
    for (name, body, offset) in rows {
        let refusal = CallView::read(body.as_bytes(), 128).expect_err(name);
        assert!(
            matches!(refusal.fault, BodyFault::Syntax(_)),
            "{name}: {refusal:?}"
        );
        assert_eq!(refusal.offset, offset, "{name}: {}", refusal.message());
        assert_eq!(refusal.kind(), ErrorKind::InvalidJson, "{name}");
        assert_eq!(refusal.kind().class(), "invalid_json", "{name}");
        assert!(
            refusal.message().contains(&format!("byte {offset}")),
            "{name}"
        );
    }
}

// LLM-30
#[test]
fn bytes_that_are_not_utf_8_are_refused_where_they_stand() {
    for (name, body, offset) in [
        ("byte order mark", b"\xef\xbb\xbf{}".as_slice(), 0),
        ("latin-1", b"{\"a\":\"\xe9\"}", 6),
        ("overlong", b"{\"a\":\"\xc0\xaf\"}", 6),
        ("surrogate", b"{\"a\":\"\xed\xa0\x80\"}", 6),
        ("cut", b"{\"a\":\"\xf0\x9f\xa6", 6),
        ("outside a string", b"{}\xff", 2),
    ] {
        let refusal = CallView::read(body, 128).expect_err(name);
        assert_eq!(refusal.offset, offset, "{name}: {refusal:?}");
        assert_eq!(refusal.kind(), ErrorKind::InvalidJson, "{name}");
    }
}

// LLM-30
#[test]
fn odd_but_legal_bodies_are_read() {
    #[rustfmt::skip]
    let rows = [
        ("empty", "{}"),
        ("blanks everywhere", " {\t\"a\" \r\n: [ ] , \"b\":{ } } \n"),
        ("numbers", r#"{"a":[0,-0,-0.0,1e400,1E+2,1e-2,0.10,123456789012345678901234567890]}"#),
        ("escapes", r#"{"a":"\" \\ \/ \b \f \n \r \t \u00e9 \ud83e\udd80 \u0000"}"#),
        ("raw unicode", "{\"é\":\"🦀\u{2028}\u{7f}\"}"),
        ("the same key in two objects", r#"{"a":{"x":1},"b":{"x":1},"c":[{"x":1},{"x":1}]}"#),
        ("the key of the object around", r#"{"a":{"a":{"a":1}}}"#),
        ("keys that differ in case", r#"{"model":"a","Model":"b"}"#),
        ("keys that differ after an escape", r#"{"a\u0062":1,"a\u0063":2}"#),
        ("keys that share their first word", r#"{"abcdefgh":1,"abcdefghi":2,"abcdefg":3}"#),
    ];
    for (name, body) in rows {
        assert_eq!(fault(body), None, "{name}");
    }
}

// LLM-30
#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    for (name, depth_max, depth, accepted) in [
        ("at the limit", 128, 128, true),
        ("one beyond", 128, 129, false),
        ("the body itself", 1, 1, true),
        ("far beyond", 128, 1_000_000, false),
        ("a large limit", 100_000, 100_000, true),
    ] {
        let read = if depth == 1 {
            "{}".to_owned()
        } else {
            nested(depth)
        };
        let refusal = CallView::read(read.as_bytes(), depth_max).err();
        let want = (!accepted).then_some(BodyFault::TooDeep(depth_max));
        assert_eq!(refusal.map(|refusal| refusal.fault), want, "{name}");
    }
}

// LLM-30
#[test]
fn a_number_has_at_most_400_digits() {
    for (name, number, accepted) in [
        ("400", "9".repeat(400), true),
        ("401", "9".repeat(401), false),
        (
            "400 and signs",
            format!("-1.{}e+{}", "0".repeat(397), "11"),
            true,
        ),
        (
            "401 in parts",
            format!("1.{}e{}", "0".repeat(399), "1"),
            false,
        ),
    ] {
        assert_eq!(
            fault(&format!("{{\"a\":{number}}}")).is_none(),
            accepted,
            "{name}"
        );
    }
}

// LLM-30
#[test]
fn a_key_twice_is_refused_with_the_pointer_to_it() {
    #[rustfmt::skip]
    let rows = [
        ("at the top", r#"{"a":1,"a":1}"#, "/a"),
        ("first of two", r#"{"a":1,"b":1,"a":1,"b":1}"#, "/a"),
        ("same values", r#"{"a":null,"a":null}"#, "/a"),
        ("three times", r#"{"a":1,"a":2,"a":3}"#, "/a"),
        ("empty key", r#"{"":1,"":2}"#, "/"),
        ("escaped", r#"{"model":1,"mod\u0065l":2}"#, "/model"),
        ("escaped first", r#"{"\u006dodel":1,"model":2}"#, "/model"),
        ("both escaped", r#"{"\u006dodel":1,"m\u006fdel":2}"#, "/model"),
        ("escaped in upper case", r#"{"\u00E9":1,"é":2}"#, "/é"),
        ("escaped surrogates", r#"{"\ud83e\udd80":1,"🦀":2}"#, "/🦀"),
        ("escaped quote", r#"{"\"":1,"\u0022":2}"#, "/\""),
        ("escaped slash", r#"{"/":1,"\/":2}"#, "/~1"),
        ("tilde", r#"{"~":1,"~":2}"#, "/~0"),
        ("long key", r#"{"abcdefghijklmnop":1,"abcdefghijklmnop":2}"#, "/abcdefghijklmnop"),
        ("long key, escaped", r#"{"abcdefghijklmnop":1,"abcdefghijklmno\u0070":2}"#, "/abcdefghijklmnop"),
        ("in an object", r#"{"a":{"b":{"c":1,"c":1}}}"#, "/a/b/c"),
        ("in an array", r#"{"a":[0,{},{"b":1,"b":1}]}"#, "/a/2/b"),
        ("in arrays of arrays", r#"{"a":[[],[0,[{"b":1,"b":1}]]]}"#, "/a/1/1/0/b"),
        ("after an inner object", r#"{"a":1,"o":{"a":1,"b":1},"a":1}"#, "/a"),
        ("after many", r#"{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"c":0}"#, "/c"),
    ];
    for (name, body, pointer) in rows {
        let refusal = CallView::read(body.as_bytes(), 128).expect_err(name);
        assert_eq!(
            refusal.fault,
            BodyFault::DuplicateKey(pointer.to_owned()),
            "{name}"
        );
        assert_eq!(refusal.kind(), ErrorKind::DuplicateKey, "{name}");
        assert!(refusal.message().ends_with(pointer), "{name}");
        assert!(body.as_bytes()[refusal.offset] == b'"', "{name}");
    }
}

// LLM-30
#[test]
fn a_key_twice_is_found_in_objects_of_any_size() {
    for size in [
        2, 31, 32, 33, 34, 63, 64, 65, 66, 127, 128, 129, 130, 1000, 5000,
    ] {
        for (first, second) in [
            (0, size - 1),
            (0, 1),
            (size - 2, size - 1),
            (size / 3, size / 2 + 1),
        ] {
            if first >= second || second >= size {
                continue;
            }
            let mut body = String::from("{\"o\":[{");
            for index in 0..size {
                let key = if index == second { first } else { index };
                write!(
                    body,
                    "{}\"key {key}\":{{}}",
                    if index > 0 { "," } else { "" }
                )
                .unwrap();
            }
            body.push_str("}]}");
            let want = BodyFault::DuplicateKey(format!("/o/0/key {first}"));
            assert_eq!(fault(&body), Some(want), "{size}: {first} {second}");
            let distinct = body.replacen(&format!("\"key {first}\""), "\"other\"", 1);
            assert_eq!(fault(&distinct), None, "{size}");
        }
    }
}

#[test]
fn a_hostile_pointer_stays_short() {
    let body = format!("{{\"{0}\":{{\"{0}\":1,\"{0}\":2}}}}", "~".repeat(100_000));
    let refusal = CallView::read(body.as_bytes(), 128).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::DuplicateKey);
    assert!(refusal.message().len() < 2048);
}

#[test]
fn the_view_has_what_policy_asks_for() {
    let body = br#" {"messages":[{"model":"no","stream":true}],"model" : "gpt-4o","stream":true,
        "stream_options":{"include_usage":true},"service_tier":"flex","x":{"include_usage":true}}"#;
    let view = CallView::read(body, 128).unwrap();
    assert_eq!(view.model.as_deref(), Some("gpt-4o"));
    assert_eq!(&body[view.model_span.clone().unwrap()], b"\"gpt-4o\"");
    assert_eq!(view.stream, Some(true));
    assert!(view.include_usage);
    assert_eq!(view.service_tier.as_deref(), Some("flex"));
    assert!(!view.hour_cache);
}

#[test]
fn members_of_another_type_or_place_are_not_taken() {
    for (name, body) in [
        ("no members", "{}"),
        (
            "other types",
            r#"{"model":1,"stream":"true","stream_options":[{"include_usage":true}],"service_tier":null}"#,
        ),
        ("other case", r#"{"Model":"a","STREAM":true}"#),
        (
            "deeper",
            r#"{"a":{"model":"a","stream":true,"include_usage":true}}"#,
        ),
        (
            "false",
            r#"{"stream_options":{"include_usage":false},"ttl":"5m"}"#,
        ),
        (
            "below the wrong member",
            r#"{"stream_options":{"a":{"include_usage":true}},"b":{"include_usage":true}}"#,
        ),
    ] {
        assert_eq!(
            CallView::read(body.as_bytes(), 128).unwrap(),
            CallView::default(),
            "{name}"
        );
    }
}

// LLM-30
#[test]
fn members_are_known_by_their_unescaped_name() {
    let body = br#"{"mod\u0065l":"gpt-\u0034o","\u0073tream":false,"a":[{"\u0074tl":"\u0031h"}]}"#;
    let view = CallView::read(body, 128).unwrap();
    assert_eq!(view.model.as_deref(), Some("gpt-4o"));
    assert_eq!(view.stream, Some(false));
    assert!(view.hour_cache);
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    r#in: String,
    #[serde(default)]
    options: Options,
    expect: Expect,
}

#[derive(Default, serde::Deserialize)]
struct Options {
    model_rewrite: Option<String>,
}

#[derive(serde::Deserialize)]
struct Expect {
    upstream_raw: Option<String>,
    refuse: Option<Refuse>,
}

#[derive(serde::Deserialize)]
struct Refuse {
    status: u16,
    code: String,
}

// LLM-30 LLM-D1
#[test]
fn passthrough_vectors_hold() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../data/passthrough.json")).unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let body = case.r#in.as_bytes();
        match (CallView::read(body, 128), case.expect.refuse) {
            (Err(refusal), Some(refuse)) => {
                assert_eq!(refusal.kind().code(), refuse.code, "{}", case.name);
                let status = refusal.kind().status(tollkeep_llm::Dialect::Chat);
                assert_eq!(status, refuse.status, "{}", case.name);
            }
            (Ok(view), None) => {
                let sent = match case.options.model_rewrite {
                    Some(model) => view.with_model(body, &model).unwrap(),
                    None => body.to_vec(),
                };
                let want = case.expect.upstream_raw.unwrap();
                assert_eq!(String::from_utf8(sent).unwrap(), want, "{}", case.name);
            }
            (read, _) => panic!("{}: {read:?}", case.name),
        }
    }
}

#[test]
fn a_new_model_name_is_escaped_and_nothing_else_changes() {
    let body = br#"{"a":1e400, "model":"\u0061" ,"b":"\/"}"#;
    let view = CallView::read(body, 128).unwrap();
    let edited = view.with_model(body, "x\"\\\u{1}é").unwrap();
    assert_eq!(
        edited,
        "{\"a\":1e400, \"model\":\"x\\\"\\\\\\u0001é\" ,\"b\":\"\\/\"}".as_bytes()
    );
    assert_eq!(CallView::default().with_model(b"{}", "x"), None);
}
