//! Console sessions: signing in by a key, and what a cookie is good for.

use crate::callers::models;
use crate::fixture::gateway;
use crate::operators::{ask, code, key};
use crate::tls_fixture::{Certificates, Kind};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin, eventually};

/// A browser that is signed in, or not.
pub(crate) struct Browser<'a> {
    pub(crate) gateway: &'a Gateway,
    /// The cookie, as `name=value`.
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(gateway: &'a Gateway) -> Self {
        let (cookie, csrf) = (String::new(), String::new());
        Self {
            gateway,
            cookie,
            csrf,
        }
    }

    /// Signs in by these members.
    pub(crate) fn sign_in(gateway: &'a Gateway, body: &Value) -> Self {
        let mut browser = Self::new(gateway);
        let answer = browser.login(body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        browser
    }

    pub(crate) fn login(&mut self, body: &Value) -> Answer {
        let lines = format!("cookie: {}\r\n", self.cookie);
        let answer = send(self.gateway, "POST /api/v1/session", &lines, Some(body));
        if answer.status == 201 {
            self.cookie = cookie(&answer).unwrap();
            self.csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
        }
        answer
    }

    /// As a page of the gateway's own sends it.
    pub(crate) fn ask(&self, start: &str, body: Option<&Value>) -> Answer {
        let lines = format!(
            "cookie: {}\r\norigin: http://{}\r\nsec-fetch-site: same-origin\r\n\
             x-tollkeep-csrf: {}\r\n",
            self.cookie,
            self.gateway.management(),
            self.csrf
        );
        send(self.gateway, start, &lines, body)
    }

    pub(crate) fn status(&self, start: &str) -> u16 {
        self.ask(start, None).status
    }
}

/// One request to the management listener with these lines.
pub(crate) fn send(gateway: &Gateway, start: &str, lines: &str, body: Option<&Value>) -> Answer {
    let mut client = Client::connect(gateway.management());
    client.call(&request(
        &gateway.management().to_string(),
        start,
        lines,
        body,
    ))
}

