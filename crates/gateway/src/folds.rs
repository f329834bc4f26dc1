//! Events that repeat are told of together: one for a key and some time, with how many there were.

use crate::record::Facts;
use crate::refusal::{CountedBy, LimitClass};
use std::collections::HashMap;
use std::net::IpAddr;
use tollkeep_observe::metrics::RouteLabel;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_types::{ProjectId, TokenId};

/// Keys whose repeated refusals are folded at a time.
const FOLDS_MAX: usize = 10_000;
/// One event per key and reason in this time; the next one tells how many there were.
const FOLD_MS: u64 = 60_000;

/// What was told of lately.
#[derive(Default)]
pub(crate) struct Folds(HashMap<FoldKey, (u64, u64)>);

/// Events of one key are told of together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct FoldKey {
    pub(crate) reason: &'static str,
    /// The route of a limit that each route has for itself.
    route: RouteLabel,
    of: FoldOf,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum FoldOf {
    All,
    Address(IpAddr),
    Token(TokenId),
    Project(ProjectId),
}

impl FoldKey {
    /// What is told of by address.
    pub(crate) const fn address(ip: IpAddr, reason: &'static str) -> Self {
        Self {
            reason,
            route: RouteLabel::NONE,
            of: FoldOf::Address(ip),
        }
    }

    /// What is told of by whose calls of a provider it is.
    pub(crate) fn call(facts: &Facts, reason: &'static str) -> Self {
        let token = facts.token.as_ref();
        Self {
            reason,
            route: RouteLabel::NONE,
            of: token.map_or(FoldOf::All, |token| FoldOf::Project(token.project.id)),
        }
    }

    /// The key of a limit.
    pub(crate) fn limit(facts: &Facts, class: &'static str, by: CountedBy) -> Self {
        let token = facts.token.as_ref();
        let of = match by {
            CountedBy::All => FoldOf::All,
            CountedBy::Token => token.map_or(FoldOf::All, |token| FoldOf::Token(token.id)),
            CountedBy::Project => {
                token.map_or(FoldOf::All, |token| FoldOf::Project(token.project.id))
            }
            CountedBy::Address => FoldOf::Address(prefix_key(facts.client_ip)),
        };
        let of_route = class == LimitClass::Route.name();
        Self {
            reason: class,
            route: if of_route {
                facts.route_label
            } else {
                RouteLabel::NONE
            },
            of,
        }
    }
}

impl Folds {
    /// How many events of this kind to tell of now: none while a first one is fresh, else this
    /// one and those kept back.
    pub(crate) fn tell(&mut self, key: FoldKey, now_ms: u64) -> Option<u64> {
        if self.0.len() >= FOLDS_MAX {
            self.0
                .retain(|_, (since, _)| now_ms.saturating_sub(*since) < FOLD_MS);
        }
        if self.0.len() >= FOLDS_MAX {
            return Some(1);
        }
        let (since, kept_back) = self.0.entry(key).or_insert((0, 0));
        if *since != 0 && now_ms.saturating_sub(*since) < FOLD_MS {
            *kept_back += 1;
            return None;
        }
        *since = now_ms;
        Some(std::mem::take(kept_back) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    // AUD-12
    #[test]
    fn repeated_refusals_fold_into_one_event_that_counts_them() {
        let mut folds = Folds::default();
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let told: Vec<_> = [1, 2, 3, FOLD_MS + 1, FOLD_MS + 2]
            .map(|ms| folds.tell(FoldKey::address(ip, "chunk"), ms))
            .to_vec();
        assert_eq!(told, [Some(1), None, None, Some(3), None]);
        assert_eq!(
            folds.tell(FoldKey::address(ip, "host"), 2),
            Some(1),
            "another reason has its own count"
        );
    }
}
