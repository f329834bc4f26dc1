//! Every knob of the edge does something: each row turns one key by a reload, and callers see
//! another thing than before and after.

use crate::fixture::{TOLLKEEP, UPSTREAM_KEY, head, llm_call, post};
use crate::reload::reload;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Client, Gateway, Origin, PATIENCE, Request, Step, chunk, chunked_head, ok, wait_until,
    with_fields,
};

const FIELDS: &str = "content-type: application/json\r\nx-runtime: 1\r\n";
/// How long a look waits for what a short time limit ends.
const A_MOMENT: Duration = Duration::from_millis(400);

/// The gateway, what is behind it, and a token.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) origin: Origin,
    pub(crate) token: String,
}

/// What a caller sees.
pub(crate) type Look = fn(&World) -> String;

/// The configuration as JSON, which is YAML too: keys are set by their paths.
fn base(origin: &Origin) -> Value {
    let url = origin.url();
    let limit = json!({ "requests": 1_000_000, "window": "1s" });
    let free = json!({ "upstream": "origin", "access": "free", "rate_limit": limit });
    json!({
        "reload": { "watch": false },
        "server": { "security": { "rate_limiting": { "enabled": false } } },
        "upstreams": { "origin": { "url": url, "allow_private": ["127.0.0.1/32"], "forward_client_ip": true } },
        "routes": { "GET /x": free, "POST /x": free, "GET /big": free, "GET /slow": free, "GET /pausing": free, "GET /p/*": free },
        "providers": { "openai": {
            "base_url": format!("{url}/v1"), "allow_private": ["127.0.0.1/32"],
            "credentials": [{ "secret": "${UPSTREAM_KEY}" }],
        } },
    })
}

fn set(config: &mut Value, key: &str, value: Value) {
    let mut at = config;
    for name in key.split('.') {
        at = &mut at[name];
    }
    *at = value;
}

fn answer(request: &Request) -> Vec<Step> {
    let says = |word: &str| String::from_utf8_lossy(&request.body).contains(word);
    if request.target.starts_with("/v1/") && says("\"pausing\"") {
        let event = |data: &str| chunk(format!("data: {data}\n\n").as_bytes());
        let (some, end) = (event("{\"choices\":[]}"), event("[DONE]"));
        let head = chunked_head("text/event-stream");
        return vec![head, some, Step::Sleep(A_MOMENT), end, chunk(b"")];
    }
    if request.target.starts_with("/v1/") && says("\"slow\"") {
        return [vec![Step::Sleep(A_MOMENT)], ok(b"{}")].concat();
    }
    if request.target.starts_with("/v1/") {
        let body = json!({ "choices": ["x".repeat(1_000)] }).to_string();
        return with_fields(FIELDS, body.as_bytes());
    }
    let pause = Step::Sleep(A_MOMENT);
    if request.target == "/slow" {
        return [vec![pause], ok(b"slow")].concat();
    }
    if request.target == "/pausing" {
        let (some, end) = ([chunk(b"some"), pause], [chunk(b"more"), chunk(b"")]);
        let head = [chunked_head("text/plain")].into_iter();
        return head.chain(some).chain(end).collect();
    }
    if request.target == "/big" {
        let pieces = (0..4).map(|_| chunk(&[b'x'; 500]));
        let head = [chunked_head("text/plain")].into_iter();
        return head.chain(pieces).chain([chunk(b"")]).collect();
    }
    with_fields(FIELDS, b"ok")
}

impl World {
    pub(crate) fn status(&self, request: &[u8]) -> String {
        self.gateway.call(request).status.to_string()
    }

    pub(crate) fn get(&self, lines: &str) -> String {
        self.status(&head("GET /x", lines))
    }

    /// The value of a field of an answer.
    pub(crate) fn answered(&self, lines: &str, name: &str) -> String {
        let answer = self.gateway.call(&head("GET /x", lines));
        answer.values(name).join(" and ")
    }

