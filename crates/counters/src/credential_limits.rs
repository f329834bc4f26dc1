//! What a credential bears: so many calls a second and a minute, and so many at a time. Its provider
//! counts them too, so a call that would be refused there is not sent.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tollkeep_policy::rate::{Quota, Verdict};
use tollkeep_types::MonoNanos;

/// The limits of a credential; none set: it bears everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CredentialLimits {
    /// Calls a second, calls a minute.
    pub rates: [Option<Quota>; 2],
    /// Calls at the same time.
    pub at_once: Option<NonZeroU32>,
}

/// What a credential bears at the moment.
#[derive(Debug, Default)]
pub struct CredentialLoad {
    tats: [AtomicU64; 2],
    running: AtomicU32,
}

/// One that ends is waited for about so long.
const ENDS_NS: u64 = 1_000_000_000;

impl CredentialLoad {
    /// Takes one more call on: all limits are debited, or none is.
    ///
    /// # Errors
    /// In how many nanoseconds it may be worth another try.
    pub fn enter(&self, limits: &CredentialLimits, now: MonoNanos) -> Result<(), u64> {
        if let Some(max) = limits.at_once {
            let one_more = |running: u32| (running < max.get()).then_some(running + 1);
            let order = Ordering::Relaxed;
            let entered = self.running.fetch_update(order, order, one_more);
            entered.map_err(|_| ENDS_NS)?;
        }
        let [of_second, of_minute] = limits.rates;
        let [second, minute] = &self.tats;
        let debited = debit(second, of_second, now).and_then(|()| {
            debit(minute, of_minute, now).inspect_err(|_| give_back(second, of_second))
        });
        debited.inspect_err(|_| self.leave(limits))
    }

    /// A call has ended that was taken on by these limits.
    pub fn leave(&self, limits: &CredentialLimits) {
        if limits.at_once.is_some() {
            self.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn debit(cell: &AtomicU64, quota: Option<Quota>, now: MonoNanos) -> Result<(), u64> {
    let Some(quota) = quota else {
        return Ok(());
    };
    let mut known = cell.load(Ordering::Relaxed);
    loop {
        // A larger burst may have left it further ahead.
        match quota.check(known.min(quota.tat_max(now)), now) {
            Verdict::Refuse { retry_after_ns } => return Err(retry_after_ns),
            Verdict::Pass { tat } => {
                let order = Ordering::Relaxed;
                match cell.compare_exchange_weak(known, tat, order, order) {
                    Ok(_) => return Ok(()),
                    Err(is) => known = is,
                }
            }
        }
    }
}

fn give_back(cell: &AtomicU64, quota: Option<Quota>) {
    if let Some(quota) = quota {
        let less = |tat: u64| Some(tat.saturating_sub(quota.interval_ns()));
        // It always has an answer.
        let _was = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    // ID-70
    #[test]
    fn a_credential_takes_on_what_it_bears_and_no_more() {
        let limits = CredentialLimits {
            rates: [
                Some(Quota::per(2, SECOND, 2)),
                Some(Quota::per(3, 60 * SECOND, 3)),
            ],
            at_once: None,
        };
        let (load, at) = (CredentialLoad::default(), |s: u64| MonoNanos(s * SECOND));
        assert_eq!(load.enter(&limits, at(10)), Ok(()));
        assert_eq!(load.enter(&limits, at(10)), Ok(()));
        let wait = load.enter(&limits, at(10)).unwrap_err();
        assert!(wait <= SECOND, "{wait}");
        assert_eq!(
            load.enter(&limits, at(11)),
            Ok(()),
            "the third of the minute"
        );
        let wait = load.enter(&limits, at(12)).unwrap_err();
        assert!((17 * SECOND..=20 * SECOND).contains(&wait), "{wait}");
        assert_eq!(
            load.enter(&limits, at(30)),
            Ok(()),
            "what was refused was not debited"
        );
        assert_eq!(load.enter(&CredentialLimits::default(), at(30)), Ok(()));
    }

    // ID-70
    #[test]
    fn as_many_run_at_once_as_may_and_one_that_ends_makes_room() {
        let limits = CredentialLimits {
            at_once: NonZeroU32::new(2),
            rates: [None, Some(Quota::per(3, 60 * SECOND, 3))],
        };
        let (load, now) = (CredentialLoad::default(), MonoNanos(SECOND));
        assert_eq!(load.enter(&limits, now), Ok(()));
        assert_eq!(load.enter(&limits, now), Ok(()));
        assert!(load.enter(&limits, now).is_err());
        load.leave(&limits);
        assert_eq!(load.enter(&limits, now), Ok(()));
        load.leave(&limits);
        assert!(load.enter(&limits, now).is_err(), "the minute is used up");
        let of_one = CredentialLimits {
            at_once: NonZeroU32::new(2),
            rates: [None, None],
        };
        assert_eq!(
            load.enter(&of_one, now),
            Ok(()),
            "who was refused does not run"
        );
    }
}
