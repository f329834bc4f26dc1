//! Which fields cross the gateway, in either direction: canaries for all that never do.

use crate::fixture::{UPSTREAM_KEY, before, chat, free, gateway, head, llm, llm_call, post};
use tollkeep_testkit::{Answer, Gateway, Origin, Step, chunk, ok, with_fields};

/// What every planted value holds.
const CANARY: &str = "canary";

/// EDGE-70; what stands for a family has one of its names.
const NEVER_UPSTREAM: &[&str] = &[
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Anything",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Anything",
    "Forwarded",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-URL",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-Envoy-External-Address",
    "Via",
    "True-Client-IP",
    "Client-IP",
    "CDN-Loop",
    "CF-Connecting-IP",
    "Cdn-Anything",
    "X-Vercel-Id",
    "Fastly-Client-IP",
    "X-Amzn-Trace-Id",
    "X-Amz-Cf-Id",
    "X-Azure-ClientIP",
    "X-Akamai-Edgescape",
    "Akamai-Origin-Hop",
    "X-Appengine-User-Ip",
    "X-Cloud-Trace-Context",
    "Fly-Client-IP",
    "Cookie",
    "Cookie2",
    "Authorization",
    "X-Api-Key",
    "X-Goog-Api-Key",
    "Api-Key",
    "X-Management-Key",
    "PAYMENT-SIGNATURE",
    "X-PAYMENT",
    "X-PAYMENT-RESPONSE",
    "X-Session-Token",
    "X-Bolthub-Proof",
    "Macaroon",
    "Grpc-Metadata-Macaroon",
    "X-Gateway-Signature",
    "X-Tollkeep-Project",
    "Tollkeep-Hop",
    "X-Proxy-Anything",
    "X-Admin-Origin",
    "X-Body-Hash",
    "X-Accel-Redirect",
    "X-Sendfile",
    "X-HTTP-Method-Override",
    "X-Method-Override",
];

/// Of EDGE-70, what never goes to LLM providers.
const NEVER_TO_PROVIDERS: &[&str] = &[
    "Origin",
    "Referer",
    "Sec-Fetch-Site",
    "Sec-CH-UA",
    "DNT",
    "X-Custom",
    "Accept-Language",
    "X-Stainless-Os",
];

/// EDGE-73.
const NEVER_RETURNED: &[&str] = &[
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
];

/// The cases a name may be written in.
const CASES: [fn(&str) -> String; 3] = [
    |name| name.to_owned(),
    |name| name.to_lowercase(),
    |name| name.to_uppercase(),
];

/// A field line for each name, with a canary that names it.
fn planted(names: &[&str], case: fn(&str) -> String) -> String {
    names
        .iter()
        .map(|name| format!("{}: {CANARY}-{}\r\n", case(name), name.to_lowercase()))
        .collect()
}

/// The canaries in a text, to tell which field passed.
fn canaries_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split(CANARY)
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| !c.is_whitespace()).collect())
        .collect()
}

fn plain(origin: &Origin) -> Gateway {
    gateway(before(origin, &["GET /x", "POST /x"].map(free).concat())).start()
}

// EDGE-70
#[test]
fn no_field_of_the_list_reaches_a_plain_upstream_in_any_case() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    for case in CASES {
        let named = "Connection: X-Named, keep-alive\r\nX-Named: canary-named\r\n";
        let request = head(
            "GET /x",
            &format!("{named}{}", planted(NEVER_UPSTREAM, case)),
        );
        assert_eq!(gateway.call(&request).status, 200);
    }
    assert_eq!(canaries_in(&origin.raw().concat()), [""; 0]);
    assert_eq!(origin.count(), CASES.len());
}

// EDGE-24 EDGE-70
#[test]
fn a_name_of_the_list_written_with_underscores_is_refused() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    for name in NEVER_UPSTREAM.iter().filter(|name| name.contains('-')) {
        for case in CASES {
            let all = case(&name.replace('-', "_"));
            let one = case(&name.replacen('-', "_", 1));
            for line in [all, one] {
                let answer = gateway.call(&head("GET /x", &format!("{line}: {CANARY}\r\n")));
                assert_eq!((answer.status, answer.closes()), (400, true), "{line}");
            }
        }
    }
    for line in ["Content_Length: 0", "Transfer_Encoding: chunked"] {
        assert_eq!(
            gateway.call(&head("GET /x", &format!("{line}\r\n"))).status,
            400,
            "{line}"
        );
    }
    assert_eq!(origin.connections(), 0);
}

// EDGE-70 EDGE-71 LLM-6
#[test]
fn a_provider_gets_a_few_fields_and_nothing_that_tells_of_the_caller() {
    let origin = Origin::start(|_| with_fields("content-type: application/json\r\n", b"{}"));
    let (gateway, token) = llm(&origin, "openai", "");
    // The credential is one of the list, and needed here.
    let listed: Vec<_> = NEVER_UPSTREAM
        .iter()
        .copied()
        .filter(|name| !name.ends_with("Api-Key") && *name != "Authorization")
        .collect();
    for case in CASES {
        let body = br#"{"model":"m","messages":[]}"#;
        let wanted = "OpenAI-Beta: beta-1\r\nIdempotency-Key: key-1\r\nUser-Agent: canary-agent\r\nX-Api-Key: ";
        let lines = format!(
            "Content-Type: application/json\r\nAccept: {CANARY}/json\r\n{wanted}{token}\r\n{}{}",
            planted(&listed, case),
            planted(NEVER_TO_PROVIDERS, case)
        );
        let answer = gateway.call(&post("/v1/chat/completions", &lines, body));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let raw = origin.raw().concat();
    assert_eq!(canaries_in(&raw), [""; 0]);
    assert!(
        !String::from_utf8_lossy(&raw).contains(&token),
        "the caller's token"
    );
    let request = origin.last();
    let mut sorted: Vec<_> = request
        .fields
        .iter()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    sorted.sort();
    let expected = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "openai-beta",
        "tollkeep-hop",
        "user-agent",
    ];
    assert_eq!(sorted, expected);
    for (name, value) in [
        ("host", origin.addr().to_string()),
        ("authorization", format!("Bearer {UPSTREAM_KEY}")),
        ("accept", "application/json".to_owned()),
        ("accept-encoding", "identity".to_owned()),
        ("user-agent", "tollkeep".to_owned()),
        ("openai-beta", "beta-1".to_owned()),
        ("idempotency-key", "key-1".to_owned()),
    ] {
        assert_eq!(request.field(name), Some(value.as_str()), "{name}");
    }
}

