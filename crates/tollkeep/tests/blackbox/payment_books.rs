//! What operators read of payments and write down of them: lists for other programs, sums, and credit
//! that they sent back.

use crate::bought::{bought, config, rests};
use crate::callers::get;
use crate::fixture::gateway;
use crate::paid_fixture::{open, proof, shown};
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, Step, ok};

const ROUTES: &str = "  \"GET /a\": { upstream: origin, price: \"$0.01\" }\n  \
     \"GET /b\": { upstream: origin, price: \"$0.02\" }\n";

fn shop() -> (Origin, Gateway) {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/a?away" => vec![Step::Send(
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )],
        _ => ok(b"ha"),
    });
    let gateway = gateway(config(&origin, ROUTES)).start();
    (origin, gateway)
}

fn api(gateway: &Gateway, path: &str) -> Value {
    let (status, told) = gateway.api("GET", path, None);
    assert_eq!(status, 200, "{path}: {told}");
    told
}

fn printed(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Rows of a sum: by what, how many payments, and how much.
fn rows(sums: &Value) -> Vec<String> {
    let row = |sum: &Value| {
        let by = sum["by"].as_str().unwrap_or("-");
        format!(
            "{by}: {} {}",
            sum["payments"],
            sum["amount"].as_str().unwrap()
        )
    };
    sums.as_array().unwrap().iter().map(row).collect()
}

// PAY-96
#[test]
fn what_was_earned_and_what_is_owed_is_summed_up_and_exported() {
    let (_origin, gateway) = shop();
    for path in ["/a", "/a", "/b", "/a?away"] {
        bought(&gateway, path);
    }
    rests(&gateway);
    let by_route = api(&gateway, "/api/v1/revenue?by=route");
    assert_eq!(rows(&by_route), ["GET /b: 1 20000", "GET /a: 2 20000"]);
    assert_eq!(rows(&api(&gateway, "/api/v1/revenue")), rows(&by_route));
    let by_rail = api(&gateway, "/api/v1/revenue?by=rail");
    assert_eq!(rows(&by_rail), ["x402: 3 40000"]);
    let by_day = api(&gateway, "/api/v1/revenue?by=day");
    let days: Vec<_> = by_day.as_array().unwrap().iter().collect();
    assert!(
        !days.is_empty() && days.len() < 3,
        "at most one midnight: {by_day}"
    );
    assert_eq!(
        days[0]["by"].as_str().map(str::len),
        Some("2026-11-23".len())
    );
    let later = api(&gateway, "/api/v1/revenue?since=2999-01-01T00:00:00Z");
    assert_eq!(later, json!([]));
    assert_eq!(gateway.api("GET", "/api/v1/revenue?by=payer", None).0, 400);
    let credits = api(&gateway, "/api/v1/credits");
    assert_eq!(rows(&credits), ["-: 1 10000"]);
    let lines = printed(&gateway, &["payment", "export"]);
    let exported: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let listed = api(&gateway, "/api/v1/payments");
    assert_eq!(json!(exported), listed["data"]);
    assert_eq!(exported.len(), 4);
    let of_credit = ["payment", "export", "--format", "csv", "--state", "credit"];
    let table = printed(&gateway, &of_credit);
    let mut rows = table.lines();
    let names: Vec<&str> = rows.next().unwrap().split(',').collect();
    for name in ["id", "state", "route", "payer", "received", "transaction"] {
        assert!(names.contains(&name), "{name}: {table}");
    }
    let row: Vec<&str> = rows.next().unwrap().split(',').collect();
    let at = |name: &str| row[names.iter().position(|known| *known == name).unwrap()];
    assert_eq!(
        (at("state"), at("route"), at("received")),
        ("credit", "GET /a", "10000")
    );
    assert_eq!(rows.next(), None, "{table}");
    for filter in [
        ["--route", "GET /none"],
        ["--since", "2999-01-01T00:00:00Z"],
    ] {
        let nothing = printed(&gateway, &["payment", "export", filter[0], filter[1]]);
        assert_eq!(nothing, "", "{filter:?}");
    }
    let wrong = gateway.cli(&["payment", "export", "--state", "lost"]);
    assert!(!wrong.status.success(), "{wrong:?}");
}

// PAY-2 PAY-74 PAY-96 AUD-10
#[test]
fn credit_that_was_sent_back_is_owed_no_more_and_buys_nothing() {
    let (_origin, gateway) = shop();
    let unpaid = open(&gateway, &get("/a?away", ""));
    let line = shown(&proof(&unpaid));
    assert_eq!(gateway.call(&get("/a?away", &line)).status, 503);
    bought(&gateway, "/b");
    rests(&gateway);
    let payments = api(&gateway, "/api/v1/payments");
    let id = |state: &str| {
        let rows = payments["data"].as_array().unwrap();
        let row = rows.iter().find(|row| row["state"] == state).unwrap();
        row["id"].as_str().unwrap().to_owned()
    };
    let (credit, spent) = (id("credit"), id("spent"));
    let refund = |id: &str, body: &Value| {
        let path = format!("/api/v1/payments/{id}/refund");
        gateway.api("POST", &path, Some(body)).0
    };
    for wrong in [
        json!({}),
        json!({"transaction": " "}),
        json!({"transaction": "0x1", "to": "me"}),
    ] {
        assert_eq!(refund(&credit, &wrong), 422, "{wrong}");
    }
    assert_eq!(refund(&spent, &json!({"transaction": "0x1"})), 409);
    let told = printed(
        &gateway,
        &[
            "payment",
            "refund",
            &credit,
            "--transaction",
            "0xfeed",
            "--evidence",
            "block 9",
            "--yes",
            "--json",
        ],
    );
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["state"], "voided", "{told}");
    assert_eq!(told["reason"], "refunded by 0xfeed block 9", "{told}");
    assert_eq!(refund(&credit, &json!({"transaction": "0x1"})), 409, "once");
    assert_eq!(api(&gateway, "/api/v1/credits"), json!([]));
    let again = gateway.call(&get("/a?away", &line));
    assert_eq!(
        (again.status, again.code().as_str()),
        (402, "payment_already_used")
    );
    let event = gateway.audit_line("the refund", |line| {
        line["action"] == "money.refund" && line["result"] == "success"
    });
    assert_eq!(event["details"]["name"], credit.as_str(), "{event}");
    assert_eq!(event["details"]["kind"], "refunded", "{event}");
    rests(&gateway);
    let earned = api(&gateway, "/api/v1/revenue?by=rail");
    assert_eq!(rows(&earned), ["x402: 1 20000"]);
}
