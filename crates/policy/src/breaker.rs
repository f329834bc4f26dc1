//! When an upstream that keeps failing is left alone, and how it is tried again.
//!
//! A [`Breaker`] is closed, open or half-open. Closed, it counts failures in a row; open, nothing
//! passes until its time is over; half-open, a few trials pass and decide. It does no I/O and
//! reads no clock: the caller passes `now`, asks before a call and tells how the call ended.

use std::num::NonZeroU32;
use tollkeep_types::MonoNanos;

/// How much is borne, and for how long an upstream is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Failures in a row that open the breaker.
    pub failures: NonZeroU32,
    /// How long it stays open, in nanoseconds.
    pub open_ns: u64,
    /// Trials of a half-open breaker; all of them must succeed.
    pub trials: NonZeroU32,
}

/// The breaker of one upstream, as one kind of caller meets it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Breaker {
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed {
        /// In a row.
        failures: u32,
    },
    Open {
        until: MonoNanos,
    },
    HalfOpen {
        trial: Trial,
        running: u32,
        succeeded: u32,
    },
}

/// Which half-open time a trial belongs to: one that ends after its time has no say in the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trial(MonoNanos);

/// What a call that may go brings back when it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ticket {
    /// The breaker was closed.
    Call,
    /// The breaker was half-open, and this call has one of its places.
    Trial(Trial),
}

/// Whether a call may go to the upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It may.
    Pass(Ticket),
    /// It may not.
    Refused {
        /// Until the breaker may be half-open; 0 while it is, and every place is taken.
        left_ns: u64,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallEnd {
    /// The upstream answered as upstreams should, whatever it said.
    Succeeded,
    /// The upstream failed.
    Failed,
    /// It says nothing about the upstream: the caller went away, or we said no.
    Aborted,
}

/// What a call changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// From now on nothing passes.
    Opened,
    /// The first trial passes.
    HalfOpened,
    /// From now on everything passes.
    Closed,
}

/// What a breaker shows of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum View {
    /// Everything passes.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// Nothing passes.
    Open {
        /// Until then.
        until: MonoNanos,
    },
    /// Trials pass, as far as there are places.
    HalfOpen,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::closed(0)
    }
}

impl Breaker {
    const fn closed(failures: u32) -> Self {
        Self {
            state: State::Closed { failures },
        }
    }

    /// Whether a call may go now.
    pub fn ask(&mut self, rules: &Rules, now: MonoNanos) -> (Verdict, Option<Change>) {
        let mut change = None;
        if let State::Open { until } = self.state
            && now >= until
        {
            self.state = State::HalfOpen {
                trial: Trial(until),
                running: 0,
                succeeded: 0,
            };
            change = Some(Change::HalfOpened);
        }
        let verdict = match &mut self.state {
            State::Closed { .. } => Verdict::Pass(Ticket::Call),
            State::Open { until } => Verdict::Refused {
                left_ns: until.since(now),
            },
            // Fewer trials may be wanted than when the first one went.
            State::HalfOpen { succeeded, .. } if *succeeded >= rules.trials.get() => {
                *self = Self::default();
                change = Some(Change::Closed);
                Verdict::Pass(Ticket::Call)
            }
            State::HalfOpen {
                trial,
                running,
                succeeded,
            } => {
                if running.saturating_add(*succeeded) < rules.trials.get() {
                    *running = running.saturating_add(1);
                    Verdict::Pass(Ticket::Trial(*trial))
                } else {
                    Verdict::Refused { left_ns: 0 }
                }
            }
        };
        (verdict, change)
    }

    /// A call that had passed ended so. A ticket must come back once.
    pub fn ended(
        &mut self,
        ticket: Ticket,
        end: CallEnd,
        rules: &Rules,
        now: MonoNanos,
    ) -> Option<Change> {
        match (&mut self.state, ticket) {
            (State::Closed { failures }, _) => match end {
                CallEnd::Aborted => None,
                CallEnd::Succeeded => {
                    *failures = 0;
                    None
                }
                CallEnd::Failed => {
                    *failures = failures.saturating_add(1);
                    (*failures >= rules.failures.get()).then(|| self.open(rules, now))
                }
            },
            (
                State::HalfOpen {
                    trial,
                    running,
                    succeeded,
                },
                Ticket::Trial(own),
            ) if *trial == own => {
                *running = running.saturating_sub(1);
                match end {
                    CallEnd::Aborted => None,
                    CallEnd::Failed => Some(self.open(rules, now)),
                    CallEnd::Succeeded => {
                        *succeeded = succeeded.saturating_add(1);
                        (*succeeded >= rules.trials.get()).then(|| {
                            *self = Self::default();
                            Change::Closed
                        })
                    }
                }
            }
            // Calls from before it opened, and trials of an earlier time.
            (State::Open { .. } | State::HalfOpen { .. }, _) => None,
        }
    }

    fn open(&mut self, rules: &Rules, now: MonoNanos) -> Change {
        self.state = State::Open {
            until: MonoNanos(now.0.saturating_add(rules.open_ns)),
        };
        Change::Opened
    }

