//! The store of the simulation: rows in memory, one transaction after the other, undone as a whole
//! if a write of it is refused or fails. It knows guarded writes and nothing of what they are for.

mod reply;

use crate::ledger::amount::{Amount, Delta};
use crate::ledger::budget::Budget;
use crate::ledger::lease::LOST_AFTER_MS;
use crate::ledger::posting::{Account, Entry};
use crate::ledger::row::{
    Arrow, Change, Guard, HoldRow, HoldState, LeaseRow, Move, Pot, UsageRow, WindowRow,
};
use crate::ledger::step::Command;
use crate::ledger::window::{Window, WindowKey};
use crate::ledger::write::{Facts, LeaseThen, LeaseWhen, Present, Refusal, Reply, Write};
use std::collections::{BTreeMap, BTreeSet};
use tollkeep_types::{BudgetId, EntryId, HoldId, LeaseId, ReplicaId, WallMillis};

/// All rows.
#[derive(Debug, Default)]
pub struct Store {
    pub budgets: BTreeMap<BudgetId, Budget>,
    /// Those that were ended. What was taken of them stays.
    pub ended: BTreeSet<BudgetId>,
    pub latest: BTreeMap<BudgetId, WallMillis>,
    pub windows: BTreeMap<WindowKey, WindowRow>,
    pub buckets: BTreeMap<(WindowKey, WallMillis), Amount>,
    pub leases: BTreeMap<LeaseId, LeaseRow>,
    pub holds: BTreeMap<HoldId, HoldRow>,
    pub usage: BTreeMap<HoldId, UsageRow>,
    pub entries: BTreeSet<EntryId>,
    pub balances: BTreeMap<Account, i128>,
    pub warned: BTreeSet<(WindowKey, u8)>,
    /// The epoch, and the process that began it.
    pub epochs: BTreeMap<ReplicaId, (u64, u64)>,
    now: WallMillis,
    seen: WallMillis,
    undo: Vec<Undo>,
    /// After so many more writes the next one fails.
    fails_in: Option<usize>,
    /// What it was given when, if anybody wants to know.
    pub given: Option<Vec<(Command, WallMillis)>>,
}

#[derive(Debug)]
enum Undo {
    Latest(BudgetId, Option<WallMillis>),
    Limit(BudgetId, Amount),
    Window(WindowKey, Option<WindowRow>),
    Bucket(WindowKey, WallMillis, Option<Amount>),
    Lease(LeaseId, Option<LeaseRow>),
    Hold(HoldId, Option<HoldRow>),
    Usage(HoldId, Option<UsageRow>),
    Entry(EntryId),
    Balance(Account, Option<i128>),
    Warned(WindowKey, u8),
    Epoch(ReplicaId, Option<(u64, u64)>),
}

/// Sets a row and remembers what it was.
macro_rules! set {
    ($store:ident, $table:ident, $undo:expr, $key:expr, $row:expr) => {{
        let had = $store.$table.insert($key, $row);
        $store.undo.push($undo(had));
    }};
}

impl Facts for Store {
    fn now(&self) -> WallMillis {
        self.now
    }

    fn present(&self, budget: BudgetId) -> Option<Present> {
        if self.ended.contains(&budget) {
            return None;
        }
        self.past(budget)
    }

    fn past(&self, budget: BudgetId) -> Option<Present> {
        let window = &self.budgets.get(&budget)?.window;
        let start = window.current(self.seen, self.latest.get(&budget).copied());
        Some(Present {
            key: WindowKey { budget, start },
            bucket: window.bucket_of(self.seen),
            floor: window.floor_at(self.seen),
        })
    }
}

impl Store {
    /// One transaction at this time of its clock. With `fails_at` that write fails, or the sync if
    /// there are fewer: everything is undone, and nobody is answered.
    pub fn run(
        &mut self,
        command: &Command,
        now: WallMillis,
        fails_at: Option<usize>,
    ) -> Option<Reply> {
        self.now = now;
        self.seen = self.seen.max(now);
        if let Some(given) = &mut self.given {
            given.push((command.clone(), now));
        }
        self.undo.clear();
        self.fails_in = fails_at;
        let refusal = match command.plan(self) {
            Ok(writes) => self.apply_all(&writes).err(),
            Err(refusal) => Some(refusal),
        };
        if refusal.is_some() || fails_at.is_some() {
            self.roll_back(0);
        }
        if fails_at.is_some() {
            return None;
        }
        Some(self.reply(command, refusal))
    }

    fn apply_all(&mut self, writes: &[Write]) -> Result<(), Refusal> {
        for write in writes {
            match &mut self.fails_in {
                Some(0) => return Err(Refusal::Broken),
                Some(left) => *left -= 1,
                None => {}
            }
            self.apply(write)?;
        }
        Ok(())
    }

