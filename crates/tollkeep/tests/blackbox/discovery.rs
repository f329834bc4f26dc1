//! What anybody may read of what is sold.

use crate::callers::get;
use crate::fixture::TOLLKEEP;
use serde_json::{Value, json};
use tollkeep_testkit::{Builder, Gateway};

const DOCUMENTS: [&str; 3] = [
    "/.well-known/x402",
    "/.well-known/openapi.json",
    "/llms.txt",
];

/// A gateway with these routes, which nobody calls.
fn with_routes(routes: &Value) -> Builder {
    let config = json!({
        "wallets": {"base-sepolia": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"},
        "accepts": [{"asset": "USDC", "network": "base-sepolia"}],
        "payments": {"x402": {"facilitators": {"secret-name": {"url": "http://127.0.0.1:8402"}}}},
        "upstreams": {"inner": {"url": "https://inner.example"}},
        "routes": routes,
    });
    Gateway::builder(TOLLKEEP).config(config.to_string())
}

fn shop() -> Value {
    json!({
        "GET /v1/weather/:city": {
            "upstream": "inner", "price": "$0.01",
            "metadata": {"description": "Weather of a city.", "tags": ["a", 1, true]},
        },
        "POST /v1/both": {"upstream": "inner", "price": "$0.5", "access": "token_or_payment"},
        "GET /v1/free": {"upstream": "inner", "price": "$0"},
        "GET /v1/hidden": {"upstream": "inner", "price": "$1", "discoverable": false},
        "GET /v1/tokens": {"upstream": "inner"},
    })
}

// PAY-41
#[test]
fn what_is_sold_is_told_to_anybody_and_what_is_private_is_not() {
    let gateway = with_routes(&shop()).start();
    let told = gateway.call(&get("/.well-known/x402", ""));
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.field("content-type"), Some("application/json"));
    assert_eq!(told.field("cache-control"), Some("public, max-age=60"));
    let document = told.json();
    assert_eq!(document["x402Version"], 2);
    assert_eq!(document["provider"], "tollkeep");
    let endpoints = document["endpoints"].as_array().unwrap();
    let paths: Vec<&Value> = endpoints.iter().map(|sold| &sold["path"]).collect();
    assert_eq!(paths, ["/v1/weather/:city", "/v1/both", "/v1/free"]);
    assert_eq!(
        endpoints[0],
        json!({
            "method": "GET", "path": "/v1/weather/:city", "description": "Weather of a city.",
            "pricing": {"type": "static", "model": "request", "defaultPrice": "$0.01"},
            "accepts": [{"asset": "USDC", "network": "base-sepolia"}],
            "metadata": {"description": "Weather of a city.", "tags": ["a", 1, true]},
        })
    );
    for path in DOCUMENTS {
        let text = gateway.call(&get(path, "")).text();
        for private in [
            "hidden",
            "/v1/tokens",
            "inner",
            "127.0.0.1:8402",
            "secret-name",
        ] {
            assert!(!text.contains(private), "{path} tells {private}: {text}");
        }
    }
}

// PAY-42 PAY-43
#[test]
fn programs_and_models_are_told_of_it_in_their_own_forms() {
    let mut routes = shop();
    routes["POST /v1/models"] = json!({
        "upstream": "inner", "type": "token-based", "price": "$0.02",
    });
    routes["POST /v1/events"] = json!({
        "upstream": "inner", "price": "$0.02", "metadata": {"streaming": true},
    });
    let gateway = with_routes(&routes).start();
    let document = gateway.call(&get("/.well-known/openapi.json", "")).json();
    assert_eq!(document["openapi"], "3.1.0");
    let operation = &document["paths"]["/v1/weather/{city}"]["get"];
    assert_eq!(operation["x-x402-price"], "$0.01");
    assert_eq!(operation["x-x402-pricing-type"], "static");
    assert_eq!(operation["x-x402-accepts"][0]["asset"], "USDC");
    assert_eq!(operation["parameters"][0]["name"], "city");
    assert!(operation["responses"]["402"].is_object(), "{operation}");
    assert!(document["components"].is_null());
    assert_eq!(operation["x-streaming"], false);
    let streams = |path: &str| document["paths"][path]["post"]["x-streaming"].clone();
    assert_eq!(streams("/v1/models"), true, "calls of models");
    assert_eq!(streams("/v1/events"), true, "its operator says so");
    assert_eq!(streams("/v1/both"), false);
    for gone in ["security", "securitySchemes", "inner.example"] {
        assert!(!document.to_string().contains(gone), "{gone}: {document}");
    }
    let text = gateway.call(&get("/llms.txt", ""));
    assert_eq!(
        text.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let line = "- `GET /v1/weather/:city`: $0.01, in USDC on base-sepolia. Weather of a city.\n";
    assert!(text.text().contains(line), "{}", text.text());
}

// PAY-41 PAY-43
#[test]
fn a_document_that_is_had_is_not_sent_again_and_takes_only_reading() {
    let gateway = with_routes(&shop()).start();
    for path in DOCUMENTS {
        let first = gateway.call(&get(path, ""));
        let tag = first.field("etag").unwrap();
        let again = gateway.call(&get(path, &format!("If-None-Match: W/{tag}\r\n")));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.field("etag"), Some(tag));
        let other = gateway.call(&get(path, "If-None-Match: \"other\"\r\n"));
        assert_eq!((other.status, other.text()), (200, first.text()));
        let post = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let refused = gateway.call(post.as_bytes());
        assert_eq!(
            (refused.status, refused.field("allow")),
            (405, Some("GET, HEAD"))
        );
    }
}

// PAY-43
#[test]
fn documents_are_limited_like_every_request_of_an_address() {
    let gateway = with_routes(&shop())
        .set("server.security.rate_limiting.enabled", "true")
        .set("server.security.rate_limiting.requests_per_minute", "1")
        .set("server.security.rate_limiting.burst", "3")
        .set("server.security.rate_limiting.exempt", "[]")
        .start();
    let statuses: Vec<u16> = (0..6)
        .map(|_| gateway.call(&get("/llms.txt", "")).status)
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
}

// PAY-41
#[test]
fn nothing_is_told_where_nothing_is_sold_or_nobody_shall_know() {
    let free = with_routes(&json!({"GET /v1/free": {"upstream": "inner", "price": "$0"}})).start();
    let off = with_routes(&shop())
        .set("gateway.discovery", "false")
        .start();
    for gateway in [free, off] {
        for path in DOCUMENTS {
            let told = gateway.call(&get(path, ""));
            assert_eq!(told.code(), "endpoint_not_found", "{path}");
        }
    }
    let mut own = shop();
    own["GET /llms.txt"] = json!({"upstream": "inner", "access": "token"});
    let own = with_routes(&own).start();
    assert_eq!(own.call(&get("/llms.txt", "")).status, 401);
    assert_eq!(own.call(&get("/.well-known/x402", "")).status, 200);
}

// PAY-41
#[test]
fn what_a_route_tells_of_itself_has_a_bound() {
    let mut routes = shop();
    routes["GET /v1/free"]["metadata"] = json!({"text": "x".repeat(9_000)});
    let refused = with_routes(&routes).try_start().err().expect("refused");
    assert!(refused.stderr.contains("metadata"), "{}", refused.stderr);
    assert!(refused.stderr.contains("8 KiB"), "{}", refused.stderr);
}
