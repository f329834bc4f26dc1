//! What the store keeps of windows, leases, holds and usage, and which change of a row is right.
//!
//! The store's statements say the same in SQL: a guarded update that changes nothing is a refusal.

use crate::amount::{Amount, Charge, Delta, Measure};
use crate::window::WindowKey;
use smallvec::SmallVec;
use tollkeep_types::{AccountId, HoldId, LeaseId, ReplicaId, WallMillis};

/// What a window must be after a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Guard {
    /// Within its limit: something new is taken.
    Fits,
    /// Within its ceiling: what was taken becomes something else.
    Covered,
    /// Of what is spent more, no more than fits.
    AsFar,
}

/// Whether a limit is kept or only told of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enforcement {
    Hard,
    /// A guess has to fit, and what a call took beyond it is counted too: so the limit is kept up to
    /// what was under way.
    Soft,
    /// What is counted refuses nothing.
    Observe,
}

/// A change of a window's sums.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Change {
    pub spent: Delta,
    pub reserved: Delta,
    pub leased: Delta,
}

/// The sums of one window.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WindowRow {
    pub enforcement: Enforcement,
    pub limit: Amount,
    /// The limit, or what was taken when the limit was last lowered, if that is more.
    pub ceiling: Amount,
    pub spent: Amount,
    pub reserved: Amount,
    pub leased: Amount,
    /// How often slices were called back.
    pub recall: u32,
    /// Of a rolling window: buckets before this one have left.
    pub floor: WallMillis,
    /// Counts every change.
    pub version: u64,
}

impl WindowRow {
    pub const fn new(enforcement: Enforcement, limit: Amount) -> Self {
        Self {
            enforcement,
            limit,
            ceiling: limit,
            spent: Amount::ZERO,
            reserved: Amount::ZERO,
            leased: Amount::ZERO,
            recall: 0,
            floor: WallMillis(0),
            version: 0,
        }
    }

    /// What is spent or may be.
    pub fn taken(&self) -> Amount {
        let taken = self.spent.plus(self.reserved);
        let taken = taken.and_then(|taken| taken.plus(self.leased));
        taken.unwrap_or(Amount::MAX)
    }

    pub fn left(&self) -> Amount {
        self.limit.above(self.taken())
    }

    /// The row after a change, or nothing if it may not be.
    pub fn changed(&self, change: Change, guard: Guard) -> Option<Self> {
        let row = Self {
            spent: self.spent.changed(change.spent)?,
            reserved: self.reserved.changed(change.reserved)?,
            leased: self.leased.changed(change.leased)?,
            version: self.version.wrapping_add(1),
            ..self.clone()
        };
        let taken = row.spent.plus(row.reserved)?.plus(row.leased)?;
        let bound = match (self.enforcement, guard) {
            (Enforcement::Observe, _) | (Enforcement::Soft, Guard::Covered | Guard::AsFar) => {
                return Some(row);
            }
            (Enforcement::Hard | Enforcement::Soft, Guard::Fits) => row.limit,
            (Enforcement::Hard, Guard::Covered | Guard::AsFar) => row.ceiling,
        };
        (taken <= bound).then_some(row)
    }

    /// What of a change is made under a guard.
    pub fn as_far(&self, change: Change, guard: Guard) -> Change {
        let room = match (guard, self.enforcement) {
            (Guard::Fits | Guard::Covered, _) | (Guard::AsFar, Enforcement::Observe) => {
                return change;
            }
            (Guard::AsFar, Enforcement::Hard | Enforcement::Soft) => Delta::up(self.left()),
        };
        Change {
            spent: change.spent.min(room),
            ..change
        }
    }

    /// Another limit. What is taken already stays taken.
    pub fn limited(&self, limit: Amount) -> Self {
        Self {
            limit,
            ceiling: limit.max(self.taken()),
            version: self.version.wrapping_add(1),
            ..self.clone()
        }
    }

    /// Whether so many hundredths of the limit are spent or reserved.
    pub fn has_reached(&self, percent: u8) -> bool {
        let used = i128::from(self.spent.units()) + i128::from(self.reserved.units());
        used * 100 >= i128::from(self.limit.units()) * i128::from(percent)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeaseState {
    Active,
    Returned,
    Lost,
}

/// A slice as the store knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseRow {
    pub id: LeaseId,
    pub key: WindowKey,
    pub replica: ReplicaId,
    pub epoch: u64,
    pub amount: Amount,
    pub used: Amount,
    pub returned: Amount,
    pub state: LeaseState,
    pub expires_at: WallMillis,
    /// Counts what its replica did with the lease as a whole: taking, renewing, returning.
    pub serial: u32,
    /// Counts every change.
    pub version: u32,
}

impl LeaseRow {
    /// What is neither used nor returned.
    pub fn rest(&self) -> Amount {
        self.amount.above(self.used).above(self.returned)
    }

