//! Changing a token.

use super::{shown, token_id, told};
use crate::end;
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use crate::shape::{Member, duration, number, text, time};
use std::num::NonZeroU64;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::TokenChange;

pub(super) const MEMBERS: &[Member] = &[
    text("name", 200, "Its name in lists"),
    text("owner", 200, "Who holds it; free text"),
    number(
        "max_requests",
        "How many calls its lineage may make in all; 0: any",
    ),
    time(
        "expires_at",
        "When it stops working; `null`: never, where that is allowed",
    ),
    duration("ttl", "How long it works from now on"),
];

/// `PATCH /api/v1/tokens/{id}`
pub(super) async fn update(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let now = state.parts.store.now();
    let change = TokenChange {
        name: members.text("name"),
        owner: members.text("owner"),
        max_requests: members.number("max_requests").map(NonZeroU64::new),
        expires_at: match end::Wanted::take(&mut members, now, None) {
            end::Wanted::Nothing => None,
            end::Wanted::Never => Some(None),
            end::Wanted::At(at) => Some(Some(at)),
        },
    };
    let fault = change
        .expires_at
        .and_then(|expires_at| state.end_fault(now, expires_at));
    if let Some(message) = fault {
        members.fault("expires_at", message);
    }
    members.done()?;
    if change == TokenChange::default() {
        return Err(Problem::bad_request("There is nothing to change."));
    }
    state.check_audit()?;
    let store = &state.parts.store;
    let token = store
        .change_token(operator.scope(), token_id(&id)?, change)
        .await?;
    let mut event = told(&state, &operator, Action::TokenUpdate, &token);
    if let Some(max) = token.max_requests {
        event = event.with_detail(Key::MaxRequests, Value::Number(max.get()));
    }
    state.record(event).await?;
    Ok(ok(&shown(&state, &token)))
}
