//! Budgets on calls: what is admitted, what is charged, and what becomes of a call that goes wrong.

use crate::fixture::{Dice, chat, llm};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use tollkeep_testkit::{
    Gate, Gateway, Origin, PATIENCE, Signal, Step, chunk, chunked_head, eventually,
    json as answer_json,
};

/// A token of either kind costs a nano-dollar.
pub(crate) const PRICES: &str = "prices: { overrides: [{ model: m, max_input: 100000, max_output: 1000, \
     rates: [{ from: \"2025-01-01T00:00:00Z\", base: { in_text: 1000, out_text: 1000 } }] }] }\n";
pub(crate) const CAP: i64 = 100;

pub(crate) fn body(stream: bool) -> String {
    json!({"model": "m", "max_tokens": CAP, "stream": stream,
           "messages": [{"role": "user", "content": "hi"}]})
    .to_string()
}

/// The most that a call with this body costs (LED-40).
pub(crate) fn bound(body: &str) -> i64 {
    i64::try_from(body.len()).unwrap() + 64 + 16 + CAP
}

pub(crate) fn answer(input: i64, output: i64) -> Value {
    json!({"id": "x", "object": "chat.completion", "model": "m",
           "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
           "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}})
}

pub(crate) fn budget(gateway: &Gateway, more: &Value) -> String {
    let mut budget = json!({"name": "b", "scope": {"project": "default"}, "window": "lifetime"});
    for (name, value) in more.as_object().unwrap() {
        budget[name] = value.clone();
    }
    let (status, made) = gateway.api("POST", "/api/v1/budgets", Some(&budget));
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

pub(crate) fn window(gateway: &Gateway, id: &str) -> Value {
    let (status, windows) = gateway.api("GET", &format!("/api/v1/budgets/{id}/windows"), None);
    assert_eq!(status, 200, "{windows}");
    windows[0].clone()
}

pub(crate) fn sums(gateway: &Gateway, id: &str) -> [i64; 3] {
    let window = window(gateway, id);
    ["spent", "reserved", "leased"].map(|sum| window[sum].as_i64().unwrap_or(0))
}

/// Waits until nothing of a budget is reserved any more.
pub(crate) fn settled(gateway: &Gateway, id: &str, spent: i64) {
    eventually("all is settled", || {
        let [is_spent, reserved, _] = sums(gateway, id);
        (is_spent == spent && reserved == 0).then_some(())
    });
}

/// Calls at the same moment, and how many had which status.
pub(crate) fn at_once(gateway: &Gateway, token: &str, callers: usize) -> BTreeMap<u16, usize> {
    let start = Arc::new(Barrier::new(callers));
    let request = chat(token, &body(false));
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (mut client, start, request) =
                (gateway.connect(), Arc::clone(&start), request.clone());
            thread::spawn(move || {
                start.wait();
                client.call(&request).status
            })
        })
        .collect();
    let mut statuses = BTreeMap::new();
    for caller in callers {
        *statuses.entry(caller.join().unwrap()).or_default() += 1;
    }
    statuses
}

// LED-60 LED-72 LED-73a LED-104
#[test]
fn of_a_crowd_as_many_are_admitted_as_a_budget_has_room_for() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let most = bound(&body(false));
    for (round, (limit, durability)) in [
        (json!({"unit": "requests", "limit": 5}), "lease"),
        (json!({"unit": "requests", "limit": 5}), "strict"),
        // Spent in full at each call, since no usage comes back.
        (
            json!({"unit": "tokens", "limit": 5 * most + most - 1}),
            "lease",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut wanted = limit.clone();
        wanted["name"] = json!(format!("b{round}"));
        wanted["durability"] = json!(durability);
        let id = budget(&gateway, &wanted);
        eventually("the budget is in force", || {
            let (_, known) = gateway.api("GET", &format!("/api/v1/budgets/{id}"), None);
            (known["id"] == id.as_str()).then_some(())
        });
        origin.forget();
        let statuses = at_once(&gateway, &token, 64);
        let admitted = statuses.get(&200).copied().unwrap_or(0);
        if limit["unit"] == "requests" {
            assert_eq!(
                statuses,
                BTreeMap::from([(200, 5), (402, 59)]),
                "{limit} {durability}"
            );
            settled(&gateway, &id, 5);
        } else {
            // What a call did not use is free again for those who still wait.
            assert!(admitted >= 5, "{statuses:?}");
            settled(&gateway, &id, i64::try_from(admitted).unwrap() * 39);
        }
        assert_eq!(
            origin.count(),
            admitted,
            "{limit}: none was sent that was refused"
        );
        let (status, _) = gateway.api("DELETE", &format!("/api/v1/budgets/{id}"), None);
        assert_eq!(status, 204);
    }
}

// LED-60
#[test]
fn a_budget_that_is_used_up_is_told_with_its_id_and_when_it_has_room_again() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let most = bound(&body(false));
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": {"nano_usd": most - 1}, "window": "day"}),
    );
    let call = chat(&token, &body(false));
    let refused = gateway.call(&call);
    assert_eq!(refused.status, 402, "{}", refused.text());
    assert_eq!(refused.field("x-tollkeep-error"), Some("budget_exhausted"));
    assert_eq!(refused.field("x-should-retry"), Some("false"));
    assert_eq!(refused.field("x-tollkeep-budget"), Some(id.as_str()));
    assert!(
        refused
            .field("x-tollkeep-reset")
            .unwrap()
            .ends_with("T00:00:00.000Z")
    );
    assert_eq!(refused.json()["error"]["type"], "insufficient_quota");
    assert_eq!(origin.count(), 0);
    let raised = json!({"limit": {"nano_usd": most}});
    let (status, changed) = gateway.api("PATCH", &format!("/api/v1/budgets/{id}"), Some(&raised));
    assert_eq!(status, 200, "{changed}");
    eventually("the raised limit is in force", || {
        (gateway.call(&call).status == 200).then_some(())
    });
    settled(&gateway, &id, 39);
    let sent: Value = serde_json::from_slice(&origin.last().body).unwrap();
    assert_eq!(sent["max_tokens"], CAP);
    assert_eq!(sent["service_tier"], "default", "{sent}");
}

