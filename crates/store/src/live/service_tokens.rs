//! Service tokens where the front door finds them: read without a lock, copied by changes.

use crate::{Door, ServiceToken};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::Arc;
use tollkeep_types::{ServiceTokenId, TokenHash, WallMillis};

/// Every service token that may open a door. Few, and changed rarely.
#[derive(Default)]
pub struct ServiceTokens(ArcSwap<HashMap<ServiceTokenId, Live>>);

#[derive(Clone)]
struct Live {
    door: Door,
    digest: TokenHash,
    previous: Option<(TokenHash, WallMillis)>,
    expires_at: Option<WallMillis>,
}

impl ServiceTokens {
    pub(super) fn fill(&self, tokens: &[ServiceToken]) {
        let live = tokens.iter().filter_map(Live::of);
        self.0.store(Arc::new(live.collect()));
    }

    /// Shows a change. Changes come one after the other: whoever makes one has the store's turn.
    pub(super) fn follow(&self, token: &ServiceToken) {
        let mut all = HashMap::clone(&self.0.load());
        match Live::of(token) {
            Some((id, live)) => all.insert(id, live),
            None => all.remove(&token.id),
        };
        self.0.store(Arc::new(all));
    }

    /// Whether the id and the hash of the secret that came with it open this door now. HOT where
    /// a front door is on. An id that is not there costs what a wrong secret costs.
    pub fn admits(
        &self,
        door: Door,
        id: Option<ServiceTokenId>,
        digest: &TokenHash,
        now: WallMillis,
    ) -> bool {
        const NONE: Live = Live {
            door: Door::Data,
            digest: TokenHash::from_bytes([0; 32]),
            previous: None,
            expires_at: None,
        };
        const NEVER: (TokenHash, WallMillis) = (TokenHash::from_bytes([0; 32]), WallMillis(0));
        let all = self.0.load();
        let found = id.and_then(|id| all.get(&id));
        let is_known = found.is_some();
        let live = found.unwrap_or(&NONE);
        let (previous, until) = live.previous.as_ref().unwrap_or(&NEVER);
        // All of it is worked out before anything is decided.
        let is_current = live.digest == *digest;
        let is_previous = (*previous == *digest) & (now < *until);
        let is_in_time = live.expires_at.is_none_or(|end| now < end);
        is_known & (live.door == door) & (is_current | is_previous) & is_in_time
    }
}

impl Live {
    fn of(token: &ServiceToken) -> Option<(ServiceTokenId, Self)> {
        let live = Self {
            door: token.door,
            digest: token.secret.digest,
            previous: token.previous,
            expires_at: token.expires_at,
        };
        token.revoked_at.is_none().then_some((token.id, live))
    }
}
