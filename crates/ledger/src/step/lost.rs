//! The writes that resolve a lost lease.

use super::{Plan, Write};
use crate::amount::{Amount, Delta};
use crate::lease::TTL_MS;
use crate::posting::{Account, Entry, EntryKind, entry_of};
use crate::row::{Change, Guard, LeaseRow, LeaseState, Pot};
use crate::write::{Facts, LeaseThen, LeaseWhen, Refusal};
use tollkeep_types::{EntryId, HoldId, WallMillis};

/// What nobody used of a lost lease is free again, in the window it came from and there in the bucket
/// that it was counted in.
pub(super) fn plan_resolve(
    lease: &LeaseRow,
    used: Amount,
    lost_at: WallMillis,
    facts: &dyn Facts,
) -> Plan {
    let rest = lease.rest();
    if lease.state != LeaseState::Lost || rest.is_zero() {
        return Err(Refusal::Repeat);
    }
    let back = rest
        .minus(used)
        .ok_or(Refusal::Short(Pot::Window(lease.key)))?;
    let budget = lease.key.budget;
    let present = facts.past(budget);
    let bucket = present.and_then(|present| present.bucket_after_at(lost_at, TTL_MS));
    let original = EntryId::from_bytes(*lease.id.bytes());
    let id = entry_of(HoldId::from_bytes(*lease.id.bytes()), EntryKind::Correct, 0);
    let path = (Account::Unresolved(budget), Account::InDoubt(budget));
    let free = Write::Window {
        key: lease.key,
        change: Change {
            spent: Delta::down(back),
            ..Change::default()
        },
        guard: Guard::Covered,
        bucket,
    };
    let when = LeaseWhen {
        state: Some(LeaseState::Lost),
        version: Some(lease.version),
        ..LeaseWhen::default()
    };
    let then = LeaseThen::Resolve { used };
    let entry = Entry::moved(id, EntryKind::Correct, path, rest).correcting(original);
    Ok(vec![
        Write::Lease {
            id: lease.id,
            when,
            then,
        },
        // What a late correction took from another bucket stays counted until that one leaves.
        match bucket {
            Some(_) => Write::Either(vec![free], Vec::new()),
            None => free,
        },
        Write::Entry(Box::new(entry)),
    ])
}
