//! What becomes of calls whose caller hangs up.

use crate::fixture::{chat, llm, llm_call};
use crate::held::{CAP, PRICES, body, bound, budget, delta, end_of_stream, settled, sums};
use serde_json::{Value, json};
use tollkeep_testkit::{Gate, Gateway, Origin, PATIENCE, Step, chunk, chunked_head, eventually};

/// An upstream that begins a stream, and goes on with it when the gate opens.
fn pausing(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| {
        let mut steps = vec![chunked_head("text/event-stream"), delta("begun")];
        steps.push(Step::Wait(gate.clone()));
        // So much that whoever writes it to a caller who has gone is told so.
        steps.extend((0..3000).map(|_| delta("")));
        steps.extend(end_of_stream(9, 33));
        steps
    })
}

/// A call whose caller has gone, to an upstream that says nothing more until the gate opens.
struct HungUp {
    gateway: Gateway,
    gate: Gate,
    /// What counts it, where that is asked for.
    budget: Option<String>,
    _origin: Origin,
}

/// Calls, with these settings of the provider and of all, and hangs up when the answer has begun.
fn hang_up(own: &str, of_all: &str, hard: bool) -> HungUp {
    let gate = Gate::default();
    let origin = pausing(&gate);
    let settings = format!("{own}llm: {{ {of_all} }}\n{PRICES}");
    let (gateway, token) = llm(&origin, "openai", &settings);
    let limit = json!({"unit": "usd", "limit": "$0.01", "durability": "strict"});
    let budget = hard.then(|| budget(&gateway, &limit));
    let mut client = gateway.connect();
    assert!(client.send(&chat(&token, &body(true))));
    let mut answer = client.head(PATIENCE).unwrap();
    assert!(client.piece(&mut answer).is_some());
    HungUp {
        gateway,
        gate,
        budget,
        _origin: origin,
    }
}

impl HungUp {
    fn line(&self) -> Value {
        let line = eventually("a usage line", || self.gateway.usage_lines().pop());
        assert_eq!(line["outcome"], json!("caller_gone"), "{line}");
        line
    }

    /// What the budget was charged, once nothing of it is taken aside.
    fn spent(&self) -> Option<i64> {
        let id = self.budget.as_ref()?;
        let [spent, ..] = eventually("it is settled", || {
            Some(sums(&self.gateway, id)).filter(|[_, reserved, _]| *reserved == 0)
        });
        Some(spent)
    }
}

// LED-58 LLM-53
#[test]
fn a_call_is_ended_with_its_caller_where_that_is_wanted_and_ends_its_bill() {
    for (name, own, of_all, hard) in [
        ("as it is without settings", "", "", false),
        (
            "one provider is not as all",
            "    on_disconnect: cancel\n",
            "on_disconnect: drain",
            false,
        ),
        (
            "its bill ends",
            "    cancel_stops_billing: true\n",
            "",
            true,
        ),
    ] {
        let call = hang_up(own, of_all, hard);
        // The upstream says nothing more until the gate opens: nobody waits for it.
        let line = call.line();
        assert_eq!(line["quality"], json!("estimated"), "{name}: {line}");
        call.gate.open();
        // What was delivered and 256 more, but never more than the cap; and the input.
        let spent = call.spent();
        assert!(spent.is_none_or(|spent| spent >= CAP), "{name}: {spent:?}");
    }
}

// LED-58 LLM-53
#[test]
fn an_answer_is_read_to_its_end_without_its_caller_where_that_is_wanted_or_its_bill_goes_on() {
    for (name, own, of_all, hard) in [
        ("for all", "", "on_disconnect: drain", false),
        ("for one provider", "    on_disconnect: drain\n", "", false),
        (
            "nobody said that its bill ends",
            "",
            "on_disconnect: cancel",
            true,
        ),
        (
            "wanted, though its bill would end",
            "    cancel_stops_billing: true\n",
            "on_disconnect: drain",
            true,
        ),
    ] {
        let call = hang_up(own, of_all, hard);
        call.gate.open();
        let line = call.line();
        assert_eq!(line["quality"], json!("reported"), "{name}: {line}");
        assert_eq!(line["cost_nano_usd"], json!(9 + 33), "{name}: {line}");
        if let Some(id) = &call.budget {
            settled(&call.gateway, id, 9 + 33);
        }
    }
}