    fn roll_back(&mut self, to: usize) {
        while self.undo.len() > to {
            let Some(undo) = self.undo.pop() else {
                return;
            };
            match undo {
                Undo::Latest(key, had) => put_back(&mut self.latest, key, had),
                Undo::Limit(key, had) => {
                    if let Some(budget) = self.budgets.get_mut(&key) {
                        budget.limit = had;
                    }
                }
                Undo::Window(key, had) => put_back(&mut self.windows, key, had),
                Undo::Bucket(key, at, had) => put_back(&mut self.buckets, (key, at), had),
                Undo::Lease(key, had) => put_back(&mut self.leases, key, had),
                Undo::Hold(key, had) => put_back(&mut self.holds, key, had),
                Undo::Usage(key, had) => put_back(&mut self.usage, key, had),
                Undo::Entry(key) => {
                    self.entries.remove(&key);
                }
                Undo::Balance(key, had) => put_back(&mut self.balances, key, had),
                Undo::Warned(key, percent) => {
                    self.warned.remove(&(key, percent));
                }
                Undo::Epoch(key, had) => put_back(&mut self.epochs, key, had),
            }
        }
    }

    fn apply(&mut self, write: &Write) -> Result<(), Refusal> {
        match write {
            Write::Open { key, floor } => self.open(*key, *floor),
            Write::Window {
                key,
                change,
                guard,
                bucket,
            } => self.change_window(*key, *change, *guard, *bucket),
            Write::NewLease(row) => self.new_lease(row),
            Write::Lease { id, when, then } => self.change_lease(*id, *when, *then),
            Write::NewHold(row) => self.new_hold(row),
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
            Write::Usage(row) => self.new_usage(row),
            Write::CorrectUsage {
                hold,
                evidence,
                charge,
                adds,
            } => {
                let row = self.usage.get(hold).ok_or(Refusal::Absent)?;
                let row = evidence.applied(row, *charge, adds);
                let row = row.ok_or(Refusal::Moved)?;
                set!(self, usage, |had| Undo::Usage(*hold, had), *hold, row);
                Ok(())
            }
            Write::Entry(entry) => self.post(entry),
            Write::Recall(key) => self.recall(*key),
            Write::Warn { key, percent } => {
                if !self.warned.insert((*key, *percent)) {
                    return Err(Refusal::Repeat);
                }
                self.undo.push(Undo::Warned(*key, *percent));
                Ok(())
            }
            Write::Limit { key, limit } => self.limit(*key, *limit),
            Write::Join { replica, boot } => {
                self.join(*replica, *boot);
                Ok(())
            }
            Write::Either(first, second) => {
                let mark = self.undo.len();
                if self.apply_all(first).is_ok() {
                    return Ok(());
                }
                self.roll_back(mark);
                self.apply_all(second)
            }
        }
    }

    fn new_lease(&mut self, row: &LeaseRow) -> Result<(), Refusal> {
        if self.leases.contains_key(&row.id) {
            return Err(Refusal::Repeat);
        }
        set!(
            self,
            leases,
            |had| Undo::Lease(row.id, had),
            row.id,
            row.clone()
        );
        Ok(())
    }

    fn new_hold(&mut self, row: &HoldRow) -> Result<(), Refusal> {
        if self.holds.contains_key(&row.id) {
            return Err(Refusal::Repeat);
        }
        set!(
            self,
            holds,
            |had| Undo::Hold(row.id, had),
            row.id,
            row.clone()
        );
        Ok(())
    }

    fn new_usage(&mut self, row: &UsageRow) -> Result<(), Refusal> {
        if self.usage.contains_key(&row.hold) {
            return Err(Refusal::Repeat);
        }
        set!(
            self,
            usage,
            |had| Undo::Usage(row.hold, had),
            row.hold,
            row.clone()
        );
        Ok(())
    }

    fn recall(&mut self, key: WindowKey) -> Result<(), Refusal> {
        let row = self.windows.get(&key).ok_or(Refusal::Absent)?;
        let row = WindowRow {
            recall: row.recall.wrapping_add(1),
            version: row.version.wrapping_add(1),
            ..row.clone()
        };
        set!(self, windows, |had| Undo::Window(key, had), key, row);
        Ok(())
    }

    fn join(&mut self, replica: ReplicaId, boot: u64) {
        let (epoch, by) = self.epochs.get(&replica).copied().unwrap_or_default();
        if by != boot || epoch == 0 {
            let next = (epoch + 1, boot);
            set!(self, epochs, |had| Undo::Epoch(replica, had), replica, next);
        }
    }

