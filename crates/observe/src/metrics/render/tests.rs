//! What a scrape sees.

use crate::RequestOutcome;
use crate::metrics::{
    AttemptResult, Build, Finished, Labels, LimitedAddresses, Listener, Metrics, ModelLabel,
    ProviderLabel, RouteLabel,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tollkeep_types::MonoNanos;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::usage::{Class, Quality, Usage};

fn metrics(series_max: usize) -> Arc<Metrics> {
    let labels = Labels {
        routes: vec!["chat".to_owned(), "odd \"\\\n name".to_owned()],
        providers: vec!["openai".to_owned(), "sandbox".to_owned()],
        models: vec!["gpt-4o".to_owned()],
    };
    let build = Build {
        version: "0.1.0",
        commit: "",
    };
    Metrics::with_seed_names(
        (labels, build),
        series_max,
        LimitedAddresses::Hidden,
        MonoNanos(0),
    )
}

fn finished(route: RouteLabel, provider: ProviderLabel) -> Finished {
    Finished {
        route,
        provider,
        status: 200,
        outcome: RequestOutcome::Served,
        duration_ns: 2_000_000,
        overhead_ns: Some(40_000),
        ttft_ns: None,
        bytes_in: 10,
        bytes_out: 20,
    }
}

/// A metrics page with something in every family.
fn busy() -> String {
    let metrics = metrics(10_000);
    let (first, second) = (metrics.recorder(), metrics.recorder());
    for (recorder, route) in [
        (&first, "chat"),
        (&second, "chat"),
        (&second, "odd \"\\\n name"),
    ] {
        recorder.begin();
        recorder.finish(&Finished {
            ttft_ns: Some(1),
            ..finished(metrics.route(route), metrics.provider("openai"))
        });
    }
    first.begin();
    first.stream_opened();
    let mut usage = Usage::default();
    usage.set(Class::InText, 7);
    first.tokens(metrics.provider("openai"), metrics.model("gpt-4o"), &usage);
    second.tokens(
        metrics.provider("openai"),
        metrics.model("made up by a caller"),
        &usage,
    );
    for recorder in [&first, &second] {
        let (provider, model) = (metrics.provider("openai"), metrics.model("gpt-4o"));
        recorder.spent(provider, model, Quality::Estimated, NanoUsd::new(4_305_000));
    }
    second.usage_quality(Quality::Unknown, "malformed");
    second.usage_quality(Quality::Unknown, "a word of an upstream");
    first.attempt(metrics.provider("sandbox"), AttemptResult::Timeout);
    metrics.refusal("rate_limited", Listener::Data);
    metrics.rejected("obs_fold");
    metrics.auth_failure("token_expired");
    first.rate_limited(RouteLabel::NONE, "ip");
    second.rate_limited(metrics.route("chat"), "token");
    second.rate_limited(metrics.route("chat"), "of a caller");
    metrics.egress_refused("private");
    metrics.anomaly("request_rate", 1);
    metrics.audit().written("access", 3);
    metrics.audit().queued(2);
    metrics.audit().database_lag(5);
    metrics.audit().failed();
    let sink = metrics.audit_sink("siem");
    sink.given(6);
    sink.failed();
    sink.failing(true);
    sink.missed(8);
    metrics.audit_sink("siem").lag(9);
    metrics.log().dropped(5);
    metrics.draining(true);
    metrics.counters_shared(true);
    metrics.breaker_states(vec![(Arc::from("openai"), 0), (Arc::from("sandbox"), 2)]);
    metrics.render()
}

/// Samples of the busy page.
const BUSY: &[(&str, &str)] = &[
    (
        r#"tollkeep_requests_total{route="chat",provider="openai",status="2xx",outcome="served"}"#,
        "2",
    ),
    (
        r#"tollkeep_requests_total{route="odd \"\\\n name",provider="openai",status="2xx",outcome="served"}"#,
        "1",
    ),
    (
        r#"tollkeep_request_duration_seconds_bucket{route="chat",provider="openai",le="0.001"}"#,
        "0",
    ),
    (
        r#"tollkeep_request_duration_seconds_bucket{route="chat",provider="openai",le="0.0025"}"#,
        "2",
    ),
    (
        r#"tollkeep_request_duration_seconds_bucket{route="chat",provider="openai",le="+Inf"}"#,
        "2",
    ),
    (
        r#"tollkeep_request_duration_seconds_sum{route="chat",provider="openai"}"#,
        "0.004",
    ),
    (
        r#"tollkeep_overhead_seconds_bucket{route="chat",provider="openai",le="0.000025"}"#,
        "0",
    ),
    (
        r#"tollkeep_overhead_seconds_bucket{route="chat",provider="openai",le="0.00005"}"#,
        "2",
    ),
    (
        r#"tollkeep_time_to_first_token_seconds_count{route="chat",provider="openai"}"#,
        "2",
    ),
    (r#"tollkeep_breaker_state{provider="openai"}"#, "0"),
    (r#"tollkeep_breaker_state{provider="sandbox"}"#, "2"),
    ("tollkeep_in_flight", "1"),
    ("tollkeep_streams_open", "1"),
    (r#"tollkeep_body_bytes_total{direction="in"}"#, "30"),
    (r#"tollkeep_body_bytes_total{direction="out"}"#, "60"),
    (
        r#"tollkeep_refusals_total{code="rate_limited",listener="data"}"#,
        "1",
    ),
    (
        r#"tollkeep_requests_rejected_total{reason="obs_fold"}"#,
        "1",
    ),
    (
        r#"tollkeep_tokens_total{provider="openai",model="gpt-4o",class="in_text"}"#,
        "7",
    ),
    (
        r#"tollkeep_tokens_total{provider="openai",model="other",class="in_text"}"#,
        "7",
    ),
    (
        r#"tollkeep_spend_nano_usd_total{provider="openai",model="gpt-4o",quality="estimated"}"#,
        "8610000",
    ),
    (
        r#"tollkeep_usage_quality_total{quality="unknown",reason="malformed"}"#,
        "1",
    ),
    (
        r#"tollkeep_auth_failures_total{reason="token_expired"}"#,
        "1",
    ),
    (
        r#"tollkeep_rate_limit_violations_total{class="ip",route="none"}"#,
        "1",
    ),
    (
        r#"tollkeep_rate_limit_violations_total{class="token",route="chat"}"#,
        "1",
    ),
    (r#"cliproxy_rate_limit_violations_total{ip="all"}"#, "2"),
    (r#"tollkeep_egress_refused_total{reason="private"}"#, "1"),
    (r#"tollkeep_anomalies_total{signal="request_rate"}"#, "1"),
    (
        r#"tollkeep_upstream_attempts_total{provider="sandbox",result="timeout"}"#,
        "1",
    ),
    ("tollkeep_config_last_reload_success", "1"),
    ("tollkeep_config_last_reload_success_timestamp_seconds", "0"),
    ("tollkeep_draining", "1"),
    ("tollkeep_counters_shared", "1"),
    ("tollkeep_log_dropped_total", "5"),
    (r#"tollkeep_audit_events_total{class="access"}"#, "3"),
    ("tollkeep_audit_queue", "2"),
    ("tollkeep_audit_database_lag_records", "5"),
    ("tollkeep_audit_failures_total", "1"),
    (r#"tollkeep_audit_sink_records_total{sink="siem"}"#, "6"),
    (r#"tollkeep_audit_sink_failures_total{sink="siem"}"#, "1"),
    (r#"tollkeep_audit_sink_missed_total{sink="siem"}"#, "8"),
    (r#"tollkeep_audit_sink_lag_records{sink="siem"}"#, "9"),
    (r#"tollkeep_audit_sink_failing{sink="siem"}"#, "1"),
    (r#"tollkeep_build_info{version="0.1.0",commit=""}"#, "1"),
];

/// The samples by name and labels. Fails the test where the text breaks the format.
fn linted(text: &str) -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            assert!(helped.insert(name.to_owned()), "two helps: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name), "type before help: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(
                types.insert(name.to_owned(), kind).is_none(),
                "two types: {line}"
            );
            name.clone_into(&mut family);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(&*family).unwrap_or("no such family");
            let suffixes: &[&str] = match types.get(&family) {
                Some(&"histogram") => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line} in family {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let twice = samples.insert(series.to_owned(), value.to_owned());
            assert!(twice.is_none(), "two samples: {line}");
        }
    }
    samples
}

// OPS-51
#[test]
fn every_family_of_the_foundation_is_there_and_well_formed() {
    let text = busy();
    let samples = linted(&text);
    for (series, want) in BUSY {
        assert_eq!(
            samples.get(*series).map(String::as_str),
            Some(*want),
            "{series}"
        );
    }
    for series in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_open_fds",
    ] {
        assert!(samples.contains_key(series), "{series}");
    }
    assert!(!text.contains("made up by a caller"));
}

// OPS-51
#[test]
fn families_are_there_from_the_start() {
    let idle = metrics(10_000).render();
    let names = |text: &str| -> Vec<String> {
        let types = text.lines().filter(|line| line.starts_with("# TYPE "));
        types.map(str::to_owned).collect()
    };
    linted(&idle);
    assert_eq!(names(&idle), names(&busy()));
}

// EDGE-12
#[test]
fn the_end_of_each_certificate_is_told() {
    let metrics = metrics(10_000);
    let ends = [("management.tls", 5), ("server.tls", 1_795_342_530)];
    metrics.certificates(ends.map(|(name, end)| (name.to_owned(), end)).to_vec());
    let text = metrics.render();
    linted(&text);
    for (name, end) in ends {
        let line =
            format!("tollkeep_certificate_expiry_timestamp_seconds{{name=\"{name}\"}} {end}\n");
        assert!(text.contains(&line), "{text}");
    }
}

// OPS-51
#[test]
fn series_past_the_limit_are_summed_up() {
    let metrics = metrics(60);
    let recorder = metrics.recorder();
    for provider in ["openai", "sandbox", "nobody"] {
        for route in ["chat", "nowhere"] {
            recorder.begin();
            recorder.finish(&finished(metrics.route(route), metrics.provider(provider)));
        }
    }
    let samples = linted(&metrics.render());
    let requests: Vec<_> = samples
        .iter()
        .filter(|(series, _)| series.starts_with("tollkeep_requests_total"))
        .collect();
    let counts = requests
        .iter()
        .map(|(_, count)| count.parse::<u64>().unwrap());
    assert_eq!(counts.sum::<u64>(), 6, "nothing is lost");
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .any(|(series, _)| series.contains(r#"route="other""#))
    );
}

#[test]
fn unknown_names_have_a_label_too() {
    let metrics = metrics(100);
    assert_eq!(metrics.route("nowhere"), RouteLabel::NONE);
    assert_eq!(metrics.provider("nobody"), ProviderLabel::NONE);
    assert_eq!(metrics.model("nothing"), ModelLabel::OTHER);
}
