//! What a call really cost, put to its pots.

use super::{Rows, change_window, post};
use crate::amount::{Amount, Delta, Measure};
use crate::posting::Account;
use crate::row::{Change, Guard, Pot};
use crate::write::{Refusal, Truth};

/// Each pot that was charged too little bears as much more as it can; what none does is nobody's.
pub(super) fn borne<R: Rows>(rows: &mut R, truth: &Truth) -> Result<(), Refusal> {
    let mut most = truth.borne;
    for (number, cover, more) in &truth.raises {
        let bears = match cover.pot {
            Pot::Window(key) => {
                let spent = |rows: &R| rows.window(key).map(|row| row.spent);
                let before = spent(rows).ok_or(Refusal::Absent)?;
                let change = Change {
                    spent: Delta::up(*more),
                    ..Change::default()
                };
                change_window(rows, key, (change, Guard::AsFar), cover.bucket)?;
                spent(rows).unwrap_or(before).above(before)
            }
            Pot::Account(account) => {
                let has = rows.balance(Account::Credit(account)).units;
                let bears = Amount::new(has).unwrap_or_default().min(*more);
                if !bears.is_zero() {
                    post(rows, &truth.paid(*number, cover, account, bears))?;
                }
                bears
            }
        };
        if cover.measure == Measure::Cost {
            most = most.max(cover.taken.plus(bears));
        }
    }
    let mut booked = truth.booked(most).into_iter();
    booked.try_for_each(|entry| post(rows, &entry))
}