    fn open(&mut self, key: WindowKey, floor: Option<WallMillis>) -> Result<(), Refusal> {
        let budget = self.budgets.get(&key.budget).ok_or(Refusal::Absent)?;
        if !self.windows.contains_key(&key) {
            let row = WindowRow::new(budget.enforcement, budget.limit);
            set!(self, windows, |had| Undo::Window(key, had), key, row);
            let id = key.budget;
            set!(self, latest, |had| Undo::Latest(id, had), id, key.start);
        }
        let Some(row) = self.windows.get(&key).cloned() else {
            return Err(Refusal::Absent);
        };
        let Some(floor) = floor.filter(|floor| *floor > row.floor) else {
            return Ok(());
        };
        let left: Vec<_> = self
            .buckets
            .range((key, WallMillis(0))..(key, floor))
            .map(|((_, at), amount)| (*at, *amount))
            .collect();
        let mut spent = row.spent;
        for (at, amount) in left {
            spent = spent.above(amount);
            let had = self.buckets.remove(&(key, at));
            self.undo.push(Undo::Bucket(key, at, had));
        }
        let row = WindowRow {
            spent,
            floor,
            version: row.version + 1,
            ..row
        };
        set!(self, windows, |had| Undo::Window(key, had), key, row);
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
        set!(self, windows, |had| Undo::Window(key, had), key, next);
        if let Some(bucket) = bucket.filter(|_| !left) {
            let had = self.buckets.get(&(key, bucket)).copied();
            let sum = had.unwrap_or_default().changed(change.spent);
            let sum = sum.ok_or(Refusal::Broken)?;
            set!(
                self,
                buckets,
                |had| Undo::Bucket(key, bucket, had),
                (key, bucket),
                sum
            );
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
        set!(self, leases, |had| Undo::Lease(id, had), id, row);
        Ok(())
    }

    fn is_overdue(&self, row: &LeaseRow) -> bool {
        let begun_anew = self
            .epochs
            .get(&row.replica)
            .is_some_and(|now| now.0 > row.epoch);
        begun_anew || self.now.0 >= row.expires_at.0.saturating_add(LOST_AFTER_MS)
    }

    fn move_hold(
        &mut self,
        id: HoldId,
        version: u32,
        arrow: Arrow,
        due: bool,
    ) -> Result<(), Refusal> {
        let row = self.holds.get(&id).ok_or(Refusal::Absent)?;
        if row.version != version {
            return Err(Refusal::Moved);
        }
        if due && self.now < row.expires_at {
            return Err(Refusal::NotDue);
        }
        let state = match row.state.after(arrow) {
            Move::To(state) => state,
            Move::Repeat => return Err(Refusal::Repeat),
            Move::Forbidden => return Err(Refusal::Moved),
        };
        let row = HoldRow {
            state,
            version: version + 1,
            ..row.clone()
        };
        set!(self, holds, |had| Undo::Hold(id, had), id, row);
        Ok(())
    }

    fn renew_hold(
        &mut self,
        id: HoldId,
        version: u32,
        expires_at: WallMillis,
    ) -> Result<(), Refusal> {
        let row = self.holds.get(&id).ok_or(Refusal::Absent)?;
        if row.version != version || row.state.is_terminal() {
            return Err(Refusal::Moved);
        }
        let row = HoldRow {
            version: version + 1,
            expires_at,
            ..row.clone()
        };
        set!(self, holds, |had| Undo::Hold(id, had), id, row);
        Ok(())
    }

    fn post(&mut self, entry: &Entry) -> Result<(), Refusal> {
        if !self.entries.insert(entry.id()) {
            return Err(Refusal::Repeat);
        }
        self.undo.push(Undo::Entry(entry.id()));
        for posting in entry.postings() {
            let account = posting.account;
            let had = self.balances.get(&account).copied().unwrap_or(0);
            let sum = had + i128::from(posting.by.units());
            if account.is_guarded() && sum < 0 {
                return Err(match account {
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
                });
            }
            set!(
                self,
                balances,
                |had| Undo::Balance(account, had),
                account,
                sum
            );
        }
        Ok(())
    }

    fn limit(&mut self, key: WindowKey, limit: Amount) -> Result<(), Refusal> {
        let budget = self.budgets.get_mut(&key.budget).ok_or(Refusal::Absent)?;
        let had = std::mem::replace(&mut budget.limit, limit);
        self.undo.push(Undo::Limit(key.budget, had));
        let row = self
            .windows
            .get(&key)
            .ok_or(Refusal::Absent)?
            .limited(limit);
        set!(self, windows, |had| Undo::Window(key, had), key, row);
        Ok(())
    }

    /// The largest time its clock has shown.
    pub const fn seen(&self) -> WallMillis {
        self.seen
    }

    /// Whether a hold's row is open.
    pub fn is_open(row: &HoldRow) -> bool {
        matches!(row.state, HoldState::Held | HoldState::Committed)
    }

    /// Whether the budget of this window rolls.
    pub fn rolls(&self, budget: BudgetId) -> bool {
        let budget = self.budgets.get(&budget);
        budget.is_some_and(|budget| matches!(budget.window, Window::Rolling { .. }))
    }
}

fn put_back<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, had: Option<V>) {
    match had {
        Some(row) => table.insert(key, row),
        None => table.remove(&key),
    };
}
