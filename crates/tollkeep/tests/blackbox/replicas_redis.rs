//! Two gateways on one PostgreSQL and one Redis: the word of a change goes by both, and by either.

use crate::callers::{act, made};
use crate::replicas::{bearer, on, routes, status};
use serde_json::json;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Client, Gate, Gateway, Origin, Postgres, Redis, Step, chunk, chunked_head, eventually,
};

/// By when everybody must know of a revocation.
const SOON: Duration = Duration::from_secs(1);
/// Calls a second of all callers together.
const RATE: u32 = 500;
const CALLERS: u32 = 4;

fn pair(server: &Postgres, redis: Option<&Redis>, config: &str) -> [Gateway; 2] {
    let each = || {
        let builder = on(server, config);
        match redis {
            None => builder.start(),
            Some(redis) => builder
                .set("redis.url", redis.url())
                .set("redis.timeout_ms", "5000")
                .start(),
        }
    };
    [each(), each()]
}

/// When calls of both gateways began and how they were answered, and what `meanwhile` gives.
fn under_load<T>(
    gateways: &[Gateway; 2],
    token: &str,
    meanwhile: impl FnOnce() -> T,
) -> (T, Vec<(Instant, u16)>) {
    let (stop, calls) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let result = std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let gateway = &gateways[usize::from(caller % 2 == 0)];
            let (stop, calls) = (&stop, &calls);
            scope.spawn(move || {
                let (mut client, request) = (gateway.connect(), bearer(token));
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    // A caller who was late does not make up for it.
                    next = (next + Duration::from_secs(1) * CALLERS / RATE).max(Instant::now());
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    let began = Instant::now();
                    let status = client.call(&request).status;
                    calls.lock().unwrap().push((began, status));
                }
            });
        }
        let result = meanwhile();
        stop.store(true, Ordering::Relaxed);
        result
    });
    (result, calls.into_inner().unwrap())
}

/// Revokes a token under load; how long after the answer the last call was accepted.
fn revoked_under_load(gateways: &[Gateway; 2], before: impl FnOnce()) -> (Duration, String) {
    let (id, token) = made(&gateways[0], &json!({ "project": "default" }));
    eventually("the other replica knows the token", || {
        (status(&gateways[1], &token) == 200).then_some(())
    });
    let (answered, calls) = under_load(gateways, &token, || {
        std::thread::sleep(Duration::from_secs(1));
        before();
        assert_eq!(act(&gateways[0], &id, "revoke", &json!({})).0, 200);
        let answered = Instant::now();
        std::thread::sleep(Duration::from_millis(1_500));
        answered
    });
    let accepted = calls.iter().filter(|(_, status)| *status == 200);
    let last = accepted.clone().map(|(began, _)| *began).max().unwrap();
    assert!(accepted.count() > 200, "there was load");
    let odd = |status: u16| !matches!(status, 200 | 401 | 429);
    assert_eq!(calls.iter().find(|(_, status)| odd(*status)), None);
    (last.saturating_duration_since(answered), token)
}

/// A stream that runs on the second replica, and a call that waits there, end when the first one
/// revokes their token.
fn a_stream_ends(gateways: &[Gateway; 2]) {
    let (id, token) = made(&gateways[0], &json!({ "project": "default" }));
    eventually("the other replica knows the token", || {
        (status(&gateways[1], &token) == 200).then_some(())
    });
    let mut client = gateways[1].connect();
    client.send(&crate::fixture::head(
        "GET /s",
        &format!("Authorization: Bearer {token}\r\n"),
    ));
    let mut answer = client.head(Duration::from_secs(10)).unwrap();
    assert!(client.piece(&mut answer).is_some(), "it runs");
    let mut waiting = gateways[1].connect();
    waiting.send(&crate::fixture::head(
        "GET /w",
        &format!("Authorization: Bearer {token}\r\n"),
    ));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(act(&gateways[0], &id, "revoke", &json!({})).0, 200);
    let answered = Instant::now();
    while client.piece(&mut answer).is_some() {}
    let told = waiting.answer(Duration::from_secs(10)).unwrap();
    assert_eq!(
        (told.status, told.code()),
        (403, "access_revoked".to_owned())
    );
    assert!(answered.elapsed() <= SOON, "{:?}", answered.elapsed());
}

