//! Management keys: made, narrowed, rotated, ended.

use crate::callers::{bearer, chat, models, served};
use crate::operators::{ask, code, key, tenant};
use serde_json::{Value, json};
use tollkeep_testkit::{Client, Gateway, Origin};

fn gateway() -> Gateway {
    models(&Origin::plain())
        .set("management.lockout.failures", "1000")
        .start()
}

fn patch(gateway: &Gateway, id: &str, members: &Value) -> (u16, Value) {
    gateway.api("PATCH", &format!("/api/v1/keys/{id}"), Some(members))
}

fn act(gateway: &Gateway, id: &str, verb: &str, members: &Value) -> (u16, Value) {
    gateway.api("POST", &format!("/api/v1/keys/{id}/{verb}"), Some(members))
}

/// The status of a look at tokens with this key.
fn look(gateway: &Gateway, key: &str) -> u16 {
    ask(gateway, key, "GET /api/v1/tokens", None).status
}

// ID-52
#[test]
fn a_key_lives_ninety_days_and_a_year_at_most() {
    let gateway = gateway();
    let (status, made) = gateway.api(
        "POST",
        "/api/v1/keys",
        Some(&json!({ "name": "ops", "role": "operator" })),
    );
    assert_eq!(status, 201, "{made}");
    let days = |made: &Value| {
        let parse = |name: &str| -> tollkeep_types::WallMillis {
            made[name].as_str().unwrap().parse().unwrap()
        };
        (parse("expires_at").0 - parse("created_at").0 + 3_600_000) / 86_400_000
    };
    assert_eq!(days(&made), 90);
    assert!(made["secret"].as_str().unwrap().starts_with("mgt-"));
    assert_eq!(
        (&made["status"], &made["created_by"]),
        (&json!("active"), &json!("env"))
    );
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    let (_, shown) = gateway.api("GET", &path, None);
    assert_eq!(shown.get("secret"), None, "shown once");
    for (members, place) in [
        (json!({ "ttl": "366d" }), "/expires_at"),
        (json!({ "ttl": "0s" }), "/expires_at"),
        (json!({ "expires_at": null }), "/expires_at"),
        (json!({ "name": " " }), "/name"),
        (json!({ "role": "root" }), "/role"),
        (json!({ "role": "tenant-admin" }), "/role"),
        (json!({ "role": "owner", "tenant_id": "default" }), "/role"),
        (json!({ "scopes": ["tokens"] }), "/scopes"),
        (json!({ "scopes": [] }), "/scopes"),
        (json!({ "allowed_ips": ["banana"] }), "/allowed_ips"),
    ] {
        let mut body = json!({ "name": "ops", "role": "operator" });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        let (status, problem) = gateway.api("POST", "/api/v1/keys", Some(&body));
        assert_eq!(
            (status, &problem["errors"][0]["path"]),
            (422, &json!(place)),
            "{problem}"
        );
    }
}

// ID-52
#[test]
fn scopes_addresses_and_roles_hold_from_the_next_call_on() {
    let gateway = gateway();
    let body = json!({ "name": "ci", "role": "admin", "scopes": ["token:*"] });
    let (id, text) = key(&gateway, &body);
    assert_eq!(look(&gateway, &text), 200);
    assert_eq!(
        ask(&gateway, &text, "GET /api/v1/projects", None).status,
        403
    );
    assert_eq!(patch(&gateway, &id, &json!({ "scopes": null })).0, 200);
    assert_eq!(
        ask(&gateway, &text, "GET /api/v1/projects", None).status,
        200
    );
    let elsewhere = json!({ "allowed_ips": ["192.0.2.0/24"] });
    assert_eq!(patch(&gateway, &id, &elsewhere).0, 200);
    assert_eq!(look(&gateway, &text), 403, "from another address");
    let here = json!({ "allowed_ips": ["127.0.0.1", "::1"], "role": "viewer" });
    assert_eq!(patch(&gateway, &id, &here).0, 200);
    assert_eq!(look(&gateway, &text), 200);
    let create = ask(&gateway, &text, "POST /api/v1/tokens", Some(&json!({})));
    assert_eq!(create.status, 403, "a viewer now");
    let (_, shown) = gateway.api("GET", &format!("/api/v1/keys/{id}"), None);
    assert_eq!(shown["last_used_ip"], "127.0.0.1");
    let who = ask(&gateway, &text, "GET /api/v1/whoami", None).json();
    assert_eq!(
        (&who["role"], &who["via"]),
        (&json!("viewer"), &json!("key"))
    );
    assert_eq!((&who["id"], &who["name"]), (&json!(id), &json!("ci")));
}

