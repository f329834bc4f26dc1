//! Whose pages may call: the section under every name it has, and what is refused there.

use crate::support::Case;
use std::time::Duration;
use tollkeep_policy::cors::AllowedOrigins;

// EDGE-80 PAY-55
#[test]
fn cors_is_off_until_an_origin_is_allowed_and_has_the_defaults_of_the_page() {
    for off in ["", "server: {cors: {allowed_methods: [GET]}}\n"] {
        assert!(Case::yaml(off).settings().server.cors.is_none(), "{off}");
    }
    let cors = Case::yaml("server: {cors: {allowed_origins: [\"https://a.example\"]}}\n");
    let cors = cors.settings().server.cors.unwrap();
    assert_eq!(cors.rules.methods, None);
    // All that pages need to pay, and all that answers tell them of it.
    for name in [
        "content-type",
        "authorization",
        "x-api-key",
        "payment-signature",
        "x-payment",
        "x-session-token",
        "x-tollkeep-credit",
        "payment-authorization",
        "idempotency-key",
        "anthropic-version",
        "anthropic-beta",
    ] {
        let mut allowed = cors.rules.headers.iter();
        assert!(allowed.any(|known| **known == *name), "{name}");
    }
    for name in [
        "payment-required",
        "payment-response",
        "x-payment-response",
        "www-authenticate",
        "payment-receipt",
        "x-session-token",
        "x-session-expires",
        "x-session-balance",
        "x-bolthub-payment",
        "x-bolthub-payment-code",
        "x-tollkeep-payment",
        "x-tollkeep-credit",
        "x-tollkeep-replayed",
        "x-tollkeep-receipt",
        "x-tollkeep-sandbox",
        "x-tollkeep-error",
        "x-tollkeep-cost",
        "x-tollkeep-hold",
        "x-tollkeep-budget",
        "x-tollkeep-budget-remaining",
        "x-tollkeep-reset",
        "x-tollkeep-max-output",
        "x-request-id",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
    ] {
        let mut exposed = cors.exposed_headers.iter();
        assert!(exposed.any(|known| **known == *name), "{name}");
    }
    assert_eq!(
        (cors.rules.headers.len(), cors.exposed_headers.len()),
        (11, 26)
    );
    assert_eq!(cors.max_age, Duration::from_secs(86_400));
    assert!(!cors.allow_credentials);
}

// EDGE-80
#[test]
fn the_block_of_other_gateways_pastes_wherever_they_have_it() {
    let block = "allowedOrigins: [\"https://a.example\"], allowedMethods: [GET, POST], \
                 allowedHeaders: [X-One], exposedHeaders: [X-Two], credentials: true, maxAge: 60";
    for file in [
        format!("cors: {{{block}}}\n"),
        format!("gateway: {{cors: {{{block}}}}}\n"),
        format!("gateway: {{port: 3000}}\ncors: {{{block}}}\n"),
        format!("server: {{cors: {{{block}}}}}\n"),
        format!("server:\ncors: {{{block}}}\n"),
    ] {
        let settings = Case::yaml(&file).settings();
        let cors = settings.server.cors.unwrap();
        let AllowedOrigins::Listed(origins) = &cors.rules.origins else {
            panic!("{file}");
        };
        assert_eq!(origins.len(), 1);
        assert_eq!(cors.rules.methods.unwrap().join(","), "GET,POST");
        assert_eq!(cors.rules.headers.join(","), "x-one");
        assert_eq!(cors.exposed_headers.join(","), "x-two");
        assert!(cors.allow_credentials);
        assert_eq!(cors.max_age, Duration::from_secs(60));
        if file.contains("3000") {
            assert_eq!(settings.server.listen[0].addr.port(), 3000);
        }
    }
    let twice = "server: {cors: {allow_all: true}}\ncors: {allow_all: true}\n";
    let errors = Case::yaml(twice).errors();
    assert!(errors.contains("cors: is no known key"), "{errors}");
    let env = [
        ("CORS_ALLOWED_ORIGINS", "https://a.example"),
        ("CORS_ALLOWED_METHODS", "GET,POST,OPTIONS"),
        ("CORS_ALLOWED_HEADERS", "Authorization,Content-Type"),
        ("CORS_MAX_AGE", "24h"),
    ];
    let cors = Case::bare().env(&env).settings().server.cors.unwrap();
    assert_eq!(cors.rules.methods.unwrap().join(","), "GET,POST,OPTIONS");
    assert_eq!(cors.rules.headers.join(","), "authorization,content-type");
    assert_eq!(cors.max_age, Duration::from_secs(86_400));
}

// EDGE-81, EDGE-82
#[test]
fn what_would_allow_more_than_it_says_is_refused() {
    for (cors, want) in [
        (
            "allowed_origins: [\"https://a.example/\"]",
            "is not an origin",
        ),
        ("allowed_origins: [\"https://*.example\"]", "wildcard"),
        (
            "allowed_origins: [\"https://u@a.example\"]",
            "is not an origin",
        ),
        ("allowed_origins: [\"null\"]", "is not an origin"),
        ("allowed_origins: [\"*\"]", "write `allow_all: true`"),
        (
            "allow_all: true, allow_credentials: true",
            "refused together",
        ),
        (
            "allow_all: true, allowed_origins: [\"https://a.example\"]",
            "write one",
        ),
        (
            "allow_all: true, allowed_headers: [\"*\"]",
            "not a wildcard",
        ),
        (
            "allow_all: true, allowed_headers: [\"a b\"]",
            "is no field name",
        ),
        ("allow_all: true, allowed_methods: [get]", "is no method"),
    ] {
        let errors = Case::yaml(&format!("server: {{cors: {{{cors}}}}}\n")).errors();
        assert!(errors.contains(want), "{cors}: {errors}");
    }
    let route = "upstreams: {u: {url: \"https://u.example\"}}\n\
                 routes: {\"GET /x\": {upstream: u, allowed_origins: [\"https://a.example/x\"]}}\n";
    let errors = Case::yaml(route).errors();
    assert!(errors.contains("allowed_origins[0]"), "{errors}");
    let all = Case::yaml("server: {cors: {allow_all: true}}\n");
    assert!(all.warnings().contains("lets pages of every origin call"));
    let production = Case::yaml("environment: production\nserver: {cors: {allow_all: true}}\n");
    let errors = production.errors();
    assert!(
        errors.contains("server.cors.allow_all: is refused in production"),
        "{errors}"
    );
    let guide = Case::yaml("environment: production\n").env(&[("CORS_ALLOWED_ORIGINS", "*")]);
    assert!(guide.errors().contains("is refused in production"));
}
