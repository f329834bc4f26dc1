//! The writes that end a hold: settled, released, out of time, corrected.

use super::{Asked, Write, small};
use crate::amount::{Amount, Charge, Delta, Measure};
use crate::hold::{Ended, Outcome, Sure};
use crate::posting::{Account, Entry, EntryKind, Unit, entry_of};
use crate::row::{Arrow, Change, Cover, Guard, HoldRow, HoldState, Pot, Quality, UsageRow};
use crate::write::{Evidence, Spend, Truth};
use smallvec::SmallVec;
use tollkeep_types::HoldId;

/// The end that the holder tells of. What is refused if it was done before comes first.
pub(super) fn end(ended: &Ended, version: u32) -> Vec<Write> {
    let mut writes = Vec::with_capacity(8);
    let row = usage(ended, version);
    let (bound, actual) = owed(ended);
    let cost = match ended.sure {
        Sure::Bound => (bound, actual),
        Sure::Guess => (actual, actual),
        // What its route asks for is owed to no upstream.
        Sure::Price => (Amount::ZERO, Amount::ZERO),
    };
    if ended.strict.is_empty() {
        writes.push(Write::Usage(Box::new(row)));
        cost_entry(ended.hold, cost, &mut writes);
        borne(ended, EntryKind::Settle, &mut writes);
    } else {
        let arrow = match ended.outcome {
            Outcome::Released(_) => Arrow::Release,
            Outcome::Settled { quality, .. } => Arrow::Settle(quality),
            Outcome::Borne(_) => Arrow::Settle(Quality::Reported),
        };
        let mut in_time = vec![
            moved(ended.hold, version, arrow),
            Write::Usage(Box::new(row)),
        ];
        for (number, cover) in ended.strict.iter().enumerate() {
            let charged = ended.outcome.charged(cover.measure, cover.taken);
            settle_cover(ended.hold, small(number), (cover, charged), &mut in_time);
            beyond(ended, cover, &mut in_time);
        }
        cost_entry(ended.hold, cost, &mut in_time);
        borne(ended, EntryKind::Settle, &mut in_time);
        writes.push(Write::Either(in_time, late(ended, version)));
    }
    for (number, cover) in ended.slices.iter().enumerate() {
        let charged = ended.outcome.charged(cover.measure, cover.taken);
        if !charged.is_zero() {
            writes.push(Write::Spend(Box::new(Spend {
                hold: ended.hold,
                number: small(number),
                cover: cover.clone(),
                amount: charged,
            })));
        }
        let pot = Pot::Window(cover.key);
        let cover = Cover {
            pot,
            measure: cover.measure,
            taken: cover.taken,
            bucket: cover.bucket,
        };
        beyond(ended, &cover, &mut writes);
    }
    writes
}

/// What a call took beyond a guess is spent too: no limit of such a pot is hard.
fn beyond(ended: &Ended, cover: &Cover, writes: &mut Vec<Write>) {
    let more = ended.outcome.beyond(cover.measure, cover.taken, ended.sure);
    if let (Pot::Window(key), false) = (cover.pot, more.is_zero()) {
        writes.push(Write::Window {
            key,
            change: Change {
                spent: Delta::up(more),
                ..Change::default()
            },
            guard: Guard::Covered,
            bucket: cover.bucket,
        });
    }
}

/// Its time was over and the whole bound was charged: what is known now corrects that, unless an
/// operator has corrected it before.
fn late(ended: &Ended, version: u32) -> Vec<Write> {
    let keep = Write::CorrectUsage {
        hold: ended.hold,
        evidence: Evidence::OwnerKeeps,
        charge: Box::new(ended.bound),
        adds: Box::new(slice_covers(ended).collect()),
    };
    if ended.outcome.quality() == Quality::Unknown {
        return vec![keep];
    }
    let mut corrected = vec![
        Write::CorrectUsage {
            hold: ended.hold,
            evidence: Evidence::Owner,
            charge: Box::new(cost_to_payer(ended)),
            adds: Box::new(slice_covers(ended).collect()),
        },
        moved(ended.hold, version.wrapping_add(1), Arrow::Adjust),
    ];
    let (booked, truth) = owed(ended);
    if !ended.bound.is_price() {
        cost_correction(ended.hold, booked, truth, &mut corrected);
    }
    borne(ended, EntryKind::Correct, &mut corrected);
    for (number, cover) in ended.strict.iter().enumerate() {
        let charged = ended.outcome.charged(cover.measure, cover.taken);
        give_back(ended.hold, small(number), (cover, charged), &mut corrected);
        beyond(ended, cover, &mut corrected);
    }
    if ended.sure == Sure::Guess {
        more_cost(
            ended.hold,
            truth.above(booked),
            Account::UpstreamCost,
            &mut corrected,
        );
    }
    vec![Write::Either(corrected, vec![keep])]
}

