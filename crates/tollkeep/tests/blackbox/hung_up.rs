//! What becomes of calls whose caller hangs up.

use crate::fixture::{chat, llm};
use crate::held::{CAP, PRICES, body, budget, delta, end_of_stream, settled, sums};
use serde_json::{Value, json};
use tollkeep_testkit::{Gate, Gateway, Origin, PATIENCE, Step, chunked_head, eventually};

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
    assert_eq!(call.spent(), Some(crate::held::bound(&body(true))));
    call.gate.open();
}
