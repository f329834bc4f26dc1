//! Which fields come back: canaries for all that never do.

use crate::fixture::{UPSTREAM_KEY, before, chat, free, gateway, head, llm, llm_call, post};
use crate::headers::{CASES, canaries_in, plain, planted};
use tollkeep_testkit::{Answer, Gateway, Origin, Step, chunk, ok, with_fields};

/// EDGE-73.
pub(crate) const NEVER_RETURNED: &[&str] = &[
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
    "Set-Cookie",
    "Set-Cookie2",
    "Server",
    "X-Powered-By",
    "X-AspNet-Version",
    "X-Runtime",
    "X-Served-By",
    "X-Backend",
    "X-Backend-Server",
    "X-Upstream",
    "X-Upstream-Addr",
    "Via",
    "Strict-Transport-Security",
    "Content-Security-Policy",
    "Content-Security-Policy-Report-Only",
    "Public-Key-Pins",
    "Public-Key-Pins-Report-Only",
    "Expect-CT",
    "Alt-Svc",
    "NEL",
    "Report-To",
    "Reporting-Endpoints",
    "Refresh",
    "Clear-Site-Data",
    "Service-Worker-Allowed",
    "SourceMap",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Timing-Allow-Origin",
    "WWW-Authenticate",
    "CF-Ray",
    "X-Amz-Request-Id",
    "X-Amzn-RequestId",
    "X-Vercel-Cache",
    "Fly-Request-Id",
    "OpenAI-Organization",
    "OpenAI-Project",
    "Anthropic-Organization-Id",
    "X-RateLimit-Remaining",
    "X-RateLimit-Limit-Tokens",
    "Anthropic-RateLimit-Requests-Limit",
    "RateLimit",
    "RateLimit-Policy",
    "X-Accel-Expires",
    "X-Tollkeep-Error",
    "X-Gateway-Signature",
    "PAYMENT-REQUIRED",
    "X-PAYMENT-RESPONSE",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
    "Referrer-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
];

/// An origin that answers with every field of [`NEVER_RETURNED`] in the case its query names.
pub(crate) fn talkative(kind: &'static str) -> Origin {
    Origin::start(move |request| {
        let number: usize = request
            .field("x-case")
            .or(request.target.strip_prefix("/x?"))
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let lines = match number {
            3 => planted(NEVER_RETURNED, |name| name.replace('-', "_")),
            4 => planted(NEVER_RETURNED, |name| {
                name.to_uppercase().replacen('-', "_", 1)
            }),
            case => planted(NEVER_RETURNED, CASES[case]),
        };
        let named = "connection: x-named, keep-alive\r\nx-named: canary-named\r\n";
        let fields = format!(
            "content-type: {kind}\r\n{named}{lines}etag: \"e\"\r\nx-custom: kept\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\ndate: canary\r\nx-request-id: canary\r\n"
        );
        if kind == "text/event-stream" {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n");
            return vec![
                Step::Send(head.into_bytes()),
                chunk(b"data: [DONE]\n\n"),
                chunk(b""),
            ];
        }
        with_fields(&fields, b"{}")
    })
}

fn told(answer: &Answer) -> String {
    answer
        .fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect()
}

// EDGE-73
#[test]
fn no_field_of_the_list_comes_back_from_a_plain_upstream_in_any_case() {
    let origin = talkative("text/html");
    let gateway = plain(&origin);
    for case in 0..5 {
        let answer = gateway.call(&head(&format!("GET /x?{case}"), ""));
        assert_eq!(answer.status, 200);
        assert_eq!(canaries_in(told(&answer).as_bytes()), [""; 0], "{case}");
        for (name, value) in [
            ("content-type", "text/html"),
            ("etag", "\"e\""),
            ("x-custom", "kept"),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{name}");
        }
    }
}

