//! The management and metrics listeners behind TLS.

use crate::fixture::{TOLLKEEP, gateway};
use crate::tls_fixture::{Caller, Certificates, Kind};
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, PATIENCE};

struct Behind {
    certificates: Certificates,
    gateway: Gateway,
}

fn behind_tls(more: &str) -> Behind {
    // Longer than the default, for machines that have little time.
    behind_tls_within(more, 20_000)
}

fn behind_tls_within(more: &str, handshake_ms: u32) -> Behind {
    let certificates = Certificates::new();
    let first = certificates.pair("first", Kind::Ecdsa, &["localhost", "127.0.0.1"]);
    let second = certificates.pair("second", Kind::Rsa, &["b.localhost"]);
    let tls = format!(
        "tls: {{ enabled: true, {}, certificates: [{{ {} }}] }}",
        first.yaml(),
        second.yaml()
    );
    let config = format!("management: {{ {tls}{more} }}\nmetrics: {{ {tls}{more} }}\n");
    let handshake = handshake_ms.to_string();
    let gateway = gateway(config)
        .set("server.timeouts.tls_handshake_ms", handshake)
        .start();
    Behind {
        certificates,
        gateway,
    }
}

impl Behind {
    fn caller(&self) -> Caller {
        self.certificates.caller()
    }

    fn ask(&self, addr: SocketAddr, name: &str, host: &str, path: &str) -> Answer {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {MANAGEMENT_KEY}\r\n\r\n"
        );
        let mut client = self.caller().connect(addr, name);
        client.call(request.as_bytes())
    }

    fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(TOLLKEEP)
            .args(arguments)
            .env_clear()
            .env("TOLLKEEP_MANAGEMENT_KEY", MANAGEMENT_KEY)
            .current_dir(self.gateway.folder())
            .output()
            .unwrap()
    }
}

// EDGE-1 EDGE-16
#[test]
fn management_and_metrics_are_served_over_tls_alone() {
    let behind = behind_tls("");
    let gateway = &behind.gateway;
    for (name, addr, path) in [
        ("management", gateway.management(), "/api/v1/status"),
        ("metrics", gateway.metrics(), "/metrics"),
    ] {
        let answer = behind.ask(addr, "localhost", "localhost", path);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let strict = answer.field("strict-transport-security");
        assert!(
            strict.is_some_and(|value| value.contains("max-age")),
            "{name}"
        );
        let mut client = Client::connect(addr);
        client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(
            client.closed_within(PATIENCE),
            "{name}: {:?}",
            client.unread()
        );
        let unknown = behind.caller().open(addr, "other.test").err().unwrap();
        assert!(unknown.contains("UnrecognisedName"), "{name}: {unknown}");
    }
}

// EDGE-13
#[test]
fn on_control_listeners_too_name_and_host_belong_together() {
    let behind = behind_tls(", allowed_hosts: [localhost, b.localhost]");
    let addr = behind.gateway.management();
    for (name, host, want) in [
        ("localhost", "localhost", 200),
        ("b.localhost", "b.localhost", 200),
        ("b.localhost", "localhost", 421),
        ("localhost", "B.localhost:9", 421),
    ] {
        let answer = behind.ask(addr, name, host, "/api/v1/whoami");
        assert_eq!(
            answer.status,
            want,
            "{name} asks for {host}: {}",
            answer.text()
        );
    }
}

// EDGE-53
#[test]
fn slow_handshakes_hold_up_no_operator_and_end_in_time() {
    let behind = behind_tls_within("", 2_000);
    let addr = behind.gateway.management();
    let began = Instant::now();
    let mut slow: Vec<_> = (0..20).map(|_| Client::connect(addr)).collect();
    for client in &mut slow {
        client.send(&[22, 3, 1]);
    }
    let answer = behind.ask(addr, "localhost", "localhost", "/api/v1/whoami");
    assert_eq!(answer.status, 200);
    for client in &mut slow {
        assert!(client.closed_within(Duration::from_secs(8)));
    }
    assert!(
        began.elapsed() >= Duration::from_millis(1_800),
        "{:?}",
        began.elapsed()
    );
}

// EDGE-1
#[test]
fn commands_reach_a_management_listener_behind_tls() {
    let behind = behind_tls("");
    let url = format!("https://{}", behind.gateway.management());
    let named = format!("https://localhost:{}", behind.gateway.management().port());
    let root = behind.certificates.path("root.pem");
    std::fs::write(&root, behind.certificates.root.pem()).unwrap();
    let root = root.display().to_string();
    for url in [&url, &named] {
        let told = behind.cli(&["status", "--url", url, "--ca-file", &root, "--json"]);
        assert!(told.status.success(), "{url}: {told:?}");
        assert!(String::from_utf8_lossy(&told.stdout).contains("\"store\":\"ok\""));
    }
    let unknown = behind.cli(&["status", "--url", &url, "--json"]);
    assert_eq!(
        unknown.status.code(),
        Some(7),
        "whoever signed it: {unknown:?}"
    );
    let clear = format!("http://{}", behind.gateway.management());
    let clear = behind.cli(&["status", "--url", &clear, "--json"]);
    assert_eq!(clear.status.code(), Some(7), "{clear:?}");
}
