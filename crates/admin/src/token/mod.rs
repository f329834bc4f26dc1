//! `/api/v1/tokens`

mod create;
mod ending;
mod update;

pub(crate) use ending::{IN_FLIGHT, InFlight, in_flight};

use crate::State;
use crate::authn::Operator;
use crate::end::{self, DAY_MS, take_overlap};
use crate::members::{Members, duration_text};
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, listed};
use crate::policy::POLICY;
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::secret::with_secret;
use crate::shape::{
    Member, bounded, choice, duration, id, lists, number, object, pairs, switch, text, texts, time,
};
use serde_json::{Value as Json, json};
use std::time::Duration;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::{Permission, ProjectRef, Rotation, Standing, Token, TokenFilter};
use tollkeep_types::{TokenId, WallMillis};

/// Rate limits of calls.
pub(crate) const fn limits(about: &'static str) -> Member {
    const MAX: u64 = u32::MAX as u64;
    const LIMITS: &[Member] = &[
        bounded("requests_per_second", 1, MAX, "Calls a second"),
        bounded("requests_per_minute", 1, MAX, "Calls a minute"),
        bounded(
            "tokens_per_minute",
            1,
            MAX,
            "Tokens a minute, of input and output together",
        ),
        bounded("tokens_per_day", 1, MAX, "Tokens in 24 hours"),
        bounded("concurrency", 1, MAX, "Calls at the same time"),
        bounded(
            "burst",
            1,
            MAX,
            "Calls that may come at once before the rates bite",
        ),
    ];
    object("limits", LIMITS, about)
}

const BINDINGS: Member = object(
    "bindings",
    &[
        texts("ips", 1000, 50, "Addresses and networks of callers"),
        texts("origins", 1000, 300, "Exact origins of pages"),
        lists(
            "headers",
            "Header name to allowed values, exact or with `*`",
        ),
        texts("methods", 20, 20, "Methods"),
        texts("routes", 1000, 1000, "Path prefixes, or names of routes"),
        texts("models", 1000, 300, "Globs on the model's name"),
    ],
    "From where and for what it may be used; nothing: for all",
);

const PERMISSIONS: Member = texts(
    "permissions",
    3,
    20,
    "What its holder may do besides calling: `usage.read`",
);

/// Takes `permissions`: each once, in one order.
fn permissions(members: &mut Members) -> Option<Vec<Permission>> {
    let mut permissions = members.texts("permissions", |word| match word.parse() {
        Ok(Permission::UsageRead) => Ok(Permission::UsageRead),
        Ok(Permission::DebugRouting | Permission::RoutingPick) => Err(format!(
            "`{word}` is not supported: calls are not routed by their callers yet"
        )),
        Err(()) => Err(format!("must be of: {}", Permission::UsageRead.as_str())),
    })?;
    permissions.sort_unstable();
    permissions.dedup();
    Some(permissions)
}

const ROTATE: &[Member] = &[
    duration(
        "overlap",
        "How long the old one goes on working; 24h if not given",
    ),
    time("expires_at", "When the new one stops working"),
];

const QUERY: &[Member] = &[
    LIMIT,
    CURSOR,
    text("project", 64, "Only those of this project, by id or slug"),
    text("project_id", 64, "The same"),
    switch("active", "Only those that may be used now"),
];

const SHOWN: &[Member] = &[
    id("id", "tid_", "Its id"),
    id("project_id", "prj_", "The project it spends for"),
    id("tenant_id", "ten_", "The tenant of that"),
    text("name", 200, "Its name in lists"),
    text(
        "token",
        256,
        "Its text, masked but in the answer that makes it",
    ),
    text("fingerprint", 100, "Its fingerprint for investigators"),
    choice(
        "status",
        &["active", "rotating", "expired", "revoked", "suspended"],
        "What it is now",
    ),
    switch("is_active", "Whether it may be used"),
    time("created_at", "When it was made"),
    time("expires_at", "When it stops working").or_null(),
    time("last_used_at", "When it was last used").or_null(),
    number("max_requests", "How many calls its lineage may make in all").or_null(),
    number("request_count", "How many calls its lineage was granted"),
    duration("idle_ttl", "How long it may go unused").or_null(),
    limits("Its own rate limits"),
    BINDINGS,
    POLICY.or_null(),
    PERMISSIONS,
    pairs("metadata", 32, "Free pairs"),
    text("owner", 200, "Who holds it"),
    switch("self_rotate", "Whether its holder may replace it"),
    time("suspended_at", "When it was switched off").or_null(),
    text("suspended_by", 100, "Who switched it off").or_null(),
    text("suspended_reason", 200, "Why it was switched off").or_null(),
    id("lineage", "lin_", "The line of tokens it was rotated from"),
    id("replaced_by", "tid_", "The token it was rotated to").or_null(),
    time("grace_ends_at", "When it stops working after a rotation").or_null(),
    time("revoked_at", "When it was revoked").or_null(),
    text("revoked_reason", 200, "Why it was revoked").or_null(),
];

