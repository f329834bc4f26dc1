//! `/api/v1/breakers`

use crate::State;
use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::runtime::{Breaker, BreakerState};
use crate::shape::{Member, choice, id, number, text, time};
use serde_json::{Value, json};
use tollkeep_audit::{Action, Event, Key, Value as Detail};
use tollkeep_store::Scope;
use tollkeep_types::WallMillis;

const PREFIX: &str = "brk_";
/// Breakers that are listed at most; the worst come first.
const LISTED_MAX: usize = 1_000;

pub(crate) const SHOWN: &[Member] = &[
    text("id", 20, "Stands for it while the process lives").required(),
    id("tenant_id", "ten_", "Whose calls").or_null().required(),
    id(
        "project_id",
        "prj_",
        "Whose calls, if projects are told apart",
    )
    .or_null()
    .required(),
    text("upstream", 200, "The upstream or provider").required(),
    text("route", 1000, "The route, of a plain upstream")
        .or_null()
        .required(),
    text("model", 300, "The model, of a provider")
        .or_null()
        .required(),
    choice(
        "state",
        &["closed", "half_open", "open"],
        "What it does now",
    )
    .required(),
    number("failures", "Failures in a row").required(),
    time("opened_at", "When it opened last, if it is not closed")
        .or_null()
        .required(),
    time("retry_at", "Until when it lets nothing pass")
        .or_null()
        .required(),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "breaker_list",
        command: "breaker list",
        about: "Breakers that remember a failure, the worst first",
        method: Method::Get,
        path: "/api/v1/breakers",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "breaker_reset",
        command: "breaker reset",
        about: "Close a breaker now",
        method: Method::Post,
        path: "/api/v1/breakers/{id}/reset",
        also: None,
        right: Right::Breakers,
        change: Some(Action::CircuitClose),
        query: &[],
        body: Some(&[]),
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[],
        run: |call| Box::pin(reset(call)),
    },
];

async fn list(call: Call) -> Answer {
    let state = &call.state;
    let breakers = seen(state, &call.operator);
    let now = state.parts.clock.wall();
    let shown: Vec<Value> = breakers
        .iter()
        .take(LISTED_MAX)
        .map(|breaker| shown(breaker, now))
        .collect();
    let more = breakers.len() > LISTED_MAX;
    Ok(ok(
        &json!({ "data": shown, "has_more": more, "next_cursor": null }),
    ))
}

async fn reset(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body,
        ..
    } = call;
    body.done()?;
    let id = read_id(&id).ok_or_else(Problem::not_found)?;
    let is_seen = seen(&state, &operator)
        .iter()
        .any(|breaker| breaker.id == id);
    if !is_seen {
        return Err(Problem::not_found());
    }
    state.check_audit()?;
    let runtime = &state.parts.runtime;
    let mut breaker = runtime.reset_breaker(id).ok_or_else(Problem::not_found)?;
    state
        .record(told(state.event(&operator, Action::CircuitClose), &breaker))
        .await?;
    breaker.state = BreakerState::Closed;
    (breaker.failures, breaker.opened_at, breaker.left) = (0, None, None);
    Ok(ok(&shown(&breaker, state.parts.clock.wall())))
}

/// Those of the operator's tenants that are not closed, for the status.
pub(crate) fn tripped(state: &State, operator: &Operator) -> Vec<Value> {
    let now = state.parts.clock.wall();
    let mut breakers = seen(state, operator);
    breakers.retain(|breaker| breaker.state != BreakerState::Closed);
    let few = breakers.iter().take(LISTED_MAX);
    few.map(|breaker| shown(breaker, now)).collect()
}

/// Breakers of the operator's tenants.
fn seen(state: &State, operator: &Operator) -> Vec<Breaker> {
    let mut breakers = state.parts.runtime.breakers();
    if let Scope::Tenant(tenant) = operator.scope() {
        breakers.retain(|breaker| breaker.tenant == Some(tenant));
    }
    breakers
}

fn told<'e>(mut event: Event<'e>, breaker: &'e Breaker) -> Event<'e> {
    if let Some(tenant) = breaker.tenant {
        event = event.with_tenant_id(tenant);
    }
    if let Some(project) = breaker.project {
        event = event.with_project_id(project);
    }
    if let Some(model) = &breaker.model {
        event = event.with_detail(Key::Model, Detail::Text((&**model).into()));
    }
    event = event
        .with_reason("reset")
        .with_detail(Key::Provider, Detail::Word(&breaker.upstream));
    match &breaker.route {
        Some(route) => event.with_detail(Key::Route, Detail::Word(route)),
        None => event,
    }
}

fn shown(breaker: &Breaker, now: WallMillis) -> Value {
    let left_ms = |left: std::time::Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let retry_at = breaker
        .left
        .map(|left| WallMillis(now.0.saturating_add(left_ms(left))));
    json!({
        "id": format!("{PREFIX}{:016x}", breaker.id),
        "tenant_id": breaker.tenant,
        "project_id": breaker.project,
        "upstream": *breaker.upstream,
        "route": breaker.route,
        "model": breaker.model,
        "state": match breaker.state {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half_open",
            BreakerState::Open => "open",
        },
        "failures": breaker.failures,
        "opened_at": breaker.opened_at,
        "retry_at": retry_at,
    })
}

fn read_id(text: &str) -> Option<u64> {
    let hex = text.strip_prefix(PREFIX)?;
    let lower = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if hex.len() != 16 || !hex.bytes().all(lower) {
        return None;
    }
    u64::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for (text, want) in [
            ("brk_00000000000000ff", Some(255)),
            ("brk_00000000000000FF", None),
            ("brk_ff", None),
            ("brk_+0000000000000ff", None),
            ("tid_00000000000000ff", None),
            ("", None),
        ] {
            assert_eq!(read_id(text), want, "{text}");
        }
    }
}
