//! Keys that people make for themselves, and what sessions carry beside their cookie.

use crate::operator_logins::{PASSWORD, by_password, jane, patient};
use crate::operators::{ask, code, made};
use crate::sessions::{Browser, send};
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Gateway, MANAGEMENT_KEY};

const PATH: &str = "/api/v1/own-keys";

fn make(browser: &Browser<'_>, body: &Value) -> Answer {
    browser.ask(&format!("POST {PATH}"), Some(body))
}

fn made_key(browser: &Browser<'_>) -> (String, String) {
    let answer = make(browser, &json!({ "name": "laptop" }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

fn works(gateway: &Gateway, key: &str) -> u16 {
    ask(gateway, key, "GET /api/v1/whoami", None).status
}

// ID-52 ID-123
#[test]
fn a_key_of_ones_own_does_what_its_person_may_and_ends_with_them() {
    let gateway = patient().start();
    let id = jane(&gateway, "operator");
    let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let (own, secret) = made_key(&browser);
    let who = ask(&gateway, &secret, "GET /api/v1/whoami", None).json();
    assert_eq!(
        (&who["role"], &who["id"]),
        (&json!("operator"), &json!(own))
    );
    let token = ask(&gateway, &secret, "POST /api/v1/tokens", Some(&json!({})));
    assert_eq!(token.status, 201, "{}", token.text());
    let project = ask(
        &gateway,
        &secret,
        "POST /api/v1/projects",
        Some(&json!({ "name": "p" })),
    );
    assert_eq!(project.status, 403);
    let more = ask(
        &gateway,
        &secret,
        &format!("POST {PATH}"),
        Some(&json!({ "name": "k" })),
    );
    assert_eq!(more.status, 409, "a key makes none: {}", more.text());
    let listed = browser.ask(&format!("GET {PATH}"), None).json();
    assert_eq!(listed["data"][0]["operator_id"], json!(id), "{listed}");
    let place = format!("/api/v1/operators/{id}");
    for (change, back) in [
        (
            ("POST", "/disable", json!({})),
            ("POST", "/enable", json!({})),
        ),
        (
            ("PATCH", "", json!({ "role": "viewer" })),
            ("PATCH", "", json!({ "role": "operator" })),
        ),
    ] {
        let act = |(method, behind, body): &(&str, &str, Value)| {
            let (status, told) = gateway.api(method, &format!("{place}{behind}"), Some(body));
            assert_eq!(status, 200, "{told}");
        };
        act(&change);
        assert_eq!(works(&gateway, &secret), 401, "{change:?}");
        act(&back);
        assert_eq!(works(&gateway, &secret), 200, "{back:?}");
    }
    assert_eq!(gateway.api("DELETE", &place, None).0, 204);
    assert_eq!(works(&gateway, &secret), 401, "its person is gone");
    let (status, _) = gateway.api("GET", &format!("/api/v1/keys/{own}"), None);
    assert_eq!(status, 404, "and so is it");
}

// ID-52
#[test]
fn nobody_takes_over_a_key_of_somebody_else() {
    let gateway = patient().start();
    jane(&gateway, "operator");
    let joe = json!({ "name": "joe", "role": "operator", "password": PASSWORD });
    made(&gateway, "/api/v1/operators", &joe);
    let jane = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let joe = Browser::sign_in(&gateway, &by_password("joe", PASSWORD));
    let (own, secret) = made_key(&jane);
    let theirs = joe.ask(&format!("POST {PATH}/{own}/revoke"), Some(&json!({})));
    assert_eq!(theirs.status, 404, "{}", theirs.text());
    assert_eq!(
        joe.ask(&format!("GET {PATH}"), None).json()["data"],
        json!([])
    );
    let owner = |behind: &str, body: Value| {
        let method = if behind.is_empty() { "PATCH" } else { "POST" };
        gateway
            .api(method, &format!("/api/v1/keys/{own}{behind}"), Some(&body))
            .0
    };
    assert_eq!(
        owner("/rotate", json!({})),
        409,
        "its text would be another's"
    );
    assert_eq!(owner("", json!({ "role": "viewer" })), 409);
    assert_eq!(owner("", json!({ "name": "renamed" })), 200);
    assert_eq!(works(&gateway, &secret), 200);
    let ended = ask(
        &gateway,
        &secret,
        &format!("POST {PATH}/{own}/revoke"),
        Some(&json!({})),
    );
    assert_eq!(ended.status, 200, "it ends itself: {}", ended.text());
    assert_eq!(works(&gateway, &secret), 401);
    let refused = ask(&gateway, MANAGEMENT_KEY, &format!("GET {PATH}"), None);
    assert_eq!(
        (refused.status, code(&refused)),
        (409, "conflict".to_owned())
    );
}

// ID-52
#[test]
fn the_last_owner_is_nobodys_own_key() {
    let gateway = patient().without_env("TOLLKEEP_MANAGEMENT_KEY").start();
    let made = std::fs::read_to_string(gateway.data_dir().join("first-management-key")).unwrap();
    let first = made.trim().to_owned();
    let person = json!({ "name": "Jane", "role": "owner", "password": PASSWORD });
    let answer = ask(&gateway, &first, "POST /api/v1/operators", Some(&person));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let browser = Browser::sign_in(&gateway, &by_password("jane", PASSWORD));
    let (_, secret) = made_key(&browser);
    let keys = ask(&gateway, &secret, "GET /api/v1/keys", None).json();
    let keys = keys["data"].as_array().unwrap();
    let of_start = keys.iter().find(|key| key["name"] == "first").unwrap();
    let place = format!(
        "POST /api/v1/keys/{}/revoke",
        of_start["id"].as_str().unwrap()
    );
    let ended = ask(&gateway, &secret, &place, Some(&json!({})));
    assert_eq!(ended.status, 200, "there is a person: {}", ended.text());
    let place = format!("POST /api/v1/operators/{id}/disable");
    let refused = ask(&gateway, &secret, &place, Some(&json!({})));
    assert_eq!(
        (refused.status, code(&refused)),
        (409, "last_owner".to_owned())
    );
}

// ID-121
#[test]
fn the_value_of_a_session_comes_in_a_field_or_in_the_body() {
    let gateway = patient().start();
    let browser = Browser::sign_in(&gateway, &json!({ "key": MANAGEMENT_KEY }));
    let other = Browser::sign_in(&gateway, &json!({ "key": MANAGEMENT_KEY }));
    let page = format!(
        "cookie: {}\r\norigin: http://{}\r\nsec-fetch-site: same-origin\r\n",
        browser.cookie,
        gateway.management()
    );
    let elsewhere = format!(
        "cookie: {}\r\norigin: http://evil.example\r\n",
        browser.cookie
    );
    let (own, field) = (
        json!(browser.csrf),
        format!("x-tollkeep-csrf: {}\r\n", browser.csrf),
    );
    let wrong = "x-tollkeep-csrf: 0\r\n";
    for (name, lines, member, want) in [
        ("in the body", page.clone(), Some(own.clone()), 201),
        ("in a field", page.clone() + &field, None, 201),
        ("in both", page.clone() + &field, Some(own.clone()), 201),
        ("nowhere", page.clone(), None, 403),
        (
            "of another session",
            page.clone(),
            Some(json!(other.csrf)),
            403,
        ),
        ("empty", page.clone(), Some(json!("")), 403),
        ("no text", page.clone(), Some(json!([browser.csrf])), 403),
        ("wrong in a field", page + wrong, Some(own.clone()), 403),
        ("from elsewhere", elsewhere, Some(own), 403),
    ] {
        let mut body = json!({ "name": name });
        if let Some(member) = member {
            body["_csrf"] = member;
        }
        let answer = send(&gateway, "POST /api/v1/tokens", &lines, Some(&body));
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
        assert!(want == 201 || code(&answer) == "csrf", "{name}");
    }
    let body = json!({ "name": "n", "_csrf": "x" });
    let answer = ask(&gateway, MANAGEMENT_KEY, "POST /api/v1/tokens", Some(&body));
    assert_eq!(answer.status, 422, "a key has no use for it");
}
