//! The pool of credentials as cliproxyapi++'s clients and operations ask for it.

use crate::credentials::{BODY, ONE, TWO, add, bare, calls, counted, judging};
use crate::fixture::chat;
use serde_json::{Value, json};

// ID-70 ID-100
#[test]
fn a_set_of_credentials_is_replaced_whole_or_not_at_all() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(&origin, "");
    let token = gateway.mint_token(&json!({}));
    let put = |auths: Value| {
        let body = json!({ "auths": auths });
        gateway.api("PUT", "/v0/management/auths/codex", Some(&body))
    };
    let (status, told) = put(json!([{ "token": ONE }, { "token": TWO, "priority": -1 }]));
    let auths = told["auths"].as_array().unwrap();
    assert_eq!((status, auths.len()), (200, 2), "{told}");
    assert_eq!(calls(&gateway, &origin, &token, 1), counted(&[(TWO, 1)]));
    let first = auths.iter().find(|one| one["priority"] == 0).unwrap()["id"].clone();
    // One fault, and everything stays.
    for auths in [
        json!([{ "token": "sk-third-4kfX0wq8Zt2LsPq" }, { "token": "sk-…****…" }]),
        json!([{ "token": "sk-third-4kfX0wq8Zt2LsPq", "more": 1 }]),
        json!([{ "priority": 1 }]),
        json!({}),
    ] {
        let (status, told) = put(auths.clone());
        assert!(matches!(status, 400 | 422), "{auths}: {told}");
        assert_eq!(calls(&gateway, &origin, &token, 1), counted(&[(TWO, 1)]));
    }
    let (_, told) = put(json!([{ "token": ONE }, { "token": 1 }]));
    assert_eq!(told["errors"][0]["path"], "/auths/1/token", "{told}");
    // What stays keeps its id, and is used as it is said now.
    let (status, told) = put(json!([{ "token": ONE, "priority": 7 }]));
    let shown = (&told["auths"][0]["id"], &told["auths"][0]["priority"]);
    assert_eq!((status, shown), (200, (&first, &json!(7))), "{told}");
    assert_eq!(calls(&gateway, &origin, &token, 1), counted(&[(ONE, 1)]));
    let gone = gateway.audit_line("the other is deleted", |line| {
        line["action"] == "credential.delete"
    });
    assert_eq!(gone["details"]["provider"], "openai", "{gone}");
    assert_eq!(put(json!([])).1, json!({ "auths": [] }));
    let nobody = gateway.api(
        "PUT",
        "/v0/management/auths/nobody",
        Some(&json!({"auths": []})),
    );
    assert_eq!(nobody.0, 404);
}

// ID-70 LLM-R67
#[test]
fn the_pool_is_told_and_left_alone_by_provider() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(&origin, "");
    let token = gateway.mint_token(&json!({}));
    let id = add(&gateway, ONE, &json!({ "priority": 3 }));
    let low = add(&gateway, TWO, &json!({}));
    let get = |what: &str| {
        let (status, told) = gateway.api("GET", &format!("/v0/operations/{what}/status"), None);
        assert_eq!(status, 200, "{told}");
        told
    };
    let act = |verb: &str, body: Value| {
        let path = format!("/v0/operations/providers/codex/{verb}");
        gateway.api("POST", &path, Some(&body))
    };
    let openai = |told: &Value| {
        let all = told["providers"].as_array().unwrap().clone();
        all.into_iter()
            .find(|one| one["provider"] == "openai")
            .unwrap()
    };
    let provider = openai(&get("providers"));
    let told = (
        &provider["enabled"],
        &provider["healthy"],
        &provider["breaker"],
    );
    assert_eq!(
        told,
        (&json!(true), &json!(true), &json!("closed")),
        "{provider}"
    );
    let pool = openai(&get("load_balancing"))["credentials"].clone();
    let row = |number: usize| (pool[number]["id"].clone(), pool[number]["in_use"].clone());
    assert_eq!(row(0), (json!(id), json!(true)), "{pool}");
    assert_eq!(row(1), (json!(low), json!(false)), "{pool}");
    assert_eq!(get("cooldown"), json!({ "cooldowns": [] }));
    let (status, told) = act("cooldown", json!({ "duration": "2m", "reason": "a test" }));
    assert_eq!((status, &told["credentials"]), (200, &json!(2)), "{told}");
    assert_eq!(gateway.call(&chat(&token, BODY)).status, 429);
    let cooling = get("cooldown")["cooldowns"].clone();
    assert_eq!(cooling.as_array().unwrap().len(), 2, "{cooling}");
    let one = (
        &cooling[0]["provider"],
        &cooling[0]["reason"],
        &cooling[0]["model"],
    );
    assert_eq!(one, (&json!("openai"), &json!("manual"), &Value::Null));
    assert!(
        cooling[0]["remaining_seconds"].as_u64().unwrap() > 100,
        "{cooling}"
    );
    assert_eq!(openai(&get("providers"))["healthy"], false);
    assert_eq!(act("recover", json!({})).1["until"], Value::Null);
    assert_eq!(gateway.call(&chat(&token, BODY)).status, 200);
    for body in [
        json!({ "duration": "0s" }),
        json!({ "duration": "31d" }),
        json!({ "for": 1 }),
    ] {
        assert_eq!(act("cooldown", body.clone()).0, 422, "{body}");
    }
    let nobody = "/v0/operations/providers/nobody/recover";
    assert_eq!(gateway.api("POST", nobody, Some(&json!({}))).0, 404);
}
