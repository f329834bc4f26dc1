//! Budgets as operators make them: by the API, by commands, by settings.

use crate::fixture::{gateway, llm};
use crate::operators::key as key_of;
use crate::reload::{events, reload, reloaded, unwatched};
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin};

const PLACE: &str = "/api/v1/budgets";

pub(crate) fn api(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = Some(body).filter(|body| !body.is_null());
    gateway.api(method, &format!("{PLACE}{path}"), body)
}

pub(crate) fn made(gateway: &Gateway, body: &Value) -> Value {
    let (status, made) = api(gateway, "POST", "", body);
    assert_eq!(status, 201, "{made}");
    made
}

fn names(gateway: &Gateway) -> Vec<String> {
    let (status, page) = api(gateway, "GET", "?limit=200", &Value::Null);
    assert_eq!(status, 200, "{page}");
    let rows = page["data"].as_array().unwrap().iter();
    let mut names: Vec<_> = rows
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

pub(crate) fn named(gateway: &Gateway, name: &str) -> Value {
    let (_, page) = api(gateway, "GET", &format!("?name={name}"), &Value::Null);
    page["data"][0].clone()
}

pub(crate) fn id(budget: &Value) -> &str {
    budget["id"].as_str().unwrap()
}

// LED-4 LED-60 LED-61 LED-84 LED-86
#[test]
#[expect(clippy::too_many_lines, reason = "one life, step by step")]
fn a_budget_is_made_seen_changed_reset_and_ended() {
    let gateway = gateway("").start();
    let body = json!({
        "name": "team", "scope": {"project": "default"}, "limit": "$12.50",
        "window": "month", "timezone": "europe/berlin", "warn": [80, 50, 100],
    });
    let budget = made(&gateway, &body);
    let path = format!("/{}", id(&budget));
    for (member, want) in [
        ("unit", json!("usd")),
        ("count", Value::Null),
        ("limit", json!(12_500_000_000_i64)),
        ("limit_usd", json!("12.500000000")),
        ("window", json!("month")),
        ("timezone", json!("Europe/Berlin")),
        ("enforcement", json!("hard")),
        ("durability", json!("lease")),
        ("warn", json!([50, 80, 100])),
        ("origin", json!("api")),
    ] {
        assert_eq!(budget[member], want, "{member}: {budget}");
    }
    assert!(
        budget["scope"]["project"]
            .as_str()
            .unwrap()
            .starts_with("prj_")
    );
    assert_eq!(
        api(&gateway, "GET", &path, &Value::Null),
        (200, budget.clone())
    );
    let (status, twice) = api(&gateway, "POST", "", &body);
    assert_eq!(
        (status, &twice["code"]),
        (409, &json!("conflict")),
        "{twice}"
    );
    let change =
        json!({"name": "all", "limit": {"nano_usd": 7}, "enforcement": "observe", "warn": []});
    let (status, tried) = api(&gateway, "PATCH", &format!("{path}?dry_run=true"), &change);
    assert_eq!((status, &tried["limit"]), (200, &json!(7)), "{tried}");
    assert_eq!(named(&gateway, "team"), budget, "nothing was changed");
    let (status, changed) = api(&gateway, "PATCH", &path, &change);
    assert_eq!(status, 200, "{changed}");
    assert_eq!(changed["limit_usd"], "0.000000007");
    assert_eq!(
        (&changed["name"], &changed["enforcement"]),
        (&json!("all"), &json!("observe"))
    );
    let (status, window) = api(&gateway, "POST", &format!("{path}/reset"), &Value::Null);
    assert_eq!(status, 200, "{window}");
    assert_eq!(
        (&window["spent"], &window["left"]),
        (&json!(0), &json!(7)),
        "{window}"
    );
    assert!(window["end"].is_string(), "{window}");
    let (status, windows) = api(&gateway, "GET", &format!("{path}/windows"), &Value::Null);
    assert_eq!((status, &windows[0]), (200, &window), "{windows}");
    assert_eq!(api(&gateway, "DELETE", &path, &Value::Null).0, 204);
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/reset")),
        ("GET", format!("{path}/windows")),
    ] {
        assert_eq!(
            api(&gateway, method, &path, &Value::Null).0,
            404,
            "{method}"
        );
    }
    assert_eq!(names(&gateway), [""; 0]);
    for action in ["create", "read", "list", "update", "reset", "delete"] {
        let action = format!("budget.{action}");
        gateway.audit_line(&action, |event| {
            event["action"] == action.as_str() && event["class"] == "management"
        });
    }
    let updates = events(&gateway, "budget.update");
    assert_eq!(updates.last().unwrap()["details"]["name"], budget["id"]);
}