const fn moved(id: HoldId, version: u32, arrow: Arrow) -> Write {
    Write::Hold {
        id,
        version,
        arrow,
        due: false,
    }
}

/// Where what a payer paid goes: it is counted as the payer's account is.
pub(super) const fn revenue_of(cover: &Cover) -> Account {
    Account::Revenue(Unit::of(cover.measure))
}

/// What was reserved becomes spent as far as it was charged; the rest is free.
fn settle_cover(hold: HoldId, number: u8, what: (&Cover, Amount), writes: &mut Vec<Write>) {
    let (cover, charged) = what;
    match cover.pot {
        Pot::Window(key) => writes.push(Write::Window {
            key,
            change: Change {
                spent: Delta::up(charged),
                reserved: Delta::down(cover.taken),
                leased: Delta::NONE,
            },
            guard: Guard::Covered,
            bucket: cover.bucket,
        }),
        Pot::Account(account) => {
            let held = Account::Held(account);
            let revenue = revenue_of(cover);
            let rest = cover.taken.above(charged);
            for (to, amount, kind) in [
                (revenue, charged, number),
                (Account::Credit(account), rest, number.wrapping_add(64)),
            ] {
                let id = entry_of(hold, EntryKind::Settle, kind);
                if !amount.is_zero() {
                    let entry = Entry::moved(id, EntryKind::Settle, (held, to), amount);
                    writes.push(Write::Entry(Box::new(entry)));
                }
            }
        }
    }
}

/// What the upstream asks at most, and what it does.
fn owed(ended: &Ended) -> (Amount, Amount) {
    match ended.owed {
        Some(owed) => (owed.bound, owed.actual),
        None => (ended.bound.cost, ended.outcome.actual().cost),
    }
}

/// What was charged too much goes back to where it came from: to the window of the hold, even if
/// that is over, or to the account.
fn give_back(hold: HoldId, number: u8, what: (&Cover, Amount), writes: &mut Vec<Write>) {
    let (cover, truth) = what;
    let excess = cover.taken.above(truth);
    if excess.is_zero() {
        return;
    }
    match cover.pot {
        Pot::Window(key) => {
            let back = Write::Window {
                key,
                change: Change {
                    spent: Delta::down(excess),
                    ..Change::default()
                },
                guard: Guard::Covered,
                bucket: cover.bucket,
            };
            // A lost slice was booked into the bucket of its loss. What is not in the bucket of the
            // grant stays counted until that one leaves.
            writes.push(match cover.bucket {
                Some(_) => Write::Either(vec![back], Vec::new()),
                None => back,
            });
        }
        Pot::Account(account) => {
            let path = (revenue_of(cover), Account::Credit(account));
            let id = entry_of(hold, EntryKind::Correct, number);
            let entry = Entry::moved(id, EntryKind::Correct, path, excess);
            let original = entry_of(hold, EntryKind::Settle, number);
            writes.push(Write::Entry(Box::new(entry.correcting(original))));
        }
    }
}

/// What the upstream did, to be paid: up to the bound by the payer's pots, beyond it by nobody.
fn cost_entry(hold: HoldId, cost: (Amount, Amount), writes: &mut Vec<Write>) {
    let (bound, actual) = cost;
    let within = actual.min(bound);
    for (to, amount, number) in [
        (Account::UpstreamCost, within, 128),
        (Account::Overrun, actual.above(within), 129),
    ] {
        if !amount.is_zero() {
            let id = entry_of(hold, EntryKind::Settle, number);
            let entry = Entry::moved(id, EntryKind::Settle, (Account::Payable, to), amount);
            writes.push(Write::Entry(Box::new(entry)));
        }
    }
}

/// What the upstream did and no payer is asked for.
fn borne(ended: &Ended, kind: EntryKind, writes: &mut Vec<Write>) {
    if let Outcome::Borne(cost) = ended.outcome
        && !cost.is_zero()
    {
        let path = (Account::Payable, Account::OperatorLoss(Unit::Usd));
        let id = entry_of(ended.hold, kind, 130);
        writes.push(Write::Entry(Box::new(Entry::moved(id, kind, path, cost))));
    }
}

/// The upstream did less than was written down.
fn cost_correction(hold: HoldId, was: Amount, truth: Amount, writes: &mut Vec<Write>) {
    let excess = was.above(truth);
    if !excess.is_zero() {
        let id = entry_of(hold, EntryKind::Correct, 128);
        let path = (Account::UpstreamCost, Account::Payable);
        let entry = Entry::moved(id, EntryKind::Correct, path, excess);
        let original = entry_of(hold, EntryKind::Settle, 128);
        writes.push(Write::Entry(Box::new(entry.correcting(original))));
    }
}

/// What is charged to a pot of which so much was taken.
fn paid(ended: &Ended, measure: Measure, taken: Amount) -> Amount {
    match ended.outcome {
        Outcome::Released(_) | Outcome::Borne(_) => Amount::ZERO,
        Outcome::Settled { actual, .. } if ended.sure == Sure::Guess => actual.of(measure),
        Outcome::Settled { .. } => ended.outcome.charged(measure, taken),
    }
}

