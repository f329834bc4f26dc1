//! What a request is for: authorities, canonical paths, queries, and where nothing is.

use crate::connection::{echo, plain};
use crate::fixture::{before, chat, free, gateway, head, llm, post};
use tollkeep_testkit::eventually;

// EDGE-29
#[test]
fn options_about_the_whole_server_are_answered_by_the_gateway() {
    let origin = echo();
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    let answer = client.call(&head("OPTIONS *", ""));
    assert_eq!(answer.status, 204);
    let allow = answer.field("allow").unwrap();
    assert!(
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
            .iter()
            .all(|method| allow.contains(method)),
        "{allow}"
    );
    assert_eq!(answer.field("content-length"), None);
    assert_eq!(
        client.call(&head("GET /x", "")).status,
        200,
        "the connection lives"
    );
    assert_eq!(
        gateway
            .call(&head("OPTIONS *", "Content-Length: 1\r\n"))
            .status,
        400
    );
}

// EDGE-45 EDGE-46 EDGE-47
#[test]
fn the_upstream_gets_the_canonical_path_behind_its_base_and_the_query_as_sent() {
    let origin = echo();
    let config = before(&origin, &free("GET /any/*"))
        .replace(&origin.url(), &format!("{}/base/v2", origin.url()));
    let gateway = gateway(config).start();
    for (name, sent, want) in [
        ("plain", "/any/a", "/base/v2/any/a"),
        ("unreserved", "/any/%7Ea%2db%5f%41", "/base/v2/any/~a-b_A"),
        (
            "hex in upper case",
            "/any/%e2%82%ac",
            "/base/v2/any/%E2%82%AC",
        ),
        ("trailing slash", "/any/a/", "/base/v2/any/a/"),
        (
            "query byte for byte",
            "/any/a?b=%2f%2F&&b=c+d",
            "/base/v2/any/a?b=%2f%2F&&b=c+d",
        ),
        ("empty query", "/any/a?", "/base/v2/any/a?"),
    ] {
        let answer = gateway.call(&head(&format!("GET {sent}"), ""));
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("{want} ")),
            "{name}"
        );
    }
}

// EDGE-45
#[test]
fn encoded_slashes_and_semicolons_pass_only_where_a_route_allows_them() {
    let origin = echo();
    let allowing = |key: &str, path: &str| {
        format!("  \"GET {path}\": {{ upstream: origin, access: free, path: {{ {key}: true }} }}\n")
    };
    let routes = [
        allowing("allow_encoded_slash", "/slash/:id"),
        allowing("allow_semicolon", "/semi/:id"),
        free("GET /none/:id"),
    ];
    let gateway = gateway(before(&origin, &routes.concat())).start();
    for (target, status) in [
        ("/slash/a%2Fb", 200),
        ("/slash/a;b", 400),
        ("/semi/a;b", 200),
        ("/semi/a%2fb", 400),
        ("/none/a%2Fb", 400),
        ("/none/a;b", 400),
        ("/nowhere/a%2Fb", 400),
        ("/nowhere/a", 404),
    ] {
        let answer = gateway.call(&head(&format!("GET {target}"), ""));
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
    assert_eq!(
        origin
            .requests()
            .iter()
            .map(|request| request.target.as_str())
            .collect::<Vec<_>>(),
        ["/slash/a%2Fb", "/semi/a;b"]
    );
}

// EDGE-3
#[test]
fn only_listed_authorities_are_served_but_probes_answer_to_any() {
    let origin = echo();
    let config = format!(
        "server: {{ allowed_hosts: [api.example, \"*.wild.example\", \"port.example:81\"] }}\n{}",
        before(&origin, &free("GET /x"))
    );
    let gateway = gateway(config).start();
    let ask = |host: &str, path: &str| {
        gateway.call(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    };
    for (host, status) in [
        ("api.example", 200),
        ("API.example:8317", 200),
        ("a.wild.example", 200),
        ("port.example:81", 200),
        ("port.example:82", 421),
        ("port.example", 421),
        ("a.b.wild.example", 421),
        ("wild.example", 421),
        ("127.0.0.1", 421),
        ("localhost", 421),
        ("evil.example", 421),
        ("api.example.", 421),
    ] {
        let answer = ask(host, "/x");
        assert_eq!(answer.status, status, "{host}");
        if status == 421 {
            assert_eq!(
                answer.text(),
                r#"{"error":"Not served here.","code":"misdirected"}"#
            );
        }
        assert_eq!(ask(host, "/health").status, 200, "{host}");
        // A name that is not served is told nothing, not even what is not there.
        assert_eq!(
            ask(host, "/nowhere").status,
            if status == 200 { 404 } else { 421 },
            "{host}"
        );
    }
}

// EDGE-101
#[test]
fn a_request_of_our_own_that_came_back_is_a_loop() {
    let origin = echo();
    let gateway = plain(&origin);
    gateway.call(&head("GET /x", ""));
    let seen = origin.last();
    let hop = seen
        .field("tollkeep-hop")
        .expect("private upstreams are told who calls");
    let answer = gateway.call(&head("GET /x", &format!("Tollkeep-Hop: {hop}\r\n")));
    assert_eq!((answer.status, answer.code().as_str()), (508, "loop"));
    let other = gateway.call(&head("GET /x", "Tollkeep-Hop: 0123456789abcdef\r\n"));
    assert_eq!(
        (other.status, origin.count()),
        (200, 2),
        "another's is just dropped"
    );
    assert_eq!(origin.last().field("tollkeep-hop"), Some(hop));
    gateway.audit_line("the violation", |line| {
        line["action"] == "security_violation" && line["reason"] == "loop"
    });
}

// EDGE-76 LLM-60 LLM-1
#[test]
fn a_refusal_speaks_the_dialect_of_its_path() {
    let origin = echo();
    let (gateway, token) = llm(&origin, "openai", "");
    let unknown = gateway.call(&chat("tok-nonsense", "{}")).json();
    assert_eq!(unknown["error"]["type"], "authentication_error");
    let broken = gateway.call(&chat(&token, "{\"model\": }"));
    assert_eq!(
        (broken.status, broken.code().as_str()),
        (400, "invalid_json")
    );
    let error = &broken.json()["error"];
    assert_eq!(
        (&error["type"], &error["code"]),
        (&"invalid_request_error".into(), &"invalid_json".into())
    );
    assert!(broken.text().contains("at byte 10"), "{}", broken.text());
    let anthropic = gateway.call(&post("/v1/messages", "", b"{}")).json();
    assert_eq!(
        (&anthropic["type"], &anthropic["error"]["type"]),
        (&"error".into(), &"authentication_error".into())
    );
    let plain = gateway.call(&head("GET /nowhere", "")).json();
    assert_eq!(
        plain,
        serde_json::json!({ "error": "Not found.", "code": "endpoint_not_found" })
    );
    let before_the_path = gateway
        .call(b"GET /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Name: x\r\n\r\n")
        .json();
    assert_eq!(
        before_the_path,
        serde_json::json!({ "error": "Bad request.", "code": "bad_request" })
    );
    eventually("the refusals counted", || {
        gateway
            .metrics_text()
            .contains(r#"code="bad_request""#)
            .then_some(())
    });
}
