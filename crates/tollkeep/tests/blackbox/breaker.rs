//! Upstreams that keep failing: when they are left alone, and how they are tried again.

use crate::callers::bearer;
use crate::egress::{answers, resolver};
use crate::fixture::{before, chat, free, gateway, head, llm};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Answer, BodyEnd, Gate, Gateway, NameServer, Origin, PATIENCE, Step, eventually, ok,
};

/// An origin that answers with the status it is told to, and a gateway before it. `breaker` is
/// what stands in the upstream besides its address.
struct Play {
    origin: Origin,
    gateway: Gateway,
    status: Arc<AtomicU16>,
}

fn status(status: u16) -> Vec<Step> {
    let text = format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n\r\nok");
    vec![Step::Send(text.into_bytes())]
}

fn with(config: &str, more: &str) -> String {
    config.replace("32\"] }", &format!("32\"], {more} }}"))
}

impl Play {
    fn new(more: &str) -> Self {
        let told = Arc::new(AtomicU16::new(200));
        let to_tell = Arc::clone(&told);
        let origin = Origin::start(move |_| status(to_tell.load(Ordering::Relaxed)));
        let routes = [free("GET /x"), free("GET /other")].concat();
        let gateway = gateway(with(&before(&origin, &routes), more)).start();
        Self {
            origin,
            gateway,
            status: told,
        }
    }

    /// Calls with the origin saying this.
    fn call(&self, status: u16) -> Answer {
        self.status.store(status, Ordering::Relaxed);
        self.gateway.call(&head("GET /x", ""))
    }

    /// Opens the breaker.
    fn fail(&self, times: usize) {
        for _ in 0..times {
            let answer = self.call(500);
            assert_eq!(answer.status, 500, "{}", answer.text());
        }
    }
}

/// The breakers that remember something.
fn breakers(gateway: &Gateway) -> Vec<Value> {
    let (status, page) = gateway.api("GET", "/api/v1/breakers", None);
    assert_eq!(status, 200, "{page}");
    page["data"].as_array().unwrap().clone()
}

/// Waits until the only breaker is in this state, without a call.
fn wait_for(gateway: &Gateway, state: &str) {
    eventually(state, || {
        let all = breakers(gateway);
        (all.len() == 1 && all[0]["state"] == state).then_some(())
    });
}

fn is_refused(answer: &Answer) -> bool {
    answer.code() == "circuit_open"
}

// EDGE-113
#[test]
fn five_failures_in_a_row_open_it_and_one_success_begins_anew() {
    let play = Play::new("breaker: { open_ms: 60000 }");
    play.fail(4);
    assert_eq!(play.call(200).status, 200);
    play.fail(4);
    for status in [200, 201, 302, 404, 429] {
        assert_eq!(play.call(status).status, status, "still closed");
        play.fail(4);
    }
    play.fail(1);
    let reached = (play.origin.count(), play.origin.connections());
    for _ in 0..20 {
        let refused = play.call(200);
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (
                502,
                r#"{"error":"Service temporarily unavailable","code":"circuit_open"}"#
            )
        );
        let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(
        (play.origin.count(), play.origin.connections()),
        reached,
        "nothing was sent, nothing dialled"
    );
    let other = play.gateway.call(&head("GET /other", ""));
    assert_eq!(other.status, 200, "another route has its own");
}

// EDGE-113
#[test]
fn an_open_breaker_may_say_503_and_be_off() {
    let play = Play::new("breaker: { failures: 2, status: 503 }");
    play.fail(2);
    let refused = play.call(200);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "circuit_open")
    );
    assert!(refused.field("retry-after").is_some());
    let off = Play::new("breaker: off");
    off.fail(20);
    assert_eq!(off.call(200).status, 200);
}

