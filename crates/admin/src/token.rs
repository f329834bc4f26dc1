//! `/api/v1/tokens`

use crate::State;
use crate::authn::{Operator, Right};
use crate::bindings;
use crate::cursor;
use crate::members::Members;
use crate::problem::{Fault, Problem};
use crate::router::{Answer, created, ok};
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State as Of};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_crypto::mint::{self, MintError};
use tollkeep_crypto::samples;
use tollkeep_store::{
    After, NewToken, PageRequest, ProjectRef, Rotation, Standing, Token, TokenFilter, TokenSecret,
};
use tollkeep_types::{Secret, TokenId, WallMillis};

/// Longest overlap of a rotation: 30 days.
const OVERLAP_MS_MAX: u64 = 30 * 86_400_000;
const OVERLAP_MS_DEFAULT: u64 = 86_400_000;

/// `POST /api/v1/tokens`
pub(crate) async fn create(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Answer {
    operator.check(Right::Tokens)?;
    let wanted = Wanted::read(&state, &body)?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let project = store
        .project(scope, ProjectRef::of(&wanted.project))
        .await?;
    let secret = state.mint(&wanted.prefix, wanted.length)?;
    let new = NewToken {
        project_id: project.id,
        name: wanted.name,
        secret: state.kept_of(&secret),
        expires_at: wanted.expires_at,
        idle_ttl_ms: wanted.idle_ttl_ms,
        max_requests: wanted.max_requests,
        limits: wanted.limits,
        bindings: wanted.bindings,
        metadata: wanted.metadata,
        owner: wanted.owner,
    };
    let token = store.create_token(scope, new).await?;
    if let Err(problem) = state
        .record(told_made(&state, &operator, Action::TokenCreate, &token))
        .await
    {
        // What can't be recorded isn't given out.
        store
            .revoke_token(scope, token.id, "audit unavailable")
            .await?;
        return Err(problem);
    }
    Ok(created(
        &format!("/api/v1/tokens/{}", token.id),
        &with_secret(&state, &token, &secret),
    ))
}

/// `GET /api/v1/tokens`
pub(crate) async fn list(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer {
    operator.check(Right::Read)?;
    let mut query = query;
    let (store, scope) = (&state.parts.store, operator.scope());
    let limit = match query.remove("limit") {
        None => 50,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=200).contains(limit))
            .ok_or_else(|| Problem::bad_request("limit: want 1 to 200."))?,
    };
    let only_live = match query.remove("active").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::bad_request("active: want true or false.")),
    };
    let project = query
        .remove("project")
        .or_else(|| query.remove("project_id"));
    let cursor = query.remove("cursor");
    if let Some(unknown) = query.keys().next() {
        return Err(Problem::bad_request(format!(
            "{unknown}: unknown parameter."
        )));
    }
    let filters = format!("{}|{only_live}", project.as_deref().unwrap_or_default());
    let project = match &project {
        Some(project) => Some(store.project(scope, ProjectRef::of(project)).await?.id),
        None => None,
    };
    let after = cursor
        .map(|cursor| cursor::read(&state.cursor_key, &filters, &cursor))
        .transpose()?;
    let page = store
        .tokens(
            scope,
            TokenFilter { project, only_live },
            PageRequest { limit, after },
        )
        .await?;
    state
        .record(state.event(&operator, Action::TokenList))
        .await?;
    let last = page.rows.last().filter(|_| page.more);
    let next = last.map(|last| {
        cursor::write(
            &state.cursor_key,
            &filters,
            &After {
                created_at: last.created_at,
                id: last.id,
            },
        )
    });
    let data: Vec<Json> = page.rows.iter().map(|token| shown(&state, token)).collect();
    Ok(ok(
        &json!({ "data": data, "has_more": page.more, "next_cursor": next }),
    ))
}

