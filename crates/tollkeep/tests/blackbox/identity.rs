//! Who calls: carriers of a token, and the one answer to every credential that is not good.

use crate::callers::{
    PROVIDER_KEY, SURFACES, act, answer, assert_unauthenticated, bearer, call_to, chat, made,
    models, record_of, served,
};
use crate::fixture::gateway;
use crate::secrecy::assert_kept_nowhere;
use serde_json::json;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin, eventually};

/// In the form of a token but for its last six characters.
const WRONG_CHECKSUM: &str = "tok-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhI000";

/// Carriers, as field lines between `|`; `TOKEN` and `OTHER` are good tokens.
const CARRIERS: [(&str, &str, u16); 18] = [
    ("bearer", "authorization: Bearer TOKEN", 200),
    ("scheme in any case", "Authorization: bEaReR TOKEN", 200),
    ("bare, with a token's prefix", "authorization: TOKEN", 200),
    ("x-api-key", "x-api-key: TOKEN", 200),
    ("x-goog-api-key", "X-Goog-Api-Key: TOKEN", 200),
    (
        "twice the same",
        "authorization: Bearer TOKEN|x-api-key: TOKEN",
        200,
    ),
    (
        "all the same",
        "authorization: TOKEN|x-api-key: TOKEN|x-goog-api-key: TOKEN",
        200,
    ),
    ("with blanks around", "x-api-key:   TOKEN\t", 200),
    (
        "two that differ",
        "authorization: Bearer TOKEN|x-api-key: OTHER",
        401,
    ),
    (
        "a good one and a vendor's",
        "authorization: Bearer TOKEN|x-api-key: sk-123",
        401,
    ),
    ("another scheme", "authorization: Basic TOKEN", 401),
    ("bare, without the prefix", "authorization: xTOKEN", 401),
    ("none", "accept: */*", 401),
    ("empty", "x-api-key:", 401),
    ("with more behind it", "x-api-key: TOKENx", 401),
    ("another field", "x-token: TOKEN|cookie: token=TOKEN", 401),
    (
        "the same field twice",
        "authorization: Bearer TOKEN|authorization: Bearer TOKEN",
        400,
    ),
    ("x-api-key twice", "x-api-key: TOKEN|x-api-key: TOKEN", 400),
];

// ID-14 LLM-10 LLM-11
#[test]
fn a_token_comes_by_any_carrier_and_two_that_differ_are_refused() {
    let (origin, gateway, token) = served();
    let other = gateway.mint_token(&json!({}));
    for (name, carriers, want) in CARRIERS {
        origin.forget();
        let lines = carriers.replace("TOKEN", &token).replace("OTHER", &other);
        let answer = gateway.call(&chat(&format!("{}\r\n", lines.replace('|', "\r\n")), "hi"));
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
        let called = usize::from(want == 200);
        assert_eq!(origin.count(), called, "{name}: calls upstream");
        if want == 401 {
            assert_unauthenticated(name, &answer);
        }
    }
}

// ID-14 LLM-10
#[test]
fn a_credential_in_the_query_is_refused_and_shown_nowhere() {
    let (origin, gateway, token) = served();
    for name in ["key", "api_key", "auth_token"] {
        let path = format!("/v1/chat/completions?{name}={token}");
        for (carrier, lines) in [
            ("alone", String::new()),
            ("beside a good one", bearer(&token)),
        ] {
            let answer = gateway.call(&call_to(&path, &lines, "hi"));
            assert_eq!(answer.status, 401, "{name} {carrier}");
            assert!(
                answer
                    .text()
                    .contains("credential in query string is disabled"),
                "{}",
                answer.text()
            );
        }
    }
    assert_eq!(origin.count(), 0);
    gateway.audit_line("six refusals", |line| {
        line["reason"] == "query_credential" && gateway.audit_lines().len() >= 12
    });
    assert_kept_nowhere(&gateway, &token);
}

// LLM-10
#[test]
fn a_key_in_the_query_works_where_it_is_switched_on_and_goes_no_further() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).set("llm.query_key", "true").start();
    let token = gateway.mint_token(&json!({}));
    let called = |query: &str| {
        gateway
            .call(&call_to(&format!("/v1/chat/completions?{query}"), "", "hi"))
            .status
    };
    assert_eq!(called(&format!("key={token}")), 200);
    assert_eq!(called(&format!("api_key={token}")), 401);
    let request = origin.last();
    assert_eq!(request.target, "/v1/chat/completions");
    assert!(!format!("{request:?}").contains(&token));
    eventually("both records", || {
        (gateway.access_lines().len() >= 2).then_some(())
    });
    assert_kept_nowhere(&gateway, &token);
}

