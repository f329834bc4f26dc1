//! What a call takes of a session, and what is left of it.

use crate::price::Price;
use std::time::Duration;

/// How a session is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Model {
    /// Any number of calls until it ends.
    TimePass,
    /// So many calls.
    TokenBucket,
    /// So much for each call.
    Metered,
    /// So much for each KiB delivered.
    PerKb,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::TimePass,
        Self::TokenBucket,
        Self::Metered,
        Self::PerKb,
    ];

    /// Its name in settings, tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimePass => "time_pass",
            Self::TokenBucket => "token_bucket",
            Self::Metered => "metered",
            Self::PerKb => "per_kb",
        }
    }

    /// The model of a name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.as_str() == word)
    }
}

/// What a payment on a route buys, where that is more than one call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Billing {
    /// How it is used up.
    pub model: Model,
    /// For how long it lasts.
    pub lasts: Duration,
    /// Calls that it buys; of `token_bucket` alone.
    pub calls: u64,
    /// What a call or a KiB takes of it; of `metered` and `per_kb`.
    pub unit: Option<Price>,
    /// KiB that are set aside at a time; of `per_kb`.
    pub step_kib: u64,
}

impl Billing {
    /// In words, for those who are asked to pay.
    pub fn told(&self) -> String {
        let unit = self.unit.as_ref().map(Price::to_string).unwrap_or_default();
        match self.model {
            Model::TimePass => {
                let minutes = self.lasts.as_secs() / 60;
                format!("A pass for {minutes} minutes.")
            }
            Model::TokenBucket => format!("{} calls.", self.calls),
            Model::Metered => format!("A deposit: each call takes {unit} of it."),
            Model::PerKb => format!("A deposit: each KiB of answers takes {unit} of it."),
        }
    }
}

/// What a session is used up by, as it was bought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// How.
    pub model: Model,
    /// What a call or a KiB takes, in the smallest unit of what was paid in; 0 for those that have
    /// none.
    pub unit: u64,
}

/// What nobody has taken of a session yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Balance {
    /// Money, in the smallest unit of what was paid in.
    pub money: u64,
    /// Calls; of `token_bucket` alone.
    pub calls: u64,
}

/// Bytes of what `per_kb` counts.
const KIB: u64 = 1024;

impl Terms {
    /// What is set aside before a call; `kib` is what `per_kb` sets aside at a time, or what there
    /// is. `None`: there is not enough left.
    pub fn hold(&self, balance: Balance, kib: u64) -> Option<Balance> {
        match self.model {
            Model::TimePass => Some(Balance::default()),
            // The last call takes what division has left over.
            Model::TokenBucket => Some(Balance {
                money: balance.money.checked_div(balance.calls)?,
                calls: 1,
            }),
            Model::Metered => (self.unit > 0 && balance.money >= self.unit).then_some(Balance {
                money: self.unit,
                calls: 0,
            }),
            Model::PerKb => {
                let kib = balance.money.checked_div(self.unit)?.min(kib);
                (kib > 0).then_some(Balance {
                    money: kib.saturating_mul(self.unit),
                    calls: 0,
                })
            }
        }
    }

    /// Bytes that may be delivered for so much money; all of them, where bytes are not counted.
    pub fn bytes_for(&self, money: u64) -> u64 {
        match self.model {
            Model::TimePass | Model::TokenBucket | Model::Metered => u64::MAX,
            Model::PerKb => {
                let kib = money.checked_div(self.unit).unwrap_or(0);
                kib.saturating_mul(KIB)
            }
        }
    }

    /// What so many bytes take, where bytes are counted.
    pub fn charge_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(KIB).saturating_mul(self.unit)
    }

    /// What its holder is told is left: calls, or KiB. `None`: it does not become less.
    pub fn left(&self, balance: Balance) -> Option<u64> {
        match self.model {
            Model::TimePass => None,
            Model::TokenBucket => Some(balance.calls),
            Model::Metered | Model::PerKb => {
                Some(balance.money.checked_div(self.unit).unwrap_or(0))
            }
        }
    }
}

