//! Signing in at an identity provider from the command line.

use crate::fixture::TOLLKEEP;
use crate::oidc::{begin, behind, end, signed};
use crate::operators::code;
use crate::sessions::send;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tollkeep_testkit::{Answer, Client, Gateway, IdentityProvider, eventually};

/// What `abc` comes to.
const CHALLENGE: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const PORT: u16 = 40_123;

/// The command, and the link that it asks to be opened.
fn command(gateway: &Gateway, file: &str) -> (Child, String) {
    let mut child = Command::new(TOLLKEEP)
        .args([
            "console-session",
            "begin",
            "--browser",
            "--session-file",
            file,
            "--url",
        ])
        .arg(format!("http://{}", gateway.management()))
        .env_clear()
        .current_dir(gateway.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut links = lines.map_while(Result::ok);
    let link = links
        .find(|line| line.contains("/api/v1/session/oidc?"))
        .unwrap();
    (child, link.trim().to_owned())
}

/// A browser goes from there to the provider and back, and is sent on.
fn browse(gateway: &Gateway, provider: &IdentityProvider, query: &str) -> String {
    let sent = begin(gateway, query);
    let back = provider.sign_in(&sent.link, |issuer, claims| signed(issuer, &claims));
    let answer = end(gateway, &sent.cookie, &back);
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(
        answer
            .values("set-cookie")
            .iter()
            .all(|line| !line.contains("csn-"))
    );
    answer.field("location").unwrap().to_owned()
}

// ID-124 ID-120
#[test]
fn a_command_is_signed_in_by_the_browser_that_it_waits_for() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    let (mut child, link) = command(&gateway, "session.json");
    let own = format!("http://{}/api/v1/session/oidc", gateway.management());
    let query = link.strip_prefix(&own).unwrap();
    let place = browse(&gateway, &provider, query);
    let port = query
        .strip_prefix("?port=")
        .unwrap()
        .split_once('&')
        .unwrap()
        .0;
    let behind = place
        .strip_prefix(&format!("http://127.0.0.1:{port}"))
        .unwrap();
    let to: std::net::SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let get = |target: &str| -> Answer {
        let request = format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
        Client::connect(to).call(request.as_bytes())
    };
    assert_eq!(get("/favicon.ico").status, 404, "it goes on waiting");
    let told = get(behind);
    assert_eq!(told.status, 200, "{}", told.text());
    let ended = eventually("the command's end", || child.try_wait().unwrap());
    assert!(ended.success());
    let url = format!("http://{}", gateway.management());
    let who = [
        "whoami",
        "--session-file",
        "session.json",
        "--url",
        &url,
        "--json",
    ];
    let who = gateway.cli(&who);
    let who: Value = serde_json::from_slice(&who.stdout).unwrap();
    assert_eq!(
        (&who["name"], &who["role"], &who["via"]),
        (&json!("Jane Roe"), &json!("operator"), &json!("session"))
    );
    let kept = std::fs::read_to_string(gateway.folder().join("session.json")).unwrap();
    assert!(kept.contains("csn-"), "the session");
    let told = format!("{}{:?}", gateway.stderr(), gateway.audit_lines());
    let login = behind.strip_prefix("/?login=").unwrap();
    assert!(!told.contains(login), "what is handed over is in no record");
}

fn take(gateway: &Gateway, body: &Value) -> Answer {
    send(gateway, "POST /api/v1/session", "", Some(body))
}

// ID-124
#[test]
fn what_is_handed_over_is_good_once_and_for_whoever_began_it() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    let query = format!("?port={PORT}&challenge={CHALLENGE}");
    let login = || {
        let place = browse(&gateway, &provider, &query);
        let login = place.strip_prefix(&format!("http://127.0.0.1:{PORT}/?login="));
        login.unwrap().to_owned()
    };
    let (one, other) = (login(), login());
    let forged = one.replacen(one.get(..6).unwrap(), "999999", 1);
    for (name, body, want) in [
        (
            "another verifier",
            json!({ "login": one, "verifier": "abd" }),
            401,
        ),
        ("forged", json!({ "login": forged, "verifier": "abc" }), 401),
        ("no login", json!({ "login": "x", "verifier": "abc" }), 401),
        ("no verifier", json!({ "login": one }), 422),
        (
            "two ways",
            json!({ "login": one, "verifier": "abc", "key": "mgt-x" }),
            422,
        ),
        (
            "as it should be",
            json!({ "login": one, "verifier": "abc" }),
            201,
        ),
        ("again", json!({ "login": one, "verifier": "abc" }), 401),
    ] {
        let answer = take(&gateway, &body);
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
    }
    let reasons = ["login_verifier", "login_state", "login_replayed"];
    for reason in reasons {
        gateway.audit_line(reason, |event| {
            event["action"] == "admin.login" && event["reason"] == reason
        });
    }
    // Somebody who is let go meanwhile does not come in.
    let (_, people) = gateway.api("GET", "/api/v1/operators", None);
    let id = people["data"][0]["id"].as_str().unwrap().to_owned();
    let disable = format!("/api/v1/operators/{id}/disable");
    assert_eq!(gateway.api("POST", &disable, Some(&json!({}))).0, 200);
    let late = take(&gateway, &json!({ "login": other, "verifier": "abc" }));
    assert_eq!((late.status, code(&late)), (401, "unauthorized".to_owned()));
}

// ID-124
#[test]
fn a_browser_is_sent_to_this_machine_and_nowhere_else() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    for query in [
        format!("?port={PORT}"),
        format!("?challenge={CHALLENGE}"),
        format!("?port=80&challenge={CHALLENGE}"),
        format!("?port=65536&challenge={CHALLENGE}"),
        format!("?port=1@x&challenge={CHALLENGE}"),
        format!("?port={PORT}&challenge=abc"),
    ] {
        let start = format!("GET /api/v1/session/oidc{query}");
        let answer = send(&gateway, &start, "", None);
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
}
