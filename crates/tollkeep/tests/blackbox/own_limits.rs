//! Limits of tokens, projects and routes: exact counts, all or none debited, what is left.

use crate::fixture::{before, gateway, head, llm, llm_call};
use crate::rates::{TOKEN_ROUTE, assert_limited, at_once, bearer, passed, tokens};
use serde_json::json;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gate, Origin, PATIENCE, Step, eventually, ok};

// EDGE-87
#[test]
fn a_token_is_bound_by_its_own_limits_in_its_own_dialect() {
    let origin = Origin::start(|_| tollkeep_testkit::json(&json!({ "ok": true })));
    let (gateway, _) = llm(&origin, "openai", &before(&origin, TOKEN_ROUTE));
    let (one, two) = (
        tokens(&gateway, &json!({ "requests_per_minute": 3 })),
        tokens(&gateway, &json!({ "requests_per_minute": 3 })),
    );
    let body = r#"{"model":"m","messages":[]}"#;
    let answers = at_once(&gateway, &llm_call("/v1/chat/completions", &one, body), 6);
    assert_eq!(
        answers
            .iter()
            .map(|answer| answer.status)
            .collect::<Vec<_>>(),
        [200, 200, 200, 429, 429, 429]
    );
    assert_limited("chat", &answers[5], "token", (3, 60));
    assert_eq!(answers[5].json()["error"]["type"], "rate_limit_error");
    let plain = gateway.call(&head("GET /t", &bearer(&one)));
    assert_eq!(
        plain.text(),
        r#"{"error":"Too many requests.","code":"rate_limited"}"#
    );
    assert_eq!(
        passed(&at_once(
            &gateway,
            &llm_call("/v1/chat/completions", &two, body),
            6
        )),
        3,
        "another token has its own"
    );
    assert_eq!(origin.count(), 6);
    let (anthropic, _) = llm(&origin, "anthropic", "");
    let three = tokens(&anthropic, &json!({ "requests_per_minute": 1 }));
    let answers = at_once(&anthropic, &llm_call("/v1/messages", &three, body), 2);
    assert_limited("anthropic", &answers[1], "token", (1, 60));
    assert_eq!(answers[1].json()["error"]["type"], "rate_limit_error");
    let burst = tokens(&gateway, &json!({ "requests_per_minute": 60, "burst": 4 }));
    let began = Instant::now();
    let count = passed(&at_once(&gateway, &head("GET /t", &bearer(&burst)), 10));
    assert!(
        (4..=5 + usize::try_from(began.elapsed().as_secs()).unwrap()).contains(&count),
        "{count}"
    );
}

// EDGE-85 EDGE-86
#[test]
fn a_route_has_a_limit_by_address_token_project_or_for_all() {
    let origin = Origin::plain();
    let route = |by: &str| {
        format!(
            "  \"GET /{by}\": {{ upstream: origin, rate_limit: {{ requests: 4, window: 1h, by: {by} }} }}\n"
        )
    };
    let routes = ["ip", "token", "project", "global"].map(route).concat();
    let gateway = gateway(before(&origin, &routes)).start();
    let (status, other) = gateway.api(
        "POST",
        "/api/v1/projects",
        Some(&json!({ "name": "other" })),
    );
    assert_eq!(status, 201, "{other}");
    let (one, two) = (tokens(&gateway, &json!({})), tokens(&gateway, &json!({})));
    let three = gateway.mint_token(&json!({ "project": other["slug"] }));
    for (by, counts) in [
        ("ip", [4, 0, 0]),
        ("token", [4, 4, 4]),
        ("project", [4, 0, 4]),
        ("global", [4, 0, 0]),
    ] {
        let got = [&one, &two, &three].map(|token| {
            passed(&at_once(
                &gateway,
                &head(&format!("GET /{by}"), &bearer(token)),
                8,
            ))
        });
        assert_eq!(got, counts, "{by}");
        let refused = gateway.call(&head(&format!("GET /{by}"), &bearer(&one)));
        assert_limited(by, &refused, "route", (4, 3600));
    }
}

// EDGE-85
#[test]
fn a_call_that_one_limit_refuses_is_debited_to_none() {
    let origin = Origin::plain();
    let routes =
        "  \"GET /t\": { upstream: origin, rate_limit: { requests: 5, window: 1h, by: global } }\n";
    let gateway = gateway(before(&origin, routes)).start();
    let narrow = tokens(&gateway, &json!({ "requests_per_minute": 3 }));
    let wide = tokens(&gateway, &json!({}));
    assert_eq!(
        passed(&at_once(&gateway, &head("GET /t", &bearer(&narrow)), 12)),
        3
    );
    assert_eq!(
        passed(&at_once(&gateway, &head("GET /t", &bearer(&wide)), 12)),
        2,
        "nine refused calls took nothing from the route"
    );
    // And the other way round: what the route refuses takes nothing from the token.
    let counted = gateway.mint_token(&json!({ "project": "default", "max_requests": 1 }));
    assert_eq!(gateway.call(&head("GET /t", &bearer(&counted))).status, 429);
    let (_, listed) = gateway.api("GET", "/api/v1/tokens?limit=200", None);
    let rows = listed["data"].as_array().unwrap();
    let row = rows.iter().find(|row| row["max_requests"] == 1).unwrap();
    assert_eq!(row["request_count"], 0, "{row}");
}

