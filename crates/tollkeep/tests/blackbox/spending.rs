//! Budgets on calls, from outside: what is refused, what is counted, and who is told of it.

use crate::budgets::{api, id, made, named};
use crate::fixture::{TOLLKEEP, UPSTREAM_KEY, chat, gateway, head};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tollkeep_testkit::{Answer, Gateway, Origin, eventually, json as answer, wait_until};

/// Its bound is about $0.0006; it costs 35 000 nano-dollars.
const ASK: &str =
    r#"{"model":"gpt-4o","max_completion_tokens":10,"messages":[{"role":"user","content":"hi"}]}"#;
const COST: i64 = 10 * 2_500 + 10_000;

/// A budget that a dollar's worth of calls fits.
const ALL: &str = "budgets: { list: [{ name: all, limit: \"$1\", window: month }] }\n";

pub(crate) fn origin() -> Origin {
    Origin::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        answer(&json!({
            "object": "chat.completion", "model": asked["model"], "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
        }))
    })
}

/// A gateway before `origin` with these lines at its provider, and these of its own.
pub(crate) fn served(origin: &Origin, provider: &str, config: &str) -> (Gateway, String) {
    let url = origin.url();
    let config = format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n{provider}{config}"
    );
    let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    let members =
        json!({"project": "default", "permissions": ["usage.read"], "metadata": {"team": "a"}});
    let token = gateway.mint_token(&members);
    (gateway, token)
}

pub(crate) fn call(gateway: &Gateway, token: &str) -> Answer {
    gateway.call(&chat(token, ASK))
}

/// Calls that pass until one is refused, and the refusal.
fn until_refused(gateway: &Gateway, token: &str, most: usize) -> (usize, Answer) {
    for passed in 0..most {
        let answer = call(gateway, token);
        if answer.status != 200 {
            return (passed, answer);
        }
    }
    panic!("{most} calls passed");
}

fn window(gateway: &Gateway, budget: &Value) -> Value {
    let path = format!("/{}/windows", id(budget));
    let (status, windows) = api(gateway, "GET", &path, &Value::Null);
    assert_eq!(status, 200, "{windows}");
    windows[0].clone()
}

/// The window once nothing is under way and nothing in hand.
fn spent(gateway: &Gateway, budget: &Value, want: i64) {
    eventually("what was spent", || {
        (window(gateway, budget)["spent"] == want).then_some(())
    });
}

fn passes(gateway: &Gateway, token: &str, what: &str) {
    eventually(what, || (call(gateway, token).status == 200).then_some(()));
}