/// What it used, and what it costs whoever pays: of a bound that is one never more than that.
fn cost_to_payer(ended: &Ended) -> Charge {
    let actual = ended.outcome.actual();
    match ended.sure {
        Sure::Guess => actual,
        Sure::Bound | Sure::Price => Charge {
            cost: actual.cost.min(ended.bound.cost),
            ..actual
        },
    }
}

/// What is charged to slices.
fn slice_covers(ended: &Ended) -> impl Iterator<Item = Cover> {
    ended.slices.iter().map(|cover| Cover {
        pot: Pot::Window(cover.key),
        measure: cover.measure,
        taken: paid(ended, cover.measure, cover.taken),
        bucket: cover.bucket,
    })
}

fn usage(ended: &Ended, version: u32) -> UsageRow {
    let strict = ended.strict.iter().map(|cover| Cover {
        taken: paid(ended, cover.measure, cover.taken),
        ..*cover
    });
    UsageRow {
        hold: ended.hold,
        quality: ended.outcome.quality(),
        bound: ended.bound,
        charge: cost_to_payer(ended),
        charged: slice_covers(ended).chain(strict).collect(),
        row: (!ended.strict.is_empty()).then(|| version.wrapping_add(1)),
        swept: false,
        corrected: false,
    }
}

/// A hold out of time: free if nothing can have been sent, else charged in full.
pub(super) fn expire(hold: &HoldRow) -> Vec<Write> {
    let committed = hold.state == HoldState::Committed;
    let mut writes = vec![Write::Hold {
        id: hold.id,
        version: hold.version,
        arrow: Arrow::Expire,
        due: true,
    }];
    let charged_of = |cover: &Cover| {
        if committed { cover.taken } else { Amount::ZERO }
    };
    for (number, cover) in hold.covers.iter().enumerate() {
        settle_cover(
            hold.id,
            small(number),
            (cover, charged_of(cover)),
            &mut writes,
        );
    }
    let charged: SmallVec<[Cover; 4]> = hold
        .covers
        .iter()
        .map(|cover| Cover {
            taken: charged_of(cover),
            ..*cover
        })
        .collect();
    let (quality, charge) = if committed {
        (Quality::Unknown, hold.bound)
    } else {
        (Quality::Reported, Charge::NOTHING)
    };
    // What its route asks for is owed to no upstream.
    if !hold.bound.is_price() {
        let most = hold.owed.unwrap_or(hold.bound.cost);
        let asked = if committed { most } else { Amount::ZERO };
        cost_entry(hold.id, (most, asked), &mut writes);
    }
    writes.push(Write::Usage(Box::new(UsageRow {
        hold: hold.id,
        quality,
        bound: hold.bound,
        charge,
        charged,
        row: Some(hold.version.wrapping_add(1)),
        swept: true,
        corrected: false,
    })));
    writes
}

/// Evidence from outside. Downward it goes back to each pot; upward each pot bears it as far as its limit
/// allows, and the rest nobody.
pub(super) fn correct(usage: &UsageRow, actual: &Charge, asked: Option<&Asked>) -> Vec<Write> {
    let mut writes = vec![Write::CorrectUsage {
        hold: usage.hold,
        evidence: Evidence::Outside(usage.quality),
        charge: Box::new(*actual),
        adds: Box::default(),
    }];
    if let Some(version) = usage.row {
        writes.push(moved(usage.hold, version, Arrow::Adjust));
    }
    // Without another word its upstream asks what is charged.
    let same = Asked {
        within: usage.charge.cost,
        overrun: Amount::ZERO,
        truth: actual.cost,
    };
    let mut truth = Truth {
        hold: usage.hold,
        cost: actual.cost,
        raises: SmallVec::new(),
        borne: None,
        asked: (!usage.bound.is_price()).then(|| *asked.unwrap_or(&same)),
    };
    for (number, cover) in usage.charged.iter().enumerate() {
        let number = small(number);
        let wanted = actual.of(cover.measure);
        if wanted > cover.taken {
            let more = wanted.above(cover.taken);
            truth.raises.push((number, *cover, more));
            continue;
        }
        give_back(usage.hold, number, (cover, wanted), &mut writes);
        if cover.measure == Measure::Cost {
            truth.borne = Some(wanted);
        }
    }
    writes.push(Write::Truth(Box::new(truth)));
    writes
}

/// The upstream did more than was written down.
fn more_cost(hold: HoldId, more: Amount, to: Account, writes: &mut Vec<Write>) {
    if !more.is_zero() {
        let id = entry_of(hold, EntryKind::Correct, 129);
        let entry = Entry::moved(id, EntryKind::Correct, (Account::Payable, to), more);
        writes.push(Write::Entry(Box::new(entry)));
    }
}

#[cfg(test)]
mod tests;
