//! What holders ask about their own token, and how they replace it.

use crate::callers::{
    act, assert_unauthenticated, bearer, chat, get, made, post_json, record_of, served,
};
use crate::fixture::{head, post};
use crate::replicas::{on, routes, status};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tollkeep_testkit::{Answer, Gateway, Origin, Postgres, eventually};
use tollkeep_types::WallMillis;

const SHOW: &str = "/.well-known/tollkeep/token";
const ROTATE: &str = "/.well-known/tollkeep/token/rotate";

fn show(gateway: &Gateway, token: &str) -> Answer {
    gateway.call(&get(SHOW, &bearer(token)))
}

fn rotate(gateway: &Gateway, token: &str) -> Answer {
    gateway.call(&post(ROTATE, &bearer(token), b""))
}

fn text(answer: &Answer, member: &str) -> String {
    answer.json()[member].as_str().unwrap().to_owned()
}

/// Milliseconds of a time as answers tell it.
fn ms(text: &str) -> u64 {
    text.parse::<WallMillis>().unwrap().0
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

// ID-31
#[test]
fn a_holder_sees_its_token_masked_with_what_is_left_and_nothing_else() {
    let (_origin, gateway, _) = served();
    let members = json!({ "max_requests": 3, "name": "ci", "owner": "alice",
        "limits": { "requests_per_minute": 60 }, "metadata": { "team": "a" },
        "bindings": { "routes": ["/v1/chat"], "methods": ["POST"] } });
    let (id, token) = made(&gateway, &members);
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    let answer = show(&gateway, &token);
    let record = record_of(&gateway, &id);
    let want = json!({ "token": record["token"], "expires_at": record["expires_at"],
        "max_requests": 3, "remaining_requests": 2, "limits": record["limits"] });
    assert_eq!((answer.status, answer.json()), (200, want));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert!(!answer.text().contains(&token));
    let by_key = gateway.call(&get(SHOW, &format!("x-api-key: {token}\r\n")));
    assert_eq!(by_key.status, 200);
    // Counts are on disk twice a second; asking costs nothing.
    eventually("the count", || {
        (record_of(&gateway, &id)["request_count"] == 1).then_some(())
    });
    assert_eq!(show(&gateway, &token).json()["remaining_requests"], 2);
}

// ID-31 ID-60
#[test]
fn whoever_has_no_live_token_is_told_what_everybody_is() {
    let (_origin, gateway, token) = served();
    let ended = |verb: &str| {
        let (id, token) = made(&gateway, &json!({ "self_rotate": true }));
        assert_eq!(act(&gateway, &id, verb, &json!({})).0, 200);
        token
    };
    for (name, lines) in [
        ("none", String::new()),
        (
            "unknown",
            bearer("tok-0123456789012345678901234567890123456789012345678"),
        ),
        ("malformed", bearer("x")),
        ("revoked", bearer(&ended("revoke"))),
        ("suspended", bearer(&ended("suspend"))),
        ("in the query", String::new()),
    ] {
        let query = if name == "in the query" {
            format!("?key={token}")
        } else {
            String::new()
        };
        let shown = gateway.call(&get(&format!("{SHOW}{query}"), &lines));
        assert_unauthenticated(&format!("show, {name}"), &shown);
        let rotated = gateway.call(&post(&format!("{ROTATE}{query}"), &lines, b""));
        assert_unauthenticated(&format!("rotate, {name}"), &rotated);
        assert_eq!(
            shown.field("www-authenticate"),
            Some("Bearer realm=\"tollkeep\"")
        );
    }
    for (method, path, want, allow) in [
        ("PUT", SHOW, 405, Some("GET, HEAD")),
        ("GET", ROTATE, 405, Some("POST")),
        ("GET", "/.well-known/tollkeep/tokens", 404, None),
        ("GET", "/.well-known/tollkeep/", 404, None),
        ("GET", "/.well-known/tollkeep", 404, None),
        ("GET", "/.well-known/other", 404, None),
    ] {
        let answer = gateway.call(&head(&format!("{method} {path}"), &bearer(&token)));
        assert_eq!(
            (answer.status, answer.field("allow")),
            (want, allow),
            "{method} {path}"
        );
    }
}

// ID-31
#[test]
fn a_holder_replaces_its_token_once_and_both_share_their_counters() {
    let (_origin, gateway, _) = served();
    let members = json!({ "max_requests": 4, "self_rotate": true, "ttl": "48h", "name": "ci",
        "bindings": { "routes": ["/v1/chat"] } });
    let (id, old) = made(&gateway, &members);
    let called = |token: &str| gateway.call(&chat(&bearer(token), "hi")).status;
    assert_eq!(called(&old), 200);
    let answer = gateway.call(&post_json(ROTATE, &bearer(&old), &json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let told = answer.json();
    assert_eq!(told.as_object().unwrap().len(), 3, "{told}");
    let new = text(&answer, "token");
    let day = 86_400_000;
    let near = |member: &str, want: u64| {
        let off = ms(told[member].as_str().unwrap()).abs_diff(now_ms() + want);
        assert!(off < 60_000, "{member}: {told}");
    };
    near("expires_at", 2 * day);
    near("old_expires_at", day);
    assert_eq!((called(&old), called(&new)), (200, 200), "both work");
    let again = rotate(&gateway, &old);
    assert_eq!(
        (again.status, again.code()),
        (409, "token_rotated".to_owned())
    );
    let record = record_of(&gateway, &id);
    assert_eq!(record["status"], "rotating");
    let successor = record_of(&gateway, record["replaced_by"].as_str().unwrap());
    for member in ["name", "bindings", "lineage", "self_rotate", "max_requests"] {
        assert_eq!(successor[member], record[member], "{member}");
    }
    assert_eq!((called(&new), called(&old)), (200, 429), "four in all");
    // What is used up is no reason not to be replaced: the count stays.
    let next = rotate(&gateway, &new);
    assert_eq!(called(&text(&next, "token")), 429);
    let event = gateway.audit_line("the rotation", |event| event["action"] == "token.refresh");
    assert_eq!(event["actor"], "client", "{event}");
    assert_eq!(event["details"]["token_ref"], id.as_str(), "{event}");
    assert_nowhere(gateway.folder(), &[&old, &new, &text(&next, "token")]);
}

/// Asserts that no file below holds one of the texts.
fn assert_nowhere(folder: &Path, texts: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_nowhere(&path, texts);
        } else if let Ok(bytes) = std::fs::read(&path) {
            for text in texts {
                let found = bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes());
                assert!(!found, "{} holds a token", path.display());
            }
        }
    }
}

