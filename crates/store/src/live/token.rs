//! A token as the data plane uses it.

use super::{Granting, Lineage, LiveProject};
use crate::token::Lifetime;
use crate::{Bindings, CallLimits, Permission, Standing, Token, TokenState};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::{TokenHash, TokenId, WallMillis};

/// A token in use. What can change while calls hold it is atomic; a revocation is seen by all.
#[derive(Debug)]
pub struct LiveToken {
    /// Its id.
    pub id: TokenId,
    /// The project it spends for.
    pub project: Arc<LiveProject>,
    /// Its counters, shared with the tokens it was rotated from and to.
    pub lineage: Arc<Lineage>,
    /// The text as records show it, masked.
    pub hint: Box<str>,
    /// Its fingerprint for investigators.
    pub fingerprint: Box<str>,
    /// When it stops working; `None`: never.
    pub expires_at: Option<WallMillis>,
    /// How many calls its lineage may make in all.
    pub max_requests: Option<NonZeroU64>,
    /// Its own rate limits.
    own_limits: CallLimits,
    /// From where and for what it may be used.
    pub bindings: Bindings,
    /// What may be asked for with it, besides what its project and tenant allow.
    pub policy: Option<Arc<CallPolicy>>,
    /// Its holder may see amounts of its budgets.
    pub reads_usage: bool,
    /// Free pairs, by which budgets may count it.
    pub metadata: Box<[(Box<str>, Box<str>)]>,
    pub(super) digest: TokenHash,
    idle_ttl_ms: Option<u64>,
    state: AtomicU8,
    /// Shared with what stood for the same row before and is still held by calls.
    cut: Arc<AtomicBool>,
    /// End of the grace after a rotation; [`NO_END`] before one.
    grace_ends_at: AtomicU64,
    created_at: WallMillis,
    /// When it was last used; 0 for never.
    last_used_at: AtomicU64,
    /// The last use that is on disk; 0 for none.
    pub(super) stored_use_at: AtomicU64,
}

const NO_END: u64 = u64::MAX;

const fn to_byte(state: TokenState) -> u8 {
    match state {
        TokenState::Active => 0,
        TokenState::Rotating => 1,
        TokenState::Suspended => 2,
        TokenState::Revoked => 3,
    }
}

const fn from_byte(state: u8) -> TokenState {
    match state {
        0 => TokenState::Active,
        1 => TokenState::Rotating,
        2 => TokenState::Suspended,
        _ => TokenState::Revoked,
    }
}

impl LiveToken {
    /// The token of a row; `None` if it has ended for good.
    pub(super) fn new(
        token: &Token,
        (project, lineage): (Arc<LiveProject>, Arc<Lineage>),
        before: Option<&Self>,
    ) -> Option<Self> {
        if token.ended_at.is_some() || token.state == TokenState::Revoked {
            return None;
        }
        let used_at = token.last_used_at.unwrap_or_default().0;
        Some(Self {
            id: token.id,
            own_limits: token.limits,
            project,
            lineage,
            hint: token.secret.hint.as_str().into(),
            fingerprint: token.secret.fingerprint.as_str().into(),
            expires_at: token.expires_at,
            max_requests: token.max_requests,
            bindings: token.bindings.clone(),
            policy: token.policy.clone(),
            reads_usage: token.permissions.contains(&Permission::UsageRead),
            metadata: token
                .metadata
                .iter()
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
            digest: token.secret.digest,
            idle_ttl_ms: token.idle_ttl_ms,
            created_at: token.created_at,
            state: AtomicU8::new(to_byte(token.state)),
            cut: before.map_or_else(Arc::default, |before| Arc::clone(&before.cut)),
            grace_ends_at: AtomicU64::new(token.grace_ends_at.map_or(NO_END, |end| end.0)),
            last_used_at: AtomicU64::new(used_at),
            stored_use_at: AtomicU64::new(used_at),
        })
    }

