//! Counters under the names that other gateways gave them.

use crate::cache::counting;
use crate::callers::{bearer, get, models, post_json, served};
use crate::fixture::{chat, llm};
use crate::paid_fixture::{Facilitator, Settles, proof, shop, shown};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_testkit::{Client, Gateway, Origin, Step, eventually, ok};

/// Samples of families that begin with `prefix` and count.
fn counts(gateway: &Gateway, prefix: &str) -> BTreeMap<String, u64> {
    let text = gateway.metrics_text();
    let lines = text.lines().filter(|line| line.starts_with(prefix));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let family = series.split('{').next()?;
            let counts = family.ends_with("_total") || family.ends_with("_count");
            counts.then(|| (series.to_owned(), value.parse().unwrap()))
        })
        .collect()
}

/// What moved since the last look, when one request more was counted.
struct Watched<'g> {
    gateway: &'g Gateway,
    prefix: &'static str,
    /// What of the series says that the request is counted.
    sign: &'static str,
    seen: BTreeMap<String, u64>,
}

impl<'g> Watched<'g> {
    fn new(gateway: &'g Gateway, prefix: &'static str, sign: &'static str) -> Self {
        let seen = counts(gateway, prefix);
        Self {
            gateway,
            prefix,
            sign,
            seen,
        }
    }

    fn sum(&self, of: &BTreeMap<String, u64>) -> u64 {
        let of = of
            .iter()
            .filter(|(series, _)| series.starts_with(self.sign));
        of.map(|(_, count)| count).sum()
    }

    /// Exactly these moved, each by one.
    fn moved(&mut self, what: &str, want: &[&str]) {
        let before = self.sum(&self.seen);
        let now = eventually(what, || {
            let now = counts(self.gateway, self.prefix);
            (self.sum(&now) > before).then_some(now)
        });
        let moved: Vec<_> = now
            .iter()
            .filter(|(series, _)| !series.contains("_seconds_"))
            .filter_map(|(series, count)| {
                let was = self.seen.get(series).copied().unwrap_or(0);
                (*count != was).then(|| (series.as_str(), count - was))
            })
            .collect();
        let mut want: Vec<_> = want.iter().map(|series| (*series, 1)).collect();
        want.sort_unstable();
        assert_eq!(moved, want, "{what}");
        self.seen = now;
    }
}

const PAID: &str = "  \"GET /x\": { upstream: origin, price: \"$0.01\", settlement: after-response, verificationCache: { ttl: 1m } }
  \"GET /free\": { upstream: origin, price: \"$0\", rateLimit: { requests: 1, window: 1m } }
  \"ANY /away\": { upstream: origin, price: \"$0\", rateLimit: { requests: 9, window: 1m } }\n";

// PAY-95 OPS-52
#[test]
#[expect(clippy::too_many_lines, reason = "one gateway's story, step by step")]
fn each_name_of_tollbooth_moves_by_what_it_counts_and_by_nothing_else() {
    let origin = Origin::start(move |request| {
        if request.target == "/away" {
            return vec![Step::Close];
        }
        if request.field("x-fails").is_some() {
            let away = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
            return vec![Step::Send(away.to_vec())];
        }
        ok(b"served")
    });
    let facilitator = Facilitator::start();
    let gateway = shop(&origin, &facilitator, PAID)
        .set("payments.x402.verify", "local_then_facilitator")
        .start();
    let mut asked = 0;
    let unpaid = eventually("payments are taken", || {
        asked += 1;
        let answer = gateway.call(&get("/x", ""));
        (answer.status == 402).then_some(answer)
    });
    let mut watched = Watched::new(&gateway, "tollbooth_", "tollbooth_requests_total");
    let request = |status: u16| {
        format!("tollbooth_requests_total{{route=\"GET /x\",method=\"GET\",status=\"{status}\"}}")
    };
    let payment = |outcome: &str| {
        format!("tollbooth_payments_total{{route=\"GET /x\",outcome=\"{outcome}\"}}")
    };
    let settled = |outcome: &str| {
        format!("tollbooth_settlements_total{{strategy=\"facilitator\",outcome=\"{outcome}\"}}")
    };
    let (hit, miss) = (
        "tollbooth_cache_hits_total{route=\"GET /x\"}",
        "tollbooth_cache_misses_total{route=\"GET /x\"}",
    );
    let call = |target: &str, lines: &str, want: u16| {
        let answer = gateway.call(&get(target, lines));
        assert_eq!(answer.status, want, "{target}: {}", answer.text());
    };
    watched.seen = eventually("what came first", || {
        let now = counts(&gateway, "tollbooth_");
        (watched.sum(&now) == asked).then_some(now)
    });
    call("/x", "", 402);
    watched.moved("nothing shown", &[&request(402), &payment("missing")]);

    let paid = shown(&proof(&unpaid));
    call("/x", &format!("{paid}x-fails: 1\r\n"), 503);
    let fault = "tollbooth_upstream_errors_total{upstream=\"origin\",status=\"503\"}";
    let success = payment("success");
    watched.moved("an upstream fails", &[&request(503), &success, miss, fault]);
    call("/x", &paid, 200);
    let settlement = settled("success");
    watched.moved("paid", &[&request(200), &success, hit, &settlement]);
    call("/x", &paid, 402);
    watched.moved("used", &[&request(402), &payment("rejected")]);

    facilitator.settles(Settles::No);
    call("/x", &shown(&proof(&unpaid)), 402);
    let failure = settled("failure");
    let rejected = payment("rejected");
    watched.moved("not settled", &[&request(402), &rejected, miss, &failure]);
    call("/x", "PAYMENT-SIGNATURE: @@\r\n", 400);
    watched.moved("malformed", &[&request(400), &rejected]);

    let free = |status: u16| {
        format!(
            "tollbooth_requests_total{{route=\"GET /free\",method=\"GET\",status=\"{status}\"}}"
        )
    };
    call("/free", "", 200);
    watched.moved("free", &[&free(200)]);
    call("/free", "", 429);
    let block = "tollbooth_rate_limit_blocks_total{route=\"GET /free\"}";
    watched.moved("too often", &[&free(429), block]);
    call("/away", "", 502);
    watched.moved(
        "an upstream hangs up",
        &[
            "tollbooth_requests_total{route=\"ANY /away\",method=\"GET\",status=\"502\"}",
            "tollbooth_upstream_errors_total{upstream=\"origin\",status=\"502\"}",
        ],
    );
    call("/nowhere", "", 404);
    watched.moved(
        "no route",
        &["tollbooth_requests_total{route=\"none\",method=\"GET\",status=\"404\"}"],
    );

    let text = gateway.metrics_text();
    for series in [
        "tollbooth_request_duration_seconds_count{route=\"GET /free\",method=\"GET\"} 2",
        "tollbooth_settlement_duration_seconds_count{strategy=\"facilitator\"} 2",
        "tollbooth_active_requests 0",
    ] {
        assert!(text.contains(&format!("\n{series}\n")), "{series}\n{text}");
    }
    let waited = "tollbooth_upstream_duration_seconds_count{upstream=\"origin\"} ";
    assert!(text.contains(waited), "{text}");
}

