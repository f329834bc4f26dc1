//! Sealing everything anew while the gateway serves, and when it is killed in between.

use crate::fixture::gateway;
use crate::secrecy::assert_kept_nowhere;
use crate::vault::{kek, place, plant, ring, sealed_records, with_store};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tollkeep_crypto::{KekState, Keyring, SystemEntropy};
use tollkeep_testkit::{Builder, Gateway, PATIENCE, Signal, eventually};
use tollkeep_types::Entropy;

const RECORDS: usize = 1_700;

fn start(folder: &Path) -> Builder {
    gateway("sandbox: { upstream: true }\n").folder(folder)
}

fn stop(mut gateway: Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some());
}

fn secrets(count: usize) -> Vec<String> {
    let random = |_| {
        let mut bytes = [0_u8; 20];
        SystemEntropy.fill(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // What URLs write in another way is in it too.
        let (front, back) = hex.split_at(20);
        format!("sk-{front}/+{back}")
    };
    (0..count).map(random).collect()
}

/// All key files of a gateway.
fn local(data: &Path) -> Keyring {
    let mut keys: Vec<(String, [u8; 32])> = fs::read_dir(data.join("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
        .map(|path| {
            let id = path.file_name().unwrap().to_str().unwrap().to_owned();
            (id, fs::read(&path).unwrap().try_into().unwrap())
        })
        .collect();
    let (id, first) = keys.pop().unwrap();
    let ring = Keyring::new(&id, &first).unwrap();
    keys.iter().fold(ring, |ring, (id, key)| {
        ring.with(id, key, KekState::DecryptOnly).unwrap()
    })
}

/// Every planted secret opens and is what it was; how many records stand under each key.
fn assert_all_open(data: &Path, secrets: &[String]) -> Vec<(String, usize)> {
    let ring = local(data);
    with_store(data, async |store| {
        let all = sealed_records(store).await;
        let mut planted = 0;
        for record in &all {
            let opened = ring.open(&record.sealed, &place(record));
            let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", record.row));
            if let Some(number) = record.row.strip_prefix("planted.") {
                let number: usize = number.parse().unwrap();
                assert_eq!(opened.as_slice(), secrets[number].as_bytes());
                planted += 1;
            }
        }
        assert_eq!(planted, secrets.len());
        let under = |id: &str| {
            let of = |text: &str| text.starts_with(&format!("enc:v2:{id}:"));
            all.iter().filter(|record| of(&record.sealed)).count()
        };
        let ids = ring.keks().map(|kek| kek.id.to_owned());
        ids.map(|id| (id.clone(), under(&id))).collect()
    })
}

// ID-66
#[test]
fn everything_moves_to_a_new_key_while_the_gateway_serves() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    stop(start(folder.path()).start());
    let secrets = secrets(600);
    plant(&data, &local(&data), &secrets);
    let gateway = start(folder.path()).start();
    let done = gateway.cli(&["vault", "rekey", "--kek", "new"]);
    assert!(done.status.success(), "{done:?}");
    let job: Value = serde_json::from_slice(&done.stdout).unwrap();
    let result = &job["result"];
    assert_eq!(
        (&result["kek"], &result["resealed"], &result["unreadable"]),
        (&json!("kek-2"), &json!(604), &json!(0))
    );
    assert_eq!(
        (&job["state"], &job["progress"]["done"]),
        (&json!("done"), &json!(604))
    );
    let told = gateway.audit_line("its end", |line| {
        line["action"] == "vault.rekey" && line["reason"] == "done"
    });
    assert_eq!(
        (&told["details"]["count"], &told["details"]["kek"]),
        (&json!(604), &json!("kek-2"))
    );
    assert_eq!(kek(&gateway, "kek-1")["records"], 0);
    // What seals nothing any more is not needed.
    fs::remove_file(data.join("keys/kek-1")).unwrap();
    let again = gateway.cli(&["vault", "rekey"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["result"]["resealed"], 0, "all of it is there already");
    let gateway = gateway.restart().unwrap();
    assert_eq!(kek(&gateway, "kek-2")["records"], 604);
    for (body, status) in [
        (json!({ "kek": "kek-9" }), 422),
        (json!({ "kek": "" }), 422),
    ] {
        let (got, _) = gateway.api("POST", "/api/v1/vault/rekey", Some(&body));
        assert_eq!(got, status, "{body}");
    }
    stop(gateway);
    assert_all_open(&data, &secrets);
}

// ID-66
#[test]
fn one_of_two_active_keys_is_named_and_seals_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let keks = "vault: { keks: [{ id: a, source: env, name: KEK_A }, { id: b, source: env, name: KEK_B }] }\n";
    let start = || {
        gateway(format!("sandbox: {{ upstream: true }}\n{keks}"))
            .folder(folder.path())
            .env(
                "KEK_A",
                "8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e",
            )
            .env(
                "KEK_B",
                "1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b",
            )
    };
    let gateway = start().start();
    assert_eq!(kek(&gateway, "a")["records"], 4);
    let (status, problem) = gateway.api(
        "POST",
        "/api/v1/vault/rekey",
        Some(&json!({ "kek": "new" })),
    );
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")));
    let begun = gateway.cli(&["vault", "rekey", "--kek", "b", "--no-wait"]);
    let begun: Value = serde_json::from_slice(&begun.stdout).unwrap();
    let id = begun["job"].as_str().unwrap();
    let waited = gateway.cli(&["job", "wait", id]);
    assert!(waited.status.success(), "{waited:?}");
    assert_eq!(
        gateway.api("DELETE", &format!("/api/v1/jobs/{id}"), None).0,
        409
    );
    let (_, jobs) = gateway.api("GET", "/api/v1/jobs", None);
    assert_eq!(jobs["data"][0]["id"], id);
    stop(gateway);
    let gateway = start().start();
    assert_eq!(
        (
            kek(&gateway, "b")["seals"].clone(),
            kek(&gateway, "b")["records"].clone()
        ),
        (json!(true), json!(4))
    );
}

/// Kills the gateway this often while it seals anew.
fn kill_at(points: u32) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    stop(start(folder.path()).start());
    let secrets = secrets(RECORDS);
    plant(&data, &local(&data), &secrets);
    let mut running = start(folder.path()).start();
    let begun = Instant::now();
    let done = running.cli(&["vault", "rekey", "--deep"]);
    assert!(done.status.success(), "{done:?}");
    let whole = begun.elapsed() + Duration::from_millis(50);
    let mut midway = 0;
    for point in 0..points {
        let deep = json!({ "kek": "new", "deep": point % 2 == 0 });
        let (status, begun) = running.api("POST", "/api/v1/vault/rekey", Some(&deep));
        assert_eq!(status, 202, "{begun}");
        let job = format!("/api/v1/jobs/{}", begun["job"].as_str().unwrap());
        if point % 2 == 0 {
            // The moments are spread over what a whole one takes.
            std::thread::sleep(whole * point / points);
        } else {
            eventually("a batch", || {
                let (_, job) = running.api("GET", &job, None);
                (job["progress"]["done"] != 0).then_some(())
            });
        }
        running.kill();
        let under = assert_all_open(&data, &secrets);
        let used: Vec<_> = under.iter().filter(|(_, count)| *count > 0).collect();
        midway += u32::from(used.len() > 1);
        running = running.restart().unwrap();
        // The start has finished what was begun, so the old files can go.
        let (_, vault) = running.api("GET", "/api/v1/vault", None);
        let keks = vault["keks"].as_array().unwrap();
        for old in keks.iter().filter(|kek| kek["seals"] == false) {
            assert_eq!(old["records"], 0, "{vault}");
            fs::remove_file(data.join("keys").join(old["id"].as_str().unwrap())).unwrap();
        }
        assert_eq!(vault["unreadable"], 0);
        running = running.restart().unwrap();
    }
    assert!(midway > 0 || points < 50, "no kill fell into the middle");
    stop(running);
    assert_all_open(&data, &secrets);
}

// ID-66
#[test]
fn whenever_it_is_killed_while_sealing_anew_everything_opens_afterwards() {
    kill_at(5);
}

// ID-66
#[test]
#[ignore = "the long form: `make soak`"]
fn killed_at_fifty_moments_while_sealing_anew_everything_opens_afterwards() {
    kill_at(50);
}

/// How many planted records are sealed under `a`, and how many under `b`.
fn under_either(data: &Path, secrets: &[String]) -> (usize, usize) {
    let ring = ring("a", KEY_A).with("b", &bytes(KEY_B), KekState::DecryptOnly);
    let ring = ring.unwrap();
    with_store(data, async |store| {
        let all = sealed_records(store).await;
        let planted: Vec<_> = all
            .iter()
            .filter_map(|record| Some((record, record.row.strip_prefix("planted.")?)))
            .collect();
        assert_eq!(planted.len(), secrets.len());
        for (record, number) in &planted {
            let opened = ring.open(&record.sealed, &place(record)).unwrap();
            let number: usize = number.parse().unwrap();
            assert_eq!(opened.as_slice(), secrets[number].as_bytes());
        }
        let of = |id: &str| {
            let start = format!("enc:v2:{id}:");
            let under = planted
                .iter()
                .filter(|(record, _)| record.sealed.starts_with(&start));
            under.count()
        };
        (of("a"), of("b"))
    })
}

const KEY_A: &str = "8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e";
const KEY_B: &str = "1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b";

fn bytes(hex: &str) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(hex.get(at * 2..at * 2 + 2).unwrap(), 16).unwrap();
    std::array::from_fn(byte)
}