// EDGE-71
#[test]
fn settings_add_fields_to_what_a_provider_gets_and_win_over_the_caller() {
    let origin = Origin::start(|_| with_fields("content-type: application/json\r\n", b"{}"));
    let url = origin.url();
    let config = format!(
        "providers:\n  openai:\n    base_url: \"{url}\"\n    allow_private: [\"127.0.0.1/32\"]\n    credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n    \
         forward_headers: [x-custom, x-fixed]\n    headers: {{ x-fixed: ours }}\nllm: {{ forward_user_agent: true }}\n"
    );
    let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    let token = gateway.mint_token(&serde_json::json!({ "project": "default" }));
    let lines = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nX-Custom: theirs\r\nX-Fixed: theirs\r\nUser-Agent: sdk/1\r\n"
    );
    assert_eq!(
        gateway
            .call(&post("/v1/chat/completions", &lines, br#"{"model":"m"}"#))
            .status,
        200
    );
    let request = origin.last();
    assert_eq!(request.field("x-custom"), Some("theirs"));
    assert_eq!(
        request
            .fields
            .iter()
            .filter(|(name, _)| name == "x-fixed")
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>(),
        ["ours"]
    );
    assert_eq!(request.field("user-agent"), Some("sdk/1"));
}

// EDGE-71 EDGE-72 EDGE-74
#[test]
fn a_plain_upstream_gets_the_callers_other_fields_and_those_the_gateway_writes() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    let lines = "X-Custom: a  b\r\nX-Twice: 1\r\nX-Twice: 2\r\nAccept: text/html\r\nUser-Agent: browser/1\r\nRange: bytes=0-1\r\n\
                 If-None-Match: \"e\"\r\nsession_id: s1\r\nX_Other: canary\r\nAccept-Encoding: gzip;q=0.5, deflate, br, x-odd\r\nX-Request-Id: canary\r\n\
                 Origin: https://a.example\r\nReferer: https://a.example/x\r\n";
    let answer = gateway.call(&post("/x", lines, b"hello"));
    let request = origin.last();
    for (name, value) in [
        ("x-custom", "a  b"),
        ("accept", "text/html"),
        ("user-agent", "browser/1"),
        ("range", "bytes=0-1"),
        ("if-none-match", "\"e\""),
        ("origin", "https://a.example"),
        ("referer", "https://a.example/x"),
        ("accept-encoding", "gzip;q=0.5, br"),
        ("content-length", "5"),
        ("host", &origin.addr().to_string()),
        ("x-request-id", answer.field("x-request-id").unwrap()),
    ] {
        let values: Vec<_> = request
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(values, [value], "{name}");
    }
    let twice: Vec<_> = request
        .fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-twice"))
        .collect();
    assert_eq!(twice.len(), 2);
    assert!(
        request
            .fields
            .iter()
            .any(|(name, value)| name.replace('_', "-") == "session-id" && value == "s1"),
        "{request:?}"
    );
    assert_eq!(canaries_in(&origin.raw().concat()), [""; 0]);
    for (accepted, sent) in [
        ("", None),
        ("Accept-Encoding: deflate\r\n", Some("identity")),
        ("Accept-Encoding: GZIP\r\n", Some("GZIP")),
    ] {
        gateway.call(&head("GET /x", accepted));
        assert_eq!(origin.last().field("accept-encoding"), sent, "{accepted}");
    }
    gateway.call(&head("GET /x", ""));
    assert_eq!(
        origin.last().field("content-length"),
        None,
        "a GET has no length"
    );
}

// EDGE-60 EDGE-71
#[test]
fn the_callers_address_is_told_afresh_where_settings_say_so() {
    let origin = Origin::plain();
    let config = before(&origin, &free("GET /x")).replace(
        "32\"] }",
        "32\"], forward_client_ip: true, headers: { x-fixed: ours } }",
    );
    let server = "server: { trusted_proxies: [\"127.0.0.1/32\"] }\n";
    for (name, server, ip, scheme) in [
        ("nobody is trusted", "", "127.0.0.1", "http"),
        ("the peer is trusted", server, "203.0.113.9", "https"),
    ] {
        let gateway = gateway(format!("{server}{config}")).start();
        let lines = "X-Forwarded-For: 198.51.100.7, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 198.51.100.8\r\nX-Fixed: theirs\r\n";
        gateway.call(&head("GET /x", lines));
        let request = origin.last();
        let all = |wanted: &str| {
            request
                .fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (
                all("x-forwarded-for"),
                all("x-real-ip"),
                all("x-forwarded-proto")
            ),
            (
                vec![ip.to_owned()],
                vec![ip.to_owned()],
                vec![scheme.to_owned()]
            ),
            "{name}"
        );
        assert_eq!(all("x-fixed"), ["ours"], "{name}");
    }
}

/// An origin that answers with every field of [`NEVER_RETURNED`] in the case its query names.
fn talkative(kind: &'static str) -> Origin {
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
