//! What an answer shows: the rows that its command names, as they are after it.

use super::Store;
use crate::ledger::row::{HoldRow, LeaseState, Pot};
use crate::ledger::step::{Command, WishFrom};
use crate::ledger::window::WindowKey;
use crate::ledger::write::{Facts, Refusal, Reply};
use tollkeep_types::{BudgetId, HoldId, LeaseId};

impl Store {
    /// What the answer shows: the rows that the command names, as they are now.
    pub(super) fn reply(&self, command: &Command, refusal: Option<Refusal>) -> Reply {
        let mut reply = Reply {
            refusal,
            now: self.seen,
            ..Reply::default()
        };
        let (windows, leases, hold) = named(command, self);
        reply.windows = windows
            .into_iter()
            .filter_map(|key| self.windows.get(&key).map(|row| (key, row.clone())))
            .collect();
        reply.leases = leases
            .into_iter()
            .filter_map(|id| self.leases.get(&id).cloned())
            .collect();
        reply.hold = hold.and_then(|id| self.holds.get(&id).cloned());
        if let Command::Join { replica, .. } = command {
            reply.epoch = self.epochs.get(replica).map_or(0, |now| now.0);
        }
        if matches!(command, Command::Due) {
            let holds = self.holds.values();
            reply.due_holds = holds
                .filter(|row| !row.state.is_terminal() && self.now >= row.expires_at)
                .cloned()
                .collect();
            let leases = self.leases.values();
            reply.due_leases = leases
                .filter(|row| row.state == LeaseState::Active && self.is_overdue(row))
                .cloned()
                .collect();
        }
        reply
    }
}

type Named = (Vec<WindowKey>, Vec<LeaseId>, Option<HoldId>);

/// The rows a command is about.
fn named(command: &Command, store: &Store) -> Named {
    let present = |budget: &BudgetId| {
        store
            .present(*budget)
            .map(|present| present.key)
            .into_iter()
            .collect()
    };
    let of_row = |row: &HoldRow| {
        let keys = row.covers.iter().filter_map(|cover| match cover.pot {
            Pot::Window(key) => Some(key),
            Pot::Account(_) => None,
        });
        keys.collect()
    };
    match command {
        Command::Look(budget) | Command::Limit { budget, .. } => {
            (present(budget), Vec::new(), None)
        }
        Command::Take { budget, lease, .. } => (present(budget), vec![*lease], None),
        Command::Refill { lease, .. } | Command::Renew(lease) | Command::Return { lease, .. } => {
            (vec![lease.key], vec![lease.id], None)
        }
        Command::Grant(grant) => {
            let keys = grant.wishes.iter().filter_map(|wish| match wish.from {
                WishFrom::Budget(budget) => store.present(budget).map(|present| present.key),
                WishFrom::Account(_) => None,
            });
            (keys.collect(), Vec::new(), Some(grant.hold))
        }
        Command::Confirm { hold, .. }
        | Command::RenewHold { hold, .. }
        | Command::Bury { hold, .. } => (Vec::new(), Vec::new(), Some(*hold)),
        Command::End { ended, .. } => {
            let slices = ended.slices.iter();
            let mut keys: Vec<_> = slices.clone().map(|cover| cover.key).collect();
            keys.extend(ended.strict.iter().filter_map(|cover| match cover.pot {
                Pot::Window(key) => Some(key),
                Pot::Account(_) => None,
            }));
            (
                keys,
                slices.map(|cover| cover.lease).collect(),
                Some(ended.hold),
            )
        }
        Command::Expire(row) => (of_row(row), Vec::new(), Some(row.id)),
        Command::Lose(row) => (vec![row.key], vec![row.id], None),
        Command::Recall(key) | Command::Warn { key, .. } => (vec![*key], Vec::new(), None),
        Command::Join { .. }
        | Command::Correct { .. }
        | Command::Transfer { .. }
        | Command::Refund { .. }
        | Command::Due => (Vec::new(), Vec::new(), None),
    }
}
