//! Pages of other origins: what browsers are told, and the answer to their preflights.

use crate::fixture::{TOLLKEEP, before, free, gateway, head, llm};
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin, eventually, with_fields};

const PAGE: &str = "https://app.example.com";
const CORS: &str = "server: { cors: { allowed_origins: [\"https://app.example.com\"] } }\n";
const EXPOSED: &str = "payment-required, payment-response, x-payment-response, payment-receipt, \
                       x-tollkeep-payment, x-tollkeep-credit, x-tollkeep-replayed, x-tollkeep-receipt, x-tollkeep-sandbox, \
                       x-tollkeep-error, x-tollkeep-cost, x-tollkeep-hold, x-tollkeep-budget, \
                       x-tollkeep-budget-remaining, x-tollkeep-reset, x-tollkeep-max-output, \
                       x-bolthub-payment, x-bolthub-payment-code, x-session-token, x-session-expires, \
                       x-session-balance, www-authenticate, x-request-id, retry-after, ratelimit, \
                       ratelimit-policy";
const SENDABLE: &str = "content-type, authorization, x-api-key, payment-signature, x-payment, \
                        x-session-token, x-tollkeep-credit, payment-authorization, idempotency-key, anthropic-version, anthropic-beta";

/// A gateway with CORS for [`PAGE`] before routes of each kind.
fn served(config: &str) -> (Origin, Gateway) {
    let origin = Origin::start(|_| {
        let own = "access-control-allow-origin: *\r\nvary: Accept-Encoding\r\n";
        with_fields(own, b"ok")
    });
    let listed = "  \"POST /listed\": { upstream: origin, access: free, \
                  allowed_origins: [\"https://shop.example.com\"] }\n";
    let routes = ["GET /x", "POST,PUT /x", "ANY /any"].map(free).concat();
    let upstream = before(&origin, &format!("{routes}{listed}"));
    let gateway = gateway(format!("{config}{upstream}")).start();
    (origin, gateway)
}

fn from(origin: &str) -> String {
    format!("Origin: {origin}\r\n")
}

fn preflight(path: &str, origin: &str, method: &str, more: &str) -> Vec<u8> {
    let asked = format!("Access-Control-Request-Method: {method}\r\n{more}");
    head(&format!("OPTIONS {path}"), &(from(origin) + &asked))
}

/// What an answer tells a browser: the origin allowed, whether others may embed it, what it
/// varies by.
fn told(answer: &Answer) -> (Option<&str>, Option<&str>, String) {
    (
        answer.field("access-control-allow-origin"),
        answer.field("cross-origin-resource-policy"),
        answer.values("vary").join(", "),
    )
}

fn cors_fields(answer: &Answer) -> Vec<&str> {
    let names = answer.fields.iter().map(|(name, _)| name.as_str());
    names
        .filter(|name| name.to_ascii_lowercase().starts_with("access-control-"))
        .collect()
}

/// Rejected for this reason; the audit has the first of an address and minute only.
fn assert_counted(gateway: &Gateway, name: &str, reason: &str) {
    let series = format!("tollkeep_requests_rejected_total{{reason=\"{reason}\"}}");
    eventually(name, || {
        gateway.metrics_text().contains(&series).then_some(())
    });
    gateway.audit_line(name, |line| line["action"] == "request.rejected");
}

// EDGE-80
#[test]
fn without_cors_no_field_of_it_is_sent_and_options_is_a_method_like_any_other() {
    let (origin, gateway) = served("");
    for request in [
        head("GET /x", &from(PAGE)),
        preflight("/x", PAGE, "GET", ""),
        preflight("/any", PAGE, "GET", ""),
        head("GET /nowhere", &from(PAGE)),
    ] {
        let answer = gateway.call(&request);
        assert_eq!(cors_fields(&answer), [""; 0], "{answer:?}");
        assert!(!answer.values("vary").join(",").contains("Origin"));
    }
    assert_eq!(gateway.call(&preflight("/x", PAGE, "GET", "")).status, 405);
    assert_eq!(
        gateway.call(&preflight("/any", PAGE, "GET", "")).status,
        200
    );
    assert_eq!(origin.last().method, "OPTIONS");
}