    /// The value of a field that reaches the upstream.
    pub(crate) fn passed_on(&self, lines: &str, name: &str) -> String {
        let asked = self.get(lines);
        let request = self.origin.last();
        format!("{asked} {:?}", request.field(name))
    }

    pub(crate) fn chat(&self, body: &str) -> String {
        self.status(&llm_call("/v1/chat/completions", &self.token, body))
    }

    /// A request that waits for its body, and is in work.
    fn in_work(&self) -> Client {
        let mut client = self.gateway.connect();
        client.send(&head(
            "POST /x",
            "Expect: 100-continue\r\nContent-Length: 4\r\n",
        ));
        assert!(client.bytes(PATIENCE).unwrap().starts_with(b"HTTP/1.1 100"));
        client
    }

    /// How the gateway ends what these bytes begin: by an answer, by closing, or not yet.
    fn ended(&self, bytes: &[u8]) -> String {
        let mut client = self.gateway.connect();
        client.send(bytes);
        match client.answer(A_MOMENT) {
            Ok(answer) => answer.status.to_string(),
            Err(ended) => format!("{ended:?}"),
        }
    }
}

fn fields(count: usize) -> String {
    (0..count).map(|at| format!("x-{at}: y\r\n")).collect()
}

fn nested(depth: usize) -> String {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"model":"m","messages":[],"metadata":{open}{close}}}"#)
}

pub(crate) const CHAT: &str = r#"{"model":"m","messages":[]}"#;

/// The field lines of an answer that have this in their names.
fn told(world: &World, request: &[u8], part: &str) -> String {
    let answer = world.gateway.call(request);
    let fields = answer.fields.iter().filter(|(name, _)| name.contains(part));
    format!("{} {:?}", answer.status, fields.collect::<Vec<_>>())
}

/// How pages of an origin are answered: before a call, and by it.
fn browsed(world: &World) -> String {
    let origin = "Origin: https://app.example.com\r\n";
    let asks =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";
    let preflight = head("OPTIONS /x", &format!("{origin}{asks}"));
    let preflight = told(world, &preflight, "access-control");
    preflight + &told(world, &head("GET /x", origin), "access-control")
}

/// How many of some calls are let through.
pub(crate) fn passed(world: &World) -> String {
    let all = (0..40).filter(|_| world.get("") == "200");
    // Some seconds' worth may be let through besides the burst.
    if all.count() > 20 { "most" } else { "few" }.to_owned()
}

/// Keys below one, each with a value that is not the one it has.
pub(crate) struct Table {
    pub(crate) below: &'static str,
    /// What else is set all along.
    pub(crate) with: Vec<(&'static str, Value)>,
    pub(crate) rows: Vec<(&'static str, Value, Look)>,
}

fn limits() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("header_fields_max", json!(20), |world| {
            world.get(&fields(50))
        }),
        ("header_bytes_max", json!(8_192), |world| {
            world.get(&format!("a: {0}\r\nb: {0}\r\n", "x".repeat(6_000)))
        }),
        ("header_line_bytes_max", json!(256), |world| {
            world.get(&format!("a: {}\r\n", "x".repeat(1_000)))
        }),
        ("target_bytes_max", json!(64), |world| {
            world.status(&head(&format!("GET /x?{}", "q".repeat(100)), ""))
        }),
        ("request_body_bytes_max", json!(4), |world| {
            world.status(&post("/x", "", b"more than four"))
        }),
        ("response_buffer_bytes_max", json!(100), |world| {
            world.chat(CHAT)
        }),
        ("response_stream_bytes_max", json!(700), |world| {
            let answer = world.gateway.call(&head("GET /big", ""));
            format!("{:?}", answer.end)
        }),
        ("connections_max", json!(1), |world| {
            let mut held = world.gateway.connect();
            assert_eq!(held.call(&head("GET /x", "")).status, 200);
            world.gateway.connect().closed_within(A_MOMENT).to_string()
        }),
        ("connections_per_ip_max", json!(1), |world| {
            let mut held = world.gateway.connect();
            assert_eq!(held.call(&head("GET /x", "")).status, 200);
            world.get("")
        }),
        ("concurrent_requests_max", json!(1), |world| {
            let _held = world.in_work();
            world.get("")
        }),
        ("concurrent_requests_per_ip_max", json!(1), |world| {
            let _held = world.in_work();
            world.get("")
        }),
    ];
    Table {
        below: "server.limits.",
        with: Vec::new(),
        rows,
    }
}