// ID-52
#[test]
fn a_rotated_key_works_until_its_overlap_ends_and_a_revoked_one_at_no_time() {
    let gateway = gateway();
    let (id, first) = key(&gateway, &json!({ "name": "ops", "role": "viewer" }));
    let (status, rotated) = act(&gateway, &id, "rotate", &json!({ "overlap": "1h" }));
    assert_eq!(
        (status, &rotated["status"]),
        (200, &json!("rotating")),
        "{rotated}"
    );
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!(
        (look(&gateway, &first), look(&gateway, &second)),
        (200, 200)
    );
    let (_, rotated) = act(&gateway, &id, "rotate", &json!({ "overlap": "0s" }));
    let third = rotated["secret"].as_str().unwrap().to_owned();
    let looks = [&first, &second, &third].map(|text| look(&gateway, text));
    assert_eq!(looks, [401, 401, 200]);
    for _ in 0..2 {
        let (status, revoked) = act(&gateway, &id, "revoke", &json!({}));
        assert_eq!((status, &revoked["status"]), (200, &json!("revoked")));
        assert_eq!(look(&gateway, &third), 401);
    }
    assert_eq!(patch(&gateway, &id, &json!({ "name": "x" })).0, 409);
    assert_eq!(act(&gateway, &id, "rotate", &json!({})).0, 409);
}

// ID-53
#[test]
fn nobody_gives_more_than_they_have() {
    let gateway = gateway();
    let (tenant, other) = (tenant(&gateway, "a"), tenant(&gateway, "b"));
    let text = |members: Value| key(&gateway, &members).1;
    let admin = text(json!({ "name": "k", "role": "admin" }));
    let narrow = text(json!({ "name": "k", "role": "admin", "scopes": ["token:*", "key:*"] }));
    let own = text(json!({ "name": "k", "role": "tenant-admin", "tenant_id": tenant }));
    let (owners, _) = key(&gateway, &json!({ "name": "k", "role": "owner" }));
    for (name, key, body, want) in [
        ("admin an owner", &admin, json!({ "role": "owner" }), 403),
        ("admin an admin", &admin, json!({ "role": "admin" }), 403),
        (
            "admin an operator",
            &admin,
            json!({ "role": "operator" }),
            201,
        ),
        ("narrow all", &narrow, json!({ "role": "viewer" }), 403),
        (
            "narrow further",
            &narrow,
            json!({ "role": "viewer", "scopes": ["project:*"] }),
            403,
        ),
        (
            "narrow its own",
            &narrow,
            json!({ "role": "viewer", "scopes": ["token:list"] }),
            201,
        ),
        (
            "tenant an operator",
            &own,
            json!({ "role": "operator" }),
            403,
        ),
        (
            "tenant its own",
            &own,
            json!({ "role": "tenant-admin" }),
            201,
        ),
        (
            "tenant another's",
            &own,
            json!({ "role": "viewer", "tenant_id": other }),
            404,
        ),
    ] {
        let mut body = body;
        body["name"] = json!("made");
        let answer = ask(&gateway, key, "POST /api/v1/keys", Some(&body));
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
        if want == 201 && key == &own {
            assert_eq!(answer.json()["tenant_id"], json!(tenant), "{name}");
        }
    }
    for verb in ["rotate", "revoke"] {
        let start = format!("POST /api/v1/keys/{owners}/{verb}");
        assert_eq!(
            ask(&gateway, &admin, &start, Some(&json!({}))).status,
            403,
            "{verb}"
        );
    }
    let start = format!("PATCH /api/v1/keys/{owners}");
    let body = json!({ "role": "viewer" });
    assert_eq!(ask(&gateway, &admin, &start, Some(&body)).status, 403);
}

