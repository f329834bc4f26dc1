//! What each step of the ledger writes: one command, one transaction.
//!
//! A command says what is wanted. It is planned inside its transaction, since the window and its
//! times are of the store's clock; the plan is a list of guarded writes, all or none.

use crate::amount::{Amount, Charge, Delta, Measure};
use crate::hold::Ended;
use crate::lease::TTL_MS;
use crate::posting::{Account, Entry, EntryKind, Posting, Unit, entry_of};
use crate::row::{
    Arrow, Change, Cover, Covers, Guard, HoldRow, HoldState, LeaseRow, LeaseState, Pot, UsageRow,
};
use crate::window::WindowKey;
use crate::write::{Facts, LeaseThen, LeaseWhen, Refusal, Write};
use smallvec::SmallVec;
use std::sync::Arc;
use tollkeep_types::{AccountId, BudgetId, EntryId, HoldId, LeaseId, ReplicaId, WallMillis};

mod ending;
mod lost;
mod spend;
mod truth;

/// What is wanted of a pot, before its window is known.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Wish {
    pub from: WishFrom,
    pub measure: Measure,
    pub amount: Amount,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum WishFrom {
    Budget(BudgetId),
    Account(AccountId),
}

/// A replica in one of its lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    pub replica: ReplicaId,
    pub epoch: u64,
}

/// A wish for a hold in the store.
#[derive(Clone, Debug)]
pub struct Grant {
    pub hold: HoldId,
    pub life: Life,
    pub bound: Charge,
    /// What its upstream may ask at most, where that is another amount.
    pub owed: Option<Amount>,
    pub wishes: SmallVec<[Wish; 4]>,
    /// Held, or committed at once: what is durable before the first byte has to be committed.
    pub state: HoldState,
    pub ttl_ms: u64,
}

/// A lease as its replica knows it.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRef {
    pub id: LeaseId,
    pub key: WindowKey,
    pub epoch: u64,
    pub serial: u32,
}

/// What an upstream asks for a call whose cost was not known, where that is another amount than is
/// charged for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked {
    /// What was booked as its cost so far, and what beyond its bound.
    pub within: Amount,
    pub overrun: Amount,
    pub truth: Amount,
}

/// What the store is asked to do, in one transaction each. Most are ends of calls, thousands a second: what
/// is large in others stands elsewhere.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin another life. `boot` is this process's own number, so that a repeat begins none.
    Join {
        replica: ReplicaId,
        boot: u64,
    },
    /// Open the present window and show it.
    Look(BudgetId),
    /// Take a first slice, of the present window.
    Take {
        lease: LeaseId,
        budget: BudgetId,
        life: Life,
        amount: Amount,
    },
    /// Take more into a lease whose window is still the present one.
    Refill {
        lease: LeaseRef,
        amount: Amount,
    },
    Renew(LeaseRef),
    Return {
        lease: LeaseRef,
        amount: Amount,
    },
    Grant(Box<Grant>),
    /// Held becomes committed: from here on it may be sent.
    Confirm {
        hold: HoldId,
        version: u32,
    },
    RenewHold {
        hold: HoldId,
        version: u32,
        ttl_ms: u64,
    },
    End {
        ended: Arc<Ended>,
        /// The version of the hold's row, if it has one.
        version: u32,
    },
    /// A grant was refused, after it had been given more than once: none that is still under way
    /// may be done later.
    Bury {
        hold: HoldId,
        life: Life,
    },
    /// The hold's time is over.
    Expire(Box<HoldRow>),
    /// The lease was not renewed, or its replica has begun anew.
    Lose(Box<LeaseRow>),
    /// Somebody has looked after a lost lease: so much of what it has left was used, and the rest goes
    /// back to its window, once.
    Resolve {
        lease: Box<LeaseRow>,
        used: Amount,
        /// When it was lost, by the store's clock.
        lost_at: WallMillis,
    },
    /// Evidence of a cost that was not known.
    Correct {
        usage: Box<UsageRow>,
        actual: Box<Charge>,
        /// `None`: its upstream asks what is charged.
        asked: Option<Box<Asked>>,
    },
    Recall(WindowKey),
    Warn {
        key: WindowKey,
        percent: u8,
    },
    Limit {
        budget: BudgetId,
        limit: Amount,
    },
    /// Something comes into a credit account, or leaves it.
    Transfer {
        entry: EntryId,
        account: AccountId,
        by: Delta,
        with: Account,
    },
    /// Gives back of what a call was charged to a credit account, once.
    Refund {
        usage: Box<UsageRow>,
        account: AccountId,
        amount: Amount,
    },
    /// What is overdue.
    Due,
}

pub(crate) type Plan = Result<Vec<Write>, Refusal>;

