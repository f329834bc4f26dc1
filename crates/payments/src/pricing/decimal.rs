//! Numbers of JSON as exact decimals: `4`, `4.0` and `40e-1` are one number.

use std::fmt;

/// An exact decimal: digits without zeros around them, times a power of ten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decimal {
    is_negative: bool,
    digits: Box<str>,
    exponent: i64,
}

impl Decimal {
    /// The number of this text, which is one by the grammar of JSON. `None` is also a power of ten
    /// that nobody means.
    pub fn new(text: &str) -> Option<Self> {
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, exponent_of(power)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        if !is_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Self {
                is_negative: false,
                digits: "".into(),
                exponent: 0,
            });
        }
        let shifted = i64::try_from(digits.len() - significant.len()).ok()?;
        let fraction = i64::try_from(fraction.len()).ok()?;
        Some(Self {
            is_negative,
            digits: significant.into(),
            exponent: exponent.checked_sub(fraction)?.checked_add(shifted)?,
        })
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn exponent_of(power: &str) -> Option<i64> {
    let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
    is_digits(digits).then(|| power.parse().ok()).flatten()
}

impl fmt::Display for Decimal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return out.write_str("0");
        }
        let sign = if self.is_negative { "-" } else { "" };
        write!(out, "{sign}{}", self.digits)?;
        if self.exponent == 0 {
            return Ok(());
        }
        write!(out, "e{}", self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-25
    #[test]
    fn numbers_compare_as_what_they_are() {
        for (one, other, same) in [
            ("4", "4.0", true),
            ("4", "40e-1", true),
            ("4", "0.4E+1", true),
            ("0", "-0.0", true),
            ("0", "0e5", true),
            ("100", "1e2", true),
            ("4", "-4", false),
            ("4", "4.0000000000000000000000001", false),
            ("9007199254740993", "9007199254740992", false),
            ("0.1", "0.10", true),
        ] {
            let [one, other] = [one, other].map(|text| Decimal::new(text).unwrap());
            assert_eq!(one == other, same, "{one} {other}");
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            ".5",
            "1.",
            "1e",
            "1e+",
            "0x1",
            "1_0",
            " 1",
            "1e99999999999999999999",
        ] {
            assert_eq!(Decimal::new(text), None, "{text}");
        }
    }
}
