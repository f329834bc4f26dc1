//! What a guarded write makes of rows, or why it is refused: one judge for every store.
//!
//! A store hands its rows over, one transaction at a time, and does what the judge says of them. What
//! is refused is undone by going back to a mark.

mod truth;

use crate::amount::{Amount, Delta};
use crate::lease::LOST_AFTER_MS;
use crate::posting::{Account, Entry, EntryKind, Unit};
use crate::row::{
    Arrow, Change, Enforcement, Guard, HoldRow, LeaseRow, LeaseState, Move, Pot, UsageRow,
    WindowRow,
};
use crate::step::{Command, WishFrom};
use crate::window::WindowKey;
use crate::write::{Evidence, Facts, LeaseThen, LeaseWhen, Refusal, Reply, Write};
use tollkeep_types::{BudgetId, EntryId, HoldId, LeaseId, ReplicaId, WallMillis};

/// What can be seen of the rows of a transaction.
pub trait Shown: Facts + Sized {
    fn window(&self, key: WindowKey) -> Option<&WindowRow>;
    fn lease(&self, id: LeaseId) -> Option<&LeaseRow>;
    fn leases(&self) -> impl Iterator<Item = &LeaseRow>;
    fn hold(&self, id: HoldId) -> Option<&HoldRow>;
    fn holds(&self) -> impl Iterator<Item = &HoldRow>;
    /// The epoch of a replica, and the process that began it.
    fn epoch(&self, replica: ReplicaId) -> Option<(u64, u64)>;
}

/// What stands on an account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balance {
    pub units: i64,
    /// What it counts in for its whole life, where that is known.
    pub unit: Option<Unit>,
    /// Nothing more may be paid into it.
    pub closed: bool,
}

/// The rows of a transaction. What is set can be undone by going back.
pub trait Rows: Shown {
    /// A place to go back to.
    type Mark: Copy;

    fn mark(&self) -> Self::Mark;
    fn go_back(&mut self, mark: Self::Mark);

    /// How a budget is kept, and its limit, as they are in this transaction.
    fn rules(&self, budget: BudgetId) -> Option<(Enforcement, Amount)>;
    fn set_limit(&mut self, budget: BudgetId, limit: Amount);

    fn set_window(&mut self, key: WindowKey, row: WindowRow);
    /// This window is the latest of its budget.
    fn set_latest(&mut self, key: WindowKey);

    fn bucket(&self, key: WindowKey, at: WallMillis) -> Option<Amount>;
    fn set_bucket(&mut self, key: WindowKey, at: WallMillis, spent: Option<Amount>);
    /// Buckets of a window that are before this one.
    fn buckets_before(&self, key: WindowKey, floor: WallMillis) -> Vec<(WallMillis, Amount)>;

    fn set_lease(&mut self, row: LeaseRow);
    /// A row that was not there.
    fn add_hold(&mut self, row: HoldRow);
    fn set_hold(&mut self, row: HoldRow);

    fn usage(&self, hold: HoldId) -> Option<&UsageRow>;
    fn add_usage(&mut self, row: UsageRow);
    /// The same record, after this evidence.
    fn correct_usage(&mut self, row: UsageRow, evidence: Evidence);

    fn has_entry(&self, id: EntryId) -> bool;
    fn add_entry(&mut self, entry: &Entry);
    fn balance(&self, account: Account) -> Balance;
    /// The unit is that of the entry, and stays what it was.
    fn set_balance(&mut self, account: Account, unit: Option<Unit>, units: i64);

    fn is_warned(&self, key: WindowKey, percent: u8) -> bool;
    fn set_warned(&mut self, key: WindowKey, percent: u8);

    fn set_epoch(&mut self, replica: ReplicaId, epoch: u64, boot: u64);
}

/// All of these writes, or none.
///
/// # Errors
/// The first one that is refused.
pub fn write<R: Rows>(rows: &mut R, writes: &[Write]) -> Result<(), Refusal> {
    let mark = rows.mark();
    let outcome = writes.iter().try_for_each(|write| one(rows, write));
    if outcome.is_err() {
        rows.go_back(mark);
    }
    outcome
}