// EDGE-113
#[test]
fn of_fifty_at_once_two_are_let_through_to_try() {
    let gate = Gate::default();
    let (held, bad) = (gate.clone(), Arc::new(AtomicU16::new(500)));
    let said = Arc::clone(&bad);
    let origin = Origin::start(move |_| match said.load(Ordering::Relaxed) {
        200 => [vec![Step::Wait(held.clone())], ok(b"ok")].concat(),
        other => status(other),
    });
    let config = with(
        &before(&origin, &free("GET /x")),
        "breaker: { open_ms: 300 }",
    );
    let gateway = gateway(config).start();
    for _ in 0..5 {
        assert_eq!(gateway.call(&head("GET /x", "")).status, 500);
    }
    assert!(is_refused(&gateway.call(&head("GET /x", ""))));
    bad.store(200, Ordering::Relaxed);
    wait_for(&gateway, "half_open");
    let mut clients: Vec<_> = (0..50).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(&head("GET /x", ""));
    }
    origin.wait_for(7);
    let mut trials = Vec::new();
    let mut refused = 0;
    for mut client in clients {
        match client.answer(Duration::from_millis(500)) {
            Ok(answer) => {
                assert!(is_refused(&answer), "{answer:?}");
                assert_eq!(answer.field("retry-after"), Some("1"));
                refused += 1;
            }
            Err(_) => trials.push(client),
        }
    }
    assert_eq!((refused, trials.len(), origin.count()), (48, 2, 7));
    gate.open();
    for mut client in trials {
        assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
    }
    assert_eq!(gateway.call(&head("GET /x", "")).status, 200, "closed");
    assert_eq!(breakers(&gateway), [] as [Value; 0]);
}

// EDGE-113
#[test]
fn one_trial_that_fails_or_hangs_opens_it_again() {
    for (name, steps, answered) in [
        ("it fails", status(503), 503),
        ("it hangs", vec![Step::Hang], 504),
        ("it closes", vec![Step::Close], 502),
        (
            "it breaks off",
            vec![
                Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec()),
                Step::Close,
            ],
            200,
        ),
    ] {
        let origin = Origin::start(move |_| steps.clone());
        let more = "breaker: { failures: 1, open_ms: 200 }, timeouts: { first_byte_ms: 300 }";
        let gateway = gateway(with(&before(&origin, &free("GET /x")), more)).start();
        let call = || gateway.call(&head("GET /x", ""));
        for round in 1..=3 {
            assert_eq!(call().status, answered, "{name} {round}");
            let opened = breakers(&gateway);
            assert_eq!(opened[0]["failures"], round, "{name}: {opened:?}");
            wait_for(&gateway, "half_open");
        }
        assert_eq!(origin.count(), 3, "{name}");
    }
}

// EDGE-113
#[test]
fn a_trial_whose_caller_goes_away_gives_its_place_back() {
    let gate = Gate::default();
    let (held, bad) = (gate.clone(), Arc::new(AtomicU16::new(500)));
    let said = Arc::clone(&bad);
    let origin = Origin::start(move |_| match said.load(Ordering::Relaxed) {
        200 => [vec![Step::Wait(held.clone())], ok(b"ok")].concat(),
        other => status(other),
    });
    let more = "breaker: { failures: 1, open_ms: 200, trials: 1 }";
    let gateway = gateway(with(&before(&origin, &free("GET /x")), more)).start();
    assert_eq!(gateway.call(&head("GET /x", "")).status, 500);
    bad.store(200, Ordering::Relaxed);
    wait_for(&gateway, "half_open");
    let mut trial = gateway.connect();
    trial.send(&head("GET /x", ""));
    origin.wait_for(2);
    assert!(is_refused(&gateway.call(&head("GET /x", ""))));
    drop(trial);
    gate.open();
    eventually("another trial", || {
        (gateway.call(&head("GET /x", "")).status == 200).then_some(())
    });
    assert_eq!(origin.count(), 3);
    eventually("it is closed", || {
        breakers(&gateway).is_empty().then_some(())
    });
}

