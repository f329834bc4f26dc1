//! `/api/v1/service-tokens`: the second factor that clients show at a front door.

use crate::State;
use crate::authn::Operator;
use crate::end::{self, DAY_MS, take_overlap};
use crate::members::Members;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, ok};
use crate::secret::with_secret;
use crate::shape::{Member, choice, duration, id, objects, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_store::{Door, NewServiceToken, ServiceRotation, ServiceToken};
use tollkeep_types::{ServiceTokenId, WallMillis};

/// What the text of a secret starts with.
const PREFIX: &str = "svs-";
/// How long one lives unless the request says so: a year.
const TTL_MS_DEFAULT: u64 = 365 * DAY_MS;
/// Longest life: ten years.
const TTL_MS_MAX: u64 = 3_650 * DAY_MS;

const DOORS: &[&str] = &["data", "management"];

const CREATE: &[Member] = &[
    text("name", 200, "Its name in lists"),
    choice(
        "door",
        DOORS,
        "Which listener's front door it opens; `data` if not given",
    ),
    time("expires_at", "When it stops working; `null`: never"),
    duration("ttl", "How long it works; 365d if not given"),
];

const ROTATE: &[Member] = &[
    duration(
        "overlap",
        "How long the old secret goes on working; 24h if not given",
    ),
    time(
        "expires_at",
        "When it stops working; its end stays if not given",
    ),
    duration("ttl", "How long it works from now on"),
];

const SHOWN: &[Member] = &[
    id("id", "svc_", "Its id, which clients send beside the secret"),
    text("name", 200, "Its name in lists"),
    choice("door", DOORS, "Which listener's front door it opens"),
    text("secret_hint", 100, "Its secret, masked"),
    choice(
        "status",
        &["active", "rotating", "expired", "revoked"],
        "What it is now",
    ),
    time("created_at", "When it was made"),
    time("rotated_at", "When it last got another secret").or_null(),
    time("previous_works_until", "Until when the secret before works").or_null(),
    time("expires_at", "When it stops working").or_null(),
    time("revoked_at", "When it was revoked").or_null(),
];

const SECRET: &[Member] = &[text("secret", 256, "Its secret, shown here alone")];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "service_token_list",
        command: "service-token list",
        about: "Service tokens, newest first",
        method: Method::Get,
        path: "/api/v1/service-tokens",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(
            200,
            Content::Object(&[&[objects("data", SHOWN, "The service tokens")]]),
        )],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "service_token_create",
        command: "service-token create",
        about: "Make a service token; its secret is shown once",
        method: Method::Post,
        path: "/api/v1/service-tokens",
        also: None,
        right: Right::ServiceTokens,
        change: Some(Action::ServiceTokenCreate),
        query: &[],
        body: Some(CREATE),
        answers: &[(201, Content::Object(&[SHOWN, SECRET]))],
        refusals: &[409],
        run: |call| Box::pin(create(call)),
    },
    Operation {
        id: "service_token_rotate",
        command: "service-token rotate",
        about: "Give a service token another secret; the old one works for a while",
        method: Method::Post,
        path: "/api/v1/service-tokens/{id}/rotate",
        also: None,
        right: Right::ServiceTokens,
        change: Some(Action::ServiceTokenRotate),
        query: &[],
        body: Some(ROTATE),
        answers: &[(200, Content::Object(&[SHOWN, SECRET]))],
        refusals: &[409],
        run: |call| Box::pin(rotate(call)),
    },
    Operation {
        id: "service_token_revoke",
        command: "service-token revoke",
        about: "End a service token for good",
        method: Method::Post,
        path: "/api/v1/service-tokens/{id}/revoke",
        also: None,
        right: Right::ServiceTokens,
        change: Some(Action::ServiceTokenRevoke),
        query: &[],
        body: Some(&[]),
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[409],
        run: |call| Box::pin(revoke(call)),
    },
];

