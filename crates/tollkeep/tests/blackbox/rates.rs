//! Limits by address, with exact counts, and what a refused caller is told.

use crate::fixture::{before, free, gateway, head};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Builder, Gateway, Origin, PATIENCE, eventually};

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

/// A gateway behind a proxy that tells addresses, with these lines below `server`.
fn behind_proxy(origin: &Origin, server: &str, routes: &str) -> Builder {
    let config = format!(
        "server: {{ trusted_proxies: [\"127.0.0.1/32\"], {server} }}\n{}",
        before(origin, routes)
    );
    gateway(config)
}

fn from(address: &str, line: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n{line}")
}

// EDGE-85 EDGE-87 EDGE-92
#[test]
fn the_limit_of_all_requests_is_one_for_every_address() {
    let origin = Origin::plain();
    let server = "rate_limit: { enabled: true, requests_per_minute: 5 }";
    let gateway = behind_proxy(&origin, server, &free("GET /x")).start();
    let mut client = gateway.connect();
    let mut call =
        |number: usize| client.call(&head("GET /x", &from(&format!("203.0.113.{number}"), "")));
    let answers: Vec<_> = (0..12).map(&mut call).collect();
    assert_eq!(passed(&answers), 5);
    assert_limited("all", &answers[11], "global", (5, 60));
    let figures = answers[0].field("ratelimit").unwrap();
    assert!(figures.starts_with("\"route\";"), "only its own: {figures}");
    let nowhere = gateway.call(&head("GET /nowhere", ""));
    assert_eq!(nowhere.status, 429, "before a route is looked for");
    let told = gateway.audit_line("the event", |event| {
        event["action"] == "rate_limit.exceeded" && event["reason"] == "global"
    });
    assert_eq!(told["details"]["count"], 1, "{told}");
    eventually("every refusal in the access log", || {
        (gateway.access_lines().len() == 13).then_some(())
    });
    let events = gateway.audit_lines();
    let told = |event: &&Value| event["action"] == "rate_limit.exceeded";
    assert_eq!(
        events.iter().filter(told).count(),
        1,
        "one key, one event a minute, however many addresses"
    );
    let text = gateway.metrics_text();
    for line in [
        "tollkeep_rate_limit_violations_total{class=\"global\",route=\"none\"} 8",
        "cliproxy_rate_limit_violations_total{ip=\"all\"} 8",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(!text.contains("203.0.113"), "no address in public");
}

// EDGE-85
#[test]
fn limits_of_llm_proxy_work_by_their_names() {
    let origin = Origin::plain();
    let config = before(&origin, &free("GET /x"));
    let limited = |name: &str, class: &str| {
        let gateway = gateway(config.clone())
            .set("server.security.rate_limiting.enabled", "true")
            .env(name, "4")
            .start();
        let answers = at_once(&gateway, &head("GET /x", ""), 9);
        assert_eq!(passed(&answers), 4, "{name}");
        assert_limited(name, &answers[8], class, (4, 60));
    };
    limited("GLOBAL_RATE_LIMIT", "global");
    limited("IP_RATE_LIMIT", "ip");
}

// EDGE-85
#[test]
fn without_per_ip_the_block_is_one_more_limit_of_all() {
    let origin = Origin::plain();
    let server = "rate_limit: { enabled: true, requests_per_minute: 9 }, \
                  security: { rate_limiting: { requests_per_minute: 4, per_ip: false, exempt: [\"203.0.113.9/32\"] } }";
    let gateway = behind_proxy(&origin, server, &free("GET /x"))
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    let call = |address: &str| gateway.call(&head("GET /x", &from(address, "")));
    let answers: Vec<_> = (0..6)
        .map(|number| call(&format!("203.0.113.{number}")))
        .collect();
    assert_eq!(passed(&answers), 4);
    assert_limited("shared", &answers[5], "global", (4, 60));
    let exempt: Vec<_> = (0..7).map(|_| call("203.0.113.9")).collect();
    assert_eq!(passed(&exempt), 5, "bound by the limit of all alone");
    assert_limited("all", &exempt[6], "global", (9, 60));
}

// EDGE-85
#[test]
fn what_a_later_limit_refuses_is_given_back_to_the_edge() {
    let origin = Origin::plain();
    let server = "rate_limit: { enabled: true, requests_per_minute: 10 }, \
                  security: { rate_limiting: { requests_per_minute: 8 } }";
    let config = format!("server: {{ {server} }}\n{}", before(&origin, TOKEN_ROUTE));
    let gateway = gateway(config)
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    let narrow = bearer(&tokens(&gateway, &json!({ "requests_per_minute": 3 })));
    let wide = bearer(&tokens(&gateway, &json!({})));
    let answers = at_once(&gateway, &head("GET /t", &narrow), 30);
    assert_eq!(passed(&answers), 3);
    for answer in &answers[3..] {
        assert_limited("narrow", answer, "token", (3, 60));
    }
    let answers = at_once(&gateway, &head("GET /t", &wide), 10);
    assert_eq!(passed(&answers), 5, "27 refused calls took nothing");
    assert_limited("by address", &answers[9], "ip", (8, 60));
}

// EDGE-86
#[test]
fn exempt_addresses_are_free_of_the_default_limit_of_a_free_route_too() {
    let origin = Origin::plain();
    let routes = "  \"GET /x\": { upstream: origin, access: free }\n  \"GET /own\": { upstream: origin, access: free, rate_limit: { requests: 2, window: 1h } }\n";
    for enabled in ["true", "false"] {
        let config = format!(
            "server: {{ security: {{ rate_limiting: {{ exempt: [\"127.0.0.0/8\"] }} }} }}\n{}",
            before(&origin, routes)
        );
        let gateway = gateway(config)
            .set("server.security.rate_limiting.enabled", enabled)
            .start();
        let count = |start: &str| passed(&at_once(&gateway, &head(start, ""), 60));
        assert_eq!(count("GET /x"), 60, "{enabled}");
        assert_eq!(count("GET /own"), 2, "{enabled}: a written limit binds all");
    }
}

// EDGE-92
#[test]
fn an_event_tells_of_a_limit_once_a_minute_and_key_and_addresses_are_shown_on_request() {
    let origin = Origin::plain();
    let config = format!(
        "server: {{ trusted_proxies: [\"127.0.0.1/32\"] }}\n{}",
        before(&origin, TOKEN_ROUTE)
    );
    let gateway = gateway(config)
        .set("metrics.compat_ip_label", "true")
        .start();
    let limits = json!({ "requests_per_minute": 1 });
    let (one, two) = (tokens(&gateway, &limits), tokens(&gateway, &limits));
    let call = |token: &str, address: &str| {
        gateway
            .call(&head("GET /t", &from(address, &bearer(token))))
            .status
    };
    let calls = [
        (&one, "203.0.113.1"),
        (&one, "203.0.113.1"),
        (&one, "203.0.113.2"),
        (&one, "2001:db8::7"),
        (&two, "203.0.113.1"),
        (&two, "203.0.113.1"),
    ];
    let statuses = calls.map(|(token, address)| call(token, address));
    assert_eq!(statuses, [200, 429, 429, 429, 200, 429]);
    let violations = "tollkeep_rate_limit_violations_total{class=\"token\",route=\"GET /t\"} 4";
    let text = eventually("the count", || {
        let text = gateway.metrics_text();
        text.lines().any(|line| line == violations).then_some(text)
    });
    for (ip, count) in [
        ("all", 4),
        ("203.0.113.1", 2),
        ("203.0.113.2", 1),
        ("2001:db8::", 1),
    ] {
        let line = format!("cliproxy_rate_limit_violations_total{{ip=\"{ip}\"}} {count}");
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    let refs = eventually("two events", || {
        let events = gateway.audit_lines();
        let told = events
            .iter()
            .filter(|event| event["action"] == "rate_limit.exceeded");
        let refs: Vec<_> = told
            .map(|event| event["details"]["token_ref"].clone())
            .collect();
        let calls = events
            .iter()
            .filter(|event| event["action"] == "proxy_request");
        (calls.count() == 6).then_some(refs)
    });
    assert_eq!(refs.len(), 2, "{refs:?}");
    assert_ne!(refs[0], refs[1]);
}