// EDGE-87
#[test]
fn a_caller_sees_what_is_left_of_its_own_limits_the_tightest_first() {
    let origin = Origin::start(|request| {
        let status = if request.target == "/t?bad" {
            "404 Not Found"
        } else {
            "200 OK"
        };
        vec![Step::Send(
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        )]
    });
    let routes = "  \"GET /t\": { upstream: origin, rate_limit: { requests: 3, window: 1h, by: token } }\n  \"GET /u\": { upstream: origin }\n";
    let gateway = gateway(before(&origin, routes)).start();
    let token = bearer(&tokens(&gateway, &json!({ "requests_per_minute": 10 })));
    let call = |target: &str| gateway.call(&head(&format!("GET {target}"), &token));
    let fields = |answer: &Answer| {
        ["ratelimit-policy", "ratelimit"].map(|name| answer.field(name).map(str::to_owned))
    };
    let [policy, state] = fields(&call("/t")).map(Option::unwrap);
    assert_eq!(policy, "\"route\";q=3;w=3600, \"token\";q=10;w=60");
    assert!(
        state.starts_with("\"route\";r=2;t=1200, \"token\";r=9;t="),
        "{state}"
    );
    let [policy, state] = fields(&call("/u")).map(Option::unwrap);
    assert_eq!(policy, "\"token\";q=10;w=60");
    assert!(state.starts_with("\"token\";r=8;t="), "{state}");
    assert_eq!(
        fields(&call("/t?bad")),
        [None, None],
        "only where all went well"
    );
    let free = bearer(&tokens(&gateway, &json!({})));
    let unlimited = gateway.call(&head("GET /u", &free));
    assert_eq!(fields(&unlimited), [None, None], "no limit, no figures");
}

// EDGE-85
#[test]
fn a_call_refused_for_want_of_a_place_costs_no_rate() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| [vec![Step::Wait(held.clone())], ok(b"ok")].concat());
    let routes =
        "  \"GET /t\": { upstream: origin, rate_limit: { requests: 3, window: 1h, by: global } }\n";
    let gateway = gateway(before(&origin, routes)).start();
    let token = bearer(&tokens(
        &gateway,
        &json!({ "concurrency": 1, "requests_per_minute": 3 }),
    ));
    let request = head("GET /t", &token);
    let mut first = gateway.connect();
    first.send(&request);
    origin.wait_for(1);
    assert_eq!(passed(&at_once(&gateway, &request, 10)), 0);
    gate.open();
    assert_eq!(first.answer(PATIENCE).unwrap().status, 200);
    // Behind the first, whose place is free by then.
    first.send(&request.repeat(4));
    let next = [(); 4].map(|()| first.answer(PATIENCE).unwrap().status);
    assert_eq!(
        next,
        [200, 200, 429, 429],
        "one of three is used, and ten refusals cost nothing"
    );
}

// EDGE-85
#[test]
fn a_token_that_is_used_up_takes_nothing_from_the_limits_of_others() {
    let origin = Origin::plain();
    let routes =
        "  \"GET /t\": { upstream: origin, rate_limit: { requests: 4, window: 1h, by: global } }\n";
    let gateway = gateway(before(&origin, routes)).start();
    let spent = bearer(&gateway.mint_token(&json!({ "project": "default", "max_requests": 1 })));
    assert_eq!(passed(&at_once(&gateway, &head("GET /t", &spent), 10)), 1);
    let other = bearer(&tokens(&gateway, &json!({})));
    assert_eq!(passed(&at_once(&gateway, &head("GET /t", &other), 10)), 3);
}

// EDGE-87
#[test]
fn a_token_may_have_so_many_calls_in_work() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| [vec![Step::Wait(held.clone())], ok(b"ok")].concat());
    let gateway = gateway(before(&origin, TOKEN_ROUTE)).start();
    let token = tokens(&gateway, &json!({ "concurrency": 2 }));
    let request = head("GET /t", &bearer(&token));
    let mut clients: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(&request);
    }
    origin.wait_for(2);
    let third = gateway.call(&request);
    assert_eq!(
        (third.status, third.code().as_str()),
        (429, "rate_limited"),
        "{}",
        third.text()
    );
    assert_eq!(third.field("retry-after"), Some("1"));
    // A caller that hangs up gives its place back.
    clients.pop();
    let mut next = gateway.connect();
    eventually("a free place", || {
        next.send(&request);
        match next.answer(Duration::from_millis(200)) {
            Ok(answer) => {
                assert_eq!(answer.status, 429);
                None
            }
            Err(_) => Some(()),
        }
    });
    gate.open();
    for client in clients.iter_mut().chain([&mut next]) {
        assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
    }
    assert_eq!(gateway.call(&request).status, 200);
}

