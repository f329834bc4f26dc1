//! Limited parameters: no spelling of a body escapes, and what is checked is what is sent.

use crate::callers::{answer, bearer, models};
use crate::fixture::{before, free, gateway, head, post};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write;
use tollkeep_testkit::{Gateway, Origin};

const POLICY: &str = "policy: { paramWhitelist: { model: [gpt-4o, \"gpt-4.1-*\"], n: [1, 0.5], \
    stop: [END], stream: [true], /metadata/team: [a] }, param_required: [model] }";

fn served() -> (Origin, Gateway) {
    let origin = Origin::plain();
    let route = free("ANY /x").replace(
        " }\n",
        &format!(", {POLICY}, request: {{ allow_body: true }} }}\n"),
    );
    let gateway = gateway(before(&origin, &route)).start();
    (origin, gateway)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

const JSON: &str = "Content-Type: application/json\r\n";

fn multipart(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    (body + "--b0--\r\n").into_bytes()
}

// ID-91
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn no_spelling_of_json_escapes() {
    let (fits, not, twice, bad) = ("", "param_not_allowed", "duplicate_key", "bad_content_type");
    let text = |body: &str| body.as_bytes().to_vec();
    let good = || text(r#"{"model":"gpt-4o"}"#);
    let evil = || text(r#"{"model":"o3"}"#);
    let rows = vec![
        ("plain", JSON, good(), fits),
        ("another model", JSON, evil(), not),
        (
            "charset",
            "Content-Type: application/json; charset=utf-8\r\n",
            evil(),
            not,
        ),
        (
            "upper case",
            "Content-Type: APPLICATION/JSON\r\n",
            evil(),
            not,
        ),
        (
            "upper case, fitting",
            "Content-Type: APPLICATION/JSON ; Charset=\"UTF-8\"\r\n",
            good(),
            fits,
        ),
        (
            "+json",
            "Content-Type: application/vnd.api+json\r\n",
            evil(),
            not,
        ),
        (
            "+json, fitting",
            "Content-Type: application/vnd.api+JSON\r\n",
            good(),
            fits,
        ),
        (
            "another charset",
            "Content-Type: application/json; charset=utf-16\r\n",
            good(),
            bad,
        ),
        ("another type", "Content-Type: text/plain\r\n", good(), bad),
        ("no type", "", good(), bad),
        ("missing", JSON, text("{}"), not),
        ("no body", "", Vec::new(), not),
        (
            "a key twice",
            JSON,
            text(r#"{"model":"gpt-4o","model":"o3"}"#),
            twice,
        ),
        (
            "a key twice, deep",
            JSON,
            text(r#"{"model":"gpt-4o","a":[{"b":1,"b":2}]}"#),
            twice,
        ),
        (
            "an escaped key twice",
            JSON,
            text(r#"{"model":"gpt-4o","mod\u0065l":"o3"}"#),
            twice,
        ),
        ("an escaped key", JSON, text(r#"{"mod\u0065l":"o3"}"#), not),
        (
            "an escaped value",
            JSON,
            text(r#"{"model":"\u006f3"}"#),
            not,
        ),
        (
            "an escaped value that fits",
            JSON,
            text(r#"{"model":"gpt\u002d4o"}"#),
            fits,
        ),
        ("a glob", JSON, text(r#"{"model":"gpt-4.1-mini"}"#), fits),
        ("case", JSON, text(r#"{"model":"GPT-4o"}"#), not),
        (
            "a list",
            JSON,
            text(r#"{"model":["gpt-4o","gpt-4o"]}"#),
            fits,
        ),
        (
            "a list with another",
            JSON,
            text(r#"{"model":["gpt-4o","o3"]}"#),
            not,
        ),
        (
            "lists in lists",
            JSON,
            text(r#"{"model":"gpt-4o","stop":[["END",["x"]]]}"#),
            not,
        ),
        (
            "an object",
            JSON,
            text(r#"{"model":{"gpt-4o":"gpt-4o"}}"#),
            not,
        ),
        ("null", JSON, text(r#"{"model":null}"#), not),
        (
            "a number",
            JSON,
            text(r#"{"model":"gpt-4o","n":1.0}"#),
            fits,
        ),
        (
            "a number with exponent",
            JSON,
            text(r#"{"model":"gpt-4o","n":50e-2}"#),
            fits,
        ),
        (
            "another number",
            JSON,
            text(r#"{"model":"gpt-4o","n":2}"#),
            not,
        ),
        (
            "a switch",
            JSON,
            text(r#"{"model":"gpt-4o","stream":true}"#),
            fits,
        ),
        (
            "another switch",
            JSON,
            text(r#"{"model":"gpt-4o","stream":false}"#),
            not,
        ),
        (
            "a pointer",
            JSON,
            text(r#"{"model":"gpt-4o","metadata":{"team":"a"}}"#),
            fits,
        ),
        (
            "a pointer to another",
            JSON,
            text(r#"{"model":"gpt-4o","metadata":{"team":"b"}}"#),
            not,
        ),
        ("no object", JSON, text(r#"["model","o3"]"#), "invalid_json"),
        (
            "too deep",
            JSON,
            text(&format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200))),
            "invalid_json",
        ),
        (
            "gzip",
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            gzip(br#"{"model":"o3"}"#),
            not,
        ),
        (
            "gzip, fitting",
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            gzip(br#"{"model":"gpt-4o"}"#),
            fits,
        ),
        (
            "another coding",
            "Content-Type: application/json\r\nContent-Encoding: deflate\r\n",
            good(),
            "unsupported_encoding",
        ),
    ];
    check(rows);
}

// ID-91
#[test]
fn no_spelling_of_a_form_escapes() {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let parts = "Content-Type: multipart/form-data; boundary=b0\r\n";
    let (fits, not) = ("", "param_not_allowed");
    let text = |body: &str| body.as_bytes().to_vec();
    let rows = vec![
        ("a form", form, text("model=gpt-4o&n=1"), fits),
        ("a form with another", form, text("model=o3"), not),
        ("a form, encoded", form, text("m%6fdel=%6f3"), not),
        ("a form, twice", form, text("model=gpt-4o&model=o3"), not),
        (
            "a form, odd",
            form,
            text("model=gpt-4o;model=o3"),
            "invalid_form",
        ),
        (
            "parts",
            parts,
            multipart(&[("model", "gpt-4o"), ("n", "0.5")]),
            fits,
        ),
        (
            "parts with another",
            parts,
            multipart(&[("model", "o3")]),
            not,
        ),
        (
            "parts, twice",
            parts,
            multipart(&[("model", "gpt-4o"), ("model", "o3")]),
            not,
        ),
        ("parts without", parts, multipart(&[("n", "1")]), not),
        (
            "parts behind a preamble",
            parts,
            [b"x\r\n".to_vec(), multipart(&[("model", "gpt-4o")])].concat(),
            "invalid_form",
        ),
        (
            "a file",
            parts,
            String::from_utf8(multipart(&[("model", "gpt-4o")]))
                .unwrap()
                .replace("\"model\"", "\"model\"; filename=\"a\"")
                .into_bytes(),
            not,
        ),
    ];
    check(rows);
}

/// Name, field lines, body, and the code it is refused with; nothing: it reaches the upstream.
type Row = (&'static str, &'static str, Vec<u8>, &'static str);

fn check(rows: Vec<Row>) {
    let (origin, gateway) = served();
    for (name, lines, body, want) in rows {
        let calls = origin.count();
        let answer = gateway.call(&post("/x", lines, &body));
        assert_eq!(answer.code(), want, "{name}: {}", answer.text());
        assert_eq!(
            origin.count() - calls,
            usize::from(want.is_empty()),
            "{name}"
        );
        let is_coded = lines.contains("gzip");
        if want.is_empty() && !is_coded {
            assert_eq!(origin.last().body, body, "{name}: sent as it came");
        }
        if want.is_empty() && is_coded {
            assert_eq!(
                origin.last().text(),
                r#"{"model":"gpt-4o"}"#,
                "{name}: sent as it was read"
            );
        }
    }
}

// ID-91 ID-92
#[test]
fn a_refused_parameter_is_told_with_what_is_allowed_and_not_with_what_was_sent() {
    let (_origin, gateway) = served();
    let answer = gateway.call(&post("/x", JSON, br#"{"model":"sk-secret-model"}"#));
    let told = answer.text();
    assert_eq!(answer.status, 400, "{told}");
    for part in ["`model`", "gpt-4o", "gpt-4.1-*"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("sk-secret-model"), "{told}");
}

// ID-91
#[test]
fn every_method_with_a_body_is_looked_at_and_none_without() {
    let (_origin, gateway) = served();
    let evil = br#"{"model":"o3"}"#;
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        let request = String::from_utf8(post("/x", JSON, evil)).unwrap();
        let request = request.replacen("POST", method, 1);
        let answer = gateway.call(request.as_bytes());
        assert_eq!(answer.code(), "param_not_allowed", "{method}");
    }
    for (method, want) in [("GET", 200), ("DELETE", 200), ("PUT", 400)] {
        let request = head(&format!("{method} /x"), "");
        assert_eq!(gateway.call(&request).status, want, "{method}");
    }
}

// ID-91 LLM-34
#[test]
fn parameters_of_model_calls_are_limited_under_every_spelling() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let policy = json!({"param_whitelist": {"max_tokens": ["10"], "temperature": ["0.?"]}});
    let token = gateway.mint_token(&json!({ "policy": policy }));
    for (body, want) in [
        (
            r#"{"model":"gpt-4o","max_tokens":10,"temperature":0.70}"#,
            "",
        ),
        (r#"{"model":"gpt-4o","max_completion_tokens":1e1}"#, ""),
        (
            r#"{"model":"gpt-4o","max_completion_tokens":11}"#,
            "param_not_allowed",
        ),
        (
            r#"{"model":"gpt-4o","max_tokens":10,"max_completion_tokens":11}"#,
            "param_not_allowed",
        ),
        (r#"{"model":"gpt-4o","temperature":1}"#, "param_not_allowed"),
    ] {
        let lines = format!("{}{JSON}", bearer(&token));
        let answer = gateway.call(&post("/v1/chat/completions", &lines, body.as_bytes()));
        assert_eq!(answer.code(), want, "{body}: {}", answer.text());
    }
}

// LLM-32 ID-90
#[test]
fn a_token_may_send_bodies_of_so_many_bytes_however_they_come() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let most = 600;
    let policy = json!({ "policy": { "max_body_bytes": most } });
    let (small, any) = (gateway.mint_token(&policy), gateway.mint_token(&json!({})));
    let body = |len: usize| {
        let (head, tail) = (r#"{"model":"gpt-4o","messages":[],"user":""#, r#""}"#);
        [head, &"a".repeat(len - head.len() - tail.len()), tail].concat()
    };
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes();
    for (token, len, status) in [
        (&small, most, 200),
        (&small, most + 1, 413),
        (&any, most + 1, 200),
    ] {
        let (plain, lines) = (body(len), format!("{}{JSON}", bearer(token)));
        let coded = gzip(plain.as_bytes());
        assert!(coded.len() < most);
        for (how, lines, sent) in [
            (
                "length",
                format!("{lines}Content-Length: {len}\r\n"),
                plain.clone().into_bytes(),
            ),
            (
                "chunks",
                format!("{lines}Transfer-Encoding: chunked\r\n"),
                chunked(&plain),
            ),
            (
                "coded",
                format!(
                    "{lines}Content-Encoding: gzip\r\nContent-Length: {}\r\n",
                    coded.len()
                ),
                coded,
            ),
        ] {
            let calls = origin.count();
            let request = [head("POST /v1/chat/completions", &lines), sent].concat();
            let answer = gateway.call(&request);
            assert_eq!(answer.status, status, "{how} {len}: {}", answer.text());
            let passed = usize::from(status == 200);
            assert_eq!(origin.count() - calls, passed, "{how} {len}");
            if status == 413 {
                assert_eq!(answer.json()["error"]["code"], "request_too_large");
            }
        }
    }
}
