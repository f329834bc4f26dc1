//! Two gateways on one PostgreSQL: what one of them changes, the other does.

use crate::callers::{act, made};
use crate::fixture::{before, free, gateway, head};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Builder, Client, Gateway, Origin, PATIENCE, Postgres, eventually};

/// When all replicas know of a change: a second, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(2);
/// A key that all replicas have.
const KEY: &str = "6f1d2c3b4a5968778695a4b3c2d1e0f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A gateway that keeps everything there.
pub(crate) fn on(server: &Postgres, config: &str) -> Builder {
    gateway(config)
        .env("DB_DRIVER", "postgres")
        .env("DATABASE_URL", server.url("tollkeep_app"))
        .env("TOLLKEEP_STORE__JOBS_URL", server.url("tollkeep_jobs"))
        .env("TOLLKEEP_STORE__OWNER_URL", server.url("tollkeep_migrate"))
        .env("TOLLKEEP_ENCRYPTION_KEY", KEY)
        .set("server.timeouts.requests_per_connection_max", "1000000000")
        // What happens without the database is the subject of some of these tests.
        .set("audit.require", "any")
}

/// A route for tokens and one for anybody.
pub(crate) fn routes(origin: &Origin) -> String {
    let token = "  \"GET /t\": { upstream: origin, access: token }\n";
    before(origin, &format!("{token}{}", free("GET /f")))
}

pub(crate) fn pair(server: &Postgres, config: &str) -> [Gateway; 2] {
    [on(server, config).start(), on(server, config).start()]
}

pub(crate) fn bearer(token: &str) -> Vec<u8> {
    head("GET /t", &format!("Authorization: Bearer {token}\r\n"))
}

pub(crate) fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.call(&bearer(token)).status
}

/// Calls with this token on both gateways while `meanwhile` runs; when each call began, and how it
/// was answered.
fn under_load<T>(
    gateways: &[Gateway; 2],
    token: &str,
    meanwhile: impl FnOnce() -> T,
) -> (T, Vec<(Instant, u16)>) {
    let (stop, calls) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let result = std::thread::scope(|scope| {
        for gateway in gateways.iter().chain(gateways) {
            scope.spawn(|| {
                let (mut client, request) = (gateway.connect(), bearer(token));
                while !stop.load(Ordering::Relaxed) {
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

// ID-32 ID-33
#[test]
fn a_token_revoked_under_load_is_refused_everywhere_within_a_second_and_after_a_restart() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let gateways = pair(&server, &routes(&origin));
    let (id, token) = made(&gateways[0], &json!({ "project": "default" }));
    let began = Instant::now();
    eventually("the other replica knows the token", || {
        (status(&gateways[1], &token) == 200).then_some(())
    });
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let (answered, calls) = under_load(&gateways, &token, || {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(act(&gateways[0], &id, "revoke", &json!({})).0, 200);
        let answered = Instant::now();
        std::thread::sleep(Duration::from_millis(1_500));
        answered
    });
    let accepted = calls.iter().filter(|(_, status)| *status == 200);
    let last = accepted.clone().map(|(began, _)| *began).max().unwrap();
    assert!(accepted.count() > 100, "there was load");
    let late = last.saturating_duration_since(answered);
    assert!(late <= SOON, "{late:?}");
    // After some failures the address has to wait (429).
    let odd = |status: u16| !matches!(status, 200 | 401 | 429);
    assert_eq!(calls.iter().find(|(_, status)| odd(*status)), None);
    assert_ne!(calls.last().map(|(_, status)| *status), Some(200));
    let [first, second] = gateways;
    let again = [first, second].map(|gateway| gateway.restart().unwrap());
    for gateway in &again {
        assert_eq!(status(gateway, &token), 401, "after a restart");
    }
}

// ID-33
#[test]
fn addresses_and_maintenance_changed_on_one_replica_hold_on_the_other() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let [one, other] = pair(&server, &routes(&origin));
    let becomes = |what: &str, want: Option<u16>| {
        let began = Instant::now();
        eventually(what, || {
            let mut stranger = Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), other.data());
            stranger.send(&head("GET /f", ""));
            let status = stranger.answer(PATIENCE).ok().map(|answer| answer.status);
            (status == want).then_some(())
        });
        let took = began.elapsed();
        assert!(took <= SOON, "{what}: {took:?}");
    };
    let act = |method: &str, path: &str, body: Option<&Value>| {
        let (status, answer) = one.api(method, &format!("/v0/management/{path}"), body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
    };
    becomes("open to anybody", Some(200));
    let deny = json!({ "ip": "127.0.0.2", "force": true });
    act("POST", "security/ip-denylist", Some(&deny));
    becomes("the address is denied", None);
    act("DELETE", "security/ip-denylist/127.0.0.2", None);
    becomes("it is let in again", Some(200));
    act("PUT", "maintenance", Some(&json!({ "enabled": true })));
    becomes("maintenance", Some(503));
    act("PUT", "maintenance", Some(&json!({ "enabled": false })));
    becomes("the end of it", Some(200));
}

// ID-1 ID-12
#[test]
fn replicas_that_start_for_the_first_time_at_once_become_one_deployment() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let config = routes(&origin);
    let gateways: Vec<Gateway> = std::thread::scope(|scope| {
        let each = || scope.spawn(|| on(&server, &config).start());
        let starting = [each(), each(), each()];
        starting.map(|one| one.join().unwrap()).into()
    });
    let token = gateways[0].mint_token(&json!({ "project": "default" }));
    for gateway in &gateways {
        eventually("the same pepper", || {
            (status(gateway, &token) == 200).then_some(())
        });
    }
    assert_eq!(server.ask("SELECT count(*) FROM projects"), "1");
    assert_eq!(server.ask("SELECT count(*) FROM tenants"), "1");
}

// ID-20
#[test]
fn of_a_hundred_callers_of_two_replicas_as_many_pass_as_may() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let gateways = pair(&server, &routes(&origin));
    for max in [10, 300] {
        let limited = json!({ "project": "default", "max_requests": max });
        let token = gateways[0].mint_token(&limited);
        // Changes are shown in their order.
        let later = gateways[0].mint_token(&json!({ "project": "default" }));
        eventually("the other replica knows them", || {
            (status(&gateways[1], &later) == 200).then_some(())
        });
        origin.forget();
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..100)
                .map(|caller| {
                    // Three of four callers come to one of them.
                    let gateway = &gateways[usize::from(caller % 4 == 0)];
                    let request = bearer(&token);
                    scope.spawn(move || {
                        let mut client = gateway.connect();
                        (0..max / 50 + 1)
                            .map(|_| client.call(&request).status)
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let each = callers.into_iter().map(|caller| caller.join().unwrap());
            each.flatten().collect()
        });
        let strange: Vec<_> = statuses
            .iter()
            .filter(|status| !matches!(status, 200 | 429))
            .collect();
        assert_eq!(strange, Vec::<&u16>::new());
        let mut passed = statuses.iter().filter(|status| **status == 200).count();
        // What one of them holds in reserve for callers who left goes back, and is not lost.
        eventually("all calls pass", || {
            let again = gateways.iter().map(|gateway| status(gateway, &token));
            passed += again.filter(|status| *status == 200).count();
            (passed >= max).then_some(())
        });
        for gateway in &gateways {
            assert_eq!(status(gateway, &token), 429, "nothing is left");
        }
        assert_eq!((passed, origin.count()), (max, max));
    }
}
