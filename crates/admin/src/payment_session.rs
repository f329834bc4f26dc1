//! `/api/v1/payment-sessions`: what payments bought that lasts longer than one call. Who paid is
//! masked unless the key may move money.

use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::payment::payer_of;
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, id, number, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::{After, SessionFilter, SessionRecord};
use tollkeep_types::SessionId;

const SHOWN: &[Member] = &[
    id("id", "ses_", "Its id"),
    id("tenant_id", "ten_", "Whose route it is for"),
    choice(
        "state",
        &["open", "revoked"],
        "Whether it may be used until it ends",
    ),
    choice(
        "model",
        &["time_pass", "token_bucket", "metered", "per_kb", "credit"],
        "How it is used up",
    ),
    text(
        "route",
        300,
        "The route; `*`, all that are sold by the request, for credit",
    ),
    id("payment_id", "pay_", "The payment that bought it"),
    text(
        "payer",
        42,
        "Who paid; masked unless the key may move money",
    ),
    text("asset", 100, "The token that was paid in"),
    text("unit", 200, "The token, as CAIP-19 names it"),
    number("decimals", "Decimals of one whole token"),
    text("paid", 40, "What came, in the token's smallest unit"),
    text("balance", 40, "What nobody has taken of that"),
    text("held", 40, "What calls under way have taken"),
    number("calls", "Calls left, where calls were bought"),
    text(
        "unit_cost",
        40,
        "What a call or a KiB takes, where that was agreed",
    ),
    time("expires_at", "When it ends"),
    time("created_at", "When it began"),
    time("updated_at", "When it last changed"),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "payment_sessions",
        command: "payment sessions",
        about: "What payments bought that lasts longer than one call, the newest first",
        method: Method::Get,
        path: "/api/v1/payment-sessions",
        also: None,
        right: Right::Read,
        change: None,
        query: &[LIMIT, CURSOR, text("route", 300, "Those for this route")],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "payment_session_revoke",
        command: "payment revoke-session",
        about: "End a session for good; what is left of it stays owed",
        method: Method::Post,
        path: "/api/v1/payment-sessions/{session}/revoke",
        also: None,
        right: Right::Money,
        change: Some(Action::SessionClose),
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[],
        run: |call| Box::pin(revoke(call)),
    },
];

async fn list(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let filter = SessionFilter {
        route: query.get("route").map(str::to_owned),
    };
    let place = format!("payment sessions {filter:?}");
    let page = query.page(state, &place)?;
    let store = &state.parts.store;
    let page = store.sessions(operator.scope(), filter, page).await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.created_at,
        id: last.id,
    });
    let rows = page.rows.iter();
    let data: Vec<Json> = rows.map(|session| shown(session, operator)).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, &place, last),
    })))
}

async fn revoke(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let id: SessionId = call.id.parse().map_err(|_| Problem::not_found())?;
    state.check_audit()?;
    let store = &state.parts.store;
    let (ended, is_now) = store.revoke_session(operator.scope(), id).await?;
    // Who ends what has ended changes nothing.
    if is_now {
        let closed = state
            .event(operator, Action::SessionClose)
            .with_tenant_id(ended.tenant)
            .with_detail(Key::Name, Value::OwnedWord(id.to_string().into()))
            .with_detail(Key::Reason, Value::Word("revoked"))
            .with_detail(Key::Units, Value::Number(ended.money))
            .with_detail(Key::Asset, Value::OwnedWord(ended.unit.clone().into()))
            .with_detail(Key::Route, Value::Text(ended.scope.clone().into()));
        state.record(closed).await?;
    }
    Ok(ok(&shown(&ended, operator)))
}

fn shown(session: &SessionRecord, operator: &Operator) -> Json {
    json!({
        "id": session.id,
        "tenant_id": session.tenant,
        "state": session.state.as_str(),
        "model": session.model.as_str(),
        "route": session.scope,
        "payment_id": session.payment,
        "payer": payer_of(&session.payer, operator),
        "asset": session.symbol,
        "unit": session.unit,
        "decimals": session.decimals,
        "paid": session.paid.to_string(),
        "balance": session.money.to_string(),
        "held": session.held.to_string(),
        "calls": session.calls,
        "unit_cost": session.unit_cost.to_string(),
        "expires_at": session.expires_at,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    })
}
