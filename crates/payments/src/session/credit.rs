//! Credit that is bought ahead: money of a payer that pays for all that a tenant sells by the request.

use crate::price::{Price, token_units};
use std::time::Duration;
use tollkeep_types::money::NanoUsd;

/// What a session is for that is credit: all of its tenant. No route is called so.
pub const CREDIT_SCOPE: &str = "*";
/// Decimals of a dollar that are counted with.
const NANO_DECIMALS: u32 = 9;

/// On what terms credit is sold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CreditTerms {
    /// The least that is sold at once.
    pub min: NanoUsd,
    /// The most.
    pub max: NanoUsd,
    /// For how long it lasts.
    pub lasts: Duration,
}

impl CreditTerms {
    /// Whether so much is sold.
    pub fn sells(&self, amount: NanoUsd) -> bool {
        (self.min..=self.max).contains(&amount)
    }

    /// What is sold, in words.
    pub fn told(&self) -> String {
        format!("from {} to {}", Price::Usd(self.min), Price::Usd(self.max))
    }
}

/// How many dollars a caller asks to buy: `$5` or `$0.50`, more than nothing. `None`: that can't be
/// read.
pub fn credit_asked(text: &str) -> Option<NanoUsd> {
    let amount: NanoUsd = text.strip_prefix('$').and(text.parse().ok())?;
    (amount > NanoUsd::ZERO).then_some(amount)
}

/// What a call of this price takes of credit that was paid in dollars of a token with this symbol and
/// so many decimals. `None`: it can't be paid with it.
pub fn credit_units(price: &Price, symbol: &str, decimals: u8) -> Option<u64> {
    let units = match price {
        Price::Usd(usd) | Price::Both { usd, .. } => token_units(*usd, decimals),
        Price::Asset { symbol: of, amount } if **of == *symbol => Some(*amount),
        Price::Asset { .. } | Price::Msat(_) => return None,
    };
    // More than can be counted is more than anybody has.
    let units = units.and_then(|units| u64::try_from(units).ok());
    Some(units.unwrap_or(u64::MAX))
}

/// So many of the smallest units of a dollar token, as dollars: `$4.99`, rounded down.
pub fn dollars_left(units: u64, decimals: u8) -> String {
    let scale = 10_u128.checked_pow(u32::from(decimals));
    let nanos = u128::from(units).saturating_mul(10_u128.pow(NANO_DECIMALS));
    let nanos = scale
        .and_then(|scale| nanos.checked_div(scale))
        .unwrap_or(0);
    let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
    Price::Usd(NanoUsd::new(nanos)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(text: &str) -> Price {
        text.parse().unwrap()
    }

    // PAY-20 PAY-75
    #[test]
    fn credit_is_asked_for_in_dollars_and_nothing_else() {
        for (text, want) in [
            ("$5", Some(5_000_000_000)),
            ("$0.50", Some(500_000_000)),
            ("$0.000000001", Some(1)),
            ("$0", None),
            ("$0.0", None),
            ("5", None),
            ("0.5", None),
            ("$-5", None),
            ("-$5", None),
            ("$+5", None),
            ("$ 5", None),
            (" $5", None),
            ("$5 ", None),
            ("$$5", None),
            ("$5e3", None),
            ("$1,000", None),
            ("$.5", None),
            ("$5.", None),
            ("$99999999999", None),
            ("$9999999999", None),
            ("$0.0000000001", None),
            ("$٥", None),
            ("5sat", None),
            ("$5sat", None),
            ("$", None),
            ("", None),
        ] {
            assert_eq!(credit_asked(text).map(NanoUsd::get), want, "{text:?}");
        }
    }

    // PAY-75
    #[test]
    fn what_is_sold_has_both_its_bounds() {
        let terms = CreditTerms {
            min: NanoUsd::new(10),
            max: NanoUsd::new(20),
            lasts: Duration::from_secs(60),
        };
        for (amount, sold) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(terms.sells(NanoUsd::new(amount)), sold, "{amount}");
        }
        assert_eq!(terms.told(), "from $0.00000001 to $0.00000002");
    }

    // PAY-21 PAY-75
    #[test]
    fn a_call_takes_its_price_in_the_token_that_was_paid() {
        let units = |price: &Price| credit_units(price, "USDC", 6);
        let of = |symbol: &str| Price::Asset {
            symbol: symbol.into(),
            amount: 7,
        };
        for (name, price, want) in [
            ("dollars", usd("$0.01"), Some(10_000)),
            ("rounded up", usd("$0.0000001"), Some(1)),
            (
                "both",
                Price::Both {
                    usd: NanoUsd::new(1_000),
                    msat: 9,
                },
                Some(1),
            ),
            ("its own units", of("USDC"), Some(7)),
            ("units of another", of("EURC"), None),
            ("sats", usd("21sat"), None),
        ] {
            assert_eq!(units(&price), want, "{name}");
        }
        let dear = usd("$9223372036.854775807");
        assert_eq!(
            credit_units(&dear, "DAI", 18),
            Some(u64::MAX),
            "nobody has it"
        );
        assert_eq!(credit_units(&dear, "ODD", 255), Some(u64::MAX));
    }

    // PAY-75
    #[test]
    fn what_is_left_is_told_in_dollars() {
        for (units, decimals, want) in [
            (4_990_000, 6, "$4.99"),
            (5_000_000, 6, "$5"),
            (1, 6, "$0.000001"),
            (0, 6, "$0"),
            (1, 18, "$0"),
            (7, 0, "$7"),
            (u64::MAX, 0, "$9223372036.854775807"),
            (1, 255, "$0"),
        ] {
            assert_eq!(dollars_left(units, decimals), want, "{units} {decimals}");
        }
    }

    proptest! {
        // PAY-75
        #[test]
        fn whoever_buys_a_price_can_pay_it(nanos in 1_i64..1_000_000_000_000, decimals in 0_u8..9) {
            let price = Price::Usd(NanoUsd::new(nanos));
            let bought = token_units(NanoUsd::new(nanos), decimals).unwrap();
            let takes = credit_units(&price, "USDC", decimals).unwrap();
            prop_assert_eq!(u128::from(takes), bought);
            prop_assert!(takes > 0);
        }

        #[test]
        fn no_text_is_read_as_nothing(text in "\\PC{0,12}") {
            if let Some(amount) = credit_asked(&text) {
                prop_assert!(amount > NanoUsd::ZERO && text.starts_with('$'));
            }
        }
    }
}