    /// The row with more used, or nothing if that was never taken.
    pub fn with_used(&self, more: Amount) -> Option<Self> {
        (more <= self.rest()).then_some(())?;
        Some(Self {
            used: self.used.plus(more)?,
            version: self.version.wrapping_add(1),
            ..self.clone()
        })
    }

    /// The row with something returned.
    pub fn with_returned(&self, more: Amount) -> Option<Self> {
        (more <= self.rest()).then_some(())?;
        Some(Self {
            returned: self.returned.plus(more)?,
            ..self.clone()
        })
    }
}

/// What a cost is known by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quality {
    /// The upstream said so.
    Reported,
    /// An upper estimate.
    Estimated,
    /// Nobody said: the whole bound is charged.
    Unknown,
}

impl Quality {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HoldState {
    /// Taken aside. Nothing is ever sent from here.
    Held,
    /// The upstream may have begun. It can't vanish any more.
    Committed,
    Released,
    /// Ended by its time before anything was sent.
    Expired,
    Settled(Quality),
    /// Settled, then corrected by evidence, once.
    Adjusted,
}

/// What happens to a hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrow {
    Commit,
    /// Refused or cancelled before the first byte, or proof that nothing was billed.
    Release,
    Settle(Quality),
    /// Its time is over, or its process is gone.
    Expire,
    /// Evidence of the true cost.
    Adjust,
}

/// What an arrow does to a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Move {
    To(HoldState),
    /// It was done before: nothing changes, and the first outcome stands.
    Repeat,
    Forbidden,
}

impl HoldState {
    pub const fn after(self, arrow: Arrow) -> Move {
        use HoldState::{Adjusted, Committed, Expired, Held, Released, Settled};
        match (self, arrow) {
            (Held, Arrow::Commit) => Move::To(Committed),
            (Held | Committed, Arrow::Release) => Move::To(Released),
            (Held, Arrow::Expire) => Move::To(Expired),
            (Committed, Arrow::Settle(quality)) => Move::To(Settled(quality)),
            (Committed, Arrow::Expire) => Move::To(Settled(Quality::Unknown)),
            (Settled(Quality::Unknown | Quality::Estimated), Arrow::Adjust) => Move::To(Adjusted),
            (Committed, Arrow::Commit)
            | (Released | Expired, Arrow::Release | Arrow::Expire)
            | (Settled(_) | Adjusted, Arrow::Settle(_) | Arrow::Expire)
            | (Adjusted, Arrow::Adjust | Arrow::Release) => Move::Repeat,
            (Held | Released | Expired, Arrow::Settle(_) | Arrow::Adjust)
            | (Committed, Arrow::Adjust)
            | (Settled(Quality::Reported), Arrow::Adjust)
            | (Settled(_), Arrow::Release)
            | (Released | Expired | Settled(_) | Adjusted, Arrow::Commit) => Move::Forbidden,
        }
    }

    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Held | Self::Committed)
    }
}

/// What an amount is taken from.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Pot {
    Window(WindowKey),
    /// Prepaid credit.
    Account(AccountId),
}

/// What a hold takes from one pot, in the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cover {
    pub pot: Pot,
    pub measure: Measure,
    pub taken: Amount,
    /// Of a rolling window: the bucket of the grant.
    pub bucket: Option<WallMillis>,
}

pub type Covers = SmallVec<[Cover; 4]>;

/// A hold as the store knows it: its strict part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HoldRow {
    pub id: HoldId,
    pub replica: ReplicaId,
    pub state: HoldState,
    pub version: u32,
    pub bound: Charge,
    /// What its upstream may ask at most, where that is another amount than the bound.
    pub owed: Option<Amount>,
    pub covers: Covers,
    pub expires_at: WallMillis,
}

/// What a call cost, written once; corrected once at most.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageRow {
    pub hold: HoldId,
    pub quality: Quality,
    pub bound: Charge,
    pub charge: Charge,
    /// What was charged to each pot, in `taken`.
    pub charged: SmallVec<[Cover; 4]>,
    /// The version of the hold's row after its end, where there is one.
    pub row: Option<u32>,
    /// Its time was over before its holder told the end, who may still come.
    pub swept: bool,
    pub corrected: bool,
}