/// `GET /api/v1/tokens/{id}`
pub(crate) async fn get(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Answer {
    operator.check(Right::Read)?;
    let token = state
        .parts
        .store
        .token(operator.scope(), token_id(&id)?)
        .await?;
    state
        .record(told(&state, &operator, Action::TokenRead, &token))
        .await?;
    Ok(ok(&shown(&state, &token)))
}

/// `POST /api/v1/tokens/{id}/revoke`
pub(crate) async fn revoke(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    operator.check(Right::Tokens)?;
    let mut members = Members::read(&body)?;
    let reason = members.text("reason", 200);
    members.done()?;
    state.check_audit()?;
    let reason = reason.as_deref().unwrap_or("revoked by an operator");
    let revoked = state
        .parts
        .store
        .revoke_token(operator.scope(), token_id(&id)?, reason)
        .await?;
    state
        .record(told(&state, &operator, Action::TokenRevoke, &revoked.token))
        .await?;
    Ok(ok(&shown(&state, &revoked.token)))
}

/// `POST /api/v1/tokens/{id}/rotate`
pub(crate) async fn rotate(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    operator.check(Right::Tokens)?;
    let id = token_id(&id)?;
    let mut members = Members::read(&body)?;
    let overlap_ms = members.duration("overlap");
    if overlap_ms.is_some_and(|overlap| overlap > OVERLAP_MS_MAX) {
        members.fault("overlap", "at most 30d");
    }
    let now = state.parts.store.now();
    let settings = state.settings();
    let auth = &settings.auth;
    let by_default = WallMillis(now.0.saturating_add(millis(auth.token_default_ttl)));
    let expires_at = members.time("expires_at").or(Some(by_default));
    if let Some(message) = expires_at.and_then(|at| state.end_fault(now, Some(at))) {
        members.fault("expires_at", message);
    }
    members.done()?;
    state.check_audit()?;
    let secret = state.mint(&auth.token_prefix, None)?;
    let rotation = Rotation {
        secret: state.kept_of(&secret),
        overlap_ms: overlap_ms.unwrap_or(OVERLAP_MS_DEFAULT),
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
    let mut answer = with_secret(&state, &rotated.new, &secret);
    if let Some(members) = answer.as_object_mut() {
        members.insert("replaces".to_owned(), json!(rotated.old.id));
        members.insert(
            "old_works_until".to_owned(),
            json!(rotated.old.grace_ends_at),
        );
    }
    Ok(ok(&answer))
}

/// What a creating request asks for.
struct Wanted {
    project: String,
    prefix: String,
    length: Option<usize>,
    name: String,
    expires_at: Option<WallMillis>,
    idle_ttl_ms: Option<u64>,
    max_requests: Option<NonZeroU64>,
    limits: tollkeep_store::CallLimits,
    bindings: tollkeep_store::Bindings,
    metadata: BTreeMap<String, String>,
    owner: String,
}

impl Wanted {
    fn read(state: &State, body: &[u8]) -> Result<Self, Problem> {
        let settings = state.settings();
        let auth = &settings.auth;
        let mut members = Members::read(body)?;
        let project = members
            .text("project_id", 64)
            .or_else(|| members.text("project", 64));
        let expires_at = read_end(state, &mut members);
        let max_requests = members
            .number("max_requests")
            .unwrap_or(auth.token_default_max_requests);
        let metadata: Option<BTreeMap<String, String>> = members.typed("metadata");
        let size = |metadata: &BTreeMap<String, String>| {
            metadata
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum::<usize>()
        };
        if metadata
            .as_ref()
            .is_some_and(|metadata| metadata.len() > 32 || size(metadata) > 4096)
        {
            members.fault("metadata", "at most 32 pairs and 4 KiB");
        }
        let wanted = Self {
            project: project.unwrap_or_else(|| "default".to_owned()),
            prefix: members
                .text("prefix", 15)
                .unwrap_or_else(|| auth.token_prefix.clone()),
            length: members
                .number("length")
                .map(|length| usize::try_from(length).unwrap_or(usize::MAX)),
            name: members.text("name", 200).unwrap_or_default(),
            expires_at,
            idle_ttl_ms: members.duration("idle_ttl"),
            max_requests: NonZeroU64::new(max_requests),
            limits: members.typed("limits").unwrap_or_default(),
            bindings: bindings::take(&mut members),
            metadata: metadata.unwrap_or_default(),
            owner: members.text("owner", 200).unwrap_or_default(),
        };
        members.done()?;
        Ok(wanted)
    }
}

/// The end of a new token, by `expires_at`, `ttl` or `duration_minutes`; else the default.
fn read_end(state: &State, members: &mut Members) -> Option<WallMillis> {
    let settings = state.settings();
    let auth = &settings.auth;
    let now = state.parts.store.now();
    let never = members.never_expires();
    let minutes = members
        .number("duration_minutes")
        .map(|minutes| minutes.saturating_mul(60_000));
    let ttl = members.duration("ttl").or(minutes);
    let end = match (members.time("expires_at"), ttl) {
        (Some(at), _) => Some(at),
        (None, Some(ttl)) => Some(WallMillis(now.0.saturating_add(ttl))),
        (None, None) if never => None,
        (None, None) => Some(WallMillis(
            now.0.saturating_add(millis(auth.token_default_ttl)),
        )),
    };
    if let Some(message) = state.end_fault(now, end) {
        members.fault("expires_at", message);
    }
    end
}

impl State {
    /// What is wrong with a token's end.
    fn end_fault(&self, now: WallMillis, end: Option<WallMillis>) -> Option<String> {
        let settings = self.settings();
        let auth = &settings.auth;
        match end {
            None if auth.allow_eternal_tokens => None,
            None => Some("tokens without end are off (auth.allow_eternal_tokens)".to_owned()),
            Some(at) if at <= now => Some("must be later than now".to_owned()),
            Some(at) if at.0 - now.0 > millis(auth.token_max_ttl) => Some(format!(
                "at most {} days from now (auth.token_max_ttl)",
                auth.token_max_ttl.as_secs() / 86_400
            )),
            Some(_) => None,
        }
    }

    /// A new token's text.
    fn mint(&self, prefix: &str, length: Option<usize>) -> Result<Secret, Problem> {
        let minted = mint::mint(prefix, length, self.parts.entropy.as_ref());
        let minted = minted.map_err(|error| {
            let place = match error {
                MintError::Prefix => "/prefix",
                MintError::TooShort { .. } | MintError::TooLong => "/length",
                MintError::Entropy => return Problem::internal(),
            };
            Problem::invalid(vec![Fault {
                path: place.to_owned(),
                message: error.to_string(),
            }])
        })?;
        if samples::is_sample(minted.expose()) {
            Err(Problem::internal())
        } else {
            Ok(minted)
        }
    }

    /// What is kept of a token's text.
    fn kept_of(&self, secret: &Secret) -> TokenSecret {
        TokenSecret {
            digest: self.parts.hasher.hash(secret.expose()),
            pepper_id: self.parts.pepper_id.to_owned(),
            hint: tollkeep_audit::mask(secret.expose()),
            fingerprint: tollkeep_audit::fingerprint(&self.parts.fingerprint_key, secret.expose()),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn token_id(text: &str) -> Result<TokenId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

fn told<'a>(
    state: &State,
    operator: &Operator,
    action: Action,
    token: &'a Token,
) -> tollkeep_audit::Event<'a> {
    state
        .event(operator, action)
        .with_tenant_id(token.tenant_id)
        .with_project_id(token.project_id)
        .with_token_hint(&token.secret.hint)
        .with_token_ref(token.id)
}

/// As [`told`], with how long and how often the token may be used.
fn told_made<'a>(
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
        "limits": token.limits,
        "bindings": token.bindings,
        "metadata": token.metadata,
        "owner": token.owner,
        "lineage": token.lineage,
        "replaced_by": token.replaced_by,
        "grace_ends_at": token.grace_ends_at,
        "revoked_at": token.revoked_at,
        "revoked_reason": token.revoked_reason,
    })
}

/// The token object of the one answer that has the text in it.
fn with_secret(state: &State, token: &Token, secret: &Secret) -> Json {
    let mut shown = shown(state, token);
    if let Some(members) = shown.as_object_mut() {
        members.insert("secret".to_owned(), secret.expose().into());
        members.insert("token".to_owned(), secret.expose().into());
    }
    shown
}