/// Kills starts that seal everything anew, since the key that sealed it seals no more.
fn kill_starts_at(points: u32) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = |active: char| {
        let state = |id: char| {
            if id == active {
                "active"
            } else {
                "decrypt-only"
            }
        };
        let (a, b) = (state('a'), state('b'));
        let file = folder.path().join(format!("{active}.yaml"));
        let text = format!(
            "data_dir: \"{}\"\nsandbox: {{ upstream: true }}\nserver: {{ port: 0 }}\n\
             management: {{ listen: \"127.0.0.1:0\" }}\nmetrics: {{ port: 0 }}\n\
             vault: {{ keks: [{{ id: a, source: env, name: KEK_A, state: {a} }}, \
             {{ id: b, source: env, name: KEK_B, state: {b} }}] }}\n",
            data.display()
        );
        fs::write(&file, text).unwrap();
        file
    };
    let run = |active: char| {
        let child = std::process::Command::new(crate::fixture::TOLLKEEP)
            .args(["serve", "--config"])
            .arg(config(active))
            .env_clear()
            .env("KEK_A", KEY_A)
            .env("KEK_B", KEY_B)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        child.unwrap()
    };
    let serves = || fs::symlink_metadata(data.join("tollkeep.sock")).is_ok();
    let whole = |active: char| {
        drop(fs::remove_file(data.join("tollkeep.sock")));
        let begun = Instant::now();
        let mut child = run(active);
        eventually("a start", || serves().then_some(()));
        let took = begun.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        took
    };
    whole('a');
    let secrets = secrets(RECORDS);
    plant(&data, &ring("a", KEY_A), &secrets);
    let took = whole('b');
    assert_eq!(under_either(&data, &secrets), (0, RECORDS));
    let (mut sealed, mut cut) = ('b', 0);
    for point in 0..points {
        let other = if sealed == 'a' { 'b' } else { 'a' };
        let mut child = run(other);
        std::thread::sleep(took * point / points);
        child.kill().unwrap();
        child.wait().unwrap();
        let (a, b) = under_either(&data, &secrets);
        assert!(a == 0 || b == 0, "all of it or nothing: {a} {b}");
        let is_done = if other == 'a' { b == 0 } else { a == 0 };
        cut += u32::from(!is_done);
        sealed = if is_done { other } else { sealed };
    }
    assert!(cut > 0, "no start was killed before its end");
    whole(sealed);
}

