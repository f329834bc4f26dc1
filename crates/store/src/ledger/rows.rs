//! The rows that a transaction works on, and what a guarded write makes of them.
//!
//! They are locked and loaded before, and written after: so the changes of one row by many commands
//! are one statement. A write is refused here or not at all; what the database would refuse beside
//! that is a fault of ours.

use super::kept::{AccountKey, Balance, KeptEntry, KeptHold, KeptUsage, KnownBudget};
use super::table::Table;
use std::collections::BTreeMap;
use tollkeep_ledger::amount::{Amount, Delta};
use tollkeep_ledger::lease::LOST_AFTER_MS;
use tollkeep_ledger::posting::{Account, Entry, EntryKind, Posting, Unit};
use tollkeep_ledger::row::{
    Arrow, Change, Guard, HoldRow, LeaseRow, Move, Pot, UsageRow, WindowRow,
};
use tollkeep_ledger::window::WindowKey;
use tollkeep_ledger::write::{Evidence, Facts, LeaseThen, LeaseWhen, Present, Refusal, Write};
use tollkeep_types::{BudgetId, EntryId, HoldId, LeaseId, ReplicaId, TenantId, WallMillis};

/// What is loaded, and the time of the transaction.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) now: WallMillis,
    pub(super) seen: WallMillis,
    pub(super) budgets: BTreeMap<BudgetId, KnownBudget>,
    pub(super) latest: Table<BudgetId, WallMillis>,
    /// Limits that a command changes.
    pub(super) limits: Table<BudgetId, Amount>,
    pub(super) windows: Table<WindowKey, WindowRow>,
    pub(super) buckets: Table<(WindowKey, WallMillis), Amount>,
    pub(super) leases: Table<LeaseId, LeaseRow>,
    pub(super) holds: Table<HoldId, KeptHold>,
    pub(super) usage: Table<HoldId, KeptUsage>,
    /// New ones, and those that are known to be there.
    pub(super) entries: Table<EntryId, Option<KeptEntry>>,
    pub(super) balances: Table<AccountKey, Balance>,
    pub(super) warned: Table<(WindowKey, u8), ()>,
    /// The epoch, and the process that began it.
    pub(super) epochs: Table<ReplicaId, (u64, u64)>,
}

/// What a write is part of.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) job: usize,
    pub(super) tenant: TenantId,
    pub(super) request: Option<(String, u32)>,
}

/// A place to go back to, table by table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark([usize; 11]);

impl Facts for Rows {
    fn now(&self) -> WallMillis {
        self.now
    }

    fn present(&self, budget: BudgetId) -> Option<Present> {
        let known = self.budgets.get(&budget)?;
        if known.ended {
            return None;
        }
        self.past(budget)
    }

    fn past(&self, budget: BudgetId) -> Option<Present> {
        let known = self.budgets.get(&budget)?;
        let start = known
            .window
            .current(self.seen, self.latest.get(&budget).copied());
        Some(Present {
            key: WindowKey { budget, start },
            bucket: known.window.bucket_of(self.seen),
            floor: known.window.floor_at(self.seen),
        })
    }
}

impl Rows {
    pub(super) const fn mark(&self) -> Mark {
        Mark([
            self.latest.mark(),
            self.limits.mark(),
            self.windows.mark(),
            self.buckets.mark(),
            self.leases.mark(),
            self.holds.mark(),
            self.usage.mark(),
            self.entries.mark(),
            self.balances.mark(),
            self.warned.mark(),
            self.epochs.mark(),
        ])
    }

    pub(super) fn go_back(&mut self, mark: Mark) {
        let Mark([a, b, c, d, e, f, g, h, i, j, k]) = mark;
        self.latest.go_back(a);
        self.limits.go_back(b);
        self.windows.go_back(c);
        self.buckets.go_back(d);
        self.leases.go_back(e);
        self.holds.go_back(f);
        self.usage.go_back(g);
        self.entries.go_back(h);
        self.balances.go_back(i);
        self.warned.go_back(j);
        self.epochs.go_back(k);
    }

