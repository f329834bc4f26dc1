//! Knobs of upstreams, routes and providers, turned by reloads as those of the listener are.

use crate::fixture::{head, llm_call, post};
use crate::knobs::{CHAT, Look, Table, World, passed, turn_each};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

fn table(below: &'static str, rows: Vec<(&'static str, Value, Look)>) -> Table {
    Table {
        below,
        with: Vec::new(),
        rows,
    }
}

/// How an answer came: its status, and whether all of it did.
fn came(world: &World, target: &str) -> String {
    let answer = world.gateway.call(&head(&format!("GET {target}"), ""));
    format!("{} {:?}", answer.status, answer.end)
}

/// What an upstream gets of a call, or why it gets none.
fn asked(world: &World) -> String {
    let status = world.get("");
    let target = (status == "200").then(|| world.origin.last().target);
    format!("{status} {target:?}")
}

pub(crate) fn upstreams() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("url", json!("http://127.0.0.1:2"), asked),
        ("timeout", json!("50ms"), |world| came(world, "/slow")),
        ("signing.backdate_ms", json!(20_000), backdated),
        ("headers", json!({ "x-fixed": "ours" }), |world| {
            world.passed_on("", "x-fixed")
        }),
        ("headers.set", json!({ "x-fixed": "ours" }), |world| {
            world.passed_on("", "x-fixed")
        }),
        ("headers.remove", json!(["x-request-id"]), |world| {
            let asked = world.get("");
            let request = world.origin.last();
            format!("{asked} {}", request.field("x-request-id").is_some())
        }),
        ("headers.allow", json!(["x-mine"]), |world| {
            world.passed_on("x-mine: yes\r\n", "x-mine")
        }),
        ("headers.request.mode", json!("deny"), |world| {
            world.passed_on("x-mine: yes\r\n", "x-mine")
        }),
        ("headers.response.allow", json!(["x-runtime"]), |world| {
            world.answered("", "x-runtime")
        }),
        ("forward_origin", json!(true), |world| {
            world.passed_on("Origin: https://a.example\r\n", "origin")
        }),
        ("forward_client_ip", json!(false), |world| {
            world.passed_on("", "x-real-ip")
        }),
        ("forward_cookies", json!(["sid"]), |world| {
            world.passed_on("Cookie: sid=1\r\n", "cookie")
        }),
        ("timeouts.first_byte_ms", json!(50), |world| {
            came(world, "/slow")
        }),
        ("timeouts.idle_ms", json!(50), |world| {
            came(world, "/pausing")
        }),
        ("timeouts.total_ms", json!(50), |world| {
            came(world, "/pausing")
        }),
        ("pool.idle_per_host_max", json!(0), |world| {
            let mut client = world.gateway.connect();
            let mut get = || assert_eq!(client.call(&head("GET /x", "")).status, 200);
            get();
            let before = world.origin.connections();
            get();
            (world.origin.connections() > before).to_string()
        }),
    ];
    let key = json!([{ "id": "a", "secret": "${UPSTREAM_KEY}" }]);
    let signing = json!({ "mode": "bolthub", "keys": key, "backdate_ms": 0 });
    let with = vec![
        ("upstreams.origin.signing", signing),
        (
            "upstreams.origin.headers",
            json!({ "request": { "mode": "allow" } }),
        ),
    ];
    Table {
        below: "upstreams.origin.",
        with,
        rows,
    }
}

/// How far in the past signatures are: hardly, or not.
fn backdated(world: &World) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis();
    assert_eq!(world.get(""), "200");
    let request = world.origin.last();
    let at = request.field("x-gateway-timestamp").unwrap();
    let at: u128 = at.parse().unwrap();
    let at = if at < 100_000_000_000 { at * 1_000 } else { at };
    (now.saturating_sub(at) > 10_000).to_string()
}

// EDGE-136
#[test]
fn each_knob_of_an_upstream_does_something() {
    turn_each(upstreams());
}

// EDGE-136
#[test]
fn each_knob_of_a_route_does_something() {
    turn_each(table(
        "routes.GET /x.",
        vec![
            ("access", json!("token"), |world| world.get("")),
            (
                "allowed_origins",
                json!(["https://app.example.com"]),
                |world| world.get(""),
            ),
            (
                "rate_limit",
                json!({ "requests": 2, "window": "1h" }),
                passed,
            ),
        ],
    ));
    turn_each(table(
        "routes.POST /x.",
        vec![
            ("request.body_bytes_max", json!(4), |world| {
                world.status(&post("/x", "", b"more than four"))
            }),
            ("request.streaming", json!(true), |world| {
                world.status(&post("/x", "Content-Encoding: gzip\r\n", &EMPTY_GZIP))
            }),
            ("request.content_encodings", json!([]), |world| {
                world.status(&post("/x", "Content-Encoding: gzip\r\n", &EMPTY_GZIP))
            }),
        ],
    ));
    turn_each(table(
        "routes.GET /p/*.",
        vec![
            ("path.allow_encoded_slash", json!(true), |world| {
                world.status(&head("GET /p/a%2Fb", ""))
            }),
            ("path.allow_semicolon", json!(true), |world| {
                world.status(&head("GET /p/a;b", ""))
            }),
            ("request.allow_body", json!(true), |world| {
                let mut request = head("GET /p/a", "Content-Length: 4\r\n");
                request.extend_from_slice(b"body");
                world.status(&request)
            }),
        ],
    ));
    turn_each(table(
        "routes.GET /big.",
        vec![("response.stream_bytes_max", json!(700), |world| {
            came(world, "/big")
        })],
    ));
}