impl Command {
    /// The writes of this step, in the transaction that knows these facts.
    pub fn plan(&self, facts: &dyn Facts) -> Plan {
        let now = facts.now();
        match self {
            Self::Join { replica, boot } => Ok(vec![Write::Join {
                replica: *replica,
                boot: *boot,
            }]),
            Self::Look(budget) => opened(*budget, facts).map(|(_, write)| vec![write]),
            Self::Take {
                lease,
                budget,
                life,
                amount,
            } => plan_take((*lease, *budget), *life, *amount, facts),
            Self::Refill { lease, amount } => plan_refill(lease, *amount, facts),
            Self::Renew(lease) => Ok(vec![renewed(lease, now)]),
            Self::Return { lease, amount } => Ok(plan_return(lease, *amount)),
            Self::Grant(grant) => plan_grant(grant, facts),
            Self::Confirm { hold, version } => Ok(vec![Write::Hold {
                id: *hold,
                version: *version,
                arrow: Arrow::Commit,
                due: false,
            }]),
            Self::RenewHold {
                hold,
                version,
                ttl_ms,
            } => Ok(vec![Write::RenewHold {
                id: *hold,
                version: *version,
                expires_at: after(now, *ttl_ms),
            }]),
            Self::End { ended, version } => Ok(ending::end(ended, *version)),
            Self::Bury { hold, life } => Ok(vec![buried(*hold, *life, now)]),
            Self::Expire(hold) => Ok(ending::expire(hold)),
            Self::Lose(lease) => Ok(plan_lose(lease, facts)),
            Self::Resolve {
                lease,
                used,
                lost_at,
            } => lost::plan_resolve(lease, *used, *lost_at, facts),
            Self::Correct {
                usage,
                actual,
                asked,
            } => Ok(ending::correct(usage, actual, asked.as_deref())),
            Self::Recall(key) => Ok(vec![Write::Recall(*key)]),
            Self::Warn { key, percent } => Ok(vec![Write::Warn {
                key: *key,
                percent: *percent,
            }]),
            Self::Limit { budget, limit } => {
                let (key, open) = opened(*budget, facts)?;
                Ok(vec![open, Write::Limit { key, limit: *limit }])
            }
            Self::Transfer {
                entry,
                account,
                by,
                with,
            } => plan_transfer(*entry, (*account, *by), *with),
            Self::Refund {
                usage,
                account,
                amount,
            } => plan_refund(usage, *account, *amount),
            Self::Due => Ok(Vec::new()),
        }
    }
}

fn renewed(lease: &LeaseRef, now: WallMillis) -> Write {
    let expires_at = after(now, TTL_MS);
    by_owner(lease, LeaseThen::Renew { expires_at })
}

/// The row of a hold that never was, so that an earlier wish for it can't be granted any more.
fn buried(hold: HoldId, life: Life, now: WallMillis) -> Write {
    Write::NewHold(Box::new(HoldRow {
        id: hold,
        replica: life.replica,
        state: HoldState::Released,
        version: 0,
        bound: Charge::NOTHING,
        owed: None,
        covers: Covers::new(),
        expires_at: now,
    }))
}

const fn after(now: WallMillis, ms: u64) -> WallMillis {
    WallMillis(now.0.saturating_add(ms))
}

fn opened(budget: BudgetId, facts: &dyn Facts) -> Result<(WindowKey, Write), Refusal> {
    let present = facts.present(budget).ok_or(Refusal::Absent)?;
    let open = Write::Open {
        key: present.key,
        floor: present.floor,
    };
    Ok((present.key, open))
}

const fn leases(key: WindowKey, leased: Delta, guard: Guard) -> Write {
    Write::Window {
        key,
        change: Change {
            spent: Delta::NONE,
            reserved: Delta::NONE,
            leased,
        },
        guard,
        bucket: None,
    }
}

/// What only the living owner of a lease may do, once each.
fn by_owner(lease: &LeaseRef, then: LeaseThen) -> Write {
    Write::Lease {
        id: lease.id,
        when: LeaseWhen {
            epoch: Some(lease.epoch),
            state: Some(LeaseState::Active),
            serial: Some(lease.serial),
            ..LeaseWhen::default()
        },
        then,
    }
}

fn plan_take(what: (LeaseId, BudgetId), life: Life, amount: Amount, facts: &dyn Facts) -> Plan {
    let (id, budget) = what;
    let (key, open) = opened(budget, facts)?;
    let row = LeaseRow {
        id,
        key,
        replica: life.replica,
        epoch: life.epoch,
        amount,
        used: Amount::ZERO,
        returned: Amount::ZERO,
        state: LeaseState::Active,
        expires_at: after(facts.now(), TTL_MS),
        serial: 0,
        version: 0,
    };
    let take = leases(key, Delta::up(amount), Guard::Fits);
    Ok(vec![open, Write::NewLease(Box::new(row)), take])
}

fn plan_refill(lease: &LeaseRef, amount: Amount, facts: &dyn Facts) -> Plan {
    let (key, open) = opened(lease.key.budget, facts)?;
    if key != lease.key {
        return Err(Refusal::Short(Pot::Window(lease.key)));
    }
    let then = LeaseThen::Take {
        more: amount,
        expires_at: after(facts.now(), TTL_MS),
    };
    let take = leases(key, Delta::up(amount), Guard::Fits);
    Ok(vec![open, by_owner(lease, then), take])
}

