//! Money as integers: amounts in nano-dollars, rates in pico-dollars, and exact factors.
//!
//! No float comes near money, and arithmetic is checked: what does not fit is told, never wrapped
//! and never cut off.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Nano-dollars in a dollar.
const NANOS: i64 = 1_000_000_000;
/// Decimals of a dollar that an amount can have.
const DECIMALS: usize = 9;
/// Digits before the point that an amount can have.
const WHOLE_DIGITS_MAX: usize = 10;

/// An amount in nano-dollars. The smallest is `$0.000000001`, the largest about 9.2 milliards.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NanoUsd(i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// So many nano-dollars.
    pub const fn new(nano: i64) -> Self {
        Self(nano)
    }

    /// The number of nano-dollars.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, unless it is too large.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, unless it is too large.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }
}

/// Dollars with all nine decimals: `0.004305000`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (nano, dollar) = (self.0.unsigned_abs(), NANOS.unsigned_abs());
        write!(out, "{sign}{}.{:09}", nano / dollar, nano % dollar)
    }
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseAmountError {
    /// `12` may be dollars or the smallest unit.
    #[error("write an amount as \"$12\" or \"12.00\": a number without a point needs the `$`")]
    NoUnit,
    /// Not digits, or not the right number of them.
    #[error(
        "an amount is `$` and at most 10 digits, and at most 9 more after a point, as \"$12.50\""
    )]
    NotDecimal,
    /// Beyond what an amount can hold.
    #[error("an amount is at most $9223372036.854775807")]
    TooLarge,
}

impl FromStr for NanoUsd {
    type Err = ParseAmountError;

    /// `$12.50`, `12.50` or `$12`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('$');
        let (whole, fraction) = match digits.unwrap_or(text).split_once('.') {
            Some(parts) => parts,
            None if digits.is_none() && are_digits(text) => return Err(ParseAmountError::NoUnit),
            None => (digits.unwrap_or_default(), "0"),
        };
        if !are_digits(whole) || !are_digits(fraction) {
            return Err(ParseAmountError::NotDecimal);
        }
        if whole.len() > WHOLE_DIGITS_MAX || fraction.len() > DECIMALS {
            return Err(ParseAmountError::NotDecimal);
        }
        let nano = format!("{whole}{fraction:0<9}").parse();
        nano.map(Self).map_err(|_| ParseAmountError::TooLarge)
    }
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The price of one token or unit, in pico-dollars: $2.50 for a million tokens is 2 500 000.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PicoUsd(u64);

impl PicoUsd {
    /// The largest rate: a thousand dollars. Sums of counts by rates fit 128 bits below it.
    pub const MAX: Self = Self(1_000_000_000_000_000);

    /// So many pico-dollars, up to the largest rate.
    pub const fn new(pico: u64) -> Option<Self> {
        if pico <= Self::MAX.0 {
            Some(Self(pico))
        } else {
            None
        }
    }

    /// The number of pico-dollars.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A factor that is a fraction, as `1/2`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ratio {
    over: u32,
    under: NonZeroU32,
}

impl Ratio {
    /// No change.
    pub const ONE: Self = Self {
        over: 1,
        under: NonZeroU32::MIN,
    };

    /// What stands above and below the line.
    pub const fn parts(self) -> (u32, u32) {
        (self.over, self.under.get())
    }

    /// So much of an amount, rounded up. `None` when it does not fit, or is below zero.
    pub fn of_amount(self, amount: NanoUsd) -> Option<NanoUsd> {
        let marked = self.of_rounded_up(u64::try_from(amount.0).ok()?)?;
        i64::try_from(marked).ok().map(NanoUsd)
    }

    /// So much of a number of tokens, rounded up.
    pub fn of_rounded_up(self, count: u64) -> Option<u64> {
        let over = u128::from(count).checked_mul(u128::from(self.over))?;
        u64::try_from(over.div_ceil(u128::from(self.under.get()))).ok()
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.over, self.under)
    }
}