// LED-45 LED-60 LED-61 LED-84
#[test]
fn money_that_is_used_up_is_refused_until_there_is_more_of_it() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", "");
    let body = json!({"name": "daily", "scope": {"project": "default"}, "limit": "$0.001", "window": "day"});
    let budget = made(&gateway, &body);
    let refused = eventually("a refusal", || {
        let answer = call(&gateway, &token);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 402, "{}", refused.text());
    assert_eq!(refused.code(), "budget_exhausted");
    assert_eq!(refused.json()["error"]["type"], "insufficient_quota");
    assert_eq!(refused.field("x-tollkeep-budget"), Some(id(&budget)));
    assert_eq!(refused.field("x-should-retry"), Some("false"));
    let reset = window(&gateway, &budget)["end"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(refused.field("x-tollkeep-reset"), Some(&*reset));
    assert!(
        !refused.text().contains("0.001"),
        "no amounts: {}",
        refused.text()
    );
    let calls = i64::try_from(origin.count()).unwrap();
    eventually("ends of all calls", || {
        let now = window(&gateway, &budget);
        let spent = now["spent"].as_i64().unwrap();
        assert_eq!(spent % COST, 0, "{now}");
        // The first call may have come before the budget was in force.
        (spent >= (calls - 1) * COST && now["reserved"] == 0).then_some(())
    });
    let now = window(&gateway, &budget);
    let taken = ["spent", "reserved", "leased"].map(|member| now[member].as_i64().unwrap());
    assert!(taken.iter().sum::<i64>() <= 1_000_000, "{now}");
    // More money, then a window that begins anew, then none that counts.
    let path = format!("/{}", id(&budget));
    let (status, told) = api(&gateway, "PATCH", &path, &json!({"limit": "$0.002"}));
    assert_eq!(status, 200, "{told}");
    passes(&gateway, &token, "a call within the new limit");
    let (status, told) = api(&gateway, "PATCH", &path, &json!({"limit": "$0.0001"}));
    assert_eq!(status, 200, "{told}");
    eventually("the lower limit", || {
        (call(&gateway, &token).status == 402).then_some(())
    });
    let (status, told) = api(&gateway, "PATCH", &path, &json!({"limit": "$0.001"}));
    assert_eq!(status, 200, "{told}");
    let (status, told) = api(&gateway, "POST", &format!("{path}/reset"), &Value::Null);
    assert_eq!(status, 200, "{told}");
    passes(&gateway, &token, "a call in the new window");
    until_refused(&gateway, &token, 100);
    assert_eq!(api(&gateway, "DELETE", &path, &Value::Null).0, 204);
    passes(&gateway, &token, "a call that no budget counts");
}

// LED-60 LED-64
#[test]
fn as_many_requests_pass_as_there_may_be() {
    let origin = origin();
    let (gateway, token) = served(
        &origin,
        "",
        "budgets:\n  list:\n    - { name: three, unit: requests, limit: 3, window: lifetime, scope: { route: \"POST /v1/chat/completions\" } }\n    \
         - { name: of others, unit: requests, limit: 0, window: lifetime, scope: { model: \"claude*\" } }\n",
    );
    let (passed, refused) = until_refused(&gateway, &token, 10);
    assert_eq!((passed, origin.count()), (3, 3), "{}", refused.text());
    assert_eq!(refused.status, 402);
    let three = named(&gateway, "three");
    assert_eq!(refused.field("x-tollkeep-budget"), Some(id(&three)));
    assert_eq!(
        refused.field("x-tollkeep-reset"),
        None,
        "it never begins anew"
    );
    spent(&gateway, &three, 3);
}

// LED-62 LLM-61
#[test]
fn a_provider_whose_quota_is_used_up_is_left_alone() {
    let origin = origin();
    let quota =
        "    quota: { limit: 2, unit: requests, reset: monthly, timezone: Europe/Berlin }\n";
    let (gateway, token) = served(&origin, quota, "");
    let (passed, refused) = until_refused(&gateway, &token, 10);
    assert_eq!((passed, origin.count()), (2, 2), "{}", refused.text());
    assert_eq!((refused.status, &*refused.code()), (429, "model_cooldown"));
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&wait), "{wait}");
    let error = &refused.json()["error"];
    let seconds = error["reset_seconds"].as_u64().unwrap();
    assert!((wait..=31 * 86_400).contains(&seconds), "{error}");
    assert_eq!(error["model"], json!("gpt-4o"));
    let reset = error["reset_time"].as_str().unwrap();
    assert!(reset.len() == 24 && reset.ends_with('Z'), "{error}");
    let budget = named(&gateway, "quota%20of%20openai");
    assert_eq!(
        (&budget["origin"], &budget["limit"]),
        (&json!("quota"), &json!(2))
    );
}

