//! The books of all accounts, as somebody reads them who compares them with the providers' bills.

use crate::fixture::{UPSTREAM_KEY, chat, gateway};
use crate::held::{PRICES, answer, body, bound, budget, settled, sums};
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, Step, eventually, json as answer_json};

/// Two providers, the second of which has a markup: a call to either costs 39 there.
fn two_providers(first: &Origin, second: &Origin) -> Gateway {
    let provider = |name: &str, origin: &Origin| {
        let url = origin.url();
        format!(
            "  {name}:\n    kind: openai\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
             credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n"
        )
    };
    let prices = PRICES.replacen(
        "overrides: [",
        "overrides: [{ markup: \"11/10\", provider: second }, ",
        1,
    );
    let config = format!(
        "providers:\n{}{}{prices}",
        provider("first", first),
        provider("second", second)
    );
    gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start()
}

fn to(provider: &str, stream: bool) -> String {
    body(stream).replace("\"m\"", &format!("\"{provider}/m\""))
}

/// The accounts of a kind, as `tollkeep ledger accounts` has them: provider and balance.
fn accounts(gateway: &Gateway, kind: &str) -> Vec<(Value, i64)> {
    let listed = gateway.cli(&["ledger", "accounts", "--json"]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let rows = listed["data"].as_array().unwrap().iter();
    rows.filter(|row| row["kind"] == kind)
        .map(|row| {
            assert_eq!(row["unit"], "usd", "{row}");
            (row["provider"].clone(), row["balance"].as_i64().unwrap())
        })
        .collect()
}

// LED-34 LED-65 LED-80
#[test]
fn what_is_owed_to_each_provider_is_what_it_asks_and_what_usage_sums_up_to() {
    let plain = || Origin::start(|_| answer_json(&answer(9, 30)));
    let (first, second) = (plain(), plain());
    let gateway = two_providers(&first, &second);
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$10", "durability": "strict"}),
    );
    for provider in ["first", "second", "second"] {
        let call = gateway.call(&chat(&token, &to(provider, false)));
        assert_eq!(call.status, 200, "{}", call.text());
    }
    // 42.9 is charged as 43.
    settled(&gateway, &id, 39 + 2 * 43);
    let owed = [(json!("first"), 39), (json!("second"), 2 * 39)];
    assert_eq!(accounts(&gateway, "upstream_cost"), owed);
    let owed = owed.map(|(provider, owed)| (provider, -owed));
    assert_eq!(accounts(&gateway, "payable"), owed);
    let (_, sums) = gateway.api("GET", "/api/v1/usage?group_by=provider", None);
    let by_usage: Vec<_> = sums["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sum| {
            let asked = sum["upstream_cost_nano_usd"].as_i64().unwrap();
            (sum["provider"].clone(), -asked)
        })
        .collect();
    assert_eq!(by_usage, owed);
    // All balances, page by page, come to nothing.
    let (mut all, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/v1/ledger/accounts?limit=1{cursor}");
        let (status, page) = gateway.api("GET", &path, None);
        assert_eq!(status, 200, "{page}");
        all += page["data"][0]["balance"].as_i64().unwrap();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all, 0);
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

// LED-51 LED-70
#[test]
fn the_hold_of_a_call_under_way_says_whose_it_is() {
    let (hangs, other) = (
        Origin::start(|_| vec![Step::Hang]),
        Origin::start(|_| Vec::new()),
    );
    let gateway = two_providers(&hangs, &other);
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$10", "durability": "strict"}),
    );
    let mut client = gateway.connect();
    assert!(client.send(&chat(&token, &to("first", false))));
    hangs.wait_for(1);
    assert_eq!(sums(&gateway, &id), [0, bound(&body(false)), 0]);
    let hold = eventually("its hold", || {
        let (_, holds) = gateway.api("GET", "/api/v1/holds?state=committed", None);
        holds["data"].as_array()?.first().cloned()
    });
    // The first attempt has the bytes of the request's own id.
    let (hold_id, request) = (hold["id"].as_str(), hold["request_id"].as_str());
    let bytes = |id: Option<&str>| id.and_then(|id| Some(id.split_once('_')?.1.to_owned()));
    assert_eq!(bytes(hold_id), bytes(request), "{hold}");
    assert!(request.is_some(), "{hold}");
}

// LED-80
#[test]
fn sums_come_in_parts_that_leave_nothing_out_whatever_ends_meanwhile() {
    let plain = || Origin::start(|_| answer_json(&answer(9, 30)));
    let (first, second) = (plain(), plain());
    let gateway = two_providers(&first, &second);
    let tokens: Vec<_> = (0..3)
        .map(|_| gateway.mint_token(&json!({ "project": "default" })))
        .collect();
    let call = |token: &String, provider: &str| {
        let answer = gateway.call(&chat(token, &to(provider, false)));
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let calls = |count: usize| {
        eventually("their records", || {
            let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
            (page["data"].as_array()?.len() == count).then_some(())
        });
    };
    for token in &tokens {
        call(token, "second");
    }
    calls(3);
    let part = |cursor: &str| {
        let path = format!("/api/v1/usage?group_by=provider,token&limit=2{cursor}");
        let (status, page) = gateway.api("GET", &path, None);
        assert_eq!(status, 200, "{page}");
        page
    };
    let page = part("");
    assert_eq!(
        (&page["has_more"], page["data"].as_array().unwrap().len()),
        (&json!(true), 2)
    );
    // Groups that would stand before those that were told.
    for token in &tokens {
        call(token, "first");
    }
    calls(6);
    let next = part(&format!(
        "&cursor={}",
        page["next_cursor"].as_str().unwrap()
    ));
    assert_eq!(
        (&next["has_more"], &next["next_cursor"]),
        (&json!(false), &Value::Null),
        "{next}"
    );
    let both = [&page, &next]
        .map(|page| page["data"].as_array().unwrap().clone())
        .concat();
    let mut told: Vec<_> = both
        .iter()
        .map(|sum| {
            assert_eq!(
                (&sum["provider"], &sum["calls"]),
                (&json!("second"), &json!(1)),
                "{sum}"
            );
            sum["token_id"].as_str().unwrap()
        })
        .collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 3, "each once");
    // A cursor is of the question that it came with.
    let other = format!(
        "/api/v1/usage?group_by=provider&cursor={}",
        page["next_cursor"].as_str().unwrap()
    );
    assert_eq!(gateway.api("GET", &other, None).0, 400);
    let listed = gateway.cli(&["usage", "list", "--by", "provider,token", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), 6, "{listed}");
}
