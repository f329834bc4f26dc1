//! Rate limits with exact counts, and what a refused caller is told.

use crate::fixture::{before, free, gateway, head, llm_call};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gate, Gateway, Origin, PATIENCE, Step, eventually, ok};

/// Sends all of them at once on one connection and reads the answers in order.
fn at_once(gateway: &Gateway, request: &[u8], count: usize) -> Vec<Answer> {
    let mut client = gateway.connect();
    client.send(&request.repeat(count));
    (0..count)
        .map(|_| client.answer(PATIENCE).unwrap())
        .collect()
}

fn passed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

/// What a 429 says.
fn assert_limited(name: &str, answer: &Answer, class: &str, (quota, window_s): (u64, u64)) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (429, "rate_limited"),
        "{name}: {}",
        answer.text()
    );
    assert_eq!(
        answer.field("ratelimit-policy"),
        Some(format!("\"{class}\";q={quota};w={window_s}").as_str()),
        "{name}"
    );
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!(
        (1..=3600).contains(&wait) && wait <= window_s.max(1),
        "{name}: {wait}"
    );
    assert_eq!(
        answer.field("ratelimit"),
        Some(format!("\"{class}\";r=0;t={wait}").as_str()),
        "{name}"
    );
    if wait < 10 {
        let ms: u64 = answer.field("retry-after-ms").unwrap().parse().unwrap();
        assert!(
            ms.div_ceil(1000).max(1) == wait,
            "{name}: {ms} ms, {wait} s"
        );
    }
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{name}");
    assert!(!answer.closes(), "{name}: the connection lives");
}

/// A gateway whose limit by address is as written, before plain routes.
fn limited(origin: &Origin, rate_limiting: &str, routes: &str) -> Gateway {
    let config = format!(
        "server: {{ security: {{ rate_limiting: {{ {rate_limiting} }} }} }}\n{}",
        before(origin, routes)
    );
    gateway(config)
        .set("server.security.rate_limiting.enabled", "true")
        .set("server.timeouts.requests_per_connection_max", "1000000000")
        .start()
}

// EDGE-85 EDGE-87
#[test]
fn an_address_may_send_its_burst_at_once_and_then_at_its_rate() {
    let origin = Origin::plain();
    let gateway = limited(
        &origin,
        "requests_per_second: 1, burst: 5, scope: all",
        &free("GET /x"),
    );
    let began = Instant::now();
    let answers = at_once(&gateway, &head("GET /x", ""), 12);
    let later = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(
        (5..=5 + later).contains(&passed(&answers)),
        "{} passed",
        passed(&answers)
    );
    assert!(
        answers[..5].iter().all(|answer| answer.status == 200),
        "the burst comes first"
    );
    assert_limited(
        "ip",
        answers.iter().find(|answer| answer.status != 200).unwrap(),
        "ip",
        (1, 1),
    );
    assert_eq!(
        origin.count(),
        passed(&answers),
        "a refused call reaches nobody"
    );
    let figures = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.field("ratelimit"));
    assert!(
        figures.flatten().all(|figures| !figures.contains("\"ip\"")),
        "an address learns nothing of it on success"
    );
    let event = gateway.audit_line("the event", |event| {
        event["action"] == "rate_limit.exceeded"
    });
    assert_eq!(event["reason"], "ip", "{event}");
    let counted = |line: &str| {
        line.starts_with("tollkeep_rate_limit_violations_total")
            && line.contains("class=\"ip\"")
            && !line.ends_with(" 0")
    };
    eventually("the metric", || {
        gateway.metrics_text().lines().any(counted).then_some(())
    });
}

// EDGE-85
#[test]
fn over_seconds_the_rate_is_kept_to_the_request() {
    let origin = Origin::plain();
    let gateway = limited(
        &origin,
        "requests_per_second: 10, burst: 20, scope: all",
        &free("GET /x"),
    );
    let mut client = gateway.connect();
    let (began, mut passed) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        passed += u32::from(client.call(&head("GET /x", "")).status == 200);
    }
    let due = 20.0 + 10.0 * began.elapsed().as_secs_f64();
    assert!(
        (f64::from(passed) - due).abs() <= 2.0,
        "{passed} passed, {due} due"
    );
}

// EDGE-85
#[test]
fn exempt_addresses_have_no_limit() {
    let origin = Origin::plain();
    let gateway = limited(
        &origin,
        "requests_per_second: 1, burst: 1, scope: all, exempt: [\"127.0.0.0/8\"]",
        &free("GET /x"),
    );
    assert_eq!(passed(&at_once(&gateway, &head("GET /x", ""), 20)), 20);
}

// EDGE-60 EDGE-62
#[test]
fn each_address_behind_a_trusted_proxy_has_its_own_limit_and_a_network_of_ipv6_one() {
    let origin = Origin::plain();
    let config = "server: { trusted_proxies: [\"127.0.0.1/32\"], security: { rate_limiting: { requests_per_second: 1, burst: 3, scope: all } } }\n";
    let gateway = gateway(format!("{config}{}", before(&origin, &free("GET /x"))))
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    let from = |forwarded: &str| {
        passed(&at_once(
            &gateway,
            &head("GET /x", &format!("X-Forwarded-For: {forwarded}\r\n")),
            10,
        ))
    };
    let began = Instant::now();
    let counts = [
        from("198.51.100.1"),
        from("198.51.100.2"),
        from("203.0.113.7, 198.51.100.2"),
        from("2001:db8::1"),
        from("2001:db8::ffff:2"),
        from("2001:db8:0:1::1"),
        from("::ffff:198.51.100.1"),
    ];
    let later = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    for (count, full) in counts
        .into_iter()
        .zip([true, true, false, true, false, true, false])
    {
        let range = if full { 3..=3 + later } else { 0..=later };
        assert!(range.contains(&count), "{counts:?}");
    }
}

