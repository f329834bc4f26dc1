//! People who operate, and how they sign in by a password.

use crate::callers::models;
use crate::operators::{ask, code, key, made, tenant};
use crate::sessions::Browser;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tollkeep_testkit::{Builder, Gateway, Origin};

pub(crate) const PASSWORD: &str = "k3-Zu7!mQw2x";

/// Addresses are not locked out while accounts are looked at.
pub(crate) fn patient() -> Builder {
    models(&Origin::plain()).set("management.lockout.failures", "1000")
}

pub(crate) fn jane(gateway: &Gateway, role: &str) -> String {
    let body = json!({ "name": "Jane", "role": role, "password": PASSWORD });
    made(gateway, "/api/v1/operators", &body)
}

pub(crate) fn by_password(name: &str, password: &str) -> Value {
    json!({ "operator": name, "password": password })
}

// ID-123
#[test]
fn an_operator_signs_in_by_name_and_password_and_does_what_the_role_allows() {
    let gateway = models(&Origin::plain()).start();
    let id = jane(&gateway, "operator");
    let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let who = browser.ask("GET /api/v1/whoami", None).json();
    assert_eq!(
        (&who["id"], &who["name"], &who["role"], &who["via"]),
        (
            &json!(id),
            &json!("Jane"),
            &json!("operator"),
            &json!("session")
        )
    );
    assert_eq!(
        browser.ask("POST /api/v1/tokens", Some(&json!({}))).status,
        201
    );
    let answer = browser.ask("POST /api/v1/projects", Some(&json!({ "name": "p" })));
    assert_eq!(
        (answer.status, code(&answer)),
        (403, "forbidden".to_owned())
    );
    let event = gateway.audit_line("the token", |event| event["action"] == "token.create");
    assert_eq!(event["actor_id"], json!(id), "{event}");
    let own = format!("GET /api/v1/operators/{id}/sessions");
    let sessions = browser.ask(&own, None).json();
    assert_eq!(sessions["data"][0]["is_current"], true, "{sessions}");
    let (_, shown) = gateway.api("GET", &format!("/api/v1/operators/{id}"), None);
    assert_eq!(
        (&shown["status"], &shown["mfa"]),
        (&json!("active"), &json!("off"))
    );
    assert!(shown["last_login_at"].is_string() && !shown.to_string().contains("argon2"));
}

// ID-123
#[test]
fn names_are_taken_once_and_passwords_must_be_good() {
    let gateway = models(&Origin::plain()).start();
    jane(&gateway, "viewer");
    let create = |body: Value| gateway.api("POST", "/api/v1/operators", Some(&body)).0;
    for (name, body, want) in [
        (
            "the same name",
            json!({ "name": "JANE ", "role": "viewer" }),
            409,
        ),
        (
            "no password yet",
            json!({ "name": "joe", "role": "viewer" }),
            201,
        ),
        (
            "short",
            json!({ "name": "a", "role": "viewer", "password": "k3-Zu7!mQw2" }),
            422,
        ),
        (
            "common",
            json!({ "name": "b", "role": "viewer", "password": "password2026!" }),
            422,
        ),
        (
            "named",
            json!({ "name": "rose", "role": "viewer", "password": "xY7-rose-9!kk" }),
            422,
        ),
        ("no name", json!({ "name": " ", "role": "viewer" }), 422),
        (
            "no address",
            json!({ "name": "c", "role": "viewer", "email": "c" }),
            422,
        ),
        (
            "no tenant",
            json!({ "name": "d", "role": "tenant-admin" }),
            422,
        ),
    ] {
        assert_eq!(create(body), want, "{name}");
    }
    let mut browser = Browser::new(&gateway);
    assert_eq!(
        browser.login(&by_password("joe", "")).status,
        401,
        "no password, no login"
    );
}

