//! Prices as operators write them, and what they come to in units of a token.

use std::fmt;
use std::str::FromStr;
use tollkeep_types::money::{NanoUsd, ParseAmountError};

/// What something costs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Price {
    /// Dollars.
    Usd(NanoUsd),
    /// Thousandths of a satoshi.
    Msat(u64),
    /// Both, written by hand: neither is made of the other.
    Both {
        /// Dollars.
        usd: NanoUsd,
        /// Thousandths of a satoshi.
        msat: u64,
    },
    /// The smallest units of one asset.
    Asset {
        /// Its symbol.
        symbol: Box<str>,
        /// So many of them.
        amount: u128,
    },
}

/// Why a text is no price.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PriceFault {
    /// A whole number may be dollars or the smallest unit of a token.
    #[error(
        "is ambiguous: write \"$1\" for dollars, \"21sat\" for Lightning, or \
         {{asset: USDC, amount: \"10000\"}} for the smallest units of a token"
    )]
    Ambiguous,
    /// Not one of the spellings.
    #[error(
        "is not a price: write dollars as \"$0.01\" with at most 10 digits and 9 decimals, or \
         \"21sat\", \"1500msat\""
    )]
    NotAPrice,
    /// Beyond what is counted with.
    #[error("is out of range: at most $9223372036.854775807")]
    OutOfRange,
}

/// Digits of a price in sats.
const SAT_DIGITS_MAX: usize = 15;
/// Decimals of nano-dollars.
const NANO_DECIMALS: u32 = 9;

impl Price {
    /// Whether it is exactly nothing. A price that is rounded to nothing does not exist.
    pub fn is_free(&self) -> bool {
        match self {
            Self::Usd(usd) => usd.get() == 0,
            Self::Msat(msat) => *msat == 0,
            Self::Both { usd, msat } => usd.get() == 0 && *msat == 0,
            Self::Asset { amount, .. } => *amount == 0,
        }
    }

    /// The dollars in it, if it has any.
    pub fn usd(&self) -> Option<NanoUsd> {
        match self {
            Self::Usd(usd) | Self::Both { usd, .. } => Some(*usd),
            Self::Msat(_) | Self::Asset { .. } => None,
        }
    }

    /// The Lightning amount in it, if it has one.
    pub fn msat(&self) -> Option<u64> {
        match self {
            Self::Msat(msat) | Self::Both { msat, .. } => Some(*msat),
            Self::Usd(_) | Self::Asset { .. } => None,
        }
    }

    /// The same with its dollars raised.
    #[must_use]
    pub(crate) fn with_usd(self, usd: NanoUsd) -> Self {
        match self {
            Self::Usd(_) => Self::Usd(usd),
            Self::Both { msat, .. } => Self::Both { usd, msat },
            Self::Msat(_) | Self::Asset { .. } => self,
        }
    }
}

/// What dollars come to in the smallest units of a token with so many decimals and the worth of a
/// dollar: rounded up, so that a price is never rounded to nothing. `None` is more than can be
/// counted, or less than nothing.
pub fn token_units(usd: NanoUsd, decimals: u8) -> Option<u128> {
    let nanos = u128::try_from(usd.get()).ok()?;
    let factor = 10_u128.checked_pow(u32::from(decimals))?;
    let scale = 10_u128.pow(NANO_DECIMALS);
    nanos
        .checked_mul(factor)
        .map(|product| product.div_ceil(scale))
}

impl FromStr for Price {
    type Err = PriceFault;

    /// `$0.01`, `0.01`, `$1`, `21sat` or `1500msat`, and nothing else.
    fn from_str(text: &str) -> Result<Self, PriceFault> {
        if let Some(digits) = text.strip_suffix("msat") {
            return sats(digits).map(Self::Msat);
        }
        if let Some(digits) = text.strip_suffix("sat") {
            let msat = sats(digits)?.checked_mul(1000);
            return msat
                .filter(|msat| i64::try_from(*msat).is_ok())
                .map(Self::Msat)
                .ok_or(PriceFault::OutOfRange);
        }
        text.parse().map(Self::Usd).map_err(|fault| match fault {
            ParseAmountError::NoUnit => PriceFault::Ambiguous,
            ParseAmountError::NotDecimal => PriceFault::NotAPrice,
            ParseAmountError::TooLarge => PriceFault::OutOfRange,
        })
    }
}

fn sats(digits: &str) -> Result<u64, PriceFault> {
    let is_number = (1..=SAT_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(PriceFault::NotAPrice);
    }
    digits.parse().map_err(|_| PriceFault::OutOfRange)
}

/// As it may be written, without needless decimals.
impl fmt::Display for Price {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usd(usd) => dollars(*usd, out),
            Self::Msat(msat) => sat_text(*msat, out),
            Self::Both { usd, msat } => {
                dollars(*usd, out)?;
                out.write_str(" or ")?;
                sat_text(*msat, out)
            }
            Self::Asset { symbol, amount } => write!(out, "{amount} units of {symbol}"),
        }
    }
}

fn sat_text(msat: u64, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if msat.is_multiple_of(1000) {
        write!(out, "{}sat", msat / 1000)
    } else {
        write!(out, "{msat}msat")
    }
}

fn dollars(usd: NanoUsd, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = usd.to_string();
    let short = text.trim_end_matches('0');
    let short = short.strip_suffix('.').unwrap_or(short);
    write!(out, "${short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-21
    #[test]
    fn units_are_those_of_the_token_and_rounded_up() {
        for (name, text, decimals, want) in [
            ("six decimals", "$0.01", 6, Some(10_000)),
            ("eighteen", "$0.01", 18, Some(10_000_000_000_000_000)),
            ("none", "$0.01", 0, Some(1)),
            ("two", "$1.005", 2, Some(101)),
            ("less than a unit", "$0.0000001", 6, Some(1)),
            ("nothing", "$0", 6, Some(0)),
            (
                "the dearest in eighteen",
                "$9223372036.854775807",
                18,
                Some(9_223_372_036_854_775_807_000_000_000),
            ),
            ("beyond", "$9223372036.854775807", 30, None),
            ("far beyond", "$1", 255, None),
        ] {
            let Ok(Price::Usd(usd)) = text.parse() else {
                panic!("{name}");
            };
            assert_eq!(token_units(usd, decimals), want, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_price_above_nothing_is_never_nothing(nano in 1_i64.., decimals in 0_u8..18) {
            let units = token_units(NanoUsd::new(nano), decimals);
            proptest::prop_assert!(units.is_some_and(|units| units >= 1));
        }

        #[test]
        fn written_and_read_are_inverse(nano in 0_i64.., msat in 0_u64..1_000_000_000_000_000) {
            for price in [Price::Usd(NanoUsd::new(nano)), Price::Msat(msat)] {
                proptest::prop_assert_eq!(price.to_string().parse(), Ok(price));
            }
        }
    }
}