fn tokens(gateway: &Gateway, limits: &Value) -> String {
    gateway.mint_token(&json!({ "project": "default", "limits": limits }))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

const TOKEN_ROUTE: &str = "  \"GET /t\": { upstream: origin }\n";

// EDGE-93
#[test]
fn with_the_default_scope_a_guesser_is_bound_by_address_and_a_holder_by_token() {
    let origin = Origin::plain();
    let routes = format!("{TOKEN_ROUTE}{}", free("GET /free"));
    let proxies = "server: { trusted_proxies: [\"127.0.0.1/32\"], security: { rate_limiting: { burst: 5, requests_per_second: 1, scope: unproven } } }\n";
    let gateway = gateway(format!("{proxies}{}", before(&origin, &routes)))
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    let token = bearer(&tokens(&gateway, &json!({})));
    // Each row calls from an address of its own.
    for (number, (name, start, in_room)) in [
        ("no credential", "GET /t", 401),
        ("nothing there", "GET /nowhere", 404),
        ("a bad path", "GET /a%2Fb", 400),
        ("a method that is not there", "PUT /t", 405),
        ("a free call", "GET /free", 200),
        ("the whole server", "OPTIONS *", 204),
    ]
    .into_iter()
    .enumerate()
    {
        let from = format!("X-Forwarded-For: 203.0.113.{number}\r\n");
        let proven = head("GET /t", &format!("{from}{token}"));
        assert_eq!(
            passed(&at_once(&gateway, &proven, 40)),
            40,
            "{name}: proven calls are not counted"
        );
        let began = Instant::now();
        // Some refusals end the connection, so each call has its own.
        let answers: Vec<_> = (0..12).map(|_| gateway.call(&head(start, &from))).collect();
        let later = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
        let served = answers
            .iter()
            .filter(|answer| answer.status == in_room)
            .count();
        assert!(
            (5..=5 + later).contains(&served),
            "{name}: {served} in {:?}",
            began.elapsed()
        );
        let limited: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status != in_room)
            .collect();
        assert!(!limited.is_empty() || later > 6, "{name}");
        for answer in limited {
            assert_limited(name, answer, "ip", (1, 1));
        }
        assert_eq!(
            gateway.call(&proven).status,
            200,
            "{name}: a token goes on working"
        );
    }
}

// EDGE-93
#[test]
fn a_block_that_speaks_of_a_rate_without_a_scope_counts_everybody_and_says_so() {
    let origin = Origin::plain();
    let gateway = limited(&origin, "requests_per_second: 1, burst: 2", TOKEN_ROUTE);
    let token = tokens(&gateway, &json!({}));
    assert!(passed(&at_once(&gateway, &head("GET /t", &bearer(&token)), 10)) < 10);
    eventually("the warning", || {
        gateway.stderr().contains("scope").then_some(())
    });
}

// EDGE-87
#[test]
fn a_token_is_bound_by_its_own_limits_in_its_own_dialect() {
    let origin = Origin::start(|_| tollkeep_testkit::json(&json!({ "ok": true })));
    let (gateway, _) = crate::fixture::llm(&origin, "openai", &before(&origin, TOKEN_ROUTE));
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
    let (anthropic, _) = crate::fixture::llm(&origin, "anthropic", "");
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
    let next: Vec<_> = at_once(&gateway, &request, 4)
        .iter()
        .map(|answer| answer.status)
        .collect();
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

// EDGE-86
#[test]
fn a_free_route_always_has_a_limit() {
    let origin = Origin::plain();
    let config = before(
        &origin,
        "  \"GET /x\": { upstream: origin, access: free }\n",
    );
    let unset = gateway(config).start();
    let began = Instant::now();
    let answers = at_once(&unset, &head("GET /x", ""), 60);
    let later = usize::try_from(began.elapsed().as_millis() / 100).unwrap() + 1;
    assert!(
        (20..=20 + later).contains(&passed(&answers)),
        "{} passed in {:?}",
        passed(&answers),
        began.elapsed()
    );
    let refused = answers
        .iter()
        .find(|answer| answer.status != 200)
        .expect("a limit");
    assert_limited("free", refused, "route", (10, 1));
    let off = before(
        &origin,
        "  \"GET /x\": { upstream: origin, access: free, rate_limit: off }\n",
    );
    let refused = gateway(off).try_start().err().expect("refused");
    assert!(
        refused.code == Some(3) && refused.stderr.contains("free_route_without_limit"),
        "{}",
        refused.stderr
    );
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

// EDGE-88
#[test]
fn many_addresses_share_a_bounded_table() {
    let origin = Origin::plain();
    let config = "server: { trusted_proxies: [\"127.0.0.1/32\"], security: { rate_limiting: { requests_per_second: 1, burst: 1, scope: all } } }\n";
    let gateway = gateway(format!("{config}{}", before(&origin, &free("GET /x"))))
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    let mut client = gateway.connect();
    let from = |number: u32| {
        head(
            "GET /x",
            &format!(
                "X-Forwarded-For: {}\r\n",
                std::net::Ipv4Addr::from(0x0b00_0000 + number)
            ),
        )
    };
    for batch in 0..100_u32 {
        client.send(
            &(0..16)
                .flat_map(|number| from(batch * 16 + number))
                .collect::<Vec<_>>(),
        );
        for _ in 0..16 {
            assert_eq!(
                client.answer(PATIENCE).unwrap().status,
                200,
                "each address has room for one"
            );
        }
    }
    let twice = [from(1599), from(1599)].map(|request| client.call(&request).status);
    assert!(twice.contains(&429), "{twice:?}");
}