    /// Closed, and without a failure to remember: as good as none.
    pub const fn is_clean(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0 })
    }

    /// What it is at `now`.
    pub fn view(&self, now: MonoNanos) -> View {
        match self.state {
            State::Closed { failures } => View::Closed { failures },
            State::Open { until } if now < until => View::Open { until },
            State::Open { .. } | State::HalfOpen { .. } => View::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const RULES: Rules = Rules {
        failures: NonZeroU32::new(5).unwrap(),
        open_ns: 30 * SECOND,
        trials: NonZeroU32::new(2).unwrap(),
    };

    /// A breaker, its time in seconds, and the tickets that are out.
    #[derive(Default)]
    struct Play {
        breaker: Breaker,
        now_s: u64,
        out: Vec<Ticket>,
    }

    impl Play {
        fn now(&self) -> MonoNanos {
            MonoNanos(self.now_s * SECOND)
        }

        fn ask(&mut self) -> Verdict {
            let verdict = self.breaker.ask(&RULES, self.now()).0;
            if let Verdict::Pass(ticket) = verdict {
                self.out.push(ticket);
            }
            verdict
        }

        fn end(&mut self, end: CallEnd) -> Option<Change> {
            let (ticket, now) = (self.out.remove(0), self.now());
            self.breaker.ended(ticket, end, &RULES, now)
        }

        /// `s`, `f`, `a`: a call that succeeds, fails, is aborted; `+`: one that stays out; `S`,
        /// `F`, `A`: the oldest one out ends so; `x`: one that is refused; digits: seconds pass,
        /// ten times as many as they say.
        fn of(script: &str) -> Self {
            let mut play = Self::default();
            for (at, step) in script.chars().enumerate() {
                let end = match step.to_ascii_lowercase() {
                    's' => Some(CallEnd::Succeeded),
                    'f' => Some(CallEnd::Failed),
                    'a' => Some(CallEnd::Aborted),
                    _ => None,
                };
                match (step, end) {
                    (_, Some(end)) => {
                        if step.is_ascii_lowercase() {
                            assert!(matches!(play.ask(), Verdict::Pass(_)), "{script} at {at}");
                            // The newest one is the one that ends.
                            play.out.rotate_right(1);
                        }
                        play.end(end);
                    }
                    ('+', None) => {
                        assert!(matches!(play.ask(), Verdict::Pass(_)), "{script} at {at}");
                    }
                    ('x', None) => {
                        let refused = matches!(play.ask(), Verdict::Refused { .. });
                        assert!(refused, "{script} at {at}");
                    }
                    _ => play.now_s += 10 * u64::from(step.to_digit(10).unwrap()),
                }
            }
            play
        }
    }

    // EDGE-113
    #[test]
    fn a_breaker_opens_is_tried_and_closes_by_its_rules() {
        let closed = |failures| View::Closed { failures };
        let open = |until_s| View::Open {
            until: MonoNanos(until_s * SECOND),
        };
        for (name, script, want) in [
            ("at first", "", closed(0)),
            ("four failures", "ffff", closed(4)),
            ("one success resets", "ffffsffff", closed(4)),
            ("an aborted call says nothing", "ffffa", closed(4)),
            ("five failures open it", "fffff", open(30)),
            ("nothing passes", "fffffx2x", open(30)),
            ("nobody has asked yet", "fffff3", View::HalfOpen),
            ("two trials at a time", "fffff3++xxx", View::HalfOpen),
            ("one success is not enough", "fffff3s+x", View::HalfOpen),
            ("both succeed", "fffff3++SS", closed(0)),
            ("one after the other", "fffff3ss", closed(0)),
            ("one fails", "fffff3++SF", open(60)),
            ("the first fails", "fffff3++Fx", open(60)),
            (
                "a trial that hangs is told as a failure",
                "fffff3+1Fx",
                open(70),
            ),
            (
                "an aborted trial gives its place back",
                "fffff3++xA+x",
                View::HalfOpen,
            ),
            ("and again", "fffff3aaaaas+x", View::HalfOpen),
            ("opened twice", "fffff3f3ss", closed(0)),
            ("a late failure from before", "+fffff3Fss", closed(0)),
            ("a late success from before", "+fffffS1x", open(30)),
            (
                "late successes take no place",
                "++fffff3+SS+x",
                View::HalfOpen,
            ),
        ] {
            let play = Play::of(script);
            assert_eq!(play.breaker.view(play.now()), want, "{name}");
        }
    }

    // EDGE-113
    #[test]
    fn a_trial_of_an_earlier_time_has_no_say() {
        // Two trials; the first fails, which opens the breaker again; the second succeeds when
        // the next two are out.
        let mut play = Play::of("fffff3++F3++");
        play.end(CallEnd::Succeeded);
        assert_eq!(play.ask(), Verdict::Refused { left_ns: 0 });
        assert_eq!(play.end(CallEnd::Succeeded), None);
        assert_eq!(play.end(CallEnd::Succeeded), Some(Change::Closed));
    }

    // EDGE-113
    #[test]
    fn a_refused_call_is_told_the_time_left() {
        let mut play = Play::of("fffff1");
        assert_eq!(
            play.ask(),
            Verdict::Refused {
                left_ns: 20 * SECOND
            }
        );
        play.now_s = 29;
        assert_eq!(play.ask(), Verdict::Refused { left_ns: SECOND });
    }

    #[test]
    fn fewer_trials_than_have_succeeded_are_enough() {
        let mut play = Play::of("fffff3s");
        let one = Rules {
            trials: NonZeroU32::new(1).unwrap(),
            ..RULES
        };
        let asked = play.breaker.ask(&one, play.now());
        assert_eq!(asked, (Verdict::Pass(Ticket::Call), Some(Change::Closed)));
    }
}