// ID-31
#[test]
fn a_token_is_replaced_by_its_holder_only_where_an_operator_said_so() {
    let (_origin, gateway, token) = served();
    let refused = rotate(&gateway, &token);
    assert_eq!(
        (refused.status, refused.code()),
        (403, "self_rotate_off".to_owned())
    );
    let created = gateway.cli(&["token", "create", "--self-rotate", "--json"]);
    let made: Value = serde_json::from_slice(&created.stdout).unwrap();
    assert_eq!(made["self_rotate"], true, "{made}");
    let own = made["secret"].as_str().unwrap();
    let odd = gateway.call(&post(ROTATE, &bearer(own), b"{\"overlap\":\"0s\"}"));
    assert_eq!(odd.status, 400, "{}", odd.text());
    let large = gateway.call(&post(ROTATE, &bearer(own), &[b' '; 2000]));
    assert_eq!(large.status, 413, "{}", large.text());
    assert_eq!(rotate(&gateway, own).status, 200);
    let bound = json!({ "self_rotate": true, "bindings": { "ips": ["192.0.2.1"] } });
    let (_, elsewhere) = crate::callers::made(&gateway, &bound);
    for answer in [rotate(&gateway, &elsewhere), show(&gateway, &elsewhere)] {
        assert_eq!(
            (answer.status, answer.code()),
            (403, "token_binding".to_owned())
        );
    }
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&json!({ "name": "p" })));
    let project = project["id"].as_str().unwrap();
    let idle = json!({ "self_rotate": true, "project": project });
    let (_, idle) = crate::callers::made(&gateway, &idle);
    let off = json!({ "is_active": false });
    let path = format!("/api/v1/projects/{project}");
    assert_eq!(gateway.api("PATCH", &path, Some(&off)).0, 200);
    assert_eq!(rotate(&gateway, &idle).code(), "project_inactive");
}

