//! `tollkeep doctor`: what it finds in good and in bad deployments.

use crate::fixture::{TOLLKEEP, gateway};
use crate::tls_fixture::{Certificates, Kind};
use crate::vault::{plant, ring, sealed_records, with_store};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tollkeep_store::SealedRecord;
use tollkeep_testkit::{Gateway, PATIENCE, Signal};

const KEY: &str = "8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e";

/// Exit code, document and standard error of a look at a folder's gateway.
fn doctor(folder: &Path, arguments: &[&str], key: &str) -> (i32, Value, String) {
    let data = folder.join("data");
    let output = Command::new(TOLLKEEP)
        .args(["doctor", "--config", "tollkeep.yaml"])
        .args(["--data-dir", data.to_str().unwrap()])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("ENCRYPTION_KEY", key)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    (output.status.code().unwrap(), document, told)
}

/// The status of a check.
fn status(document: &Value, number: u64) -> Vec<(String, String)> {
    let checks = document["checks"].as_array().unwrap();
    let of = checks.iter().filter(|check| check["number"] == number);
    let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    of.map(|check| {
        (
            text(check, "status"),
            text(check, "found") + &text(check, "fix"),
        )
    })
    .collect()
}

fn assert_status(document: &Value, number: u64, want: &str, told: &str) {
    let found = status(document, number);
    let is_so = found
        .iter()
        .any(|(status, text)| status == want && text.contains(told));
    assert!(is_so, "{number}: {found:?}");
}

fn stop(mut gateway: Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some());
}

fn start(folder: &Path) -> Gateway {
    let gateway = gateway("sandbox: { upstream: true }\n").folder(folder);
    gateway.env("ENCRYPTION_KEY", KEY).start()
}

// OPS-40
#[test]
fn a_good_deployment_passes_before_its_start_running_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tollkeep.yaml"), "{}\n").unwrap();
    let (code, document, _) = doctor(folder.path(), &[], KEY);
    assert_eq!(
        (code, &document["summary"]["errors"]),
        (0, &json!(0)),
        "{document}"
    );
    assert_status(&document, 78, "skipped", "nothing is stored yet");
    let gateway = start(folder.path());
    for number in [20, 26, 29, 43, 63, 78, 19] {
        let (code, document, _) = doctor(folder.path(), &[], KEY);
        assert_eq!(code, 0, "{document}");
        assert_status(&document, number, "pass", "");
    }
    let table = gateway.cli(&["doctor", "--only", "29,63"]);
    let document: Value = serde_json::from_slice(&table.stdout).unwrap();
    assert_eq!(document["checks"].as_array().unwrap().len(), 2);
    stop(gateway);
    let (code, document, _) = doctor(folder.path(), &[], KEY);
    assert_eq!(code, 0, "{document}");
    assert_status(&document, 26, "pass", "");
}

// ID-68 ID-112 OPS-40
#[test]
fn wide_files_are_told_with_the_command_that_mends_them() {
    let folder = tempfile::tempdir().unwrap();
    stop(start(folder.path()));
    let data = folder.path().join("data");
    let database = data.join("tollkeep.db");
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    mode(&data, 0o755).unwrap();
    mode(&database, 0o644).unwrap();
    let (code, document, told) = doctor(folder.path(), &[], KEY);
    assert_eq!(code, 8, "{told}");
    for (path, wanted) in [(&data, "0700"), (&database, "0600")] {
        assert_status(
            &document,
            29,
            "fail",
            &format!("chmod {wanted} {}", path.display()),
        );
    }
    // A gateway of development says so and starts.
    let running = start(folder.path());
    assert!(
        running.stderr().contains("chmod 0700"),
        "{}",
        running.stderr()
    );
    stop(running);
    let (code, document, _) = doctor(folder.path(), &["--fix-modes"], KEY);
    assert_eq!(code, 0, "{document}");
    assert_status(&document, 29, "pass", "");
    let now = fs::metadata(&data).unwrap().permissions().mode() & 0o777;
    assert_eq!(now, 0o700);
}

