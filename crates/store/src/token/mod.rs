//! Access tokens: what is kept of them, and when they may be used.

mod keep;
mod lifetime;
mod limits;
mod permission;
mod revoke;
mod rotate;
mod suspend;
mod update;

pub use keep::TokenFilter;
pub use lifetime::{Standing, TokenState};
pub use limits::{Bindings, CallLimits};
pub use permission::Permission;
pub use revoke::{ProjectRevocation, Revocation};
pub use rotate::{OwnRotation, Rotated, Rotation};
pub use suspend::{Suspender, Switch};
pub use update::TokenChange;

pub(crate) use keep::{by_id, of_project, of_tenant, open};
pub(crate) use lifetime::Lifetime;
pub(crate) use revoke::revoke_all;
pub(crate) use rotate::REASON as ROTATED;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::{LineageId, ProjectId, TenantId, TokenHash, TokenId, WallMillis};

/// What is kept of a token's text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenSecret {
    /// Its keyed hash.
    pub digest: TokenHash,
    /// Which pepper made the hash.
    pub pepper_id: String,
    /// The text as lists show it, masked.
    pub hint: String,
    /// Its fingerprint for investigators (`fp_…`).
    pub fingerprint: String,
}

/// A token to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewToken {
    /// The project it spends for.
    pub project_id: ProjectId,
    /// Its name in lists; may be empty.
    pub name: String,
    /// What is kept of its text.
    pub secret: TokenSecret,
    /// When it stops working; `None`: never.
    pub expires_at: Option<WallMillis>,
    /// How long it may go unused, in milliseconds.
    pub idle_ttl_ms: Option<u64>,
    /// How many calls its lineage may make in all.
    pub max_requests: Option<NonZeroU64>,
    /// Its rate limits; what is unset is inherited from the project.
    pub limits: CallLimits,
    /// From where and for what it may be used.
    pub bindings: Bindings,
    /// What may be asked for with it, besides what its project and tenant allow.
    pub policy: Option<Arc<CallPolicy>>,
    /// What its holder may do besides calling.
    pub permissions: Vec<Permission>,
    /// Free pairs of its owner.
    pub metadata: BTreeMap<String, String>,
    /// Who holds it; free text.
    pub owner: String,
    /// Whether its holder may replace it.
    pub self_rotate: bool,
}

/// The record of an access token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Owner of its project.
    pub tenant_id: TenantId,
    /// The project it spends for.
    pub project_id: ProjectId,
    /// The line of tokens it was rotated from; owner of the counters.
    pub lineage: LineageId,
    /// Its name in lists; may be empty.
    pub name: String,
    /// What is kept of its text.
    pub secret: TokenSecret,
    /// Its stored state; see [`Token::standing`] for what that means now.
    pub state: TokenState,
    /// When it was made.
    pub created_at: WallMillis,
    /// When it stops working; `None`: never.
    pub expires_at: Option<WallMillis>,
    /// How long it may go unused, in milliseconds.
    pub idle_ttl_ms: Option<u64>,
    /// When it was last used, as of the last flush.
    pub last_used_at: Option<WallMillis>,
    /// How many calls its lineage may make in all.
    pub max_requests: Option<NonZeroU64>,
    /// How many calls its lineage was granted, as of the last flush.
    pub request_count: u64,
    /// Its own rate limits; what is unset is inherited from the project.
    pub limits: CallLimits,
    /// From where and for what it may be used.
    pub bindings: Bindings,
    /// What may be asked for with it, besides what its project and tenant allow.
    pub policy: Option<Arc<CallPolicy>>,
    /// What its holder may do besides calling.
    pub permissions: Vec<Permission>,
    /// Free pairs of its owner.
    pub metadata: BTreeMap<String, String>,
    /// Who holds it; free text.
    pub owner: String,
    /// Whether its holder may replace it.
    pub self_rotate: bool,
    /// When it was switched off.
    pub suspended_at: Option<WallMillis>,
    /// Who switched it off.
    pub suspended_by: Option<String>,
    /// Why it was switched off.
    pub suspended_reason: Option<String>,
    /// The token it was rotated to.
    pub replaced_by: Option<TokenId>,
    /// When it stops working after a rotation.
    pub grace_ends_at: Option<WallMillis>,
    /// When it was revoked.
    pub revoked_at: Option<WallMillis>,
    /// Why it was revoked.
    pub revoked_reason: Option<String>,
    /// When it stopped working for good.
    pub ended_at: Option<WallMillis>,
}

impl Token {
    /// What may be done with the token at `now`.
    pub fn standing(&self, now: WallMillis) -> Standing {
        if self.ended_at.is_some() && self.state != TokenState::Revoked {
            return Standing::Expired;
        }
        let lifetime = Lifetime {
            state: self.state,
            expires_at: self.expires_at,
            grace_ends_at: self.grace_ends_at,
            idle_ttl_ms: self.idle_ttl_ms,
            last_used_at: self.last_used_at.unwrap_or(self.created_at),
        };
        lifetime.standing(now)
    }
}