// ID-31
#[test]
fn a_line_ends_whoever_goes_on_replacing_its_tokens() {
    let origin = Origin::start(crate::callers::answer);
    let gateway = crate::callers::models(&origin)
        .set("auth.lineage_max_ttl", "4s")
        .start();
    let own = || made(&gateway, &json!({ "self_rotate": true }));
    // Its line is over when that of the other is.
    let ((_, late), (id, first)) = (own(), own());
    let began = ms(record_of(&gateway, &id)["created_at"].as_str().unwrap());
    let second = rotate(&gateway, &first);
    let end = ms(&text(&second, "expires_at"));
    assert!(end <= began + 4_000, "{end} {began}");
    let second = text(&second, "token");
    let third = text(&rotate(&gateway, &second), "token");
    eventually("the end of the line", || {
        (gateway.call(&chat(&bearer(&third), "hi")).status == 401).then_some(())
    });
    // One that an operator gave more time goes on, and is not replaced any more.
    assert_eq!(gateway.call(&chat(&bearer(&late), "hi")).status, 200);
    let over = rotate(&gateway, &late);
    assert_eq!((over.status, over.code()), (409, "lineage_over".to_owned()));
}

// ID-31
#[test]
fn a_line_of_tokens_is_asked_about_and_replaced_so_often_and_no_more() {
    let (_origin, gateway, other) = served();
    let (_, mut token) = made(&gateway, &json!({ "self_rotate": true }));
    let mut refused = None;
    for _ in 0..12 {
        let answer = rotate(&gateway, &token);
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
        token = text(&answer, "token");
    }
    let refused = refused.unwrap();
    assert_eq!(
        (refused.status, refused.code()),
        (429, "rate_limited".to_owned())
    );
    assert!(refused.field("retry-after").is_some());
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    let statuses: Vec<_> = (0..22).map(|_| show(&gateway, &token).status).collect();
    assert_eq!(statuses[..20], [200; 20]);
    assert_eq!(statuses[21], 429);
    assert_eq!(show(&gateway, &other).status, 200, "another line");
}

// ID-31
#[test]
fn of_holders_that_replace_a_token_on_two_replicas_at_once_one_succeeds() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let config = routes(&origin);
    let gateways = [on(&server, &config).start(), on(&server, &config).start()];
    for _ in 0..6 {
        let members = json!({ "project": "default", "self_rotate": true });
        let token = gateways[0].mint_token(&members);
        eventually("the other replica knows it", || {
            (status(&gateways[1], &token) == 200).then_some(())
        });
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let each = [0, 1, 0, 1].map(|at| {
                let (gateway, token) = (&gateways[at], &token);
                scope.spawn(move || rotate(gateway, token))
            });
            each.map(|one| one.join().unwrap()).into()
        });
        let (done, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(done.len(), 1);
        for answer in refused {
            assert_eq!(
                (answer.status, answer.code()),
                (409, "token_rotated".to_owned())
            );
        }
        let new = text(done[0], "token");
        for gateway in &gateways {
            eventually("both work on both", || {
                (status(gateway, &new) == 200 && status(gateway, &token) == 200).then_some(())
            });
        }
    }
    assert_eq!(server.ask("SELECT count(*) FROM tokens"), "12");
}

// ID-30 ID-33
#[test]
fn on_two_replicas_both_tokens_work_share_their_counters_and_the_old_one_dies_on_time() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let config = routes(&origin);
    let gateways = [on(&server, &config).start(), on(&server, &config).start()];
    let members = json!({ "project": "default", "max_requests": 40 });
    let (id, old) = made(&gateways[0], &members);
    let (code, rotated) = act(&gateways[0], &id, "rotate", &json!({ "overlap": "4s" }));
    let began = std::time::Instant::now();
    assert_eq!(code, 200, "{rotated}");
    let new = rotated["secret"].as_str().unwrap();
    let mut passed = 0;
    eventually("both are known everywhere", || {
        let all = gateways
            .iter()
            .flat_map(|gateway| [status(gateway, &old), status(gateway, new)]);
        let all: Vec<_> = all.collect();
        passed += all.iter().filter(|status| **status == 200).count();
        (all == [200; 4]).then_some(())
    });
    for gateway in &gateways {
        let died = eventually("the old one dies", || {
            (status(gateway, &old) == 401).then(|| began.elapsed())
        });
        assert!(died >= Duration::from_millis(3_900), "{died:?}");
        assert!(died < Duration::from_secs(6), "{died:?}");
    }
    // What the old one used until it died is gone for the new one.
    origin.forget();
    eventually("the count is used up", || {
        let all = gateways.iter().map(|gateway| status(gateway, new));
        let all: Vec<_> = all.collect();
        (all == [429; 2]).then_some(())
    });
    assert!(origin.count() < 40, "{}", origin.count());
}