/// Every way to fail, and the field lines of a call that fails so.
pub(crate) fn failures(gateway: &Gateway) -> Vec<(&'static str, String)> {
    let (revoked_id, revoked) = made(gateway, &json!({}));
    let (rotated_id, rotated) = made(gateway, &json!({}));
    let (expired_id, expired) = made(gateway, &json!({ "ttl": "1s" }));
    let (suspended_id, suspended) = made(gateway, &json!({}));
    assert_eq!(act(gateway, &suspended_id, "suspend", &json!({})).0, 200);
    let gone = crate::operators::tenant(gateway, "gone");
    let project = json!({ "name": "p", "tenant": gone });
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&project));
    let of_gone = gateway.mint_token(&json!({ "project": project["id"] }));
    let deleted = gateway.api("DELETE", &format!("/api/v1/tenants/{gone}"), None);
    assert_eq!(deleted.0, 204);
    let (idle_id, idle) = made(gateway, &json!({ "idle_ttl": "1s" }));
    assert_eq!(act(gateway, &revoked_id, "revoke", &json!({})).0, 200);
    assert_eq!(
        act(gateway, &rotated_id, "rotate", &json!({ "overlap": "0s" })).0,
        200
    );
    for id in [expired_id, idle_id] {
        eventually("the end of a short life", || {
            (record_of(gateway, &id)["status"] == "expired").then_some(())
        });
    }
    vec![
        ("missing", String::new()),
        ("malformed", bearer("tok-x")),
        ("a vendor's key", bearer(PROVIDER_KEY)),
        ("wrong checksum", bearer(WRONG_CHECKSUM)),
        ("unknown", bearer(&unknown_token())),
        ("other kind", bearer(MANAGEMENT_KEY)),
        ("revoked", bearer(&revoked)),
        ("rotated, its overlap over", bearer(&rotated)),
        ("expired", bearer(&expired)),
        ("suspended", bearer(&suspended)),
        ("of a tenant that is gone", bearer(&of_gone)),
        ("idle for too long", bearer(&idle)),
        ("huge", bearer(&format!("tok-{}", "A".repeat(4000)))),
        (
            "carriers that contradict each other",
            format!("{}x-api-key: tok-y\r\n", bearer("tok-x")),
        ),
        ("not ASCII", bearer("tok-\u{fc}")),
        (
            "another scheme",
            "authorization: Basic dG9rOg==\r\n".to_owned(),
        ),
    ]
}

/// A token that this gateway would make, and did not.
fn unknown_token() -> String {
    let entropy = tollkeep_crypto::SystemEntropy;
    let minted = tollkeep_crypto::mint::mint("tok-", None, &entropy).unwrap();
    minted.expose().to_owned()
}

/// Status, fields and body.
type Told = (u16, Vec<(String, String)>, String);

/// An answer without what may differ: the date and the request's id, wherever it stands.
fn uniform(answer: &Answer) -> Told {
    let id = answer.field("x-request-id").unwrap().to_owned();
    let mut fields = answer.fields.clone();
    for (name, value) in &mut fields {
        if name.eq_ignore_ascii_case("date") || *value == id {
            value.clear();
        }
    }
    (answer.status, fields, answer.text().replace(&id, ""))
}

// ID-60 ID-50 LLM-12 LLM-64
#[test]
fn every_failed_authentication_is_told_the_same_bytes_at_the_floor() {
    let origin = Origin::start(answer);
    // One address may fail twenty times a minute; a proxy has many.
    let gateway = models(&origin)
        .set("server.trusted_proxies", "127.0.0.1/32")
        .start();
    let failures = failures(&gateway);
    for (number, path) in SURFACES.into_iter().enumerate() {
        let mut first: Option<Told> = None;
        for (name, lines) in &failures {
            let lines = format!("{lines}x-forwarded-for: 192.0.2.{number}\r\n");
            let began = Instant::now();
            let answer = gateway.call(&call_to(path, &lines, "hi"));
            let took = began.elapsed();
            assert_unauthenticated(&format!("{path} {name}"), &answer);
            assert!(
                took >= Duration::from_millis(20),
                "{path} {name}: told after {took:?}"
            );
            assert_eq!(
                answer.field("www-authenticate"),
                Some("Bearer realm=\"tollkeep\"")
            );
            let told = uniform(&answer);
            match &first {
                None => first = Some(told),
                Some(first) => assert_eq!(&told, first, "{path} {name}"),
            }
        }
        let (_, fields, body) = first.unwrap();
        assert_eq!(body, body_of(path));
        for word in [
            "invalid_token",
            "token_not_found",
            "token_expired",
            "token_inactive",
        ] {
            let all = format!("{fields:?} {body}");
            assert!(path == "/plain" || !all.contains(word), "{path}: {all}");
        }
    }
    assert_eq!(origin.count(), 0);
}

/// The body of the 401 on each route, without the request's id.
fn body_of(path: &str) -> &'static str {
    match path {
        "/v1/messages" => concat!(
            r#"{"type":"error","error":{"type":"authentication_error","#,
            r#""message":"Invalid or missing credentials."},"request_id":""}"#
        ),
        "/plain" => r#"{"error":"Invalid or missing credentials.","code":"invalid_token"}"#,
        _ => concat!(
            r#"{"error":{"message":"Invalid or missing credentials.","type":"authentication_error","#,
            r#""param":null,"code":"invalid_api_key"}}"#
        ),
    }
}

