//! The payer's account at the end of a run: what was paid in is there, or calls have cost it.

use super::audit::Violation;
use super::call::Fate;
use super::run::told;
use super::world::World;
use crate::ledger::amount::{Amount, Measure};
use crate::ledger::posting::{Account, Unit};
use crate::ledger::row::{Pot, UsageRow};
use crate::ledger::step::Command;
use crate::ledger::write::Refusal;
use tollkeep_types::AccountId;

fn units(amount: Amount) -> i128 {
    i128::from(amount.units())
}

/// Gives back of what calls cost, once each, and compares all balances with what calls did.
pub(super) fn conclude(world: &mut World) -> Result<(), Violation> {
    let Some((account, measure)) = world.account else {
        return Ok(());
    };
    let mut want = units(world.paid);
    for call in world.calls.values() {
        let covers = world.audit.covers_of(call.hold).iter();
        for cover in covers.filter(|cover| cover.pot == Pot::Account(account)) {
            want -= units(told(call).of(cover.measure).min(cover.taken));
        }
    }
    let charged: Vec<UsageRow> = world.store.usage.values().cloned().collect();
    for usage in charged {
        want += refund(world, &usage, account)?;
    }
    let is = |of: Account| i128::from(world.store.balances.get(&of).copied().unwrap_or(0));
    if is(Account::Credit(account)) != want {
        let has = is(Account::Credit(account));
        return Err(format!("the payer has {has} left and should have {want}"));
    }
    check_units(world, measure)
}

/// LED-54: what the operator bears is what failed calls did, as far as anybody lived to tell it.
pub(super) fn check_borne(world: &World) -> Result<(), Violation> {
    let calls = world.calls.values();
    let borne = calls.filter(|call| call.fate == Fate::Borne && call.sent && call.over);
    let (mut least, mut most) = (0, 0);
    for call in borne {
        most += units(call.told.cost);
        if world.lives(call) {
            least += units(call.told.cost);
        }
    }
    let account = Account::OperatorLoss(Unit::Usd);
    let is = world.store.balances.get(&account).copied().unwrap_or(0);
    if (least..=most).contains(&i128::from(is)) {
        return Ok(());
    }
    Err(format!(
        "the operator bears {is}, and failed calls did {least} to {most}"
    ))
}

/// Half of what a call was charged, rounded up. Twice it is never given, and never more than that.
fn refund(world: &mut World, usage: &UsageRow, account: AccountId) -> Result<i128, Violation> {
    let mut covers = usage.charged.iter();
    let Some(cover) = covers.find(|cover| cover.pot == Pot::Account(account)) else {
        return Ok(0);
    };
    let charged = cover.taken.min(usage.charge.of(cover.measure));
    let half = Amount::new((charged.units() + 1) / 2).unwrap_or(Amount::ZERO);
    let too_much = Amount::new(charged.units() + 1).unwrap_or(Amount::MAX);
    let is_final = usage.is_final();
    let mut refused = |amount| {
        let usage = Box::new(usage.clone());
        let command = Command::Refund {
            usage,
            account,
            amount,
        };
        let reply = world.operate(&command)?;
        Ok::<_, Violation>(reply.map(|reply| reply.refusal))
    };
    if refused(too_much)? == Some(None) {
        return Err(format!("more was given back than was charged: {usage:?}"));
    }
    let done = refused(half)? == Some(None);
    if done != (is_final && !half.is_zero()) {
        return Err(format!("given back {done}: {usage:?}"));
    }
    let twice = refused(half)?;
    if done && twice != Some(Some(Refusal::Repeat)) {
        return Err(format!("given back twice, {twice:?}: {usage:?}"));
    }
    Ok(if done { units(half) } else { 0 })
}

/// I2, LED-2: the balances of each unit come to zero by themselves.
fn check_units(world: &World, measure: Measure) -> Result<(), Violation> {
    for unit in Unit::ALL {
        let balances = world.store.balances.iter();
        let of_unit = balances.filter(|(account, _)| {
            // A payer's accounts have no unit in their names.
            account.unit().unwrap_or(Unit::of(measure)) == unit
        });
        let sum: i128 = of_unit.map(|(_, balance)| i128::from(*balance)).sum();
        if sum != 0 {
            return Err(format!("all balances in {unit:?} come to {sum}"));
        }
    }
    Ok(())
}