/// An upstream whose `/s` never ends and `/w` never begins, and the routes to it.
fn streaming() -> (Origin, String) {
    let gate = Gate::default();
    let origin = Origin::start(move |request| {
        if request.target == "/s" {
            return vec![
                chunked_head("application/octet-stream"),
                chunk(b"first"),
                Step::Wait(gate.clone()),
            ];
        }
        if request.target == "/w" {
            return vec![Step::Wait(gate.clone())];
        }
        tollkeep_testkit::ok(b"ok")
    });
    let config = format!(
        "{}  \"GET /s\": {{ upstream: origin, access: token }}\n  \"GET /w\": {{ upstream: origin, access: token }}\n",
        routes(&origin)
    );
    (origin, config)
}

// ID-32 ID-33 ID-34
#[test]
fn a_revocation_under_load_holds_everywhere_within_a_second_with_redis_and_without() {
    let (_origin, config) = streaming();
    for has_redis in [false, true] {
        let (server, redis) = (Postgres::start(), has_redis.then(Redis::start));
        let gateways = pair(&server, redis.as_ref(), &config);
        let (late, token) = revoked_under_load(&gateways, || ());
        assert!(late <= SOON, "redis: {has_redis}, {late:?}");
        a_stream_ends(&gateways);
        for gateway in gateways.map(|gateway| gateway.restart().unwrap()) {
            assert_eq!(status(&gateway, &token), 401, "after a restart");
        }
    }
}

// ID-33
#[test]
fn when_redis_dies_the_database_carries_the_word_and_redis_again_when_it_is_back() {
    let (_origin, config) = streaming();
    let (server, mut redis) = (Postgres::start(), Redis::start());
    let gateways = pair(&server, Some(&redis), &config);
    subscribed(&redis, 2);
    let (late, _) = revoked_under_load(&gateways, || redis.kill());
    assert!(late <= SOON, "{late:?}");
    let (late, _) = revoked_under_load(&gateways, || ());
    assert!(late <= SOON, "while it is away: {late:?}");
    redis.restart();
    subscribed(&redis, 2);
    let mut hears = Listener::new(&redis);
    made(&gateways[0], &json!({ "project": "default" }));
    hears.word();
}

/// Waits until so many replicas listen.
fn subscribed(redis: &Redis, replicas: usize) {
    let want = format!(":{replicas}");
    eventually("replicas listen", || {
        let told = redis.ask("PUBSUB NUMSUB tollkeep:changes");
        told.contains(&want).then_some(())
    });
}

/// Somebody who listens beside the replicas.
struct Listener(std::net::TcpStream);

impl Listener {
    fn new(redis: &Redis) -> Self {
        let mut stream = redis.connect();
        let patience = Duration::from_secs(10);
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.write_all(b"SUBSCRIBE tollkeep:changes\r\n").unwrap();
        let mut listener = Self(stream);
        assert!(listener.read().contains("subscribe"));
        listener
    }

    fn read(&mut self) -> String {
        let mut bytes = [0; 512];
        let len = self.0.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    /// Waits for a word, which says nothing but that there is one.
    fn word(&mut self) {
        let said = self.read();
        assert!(
            said.contains("message") && said.contains("tollkeep:changes"),
            "{said}"
        );
        assert!(said.contains("$0\r\n"), "it says nothing: {said}");
    }
}

// ID-33
#[test]
fn the_word_goes_by_redis_where_the_database_can_not_tell() {
    let (_origin, config) = streaming();
    let (server, redis) = (Postgres::start(), Redis::start());
    let gateways = pair(&server, Some(&redis), &config);
    subscribed(&redis, 2);
    let mut hears = Listener::new(&redis);
    let (mut fast, rounds) = (0, 10);
    for _ in 0..rounds {
        let (id, token) = made(&gateways[0], &json!({ "project": "default" }));
        hears.word();
        eventually("the other replica knows the token", || {
            (status(&gateways[1], &token) == 200).then_some(())
        });
        let mut client = Client::connect(gateways[1].data());
        // Whoever listens to the database is cut off, and comes back a second later.
        server.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'",
        );
        assert_eq!(act(&gateways[0], &id, "revoke", &json!({})).0, 200);
        let answered = Instant::now();
        while client.call(&bearer(&token)).status == 200 {}
        fast += usize::from(answered.elapsed() < Duration::from_millis(120));
        assert!(answered.elapsed() < SOON);
        hears.word();
        std::thread::sleep(Duration::from_millis(1_200));
    }
    // By the look twice a second alone, less than a fourth would be.
    assert!(fast * 10 >= rounds * 6, "{fast} of {rounds}");
}