/// How often one kind of answer is asked for, and whether the breaker, which bears one failure,
/// is open then.
fn opens(name: &str, origin: &Origin, more: &str, want: &str) -> bool {
    let more = format!("breaker: {{ failures: 2, open_ms: 60000 }}{more}");
    let route = free("GET /x").replace(" }\n", ", response: { stream_bytes_max: 1000 } }\n");
    let gateway = gateway(with(&before(origin, &route), &more)).start();
    for _ in 0..2 {
        let answer = gateway.call(&head("GET /x", ""));
        let told = match answer.field("x-tollkeep-error") {
            Some(code) => code.to_owned(),
            None => answer.status.to_string(),
        };
        assert_eq!(told, want, "{name}");
    }
    // What was told last may be judged just after the caller has it.
    let open = || is_refused(&gateway.call(&head("GET /x", "")));
    let mut tries = (0..5).map(|_| open());
    tries.any(|open| open)
}

// EDGE-113
#[test]
fn what_the_upstream_does_wrong_counts_and_nothing_else() {
    let answer = |text: &str| {
        let bytes = text.as_bytes().to_vec();
        Origin::start(move |_| vec![Step::Send(bytes.clone()), Step::Close])
    };
    let said = |code: u16| Origin::start(move |_| status(code));
    let hung = Origin::start(|_| vec![Step::Hang]);
    let over_cap = || Origin::start(|_| ok(&[b'x'; 2_000]));
    let quick = ", timeouts: { first_byte_ms: 200 }";
    for (name, origin, more, want, counts) in [
        ("500", said(500), "", "500", true),
        ("599", said(599), "", "599", true),
        ("408", said(408), "", "408", false),
        ("429", said(429), "", "429", false),
        ("404", said(404), "", "404", false),
        ("a redirect", said(302), "", "302", false),
        ("no answer in time", hung, quick, "timeout", true),
        (
            "no proper answer",
            answer("ICY 200\r\n\r\n"),
            "",
            "upstream_protocol",
            true,
        ),
        ("closed at once", answer(""), "", "upstream_error", true),
        ("over the cap", over_cap(), "", "response_too_large", true),
        (
            "broken off",
            answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
            "",
            "200",
            true,
        ),
    ] {
        assert_eq!(opens(name, &origin, more, want), counts, "{name}");
    }
}

// EDGE-113
#[test]
fn an_upstream_that_is_not_there_opens_it() {
    let nobody = { Origin::plain().addr() };
    let server = NameServer::start(answers);
    let routes = [
        ("refused", "127.0.0.1"),
        ("unknown", "missing.test.example"),
        ("denied", "private.test.example"),
    ];
    let mut config = format!("{}upstreams:\n", resolver(&server));
    for (name, host) in routes {
        config.push_str(&format!(
            "  {name}: {{ url: \"http://{host}:{}\", allow_private: [\"127.0.0.1/32\"], \
             breaker: {{ failures: 2, open_ms: 60000 }} }}\n",
            nobody.port()
        ));
    }
    config.push_str("routes:\n");
    for (name, _) in routes {
        let line = free(&format!("GET /{name}"));
        config.push_str(&line.replace("upstream: origin", &format!("upstream: {name}")));
    }
    let gateway = gateway(config).start();
    for (name, code) in [("refused", "upstream_error"), ("unknown", "upstream_dns")] {
        let call = || gateway.call(&head(&format!("GET /{name}"), ""));
        for _ in 0..2 {
            assert_eq!(call().code(), code, "{name}");
        }
        assert!(is_refused(&call()), "{name}");
    }
    for _ in 0..5 {
        let answer = gateway.call(&head("GET /denied", ""));
        assert_eq!(answer.code(), "egress_refused", "our own no does not count");
    }
}

