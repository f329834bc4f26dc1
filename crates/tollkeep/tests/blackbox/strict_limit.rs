//! How often addresses may sign in to management, or have a credential tried out.

use crate::callers::models;
use crate::fixture::UPSTREAM_KEY;
use crate::operators::{ask, code};
use crate::sessions::send;
use serde_json::json;
use std::net::Ipv4Addr;
use tollkeep_testkit::{
    Answer, Client, Gateway, MANAGEMENT_KEY, Origin, STRICT, STRICT_ALL, eventually,
};

/// A gateway with the limit as it is where nothing else is said.
fn limited(origin: &Origin) -> Gateway {
    models(origin).in_file(STRICT).in_file(STRICT_ALL).start()
}

fn login(gateway: &Gateway, key: &str) -> Answer {
    let body = json!({ "key": key });
    send(gateway, "POST /api/v1/session", "", Some(&body))
}

fn login_from(gateway: &Gateway, own: u8) -> Answer {
    let body = json!({ "key": MANAGEMENT_KEY }).to_string();
    let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, own), gateway.management());
    let host = gateway.management();
    let length = body.len();
    client.call(
        format!(
            "POST /api/v1/session HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .as_bytes(),
    )
}

// EDGE-85 EDGE-87 EDGE-92
#[test]
fn the_sixth_login_in_a_minute_is_refused_right_or_wrong_and_others_are_not() {
    let gateway = limited(&Origin::plain());
    for _ in 0..5 {
        assert_eq!(login(&gateway, MANAGEMENT_KEY).status, 201);
    }
    for key in [MANAGEMENT_KEY, "mgt-wrong"] {
        let answer = login(&gateway, key);
        assert_eq!(
            (answer.status, code(&answer)),
            (429, "rate_limited".to_owned())
        );
        let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=12).contains(&wait), "{wait}");
        assert_eq!(
            answer.field("ratelimit-policy"),
            Some("\"strict\";q=5;w=60")
        );
        let told = format!("\"strict\";r=0;t={wait}");
        assert_eq!(answer.field("ratelimit"), Some(&*told));
        assert!(answer.field("set-cookie").is_none());
    }
    // What is no login goes on, and so do other addresses and the local socket.
    assert_eq!(
        ask(&gateway, MANAGEMENT_KEY, "GET /api/v1/status", None).status,
        200
    );
    assert_eq!(login_from(&gateway, 2).status, 201);
    assert_eq!(gateway.api("GET", "/api/v1/status", None).0, 200);
    let own = "tollkeep_rate_limit_violations_total{class=\"strict\",route=\"none\"} 2";
    assert!(gateway.metrics_text().contains(own));
    let event = gateway.audit_line("the limit", |event| {
        event["action"] == "rate_limit.exceeded"
    });
    assert_eq!(
        (&event["reason"], &event["client_ip"]),
        (&json!("strict"), &json!("127.0.0.1"))
    );
}

// EDGE-85
#[test]
fn tests_of_credentials_share_the_limit_and_the_local_socket_is_exempt() {
    let origin = Origin::plain();
    let gateway = limited(&origin);
    let body = json!({ "provider": "openai", "secret": UPSTREAM_KEY.replace("Zq", "Qz") });
    let (status, made) = gateway.api("POST", "/api/v1/credentials", Some(&body));
    assert_eq!(status, 201, "{made}");
    let path = format!("/api/v1/credentials/{}/test", made["id"].as_str().unwrap());
    let start = format!("POST {path}");
    for _ in 0..4 {
        let tested = ask(&gateway, MANAGEMENT_KEY, &start, Some(&json!({})));
        assert_eq!(tested.status, 200, "{}", tested.text());
    }
    assert_eq!(login(&gateway, MANAGEMENT_KEY).status, 201);
    let tried = origin.count();
    assert_eq!(
        ask(&gateway, MANAGEMENT_KEY, &start, Some(&json!({}))).status,
        429
    );
    assert_eq!(origin.count(), tried, "nothing was sent");
    // Who may not at all has used nothing up.
    assert_eq!(
        ask(&gateway, "mgt-wrong", &start, Some(&json!({}))).status,
        401
    );
    let id = made["id"].as_str().unwrap();
    for _ in 0..6 {
        let by_socket = gateway.cli(&["credential", "test", id]);
        assert!(by_socket.status.success());
    }
}

// EDGE-85 EDGE-91
#[test]
fn each_part_of_the_limit_is_a_setting_that_a_reload_turns() {
    let gateway = limited(&Origin::plain());
    let before = std::fs::read_to_string(gateway.config_file()).unwrap();
    let turn = |rules: &str| {
        let strict = format!("server: {{ rate_limit_classes: {{ strict: {{ {rules} }} }} }}");
        gateway.configure(format!("{before}{strict}\n"));
        assert!(
            gateway.cli(&["config", "reload"]).status.success(),
            "{rules}"
        );
    };
    let global = |rules: &str| format!("requests: 9, global: {{ {rules}, window: 1h }}");
    for (own, (rules, want)) in (10..).zip([
        ("requests: 2".to_owned(), 2),
        ("requests: 2, burst: 3".to_owned(), 3),
        ("requests: 1, window: 1h".to_owned(), 1),
        // Those before count here, by the seconds they were worth.
        (global("requests: 2"), 1),
        (global("requests: 1, burst: 4"), 3),
    ]) {
        turn(&rules);
        let statuses = (0..4).map(|_| login_from(&gateway, own).status);
        let passed = statuses.take_while(|status| *status == 201).count();
        assert_eq!(passed, want, "{rules}");
    }
    // A window that is over soon lets pass again.
    turn("requests: 1, window: 1s, global: { requests: 1000, window: 1s }");
    eventually("all of them", || {
        (login_from(&gateway, 40).status == 201).then_some(())
    });
    eventually("the next window", || {
        (login_from(&gateway, 40).status == 201).then_some(())
    });
}
