//! Making a token.

use super::{BINDINGS, PERMISSIONS, limits, millis, permissions, shown, told_made};
use crate::State;
use crate::bindings;
use crate::end;
use crate::members::Members;
use crate::operation::Call;
use crate::policy::{self, POLICY};
use crate::problem::Problem;
use crate::router::{Answer, created};
use crate::secret::with_secret;
use crate::shape::{Member, duration, number, pairs, switch, text, time};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use tollkeep_audit::Action;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_store::{NewToken, Permission, ProjectRef};
use tollkeep_types::WallMillis;

pub(super) const MEMBERS: &[Member] = &[
    text(
        "project_id",
        64,
        "Its project, by id or slug; `default` if not given",
    ),
    text("project", 64, "The same"),
    text("name", 200, "Its name in lists"),
    time(
        "expires_at",
        "When it stops working; `null`: never, where that is allowed",
    ),
    duration("ttl", "How long it works"),
    number("duration_minutes", "How long it works, in minutes"),
    duration("idle_ttl", "How long it may go unused"),
    number("max_requests", "How many calls it may make in all; 0: any"),
    limits("Rate limits; what is not said is inherited from the project"),
    BINDINGS,
    POLICY,
    PERMISSIONS,
    pairs("metadata", 32, "Free pairs, 4 KiB in all"),
    text("owner", 200, "Who holds it; free text"),
    switch("self_rotate", "Whether its holder may replace it"),
    text("prefix", 15, "What its text starts with"),
    number("length", "How long its text is"),
];

/// `POST /api/v1/tokens`
pub(super) async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    let wanted = Wanted::read(&state, body)?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let project = store
        .project(scope, ProjectRef::of(&wanted.project))
        .await?;
    let secret = state.mint(&wanted.prefix, wanted.length)?;
    let new = NewToken {
        project_id: project.id,
        name: wanted.name,
        secret: state.kept_of_token(&secret),
        expires_at: wanted.expires_at,
        idle_ttl_ms: wanted.idle_ttl_ms,
        max_requests: wanted.max_requests,
        limits: wanted.limits,
        bindings: wanted.bindings,
        policy: wanted.policy,
        permissions: wanted.permissions,
        metadata: wanted.metadata,
        owner: wanted.owner,
        self_rotate: wanted.self_rotate,
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
        &with_secret(shown(&state, &token), &["secret", "token"], &secret),
    ))
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
    policy: Option<Arc<CallPolicy>>,
    permissions: Vec<Permission>,
    metadata: BTreeMap<String, String>,
    owner: String,
    self_rotate: bool,
}

impl Wanted {
    fn read(state: &State, mut members: Members) -> Result<Self, Problem> {
        let settings = state.settings();
        let auth = &settings.auth;
        let by_id = members.text("project_id");
        let project = by_id.or(members.text("project"));
        let expires_at = read_end(state, &mut members);
        let max_requests = members
            .number("max_requests")
            .unwrap_or(auth.token_default_max_requests);
        let wanted = Self {
            project: project.unwrap_or_else(|| "default".to_owned()),
            prefix: members
                .text("prefix")
                .unwrap_or_else(|| auth.token_prefix.clone()),
            length: members
                .number("length")
                .map(|length| usize::try_from(length).unwrap_or(usize::MAX)),
            name: members.text("name").unwrap_or_default(),
            expires_at,
            idle_ttl_ms: members.duration("idle_ttl"),
            max_requests: NonZeroU64::new(max_requests),
            limits: members.typed("limits").unwrap_or_default(),
            bindings: bindings::take(&mut members).unwrap_or_default(),
            policy: policy::take(&mut members).flatten(),
            permissions: permissions(&mut members).unwrap_or_default(),
            metadata: members.metadata("metadata").unwrap_or_default(),
            owner: members.text("owner").unwrap_or_default(),
            self_rotate: members.switch("self_rotate").unwrap_or(false),
        };
        members.done()?;
        Ok(wanted)
    }
}

/// The end of a new token, by `expires_at`, `ttl` or `duration_minutes`; else the default.
fn read_end(state: &State, members: &mut Members) -> Option<WallMillis> {
    let settings = state.settings();
    let now = state.parts.store.now();
    let minutes = members
        .number("duration_minutes")
        .map(|minutes| minutes.saturating_mul(60_000));
    let end = match end::Wanted::take(members, now, minutes) {
        end::Wanted::At(at) => Some(at),
        end::Wanted::Never => None,
        end::Wanted::Nothing => {
            let ttl = millis(settings.auth.token_default_ttl);
            Some(end::after(now, ttl))
        }
    };
    if let Some(message) = state.end_fault(now, end) {
        members.fault("expires_at", message);
    }
    end
}
