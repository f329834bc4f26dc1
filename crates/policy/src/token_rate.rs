//! Rate limits of tokens: the same algorithm as for requests ([`crate::rate`]), with a weight for each
//! call. What a call may use at most is debited before it goes out, and corrected when it is known.

use tollkeep_types::MonoNanos;

/// So many tokens a window, so many of them at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenQuota {
    tokens: u64,
    window_ns: u64,
    interval_ns: u64,
    /// The debt a full burst makes.
    debt_ns_max: u64,
}

/// What a limit makes of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenVerdict {
    /// It passes; `tat` is the state if it is debited.
    Pass {
        /// When the cell is empty again.
        tat: u64,
    },
    /// It does not; the state stays.
    Refuse {
        /// How long until it would pass.
        retry_after_ns: u64,
    },
}

impl TokenQuota {
    /// `tokens` every `window_ns`, `burst` at once. Zeros count as one; the interval of a token is
    /// rounded up, so that never more pass than asked for.
    pub fn per(tokens: u64, window_ns: u64, burst: u64) -> Self {
        let (tokens, window_ns) = (tokens.max(1), window_ns.max(1));
        let interval_ns = window_ns.div_ceil(tokens);
        Self {
            tokens,
            window_ns,
            interval_ns,
            debt_ns_max: interval_ns.saturating_mul(burst.max(1)),
        }
    }

    /// The share of one of so many replicas.
    #[must_use]
    pub fn share(self, replicas: u64) -> Self {
        let replicas = replicas.max(1);
        Self {
            interval_ns: self.interval_ns.saturating_mul(replicas),
            ..self
        }
    }

    /// Whether a call of this weight passes at `now`, with the state `tat` (0: never used). One that
    /// is larger than the burst passes when nothing is owed, or it never would.
    pub fn check(&self, tat: u64, now: MonoNanos, weight: u64) -> TokenVerdict {
        let debt = tat.saturating_sub(now.0);
        let more = self.interval_ns.saturating_mul(weight);
        let tolerated = self.debt_ns_max.saturating_sub(more);
        if debt > tolerated {
            return TokenVerdict::Refuse {
                retry_after_ns: debt - tolerated,
            };
        }
        TokenVerdict::Pass {
            tat: now.0.saturating_add(debt).saturating_add(more),
        }
    }

    /// The state after a call turned out to be of another weight than was debited, which left the
    /// state `then`. Given back is only what still counts: what was worked off meanwhile made room
    /// for others. What is owed besides is charged.
    pub fn corrected(
        &self,
        tat: u64,
        now: MonoNanos,
        (debited, then): (u64, u64),
        weight: u64,
    ) -> u64 {
        let of = |tokens: u64| self.interval_ns.saturating_mul(tokens);
        if weight > debited {
            return tat.max(now.0).saturating_add(of(weight - debited));
        }
        let owed = of(debited - weight).min(then.saturating_sub(now.0));
        tat.saturating_sub(owed)
    }

    /// How many tokens would pass at once at `now`.
    pub fn remaining(&self, tat: u64, now: MonoNanos) -> u64 {
        let debt = tat.saturating_sub(now.0).min(self.debt_ns_max);
        (self.debt_ns_max - debt) / self.interval_ns
    }

    /// How long until the whole burst is there again, in nanoseconds.
    pub const fn reset_ns(&self, tat: u64, now: MonoNanos) -> u64 {
        tat.saturating_sub(now.0)
    }

    /// Tokens of a window.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The window in seconds, rounded up.
    pub const fn window_s(&self) -> u64 {
        self.window_ns.div_ceil(1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000_000_000;

    fn passed(quota: &TokenQuota, tat: u64, at: u64, weight: u64) -> Result<u64, u64> {
        match quota.check(tat, MonoNanos(at), weight) {
            TokenVerdict::Pass { tat } => Ok(tat),
            TokenVerdict::Refuse { retry_after_ns } => Err(retry_after_ns),
        }
    }

    // LED-62
    #[test]
    fn tokens_pass_while_the_burst_lasts_and_then_as_they_come_back() {
        // A token each 600 ms, ten at once.
        let quota = TokenQuota::per(100, MINUTE, 10);
        let tat = passed(&quota, 0, 0, 4).unwrap();
        let tat = passed(&quota, tat, 0, 6).unwrap();
        assert_eq!(quota.remaining(tat, MonoNanos(0)), 0);
        assert_eq!(passed(&quota, tat, 0, 1), Err(600_000_000));
        assert_eq!(passed(&quota, tat, 600_000_000, 1).map(|_| ()), Ok(()));
        // One that is larger than the burst waits until nothing is owed.
        assert_eq!(passed(&quota, tat, 0, 50), Err(6_000_000_000));
        let tat = passed(&quota, tat, 6_000_000_000, 50).unwrap();
        assert_eq!(tat, 36_000_000_000);
    }

    // LED-62
    #[test]
    fn what_was_not_used_is_given_back_as_far_as_it_still_counts() {
        let quota = TokenQuota::per(100, MINUTE, 10);
        let then = passed(&quota, 0, 0, 10).unwrap();
        let used = quota.corrected(then, MonoNanos(0), (10, then), 2);
        assert_eq!(quota.remaining(used, MonoNanos(0)), 8);
        // Half is worked off when the call ends: that much is not given back.
        let late = quota.corrected(then, MonoNanos(3_000_000_000), (10, then), 0);
        assert_eq!(late, 3_000_000_000);
        // More than was debited is owed.
        let more = quota.corrected(then, MonoNanos(0), (10, then), 30);
        assert_eq!(
            passed(&quota, more, 0, 1),
            Err(30 * 600_000_000 - 9 * 600_000_000)
        );
    }

    proptest! {
        // LED-62
        #[test]
        fn no_window_sees_more_than_its_tokens_and_a_burst(
            calls in prop::collection::vec((0_u64..5_000_000_000, 1_u64..40, 0_u64..40, 0_u64..20_000_000_000), 1..60)
        ) {
            let (tokens, burst) = (100, 40);
            let quota = TokenQuota::per(tokens, MINUTE, burst);
            // Starts, ends, in the order of time.
            let mut at = 0;
            let mut events = Vec::new();
            for (gap, bound, used, takes) in calls {
                at += gap;
                events.push((at, 0, (bound, used.min(bound), at + takes)));
            }
            let (mut tat, mut open, mut used) = (0, Vec::<(u64, u64, u64, u64)>::new(), Vec::new());
            for (now, _, (bound, uses, ends)) in events {
                open.sort_unstable();
                while let Some((end, ..)) = open.first().copied().filter(|(end, ..)| *end <= now) {
                    let (_, debited, then, weight) = open.remove(0);
                    tat = quota.corrected(tat, MonoNanos(end), (debited, then), weight);
                }
                if let Ok(next) = passed(&quota, tat, now, bound) {
                    tat = next;
                    open.push((ends, bound, next, uses));
                    used.push((now, uses));
                }
            }
            for (from, _) in &used {
                let within = used.iter().filter(|(at, _)| at >= from && *at < from + MINUTE);
                let sum: u64 = within.map(|(_, uses)| uses).sum();
                prop_assert!(sum <= tokens + burst, "{sum}");
            }
        }
    }
}
