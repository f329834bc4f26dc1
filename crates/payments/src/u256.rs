//! Whole numbers of 256 bits, as amounts and nonces of EVM chains are: read, compared, written.

use std::fmt;

/// A number below 2²⁵⁶, most significant byte first, so that order of bytes is order of numbers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct U256([u8; 32]);

/// Decimal digits of the largest number.
const DIGITS_MAX: usize = 78;

impl U256 {
    /// Nothing.
    pub const ZERO: Self = Self([0; 32]);

    /// The number of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, most significant first.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The number that a decimal text is: `0`, or digits that don't start with one. No sign, no
    /// space, no other base.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let is_canonical = text == "0" || !text.starts_with('0');
        if text.is_empty() || text.len() > DIGITS_MAX || !is_canonical {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for digit in text.bytes() {
            if !digit.is_ascii_digit() {
                return None;
            }
            let mut carry = u16::from(digit - b'0');
            for byte in bytes.iter_mut().rev() {
                let [low, high] = (u16::from(*byte) * 10 + carry).to_le_bytes();
                *byte = low;
                carry = u16::from(high);
            }
            if carry > 0 {
                return None;
            }
        }
        Some(Self(bytes))
    }

    /// The number, if it is below 2¹²⁸.
    pub fn to_u128(self) -> Option<u128> {
        let (high, low) = self.0.split_at(16);
        if high.iter().any(|byte| *byte > 0) {
            return None;
        }
        low.try_into().ok().map(u128::from_be_bytes)
    }
}

impl From<u128> for U256 {
    fn from(number: u128) -> Self {
        let mut bytes = [0; 32];
        for (slot, byte) in bytes.iter_mut().skip(16).zip(number.to_be_bytes()) {
            *slot = byte;
        }
        Self(bytes)
    }
}

impl From<u64> for U256 {
    fn from(number: u64) -> Self {
        Self::from(u128::from(number))
    }
}

impl fmt::Display for U256 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.to_u128() {
            return write!(out, "{number}");
        }
        let mut rest = self.0;
        let mut digits = Vec::with_capacity(DIGITS_MAX);
        while rest.iter().any(|byte| *byte > 0) {
            let mut left = 0_u16;
            for byte in &mut rest {
                let value = left * 256 + u16::from(*byte);
                // Below 256, since `left` is below ten.
                let [quotient, _] = (value / 10).to_le_bytes();
                *byte = quotient;
                left = value % 10;
            }
            let [digit, _] = left.to_le_bytes();
            digits.push(char::from(b'0' + digit));
        }
        out.write_str(&digits.into_iter().rev().collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: &str =
        "115792089237316195423570985008687907853269984665640564039457584007913129639935";

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        assert_eq!(U256::from_decimal("0"), Some(U256::ZERO));
        assert_eq!(U256::from_decimal("256"), Some(U256::from(256_u64)));
        assert_eq!(
            U256::from_decimal(LARGEST),
            Some(U256::from_bytes([0xff; 32]))
        );
        let above = format!("{}6", LARGEST.strip_suffix('5').unwrap());
        for text in [
            "", "00", "01", "-1", "+1", " 1", "1 ", "0x10", "1e3", "1.0", "٣", &above,
        ] {
            assert_eq!(U256::from_decimal(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn written_and_read_are_inverse(bytes: [u8; 32], keep in 0_usize..33) {
            let mut bytes = bytes;
            bytes.iter_mut().take(32 - keep.min(32)).for_each(|byte| *byte = 0);
            let number = U256::from_bytes(bytes);
            proptest::prop_assert_eq!(U256::from_decimal(&number.to_string()), Some(number));
        }

        #[test]
        fn order_is_that_of_numbers(one: u128, other: u128) {
            proptest::prop_assert_eq!(U256::from(one).cmp(&U256::from(other)), one.cmp(&other));
        }
    }
}
