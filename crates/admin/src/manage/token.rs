//! `/manage/tokens`

use super::{listed, page};
use crate::State;
use crate::end;
use crate::operation::Call;
use crate::parameters::{CURSOR, next_cursor};
use crate::problem::Problem;
use crate::router::{Answer, created, no_content, ok};
use crate::shape::{Member, bounded, id, number, switch, text, time};
use crate::token::{InFlight, token_id, told, told_made};
use serde_json::{Value as Json, json};
use std::num::NonZeroU64;
use tollkeep_audit::Action;
use tollkeep_store::live::Cut;
use tollkeep_store::{
    After, Bindings, CallLimits, NewToken, Page, ProjectRef, Standing, Suspender, Switch, Token,
    TokenChange, TokenFilter,
};
use tollkeep_types::ProjectId;

pub(super) const TOKEN: &[Member] = &[
    id("id", "tid_", "Its id"),
    text("token", 100, "Its text, masked"),
    id("project_id", "prj_", "The project it spends for"),
    time("expires_at", "When it stops working").or_null(),
    switch("is_active", "Whether it may be used"),
    number("request_count", "How many calls it was granted"),
    number("max_requests", "How many calls it may make in all").or_null(),
    time("created_at", "When it was made"),
    time("last_used_at", "When it was last used").or_null(),
    number("cache_hit_count", "Answers from the cache"),
];

pub(super) const MADE: &[Member] = &[
    id("id", "tid_", "Its id"),
    text("token", 256, "Its text, shown here alone"),
    time("expires_at", "When it stops working").or_null(),
    number("max_requests", "How many calls it may make in all").or_null(),
];

pub(super) const CREATE: &[Member] = &[
    text("project_id", 64, "Its project").required(),
    bounded("duration_minutes", 1, 525_600, "How long it works").required(),
    number("max_requests", "How many calls it may make in all; 0: any"),
];

pub(super) const UPDATE: &[Member] = &[
    switch("is_active", "Whether it may be used"),
    number("max_requests", "How many calls it may make in all; 0: any"),
];

pub(super) const QUERY: &[Member] = &[
    CURSOR,
    text("projectId", 64, "Only those of this project"),
    text("project_id", 64, "The same"),
    switch("activeOnly", "Only those that may be used now"),
    switch("active_only", "The same"),
];

pub(super) async fn list(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let (store, scope) = (&state.parts.store, operator.scope());
    let in_snake = query.get("project_id");
    let of = query.get("projectId").or(in_snake);
    let only_live = query.is_on("activeOnly") | query.is_on("active_only");
    let project: Option<ProjectId> = match of {
        Some(project) => Some(store.project(scope, ProjectRef::of(project)).await?.id),
        None => None,
    };
    let filter = TokenFilter { project, only_live };
    let filters = format!("manage tokens|{}|{only_live}", of.unwrap_or_default());
    let page: Page<Token> = store.tokens(scope, filter, page(&call, &filters)?).await?;
    state
        .record(state.event(operator, Action::TokenList))
        .await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.created_at,
        id: last.id,
    });
    let next = next_cursor(state, &filters, last);
    let rows = page.rows.iter().map(|token| token_shown(state, token));
    let project = project.map(|project| format!("project_id={project}&"));
    let path = format!(
        "/manage/tokens?{}active_only={only_live}&",
        project.unwrap_or_default()
    );
    listed(rows.collect(), &path, next)
}

pub(super) async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let project = members.text("project_id").unwrap_or_default();
    let minutes = members.number("duration_minutes").unwrap_or_default();
    let max_requests = members.number("max_requests");
    let now = state.parts.store.now();
    let expires_at = end::after(now, minutes.saturating_mul(60_000));
    if !members.is_faulty()
        && let Some(message) = state.end_fault(now, Some(expires_at))
    {
        members.fault("duration_minutes", message);
    }
    members.done()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let project = store.project(scope, ProjectRef::of(&project)).await?;
    if !project.is_active {
        return Err(Problem::project_inactive());
    }
    state.check_audit()?;
    let auth = &state.settings().auth;
    let secret = state.mint(&auth.token_prefix, None)?;
    let max_requests = max_requests.unwrap_or(auth.token_default_max_requests);
    let new = NewToken {
        project_id: project.id,
        name: String::new(),
        secret: state.kept_of_token(&secret),
        expires_at: Some(expires_at),
        idle_ttl_ms: None,
        max_requests: NonZeroU64::new(max_requests),
        limits: CallLimits::default(),
        bindings: Bindings::default(),
        policy: None,
        permissions: Vec::new(),
        metadata: std::collections::BTreeMap::new(),
        owner: String::new(),
        self_rotate: false,
    };
    let token = store.create_token(scope, new).await?;
    let event = told_made(&state, &operator, Action::TokenCreate, &token);
    if let Err(problem) = state.record(event).await {
        // What can't be recorded isn't given out.
        let reason = "audit unavailable";
        store.revoke_token(scope, token.id, reason).await?;
        return Err(problem);
    }
    let shown = json!({
        "id": token.id,
        "token": secret.expose(),
        "expires_at": token.expires_at,
        "max_requests": token.max_requests,
    });
    Ok(created(&format!("/manage/tokens/{}", token.id), &shown))
}

pub(super) async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let id = token_id(&call.id)?;
    let token = state.parts.store.token(operator.scope(), id).await?;
    state
        .record(told(state, operator, Action::TokenRead, &token))
        .await?;
    Ok(ok(&token_shown(state, &token)))
}

pub(super) async fn update(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let id = token_id(&id)?;
    let is_active = members.switch("is_active");
    let max_requests = members.number("max_requests").map(NonZeroU64::new);
    members.done()?;
    if is_active.is_none() && max_requests.is_none() {
        return Err(Problem::bad_request("no fields to update"));
    }
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    if let Some(is_active) = is_active {
        let switch = if is_active {
            Switch::On
        } else {
            Switch::Off(Suspender {
                by: operator.name(),
                reason: "is_active: false".to_owned(),
            })
        };
        let token = store.switch_token(scope, id, switch).await?;
        if !is_active {
            let cut = Cut::Token(id, token.secret.digest);
            state.cut(&operator, InFlight::Cut, [cut]).await?;
        }
    }
    let change = TokenChange {
        max_requests,
        ..TokenChange::default()
    };
    let token = store.change_token(scope, id, change).await?;
    state
        .record(told(&state, &operator, Action::TokenUpdate, &token))
        .await?;
    Ok(ok(&token_shown(&state, &token)))
}

pub(super) async fn delete(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let id = token_id(&call.id)?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let revoked = store.revoke_token(scope, id, "deleted").await?.token;
    let cut = Cut::Token(id, revoked.secret.digest);
    state.cut(operator, InFlight::Cut, [cut]).await?;
    state
        .record(told(state, operator, Action::TokenRevoke, &revoked))
        .await?;
    Ok(no_content())
}

fn token_shown(state: &State, token: &Token) -> Json {
    json!({
        "id": token.id,
        "token": token.secret.hint,
        "project_id": token.project_id,
        "expires_at": token.expires_at,
        "is_active": token.standing(state.parts.store.now()) == Standing::Live,
        "request_count": token.request_count,
        "max_requests": token.max_requests,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "cache_hit_count": 0,
    })
}
