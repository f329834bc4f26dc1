//! Answers of plain upstreams that are kept, and who must never get them; how operators take
//! answers out.

use crate::budgets::made;
use crate::cache::{ON, counting, status};
use crate::callers::get;
use crate::fixture::{before, chat, gateway, llm, post};
use crate::operators::{ask, key, tenant};
use crate::paid_fixture::{Facilitator, open, proof, shop, shown};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tollkeep_testkit::{
    Answer, Gateway, MANAGEMENT_KEY, Origin, Request, Step, chunk, chunked_head, json as answer,
    with_fields,
};

/// A free route whose answers are kept by these rules.
fn kept(route: &str, rules: &str) -> String {
    format!(
        "  \"{route}\": {{ upstream: origin, access: free, rate_limit: {{ requests: 1000000, window: 1s }}, \
         cache: {{ mode: exact{rules} }} }}\n"
    )
}

fn tokens(route: &str, rules: &str) -> String {
    format!("  \"{route}\": {{ upstream: origin, cache: {{ mode: exact{rules} }} }}\n")
}

/// Answers each request with another text, and what it was asked with.
fn telling(fields: &'static str) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |request| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let tenant = request.field("x-tenant").unwrap_or("nobody");
        with_fields(
            fields,
            format!("{number} {} {tenant}", request.target).as_bytes(),
        )
    })
}

fn front(origin: &Origin, routes: &str) -> Gateway {
    gateway(format!("{}{ON}", before(origin, routes))).start()
}

fn hit(answer: &Answer) -> bool {
    status(answer).starts_with("tollkeep; hit")
}

