//! Decimal text as pico-dollars, without floats.

/// Pico-dollars of `text` dollars divided by `per`, rounded up where they are no whole number.
pub(super) fn pico(text: &str, per: u128) -> Option<u64> {
    /// Decimals that are looked at; no source has more.
    const DECIMALS: usize = 20;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
        return None;
    }
    let scaled: u128 = format!("{whole}{fraction:0<DECIMALS$}").parse().ok()?;
    // 10^12 pico-dollars in a dollar.
    let under = 10_u128.pow(20 - 12) * per;
    u64::try_from(scaled.div_ceil(under)).ok()
}

/// Whether two rates agree within a thousandth.
pub(super) fn agree(left: u64, right: u64) -> bool {
    let (left, right) = (u128::from(left), u128::from(right));
    left.abs_diff(right) * 1000 <= left.max(right)
}

/// A decimal as a fraction, as `1.1` is `11/10`.
pub(super) fn fraction(text: &str) -> Option<String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = part.trim_end_matches('0');
    let over: u64 = format!("{whole}{part}").parse().ok()?;
    let under = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    Some(format!("{over}/{under}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_pico_dollars() {
        for (text, per, want) in [
            ("2.5", 1_000_000, Some(2_500_000)),
            ("0.0000025", 1, Some(2_500_000)),
            ("10", 1000, Some(10_000_000_000)),
            ("0.0000000000001", 1, Some(1)),
            ("0", 1, Some(0)),
            ("-1", 1, None),
            ("1e3", 1, None),
            ("", 1, None),
        ] {
            assert_eq!(pico(text, per), want, "{text}");
        }
        assert!(agree(1000, 1001) && !agree(1000, 1003));
        assert_eq!(fraction("1.10").as_deref(), Some("11/10"));
    }
}
