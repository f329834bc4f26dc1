//! What of the keeper's work is recorded.

use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::hold::{Ended, Outcome, Sure};
use tollkeep_ledger::row::{HoldRow, HoldState, Quality};
use tollkeep_store::ledger::CallRecord;
use tollkeep_types::{BudgetId, HoldId, LeaseId, WallMillis};

/// Told what is recorded of money.
pub type OnMoney = Box<dyn Fn(&Money<'_>) + Send + Sync>;

/// What is recorded of money.
#[derive(Clone, Copy, Debug)]
pub enum Money<'a> {
    /// A hold ended, and that is written down.
    Ended {
        /// The hold.
        hold: HoldId,
        /// What became of it.
        end: End,
        /// Its call, where more is known of it.
        record: Option<&'a CallRecord>,
        /// The hashes of the entries that were made of it.
        entries: &'a [[u8; 32]],
    },
    /// A hold is in the store, since slices alone could not bear it.
    Held {
        /// The hold.
        hold: HoldId,
        /// What is taken aside.
        bound: Charge,
        /// Its call.
        record: Option<&'a CallRecord>,
    },
    /// A slice was taken.
    Leased {
        /// The lease.
        lease: LeaseId,
        /// Of this budget.
        budget: &'a Budget,
        /// So much.
        amount: Amount,
    },
    /// So many hundredths of a budget are spent or reserved.
    Threshold {
        /// The budget.
        budget: BudgetId,
        /// The same, where it is in force still.
        known: Option<&'a Budget>,
        /// The hundredths.
        percent: u8,
        /// What is spent, or reserved for calls under way.
        used: Amount,
        /// Of so much.
        limit: Amount,
        /// When its window ends by itself.
        window_end: Option<WallMillis>,
    },
    /// What was left of a slice counts as spent, since it was not renewed in time.
    LeaseLost {
        /// The lease.
        lease: LeaseId,
        /// Of this budget, where it is in force still.
        budget: Option<&'a Budget>,
        /// What was left.
        rest: Amount,
    },
    /// An upstream billed more than it was asked for at most, or than was guessed.
    Overrun {
        /// The hold.
        hold: HoldId,
        /// Which of the two.
        sure: Sure,
        /// Its call, where more is known of it.
        record: Option<&'a CallRecord>,
    },
    /// The store and the core disagree.
    Broken {
        /// The hold it is about.
        hold: Option<HoldId>,
    },
}

/// The end of a hold.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// How its cost is known; `None`: nothing was billed.
    pub quality: Option<Quality>,
    /// What it could cost at most.
    pub bound: Charge,
    /// What it cost.
    pub actual: Charge,
}

impl End {
    pub(super) fn of(ended: &Ended) -> Self {
        let quality = match ended.outcome {
            Outcome::Released(_) => None,
            Outcome::Settled { quality, .. } => Some(quality),
            Outcome::Borne(_) => Some(Quality::Reported),
        };
        Self {
            quality,
            bound: ended.bound,
            actual: ended.outcome.actual(),
        }
    }

    /// Charged in full, unless nothing can have been sent.
    pub(super) fn of_swept(row: &HoldRow) -> Self {
        let is_sent = row.state == HoldState::Committed;
        Self {
            quality: is_sent.then_some(Quality::Unknown),
            bound: row.bound,
            actual: if is_sent { row.bound } else { Charge::NOTHING },
        }
    }
}