// LED-33 LED-43a LED-45
#[test]
fn what_has_no_price_or_no_bound_is_refused_where_money_is_counted() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    // What stands in for it in records is no bound.
    let dearest = PRICES.replace("overrides:", "unknown_model: dearest, overrides:");
    let (gateway, token) = llm(&origin, "openai", &dearest);
    let id = budget(&gateway, &json!({"unit": "usd", "limit": "$10.00"}));
    for (call, code, told) in [
        (
            json!({"model": "unheard-of", "messages": []}),
            "model_not_priced",
            "unheard-of",
        ),
        (
            json!({"model": "m", "messages": [], "a_new_field": 1}),
            "cost_not_boundable",
            "a_new_field",
        ),
    ] {
        let refused = gateway.call(&chat(&token, &call.to_string()));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, code),
            "{}",
            refused.text()
        );
        assert!(refused.text().contains(told), "{}", refused.text());
    }
    assert_eq!(origin.count(), 0);
    let (status, _) = gateway.api("DELETE", &format!("/api/v1/budgets/{id}"), None);
    assert_eq!(status, 204);
    eventually("nothing is counted any more", || {
        let call = json!({"model": "unheard-of", "messages": []}).to_string();
        (gateway.call(&chat(&token, &call)).status == 200).then_some(())
    });
}

pub(crate) fn delta(text: &str) -> Step {
    chunk(format!("data: {{\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n").as_bytes())
}

pub(crate) fn end_of_stream(input: i64, output: i64) -> Vec<Step> {
    let usage = json!({"model": "m", "choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}});
    vec![
        chunk(b"data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"),
        chunk(format!("data: {usage}\n\n").as_bytes()),
        chunk(b"data: [DONE]\n\n"),
        chunk(b""),
    ]
}

// LED-53 LED-57
#[test]
fn a_stream_that_brings_more_than_was_asked_for_is_ended_and_charged_its_bound() {
    let gate = Gate::default();
    let hold = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = vec![chunked_head("text/event-stream")];
        steps.extend((0..400).map(|_| delta("words that nobody has asked for ")));
        steps.push(Step::Wait(hold.clone()));
        steps
    });
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$0.01", "durability": "strict"}),
    );
    let call = body(true);
    let answer = gateway.call(&chat(&token, &call));
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(
        text.contains("budget_exhausted"),
        "{}",
        text.get(text.len().saturating_sub(400)..)
            .unwrap_or_default()
    );
    assert!(!text.contains("[DONE]"));
    eventually("it is settled", || {
        (sums(&gateway, &id)[1] == 0).then_some(())
    });
    let spent = sums(&gateway, &id)[0];
    assert!(spent > CAP && spent <= bound(&call), "{spent}");
    gate.open();
}

// LED-58
#[test]
fn who_hangs_up_is_charged_what_the_upstream_bills() {
    let gate = Gate::default();
    let hold = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = vec![chunked_head("text/event-stream"), delta("begun")];
        steps.push(Step::Wait(hold.clone()));
        // So much that whoever writes it to a caller who has gone is told so.
        steps.extend((0..3000).map(|_| delta("")));
        steps.extend(end_of_stream(9, 33));
        steps
    });
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$0.01", "durability": "strict"}),
    );
    let mut client = gateway.connect();
    assert!(client.send(&chat(&token, &body(true))));
    let mut answer = client.head(PATIENCE).unwrap();
    assert!(client.piece(&mut answer).is_some());
    drop(client);
    gate.open();
    settled(&gateway, &id, 9 + 33);
    let line = eventually_line(&gateway);
    assert_eq!(
        (&line["quality"], &line["outcome"]),
        (&json!("reported"), &json!("caller_gone")),
        "{line}"
    );
}