    /// What may be done with the token at `now` ([`crate::Store::now`], which never goes back).
    pub fn standing(&self, now: WallMillis) -> Standing {
        let grace_ends_at = self.grace_ends_at.load(Ordering::Acquire);
        let lifetime = Lifetime {
            state: from_byte(self.state.load(Ordering::Acquire)),
            expires_at: self.expires_at,
            grace_ends_at: (grace_ends_at != NO_END).then_some(WallMillis(grace_ends_at)),
            idle_ttl_ms: self.idle_ttl_ms,
            last_used_at: self.used_at().max(self.created_at),
        };
        lifetime.standing(now)
    }

    /// Its rate limits, with what it inherits from its project and tenant. HOT: four loads.
    pub fn limits(&self) -> CallLimits {
        self.own_limits.or(self.project.limits())
    }

    /// Tokens a minute, and in a day. HOT: two loads.
    pub fn token_limits(&self) -> [Option<NonZeroU32>; 2] {
        let own = &self.own_limits;
        let [minute, day] = self.project.token_limits();
        [own.tokens_per_minute.or(minute), own.tokens_per_day.or(day)]
    }

    /// The policies that stand on it, on its project and on its tenant. HOT: two loads, where there
    /// is none.
    pub fn policies(&self, each: &mut Vec<Arc<CallPolicy>>) {
        self.project.policies(each);
        each.extend(self.policy.clone());
    }

    /// The hash of its text, which names it.
    pub const fn digest(&self) -> &TokenHash {
        &self.digest
    }

    /// Whether what is on its way to its holder must end.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire) || self.project.is_cut()
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Counts one call at `now` if the maximum of its lineage allows it.
    #[must_use]
    pub fn try_grant(&self, now: WallMillis) -> Granting {
        let granting = self.lineage.try_grant(self.max_requests);
        if granting.is_granted() {
            self.used(now);
        }
        granting
    }

    /// Takes the last granted call back, whose hold was fully released.
    pub fn refund(&self) {
        self.lineage.refund(self.max_requests);
    }

    /// Whether it is certain that no call is left, without asking anybody.
    pub fn is_used_up(&self) -> bool {
        self.lineage.is_used_up(self.max_requests)
    }

    /// Takes note of its use.
    pub(crate) fn used(&self, now: WallMillis) {
        if self.last_used_at.load(Ordering::Relaxed) < now.0 {
            self.last_used_at.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// Takes over that it was used, by a process that has stored it.
    pub(super) fn note_use(&self, at: WallMillis) {
        self.last_used_at.fetch_max(at.0, Ordering::Relaxed);
        self.stored_use_at.fetch_max(at.0, Ordering::Relaxed);
    }

    /// It has ended for good.
    pub(super) fn end(&self) {
        self.state
            .store(to_byte(TokenState::Revoked), Ordering::Release);
    }

    /// Whether it may do what its row says it may.
    pub(super) fn is_as(&self, token: &Token) -> bool {
        self.expires_at == token.expires_at
            && self.max_requests == token.max_requests
            && self.idle_ttl_ms == token.idle_ttl_ms
            && self.own_limits == token.limits
            && self.bindings == token.bindings
            && self.policy == token.policy
    }

    /// Takes over what changed in its row. Changes come in the order in which they were stored.
    pub(super) fn follow(&self, token: &Token) {
        let grace_ends_at = token.grace_ends_at.map_or(NO_END, |end| end.0);
        self.grace_ends_at.store(grace_ends_at, Ordering::Release);
        let state = match token.ended_at {
            Some(_) => TokenState::Revoked,
            None => token.state,
        };
        self.state.store(to_byte(state), Ordering::Release);
        // One that was switched off in its grace is rotating when it is on again.
        if matches!(state, TokenState::Active | TokenState::Rotating) {
            self.cut.store(false, Ordering::Release);
        }
    }

    /// The last use, if it is later than the stored one.
    pub(super) fn unstored_use(&self) -> Option<WallMillis> {
        let stored = WallMillis(self.stored_use_at.load(Ordering::Relaxed));
        Some(self.used_at()).filter(|used_at| *used_at > stored)
    }

    fn used_at(&self) -> WallMillis {
        WallMillis(self.last_used_at.load(Ordering::Relaxed))
    }
}
