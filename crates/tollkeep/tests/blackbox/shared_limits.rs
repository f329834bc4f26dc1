//! Limits that replicas share in Redis: together never more than one gateway would let pass, and
//! no free burst when Redis goes and comes back.

use crate::fixture::{before, gateway, head};
use crate::rates::{TOKEN_ROUTE, assert_limited, at_once, bearer, passed, tokens};
use crate::upstream_tls::Trust;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Builder, Gateway, Origin, Redis, Signal, eventually};

/// A gateway that shares its limits there. It waits long for answers, as machines of tests are
/// busy, but where a test is about that.
fn sharing(redis: &Redis, config: &str) -> Builder {
    gateway(config)
        .set("redis.url", redis.url())
        .set("redis.timeout_ms", "5000")
        .set("server.timeouts.requests_per_connection_max", "1000000000")
}

fn pair(redis: &Redis, config: &str) -> [Gateway; 2] {
    [
        sharing(redis, config).start(),
        sharing(redis, config).start(),
    ]
}

fn global(requests: u32, window: &str, burst: u32) -> String {
    format!(
        "  \"GET /x\": {{ upstream: origin, access: free, rate_limit: {{ requests: {requests}, window: {window}, burst: {burst}, by: global }} }}\n"
    )
}

fn gauge(gateway: &Gateway) -> String {
    let text = gateway.metrics_text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("tollkeep_counters_shared "));
    line.unwrap_or_default().to_owned()
}

fn counts(gateway: &Gateway, shared: bool) {
    let want = if shared { "1" } else { "0" };
    eventually("the gauge", || (gauge(gateway) == want).then_some(()));
}

/// What two gateways let pass, asked by two callers each until `running` ends, and how often they
/// answered with neither 200 nor 429.
struct Load<'a> {
    gateways: &'a [Gateway],
    passed: AtomicUsize,
    strange: AtomicUsize,
    slowest_ms: AtomicUsize,
    stop: AtomicBool,
}

