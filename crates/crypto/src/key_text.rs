//! How the text of an encryption key becomes its 32 bytes.

use crate::weak::{self, WeakKey};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of an encryption key.
const KEY_BYTES: usize = 32;
/// The value of a manual that has exactly the right length.
const PLACEHOLDER: &str = "YOUR_32_BYTE_ENCRYPTION_KEY_HERE";

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// An encryption key and how it was written.
pub struct EncryptionKey {
    /// The key; overwritten when dropped.
    pub bytes: Zeroizing<[u8; KEY_BYTES]>,
    /// How the text was read.
    pub form: KeyForm,
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey(…, {:?})", self.form)
    }
}

/// How the text of an encryption key was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyForm {
    /// 64 hex digits.
    Hex,
    /// base64 or base64url, with or without padding.
    Base64,
    /// 32 ASCII characters as they are: worth a warning (`raw_key`), since a typed key has far
    /// less than 256 bits.
    Raw,
}

/// Why a text is no encryption key. No variant carries the text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyTextError {
    /// The sample value of a manual.
    #[error(
        "encryption key is the placeholder `{PLACEHOLDER}`: make one with `openssl rand -base64 32`"
    )]
    Placeholder,
    /// No way of reading the text gives 32 bytes.
    #[error("encryption key must be 32 bytes after decoding (got {0})")]
    Length(usize),
    /// The text could be guessed.
    #[error("encryption key refused: {0}")]
    Weak(WeakKey),
}

/// Reads an encryption key: 64 hex digits, then base64 or base64url, then 32 ASCII characters raw;
/// the first that yields 32 bytes wins.
///
/// # Errors
/// [`KeyTextError`]: wrong length, the placeholder, or a weak text.
pub fn parse(text: &str) -> Result<EncryptionKey, KeyTextError> {
    if text.eq_ignore_ascii_case(PLACEHOLDER) {
        return Err(KeyTextError::Placeholder);
    }
    let readings = [
        (KeyForm::Hex, hex(text)),
        (KeyForm::Base64, base64_of(text)),
        (KeyForm::Raw, raw(text)),
    ];
    let found = readings.iter().find_map(|(form, decoded)| {
        let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_ref()?.as_slice()).ok()?;
        Some((*form, Zeroizing::new(bytes)))
    });
    let Some((form, bytes)) = found else {
        let decoded = readings.iter().find_map(|(_, decoded)| decoded.as_ref());
        return Err(KeyTextError::Length(
            decoded.map_or(text.len(), |decoded| decoded.len()),
        ));
    };
    weak::check(text).map_err(KeyTextError::Weak)?;
    Ok(EncryptionKey { bytes, form })
}

fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push((nibble(*high)? << 4) | nibble(*low)?);
    }
    Some(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn base64_of(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.is_empty() {
        return None;
    }
    let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
    decoded.ok().map(Zeroizing::new)
}

fn raw(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    (text.is_ascii() && text.len() == KEY_BYTES).then(|| Zeroizing::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 32] = [
        0xab, 0x72, 0x66, 0xd2, 0xe5, 0x70, 0xf1, 0xb6, 0x31, 0xe5, 0x3b, 0x4a, 0xcf, 0x52, 0xe1,
        0x45, 0xfe, 0xe8, 0x3d, 0xd0, 0x9e, 0xda, 0xc0, 0x20, 0x36, 0x2e, 0x17, 0xc8, 0x1e, 0x8c,
        0xc2, 0x45,
    ];
    const HEX: &str = "ab7266d2e570f1b631e53b4acf52e145fee83dd09edac020362e17c81e8cc245";
    const RAW: &str = "Kq7.vT2m-Zx9bR4w+Hn6cY1p!Ld8fG3s";

    fn read(text: &str) -> Result<([u8; 32], KeyForm), KeyTextError> {
        parse(text).map(|key| (*key.bytes, key.form))
    }

    // ID-63
    #[test]
    fn every_written_form_is_read() {
        let padded = STANDARD.encode(BYTES);
        let url = URL_SAFE.encode(BYTES);
        for (name, text, form) in [
            ("hex", HEX, KeyForm::Hex),
            ("upper case hex", &HEX.to_ascii_uppercase(), KeyForm::Hex),
            ("openssl rand -base64 32", &padded, KeyForm::Base64),
            (
                "base64 unpadded",
                padded.trim_end_matches('='),
                KeyForm::Base64,
            ),
            ("base64url padded", &url, KeyForm::Base64),
            (
                "secrets.token_urlsafe(32)",
                url.trim_end_matches('='),
                KeyForm::Base64,
            ),
        ] {
            assert_eq!(read(text), Ok((BYTES, form)), "{name}");
        }
        let raw: [u8; 32] = RAW.as_bytes().try_into().unwrap();
        assert_eq!(read(RAW), Ok((raw, KeyForm::Raw)));
    }

    // ID-63
    #[test]
    fn what_is_not_a_key_is_refused_with_its_length() {
        for (name, text, want) in [
            ("empty", "", KeyTextError::Length(0)),
            (
                "hex of 15 bytes",
                "000102030405060708090a0b0c0d0e",
                KeyTextError::Length(15),
            ),
            (
                "base64 of 16 bytes",
                "q3Jm0uVw8bYx5TtKz1LhRQ==",
                KeyTextError::Length(16),
            ),
            (
                "31 characters",
                "Kq7.vT2m-Zx9bR4w+Hn6cY1p!Ld8fG3",
                KeyTextError::Length(31),
            ),
            (
                "33 characters",
                "Kq7.vT2m-Zx9bR4w+Hn6cY1p!Ld8fG3s?",
                KeyTextError::Length(33),
            ),
            (
                "newline behind",
                "Kq7.vT2m-Zx9bR4w+Hn6cY1p!Ld8fG3s\n",
                KeyTextError::Length(33),
            ),
            (
                "32 letters, not ascii",
                "Äq7.vT2m-Zx9bR4w+Hn6cY1p!Ld8fG3s",
                KeyTextError::Length(33),
            ),
            (
                "placeholder",
                "YOUR_32_BYTE_ENCRYPTION_KEY_HERE",
                KeyTextError::Placeholder,
            ),
            (
                "placeholder in lower case",
                "your_32_byte_encryption_key_here",
                KeyTextError::Placeholder,
            ),
        ] {
            assert_eq!(read(text), Err(want), "{name}");
        }
        assert_eq!(
            KeyTextError::Length(31).to_string(),
            "encryption key must be 32 bytes after decoding (got 31)"
        );
    }

    // ID-59 ID-63
    #[test]
    fn a_guessable_key_of_the_right_length_is_refused() {
        for (name, text) in [
            ("raw word", "MyPassword-for-the-vault-2026-ab"),
            ("raw run", "Kq7.vT2m-Zx9bR4w+Hn6cY1p!Laaaaaa"),
            ("zeroes in hex", &"0".repeat(64)),
            ("zeroes in base64", &"A".repeat(43)),
        ] {
            assert!(matches!(read(text), Err(KeyTextError::Weak(_))), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_no_message_repeats_it(text in "\\PC{12,80}") {
            if let Err(error) = parse(&text) {
                proptest::prop_assert!(!error.to_string().contains(&text));
            }
        }

        // ID-63
        #[test]
        fn what_the_generators_print_is_read_back(bytes: [u8; 32]) {
            for text in [STANDARD.encode(bytes), URL_SAFE.encode(bytes)] {
                match read(&text) {
                    Ok((read, form)) => proptest::prop_assert_eq!((read, form), (bytes, KeyForm::Base64)),
                    Err(error) => proptest::prop_assert!(matches!(error, KeyTextError::Weak(_))),
                }
            }
        }
    }
}