// EDGE-81 EDGE-82 PAY-55
#[test]
fn an_allowed_origin_is_told_so_on_every_answer_and_no_other_one_is() {
    let (_origin, gateway) = served(CORS);
    for (start, status) in [
        ("GET /x", 200),
        ("GET /nowhere", 404),
        ("DELETE /x", 405),
        ("GET /x//y", 400),
        ("OPTIONS *", 204),
        ("GET /health", 200),
    ] {
        let answer = gateway.call(&head(start, &from(PAGE)));
        assert_eq!(answer.status, status, "{start}");
        let (allowed, policy, vary) = told(&answer);
        assert_eq!(allowed, Some(PAGE), "{start}");
        assert_eq!(policy, Some("cross-origin"), "{start}");
        assert!(vary.starts_with("Origin"), "{start}: {vary}");
        assert_eq!(answer.values("access-control-allow-origin").len(), 1);
        assert_eq!(answer.field("access-control-expose-headers"), Some(EXPOSED));
        assert_eq!(answer.field("access-control-allow-credentials"), None);
        for lines in [from("https://evil.example"), String::new()] {
            let answer = gateway.call(&head(start, &lines));
            assert_eq!(answer.status, status, "{start} {lines}");
            assert_eq!(cors_fields(&answer), [""; 0], "{start} {lines}");
            let (_, policy, vary) = told(&answer);
            assert_eq!(policy, Some("same-origin"), "{start} {lines}");
            assert!(vary.starts_with("Origin"), "{start} {lines}: {vary}");
        }
    }
    let broken = gateway.call(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nbad name: x\r\n\r\n");
    assert_eq!((broken.status, broken.field("vary")), (400, Some("Origin")));
    let relayed = gateway.call(&head("GET /x", ""));
    assert_eq!(told(&relayed).2, "Origin, Accept-Encoding");
}

// EDGE-81
#[test]
fn only_the_origin_itself_matches_it() {
    let (_origin, gateway) = served(CORS);
    let mut client = gateway.connect();
    for (sent, same) in [
        ("null", false),
        ("*", false),
        ("http://app.example.com", false),
        ("https://app.example.com.evil.test", false),
        ("https://evil.test@app.example.com", false),
        ("https://app.example.com/", false),
        ("https://app.example.com:8443", false),
        ("https://app.example.com.", false),
        ("https://xapp.example.com", false),
        ("https://x.app.example.com", false),
        ("https://example.com", false),
        ("https://app.example.com:443", true),
        ("HTTPS://APP.EXAMPLE.COM", true),
    ] {
        let answer = client.call(&head("GET /x", &from(sent)));
        let want = same.then_some(PAGE);
        assert_eq!(told(&answer).0, want, "{sent}");
        assert_eq!(answer.status, 200, "{sent}: it is served all the same");
        let asked = client.call(&preflight("/x", sent, "POST", ""));
        let want = if same { 204 } else { 403 };
        assert_eq!(asked.status, want, "{sent}");
    }
    let two = head("GET /x", &(from(PAGE) + &from(PAGE)));
    assert_eq!(gateway.call(&two).status, 400);
}

// EDGE-82
#[test]
fn a_preflight_is_answered_by_the_gateway_and_reaches_nothing_behind_it() {
    let (origin, gateway) = served(CORS);
    let fields = |names: &str| format!("Access-Control-Request-Headers: {names}\r\n");
    #[rustfmt::skip]
    let rows = [
        ("a method there", "/x", "PUT", String::new(), 204, ""),
        ("HEAD comes with GET", "/x", "HEAD", String::new(), 204, ""),
        ("any method", "/any", "PATCH", String::new(), 204, ""),
        ("listed fields", "/x", "POST", fields("Authorization,content-type"), 204, ""),
        ("a query", "/x?a=1", "POST", String::new(), 204, ""),
        ("an unlisted field", "/x", "POST", fields("x-evil"), 403, "cors_header"),
        ("another method", "/x", "DELETE", String::new(), 403, "cors_method"),
        ("no method", "/x", "BREW", String::new(), 403, "cors_method"),
        ("a method in another case", "/x", "post", String::new(), 403, "cors_method"),
        ("two methods", "/x", "GET", "Access-Control-Request-Method: PUT\r\n".to_owned(), 403, "cors_method"),
        ("the route has other origins", "/listed", "POST", String::new(), 403, "cors_origin"),
        ("no path", "/nowhere", "GET", String::new(), 404, ""),
        ("no provider, so no surface", "/v1/chat/completions", "POST", String::new(), 404, ""),
        ("an encoded slash", "/x%2Fy", "GET", String::new(), 400, ""),
        ("a body", "/x", "POST", "Content-Length: 1\r\n".to_owned(), 400, ""),
    ];
    for (name, path, method, more, status, reason) in rows {
        let answer = gateway.call(&preflight(path, PAGE, method, &more));
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(
            told(&answer).2,
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            "{name}"
        );
        if status == 204 {
            assert_eq!(told(&answer).0, Some(PAGE), "{name}");
            assert_eq!(
                answer.field("access-control-allow-headers"),
                Some(SENDABLE),
                "{name}"
            );
            assert_eq!(
                answer.field("access-control-max-age"),
                Some("86400"),
                "{name}"
            );
            let methods = answer.field("access-control-allow-methods").unwrap();
            assert!(
                methods.split(", ").any(|own| own == method),
                "{name}: {methods}"
            );
        }
        if status == 403 {
            assert_eq!(answer.code(), "origin_not_allowed", "{name}");
            assert_counted(&gateway, name, reason);
        }
    }
    let methods = gateway.call(&preflight("/x", PAGE, "PUT", ""));
    assert_eq!(
        methods.field("access-control-allow-methods"),
        Some("GET, HEAD, POST, PUT")
    );
    assert_eq!(origin.count(), 0);
    let calls = |line: &serde_json::Value| line["action"] == "proxy_request";
    assert!(!gateway.audit_lines().iter().any(calls));
    let plain = gateway.call(&head("OPTIONS /any", &from(PAGE)));
    assert_eq!(plain.status, 200, "no preflight: the request itself");
    assert_eq!(origin.last().method, "OPTIONS");
}

// EDGE-82
#[test]
fn a_preflight_needs_no_token_where_the_call_does() {
    let origin = Origin::plain();
    let (gateway, token) = llm(&origin, "openai", CORS);
    let path = "/v1/chat/completions";
    let asked = "Access-Control-Request-Headers: authorization, content-type\r\n";
    let answer = gateway.call(&preflight(path, PAGE, "POST", asked));
    assert_eq!((answer.status, told(&answer).0), (204, Some(PAGE)));
    assert_eq!(answer.field("access-control-allow-methods"), Some("POST"));
    assert_eq!(
        gateway.call(&preflight(path, PAGE, "GET", "")).status,
        403,
        "not a method of the surface"
    );
    let refused = gateway.call(&head("GET /v1/models", &from(PAGE)));
    assert_eq!((refused.status, told(&refused).0), (401, Some(PAGE)));
    let bearer = format!("{}Authorization: Bearer {token}\r\n", from(PAGE));
    let listed = gateway.call(&head("GET /v1/models", &bearer));
    assert_eq!((listed.status, told(&listed).0), (200, Some(PAGE)));
    assert_eq!(origin.count(), 0);
}

// EDGE-82
#[test]
fn preflights_count_against_their_address() {
    for scope in ["all", "unproven"] {
        let limit = format!(
            "server: {{ cors: {{ allowed_origins: [\"{PAGE}\"] }}, security: {{ rate_limiting: \
             {{ requests_per_second: 1, burst: 3, scope: {scope} }} }} }}\n"
        );
        let origin = Origin::plain();
        let config = format!("{limit}{}", before(&origin, &free("GET /x")));
        let gateway = Gateway::builder(TOLLKEEP).config(config).start();
        let statuses: Vec<u16> = (0..5)
            .map(|_| gateway.call(&preflight("/x", PAGE, "GET", "")).status)
            .collect();
        assert_eq!(statuses[..3], [204; 3], "{scope}");
        assert!(statuses[3..].contains(&429), "{scope}: {statuses:?}");
    }
}

// EDGE-80 EDGE-82
#[test]
fn what_is_written_is_what_browsers_are_told() {
    let all = "server: { cors: { allow_all: true, max_age_s: 5, allowed_methods: [GET, PUT], \
               allowed_headers: [X-One], exposed_headers: [X-Two] } }\n";
    let (_origin, gateway) = served(all);
    for lines in [from("https://evil.example"), String::new()] {
        let answer = gateway.call(&head("GET /x", &lines));
        assert_eq!(told(&answer).0, Some("*"), "{lines}");
        assert_eq!(answer.field("access-control-expose-headers"), Some("x-two"));
    }
    let answer = gateway.call(&preflight("/x", "https://any.example", "PUT", ""));
    assert_eq!((answer.status, told(&answer).0), (204, Some("*")));
    for (field, want) in [
        ("access-control-max-age", "5"),
        ("access-control-allow-headers", "x-one"),
        ("access-control-allow-methods", "GET, PUT"),
    ] {
        assert_eq!(answer.field(field), Some(want), "{field}");
    }
    let other = gateway.call(&preflight("/x", "https://any.example", "POST", ""));
    assert_eq!(other.status, 403);
    let (_origin, gateway) = served(&CORS.replace("] }", "], allow_credentials: true }"));
    let answer = gateway.call(&preflight("/x", PAGE, "PUT", ""));
    assert_eq!(
        answer.field("access-control-allow-credentials"),
        Some("true")
    );
}

// EDGE-81
#[test]
fn a_route_with_origins_takes_calls_from_nowhere_else() {
    for config in ["", CORS] {
        let (origin, gateway) = served(config);
        for (name, lines, status, code) in [
            ("its own", from("https://shop.example.com"), 200, ""),
            (
                "another port",
                from("https://shop.example.com:8443"),
                403,
                "origin_not_allowed",
            ),
            ("null", from("null"), 403, "origin_not_allowed"),
            ("the page's", from(PAGE), 403, "origin_not_allowed"),
            ("none", String::new(), 400, "origin_required"),
        ] {
            let answer = gateway.call(&head("POST /listed", &(lines + "Content-Length: 0\r\n")));
            assert_eq!(answer.status, status, "{name}");
            if status != 200 {
                assert_eq!(answer.code(), code, "{name}");
                assert_counted(&gateway, name, code);
            }
        }
        assert_eq!(origin.count(), 1);
    }
}

// EDGE-82
#[test]
fn neither_management_nor_metrics_ever_speak_of_origins() {
    let (_origin, gateway) = served("server: { cors: { allow_all: true } }\n");
    for (addr, path) in [
        (gateway.management(), "/api/v1/tokens"),
        (gateway.metrics(), "/metrics"),
    ] {
        for method in ["GET", "OPTIONS"] {
            let lines = format!(
                "Host: {addr}\r\n{}Access-Control-Request-Method: GET\r\n\
                 Authorization: Bearer {MANAGEMENT_KEY}\r\n",
                from(PAGE)
            );
            let request = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n");
            let answer = Client::connect(addr).call(request.as_bytes());
            assert_eq!(cors_fields(&answer), [""; 0], "{method} {path}");
            assert_eq!(told(&answer).1, Some("same-origin"), "{method} {path}");
        }
    }
    eventually("the gateway lives", || {
        (gateway.call(&head("GET /live", "")).status == 200).then_some(())
    });
}

/// A page that calls the gateway and writes down what its scripts get to see.
const SCRIPT: &str = r#"<!doctype html><pre id="seen"></pre><script>
const call = async (name, path, init) => {
  let seen = 'blocked';
  try {
    const answer = await fetch('http://GATEWAY' + path, init);
    const id = (answer.headers.get('x-request-id') ?? 'unseen').slice(0, 4);
    seen = [answer.status, id, (await answer.text()).slice(0, 2)].join(' ');
  } catch { }
  document.getElementById('seen').append(`${name}: ${seen};`);
};
(async () => {
  const type = { 'content-type': 'application/json' };
  await call('simple', '/x');
  await call('asked', '/x', { method: 'PUT', headers: type, body: '{}' });
  await call('method', '/x', { method: 'DELETE' });
  await call('field', '/x', { headers: { 'x-evil': '1' } });
  await call('refused', '/nowhere');
})();
</script>"#;

/// What the scripts of a page at `page` see, in a real browser.
fn seen_by_browser(page: &Origin) -> String {
    let browser = std::env::var("TEST_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let profile = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args([
            "--disable-sync",
            "--disable-quic",
            "--virtual-time-budget=10000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", &page.url()])
        .output()
        .expect("Chromium, at TEST_CHROMIUM or on the path");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = dom.split_once("<pre id=\"seen\">").unwrap().1;
    seen.split_once("</pre>").unwrap().0.to_owned()
}

