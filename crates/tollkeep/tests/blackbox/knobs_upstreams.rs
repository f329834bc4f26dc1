//! Knobs of upstreams, routes and providers, turned by reloads as those of the listener are.

use crate::fixture::{head, post};
use crate::knobs::{CHAT, Look, Table, World, passed, turn_each};
use serde_json::{Value, json};

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

// EDGE-136
#[test]
fn each_knob_of_an_upstream_does_something() {
    turn_each(table(
        "upstreams.origin.",
        vec![
            ("headers", json!({ "x-fixed": "ours" }), |world| {
                world.passed_on("", "x-fixed")
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
        ],
    ));
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

// EDGE-136
#[test]
fn each_knob_of_a_provider_does_something() {
    turn_each(table(
        "providers.openai.",
        vec![
            ("models", json!(["other"]), |world| world.chat(CHAT)),
            ("excluded_models", json!(["m"]), |world| world.chat(CHAT)),
            ("enabled", json!(false), |world| world.chat(CHAT)),
            ("headers", json!({ "x-fixed": "ours" }), |world| {
                let status = world.chat(CHAT);
                format!("{status} {:?}", world.origin.last().field("x-fixed"))
            }),
            ("forward_headers", json!(["x-mine"]), |world| {
                let lines = format!(
                    "Authorization: Bearer {}\r\nContent-Type: application/json\r\nx-mine: yes\r\n",
                    world.token
                );
                let status = world.status(&post("/v1/chat/completions", &lines, CHAT.as_bytes()));
                format!("{status} {:?}", world.origin.last().field("x-mine"))
            }),
        ],
    ));
    let rows: Vec<(_, _, Look)> = vec![("models.default", json!("m"), |world| {
        let unknown = CHAT.replace("\"m\"", "\"unknown\"");
        world.chat(&unknown)
    })];
    let with = vec![("providers.openai.models", json!(["m"]))];
    turn_each(Table {
        below: "",
        with,
        rows,
    });
}