    /// All of these writes; with a refusal, some may be done, to be undone by who asked.
    pub(super) fn apply_all(&mut self, writes: &[Write], part: &Part) -> Result<(), Refusal> {
        writes.iter().try_for_each(|write| self.apply(write, part))
    }

    fn apply(&mut self, write: &Write, part: &Part) -> Result<(), Refusal> {
        match write {
            Write::Open { key, floor } => self.open(*key, *floor),
            Write::Window {
                key,
                change,
                guard,
                bucket,
            } => self.change_window(*key, *change, *guard, *bucket),
            Write::NewLease(row) => {
                if self.leases.get(&row.id).is_some() {
                    return Err(Refusal::Repeat);
                }
                self.leases.set(row.id, Some(row.clone()));
                Ok(())
            }
            Write::Lease { id, when, then } => self.change_lease(*id, *when, *then),
            Write::NewHold(row) => self.new_hold(row, part),
            Write::Hold {
                id,
                version,
                arrow,
                due,
            } => self.move_hold(*id, *version, *arrow, *due),
            Write::RenewHold {
                id,
                version,
                expires_at,
            } => self.renew_hold(*id, *version, *expires_at),
            Write::Usage(row) => self.new_usage(row, part),
            Write::CorrectUsage {
                hold,
                evidence,
                charge,
                adds,
            } => {
                let kept = self.usage.get(hold).ok_or(Refusal::Absent)?;
                let row = Evidence::applied(*evidence, &kept.row, *charge, adds);
                let row = row.ok_or(Refusal::Moved)?;
                // Only its own holder knows the rest of the record.
                let job = match evidence {
                    Evidence::Owner | Evidence::OwnerKeeps => part.job,
                    Evidence::Outside(_) => kept.job,
                };
                let tenant = kept.tenant;
                self.usage.set(*hold, Some(KeptUsage { row, tenant, job }));
                Ok(())
            }
            Write::Entry(entry) => self.post(entry, part),
            Write::Recall(key) => self.recall(*key),
            Write::Warn { key, percent } => {
                if self.warned.get(&(*key, *percent)).is_some() {
                    return Err(Refusal::Repeat);
                }
                self.warned.set((*key, *percent), Some(()));
                Ok(())
            }
            Write::Limit { key, limit } => self.limit(*key, *limit),
            Write::Join { replica, boot } => {
                self.join(*replica, *boot);
                Ok(())
            }
            Write::Either(first, second) => {
                let mark = self.mark();
                if self.apply_all(first, part).is_ok() {
                    return Ok(());
                }
                self.go_back(mark);
                self.apply_all(second, part)
            }
        }
    }

    fn new_hold(&mut self, row: &HoldRow, part: &Part) -> Result<(), Refusal> {
        if self.holds.get(&row.id).is_some() {
            return Err(Refusal::Repeat);
        }
        let kept = KeptHold {
            row: row.clone(),
            tenant: part.tenant,
            granted_at: self.seen,
            request: part.request.clone(),
        };
        self.holds.set(row.id, Some(kept));
        Ok(())
    }

    fn new_usage(&mut self, row: &UsageRow, part: &Part) -> Result<(), Refusal> {
        if self.usage.get(&row.hold).is_some() {
            return Err(Refusal::Repeat);
        }
        let kept = KeptUsage {
            row: row.clone(),
            tenant: part.tenant,
            job: part.job,
        };
        self.usage.set(row.hold, Some(kept));
        Ok(())
    }

    fn recall(&mut self, key: WindowKey) -> Result<(), Refusal> {
        let row = self.windows.get(&key).ok_or(Refusal::Absent)?;
        let row = WindowRow {
            recall: row.recall.wrapping_add(1),
            version: row.version.wrapping_add(1),
            ..row.clone()
        };
        self.windows.set(key, Some(row));
        Ok(())
    }

    fn join(&mut self, replica: ReplicaId, boot: u64) {
        let (epoch, by) = self.epochs.get(&replica).copied().unwrap_or_default();
        if by != boot || epoch == 0 {
            let next = (epoch.wrapping_add(1), boot);
            self.epochs.set(replica, Some(next));
        }
    }