// OPS-40 ID-67
#[test]
fn a_bad_deployment_is_told_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    stop(start(at));
    let other = "1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b";
    let (code, document, _) = doctor(at, &[], other);
    assert_eq!(code, 8);
    assert_status(&document, 26, "fail", "expected fingerprint");
    let (code, document, told) = doctor(at, &["--set", "server.prot=1"], KEY);
    assert_eq!(
        (code, document["summary"]["errors"].as_u64()),
        (8, Some(1)),
        "{told}"
    );
    assert_status(&document, 20, "fail", "server.prot");
    let (code, document, _) = doctor(at, &["--set", "audit.enabled=false"], KEY);
    assert_eq!(code, 8);
    assert_status(&document, 43, "fail", "audit: { enabled: true }");
    let (code, document, _) = doctor(at, &["--only", "19"], "");
    assert_eq!(code, 0, "a warning in development");
    assert_status(&document, 19, "fail", "beside the database");
    let (_, production, _) = doctor(
        at,
        &[
            "--set",
            "environment=production",
            "--set",
            "logging.level=debug",
            "--set",
            "sandbox.upstream=false",
        ],
        KEY,
    );
    assert_status(&production, 40, "fail", "logging");
    let data = at.join("data");
    plant(&data, &ring("k1", KEY), &["sk-one".to_owned()]);
    let cut = |record: &SealedRecord| {
        let is_planted = record.row.starts_with("planted.");
        is_planted.then(|| format!("{}AAAA", record.sealed))
    };
    with_store(&data, async |store| {
        assert_eq!(store.reseal_all(cut).await, Ok(1));
        assert_eq!(sealed_records(store).await.len(), 4);
    });
    let (code, document, _) = doctor(at, &[], KEY);
    assert_eq!(code, 8);
    assert_status(&document, 26, "fail", "1 records don't open");
    let (code, document, _) = doctor(at, &["--min-severity", "warn", "--only", "28"], KEY);
    assert_eq!(
        (
            code,
            document["checks"].as_array().map(Vec::len).unwrap_or(9) <= 1
        ),
        (0, true)
    );
}

// OPS-40 EDGE-1 EDGE-11 EDGE-76
#[test]
fn what_is_doubtful_where_callers_come_in_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("tollkeep.yaml"), "{}\n").unwrap();
    let (code, document, _) = doctor(at, &["--only", "52,53,54,58,68"], KEY);
    assert_eq!(code, 0, "{document}");
    for number in [52, 53, 54, 58, 68] {
        assert_status(&document, number, "pass", "");
    }
    let open = [
        "server.host=0.0.0.0",
        "server.insecure_public_http=true",
        "server.allowed_hosts=api.example",
        "server.security.headers.xss_protection=1; mode=block",
    ];
    let listed = [
        "server.security.ip_allowlist.enabled=true",
        "server.security.ip_allowlist.allowed_ips=192.0.2.0/24",
    ];
    let sets = |all: &[&'static str]| -> Vec<&'static str> {
        all.iter().flat_map(|set| ["--set", set]).collect()
    };
    let (_, document, told) = doctor(at, &sets(&open), KEY);
    assert_status(&document, 68, "fail", "0.0.0.0:8317");
    assert_status(&document, 58, "fail", "xss_protection");
    assert!(!told.contains("panicked"), "{told}");
    let (_, document, _) = doctor(at, &sets(&[&open[..], &listed[..]].concat()), KEY);
    assert_status(&document, 68, "pass", "");
    let certificates = Certificates::new();
    let soon = certificates.pair_with("soon", Kind::Ecdsa, &["api.example"], |params| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let days = Duration::from_secs(20 * 86_400);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + days;
    });
    fs::write(at.join("tollkeep.yaml"), soon.server("")).unwrap();
    let (code, document, _) = doctor(at, &["--only", "52,53"], KEY);
    assert_eq!(code, 0, "a warning: {document}");
    assert_status(&document, 53, "fail", "the certificate ends at");
    fs::remove_file(&soon.key).unwrap();
    let (code, document, _) = doctor(at, &["--only", "52,53"], KEY);
    assert_eq!(code, 8, "{document}");
    assert_status(&document, 52, "fail", "soon.key");
}
