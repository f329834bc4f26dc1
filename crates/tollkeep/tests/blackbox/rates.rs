//! Limits by address, with exact counts, and what a refused caller is told.

use crate::fixture::{before, free, gateway, head};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gateway, Origin, PATIENCE, eventually};

/// Sends all of them at once on one connection and reads the answers in order.
pub(crate) fn at_once(gateway: &Gateway, request: &[u8], count: usize) -> Vec<Answer> {
    let mut client = gateway.connect();
    client.send(&request.repeat(count));
    (0..count)
        .map(|_| client.answer(PATIENCE).unwrap())
        .collect()
}

pub(crate) fn passed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

/// What a 429 says.
pub(crate) fn assert_limited(
    name: &str,
    answer: &Answer,
    class: &str,
    (quota, window_s): (u64, u64),
) {
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

pub(crate) fn tokens(gateway: &Gateway, limits: &Value) -> String {
    gateway.mint_token(&json!({ "project": "default", "limits": limits }))
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

pub(crate) const TOKEN_ROUTE: &str = "  \"GET /t\": { upstream: origin }\n";

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