fn timeouts() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("first_byte_ms", json!(50), |world| world.ended(b"")),
        ("header_ms", json!(50), |world| {
            world.ended(b"GET /x HTTP/1.1\r\n")
        }),
        ("body_ms", json!(50), |world| {
            world.ended(&head("POST /x", "Content-Length: 9\r\n"))
        }),
        ("keep_alive_idle_ms", json!(50), |world| {
            let mut client = world.gateway.connect();
            assert_eq!(client.call(&head("GET /x", "")).status, 200);
            client.closed_within(A_MOMENT).to_string()
        }),
        ("requests_per_connection_max", json!(1), |world| {
            world.gateway.call(&head("GET /x", "")).closes().to_string()
        }),
        ("connection_age_max_ms", json!(50), |world| {
            let mut client = world.gateway.connect();
            let mut closes = || client.call(&head("GET /x", "")).closes();
            wait_until(A_MOMENT, || closes().then_some(()))
                .is_some()
                .to_string()
        }),
    ];
    Table {
        below: "server.timeouts.",
        with: Vec::new(),
        rows,
    }
}

fn server() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("h2c", json!(true), |world| {
            let mut client = world.gateway.connect();
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            let began = client.bytes(PATIENCE).unwrap();
            began.starts_with(b"HTTP/1.1").to_string()
        }),
        ("allowed_hosts", json!(["api.example.com"]), |world| {
            world.get("")
        }),
        ("trusted_proxies", json!(["127.0.0.1/32"]), |world| {
            world.passed_on("X-Forwarded-For: 192.0.2.7\r\n", "x-real-ip")
        }),
        ("trust_request_id", json!(true), |world| {
            let kept = world.answered("X-Request-Id: my-own\r\n", "x-request-id");
            (kept == "my-own").to_string()
        }),
        ("http.underscore_headers", json!(["x_y"]), |world| {
            world.passed_on("x_y: z\r\n", "x_y")
        }),
        ("security.headers.enabled", json!(false), |world| {
            world.answered("", "x-frame-options")
        }),
        (
            "security.headers.content_type_options",
            json!("other"),
            |world| world.answered("", "x-content-type-options"),
        ),
        (
            "security.headers.frame_options",
            json!("SAMEORIGIN"),
            |world| world.answered("", "x-frame-options"),
        ),
        ("security.headers.xss_protection", json!("1"), |world| {
            world.answered("", "x-xss-protection")
        }),
        (
            "security.headers.content_security_policy",
            json!("default-src 'self'"),
            |world| world.answered("", "content-security-policy"),
        ),
        (
            "security.headers.referrer_policy",
            json!("origin"),
            |world| world.answered("", "referrer-policy"),
        ),
        (
            "security.headers.cross_origin_opener_policy",
            json!(""),
            |world| world.answered("", "cross-origin-opener-policy"),
        ),
        (
            "security.headers.cross_origin_resource_policy",
            json!("cross-origin"),
            |world| world.answered("", "cross-origin-resource-policy"),
        ),
    ];
    Table {
        below: "server.",
        with: Vec::new(),
        rows,
    }
}

