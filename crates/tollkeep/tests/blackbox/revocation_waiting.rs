//! Access that ends while calls still wait for their upstream.

use crate::callers::{PROVIDER_KEY, act, bearer, call_to, chat, made, models, post_json};
use crate::operators::tenant;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Client, Gate, Gateway, Http2Client, Origin, Step, eventually};

/// How long an upstream may take, and what is cut takes at most.
const LONG: &str = "60000";
const SOON: Duration = Duration::from_secs(1);

/// Upstreams that say nothing until the gate opens, where a call says `wait`; half an answer, where
/// it says `half`.
struct World {
    gateway: Gateway,
    gate: Gate,
    origin: Origin,
}

fn world() -> World {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let text = request.text();
        let mut steps = crate::callers::answer(request);
        if text.contains("do:wait") {
            steps.insert(0, Step::Wait(held.clone()));
        }
        if text.contains("do:half") {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            steps = vec![
                Step::Send(format!("{head}content-length: 40\r\n\r\n{{").into_bytes()),
                Step::Wait(held.clone()),
                Step::Close,
            ];
        }
        steps
    });
    let gateway = models(&origin)
        .set("providers.openai.timeouts.first_byte_ms", LONG)
        .set("providers.anthropic.timeouts.first_byte_ms", LONG)
        .start();
    World {
        gateway,
        gate,
        origin,
    }
}

impl World {
    /// A call that has reached its upstream.
    fn waiting(&self, request: &[u8]) -> Client {
        let before = self.origin.count();
        let mut client = self.gateway.connect();
        client.send(request);
        self.origin.wait_for(before + 1);
        client
    }

    fn breakers(&self) -> Value {
        self.gateway.api("GET", "/api/v1/breakers", None).1["data"].clone()
    }
}

/// The answer, which comes soon.
fn soon(name: &str, client: &mut Client) -> Answer {
    let began = Instant::now();
    let answer = client.answer(Duration::from_secs(20)).unwrap();
    assert!(began.elapsed() < SOON, "{name}: {:?}", began.elapsed());
    answer
}

// ID-34
#[test]
fn a_call_that_waits_for_its_upstream_ends_when_its_token_is_revoked_or_suspended() {
    let world = world();
    let (_, other) = made(&world.gateway, &json!({}));
    for (path, verb, word) in [
        (
            "/v1/chat/completions",
            "revoke",
            "\"code\":\"access_revoked\"",
        ),
        (
            "/v1/chat/completions",
            "suspend",
            "\"code\":\"access_revoked\"",
        ),
        ("/v1/messages", "revoke", "\"type\":\"permission_error\""),
        ("/v1/messages", "suspend", "\"type\":\"permission_error\""),
        ("/plain", "revoke", "\"code\":\"access_revoked\""),
        ("/plain", "suspend", "\"code\":\"access_revoked\""),
    ] {
        let name = format!("{verb} {path}");
        let (id, token) = made(&world.gateway, &json!({}));
        let mut cut = world.waiting(&call_to(path, &bearer(&token), "do:wait"));
        let mut kept = world.waiting(&call_to(path, &bearer(&other), "do:wait"));
        assert_eq!(act(&world.gateway, &id, verb, &json!({})).0, 200);
        let answer = soon(&name, &mut cut);
        assert_eq!(answer.status, 403, "{name}: {}", answer.text());
        assert!(answer.text().contains(word), "{name}: {}", answer.text());
        assert!(!answer.text().contains(PROVIDER_KEY));
        assert_eq!(answer.field("x-tollkeep-error"), Some("access_revoked"));
        // The connection is well; what is asked on it next is judged anew.
        let next = cut.call(&call_to(path, &bearer(&other), "hi"));
        assert_eq!(next.status, 200, "{name}");
        world.gate.open();
        assert_eq!(kept.answer(Duration::from_secs(10)).unwrap().status, 200);
        world.gate.close();
    }
    let event = world.gateway.audit_line("the call", |event| {
        event["action"] == "proxy_request" && event["reason"] == "access_revoked"
    });
    assert_eq!(event["result"], "denied", "{event}");
    assert_eq!(world.breakers(), json!([]), "no upstream failed");
    eventually("upstream calls that were cut are dropped", || {
        (world.origin.open_connections() <= 6).then_some(())
    });
}

// ID-34
#[test]
fn an_answer_that_is_judged_whole_ends_too_while_it_arrives() {
    let world = world();
    let (id, token) = made(&world.gateway, &json!({}));
    let mut cut = world.waiting(&chat(&bearer(&token), "do:half"));
    // Its head has been read by now, or is about to be: both end alike.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(act(&world.gateway, &id, "revoke", &json!({})).0, 200);
    let answer = soon("half", &mut cut);
    assert_eq!(
        (answer.status, answer.code()),
        (403, "access_revoked".to_owned())
    );
    assert_eq!(world.breakers(), json!([]));
}

// ID-34
#[test]
fn a_body_that_still_comes_in_is_not_waited_for() {
    let world = world();
    let (id, token) = made(&world.gateway, &json!({}));
    let whole = post_json(
        "/v1/chat/completions",
        &bearer(&token),
        &json!({ "model": "gpt-4o" }),
    );
    let mut client = world.gateway.connect();
    client.send(&whole[..whole.len() - 5]);
    // The head arrived before: the call was identified when the other one on its worker was.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(act(&world.gateway, &id, "revoke", &json!({})).0, 200);
    let answer = soon("half a body", &mut client);
    assert_eq!(
        (answer.status, answer.code()),
        (403, "access_revoked".to_owned())
    );
    assert_eq!(world.origin.count(), 0);
}