// ID-123 ID-56
#[test]
fn whatever_is_wrong_is_told_alike_and_takes_as_long() {
    let gateway = patient().start();
    let id = jane(&gateway, "viewer");
    let disabled = made(
        &gateway,
        "/api/v1/operators",
        &json!({ "name": "joe", "role": "viewer", "password": PASSWORD }),
    );
    let path = format!("/api/v1/operators/{disabled}/disable");
    assert_eq!(gateway.api("POST", &path, Some(&json!({}))).0, 200);
    let mut browser = Browser::new(&gateway);
    let mut told = |name: &str, password: &str| {
        let since = Instant::now();
        let answer = browser.login(&by_password(name, password));
        assert!(since.elapsed() >= Duration::from_millis(300), "{name}");
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("request_id");
        (answer.status, problem)
    };
    let unknown = told("nobody", PASSWORD);
    assert_eq!(unknown.0, 401);
    assert_eq!(told("joe", PASSWORD), unknown, "disabled");
    for failure in 0..10 {
        assert_eq!(told("jane", "wrong-password-1"), unknown, "{failure}");
    }
    let (_, shown) = gateway.api("GET", &format!("/api/v1/operators/{id}"), None);
    assert_eq!(shown["status"], "locked", "{shown}");
    assert_eq!(
        told("jane", PASSWORD),
        unknown,
        "locked, with the right password"
    );
    let reasons: Vec<_> = gateway
        .audit_lines()
        .into_iter()
        .filter(|event| event["action"] == "admin.login")
        .map(|event| event["reason"].as_str().unwrap_or_default().to_owned())
        .collect();
    for reason in ["unknown_operator", "wrong_password", "locked"] {
        assert!(
            reasons.iter().any(|told| told == reason),
            "{reason} in {reasons:?}"
        );
    }
    // Whoever may make them sets another password, and they are let in again.
    let password = json!({ "password": "another-good-1!" });
    let path = format!("/api/v1/operators/{id}/password");
    assert_eq!(gateway.api("POST", &path, Some(&password)).0, 200);
    let mut browser = Browser::new(&gateway);
    assert_eq!(
        browser
            .login(&by_password("jane", "another-good-1!"))
            .status,
        201
    );
}

// ID-123 ID-56
#[test]
fn none_of_many_guesses_at_once_goes_uncounted() {
    let gateway = patient().start();
    let id = jane(&gateway, "viewer");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| Browser::new(&gateway).login(&by_password("jane", "wrong-password-1")));
        }
    });
    let (_, shown) = gateway.api("GET", &format!("/api/v1/operators/{id}"), None);
    assert_eq!(shown["status"], "locked", "{shown}");
    let wrong = gateway.audit_lines();
    let wrong = wrong
        .iter()
        .filter(|event| event["reason"] == "wrong_password");
    assert_eq!(wrong.count(), 10, "the others were not looked at");
}

// ID-120 ID-123
#[test]
fn sessions_end_with_the_password_the_role_and_the_operator() {
    let gateway = models(&Origin::plain()).start();
    let id = jane(&gateway, "admin");
    let path = |below: &str| format!("/api/v1/operators/{id}{below}");
    for (name, method, below, body) in [
        ("role", "PATCH", "", json!({ "role": "admin" })),
        ("another role", "PATCH", "", json!({ "role": "viewer" })),
        (
            "password",
            "POST",
            "/password",
            json!({ "password": PASSWORD }),
        ),
        ("sessions", "DELETE", "/sessions", Value::Null),
        ("disabled", "POST", "/disable", json!({})),
    ] {
        let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
        let body = Some(&body).filter(|body| !body.is_null());
        let (status, answer) = gateway.api(method, &path(below), body);
        assert!(matches!(status, 200 | 204), "{name}: {answer}");
        let want = if name == "role" { 200 } else { 401 };
        assert_eq!(browser.status("GET /api/v1/status"), want, "{name}");
    }
    assert_eq!(
        gateway.api("POST", &path("/enable"), Some(&json!({}))).0,
        200
    );
    let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    assert_eq!(gateway.api("DELETE", &path(""), None).0, 204);
    assert_eq!(browser.status("GET /api/v1/status"), 401);
    assert_eq!(
        Browser::new(&gateway)
            .login(&by_password("jane", PASSWORD))
            .status,
        401
    );
}

