//! `/api/v1/service-tokens`: the second factor that clients show at a front door.

use crate::State;
use crate::authn::{Operator, Right};
use crate::members::Members;
use crate::problem::Problem;
use crate::router::{Answer, created, ok};
use axum::body::Bytes;
use axum::extract::{Extension, Path, State as Of};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_crypto::mint;
use tollkeep_store::{Door, NewServiceToken, ServiceRotation, ServiceSecret, ServiceToken};
use tollkeep_types::{Secret, ServiceTokenId, WallMillis};

/// What the text of a secret starts with.
const PREFIX: &str = "svs-";
/// How long one lives unless the request says so: a year.
const TTL_MS_DEFAULT: u64 = 365 * 86_400_000;
/// Longest life: ten years.
const TTL_MS_MAX: u64 = 3_650 * 86_400_000;
/// Longest overlap of a rotation: 30 days.
const OVERLAP_MS_MAX: u64 = 30 * 86_400_000;
const OVERLAP_MS_DEFAULT: u64 = 86_400_000;

/// `POST /api/v1/service-tokens`
pub(crate) async fn create(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Answer {
    operator.check(Right::ServiceTokens)?;
    let mut members = Members::read(&body)?;
    let name = members.text("name", 200).unwrap_or_default();
    let door = members.take_as("door", |value| {
        let door = value.as_str().and_then(|word| word.parse().ok());
        door.ok_or_else(|| "must be \"data\" or \"management\"".to_owned())
    });
    let now = state.parts.store.now();
    let never = members.never_expires();
    let asked = read_end(&mut members, now);
    let by_default = (!never).then(|| WallMillis(now.0.saturating_add(TTL_MS_DEFAULT)));
    members.done()?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let secret = state.service_secret()?;
    let new = NewServiceToken {
        name,
        door: door.unwrap_or(Door::Data),
        secret: state.kept_of_service(&secret),
        expires_at: asked.or(by_default),
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
        &with_secret(&state, &token, &secret),
    ))
}

/// `GET /api/v1/service-tokens`
pub(crate) async fn list(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
) -> Answer {
    operator.check(Right::Read)?;
    let tokens = state.parts.store.service_tokens(operator.scope()).await?;
    state
        .record(state.event(&operator, Action::ServiceTokenList))
        .await?;
    let data: Vec<_> = tokens.iter().map(|token| shown(&state, token)).collect();
    Ok(ok(&json!({ "data": data })))
}

/// `POST /api/v1/service-tokens/{id}/rotate`
pub(crate) async fn rotate(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    operator.check(Right::ServiceTokens)?;
    let id = token_id(&id)?;
    let mut members = Members::read(&body)?;
    let overlap_ms = members.duration("overlap");
    if overlap_ms.is_some_and(|overlap| overlap > OVERLAP_MS_MAX) {
        members.fault("overlap", "at most 30d");
    }
    let expires_at = read_end(&mut members, state.parts.store.now());
    members.done()?;
    state.check_audit()?;
    let secret = state.service_secret()?;
    let rotation = ServiceRotation {
        secret: state.kept_of_service(&secret),
        overlap_ms: overlap_ms.unwrap_or(OVERLAP_MS_DEFAULT),
        expires_at,
    };
    let store = &state.parts.store;
    let token = store
        .rotate_service_token(operator.scope(), id, rotation)
        .await?;
    state
        .record(told(&state, &operator, Action::ServiceTokenRotate, &token))
        .await?;
    Ok(ok(&with_secret(&state, &token, &secret)))
}

/// `POST /api/v1/service-tokens/{id}/revoke`
pub(crate) async fn revoke(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    operator.check(Right::ServiceTokens)?;
    Members::read(&body)?.done()?;
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
fn read_end(members: &mut Members, now: WallMillis) -> Option<WallMillis> {
    let ttl = members.duration("ttl");
    let at = members.time("expires_at");
    let end = at.or_else(|| Some(WallMillis(now.0.saturating_add(ttl?))));
    let fault = end.and_then(|end| match end.0.checked_sub(now.0) {
        None | Some(0) => Some("must be later than now"),
        Some(left) if left > TTL_MS_MAX => Some("at most 3650 days from now"),
        Some(_) => None,
    });
    if let Some(message) = fault {
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

impl State {
    fn service_secret(&self) -> Result<Secret, Problem> {
        mint::mint(PREFIX, None, self.parts.entropy.as_ref()).map_err(|_| Problem::internal())
    }

    fn kept_of_service(&self, secret: &Secret) -> ServiceSecret {
        ServiceSecret {
            digest: self.parts.hasher.hash(secret.expose()),
            pepper_id: self.parts.pepper_id.to_owned(),
            hint: tollkeep_audit::mask(secret.expose()),
        }
    }
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

/// The object of the one answer that has the secret in it.
fn with_secret(state: &State, token: &ServiceToken, secret: &Secret) -> Json {
    let mut shown = shown(state, token);
    if let Some(members) = shown.as_object_mut() {
        members.insert("secret".to_owned(), secret.expose().into());
    }
    shown
}