// LLM-80 LLM-86
#[test]
fn a_plain_answer_is_given_again_as_it_was() {
    let origin =
        telling("content-type: text/x\r\nx-own: 1\r\netag: \"e\"\r\ncontent-language: de\r\n");
    let gateway = front(&origin, &kept("GET /a", ""));
    let first = gateway.call(&get("/a", ""));
    assert_eq!((first.status, status(&first)), (200, "tollkeep; fwd=miss"));
    let again = gateway.call(&get("/a", ""));
    assert!(hit(&again), "{again:?}");
    assert_eq!(again.body, first.body);
    for name in [
        "content-type",
        "x-own",
        "etag",
        "content-language",
        "content-length",
    ] {
        assert_eq!(again.field(name), first.field(name), "{name}");
    }
    assert_eq!(origin.count(), 1);
    let head = gateway.call(b"HEAD /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(status(&head), "-");
}

// LLM-80 LLM-86
#[test]
fn a_caller_makes_nothing_cacheable_that_is_not() {
    let origin = telling("cache-control: public, max-age=600\r\n");
    let plain = "  \"ANY /b\": { upstream: origin, access: free, rate_limit: { requests: 1000000, window: 1s } }\n";
    let gateway = front(&origin, &format!("{plain}{}", kept("GET,POST /a", "")));
    for request in [
        get("/b", "Cache-Control: max-age=600, public\r\n"),
        get("/b", "X-Cache: 1\r\nSurrogate-Control: max-age=9\r\n"),
        post("/a", "Cache-Control: public\r\n", b"x"),
    ] {
        let before = origin.count();
        for _ in 0..2 {
            assert_eq!(status(&gateway.call(&request)), "-");
        }
        assert_eq!(origin.count() - before, 2);
    }
}

// LLM-81
#[test]
fn whatever_the_upstream_sees_tells_requests_apart() {
    let origin = telling("content-type: text/x\r\n");
    let gateway = front(&origin, &kept("GET,POST /a/*", ", methods: [GET, POST]"));
    gateway.call(&get("/a/x?p=1&q=2", ""));
    assert!(hit(&gateway.call(&get("/a/x?p=1&q=2", ""))));
    // One of them is no other spelling of the same path.
    assert!(hit(&gateway.call(&get("/a/%78?p=1&q=2", ""))));
    for (name, request) in [
        ("query", get("/a/x?p=1&q=3", "")),
        ("order of the query", get("/a/x?q=2&p=1", "")),
        ("no query", get("/a/x", "")),
        ("path", get("/a/y?p=1&q=2", "")),
        ("field", get("/a/x?p=1&q=2", "X-Tenant: evil\r\n")),
        ("language", get("/a/x?p=1&q=2", "Accept-Language: de\r\n")),
        ("coding", get("/a/x?p=1&q=2", "Accept-Encoding: gzip\r\n")),
        ("range", get("/a/x?p=1&q=2", "Range: bytes=0-1\r\n")),
        ("method", post("/a/x?p=1&q=2", "", b"")),
        ("body", post("/a/x?p=1&q=2", "", b"x")),
        ("another body", post("/a/x?p=1&q=2", "", b"y")),
    ] {
        let before = origin.count();
        let answer = gateway.call(&request);
        assert_eq!(origin.count(), before + 1, "{name}: {answer:?}");
    }
    // What was asked by somebody with a field of their own never reaches those without.
    let clean = gateway.call(&get("/a/x?p=1&q=2", ""));
    assert_eq!(
        (hit(&clean), clean.text().as_str()),
        (true, "1 /a/x?p=1&q=2 nobody")
    );
    let traced = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Request-Id: r\r\n";
    assert!(hit(&gateway.call(&get("/a/x?p=1&q=2", traced))));
    // Nor does it see where others say a request is meant to go.
    let elsewhere = "X-Original-URL: /admin\r\nX-Forwarded-Host: evil.example\r\n";
    assert!(hit(&gateway.call(&get("/a/x?p=1&q=2", elsewhere))));
}

fn odd(request: &Request) -> Vec<Step> {
    let answer = |fields| with_fields(fields, b"x");
    match request.target.as_str() {
        "/a/no-store" => answer("cache-control: no-store\r\n"),
        "/a/private" => answer("cache-control: max-age=9, private\r\n"),
        "/a/no-cache" => answer("cache-control: no-cache\r\n"),
        "/a/stale" => answer("cache-control: max-age=5\r\nage: 5\r\n"),
        "/a/odd-age" => answer("cache-control: max-age=5\r\nage: x\r\n"),
        "/a/shared" => answer("cache-control: s-maxage=0, max-age=60\r\n"),
        "/a/cookie" => answer("set-cookie: session=1\r\n"),
        "/a/vary" => answer("vary: accept, *\r\n"),
        "/a/events" => answer("content-type: text/event-stream\r\n"),
        "/a/404" => vec![Step::Send(
            b"HTTP/1.1 404 No\r\ncontent-length: 1\r\n\r\nx".to_vec(),
        )],
        "/a/203" => vec![Step::Send(
            b"HTTP/1.1 203 So\r\ncontent-length: 1\r\n\r\nx".to_vec(),
        )],
        "/a/cut" => vec![
            Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec()),
            Step::Close,
        ],
        "/a/cut-chunks" => vec![chunked_head("text/x"), chunk(b"x"), Step::Close],
        "/a/until-close" => vec![
            Step::Send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nx".to_vec()),
            Step::Close,
        ],
        "/a/long" => with_fields("", &[b'x'; 200]),
        "/a/long-chunks" => vec![chunked_head("text/x"), chunk(&[b'x'; 200]), chunk(b"")],
        "/a/chunks" => vec![chunked_head("text/x"), chunk(b"x"), chunk(b"y"), chunk(b"")],
        "/a/fresh" => answer("cache-control: max-age=60\r\nage: 7\r\n"),
        _ => answer(""),
    }
}

