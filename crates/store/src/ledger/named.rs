//! Which rows a command is about: what has to be loaded for its writes, and what its answer shows.

use super::kept::AccountKey;
use super::rows::Rows;
use std::collections::BTreeSet;
use tollkeep_ledger::row::{HoldRow, LeaseState, Pot};
use tollkeep_ledger::step::{Command, WishFrom};
use tollkeep_ledger::window::WindowKey;
use tollkeep_ledger::write::{Facts, Refusal, Reply, Write};
use tollkeep_types::{BudgetId, EntryId, HoldId, LeaseId, ReplicaId, TenantId, WallMillis};

/// Keys of rows to be loaded.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) windows: BTreeSet<WindowKey>,
    /// Windows of which all buckets are needed.
    pub(super) rolling: BTreeSet<WindowKey>,
    pub(super) buckets: BTreeSet<(WindowKey, WallMillis)>,
    pub(super) leases: BTreeSet<LeaseId>,
    pub(super) holds: BTreeSet<HoldId>,
    pub(super) usage: BTreeSet<HoldId>,
    pub(super) entries: BTreeSet<EntryId>,
    /// Accounts of payers and budgets, which say whose a job is.
    pub(super) accounts: BTreeSet<AccountKey>,
    pub(super) warned: BTreeSet<WindowKey>,
    pub(super) replicas: BTreeSet<ReplicaId>,
    /// Whether the lives of the leases' replicas matter.
    pub(super) lives: bool,
}

/// Budgets whose present a command asks for, or that say whose its rows are.
pub(super) fn budgets(command: &Command, into: &mut BTreeSet<BudgetId>) {
    match command {
        Command::Look(budget) | Command::Take { budget, .. } | Command::Limit { budget, .. } => {
            into.insert(*budget);
        }
        Command::Refill { lease, .. } | Command::Renew(lease) | Command::Return { lease, .. } => {
            into.insert(lease.key.budget);
        }
        Command::Grant(grant) => {
            into.extend(grant.wishes.iter().filter_map(|wish| match wish.from {
                WishFrom::Budget(budget) => Some(budget),
                WishFrom::Account(_) => None,
            }));
        }
        Command::End { ended, .. } => {
            into.extend(ended.slices.iter().map(|cover| cover.key.budget));
            into.extend(ended.strict.iter().filter_map(|cover| of_pot(cover.pot)));
        }
        Command::Expire(hold) => {
            into.extend(hold.covers.iter().filter_map(|cover| of_pot(cover.pot)));
        }
        Command::Lose(lease) => {
            into.insert(lease.key.budget);
        }
        Command::Correct { usage, .. } => {
            into.extend(usage.charged.iter().filter_map(|cover| of_pot(cover.pot)));
        }
        Command::Recall(key) | Command::Warn { key, .. } => {
            into.insert(key.budget);
        }
        Command::Join { .. }
        | Command::Confirm { .. }
        | Command::RenewHold { .. }
        | Command::Bury { .. }
        | Command::Transfer { .. }
        | Command::Refund { .. }
        | Command::Due => {}
    }
}

const fn of_pot(pot: Pot) -> Option<BudgetId> {
    match pot {
        Pot::Window(key) => Some(key.budget),
        Pot::Account(_) => None,
    }
}

impl Needs {
    /// Everything that these writes look at or change.
    pub(super) fn add_writes(&mut self, writes: &[Write]) {
        for write in writes {
            self.add_write(write);
        }
    }

    fn add_write(&mut self, write: &Write) {
        match write {
            Write::Open { key, floor } => {
                self.windows.insert(*key);
                if floor.is_some() {
                    self.rolling.insert(*key);
                }
            }
            Write::Window { key, bucket, .. } => {
                self.windows.insert(*key);
                self.buckets.extend(bucket.map(|bucket| (*key, bucket)));
            }
            Write::NewLease(row) => {
                self.leases.insert(row.id);
            }
            Write::Lease { id, when, .. } => {
                self.leases.insert(*id);
                self.lives |= when.overdue;
            }
            Write::NewHold(row) => {
                self.holds.insert(row.id);
            }
            Write::Hold { id, .. } | Write::RenewHold { id, .. } => {
                self.holds.insert(*id);
            }
            Write::Usage(row) => {
                self.usage.insert(row.hold);
            }
            Write::CorrectUsage { hold, .. } => {
                self.usage.insert(*hold);
            }
            Write::Entry(entry) => {
                self.entries.insert(entry.id());
                let postings = entry.postings().iter();
                let owned = postings.filter_map(|posting| AccountKey::owned(posting.account));
                self.accounts.extend(owned);
            }
            Write::Recall(key) | Write::Limit { key, .. } => {
                self.windows.insert(*key);
            }
            Write::Warn { key, .. } => {
                self.warned.insert(*key);
            }
            Write::Join { replica, .. } => {
                self.replicas.insert(*replica);
            }
            Write::Either(first, second) => {
                self.add_writes(first);
                self.add_writes(second);
            }
        }
    }

