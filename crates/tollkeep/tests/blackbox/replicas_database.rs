//! A PostgreSQL that hangs, dies, refuses, or is not there.

use crate::fixture::head;
use crate::replicas::{on, routes, status};
use serde_json::json;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Gateway, Origin, POSTGRES_PASSWORDS, Postgres, Signal, eventually};

/// How a call with the token is answered, in less time than a server takes that hangs.
fn prompt(gateway: &Gateway, token: &str) -> (u16, String) {
    let began = Instant::now();
    let request = head("GET /t", &format!("Authorization: Bearer {token}\r\n"));
    let answer = gateway.call(&request);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    (answer.status, answer.code())
}

fn goes_stale_and_heals(gateway: &Gateway, token: &str, lose: impl FnOnce(), back: impl FnOnce()) {
    assert_eq!(prompt(gateway, token).0, 200);
    lose();
    let lost = Instant::now();
    // What was known a moment ago is still believed.
    assert_eq!(prompt(gateway, token).0, 200);
    eventually("what is stale is refused", || {
        (prompt(gateway, token) == (503, "auth_unavailable".to_owned())).then_some(())
    });
    assert!(
        lost.elapsed() < Duration::from_secs(8),
        "{:?}",
        lost.elapsed()
    );
    let wrong = prompt(gateway, "tok-unknown");
    assert_eq!(wrong.0, 503, "whatever the token");
    assert_eq!(
        gateway.call(&head("GET /f", "")).status,
        200,
        "who needs no token"
    );
    back();
    eventually("it heals by itself", || {
        (prompt(gateway, token).0 == 200).then_some(())
    });
    eventually("it changes things again", || {
        let new = json!({ "project": "default" });
        let (status, _) = gateway.api("POST", "/api/v1/tokens", Some(&new));
        (status == 201).then_some(())
    });
}

// ID-33
#[test]
fn a_server_that_hangs_or_dies_makes_calls_with_tokens_wait_for_it_to_come_back() {
    let origin = Origin::plain();
    let server = std::cell::RefCell::new(Postgres::start());
    let builder = on(&server.borrow(), &routes(&origin));
    let gateway = builder
        .set("auth.revocation_stale_after", "1s")
        .set("store.busy_timeout", "2s")
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let signal = |signal| server.borrow().signal(signal);
    goes_stale_and_heals(
        &gateway,
        &token,
        || signal(Signal::STOP),
        || signal(Signal::CONT),
    );
    let (kill, restart) = (
        || server.borrow_mut().kill(),
        || server.borrow_mut().restart(),
    );
    goes_stale_and_heals(&gateway, &token, kill, restart);
}

// ID-33
#[test]
fn who_wants_so_lets_tokens_call_while_nobody_knows_what_was_revoked() {
    let (origin, mut server) = (Origin::plain(), Postgres::start());
    let gateway = on(&server, &routes(&origin))
        .set("auth.revocation_stale_after", "1s")
        .set("auth.on_stale", "open")
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    server.kill();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(status(&gateway, &token), 200);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How a start fails: the exit code, and what is told.
fn fails(server: &Postgres, name: &str, value: &str) -> (Option<i32>, String) {
    let began = Instant::now();
    let started = on(server, &routes(&Origin::plain()))
        .set("store.busy_timeout", "2s")
        .env(name, value)
        .try_start();
    let Err(failed) = started else {
        panic!("it started with {name}={value}");
    };
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    for (_, password) in POSTGRES_PASSWORDS {
        assert!(!failed.stderr.contains(password), "{}", failed.stderr);
    }
    (failed.code, failed.stderr)
}

// ID-81 ID-112
#[test]
fn a_start_without_the_database_says_why() {
    let server = Postgres::start();
    let url = |user: &str, password: &str, rest: &str| {
        format!("postgres://{user}:{password}@127.0.0.1:{rest}")
    };
    let port = server.port();
    let app = POSTGRES_PASSWORDS[0].1;
    let (code, told) = fails(
        &server,
        "DATABASE_URL",
        &url("tollkeep_app", "wr0ng-Xy", &format!("{port}/tollkeep")),
    );
    assert!(
        code == Some(3)
            && told.contains("store.url")
            && told.contains("password authentication failed"),
        "{told}"
    );
    assert!(!told.contains("wr0ng-Xy"), "{told}");
    let (code, told) = fails(
        &server,
        "DATABASE_URL",
        &url("tollkeep_app", app, "1/tollkeep"),
    );
    assert!(
        code == Some(7) && told.contains("can't be reached"),
        "{told}"
    );
    let tls = format!("{port}/tollkeep?sslmode=require");
    let (code, told) = fails(&server, "DATABASE_URL", &url("tollkeep_app", app, &tls));
    assert!(code == Some(3) && told.contains("TLS"), "{told}");
    let (code, told) = fails(
        &server,
        "DATABASE_URL",
        &url("tollkeep_app", app, &format!("{port}/nothing")),
    );
    assert!(code == Some(3) && told.contains("does not exist"), "{told}");
    let (code, told) = fails(
        &server,
        "TOLLKEEP_STORE__JOBS_URL",
        &server.url("tollkeep_migrate"),
    );
    assert!(
        code == Some(3) && told.contains("store.jobs_url: the login owns the tables"),
        "{told}"
    );
    let (code, told) = fails(&server, "TOLLKEEP_STORE__OWNER_URL", "");
    assert!(
        code == Some(3) && told.contains("store.owner_url"),
        "{told}"
    );
    server.signal(Signal::STOP);
    let (code, told) = fails(&server, "NOTHING", "");
    assert!(
        code == Some(7) && told.contains("can't be reached"),
        "{told}"
    );
    server.signal(Signal::CONT);
    let secured = Postgres::start_with("hostssl all all 127.0.0.1/32 scram-sha-256");
    let (code, told) = fails(&secured, "NOTHING", "");
    assert!(code == Some(3) && told.contains("no encryption"), "{told}");
}

// ID-81
#[test]
fn no_password_of_the_database_is_ever_written() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let [app, jobs, owner] = POSTGRES_PASSWORDS.map(|(user, _)| server.url(user));
    let store = format!("store: {{ url: '{app}', jobs_url: '{jobs}', owner_url: '{owner}' }}\n");
    let gateway = on(&server, &format!("{store}{}", routes(&origin))).start();
    gateway.mint_token(&json!({ "project": "default" }));
    server.signal(Signal::STOP);
    let (status, answer) = gateway.api("GET", "/api/v1/tokens", None);
    assert_eq!(status, 503, "{answer}");
    server.signal(Signal::CONT);
    let file = gateway.config_file().display().to_string();
    let shown = gateway.cli(&["config", "show", "--config", &file]);
    assert!(shown.status.success(), "{shown:?}");
    let mut everything = vec![answer.to_string(), gateway.stderr()];
    everything.push(String::from_utf8_lossy(&shown.stdout).into_owned());
    everything.push(String::from_utf8_lossy(&shown.stderr).into_owned());
    for file in ["audit.log", "usage.jsonl"] {
        everything.push(std::fs::read_to_string(gateway.data_dir().join(file)).unwrap_or_default());
    }
    for (_, password) in POSTGRES_PASSWORDS {
        assert!(
            everything.iter().all(|text| !text.contains(password)),
            "{password}"
        );
    }
}
