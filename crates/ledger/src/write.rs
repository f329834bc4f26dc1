//! The words in which the core tells a store what to write, and the answers.
//!
//! A step is a list of writes in one transaction: all or none. Each has its guard; the first one
//! that is not met ends the step, and its name is the answer. A store needs to know nothing else.

use crate::amount::{Amount, Charge};
use crate::hold::SliceCover;
use crate::posting::Entry;
use crate::row::{
    Arrow, Change, Cover, Covers, Guard, HoldRow, LeaseRow, LeaseState, Pot, Quality, UsageRow,
    WindowRow,
};
use crate::step::Asked;
use crate::window::{BUCKETS, WindowKey};
use smallvec::SmallVec;
use tollkeep_types::{BudgetId, HoldId, LeaseId, ReplicaId, WallMillis};

/// One guarded write. There are many in a transaction, so what is large stands elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// The window's row is there, with the limit of its budget, and buckets before the floor have
    /// been taken off its spent sum. Never refused.
    Open {
        key: WindowKey,
        floor: Option<WallMillis>,
    },
    /// Refused as short, or as broken where sums would fall below zero. With a bucket, what is
    /// spent is also booked there, and nowhere if that bucket has left.
    Window {
        key: WindowKey,
        change: Change,
        guard: Guard,
        bucket: Option<WallMillis>,
    },
    /// Refused as a repeat if the id is there.
    NewLease(Box<LeaseRow>),
    /// Refused as moved unless all of `when` holds.
    Lease {
        id: LeaseId,
        when: LeaseWhen,
        then: LeaseThen,
    },
    /// Refused as a repeat if the id is there.
    NewHold(Box<HoldRow>),
    /// The row's state moves along the arrow. Refused as moved if the version is another or the
    /// state has no such arrow, and as not due if `due` and its time is not over.
    Hold {
        id: HoldId,
        version: u32,
        arrow: Arrow,
        due: bool,
    },
    /// Refused as moved if the version is another or the hold has ended.
    RenewHold {
        id: HoldId,
        version: u32,
        expires_at: WallMillis,
    },
    /// Refused as a repeat if the hold has one.
    Usage(Box<UsageRow>),
    /// Refused as moved unless the row is as the evidence wants it.
    CorrectUsage {
        hold: HoldId,
        evidence: Evidence,
        charge: Box<Charge>,
        /// What its holder charged to slices, of which a sweep knows nothing.
        adds: Box<Covers>,
    },
    /// Refused as a repeat if the id is there, as short if a guarded balance would fall below zero.
    Entry(Box<Entry>),
    /// Counts the row's recall on.
    Recall(WindowKey),
    /// Refused as a repeat if this was told of the window.
    Warn { key: WindowKey, percent: u8 },
    /// Another limit of the budget, and of this window.
    Limit { key: WindowKey, limit: Amount },
    /// A replica's next epoch, unless this process has begun it already.
    Join { replica: ReplicaId, boot: u64 },
    /// What a call used of a slice is spent, whatever has become of the lease.
    Spend(Box<Spend>),
    /// What a call really cost: what is more than its pots were charged they bear as far as they can, and
    /// nobody the rest.
    Truth(Box<Truth>),
    /// The first list, or if a write of it is refused the second in its place.
    Either(Vec<Self>, Vec<Self>),
}

/// What a call used of a slice. Nearly always its lease lives: the writes for when it does not are made
/// when they are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spend {
    pub hold: HoldId,
    /// Which of the call's slices.
    pub number: u8,
    pub cover: SliceCover,
    pub amount: Amount,
}

/// What a call really cost, after something else was written down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Truth {
    pub hold: HoldId,
    /// What it costs its payer.
    pub cost: Amount,
    /// The pots that were charged too little, by their numbers, and how much.
    pub raises: SmallVec<[(u8, Cover, Amount); 4]>,
    /// The most that another pot bears of the cost; nothing where none of them counts money.
    pub borne: Option<Amount>,
    /// What its upstream asks, and what was booked of that; nothing of what is owed to no upstream.
    pub asked: Option<Asked>,
}

/// Who says what a call cost, after it was written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// Its holder, who comes after its time was over: once, and if nobody corrected it before.
    Owner,
    /// The same, but what is written stays: once.
    OwnerKeeps,
    /// A bill, a late line, an operator: once, and if the cost is still known no better than so.
    Outside(Quality),
}

impl Evidence {
    /// The row after it, or nothing if the row does not take it.
    pub fn applied(self, row: &UsageRow, charge: Charge, adds: &Covers) -> Option<UsageRow> {
        let takes = match self {
            Self::Owner => row.swept && !row.corrected,
            Self::OwnerKeeps => row.swept,
            Self::Outside(was) => !row.corrected && row.quality == was && was != Quality::Reported,
        };
        let mut row = row.clone();
        row.charged.extend(adds.iter().copied());
        takes.then_some(match self {
            Self::Owner => UsageRow {
                charge,
                swept: false,
                corrected: true,
                ..row
            },
            Self::OwnerKeeps => UsageRow {
                swept: false,
                ..row
            },
            Self::Outside(_) => UsageRow {
                charge,
                corrected: true,
                ..row
            },
        })
    }
}

/// What must be so of a lease.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeaseWhen {
    pub epoch: Option<u64>,
    pub state: Option<LeaseState>,
    pub serial: Option<u32>,
    pub version: Option<u32>,
    /// Its end and the time of grace are over, or its replica has begun another epoch.
    pub overdue: bool,
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeaseThen {
    Take {
        more: Amount,
        expires_at: WallMillis,
    },
    Renew {
        expires_at: WallMillis,
    },
    /// So much is returned; with nothing left the lease has ended.
    Return {
        amount: Amount,
    },
    Use {
        amount: Amount,
    },
    /// So much of what was returned was used all the same.
    UseReturned {
        amount: Amount,
    },
    /// Of what a lost lease has left, so much was used; the rest is returned.
    Resolve {
        used: Amount,
    },
    Lose,
}