const SECRET: &[Member] = &[text("secret", 256, "Its text, shown here alone")];

const ROTATED: &[Member] = &[
    id("replaces", "tid_", "The old token"),
    time("old_works_until", "Until when the old token works").or_null(),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "token_list",
        command: "token list",
        about: "Tokens, newest first",
        method: Method::Get,
        path: "/api/v1/tokens",
        also: None,
        right: Right::Read,
        change: None,
        query: QUERY,
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[404],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "token_create",
        command: "token create",
        about: "Make a token; its text is shown once",
        method: Method::Post,
        path: "/api/v1/tokens",
        also: None,
        right: Right::Tokens,
        change: Some(Action::TokenCreate),
        query: &[],
        body: Some(create::MEMBERS),
        answers: &[(201, Content::Object(&[SHOWN, SECRET]))],
        refusals: &[404, 409],
        run: |call| Box::pin(create::create(call)),
    },
    Operation {
        id: "token_get",
        command: "token get",
        about: "One token",
        method: Method::Get,
        path: "/api/v1/tokens/{id}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "token_update",
        command: "token update",
        about: "Change a token, from its next call on",
        method: Method::Patch,
        path: "/api/v1/tokens/{id}",
        also: None,
        right: Right::Tokens,
        change: Some(Action::TokenUpdate),
        query: &[],
        body: Some(update::MEMBERS),
        answers: ONE,
        refusals: &[409],
        run: |call| Box::pin(update::update(call)),
    },
    Operation {
        id: "token_revoke",
        command: "token revoke",
        about: "End a token for good",
        method: Method::Post,
        path: "/api/v1/tokens/{id}/revoke",
        also: None,
        right: Right::Tokens,
        change: Some(Action::TokenRevoke),
        query: &[],
        body: Some(ending::REVOKE),
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(ending::revoke(call)),
    },
    Operation {
        id: "token_rotate",
        command: "token rotate",
        about: "Replace a token by a new one with the same settings and counters",
        method: Method::Post,
        path: "/api/v1/tokens/{id}/rotate",
        also: None,
        right: Right::Tokens,
        change: Some(Action::TokenRotate),
        query: &[],
        body: Some(ROTATE),
        answers: &[(200, Content::Object(&[SHOWN, SECRET, ROTATED]))],
        refusals: &[409],
        run: |call| Box::pin(rotate(call)),
    },
    Operation {
        id: "token_suspend",
        command: "token suspend",
        about: "Switch a token off until it is resumed",
        method: Method::Post,
        path: "/api/v1/tokens/{id}/suspend",
        also: None,
        right: Right::Tokens,
        change: Some(Action::TokenSuspend),
        query: &[],
        body: Some(ending::REVOKE),
        answers: ONE,
        refusals: &[409],
        run: |call| Box::pin(ending::suspend(call)),
    },
    Operation {
        id: "token_resume",
        command: "token resume",
        about: "Take a suspended token again",
        method: Method::Post,
        path: "/api/v1/tokens/{id}/resume",
        also: None,
        right: Right::Tokens,
        change: Some(Action::TokenResume),
        query: &[],
        body: Some(&[]),
        answers: ONE,
        refusals: &[409],
        run: |call| Box::pin(ending::resume(call)),
    },
    Operation {
        id: "project_tokens_revoke",
        command: "project revoke-tokens",
        about: "End all tokens of a project for good",
        method: Method::Post,
        path: "/api/v1/projects/{project}/tokens/revoke",
        also: Some("/manage/projects/{project}/tokens/revoke"),
        right: Right::Tokens,
        change: Some(Action::TokenRevokeBatch),
        query: &[],
        body: Some(ending::REVOKE),
        answers: &[(200, Content::Object(&[ending::REVOKED]))],
        refusals: &[],
        run: |call| Box::pin(ending::revoke_of_project(call)),
    },
];

async fn list(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let (store, scope) = (&state.parts.store, operator.scope());
    let only_live = query.is_on("active");
    let by_id = query.get("project_id");
    let project = query.get("project").or(by_id);
    let filters = format!("{}|{only_live}", project.unwrap_or_default());
    let project = match project {
        Some(project) => Some(store.project(scope, ProjectRef::of(project)).await?.id),
        None => None,
    };
    let filter = TokenFilter { project, only_live };
    let page = query.page(state, &filters)?;
    let page = store.tokens(scope, filter, page).await?;
    state
        .record(state.event(operator, Action::TokenList))
        .await?;
    Ok(ok(&listed(
        state,
        &filters,
        (&page, |row| (row.created_at, row.id)),
        |token| shown(state, token),
    )))
}

async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let id = token_id(&call.id)?;
    let token = state.parts.store.token(operator.scope(), id).await?;
    state
        .record(told(state, operator, Action::TokenRead, &token))
        .await?;
    Ok(ok(&shown(state, &token)))
}

