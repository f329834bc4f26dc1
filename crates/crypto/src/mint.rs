//! New access tokens and management keys: prefix, uniform random characters, checksum.

use crate::weak;
use tollkeep_types::{Entropy, Secret};
use zeroize::Zeroizing;

/// Digits of base 62, in order.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Fewest random characters: 256 bits.
const RANDOM_CHARS_MIN: usize = 43;
/// Characters of the checksum.
const CHECK_CHARS: usize = 6;
/// Longest text of a token.
const CHARS_MAX: usize = 256;
/// Longest prefix, with its separator.
const PREFIX_CHARS_MAX: usize = 15;
/// Draws before the source of randomness is called broken; a good one needs a second draw about
/// once in a million texts.
const DRAWS_MAX: usize = 64;

/// Why no token was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MintError {
    /// The prefix has another form.
    #[error("prefix must be a letter, up to 13 letters or digits, then `-` or `_`")]
    Prefix,
    /// Too short for 256 random bits and the checksum.
    #[error("length must be at least {min} with this prefix")]
    TooShort {
        /// The smallest length with this prefix.
        min: usize,
    },
    /// Longer than any token may be.
    #[error("length must be at most {CHARS_MAX}")]
    TooLong,
    /// The source of randomness repeats itself.
    #[error("the source of randomness is broken")]
    Entropy,
}

/// A new token: `prefix`, random characters, six of checksum, `length` characters in all
/// (`None`: the shortest, with 256 random bits).
///
/// A text that [`weak::check`] would refuse is drawn again. The prefix takes no part in that: its
/// separator keeps a word from growing across it, and it adds nothing to guess.
///
/// # Errors
/// [`MintError`]: a prefix or length out of its bounds, or no randomness.
pub fn mint(
    prefix: &str,
    length: Option<usize>,
    entropy: &dyn Entropy,
) -> Result<Secret, MintError> {
    if !prefix_well_formed(prefix) {
        return Err(MintError::Prefix);
    }
    let min = prefix.len() + RANDOM_CHARS_MIN + CHECK_CHARS;
    let length = length.unwrap_or(min);
    if length < min {
        return Err(MintError::TooShort { min });
    }
    if length > CHARS_MAX {
        return Err(MintError::TooLong);
    }
    for _ in 0..DRAWS_MAX {
        let text = draw(prefix, length, entropy)?;
        let body = text.get(prefix.len()..).unwrap_or_default();
        if weak::check(body).is_ok() {
            return Ok(Secret::new(text.as_str()));
        }
    }
    Err(MintError::Entropy)
}

/// Whether the text has the form of a minted token with any prefix, checksum included. True of
/// every text [`mint`] ever made, false of a mistyped one; says nothing about who holds it.
pub fn well_formed(text: &str) -> bool {
    let Some(border) = text.rfind(['-', '_']) else {
        return false;
    };
    let Some((prefix, body)) = text.split_at_checked(border + 1) else {
        return false;
    };
    let Some(random_chars) = body.len().checked_sub(CHECK_CHARS) else {
        return false;
    };
    let Some((signed, check)) = text.split_at_checked(prefix.len() + random_chars) else {
        return false;
    };
    text.len() <= CHARS_MAX
        && prefix_well_formed(prefix)
        && random_chars >= RANDOM_CHARS_MIN
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && check.as_bytes() == check_digits(signed)
}

fn prefix_well_formed(prefix: &str) -> bool {
    let Some((letters, [b'-' | b'_'])) = prefix.as_bytes().split_last_chunk::<1>() else {
        return false;
    };
    prefix.len() <= PREFIX_CHARS_MAX
        && letters.first().is_some_and(u8::is_ascii_alphabetic)
        && letters.iter().all(u8::is_ascii_alphanumeric)
}

