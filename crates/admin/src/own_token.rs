//! What holders of access tokens may know and do of their own one (ID-31). The data plane has
//! proven whose it is; who may do what besides is decided here.

use crate::token::{millis, told_of};
use crate::{Admin, State, usage};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use tollkeep_audit::{Action, Actor, ActorId, Event, Key, Outcome, Value};
use tollkeep_store::{Conflict, OwnRotation, Rotated, Scope, StoreError};
use tollkeep_types::{RequestId, TenantId, TokenId, WallMillis};

/// How long the old token goes on working: a day.
const OVERLAP_MS: u64 = 86_400_000;

/// A holder, and the request it asks with.
pub struct Holder {
    /// The tenant of the token.
    pub tenant: TenantId,
    /// The token.
    pub token: TokenId,
    /// Calls that its line was granted, as far as the data plane knows.
    pub granted: u64,
    /// The request.
    pub request: RequestId,
    /// From where.
    pub client_ip: IpAddr,
    /// What with.
    pub user_agent: Option<Arc<str>>,
}

/// Why a holder is told no.
#[derive(Debug, thiserror::Error)]
pub enum HolderNo {
    /// By the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It can't be recorded, so it is not done.
    #[error("the audit log can't be written")]
    Unrecorded,
    /// No text could be made.
    #[error("no token could be made")]
    NotMinted,
}

impl Admin {
    /// What a holder may know of its token, as a JSON text.
    ///
    /// # Errors
    /// The store's.
    pub async fn show_own_token(&self, holder: &Holder) -> Result<Vec<u8>, HolderNo> {
        let store = &self.0.parts.store;
        let token = store.token(holder.scope(), holder.token).await?;
        let ends = [token.expires_at, token.grace_ends_at];
        let granted = token.request_count.max(holder.granted);
        let left = token
            .max_requests
            .map(|max| max.get().saturating_sub(granted));
        let told = json!({
            "token": token.secret.hint,
            "expires_at": ends.into_iter().flatten().min(),
            "max_requests": token.max_requests,
            "remaining_requests": left,
            "limits": token.limits,
        });
        Ok(told.to_string().into_bytes())
    }

    /// What a holder's calls have spent, as a JSON text: amounts only if the token may read them.
    ///
    /// # Errors
    /// The store's.
    pub async fn show_own_usage(&self, holder: &Holder) -> Result<Vec<u8>, HolderNo> {
        let store = &self.0.parts.store;
        let token = store.token(holder.scope(), holder.token).await?;
        let told = usage::own(&self.0, &token).await?;
        Ok(told.to_string().into_bytes())
    }

    /// Replaces a holder's token; the answer, with the new text in it, as a JSON text.
    ///
    /// # Errors
    /// [`HolderNo`]; what can't be recorded is not given out.
    pub async fn rotate_own_token(&self, holder: &Holder) -> Result<Vec<u8>, HolderNo> {
        let state = &self.0;
        state.check_audit().map_err(|_| HolderNo::Unrecorded)?;
        let settings = state.settings();
        let auth = &settings.auth;
        let secret = state
            .mint(&auth.token_prefix, None)
            .map_err(|_| HolderNo::NotMinted)?;
        let own = OwnRotation {
            secret: state.kept_of_token(&secret),
            overlap_ms: OVERLAP_MS,
            life_ms_max: millis(auth.token_max_ttl),
            lineage_ms_max: millis(auth.lineage_max_ttl),
        };
        let store = &state.parts.store;
        let rotated = store
            .rotate_own_token(holder.scope(), holder.token, own)
            .await?;
        if state.record(told(state, holder, &rotated)).await.is_err() {
            let reason = "audit unavailable";
            store
                .revoke_token(holder.scope(), rotated.new.id, reason)
                .await?;
            return Err(HolderNo::Unrecorded);
        }
        let old_ends = [rotated.old.expires_at, rotated.old.grace_ends_at];
        let told = json!({
            "token": secret.expose(),
            "expires_at": rotated.new.expires_at,
            "old_expires_at": old_ends.into_iter().flatten().min(),
        });
        Ok(told.to_string().into_bytes())
    }
}

impl HolderNo {
    /// What the store has against it, if it is that.
    pub const fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Store(StoreError::Conflict(conflict)) => Some(conflict),
            Self::Store(_) | Self::Unrecorded | Self::NotMinted => None,
        }
    }
}

impl Holder {
    fn scope(&self) -> Scope {
        Scope::Tenant(self.tenant)
    }
}

fn told<'a>(state: &State, holder: &Holder, rotated: &'a Rotated) -> Event<'a> {
    let event = Event::new(Action::TokenRefresh, Actor::Client, Outcome::Success)
        .at(state.parts.clock.wall())
        .with_request_id(holder.request)
        .with_client_ip(holder.client_ip)
        .with_actor_id(ActorId::Token(holder.token));
    let mut event = told_of(event, &rotated.old);
    if let Some(WallMillis(end)) = rotated.new.expires_at {
        let life_ms = end.saturating_sub(rotated.new.created_at.0);
        let minutes = Value::Number(life_ms.div_ceil(60_000));
        event = event.with_detail(Key::DurationMinutes, minutes);
    }
    match &holder.user_agent {
        Some(agent) => event.with_user_agent(agent.to_string()),
        None => event,
    }
}
