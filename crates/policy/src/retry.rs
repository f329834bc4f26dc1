//! How many calls may be repeated: a share of those of the last minute, so that repeating never
//! multiplies a load that an upstream can't bear.

use tollkeep_types::MonoNanos;

/// Repeats in a minute for each hundred calls in it.
const SHARE_PERCENT: u64 = 20;
/// Repeats in a minute that are always allowed: of a few calls the share would be none.
const ALWAYS: u64 = 10;

/// A minute is kept in pieces, the oldest of which is forgotten whole.
const PIECES: usize = 6;
const PIECE_NS: u64 = 10_000_000_000;

/// Calls and repeats of the last minute.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RetryBudget {
    calls: [u64; PIECES],
    repeats: [u64; PIECES],
    /// Which piece of time the newest is.
    newest: u64,
}

impl RetryBudget {
    /// HOT. A call begins.
    pub fn call(&mut self, now: MonoNanos) {
        let at = self.advance(now);
        if let Some(calls) = self.calls.get_mut(at) {
            *calls = calls.saturating_add(1);
        }
    }

    /// Whether a call may be repeated now; if so, it is counted.
    pub fn try_repeat(&mut self, now: MonoNanos) -> bool {
        let at = self.advance(now);
        let calls: u64 = self.calls.iter().sum();
        let share = calls.saturating_mul(SHARE_PERCENT) / 100;
        if self.repeats.iter().sum::<u64>() >= share.max(ALWAYS) {
            return false;
        }
        if let Some(repeats) = self.repeats.get_mut(at) {
            *repeats = repeats.saturating_add(1);
        }
        true
    }

    /// Whether nothing of the last minute is left.
    pub fn is_over(&self, now: MonoNanos) -> bool {
        now.0 / PIECE_NS >= self.newest.saturating_add(PIECES as u64)
    }

    /// Forgets what is older than a minute; the place of now.
    fn advance(&mut self, now: MonoNanos) -> usize {
        let place = |piece: u64| usize::try_from(piece % PIECES as u64).unwrap_or(0);
        let piece = (now.0 / PIECE_NS).max(self.newest);
        let passed = piece.saturating_sub(self.newest).min(PIECES as u64);
        for old in 0..passed {
            let at = place(piece.saturating_sub(old));
            for pieces in [&mut self.calls, &mut self.repeats] {
                if let Some(slot) = pieces.get_mut(at) {
                    *slot = 0;
                }
            }
        }
        self.newest = piece;
        place(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoNanos {
        MonoNanos(seconds * 1_000_000_000)
    }

    // EDGE-111
    #[test]
    fn a_fifth_of_a_minutes_calls_may_be_repeated_and_always_ten() {
        for (name, calls, want) in [
            ("none", 0, 10),
            ("few", 50, 10),
            ("just more", 55, 11),
            ("many", 1_000, 200),
        ] {
            let mut budget = RetryBudget::default();
            for _ in 0..calls {
                budget.call(at(100));
            }
            let repeated = (0..2_000).filter(|_| budget.try_repeat(at(105))).count();
            assert_eq!(repeated, want, "{name}");
        }
    }

    // EDGE-111
    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let mut budget = RetryBudget::default();
        let all = |budget: &mut RetryBudget, seconds| {
            (0..100).filter(|_| budget.try_repeat(at(seconds))).count()
        };
        assert_eq!(all(&mut budget, 0), 10);
        assert_eq!(all(&mut budget, 59), 0);
        assert!(!budget.is_over(at(59)));
        assert_eq!(all(&mut budget, 60), 10);
        assert!(!budget.is_over(at(119)));
        assert!(budget.is_over(at(120)));
        assert_eq!(all(&mut budget, 100_000), 10, "after long silence");
    }

    proptest::proptest! {
        // EDGE-111
        #[test]
        fn no_minute_has_more_repeats_than_its_share(
            steps in proptest::collection::vec((0_u64..8, 0_usize..40, 0_usize..20), 1..60),
        ) {
            let (mut budget, mut now) = (RetryBudget::default(), 0);
            let mut log: Vec<(u64, u64, u64)> = Vec::new();
            for (pass, calls, tries) in steps {
                now += pass;
                for _ in 0..calls {
                    budget.call(at(now));
                }
                let repeats = (0..tries).filter(|_| budget.try_repeat(at(now))).count();
                log.push((now, calls as u64, repeats as u64));
                if repeats == 0 {
                    continue;
                }
                // The pieces of the last minute, counted anew.
                let recent = log.iter().filter(|(when, ..)| now / 10 - when / 10 < 6);
                let (calls, repeats) = recent.fold((0, 0), |(calls, repeats), entry| {
                    (calls + entry.1, repeats + entry.2)
                });
                proptest::prop_assert!(repeats <= 10.max(calls / 5), "{repeats} of {calls}");
            }
        }
    }
}
