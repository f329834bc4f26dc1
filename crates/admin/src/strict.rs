//! The strict limit (EDGE-85): how often an address, and all of them, may try to sign in or have
//! something outside tried out. Kept in memory; the local socket is exempt.

use crate::State;
use crate::operation::Operation;
use crate::problem::Problem;
use crate::request::Asked;
use crate::unproven::Refused;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use tollkeep_audit::{Action, Outcome};
use tollkeep_config::settings::{Rate, StrictRate};
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::rate::{Quota, RateClass, Verdict};
use tollkeep_types::MonoNanos;

/// Operations it is for, by their ids: what guesses, and what calls somebody else.
const STRICT: [&str; 4] = [
    "session_create",
    "session_prove",
    "session_oidc_callback",
    "credential_test",
];

/// Addresses that are told apart at most; with so many live ones, further ones share a cell.
const ADDRESSES_MAX: usize = 100_000;

/// The cell of those that are one too many; no caller has this address.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What was used of the limit.
#[derive(Default)]
pub(crate) struct Strict(Mutex<Cells>);

/// Theoretical arrival times.
#[derive(Default)]
struct Cells {
    all: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// A limit that is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct UsedUp {
    pub(crate) rate: Rate,
    pub(crate) retry_after_ns: u64,
}

fn quota(rate: &Rate) -> Quota {
    let window_ns = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
    Quota::per(rate.requests, window_ns, rate.burst)
}

impl Strict {
    /// Debits both limits, or neither.
    fn take(&self, ip: IpAddr, rules: &StrictRate, now: MonoNanos) -> Result<(), UsedUp> {
        // A panic under the lock leaves numbers that are still numbers.
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut address = prefix_key(ip);
        if cells.by_address.len() >= ADDRESSES_MAX && !cells.by_address.contains_key(&address) {
            cells.by_address.retain(|_, tat| *tat > now.0);
            if cells.by_address.len() >= ADDRESSES_MAX {
                address = OTHERS;
            }
        }
        // What another limit left before a reload counts no more than this one can.
        let cut = |tat: &mut u64, rate: Rate| {
            *tat = (*tat).min(quota(&rate).tat_max(now));
            *tat
        };
        let all = cut(&mut cells.all, rules.all);
        let known = cells.by_address.get_mut(&address);
        let own = known.map_or(0, |tat| cut(tat, rules.address));
        let passes = |tat: u64, rate: Rate| match quota(&rate).check(tat, now) {
            Verdict::Pass { tat } => Ok(tat),
            Verdict::Refuse { retry_after_ns } => Err(UsedUp {
                rate,
                retry_after_ns,
            }),
        };
        let own = passes(own, rules.address)?;
        cells.all = passes(all, rules.all)?;
        cells.by_address.insert(address, own);
        Ok(())
    }
}

impl State {
    /// Counts what the strict limit is for.
    pub(crate) fn check_strict(&self, operation: &Operation, asked: &Asked) -> Result<(), Problem> {
        let Some(ip) = asked.client_ip.filter(|_| STRICT.contains(&operation.id)) else {
            return Ok(());
        };
        let rules = self.settings().server.strict_rate;
        let taken = self.strict.take(ip, &rules, self.parts.clock.mono());
        taken.map_err(|used_up| {
            self.parts.metrics.strictly_limited();
            let (action, outcome) = (Action::RateLimitExceeded, Outcome::Denied);
            let reason = Some(RateClass::Strict.label());
            let refused = Refused::new(action, outcome, reason, Some(prefix_key(ip)));
            self.record_or_fold(asked, refused.by_the_minute(), |event| event);
            Problem::strictly_limited(&used_up)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation;
    use std::time::Duration;

    const fn rate(requests: u64) -> Rate {
        Rate {
            requests,
            window: Duration::from_secs(60),
            burst: requests,
        }
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn every_operation_that_is_limited_is_there() {
        for id in STRICT {
            assert!(operation::all().any(|known| known.id == id), "{id}");
        }
    }

    // EDGE-85
    #[test]
    fn an_address_and_all_of_them_have_their_limits_and_a_refusal_debits_neither() {
        let strict = Strict::default();
        let rules = StrictRate {
            address: rate(2),
            all: rate(3),
        };
        let at = |second: u64| MonoNanos(1_000_000_000 * (1 + second));
        let take = |ip: u32, second| strict.take(v4(ip), &rules, at(second));
        let wait = |used_up: Result<(), UsedUp>| {
            used_up.map_err(|used_up| {
                (
                    used_up.rate.requests,
                    used_up.retry_after_ns / 1_000_000_000,
                )
            })
        };
        for (name, ip, second, want) in [
            ("the first", 1, 0, Ok(())),
            ("its burst", 1, 0, Ok(())),
            ("one too many", 1, 0, Err((2, 30))),
            ("again: not debited twice", 1, 0, Err((2, 30))),
            ("another address", 2, 0, Ok(())),
            ("all are used up", 3, 0, Err((3, 20))),
            ("also for who still has some", 2, 0, Err((3, 20))),
            ("later one passes", 2, 20, Ok(())),
            ("the first still has to wait", 1, 20, Err((2, 10))),
        ] {
            assert_eq!(wait(take(ip, second)), want, "{name}");
        }
    }

    // EDGE-88
    #[test]
    fn addresses_beyond_the_bound_share_a_cell_and_evict_nobody() {
        let strict = Strict::default();
        let rules = StrictRate {
            address: rate(1),
            all: rate(1_000_000_000),
        };
        let count = u32::try_from(ADDRESSES_MAX).unwrap();
        let take = |ip| strict.take(v4(ip), &rules, MonoNanos(1)).is_ok();
        assert!((1..=count).all(take));
        assert!(take(count + 1) && !take(count + 2), "they share one");
        assert!(!take(1), "nobody is forgotten");
        let later = MonoNanos(61_000_000_000);
        assert!(strict.take(v4(count + 2), &rules, later).is_ok());
        let known = strict.0.lock().unwrap().by_address.len();
        assert_eq!(known, 1, "what is over is dropped");
    }
}