/// Behind a proxy that is trusted.
fn proxied() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("client_ip.source", json!("x-real-ip"), |world| {
            let lines = "X-Real-IP: 192.0.2.9\r\nX-Forwarded-For: 192.0.2.7\r\n";
            world.passed_on(lines, "x-real-ip")
        }),
        ("client_ip.hops", json!(1), |world| {
            world.passed_on("X-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n", "x-real-ip")
        }),
        (
            "security.headers.strict_transport_security",
            json!("max-age=1"),
            |world| world.answered("X-Forwarded-Proto: https\r\n", "strict-transport-security"),
        ),
    ];
    let with = vec![("server.trusted_proxies", json!(["127.0.0.1/32"]))];
    Table {
        below: "server.",
        with,
        rows,
    }
}

fn cors() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        (
            "allowed_origins",
            json!(["https://other.example.com"]),
            browsed,
        ),
        ("allowed_methods", json!(["GET"]), browsed),
        ("allowed_headers", json!(["x-one"]), browsed),
        ("exposed_headers", json!(["x-two"]), browsed),
        ("allow_credentials", json!(true), browsed),
        ("max_age_s", json!(5), browsed),
    ];
    let app = json!(["https://app.example.com"]);
    let with = vec![("server.cors.allowed_origins", app)];
    Table {
        below: "server.cors.",
        with,
        rows,
    }
}

fn cors_of_all() -> Table {
    let rows: Vec<(_, _, Look)> = vec![("allow_all", json!(true), browsed)];
    Table {
        below: "server.cors.",
        with: Vec::new(),
        rows,
    }
}

fn by_address() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("enabled", json!(false), passed),
        ("requests_per_second", json!(1_000_000), passed),
        ("burst", json!(1_000_000), passed),
        ("exempt", json!(["127.0.0.0/8"]), passed),
        ("scope", json!("unproven"), |world| {
            let all = (0..9).filter(|_| world.chat(CHAT) == "200");
            (all.count() > 6).to_string()
        }),
        ("per_ip", json!(false), |world| {
            let answers = (0..9).map(|_| world.gateway.call(&head("GET /x", "")));
            let mut answers = answers.filter(|answer| answer.status == 429);
            let refused = answers.next().unwrap();
            format!("{:?}", refused.field("ratelimit-policy"))
        }),
    ];
    let limit = json!({ "requests_per_second": 1, "burst": 2, "scope": "all" });
    let with = vec![("server.security.rate_limiting", limit)];
    Table {
        below: "server.security.rate_limiting.",
        with,
        rows,
    }
}

fn of_all() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("enabled", json!(false), passed),
        ("requests_per_second", json!(1_000_000), passed),
        ("burst", json!(1_000_000), passed),
    ];
    let limit = json!({ "enabled": true, "requests_per_second": 1, "burst": 2 });
    let with = vec![("server.rate_limit", limit)];
    Table {
        below: "server.rate_limit.",
        with,
        rows,
    }
}

fn by_minute_of_all() -> Table {
    let rows: Vec<(_, _, Look)> = vec![("requests_per_minute", json!(1_000_000), passed)];
    let limit = json!({ "enabled": true, "requests_per_minute": 10, "burst": 2 });
    let with = vec![("server.rate_limit", limit)];
    Table {
        below: "server.rate_limit.",
        with,
        rows,
    }
}

fn by_minute() -> Table {
    let rows: Vec<(_, _, Look)> = vec![("requests_per_minute", json!(1_000_000), passed)];
    let limit = json!({ "requests_per_minute": 10, "burst": 2, "scope": "all" });
    let with = vec![("server.security.rate_limiting", limit)];
    Table {
        below: "server.security.rate_limiting.",
        with,
        rows,
    }
}