async fn rotate(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let id = token_id(&id)?;
    let overlap_ms = take_overlap(&mut members, DAY_MS);
    let now = state.parts.store.now();
    let settings = state.settings();
    let auth = &settings.auth;
    let by_default = end::after(now, millis(auth.token_default_ttl));
    let expires_at = members.time("expires_at").or(Some(by_default));
    if let Some(message) = expires_at.and_then(|at| state.end_fault(now, Some(at))) {
        members.fault("expires_at", message);
    }
    members.done()?;
    state.check_audit()?;
    let secret = state.mint(&auth.token_prefix, None)?;
    let rotation = Rotation {
        secret: state.kept_of_token(&secret),
        overlap_ms,
        expires_at,
    };
    let rotated = state
        .parts
        .store
        .rotate_token(operator.scope(), id, rotation)
        .await?;
    state
        .record(told_made(
            &state,
            &operator,
            Action::TokenRotate,
            &rotated.old,
        ))
        .await?;
    let shown = shown(&state, &rotated.new);
    let mut answer = with_secret(shown, &["secret", "token"], &secret);
    if let Some(members) = answer.as_object_mut() {
        members.insert("replaces".to_owned(), json!(rotated.old.id));
        members.insert(
            "old_works_until".to_owned(),
            json!(rotated.old.grace_ends_at),
        );
    }
    Ok(ok(&answer))
}

impl State {
    /// What is wrong with a token's end.
    pub(crate) fn end_fault(&self, now: WallMillis, end: Option<WallMillis>) -> Option<String> {
        let settings = self.settings();
        let auth = &settings.auth;
        let Some(at) = end else {
            let problem = "tokens without end are off (auth.allow_eternal_tokens)";
            return (!auth.allow_eternal_tokens).then(|| problem.to_owned());
        };
        let max_ms = millis(auth.token_max_ttl);
        let fault = end::fault(now, at, max_ms)?;
        let is_too_late = at > end::after(now, max_ms);
        Some(if is_too_late {
            format!("{fault} (auth.token_max_ttl)")
        } else {
            fault
        })
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn token_id(text: &str) -> Result<TokenId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

pub(crate) fn told<'a>(
    state: &State,
    operator: &Operator,
    action: Action,
    token: &'a Token,
) -> tollkeep_audit::Event<'a> {
    told_of(state.event(operator, action), token)
}

/// The event, with which token it is about.
pub(crate) fn told_of<'a>(
    event: tollkeep_audit::Event<'a>,
    token: &'a Token,
) -> tollkeep_audit::Event<'a> {
    event
        .with_tenant_id(token.tenant_id)
        .with_project_id(token.project_id)
        .with_token_hint(&token.secret.hint)
        .with_token_ref(token.id)
        .with_detail(Key::Fingerprint, Value::Word(&token.secret.fingerprint))
}

/// As [`told`], with how long and how often the token may be used.
pub(crate) fn told_made<'a>(
    state: &State,
    operator: &Operator,
    action: Action,
    token: &'a Token,
) -> tollkeep_audit::Event<'a> {
    let mut event = told(state, operator, action, token);
    if let Some(end) = token.expires_at {
        let minutes = end.0.saturating_sub(token.created_at.0).div_ceil(60_000);
        event = event.with_detail(Key::DurationMinutes, Value::Number(minutes));
    }
    match token.max_requests {
        Some(max) => event.with_detail(Key::MaxRequests, Value::Number(max.get())),
        None => event,
    }
}

/// The token object (identity, section 9.4); the text is there as its mask alone.
fn shown(state: &State, token: &Token) -> Json {
    let standing = token.standing(state.parts.store.now());
    let status = match standing {
        Standing::Live => token.state.as_str(),
        Standing::Expired => "expired",
        Standing::Revoked => "revoked",
        Standing::Suspended => "suspended",
    };
    json!({
        "id": token.id,
        "project_id": token.project_id,
        "tenant_id": token.tenant_id,
        "name": token.name,
        "token": token.secret.hint,
        "fingerprint": token.secret.fingerprint,
        "status": status,
        "is_active": standing == Standing::Live,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "max_requests": token.max_requests,
        "request_count": token.request_count,
        "idle_ttl": token.idle_ttl_ms.map(duration_text),
        "limits": token.limits,
        "bindings": token.bindings,
        "policy": token.policy,
        "permissions": token.permissions,
        "metadata": token.metadata,
        "owner": token.owner,
        "self_rotate": token.self_rotate,
        "suspended_at": token.suspended_at,
        "suspended_by": token.suspended_by,
        "suspended_reason": token.suspended_reason,
        "lineage": token.lineage,
        "replaced_by": token.replaced_by,
        "grace_ends_at": token.grace_ends_at,
        "revoked_at": token.revoked_at,
        "revoked_reason": token.revoked_reason,
    })
}
