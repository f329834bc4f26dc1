//! The breaker against a model that remembers everything and counts anew at each question.

use proptest::prelude::*;
use std::num::NonZeroU32;
use tollkeep_policy::breaker::{Breaker, CallEnd, Change, Rules, Ticket, Verdict, View};
use tollkeep_types::MonoNanos;

/// What happens to a breaker.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// One of the calls that are out ends.
    End(prop::sample::Index, CallEnd),
    Pass(u64),
}

/// What happened, as the model writes it down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Past {
    /// A call that passed while closed, or a trial, ended so.
    Counted(CallEnd),
    Opened {
        at: u64,
    },
    HalfOpened,
    Closed,
}

/// A call that is out: in which chapter of the past it passed.
struct Out {
    ticket: Ticket,
    chapter: usize,
}

/// Chapters begin with a change of state; only calls of the same chapter count in it, but that
/// while closed any call counts.
#[derive(Default)]
struct Model {
    past: Vec<Past>,
    trials_out: usize,
}

impl Model {
    fn chapter(&self) -> usize {
        let is_change = |past: &&Past| !matches!(past, Past::Counted(_));
        self.past.iter().filter(is_change).count()
    }

    fn change(&self) -> Past {
        let mut changes = self.past.iter().rev();
        let found = changes.find(|past| !matches!(past, Past::Counted(_)));
        found.copied().unwrap_or(Past::Closed)
    }

    fn since_change(&self) -> impl DoubleEndedIterator<Item = CallEnd> {
        let all = self.past.iter().rev();
        let ends: Vec<_> = all
            .map_while(|past| match past {
                Past::Counted(end) => Some(*end),
                Past::Opened { .. } | Past::HalfOpened | Past::Closed => None,
            })
            .collect();
        ends.into_iter().rev()
    }

    fn failures_in_a_row(&self) -> usize {
        let ends = self.since_change().filter(|end| *end != CallEnd::Aborted);
        ends.rev().take_while(|end| *end == CallEnd::Failed).count()
    }

    fn successes(&self) -> usize {
        let mut ends: Vec<_> = self.since_change().collect();
        ends.retain(|end| *end == CallEnd::Succeeded);
        ends.len()
    }

    /// Whether a call passes now, and what the past is then.
    fn ask(&mut self, rules: &Rules, now: u64) -> bool {
        if let Past::Opened { at } = self.change()
            && now - at >= rules.open_ns
        {
            self.past.push(Past::HalfOpened);
            self.trials_out = 0;
        }
        match self.change() {
            Past::Opened { .. } => false,
            Past::HalfOpened => {
                let trials = usize::try_from(rules.trials.get()).unwrap();
                let free = self.trials_out + self.successes() < trials;
                self.trials_out += usize::from(free);
                free
            }
            Past::Closed | Past::Counted(_) => true,
        }
    }

    fn end(&mut self, chapter: usize, end: CallEnd, rules: &Rules, now: u64) -> Option<Change> {
        let own = chapter == self.chapter();
        match self.change() {
            Past::Opened { .. } => None,
            Past::HalfOpened if !own => None,
            Past::HalfOpened => {
                self.trials_out -= 1;
                self.past.push(Past::Counted(end));
                let trials = usize::try_from(rules.trials.get()).unwrap();
                if end == CallEnd::Failed {
                    self.past.push(Past::Opened { at: now });
                    Some(Change::Opened)
                } else if end == CallEnd::Succeeded && self.successes() == trials {
                    self.past.push(Past::Closed);
                    Some(Change::Closed)
                } else {
                    None
                }
            }
            Past::Closed | Past::Counted(_) => {
                self.past.push(Past::Counted(end));
                let failures = usize::try_from(rules.failures.get()).unwrap();
                let opens = self.failures_in_a_row() >= failures && end == CallEnd::Failed;
                opens.then(|| {
                    self.past.push(Past::Opened { at: now });
                    Change::Opened
                })
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        2 => Just(CallEnd::Succeeded),
        4 => Just(CallEnd::Failed),
        1 => Just(CallEnd::Aborted),
    ];
    let step = prop_oneof![
        5 => Just(Step::Ask),
        5 => (any::<prop::sample::Index>(), end).prop_map(|(which, end)| Step::End(which, end)),
        1 => (0_u64..12).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    // EDGE-113
    #[test]
    fn the_breaker_is_its_model(
        steps in steps(),
        failures in 1_u32..6,
        open_ns in 1_u64..10,
        trials in 1_u32..4,
    ) {
        let rules = Rules {
            failures: NonZeroU32::new(failures).unwrap(),
            open_ns,
            trials: NonZeroU32::new(trials).unwrap(),
        };
        let (mut breaker, mut model) = (Breaker::default(), Model::default());
        let (mut now, mut out) = (0, Vec::<Out>::new());
        for step in steps {
            match step {
                Step::Pass(time) => now += time,
                Step::Ask => {
                    let (verdict, _) = breaker.ask(&rules, MonoNanos(now));
                    prop_assert_eq!(matches!(verdict, Verdict::Pass(_)), model.ask(&rules, now));
                    if let Verdict::Pass(ticket) = verdict {
                        let chapter = model.chapter();
                        out.push(Out { ticket, chapter });
                    }
                }
                Step::End(..) if out.is_empty() => {}
                Step::End(which, end) => {
                    let Out { ticket, chapter } = out.swap_remove(which.index(out.len()));
                    let change = breaker.ended(ticket, end, &rules, MonoNanos(now));
                    prop_assert_eq!(change, model.end(chapter, end, &rules, now));
                }
            }
            let in_a_row = u32::try_from(model.failures_in_a_row()).unwrap();
            let want = match model.change() {
                Past::Opened { at } if now - at < open_ns => View::Open {
                    until: MonoNanos(at + open_ns),
                },
                Past::Opened { .. } | Past::HalfOpened => View::HalfOpen,
                Past::Closed | Past::Counted(_) => View::Closed { failures: in_a_row },
            };
            prop_assert_eq!(breaker.view(MonoNanos(now)), want);
            prop_assert_eq!(breaker.is_clean(), want == View::Closed { failures: 0 });
        }
    }
}
