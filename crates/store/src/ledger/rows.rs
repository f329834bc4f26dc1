//! The rows that a transaction works on.
//!
//! They are locked and loaded before, and written after: so the changes of one row by many commands
//! are one statement. The core judges what a guarded write makes of them; what the database would
//! refuse beside that is a fault of ours.

use super::CallRecord;
use super::kept::{AccountKey, Balance, KeptEntry, KeptHold, KeptUsage, KnownBudget};
use super::table::Table;
use std::collections::BTreeMap;
use std::sync::Arc;
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::judge::{self, Shown};
use tollkeep_ledger::posting::{Account, Entry, Unit};
use tollkeep_ledger::row::{Enforcement, HoldRow, LeaseRow, UsageRow, WindowRow};
use tollkeep_ledger::step::Command;
use tollkeep_ledger::window::WindowKey;
use tollkeep_ledger::write::{Evidence, Facts, Present, Refusal, Reply, Write};
use tollkeep_types::{
    BudgetId, EntryId, HoldId, LeaseId, ReplicaId, RequestId, TenantId, WallMillis,
};

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
    pub(super) holds: Table<HoldId, Box<KeptHold>>,
    pub(super) usage: Table<HoldId, Box<KeptUsage>>,
    /// New ones, and those that are known to be there.
    pub(super) entries: Table<EntryId, Option<Box<KeptEntry>>>,
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
    pub(super) request: Option<(RequestId, u32)>,
    /// Who is called, or was, as far as anything tells.
    pub(super) provider: Option<Arc<str>>,
    /// What is known of the call, of a job that says it.
    pub(super) about: Option<Arc<CallRecord>>,
}

impl Part {
    fn account(&self, account: Account) -> AccountKey {
        AccountKey::of(account, self.tenant, self.provider.as_ref())
    }
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
    /// All of these writes, or none.
    pub(super) fn apply(&mut self, writes: &[Write], part: &Part) -> Result<(), Refusal> {
        judge::write(&mut Parted { rows: self, part }, writes)
    }

    /// The answer to a command, with the rows it names as they are now.
    pub(super) fn reply(&self, command: &Command, refusal: Option<Refusal>) -> Reply {
        judge::reply(self, command, refusal, self.seen)
    }

    const fn mark(&self) -> Mark {
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

    fn go_back(&mut self, mark: Mark) {
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

    /// In what an account counts.
    pub(super) fn unit_of(&self, account: Account) -> &'static str {
        match account {
            Account::Unresolved(budget) | Account::InDoubt(budget) => {
                self.budgets.get(&budget).map_or("usd", |known| known.unit)
            }
            Account::Credit(_) | Account::Held(_) => self
                .balances
                .get(&AccountKey::of(
                    account,
                    TenantId::from_bytes([0; 16]),
                    None,
                ))
                .map_or("usd", |balance| balance.unit.as_str()),
            Account::Outside(unit)
            | Account::Revenue(unit)
            | Account::Promo(unit)
            | Account::Refunds(unit)
            | Account::OperatorLoss(unit) => unit.as_str(),
            Account::UpstreamCost | Account::Payable | Account::Overrun => "usd",
        }
    }
}

impl Shown for Rows {
    fn window(&self, key: WindowKey) -> Option<&WindowRow> {
        self.windows.get(&key)
    }

    fn lease(&self, id: LeaseId) -> Option<&LeaseRow> {
        self.leases.get(&id)
    }

    fn leases(&self) -> impl Iterator<Item = &LeaseRow> {
        self.leases.range(..).map(|(_, row)| row)
    }

    fn hold(&self, id: HoldId) -> Option<&HoldRow> {
        self.holds.get(&id).map(|kept| &kept.row)
    }

    fn holds(&self) -> impl Iterator<Item = &HoldRow> {
        self.holds.range(..).map(|(_, kept)| &kept.row)
    }

    fn epoch(&self, replica: ReplicaId) -> Option<(u64, u64)> {
        self.epochs.get(&replica).copied()
    }
}

/// The rows, in the hands of one job: what it adds is its own.
struct Parted<'a> {
    rows: &'a mut Rows,
    part: &'a Part,
}

impl Facts for Parted<'_> {
    fn now(&self) -> WallMillis {
        self.rows.now
    }

    fn present(&self, budget: BudgetId) -> Option<Present> {
        self.rows.present(budget)
    }

    fn past(&self, budget: BudgetId) -> Option<Present> {
        self.rows.past(budget)
    }
}

impl Shown for Parted<'_> {
    fn window(&self, key: WindowKey) -> Option<&WindowRow> {
        self.rows.window(key)
    }

    fn lease(&self, id: LeaseId) -> Option<&LeaseRow> {
        self.rows.lease(id)
    }

    fn leases(&self) -> impl Iterator<Item = &LeaseRow> {
        self.rows.leases()
    }

    fn hold(&self, id: HoldId) -> Option<&HoldRow> {
        self.rows.hold(id)
    }

    fn holds(&self) -> impl Iterator<Item = &HoldRow> {
        self.rows.holds()
    }

    fn epoch(&self, replica: ReplicaId) -> Option<(u64, u64)> {
        self.rows.epoch(replica)
    }
}