// LED-41 LED-42 LLM-41
#[test]
fn a_call_that_a_budget_counts_is_bounded_as_the_settings_say() {
    let origin = origin();
    let config = |rules: &str| {
        let list = r#"list: [{ name: all, limit: "$1", window: day }]"#;
        format!("budgets: {{ {rules}{list} }}\n")
    };
    let free = ASK.replace(r#""max_completion_tokens":10,"#, "");
    for (rules, cap, service) in [
        ("", 16_384, json!("default")),
        ("default_output_cap: 77, ", 77, json!("default")),
        ("pin_service: false, ", 16_384, Value::Null),
    ] {
        let (gateway, token) = served(&origin, "", &config(rules));
        let answer = gateway.call(&chat(&token, &free));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent: Value = serde_json::from_slice(&origin.last().body).unwrap();
        assert_eq!(sent["max_completion_tokens"], cap, "{rules}: {sent}");
        assert_eq!(sent["service_tier"], service, "{rules}: {sent}");
        let told = answer.field("x-tollkeep-max-output");
        assert_eq!(told, Some(&*cap.to_string()));
    }
}

// LED-52 LED-84 LED-86
#[test]
fn what_nobody_told_the_cost_of_is_put_right_once() {
    let origin = Origin::start(|_| {
        let told =
            json!({"object": "chat.completion", "model": "gpt-4o", "usage": {"prompt_tokens": -1}});
        answer(&told)
    });
    let (gateway, token) = served(&origin, "", ALL);
    let budget = named(&gateway, "all");
    for _ in 0..2 {
        assert_eq!(call(&gateway, &token).status, 200);
    }
    let holds = eventually("what is unknown", || {
        let (status, page) = gateway.api("GET", "/api/v1/holds?state=unknown", None);
        assert_eq!(status, 200, "{page}");
        let holds = page["data"].as_array().unwrap().clone();
        (holds.len() == 2).then_some(holds)
    });
    let bound = holds[0]["bound_nano_usd"].as_i64().unwrap();
    assert_eq!(holds[0]["cost_nano_usd"], bound, "all of it is charged");
    spent(&gateway, &budget, 2 * bound);
    let place = |hold: &Value| format!("/api/v1/holds/{}", hold["id"].as_str().unwrap());
    let settle = format!("{}/settle", place(&holds[0]));
    let body = json!({"cost": "$0.00001", "reason": "as billed"});
    for (name, body, want) in [
        ("no reason", json!({"cost": "$0.00001"}), 422),
        ("no cost", json!({"reason": "x"}), 422),
        ("no money", json!({"cost": 5, "reason": "x"}), 422),
        ("good", body.clone(), 204),
        ("again", body, 409),
    ] {
        let (status, told) = gateway.api("POST", &settle, Some(&body));
        assert_eq!(status, want, "{name}: {told}");
    }
    let other = holds[1]["id"].as_str().unwrap();
    let command = [
        "hold",
        "release",
        other,
        "--reason",
        "never billed",
        "--yes",
    ];
    let released = gateway.cli(&command);
    assert!(
        released.status.success(),
        "{}",
        String::from_utf8_lossy(&released.stderr)
    );
    spent(&gateway, &budget, 10_000);
    assert_eq!(gateway.api("GET", &place(&holds[0]), None).0, 404);
    let missing = "/api/v1/holds/hld_00000000000070008000000000000000/release";
    let why = json!({"reason": "x"});
    assert_eq!(gateway.api("POST", missing, Some(&why)).0, 404);
    let event = gateway.audit_line("money.adjust", |event| {
        event["action"] == "money.adjust" && event["details"]["units"] == 10_000
    });
    assert_eq!(event["details"]["reason"], "as billed", "{event}");
}

// LED-45
#[test]
fn a_budget_that_only_looks_refuses_nothing() {
    let origin = origin();
    let (gateway, token) = served(
        &origin,
        "",
        "budgets: { list: [{ name: seen, limit: \"$0.00001\", window: month, enforcement: observe }] }\n",
    );
    let budget = named(&gateway, "seen");
    for _ in 0..3 {
        assert_eq!(call(&gateway, &token).status, 200);
    }
    eventually("what was counted", || {
        let spent = window(&gateway, &budget)["spent"].as_i64().unwrap();
        (spent >= COST && spent % COST == 0).then_some(())
    });
    // What nobody can bound, or has no price, passes as well.
    let unpriced = ASK.replace("gpt-4o", "nobody-knows");
    assert_eq!(gateway.call(&chat(&token, &unpriced)).status, 200);
    let odd = ASK.replace(r#""messages""#, r#""plugins":[],"messages""#);
    assert_eq!(gateway.call(&chat(&token, &odd)).status, 200);
}

// LED-60 LED-64
#[test]
fn a_budget_counts_the_tokens_that_it_names_and_no_others() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", "");
    let (_, page) = gateway.api("GET", "/api/v1/tokens", None);
    let tid = page["data"][0]["id"].as_str().unwrap();
    let other = gateway.mint_token(&json!({"project": "default", "metadata": {"team": "b"}}));
    for scope in [
        json!({ "token": tid }),
        json!({ "tokens": [tid] }),
        json!({"metadata": {"team": "a"}}),
        json!({"provider": "openai"}),
        json!({"model": "gpt-4*"}),
    ] {
        let body =
            json!({"name": "b", "scope": scope, "unit": "requests", "limit": 0, "window": "day"});
        let budget = made(&gateway, &body);
        eventually("a refusal", || {
            (call(&gateway, &token).status != 200).then_some(())
        });
        let of_token = scope.get("provider").or(scope.get("model")).is_none();
        assert_eq!(call(&gateway, &other).status == 200, of_token, "{scope}");
        let path = format!("/{}", id(&budget));
        assert_eq!(api(&gateway, "DELETE", &path, &Value::Null).0, 204);
        passes(&gateway, &token, "a call that no budget counts");
    }
}

// LED-60 LED-64
#[test]
fn what_a_token_may_cost_and_how_often_it_may_call_outlast_its_rotation() {
    let origin = origin();
    let (gateway, _) = served(&origin, "", "");
    let made_token = |members: &Value| {
        let (status, told) = gateway.api("POST", "/api/v1/tokens", Some(members));
        assert_eq!(status, 201, "{told}");
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    };
    let rotated = |id: &str| {
        let (status, told) = gateway.api("POST", &format!("/api/v1/tokens/{id}/rotate"), None);
        assert!(status < 300, "{told}");
        told["secret"].as_str().unwrap().to_owned()
    };
    // Room for a few calls: 402 names its budget, before and after.
    let (tid, token) = made_token(&json!({"project": "default"}));
    let cap =
        json!({"name": "cap", "scope": {"token": tid}, "limit": "$0.001", "window": "lifetime"});
    let budget = made(&gateway, &cap);
    eventually("it is used up", || {
        let rests = window(&gateway, &budget)["reserved"] == 0;
        (call(&gateway, &token).status == 402 && rests).then_some(())
    });
    assert!(window(&gateway, &budget)["spent"].as_i64() > Some(0));
    for token in [token, rotated(&tid)] {
        let refused = call(&gateway, &token);
        assert_eq!(
            (refused.status, &*refused.code()),
            (402, "budget_exhausted")
        );
        assert_eq!(refused.field("x-tollkeep-budget"), Some(id(&budget)));
        assert_eq!(refused.field("x-tollkeep-reset"), None, "it is for life");
    }
    // A count of calls: 429, and no budget of anybody.
    let (tid, token) = made_token(&json!({"project": "default", "max_requests": 3}));
    assert_eq!(call(&gateway, &token).status, 200);
    let next = rotated(&tid);
    for (token, want) in [(&next, 200), (&next, 200), (&next, 429)] {
        assert_eq!(call(&gateway, token).status, want);
    }
    let refused = call(&gateway, &next);
    assert_eq!(
        (refused.status, refused.field("x-tollkeep-budget")),
        (429, None)
    );
    assert_eq!(refused.code(), "rate_limit_exceeded");
}

// LED-60
#[test]
fn several_tokens_share_what_a_budget_has() {
    let origin = origin();
    let (gateway, first) = served(&origin, "", "");
    let pair = json!({"project": "default", "metadata": {"team": "a"}});
    let second = gateway.mint_token(&pair);
    let (_, page) = gateway.api("GET", "/api/v1/tokens", None);
    let ids: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    for scope in [json!({ "tokens": ids }), json!({"metadata": {"team": "a"}})] {
        // Some twenty calls cost it, whoever makes them.
        let limit = json!({ "nano_usd": 1_500_000 });
        let body = json!({"name": "b", "scope": scope, "limit": limit, "window": "day"});
        let budget = made(&gateway, &body);
        let passed = |token: &str| usize::from(call(&gateway, token).status == 200);
        let mut calls = 0;
        eventually("a call that is counted", || {
            calls += passed(&first);
            let counted = || (window(&gateway, &budget)["spent"] != 0).then_some(());
            wait_until(Duration::from_secs(5), counted)
        });
        let (more, refused) = until_refused(&gateway, &second, 100);
        calls += more;
        assert_eq!(refused.status, 402, "{}", refused.text());
        // What the last calls did not use is free again by now, for some more.
        let (_, refused) = until_refused(&gateway, &first, 100);
        assert_eq!(refused.status, 402, "{scope}");
        assert!(more > 0 && calls > more, "{calls} {more}");
        let path = format!("/{}", id(&budget));
        assert_eq!(api(&gateway, "DELETE", &path, &Value::Null).0, 204);
        passes(&gateway, &first, "a call that no budget counts");
    }
}

// LED-60
#[test]
fn a_budget_counts_the_calls_that_go_out_with_its_credential() {
    let origin = origin();
    let (gateway, other) = served(&origin, "", "");
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&json!({"name": "own"})));
    let kept = json!({"provider": "openai", "secret": "sk-known-Zq8kTm2vXw7pLs4n", "project": project["id"]});
    let (status, kept) = gateway.api("POST", "/api/v1/credentials", Some(&kept));
    assert_eq!(status, 201, "{kept}");
    let token = gateway.mint_token(&json!({"project": project["id"]}));
    passes(&gateway, &token, "a call with the credential");
    let scope = json!({ "credential": kept["id"] });
    let body =
        json!({"name": "b", "scope": scope, "unit": "requests", "limit": 0, "window": "day"});
    drop(made(&gateway, &body));
    eventually("a refusal", || {
        (call(&gateway, &token).status == 402).then_some(())
    });
    assert_eq!(call(&gateway, &other).status, 200);
}