// LED-1 LED-4 LED-60
#[test]
#[expect(clippy::too_many_lines, reason = "a row for each way to get it wrong")]
fn what_no_budget_can_be_is_told_with_its_place() {
    let gateway = gateway("").start();
    let good = json!({"name": "b", "limit": "$1", "window": "day"});
    for (name, member, value, told) in [
        ("float", "limit", json!(12.5), "no float"),
        ("below zero", "limit", json!("-$1"), "an amount is"),
        ("below zero, a number", "limit", json!(-1), "no float"),
        ("no unit", "limit", json!("12"), "needs the `$`"),
        ("money as a number", "limit", json!(12), "is money"),
        ("too fine", "limit", json!("$0.0000000001"), "an amount is"),
        (
            "too much",
            "limit",
            json!("$9999999999"),
            "at most $9223372036",
        ),
        ("no nano", "limit", json!({"nano_usd": 1.5}), "nano-dollars"),
        (
            "more than nano",
            "limit",
            json!({"nano_usd": 1, "usd": 1}),
            "alone",
        ),
        ("no limit", "limit", Value::Null, "required"),
        ("fortnight", "window", json!("fortnight"), "want `day`"),
        ("part of a minute", "window", json!("90s"), "whole minutes"),
        ("too long", "window", json!("400d"), "366 days"),
        ("no window", "window", Value::Null, "required"),
        ("nowhere", "timezone", json!("Europe/Atlantis"), "IANA"),
        ("no such unit", "unit", json!("euro"), "must be one of"),
        (
            "count of money",
            "count",
            json!("output"),
            "budgets of tokens",
        ),
        ("no scope", "scope", json!({}), "exactly one"),
        (
            "two scopes",
            "scope",
            json!({"route": "a", "model": "b"}),
            "exactly one",
        ),
        (
            "unknown scope",
            "scope",
            json!({"team": "a"}),
            "unknown member",
        ),
        (
            "no such project",
            "scope",
            json!({"project": "nobody"}),
            "no such project",
        ),
        ("no token", "scope", json!({"token": "tok-1"}), "tid_"),
        (
            "no such token",
            "scope",
            json!({"token": "tid_00000000000070008000000000000000"}),
            "no such token",
        ),
        ("no tokens", "scope", json!({"tokens": []}), "1 to 1000"),
        (
            "two pairs",
            "scope",
            json!({"metadata": {"a": "b", "c": "d"}}),
            "one name",
        ),
        (
            "another tenant",
            "scope",
            json!({"tenant": "ten_00000000000070008000000000000000"}),
            "own tenant",
        ),
        ("warned too late", "warn", json!([101]), "from 1 to 100"),
        ("no name", "name", json!(" "), "1 to 100 characters"),
        (
            "unknown member",
            "carry_over",
            json!("unused"),
            "unknown member",
        ),
    ] {
        let mut body = good.clone();
        body[member] = value;
        let (status, refused) = api(&gateway, "POST", "", &body);
        assert_eq!(status, 422, "{name}: {refused}");
        assert!(refused.to_string().contains(told), "{name}: {refused}");
        let at = format!("/{member}");
        let is_at = |error: &Value| error["path"] == at.as_str();
        let errors = refused["errors"].as_array().cloned().unwrap_or_default();
        assert!(
            name == "no name" || errors.iter().any(is_at),
            "{name}: {refused}"
        );
    }
    let tokens = json!({"name": "b", "unit": "tokens", "limit": "$1", "window": "24h"});
    let (status, refused) = api(&gateway, "POST", "", &tokens);
    assert_eq!(status, 422);
    assert!(refused.to_string().contains("is no money"), "{refused}");
    let zoned = json!({"name": "b", "limit": "$1", "window": "24h", "timezone": "UTC"});
    let (status, refused) = api(&gateway, "POST", "", &zoned);
    assert_eq!(status, 422);
    assert!(
        refused.to_string().contains("only windows of a calendar"),
        "{refused}"
    );
    assert_eq!(names(&gateway), [""; 0]);
    let budget = made(&gateway, &good);
    let path = format!("/{}", id(&budget));
    for (body, want) in [
        (json!({}), 400),
        (json!({"limit": 5}), 422),
        (json!({"window": "week"}), 422),
    ] {
        assert_eq!(api(&gateway, "PATCH", &path, &body).0, want, "{body}");
    }
    assert_eq!(named(&gateway, "b"), budget);
}

