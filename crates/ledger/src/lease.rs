//! How large a slice is, how long it lives, and when a budget is too small for slices.

use crate::amount::{Amount, Measure};

/// How long a lease lives without being renewed.
pub const TTL_MS: u64 = 60_000;
/// When a living replica renews it.
pub const RENEW_AFTER_MS: u64 = 30_000;
/// A slice nobody takes from goes back after this time.
pub const IDLE_MS: u64 = 30_000;
/// A lease not renewed is lost this long after its end, by the store's clock.
pub const LOST_AFTER_MS: u64 = 30_000;
/// How often a replica looks at the rows it has leases of.
pub const LOOK_MS: u64 = 500;
/// How long a call waits for other replicas to return their slices.
pub const RECALL_WAIT_MS: u64 = 750;
/// After a recall that brought too little there is none for this long.
pub const RECALL_QUIET_MS: u64 = 1000;
/// So many calls of one replica wait for one budget.
pub const WAITING_MAX: usize = 256;
/// A budget that has room for fewer calls than this gives no slices.
pub const TIGHT_CALLS: i64 = 20;

/// The least that is worth a slice, where there is enough: a dollar, half a million tokens, 500
/// requests.
const fn worth(measure: Measure) -> i64 {
    match measure {
        Measure::Cost => 1_000_000_000,
        Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => 500_000,
        Measure::Requests => 500,
    }
}

/// Whether a budget with so much left is too small for slices, given the bound of a call.
pub fn is_tight(left: Amount, bound: Amount) -> bool {
    i128::from(left.units()) < i128::from(bound.units()) * i128::from(TIGHT_CALLS)
}

/// How large the next slice is, or nothing where the budget is tight. `lately` is what was granted
/// in the last two seconds.
pub fn size(measure: Measure, left: Amount, bound: Amount, lately: Amount) -> Option<Amount> {
    if left.is_zero() || is_tight(left, bound) {
        return None;
    }
    let wanted = worth(measure).max(lately.units());
    let share = left.percent(5).units().min(wanted);
    Amount::new(share.max(bound.units()).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(units: i64) -> Amount {
        Amount::new(units).unwrap()
    }

    // LED-73
    #[test]
    fn a_slice_is_a_twentieth_or_what_is_needed_and_never_less_than_a_call() {
        const DOLLAR: i64 = 1_000_000_000;
        for (name, left, bound, lately, want) in [
            ("5 %", 10 * DOLLAR, 1_000, 0, Some(DOLLAR / 2)),
            ("a dollar is enough", 100 * DOLLAR, 1_000, 0, Some(DOLLAR)),
            ("busy", 100 * DOLLAR, 1_000, 3 * DOLLAR, Some(3 * DOLLAR)),
            (
                "busy, but 5 %",
                100 * DOLLAR,
                1_000,
                9 * DOLLAR,
                Some(5 * DOLLAR),
            ),
            ("exactly 20 calls", 20_000, 1_000, 0, Some(1_000)),
            ("one nano-dollar less is tight", 19_999, 1_000, 0, None),
            ("nothing left", 0, 0, 0, None),
            ("huge bound", i64::MAX, i64::MAX / 2, 0, None),
        ] {
            let size = size(Measure::Cost, amount(left), amount(bound), amount(lately));
            assert_eq!(size, want.map(amount), "{name}");
        }
    }
}
