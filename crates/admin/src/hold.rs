//! `/api/v1/holds`: what is taken aside for calls, and what nobody told the cost of (LED-52).

use crate::State;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::{Fault, Problem};
use crate::rights::Right;
use crate::router::{Answer, no_content, ok};
use crate::shape::{Member, amount, choice, number, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_config::settings::limit_of;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::money::NanoUsd;
use tollkeep_store::After;
use tollkeep_store::ledger::{HoldRecord, digests};
use tollkeep_types::HoldId;

const STATES: &[&str] = &["held", "committed", "estimated", "unknown"];

const SHOWN: &[Member] = &[
    crate::shape::id("id", "hld_", "Its id"),
    crate::shape::id("tenant_id", "ten_", "Whose call it is"),
    choice(
        "state",
        STATES,
        "`held`: nothing was sent; `committed`: a call is under way; `estimated`: an upper estimate \
         is charged; `unknown`: nobody told the cost, and all of it is charged",
    ),
    number("bound_nano_usd", "What the call may cost at most"),
    number("cost_nano_usd", "What is charged now"),
    text("cost_usd", 30, "The same in dollars"),
    time("at", "When it was taken, or when it ended"),
    time("expires_at", "When the time of a call under way is over").or_null(),
    crate::shape::id("request_id", "req_", "The request").or_null(),
];

const SETTLE: &[Member] = &[
    amount(
        "cost",
        "What its upstream asks for the call: \"$0.0125\" or {\"nano_usd\": N}. Its payer is charged that \
         times the markup of the call, if it has one",
    )
    .required(),
    text("reason", 200, "Why, for the records").required(),
];

const RELEASE: &[Member] = &[text("reason", 200, "Why, for the records").required()];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "hold_list",
        command: "hold list",
        about: "Holds of calls under way and costs that nobody told, the last first",
        method: Method::Get,
        path: "/api/v1/holds",
        also: None,
        right: Right::Read,
        change: None,
        query: &[LIMIT, CURSOR, choice("state", STATES, "Only those")],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "hold_get",
        command: "hold show",
        about: "One hold",
        method: Method::Get,
        path: "/api/v1/holds/{hold}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "hold_settle",
        command: "hold settle",
        about: "Say what a call cost of which nobody told, once",
        method: Method::Post,
        path: "/api/v1/holds/{hold}/settle",
        also: None,
        right: Right::Money,
        change: Some(Action::MoneyAdjust),
        query: &[],
        body: Some(SETTLE),
        answers: &[(204, Content::None)],
        refusals: &[409],
        run: |call| Box::pin(settle(call)),
    },
    Operation {
        id: "hold_release",
        command: "hold release",
        about: "Say that a call cost nothing of which nobody told, once",
        method: Method::Post,
        path: "/api/v1/holds/{hold}/release",
        also: None,
        right: Right::Money,
        change: Some(Action::MoneyAdjust),
        query: &[],
        body: Some(RELEASE),
        answers: &[(204, Content::None)],
        refusals: &[409],
        run: |call| Box::pin(release(call)),
    },
];

async fn list(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let standing = query.get("state").and_then(|word| word.parse().ok());
    let place = format!("holds {standing:?}");
    let page = query.page(state, &place)?;
    let ledger = state.parts.store.ledger();
    let page = ledger.holds(operator.scope(), standing, &page).await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.at,
        id: last.id,
    });
    let data: Vec<Json> = page.rows.iter().map(shown).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, &place, last),
    })))
}

async fn get(call: Call) -> Answer {
    let ledger = call.state.parts.store.ledger();
    let hold = ledger.hold(call.operator.scope(), id_of(&call.id)?).await?;
    Ok(ok(&shown(&hold)))
}

async fn settle(mut call: Call) -> Answer {
    let cost = call
        .body
        .take_as("cost", |written| limit_of(Measure::Cost, &written));
    resolve(call, cost).await
}

async fn release(call: Call) -> Answer {
    resolve(call, Some(Amount::ZERO)).await
}

async fn resolve(call: Call, cost: Option<Amount>) -> Answer {
    let Call {
        state,
        operator,
        id,
        mut body,
        ..
    } = call;
    let reason = body.text("reason").unwrap_or_default();
    body.done()?;
    if reason.trim().is_empty() {
        return Err(Problem::invalid(vec![Fault {
            path: "/reason".to_owned(),
            message: "must say why".to_owned(),
        }]));
    }
    let (id, cost) = (id_of(&id)?, cost.unwrap_or_default());
    let ledger = state.parts.store.ledger();
    state.check_audit()?;
    let made = ledger.resolve_hold(operator.scope(), id, cost).await?;
    let event = event(&state, &operator, (id, cost), reason)
        .with_detail(Key::EntryDigest, Value::OwnedWord(digests(&made).into()));
    state.record(event).await?;
    Ok(no_content())
}

fn id_of(text: &str) -> Result<HoldId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

fn event(
    state: &State,
    operator: &crate::authn::Operator,
    (id, cost): (HoldId, Amount),
    reason: String,
) -> Event<'static> {
    let units = u64::try_from(cost.units()).unwrap_or_default();
    state
        .event(operator, Action::MoneyAdjust)
        .with_detail(Key::Reason, Value::Text(reason.into()))
        .with_detail(Key::Units, Value::Number(units))
        .with_detail(Key::Name, Value::OwnedWord(id.to_string().into()))
}

fn shown(hold: &HoldRecord) -> Json {
    json!({
        "id": hold.id,
        "tenant_id": hold.tenant,
        "state": hold.standing.as_str(),
        "bound_nano_usd": hold.bound.cost.units(),
        "cost_nano_usd": hold.cost.units(),
        "cost_usd": NanoUsd::new(hold.cost.units()).to_string(),
        "at": hold.at,
        "expires_at": hold.expires_at,
        "request_id": hold.request,
    })
}