// LED-60
#[test]
fn a_tenants_budgets_are_missing_to_others() {
    let gateway = gateway("").start();
    let tenant = |slug: &str| {
        let body = json!({"slug": slug, "name": slug});
        let (status, made) = gateway.api("POST", "/api/v1/tenants", Some(&body));
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let (a, b) = (tenant("a"), tenant("b"));
    let body = json!({"name": "of a", "tenant": "a", "limit": "$1", "window": "day"});
    let budget = made(&gateway, &body);
    assert_eq!(budget["scope"], json!({ "tenant": a }));
    let key = json!({"name": "k", "role": "tenant-admin", "tenant_id": b});
    let (_, key) = key_of(&gateway, &key);
    let path = format!("{PLACE}/{}", id(&budget));
    let change = json!({"limit": "$2"}).to_string();
    for (method, path, body) in [
        ("GET", path.clone(), ""),
        ("PATCH", path.clone(), change.as_str()),
        ("DELETE", path.clone(), ""),
        ("POST", format!("{path}/reset"), ""),
        ("GET", format!("{path}/windows"), ""),
    ] {
        let answer = as_key(&gateway, &key, method, &path, body);
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
    }
    let page = as_key(&gateway, &key, "GET", PLACE, "").json();
    assert_eq!(page["data"], json!([]));
    let project =
        json!({"name": "mine", "scope": {"project": "default"}, "limit": "$1", "window": "day"});
    let refused = as_key(&gateway, &key, "POST", PLACE, &project.to_string());
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(named(&gateway, "of%20a"), budget);
}

fn as_key(
    gateway: &Gateway,
    key: &str,
    method: &str,
    path: &str,
    body: &str,
) -> tollkeep_testkit::Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    tollkeep_testkit::Client::connect(gateway.management()).call(request.as_bytes())
}

const LISTED: &str = r#"budgets:
  list:
    - { name: team, scope: { project: default }, limit: "$100", window: { calendar: day },
        timezone: Europe/Berlin, warn: [50, 80, 100] }
    - { name: calls, unit: requests, limit: 1000, window: { rolling: "24h" }, enforcement: observe }
    - { name: spoken, unit: tokens, count: output, limit: 5, window: lifetime, durability: strict,
        scope: { model: "gpt-5*" } }
"#;

// LED-4 LED-60 LED-61
#[test]
fn budgets_of_settings_are_there_as_long_as_they_stand_in_them() {
    let gateway = unwatched(LISTED).start();
    assert_eq!(names(&gateway), ["calls", "spoken", "team"]);
    let team = named(&gateway, "team");
    assert_eq!(team["origin"], "config");
    assert_eq!(
        (&team["window"], &team["timezone"]),
        (&json!("day"), &json!("Europe/Berlin"))
    );
    let calls = named(&gateway, "calls");
    assert_eq!(
        (&calls["window"], &calls["limit"]),
        (&json!("1d"), &json!(1000))
    );
    assert_eq!(
        (&calls["enforcement"], &calls["limit_usd"]),
        (&json!("observe"), &Value::Null)
    );
    let spoken = named(&gateway, "spoken");
    assert_eq!(
        (&spoken["count"], &spoken["durability"]),
        (&json!("output"), &json!("strict"))
    );
    assert_eq!(spoken["scope"], json!({"model": "gpt-5*"}));
    made(
        &gateway,
        &json!({"name": "own", "limit": "$1", "window": "day"}),
    );
    let path = format!("/{}", id(&team));
    for (method, body) in [("PATCH", json!({"limit": "$1"})), ("DELETE", Value::Null)] {
        let (status, refused) = api(&gateway, method, &path, &body);
        assert_eq!(status, 409, "{refused}");
        assert!(refused.to_string().contains("budgets.list"), "{refused}");
    }
    let dearer = LISTED.replace("$100", "$200").replace("calls", "asked");
    reloaded(&gateway, &dearer);
    assert_eq!(names(&gateway), ["asked", "own", "spoken", "team"]);
    let after = named(&gateway, "team");
    assert_eq!(
        (id(&after), &after["limit_usd"]),
        (id(&team), &json!("200.000000000"))
    );
    gateway.configure(dearer.replace("project: default", "project: nobody"));
    let (status, refused) = reload(&gateway);
    assert_eq!(status, 422, "{refused}");
    assert!(
        refused
            .to_string()
            .contains("budgets.list[0].scope: there is no such project")
    );
    assert_eq!(named(&gateway, "team"), after, "nothing was changed");
    reloaded(&gateway, "reload: { watch: false }\n");
    assert_eq!(names(&gateway), ["own"]);
    // A restart begins with the settings of the first start.
    let gateway = gateway.restart().unwrap();
    assert_eq!(names(&gateway), ["calls", "own", "spoken", "team"]);
    assert_eq!(
        id(&named(&gateway, "team")),
        id(&team),
        "nothing is forgotten"
    );
}

