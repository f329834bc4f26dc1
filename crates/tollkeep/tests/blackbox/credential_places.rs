//! What credentials say of their own: a place, a proxy, a prefix, limits; and which of them a project
//! may use.

use crate::fixture::{chat, gateway};
use crate::operators::{ask, code, key, made};
use serde_json::{Value, json};
use std::time::Duration;
use tollkeep_testkit::{
    Answer, ConnectProxy, Gate, Gateway, MANAGEMENT_KEY, NameServer, Origin, Reply, Request, Step,
    Tunnel, eventually, ok,
};

const ONE: &str = "sk-one-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e";
const TWO: &str = "sk-two-Hn5tBq1wEz7rYk3mUj9xCs4vPd8gLa2o";
const BODY: &str = r#"{"model":"gpt-4o","messages":[]}"#;
const PATH: &str = "/api/v1/credentials";

fn shown(request: &Request) -> &str {
    let field = request.field("authorization").unwrap_or_default();
    field.trim_start_matches("Bearer ")
}

/// One provider at the origin, with something secret that the settings add.
fn config(origin: &Origin) -> String {
    let url = origin.url();
    format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         models: [gpt-4o, o3]\n    headers: {{ set: {{ x-settings: \"of-the-settings\" }} }}\n"
    )
}

fn put(gateway: &Gateway, members: &Value) -> String {
    let mut body = json!({ "provider": "openai" });
    let members = members.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    made(gateway, PATH, &body)
}

fn change(gateway: &Gateway, id: &str, body: &Value) -> Value {
    let (status, changed) = gateway.api("PATCH", &format!("{PATH}/{id}"), Some(body));
    assert_eq!(status, 200, "{changed}");
    changed
}

fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.call(&chat(token, BODY))
}

// ID-70 EDGE-99
#[test]
fn calls_of_a_credential_go_to_its_own_place_with_its_own_secret_alone() {
    let (shared, own) = (Origin::plain(), Origin::start(|_| ok(b"{}")));
    let gateway = gateway(config(&shared)).start();
    let token = gateway.mint_token(&json!({}));
    let place = format!("{}/of/us/v1", own.url());
    let id = put(
        &gateway,
        &json!({ "secret": ONE, "base_url": place, "priority": 5 }),
    );
    put(&gateway, &json!({ "secret": TWO }));
    let mut client = gateway.connect();
    for _ in 0..3 {
        let answer = client.call(&chat(&token, BODY));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!((own.count(), shared.count()), (3, 0));
    assert_eq!(own.connections(), 1, "they are pooled like others");
    let request = own.last();
    assert_eq!(request.target, "/of/us/v1/chat/completions");
    assert_eq!((shown(&request), request.field("x-settings")), (ONE, None));
    assert_eq!(request.field("host"), Some(own.addr().to_string().as_str()));
    let (status, tested) = gateway.api("POST", &format!("{PATH}/{id}/test"), Some(&json!({})));
    assert_eq!(
        (status, &tested["status_class"]),
        (200, &json!("2xx")),
        "{tested}"
    );
    assert_eq!(own.last().target, "/of/us/v1/models");
    let gateway = gateway.restart().unwrap();
    assert_eq!(call(&gateway, &token).status, 200);
    assert_eq!(shown(&own.last()), ONE);
    let same = json!({ "provider": "openai", "secret": ONE });
    assert_eq!(
        gateway.api("POST", PATH, Some(&same)).0,
        409,
        "its secret, elsewhere"
    );
    let moved = change(&gateway, &id, &json!({ "base_url": null }));
    assert_eq!(
        (&moved["status"], &moved["base_url"]),
        (&json!("unbound"), &Value::Null),
        "its secret was for that place"
    );
    assert_eq!(call(&gateway, &token).status, 200);
    assert_eq!(shown(&shared.last()), TWO);
    let again = gateway.api(
        "POST",
        &format!("{PATH}/{id}/rotate"),
        Some(&json!({ "secret": ONE })),
    );
    assert_eq!((again.0, &again.1["status"]), (200, &json!("active")));
    assert_eq!(call(&gateway, &token).status, 200);
    let request = shared.last();
    assert_eq!(
        (shown(&request), request.field("x-settings")),
        (ONE, Some("of-the-settings"))
    );
}

/// What happens to a URL that is to be stored by whoever has this key.
fn stored(gateway: &Gateway, key: &str, member: &str, url: &str) -> (u16, String) {
    let who = if key == MANAGEMENT_KEY {
        "operator"
    } else {
        "tenant"
    };
    let secret = format!("sk-{member}-{who}-{url}");
    let body = json!({ "provider": "openai", "secret": secret, member: url });
    let answer = ask(gateway, key, &format!("POST {PATH}"), Some(&body));
    let text = answer.text();
    assert!(
        answer.status < 300 || !text.contains("10.1.2.3"),
        "what a name led to: {text}"
    );
    (answer.status, code(&answer))
}

// EDGE-99 EDGE-95 EDGE-97 EDGE-104
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn a_url_is_judged_by_the_door_before_it_is_stored() {
    let server = NameServer::start(|name| match name {
        "private.test.example" => Reply::Addresses(vec!["10.1.2.3".parse().unwrap()]),
        "public.test.example" => Reply::Addresses(vec!["93.184.216.34".parse().unwrap()]),
        "mixed.test.example" => {
            let both = ["93.184.216.34", "10.1.2.3"].map(|ip| ip.parse().unwrap());
            Reply::Addresses(both.to_vec())
        }
        _ => Reply::Addresses(Vec::new()),
    });
    let egress = format!(
        "egress: {{ ports: [8443], resolver: {{ mode: servers, servers: [\"{}\"], attempts: 1 }} }}\n",
        server.addr()
    );
    let origin = Origin::plain();
    let gateway = gateway(config(&origin) + &egress).start();
    let bound = json!({ "name": "t", "role": "tenant-admin", "tenant_id": "default" });
    let (_, bound) = key(&gateway, &bound);
    let here = origin.url();
    let no = (422, "egress_refused".to_owned());
    let yes = (201, String::new());
    for (name, url, of_operator, of_tenant) in [
        ("public", "https://public.test.example/v1", &yes, &yes),
        ("in clear", "http://public.test.example/v1", &yes, &no),
        (
            "another port",
            "https://public.test.example:9443/v1",
            &yes,
            &no,
        ),
        (
            "a port of the list",
            "https://public.test.example:8443/v1",
            &yes,
            &yes,
        ),
        (
            "a name in private",
            "https://private.test.example/v1",
            &no,
            &no,
        ),
        ("a name in both", "https://mixed.test.example/v1", &no, &no),
        (
            "a name of nothing",
            "https://nothing.test.example/v1",
            &no,
            &no,
        ),
        ("private", "https://10.0.0.1/v1", &no, &no),
        ("what the settings allow", &here, &yes, &no),
        ("metadata", "https://169.254.169.254/v1", &no, &no),
        ("a local name", "https://localhost/v1", &no, &no),
        ("a login", "https://a:b@public.test.example/v1", &no, &no),
        ("another scheme", "ftp://public.test.example/v1", &no, &no),
        ("a number", "https://2130706433/v1", &yes, &no),
        ("no URL", "openai", &no, &no),
    ] {
        for member in ["base_url", "egress_proxy"] {
            let told = stored(&gateway, MANAGEMENT_KEY, member, url);
            assert_eq!(&told, of_operator, "{name} as {member} of an operator");
            let told = stored(&gateway, &bound, member, url);
            assert_eq!(&told, of_tenant, "{name} as {member} of a tenant");
        }
    }
    let ourselves = format!("http://{}/v1", gateway.data());
    assert_eq!(stored(&gateway, MANAGEMENT_KEY, "base_url", &ourselves), no);
    gateway.audit_line("the refusal", |event| {
        event["action"] == "egress.blocked" && event["reason"] == "mixed_answer"
    });
    let metrics = gateway.metrics_text();
    assert!(
        metrics.contains("tollkeep_egress_refused_total"),
        "{metrics}"
    );
    let id = put(&gateway, &json!({ "secret": ONE }));
    let place = format!("PATCH {PATH}/{id}");
    let refused = ask(&gateway, &bound, &place, Some(&json!({ "base_url": here })));
    assert_eq!((refused.status, code(&refused)), no, "{}", refused.text());
    let answer = ask(&gateway, &bound, &place, Some(&json!({ "label": "mine" })));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

// EDGE-95 ID-70
#[test]
fn a_place_given_by_a_tenant_is_judged_as_such_at_each_dial_too() {
    let server = NameServer::start(|_| Reply::Addresses(vec!["93.184.216.34".parse().unwrap()]));
    let origin = Origin::plain();
    let resolver = |addr: &str| {
        format!("egress: {{ resolver: {{ mode: servers, servers: [\"{addr}\"], attempts: 1 }} }}\n")
    };
    let gateway = gateway(config(&origin) + &resolver(&server.addr().to_string())).start();
    let bound = json!({ "name": "t", "role": "tenant-admin", "tenant_id": "default" });
    let (_, bound) = key(&gateway, &bound);
    let url = "https://moves.test.example/v1";
    let body = json!({ "provider": "openai", "secret": ONE, "base_url": url });
    let answer = ask(&gateway, &bound, &format!("POST {PATH}"), Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let token = gateway.mint_token(&json!({}));
    // The name leads to where the settings let the provider be, and tenants may not.
    let local = NameServer::start(|_| Reply::Addresses(vec!["127.0.0.1".parse().unwrap()]));
    gateway.configure(config(&origin) + &resolver(&local.addr().to_string()));
    let (status, told) = gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
    assert_eq!(status, 200, "{told}");
    let answer = call(&gateway, &token);
    assert_eq!(
        (answer.status, answer.code()),
        (502, "egress_refused".to_owned())
    );
    assert_eq!(origin.connections(), 0);
}

// ID-70 EDGE-103
#[test]
fn calls_of_a_credential_go_through_its_proxy() {
    let origin = Origin::start(|_| ok(b"{}"));
    let to_origin = origin.addr();
    let proxy = ConnectProxy::start(move |_| Tunnel::To(to_origin));
    let server = NameServer::start(|_| Reply::Addresses(vec!["93.184.216.34".parse().unwrap()]));
    let config = format!(
        "egress: {{ resolver: {{ mode: servers, servers: [\"{}\"], attempts: 1 }} }}\n\
         providers:\n  openai: {{ base_url: \"http://api.test.example:8080/v1\", allow_private: [\"127.0.0.1/32\"] }}\n",
        server.addr()
    );
    let gateway = gateway(config).start();
    let token = gateway.mint_token(&json!({}));
    let id = put(
        &gateway,
        &json!({ "secret": ONE, "egress_proxy": proxy.url() }),
    );
    let answer = call(&gateway, &token);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(proxy.targets(), ["93.184.216.34:8080"]);
    assert_eq!(shown(&origin.last()), ONE);
    let bound = json!({ "name": "t", "role": "tenant-admin", "tenant_id": "default" });
    let (_, bound) = key(&gateway, &bound);
    let body = json!({ "egress_proxy": proxy.url() });
    let other = put(&gateway, &json!({ "secret": TWO, "disabled": true }));
    let refused = ask(
        &gateway,
        &bound,
        &format!("PATCH {PATH}/{other}"),
        Some(&body),
    );
    assert_eq!(
        (refused.status, code(&refused)),
        (422, "egress_refused".to_owned())
    );
    let shown = change(&gateway, &id, &json!({ "label": "kept" }));
    assert_eq!(shown["egress_proxy"], json!(proxy.url()));
}

fn asked(gateway: &Gateway, token: &str, model: &str) -> u16 {
    let body = json!({ "model": model, "messages": [] }).to_string();
    gateway.call(&chat(token, &body)).status
}

fn listed(gateway: &Gateway, token: &str) -> Vec<String> {
    let lines = format!("authorization: Bearer {token}\r\n");
    let answer = gateway.call(&crate::fixture::head("GET /v1/models", &lines));
    let list = answer.json()["data"].as_array().unwrap().clone();
    list.iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

// ID-70
#[test]
fn a_prefix_asks_for_the_credentials_that_have_it_and_no_others() {
    let origin = Origin::start(|_| ok(b"{}"));
    let gateway = gateway(config(&origin)).start();
    let project = made(&gateway, "/api/v1/projects", &json!({ "name": "other" }));
    let (token, foreign) = (
        gateway.mint_token(&json!({})),
        gateway.mint_token(&json!({ "project": project })),
    );
    put(&gateway, &json!({ "secret": ONE }));
    assert_eq!(asked(&gateway, &token, "team/gpt-4o"), 404);
    let own = json!({ "secret": TWO, "prefix": "team", "project": "default", "weight": 1 });
    let id = put(&gateway, &own);
    for _ in 0..4 {
        assert_eq!(asked(&gateway, &token, "team/gpt-4o"), 200);
        let request = origin.last();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((shown(&request), &body["model"]), (TWO, &json!("gpt-4o")));
    }
    assert_eq!(
        asked(&gateway, &foreign, "team/gpt-4o"),
        404,
        "of another project"
    );
    assert_eq!(asked(&gateway, &token, "team/unknown"), 404);
    assert_eq!(
        asked(&gateway, &token, "gpt-4o"),
        200,
        "all serve without it"
    );
    let want = ["gpt-4o", "o3", "team/gpt-4o", "team/o3"];
    assert_eq!(listed(&gateway, &token), want);
    assert_eq!(listed(&gateway, &foreign), ["gpt-4o", "o3"]);
    let policy = json!({ "policy": { "allowed_models": ["gpt-4o"] } });
    let bound = gateway.mint_token(&policy);
    assert_eq!(
        asked(&gateway, &bound, "team/gpt-4o"),
        404,
        "another name than is allowed"
    );
    for (prefix, want) in [("openai", 422), ("a/b", 422), ("", 422), ("a.b_c-1", 200)] {
        let body = json!({ "prefix": prefix });
        let (status, told) = gateway.api("PATCH", &format!("{PATH}/{id}"), Some(&body));
        assert_eq!(status, want, "{prefix}: {told}");
    }
    assert_eq!(
        asked(&gateway, &token, "team/gpt-4o"),
        404,
        "it is called otherwise now"
    );
    assert_eq!(asked(&gateway, &token, "a.b_c-1/gpt-4o"), 200);
    change(&gateway, &id, &json!({ "prefix": null }));
    assert_eq!(asked(&gateway, &token, "a.b_c-1/gpt-4o"), 404);
    assert_eq!(
        asked(&gateway, &token, "openai/gpt-4o"),
        200,
        "a provider's own name"
    );
}

// ID-70
#[test]
fn a_credential_that_bears_no_more_leaves_calls_to_others_or_tells_how_long() {
    let origin = Origin::start(|_| ok(b"{}"));
    let gateway = gateway(config(&origin)).start();
    let token = gateway.mint_token(&json!({}));
    let limits = json!({ "requests_per_minute": 2 });
    put(
        &gateway,
        &json!({ "secret": ONE, "priority": 1, "limits": limits }),
    );
    let id = put(&gateway, &json!({ "secret": TWO }));
    let used: Vec<String> = (0..4)
        .map(|_| {
            assert_eq!(call(&gateway, &token).status, 200);
            shown(&origin.last()).to_owned()
        })
        .collect();
    assert_eq!(used, [ONE, ONE, TWO, TWO]);
    change(&gateway, &id, &json!({ "disabled": true }));
    let answer = call(&gateway, &token);
    assert_eq!(
        (answer.status, answer.code()),
        (429, "model_cooldown".to_owned())
    );
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(origin.count(), 4, "nothing was sent");
    let of_tokens = json!({ "limits": { "tokens_per_minute": 5 } });
    assert_eq!(
        gateway
            .api("PATCH", &format!("{PATH}/{id}"), Some(&of_tokens))
            .0,
        422
    );
}

// ID-70
#[test]
fn a_credential_is_used_by_as_many_calls_at_once_as_it_bears() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = vec![Step::Wait(held.clone())];
        steps.extend(ok(b"{}"));
        steps
    });
    let gateway = gateway(config(&origin)).start();
    let token = gateway.mint_token(&json!({}));
    put(
        &gateway,
        &json!({ "secret": ONE, "limits": { "concurrency": 1 } }),
    );
    let mut first = gateway.connect();
    first.send(&chat(&token, BODY));
    origin.wait_for(1);
    assert_eq!(call(&gateway, &token).code(), "model_cooldown");
    gate.open();
    assert_eq!(first.answer(Duration::from_secs(5)).unwrap().status, 200);
    eventually("room", || {
        (call(&gateway, &token).status == 200).then_some(())
    });
}

// ID-3 ID-70
#[test]
fn a_project_uses_the_credentials_that_it_lists_and_no_others() {
    let origin = Origin::start(|_| ok(b"{}"));
    let config =
        config(&origin) + "    credentials: [{ name: main, secret: \"${MAIN}\", priority: 9 }]\n";
    let main = "sk-main-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e";
    let gateway = gateway(config).env("MAIN", main).start();
    let token = gateway.mint_token(&json!({}));
    let one = put(&gateway, &json!({ "secret": ONE, "priority": 5 }));
    let two = put(&gateway, &json!({ "secret": TWO }));
    let allow = |list: Value| {
        let body = json!({ "allowed_credentials": list });
        gateway.api("PATCH", "/api/v1/projects/default", Some(&body))
    };
    for (name, list, want) in [
        ("all", Value::Null, Some(main)),
        ("one", json!([one]), Some(ONE)),
        ("the other", json!([two]), Some(TWO)),
        ("both", json!([two, one]), Some(ONE)),
        ("of the settings", json!(["openai/main", two]), Some(main)),
        ("none", json!([]), None),
    ] {
        let (status, shown_project) = allow(list.clone());
        assert_eq!(
            (status, &shown_project["allowed_credentials"]),
            (200, &list),
            "{name}"
        );
        let before = origin.count();
        let answer = call(&gateway, &token);
        match want {
            Some(want) => {
                assert_eq!(
                    (answer.status, shown(&origin.last())),
                    (200, want),
                    "{name}"
                );
            }
            None => {
                let told = (answer.status, answer.code(), origin.count());
                assert_eq!(
                    told,
                    (503, "credential_unavailable".to_owned(), before),
                    "{name}"
                );
            }
        }
    }
    for list in [
        json!(["crd_00000000000070008000000000000000"]),
        json!(["openai/nobody"]),
        json!(["x"]),
    ] {
        assert_eq!(allow(list.clone()).0, 422, "{list}");
    }
    let gateway = gateway.restart().unwrap();
    assert_eq!(
        call(&gateway, &token).code(),
        "credential_unavailable",
        "it is kept"
    );
}

// ID-110
#[test]
fn the_command_line_says_it_too() {
    let origin = Origin::start(|_| ok(b"{}"));
    let gateway = gateway(config(&origin)).start();
    let url = format!("{}/x/v1", origin.url());
    let add = [
        "credential",
        "add",
        "--provider",
        "openai",
        "--secret-file",
        "-",
        "--base-url",
        &url,
        "--prefix",
        "team",
        "--requests-per-minute",
        "9",
        "--json",
    ];
    let output = gateway.cli_with(&add, ONE);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let added: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&added["base_url"], &added["prefix"]),
        (&json!(url), &json!("team"))
    );
    assert_eq!(added["limits"], json!({ "requests_per_minute": 9 }));
    let id = added["id"].as_str().unwrap();
    let output = gateway.cli(&["credential", "update", id, "--prefix", "none", "--json"]);
    let changed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&changed["base_url"], &changed["prefix"]),
        (&json!(url), &Value::Null)
    );
    for (list, want) in [(id, json!([id])), ("all", Value::Null)] {
        let output = gateway.cli(&[
            "project",
            "update",
            "default",
            "--credential",
            list,
            "--json",
        ]);
        let changed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(changed["allowed_credentials"], want);
    }
}