    /// What the answer shows.
    pub(super) fn add_named(&mut self, command: &Command, rows: &Rows) {
        let (windows, leases, hold) = named(command, rows);
        self.windows.extend(windows);
        self.leases.extend(leases);
        self.holds.extend(hold);
    }
}

/// All accounts that these writes move something of.
pub(super) fn accounts(writes: &[Write], tenant: TenantId, into: &mut BTreeSet<AccountKey>) {
    for write in writes {
        match write {
            Write::Entry(entry) => {
                let postings = entry.postings().iter();
                into.extend(postings.map(|posting| AccountKey::of(posting.account, tenant)));
            }
            Write::Either(first, second) => {
                accounts(first, tenant, into);
                accounts(second, tenant, into);
            }
            Write::Open { .. }
            | Write::Window { .. }
            | Write::NewLease(_)
            | Write::Lease { .. }
            | Write::NewHold(_)
            | Write::Hold { .. }
            | Write::RenewHold { .. }
            | Write::Usage(_)
            | Write::CorrectUsage { .. }
            | Write::Recall(_)
            | Write::Warn { .. }
            | Write::Limit { .. }
            | Write::Join { .. } => {}
        }
    }
}

type Named = (Vec<WindowKey>, Vec<LeaseId>, Option<HoldId>);

/// The rows that the answer to a command shows.
fn named(command: &Command, rows: &Rows) -> Named {
    let present = |budget: &BudgetId| {
        let present = rows.present(*budget).map(|present| present.key);
        present.into_iter().collect()
    };
    let of_row = |row: &HoldRow| {
        let covers = row.covers.iter();
        covers.filter_map(|cover| key_of(cover.pot)).collect()
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
                WishFrom::Budget(budget) => rows.present(budget).map(|present| present.key),
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
            let strict = ended.strict.iter();
            keys.extend(strict.filter_map(|cover| key_of(cover.pot)));
            let leases = slices.map(|cover| cover.lease);
            (keys, leases.collect(), Some(ended.hold))
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

const fn key_of(pot: Pot) -> Option<WindowKey> {
    match pot {
        Pot::Window(key) => Some(key),
        Pot::Account(_) => None,
    }
}

impl Rows {
    /// The answer to a command, with the rows it names as they are now.
    pub(super) fn reply(&self, command: &Command, refusal: Option<Refusal>) -> Reply {
        let (windows, leases, hold) = named(command, self);
        let mut reply = Reply {
            refusal,
            now: self.seen,
            windows: windows
                .into_iter()
                .filter_map(|key| Some((key, self.windows.get(&key)?.clone())))
                .collect(),
            leases: leases
                .into_iter()
                .filter_map(|id| self.leases.get(&id).cloned())
                .collect(),
            hold: hold.and_then(|id| Some(self.holds.get(&id)?.row.clone())),
            ..Reply::default()
        };
        if let Command::Join { replica, .. } = command {
            reply.epoch = self.epochs.get(replica).map_or(0, |now| now.0);
        }
        if matches!(command, Command::Due) {
            let holds = self.holds.range(..).map(|(_, kept)| &kept.row);
            reply.due_holds = holds
                .filter(|row| !row.state.is_terminal() && self.now >= row.expires_at)
                .cloned()
                .collect();
            let leases = self.leases.range(..).map(|(_, row)| row);
            reply.due_leases = leases
                .filter(|row| row.state == LeaseState::Active && self.is_overdue(row))
                .cloned()
                .collect();
        }
        reply
    }
}
