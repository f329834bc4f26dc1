//! Counters: what they are called, that they move, and that no caller can make a new one.

use crate::callers::{bearer, chat, get, models, post_json, served};
use serde_json::json;
use std::collections::BTreeSet;
use tollkeep_testkit::{Client, Gateway, Origin, eventually};

/// The families that are there from the start, with their types.
const FAMILIES: [(&str, &str); 27] = [
    ("tollkeep_requests_total", "counter"),
    ("tollkeep_request_duration_seconds", "histogram"),
    ("tollkeep_overhead_seconds", "histogram"),
    ("tollkeep_time_to_first_token_seconds", "histogram"),
    ("tollkeep_in_flight", "gauge"),
    ("tollkeep_streams_open", "gauge"),
    ("tollkeep_body_bytes_total", "counter"),
    ("tollkeep_tokens_total", "counter"),
    ("tollkeep_upstream_attempts_total", "counter"),
    ("tollkeep_refusals_total", "counter"),
    ("tollkeep_requests_rejected_total", "counter"),
    ("tollkeep_auth_failures_total", "counter"),
    ("tollkeep_rate_limit_violations_total", "counter"),
    ("cliproxy_rate_limit_violations_total", "counter"),
    ("tollkeep_egress_refused_total", "counter"),
    ("tollkeep_audit_events_total", "counter"),
    ("tollkeep_audit_queue", "gauge"),
    ("tollkeep_audit_database_lag_records", "gauge"),
    ("tollkeep_audit_failures_total", "counter"),
    ("tollkeep_log_dropped_total", "counter"),
    ("tollkeep_draining", "gauge"),
    ("tollkeep_counters_shared", "gauge"),
    ("tollkeep_build_info", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
];

/// The value of a series; 0 when it is not there.
fn value(gateway: &Gateway, series: &str) -> f64 {
    let text = gateway.metrics_text();
    let line = text.lines().find_map(|line| {
        line.strip_prefix(series)?
            .strip_prefix(' ')
            .map(str::to_owned)
    });
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// Every series, without its value.
fn series(gateway: &Gateway) -> BTreeSet<String> {
    let text = gateway.metrics_text();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

// OPS-51
#[test]
fn every_family_has_its_help_and_type_from_the_start() {
    let gateway = models(&Origin::plain()).start();
    let text = gateway.metrics_text();
    for (name, kind) in FAMILIES {
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help"
        );
        assert!(
            text.contains(&format!("# TYPE {name} {kind}\n")),
            "{name} is no {kind}"
        );
    }
}

// OPS-51
#[test]
fn counts_move_with_what_happens() {
    let (_origin, gateway, token) = served();
    let line = bearer(&token);
    let moved = |name: &str, series: &str, by: f64| {
        eventually(name, || (value(&gateway, series) >= by).then_some(()));
        assert!(
            (value(&gateway, series) - by).abs() < f64::EPSILON,
            "{name}: {series}"
        );
    };
    let route = "route=\"POST /v1/chat/completions\"";
    gateway.call(&chat(&line, "hi"));
    gateway.call(&chat(&line, "do:500"));
    gateway.call(&chat("x-api-key: tok-wrong\r\n", "hi"));
    let body = json!({ "model": "gpt-4o", "stream": true, "messages": [] });
    gateway.call(&post_json("/v1/chat/completions", &line, &body));
    let requests = |provider: &str, status: &str, outcome: &str| {
        format!(
            "tollkeep_requests_total{{{route},provider=\"{provider}\",status=\"{status}\",outcome=\"{outcome}\"}}"
        )
    };
    moved("served", &requests("openai", "2xx", "served"), 2.0);
    moved("failed", &requests("openai", "5xx", "upstream_error"), 1.0);
    moved("refused", &requests("none", "4xx", "refused"), 1.0);
    moved(
        "failed authentication",
        "tollkeep_auth_failures_total{reason=\"token_malformed\"}",
        1.0,
    );
    moved(
        "refusals",
        "tollkeep_refusals_total{code=\"invalid_token\",listener=\"data\"}",
        1.0,
    );
    moved(
        "input",
        "tollkeep_tokens_total{provider=\"openai\",model=\"gpt-4o\",class=\"in_text\"}",
        22.0,
    );
    moved(
        "output",
        "tollkeep_tokens_total{provider=\"openai\",model=\"gpt-4o\",class=\"out_text\"}",
        9.0,
    );
    moved(
        "attempts",
        "tollkeep_upstream_attempts_total{provider=\"openai\",result=\"answered\"}",
        3.0,
    );
    moved(
        "first bytes",
        &format!("tollkeep_time_to_first_token_seconds_count{{{route},provider=\"openai\"}}"),
        1.0,
    );
    assert!(value(&gateway, "tollkeep_in_flight").abs() < f64::EPSILON);
    eventually("events that are on the disk", || {
        let calls = value(&gateway, "tollkeep_audit_events_total{class=\"access\"}");
        (calls >= 4.0).then_some(())
    });
}

// OPS-51
#[test]
fn no_caller_can_make_a_series() {
    let (_origin, gateway, token) = served();
    let line = bearer(&token);
    let strange = |number: usize| {
        let model = json!({ "model": format!("model-{number}"), "messages": [] });
        gateway.call(&post_json("/v1/chat/completions", &line, &model));
        gateway.call(&get(&format!("/path-{number}/v1/x?y={number}"), &line));
        gateway.call(&get(&format!("/v1/models/model-{number}"), &line));
        gateway.call(&chat(&format!("x-api-key: tok-{number}\r\n"), "hi"));
        gateway.call(format!("VERB{number} /plain HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes());
        gateway
            .call(format!("GET /plain HTTP/1.1\r\nHost: host-{number}.example\r\n\r\n").as_bytes());
    };
    strange(0);
    let settled = |count: usize| {
        eventually("all records", || {
            (gateway.access_lines().len() >= count).then_some(())
        });
        series(&gateway)
    };
    let before = settled(6);
    let text = before.iter().cloned().collect::<Vec<_>>().join("\n");
    assert!(text.contains("code=\"misdirected\""), "{text}");
    (1..30).for_each(strange);
    let after = settled(180);
    // Beyond twenty failures there is another answer, and what is on the disk is counted later.
    let later = [
        "locked_out",
        "rate_limit",
        "status=\"429\"",
        "tollkeep_audit_events_total",
    ];
    let made: Vec<_> = after
        .difference(&before)
        .filter(|series| !later.iter().any(|later| series.contains(later)))
        .collect();
    assert_eq!(made, Vec::<&String>::new());
}

// OPS-51
#[test]
fn counters_are_where_the_settings_and_llm_proxy_say_and_never_in_the_way_of_health() {
    let origin = Origin::plain();
    let gateway = models(&origin).set("metrics.path", "/counters").start();
    let status = |path: &str| {
        let request = get(path, "connection: close\r\n");
        Client::connect(gateway.metrics()).call(&request).status
    };
    for (path, want) in [
        ("/counters", 200),
        ("/metrics/prometheus", 200),
        ("/metrics", 404),
        ("/health", 200),
        ("/ready", 200),
    ] {
        assert_eq!(status(path), want, "{path}");
    }
    let taken = models(&origin).set("metrics.path", "/ready").try_start();
    let failed = taken.err().unwrap();
    assert_eq!(failed.code, Some(3), "{}", failed.stderr);
    assert!(failed.stderr.contains("metrics.path"), "{}", failed.stderr);
}