/// Calls of models, and what else is turned beside the listener.
fn others() -> Table {
    let rows: Vec<(_, _, Look)> = vec![
        ("llm.surfaces", json!("none"), |world| world.chat(CHAT)),
        ("llm.max_depth", json!(8), |world| world.chat(&nested(20))),
        ("llm.max_request_body_bytes", json!(4_096), |world| {
            world.chat(&format!("{CHAT}{}", " ".repeat(5_000)))
        }),
        ("llm.query_key", json!(true), |world| {
            let target = format!("/v1/models?key={}", world.token);
            world.status(&head(&format!("GET {target}"), ""))
        }),
        ("llm.forward_user_agent", json!(true), |world| {
            let lines = format!(
                "Authorization: Bearer {}\r\nContent-Type: application/json\r\nUser-Agent: mine/1\r\n",
                world.token
            );
            world.status(&post("/v1/chat/completions", &lines, CHAT.as_bytes()));
            format!("{:?}", world.origin.last().field("user-agent"))
        }),
        ("auth.failure_floor", json!("1s"), |world| {
            let began = Instant::now();
            assert_eq!(
                world.status(&llm_call("/v1/chat/completions", "tok-nobodys", CHAT)),
                "401"
            );
            (began.elapsed() >= Duration::from_millis(900)).to_string()
        }),
        ("compat.x_ratelimit", json!(true), |world| {
            let token = world.gateway.mint_token(
                &json!({ "project": "default", "limits": { "requests_per_minute": 60 } }),
            );
            let answer = world
                .gateway
                .call(&llm_call("/v1/chat/completions", &token, CHAT));
            format!("{:?}", answer.field("x-ratelimit-limit"))
        }),
    ];
    Table {
        below: "",
        with: Vec::new(),
        rows,
    }
}

fn turn(world: &World, config: &Value) {
    world.gateway.configure(config.to_string());
    let (status, answer) = reload(&world.gateway);
    assert_eq!(status, 200, "{answer}");
}

pub(crate) fn turn_each(table: Table) {
    let origin = Origin::start(answer);
    let mut plain = base(&origin);
    for (key, value) in &table.with {
        set(&mut plain, key, value.clone());
    }
    let gateway = Gateway::builder(TOLLKEEP)
        .config(plain.to_string())
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let world = World {
        gateway,
        origin,
        token,
    };
    for (name, value, look) in table.rows {
        let key = format!("{}{name}", table.below);
        let before = look(&world);
        let mut turned = plain.clone();
        set(&mut turned, &key, value);
        turn(&world, &turned);
        assert_ne!(look(&world), before, "{key} does nothing");
        turn(&world, &plain);
        assert_eq!(look(&world), before, "{key} can't be turned back");
    }
}

// EDGE-136
#[test]
fn each_size_and_count_does_something() {
    turn_each(limits());
}

// EDGE-136
#[test]
fn each_time_does_something() {
    turn_each(timeouts());
}

// EDGE-136
#[test]
fn each_knob_of_who_is_served_and_what_is_added_does_something() {
    turn_each(server());
    turn_each(proxied());
}

// EDGE-136
#[test]
fn each_knob_for_pages_does_something() {
    turn_each(cors());
    turn_each(cors_of_all());
}

// EDGE-136
#[test]
fn each_knob_of_limits_by_address_and_of_all_does_something() {
    for table in [by_address, of_all, by_minute, by_minute_of_all] {
        turn_each(table());
    }
}

// EDGE-136
#[test]
fn each_knob_of_model_calls_does_something() {
    turn_each(others());
}

/// Keys that other tests turn, with the file and the name of one.
pub(crate) type Elsewhere = (&'static [&'static str], &'static str, &'static str);