// EDGE-113 ID-20
#[test]
fn a_refused_call_costs_its_caller_nothing() {
    let told = Arc::new(AtomicU16::new(500));
    let said = Arc::clone(&told);
    let origin = Origin::start(move |_| status(said.load(Ordering::Relaxed)));
    let route =
        "  \"GET /x\": { upstream: origin, rate_limit: { requests: 5, window: 1h, by: token } }\n";
    let config = with(&before(&origin, route), "breaker: { open_ms: 700 }");
    let gateway = gateway(config).start();
    let failing = gateway.mint_token(&json!({ "project": "default" }));
    let careful = gateway.mint_token(&json!({ "project": "default", "max_requests": 2 }));
    let call = |token: &str| gateway.call(&head("GET /x", &bearer(token)));
    for _ in 0..5 {
        assert_eq!(call(&failing).status, 500);
    }
    for _ in 0..20 {
        let refused = call(&careful);
        assert!(is_refused(&refused), "{refused:?}");
        assert_eq!(refused.field("ratelimit"), None, "no limit was touched");
    }
    assert_eq!(origin.count(), 5);
    told.store(200, Ordering::Relaxed);
    wait_for(&gateway, "half_open");
    assert_eq!((call(&careful).status, call(&careful).status), (200, 200));
    // A trial has ended a moment after its answer is there.
    let refused = eventually("it closes", || {
        Some(call(&careful)).filter(|answer| !is_refused(answer))
    });
    assert_eq!(refused.code(), "rate_limit_exceeded", "both were left");
    // Five of its five are used, four of those of the other are not.
    assert_eq!(call(&failing).code(), "rate_limited");
}

// EDGE-113
#[test]
fn projects_do_not_meet_each_others_failures() {
    let told = Arc::new(AtomicU16::new(500));
    let said = Arc::clone(&told);
    let origin = Origin::start(move |_| status(said.load(Ordering::Relaxed)));
    let route = "  \"GET /x\": { upstream: origin }\n";
    let config = with(&before(&origin, route), "breaker: { open_ms: 60000 }");
    let gateway = gateway(config).start();
    let (made, _) = gateway.api(
        "POST",
        "/api/v1/projects",
        Some(&json!({ "name": "other" })),
    );
    assert_eq!(made, 201);
    let one = gateway.mint_token(&json!({ "project": "default" }));
    let other = gateway.mint_token(&json!({ "project": "other" }));
    let call = |token: &str| gateway.call(&head("GET /x", &bearer(token)));
    for _ in 0..5 {
        assert_eq!(call(&one).status, 500);
    }
    told.store(200, Ordering::Relaxed);
    assert!(is_refused(&call(&one)));
    assert_eq!(call(&other).status, 200);
}

// EDGE-113
#[test]
fn operators_see_it_and_close_it() {
    let play = Play::new("breaker: { failures: 2, open_ms: 60000 }");
    let (gateway, gauge) = (&play.gateway, "tollkeep_breaker_state{provider=\"origin\"}");
    let reads = |value: &str| {
        gateway
            .metrics_text()
            .contains(&format!("{gauge} {value}\n"))
    };
    assert!(reads("0"));
    play.fail(2);
    let shown = breakers(gateway).pop().unwrap();
    let id = shown["id"].as_str().unwrap().to_owned();
    for (member, want) in [
        ("state", json!("open")),
        ("upstream", json!("origin")),
        ("route", json!("GET /x")),
        ("model", Value::Null),
        ("project_id", Value::Null),
        ("failures", json!(2)),
    ] {
        assert_eq!(shown[member], want, "{member}");
    }
    assert!(
        shown["opened_at"].as_str() < shown["retry_at"].as_str(),
        "{shown}"
    );
    let (_, status) = gateway.api("GET", "/api/v1/status", None);
    assert_eq!(status["breakers"][0]["id"], *id, "{status}");
    assert!(reads("2"));
    let opened = gateway.audit_line("its opening", |event| event["action"] == "circuit.open");
    assert_eq!(
        (&opened["details"]["provider"], &opened["details"]["route"]),
        (&json!("origin"), &json!("GET /x")),
        "{opened}"
    );

    let listed = gateway.cli(&["breaker", "list"]);
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains(&id),
        "{listed:?}"
    );
    for wrong in ["brk_0000000000000000", "nothing"] {
        let refused = gateway.cli(&["breaker", "reset", wrong]);
        assert_eq!(refused.status.code(), Some(4), "{wrong}: {refused:?}");
    }
    let reset = gateway.cli(&["breaker", "reset", &id]);
    assert!(reset.status.success(), "{reset:?}");
    let after: Value = serde_json::from_slice(&reset.stdout).unwrap();
    assert_eq!(
        (&after["state"], &after["failures"]),
        (&json!("closed"), &json!(0))
    );
    let closed = gateway.audit_line("its closing", |event| {
        event["action"] == "circuit.close" && event["result"] == "success"
    });
    assert_eq!(
        (&closed["actor"], &closed["reason"]),
        (&json!("local"), &json!("reset")),
        "{closed}"
    );
    assert_eq!(play.call(200).status, 200);
    assert!(reads("0"));

    play.fail(2);
    let (_, page) = gateway.api("GET", "/api/v1/breakers", None);
    let path = format!(
        "/api/v1/breakers/{}/reset",
        page["data"][0]["id"].as_str().unwrap()
    );
    let (status, reset) = gateway.api("POST", &path, Some(&json!({})));
    assert_eq!((status, &reset["state"]), (200, &json!("closed")));
    assert_eq!(gateway.api("POST", &path, Some(&json!({}))).0, 404);
}