    /// In what an account counts.
    pub(super) fn unit_of(&self, account: Account) -> &'static str {
        match account {
            Account::Unresolved(budget) | Account::InDoubt(budget) => {
                self.budgets.get(&budget).map_or("usd", |known| known.unit)
            }
            Account::Credit(_) | Account::Held(_) => self
                .balances
                .get(&AccountKey { account, of: None })
                .map_or("usd", |balance| balance.unit.as_str()),
            Account::Outside(unit)
            | Account::Revenue(unit)
            | Account::Promo(unit)
            | Account::Refunds(unit)
            | Account::OperatorLoss(unit) => unit.as_str(),
            Account::UpstreamCost | Account::Payable | Account::Overrun => "usd",
        }
    }

    /// The limit of a budget, as it is in this transaction.
    fn limit_of(&self, budget: BudgetId) -> Option<Amount> {
        let changed = self.limits.get(&budget).copied();
        changed.or_else(|| Some(self.budgets.get(&budget)?.limit))
    }

    fn open(&mut self, key: WindowKey, floor: Option<WallMillis>) -> Result<(), Refusal> {
        let enforcement = self.budgets.get(&key.budget).ok_or(Refusal::Absent)?;
        let enforcement = enforcement.enforcement;
        let limit = self.limit_of(key.budget).ok_or(Refusal::Absent)?;
        let row = match self.windows.get(&key) {
            Some(row) if row.limit == limit && row.enforcement == enforcement => row.clone(),
            // The budget was changed since.
            Some(row) => {
                let row = WindowRow {
                    enforcement,
                    ..row.limited(limit)
                };
                self.windows.set(key, Some(row.clone()));
                row
            }
            None => {
                let row = WindowRow::new(enforcement, limit);
                self.windows.set(key, Some(row.clone()));
                self.latest.set(key.budget, Some(key.start));
                row
            }
        };
        let Some(floor) = floor.filter(|floor| *floor > row.floor) else {
            return Ok(());
        };
        let left = self.buckets.range((key, WallMillis(0))..(key, floor));
        let left: Vec<_> = left.map(|(at, amount)| (at, *amount)).collect();
        let mut spent = row.spent;
        for (at, amount) in left {
            spent = spent.above(amount);
            self.buckets.set(at, None);
        }
        let row = WindowRow {
            spent,
            floor,
            version: row.version.wrapping_add(1),
            ..row
        };
        self.windows.set(key, Some(row));
        Ok(())
    }

    fn change_window(
        &mut self,
        key: WindowKey,
        change: Change,
        guard: Guard,
        bucket: Option<WallMillis>,
    ) -> Result<(), Refusal> {
        let row = self.windows.get(&key).ok_or(Refusal::Absent)?;
        let left = bucket.is_some_and(|bucket| bucket < row.floor);
        let change = Change {
            spent: if left { Delta::NONE } else { change.spent },
            ..change
        };
        let short = match guard {
            Guard::Fits => Refusal::Short(Pot::Window(key)),
            Guard::Covered => Refusal::Broken,
        };
        let next = row.changed(change, guard).ok_or(short)?;
        self.windows.set(key, Some(next));
        if let Some(bucket) = bucket.filter(|_| !left) {
            let had = self.buckets.get(&(key, bucket)).copied();
            let sum = had.unwrap_or_default().changed(change.spent);
            let sum = sum.ok_or(Refusal::Broken)?;
            self.buckets.set((key, bucket), Some(sum));
        }
        Ok(())
    }

    fn change_lease(
        &mut self,
        id: LeaseId,
        when: LeaseWhen,
        then: LeaseThen,
    ) -> Result<(), Refusal> {
        let row = self.leases.get(&id).ok_or(Refusal::Absent)?;
        if !when.holds_of(row) {
            return Err(Refusal::Moved);
        }
        if when.overdue && !self.is_overdue(row) {
            return Err(Refusal::NotDue);
        }
        let row = then.applied(row).ok_or(Refusal::Broken)?;
        self.leases.set(id, Some(row));
        Ok(())
    }

    pub(super) fn is_overdue(&self, row: &LeaseRow) -> bool {
        let epoch = self.epochs.get(&row.replica);
        let begun_anew = epoch.is_some_and(|now| now.0 > row.epoch);
        begun_anew || self.now.0 >= row.expires_at.0.saturating_add(LOST_AFTER_MS)
    }

    fn move_hold(
        &mut self,
        id: HoldId,
        version: u32,
        arrow: Arrow,
        due: bool,
    ) -> Result<(), Refusal> {
        let kept = self.holds.get(&id).ok_or(Refusal::Absent)?;
        if kept.row.version != version {
            return Err(Refusal::Moved);
        }
        if due && self.now < kept.row.expires_at {
            return Err(Refusal::NotDue);
        }
        let state = match kept.row.state.after(arrow) {
            Move::To(state) => state,
            Move::Repeat => return Err(Refusal::Repeat),
            Move::Forbidden => return Err(Refusal::Moved),
        };
        let mut kept = kept.clone();
        kept.row.state = state;
        kept.row.version = version.wrapping_add(1);
        self.holds.set(id, Some(kept));
        Ok(())
    }

    fn renew_hold(
        &mut self,
        id: HoldId,
        version: u32,
        expires_at: WallMillis,
    ) -> Result<(), Refusal> {
        let kept = self.holds.get(&id).ok_or(Refusal::Absent)?;
        if kept.row.version != version || kept.row.state.is_terminal() {
            return Err(Refusal::Moved);
        }
        let mut kept = kept.clone();
        kept.row.version = version.wrapping_add(1);
        kept.row.expires_at = expires_at;
        self.holds.set(id, Some(kept));
        Ok(())
    }

    fn post(&mut self, entry: &Entry, part: &Part) -> Result<(), Refusal> {
        if self.entries.get(&entry.id()).is_some() {
            return Err(Refusal::Repeat);
        }
        let kept = KeptEntry {
            entry: entry.clone(),
            tenant: part.tenant,
            job: part.job,
        };
        self.entries.set(entry.id(), Some(Some(kept)));
        // What is held of a payer counts as the payer's credit does.
        let known = |posting: &Posting| {
            let key = AccountKey::of(posting.account, part.tenant);
            self.balances.get(&key).map(|balance| balance.unit)
        };
        let unit = entry
            .unit()
            .or_else(|| entry.postings().iter().find_map(known));
        for posting in entry.postings() {
            let key = AccountKey::of(posting.account, part.tenant);
            let had = self.balances.get(&key).copied().unwrap_or(Balance {
                tenant: part.tenant,
                unit: unit.unwrap_or(Unit::Usd),
                units: 0,
                version: 0,
                closed: false,
            });
            if let Account::Credit(_) | Account::Held(_) = posting.account {
                if unit.is_some_and(|unit| unit != had.unit) {
                    return Err(Refusal::Broken);
                }
                let comes_in = entry.kind() == EntryKind::Transfer && posting.by > Delta::NONE;
                if had.closed && comes_in && entry.corrects().is_none() {
                    return Err(Refusal::Absent);
                }
            }
            let units = had.units.checked_add(posting.by.units());
            let fits = |units: &i64| !posting.account.is_guarded() || *units >= 0;
            let units = units.filter(fits).ok_or(match posting.account {
                Account::Credit(id) => Refusal::Short(Pot::Account(id)),
                Account::Outside(_)
                | Account::Promo(_)
                | Account::Refunds(_)
                | Account::OperatorLoss(_)
                | Account::Held(_)
                | Account::Revenue(_)
                | Account::UpstreamCost
                | Account::Payable
                | Account::Overrun
                | Account::Unresolved(_)
                | Account::InDoubt(_) => Refusal::Broken,
            })?;
            let balance = Balance {
                units,
                version: had.version.wrapping_add(1),
                ..had
            };
            self.balances.set(key, Some(balance));
        }
        Ok(())
    }

    fn limit(&mut self, key: WindowKey, limit: Amount) -> Result<(), Refusal> {
        if !self.budgets.contains_key(&key.budget) {
            return Err(Refusal::Absent);
        }
        let row = self
            .windows
            .get(&key)
            .ok_or(Refusal::Absent)?
            .limited(limit);
        self.limits.set(key.budget, Some(limit));
        self.windows.set(key, Some(row));
        Ok(())
    }
}