/// The object at a path of the metrics listener.
fn object(gateway: &Gateway, path: &str, lines: &str) -> (u16, String) {
    let request = get(path, &format!("{lines}connection: close\r\n"));
    let answer = Client::connect(gateway.metrics()).call(&request);
    (answer.status, answer.text())
}

// OPS-52
#[test]
fn calls_of_models_are_counted_by_the_names_of_cliproxy() {
    let (_origin, gateway, token) = served();
    let line = bearer(&token);
    let mut watched = Watched::new(&gateway, "cliproxy_", "cliproxy_requests_total");
    let calls = |status: &str, model: &str| {
        format!(
            "cliproxy_requests_total{{provider=\"openai\",model=\"{model}\",status=\"{status}\"}}"
        )
    };
    gateway.call(&crate::callers::chat(&line, "do:500"));
    watched.moved(
        "a call fails",
        &[
            &calls("error", "gpt-4o"),
            "cliproxy_errors_total{provider=\"openai\",error_type=\"upstream_error\"}",
        ],
    );
    gateway.call(&crate::callers::chat(&line, "hi"));
    eventually("a call", || {
        let now = counts(&gateway, "cliproxy_");
        (now.get(&calls("success", "gpt-4o")) == Some(&1)).then_some(())
    });
    let text = gateway.metrics_text();
    for series in [
        "cliproxy_tokens_total{provider=\"openai\",model=\"gpt-4o\",type=\"input\"} 11",
        "cliproxy_tokens_total{provider=\"openai\",model=\"gpt-4o\",type=\"output\"} 7",
        "cliproxy_request_duration_seconds_count{provider=\"openai\"} 2",
        "cliproxy_auth_failures_total{provider=\"none\"} 0",
        "cliproxy_auth_failures_total{provider=\"openai\"} 0",
    ] {
        assert!(text.contains(&format!("\n{series}\n")), "{series}\n{text}");
    }

    gateway.call(&crate::callers::chat("x-api-key: tok-wrong\r\n", "hi"));
    let failed = "cliproxy_auth_failures_total{provider=\"none\"} 1";
    eventually("a wrong token", || {
        gateway.metrics_text().contains(failed).then_some(())
    });
    let strange = json!({ "model": "made-up-by-a-caller", "messages": [] });
    let answer = gateway.call(&post_json("/v1/chat/completions", &line, &strange));
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(!gateway.metrics_text().contains("made-up-by-a-caller"));
}

// OPS-52
#[test]
fn a_credential_that_a_provider_refuses_is_counted_for_it() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n";
        let whole = format!("{head}content-length: 2\r\n\r\n{{}}");
        vec![Step::Send(whole.into_bytes())]
    });
    let gateway = models(&origin).start();
    let line = bearer(&gateway.mint_token(&json!({})));
    let refused = gateway.call(&crate::callers::chat(&line, "hi"));
    assert_eq!(refused.status, 503, "{}", refused.text());
    let failed = "cliproxy_auth_failures_total{provider=\"openai\"} 1";
    eventually("the refusal", || {
        gateway.metrics_text().contains(failed).then_some(())
    });
}

