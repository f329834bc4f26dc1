//! Where an operator is signed in.

use super::{check_grant, find, is_own, told};
use crate::operation::Call;
use crate::parameters::next_cursor;
use crate::router::{Answer, no_content, ok};
use crate::session;
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::After;

pub(super) async fn list(call: Call) -> Answer {
    let person = find(&call).await?;
    let (state, operator) = (&call.state, &call.operator);
    if !is_own(operator, &person) {
        check_grant(operator, person.role)?;
    }
    let filters = format!("sessions of {}", person.id);
    let page = call.query.page(state, &filters)?;
    let idle = state.settings().management.session.idle;
    let store = &state.parts.store;
    let page = store
        .console_sessions(operator.scope(), Some(person.id), idle, page)
        .await?;
    let read = told(state, operator, Action::OperatorRead, &person);
    state.record(read).await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.created_at,
        id: last.id,
    });
    let rows = page.rows.iter();
    let data: Vec<Json> = rows.map(|row| session::shown(row, operator)).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, &filters, last),
    })))
}

pub(super) async fn end(call: Call) -> Answer {
    let person = find(&call).await?;
    let (state, operator) = (&call.state, &call.operator);
    check_grant(operator, person.role)?;
    state.check_audit()?;
    let store = &state.parts.store;
    let ended = store.end_sessions_of_operator(operator.scope(), person.id);
    let ended = ended.await?;
    let event = told(state, operator, Action::SessionEnd, &person);
    let event = event.with_detail(Key::Count, Value::Number(ended));
    state.record(event).await?;
    Ok(no_content())
}
