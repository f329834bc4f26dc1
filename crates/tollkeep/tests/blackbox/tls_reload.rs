//! Certificates that change while the gateway serves, and those whose end is near.

use crate::fixture::{before, free, gateway, head};
use crate::tls_fixture::{Certificates, Kind, Pair, shake};
use rcgen::date_time_ymd;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tollkeep_testkit::{Gateway, Origin, eventually};

const NAMES: &[&str] = &["a.test", "127.0.0.1"];

/// Puts the files of one pair in the place of another's, the key first.
fn replace(old: &Pair, new: &Pair) {
    fs::rename(&new.key, &old.key).unwrap();
    fs::rename(&new.cert, &old.cert).unwrap();
}

/// The certificate that new connections are shown.
fn shown(certificates: &Certificates, gateway: &Gateway) -> CertificateDer<'static> {
    let (_socket, session) = certificates
        .caller()
        .trusting_all()
        .open(gateway.data(), "a.test")
        .unwrap();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

fn of_kind<'a>(lines: &'a [Value], action: &str) -> Vec<&'a Value> {
    let lines = lines.iter();
    lines.filter(|line| line["action"] == action).collect()
}

// EDGE-12
#[test]
fn a_swap_of_certificates_under_load_drops_no_connection() {
    let certificates = Certificates::new();
    let pair = certificates.pair("first", Kind::Ecdsa, NAMES);
    let origin = Origin::plain();
    let config = format!("{}{}", pair.server(""), before(&origin, &free("GET /x")));
    let gateway = gateway(config).start();
    let mut kept = certificates.caller().connect(gateway.data(), "a.test");
    assert_eq!(kept.call(&head("GET /x", "")).status, 200);
    let (stop, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let config = Arc::new(certificates.caller().config);
                while !stop.load(Ordering::Relaxed) {
                    let (socket, session) = shake(&config, gateway.data(), "a.test").unwrap();
                    let mut client = crate::tls_fixture::carried(socket, session);
                    for _ in 0..3 {
                        assert_eq!(client.call(&head("GET /x", "")).status, 200);
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..2 {
            let kind = if round == 0 { Kind::Rsa } else { Kind::Ecdsa };
            let new = certificates.pair("new", kind, NAMES);
            let want = new.leaf();
            replace(&pair, &new);
            eventually("the new certificate is served", || {
                (shown(&certificates, &gateway) == want).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(made.load(Ordering::Relaxed) > 20, "{made:?} connections");
    assert_eq!(
        kept.call(&head("GET /x", "")).status,
        200,
        "an old one goes on"
    );
    let lines = gateway.audit_lines();
    let reloads = of_kind(&lines, "config.reload");
    assert!(reloads.len() >= 2, "{reloads:?}");
    assert_eq!(reloads[0]["details"]["kind"], "certificates");
}

// EDGE-12
#[test]
fn a_bad_pair_keeps_the_old_one_and_is_told() {
    let certificates = Certificates::new();
    let pair = certificates.pair("first", Kind::Ecdsa, NAMES);
    let gateway = gateway(pair.server("")).start();
    let old = pair.leaf();
    let other = certificates.pair("other", Kind::Ecdsa, NAMES);
    let wrong = certificates.write(
        "wrong",
        &fs::read_to_string(&other.cert).unwrap(),
        "nothing\n",
    );
    replace(&pair, &wrong);
    let told = gateway.audit_line("a reject by the watch", |line| {
        line["action"] == "config.reject"
    });
    assert_eq!(told["details"]["kind"], "certificates", "{told}");
    let text = told.to_string();
    assert!(text.contains("first.key: holds no private key"), "{text}");
    assert_eq!(shown(&certificates, &gateway), old);

    let (status, problem) = gateway.api("POST", "/api/v1/tls/reload", Some(&json!({})));
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("config_invalid")),
        "{problem}"
    );
    assert!(
        problem
            .to_string()
            .contains("first.key: holds no private key"),
        "{problem}"
    );
    let refused = gateway.cli(&["tls", "reload"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    eventually("each is recorded", || {
        (of_kind(&gateway.audit_lines(), "config.reject").len() == 3).then_some(())
    });
    assert_eq!(shown(&certificates, &gateway), old);

    fs::copy(&other.key, &pair.key).unwrap();
    let (status, answer) = gateway.api("POST", "/api/v1/tls/reload", Some(&json!({})));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["certificates"][0]["name"], "server.tls");
    assert_eq!(answer["certificates"][0]["subject"], "CN=other");
    assert_eq!(shown(&certificates, &gateway), pair.leaf());
    let done = gateway.cli(&["tls", "reload", "--json"]);
    assert!(done.status.success(), "{done:?}");
    let printed: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(printed, answer);
}

// EDGE-12
#[test]
fn a_reload_of_the_settings_takes_their_certificates_over_or_nothing() {
    let certificates = Certificates::new();
    let (first, second) = (
        certificates.pair("first", Kind::Ecdsa, NAMES),
        certificates.pair("second", Kind::Rsa, NAMES),
    );
    let gateway = gateway(first.server("")).start();
    let write = |text: String| fs::write(gateway.folder().join("tollkeep.yaml"), text).unwrap();
    let reload = || gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
    write(second.server(", min_version: \"1.3\""));
    assert_eq!(reload().0, 200);
    assert_eq!(shown(&certificates, &gateway), second.leaf());
    let old = certificates.caller().only(&rustls::version::TLS12);
    assert!(
        old.open(gateway.data(), "a.test").is_err(),
        "1.3 is the oldest now"
    );

    write(format!(
        "{}llm: {{ max_depth: 9 }}\n",
        first.server(", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]")
    ));
    let (status, problem) = reload();
    assert_eq!(status, 422, "{problem}");
    assert!(
        problem
            .to_string()
            .contains("none of the listed cipher suites"),
        "{problem}"
    );
    assert_eq!(shown(&certificates, &gateway), second.leaf());

    write("version: 1\n".to_owned());
    let (status, problem) = reload();
    assert_eq!(status, 422, "{problem}");
    assert!(
        problem.to_string().contains("server.tls.enabled"),
        "{problem}"
    );
}

/// A pair that ends so many seconds from now.
fn ending_in(certificates: &Certificates, file: &str, seconds: u64) -> Pair {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    certificates.pair_with(file, Kind::Ecdsa, NAMES, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(seconds);
    })
}

// EDGE-12
#[test]
fn an_end_that_comes_near_is_told_and_one_that_came_makes_ready_say_so() {
    let certificates = Certificates::new();
    let pair = ending_in(&certificates, "first", 6);
    let gateway = gateway(pair.server("")).start();
    let ready = || {
        let caller = certificates.caller().trusting_all();
        let mut client = caller.connect(gateway.data(), "a.test");
        let answer = client.call(&head("GET /ready", ""));
        (answer.status, answer.text())
    };
    let told = |reason: &'static str| {
        gateway.audit_line(reason, move |line| line["details"]["reason"] == reason)
    };
    let near = told("1_day");
    assert_eq!(near["action"], "system.degraded", "{near}");
    assert_eq!(near["details"]["name"], "server.tls");
    assert_eq!(ready(), (200, "ready".to_owned()));
    let gauge = "tollkeep_certificate_expiry_timestamp_seconds{name=\"server.tls\"} ";
    let end = |text: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(gauge)?.parse::<u64>().ok())
    };
    let first = eventually("the gauge", || end(&gateway.metrics_text()));
    told("expired");
    let degraded = r#"{"status":"degraded","reasons":["certificate"]}"#;
    assert_eq!(ready(), (200, degraded.to_owned()), "it is still served");

    // An expired one in its place is no better; a good one is.
    replace(&pair, &ending_in(&certificates, "again", 0));
    gateway.audit_line("the reject", |line| line["action"] == "config.reject");
    replace(&pair, &ending_in(&certificates, "later", 9 * 86_400));
    told("renewed");
    told("30_days");
    assert_eq!(ready(), (200, "ready".to_owned()));
    let second = eventually("the gauge", || {
        end(&gateway.metrics_text()).filter(|end| *end != first)
    });
    assert!(
        (second - first).abs_diff(9 * 86_400) < 120,
        "{first} {second}"
    );
}

// EDGE-11
#[test]
fn tls_check_tells_the_days_left_and_every_fault() {
    let certificates = Certificates::new();
    let check = |pair: &Pair, more: &str| {
        let path = certificates.path("tollkeep.yaml");
        fs::write(&path, pair.server(more)).unwrap();
        run(&path)
    };
    let fine = ending_in(&certificates, "fine", 40 * 86_400 + 60);
    let short = ending_in(&certificates, "short", 86_000);
    let (code, out, err) = check(&fine, "");
    assert_eq!(code, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["certificates"][0]["days_left"], 40);
    assert_eq!(told["certificates"][0]["subject"], "CN=fine");
    let (code, out, err) = check(&fine, &format!(", certificates: [{{ {} }}]", short.yaml()));
    assert_eq!(code, Some(8), "{err}");
    assert!(
        err.contains("short.pem") && err.contains("within a day"),
        "{err}"
    );
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["certificates"][1]["name"], "server.tls.1");
    assert_eq!(told["certificates"][1]["days_left"], 0);
    fs::remove_file(&fine.key).unwrap();
    let (code, _, err) = check(&fine, "");
    assert_eq!(code, Some(3), "{err}");
    assert!(
        err.contains("server.tls: ") && err.contains("fine.key: can't be read"),
        "{err}"
    );
    let (code, out, _) = check(&short, "");
    assert_eq!((code, out.contains("short.pem")), (Some(8), true));
}

/// `tollkeep tls check` of this configuration: code, output, errors.
fn run(config: &Path) -> (Option<i32>, String, String) {
    let ran = std::process::Command::new(crate::fixture::TOLLKEEP)
        .args(["tls", "check", "--config"])
        .arg(config)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}
