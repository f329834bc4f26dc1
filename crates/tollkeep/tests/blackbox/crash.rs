//! Crashes, second processes and full disks: what was acknowledged is kept, and what can't be kept
//! is refused.

use crate::callers::{act, bearer, get, made, models, record_of};
use crate::fixture::TOLLKEEP;
use crate::killed_files::in_lanes;
use crate::races::settable;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tollkeep_testkit::{Builder, Client, Gateway, MANAGEMENT_KEY, Origin, eventually};

/// Crashes in the normal form; the variable asks for more.
const ROUNDS: usize = 20;
const ROUNDS_VARIABLE: &str = "CRASH_ROUNDS";
/// Gateways that are killed at the same time in the long form, each in a folder of its own.
const LANES: usize = 4;
/// Operators at work at the same time.
const OPERATORS: usize = 4;

/// What operators were told is done.
#[derive(Default)]
struct Acknowledged {
    made: Vec<(String, String)>,
    revoked: Vec<(String, String)>,
}

/// Makes tokens, and revokes every third, until the gateway is gone.
fn operate(mut client: Client, management: SocketAddr, done: &Mutex<Acknowledged>) {
    let ask = |client: &mut Client, path: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {management}\r\n{}",
            bearer(MANAGEMENT_KEY)
        );
        let request =
            format!("{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        if !client.send(request.as_bytes()) {
            return None;
        }
        let mut bytes = Vec::new();
        // A crash may cut an answer anywhere: only a whole one is an acknowledgement.
        loop {
            bytes.extend(client.bytes(Duration::from_secs(5)).ok()?);
            if let Some((status, body)) = whole(&bytes) {
                return Some((status, body));
            }
        }
    };
    for number in 0.. {
        let Some((status, made)) = ask(&mut client, "/api/v1/tokens") else {
            return;
        };
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        let token = (text("id"), text("secret"));
        if number % 3 != 2 {
            done.lock().unwrap().made.push(token);
            continue;
        }
        let path = format!("/api/v1/tokens/{}/revoke", token.0);
        let Some((status, revoked)) = ask(&mut client, &path) else {
            return;
        };
        assert_eq!(status, 200, "{revoked}");
        done.lock().unwrap().revoked.push(token);
    }
}

/// The status and body of a whole answer.
fn whole(bytes: &[u8]) -> Option<(u16, Value)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let body = (body.len() == length.parse::<usize>().ok()?).then_some(body)?;
    Some((
        head.get(9..12)?.parse().ok()?,
        serde_json::from_str(body).ok()?,
    ))
}

/// Somewhere below `max` milliseconds.
fn random_wait(max: u64) -> Duration {
    Duration::from_millis(RandomState::new().hash_one(0) % max)
}

/// Asserts that a gateway knows what was acknowledged.
fn assert_kept(gateway: &Gateway, done: &Acknowledged) {
    for (number, (id, token)) in done.made.iter().enumerate() {
        let answer = gateway.call(&get("/v1/models", &bearer(token)));
        assert_eq!(
            answer.status,
            200,
            "token {number}, {id}: {}",
            answer.text()
        );
    }
    for (number, (id, token)) in done.revoked.iter().enumerate() {
        assert_eq!(record_of(gateway, id)["status"], "revoked", "{id}");
        // Many addresses, since one may not fail so often.
        let from = format!("x-forwarded-for: 2001:db8:{:x}::1\r\n", number / 10);
        let answer = gateway.call(&get("/v1/models", &format!("{}{from}", bearer(token))));
        assert_eq!(answer.status, 401, "revoked token {number}, {id}");
    }
}

// ID-32 AUD-40 AUD-42 AUD-50
#[test]
fn every_acknowledged_token_and_revocation_survives_a_kill_at_any_moment() {
    let rounds = settable(ROUNDS_VARIABLE, ROUNDS);
    let lanes = if rounds > ROUNDS { LANES } else { 1 };
    let told = in_lanes((lanes, rounds), |_, rounds, done| {
        crash_again_and_again(rounds, done)
    });
    eprintln!("tokens and records by lane: {told:?}");
}