const ELSEWHERE: &[Elsewhere] = &[
    (
        &[
            "server.host",
            "server.port",
            "server.workers",
            "server.backlog",
        ],
        include_str!("reload.rs"),
        "what_is_read_at_start_only_is_refused_as_a_whole_and_named",
    ),
    (
        &["server.public_url"],
        include_str!("paid.rs"),
        "who_has_not_paid_is_told_once_and_in_both_versions_what_it_costs",
    ),
    (
        &["server.limits.request_body_memory_bytes_max"],
        include_str!("limits.rs"),
        "bodies_held_in_memory_have_a_common_budget",
    ),
    (
        &[
            "server.limits.memory_bytes_max",
            "server.limits.shed_at_percent",
        ],
        include_str!("shed.rs"),
        "short_of_memory_all_that_is_new_is_turned_away_but_for_very_few",
    ),
    (
        &["server.timeouts.body_min_rate_bytes_s"],
        include_str!("timeouts.rs"),
        "a_body_slower_than_the_least_rate_is_cut_after_the_first_seconds",
    ),
    (
        &["server.timeouts.write_stall_ms"],
        include_str!("timeouts.rs"),
        "a_reader_that_stops_is_aborted_and_its_upstream_call_with_it",
    ),
    (
        &["server.drain.delay_ms"],
        include_str!("drain.rs"),
        "while_the_delay_lasts_the_gateway_serves_but_says_that_it_is_going",
    ),
    (
        &["server.drain.timeout_ms"],
        include_str!("reload_kept.rs"),
        "bounds_on_connections_and_the_drain_follow_the_settings",
    ),
    (
        &["server.replicas"],
        include_str!("shared_limits.rs"),
        "a_redis_that_hangs_costs_no_call_and_gives_no_burst_when_it_goes_on",
    ),
    (
        &["server.discovery"],
        include_str!("discovery.rs"),
        "nothing_is_told_where_nothing_is_sold_or_nobody_shall_know",
    ),
    (
        &["server.insecure_public_http"],
        include_str!("listeners.rs"),
        "a_public_address_has_to_be_wished_for",
    ),
];

/// Left to the tests of these parts.
const PARTS: [&str; 10] = [
    "server.rate_limit_classes",
    "server.tls",
    "server.timeouts.tls",
    "server.http2",
    "server.listen",
    "server.trust_proxy",
    "server.security.ip_",
    "server.maintenance",
    "server.message",
    "server.front_door",
];

/// The keys below a section of the schema.
pub(crate) fn declared(schema: &Value, path: &str, keys: &mut Vec<String>) {
    let section = |schema: &Value| schema["properties"].as_object().cloned();
    let forms = schema["anyOf"].as_array().into_iter().flatten();
    let Some(members) = section(schema).or_else(|| forms.filter_map(section).next()) else {
        return keys.push(path.to_owned());
    };
    for (name, below) in &members {
        declared(below, &format!("{path}.{name}"), keys);
    }
}

// EDGE-136
#[test]
fn no_key_of_the_data_listener_is_without_a_test_that_turns_it() {
    let output = Command::new(TOLLKEEP)
        .args(["config", "schema"])
        .output()
        .unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut keys = Vec::new();
    declared(&schema["properties"]["server"], "server", &mut keys);
    assert!(keys.len() > 50, "{keys:?}");
    let tables = [
        limits,
        timeouts,
        server,
        proxied,
        cors,
        cors_of_all,
        by_address,
        of_all,
        by_minute,
        by_minute_of_all,
    ];
    let turned: Vec<String> = tables
        .iter()
        .flat_map(|table| {
            let Table { below, rows, .. } = table();
            let name = move |row: (&str, Value, Look)| format!("{below}{}", row.0);
            rows.into_iter().map(name)
        })
        .collect();
    for (_, file, test) in ELSEWHERE {
        assert!(file.contains(&format!("fn {test}()")), "{test} is no test");
    }
    let elsewhere = |key: &str| ELSEWHERE.iter().any(|(keys, ..)| keys.contains(&key));
    let in_parts = |key: &str| PARTS.iter().any(|part| key.starts_with(part));
    for key in keys {
        let is_turned = turned.contains(&key) || elsewhere(&key) || in_parts(&key);
        assert!(is_turned, "{key} is turned by no test");
    }
}
