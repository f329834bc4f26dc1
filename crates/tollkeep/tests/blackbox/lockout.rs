//! Addresses that keep failing at the management API.

use crate::callers::{bearer, chat, models, served};
use crate::operators::{ask, code};
use serde_json::{Value, json};
use tollkeep_testkit::{Client, Gateway, MANAGEMENT_KEY, Origin, PATIENCE, Signal, eventually};

const WRONG: &str = "mgt-not-a-key";

fn fail(gateway: &Gateway, times: usize) -> Vec<u16> {
    let look = |_| ask(gateway, WRONG, "GET /api/v1/status", None).status;
    (0..times).map(look).collect()
}

// ID-56
#[test]
fn the_sixth_attempt_is_refused_even_with_the_right_key_and_callers_are_not() {
    let (_origin, gateway, token) = served();
    assert_eq!(ask(&gateway, "", "GET /api/v1/status", None).status, 401);
    assert_eq!(
        fail(&gateway, 5),
        [401; 5],
        "one without a key is no attempt"
    );
    let refused = ask(&gateway, MANAGEMENT_KEY, "GET /api/v1/status", None);
    assert_eq!(
        (refused.status, code(&refused)),
        (429, "locked_out".to_owned())
    );
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1790..=1800).contains(&wait), "{wait}");
    assert_eq!(fail(&gateway, 1), [429]);
    // A neighbour on the same address with a good token calls on.
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    let event = gateway.audit_line("the lock-out", |event| event["action"] == "admin.lockout");
    assert_eq!(event["client_ip"], "127.0.0.1", "{event}");
    assert_eq!(event["details"]["count"], 5, "{event}");
    // The local socket knows no address.
    let run = |command: &str| gateway.cli(&command.split(' ').collect::<Vec<_>>());
    let listed: Value = serde_json::from_slice(&run("lockout list").stdout).unwrap();
    assert_eq!(listed["data"][0]["address"], "127.0.0.1");
    assert!(listed["data"][0]["until"].is_string(), "{listed}");
    assert_eq!(run("lockout clear 192.0.2.1").status.code(), Some(4));
    assert!(run("lockout clear 127.0.0.1").status.success());
    assert_eq!(gateway.api("GET", "/api/v1/status", None).0, 200);
    let (_, list) = gateway.api("GET", "/api/v1/lockouts", None);
    assert_eq!(list["data"], json!([]));
}

// ID-56
#[test]
fn a_ban_ends_by_itself_and_the_next_is_longer() {
    let gateway = models(&Origin::plain())
        .set("management.lockout.failures", "1")
        .set("management.lockout.ban", "1s")
        .start();
    assert_eq!(fail(&gateway, 2), [401, 429]);
    eventually("the end of the ban", || {
        (gateway.api("GET", "/api/v1/status", None).0 == 200).then_some(())
    });
    assert_eq!(fail(&gateway, 1), [401]);
    let refused = ask(&gateway, MANAGEMENT_KEY, "GET /api/v1/status", None);
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    let (_, list) = (0, gateway.cli(&["lockout", "list"]));
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert!(list["data"][0]["until"].is_string(), "{list}");
}

// ID-56
#[test]
fn the_data_port_counts_for_the_same_lock() {
    let gateway = models(&Origin::plain())
        .set("management.on_data_port", "loopback")
        .start();
    let look = |addr: std::net::SocketAddr, key: &str| {
        let request = format!(
            "GET /api/v1/status HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {key}\r\n\
             connection: close\r\n\r\n"
        );
        Client::connect(addr).call(request.as_bytes()).status
    };
    for _ in 0..5 {
        assert_eq!(look(gateway.data(), WRONG), 401);
    }
    assert_eq!(look(gateway.data(), MANAGEMENT_KEY), 429);
    assert_eq!(look(gateway.management(), MANAGEMENT_KEY), 429);
}

// AUD-12
#[test]
fn failures_without_a_key_fold_and_their_number_stays_exact_also_when_the_gateway_stops() {
    const TRIED: u64 = 300;
    let (_origin, mut gateway, _) = served();
    let mut client = Client::connect_from([127, 0, 0, 9].into(), gateway.management());
    for _ in 0..TRIED {
        let request = format!(
            "GET /api/v1/status HTTP/1.1\r\nhost: {}\r\n\r\n",
            gateway.management()
        );
        assert_eq!(client.call(request.as_bytes()).status, 401);
    }
    // Another reason from the same address, and the same from another one, are told apart.
    let mut other = Client::connect_from([127, 0, 0, 10].into(), gateway.management());
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nhost: {}\r\n\r\n",
        gateway.management()
    );
    assert_eq!(other.call(request.as_bytes()).status, 401);
    // What is kept back is told at the latest when the gateway ends.
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some());
    let of = |address: &str| {
        let lines = gateway.audit_lines().into_iter();
        let theirs = lines.filter(|line| {
            line["action"] == "management.auth" && line["client_ip"] == json!(address)
        });
        let counts = theirs.map(|line| line["details"]["count"].as_u64().unwrap_or(1));
        counts.collect::<Vec<_>>()
    };
    let told = of("127.0.0.9");
    assert_eq!(told.iter().sum::<u64>(), TRIED, "{told:?}");
    assert!(told.iter().any(|count| *count > 1), "{told:?}");
    assert!(
        told.len() >= 21,
        "twenty of a second have their own: {told:?}"
    );
    assert_eq!(of("127.0.0.10"), [1]);
}