impl LeaseWhen {
    pub fn holds_of(&self, row: &LeaseRow) -> bool {
        self.epoch.is_none_or(|epoch| row.epoch == epoch)
            && self.state.is_none_or(|state| row.state == state)
            && self.serial.is_none_or(|serial| row.serial == serial)
            && self.version.is_none_or(|version| row.version == version)
    }
}

impl LeaseThen {
    /// The row after it, or nothing if the lease can't bear it.
    pub fn applied(self, row: &LeaseRow) -> Option<LeaseRow> {
        let step = |row: LeaseRow| LeaseRow {
            serial: row.serial.wrapping_add(1),
            version: row.version.wrapping_add(1),
            ..row
        };
        match self {
            Self::Take { more, expires_at } => Some(step(LeaseRow {
                amount: row.amount.plus(more)?,
                expires_at,
                ..row.clone()
            })),
            Self::Renew { expires_at } => Some(step(LeaseRow {
                expires_at,
                ..row.clone()
            })),
            Self::Return { amount } => {
                let row = row.with_returned(amount)?;
                let state = if row.rest().is_zero() {
                    LeaseState::Returned
                } else {
                    row.state
                };
                Some(step(LeaseRow { state, ..row }))
            }
            Self::Use { amount } => row.with_used(amount),
            Self::UseReturned { amount } => Some(LeaseRow {
                returned: row.returned.minus(amount)?,
                used: row.used.plus(amount)?,
                version: row.version.wrapping_add(1),
                ..row.clone()
            }),
            Self::Resolve { used } => {
                let row = row.with_used(used)?;
                row.with_returned(row.rest())
            }
            Self::Lose => Some(LeaseRow {
                state: LeaseState::Lost,
                version: row.version.wrapping_add(1),
                ..row.clone()
            }),
        }
    }
}

/// Why a step was not done. Nothing of it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It does not fit.
    Short(Pot),
    /// A row is not, or is no longer, as it was thought.
    Moved,
    /// It was done before.
    Repeat,
    /// Its time has not come.
    NotDue,
    /// No such budget, account, lease or hold.
    Absent,
    /// Sums would fall below zero: a fault of ours, and nothing is written.
    Broken,
}

/// What the store says to a command.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub refusal: Option<Refusal>,
    /// The largest time the store's clock has shown: windows and buckets are of this.
    pub now: WallMillis,
    /// The rows of windows it touched, as they are after it.
    pub windows: Vec<(WindowKey, WindowRow)>,
    /// The leases it touched.
    pub leases: Vec<LeaseRow>,
    /// The hold it touched.
    pub hold: Option<Box<HoldRow>>,
    /// What is overdue, where that was asked.
    pub due_holds: Vec<HoldRow>,
    pub due_leases: Vec<LeaseRow>,
    /// The epoch, to one that joins.
    pub epoch: u64,
    /// The hashes of the entries it made, in their order, where the store keeps them in a chain.
    pub entries: Entries,
}

/// Hashes of entries; most steps make one.
pub type Entries = SmallVec<[[u8; 32]; 1]>;

/// Nothing is known of what was asked: it may have been done, or not, or be done yet. The same
/// command is given again until there is an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoAnswer;

/// What the planner needs to know of a budget's present.
#[derive(Clone, Debug)]
pub struct Present {
    pub key: WindowKey,
    /// The bucket of this moment, and the first that counts: of rolling windows.
    pub bucket: Option<WallMillis>,
    pub floor: Option<WallMillis>,
}

impl Present {
    /// The bucket of this moment, or of one so much later.
    pub fn bucket_after(&self, ms: u64) -> Option<WallMillis> {
        Some(self.later(self.bucket?, ms))
    }

    /// The same of another moment.
    pub fn bucket_after_at(&self, at: WallMillis, ms: u64) -> Option<WallMillis> {
        let length = self.bucket_length()?;
        Some(self.later(WallMillis(at.0 - at.0 % length), ms))
    }

    fn later(&self, bucket: WallMillis, ms: u64) -> WallMillis {
        let length = self.bucket_length().unwrap_or(1);
        let later = ms.div_ceil(length).saturating_mul(length);
        WallMillis(bucket.0.saturating_add(later))
    }

    /// The floor is as many buckets behind as a window has.
    fn bucket_length(&self) -> Option<u64> {
        let (bucket, floor) = (self.bucket?, self.floor?);
        Some((bucket.0.saturating_sub(floor.0) / BUCKETS).max(1))
    }
}

/// What the transaction knows when a command is planned in it.
pub trait Facts {
    /// The store's clock.
    fn now(&self) -> WallMillis;
    /// The window that is open now: of the largest time seen, never before the last one opened.
    /// Nothing if there is no such budget, or it has been ended.
    fn present(&self, budget: BudgetId) -> Option<Present>;
    /// The same, also of a budget that has been ended: what was taken of it becomes something else.
    fn past(&self, budget: BudgetId) -> Option<Present> {
        self.present(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Command;

    #[test]
    fn what_a_transaction_has_thousands_of_is_small() {
        assert!(size_of::<Write>() <= 96, "{}", size_of::<Write>());
        assert!(size_of::<Command>() <= 96, "{}", size_of::<Command>());
        assert!(size_of::<Reply>() <= 256, "{}", size_of::<Reply>());
    }
}