fn one<R: Rows>(rows: &mut R, what: &Write) -> Result<(), Refusal> {
    match what {
        Write::Open { key, floor } => open(rows, *key, *floor),
        Write::Window {
            key,
            change,
            guard,
            bucket,
        } => change_window(rows, *key, (*change, *guard), *bucket),
        Write::NewLease(row) => {
            is_new(rows.lease(row.id).is_none())?;
            rows.set_lease((**row).clone());
            Ok(())
        }
        Write::Lease { id, when, then } => change_lease(rows, *id, *when, *then),
        Write::NewHold(row) => {
            is_new(rows.hold(row.id).is_none())?;
            rows.add_hold((**row).clone());
            Ok(())
        }
        Write::Hold {
            id,
            version,
            arrow,
            due,
        } => move_hold(rows, (*id, *version), *arrow, *due),
        Write::RenewHold {
            id,
            version,
            expires_at,
        } => renew_hold(rows, (*id, *version), *expires_at),
        Write::Usage(row) => {
            is_new(rows.usage(row.hold).is_none())?;
            rows.add_usage((**row).clone());
            Ok(())
        }
        Write::CorrectUsage {
            hold,
            evidence,
            charge,
            adds,
        } => {
            let row = rows.usage(*hold).ok_or(Refusal::Absent)?;
            let row = evidence.applied(row, **charge, adds);
            rows.correct_usage(row.ok_or(Refusal::Moved)?, *evidence);
            Ok(())
        }
        Write::Entry(entry) => post(rows, entry),
        Write::Recall(key) => recall(rows, *key),
        Write::Warn { key, percent } => {
            is_new(!rows.is_warned(*key, *percent))?;
            rows.set_warned(*key, *percent);
            Ok(())
        }
        Write::Limit { key, limit } => set_limit(rows, *key, *limit),
        Write::Join { replica, boot } => {
            join(rows, *replica, *boot);
            Ok(())
        }
        Write::Spend(spend) => {
            write(rows, &spend.of_living()).or_else(|_| one(rows, &spend.of_lost()))
        }
        Write::Truth(truth) => truth::borne(rows, truth),
        Write::Either(first, second) => write(rows, first).or_else(|_| write(rows, second)),
    }
}

const fn is_new(is: bool) -> Result<(), Refusal> {
    if is { Ok(()) } else { Err(Refusal::Repeat) }
}

fn open<R: Rows>(rows: &mut R, key: WindowKey, floor: Option<WallMillis>) -> Result<(), Refusal> {
    let (enforcement, limit) = rows.rules(key.budget).ok_or(Refusal::Absent)?;
    let row = match rows.window(key) {
        Some(row) if row.limit == limit && row.enforcement == enforcement => row.clone(),
        // The budget was changed since.
        Some(row) => {
            let row = WindowRow {
                enforcement,
                ..row.limited(limit)
            };
            rows.set_window(key, row.clone());
            row
        }
        None => {
            let row = WindowRow::new(enforcement, limit);
            rows.set_window(key, row.clone());
            rows.set_latest(key);
            row
        }
    };
    let Some(floor) = floor.filter(|floor| *floor > row.floor) else {
        return Ok(());
    };
    let mut spent = row.spent;
    for (at, amount) in rows.buckets_before(key, floor) {
        spent = spent.above(amount);
        rows.set_bucket(key, at, None);
    }
    let row = WindowRow {
        spent,
        floor,
        version: row.version.wrapping_add(1),
        ..row
    };
    rows.set_window(key, row);
    Ok(())
}

fn change_window<R: Rows>(
    rows: &mut R,
    key: WindowKey,
    what: (Change, Guard),
    bucket: Option<WallMillis>,
) -> Result<(), Refusal> {
    let (change, guard) = what;
    let row = rows.window(key).ok_or(Refusal::Absent)?;
    let has_left = bucket.is_some_and(|bucket| bucket < row.floor);
    let change = Change {
        spent: if has_left { Delta::NONE } else { change.spent },
        ..change
    };
    let short = match guard {
        Guard::Fits => Refusal::Short(Pot::Window(key)),
        Guard::Covered | Guard::AsFar => Refusal::Broken,
    };
    let change = row.as_far(change, guard);
    let next = row.changed(change, guard).ok_or(short)?;
    rows.set_window(key, next);
    if let Some(bucket) = bucket.filter(|_| !has_left) {
        let had = rows.bucket(key, bucket).unwrap_or_default();
        let sum = had.changed(change.spent).ok_or(Refusal::Broken)?;
        rows.set_bucket(key, bucket, Some(sum));
    }
    Ok(())
}

