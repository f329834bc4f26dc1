//! Management for programs of this machine without a key, where settings say so (ID-100).

use crate::fixture::gateway;
use crate::operators::ask;
use serde_json::json;
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY};

const KEYLESS: &str = "management.insecure_allow_loopback_without_key";

fn call(gateway: &Gateway, host: &str, lines: &str) -> Answer {
    let request =
        format!("GET /api/v1/whoami HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n");
    Client::connect(gateway.management()).call(request.as_bytes())
}

// ID-100
#[test]
fn programs_of_this_machine_need_no_key_where_settings_say_so() {
    let config = "management: { allowed_hosts: [\"127.0.0.1\", \"localhost\", \"gw.example\"] }\n";
    let gateway = gateway(config)
        .set(KEYLESS, "true")
        .set("management.on_data_port", "loopback")
        .start();
    let host = gateway.management().to_string();
    let who = call(&gateway, &host, "");
    assert_eq!(who.status, 200, "{}", who.text());
    let who = who.json();
    assert_eq!(
        (&who["id"], &who["role"], &who["via"]),
        (&json!("loopback"), &json!("owner"), &json!("loopback"))
    );
    for lines in ["sec-fetch-site: none\r\n", "user-agent: curl/8.5.0\r\n"] {
        assert_eq!(call(&gateway, &host, lines).status, 200, "{lines}");
    }
    for (name, host, lines) in [
        ("a page", &*host, "origin: http://127.0.0.1:8318\r\n"),
        ("a page that hides itself", &host, "origin: null\r\n"),
        (
            "a link of a page",
            &host,
            "referer: http://evil.example/\r\n",
        ),
        ("a page elsewhere", &host, "sec-fetch-site: cross-site\r\n"),
        (
            "a page of this host",
            &host,
            "sec-fetch-site: same-origin\r\n",
        ),
        (
            "a page, twice",
            &host,
            "sec-fetch-site: none\r\nsec-fetch-site: cross-site\r\n",
        ),
        ("through a proxy", &host, "x-forwarded-for: 127.0.0.1\r\n"),
        ("through another", &host, "via: 1.1 proxy\r\n"),
        ("by another name", "gw.example", ""),
        ("a wrong key", &host, "authorization: Bearer mgt-wrong\r\n"),
        ("an empty key", &host, "x-management-key: \r\n"),
        ("no bearer", &host, "authorization: Basic eDp5\r\n"),
    ] {
        let refused = call(&gateway, host, lines);
        assert_eq!(refused.status, 401, "{name}: {}", refused.text());
    }
    let by_key = ask(&gateway, MANAGEMENT_KEY, "GET /api/v1/whoami", None);
    assert_eq!(
        by_key.json()["via"],
        "env",
        "whoever brings a key is known by it"
    );
    // As the page of cliproxyapi++ prints it, key and all left out.
    let body = "{\"ip\": \"192.168.1.100\", \"reason\": \"Suspicious activity\"}";
    let page = format!(
        "POST /v0/management/security/ip-denylist HTTP/1.1\r\nHost: localhost:8317\r\n\
         User-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let made = gateway.call(page.as_bytes());
    assert_eq!(made.status, 201, "{}", made.text());
    let event = gateway.audit_line("the entry", |event| event["action"] == "ip_list.add");
    assert_eq!(
        (&event["actor"], &event["client_ip"]),
        (&json!("local"), &json!("127.0.0.1"))
    );
}

// ID-100
#[test]
fn without_that_setting_the_answer_says_which_header_is_missing() {
    let gateway = gateway("").start();
    let host = gateway.management().to_string();
    let refused = call(&gateway, &host, "");
    assert_eq!(refused.status, 401);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("Authorization: Bearer") && detail.contains("X-Management-Key"));
}

// ID-100
#[test]
fn production_wants_keys_from_everybody() {
    let refused = gateway("")
        .set(KEYLESS, "true")
        .set("environment", "production")
        .try_start();
    let told = refused.err().unwrap().stderr;
    assert!(
        told.contains(&format!("{KEYLESS}: is refused in production")),
        "{told}"
    );
}