// ID-52
#[test]
#[expect(clippy::too_many_lines, reason = "one question after the other")]
fn a_key_kept_to_addresses_or_with_an_end_gives_nothing_beyond_them() {
    let gateway = gateway();
    let owner = |members: Value| {
        let mut body = json!({ "name": "k", "role": "owner" });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        key(&gateway, &body)
    };
    let (own, kept) = owner(json!({ "allowed_ips": ["127.0.0.0/8"], "ttl": "10d" }));
    let (free, _) = owner(json!({ "ttl": "10d" }));
    let (elsewhere, _) = owner(json!({ "allowed_ips": ["192.0.2.0/24"] }));
    let (beside, _) = owner(json!({ "allowed_ips": ["127.0.0.1"], "ttl": "9d" }));
    let viewer = json!({ "name": "v", "role": "viewer", "allowed_ips": ["127.0.0.1"] });
    let (long, _) = key(&gateway, &viewer);
    let here = json!(["127.0.0.1"]);
    for (name, method, id, verb, body, want) in [
        ("unlimited", "POST", "", "", json!({}), 403),
        (
            "made wider",
            "POST",
            "",
            "",
            json!({ "allowed_ips": ["127.0.0.1", "::1"] }),
            403,
        ),
        (
            "made longer",
            "POST",
            "",
            "",
            json!({ "allowed_ips": here, "ttl": "11d" }),
            403,
        ),
        (
            "made within",
            "POST",
            "",
            "",
            json!({ "allowed_ips": here }),
            201,
        ),
        (
            "freed itself",
            "PATCH",
            &own,
            "",
            json!({ "allowed_ips": [] }),
            403,
        ),
        (
            "prolonged itself",
            "PATCH",
            &own,
            "",
            json!({ "ttl": "365d" }),
            403,
        ),
        (
            "rotated longer",
            "POST",
            &own,
            "/rotate",
            json!({ "ttl": "365d" }),
            403,
        ),
        ("rotated itself", "POST", &own, "/rotate", json!({}), 200),
        (
            "took an unlimited one",
            "POST",
            &free,
            "/rotate",
            json!({}),
            403,
        ),
        (
            "drew an unlimited one in",
            "PATCH",
            &free,
            "",
            json!({ "allowed_ips": here }),
            403,
        ),
        (
            "took another's",
            "POST",
            &elsewhere,
            "/rotate",
            json!({}),
            403,
        ),
        (
            "let another's in",
            "PATCH",
            &elsewhere,
            "",
            json!({ "allowed_ips": here }),
            403,
        ),
        (
            "freed another",
            "PATCH",
            &beside,
            "",
            json!({ "allowed_ips": [] }),
            403,
        ),
        (
            "named another",
            "PATCH",
            &beside,
            "",
            json!({ "name": "n" }),
            200,
        ),
        (
            "named a longer one",
            "PATCH",
            &long,
            "",
            json!({ "name": "n" }),
            200,
        ),
        (
            "raised a longer one",
            "PATCH",
            &long,
            "",
            json!({ "role": "owner" }),
            403,
        ),
        (
            "took one of its own",
            "POST",
            &beside,
            "/rotate",
            json!({}),
            200,
        ),
    ] {
        let mut body = body;
        let mut path = format!("/api/v1/keys/{id}{verb}");
        if id.is_empty() {
            (body["name"], body["role"]) = (json!("made"), json!("owner"));
            path = "/api/v1/keys".to_owned();
        }
        let answer = ask(&gateway, &kept, &format!("{method} {path}"), Some(&body));
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
        if matches!(want, 201) || verb == "/rotate" && want == 200 {
            let (_, shown) = gateway.api("GET", &format!("/api/v1/keys/{own}"), None);
            assert_eq!(answer.json()["expires_at"], shown["expires_at"], "{name}");
        }
    }
    // Who has all the deployment gives what there is.
    let all = json!({ "allowed_ips": [], "ttl": "365d" });
    assert_eq!(patch(&gateway, &own, &all).0, 200);
}