fn change_lease<R: Rows>(
    rows: &mut R,
    id: LeaseId,
    when: LeaseWhen,
    then: LeaseThen,
) -> Result<(), Refusal> {
    let row = rows.lease(id).ok_or(Refusal::Absent)?;
    if !when.holds_of(row) {
        return Err(Refusal::Moved);
    }
    if when.overdue && !is_overdue(rows, row) {
        return Err(Refusal::NotDue);
    }
    let row = then.applied(row).ok_or(Refusal::Broken)?;
    rows.set_lease(row);
    Ok(())
}

/// Whether a slice may be taken for lost: its owner has begun anew, or did not renew it for long.
fn is_overdue<R: Shown>(rows: &R, row: &LeaseRow) -> bool {
    let epoch = rows.epoch(row.replica);
    let begun_anew = epoch.is_some_and(|(now, _)| now > row.epoch);
    begun_anew || rows.now().0 >= row.expires_at.0.saturating_add(LOST_AFTER_MS)
}

fn move_hold<R: Rows>(
    rows: &mut R,
    which: (HoldId, u32),
    arrow: Arrow,
    due: bool,
) -> Result<(), Refusal> {
    let (id, version) = which;
    let row = rows.hold(id).ok_or(Refusal::Absent)?;
    if row.version != version {
        return Err(Refusal::Moved);
    }
    if due && rows.now() < row.expires_at {
        return Err(Refusal::NotDue);
    }
    let state = match row.state.after(arrow) {
        Move::To(state) => state,
        Move::Repeat => return Err(Refusal::Repeat),
        Move::Forbidden => return Err(Refusal::Moved),
    };
    let row = HoldRow {
        state,
        version: version.wrapping_add(1),
        ..row.clone()
    };
    rows.set_hold(row);
    Ok(())
}

fn renew_hold<R: Rows>(
    rows: &mut R,
    which: (HoldId, u32),
    expires_at: WallMillis,
) -> Result<(), Refusal> {
    let (id, version) = which;
    let row = rows.hold(id).ok_or(Refusal::Absent)?;
    if row.version != version || row.state.is_terminal() {
        return Err(Refusal::Moved);
    }
    let row = HoldRow {
        version: version.wrapping_add(1),
        expires_at,
        ..row.clone()
    };
    rows.set_hold(row);
    Ok(())
}

fn post<R: Rows>(rows: &mut R, entry: &Entry) -> Result<(), Refusal> {
    is_new(!rows.has_entry(entry.id()))?;
    rows.add_entry(entry);
    // Between two accounts of a payer, it is what the first of them counts in.
    let mut postings = entry.postings().iter();
    let of_payer = || postings.find_map(|posting| rows.balance(posting.account).unit);
    let unit = entry.unit().or_else(of_payer);
    for posting in entry.postings() {
        let account = posting.account;
        let had = rows.balance(account);
        if let Account::Credit(_) | Account::Held(_) = account {
            if unit.zip(had.unit).is_some_and(|(unit, had)| unit != had) {
                return Err(Refusal::Broken);
            }
            let comes_in = entry.kind() == EntryKind::Transfer && posting.by > Delta::NONE;
            if had.closed && comes_in && entry.corrects().is_none() {
                return Err(Refusal::Absent);
            }
        }
        let units = had.units.checked_add(posting.by.units());
        let units = units.filter(|units| !account.is_guarded() || *units >= 0);
        let short = match account {
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
        };
        rows.set_balance(account, unit, units.ok_or(short)?);
    }
    Ok(())
}

fn recall<R: Rows>(rows: &mut R, key: WindowKey) -> Result<(), Refusal> {
    let row = rows.window(key).ok_or(Refusal::Absent)?;
    let row = WindowRow {
        recall: row.recall.wrapping_add(1),
        version: row.version.wrapping_add(1),
        ..row.clone()
    };
    rows.set_window(key, row);
    Ok(())
}

fn set_limit<R: Rows>(rows: &mut R, key: WindowKey, limit: Amount) -> Result<(), Refusal> {
    rows.rules(key.budget).ok_or(Refusal::Absent)?;
    let row = rows.window(key).ok_or(Refusal::Absent)?.limited(limit);
    rows.set_limit(key.budget, limit);
    rows.set_window(key, row);
    Ok(())
}