// LED-60
#[test]
fn a_gateway_whose_settings_name_a_project_that_is_not_there_does_not_start() {
    let config = LISTED.replace("project: default", "project: nobody");
    let Err(told) = gateway(config).try_start() else {
        panic!("it started");
    };
    let told = format!("{told:?}");
    assert!(told.contains("budgets.list[0].scope"), "{told}");
}

fn json_of(output: &std::process::Output) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
}

// LED-84
#[test]
#[expect(clippy::too_many_lines, reason = "one life, step by step")]
fn the_command_makes_shows_changes_resets_and_ends_budgets() {
    let (gateway, _) = llm(&Origin::plain(), "openai", "");
    let run = |arguments: &[&str]| gateway.cli(&[&["budget"], arguments, &["--json"]].concat());
    let team = json_of(&run(&[
        "create",
        "team",
        "$12.50",
        "month",
        "--project",
        "default",
        "--timezone",
        "Europe/Berlin",
        "--warn",
        "50,80",
    ]));
    assert_eq!(
        (&team["limit"], &team["warn"]),
        (&json!(12_500_000_000_i64), &json!([50, 80]))
    );
    let tokens = json_of(&run(&[
        "create",
        "tokens",
        "1000000",
        "24h",
        "--unit",
        "tokens",
        "--count",
        "billable",
        "--metadata",
        "team=a",
        "--enforcement",
        "observe",
    ]));
    assert_eq!(tokens["scope"], json!({"metadata": {"team": "a"}}));
    let listed = json_of(&run(&["list", "--kind", "project"]));
    assert_eq!(listed["data"], json!([team]));
    let shown = json_of(&run(&["get", id(&team)]));
    assert_eq!(shown, team);
    let changed = json_of(&run(&[
        "update",
        id(&tokens),
        "--limit",
        "5",
        "--enforcement",
        "hard",
    ]));
    assert_eq!(
        (&changed["limit"], &changed["enforcement"]),
        (&json!(5), &json!("hard"))
    );
    let windows = json_of(&run(&["windows", id(&tokens)]));
    assert_eq!(windows["data"][0]["left"], 5, "{windows}");
    let reset = json_of(&run(&["reset", id(&tokens), "--yes"]));
    assert_eq!(reset["data"][0]["spent"], 0, "{reset}");
    assert!(run(&["delete", id(&tokens), "--yes"]).status.success());
    assert_eq!(names(&gateway), ["team"]);
    for (name, arguments, told) in [
        ("no sign", &["create", "b", "12", "day"][..], "is money"),
        (
            "two scopes",
            &["create", "b", "$1", "day", "--route", "a", "--model", "b"],
            "cannot be used",
        ),
        (
            "no such budget",
            &["get", "bud_00000000000070008000000000000000"],
            "No such",
        ),
    ] {
        let output = run(arguments);
        assert!(!output.status.success(), "{name}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.to_lowercase().contains(&told.to_lowercase()),
            "{name}: {text}"
        );
    }
}