// ID-34
#[test]
fn calls_that_may_finish_are_waited_for_and_new_ones_are_not_taken() {
    let world = world();
    for verb in ["revoke", "suspend"] {
        let (id, token) = made(&world.gateway, &json!({}));
        let mut running = world.waiting(&chat(&bearer(&token), "do:wait"));
        let finish = json!({ "in_flight": "finish" });
        assert_eq!(act(&world.gateway, &id, verb, &finish).0, 200);
        let refused = world.gateway.call(&chat(&bearer(&token), "hi"));
        assert_eq!(refused.status, 401, "{verb}");
        world.gate.open();
        let answer = running.answer(Duration::from_secs(10)).unwrap();
        assert_eq!(answer.status, 200, "{verb}: {}", answer.text());
        world.gate.close();
    }
}

// ID-3 ID-4 ID-34
#[test]
fn what_ends_a_project_or_tenant_ends_its_waiting_calls() {
    let world = world();
    let gateway = &world.gateway;
    let tenant = tenant(gateway, "a");
    let body = json!({ "name": "p", "tenant": tenant });
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&body));
    let project = project["id"].as_str().unwrap();
    let projects = format!("/api/v1/projects/{project}");
    let tenants = format!("/api/v1/tenants/{tenant}");
    let token = gateway.mint_token(&json!({ "project": project }));
    for (method, path, off, undo) in [
        (
            "PATCH",
            projects.clone(),
            json!({ "is_active": false }),
            ("PATCH", projects.clone(), json!({ "is_active": true })),
        ),
        (
            "POST",
            format!("{tenants}/suspend"),
            json!({}),
            ("POST", format!("{tenants}/resume"), json!({})),
        ),
        (
            "POST",
            format!("{projects}/tokens/revoke"),
            json!({}),
            ("GET", projects, json!({})),
        ),
    ] {
        let mut waiting = world.waiting(&chat(&bearer(&token), "do:wait"));
        let (status, told) = gateway.api(method, &path, Some(&off));
        assert_eq!(status, 200, "{path}: {told}");
        let answer = soon(&path, &mut waiting);
        assert_eq!(
            (answer.status, answer.code()),
            (403, "access_revoked".to_owned()),
            "{path}"
        );
        let body = (undo.0 != "GET").then_some(&undo.2);
        assert_eq!(gateway.api(undo.0, &undo.1, body).0, 200);
    }
}

// ID-34
#[test]
fn streams_that_operators_end_are_no_failures_of_the_upstream() {
    let gate = Gate::default();
    let origin = Origin::start(move |_| crate::callers::stream(Some(&gate)));
    let gateway = models(&origin).start();
    for _ in 0..8 {
        let (id, token) = made(&gateway, &json!({}));
        let body = json!({ "model": "gpt-4o", "stream": true, "messages": [] });
        let mut client = gateway.connect();
        client.send(&post_json("/v1/chat/completions", &bearer(&token), &body));
        let mut answer = client.head(Duration::from_secs(10)).unwrap();
        assert_eq!(answer.status, 200, "the breaker stays closed");
        assert!(client.piece(&mut answer).is_some());
        assert_eq!(act(&gateway, &id, "revoke", &json!({})).0, 200);
        while client.piece(&mut answer).is_some() {}
    }
    let (_, page) = gateway.api("GET", "/api/v1/breakers", None);
    assert_eq!(page["data"], json!([]));
}

// ID-34 ID-36
#[test]
fn calls_of_a_token_that_was_resumed_in_its_overlap_are_not_cut_when_others_are() {
    let world = world();
    let (id, token) = made(&world.gateway, &json!({}));
    let rotated = act(&world.gateway, &id, "rotate", &json!({ "overlap": "1h" }));
    assert_eq!(rotated.0, 200);
    for verb in ["suspend", "resume"] {
        assert_eq!(act(&world.gateway, &id, verb, &json!({})).0, 200);
    }
    let mut kept = world.waiting(&chat(&bearer(&token), "do:wait"));
    let (other, of_other) = made(&world.gateway, &json!({}));
    let mut cut = world.waiting(&chat(&bearer(&of_other), "do:wait"));
    assert_eq!(act(&world.gateway, &other, "revoke", &json!({})).0, 200);
    assert_eq!(soon("the other", &mut cut).status, 403);
    world.gate.open();
    let answer = kept.answer(Duration::from_secs(10)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

// ID-34
#[test]
fn over_http_2_the_streams_of_one_token_end_and_the_rest_of_the_connection_goes_on() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let wait = vec![Step::Wait(held.clone())];
        [wait, crate::callers::answer(request)].concat()
    });
    let gateway = models(&origin).set("server.h2c", "true").start();
    let ((id, ended), (_, other)) = (made(&gateway, &json!({})), made(&gateway, &json!({})));
    let mut client = Http2Client::connect(gateway.data());
    let mut begin = |token: &str, count| {
        let bearer = format!("Bearer {token}");
        let request = client.request("GET", "/plain", &[("authorization", bearer.as_str())]);
        let exchange = client.begin(request, true).unwrap();
        origin.wait_for(count);
        exchange
    };
    let mut cut = [begin(&ended, 1), begin(&ended, 2)];
    let mut kept = begin(&other, 3);
    assert_eq!(act(&gateway, &id, "revoke", &json!({})).0, 200);
    let began = Instant::now();
    for exchange in &mut cut {
        let answer = exchange.head().unwrap();
        assert_eq!(answer.field("x-tollkeep-error"), Some("access_revoked"));
        assert_eq!(answer.status, 403);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    gate.open();
    assert_eq!(kept.head().unwrap().status, 200);
}
