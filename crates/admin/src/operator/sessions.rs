//! Where an operator is signed in.

use super::{check_grant, find, is_own, told};
use crate::operation::Call;
use crate::parameters::listed;
use crate::router::{Answer, no_content, ok};
use crate::session;
use tollkeep_audit::{Action, Key, Value};

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
    Ok(ok(&listed(
        state,
        &filters,
        (&page, |row| (row.created_at, row.id)),
        |row| session::shown(row, operator),
    )))
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