/// Why a text is no factor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a factor is two whole numbers of at most a million, as \"1/2\"")]
pub struct ParseRatioError;

impl FromStr for Ratio {
    type Err = ParseRatioError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const PART_MAX: u32 = 1_000_000;
        let part = |text: &str| -> Option<u32> {
            let part = text.parse().ok().filter(|part| *part <= PART_MAX)?;
            are_digits(text).then_some(part)
        };
        let (over, under) = text.split_once('/').ok_or(ParseRatioError)?;
        let over = part(over).ok_or(ParseRatioError)?;
        let under = part(under)
            .and_then(NonZeroU32::new)
            .ok_or(ParseRatioError)?;
        Ok(Self { over, under })
    }
}

/// An exact sum of counts by rates and factors, rounded once at its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExactSum {
    /// Pico-dollars above a common line.
    over: u128,
    under: u128,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { over: 0, under: 1 }
    }
}

impl ExactSum {
    /// Adds `count` times the rate times the factors. `None` when the sum does not fit.
    #[must_use]
    pub fn plus(self, count: u64, rate: PicoUsd, factors: &[Ratio]) -> Option<Self> {
        let mut over = u128::from(count).checked_mul(u128::from(rate.0))?;
        let mut under = 1_u128;
        for factor in factors {
            over = over.checked_mul(u128::from(factor.over))?;
            under = under.checked_mul(u128::from(factor.under.get()))?;
            (over, under) = reduced(over, under);
        }
        if self.under == under {
            let over = self.over.checked_add(over)?;
            return Some(Self { over, under });
        }
        let common = greatest_common(self.under, under).max(1);
        let (ours, theirs) = (self.under / common, under / common);
        let mine = self.over.checked_mul(theirs)?;
        let over = mine.checked_add(over.checked_mul(ours)?)?;
        let (over, under) = reduced(over, self.under.checked_mul(theirs)?);
        Some(Self { over, under })
    }

    /// So much of the sum. `None` when it does not fit.
    #[must_use]
    pub fn times(self, factor: Ratio) -> Option<Self> {
        let over = self.over.checked_mul(u128::from(factor.over))?;
        let under = self.under.checked_mul(u128::from(factor.under.get()))?;
        let (over, under) = reduced(over, under);
        Some(Self { over, under })
    }

    /// The sum in nano-dollars, rounded up. `None` when it is too large for an amount.
    pub fn rounded_up(self) -> Option<NanoUsd> {
        let under = self.under.checked_mul(1000)?;
        i64::try_from(self.over.div_ceil(under)).ok().map(NanoUsd)
    }
}

const fn reduced(over: u128, under: u128) -> (u128, u128) {
    match greatest_common(over, under) {
        0 | 1 => (over, under),
        common => (over / common, under / common),
    }
}