// LED-80 ID-31
#[test]
#[expect(clippy::too_many_lines, reason = "one life, step by step")]
fn what_was_spent_is_told_to_operators_and_to_the_holder() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", ALL);
    let budget = named(&gateway, "all");
    for _ in 0..3 {
        assert_eq!(call(&gateway, &token).status, 200);
    }
    spent(&gateway, &budget, 3 * COST);
    let get = |path: &str| {
        let (status, told) = gateway.api("GET", path, None);
        assert_eq!(status, 200, "{path}: {told}");
        told
    };
    let sums = get("/api/v1/usage?group_by=model,day&tz=Europe/Berlin");
    let row = &sums["data"][0];
    assert_eq!(sums["data"].as_array().unwrap().len(), 1, "{sums}");
    assert_eq!(
        (&row["model"], &row["calls"]),
        (&json!("gpt-4o"), &json!(3))
    );
    assert_eq!(row["cost_nano_usd"], 3 * COST);
    assert_eq!(row["cost_usd"], "0.000105000");
    assert_eq!(row["reported_nano_usd"], 3 * COST);
    assert_eq!(row["day"].as_str().unwrap().len(), 10, "{row}");
    assert_eq!(
        (&row["tokens"], &row["output_tokens"]),
        (&json!(33), &json!(3))
    );
    let records = get("/api/v1/usage/records?limit=2&provider=openai");
    assert_eq!(
        (
            records["data"].as_array().unwrap().len(),
            &records["has_more"]
        ),
        (2, &json!(true))
    );
    let cursor = records["next_cursor"].as_str().unwrap();
    let rest = get(&format!(
        "/api/v1/usage/records?limit=2&provider=openai&cursor={cursor}"
    ));
    assert_eq!(rest["data"].as_array().unwrap().len(), 1, "{rest}");
    let record = &rest["data"][0];
    assert_eq!(
        (&record["cost_nano_usd"], &record["quality"]),
        (&json!(COST), &json!("reported"))
    );
    assert!(record["bound_nano_usd"].as_i64().unwrap() > COST);
    assert_eq!(get("/api/v1/usage?route=nowhere")["data"], json!([]));
    let spend = get("/api/v1/spend/project/default");
    assert_eq!(
        (&spend["calls"], &spend["spent_nano_usd"]),
        (&json!(3), &json!(3 * COST))
    );
    assert_eq!(spend["budgets"][0]["id"], budget["id"], "{spend}");
    assert_eq!(spend["budgets"][0]["spent"], 3 * COST);
    let token_id = record["token_id"].as_str().unwrap();
    assert_eq!(
        get(&format!("/api/v1/spend/token/{token_id}"))["spent_nano_usd"],
        3 * COST
    );
    assert_eq!(get("/api/v1/spend/tenant/default")["calls"], 3);
    assert_eq!(
        gateway.api("GET", "/api/v1/spend/project/nobody", None).0,
        404
    );
    for path in [
        "?group_by=colour",
        "?group_by=day,day",
        "?tz=UTC",
        "?from=yesterday",
        "?group_by=day&tz=Mars",
    ] {
        assert_eq!(
            gateway.api("GET", &format!("/api/v1/usage{path}"), None).0,
            400,
            "{path}"
        );
    }
    // The holder, with the permission and without.
    let own = |token: &str| {
        let lines = format!("Authorization: Bearer {token}\r\n");
        gateway
            .call(&head("GET /.well-known/tollkeep/usage", &lines))
            .json()
    };
    let told = own(&token);
    assert_eq!(
        (&told["spent_nano_usd"], &told["calls"]),
        (&json!(3 * COST), &json!(3)),
        "{told}"
    );
    assert_eq!(told["budgets"][0]["limit"], 1_000_000_000);
    let other = gateway.mint_token(&json!({"project": "default"}));
    let told = own(&other);
    assert_eq!(told.get("spent_nano_usd"), None, "{told}");
    assert_eq!(told["budgets"][0].get("limit"), None, "{told}");
    assert!(
        told["budgets"][0]["left_percent"].as_i64().unwrap() <= 100,
        "{told}"
    );
    exported(&gateway);
}

