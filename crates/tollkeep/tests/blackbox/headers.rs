//! Which fields go upstream: canaries for all that never do.

use crate::fixture::{UPSTREAM_KEY, before, free, gateway, head, llm, post};
use tollkeep_testkit::{Gateway, Origin, with_fields};

/// What every planted value holds.
pub(crate) const CANARY: &str = "canary";

/// EDGE-70; what stands for a family has one of its names.
pub(crate) const NEVER_UPSTREAM: &[&str] = &[
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
    "Client-Cert",
    "X-Client-Cert",
    "X-SSL-Client-Verify",
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

/// The cases a name may be written in.
pub(crate) const CASES: [fn(&str) -> String; 3] = [
    |name| name.to_owned(),
    |name| name.to_lowercase(),
    |name| name.to_uppercase(),
];

/// A field line for each name, with a canary that names it.
pub(crate) fn planted(names: &[&str], case: fn(&str) -> String) -> String {
    names
        .iter()
        .map(|name| format!("{}: {CANARY}-{}\r\n", case(name), name.to_lowercase()))
        .collect()
}

/// The canaries in a text, to tell which field passed.
pub(crate) fn canaries_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split(CANARY)
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| !c.is_whitespace()).collect())
        .collect()
}

pub(crate) fn plain(origin: &Origin) -> Gateway {
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

// LLM-6
#[test]
fn a_provider_is_asked_for_the_betas_of_its_list_alone() {
    let asked = "tools-2026-01-01, files-api,computer-use-2025-11-24 ,,tools-x";
    for (betas, asked, want) in [
        ("", asked, Some(asked)),
        (
            "allowed_betas: [\"tools-*\", files-api], ",
            asked,
            Some("tools-2026-01-01,files-api,tools-x"),
        ),
        ("allowed_betas: [files], ", asked, None),
        ("allowed_betas: [], ", asked, None),
        ("allowed_betas: [\"*\"], ", "a", Some("a")),
    ] {
        let origin = Origin::start(|_| with_fields("content-type: application/json\r\n", b"{}"));
        let provider = format!(
            "base_url: \"{}\", {betas}allow_private: [\"127.0.0.1/32\"], credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]",
            origin.url()
        );
        let gateway = gateway(format!("providers:\n  anthropic: {{ {provider} }}\n"))
            .env("UPSTREAM_KEY", UPSTREAM_KEY)
            .start();
        let token = gateway.mint_token(&serde_json::json!({ "project": "default" }));
        let lines = format!(
            "x-api-key: {token}\r\nContent-Type: application/json\r\nAnthropic-Beta: {asked}\r\n"
        );
        let body = br#"{"model":"m","max_tokens":1,"messages":[]}"#;
        assert_eq!(
            gateway.call(&post("/v1/messages", &lines, body)).status,
            200
        );
        assert_eq!(origin.last().field("anthropic-beta"), want, "{betas}");
    }
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

// EDGE-70 EDGE-71
#[test]
fn of_the_callers_cookies_only_those_that_are_named_go_upstream() {
    let origin = Origin::plain();
    let routes = before(&origin, &free("ANY /x"));
    let named = routes.replace(
        "allow_private:",
        "forward_cookies: [sid, lang], allow_private:",
    );
    let (gateway, none) = (
        gateway(named.clone()).set("server.h2c", "true").start(),
        gateway(routes).start(),
    );
    let lines = "Cookie: sid=1; other=canary; lang=de; SID=canary\r\n";
    assert_eq!(gateway.call(&head("GET /x", lines)).status, 200);
    assert_eq!(origin.last().field("cookie"), Some("sid=1; lang=de"));
    assert_eq!(
        gateway
            .call(&head("GET /x", "Cookie: other=canary\r\n"))
            .status,
        200
    );
    assert_eq!(origin.last().field("cookie"), None);
    // In crumbs, as browsers send them over HTTP/2.
    let mut client = tollkeep_testkit::Http2Client::connect(gateway.data());
    let crumbs = [
        ("cookie", "a=canary"),
        ("cookie", "lang=fr"),
        ("cookie", "sid=2"),
    ];
    let request = client.request("GET", "/x", &crumbs);
    assert_eq!(client.call(request, b"").unwrap().status, 200);
    assert_eq!(origin.last().field("cookie"), Some("lang=fr; sid=2"));
    // A field that the settings set wins, and without names there is none.
    let set = named.replace(
        "allow_private:",
        "headers: { cookie: \"fixed=1\" }, allow_private:",
    );
    let fixed = crate::fixture::gateway(set).start();
    assert_eq!(fixed.call(&head("GET /x", lines)).status, 200);
    assert_eq!(origin.last().field("cookie"), Some("fixed=1"));
    assert_eq!(none.call(&head("GET /x", lines)).status, 200);
    assert_eq!(origin.last().field("cookie"), None);
    assert_eq!(canaries_in(&origin.raw().concat()), [""; 0]);
}

/// The names of the fields of the last request, sorted.
fn names_sent(origin: &Origin) -> Vec<String> {
    let fields = origin.last().fields;
    let mut names: Vec<_> = fields.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    names
}

// EDGE-70 EDGE-71 EDGE-72
#[test]
#[expect(clippy::too_many_lines, reason = "one question after the other")]
fn in_allow_mode_only_listed_fields_go_upstream_whatever_else_is_planted() {
    let origin = Origin::plain();
    let rules = "forward_origin: true, headers: { request: { mode: allow }, allow: [x-mine, accept], \
                 set: { x-fixed: ours, x-key: \"${UPSTREAM_KEY}\" } }, allow_private:";
    let config = before(&origin, &free("GET /x")).replace("allow_private:", rules);
    let config =
        format!("server: {{ http: {{ underscore_headers: [x_mine, x_fixed] }} }}\n{config}");
    let gateway = gateway(config)
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .set("server.h2c", "true")
        .start();
    let unlisted = [
        "Referer",
        "Sec-Fetch-Site",
        "DNT",
        "X-Custom",
        "X-Mine2",
        "User-Agent",
        "X-Fixed",
        "X-Key",
        "Content-Language",
        "X-Request-Id",
    ];
    let never: Vec<_> = NEVER_UPSTREAM.iter().chain(&unlisted).copied().collect();
    let kept = [
        ("x-mine", "yes"),
        ("accept", "text/html"),
        ("origin", "https://a.example"),
    ];
    let wanted = [
        "accept",
        "host",
        "origin",
        "tollkeep-hop",
        "user-agent",
        "x-fixed",
        "x-key",
        "x-mine",
        "x-request-id",
    ];
    let check = |name: &str| {
        assert_eq!(names_sent(&origin), wanted, "{name}");
        let request = origin.last();
        let ours = [
            ("x-fixed", "ours"),
            ("x-key", UPSTREAM_KEY),
            ("user-agent", "tollkeep"),
        ];
        for (name, value) in kept.into_iter().chain(ours) {
            assert_eq!(request.field(name), Some(value), "{name}");
        }
    };
    for case in CASES {
        let kept: String = kept
            .iter()
            .map(|(name, value)| format!("{}: {value}\r\n", case(name)))
            .collect();
        let folded = format!(
            "{}: canary\r\n{}: canary\r\n",
            case("x_mine"),
            case("x_fixed")
        );
        let lines = format!("{kept}{folded}{}", planted(&never, case));
        assert_eq!(gateway.call(&head("GET /x", &lines)).status, 200);
        check("HTTP/1.1");
    }
    let names: Vec<String> = never
        .iter()
        .filter(|name| !["Keep-Alive", "Proxy-Connection", "TE", "Upgrade"].contains(name))
        .map(|name| name.to_lowercase())
        .chain(["x_mine".to_owned(), "x_fixed".to_owned()])
        .collect();
    let plants = names.iter().map(|name| (name.as_str(), CANARY));
    let fields: Vec<_> = kept.into_iter().chain(plants).collect();
    let mut client = tollkeep_testkit::Http2Client::connect(gateway.data());
    let request = client.request("GET", "/x", &fields);
    assert_eq!(client.call(request, b"").unwrap().status, 200);
    check("HTTP/2");
    assert_eq!(canaries_in(&origin.raw().concat()), [""; 0]);
    // A caller's name for itself goes where that is listed.
    let config = before(&origin, &free("GET /x")).replace(
        "allow_private:",
        "headers: { request: { mode: allow }, allow: [user-agent] }, allow_private:",
    );
    let named = crate::fixture::gateway(config).start();
    for (lines, want) in [("User-Agent: sdk/1\r\n", "sdk/1"), ("", "tollkeep")] {
        assert_eq!(named.call(&head("GET /x", lines)).status, 200);
        assert_eq!(origin.last().field("user-agent"), Some(want));
    }
}

// EDGE-71
#[test]
fn fields_that_settings_set_or_remove_are_theirs_in_any_spelling() {
    let origin = Origin::plain();
    let rules = "forward_origin: false, forward_client_ip: true, headers: { \
                 remove: [x-gone, x-request-id, accept-encoding, x-real-ip], \
                 set: { x-fixed: ours, user-agent: fixed/1 } }, allow_private:";
    let config = before(&origin, &free("GET /x")).replace("allow_private:", rules);
    let config =
        format!("server: {{ http: {{ underscore_headers: [x_gone, x_fixed] }} }}\n{config}");
    let gateway = gateway(config).start();
    for case in CASES {
        let names = [
            "X-Gone",
            "x_gone",
            "X-Fixed",
            "x_fixed",
            "User-Agent",
            "Accept-Encoding",
            "X-Real-IP",
            "X-Request-Id",
        ];
        let lines = format!(
            "{}Origin: https://canary.example\r\n{}: yes\r\n",
            planted(&names, case),
            case("X-Kept")
        );
        assert_eq!(gateway.call(&head("GET /x", &lines)).status, 200);
        let wanted = [
            "host",
            "tollkeep-hop",
            "user-agent",
            "x-fixed",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-kept",
        ];
        assert_eq!(names_sent(&origin), wanted);
        assert_eq!(origin.last().field("user-agent"), Some("fixed/1"));
        assert_eq!(origin.last().field("x-fixed"), Some("ours"));
    }
    assert_eq!(canaries_in(&origin.raw().concat()), [""; 0]);
}