impl Balance {
    /// Without what is taken of it; `None`: there is less.
    pub fn without(self, taken: Self) -> Option<Self> {
        Some(Self {
            money: self.money.checked_sub(taken.money)?,
            calls: self.calls.checked_sub(taken.calls)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn terms(model: Model, unit: u64) -> Terms {
        Terms { model, unit }
    }

    const fn money(money: u64) -> Balance {
        Balance { money, calls: 0 }
    }

    /// Asks for a call of so much money, calls left and KiB: what it takes.
    fn taken(terms: Terms, (money, calls, kib): (u64, u64, u64)) -> Option<(u64, u64)> {
        let taken = terms.hold(Balance { money, calls }, kib)?;
        Some((taken.money, taken.calls))
    }

    // PAY-77
    #[test]
    fn a_call_takes_what_its_model_says() {
        let pass = terms(Model::TimePass, 0);
        let bucket = terms(Model::TokenBucket, 0);
        let (metered, per_kb) = (terms(Model::Metered, 4), terms(Model::PerKb, 4));
        let free = terms(Model::PerKb, 0);
        for (name, terms, balance, want) in [
            ("a pass takes nothing", pass, (9, 0, 0), Some((0, 0))),
            ("even an earned one", pass, (0, 0, 0), Some((0, 0))),
            ("a third", bucket, (10, 3, 0), Some((3, 1))),
            ("the rest", bucket, (4, 1, 0), Some((4, 1))),
            ("less than a unit", bucket, (1, 2, 0), Some((0, 1))),
            ("no call left", bucket, (0, 0, 0), None),
            ("a unit", metered, (9, 0, 0), Some((4, 0))),
            ("the last unit", metered, (4, 0, 0), Some((4, 0))),
            ("not enough", metered, (3, 0, 0), None),
            ("a step", per_kb, (99, 0, 10), Some((40, 0))),
            ("what is left of one", per_kb, (11, 0, 10), Some((8, 0))),
            ("less than a KiB", per_kb, (3, 0, 10), None),
            ("without a unit", free, (3, 0, 10), None),
        ] {
            assert_eq!(taken(terms, balance), want, "{name}");
        }
    }

    // PAY-77
    #[test]
    fn bytes_are_counted_by_whole_kib() {
        let terms = terms(Model::PerKb, 3);
        for (bytes, want) in [(0, 0), (1, 3), (1024, 3), (1025, 6), (10 * 1024, 30)] {
            assert_eq!(terms.charge_for(bytes), want, "{bytes}");
        }
        assert_eq!(terms.bytes_for(8), 2 * 1024);
        assert_eq!(terms.left(money(8)), Some(2));
    }

    proptest! {
        // PAY-77
        #[test]
        fn a_bucket_gives_its_calls_and_all_of_its_money(paid in 1_u64..1_000_000, calls in 1_u64..500) {
            let terms = terms(Model::TokenBucket, 0);
            let mut balance = Balance { money: paid, calls };
            let mut earned = 0;
            for _ in 0..calls {
                let taken = terms.hold(balance, 0).unwrap();
                earned += taken.money;
                balance = balance.without(taken).unwrap();
            }
            prop_assert_eq!(earned, paid);
            prop_assert_eq!(terms.hold(balance, 0), None);
        }

        // PAY-77
        #[test]
        fn what_is_delivered_within_a_hold_costs_no_more_than_it(
            unit in 1_u64..1_000, balance in 0_u64..1_000_000, kib in 1_u64..1_000, share in 0_u64..=100,
        ) {
            let terms = terms(Model::PerKb, unit);
            if let Some(held) = terms.hold(money(balance), kib) {
                let bytes = terms.bytes_for(held.money) * share / 100;
                prop_assert!(held.money <= balance && terms.charge_for(bytes) <= held.money);
            } else {
                prop_assert!(balance < unit);
            }
        }
    }
}
