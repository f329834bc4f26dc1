//! Changing a token.

use super::{BINDINGS, PERMISSIONS, limits, permissions, shown, token_id, told};
use crate::bindings;
use crate::end;
use crate::members::Members;
use crate::operation::Call;
use crate::policy::{self, POLICY};
use crate::problem::Problem;
use crate::router::{Answer, ok};
use crate::shape::{Member, duration, number, pairs, switch, text, time};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::{Bindings, CallLimits, TokenChange};
use tollkeep_types::WallMillis;

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
    number(
        "duration_minutes",
        "How long it works from now on, in minutes",
    ),
    duration("idle_ttl", "How long it may go unused; `null`: for ever"),
    limits("Its own rate limits, all of them; `null`: what it inherits"),
    BINDINGS,
    POLICY,
    PERMISSIONS,
    switch("self_rotate", "Whether its holder may replace it"),
    pairs("metadata", 32, "Free pairs, 4 KiB in all"),
];

/// What a request changes. `null` takes away what may be missing.
fn read(members: &mut Members, now: WallMillis) -> TokenChange {
    let minutes = members.number("duration_minutes");
    let life_ms = minutes.map(|minutes| minutes.saturating_mul(60_000));
    let max_requests = |members: &mut Members| {
        let max_requests = members.number("max_requests")?;
        Some(NonZeroU64::new(max_requests))
    };
    TokenChange {
        name: members.text("name"),
        owner: members.text("owner"),
        max_requests: members.or_cleared("max_requests", || None, max_requests),
        expires_at: match end::Wanted::take(members, now, life_ms) {
            end::Wanted::Nothing => None,
            end::Wanted::Never => Some(None),
            end::Wanted::At(at) => Some(Some(at)),
        },
        idle_ttl_ms: members.or_cleared(
            "idle_ttl",
            || None,
            |members| members.duration("idle_ttl").map(Some),
        ),
        limits: members.or_cleared("limits", CallLimits::default, |members| {
            members.typed("limits")
        }),
        bindings: members.or_cleared("bindings", Bindings::default, bindings::take),
        policy: policy::take(members),
        permissions: members.or_cleared("permissions", Vec::new, permissions),
        self_rotate: members.switch("self_rotate"),
        metadata: members.or_cleared("metadata", BTreeMap::new, |members| {
            members.metadata("metadata")
        }),
    }
}

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
    let change = read(&mut members, now);
    let fault = change
        .expires_at
        .and_then(|expires_at| state.end_fault(now, expires_at));
    if let Some(message) = fault {
        members.fault("expires_at", message);
    }
    let changed = members.present();
    members.done()?;
    if change == TokenChange::default() {
        return Err(Problem::bad_request("There is nothing to change."));
    }
    state.check_audit()?;
    let store = &state.parts.store;
    let token = store
        .change_token(operator.scope(), token_id(&id)?, change)
        .await?;
    let event = told(&state, &operator, Action::TokenUpdate, &token);
    let mut event = event.with_detail(Key::Changed, Value::OwnedWord(changed.into()));
    if let Some(max) = token.max_requests {
        event = event.with_detail(Key::MaxRequests, Value::Number(max.get()));
    }
    state.record(event).await?;
    Ok(ok(&shown(&state, &token)))
}
