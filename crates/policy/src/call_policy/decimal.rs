//! A JSON number as the shortest decimal that means the same.

/// Places before or after the point that are written out. What is further away is compared with
/// nothing: no operator lists such a value.
const PLACES_MAX: i64 = 400;

/// The shortest decimal of a JSON number: `1.50` is `1.5`, `1e2` is `100`, `-0` is `0`. Nothing for
/// what is no number, or far too long.
pub(super) fn decimal(written: &str) -> Option<String> {
    let (sign, rest) = match written.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", written),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    // The number is 0.DIGITS times ten to the power of `point`.
    let digits = format!("{whole}{fraction}");
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let leading = digits.bytes().take_while(|byte| *byte == b'0').count();
    let digits = digits.get(leading..)?.trim_end_matches('0');
    let point = point.checked_sub(i64::try_from(leading).ok()?)?;
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    if point.checked_abs()? > PLACES_MAX {
        return None;
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
    let len = i64::try_from(digits.len()).ok()?;
    Some(match usize::try_from(point) {
        Ok(at) if at > 0 && point < len => {
            let (whole, fraction) = digits.split_at_checked(at)?;
            format!("{sign}{whole}.{fraction}")
        }
        Ok(at) if at > 0 => format!("{sign}{digits}{}", zeros(point.saturating_sub(len))),
        _ => format!("{sign}0.{}{digits}", zeros(point.saturating_neg())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-91
    #[test]
    fn a_number_has_one_shortest_decimal() {
        for (written, want) in [
            ("0", Some("0")),
            ("-0", Some("0")),
            ("0.0e9", Some("0")),
            ("0.7", Some("0.7")),
            ("0.70", Some("0.7")),
            ("7e-1", Some("0.7")),
            ("70E-2", Some("0.7")),
            ("1", Some("1")),
            ("1.0", Some("1")),
            ("1e0", Some("1")),
            ("100", Some("100")),
            ("1e2", Some("100")),
            ("1.5e+1", Some("15")),
            ("12.25", Some("12.25")),
            ("-12.250", Some("-12.25")),
            (
                "123456789012345678901234567890",
                Some("123456789012345678901234567890"),
            ),
            ("0.001", Some("0.001")),
            ("1e-3", Some("0.001")),
            ("1e401", None),
            ("1e-402", None),
            ("1e99999999999999999999", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("1x", None),
        ] {
            assert_eq!(decimal(written).as_deref(), want, "{written}");
        }
    }

    proptest::proptest! {
        // ID-91
        #[test]
        fn spellings_of_one_number_have_one_decimal(
            digits in 1_u64..1_000_000, zeros in 0_usize..6, shift in 0_i32..12,
        ) {
            let plain = decimal(&digits.to_string());
            let padded = format!("{digits}{}e-{zeros}", "0".repeat(zeros));
            proptest::prop_assert_eq!(&decimal(&padded), &plain);
            let with_point = format!("{digits}.{}", "0".repeat(zeros + 1));
            proptest::prop_assert_eq!(&decimal(&with_point), &plain);
            let there = decimal(&format!("{digits}e{shift}")).unwrap();
            let back = decimal(&format!("{there}e-{shift}"));
            proptest::prop_assert_eq!(back, plain);
        }
    }
}