// LED-58 LED-28 LLM-53
#[test]
fn what_is_read_without_a_caller_ends_at_its_time_and_is_charged_to_its_cap() {
    let call = hang_up("", "drain_max_s: 1", true);
    let line = call.line();
    assert_eq!(line["quality"], json!("estimated"), "{line}");
    assert_eq!(call.spent(), Some(bound(&body(true))));
    call.gate.open();
}

/// What a call is charged whose caller hangs up when so much of its stream has come, at a provider that
/// bills it no further.
fn charged(kind: &str, (path, body): (&str, &str), begun: &[Step]) -> (i64, Value) {
    let (gate, begun) = (Gate::default(), begun.to_vec());
    let hold = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = vec![chunked_head("text/event-stream")];
        steps.extend(begun.iter().cloned());
        steps.push(Step::Wait(hold.clone()));
        steps
    });
    let settings = format!("    cancel_stops_billing: true\n{PRICES_WITH_TOOLS}");
    let (gateway, token) = llm(&origin, kind, &settings);
    let limit = json!({"unit": "usd", "limit": "$0.01", "durability": "strict"});
    let id = budget(&gateway, &limit);
    let mut client = gateway.connect();
    assert!(client.send(&llm_call(path, &token, body)));
    let mut answer = client.head(PATIENCE).unwrap();
    let mut came = Vec::new();
    while !came.windows(LAST.len()).any(|part| part == LAST) {
        came.extend(client.piece(&mut answer).expect("more of the stream"));
    }
    drop(client);
    let line = eventually("a usage line", || gateway.usage_lines().pop());
    let [spent, ..] = eventually("it is settled", || {
        Some(sums(&gateway, &id)).filter(|[_, reserved, _]| *reserved == 0)
    });
    gate.open();
    (spent, line)
}

/// What the last piece has in it before a caller hangs up.
const LAST: &[u8] = b"the last";
const PRICES_WITH_TOOLS: &str = "prices: { overrides: [{ model: m, max_input: 1000, max_output: 1000, \
     rates: [{ from: \"2025-01-01T00:00:00Z\", base: { in_text: 1000, out_text: 1000, cache_write: 1000, \
     cache_write_5m: 1000, cache_write_1h: 1000, web_search: 5000000 } }] }] }\n";

// LED-28 LED-58
#[test]
fn who_asks_for_several_answers_and_hangs_up_is_charged_for_all_of_them() {
    let of = |more: Value| {
        let mut call: Value = serde_json::from_str(&body(true)).unwrap();
        for (name, value) in more.as_object().unwrap() {
            call[name] = value.clone();
        }
        call.to_string()
    };
    let long = "x".repeat(150);
    for (name, more, delivered, output) in [
        ("one answer is capped", json!({}), &*long, CAP),
        ("four, of which little came", json!({"n": 4}), "", 8 + 256),
        ("four, of which much came", json!({"n": 4}), &*long, 4 * CAP),
    ] {
        let call = of(more);
        let begun = [delta(delivered), delta("the last")];
        let (spent, line) = charged("openai", ("/v1/chat/completions", &call), &begun);
        assert_eq!(line["quality"], json!("estimated"), "{name}: {line}");
        assert_eq!(spent, bound(&call) - CAP + output, "{name}: {line}");
    }
}

// LED-28 LED-43 LED-52
#[test]
fn what_an_upstream_searched_by_itself_is_not_free_for_who_hangs_up_before_it_is_told() {
    let call = |more: Value| {
        let mut call = json!({"model": "m", "max_tokens": CAP, "stream": true,
            "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in more.as_object().unwrap() {
            call[name] = value.clone();
        }
        call.to_string()
    };
    let event = |event: Value| {
        let kind = event["type"].as_str().unwrap();
        chunk(format!("event: {kind}\ndata: {event}\n\n").as_bytes())
    };
    let begun = [
        event(
            json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant",
            "model": "m", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        ),
        event(json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": "the last"}})),
    ];
    let tool = json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]);
    for (name, more, quality, want) in [
        ("no tools", json!({}), "estimated", 9 + CAP),
        // Each of the three rounds may have read all that the model takes, and written up to the cap.
        (
            "two searches",
            json!({"tools": tool}),
            "unknown",
            3 * 1000 + 3 * CAP + 2 * 5000,
        ),
    ] {
        let (spent, line) = charged("anthropic", ("/v1/messages", &call(more)), &begun);
        assert_eq!(line["quality"], json!(quality), "{name}: {line}");
        assert_eq!(spent, want, "{name}: {line}");
    }
}
