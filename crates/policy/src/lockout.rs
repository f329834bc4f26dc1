//! Addresses that failed to prove who they are too often: when they are locked out, and for how
//! long (ID-56).

use crate::rate::Quota;
use std::collections::VecDeque;
use std::time::Duration;
use tollkeep_types::MonoNanos;

/// On the data plane, failing credentials one address may try: 20 a minute. Debit it on each
/// failure; where it refuses, the answer is 429 instead of 401. A valid credential is never held up
/// by it.
pub const FAILED_CREDENTIALS: Quota = Quota::per(20, 60_000_000_000, 20);

/// Longest ban, however often it was doubled.
const BAN_MAX: Duration = Duration::from_secs(24 * 3600);
/// After so long without a ban, the next one is a first one again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Failures in a row after which an account's password is not looked at for a while.
const ACCOUNT_FAILURES: u64 = 10;
/// How long not, at first; twice as long after each further failure.
const ACCOUNT_WAIT: Duration = Duration::from_secs(60);
/// How long not, at most: whoever guesses must not keep its owner out for a day.
const ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(3600);

/// How long an account's password is not looked at after so many failures in a row (ID-56).
pub fn account_wait(failures: u64) -> Option<Duration> {
    let further = failures.checked_sub(ACCOUNT_FAILURES)?;
    let further = u32::try_from(further).unwrap_or(u32::MAX);
    let doubled = 1_u32.checked_shl(further).unwrap_or(u32::MAX);
    Some(ACCOUNT_WAIT.saturating_mul(doubled).min(ACCOUNT_WAIT_MAX))
}

/// When an address is locked out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LockoutRules {
    /// So many failures
    pub failures: u32,
    /// within so long
    pub window: Duration,
    /// lock it out for so long; each time again for twice as long.
    pub ban: Duration,
}

/// What is remembered of one address.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    at: VecDeque<MonoNanos>,
    bans: u32,
    until: Option<MonoNanos>,
}

impl Failures {
    /// Until when the address is locked out at `now`.
    pub fn locked_until(&self, now: MonoNanos) -> Option<MonoNanos> {
        self.until.filter(|until| now < *until)
    }

    /// How many failures count now.
    pub fn count(&self) -> usize {
        self.at.len()
    }

    /// Counts a failure; says until when the address is locked out by it.
    pub fn fail(&mut self, rules: &LockoutRules, now: MonoNanos) -> Option<MonoNanos> {
        if let Some(until) = self.locked_until(now) {
            return Some(until);
        }
        let forgiven = |until: MonoNanos| now.since(until) >= nanos(FORGIVEN_AFTER);
        if self.until.is_some_and(forgiven) {
            (self.bans, self.until) = (0, None);
        }
        let is_over = |at: &MonoNanos| now.since(*at) >= nanos(rules.window);
        while self.at.front().is_some_and(is_over) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        let failures = u32::try_from(self.at.len()).unwrap_or(u32::MAX);
        if failures < rules.failures {
            return None;
        }
        let doubled = 1_u32.checked_shl(self.bans).unwrap_or(u32::MAX);
        let ban = rules.ban.saturating_mul(doubled).min(BAN_MAX);
        let until = MonoNanos(now.0.saturating_add(nanos(ban)));
        self.at.clear();
        self.bans = self.bans.saturating_add(1);
        self.until = Some(until);
        Some(until)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
