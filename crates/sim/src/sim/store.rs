//! The store of the simulation: rows in memory, one transaction after the other, undone as a whole
//! if a write of it is refused or fails. It knows guarded writes and nothing of what they are for.

use crate::ledger::amount::Amount;
use crate::ledger::budget::Budget;
use crate::ledger::judge::{self, Balance, Rows, Shown};
use crate::ledger::posting::{Account, Entry, Unit};
use crate::ledger::row::{Enforcement, HoldRow, HoldState, LeaseRow, UsageRow, WindowRow};
use crate::ledger::step::Command;
use crate::ledger::window::{Window, WindowKey};
use crate::ledger::write::{Evidence, Facts, Present, Reply};
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
    pub balances: BTreeMap<Account, i64>,
    pub warned: BTreeSet<(WindowKey, u8)>,
    /// The epoch, and the process that began it.
    pub epochs: BTreeMap<ReplicaId, (u64, u64)>,
    now: WallMillis,
    seen: WallMillis,
    undo: Vec<Undo>,
    /// Counts transactions that changed a row.
    pub changes: u64,
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
    Balance(Account, Option<i64>),
    Warned(WindowKey, u8),
    Epoch(ReplicaId, Option<(u64, u64)>),
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

/// Sets a row and remembers what it was.
macro_rules! set {
    ($store:ident, $table:ident, $undo:expr, $key:expr, $row:expr) => {{
        let had = $store.$table.insert($key, $row);
        $store.undo.push($undo(had));
    }};
}

impl Shown for Store {
    fn window(&self, key: WindowKey) -> Option<&WindowRow> {
        self.windows.get(&key)
    }

    fn lease(&self, id: LeaseId) -> Option<&LeaseRow> {
        self.leases.get(&id)
    }

    fn leases(&self) -> impl Iterator<Item = &LeaseRow> {
        self.leases.values()
    }

    fn hold(&self, id: HoldId) -> Option<&HoldRow> {
        self.holds.get(&id)
    }

    fn holds(&self) -> impl Iterator<Item = &HoldRow> {
        self.holds.values()
    }

    fn epoch(&self, replica: ReplicaId) -> Option<(u64, u64)> {
        self.epochs.get(&replica).copied()
    }
}

impl Rows for Store {
    type Mark = usize;

    fn mark(&self) -> usize {
        self.undo.len()
    }

    fn go_back(&mut self, mark: usize) {
        self.roll_back(mark);
    }

    fn rules(&self, budget: BudgetId) -> Option<(Enforcement, Amount)> {
        let budget = self.budgets.get(&budget)?;
        Some((budget.enforcement, budget.limit))
    }

    fn set_limit(&mut self, id: BudgetId, limit: Amount) {
        if let Some(budget) = self.budgets.get_mut(&id) {
            let had = std::mem::replace(&mut budget.limit, limit);
            self.undo.push(Undo::Limit(id, had));
        }
    }

    fn set_window(&mut self, key: WindowKey, row: WindowRow) {
        set!(self, windows, |had| Undo::Window(key, had), key, row);
    }

    fn set_latest(&mut self, key: WindowKey) {
        let id = key.budget;
        set!(self, latest, |had| Undo::Latest(id, had), id, key.start);
    }

    fn bucket(&self, key: WindowKey, at: WallMillis) -> Option<Amount> {
        self.buckets.get(&(key, at)).copied()
    }

    fn set_bucket(&mut self, key: WindowKey, at: WallMillis, spent: Option<Amount>) {
        let had = match spent {
            Some(spent) => self.buckets.insert((key, at), spent),
            None => self.buckets.remove(&(key, at)),
        };
        self.undo.push(Undo::Bucket(key, at, had));
    }

    fn buckets_before(&self, key: WindowKey, floor: WallMillis) -> Vec<(WallMillis, Amount)> {
        let buckets = self.buckets.range((key, WallMillis(0))..(key, floor));
        buckets.map(|((_, at), spent)| (*at, *spent)).collect()
    }

    fn set_lease(&mut self, row: LeaseRow) {
        let id = row.id;
        set!(self, leases, |had| Undo::Lease(id, had), id, row);
    }

    fn add_hold(&mut self, row: HoldRow) {
        self.set_hold(row);
    }

    fn set_hold(&mut self, row: HoldRow) {
        let id = row.id;
        set!(self, holds, |had| Undo::Hold(id, had), id, row);
    }

    fn usage(&self, hold: HoldId) -> Option<&UsageRow> {
        self.usage.get(&hold)
    }

    fn add_usage(&mut self, row: UsageRow) {
        let id = row.hold;
        set!(self, usage, |had| Undo::Usage(id, had), id, row);
    }

    fn correct_usage(&mut self, row: UsageRow, _: Evidence) {
        self.add_usage(row);
    }

    fn has_entry(&self, id: EntryId) -> bool {
        self.entries.contains(&id)
    }

    fn add_entry(&mut self, entry: &Entry) {
        self.entries.insert(entry.id());
        self.undo.push(Undo::Entry(entry.id()));
    }

    fn balance(&self, account: Account) -> Balance {
        let units = self.balances.get(&account).copied();
        Balance {
            units: units.unwrap_or(0),
            ..Balance::default()
        }
    }

    fn set_balance(&mut self, account: Account, _: Option<Unit>, units: i64) {
        set!(
            self,
            balances,
            |had| Undo::Balance(account, had),
            account,
            units
        );
    }

    fn is_warned(&self, key: WindowKey, percent: u8) -> bool {
        self.warned.contains(&(key, percent))
    }

    fn set_warned(&mut self, key: WindowKey, percent: u8) {
        self.warned.insert((key, percent));
        self.undo.push(Undo::Warned(key, percent));
    }

    fn set_epoch(&mut self, replica: ReplicaId, epoch: u64, boot: u64) {
        let next = (epoch, boot);
        set!(self, epochs, |had| Undo::Epoch(replica, had), replica, next);
    }
}

impl Store {
    /// One transaction at this time of its clock. One that fails, at a write or at the sync, is undone
    /// as a whole, and nobody is answered.
    pub fn run(&mut self, command: &Command, now: WallMillis, fails: bool) -> Option<Reply> {
        self.now = now;
        self.seen = self.seen.max(now);
        if let Some(given) = &mut self.given {
            given.push((command.clone(), now));
        }
        self.undo.clear();
        let writes = command.plan(self);
        let refusal = writes.and_then(|writes| judge::write(self, &writes)).err();
        if fails {
            self.roll_back(0);
            return None;
        }
        self.changes += u64::from(!self.undo.is_empty());
        Some(judge::reply(self, command, refusal, self.seen))
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