// OPS-52
#[test]
fn what_comes_of_the_cache_is_counted_by_the_names_of_llm_proxy() {
    const BODY: &str =
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"temperature":0}"#;
    let origin = counting();
    let (gateway, token) = llm(&origin, "openai", "cache: { enabled: true }\n");
    let mut watched = Watched::new(&gateway, "llm_proxy_", "llm_proxy_requests_total");
    let asked = "llm_proxy_requests_total";
    gateway.call(&chat(&token, BODY));
    watched.moved(
        "a miss",
        &[
            asked,
            "llm_proxy_cache_misses_total",
            "llm_proxy_cache_stores_total",
        ],
    );
    gateway.call(&chat(&token, BODY));
    watched.moved("a hit", &[asked, "llm_proxy_cache_hits_total"]);

    let (status, text) = object(&gateway, "/metrics/json", "");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    let uptime = told["uptime_seconds"].as_f64().unwrap();
    assert!(uptime > 0.0 && uptime < 3_600.0, "{told}");
    let mut want = json!({
        "request_count": 2, "error_count": 0, "cache_hits": 1, "cache_misses": 1,
        "cache_bypass": 0, "cache_stores": 1,
    });
    want["uptime_seconds"] = told["uptime_seconds"].clone();
    assert_eq!(told, want);
    let (status, text) = object(&gateway, "/metrics", "accept: application/json\r\n");
    assert!(
        status == 200 && text.starts_with("{\"uptime_seconds\":"),
        "{text}"
    );
    // Scrapers get what they read, and so does who asks llm-proxy's path for it.
    let scraper =
        "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1\r\n";
    let text_at = [
        ("/metrics", scraper),
        ("/metrics/prometheus", "accept: application/json\r\n"),
    ];
    for (path, lines) in text_at {
        let (status, text) = object(&gateway, path, lines);
        assert!(
            status == 200 && text.starts_with("# HELP "),
            "{path}: {text}"
        );
    }
}

// OPS-52
#[test]
fn the_names_are_there_from_the_start_and_nowhere_if_they_are_not_wanted() {
    let origin = Origin::plain();
    let seeds = ["cliproxy_", "llm_proxy_", "tollbooth_"];
    let with = models(&origin).start();
    let text = with.metrics_text();
    for part in ["auth_failures", "rate_limit_violations", "security_events"] {
        let lines = text.lines().filter(|line| line.contains(part));
        assert!(lines.count() >= 3, "curl | grep {part}: {text}");
    }
    for family in [
        "tollbooth_requests_total counter",
        "tollbooth_payments_total counter",
        "tollbooth_settlements_total counter",
        "tollbooth_cache_hits_total counter",
        "tollbooth_cache_misses_total counter",
        "tollbooth_rate_limit_blocks_total counter",
        "tollbooth_upstream_errors_total counter",
        "tollbooth_request_duration_seconds histogram",
        "tollbooth_settlement_duration_seconds histogram",
        "tollbooth_upstream_duration_seconds histogram",
        "tollbooth_active_requests gauge",
        "cliproxy_requests_total counter",
        "cliproxy_errors_total counter",
        "cliproxy_tokens_total counter",
        "cliproxy_request_duration_seconds histogram",
        "llm_proxy_uptime_seconds gauge",
    ] {
        assert!(text.contains(&format!("# TYPE {family}\n")), "{family}");
    }
    for zero in [
        "cliproxy_security_events_total{event_type=\"suspicious_activity\"}",
        "cliproxy_rate_limit_violations_total{ip=\"all\"}",
        "llm_proxy_requests_total",
        "llm_proxy_errors_total",
        "llm_proxy_cache_bypass_total",
        "tollbooth_settlements_total{strategy=\"facilitator\",outcome=\"failure\"}",
        "tollbooth_rate_limit_blocks_total{route=\"ANY /plain\"}",
    ] {
        assert!(text.contains(&format!("\n{zero} 0\n")), "{zero}\n{text}");
    }

    let without = models(&origin).set("metrics.seed_names", "false").start();
    without.call(&get("/plain", ""));
    let text = without.metrics_text();
    for name in seeds {
        assert!(!text.contains(name), "{name}");
    }
    assert_eq!(object(&without, "/metrics/json", "").0, 404);
    let (_, text) = object(&without, "/metrics", "accept: application/json\r\n");
    assert!(text.starts_with("# HELP tollkeep_"), "{text}");

    let both = models(&origin)
        .set("metrics.seed_names", "false")
        .set("metrics.compat_ip_label", "true");
    let failed = both.try_start().err().unwrap();
    let told = "metrics.compat_ip_label: has no effect while `metrics.seed_names` is off";
    assert!(failed.stderr.contains(told), "{}", failed.stderr);
}
