//! A call: what it asks for, what the upstream makes of it, and what we are told of that.

use super::faults::{Fault, Faults};
use super::random::Random;
use crate::ledger::amount::{Amount, Charge, Measure};
use crate::ledger::hold::Sure;
use crate::ledger::row::Quality;
use smallvec::SmallVec;
use tollkeep_types::{AccountId, BudgetId, HoldId};

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// Given up before it is sent.
    Cancelled,
    /// No connection to the upstream, or a refusal without usage.
    NotBilled,
    Told(Quality),
    /// It failed, and the operator bears what was billed: its payer pays nothing.
    Borne,
    /// The upstream tells nothing that can be read.
    NotTold,
    /// The task is gone without telling how it went.
    Dropped,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) hold: HoldId,
    pub(crate) replica: usize,
    /// The process that has it.
    pub(crate) life: u64,
    pub(crate) budgets: SmallVec<[BudgetId; 5]>,
    pub(crate) account: Option<(AccountId, Measure)>,
    /// Whether the bound is one, or a guess.
    pub(crate) sure: Sure,
    pub(crate) confirm: bool,
    pub(crate) bound: Charge,
    /// What the upstream does, which may be more than the bound.
    pub(crate) truth: Charge,
    /// What we believe of it: an estimate is never less.
    pub(crate) told: Charge,
    pub(crate) fate: Fate,
    pub(crate) lasts_ms: u64,
    pub(crate) think_ms: u64,
    pub(crate) granted: bool,
    pub(crate) sent: bool,
    pub(crate) over: bool,
}

fn amount(units: u64) -> Amount {
    Amount::new(i64::try_from(units).unwrap_or(i64::MAX)).unwrap_or(Amount::ZERO)
}

/// A part of it in hundredths, rounded up.
fn part(of: Amount, hundredths: u64) -> Amount {
    let units = u64::try_from(of.units()).unwrap_or(0);
    amount((units * hundredths).div_ceil(100))
}

fn scaled(of: &Charge, hundredths: u64) -> Charge {
    Charge {
        cost: part(of.cost, hundredths),
        tokens: part(of.tokens, hundredths),
        output_tokens: part(of.output_tokens, hundredths),
        billable_tokens: part(of.billable_tokens, hundredths),
        requests: of.requests,
    }
}

/// What the callers of one world are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// All bounds are alike, so that room for k calls means k calls.
    pub(crate) same_bound: bool,
    pub(crate) long_calls: bool,
}

impl Call {
    pub(crate) fn drawn(random: &mut Random, faults: Faults, habits: Habits) -> Self {
        let cost = if habits.same_bound {
            500
        } else {
            random.between(1, 1000)
        };
        let output = random.between(0, 2000);
        let bound = Charge {
            cost: amount(cost),
            tokens: amount(output + random.between(1, 2000)),
            output_tokens: amount(output),
            billable_tokens: amount(output),
            requests: amount(1),
        };
        let fate = drawn_fate(random, faults);
        let hundredths = match fate {
            Fate::Told(_) if random.one_in(4) => 100,
            Fate::Told(Quality::Reported) if faults.has(Fault::Upstream) && random.one_in(10) => {
                random.between(101, 1000)
            }
            Fate::Cancelled
            | Fate::NotBilled
            | Fate::Told(_)
            | Fate::Borne
            | Fate::NotTold
            | Fate::Dropped => random.below(101),
        };
        let truth = match fate {
            Fate::Cancelled | Fate::NotBilled => Charge::NOTHING,
            Fate::Told(_) | Fate::Borne | Fate::NotTold | Fate::Dropped => {
                scaled(&bound, hundredths)
            }
        };
        let told = if fate == Fate::Told(Quality::Estimated) {
            scaled(&bound, random.between(hundredths.min(100), 100))
        } else {
            truth
        };
        let lasts_ms = match random.below(12) {
            0 if habits.long_calls => random.between(60_000, 400_000),
            1 | 2 => random.between(5_000, 60_000),
            _ => random.between(1, 4_000),
        };
        let think_ms = match random.below(20) {
            0 if faults.has(Fault::Pause) => random.between(1_000, 200_000),
            _ => random.below(30),
        };
        Self {
            hold: HoldId::from_bytes(random.id()),
            replica: 0,
            life: 0,
            budgets: SmallVec::new(),
            account: None,
            sure: Sure::Bound,
            confirm: random.one_in(4),
            bound,
            truth,
            told,
            fate,
            lasts_ms,
            think_ms,
            granted: false,
            sent: false,
            over: false,
        }
        .perhaps_borne()
    }

    /// Of some calls that are told of the operator bears what they did.
    fn perhaps_borne(self) -> Self {
        let is_borne = self
            .hold
            .bytes()
            .last()
            .is_some_and(|byte| byte % BORNE == 0);
        if self.fate != Fate::Told(Quality::Reported) || !is_borne {
            return self;
        }
        Self {
            fate: Fate::Borne,
            truth: Charge::NOTHING,
            ..self
        }
    }
}

impl Call {
    /// Its bound is a guess, which the upstream may go beyond.
    pub(crate) fn guessed(&mut self, random: &mut Random) {
        self.sure = Sure::Guess;
        let hundredths = random.between(1, 300);
        if let Fate::Told(quality) = self.fate {
            self.truth = scaled(&self.bound, hundredths);
            self.told = match quality {
                Quality::Estimated => scaled(&self.bound, random.between(hundredths, 400)),
                Quality::Reported | Quality::Unknown => self.truth,
            };
        }
    }
}

/// One in so many calls that are told of.
const BORNE: u8 = 16;

fn drawn_fate(random: &mut Random, faults: Faults) -> Fate {
    match random.below(20) {
        0 => Fate::Cancelled,
        1 | 2 => Fate::NotBilled,
        3 | 4 => Fate::Told(Quality::Estimated),
        5 | 6 if faults.has(Fault::Upstream) => Fate::NotTold,
        7 if faults.has(Fault::Task) => Fate::Dropped,
        _ => Fate::Told(Quality::Reported),
    }
}