// LLM-83
#[test]
fn only_whole_answers_that_are_for_all_are_kept() {
    let origin = Origin::start(odd);
    let gateway = front(&origin, &kept("GET /a/:x", ", max_object_bytes: 100"));
    for (path, is_kept) in [
        ("no-store", false),
        ("private", false),
        ("no-cache", false),
        ("stale", false),
        ("odd-age", false),
        ("shared", false),
        ("cookie", false),
        ("vary", false),
        ("events", false),
        ("404", false),
        ("203", false),
        ("cut", false),
        ("cut-chunks", false),
        ("until-close", false),
        ("long", false),
        ("long-chunks", false),
        ("chunks", true),
        ("fresh", true),
        ("other", true),
    ] {
        let request = get(&format!("/a/{path}"), "");
        let before = origin.count();
        // What is cut has no whole answer.
        let ask = || {
            let mut client = gateway.connect();
            assert!(client.send(&request));
            client.answer(Duration::from_secs(5)).ok()
        };
        drop(ask());
        assert_eq!(origin.count(), before + 1, "{path}");
        let second = ask().as_ref().is_some_and(hit);
        assert_eq!(second, is_kept, "{path}");
    }
    let fresh = gateway.call(&get("/a/fresh", ""));
    let age: u64 = fresh.field("age").unwrap().parse().unwrap();
    assert!((7..20).contains(&age), "{age}");
    assert!(
        status(&fresh).contains("ttl=5") || status(&fresh).contains("ttl=4"),
        "{}",
        status(&fresh)
    );
}