// EDGE-113
#[test]
fn its_changes_are_in_the_audit_log() {
    let play = Play::new("breaker: { failures: 1, open_ms: 200 }");
    play.fail(1);
    wait_for(&play.gateway, "half_open");
    assert_eq!((play.call(200).status, play.call(200).status), (200, 200));
    play.gateway
        .audit_line("its closing", |event| event["action"] == "circuit.close");
    let lines = play.gateway.audit_lines();
    let circuit = lines.iter().filter_map(|event| {
        let action = event["action"].as_str()?;
        action.starts_with("circuit.").then_some(action)
    });
    assert_eq!(
        circuit.collect::<Vec<_>>(),
        ["circuit.open", "circuit.half_open", "circuit.close"]
    );
    let refused = play.gateway.stderr();
    assert!(
        refused.contains("Circuit to upstream `origin` opened"),
        "{refused}"
    );
}

/// A body of pieces that keeps flowing until the gate opens.
fn flowing(gate: &Gate) -> Vec<Step> {
    let mut steps = vec![Step::Send(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
    )];
    for _ in 0..40 {
        steps.push(Step::Send(b"1\r\nx\r\n".to_vec()));
        steps.push(Step::Sleep(Duration::from_millis(20)));
    }
    steps.push(Step::Wait(gate.clone()));
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}

// EDGE-113
#[test]
fn a_trial_whose_answer_flows_on_and_on_is_a_success_before_it_ends() {
    let gate = Gate::default();
    let (held, bad) = (gate.clone(), Arc::new(AtomicU16::new(500)));
    let said = Arc::clone(&bad);
    let origin = Origin::start(move |_| match said.load(Ordering::Relaxed) {
        200 => flowing(&held),
        other => status(other),
    });
    let more = "breaker: { failures: 1, open_ms: 200, trials: 1 }";
    let gateway = gateway(with(&before(&origin, &free("GET /x")), more)).start();
    assert_eq!(gateway.call(&head("GET /x", "")).status, 500);
    bad.store(200, Ordering::Relaxed);
    wait_for(&gateway, "half_open");
    let mut trial = gateway.connect();
    trial.send(&head("GET /x", ""));
    let began = Instant::now();
    eventually("the breaker closed", || {
        breakers(&gateway).is_empty().then_some(())
    });
    assert!(began.elapsed() < PATIENCE / 2, "it still flows");
    gate.open();
    let answer = trial.answer(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.end), (200, BodyEnd::Whole));
}