// ID-52
#[test]
fn a_person_with_a_password_is_an_owner_too() {
    let gateway = models(&Origin::plain())
        .without_env("TOLLKEEP_MANAGEMENT_KEY")
        .start();
    let file = gateway.data_dir().join("first-management-key");
    let first = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let by_key = |start: &str, body: Option<Value>| ask(&gateway, &first, start, body.as_ref());
    let id = by_key("GET /api/v1/whoami", None).json()["id"].clone();
    let person = |name: &str, password: Option<&str>| {
        let body = json!({ "name": name, "role": "owner", "password": password });
        let made = by_key("POST /api/v1/operators", Some(body));
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let revoke = format!("POST /api/v1/keys/{}/revoke", id.as_str().unwrap());
    // Who has no password can't sign in.
    person("nobody", None);
    assert_eq!(code(&by_key(&revoke, Some(json!({})))), "last_owner");
    let anna = person("anna", Some("a-Long-enough-word-7"));
    assert_eq!(by_key(&revoke, Some(json!({}))).status, 200);
    // Now she is the last one.
    let local = |arguments: &[&str]| gateway.cli(arguments).status.code();
    assert_eq!(local(&["operator", "disable", &anna, "--yes"]), Some(6));
    assert_eq!(
        local(&["operator", "update", &anna, "--role", "viewer"]),
        Some(6)
    );
    assert_eq!(local(&["operator", "delete", &anna, "--yes"]), Some(6));
    assert_eq!(
        local(&["operator", "update", &anna, "--email", "a@b.example"]),
        Some(0)
    );
    let gateway = gateway.restart().unwrap();
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(kept.trim(), first, "no further key was made");
    let made = gateway.cli(&["key", "create", "second", "--role", "owner"]);
    assert!(made.status.success(), "{made:?}");
    let gone = gateway.cli(&["operator", "delete", &anna, "--yes"]);
    assert!(gone.status.success(), "{gone:?}");
}

// ID-52
#[test]
fn the_last_owner_stays() {
    let gateway = models(&Origin::plain())
        .without_env("TOLLKEEP_MANAGEMENT_KEY")
        .start();
    let file = gateway.data_dir().join("first-management-key");
    let first = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let id = ask(&gateway, &first, "GET /api/v1/whoami", None).json()["id"].clone();
    let id = id.as_str().unwrap();
    let revoke = |id: &str| {
        let start = format!("POST /api/v1/keys/{id}/revoke");
        let answer = ask(&gateway, &first, &start, Some(&json!({})));
        (answer.status, code(&answer))
    };
    assert_eq!(revoke(id), (409, "last_owner".to_owned()));
    let demote = json!({ "role": "viewer" });
    let start = format!("PATCH /api/v1/keys/{id}");
    assert_eq!(
        code(&ask(&gateway, &first, &start, Some(&demote))),
        "last_owner"
    );
    for body in [
        json!({ "scopes": ["token:*"] }),
        json!({ "allowed_ips": ["127.0.0.1"] }),
        json!({ "ttl": "24h" }),
    ] {
        let narrowed = ask(&gateway, &first, &start, Some(&body));
        assert_eq!(code(&narrowed), "last_owner", "{body}");
    }
    let narrow = json!({ "name": "n", "role": "owner", "scopes": ["token:*"] });
    let narrow = ask(&gateway, &first, "POST /api/v1/keys", Some(&narrow));
    assert_eq!(narrow.status, 201, "{}", narrow.text());
    assert_eq!(revoke(id), (409, "last_owner".to_owned()));
    let body = json!({ "name": "second", "role": "owner" });
    let made = ask(&gateway, &first, "POST /api/v1/keys", Some(&body));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(revoke(id).0, 200);
    assert_eq!(look(&gateway, &first), 401);
    assert_eq!(look(&gateway, made.json()["secret"].as_str().unwrap()), 200);
}

// ID-4
#[test]
fn a_suspended_tenant_calls_nothing_and_its_keys_only_read() {
    let (origin, gateway, other) = served();
    let id = tenant(&gateway, "a");
    let project = json!({ "name": "p", "tenant": "a" });
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&project));
    let token = gateway.mint_token(&json!({ "project": project["id"] }));
    let body = json!({ "name": "k", "role": "tenant-admin", "tenant_id": "a" });
    let (_, admin) = key(&gateway, &body);
    let call = |token: &str| gateway.call(&chat(&bearer(token), "hi"));
    assert_eq!(call(&token).status, 200);
    let set = |verb: &str| {
        let path = format!("/api/v1/tenants/{id}/{verb}");
        gateway.api("POST", &path, Some(&json!({}))).0
    };
    assert_eq!(set("suspend"), 200);
    let refused = call(&token);
    assert_eq!(
        (refused.status, refused.code()),
        (403, "tenant_suspended".to_owned())
    );
    assert_eq!(call(&other).status, 200, "another tenant's");
    assert_eq!(look(&gateway, &admin), 200);
    let create = ask(&gateway, &admin, "POST /api/v1/tokens", Some(&json!({})));
    assert_eq!(
        (create.status, code(&create)),
        (403, "tenant_suspended".to_owned())
    );
    let gateway = gateway.restart().unwrap();
    let call = |token: &str| gateway.call(&chat(&bearer(token), "hi"));
    assert_eq!(call(&token).status, 403, "after a restart too");
    let resume = format!("/api/v1/tenants/{id}/resume");
    assert_eq!(gateway.api("POST", &resume, Some(&json!({}))).0, 200);
    assert_eq!(call(&token).status, 200);
    let path = format!("/api/v1/tenants/{id}");
    assert_eq!(gateway.api("DELETE", &path, None).0, 204);
    crate::callers::assert_unauthenticated("deleted", &call(&token));
    assert_eq!(look(&gateway, &admin), 401);
    assert_eq!(gateway.api("GET", &path, None).0, 404);
    assert_eq!(gateway.api("POST", &resume, Some(&json!({}))).0, 404);
    assert_eq!(
        gateway.api("DELETE", "/api/v1/tenants/default", None).0,
        409
    );
    drop(origin);
}