// ID-50
#[test]
fn neither_plane_takes_the_keys_of_the_other() {
    let (origin, gateway, token) = served();
    let asked = |lines: &str| {
        let host = format!("host: {}\r\nconnection: close\r\n", gateway.management());
        let request = format!("GET /api/v1/whoami HTTP/1.1\r\n{host}{lines}\r\n");
        Client::connect(gateway.management()).call(request.as_bytes())
    };
    assert_eq!(asked(&bearer(MANAGEMENT_KEY)).status, 200);
    for (name, lines) in [
        ("token as bearer", bearer(&token)),
        ("token as key", format!("x-management-key: {token}\r\n")),
        (
            "token and key",
            format!("{}x-management-key: {MANAGEMENT_KEY}\r\n", bearer(&token)),
        ),
        (
            "token by a caller's carrier",
            format!("x-api-key: {token}\r\n"),
        ),
        ("nothing", String::new()),
        (
            "a key that is none",
            bearer(&MANAGEMENT_KEY.replace('Z', "Y")),
        ),
    ] {
        let answer = asked(&lines);
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (401, json!("unauthorized")),
            "{name}"
        );
        assert_eq!(
            answer.field("www-authenticate"),
            Some("Bearer realm=\"tollkeep\""),
            "{name}"
        );
    }
    for path in SURFACES {
        for lines in [
            bearer(MANAGEMENT_KEY),
            format!("x-management-key: {MANAGEMENT_KEY}\r\n"),
        ] {
            assert_unauthenticated(path, &gateway.call(&call_to(path, &lines, "hi")));
        }
    }
    assert_eq!(origin.count(), 0);
}

// ID-14
#[test]
fn no_token_at_all_never_means_open() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    for path in SURFACES {
        assert_unauthenticated(path, &gateway.call(&call_to(path, "", "hi")));
    }
    assert_eq!(origin.count(), 0);
}

// ID-56
#[test]
fn an_address_that_keeps_failing_waits_and_its_valid_tokens_do_not() {
    let (origin, gateway, token) = served();
    let wrong = bearer("tok-wrong");
    for at in 0..20 {
        assert_unauthenticated(&format!("failure {at}"), &gateway.call(&chat(&wrong, "hi")));
    }
    for path in SURFACES {
        let answer = gateway.call(&call_to(path, &wrong, "hi"));
        assert_eq!(
            (answer.status, answer.code()),
            (429, "locked_out".to_owned()),
            "{path}"
        );
        let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&wait), "{wait}");
    }
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    // A call without a credential tries nothing.
    assert_unauthenticated("no credential", &gateway.call(&chat("", "hi")));
    assert_eq!(origin.count(), 1);
    gateway.audit_line("the lock-out", |line| {
        line["action"] == "rate_limit.exceeded"
    });
}

// ID-15 ID-59
#[test]
fn keys_from_manuals_and_weak_ones_are_refused_at_the_start() {
    let refused = |name: &str, value: &str| {
        let started = gateway("sandbox: { upstream: true }\n")
            .env(name, value)
            .try_start();
        let failed = started
            .err()
            .unwrap_or_else(|| panic!("{name}={value} was taken"));
        assert_eq!(failed.code, Some(3), "{name}={value}");
        failed.stderr
    };
    for (name, value, told) in [
        ("TOLLKEEP_MANAGEMENT_KEY", "your-api-key-1", "sample value"),
        (
            "TOLLKEEP_MANAGEMENT_KEY",
            "e2e-management-token",
            "sample value",
        ),
        ("TOLLKEEP_MANAGEMENT_KEY", "changeme", "contains `changeme`"),
        ("TOLLKEEP_MANAGEMENT_KEY", "mgt-short", "shorter than 24"),
        (
            "TOLLKEEP_ENCRYPTION_KEY",
            "YOUR_32_BYTE_ENCRYPTION_KEY_HERE",
            "placeholder",
        ),
        ("TOLLKEEP_ENCRYPTION_KEY", "c2hvcnQ=", "must be 32 bytes"),
    ] {
        let stderr = refused(name, value);
        assert!(stderr.contains(told), "{name}={value}: {stderr}");
        assert!(
            told == "contains `changeme`" || told == "placeholder" || !stderr.contains(value),
            "{stderr}"
        );
    }
    let sample = gateway("providers: { openai: { credentials: [{ secret: \"${KEY}\" }] } }\n");
    let failed = sample.env("KEY", "sk-1234").try_start().err().unwrap();
    assert!(
        failed.code == Some(3) && failed.stderr.contains("placeholder"),
        "{}",
        failed.stderr
    );
}