/// Nothing, in gzip.
const EMPTY_GZIP: [u8; 20] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// How a call of this model ends.
fn called(world: &World, model: &str) -> String {
    let body = format!(
        "{{\"model\":\"{model}\",\"messages\":[],\"stream\":{}}}",
        model == "pausing"
    );
    let request = llm_call("/v1/chat/completions", &world.token, &body);
    let answer = world.gateway.call(&request);
    format!("{} {}", answer.status, answer.text().contains("[DONE]"))
}

/// The credentials that some calls are made with.
fn credentials(world: &World) -> String {
    let used: BTreeSet<String> = (0..8)
        .map(|_| {
            let status = world.chat(CHAT);
            format!("{status} {:?}", world.origin.last().field("authorization"))
        })
        .collect();
    format!("{used:?}")
}

/// What a provider gets of a caller's field.
fn x_mine(world: &World) -> String {
    let lines = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\nx-mine: yes\r\n",
        world.token
    );
    let status = world.status(&post("/v1/chat/completions", &lines, CHAT.as_bytes()));
    format!("{status} {:?}", world.origin.last().field("x-mine"))
}

pub(crate) fn providers() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("kind", json!("anthropic"), |world| world.chat(CHAT)),
        ("base_url", json!("http://127.0.0.1:2/v1"), |world| {
            world.chat(CHAT)
        }),
        ("credentials", json!([{ "secret": "none" }]), credentials),
        ("timeouts.first_byte_ms", json!(50), |world| {
            called(world, "slow")
        }),
        ("timeouts.idle_ms", json!(50), |world| {
            called(world, "pausing")
        }),
        ("timeouts.total_ms", json!(50), |world| {
            called(world, "pausing")
        }),
        ("pool.idle_per_host_max", json!(0), |world| {
            let mut client = world.gateway.connect();
            let request = llm_call("/v1/chat/completions", &world.token, CHAT);
            let mut call = || assert_eq!(client.call(&request).status, 200);
            call();
            let before = world.origin.connections();
            call();
            (world.origin.connections() > before).to_string()
        }),
        ("models", json!(["other"]), |world| world.chat(CHAT)),
        ("excluded_models", json!(["m"]), |world| world.chat(CHAT)),
        ("enabled", json!(false), |world| world.chat(CHAT)),
        ("headers", json!({ "x-fixed": "ours" }), |world| {
            let status = world.chat(CHAT);
            format!("{status} {:?}", world.origin.last().field("x-fixed"))
        }),
        ("headers.set", json!({ "x-fixed": "ours" }), |world| {
            let status = world.chat(CHAT);
            format!("{status} {:?}", world.origin.last().field("x-fixed"))
        }),
        ("headers.remove", json!(["user-agent"]), |world| {
            let status = world.chat(CHAT);
            format!("{status} {:?}", world.origin.last().field("user-agent"))
        }),
        ("headers.allow", json!(["x-mine"]), x_mine),
        ("headers.response.allow", json!(["x-runtime"]), |world| {
            let request = llm_call("/v1/chat/completions", &world.token, CHAT);
            format!("{:?}", world.gateway.call(&request).field("x-runtime"))
        }),
        ("forward_headers", json!(["x-mine"]), x_mine),
    ];
    table("providers.openai.", rows)
}

/// Beside another provider that is not there.
pub(crate) fn ranked() -> Table {
    let other = json!({
        "base_url": "http://127.0.0.1:2/v1", "allow_private": ["127.0.0.1/32"], "breaker": "off",
        "credentials": [{ "secret": "none" }],
    });
    let rows: Vec<(_, _, Look)> = vec![("priority", json!(-5), |world| world.chat(CHAT))];
    let with = vec![
        ("providers.groq", other),
        ("providers.openai.priority", json!(5)),
    ];
    Table {
        below: "providers.openai.",
        with,
        rows,
    }
}

/// With two credentials.
pub(crate) fn weighed() -> Table {
    let two = |weight: u32, priority: i32| {
        json!([
            { "secret": "${UPSTREAM_KEY}" },
            { "secret": "none", "weight": weight, "priority": priority },
        ])
    };
    let rows: Vec<(_, _, Look)> = vec![
        ("credentials", two(0, 0), credentials),
        ("credentials", two(1, 1), credentials),
        ("credentials", two(1, -1), credentials),
    ];
    Table {
        below: "providers.openai.",
        with: vec![("providers.openai.credentials", two(1, 0))],
        rows,
    }
}

/// What is told of a model.
fn known(world: &World) -> String {
    let lines = format!("Authorization: Bearer {}\r\n", world.token);
    let answer = world.gateway.call(&head("GET /v1/models/m", &lines));
    answer.text()
}

// EDGE-136
#[test]
fn each_knob_of_a_provider_does_something() {
    turn_each(providers());
    turn_each(ranked());
    turn_each(weighed());
    let rows: Vec<(_, _, Look)> = vec![
        ("models.default", json!("m"), |world| {
            let unknown = CHAT.replace("\"m\"", "\"unknown\"");
            world.chat(&unknown)
        }),
        (
            "models.catalog",
            json!([{ "model": "m", "created": "2026-01-02" }]),
            known,
        ),
        ("llm.expose_providers", json!(true), known),
    ];
    let with = vec![("providers.openai.models", json!(["m"]))];
    turn_each(Table {
        below: "",
        with,
        rows,
    });
}