// EDGE-81 EDGE-82
#[test]
#[ignore = "wants Chromium; `make test` runs it"]
fn a_browser_shows_answers_to_pages_of_the_allowed_origin_only() {
    let gateway_addr = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let page = || {
        let addr = std::sync::Arc::clone(&gateway_addr);
        Origin::start(move |_| {
            let html = SCRIPT.replace("GATEWAY", addr.get().unwrap());
            with_fields("content-type: text/html\r\n", html.as_bytes())
        })
    };
    let (ours, foreign) = (page(), page());
    let cors = CORS.replace(PAGE, &ours.url());
    let (origin, gateway) = served(&cors);
    gateway_addr.set(gateway.data().to_string()).unwrap();
    assert_eq!(
        seen_by_browser(&ours),
        "simple: 200 req_ ok;asked: 200 req_ ok;method: blocked;field: blocked;\
         refused: 404 req_ {\";"
    );
    let methods: Vec<_> = origin
        .requests()
        .into_iter()
        .map(|seen| seen.method)
        .collect();
    assert_eq!(methods, ["GET", "PUT"], "preflights stay at the gateway");
    origin.forget();
    assert_eq!(
        seen_by_browser(&foreign),
        "simple: blocked;asked: blocked;method: blocked;field: blocked;refused: blocked;"
    );
    assert_eq!(origin.count(), 1, "only what needs no preflight was sent");
}

// EDGE-81 EDGE-82
#[test]
fn surfaces_with_origins_take_calls_from_nowhere_else() {
    let shop = "https://shop.example.com";
    let origin = Origin::plain();
    for config in ["", &CORS.replace("] }", &format!(", \"{shop}\"] }}"))] {
        let listed = format!("{config}llm: {{ allowed_origins: [\"{shop}\"] }}\n");
        let (gateway, token) = llm(&origin, "openai", &listed);
        let bearer = format!("Authorization: Bearer {token}\r\n");
        for (lines, status, code) in [
            (from(shop), 200, ""),
            (from(PAGE), 403, "origin_not_allowed"),
            (from("null"), 403, "origin_not_allowed"),
            (String::new(), 400, "origin_required"),
        ] {
            let answer = gateway.call(&head("GET /v1/models", &format!("{bearer}{lines}")));
            assert_eq!(answer.status, status, "{lines}");
            assert_eq!(answer.code(), code, "{lines}");
        }
        if !config.is_empty() {
            for (from, status) in [(shop, 204), (PAGE, 403)] {
                let asked = preflight("/v1/chat/completions", from, "POST", "");
                assert_eq!(gateway.call(&asked).status, status, "{from}");
            }
        }
    }
}
