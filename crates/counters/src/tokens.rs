//! The state of a rate limit of tokens, which calls debit at the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_policy::token_rate::{TokenQuota, TokenVerdict};
use tollkeep_types::MonoNanos;

/// What was debited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenDebit {
    weight: u64,
    tat: u64,
}

impl TokenDebit {
    /// Debits a call of this weight from the limit whose state the cell is.
    ///
    /// # Errors
    /// How long to wait, in nanoseconds.
    pub fn take(
        cell: &AtomicU64,
        quota: &TokenQuota,
        now: MonoNanos,
        weight: u64,
    ) -> Result<Self, u64> {
        let mut tat = cell.load(Ordering::Relaxed);
        loop {
            let next = match quota.check(tat, now, weight) {
                TokenVerdict::Pass { tat } => tat,
                TokenVerdict::Refuse { retry_after_ns } => return Err(retry_after_ns),
            };
            match cell.compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(Self { weight, tat: next }),
                Err(changed) => tat = changed,
            }
        }
    }

    /// Makes it one of this weight.
    pub fn correct(self, cell: &AtomicU64, quota: &TokenQuota, now: MonoNanos, weight: u64) {
        let corrected = |tat| quota.corrected(tat, now, (self.weight, self.tat), weight);
        cell.update(Ordering::Relaxed, Ordering::Relaxed, corrected);
    }

    /// The state it left.
    pub const fn tat(self) -> u64 {
        self.tat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-62
    #[test]
    fn calls_at_the_same_time_share_one_limit() {
        let quota = TokenQuota::per(1_000, 60_000_000_000, 1_000);
        let cell = AtomicU64::new(0);
        let passed = std::thread::scope(|scope| {
            let calls =
                || (0..500).filter_map(|_| TokenDebit::take(&cell, &quota, MonoNanos(0), 7).ok());
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || calls().count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(passed, 1_000 / 7);
        let debit = TokenDebit {
            weight: 7,
            tat: u64::MAX,
        };
        for _ in 0..passed {
            debit.correct(&cell, &quota, MonoNanos(0), 0);
        }
        let all = TokenDebit::take(&cell, &quota, MonoNanos(0), 1_000);
        assert!(all.is_ok(), "all of it is there again");
    }
}
