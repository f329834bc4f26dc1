//! Whose books an end is in.

use super::*;
use tollkeep_types::{AccountId, ReplicaId, WallMillis};

fn amount(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

const ACCOUNT: AccountId = AccountId::from_bytes([3; 16]);

/// A hold of this bound, whose money is an account's.
fn held(bound: Charge) -> HoldRow {
    let cover = Cover {
        pot: Pot::Account(ACCOUNT),
        measure: Measure::Cost,
        taken: bound.cost,
        bucket: None,
    };
    HoldRow {
        id: HoldId::from_bytes([1; 16]),
        replica: ReplicaId::from_bytes([2; 16]),
        state: HoldState::Committed,
        version: 0,
        bound,
        owed: None,
        covers: std::iter::once(cover).collect(),
        expires_at: WallMillis(0),
    }
}

/// The accounts of all entries, and what each of them is at after these writes.
fn books(writes: &[Write]) -> Vec<(Account, i64)> {
    let mut sums: Vec<(Account, i64)> = Vec::new();
    let mut entries = Vec::new();
    for write in writes {
        if let Write::Entry(entry) = write {
            entries.push((**entry).clone());
        } else if let Write::Truth(truth) = write {
            entries.extend(truth.booked(truth.borne));
        }
    }
    for posting in entries.iter().flat_map(|entry| entry.postings()) {
        match sums
            .iter_mut()
            .find(|(account, _)| *account == posting.account)
        {
            Some((_, sum)) => *sum += posting.by.units(),
            None => sums.push((posting.account, posting.by.units())),
        }
    }
    sums.sort_by_key(|(account, _)| format!("{account:?}"));
    sums
}

// LED-52 LED-55
#[test]
fn a_price_whose_end_nobody_told_is_revenue_and_no_upstreams_bill() {
    let price = Charge {
        cost: amount(70),
        requests: amount(1),
        ..Charge::NOTHING
    };
    let bill = Charge {
        tokens: amount(64),
        ..price
    };
    let paid = [
        (Account::Held(ACCOUNT), -70),
        (Account::Revenue(Unit::Usd), 70),
    ];
    assert_eq!(books(&expire(&held(price))), paid);
    let billed = [
        (Account::Held(ACCOUNT), -70),
        (Account::Payable, -70),
        (Account::Revenue(Unit::Usd), 70),
        (Account::UpstreamCost, 70),
    ];
    assert_eq!(books(&expire(&held(bill))), billed);
    let usage = |bound: Charge| UsageRow {
        hold: HoldId::from_bytes([1; 16]),
        quality: Quality::Unknown,
        bound,
        charge: bound,
        charged: held(bound).covers.iter().copied().collect(),
        row: Some(1),
        swept: true,
        corrected: false,
    };
    // Somebody says that nothing was had for it.
    let back = [
        (Account::Credit(ACCOUNT), 70),
        (Account::Revenue(Unit::Usd), -70),
    ];
    assert_eq!(books(&correct(&usage(price), &Charge::NOTHING, None)), back);
    let back = [
        (Account::Credit(ACCOUNT), 70),
        (Account::Payable, 70),
        (Account::Revenue(Unit::Usd), -70),
        (Account::UpstreamCost, -70),
    ];
    assert_eq!(books(&correct(&usage(bill), &Charge::NOTHING, None)), back);
}
