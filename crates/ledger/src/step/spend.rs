//! The writes by which what a call used of a slice is spent.

use super::Write;
use crate::amount::Delta;
use crate::posting::{Account, Entry, EntryKind, entry_of};
use crate::row::{Change, Guard, LeaseState};
use crate::write::{LeaseThen, LeaseWhen, Spend};

impl Spend {
    /// Of a lease that lives, a cost moves from leased to spent.
    pub(crate) fn of_living(&self) -> [Write; 2] {
        let amount = self.amount;
        let leased = Delta::down(amount);
        [
            self.used(LeaseState::Active, LeaseThen::Use { amount }),
            self.spent(leased, Guard::Covered),
        ]
    }

    /// Of one that is lost, it moves from what is in doubt to what is known. If somebody has said by then
    /// that nothing of it was used, the window bears it if its limit allows, else nobody does.
    pub(crate) fn of_lost(&self) -> Write {
        let amount = self.amount;
        let id = entry_of(self.hold, EntryKind::Lease, self.number);
        let [unresolved, in_doubt] = self.accounts();
        let entry = Entry::moved(id, EntryKind::Lease, (unresolved, in_doubt), amount);
        let known = vec![
            self.used(LeaseState::Lost, LeaseThen::Use { amount }),
            Write::Entry(Box::new(entry)),
        ];
        let again = self.spent(Delta::NONE, Guard::Fits);
        let resolved = vec![
            self.used(LeaseState::Lost, LeaseThen::UseReturned { amount }),
            Write::Either(vec![again], Vec::new()),
        ];
        Write::Either(known, resolved)
    }

    /// The accounts that something moves between where the lease is lost.
    pub const fn accounts(&self) -> [Account; 2] {
        let budget = self.cover.key.budget;
        [Account::Unresolved(budget), Account::InDoubt(budget)]
    }

    const fn spent(&self, leased: Delta, guard: Guard) -> Write {
        Write::Window {
            key: self.cover.key,
            change: Change {
                spent: Delta::up(self.amount),
                reserved: Delta::NONE,
                leased,
            },
            guard,
            bucket: self.cover.bucket,
        }
    }

    fn used(&self, state: LeaseState, then: LeaseThen) -> Write {
        Write::Lease {
            id: self.cover.lease,
            when: LeaseWhen {
                epoch: Some(self.cover.epoch),
                state: Some(state),
                ..LeaseWhen::default()
            },
            then,
        }
    }
}
