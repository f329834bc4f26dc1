//! Amounts that never wrap: how much is taken, spent, left.
//!
//! An amount says nothing of its unit; the budget or account it belongs to does.

use std::fmt;

/// So much of some unit, never below zero.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Amount(i64);

impl Amount {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i64::MAX);

    /// The amount, or nothing if it is below zero.
    pub const fn new(units: i64) -> Option<Self> {
        if units < 0 { None } else { Some(Self(units)) }
    }

    pub const fn units(self) -> i64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub const fn plus(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or nothing if `other` is more.
    pub const fn minus(self, other: Self) -> Option<Self> {
        Self::new(self.0.saturating_sub(other.0))
    }

    /// What is more than `other`, zero if nothing is.
    pub fn above(self, other: Self) -> Self {
        self.minus(other).unwrap_or(Self::ZERO)
    }

    /// The amount after a change, or nothing if that is below zero or too much.
    pub const fn changed(self, by: Delta) -> Option<Self> {
        match self.0.checked_add(by.0) {
            Some(sum) => Self::new(sum),
            None => None,
        }
    }

    /// This many hundredths of it, rounded down.
    pub fn percent(self, hundredths: u8) -> Self {
        let part = i128::from(self.0) * i128::from(hundredths) / 100;
        Self(i64::try_from(part).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change of an amount, up or down.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Delta(i64);

impl Delta {
    pub const NONE: Self = Self(0);

    pub const fn up(amount: Amount) -> Self {
        Self(amount.0)
    }

    pub const fn down(amount: Amount) -> Self {
        Self(-amount.0)
    }

    /// The other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self(self.0.saturating_neg())
    }

    pub const fn units(self) -> i64 {
        self.0
    }
}

/// What of a call a budget counts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Measure {
    /// Money, in the smallest part of the budget's unit.
    Cost,
    Tokens,
    OutputTokens,
    /// Tokens without those read from a cache.
    BillableTokens,
    Requests,
}

/// One call in every measure: its bound before, its actual size after.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Charge {
    pub cost: Amount,
    pub tokens: Amount,
    pub output_tokens: Amount,
    pub billable_tokens: Amount,
    pub requests: Amount,
}

impl Charge {
    pub const NOTHING: Self = Self {
        cost: Amount::ZERO,
        tokens: Amount::ZERO,
        output_tokens: Amount::ZERO,
        billable_tokens: Amount::ZERO,
        requests: Amount::ZERO,
    };

    pub const fn of(&self, measure: Measure) -> Amount {
        match measure {
            Measure::Cost => self.cost,
            Measure::Tokens => self.tokens,
            Measure::OutputTokens => self.output_tokens,
            Measure::BillableTokens => self.billable_tokens,
            Measure::Requests => self.requests,
        }
    }

    /// Whether it is what a route asks for, and no upstream's bill: that has tokens, if only those that
    /// templates add (LED-40, LED-55).
    pub const fn is_price(&self) -> bool {
        !self.cost.is_zero() && self.tokens.is_zero()
    }

    /// Both together, measure by measure, or nothing where that is too much to count.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cost: self.cost.plus(other.cost)?,
            tokens: self.tokens.plus(other.tokens)?,
            output_tokens: self.output_tokens.plus(other.output_tokens)?,
            billable_tokens: self.billable_tokens.plus(other.billable_tokens)?,
            requests: self.requests.plus(other.requests)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-1
    #[test]
    fn amounts_never_wrap_and_never_fall_below_zero() {
        let one = Amount::new(1).unwrap();
        assert_eq!(Amount::new(-1), None);
        assert_eq!(Amount::MAX.plus(one), None);
        assert_eq!(Amount::ZERO.minus(one), None);
        assert_eq!(Amount::ZERO.changed(Delta::down(one)), None);
        assert_eq!(Amount::MAX.changed(Delta::up(one)), None);
        assert_eq!(Amount::MAX.percent(100), Amount::MAX);
        assert_eq!(one.above(Amount::MAX), Amount::ZERO);
    }
}