// LLM-R56
#[test]
fn of_a_provider_each_model_has_a_breaker() {
    let origin = Origin::start(|request| match request.json()["model"].as_str() {
        Some("bad") => status(503),
        Some("limited") => status(429),
        Some("denied") => status(401),
        _ => ok(br#"{"choices":[]}"#),
    });
    let (gateway, token) = llm(
        &origin,
        "openai",
        "    breaker: { open_ms: 60000 }\n    disable_cooling: true\n",
    );
    let ask = |model: &str| {
        let body = json!({ "model": model, "messages": [] }).to_string();
        gateway.call(&chat(&token, &body))
    };
    for (model, code) in [
        ("bad", "overloaded"),
        ("limited", "model_cooldown"),
        ("denied", "upstream_auth"),
    ] {
        for _ in 0..5 {
            assert_eq!(ask(model).code(), code, "{model}");
        }
    }
    let refused = ask("bad");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (502, "circuit_open")
    );
    assert_eq!(
        refused.json()["error"],
        json!({ "message": "Service temporarily unavailable", "type": "server_error", "param": null, "code": "circuit_open" })
    );
    assert!(refused.field("retry-after").is_some());
    assert_eq!(ask("good").status, 200);
    assert_eq!(ask("limited").code(), "model_cooldown");
    assert_eq!(ask("denied").code(), "upstream_auth");
    let shown = breakers(&gateway).pop().unwrap();
    assert_eq!(
        (&shown["upstream"], &shown["model"], &shown["route"]),
        (&json!("openai"), &json!("bad"), &Value::Null)
    );
    let calls = origin.count();
    let began = Instant::now();
    for _ in 0..10 {
        assert!(is_refused(&ask("bad")));
    }
    assert_eq!(origin.count(), calls);
    assert!(began.elapsed() < PATIENCE);
    let lines = eventually("the lines", || {
        let lines = gateway.usage_lines();
        (lines.len() >= 18).then_some(lines)
    });
    assert_eq!(lines.len(), calls, "a refused call used nothing");
}

/// Reloads `config` and says how the next call is answered.
fn after(play: &Play, config: &str) -> Answer {
    crate::reload::reloaded(&play.gateway, config);
    play.call(200)
}

// EDGE-113 EDGE-136
#[test]
fn an_open_breaker_outlives_a_reload_and_its_rules_are_those_in_force() {
    let play = Play::new("breaker: { open_ms: 60000 }");
    let config = std::fs::read_to_string(play.gateway.config_file()).unwrap();
    play.fail(5);
    let reached = (play.origin.count(), play.origin.connections());
    assert!(is_refused(&play.call(200)));
    let id = breakers(&play.gateway)[0]["id"].clone();
    for more in ["", "llm: { max_depth: 64 }\n"] {
        let answer = after(&play, &format!("{config}\n{more}"));
        assert!(is_refused(&answer), "{more}");
        assert_eq!(breakers(&play.gateway)[0]["id"], id, "the same one");
    }
    // Another address of the upstream is still the upstream that failed.
    let other = Origin::plain();
    let moved = config.replace(&play.origin.url(), &other.url());
    assert!(is_refused(&after(&play, &moved)));
    assert_eq!(other.count(), 0);
    assert_eq!((play.origin.count(), play.origin.connections()), reached);
    // Without a breaker nobody is refused.
    let off = config.replace("breaker: { open_ms: 60000 }", "breaker: off");
    assert_ne!(off, config);
    assert_eq!(after(&play, &off).status, 200);
}

// EDGE-113 EDGE-136
#[test]
fn failures_are_counted_over_reloads_and_by_the_new_number() {
    let play = Play::new("breaker: { open_ms: 60000 }");
    let config = std::fs::read_to_string(play.gateway.config_file()).unwrap();
    play.fail(3);
    let three = config.replace("open_ms: 60000", "open_ms: 60000, failures: 4");
    assert_eq!(after(&play, &three).status, 200, "one success begins anew");
    play.fail(2);
    crate::reload::reloaded(&play.gateway, &format!("{three}\n"));
    play.fail(2);
    assert!(is_refused(&play.call(200)), "two before and two after it");
    // An upstream of another name is another one.
    let renamed = three
        .replace("origin: {", "renamed: {")
        .replace("upstream: origin", "upstream: renamed");
    assert_eq!(after(&play, &renamed).status, 200);
}