fn exported(gateway: &Gateway) {
    let lines = |format: &str| {
        let output = gateway.cli(&["usage", "export", "--format", format]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let jsonl = lines("jsonl");
    assert_eq!(jsonl.len(), 3);
    let first: Value = serde_json::from_str(&jsonl[0]).unwrap();
    assert_eq!(first["cost_nano_usd"], COST);
    let csv = lines("csv");
    assert_eq!(csv.len(), 4, "{csv:?}");
    assert!(csv[0].contains("cost_nano_usd"), "{csv:?}");
    let spend = gateway.cli(&["spend", "project", "default", "--json"]);
    let spend: Value = serde_json::from_slice(&spend.stdout).unwrap();
    assert_eq!(spend["spent_nano_usd"], 3 * COST);
    let list = gateway.cli(&["usage", "list", "--by", "provider", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list["data"][0]["provider"], "openai", "{list}");
}

// LED-60
#[test]
fn the_doctor_tells_of_tokens_that_no_budget_counts() {
    let origin = origin();
    let (gateway, _token) = served(&origin, "", "");
    let look = || {
        let data = format!("data_dir={}", gateway.data_dir().display());
        let output = Command::new(TOLLKEEP)
            .args(["doctor", "--only", "25", "--json", "--config"])
            .arg(gateway.config_file())
            .args(["--set", &data])
            .env_clear()
            .env("UPSTREAM_KEY", UPSTREAM_KEY)
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["checks"][0].clone()
    };
    let found = look();
    assert_eq!(
        (&found["status"], &found["severity"]),
        (&json!("fail"), &json!("warning")),
        "{found}"
    );
    assert!(found["found"].as_str().unwrap().contains("tid_"), "{found}");
    made(
        &gateway,
        &json!({"name": "all", "limit": "$1", "window": "day"}),
    );
    assert_eq!(look()["status"], "pass");
}