impl<'a> Load<'a> {
    fn new(gateways: &'a [Gateway]) -> Self {
        Self {
            gateways,
            passed: AtomicUsize::new(0),
            strange: AtomicUsize::new(0),
            slowest_ms: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Runs `meanwhile` under load.
    fn during<T>(&self, meanwhile: impl FnOnce(&Self) -> T) -> T {
        std::thread::scope(|scope| {
            for gateway in self.gateways.iter().chain(self.gateways) {
                scope.spawn(move || self.ask(gateway));
            }
            let result = meanwhile(self);
            self.stop.store(true, Ordering::Relaxed);
            result
        })
    }

    fn ask(&self, gateway: &Gateway) {
        let mut client = gateway.connect();
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let status = client.call(&head("GET /x", "")).status;
            let took = usize::try_from(began.elapsed().as_millis()).unwrap();
            self.slowest_ms.fetch_max(took, Ordering::Relaxed);
            match status {
                200 => self.passed.fetch_add(1, Ordering::Relaxed),
                429 => continue,
                _ => self.strange.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

// EDGE-89
#[test]
fn two_gateways_let_pass_what_one_would() {
    let (origin, redis) = (Origin::plain(), Redis::start());
    let routes = format!("{}{TOKEN_ROUTE}", global(20, "1h", 20));
    let server = "server: { rate_limit: { enabled: true, requests_per_minute: 30 } }\n";
    let gateways = pair(&redis, &format!("{server}{}", before(&origin, &routes)));
    let mut connections = gateways.each_ref().map(Gateway::connect);
    let statuses: Vec<_> = (0..24)
        .map(|number| connections[number % 2].call(&head("GET /x", "")))
        .collect();
    assert_eq!(passed(&statuses), 20);
    assert_limited("route", &statuses[23], "route", (20, 3600));
    // What the route refused was given back: ten of thirty are left.
    let counts = gateways.each_ref().map(|gateway| {
        let token = bearer(&tokens(gateway, &json!({})));
        passed(&at_once(gateway, &head("GET /t", &token), 8))
    });
    assert!(counts[0] == 8 && (2..=3).contains(&counts[1]), "{counts:?}");
    let names = redis.ask("KEYS *");
    assert!(
        names.contains("tollkeep:rl:route:") && names.contains("tollkeep:rl:global:"),
        "{names}"
    );
    assert!(
        !names.contains("127.0.0.1") && !names.contains("/x"),
        "{names}"
    );
    for gateway in &gateways {
        counts_shared(gateway);
    }
}

fn counts_shared(gateway: &Gateway) {
    assert_eq!(gauge(gateway), "1");
    let degraded = |event: &serde_json::Value| event["action"] == "system.degraded";
    assert!(!gateway.audit_lines().iter().any(degraded));
}

/// How many requests a limit of so many a second worked off since then.
fn worked_off(rate: u32, began: Instant) -> usize {
    let nanos = began.elapsed().as_nanos() * u128::from(rate);
    usize::try_from(nanos / 1_000_000_000).unwrap()
}

/// Two gateways under load for so long: at most the limit and the burst pass, and nearly as many.
fn keeps_its_word(rate: u32, burst: u32, length: Duration) {
    let (origin, redis) = (Origin::plain(), Redis::start());
    let gateways = pair(&redis, &before(&origin, &global(rate, "1s", burst)));
    let load = Load::new(&gateways);
    let began = Instant::now();
    load.during(|_| std::thread::sleep(length));
    let worked_off = worked_off(rate, began);
    let (burst, passed) = (usize::try_from(burst).unwrap(), load.passed());
    let due = burst + worked_off;
    assert!(passed <= due + 1, "{passed} passed, {due} due");
    // Leases that were not used are lost.
    let least = burst + worked_off * 9 / 10;
    assert!(passed + 2 >= least, "{passed} passed, {due} due");
    assert_eq!(load.strange.load(Ordering::Relaxed), 0);
    gateways.iter().for_each(counts_shared);
}

// EDGE-85 EDGE-89
#[test]
fn twenty_at_once_and_then_ten_a_second_over_two_gateways() {
    keeps_its_word(10, 20, Duration::from_secs(3));
}

// EDGE-85 EDGE-89
#[test]
#[ignore = "long form: a minute"]
fn twenty_at_once_and_then_ten_a_second_over_two_gateways_for_a_minute() {
    keeps_its_word(10, 20, Duration::from_secs(60));
}

// EDGE-89
#[test]
fn leases_of_many_a_second_keep_within_the_limit_too() {
    keeps_its_word(120, 30, Duration::from_secs(3));
}

// EDGE-89
#[test]
fn a_guesser_is_bound_by_its_address_over_all_gateways() {
    let (origin, redis) = (Origin::plain(), Redis::start());
    let server =
        "server: { security: { rate_limiting: { requests_per_minute: 6, scope: unproven } } }\n";
    let config = format!("{server}{}", before(&origin, TOKEN_ROUTE));
    let on = |config: &str| {
        let gateway = sharing(&redis, config).set("server.security.rate_limiting.enabled", "true");
        gateway.start()
    };
    let gateways = [on(&config), on(&config)];
    let mut connections = gateways.each_ref().map(Gateway::connect);
    let statuses: Vec<_> = (0..10)
        .map(|number| connections[number % 2].call(&head("GET /t", "")).status)
        .collect();
    assert_eq!(statuses, [[401; 6].as_slice(), &[429; 4]].concat());
    for gateway in &gateways {
        let token = bearer(&tokens(gateway, &json!({})));
        let answers = at_once(gateway, &head("GET /t", &token), 20);
        assert_eq!(passed(&answers), 20, "a token goes on working");
        let wrong = head("GET /t", "Authorization: Bearer tok-wrong\r\n");
        assert_eq!(gateway.call(&wrong).status, 401, "it is still looked up");
    }
}

// EDGE-90
#[test]
fn what_redis_says_instead_of_counting_makes_each_gateway_count_alone() {
    let (origin, redis) = (Origin::plain(), Redis::start());
    let gateway = sharing(&redis, &before(&origin, &global(1_000, "1s", 4)))
        .set("server.replicas", "2")
        .start();
    let mut client = gateway.connect();
    let mut call = || client.call(&head("GET /x", "")).status;
    for (name, broken, mended) in [
        (
            "full",
            ["CONFIG SET maxmemory 1", ""],
            ["CONFIG SET maxmemory 0", ""],
        ),
        (
            "read-only",
            ["REPLICAOF 127.0.0.1 1", ""],
            ["REPLICAOF NO ONE", ""],
        ),
        ("another type", ["FLUSHALL", "wrong type"], ["FLUSHALL", ""]),
    ] {
        counts(&gateway, true);
        assert_eq!(call(), 200, "{name}");
        if broken[1].is_empty() {
            assert!(redis.ask(broken[0]).starts_with("+OK"), "{name}");
        }
        let spoil = || {
            let keys = redis.ask("KEYS *");
            let keys = keys.lines().filter(|line| line.contains(":rl:route:"));
            for key in keys.map(str::to_owned).collect::<Vec<_>>() {
                redis.ask(&format!("DEL {key}"));
                redis.ask(&format!("LPUSH {key} x"));
            }
        };
        eventually(name, || {
            // Calls that still have cells of a lease ask for no key; one is there once they do.
            if !broken[1].is_empty() {
                spoil();
            }
            let status = call();
            assert!(status == 200 || status == 429, "{name}: {status}");
            (gauge(&gateway) == "0").then_some(())
        });
        redis.ask(mended[0]);
        counts(&gateway, true);
    }
    let of = |action: &str| {
        let events = gateway.audit_lines();
        events
            .iter()
            .filter(|event| event["action"] == action && event["reason"] == "counters")
            .count()
    };
    eventually("three times there and back", || {
        let (gone, back) = (of("system.degraded"), of("system.recovered"));
        // A slow machine may have lost its Redis once more by itself.
        (gone >= 3 && gone == back).then_some(())
    });
}

/// Two gateways with a short patience, under load while Redis goes away and comes back.
fn outage(go: impl FnOnce(&mut Redis), come: impl FnOnce(&mut Redis)) {
    let (origin, mut redis) = (Origin::plain(), Redis::start());
    let config = before(&origin, &global(20, "1s", 40));
    let start = || {
        let gateway = sharing(&redis, &config).set("server.replicas", "2");
        gateway.set("redis.timeout_ms", "250").start()
    };
    let gateways = [start(), start()];
    let load = Load::new(&gateways);
    load.during(|load| {
        eventually("the burst", || (load.passed() >= 40).then_some(()));
        go(&mut redis);
        gateways.iter().for_each(|gateway| counts(gateway, false));
        let (began, before) = (Instant::now(), load.passed());
        std::thread::sleep(Duration::from_secs(2));
        let alone = load.passed() - before;
        let due = worked_off(20, began);
        assert!(alone <= due * 3 / 2 + 2, "{alone} alone, {due} due");
        assert!(alone + 4 >= due / 2, "{alone} alone, {due} due");
        come(&mut redis);
        let (began, before) = (Instant::now(), load.passed());
        gateways.iter().for_each(|gateway| counts(gateway, true));
        std::thread::sleep(Duration::from_secs(1));
        let (again, due) = (load.passed() - before, worked_off(20, began));
        assert!(again <= due + 6, "no free burst: {again} passed, {due} due");
    });
    assert_eq!(load.strange.load(Ordering::Relaxed), 0, "never a 5xx");
    let slowest_ms = load.slowest_ms.load(Ordering::Relaxed);
    assert!(
        slowest_ms < 10_000,
        "nobody hangs with Redis: {slowest_ms} ms"
    );
}

// EDGE-90
#[test]
fn a_redis_that_hangs_costs_no_call_and_gives_no_burst_when_it_goes_on() {
    outage(
        |redis| redis.signal(Signal::STOP),
        |redis| redis.signal(Signal::CONT),
    );
}

// EDGE-90
#[test]
fn a_redis_that_dies_costs_no_call_and_gives_no_burst_when_it_is_back_empty() {
    outage(Redis::kill, Redis::restart);
}

// EDGE-90
#[test]
fn a_gateway_starts_without_redis_and_finds_it_later() {
    let (origin, mut redis) = (Origin::plain(), Redis::start());
    redis.kill();
    let config = before(&origin, &global(5, "1s", 5));
    let gateway = sharing(&redis, &config).start();
    counts(&gateway, false);
    let told = gateway.audit_line("the event", |event| event["action"] == "system.degraded");
    assert_eq!(told["reason"], "counters");
    assert_eq!(
        gateway.call(&head("GET /x", "")).status,
        429,
        "nothing is saved up"
    );
    eventually("its share", || {
        (gateway.call(&head("GET /x", "")).status == 200).then_some(())
    });
    redis.restart();
    counts(&gateway, true);
    assert!(gateway.stderr().contains("Redis does not count"));
}

// EDGE-89
#[test]
fn redis_may_want_a_password_and_its_url_never_shows() {
    let (origin, redis) = (
        Origin::plain(),
        Redis::start_with(&["--requirepass", "se%cret-Zq8kTm2v"]),
    );
    let url = format!("redis://:se%25cret-Zq8kTm2v@{}/3", redis.addr());
    let config = before(&origin, &global(3, "1h", 3));
    let gateway = gateway(config.clone())
        .env("UPSTASH_REDIS_URL", url)
        .start();
    counts(&gateway, true);
    assert_eq!(passed(&at_once(&gateway, &head("GET /x", ""), 6)), 3);
    let wrong = self::gateway(config).env("REDIS_URL", format!("redis://:not-it@{}", redis.addr()));
    let wrong = wrong.start();
    counts(&wrong, false);
    let said = [gateway.stderr(), wrong.stderr()].concat();
    assert!(
        !said.contains("cret-Zq8") && !said.contains("not-it"),
        "{said}"
    );
}

// EDGE-89
#[test]
fn redis_may_be_behind_tls_and_must_prove_its_name() {
    let (origin, trust) = (Origin::plain(), Trust::new());
    let [certificate, key] = trust
        .pair("localhost")
        .map(|path| path.display().to_string());
    let redis = Redis::start_with(&[
        "--port",
        "0",
        "--tls-port",
        "{port}",
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
    ]);
    for (host, shared) in [("localhost", true), ("127.0.0.1", false)] {
        let url = format!("rediss://{host}:{}", redis.addr().port());
        let gateway = sharing(&redis, &before(&origin, &global(3, "1h", 3)))
            .set("redis.url", url)
            .set("egress.ca_file", trust.file().display().to_string())
            .start();
        counts(&gateway, shared);
        let answers = at_once(&gateway, &head("GET /x", ""), 6);
        assert_eq!(passed(&answers), if shared { 3 } else { 0 }, "{host}");
    }
}