fn draw(
    prefix: &str,
    length: usize,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<String>, MintError> {
    // The capacity is what the text needs: growing would leave a copy of its start behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    text.push_str(prefix);
    let random_end = length - CHECK_CHARS;
    let mut bytes = Zeroizing::new([0_u8; 64]);
    for _ in 0..DRAWS_MAX {
        entropy.fill(bytes.as_mut_slice());
        let wanted = random_end - text.len();
        let digits = bytes.iter().filter_map(|byte| uniform_digit(*byte));
        text.extend(digits.take(wanted));
        if text.len() == random_end {
            let check = check_digits(&text);
            text.extend(check.iter().copied().map(char::from));
            return Ok(text);
        }
    }
    Err(MintError::Entropy)
}

/// A digit of base 62 from a random byte. The 248 lowest values hold every digit four times; the
/// others are refused, for with them the first eight digits would come more often.
fn uniform_digit(byte: u8) -> Option<char> {
    let digit = ALPHABET.get(usize::from(byte % 62)).copied()?;
    (byte < 248).then_some(char::from(digit))
}

/// The CRC-32 of the text as six digits of base 62, the highest first.
fn check_digits(text: &str) -> [u8; CHECK_CHARS] {
    let mut rest = u64::from(crc32(text.as_bytes()));
    let mut digits = [b'0'; CHECK_CHARS];
    for slot in digits.iter_mut().rev() {
        let digit = usize::try_from(rest % 62).unwrap_or_default();
        *slot = ALPHABET.get(digit).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

/// CRC-32 of IEEE 802.3 (reflected, as in zlib). HOT: every wrong token on the data port is checked.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
        (crc >> 8) ^ CRC_OF_BYTE.get(usize::from(low)).copied().unwrap_or(0)
    });
    !crc
}