// EDGE-87
#[test]
fn an_sdk_reads_what_is_left_in_the_fields_of_its_own_vendor() {
    let origin = Origin::start(|_| tollkeep_testkit::json(&json!({ "ok": true })));
    let route =
        "  \"GET /t\": { upstream: origin, rate_limit: { requests: 2, window: 1h, by: global } }\n";
    let config = before(&origin, route);
    let (gateway, _) = llm(&origin, "openai", &config);
    let (anthropic, _) = llm(&origin, "anthropic", "compat: { x_ratelimit: true }\n");
    let limits = json!({ "requests_per_minute": 60, "burst": 10 });
    let body = r#"{"model":"m","messages":[]}"#;
    let call = |gateway: &tollkeep_testkit::Gateway, path: &str| {
        let token = tokens(gateway, &limits);
        let answer = gateway.call(&llm_call(path, &token, body));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    };
    let names = |answer: &Answer| -> Vec<String> {
        let names = answer
            .fields
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase());
        let mut names: Vec<_> = names.filter(|name| name.contains("ratelimit-")).collect();
        names.retain(|name| name != "ratelimit-policy");
        names
    };
    let chat = call(&gateway, "/v1/chat/completions");
    assert_eq!(
        names(&chat),
        ["limit", "remaining", "reset"].map(|what| format!("x-ratelimit-{what}-requests"))
    );
    let of = |answer: &Answer, name: &str| answer.field(name).unwrap().to_owned();
    assert_eq!(
        of(&chat, "x-ratelimit-limit-requests"),
        "60",
        "the tightest"
    );
    assert_eq!(of(&chat, "x-ratelimit-remaining-requests"), "9");
    assert_eq!(of(&chat, "x-ratelimit-reset-requests"), "1s");
    let message = call(&anthropic, "/v1/messages");
    let own = ["limit", "remaining", "reset"];
    let old = own.map(|what| format!("x-ratelimit-{what}"));
    let own = own.map(|what| format!("anthropic-ratelimit-requests-{what}"));
    assert_eq!(names(&message), [old, own].concat());
    assert_eq!(of(&message, "anthropic-ratelimit-requests-limit"), "60");
    assert_eq!(of(&message, "anthropic-ratelimit-requests-remaining"), "9");
    let reset = of(&message, "anthropic-ratelimit-requests-reset");
    assert!(reset.len() == 24 && reset.ends_with('Z'), "{reset}");
    assert_eq!(of(&message, "x-ratelimit-limit"), "60");
    assert_eq!(of(&message, "x-ratelimit-remaining"), "9");
    let reset: u64 = of(&message, "x-ratelimit-reset").parse().unwrap();
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(reset + 60 >= now && reset <= now + 2, "{reset}, now {now}");
    // A limit that is not the caller's own is told in the standard fields alone.
    let token = tokens(&gateway, &json!({}));
    let plain = gateway.call(&head("GET /t", &bearer(&token)));
    assert_eq!(names(&plain), Vec::<String>::new());
    assert!(plain.field("ratelimit").unwrap().starts_with("\"route\""));
}

// EDGE-85 ID-3
#[test]
fn tokens_have_the_limits_of_their_project_where_they_have_none_of_their_own() {
    let origin = Origin::plain();
    let gateway = gateway(before(&origin, TOKEN_ROUTE)).start();
    let made = gateway.cli(&["project", "create", "small", "--requests-per-minute", "2"]);
    assert!(made.status.success(), "{made:?}");
    let project = json!({ "name": "odd", "limits": { "requests_per_hour": 2 } });
    let (status, problem) = gateway.api("POST", "/api/v1/projects", Some(&project));
    assert_eq!(status, 422, "{problem}");
    let mint = |limits| gateway.mint_token(&json!({ "project": "small", "limits": limits }));
    for (limits, quota) in [
        (json!({}), 2),
        (json!({}), 2),
        (json!({ "requests_per_minute": 4 }), 4),
    ] {
        let answers = at_once(&gateway, &head("GET /t", &bearer(&mint(limits))), 6);
        assert_eq!(passed(&answers), quota, "each token has its own count");
        let quota = u64::try_from(quota).unwrap();
        assert_limited("inherited", &answers[5], "token", (quota, 60));
    }
}