impl judge::Rows for Parted<'_> {
    type Mark = Mark;

    fn mark(&self) -> Mark {
        self.rows.mark()
    }

    fn go_back(&mut self, mark: Mark) {
        self.rows.go_back(mark);
    }

    fn rules(&self, budget: BudgetId) -> Option<(Enforcement, Amount)> {
        let known = self.rows.budgets.get(&budget)?;
        let changed = self.rows.limits.get(&budget).copied();
        Some((known.enforcement, changed.unwrap_or(known.limit)))
    }

    fn set_limit(&mut self, budget: BudgetId, limit: Amount) {
        self.rows.limits.set(budget, Some(limit));
    }

    fn set_window(&mut self, key: WindowKey, row: WindowRow) {
        self.rows.windows.set(key, Some(row));
    }

    fn set_latest(&mut self, key: WindowKey) {
        self.rows.latest.set(key.budget, Some(key.start));
    }

    fn bucket(&self, key: WindowKey, at: WallMillis) -> Option<Amount> {
        self.rows.buckets.get(&(key, at)).copied()
    }

    fn set_bucket(&mut self, key: WindowKey, at: WallMillis, spent: Option<Amount>) {
        self.rows.buckets.set((key, at), spent);
    }

    fn buckets_before(&self, key: WindowKey, floor: WallMillis) -> Vec<(WallMillis, Amount)> {
        let buckets = self.rows.buckets.range((key, WallMillis(0))..(key, floor));
        buckets.map(|((_, at), spent)| (at, *spent)).collect()
    }

    fn set_lease(&mut self, row: LeaseRow) {
        self.rows.leases.set(row.id, Some(row));
    }

    fn add_hold(&mut self, row: HoldRow) {
        let kept = KeptHold {
            tenant: self.part.tenant,
            granted_at: self.rows.seen,
            request: (self.part.request).map(|(id, attempt)| (id.to_string(), attempt)),
            about: self.part.about.clone(),
            row,
        };
        self.rows.holds.set(kept.row.id, Some(Box::new(kept)));
    }

    fn set_hold(&mut self, row: HoldRow) {
        let kept = self.rows.holds.get(&row.id).cloned();
        if let Some(kept) = kept {
            let id = row.id;
            let kept = KeptHold { row, ..*kept };
            self.rows.holds.set(id, Some(Box::new(kept)));
        }
    }

    fn usage(&self, hold: HoldId) -> Option<&UsageRow> {
        self.rows.usage.get(&hold).map(|kept| &kept.row)
    }

    fn add_usage(&mut self, row: UsageRow) {
        let kept = KeptUsage {
            tenant: self.part.tenant,
            provider: self.part.provider.clone(),
            job: self.part.job,
            row,
        };
        self.rows.usage.set(kept.row.hold, Some(Box::new(kept)));
    }

    fn correct_usage(&mut self, row: UsageRow, evidence: Evidence) {
        let id = row.hold;
        let Some(kept) = self.rows.usage.get(&id) else {
            return;
        };
        let (tenant, provider, had) = (kept.tenant, kept.provider.clone(), kept.job);
        // Only its own holder knows the rest of the record.
        let job = match evidence {
            Evidence::Owner | Evidence::OwnerKeeps => self.part.job,
            Evidence::Outside(_) => had,
        };
        let kept = KeptUsage {
            row,
            tenant,
            provider,
            job,
        };
        self.rows.usage.set(id, Some(Box::new(kept)));
    }

    fn has_entry(&self, id: EntryId) -> bool {
        self.rows.entries.get(&id).is_some()
    }

    fn add_entry(&mut self, entry: &Entry) {
        let kept = KeptEntry {
            entry: entry.clone(),
            tenant: self.part.tenant,
            provider: self.part.provider.clone(),
            request: self.part.request.map(|(id, _)| id),
            job: self.part.job,
        };
        self.rows
            .entries
            .set(entry.id(), Some(Some(Box::new(kept))));
    }

    fn balance(&self, account: Account) -> judge::Balance {
        let key = self.part.account(account);
        let had = self.rows.balances.get(&key);
        had.map_or_else(judge::Balance::default, |had| judge::Balance {
            units: had.units,
            unit: Some(had.unit),
            closed: had.closed,
        })
    }

    fn set_balance(&mut self, account: Account, unit: Option<Unit>, units: i64) {
        let key = self.part.account(account);
        let had = self.rows.balances.get(&key).copied().unwrap_or(Balance {
            tenant: self.part.tenant,
            unit: unit.unwrap_or(Unit::Usd),
            units: 0,
            version: 0,
            closed: false,
        });
        let balance = Balance {
            units,
            version: had.version.wrapping_add(1),
            ..had
        };
        self.rows.balances.set(key, Some(balance));
    }

    fn is_warned(&self, key: WindowKey, percent: u8) -> bool {
        self.rows.warned.get(&(key, percent)).is_some()
    }

    fn set_warned(&mut self, key: WindowKey, percent: u8) {
        self.rows.warned.set((key, percent), Some(()));
    }

    fn set_epoch(&mut self, replica: ReplicaId, epoch: u64, boot: u64) {
        self.rows.epochs.set(replica, Some((epoch, boot)));
    }
}
