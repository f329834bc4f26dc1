//! One-time codes of a device (RFC 6238): six digits of HMAC-SHA-1, a new one every 30 seconds.

use aws_lc_rs::hmac;
use tollkeep_types::Secret;

/// Bytes of a secret: as many as the hash gives (RFC 4226, section 4).
pub const SECRET_BYTES: usize = 20;
/// Seconds of a time step.
const STEP_S: u64 = 30;
/// How many steps a device's clock may be off, either way.
const WINDOW: u64 = 1;
/// Codes are below this.
const MODULUS: u32 = 1_000_000;

/// The time step whose code this is, at this time in seconds since 1970: now or one beside it, and
/// later than the last one that was used.
pub fn matching_step(secret: &[u8], code: &str, now_s: u64, last: Option<u64>) -> Option<u64> {
    let digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let sent: u32 = code.parse().ok().filter(|_| digits)?;
    let now = now_s / STEP_S;
    // All are looked at, so that the time does not tell which one it was.
    (now.saturating_sub(WINDOW)..=now.saturating_add(WINDOW))
        .filter(|step| truncated(secret, *step) % MODULUS == sent)
        .filter(|step| last.is_none_or(|last| *step > last))
        .fold(None, |found, step| found.or(Some(step)))
}

/// What a device is told to make codes from: a link that it shows as a picture, or reads.
pub fn link(issuer: &str, account: &str, secret: &[u8]) -> Secret {
    let (issuer, account) = (encoded(issuer), encoded(account));
    let secret = base32(secret);
    let secret = secret.expose();
    Secret::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    ))
}

/// Bytes in the letters that are typed into devices (RFC 4648, section 6, without padding).
pub fn base32(bytes: &[u8]) -> Secret {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let number = chunk
            .iter()
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let bits = chunk.len() * 8;
        let letters = bits.div_ceil(5);
        let number = number << (letters * 5 - bits);
        for place in (0..letters).rev() {
            let index = usize::try_from((number >> (place * 5)) & 31).unwrap_or(0);
            text.extend(ALPHABET.get(index).map(|letter| char::from(*letter)));
        }
    }
    Secret::new(text)
}

/// The 31 bits that a code is made of (RFC 4226, section 5.3).
fn truncated(secret: &[u8], step: u64) -> u32 {
    // The algorithm is that of the devices; HMAC does not lean on what SHA-1 has lost.
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let offset = tag.as_ref().last().map_or(0, |last| usize::from(last & 15));
    let word = tag
        .as_ref()
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<4>());
    word.map_or(0, |word| u32::from_be_bytes(*word)) & 0x7fff_ffff
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8; 20] = b"12345678901234567890";

    // ID-123
    #[test]
    fn codes_are_those_of_rfc_6238() {
        for (at_s, code) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(truncated(SEED, at_s / STEP_S) % 100_000_000, code, "{at_s}");
        }
    }

    // ID-123
    #[test]
    fn a_code_is_good_for_one_step_around_now_and_once() {
        let now_s = 1_111_111_111;
        let step = now_s / STEP_S;
        let code = |step| format!("{:06}", truncated(SEED, step) % MODULUS);
        for (name, sent, last, want) in [
            ("now", code(step), None, Some(step)),
            ("one before", code(step - 1), None, Some(step - 1)),
            ("one behind", code(step + 1), None, Some(step + 1)),
            ("two before", code(step - 2), None, None),
            ("two behind", code(step + 2), None, None),
            ("used", code(step), Some(step), None),
            ("before the one used", code(step - 1), Some(step), None),
            (
                "behind the one used",
                code(step + 1),
                Some(step),
                Some(step + 1),
            ),
            (
                "five digits",
                code(step).chars().take(5).collect(),
                None,
                None,
            ),
            ("seven digits", format!("0{}", code(step)), None, None),
            (
                "a sign",
                format!("+{:05}", truncated(SEED, step) % 100_000),
                None,
                None,
            ),
            ("nothing", String::new(), None, None),
        ] {
            assert_eq!(matching_step(SEED, &sent, now_s, last), want, "{name}");
        }
    }

    // ID-123
    #[test]
    fn secrets_are_told_in_base32() {
        // RFC 4648, section 10.
        for (bytes, want) in [
            (&b""[..], ""),
            (b"f", "MY"),
            (b"fo", "MZXQ"),
            (b"foo", "MZXW6"),
            (b"foob", "MZXW6YQ"),
            (b"fooba", "MZXW6YTB"),
            (b"foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes).expose(), want);
        }
        assert_eq!(
            link("Tollkeep", "jane roe", b"fooba").expose(),
            "otpauth://totp/Tollkeep:jane%20roe?secret=MZXW6YTB&issuer=Tollkeep&algorithm=SHA1&digits=6&period=30"
        );
    }
}