// EDGE-73 LLM-6
#[test]
fn of_a_models_answer_only_listed_fields_come_back() {
    for (kind, stream) in [("application/json", "false"), ("text/event-stream", "true")] {
        let origin = talkative(kind);
        let url = origin.url();
        let provider = "allow_private: [\"127.0.0.1/32\"], forward_headers: [x-case], credentials: [{ secret: \"${UPSTREAM_KEY}\" }]";
        let config = format!("providers:\n  openai: {{ base_url: \"{url}\", {provider} }}\n");
        let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
        let token = gateway.mint_token(&serde_json::json!({ "project": "default" }));
        for case in 0..5 {
            let lines = format!(
                "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nX-Case: {case}\r\n"
            );
            let body = format!(r#"{{"model":"m","messages":[],"stream":{stream}}}"#);
            let answer = gateway.call(&post("/v1/chat/completions", &lines, body.as_bytes()));
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(
                canaries_in(told(&answer).as_bytes()),
                [""; 0],
                "{kind} {case}"
            );
            assert_eq!(
                (answer.field("x-custom"), answer.field("etag")),
                (None, None),
                "{kind}: what is not listed"
            );
        }
    }
}

// LLM-6
#[test]
fn the_limits_of_a_providers_account_come_back_only_where_settings_say_so() {
    const LIMITS: [&str; 3] = [
        "x-ratelimit-remaining-requests",
        "Anthropic-RateLimit-Tokens-Reset",
        "x-ratelimit-limit-tokens",
    ];
    for (kind, stream) in [("application/json", false), ("text/event-stream", true)] {
        for exposes in [false, true] {
            let origin = Origin::start(move |_| {
                let lines: String = LIMITS.iter().map(|name| format!("{name}: 7\r\n")).collect();
                let fields = format!("content-type: {kind}\r\n{lines}ratelimit: 7\r\n");
                let body: &[u8] = if stream { b"data: [DONE]\n\n" } else { b"{}" };
                with_fields(&fields, body)
            });
            let provider = format!(
                "base_url: \"{}\", allow_private: [\"127.0.0.1/32\"], credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]",
                origin.url()
            );
            let config = format!(
                "providers:\n  openai: {{ {provider} }}\nllm: {{ expose_upstream_limits: {exposes} }}\n"
            );
            let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
            let token = gateway.mint_token(&serde_json::json!({ "project": "default" }));
            let lines =
                format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
            let body = format!(r#"{{"model":"m","messages":[],"stream":{stream}}}"#);
            let answer = gateway.call(&post("/v1/chat/completions", &lines, body.as_bytes()));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let want = exposes.then_some("7");
            for name in LIMITS {
                let name = name.to_ascii_lowercase();
                assert_eq!(answer.field(&name), want, "{kind}: {name}");
            }
            assert_ne!(
                answer.field("ratelimit"),
                Some("7"),
                "{kind}: no field of ours"
            );
        }
    }
}

// EDGE-73
#[test]
fn the_credential_sent_never_comes_back_in_a_field() {
    let origin = Origin::start(|request| {
        let key = request
            .field("x-api-key")
            .or(request.field("authorization"))
            .unwrap_or_default();
        let bare = key.trim_start_matches("Bearer ");
        with_fields(
            &format!(
                "content-type: application/json\r\nx-echo: {key}\r\nx-part: id={bare};\r\nx-kept: yes\r\nopenai-processing-ms: {bare}\r\n"
            ),
            b"{}",
        )
    });
    for header in [
        "x-api-key: \"${UPSTREAM_KEY}\"",
        "authorization: \"Bearer ${UPSTREAM_KEY}\"",
    ] {
        let config = before(&origin, &free("GET /x"))
            .replace("32\"] }", &format!("32\"], headers: {{ {header} }} }}"));
        let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
        let answer = gateway.call(&head("GET /x", ""));
        assert!(
            !told(&answer).contains(UPSTREAM_KEY),
            "{header}: {}",
            told(&answer)
        );
        assert_eq!(answer.field("x-kept"), Some("yes"), "{header}");
    }
    let (gateway, token) = llm(&origin, "openai", "");
    let answer = gateway.call(&chat(&token, r#"{"model":"m","messages":[]}"#));
    assert_eq!(answer.status, 200);
    assert!(!told(&answer).contains(UPSTREAM_KEY));
}

// EDGE-100
#[test]
fn a_redirect_is_relayed_and_never_followed() {
    let trap = Origin::plain();
    let elsewhere = trap.url();
    let origin = Origin::start(move |request| {
        let location = match request.target.as_str() {
            "/x?relative" => "/next?a=b".to_owned(),
            "/x?own" => format!("http://{}/next", request.field("host").unwrap()),
            "/x?other" => elsewhere.clone(),
            _ => "https://metadata.example/".to_owned(),
        };
        vec![Step::Send(
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
                .into_bytes(),
        )]
    });
    let gateway = plain(&origin);
    for (query, want) in [
        ("relative", Some("/next?a=b")),
        ("own", Some("/next")),
        ("other", None),
        ("foreign", None),
    ] {
        let answer = gateway.call(&head(&format!("GET /x?{query}"), ""));
        assert_eq!(answer.status, 302, "{query}");
        let location = answer.field("location");
        let same_path = |want: &str| {
            location.is_some_and(|location| {
                location == want
                    || location.ends_with(&format!("127.0.0.1{want}"))
                    || location.ends_with(want)
            })
        };
        assert!(
            want.map_or(location.is_none(), same_path),
            "{query}: {location:?}"
        );
        assert!(
            location.is_none_or(|location| !location.contains(&origin.addr().to_string())),
            "{query}: the upstream's address"
        );
    }
    assert_eq!(trap.connections(), 0);
    let (gateway, token) = llm(&origin, "openai", "");
    let answer = gateway.call(&llm_call(
        "/v1/chat/completions",
        &token,
        r#"{"model":"m","messages":[]}"#,
    ));
    assert_eq!(
        (
            answer.status,
            answer.code().as_str(),
            answer.field("location")
        ),
        (502, "upstream_redirect", None)
    );
    assert_eq!(trap.connections(), 0);
}

// EDGE-74
#[test]
fn every_answer_has_a_request_id_and_the_callers_own_only_where_that_is_trusted() {
    let origin = Origin::start(|_| ok(b"ok"));
    let ours = |id: &str| {
        id.strip_prefix("req_")
            .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let trusting = gateway(format!(
        "server: {{ trust_request_id: true }}\n{}",
        before(&origin, &free("GET /x"))
    ))
    .start();
    let wary = plain(&origin);
    for (name, sent, taken) in [
        ("well formed", "abc.DEF_1-2", true),
        ("64 characters", &"a".repeat(64), true),
        ("too long", &"a".repeat(65), false),
        ("odd characters", "a b", false),
        ("a tag", "<script>", false),
        ("empty", "", false),
    ] {
        let request = head("GET /x", &format!("X-Request-Id: {sent}\r\n"));
        let answer = trusting.call(&request);
        let id = answer.field("x-request-id").unwrap();
        assert!(if taken { id == sent } else { ours(id) }, "{name}: {id}");
        assert!(
            ours(wary.call(&request).field("x-request-id").unwrap()),
            "{name}"
        );
    }
    let ids: std::collections::BTreeSet<_> = (0..50)
        .map(|_| {
            wary.call(&head("GET /x", ""))
                .field("x-request-id")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 50);
}

// EDGE-74
#[test]
fn a_correlation_id_comes_back_where_the_callers_ids_are_trusted() {
    let origin = Origin::start(|_| with_fields("x-correlation-id: theirs\r\n", b"ok"));
    let routes = before(&origin, &free("GET /x"));
    let trusting = gateway(format!("server: {{ trust_request_id: true }}\n{routes}")).start();
    let wary = plain(&origin);
    let answered = |gateway: &Gateway, target: &str, sent: &str| {
        let request = head(target, &format!("X-Correlation-ID: {sent}\r\n"));
        let answer = gateway.call(&request);
        answer.values("x-correlation-id").join(" and ")
    };
    for (target, sent, want) in [
        ("GET /x", "abc.DEF_1-2", "abc.DEF_1-2"),
        ("GET /nowhere", "abc", "abc"),
        ("GET /x", "a b", "theirs"),
        ("GET /nowhere", "<script>", ""),
    ] {
        assert_eq!(answered(&trusting, target, sent), want, "{target} {sent}");
    }
    assert_eq!(answered(&wary, "GET /x", "abc"), "theirs");
    assert_eq!(answered(&wary, "GET /nowhere", "abc"), "");
}

/// What the next test lets come back, and what of it does.
const LET_BACK: &str =
    "response: { allow: [Set-Cookie, server, X-Powered-By, content-security-policy, x-served-by] }";

/// An origin that answers with all of [`NEVER_RETURNED`], twice what is let back, and the key it
/// got.
fn open_hearted() -> Origin {
    Origin::start(|request| {
        let key = request
            .field("x-api-key")
            .or(request.field("authorization"))
            .unwrap_or("none");
        let let_back = [
            "Set-Cookie",
            "Server",
            "X-Powered-By",
            "Content-Security-Policy",
            "X-Served-By",
        ];
        let barred: Vec<_> = NEVER_RETURNED
            .iter()
            .copied()
            .filter(|name| !let_back.contains(name))
            .collect();
        let mut lines = "connection: x-served-by\r\nx-served-by: canary-named\r\n\
                         set-cookie: a=1\r\nSet-Cookie: b=2\r\nset_cookie: canary\r\nSERVER: theirs\r\n\
                         content-security-policy: canary\r\n"
            .to_owned();
        lines.push_str(&format!("x-powered-by: {key}\r\n"));
        for (name, case) in barred.iter().zip(CASES.iter().cycle()) {
            lines.push_str(&planted(&[name], *case));
        }
        lines.push_str("x-powered-by: plain\r\n");
        if request.target.contains("stream") || request.body.ends_with(b"\"stream\":true}") {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{lines}transfer-encoding: chunked\r\n\r\n"
            );
            return vec![
                Step::Send(head.into_bytes()),
                chunk(b"data: [DONE]\n\n"),
                chunk(b""),
            ];
        }
        with_fields(&format!("content-type: application/json\r\n{lines}"), b"{}")
    })
}

fn assert_let_back(answer: &Answer, name: &str) {
    assert_eq!(answer.status, 200, "{name}");
    assert_eq!(canaries_in(told(answer).as_bytes()), [""; 0], "{name}");
    assert!(!told(answer).contains(UPSTREAM_KEY), "{name}");
    assert_eq!(answer.values("set-cookie"), ["a=1", "b=2"], "{name}");
    assert_eq!(answer.values("server"), ["theirs"], "{name}");
    assert_eq!(answer.values("x-powered-by"), ["plain"], "{name}");
    // What the gateway says itself stays the only word.
    assert_eq!(answer.values("content-security-policy").len(), 1, "{name}");
}

// EDGE-73
#[test]
fn only_fields_that_settings_name_come_back_and_never_with_the_credential() {
    let origin = open_hearted();
    let set = format!("headers: {{ set: {{ x-api-key: \"${{UPSTREAM_KEY}}\" }}, {LET_BACK} }}");
    let config = before(&origin, &free("GET /x"))
        .replace("allow_private:", &format!("{set}, allow_private:"));
    let plain = gateway(config)
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .set("server.h2c", "true")
        .start();
    for target in ["/x", "/x?stream"] {
        assert_let_back(&plain.call(&head(&format!("GET {target}"), "")), target);
        let mut client = tollkeep_testkit::Http2Client::connect(plain.data());
        let request = client.request("GET", target, &[]);
        assert_let_back(&client.call(request, b"").unwrap(), "HTTP/2");
    }
    let (models, token) = llm(
        &origin,
        "openai",
        &format!("    headers: {{ {LET_BACK} }}\n"),
    );
    for body in [
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":"m","messages":[],"stream":true}"#,
    ] {
        assert_let_back(&models.call(&chat(&token, body)), body);
    }
}