// ID-3
#[test]
fn a_project_that_is_switched_off_calls_nothing_until_it_is_on_again() {
    let (_origin, gateway, token) = served();
    let call = || gateway.call(&chat(&bearer(&token), "hi"));
    for (is_active, want) in [("false", 403), ("true", 200)] {
        let set = format!("--is-active={is_active}");
        let done = gateway.cli(&["project", "update", "default", &set, "--json"]);
        assert!(done.status.success(), "{done:?}");
        let project: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(project["is_active"].to_string(), is_active);
        let answer = call();
        assert_eq!(answer.status, want, "{}", answer.text());
        if want == 403 {
            assert_eq!(answer.code(), "project_inactive");
        }
    }
    let (status, problem) = gateway.api("PATCH", "/api/v1/projects/default", Some(&json!({})));
    assert_eq!(status, 400, "{problem}");
    gateway.api(
        "POST",
        "/api/v1/projects",
        Some(&json!({ "name": "Taken" })),
    );
    let taken = json!({ "name": "Taken" });
    assert_eq!(
        gateway
            .api("PATCH", "/api/v1/projects/default", Some(&taken))
            .0,
        409
    );
}

// ID-50
#[test]
fn neither_door_takes_the_keys_of_the_other() {
    let (_origin, gateway, token) = served();
    let (_, management) = key(&gateway, &json!({ "name": "k", "role": "owner" }));
    assert_eq!(look(&gateway, &token), 401);
    let mut client = Client::connect(gateway.data());
    let answer = client.call(&chat(&bearer(&management), "hi"));
    crate::callers::assert_unauthenticated("a management key", &answer);
}