// ID-123
#[test]
fn one_changes_the_own_password_by_the_one_before() {
    let gateway = models(&Origin::plain()).start();
    let id = jane(&gateway, "viewer");
    let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let other = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let start = format!("POST /api/v1/operators/{id}/password");
    let set = |body: Value| browser.ask(&start, Some(&body)).status;
    let new = "another-good-1!";
    assert_eq!(
        set(json!({ "password": new })),
        422,
        "the one before is missing"
    );
    assert_eq!(
        set(json!({ "password": new, "current": "wrong-password-1" })),
        403
    );
    assert_eq!(set(json!({ "password": new, "current": PASSWORD })), 200);
    assert_eq!(
        browser.status("GET /api/v1/status"),
        200,
        "this session stays"
    );
    assert_eq!(other.status("GET /api/v1/status"), 401, "others end");
    assert_eq!(
        Browser::new(&gateway)
            .login(&by_password("jane", new))
            .status,
        201
    );
}

// ID-53 ID-123
#[test]
fn nobody_makes_an_operator_above_their_own() {
    let gateway = models(&Origin::plain()).start();
    let a = tenant(&gateway, "a");
    let (_, admin) = key(&gateway, &json!({ "name": "k", "role": "admin" }));
    let (_, narrow) = key(
        &gateway,
        &json!({ "name": "k", "role": "admin", "scopes": ["operator:*"] }),
    );
    let (_, near) = key(
        &gateway,
        &json!({ "name": "k", "role": "admin", "allowed_ips": ["127.0.0.1"] }),
    );
    let bound = json!({ "name": "k", "role": "tenant-admin", "tenant_id": a });
    let (_, bound) = key(&gateway, &bound);
    for (name, by, role, want) in [
        ("owner", &admin, "owner", 403),
        ("admin", &admin, "admin", 403),
        ("operator", &admin, "operator", 201),
        ("narrowed", &narrow, "viewer", 403),
        ("from one address", &near, "viewer", 403),
        ("own tenant", &bound, "viewer", 201),
        ("own tenant's admin", &bound, "tenant-admin", 201),
        ("above a tenant", &bound, "operator", 403),
    ] {
        let body = json!({ "name": name, "role": role });
        let made = ask(&gateway, by, "POST /api/v1/operators", Some(&body));
        assert_eq!(made.status, want, "{name}: {}", made.text());
        if want == 201 && by == &bound {
            assert_eq!(made.json()["tenant_id"], json!(a), "{name}");
        }
    }
    let owner = made(
        &gateway,
        "/api/v1/operators",
        &json!({ "name": "o", "role": "owner" }),
    );
    for (method, below, body) in [
        ("PATCH", "", json!({ "name": "x" })),
        ("POST", "/password", json!({ "password": PASSWORD })),
        ("POST", "/disable", json!({})),
        ("DELETE", "", Value::Null),
        ("GET", "/sessions", Value::Null),
    ] {
        let body = Some(&body).filter(|body| !body.is_null());
        let start = format!("{method} /api/v1/operators/{owner}{below}");
        assert_eq!(ask(&gateway, &admin, &start, body).status, 403, "{start}");
    }
}

// ID-122 ID-123
#[test]
fn an_operator_proves_by_the_password() {
    let gateway = patient().set("management.session.proof", "1s").start();
    jane(&gateway, "operator");
    let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let make = || browser.ask("POST /api/v1/tokens", Some(&json!({})));
    let refused = tollkeep_testkit::eventually("an old proof", || {
        let answer = make();
        (answer.status == 403).then_some(answer)
    });
    assert!(refused.text().contains("password"), "{}", refused.text());
    let prove = |body: Value| {
        browser
            .ask("POST /api/v1/session/proof", Some(&body))
            .status
    };
    assert_eq!(prove(json!({ "password": "wrong-password-1" })), 401);
    assert_eq!(
        prove(json!({ "key": tollkeep_testkit::MANAGEMENT_KEY })),
        401
    );
    assert_eq!(prove(json!({ "password": PASSWORD })), 200);
    assert_eq!(make().status, 201);
}

fn code_of(secret: &str) -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    tollkeep_testkit::one_time_code(secret, seconds)
}