fn request(host: &str, start: &str, lines: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() {
        ""
    } else {
        "content-type: application/json\r\n"
    };
    let length = body.len();
    format!(
        "{start} HTTP/1.1\r\nhost: {host}\r\n{lines}{kind}content-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The session's cookie that an answer sets.
pub(crate) fn cookie(answer: &Answer) -> Option<String> {
    let lines = answer.values("set-cookie").into_iter();
    let mut pairs = lines.filter_map(|line| Some(line.split_once(';')?.0.to_owned()));
    pairs.find(|pair| pair.contains("tollkeep_session=csn-"))
}

fn by_key() -> Value {
    json!({ "key": MANAGEMENT_KEY })
}

// ID-120 ID-10
#[test]
fn a_key_signs_in_and_the_cookie_is_not_the_key() {
    let gateway = models(&Origin::plain()).start();
    let mut browser = Browser::new(&gateway);
    let answer = browser.login(&by_key());
    assert_eq!(answer.status, 201, "{}", answer.text());
    let session = answer.json();
    assert_eq!(
        (&session["kind"], &session["role"]),
        (&json!("env"), &json!("owner"))
    );
    let [line] = &answer.values("set-cookie")[..] else {
        panic!("one cookie");
    };
    let (pair, attributes) = line.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
    let text = pair.strip_prefix("tollkeep_session=").unwrap();
    assert_eq!((text.len(), text.starts_with("csn-")), (53, true), "{text}");
    assert!(!answer.text().contains(text) && !answer.text().contains(MANAGEMENT_KEY));
    let shown = browser.ask("GET /api/v1/session", None).json();
    assert_eq!(
        (&shown["id"], &shown["csrf"]),
        (&session["id"], &session["csrf"])
    );
    let who = browser.ask("GET /api/v1/whoami", None).json();
    assert_eq!(
        (&who["via"], &who["id"]),
        (&json!("session"), &json!("env"))
    );
    let made = browser.ask("POST /api/v1/projects", Some(&json!({ "name": "p" })));
    assert_eq!(made.status, 201, "{}", made.text());
    let event = gateway.audit_line("the login", |event| event["action"] == "admin.login");
    assert_eq!(
        (&event["result"], &event["details"]["name"]),
        (&json!("success"), &session["id"]),
        "{event}"
    );
    // Nothing that was written has the text in it.
    for name in ["tollkeep.db", "tollkeep.db-wal", "audit.log"] {
        let bytes = std::fs::read(gateway.data_dir().join(name)).unwrap_or_default();
        let has = bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes());
        assert!(!has, "{name}");
    }
    assert!(!gateway.stderr().contains(text));
    assert_eq!(browser.status("DELETE /api/v1/session"), 204);
    assert_eq!(browser.status("GET /api/v1/session"), 401);
    let event = gateway.audit_line("the logout", |event| event["action"] == "admin.logout");
    assert_eq!(event["details"]["name"], session["id"], "{event}");
    // Keys and the local socket have none.
    assert_eq!(gateway.api("GET", "/api/v1/session", None).0, 404);
}

// ID-120 ID-121
#[test]
fn a_login_takes_another_cookie_and_ends_the_session_before() {
    let gateway = models(&Origin::plain()).start();
    let mut browser = Browser::new(&gateway);
    // One that somebody planted.
    let planted = format!("tollkeep_session=csn-{}", "a".repeat(49));
    browser.cookie.clone_from(&planted);
    assert_eq!(browser.login(&by_key()).status, 201);
    assert_ne!(browser.cookie, planted);
    let first = browser.cookie.clone();
    assert_eq!(browser.login(&by_key()).status, 201);
    assert_ne!(browser.cookie, first);
    assert_eq!(browser.status("GET /api/v1/session"), 200);
    for (name, cookie) in [
        ("planted", planted),
        ("before", first.clone()),
        ("twice", format!("{0}; {0}", browser.cookie)),
        ("another beside it", format!("{}; {first}", browser.cookie)),
        (
            "by the name of TLS",
            browser.cookie.replace("tollkeep", "__Host-tollkeep"),
        ),
    ] {
        let lines = format!("cookie: {cookie}\r\n");
        let answer = send(&gateway, "GET /api/v1/session", &lines, None);
        assert_eq!(answer.status, 401, "{name}");
    }
    let lines = format!("cookie: {0}\r\ncookie: {0}\r\n", browser.cookie);
    assert_eq!(
        send(&gateway, "GET /api/v1/session", &lines, None).status,
        401
    );
}

// ID-121
#[test]
#[rustfmt::skip]
fn changes_by_a_cookie_come_from_our_own_page_and_know_its_value() {
    let gateway = models(&Origin::plain()).start();
    let browser = Browser::sign_in(&gateway, &by_key());
    let other = Browser::sign_in(&gateway, &by_key());
    let own = format!("origin: http://{}\r\n", gateway.management());
    let csrf = |value: &str| format!("x-tollkeep-csrf: {value}\r\n");
    let good = csrf(&browser.csrf);
    for (name, lines, want) in [
        ("both", format!("{own}{good}"), 201),
        ("site instead of origin", format!("sec-fetch-site: same-origin\r\n{good}"), 201),
        ("nothing", String::new(), 403),
        ("no value", own.clone(), 403),
        ("no origin", good.clone(), 403),
        ("empty value", format!("{own}{}", csrf("")), 403),
        ("another session's value", format!("{own}{}", csrf(&other.csrf)), 403),
        ("value twice", format!("{own}{good}{good}"), 403),
        ("another port", format!("origin: http://127.0.0.1:1\r\n{good}"), 403),
        ("another scheme", format!("origin: https://{}\r\n{good}", gateway.management()), 403),
        ("null", format!("origin: null\r\n{good}"), 403),
        ("another site", format!("{own}sec-fetch-site: cross-site\r\n{good}"), 403),
        ("another port of this host", format!("{own}sec-fetch-site: same-site\r\n{good}"), 403),
        // A key is meant; what comes along by itself is not looked at.
        ("with a key", format!("authorization: Bearer {MANAGEMENT_KEY}\r\n"), 201),
        ("with a wrong key", format!("authorization: Bearer mgt-x\r\n{own}{good}"), 401),
    ] {
        let lines = format!("cookie: {}\r\n{lines}", browser.cookie);
        let body = json!({ "name": name });
        let answer = send(&gateway, "POST /api/v1/projects", &lines, Some(&body));
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
        if want == 403 {
            assert_eq!(code(&answer), "csrf", "{name}");
        }
    }
    let (_, projects) = gateway.api("GET", "/api/v1/projects", None);
    assert_eq!(projects["data"].as_array().unwrap().len(), 4, "what was refused is not there");
    // Another site's page can't even sign somebody in.
    let lines = "origin: https://evil.example\r\n";
    let answer = send(&gateway, "POST /api/v1/session", lines, Some(&by_key()));
    assert_eq!((answer.status, code(&answer)), (403, "csrf".to_owned()));
    let event = gateway.audit_line("the refusal", |event| {
        event["action"] == "management.auth" && event["reason"] == "csrf"
    });
    assert_eq!(event["result"], "failure", "{event}");
}

// ID-120
#[test]
fn a_session_ends_with_what_its_key_may_do() {
    let gateway = models(&Origin::plain()).start();
    let change = |id: &str, verb: &str, body: &Value| {
        let (method, path) = match verb {
            "" => ("PATCH", format!("/api/v1/keys/{id}")),
            verb => ("POST", format!("/api/v1/keys/{id}/{verb}")),
        };
        let (status, answer) = gateway.api(method, &path, Some(body));
        assert_eq!(status, 200, "{answer}");
    };
    for (name, verb, body, ends) in [
        ("renamed", "", json!({ "name": "n" }), false),
        ("another role", "", json!({ "role": "operator" }), true),
        ("scopes", "", json!({ "scopes": ["token:*"] }), true),
        (
            "addresses",
            "",
            json!({ "allowed_ips": ["10.0.0.0/8"] }),
            true,
        ),
        (
            "rotated, with an overlap",
            "rotate",
            json!({ "overlap": "1h" }),
            false,
        ),
        (
            "rotated at once",
            "rotate",
            json!({ "overlap": "0s" }),
            true,
        ),
        ("revoked", "revoke", json!({}), true),
    ] {
        let (id, text) = key(&gateway, &json!({ "name": "k", "role": "viewer" }));
        let browser = Browser::sign_in(&gateway, &json!({ "key": text }));
        assert_eq!(browser.status("GET /api/v1/status"), 200, "{name}");
        change(&id, verb, &body);
        let want = if ends { 401 } else { 200 };
        assert_eq!(browser.status("GET /api/v1/status"), want, "{name}");
    }
}

// ID-120
#[test]
fn owners_see_who_is_signed_in_and_end_it() {
    let gateway = models(&Origin::plain()).start();
    let (id, text) = key(&gateway, &json!({ "name": "k", "role": "admin" }));
    let admin = Browser::sign_in(&gateway, &json!({ "key": text }));
    let owner = Browser::sign_in(&gateway, &by_key());
    assert_eq!(admin.status("GET /api/v1/console-sessions"), 403);
    let listed = owner.ask("GET /api/v1/console-sessions", None).json();
    let rows = listed["data"].as_array().unwrap();
    let holders: Vec<_> = rows
        .iter()
        .map(|row| row["holder"].as_str().unwrap())
        .collect();
    assert_eq!(holders, ["env", &id]);
    let current: Vec<_> = rows.iter().map(|row| &row["is_current"]).collect();
    assert_eq!(current, [&json!(true), &json!(false)]);
    assert!(rows[0]["ip"] == "127.0.0.1" && rows[0].get("csrf").is_none());
    let run = |command: &str| gateway.cli(&command.split(' ').collect::<Vec<_>>());
    let session = rows[1]["id"].as_str().unwrap();
    assert!(
        run(&format!("console-session end {session}"))
            .status
            .success()
    );
    assert_eq!(
        run(&format!("console-session end {session}")).status.code(),
        Some(4)
    );
    assert_eq!(admin.status("GET /api/v1/status"), 401);
    assert_eq!(owner.status("GET /api/v1/status"), 200);
    let listed: Value = serde_json::from_slice(&run("console-session list").stdout).unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let event = gateway.audit_line("the end", |event| event["action"] == "session.end");
    assert_eq!(event["details"]["name"], session, "{event}");
}

// ID-120
#[test]
fn a_session_ends_by_disuse_and_by_its_age() {
    let gateway = models(&Origin::plain())
        .set("management.session.idle", "1s")
        .start();
    let browser = Browser::sign_in(&gateway, &by_key());
    // Looking at it from elsewhere does not use it.
    eventually("its end", || {
        let (_, list) = gateway.api("GET", "/api/v1/console-sessions", None);
        list["data"].as_array().unwrap().is_empty().then_some(())
    });
    assert_eq!(browser.status("GET /api/v1/status"), 401);
    let gateway = models(&Origin::plain())
        .set("management.session.absolute", "1s")
        .start();
    let browser = Browser::sign_in(&gateway, &by_key());
    eventually("its end, though it is used", || {
        (browser.status("GET /api/v1/status") == 401).then_some(())
    });
}

// ID-122
#[test]
fn what_shows_a_secret_or_changes_a_role_needs_a_fresh_proof() {
    let gateway = models(&Origin::plain())
        .set("management.session.proof", "1s")
        .start();
    let (id, _) = key(&gateway, &json!({ "name": "k", "role": "viewer" }));
    let (_, other) = key(&gateway, &json!({ "name": "o", "role": "owner" }));
    let browser = Browser::sign_in(&gateway, &by_key());
    let role = format!("PATCH /api/v1/keys/{id}");
    let role_body = json!({ "role": "viewer" });
    let refused = eventually("an old proof", || {
        let answer = browser.ask(&role, Some(&role_body));
        (answer.status == 403).then_some(answer)
    });
    assert_eq!(code(&refused), "proof_required");
    assert!(
        refused.text().contains("POST /api/v1/session/proof"),
        "{}",
        refused.text()
    );
    let made = browser.ask("POST /api/v1/tokens", Some(&json!({})));
    assert_eq!(
        (made.status, code(&made)),
        (403, "proof_required".to_owned())
    );
    // What shows no secret goes on, as do keys.
    assert_eq!(
        browser
            .ask("POST /api/v1/projects", Some(&json!({ "name": "p" })))
            .status,
        201
    );
    assert_eq!(
        gateway
            .api("PATCH", &format!("/api/v1/keys/{id}"), Some(&role_body))
            .0,
        200
    );
    for (name, body, want) in [
        ("nothing", json!({}), 401),
        ("a wrong key", json!({ "key": "mgt-x" }), 401),
        ("somebody else's key", json!({ "key": other }), 401),
        ("the key", by_key(), 200),
    ] {
        let proof = browser.ask("POST /api/v1/session/proof", Some(&body));
        assert_eq!(proof.status, want, "{name}: {}", proof.text());
    }
    let csrf = browser
        .ask("POST /api/v1/session/proof", Some(&by_key()))
        .json();
    assert_eq!(csrf["csrf"], json!(browser.csrf));
    let made = browser.ask("POST /api/v1/tokens", Some(&json!({})));
    assert_eq!(made.status, 201, "{}", made.text());
    gateway.audit_line("the proof", |event| {
        event["action"] == "admin.access" && event["result"] == "success"
    });
}

// ID-120 EDGE-16
#[test]
fn over_tls_the_cookie_is_of_this_host_and_secure() {
    let certificates = Certificates::new();
    let pair = certificates.pair("first", Kind::Ecdsa, &["localhost", "127.0.0.1"]);
    let gateway = gateway(format!(
        "management: {{ tls: {{ enabled: true, {} }} }}\n",
        pair.yaml()
    ))
    .start();

    let call = |start: &str, lines: &str, body: Option<&Value>| {
        let host = format!("localhost:{}", gateway.management().port());
        let caller = certificates.caller();
        let mut client = caller.connect(gateway.management(), "localhost");
        client.call(&request(&host, start, lines, body))
    };
    let answer = call("POST /api/v1/session", "", Some(&by_key()));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let line = answer.field("set-cookie").unwrap();
    let (pair, attributes) = line.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict; Secure");
    assert!(pair.starts_with("__Host-tollkeep_session=csn-"), "{pair}");
    let status = |cookie: &str| {
        call(
            "GET /api/v1/session",
            &format!("cookie: {cookie}\r\n"),
            None,
        )
        .status
    };
    assert_eq!(status(pair), 200);
    // A name that others can plant is not believed.
    assert_eq!(status(&pair.replace("__Host-", "")), 401);
    assert_eq!(
        status(&format!("{pair}; {}", pair.replace("__Host-", ""))),
        200
    );
}

// ID-120
#[test]
fn nobody_signs_in_in_clear_text_from_elsewhere() {
    let config = "server: { trusted_proxies: [\"127.0.0.1/32\"] }\n";
    let gateway = gateway(config.to_owned()).start();
    let login = |lines: &str| {
        let answer = send(&gateway, "POST /api/v1/session", lines, Some(&by_key()));
        (answer.status, cookie(&answer))
    };
    for (name, lines, want) in [
        ("itself", "", 201),
        ("for somebody else", "x-forwarded-for: 192.0.2.7\r\n", 403),
        (
            "for somebody else in clear",
            "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\n",
            403,
        ),
    ] {
        assert_eq!(login(lines).0, want, "{name}");
    }
    // A proxy that we trust has TLS towards them.
    let (status, cookie) = login("x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\n");
    assert_eq!(status, 201);
    assert!(
        cookie.unwrap().starts_with("__Host-"),
        "so the browser may say Secure"
    );
    let refused = send(
        &gateway,
        "POST /api/v1/session",
        "x-forwarded-for: 192.0.2.7\r\n",
        Some(&by_key()),
    );
    assert_eq!(code(&refused), "tls_required");
}

// ID-120
#[test]
fn a_peer_from_elsewhere_does_not_sign_in_in_clear_text() {
    // Nothing is sent: it says by which address one would.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let is_routed = socket.connect("192.0.2.1:9").is_ok();
    let own = socket.local_addr().unwrap().ip();
    if !is_routed || own.is_unspecified() || own.is_loopback() {
        return;
    }
    let gateway = gateway(String::new())
        .set("management.listen", "0.0.0.0:0")
        .set("management.insecure_public_http", "true")
        .set("management.allowed_ips", "0.0.0.0/0")
        .set("management.allowed_hosts", "ops.example")
        .start();
    let port = gateway.management().port();
    let login = |ip: IpAddr| {
        let mut client = Client::connect((ip, port).into());
        client.call(&request(
            "ops.example",
            "POST /api/v1/session",
            "",
            Some(&by_key()),
        ))
    };
    assert_eq!(login(Ipv4Addr::LOCALHOST.into()).status, 201);
    let refused = login(own);
    assert_eq!(
        (refused.status, code(&refused)),
        (403, "tls_required".to_owned())
    );
}

// ID-56 ID-120
#[test]
fn failed_logins_lock_the_address_out() {
    let gateway = models(&Origin::plain()).start();
    let mut browser = Browser::new(&gateway);
    for _ in 0..5 {
        assert_eq!(
            browser.login(&json!({ "key": "mgt-not-a-key" })).status,
            401
        );
    }
    let refused = browser.login(&by_key());
    assert_eq!(
        (refused.status, code(&refused)),
        (429, "locked_out".to_owned())
    );
    assert_eq!(
        ask(&gateway, MANAGEMENT_KEY, "GET /api/v1/status", None).status,
        429
    );
    let event = gateway.audit_line("a failure", |event| event["action"] == "admin.login");
    assert_eq!(
        (&event["result"], &event["reason"]),
        (&json!("failure"), &json!("unknown_key")),
        "{event}"
    );
}

// ID-110 ID-120
#[test]
fn the_command_line_signs_in_and_out() {
    let gateway = models(&Origin::plain()).start();
    let url = format!("http://{}", gateway.management());
    let run = |command: &str| {
        let mut words: Vec<&str> = command.split(' ').collect();
        words.extend(["--url", &url, "--session-file", "session"]);
        gateway.cli(&words)
    };
    assert_eq!(run("project list").status.code(), Some(1), "no such file");
    let signed = run("console-session begin");
    assert!(
        signed.status.success(),
        "{}",
        String::from_utf8_lossy(&signed.stderr)
    );
    let shown: Value = serde_json::from_slice(&signed.stdout).unwrap();
    assert_eq!((&shown["holder"], shown.get("csrf")), (&json!("env"), None));
    let file = gateway.folder().join("session");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(run("project create by-session").status.success());
    let who: Value = serde_json::from_slice(&run("whoami").stdout).unwrap();
    assert_eq!(who["via"], "session");
    assert!(run("console-session get").status.success());
    assert!(run("console-session prove").status.success());
    assert!(run("console-session leave").status.success());
    assert!(!file.exists());
}