// ID-58
#[test]
fn keys_are_generated_without_a_gateway() {
    let gateway = gateway();
    for (arguments, start, length) in [
        ("key generate", "mgt-", 53),
        ("key generate --kind access", "tok-", 53),
        ("key generate --prefix gw_ --length 64", "gw_", 64),
        ("key generate --kind encryption", "", 64),
    ] {
        let run = || {
            let arguments: Vec<_> = arguments.split(' ').collect();
            let done = gateway.cli(&arguments);
            assert!(done.status.success(), "{done:?}");
            String::from_utf8(done.stdout)
                .unwrap()
                .trim_end()
                .to_owned()
        };
        let (one, other) = (run(), run());
        assert!(
            one.starts_with(start) && one.len() == length,
            "{arguments}: {one}"
        );
        assert_ne!(one, other);
        if length == 64 && start.is_empty() {
            assert!(tollkeep_crypto::key_text::parse(&one).is_ok(), "{one}");
        } else {
            assert!(tollkeep_crypto::mint::well_formed(&one), "{one}");
        }
    }
    for (arguments, code) in [
        ("key generate --length 20", 3),
        ("key generate --prefix 9x", 3),
        ("key generate --kind encryption --length 64", 2),
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        assert_eq!(
            gateway.cli(&arguments).status.code(),
            Some(code),
            "{arguments:?}"
        );
    }
}

// ID-58
#[test]
fn the_gateway_key_is_set_and_replaced_in_llm_routers_words() {
    let (_origin, gateway, other) = served();
    let run = |command: &str| gateway.cli(&command.split(' ').collect::<Vec<_>>());
    let made = |command: &str| -> String {
        let done = run(command);
        assert!(done.status.success(), "{command}: {done:?}");
        let made: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(made["name"], "master");
        made["secret"].as_str().unwrap().to_owned()
    };
    let call = |token: &str| gateway.call(&chat(&bearer(token), "hi")).status;
    let first = made("config --operation=set-master-key --generate-master-key=true");
    assert_eq!(call(&first), 200);
    let second = made(
        "worker-key --env=development --generate-master-key=true --master-key-length=64 \
         --master-key-prefix=gw_",
    );
    assert!(second.starts_with("gw_") && second.len() == 64, "{second}");
    assert_eq!([call(&first), call(&second), call(&other)], [401, 200, 200]);
    for (command, code) in [
        ("worker-key --env=production --generate-master-key=true", 6),
        ("worker-key --env=development", 2),
        ("config --operation=set-master-key", 2),
        ("config --operation=drop-master-key", 2),
        ("config", 2),
    ] {
        assert_eq!(run(command).status.code(), Some(code), "{command}");
    }
    assert_eq!(call(&second), 200, "left alone");
}

// ID-110 ID-111 ID-112
#[test]
fn keys_and_tenants_are_managed_from_a_script() {
    let gateway = gateway();
    let run = |command: &str| -> Value {
        let done = gateway.cli(&command.split(' ').collect::<Vec<_>>());
        assert!(done.status.success(), "{command}: {done:?}");
        serde_json::from_slice(&done.stdout).unwrap_or_default()
    };
    assert_eq!(run("tenant create Acme")["slug"], "acme");
    assert_eq!(run("tenant update acme --name Other")["name"], "Other");
    assert_eq!(run("tenants list")["data"].as_array().unwrap().len(), 2);
    assert_eq!(run("tenant suspend acme")["status"], "suspended");
    assert_eq!(run("tenant resume acme")["status"], "active");
    let made = run(
        "key create ops --role tenant-admin --tenant acme --ttl 30d --ip 10.0.0.0/8 --scope token:*",
    );
    let id = made["id"].as_str().unwrap();
    assert!(made["secret"].is_string());
    assert_eq!(
        run(&format!("key get {id}"))["allowed_ips"],
        json!(["10.0.0.0/8"])
    );
    let updated = run(&format!(
        "key update {id} --role viewer --no-scopes --name seen"
    ));
    assert_eq!(
        (&updated["role"], &updated["scopes"], &updated["name"]),
        (&json!("viewer"), &Value::Null, &json!("seen"))
    );
    assert!(run(&format!("key rotate {id} --overlap 5m"))["secret"].is_string());
    assert_eq!(run("keys list")["data"][0]["id"], json!(id));
    let asked = gateway.cli(&["key", "revoke", id]);
    assert_eq!(asked.status.code(), Some(2), "asks first");
    assert_eq!(run(&format!("key revoke {id} --yes"))["status"], "revoked");
    assert_eq!(run("whoami")["via"], "socket");
    run("tenant delete acme --yes");
    assert_eq!(
        gateway.cli(&["tenant", "get", "acme"]).status.code(),
        Some(4)
    );
}