// ID-66
#[test]
fn whenever_a_start_is_killed_that_seals_anew_everything_opens_afterwards() {
    kill_starts_at(5);
}

// ID-66
#[test]
#[ignore = "the long form: `make soak`"]
fn starts_killed_at_fifty_moments_leave_everything_to_be_opened() {
    kill_starts_at(50);
}

// ID-66
#[test]
fn a_gateway_that_stops_ends_its_jobs_first() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    stop(start(folder.path()).start());
    let secrets = secrets(RECORDS);
    plant(&data, &local(&data), &secrets);
    let gateway = start(folder.path()).start();
    let deep = json!({ "deep": true });
    let (status, _) = gateway.api("POST", "/api/v1/vault/rekey", Some(&deep));
    assert_eq!(status, 202);
    stop(gateway);
    let records = fs::read_to_string(data.join("audit.log")).unwrap();
    let lines: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ended = |line: &Value| {
        line["action"] == "vault.rekey" && (line["reason"] == "failed" || line["reason"] == "done")
    };
    assert!(lines.iter().any(ended), "its end is recorded");
    assert_all_open(&data, &secrets);
}

// ID-62
#[test]
fn no_file_holds_what_is_sealed_in_any_guise() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    const KEY: &str = "8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e";
    let start = || start(folder.path()).env("ENCRYPTION_KEY", KEY);
    stop(start().start());
    let secrets = secrets(40);
    plant(&data, &ring("k1", KEY), &secrets);
    let mut gateway = start().start();
    assert!(gateway.cli(&["vault", "rekey", "--deep"]).status.success());
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some());
    for secret in secrets.iter().map(String::as_str).chain([KEY]) {
        assert_kept_nowhere(&gateway, secret);
    }
}
