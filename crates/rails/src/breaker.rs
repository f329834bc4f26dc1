//! When somebody who keeps failing is left alone.

use tollkeep_types::MonoNanos;

/// Failures in a row that are borne.
const FAILURES_MAX: u32 = 5;
/// How long nothing is sent then.
const OPEN_NS: u64 = 30_000_000_000;
/// Trials that have to go well before everything is as before.
const TRIALS: u32 = 2;

/// Counts failures in a row; open, nothing passes; after a while a few trials decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Breaker {
    Closed { failures: u32 },
    Open { until: MonoNanos },
    HalfOpen { running: u32, succeeded: u32 },
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self::Closed { failures: 0 }
    }

    /// Whether a call may go now; whoever is let go tells how it ended.
    pub(crate) fn ask(&mut self, now: MonoNanos) -> bool {
        if let Self::Open { until } = *self
            && now >= until
        {
            *self = Self::HalfOpen {
                running: 0,
                succeeded: 0,
            };
        }
        match self {
            Self::Closed { .. } => true,
            Self::Open { .. } => false,
            Self::HalfOpen { running, succeeded } => {
                let has_room = *running + *succeeded < TRIALS;
                *running += u32::from(has_room);
                has_room
            }
        }
    }

    /// It answers something else: trials decide now, instead of later.
    pub(crate) const fn answered(&mut self) {
        if let Self::Open { .. } = *self {
            *self = Self::HalfOpen {
                running: 0,
                succeeded: 0,
            };
        }
    }

    pub(crate) fn succeeded(&mut self) {
        match self {
            Self::Closed { failures } => *failures = 0,
            Self::Open { .. } => {}
            Self::HalfOpen { running, succeeded } => {
                *running = running.saturating_sub(1);
                *succeeded += 1;
                if *succeeded >= TRIALS {
                    *self = Self::new();
                }
            }
        }
    }

    pub(crate) fn failed(&mut self, now: MonoNanos) {
        let opens = match self {
            Self::Closed { failures } => {
                *failures += 1;
                *failures >= FAILURES_MAX
            }
            Self::Open { .. } => false,
            Self::HalfOpen { .. } => true,
        };
        if opens {
            *self = Self::Open {
                until: MonoNanos(now.0.saturating_add(OPEN_NS)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-132
    #[test]
    fn five_failures_in_a_row_open_it_for_thirty_seconds_and_two_trials_close_it() {
        let mut breaker = Breaker::new();
        let at = |seconds: u64| MonoNanos(seconds * 1_000_000_000);
        for _ in 0..4 {
            assert!(breaker.ask(at(0)));
            breaker.failed(at(0));
        }
        assert!(breaker.ask(at(0)));
        breaker.succeeded();
        for _ in 0..5 {
            assert!(breaker.ask(at(1)));
            breaker.failed(at(1));
        }
        assert!(!breaker.ask(at(30)));
        // Two trials, and no third beside them.
        assert!(breaker.ask(at(31)));
        assert!(breaker.ask(at(31)));
        assert!(!breaker.ask(at(31)));
        breaker.succeeded();
        assert!(!breaker.ask(at(31)));
        breaker.succeeded();
        assert_eq!(breaker, Breaker::new());
        for _ in 0..5 {
            breaker.failed(at(40));
        }
        assert!(breaker.ask(at(70)));
        breaker.failed(at(70));
        assert!(!breaker.ask(at(99)));
        assert!(breaker.ask(at(100)));
    }
}
