//! Signed receipts: given to whoever made the call, and checked without the gateway.

use crate::budgets::made;
use crate::callers::{bearer, get};
use crate::fixture::{TOLLKEEP, chat};
use crate::prepaid::{moved, opened};
use crate::prices_own::{KEY, SIGNATURE, TABLE};
use crate::spending::{call, origin, served};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tollkeep_crypto::receipt::ReceiptKey;
use tollkeep_crypto::sha256;
use tollkeep_ledger::receipt::{ProviderText, Receipt};
use tollkeep_testkit::{Gateway, Origin, eventually, json as answer};
use tollkeep_types::WallMillis;

const KEYS: &str = "/.well-known/tollkeep/receipt-keys";

fn place(request: &str) -> String {
    format!("/.well-known/tollkeep/receipts/{request}")
}

fn budget(gateway: &Gateway) {
    let body =
        json!({"name": "all", "scope": {"project": "default"}, "limit": "$10", "window": "month"});
    made(gateway, &body);
    // The data plane counts calls from here on.
    eventually("the budget", || {
        let (_, page) = gateway.api("GET", "/api/v1/budgets", None);
        (page["data"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
}

/// A call that the budget counts: its request.
fn counted(gateway: &Gateway, token: &str) -> String {
    let answer = eventually("a counted call", || {
        let answer = call(gateway, token);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let counted = answer.field("x-tollkeep-max-output").is_some();
        counted.then_some(answer)
    });
    answer.field("x-request-id").unwrap().to_owned()
}

/// The receipts of a request, once its usage is written.
fn receipts(gateway: &Gateway, token: &str, request: &str) -> Vec<String> {
    let answer = eventually("receipts", || {
        let answer = gateway.call(&get(&place(request), &bearer(token)));
        (answer.status == 200).then_some(answer)
    });
    let answer = answer.json();
    let all = answer["receipts"].as_array().unwrap().iter();
    all.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn kept(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The exit code of a check, and what it found.
fn verify(file: &Path, keys: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let run = Command::new(TOLLKEEP)
        .args(["receipt", "verify", "--json", "--keys"])
        .arg(keys)
        .arg(file)
        .args(more)
        .output()
        .unwrap();
    let found = serde_json::from_slice(&run.stdout).unwrap_or(Value::Null);
    (run.status.code(), found)
}

// LED-82 LED-83
#[test]
fn a_call_has_a_receipt_that_its_caller_gets_and_anybody_can_check() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", "");
    budget(&gateway);
    let mut texts = Vec::new();
    for _ in 0..3 {
        let request = counted(&gateway, &token);
        let first = receipts(&gateway, &token, &request);
        assert_eq!(first.len(), 1);
        assert_eq!(
            first,
            receipts(&gateway, &token, &request),
            "the same again"
        );
        // Nobody else's business.
        let other = gateway.mint_token(&json!({"project": "default"}));
        let answer = gateway.call(&get(&place(&request), &bearer(&other)));
        assert_eq!(answer.status, 404, "{}", answer.text());
        assert_eq!(gateway.call(&get(&place(&request), "")).status, 401);
        texts.extend(first);
    }
    let keys = gateway.call(&get(KEYS, ""));
    assert_eq!(keys.status, 200, "{}", keys.text());
    assert!(!keys.text().contains("\"d\""), "only what is public");
    let folder = tempfile::tempdir().unwrap();
    let keys = kept(folder.path(), "keys.json", &keys.text());
    let file = kept(folder.path(), "receipts", &texts.join("\n"));
    let (code, found) = verify(&file, &keys, &[]);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(
        (&found["receipts"], &found["reckoned"]),
        (&json!(3), &json!(3)),
        "{found}"
    );
    // Without the second one there is a gap, which one may say is known.
    let file = kept(folder.path(), "gap", &[&*texts[0], &*texts[2]].join("\n"));
    let (code, found) = verify(&file, &keys, &[]);
    assert_eq!(code, Some(8), "{found}");
    assert_eq!(verify(&file, &keys, &["--some"]).0, Some(0));
    let none = gateway.call(&get(
        &place("req_0198c0ffee0070008000000000000001"),
        &bearer(&token),
    ));
    assert_eq!(none.status, 404);
}

pub(crate) fn payload(receipt: &str) -> Value {
    let payload = receipt.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

// LED-30 LED-32 LED-34 LED-82 LED-83
#[test]
fn a_receipt_names_the_price_table_of_its_quote_whatever_came_since() {
    let origin = origin();
    let keys = format!("prices: {{ keys: [\"{KEY}\"] }}\n");
    let (gateway, token) = served(&origin, "", &keys);
    budget(&gateway);
    let call_of = |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        let answer = gateway.call(&chat(&token, &body.to_string()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.field("x-request-id").unwrap().to_owned()
    };
    let shipped = counted(&gateway, &token);
    let signed = json!({"document": TABLE, "signature": SIGNATURE});
    let (status, taken) = gateway.api("POST", "/api/v1/prices/import", Some(&signed));
    assert_eq!(status, 200, "{taken}");
    let imported = call_of("m");
    let (status, _) = gateway.api("DELETE", "/api/v1/prices/import", None);
    assert_eq!(status, 200);
    let put = |id: &str, one: &Value| {
        let path = format!("/api/v1/prices/overrides/{id}");
        let (status, told) = gateway.api("PUT", &path, Some(&json!({ "override": one })));
        assert_eq!(status, 200, "{told}");
    };
    put("all", &json!({"markup": "11/10", "provider": "openai"}));
    let marked_up = call_of("gpt-4o");
    let base = json!({"in_text": 5000, "out_text": 5000});
    let rates = json!([{"from": "2025-01-01T00:00:00Z", "base": base}]);
    let model = json!({"model": "gpt-4o", "provider": "openai", "max_input": 100_000,
        "max_output": 1000, "rates": rates});
    put("mine", &model);
    let own = call_of("gpt-4o");
    let requests = [&shipped, &imported, &marked_up, &own];
    for request in requests {
        eventually("its usage record", || {
            let path = format!("/api/v1/usage/records?request={request}");
            let (_, page) = gateway.api("GET", &path, None);
            (page["data"].as_array().map(Vec::len) == Some(1)).then_some(())
        });
    }
    // Receipts are made when they are asked for: by now all prices are others, and by another process.
    let gateway = gateway.restart().unwrap();
    let texts = requests.map(|request| receipts(&gateway, &token, request).remove(0));
    let told = texts.each_ref().map(|text| payload(text));
    let version = |at: usize| told[at]["price"]["version"].clone();
    let is_own = |at: usize| told[at]["price"]["own"].clone();
    assert_eq!(version(1), "2027-01-01.1", "{told:?}");
    for at in [2, 3] {
        assert_eq!(version(at), version(0), "{told:?}");
    }
    assert_ne!(version(0), version(1), "{told:?}");
    let owns = [0, 1, 2, 3].map(is_own);
    assert_eq!(json!(owns), json!([false, false, false, true]), "{told:?}");
    // 10 × $2.50/M and 1 × $10/M, and a tenth more.
    assert_eq!(told[0]["cost"]["amount"], 35_000, "{told:?}");
    assert_eq!(told[2]["cost"]["amount"], 38_500, "{told:?}");
    assert_eq!(told[2]["cost"]["upstream"], 35_000, "{told:?}");
    let keys = gateway.call(&get(KEYS, ""));
    let folder = tempfile::tempdir().unwrap();
    let keys = kept(folder.path(), "keys.json", &keys.text());
    let table = kept(folder.path(), "table.json", TABLE);
    let file = kept(folder.path(), "receipts", &texts.join("\n"));
    let (code, found) = verify(&file, &keys, &["--some"]);
    assert_eq!(
        (code, &found["faults_in_all"]),
        (Some(8), &json!(1)),
        "{found}"
    );
    let table = table.to_str().unwrap();
    let (code, found) = verify(&file, &keys, &["--some", "--table", table]);
    assert_eq!((code, &found["reckoned"]), (Some(0), &json!(3)), "{found}");
}

// LED-52 LED-82
#[test]
fn a_cost_that_was_put_right_has_another_receipt_that_names_the_first_one() {
    // Nobody says what it cost.
    let origin = Origin::start(|_| answer(&json!({"id": "x", "model": "gpt-4o", "choices": []})));
    let (gateway, token) = served(&origin, "", "");
    budget(&gateway);
    let request = counted(&gateway, &token);
    let first = receipts(&gateway, &token, &request);
    let told = payload(&first[0]);
    assert_eq!(
        (first.len(), &told["quality"]),
        (1, &json!("unknown")),
        "{told}"
    );
    assert_eq!(told["cost"]["amount"], told["cost"]["bound"], "{told}");
    let hold = told["hold"].as_str().unwrap();
    let settle = |hold: &str, cost: &str| {
        let told = [
            "hold", "settle", hold, cost, "--reason", "its bill", "--yes",
        ];
        gateway.cli(&told)
    };
    let settled = settle(hold, "$0.000001");
    assert!(settled.status.success(), "{settled:?}");
    let both = receipts(&gateway, &token, &request);
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(both[0], first[0], "what was signed stays");
    let told = payload(&both[1]);
    assert_eq!(
        (&told["cost"]["amount"], &told["corrected"]),
        (&json!(1_000), &json!(true)),
        "{told}"
    );
    let hash = sha256(&[first[0].as_bytes()]);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told["adj"], json!(hash), "{told}");
    assert_eq!(receipts(&gateway, &token, &request), both, "the same again");
    assert_eq!(
        named(&gateway, &request),
        place_of(&both[1]),
        "the one that is right"
    );
    // Whoever asks late gets one receipt, which says it.
    let late = counted(&gateway, &token);
    let hold = format!("hld_{}", late.strip_prefix("req_").unwrap());
    eventually("its end", || {
        let settled = settle(&hold, "$0.000002");
        settled.status.success().then_some(())
    });
    let one = receipts(&gateway, &token, &late);
    let told = payload(&one[0]);
    assert_eq!(
        (one.len(), &told["cost"]["amount"]),
        (1, &json!(2_000)),
        "{told}"
    );
    assert_eq!(
        (&told["corrected"], &told["adj"]),
        (&json!(true), &Value::Null),
        "{told}"
    );
    let keys = gateway.call(&get(KEYS, ""));
    let folder = tempfile::tempdir().unwrap();
    let keys = kept(folder.path(), "keys.json", &keys.text());
    let file = kept(folder.path(), "receipts", &[both, one].concat().join("\n"));
    let (code, found) = verify(&file, &keys, &[]);
    assert_eq!(code, Some(0), "{found}");
}

/// The record of a request.
fn record(gateway: &Gateway, request: &str) -> Value {
    eventually("its record", || {
        let path = format!("/api/v1/usage/records?request={request}");
        let (status, page) = gateway.api("GET", &path, None);
        assert_eq!(status, 200, "{page}");
        let record = page["data"].get(0)?;
        Some(record.clone())
    })
}

/// The receipt that the record of a request names: its chain, and its place there.
fn named(gateway: &Gateway, request: &str) -> [Value; 2] {
    let record = record(gateway, request);
    ["receipt_chain", "receipt_seq"].map(|name| record[name].clone())
}

fn place_of(receipt: &str) -> [Value; 2] {
    let told = payload(receipt);
    ["chain", "seq"].map(|name| told[name].clone())
}

// LED-70 LED-82
#[test]
fn a_record_names_its_receipt_and_a_receipt_its_method_and_who_paid() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", "");
    budget(&gateway);
    let plain = counted(&gateway, &token);
    let told = payload(&receipts(&gateway, &token, &plain)[0]);
    assert_eq!(told["method"], "POST", "{told}");
    assert_eq!(told["pay"], Value::Null, "nobody has paid for it: {told}");
    let account = opened(&gateway, "usd");
    let paid_in = json!({"amount": "$5", "reason": "paid in"});
    let (status, said) = moved(&gateway, (&format!("{account}/credit"), "one"), &paid_in);
    assert!(status < 300, "{said}");
    let (mut asked, mut unasked) = (String::new(), String::new());
    eventually("a call that the account pays", || {
        (asked, unasked) = (counted(&gateway, &token), counted(&gateway, &token));
        let all = receipts(&gateway, &token, &asked);
        (payload(&all[0])["pay"] != Value::Null).then_some(())
    });
    let receipt = receipts(&gateway, &token, &asked).remove(0);
    let told = payload(&receipt);
    let want = json!([{"rail": "credit", "id": account, "unit": "usd", "amount": 35_000}]);
    assert_eq!(
        (&told["pay"], &told["cost"]["amount"]),
        (&want, &json!(35_000))
    );
    assert_eq!(named(&gateway, &asked), place_of(&receipt));
    assert_eq!(record(&gateway, &asked)["method"], "POST");
    assert_eq!(
        named(&gateway, &unasked),
        [Value::Null, Value::Null],
        "it has none"
    );
    let exported = gateway.cli(&["usage", "export", "--format", "csv"]);
    let exported = String::from_utf8(exported.stdout).unwrap();
    let head = exported.lines().next().unwrap();
    assert!(
        head.contains("method") && head.contains("receipt_seq"),
        "{head}"
    );
    let chain = told["chain"].as_str().unwrap();
    let rows: Vec<_> = exported
        .lines()
        .filter(|line| line.contains(chain))
        .collect();
    assert!(rows.iter().any(|row| row.contains(&asked)), "{exported}");
    assert!(!rows.iter().any(|row| row.contains(&unasked)), "{exported}");
    let keys = gateway.call(&get(KEYS, ""));
    let folder = tempfile::tempdir().unwrap();
    let keys = kept(folder.path(), "keys.json", &keys.text());
    let file = kept(folder.path(), "receipt", &receipt);
    let (code, found) = verify(&file, &keys, &["--some"]);
    assert_eq!((code, &found["reckoned"]), (Some(0), &json!(1)), "{found}");
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

// LED-82
#[test]
fn receipts_are_made_for_each_call_or_never_as_the_settings_say() {
    let origin = origin();
    let (gateway, _) = served(&origin, "", "ledger: { receipts: \"off\" }\n");
    assert_eq!(gateway.call(&get(KEYS, "")).status, 404);
    let (gateway, token) = served(&origin, "", "ledger: { receipts: all }\n");
    budget(&gateway);
    let requests: Vec<_> = (0..3).map(|_| counted(&gateway, &token)).collect();
    // Nobody has asked for those that were made before the one of the last call.
    let texts = requests.iter().rev();
    let texts: Vec<_> = texts
        .flat_map(|request| receipts(&gateway, &token, request))
        .collect();
    assert_eq!(texts.len(), 3);
    let keys = gateway.call(&get(KEYS, ""));
    let folder = tempfile::tempdir().unwrap();
    let keys = kept(folder.path(), "keys.json", &keys.text());
    let file = kept(folder.path(), "receipts", &texts.join("\n"));
    let (code, found) = verify(&file, &keys, &[]);
    assert_eq!(code, Some(0), "{found}");
}

// LED-82 LED-83
#[test]
fn a_new_key_signs_what_comes_and_the_old_one_is_still_trusted_for_what_it_signed() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", "");
    budget(&gateway);
    let kid = |text: &str| {
        let head = text.split('.').next().unwrap();
        let head = BASE64_URL_SAFE_NO_PAD.decode(head).unwrap();
        let head: Value = serde_json::from_slice(&head).unwrap();
        head["kid"].as_str().unwrap().to_owned()
    };
    let published = || gateway.call(&get(KEYS, "")).json()["keys"].clone();
    let before = receipts(&gateway, &token, &counted(&gateway, &token)).remove(0);
    let first = kid(&before);
    assert_eq!(published()[0]["kid"], json!(first));
    let rotated = gateway.cli(&["receipt", "rotate-key"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let keys = published();
    assert_eq!(keys.as_array().map(Vec::len), Some(2), "{keys}");
    assert_eq!(keys[1]["previous"], json!(first), "{keys}");
    let second = keys[1]["kid"].as_str().unwrap().to_owned();
    gateway.audit_line("the new key", |line| {
        line["action"] == "receipt.key_rotate" && line["details"]["key_id"] == json!(second)
    });
    // It signs once others have had the time to hear of it.
    let after = eventually("the new key signs", || {
        let text = receipts(&gateway, &token, &counted(&gateway, &token)).remove(0);
        (kid(&text) == second).then_some(text)
    });
    let folder = tempfile::tempdir().unwrap();
    let file = kept(folder.path(), "receipts", &format!("{before}\n{after}"));
    let all = kept(folder.path(), "keys", &json!({ "keys": keys }).to_string());
    let (code, found) = verify(&file, &all, &["--some"]);
    assert_eq!(code, Some(0), "{found}");
    // A key that somebody put in behind the first is found out.
    let mut forged = keys.clone();
    forged[1]["x"] = json!(ReceiptKey::from_seed(&[9; 32]).unwrap().public());
    let forged = kept(
        folder.path(),
        "forged",
        &json!({ "keys": forged }).to_string(),
    );
    assert_eq!(verify(&file, &forged, &["--some"]).0, Some(3));
    // Another start knows both.
    let gateway = gateway.restart().unwrap();
    assert_eq!(gateway.call(&get(KEYS, "")).json()["keys"], keys);
    let (status, listed) = gateway.api("GET", "/api/v1/receipts/keys", None);
    assert_eq!((status, &listed["keys"]), (200, &keys));
}

fn chain(many: u64, key: &ReceiptKey) -> Vec<String> {
    let mut prev = "0".repeat(64);
    let one = |seq: u64, prev: &str| Receipt {
        issuer: "tollkeep".to_owned(),
        issued_at: 1_795_000_000 + seq,
        id: format!("req_{seq:032x}"),
        subject: Some("tid_1".to_owned()),
        chain: "rep_1.1".to_owned(),
        seq,
        prev: prev.to_owned(),
        method: Some("POST".to_owned()),
        route: "llm".to_owned(),
        model_asked: "gpt-4o".to_owned(),
        model_served: None,
        provider: ProviderText {
            name: "openai".to_owned(),
            kind: "openai".to_owned(),
            self_hosted: false,
        },
        quoted_at: WallMillis(1_795_000_000_000),
        lines: Some(json!([{"service": "default", "usage": {"in_text": seq}}])),
        price: None,
        cost: i64::try_from(seq).unwrap(),
        bound: i64::MAX,
        upstream: None,
        paid: Vec::new(),
        hold: None,
        state: "settled".to_owned(),
        quality: "reported".to_owned(),
        corrected: false,
        adj: None,
    };
    (1..=many)
        .map(|seq| {
            let text = key.sign(one(seq, &prev).payload().as_bytes());
            let hash = sha256(&[text.as_bytes()]);
            prev = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            text
        })
        .collect()
}

/// So many receipts are verified, each of so many with one bit changed is not, and one that was
/// taken out is noticed.
fn checked(many: u64, changes: usize) {
    let key = ReceiptKey::from_seed(&[3; 32]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let published = json!({"keys": [{"alg": "EdDSA", "crv": "Ed25519", "kid": key.id(), "kty": "OKP",
        "use": "sig", "x": key.public()}]});
    let keys = kept(folder.path(), "keys.json", &published.to_string());
    let mut texts = chain(many, &key);
    let file = kept(folder.path(), "all", &texts.join("\n"));
    let (code, found) = verify(&file, &keys, &[]);
    assert_eq!(
        (code, &found["receipts"]),
        (Some(0), &json!(many)),
        "{found}"
    );
    let changed: Vec<_> = (0..changes)
        .filter_map(|number| {
            let mut text = texts[number % texts.len()].clone().into_bytes();
            let at = number * 7919 % text.len();
            text[at] ^= 1 << (number % 7);
            let text = String::from_utf8(text).ok()?;
            let is_one_line = !text.contains(['\n', '\r']) && !text.starts_with(['{', ' ']);
            is_one_line.then_some(text)
        })
        .collect();
    assert!(changed.len() * 10 > changes * 9);
    let file = kept(folder.path(), "changed", &changed.join("\n"));
    let (code, found) = verify(&file, &keys, &["--some"]);
    assert_eq!(code, Some(8), "{found}");
    assert_eq!(found["faults_in_all"], json!(changed.len()), "{found}");
    texts.remove(usize::try_from(many / 2).unwrap());
    let file = kept(folder.path(), "less", &texts.join("\n"));
    let (code, found) = verify(&file, &keys, &[]);
    assert_eq!(
        (code, &found["faults_in_all"]),
        (Some(8), &json!(1)),
        "{found}"
    );
}

// LED-83
#[test]
fn changed_and_missing_receipts_are_noticed() {
    checked(500, 100);
}

// LED-83
#[test]
#[ignore = "half a minute"]
fn of_ten_thousand_receipts_no_bit_can_be_changed_and_none_taken_out() {
    checked(10_000, 1_000);
}