const CRC_OF_BYTE: [u32; 256] = {
    let mut table = [0; 256];
    let mut rest = table.as_mut_slice();
    let mut byte = 0;
    while let Some((slot, others)) = rest.split_first_mut() {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1_u32).wrapping_neg());
            bit += 1;
        }
        *slot = crc;
        rest = others;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;
    use std::sync::Mutex;

    /// Hands out the given bytes, then steps through the digits.
    struct Scripted(Mutex<Vec<u8>>);

    impl Entropy for Scripted {
        fn fill(&self, out: &mut [u8]) {
            let mut script = self.0.lock().unwrap();
            for (at, slot) in out.iter_mut().enumerate() {
                *slot = script.pop().unwrap_or(u8::try_from(at * 7 % 62).unwrap());
            }
        }
    }

    struct Stuck(u8);

    impl Entropy for Stuck {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    fn minted(prefix: &str, length: Option<usize>) -> String {
        mint(prefix, length, &SystemEntropy)
            .unwrap()
            .expose()
            .to_owned()
    }

    // ID-10
    #[test]
    fn the_checksum_is_that_of_zlib_in_base_62() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(&check_digits(""), b"000000");
        // 0xcbf43926 = 3421780262 = 3·62⁵ + 45·62⁴ + 35·62³ + 27·62² + 22·62 + 14
        assert_eq!(&check_digits("123456789"), b"3jZRME");
    }

    // ID-10
    #[test]
    fn a_token_is_prefix_random_and_checksum() {
        let token = minted("tok-", None);
        assert_eq!(token.len(), 4 + 49);
        let body = token.strip_prefix("tok-").unwrap();
        assert!(body.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(well_formed(&token));
    }

    // ID-11
    #[test]
    fn prefixes_and_lengths_have_bounds() {
        for (name, prefix, length, want) in [
            ("default", "tok-", None, Ok(53)),
            ("own prefix and length", "gw_", Some(64), Ok(64)),
            ("shortest", "gw_", Some(52), Ok(52)),
            (
                "one less",
                "gw_",
                Some(51),
                Err(MintError::TooShort { min: 52 }),
            ),
            ("longest", "gw_", Some(256), Ok(256)),
            ("one more", "gw_", Some(257), Err(MintError::TooLong)),
            ("huge", "gw_", Some(usize::MAX), Err(MintError::TooLong)),
            ("longest prefix", "abcdefghijklmn-", None, Ok(64)),
            (
                "too long a prefix",
                "abcdefghijklmno-",
                None,
                Err(MintError::Prefix),
            ),
            ("a letter is enough", "g-", None, Ok(51)),
            ("no letter", "-", None, Err(MintError::Prefix)),
            ("digit first", "9w-", None, Err(MintError::Prefix)),
            ("no separator", "gw", None, Err(MintError::Prefix)),
            ("separator inside", "g-w-", None, Err(MintError::Prefix)),
            ("empty", "", None, Err(MintError::Prefix)),
            ("not ascii", "gä-", None, Err(MintError::Prefix)),
        ] {
            let got = mint(prefix, length, &SystemEntropy).map(|token| token.expose().len());
            assert_eq!(got, want, "{name}");
        }
        assert_eq!(
            MintError::TooShort { min: 52 }.to_string(),
            "length must be at least 52 with this prefix"
        );
    }

    // ID-10 ID-11
    #[test]
    fn what_was_not_minted_is_not_well_formed() {
        let good = minted("tok-", None);
        let mut cut = good.clone();
        let last = cut.pop();
        let swapped = format!("{cut}{}", if last == Some('x') { 'y' } else { 'x' });
        for (name, text) in [
            ("empty", ""),
            ("prefix alone", "tok-"),
            ("no prefix", good.strip_prefix("tok-").unwrap()),
            ("other prefix", &good.replace("tok-", "tuk-")),
            ("last character changed", &swapped),
            ("cut", &cut),
            ("longer", &format!("{good}0")),
            ("blank behind", &format!("{good} ")),
            ("not ascii", &format!("{good}ä")),
            ("too long", &format!("tok-{}", "0".repeat(300))),
        ] {
            assert!(!well_formed(text), "{name}");
        }
    }

    /// Within six standard deviations over 200 000 characters; a modulo bias would shift the first
    /// eight digits by a fifth, which is more than ten of them.
    // ID-10
    #[test]
    fn every_digit_is_as_likely_as_any_other() {
        let mut seen = [0_u32; 62];
        let mut total = 0_u32;
        while total < 200_000 {
            let token = minted("tok-", Some(256));
            for byte in token.bytes().skip(4).take(256 - 4 - CHECK_CHARS) {
                seen[ALPHABET.iter().position(|digit| *digit == byte).unwrap()] += 1;
                total += 1;
            }
        }
        let expected = total / 62;
        let allowed = 6 * expected.isqrt();
        for (digit, count) in ALPHABET.iter().zip(seen) {
            let off = count.abs_diff(expected);
            assert!(off <= allowed, "{}: {count} of {total}", char::from(*digit));
        }
    }

    // ID-59
    #[test]
    fn a_weak_draw_is_thrown_away() {
        // 64 zero bytes give the text "000…", refused as a run.
        let token = mint("tok-", None, &Scripted(Mutex::new(vec![0; 64]))).unwrap();
        assert!(token.expose().starts_with("tok-07ELSZg"));
    }

    #[test]
    fn a_stuck_source_of_randomness_is_an_error_and_no_endless_loop() {
        for (name, byte) in [("weak for ever", 0), ("refused for ever", 255)] {
            let got = mint("tok-", None, &Stuck(byte)).map(|token| token.expose().len());
            assert_eq!(got, Err(MintError::Entropy), "{name}");
        }
    }

    proptest::proptest! {
        // ID-10 ID-11 ID-59
        #[test]
        fn whatever_is_minted_is_well_formed_and_strong(
            prefix in "[A-Za-z][A-Za-z0-9]{0,13}[-_]",
            extra in 0_usize..=180,
        ) {
            let token = minted(&prefix, Some(prefix.len() + 49 + extra));
            proptest::prop_assert_eq!(token.len(), prefix.len() + 49 + extra);
            proptest::prop_assert!(well_formed(&token));
            proptest::prop_assert!(weak::check(token.strip_prefix(&prefix).unwrap()).is_ok());
        }

        // ID-10
        #[test]
        fn one_wrong_character_is_noticed(at in 4_usize..53, to in 0_usize..62) {
            let token = minted("tok-", None);
            let mut wrong = token.clone().into_bytes();
            wrong[at] = ALPHABET[to];
            let wrong = String::from_utf8(wrong).unwrap();
            proptest::prop_assert_eq!(well_formed(&wrong), wrong == token);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,300}") {
            let _ = well_formed(&text);
        }
    }
}