impl UsageRow {
    /// Whether nothing can change what it cost any more.
    pub fn is_final(&self) -> bool {
        self.corrected || (self.quality == Quality::Reported && !self.swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARROWS: [Arrow; 7] = [
        Arrow::Commit,
        Arrow::Release,
        Arrow::Settle(Quality::Reported),
        Arrow::Settle(Quality::Estimated),
        Arrow::Settle(Quality::Unknown),
        Arrow::Expire,
        Arrow::Adjust,
    ];

    // LED-50
    #[test]
    fn the_arrows_of_a_hold_are_those_of_the_table() {
        use HoldState::{Adjusted, Committed, Expired, Held, Released, Settled};
        let unknown = Settled(Quality::Unknown);
        let reported = Settled(Quality::Reported);
        for (name, from, arrow, want) in [
            ("first byte", Held, Arrow::Commit, Move::To(Committed)),
            ("refused before", Held, Arrow::Release, Move::To(Released)),
            ("lease end before", Held, Arrow::Expire, Move::To(Expired)),
            (
                "usage",
                Committed,
                Arrow::Settle(Quality::Reported),
                Move::To(reported),
            ),
            (
                "proof of nothing billed",
                Committed,
                Arrow::Release,
                Move::To(Released),
            ),
            (
                "lease end after",
                Committed,
                Arrow::Expire,
                Move::To(unknown),
            ),
            ("evidence", unknown, Arrow::Adjust, Move::To(Adjusted)),
            (
                "late usage is evidence, not an end",
                unknown,
                Arrow::Settle(Quality::Reported),
                Move::Repeat,
            ),
            ("evidence twice", Adjusted, Arrow::Adjust, Move::Repeat),
            (
                "usage twice",
                reported,
                Arrow::Settle(Quality::Estimated),
                Move::Repeat,
            ),
            (
                "sending after the end",
                Expired,
                Arrow::Commit,
                Move::Forbidden,
            ),
            (
                "sending what was released",
                Released,
                Arrow::Commit,
                Move::Forbidden,
            ),
            (
                "usage of what was never sent",
                Held,
                Arrow::Settle(Quality::Reported),
                Move::Forbidden,
            ),
            (
                "taking back a reported cost",
                reported,
                Arrow::Release,
                Move::Forbidden,
            ),
        ] {
            assert_eq!(from.after(arrow), want, "{name}");
        }
    }

    proptest::proptest! {
        // LED-51
        #[test]
        fn a_hold_has_one_end_and_a_committed_one_never_becomes_free_by_time(
            arrows in proptest::collection::vec(0_usize..7, 0..12)
        ) {
            let (mut state, mut ends, mut was_committed) = (HoldState::Held, 0, false);
            for arrow in arrows {
                if let Move::To(next) = state.after(ARROWS[arrow]) {
                    ends += u32::from(next.is_terminal() && !state.is_terminal());
                    if state.is_terminal() {
                        proptest::prop_assert_eq!(next, HoldState::Adjusted);
                    }
                    state = next;
                }
                was_committed |= state == HoldState::Committed;
                proptest::prop_assert!(!(was_committed && matches!(state, HoldState::Held | HoldState::Expired)));
            }
            proptest::prop_assert!(ends <= 1);
        }

        // LED-70
        #[test]
        fn no_change_takes_a_window_over_its_ceiling(
            limit in 0_i64..1000,
            changes in proptest::collection::vec((-300_i64..300, -300_i64..300, -300_i64..300, 0_u8..4, 0_i64..1000), 0..30)
        ) {
            let amount = |units| Amount::new(units).unwrap();
            let delta = |units: i64| if units < 0 { Delta::down(amount(-units)) } else { Delta::up(amount(units)) };
            let mut row = WindowRow::new(Enforcement::Hard, amount(limit));
            for (spent, reserved, leased, kind, limit) in changes {
                if kind == 2 {
                    row = row.limited(amount(limit));
                    continue;
                }
                let guard = [Guard::Fits, Guard::Covered, Guard::Covered, Guard::AsFar][usize::from(kind)];
                let change = Change { spent: delta(spent), reserved: delta(reserved), leased: delta(leased) };
                let change = row.as_far(change, guard);
                if let Some(next) = row.changed(change, guard) {
                    row = next;
                }
                proptest::prop_assert!(row.taken() <= row.ceiling);
            }
        }
    }
}
