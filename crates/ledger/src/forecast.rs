//! What a window will have spent at its end, if it goes on as so far.

use crate::amount::Amount;
use tollkeep_types::WallMillis;

/// Before so much of a window is over, nothing is foretold: a hundredth.
const SEEN_LEAST: u64 = 100;

/// What is foretold of a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Forecast {
    /// What will be spent at its end, rounded up.
    pub at_end: Amount,
    /// When its limit is reached, if that is before its end.
    pub exhausted_at: Option<WallMillis>,
}

/// A straight line through what was spent. Nothing is foretold of a window without an end, or of
/// which too little is over.
pub fn forecast(
    (spent, limit): (Amount, Amount),
    (start, end): (WallMillis, Option<WallMillis>),
    now: WallMillis,
) -> Option<Forecast> {
    let length = end?.0.checked_sub(start.0)?;
    let over = now.0.checked_sub(start.0)?.min(length);
    if length == 0 || over < length / SEEN_LEAST || over == 0 {
        return None;
    }
    let (spent, limit) = (i128::from(spent.units()), i128::from(limit.units()));
    let (length, over) = (i128::from(length), i128::from(over));
    let at_end = (spent * length + over - 1) / over;
    let exhausted_at = (spent > 0 && at_end > limit).then(|| {
        let after = (limit * over / spent).min(length);
        let after = u64::try_from(after).unwrap_or(0);
        WallMillis(start.0.saturating_add(after))
    });
    let at_end = i64::try_from(at_end).ok().and_then(Amount::new);
    Some(Forecast {
        at_end: at_end.unwrap_or(Amount::MAX),
        exhausted_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-63 LED-80
    #[test]
    fn a_window_is_foretold_by_a_straight_line() {
        const HOUR: u64 = 3_600_000;
        let day = Some(WallMillis(24 * HOUR));
        let amount = |units| Amount::new(units).unwrap();
        let told = |at_end, hour: Option<u64>| {
            Some(Forecast {
                at_end: amount(at_end),
                exhausted_at: hour.map(|hour| WallMillis(hour * HOUR)),
            })
        };
        for (name, spent, end, now, want) in [
            (
                "half of the day, half of the limit",
                50,
                day,
                12 * HOUR,
                told(100, None),
            ),
            ("a little more", 51, day, 12 * HOUR, told(102, None)),
            ("twice as fast", 100, day, 6 * HOUR, told(400, Some(6))),
            ("nothing spent", 0, day, 12 * HOUR, told(0, None)),
            ("its end", 70, day, 24 * HOUR, told(70, None)),
            ("long over", 70, day, 99 * HOUR, told(70, None)),
            ("just begun", 70, day, HOUR / 10, None),
            ("no end", 70, None, 12 * HOUR, None),
        ] {
            let limit = if want == told(102, None) { 102 } else { 100 };
            let got = forecast(
                (amount(spent), amount(limit)),
                (WallMillis(0), end),
                WallMillis(now),
            );
            assert_eq!(got, want, "{name}");
        }
        let most = (Amount::MAX, Amount::MAX);
        let huge = forecast(most, (WallMillis(0), day), WallMillis(12 * HOUR)).unwrap();
        assert_eq!(huge.at_end, Amount::MAX);
        let zero = forecast(
            (amount(5), Amount::ZERO),
            (WallMillis(HOUR), day),
            WallMillis(2 * HOUR),
        );
        assert_eq!(zero.unwrap().exhausted_at, Some(WallMillis(HOUR)));
    }
}
