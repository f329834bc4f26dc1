//! What facilitators said yes to a while ago, for routes that want it remembered: a proof that comes
//! again, byte for byte, is not asked about twice. It is settled as ever, and serves nobody by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tollkeep_crypto::sha256;
use tollkeep_types::MonoNanos;

/// Answers that are remembered at most; with all places taken, new ones are not.
const KEPT_MAX: usize = 10_000;

/// Who said yes to what.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<[u8; 32], MonoNanos>>);

/// A question that somebody is asked.
#[derive(Clone, Copy)]
pub(super) struct Question([u8; 32]);

impl Question {
    /// These very bytes, to this facilitator.
    pub(super) fn new(facilitator: &str, body: &str) -> Self {
        Self(sha256(&[facilitator.as_bytes(), b"\0", body.as_bytes()]))
    }
}

impl Verified {
    /// Whether the answer was yes a while ago.
    pub(super) fn knows(&self, asked: Question, now: MonoNanos) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&asked.0).is_some_and(|until| now < *until)
    }

    /// The answer was yes; it is remembered for so long.
    pub(super) fn note(&self, asked: Question, (now, ttl): (MonoNanos, Duration)) {
        let ttl = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, until| now < *until);
        }
        if kept.len() < KEPT_MAX {
            kept.insert(asked.0, MonoNanos(now.0.saturating_add(ttl)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-131
    #[test]
    fn a_yes_is_remembered_for_its_time_and_for_nothing_else() {
        let verified = Verified::default();
        let asked = Question::new("main", "{\"a\":1}");
        let (now, ttl) = (MonoNanos(5), Duration::from_nanos(10));
        assert!(!verified.knows(asked, now));
        verified.note(asked, (now, ttl));
        assert!(verified.knows(asked, MonoNanos(14)));
        assert!(!verified.knows(asked, MonoNanos(15)));
        for (who, body) in [
            ("main", "{\"a\":1} "),
            ("other", "{\"a\":1}"),
            ("main{", ""),
        ] {
            assert!(!verified.knows(Question::new(who, body), now), "{who}");
        }
        // Strangers can't fill it, and what is over makes room.
        for number in 0..=KEPT_MAX {
            verified.note(Question::new("main", &number.to_string()), (now, ttl));
        }
        let last = Question::new("main", &KEPT_MAX.to_string());
        assert!(!verified.knows(last, now));
        verified.note(last, (MonoNanos(20), ttl));
        assert!(verified.knows(last, MonoNanos(21)));
    }
}