fn plan_return(lease: &LeaseRef, amount: Amount) -> Vec<Write> {
    vec![
        by_owner(lease, LeaseThen::Return { amount }),
        leases(lease.key, Delta::down(amount), Guard::Covered),
    ]
}

fn plan_grant(grant: &Grant, facts: &dyn Facts) -> Plan {
    let mut wishes = grant.wishes.clone();
    // Rows are always locked in this order, so that two grants can't wait for each other.
    wishes.sort_unstable();
    let mut writes = Vec::with_capacity(wishes.len() * 2 + 1);
    let mut covers = Covers::new();
    for (number, wish) in wishes.iter().enumerate() {
        let pot = match wish.from {
            WishFrom::Budget(budget) => {
                let (key, open) = opened(budget, facts)?;
                writes.push(open);
                writes.push(Write::Window {
                    key,
                    change: Change {
                        reserved: Delta::up(wish.amount),
                        ..Change::default()
                    },
                    guard: Guard::Fits,
                    bucket: None,
                });
                Pot::Window(key)
            }
            WishFrom::Account(account) => {
                let id = entry_of(grant.hold, EntryKind::Hold, small(number));
                let path = (Account::Credit(account), Account::Held(account));
                let entry = Entry::moved(id, EntryKind::Hold, path, wish.amount);
                writes.push(Write::Entry(Box::new(entry)));
                Pot::Account(account)
            }
        };
        covers.push(Cover {
            pot,
            measure: wish.measure,
            taken: wish.amount,
            bucket: bucket_now(wish.from, facts),
        });
    }
    writes.insert(
        0,
        Write::NewHold(Box::new(HoldRow {
            id: grant.hold,
            replica: grant.life.replica,
            state: grant.state,
            version: 0,
            bound: grant.bound,
            owed: grant.owed,
            covers,
            expires_at: after(facts.now(), grant.ttl_ms),
        })),
    );
    Ok(writes)
}

fn bucket_now(from: WishFrom, facts: &dyn Facts) -> Option<WallMillis> {
    match from {
        WishFrom::Budget(budget) => facts.present(budget)?.bucket,
        WishFrom::Account(_) => None,
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// What was not returned counts as spent: calls may have been sent that nobody has written down.
fn plan_lose(lease: &LeaseRow, facts: &dyn Facts) -> Vec<Write> {
    let rest = lease.rest();
    let budget = lease.key.budget;
    // Its slice followed a clock of its own, which can be ahead of the store's by as much as a lease
    // lives, if that one went back: no cost of the slice may be in a later bucket than its rest.
    let present = facts.past(budget);
    let bucket = present.and_then(|present| present.bucket_after(TTL_MS));
    let path = (Account::InDoubt(budget), Account::Unresolved(budget));
    let id = EntryId::from_bytes(*lease.id.bytes());
    vec![
        Write::Lease {
            id: lease.id,
            when: LeaseWhen {
                state: Some(LeaseState::Active),
                version: Some(lease.version),
                overdue: true,
                ..LeaseWhen::default()
            },
            then: LeaseThen::Lose,
        },
        Write::Window {
            key: lease.key,
            change: Change {
                spent: Delta::up(rest),
                reserved: Delta::NONE,
                leased: Delta::down(rest),
            },
            guard: Guard::Covered,
            bucket,
        },
        Write::Entry(Box::new(Entry::moved(id, EntryKind::Lease, path, rest))),
    ]
}

fn plan_transfer(entry: EntryId, (account, by): (AccountId, Delta), with: Account) -> Plan {
    let back = by.reversed();
    let postings = [
        Posting {
            account: Account::Credit(account),
            by,
        },
        Posting {
            account: with,
            by: back,
        },
    ];
    Entry::new(entry, EntryKind::Transfer, &postings)
        .map(|entry| vec![Write::Entry(Box::new(entry))])
        .map_err(|_| Refusal::Broken)
}

/// At most what was charged, and only of a cost that no evidence changes any more: else the same
/// would be given back twice.
fn plan_refund(usage: &UsageRow, account: AccountId, amount: Amount) -> Plan {
    if !usage.is_final() {
        return Err(Refusal::NotDue);
    }
    let mut charged = usage.charged.iter().enumerate();
    let found = charged.find(|(_, cover)| cover.pot == Pot::Account(account));
    let (number, cover) = found.ok_or(Refusal::Absent)?;
    let most = cover.taken.min(usage.charge.of(cover.measure));
    if amount.is_zero() || amount > most {
        return Err(Refusal::Short(cover.pot));
    }
    let number = small(number);
    let id = entry_of(usage.hold, EntryKind::Transfer, number);
    let path = (
        Account::Refunds(Unit::of(cover.measure)),
        Account::Credit(account),
    );
    let entry = Entry::moved(id, EntryKind::Transfer, path, amount);
    let original = entry_of(usage.hold, EntryKind::Settle, number);
    Ok(vec![Write::Entry(Box::new(entry.correcting(original)))])
}