// LLM-80 LLM-81
#[test]
fn a_scope_says_who_is_given_an_answer() {
    let origin = telling("content-type: text/x\r\n");
    let routes = [
        tokens("GET /token", ""),
        tokens("GET /project", ", scope: project"),
        tokens("GET /tenant", ", scope: tenant"),
    ];
    let gateway = front(&origin, &routes.concat());
    let other = tenant(&gateway, "other");
    let project = |name: &str, tenant: Option<&str>| {
        let body = json!({"name": name, "tenant": tenant});
        let (status, made) = gateway.api("POST", "/api/v1/projects", Some(&body));
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let ids = [project("second", None), project("foreign", Some(&other))];
    let mint = |project: &str| gateway.mint_token(&json!({"project": project}));
    let tokens = [
        mint("default"),
        mint("default"),
        mint(&ids[0]),
        mint(&ids[1]),
    ];
    for (path, want) in [
        ("/token", [false, false, false, false]),
        ("/project", [false, true, false, false]),
        ("/tenant", [false, true, true, false]),
    ] {
        let got = tokens.each_ref().map(|token| {
            hit(&gateway.call(&get(path, &format!("Authorization: Bearer {token}\r\n"))))
        });
        assert_eq!(got, want, "{path}");
        for token in &tokens {
            let again = gateway.call(&get(path, &format!("Authorization: Bearer {token}\r\n")));
            assert!(hit(&again), "{path}");
        }
    }
    assert_eq!(gateway.call(&get("/tenant", "")).status, 401);
    let id = &ids[1];
    let call = get(
        "/tenant",
        &format!("Authorization: Bearer {}\r\n", tokens[3]),
    );
    let off = json!({"is_active": false});
    gateway.api("PATCH", &format!("/api/v1/projects/{id}"), Some(&off));
    assert_eq!(gateway.call(&call).status, 403);
    let on = json!({"is_active": true});
    gateway.api("PATCH", &format!("/api/v1/projects/{id}"), Some(&on));
    assert!(!hit(&gateway.call(&call)));
}

// LLM-87
#[test]
fn what_is_kept_stays_within_its_bounds_and_a_quarter_of_a_tenant() {
    let origin = telling("content-type: text/x\r\n");
    let config = "cache: { enabled: true, max_entries: 16, max_bytes: 8MiB }\n";
    let gateway = gateway(format!("{}{config}", before(&origin, &kept("GET /a", "")))).start();
    for number in 0..40 {
        gateway.call(&get(&format!("/a?n={number}"), ""));
    }
    let metrics = gateway.metrics_text();
    assert!(metrics.contains("tollkeep_cache_entries 4\n"), "{metrics}");
    assert!(
        metrics.contains("tollkeep_cache_evicted_total 36\n"),
        "{metrics}"
    );
    assert!(hit(&gateway.call(&get("/a?n=39", ""))));
    assert!(!hit(&gateway.call(&get("/a?n=0", ""))));
}

// LLM-87
#[test]
fn what_is_kept_ends_with_its_time() {
    let origin = telling("content-type: text/x\r\n");
    let gateway = front(&origin, &kept("GET /a", ", ttl_s: 1"));
    gateway.call(&get("/a", ""));
    tollkeep_testkit::eventually("it has ended", || {
        gateway
            .metrics_text()
            .contains("tollkeep_cache_entries 0\n")
            .then_some(())
    });
    assert!(!hit(&gateway.call(&get("/a", ""))));
}

// LLM-82 LED-56
#[test]
fn a_kept_answer_is_sold_at_its_full_price() {
    let (origin, facilitator) = (telling("content-type: text/x\r\n"), Facilitator::start());
    let cent = "  \"GET /x\": { upstream: origin, price: \"$0.01\", cache: { mode: exact } }\n";
    let gateway = shop(&origin, &facilitator, &format!("{cent}{ON}")).start();
    let unpaid = open(&gateway, &get("/x", ""));
    for is_hit in [false, true, true] {
        let paid = gateway.call(&get("/x", &shown(&proof(&unpaid))));
        assert_eq!(
            (paid.status, paid.text().as_str()),
            (200, "1 /x nobody"),
            "{paid:?}"
        );
        assert_eq!(hit(&paid), is_hit);
        assert_eq!(paid.field("x-tollkeep-payment"), Some("charged"));
        assert!(paid.field("payment-response").is_some());
        assert_eq!(paid.values("cache-control"), ["private, no-store"]);
    }
    assert_eq!((origin.count(), facilitator.asked("/settle")), (1, 3));
    // Who does not pay has nothing of it.
    let unpaid = gateway.call(&get("/x", "Cache-Control: only-if-cached\r\n"));
    assert_eq!(unpaid.status, 402);
}

// LLM-83
#[test]
fn what_a_budget_cut_short_is_not_given_to_those_who_may_have_more() {
    let origin = Origin::start(|_| {
        answer(&json!({
            "model": "gpt-4o", "choices": [{"finish_reason": "length", "message": {"content": "x"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 50},
        }))
    });
    let config = format!("{ON}budgets: {{ default_output_cap: 300 }}\n");
    let (gateway, token) = llm(&origin, "openai", &config);
    made(
        &gateway,
        &json!({"name": "b", "scope": {"project": "default"}, "limit": "$1", "window": "month"}),
    );
    for (cap, is_kept) in [("", false), (r#","max_tokens":300"#, true)] {
        let body = format!(r#"{{"model":"gpt-4o","messages":[],"temperature":0{cap}}}"#);
        assert_eq!(gateway.call(&chat(&token, &body)).status, 200);
        assert_eq!(hit(&gateway.call(&chat(&token, &body))), is_kept, "{cap}");
    }
}

// LLM-88
#[test]
fn operators_take_answers_out() {
    let origin = counting();
    let routes = kept("GET /a/*", "");
    let (gateway, token) = {
        let url = origin.url();
        let lines = format!(
            "upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\nroutes:\n{routes}{ON}"
        );
        llm(&origin, "openai", &lines)
    };
    let cold = r#"{"model":"gpt-4o","messages":[],"temperature":0}"#;
    let fill = || {
        gateway.call(&chat(&token, cold));
        for path in ["/a/x", "/a/x?q=1", "/a/xy", "/a/z"] {
            gateway.call(&get(path, ""));
        }
    };
    let purge = |body| {
        let (status, purged) = gateway.api("POST", "/manage/cache/purge", Some(&body));
        assert_eq!(status, 200, "{purged}");
        assert_eq!(purged["deleted"], purged["count"] != 0, "{purged}");
        purged["count"].as_u64().unwrap()
    };
    let (_, projects) = gateway.api("GET", "/api/v1/projects", None);
    let project = projects["data"][0]["id"].as_str().unwrap();
    for (body, want) in [
        (json!({"method": "GET", "url": "/a/x"}), 1),
        (
            json!({"method": "get", "url": "http://127.0.0.1/a/x?q=1"}),
            1,
        ),
        (json!({"method": "POST", "url": "/a/x"}), 0),
        (json!({"method": "GET", "url": "/a/x", "prefix": true}), 3),
        (json!({"method": "GET", "url": "/a", "prefix": true}), 4),
        (json!({"method": "POST", "url": "/v1/chat/completions"}), 1),
        (json!({"project_id": project}), 1),
        (json!({"model": "gpt-4o"}), 1),
        (json!({"model": "gpt-4"}), 0),
        (json!({"all": true}), 5),
        (json!({"all": true}), 0),
    ] {
        if want > 0 {
            fill();
        }
        assert_eq!(purge(body.clone()), want, "{body}");
    }
    for wrong in [
        json!({}),
        json!({"url": "/a"}),
        json!({"method": "GET"}),
        json!({"all": false}),
        json!({"all": true, "model": "x"}),
        json!({"project_id": "x"}),
        json!({"url": "/a", "method": "GET", "all": true}),
    ] {
        let (status, _) = gateway.api("POST", "/manage/cache/purge", Some(&wrong));
        assert!((400..=422).contains(&status), "{wrong}: {status}");
    }
    fill();
    let done = gateway.cli(&[
        "cache",
        "purge",
        "--request-url",
        "/a/",
        "--prefix",
        "--json",
    ]);
    assert!(done.status.success(), "{done:?}");
    assert!(
        String::from_utf8_lossy(&done.stdout).contains("\"count\":4"),
        "{done:?}"
    );
    let trial = gateway.api(
        "POST",
        "/manage/cache/purge?dry_run=true",
        Some(&json!({"all": true})),
    );
    assert_eq!((trial.0, &trial.1["count"]), (200, &json!(1)), "{trial:?}");
    let told = gateway.audit_line("cache.purge", |line| line["action"] == "cache.purge");
    assert_eq!(told["result"], "success", "{told}");
    assert_eq!(gateway.call(&get("/a/x", "")).status, 200);
}

// LLM-88
#[test]
fn an_operator_of_a_tenant_takes_out_its_own_alone() {
    let origin = telling("content-type: text/x\r\n");
    let gateway = front(&origin, &tokens("GET /a", ""));
    let other = tenant(&gateway, "other");
    let body = json!({"name": "foreign", "tenant": other});
    let (_, made) = gateway.api("POST", "/api/v1/projects", Some(&body));
    let mint = |project: &str| gateway.mint_token(&json!({"project": project}));
    let tokens = [mint("default"), mint(made["id"].as_str().unwrap())];
    let calls = tokens
        .each_ref()
        .map(|token| get("/a", &format!("Authorization: Bearer {token}\r\n")));
    for call in &calls {
        gateway.call(call);
    }
    let (_, secret) = key(
        &gateway,
        &json!({"name": "k", "role": "tenant-admin", "tenant_id": other}),
    );
    let all = json!({"all": true});
    let purged = ask(&gateway, &secret, "POST /manage/cache/purge", Some(&all));
    assert_eq!((purged.status, &purged.json()["count"]), (200, &json!(1)));
    assert!(hit(&gateway.call(&calls[0])));
    assert!(!hit(&gateway.call(&calls[1])));
    let purged = ask(
        &gateway,
        MANAGEMENT_KEY,
        "POST /manage/cache/purge",
        Some(&all),
    );
    assert_eq!(purged.json()["count"], 2);
}