fn join<R: Rows>(rows: &mut R, replica: ReplicaId, boot: u64) {
    let (epoch, by) = rows.epoch(replica).unwrap_or_default();
    if by != boot || epoch == 0 {
        rows.set_epoch(replica, epoch.wrapping_add(1), boot);
    }
}

/// Rows that an answer shows.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub windows: Vec<WindowKey>,
    pub leases: Vec<LeaseId>,
    pub hold: Option<HoldId>,
}

/// The rows that the answer to a command shows.
pub fn named(command: &Command, facts: &dyn Facts) -> Named {
    let present = |budget: BudgetId| facts.present(budget).map(|present| present.key);
    let mut named = Named::default();
    match command {
        Command::Look(budget) | Command::Limit { budget, .. } => {
            named.windows.extend(present(*budget));
        }
        Command::Take { budget, lease, .. } => {
            named.windows.extend(present(*budget));
            named.leases.push(*lease);
        }
        Command::Refill { lease, .. } | Command::Renew(lease) | Command::Return { lease, .. } => {
            named.windows.push(lease.key);
            named.leases.push(lease.id);
        }
        Command::Grant(grant) => {
            named
                .windows
                .extend(grant.wishes.iter().filter_map(|wish| match wish.from {
                    WishFrom::Budget(budget) => present(budget),
                    WishFrom::Account(_) => None,
                }));
            named.hold = Some(grant.hold);
        }
        Command::Confirm { hold, .. }
        | Command::RenewHold { hold, .. }
        | Command::Bury { hold, .. } => named.hold = Some(*hold),
        Command::End { ended, .. } => {
            named
                .windows
                .extend(ended.slices.iter().map(|cover| cover.key));
            let strict = ended.strict.iter();
            named
                .windows
                .extend(strict.filter_map(|cover| key_of(cover.pot)));
            named
                .leases
                .extend(ended.slices.iter().map(|cover| cover.lease));
            // A hold that slices alone bore has no row.
            named.hold = Some(ended.hold).filter(|_| !ended.strict.is_empty());
        }
        Command::Expire(row) => {
            let covers = row.covers.iter();
            named
                .windows
                .extend(covers.filter_map(|cover| key_of(cover.pot)));
            named.hold = Some(row.id);
        }
        Command::Lose(row) | Command::Resolve { lease: row, .. } => {
            named.windows.push(row.key);
            named.leases.push(row.id);
        }
        Command::Recall(key) | Command::Warn { key, .. } => named.windows.push(*key),
        Command::Join { .. }
        | Command::Correct { .. }
        | Command::Transfer { .. }
        | Command::Refund { .. }
        | Command::Due => {}
    }
    named
}

const fn key_of(pot: Pot) -> Option<WindowKey> {
    match pot {
        Pot::Window(key) => Some(key),
        Pot::Account(_) => None,
    }
}

/// The answer to a command, at this time, with the rows it names as they are now.
pub fn reply<R: Shown>(
    rows: &R,
    command: &Command,
    refusal: Option<Refusal>,
    seen: WallMillis,
) -> Reply {
    let named = named(command, rows);
    let windows = named.windows.into_iter();
    let leases = named.leases.into_iter();
    let mut reply = Reply {
        refusal,
        now: seen,
        windows: windows
            .filter_map(|key| Some((key, rows.window(key)?.clone())))
            .collect(),
        leases: leases.filter_map(|id| rows.lease(id).cloned()).collect(),
        hold: (named.hold).and_then(|id| rows.hold(id).cloned().map(Box::new)),
        ..Reply::default()
    };
    if let Command::Join { replica, .. } = command {
        reply.epoch = rows.epoch(*replica).map_or(0, |(epoch, _)| epoch);
    }
    if matches!(command, Command::Due) {
        let holds = rows.holds();
        let is_due = |row: &&HoldRow| !row.state.is_terminal() && rows.now() >= row.expires_at;
        reply.due_holds = holds.filter(is_due).cloned().collect();
        let is_due = |row: &&LeaseRow| row.state == LeaseState::Active && is_overdue(rows, row);
        reply.due_leases = rows.leases().filter(is_due).cloned().collect();
    }
    reply
}