const fn greatest_common(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-4
    #[test]
    fn amounts_parse_or_say_why_not() {
        use ParseAmountError::{NoUnit, NotDecimal, TooLarge};
        for (name, text, want) in [
            ("with sign and point", "$12.50", Ok(12_500_000_000)),
            ("without sign", "12.50", Ok(12_500_000_000)),
            ("sign, no point", "$12", Ok(12_000_000_000)),
            ("neither", "12", Err(NoUnit)),
            ("the smallest", "0.000000001", Ok(1)),
            ("ten places", "0.0000000001", Err(NotDecimal)),
            ("nothing", "", Err(NotDecimal)),
            ("only a sign", "$", Err(NotDecimal)),
            ("no digit before the point", ".5", Err(NotDecimal)),
            ("no digit after it", "5.", Err(NotDecimal)),
            ("below zero", "-1.00", Err(NotDecimal)),
            ("a float", "1e3", Err(NotDecimal)),
            ("blanks", " 1.00", Err(NotDecimal)),
            ("other digits", "１.00", Err(NotDecimal)),
            ("eleven digits", "$12345678901", Err(NotDecimal)),
            ("the largest", "$9223372036.854775807", Ok(i64::MAX)),
            ("one more", "$9223372036.854775808", Err(TooLarge)),
        ] {
            assert_eq!(text.parse().map(NanoUsd::get), want, "{name}");
        }
    }

    // LED-1 LED-3
    #[test]
    fn what_does_not_fit_is_told() {
        let one = NanoUsd::new(1);
        assert_eq!(NanoUsd::MAX.checked_add(one), None);
        assert_eq!(NanoUsd::new(i64::MIN).checked_sub(one), None);
        assert_eq!(PicoUsd::new(PicoUsd::MAX.get() + 1), None);
        let most = ExactSum::default().plus(1 << 40, PicoUsd::MAX, &[]);
        assert_eq!(most.unwrap().rounded_up(), None);
        let huge: Ratio = "1000000/1".parse().unwrap();
        let far = ExactSum::default().plus(u64::MAX, PicoUsd::MAX, &[huge; 4]);
        assert_eq!(far, None);
    }

    // LED-3
    #[test]
    fn sums_are_exact_and_rounded_up_once() {
        let rate = |pico| PicoUsd::new(pico).unwrap();
        let third: Ratio = "1/3".parse().unwrap();
        let half: Ratio = "1/2".parse().unwrap();
        let sum = |parts: &[(u64, u64, &[Ratio])]| {
            let mut sum = ExactSum::default();
            for (count, pico, factors) in parts {
                sum = sum.plus(*count, rate(*pico), factors).unwrap();
            }
            sum.rounded_up().unwrap().get()
        };
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[(0, 5, &[])]), 0);
        assert_eq!(sum(&[(1, 1, &[])]), 1);
        assert_eq!(sum(&[(1, 600, &[]), (1, 400, &[])]), 1);
        assert_eq!(sum(&[(1, 1000, &[third] as &[_]); 3]), 1);
        assert_eq!(sum(&[(1, 1000, &[third]), (1, 1000, &[half])]), 1);
        assert_eq!(sum(&[(1, 1000, &[third]), (1, 2001, &[third])]), 2);
    }

    // LED-3 LED-34
    #[test]
    fn a_part_of_a_sum_is_exact_and_of_an_amount_rounded_up() {
        let rate = PicoUsd::new(333).unwrap();
        let tenth_more: Ratio = "11/10".parse().unwrap();
        let sum = ExactSum::default().plus(100, rate, &[]).unwrap();
        let nano = |sum: ExactSum| sum.rounded_up().unwrap().get();
        assert_eq!(nano(sum), 34);
        // 33.3 and a tenth are 36.63; of what was rounded already it would be 38.
        assert_eq!(nano(sum.times(tenth_more).unwrap()), 37);
        assert_eq!(
            tenth_more.of_amount(NanoUsd::new(34)),
            Some(NanoUsd::new(38))
        );
        assert_eq!(
            Ratio::ONE.of_amount(NanoUsd::new(34)),
            Some(NanoUsd::new(34))
        );
        assert_eq!(tenth_more.of_amount(NanoUsd::MAX), None);
        assert_eq!(tenth_more.of_amount(NanoUsd::new(-1)), None);
        assert_eq!(ExactSum::default().times(tenth_more).map(nano), Some(0));
    }

    #[test]
    fn factors_are_fractions_of_whole_numbers() {
        for text in ["1/2", "6/1", "11/10", "0/1"] {
            assert_eq!(text.parse::<Ratio>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "1",
            "1/0",
            "/2",
            "1/",
            "-1/2",
            "+1/2",
            "0.5/1",
            "1/2/3",
            "1/1000001",
        ] {
            assert_eq!(text.parse::<Ratio>(), Err(ParseRatioError), "{text}");
        }
    }

    proptest::proptest! {
        // LED-4
        #[test]
        fn display_and_parse_are_inverse(nano in 0..=i64::MAX) {
            let amount = NanoUsd::new(nano);
            proptest::prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }
}