async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let name = members.text("name").unwrap_or_default();
    let door = members.choice("door").unwrap_or(Door::Data);
    let now = state.parts.store.now();
    let expires_at = match read_end(&mut members, now) {
        end::Wanted::At(at) => Some(at),
        end::Wanted::Never => None,
        end::Wanted::Nothing => Some(end::after(now, TTL_MS_DEFAULT)),
    };
    members.done()?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let secret = state.mint(PREFIX, None)?;
    let new = NewServiceToken {
        name,
        door,
        secret: state.kept_of_service(&secret),
        expires_at,
    };
    let token = store.create_service_token(scope, new).await?;
    let event = told(&state, &operator, Action::ServiceTokenCreate, &token);
    if let Err(problem) = state.record(event).await {
        // What can't be recorded isn't given out.
        store.revoke_service_token(scope, token.id).await?;
        return Err(problem);
    }
    Ok(created(
        &format!("/api/v1/service-tokens/{}", token.id),
        &with_secret(shown(&state, &token), &["secret"], &secret),
    ))
}

async fn list(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let tokens = state.parts.store.service_tokens(operator.scope()).await?;
    state
        .record(state.event(operator, Action::ServiceTokenList))
        .await?;
    let data: Vec<_> = tokens.iter().map(|token| shown(state, token)).collect();
    Ok(ok(&json!({ "data": data })))
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
    let expires_at = match read_end(&mut members, state.parts.store.now()) {
        end::Wanted::At(at) => Some(at),
        end::Wanted::Never | end::Wanted::Nothing => None,
    };
    members.done()?;
    state.check_audit()?;
    let secret = state.mint(PREFIX, None)?;
    let rotation = ServiceRotation {
        secret: state.kept_of_service(&secret),
        overlap_ms,
        expires_at,
    };
    let store = &state.parts.store;
    let token = store
        .rotate_service_token(operator.scope(), id, rotation)
        .await?;
    state
        .record(told(&state, &operator, Action::ServiceTokenRotate, &token))
        .await?;
    let shown = shown(&state, &token);
    Ok(ok(&with_secret(shown, &["secret"], &secret)))
}

async fn revoke(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body,
        ..
    } = call;
    body.done()?;
    state.check_audit()?;
    let store = &state.parts.store;
    let token = store
        .revoke_service_token(operator.scope(), token_id(&id)?)
        .await?;
    state
        .record(told(&state, &operator, Action::ServiceTokenRevoke, &token))
        .await?;
    Ok(ok(&shown(&state, &token)))
}

/// The end that `expires_at` or `ttl` asks for.
fn read_end(members: &mut Members, now: WallMillis) -> end::Wanted {
    let end = end::Wanted::take(members, now, None);
    if let end::Wanted::At(at) = end
        && let Some(message) = end::fault(now, at, TTL_MS_MAX)
    {
        members.fault("expires_at", message);
    }
    end
}

fn token_id(text: &str) -> Result<ServiceTokenId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

fn told<'a>(state: &State, operator: &Operator, action: Action, token: &ServiceToken) -> Event<'a> {
    state
        .event(operator, action)
        .with_detail(Key::Name, Value::OwnedWord(token.id.to_string().into()))
        .with_detail(Key::Listener, Value::Word(token.door.as_str()))
}

fn shown(state: &State, token: &ServiceToken) -> Json {
    let now = state.parts.store.now();
    let previous = token.previous.map(|(_, end)| end).filter(|end| now < *end);
    let status = match (token.revoked_at, token.is_live(now), previous) {
        (Some(_), ..) => "revoked",
        (None, false, _) => "expired",
        (None, true, Some(_)) => "rotating",
        (None, true, None) => "active",
    };
    json!({
        "id": token.id,
        "name": token.name,
        "door": token.door.as_str(),
        "secret_hint": token.secret.hint,
        "status": status,
        "created_at": token.created_at,
        "rotated_at": token.rotated_at,
        "previous_works_until": previous,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    })
}
