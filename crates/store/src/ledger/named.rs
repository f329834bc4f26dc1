//! Which rows a command is about: what has to be loaded for its writes, and what its answer shows.

use super::kept::AccountKey;
use super::rows::Rows;
use std::collections::BTreeSet;
use std::sync::Arc;
use tollkeep_ledger::judge::named;
use tollkeep_ledger::posting::EntryKind;
use tollkeep_ledger::row::Pot;
use tollkeep_ledger::step::{Command, WishFrom};
use tollkeep_ledger::window::WindowKey;
use tollkeep_ledger::write::{Truth, Write};
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
    /// Those that are to be written.
    pub(super) usage_new: BTreeSet<HoldId>,
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
        Command::Lose(lease) | Command::Resolve { lease, .. } => {
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
                self.usage_new.insert(row.hold);
            }
            Write::CorrectUsage { hold, .. } => {
                self.usage.insert(*hold);
            }
            Write::Entry(entry) => {
                if is_looked_for(entry.kind()) {
                    self.entries.insert(entry.id());
                }
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
            Write::Spend(spend) => {
                let (key, bucket) = (spend.cover.key, spend.cover.bucket);
                self.windows.insert(key);
                self.buckets.extend(bucket.map(|bucket| (key, bucket)));
                self.leases.insert(spend.cover.lease);
                let accounts = spend.accounts().into_iter();
                self.accounts.extend(accounts.filter_map(AccountKey::owned));
            }
            Write::Truth(truth) => self.add_truth(truth),
            Write::Either(first, second) => {
                self.add_writes(first);
                self.add_writes(second);
            }
        }
    }

    fn add_truth(&mut self, truth: &Truth) {
        for (_, cover, _) in &truth.raises {
            if let Pot::Window(key) = cover.pot {
                self.windows.insert(key);
                self.buckets
                    .extend(cover.bucket.map(|bucket| (key, bucket)));
            }
        }
        self.entries.extend(truth.entries());
        let owned = truth.accounts().filter_map(AccountKey::owned);
        self.accounts.extend(owned);
    }

    /// What the answer shows.
    pub(super) fn add_named(&mut self, command: &Command, rows: &Rows) {
        let named = named(command, rows);
        self.windows.extend(named.windows);
        self.leases.extend(named.leases);
        self.holds.extend(named.hold);
    }
}

/// Whether an entry may be there although nothing else shows it. Those of a call's end go with its usage
/// record, those of a slice with its state: both are written once, which their rows see to.
const fn is_looked_for(kind: EntryKind) -> bool {
    match kind {
        EntryKind::Settle | EntryKind::Lease => false,
        EntryKind::Hold | EntryKind::Correct | EntryKind::Transfer => true,
    }
}

/// All accounts that these writes move something of.
pub(super) fn accounts(
    writes: &[Write],
    of: (TenantId, Option<&Arc<str>>),
    into: &mut BTreeSet<AccountKey>,
) {
    let (tenant, provider) = of;
    for write in writes {
        match write {
            Write::Entry(entry) => {
                let postings = entry.postings().iter();
                into.extend(
                    postings.map(|posting| AccountKey::of(posting.account, tenant, provider)),
                );
            }
            Write::Spend(spend) => {
                let moved = spend.accounts().into_iter();
                into.extend(moved.map(|account| AccountKey::of(account, tenant, provider)));
            }
            Write::Truth(truth) => {
                into.extend(
                    truth
                        .accounts()
                        .map(|account| AccountKey::of(account, tenant, provider)),
                );
            }
            Write::Either(first, second) => {
                accounts(first, of, into);
                accounts(second, of, into);
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