/// How many tokens were made, and what is recorded.
fn crash_again_and_again(rounds: usize, crashes: &AtomicUsize) -> (usize, usize) {
    let origin = Origin::plain();
    let folder = tempfile::tempdir().unwrap();
    let builder = || {
        let builder = models(&origin)
            .folder(folder.path())
            .set("logging.level", "warn");
        builder.set("server.trusted_proxies", "127.0.0.1/32")
    };
    let mut all = Acknowledged::default();
    let mut gateway = builder().start();
    for round in 0..rounds {
        let done = Mutex::<Acknowledged>::default();
        thread::scope(|scope| {
            let (management, done) = (gateway.management(), &done);
            for _ in 0..OPERATORS {
                let client = Client::connect(management);
                scope.spawn(move || operate(client, management, done));
            }
            thread::sleep(random_wait(150));
            gateway.kill();
        });
        gateway = builder()
            .try_start()
            .unwrap_or_else(|failed| panic!("round {round}: {}", failed.stderr));
        let done = done.into_inner().unwrap();
        assert_kept(&gateway, &done);
        all.made.extend(done.made);
        all.revoked.extend(done.revoked);
        crashes.fetch_add(1, Ordering::Relaxed);
    }
    assert!(
        all.made.len() > rounds / 4,
        "{} tokens in {rounds} rounds",
        all.made.len()
    );
    assert_kept(&gateway, &all);
    let records = crate::chain::verify(&gateway);
    assert!(records > all.made.len(), "{records} records");
    assert_recorded(&gateway, &all);
    (all.made.len(), records)
}

/// Asserts that what was acknowledged stands in the file and in the database, each once, and that
/// no change is without a record, whether it was acknowledged or not.
fn assert_recorded(gateway: &Gateway, done: &Acknowledged) {
    eventually("what a crash left unrecorded is recorded", || {
        (created_and_revoked(gateway).0.values().sum::<u64>() == tokens(gateway)).then_some(())
    });
    let (created, revoked) = created_and_revoked(gateway);
    for (id, _) in done.made.iter().chain(&done.revoked) {
        assert_eq!(created.get(id), Some(&1), "{id}");
    }
    for (id, _) in &done.revoked {
        assert_eq!(revoked.get(id), Some(&1), "{id}");
    }
    eventually("the database has what the file has", || {
        let path = "/api/v1/audit/stats?by=action&action=token.create,token.revoke";
        let (status, sums) = gateway.api("GET", path, None);
        assert_eq!(status, 200, "{sums}");
        let of = |action: &str| {
            let sums = sums["data"].as_array().unwrap();
            let sum = sums.iter().find(|sum| sum["action"] == action);
            sum.map_or(0, |sum| sum["events"].as_u64().unwrap())
        };
        let all = |events: &BTreeMap<String, u64>| events.values().sum::<u64>();
        let (created, revoked) = created_and_revoked(gateway);
        (of("token.create") == all(&created) && of("token.revoke") == all(&revoked)).then_some(())
    });
}

/// How often the file says that each token was made, and revoked. What was recorded late names none.
fn created_and_revoked(gateway: &Gateway) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let (mut created, mut revoked) = (BTreeMap::new(), BTreeMap::new());
    for line in gateway.audit_lines() {
        let id = line["details"]["token_ref"].as_str().unwrap_or_default();
        match line["action"].as_str() {
            Some("token.create") => *created.entry(id.to_owned()).or_insert(0) += 1,
            Some("token.revoke") => *revoked.entry(id.to_owned()).or_insert(0) += 1,
            Some(_) | None => {}
        }
    }
    (created, revoked)
}

/// How many tokens there are.
fn tokens(gateway: &Gateway) -> u64 {
    let (mut all, mut cursor) = (0, String::new());
    loop {
        let (status, page) = gateway.api("GET", &format!("/api/v1/tokens?limit=200{cursor}"), None);
        assert_eq!(status, 200, "{page}");
        all += page["data"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return u64::try_from(all).unwrap(),
        }
    }
}

// OPS-105
#[test]
fn a_second_process_in_the_same_folder_is_refused_and_told_who_is_there() {
    let origin = Origin::plain();
    let first = models(&origin).start();
    let path = |name: &str| first.data_dir().join(name).display().to_string();
    for (name, sets) in [
        (
            "the same folder",
            vec![
                ("data_dir", first.data_dir().display().to_string()),
                ("store.path", path("tollkeep.db")),
                ("audit.file", path("audit.log")),
            ],
        ),
        (
            "the same database",
            vec![("store.path", path("tollkeep.db"))],
        ),
    ] {
        let second = sets.iter().fold(models(&origin), |builder, (key, value)| {
            builder.set(key, value.clone())
        });
        let failed = second.try_start().err().unwrap();
        assert_eq!(failed.code, Some(3), "{name}: {}", failed.stderr);
        assert!(
            failed.stderr.contains(&format!("pid {}", first.pid())),
            "{name}: {}",
            failed.stderr
        );
    }
    made(&first, &json!({}));
}