// LED-23 LLM-D34
#[test]
fn a_stream_is_charged_by_its_usage_though_its_caller_did_not_ask_to_be_told() {
    let origin = Origin::start(move |request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let mut steps = vec![chunked_head("text/event-stream"), delta("hello")];
        let mut end = end_of_stream(9, 33);
        if asked["stream_options"]["include_usage"] != true {
            end.remove(1);
        }
        steps.extend(end);
        steps
    });
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$0.01", "durability": "strict"}),
    );
    let mut call: Value = serde_json::from_str(&body(true)).unwrap();
    let silent = gateway.call(&chat(&token, &call.to_string())).text();
    assert!(
        silent.contains("hello") && silent.ends_with("data: [DONE]\n\n"),
        "{silent}"
    );
    assert!(!silent.contains("usage"), "{silent}");
    settled(&gateway, &id, 9 + 33);
    call["stream_options"] = json!({"include_usage": true});
    let told = gateway.call(&chat(&token, &call.to_string())).text();
    assert!(told.contains("\"total_tokens\":42"), "{told}");
    settled(&gateway, &id, 2 * (9 + 33));
}

fn eventually_line(gateway: &Gateway) -> Value {
    eventually("a usage line", || gateway.usage_lines().pop())
}

// LED-52 LED-74
#[test]
fn calls_that_a_kill_cut_off_stay_charged_and_the_rest_is_free_again() {
    let origin = Origin::start(|_| vec![Step::Hang]);
    let (mut gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": {"nano_usd": 1_000_000}, "durability": "strict"}),
    );
    let call = body(false);
    let mut waiting: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut waiting {
        assert!(client.send(&chat(&token, &call)));
    }
    origin.wait_for(3);
    assert_eq!(sums(&gateway, &id), [0, 3 * bound(&call), 0]);
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    let [spent, reserved, _] = sums(&gateway, &id);
    assert_eq!(
        spent + reserved,
        3 * bound(&call),
        "none of it is forgotten"
    );
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

// LED-74 LED-75
#[test]
fn a_gateway_that_stops_in_order_writes_all_ends_and_returns_its_slices() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (mut gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(&gateway, &json!({"unit": "usd", "limit": "$100.00"}));
    let call = chat(&token, &body(false));
    let mut calls = 0;
    eventually("calls are paid from a slice", || {
        assert_eq!(gateway.call(&call).status, 200);
        calls += 1;
        (sums(&gateway, &id)[2] > 0).then_some(())
    });
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some());
    let gateway = gateway.restart().unwrap();
    assert_eq!(sums(&gateway, &id), [calls * 39, 0, 0]);
}

/// Calls without a pause until the gateway is gone; counts those that were answered.
fn call_until_it_is_gone(
    gateway: &Gateway,
    token: &str,
    answered: &Arc<AtomicI64>,
) -> JoinHandle<()> {
    let (mut client, request) = (gateway.connect(), chat(token, &body(false)));
    let answered = Arc::clone(answered);
    thread::spawn(move || {
        while client.send(&request)
            && let Ok(answer) = client.answer(PATIENCE)
        {
            assert_eq!(answer.status, 200, "{}", answer.text());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Kills a gateway under load again and again, at moments that the seed chooses.
fn kill_again_and_again(seed: u64, kills: usize) {
    const LIMIT: i64 = 10_000_000_000;
    let mut dice = Dice::new(seed);
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (mut gateway, token) = llm(&origin, "openai", PRICES);
    let leased = budget(
        &gateway,
        &json!({"unit": "usd", "limit": {"nano_usd": LIMIT}}),
    );
    let strict =
        json!({"name": "strict", "unit": "requests", "limit": 1_000_000, "durability": "strict"});
    let strict = budget(&gateway, &strict);
    let answered = Arc::<AtomicI64>::default();
    for kill in 0..kills {
        let callers: Vec<_> = (0..6)
            .map(|_| call_until_it_is_gone(&gateway, &token, &answered))
            .collect();
        let enough = answered.load(Ordering::Relaxed) + i64::try_from(dice.below(60)).unwrap();
        eventually("some calls are answered", || {
            (answered.load(Ordering::Relaxed) >= enough).then_some(())
        });
        gateway.kill();
        for caller in callers {
            caller.join().unwrap();
        }
        gateway = gateway.restart().unwrap();
        let answered = answered.load(Ordering::Relaxed);
        let taken = |id: &str| sums(&gateway, id).iter().sum::<i64>();
        let (money, requests) = (taken(&leased), taken(&strict));
        assert!(
            money >= answered * 39 && money <= LIMIT,
            "{kill}: {money} for {answered}"
        );
        assert!(requests >= answered, "{kill}: {requests} for {answered}");
        let checked = gateway.cli(&["ledger", "check"]);
        assert_eq!(checked.status.code(), Some(0), "{kill}: {checked:?}");
    }
}

// LED-74 LED-103
#[test]
fn a_kill_at_any_moment_forgets_no_call_that_was_answered() {
    kill_again_and_again(1, 5);
}

// LED-74 LED-103
#[test]
#[ignore = "soak: some minutes"]
fn hundreds_of_kills_forget_no_call_that_was_answered() {
    kill_again_and_again(2, 300);
}