// ID-123
#[test]
fn with_codes_switched_on_a_password_alone_is_not_enough() {
    let gateway = patient().start();
    let id = jane(&gateway, "viewer");
    let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let path = |below: &str| format!("POST /api/v1/operators/{id}/totp{below}");
    let begun = browser.ask(&path(""), Some(&json!({}))).json();
    let secret = begun["secret"].as_str().unwrap().to_owned();
    assert!(
        begun["link"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://totp/Tollkeep:Jane?secret=")
    );
    let wrong = browser.ask(&path("/confirm"), Some(&json!({ "code": "000000" })));
    assert_eq!((wrong.status, code(&wrong)), (403, "wrong_code".to_owned()));
    let used = code_of(&secret);
    let on = browser.ask(&path("/confirm"), Some(&json!({ "code": used })));
    assert_eq!(on.status, 200, "{}", on.text());
    let codes = on.json()["recovery_codes"].as_array().unwrap().clone();
    assert_eq!(codes.len(), 10);
    let login = |code: Option<&str>| {
        let mut body = by_password("jane", PASSWORD);
        body["code"] = json!(code);
        let answer = Browser::new(&gateway).login(&body);
        (
            answer.status,
            answer.json()["code"].as_str().map(str::to_owned),
        )
    };
    assert_eq!(login(None), (401, Some("code_required".to_owned())));
    assert_eq!(login(Some(&used)).0, 401, "a code is used once");
    let recovery = codes[3].as_str().unwrap();
    assert_eq!(login(Some(recovery)).0, 201);
    assert_eq!(login(Some(recovery)).0, 401, "so is a recovery code");
    assert_eq!(
        login(Some(
            &codes[4].as_str().unwrap().to_uppercase().replace('-', "")
        ))
        .0,
        201
    );
    let (_, shown) = gateway.api("GET", &format!("/api/v1/operators/{id}"), None);
    assert_eq!(
        (&shown["mfa"], &shown["recovery_codes"]),
        (&json!("totp"), &json!(8))
    );
    // The password alone is no failure, and no way to have guesses of codes forgotten.
    for _ in 0..10 {
        login(None);
        login(Some("zzzz-zzzz-zzzz-zzzz"));
    }
    let (_, shown) = gateway.api("GET", &format!("/api/v1/operators/{id}"), None);
    assert_eq!(shown["status"], "locked", "{shown}");
    // Neither the secret nor a code is in the file as it is.
    let bytes = std::fs::read(gateway.data_dir().join("tollkeep.db")).unwrap();
    for text in [&*secret, recovery] {
        assert!(
            !bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        );
    }
    // Whoever may make them switches codes off for one who lost the device.
    let off = format!("/api/v1/operators/{id}/totp");
    assert_eq!(gateway.api("DELETE", &off, None).0, 200);
    let set = json!({ "password": PASSWORD });
    let path = format!("/api/v1/operators/{id}/password");
    assert_eq!(gateway.api("POST", &path, Some(&set)).0, 200);
    assert_eq!(login(None).0, 201);
}

// ID-110 ID-123
#[test]
fn the_command_line_makes_operators_and_signs_in_as_one() {
    let gateway = models(&Origin::plain()).start();
    std::fs::write(gateway.folder().join("password"), format!("{PASSWORD}\n")).unwrap();
    let run = |command: &str| gateway.cli(&command.split(' ').collect::<Vec<_>>());
    let json = |command: &str| {
        let done = run(command);
        assert!(
            done.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        serde_json::from_slice::<Value>(&done.stdout).unwrap_or_default()
    };
    let made = json("operator create jane --role viewer --password-file password");
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(json("operators list")["data"][0]["id"], json!(id));
    let updated = json(&format!(
        "operator update {id} --email jane@team.example --role operator"
    ));
    assert_eq!(
        (&updated["email"], &updated["role"]),
        (&json!("jane@team.example"), &json!("operator"))
    );
    let url = format!("http://{}", gateway.management());
    let file = format!("--url {url} --session-file session");
    json(&format!(
        "console-session begin --operator jane --password-file password {file}"
    ));
    assert_eq!(json(&format!("whoami {file}"))["id"], json!(id));
    assert_eq!(
        json(&format!("operator sessions {id}"))["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    json(&format!("operator sessions {id} --end"));
    assert_eq!(run(&format!("whoami {file}")).status.code(), Some(5));
    json(&format!("operator password {id} --password-file password"));
    assert_eq!(
        json(&format!("operator disable {id} --yes"))["status"],
        "disabled"
    );
    assert_eq!(json(&format!("operator enable {id}"))["status"], "active");
    assert_eq!(
        run(&format!("operator delete {id}")).status.code(),
        Some(2),
        "it asks"
    );
    json(&format!("operator delete {id} --yes"));
    assert_eq!(run(&format!("operator get {id}")).status.code(), Some(4));
}