/// A program that runs the gateway in a world of its own.
fn wrapper(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("wrapped");
    let mut file = File::create(&path).unwrap();
    file.write_all(format!("#!/bin/sh\n{script}\n").as_bytes())
        .unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o700))
        .unwrap();
    path
}

/// A gateway run by `script`, its audit log beside its data folder.
fn wrapped(origin: &Origin, folder: &Path, script: &str) -> Builder {
    let audit = folder.join("audit.log").display().to_string();
    models(origin)
        .binary(wrapper(folder, script))
        .folder(folder)
        .set("audit.file", audit)
        .set("audit.store_in_db", "false")
}

/// Asks for tokens until the store refuses one; what it says then.
fn refused_by_store(gateway: &Gateway) -> Value {
    eventually("a refusal", || {
        let (status, told) = gateway.api(
            "POST",
            "/api/v1/tokens",
            Some(&json!({ "name": "n".repeat(200) })),
        );
        assert!(status == 201 || status == 503, "{status}: {told}");
        (status == 503).then_some(told)
    })
}

/// What goes on without a store that takes anything.
fn assert_lives(gateway: &Gateway, id: &str, token: &str) {
    let called = gateway.call(&get("/v1/models", &bearer(token))).status;
    assert_eq!(called, 200, "callers are served");
    assert_eq!(record_of(gateway, id)["status"], "active", "reads work");
    assert_eq!(gateway.call(&get("/health", "")).status, 200);
}

#[test]
fn a_full_disk_refuses_new_tokens_and_says_so_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mounts = "mount -t tmpfs -o size=2m,mode=700 tmpfs";
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{mounts} {}", data.display())])
        .output();
    if !tried.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: this user can't mount a small disk");
        return;
    }
    let origin = Origin::plain();
    let script = format!(
        "exec unshare -m sh -c '{mounts} {} && exec {TOLLKEEP} \"$@\"' sh \"$@\"",
        data.display()
    );
    let gateway = wrapped(&origin, folder.path(), &script).start();
    let (id, token) = made(&gateway, &json!({}));
    // The disk of the gateway, as only it sees it.
    let inside = PathBuf::from(format!(
        "/proc/{}/root{}/filler",
        gateway.pid(),
        data.display()
    ));
    let mut filler = File::create(&inside).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let told = refused_by_store(&gateway);
    assert_eq!(told["code"], "store_unavailable");
    assert!(
        told["detail"].as_str().unwrap().contains("disk is full"),
        "{told}"
    );
    assert_lives(&gateway, &id, &token);
    let (status, told) = act(&gateway, &id, "revoke", &json!({}));
    assert_eq!(
        (status, &told["code"]),
        (503, &json!("store_unavailable")),
        "{told}"
    );
    assert_lives(&gateway, &id, &token);
    let ready = || gateway.call(&get("/ready", ""));
    eventually("unready", || {
        (ready().status == 503 && ready().text().contains("store")).then_some(())
    });
    fs::remove_file(inside).unwrap();
    drop(filler);
    eventually("ready", || (ready().status == 200).then_some(()));
    let (_, later) = made(&gateway, &json!({}));
    assert_eq!(
        gateway.call(&get("/v1/models", &bearer(&later))).status,
        200
    );
}

#[test]
fn files_that_may_not_grow_refuse_new_tokens_and_the_gateway_lives() {
    let origin = Origin::plain();
    let folder = tempfile::tempdir().unwrap();
    // 2000 KiB: the write-ahead log of a new database fits, and not much more.
    let script = format!("trap '' XFSZ\nulimit -f 4000\nexec {TOLLKEEP} \"$@\"");
    let gateway = wrapped(&origin, folder.path(), &script)
        .set("logging.level", "error")
        .start();
    let (id, token) = made(&gateway, &json!({}));
    assert_eq!(refused_by_store(&gateway)["code"], "store_unavailable");
    assert_lives(&gateway, &id, &token);
}
