//! What is usual: a mean and a deviation in which old minutes count less and less.
//!
//! All is in integers with fixed points, so that the same minutes give the same answers on every
//! machine.

use serde::{Deserialize, Serialize};

/// One, where weights and factors are fractions.
const ONE: u64 = 1 << 32;
/// Bits behind the point of means and deviations.
pub(super) const POINT: u32 = 16;
/// Values beyond this count as this: more than any machine serves in a minute.
const VALUE_MAX: u64 = 1 << 40;

/// `2^-(1/2)`, `2^-(1/4)`, `2^-(1/8)` and so on, as fractions of [`ONE`].
const ROOTS: [u64; 24] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
    4_294_944_583,
    4_294_955_939,
    4_294_961_618,
    4_294_964_457,
    4_294_965_876,
    4_294_966_586,
    4_294_966_941,
    4_294_967_119,
];

/// An exponentially weighted mean and mean absolute deviation.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Usual {
    /// What all values so far weigh together, the last one being [`ONE`] when it came.
    weight: u64,
    mean: u64,
    deviation: u64,
}

impl Usual {
    /// Takes a value in, so many minutes after the last one.
    pub(super) fn learn(&mut self, value: u64, minutes: u64, half_life: u64) {
        let value = value.min(VALUE_MAX) << POINT;
        let old = fraction(self.weight, factor(minutes, half_life));
        let away = if old == 0 {
            0
        } else {
            self.mean.abs_diff(value)
        };
        self.mean = weighted((self.mean, old), value);
        self.deviation = weighted((self.deviation, old), away);
        self.weight = old.saturating_add(ONE);
    }

    /// From which value on one is unusual by so many deviations. A deviation is at least a tenth
    /// of the mean, and at least one.
    pub(super) fn limit(&self, sigma: u64) -> u64 {
        let deviation = self.deviation.max(self.mean / 10).max(1 << POINT);
        let limit = self.mean.saturating_add(deviation.saturating_mul(sigma));
        // A value is whole: it reaches the limit when it reaches the next whole number.
        limit.div_ceil(1 << POINT)
    }
}

/// The mean of what was and of a value that weighs one.
fn weighted((before, weight): (u64, u64), value: u64) -> u64 {
    let sum = u128::from(before) * u128::from(weight) + u128::from(value) * u128::from(ONE);
    let all = u128::from(weight) + u128::from(ONE);
    u64::try_from(sum / all).unwrap_or(u64::MAX)
}

fn fraction(of: u64, factor: u64) -> u64 {
    u64::try_from((u128::from(of) * u128::from(factor)) >> 32).unwrap_or(u64::MAX)
}

/// `2^-(minutes / half_life)`.
fn factor(minutes: u64, half_life: u64) -> u64 {
    let half_life = half_life.max(1);
    let (halvings, rest) = (minutes / half_life, minutes % half_life);
    if halvings > 32 {
        return 0;
    }
    let part = (u128::from(rest) << 32) / u128::from(half_life);
    let bits = (0..32).rev().zip(ROOTS);
    let set = bits.filter(|(bit, _)| part >> bit & 1 == 1);
    let factor = set.fold(ONE, |factor, (_, root)| fraction(factor, root));
    factor >> halvings
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 1440;

    #[test]
    fn a_weight_is_halved_in_a_half_life() {
        for (minutes, want) in [
            (0, 1.0),
            (1, 0.999_518_766_5),
            (DAY / 2, std::f64::consts::FRAC_1_SQRT_2),
            (DAY, 0.5),
            (DAY + DAY / 2, std::f64::consts::FRAC_1_SQRT_2 / 2.0),
            (10 * DAY, 1.0 / 1024.0),
            (40 * DAY, 0.0),
        ] {
            let got = factor(minutes, DAY) as f64 / ONE as f64;
            assert!((got - want).abs() < 1e-6, "{minutes}: {got}");
        }
    }

    #[test]
    fn the_mean_and_the_deviation_are_those_of_the_formula() {
        let mut usual = Usual::default();
        usual.learn(100, 0, DAY);
        assert_eq!((usual.mean >> POINT, usual.deviation), (100, 0));
        // Two values of nearly the same weight.
        usual.learn(200, 1, DAY);
        let mean = usual.mean as f64 / f64::from(1 << POINT);
        assert!((mean - 150.012).abs() < 0.01, "{mean}");
        let deviation = usual.deviation as f64 / f64::from(1 << POINT);
        assert!((deviation - 50.012).abs() < 0.01, "{deviation}");
        // Much later the past counts for nothing.
        usual.learn(7, 40 * DAY, DAY);
        assert_eq!((usual.mean >> POINT, usual.deviation), (7, 0));
    }

    #[test]
    fn a_limit_is_never_too_near_to_the_mean() {
        let of = |values: &[u64]| {
            let mut usual = Usual::default();
            values.iter().for_each(|value| usual.learn(*value, 1, DAY));
            usual.limit(6)
        };
        assert_eq!(of(&[]), 6, "a deviation is at least one");
        assert_eq!(of(&[1, 1, 1]), 7);
        assert_eq!(of(&[100; 50]), 160, "and a tenth of the mean");
        assert!(of(&[50, 150, 50, 150, 50, 150]) > 300);
        assert!(of(&[u64::MAX; 9]) < u64::MAX);
    }
}
