//! Reports of a month: who may do what, how old keys are, what was changed, what money moved.

use crate::callers::models;
use crate::prepaid::moved;
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, eventually};

fn report(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(&[&["audit", "report"], arguments].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// The rows of a part.
fn rows(report: &str, title: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(report).unwrap();
    let parts = report["parts"].as_array().unwrap();
    let part = parts.iter().find(|part| part["title"] == title).unwrap();
    part["rows"].as_array().unwrap().clone()
}

// AUD-74
#[test]
fn a_report_tells_of_rights_ages_changes_and_money_of_its_month() {
    let gateway = models(&Origin::plain()).start();
    let make = |path: &str, body: &Value| {
        let (status, made) = gateway.api("POST", path, Some(body));
        assert_eq!(status, 201, "{made}");
        made
    };
    let key = make(
        "/api/v1/keys",
        &json!({ "name": "<b>auditor</b>", "role": "viewer" }),
    );
    let project = make("/api/v1/projects", &json!({ "name": "p" }));
    let opened = json!({ "holder": project["id"], "name": "a", "unit": "usd" });
    let account = make("/api/v1/accounts", &opened);
    let path = format!("{}/credit", account["id"].as_str().unwrap());
    for (key, amount) in [("one", 7), ("two", 5)] {
        let paid = json!({ "amount": { "nano_usd": amount }, "unit": "usd", "reason": "paid" });
        let (status, told) = moved(&gateway, (&path, key), &paid);
        assert!(status < 300, "{status}: {told}");
    }
    let changes = eventually("the records are in the database", || {
        let changes = rows(
            &report(&gateway, &["changes", "--json"]),
            "changes by operators",
        );
        let all = ["management_key.create", "project.create"];
        let has = |action: &&str| changes.iter().any(|row| row["action"] == **action);
        all.iter().all(has).then_some(changes)
    });
    let of_project = changes
        .iter()
        .find(|row| row["action"] == "project.create")
        .unwrap();
    assert_eq!(of_project["project_id"], project["id"]);
    assert!(
        changes
            .iter()
            .all(|row| row["action"] != "management_key.list")
    );

    let access = report(&gateway, &["access", "--json"]);
    let holder = rows(&access, "management keys");
    let holder = holder.iter().find(|row| row["id"] == key["id"]).unwrap();
    assert_eq!(holder["role"], "viewer");
    assert!(!access.contains(key["secret"].as_str().unwrap()));
    let given = rows(&access, "rights that changed in the month");
    assert!(
        given
            .iter()
            .any(|row| row["action"] == "management_key.create")
    );
    let ages = rows(&report(&gateway, &["keys", "--json"]), "management keys");
    let aged = ages.iter().find(|row| row["id"] == key["id"]).unwrap();
    assert_eq!(aged["age_days"], 0);

    let money = eventually("the payments are in the database", || {
        let money = rows(&report(&gateway, &["money", "--json"]), "money that moved");
        let credited = money
            .into_iter()
            .find(|row| row["action"] == "money.credit")?;
        (credited["events"] == 2).then_some(credited)
    });
    assert_eq!(money["amount"], "12");

    // Another month has none of it.
    let other = report(&gateway, &["changes", "--month", "2001-02", "--json"]);
    assert_eq!(rows(&other, "changes by operators"), Vec::<Value>::new());
    let page = report(&gateway, &["access", "--html"]);
    assert!(page.starts_with("<!doctype html>"));
    assert!(page.contains("&lt;b&gt;auditor&lt;/b&gt;") && !page.contains("<b>auditor"));
    let wrong = gateway.cli(&["audit", "report", "access", "--month", "2026-13"]);
    assert_eq!(wrong.status.code(), Some(2));
}
