//! Secrets that must come back: sealed for one field of one row, under a key with an id.
//!
//! Each record has its own data key (AES-256-GCM), wrapped by a key-encryption key (KEK). Where a
//! record stands is part of what is authenticated, so a sealed text moved to another row, field or
//! tenant doesn't open.

mod check;
mod cipher;

pub use check::CheckError;

use crate::hmac_sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cipher::Cipher;
use std::fmt;
use tollkeep_types::Entropy;
use zeroize::Zeroizing;

/// Bytes of a key, wrapping or wrapped.
const KEY_BYTES: usize = 32;
/// What every sealed text starts with.
const VERSION: &str = "enc:v2";
/// Longest id of a KEK.
const KEK_ID_CHARS_MAX: usize = 32;

/// Where a sealed value stands. None of the parts may be empty or contain `|`.
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    /// Id of the tenant that owns the row, `-` if none does.
    pub tenant: &'a str,
    /// Table of the row.
    pub table: &'a str,
    /// Id of the row.
    pub row: &'a str,
    /// Field in the row.
    pub field: &'a str,
}

/// Why a value was not sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// A part of the [`SealContext`] is empty or contains `|`.
    #[error("a sealed value must name its tenant, table, row and field, without `|`")]
    Context,
    /// The value is too large for the cipher.
    #[error("value too large to seal")]
    TooLarge,
}

/// Why a sealed text did not open.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// Not the text of a sealed value, or no place where one can stand.
    #[error("not a sealed value")]
    Malformed,
    /// Sealed under a key that this keyring lacks.
    #[error("sealed under key {0:?}, which is not loaded")]
    UnknownKek(String),
    /// Changed, moved to another place, or sealed under another key of the same id.
    #[error("decryption failed")]
    Refused,
}

/// Why a key did not get onto the keyring.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyringError {
    /// The id has another form.
    #[error("a key id is 1 to {KEK_ID_CHARS_MAX} of a-z, 0-9, `-` and `_`")]
    Id,
    /// The id is taken.
    #[error("two keys have the id {0:?}")]
    Twice(String),
}

struct Kek {
    id: Box<str>,
    fingerprint: String,
    key: Cipher,
}

/// The key-encryption keys of this process, by id. One seals; all open.
pub struct Keyring {
    sealing: Kek,
    older: Vec<Kek>,
}

impl Keyring {
    /// A keyring with the key that seals from now on.
    ///
    /// # Errors
    /// [`KeyringError::Id`].
    pub fn new(id: &str, key: &[u8; KEY_BYTES]) -> Result<Self, KeyringError> {
        let sealing = Kek::new(id, key)?;
        Ok(Self {
            sealing,
            older: Vec::new(),
        })
    }

    /// The keyring with one more key, which opens what it sealed in the past and seals nothing.
    ///
    /// # Errors
    /// [`KeyringError`]: the id is malformed or taken.
    pub fn with_older(mut self, id: &str, key: &[u8; KEY_BYTES]) -> Result<Self, KeyringError> {
        if self.find(id).is_some() {
            return Err(KeyringError::Twice(id.to_owned()));
        }
        self.older.push(Kek::new(id, key)?);
        Ok(self)
    }

    /// Seals a value for one place:
    /// `enc:v2:<kek id>:<b64url(nonce‖wrapped key‖tag)>:<b64url(nonce‖ciphertext‖tag)>`.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        &self,
        plain: &[u8],
        place: &SealContext<'_>,
        entropy: &dyn Entropy,
    ) -> Result<String, SealError> {
        let kek = &self.sealing;
        let (payload_aad, wrap_aad) = bindings(place, &kek.id).ok_or(SealError::Context)?;
        let mut data_key = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(data_key.as_mut_slice());
        let record = Cipher::new(data_key.as_slice()).ok_or(SealError::TooLarge)?;
        let wrapped = kek.key.encrypt(data_key.as_slice(), &wrap_aad, entropy);
        let payload = record.encrypt(plain, &payload_aad, entropy);
        let (wrapped, payload) = wrapped.zip(payload).ok_or(SealError::TooLarge)?;
        Ok(format!(
            "{VERSION}:{}:{}:{}",
            kek.id,
            URL_SAFE_NO_PAD.encode(wrapped),
            URL_SAFE_NO_PAD.encode(payload)
        ))
    }

    /// Opens a value that [`Keyring::seal`] sealed for the same place.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        sealed: &str,
        place: &SealContext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parts = SealedParts::of(sealed).ok_or(OpenError::Malformed)?;
        let Some(kek) = self.find(parts.kek) else {
            return Err(OpenError::UnknownKek(parts.kek.to_owned()));
        };
        let (payload_aad, wrap_aad) = bindings(place, &kek.id).ok_or(OpenError::Malformed)?;
        let data_key = kek
            .key
            .decrypt(&parts.wrapped, &wrap_aad)
            .ok_or(OpenError::Refused)?;
        let record = Cipher::new(data_key.as_slice()).ok_or(OpenError::Refused)?;
        record
            .decrypt(&parts.payload, &payload_aad)
            .ok_or(OpenError::Refused)
    }

    fn find(&self, id: &str) -> Option<&Kek> {
        std::iter::once(&self.sealing)
            .chain(&self.older)
            .find(|kek| *kek.id == *id)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({}", self.sealing.id)?;
        for kek in &self.older {
            write!(f, ", {}", kek.id)?;
        }
        f.write_str(")")
    }
}

impl Kek {
    fn new(id: &str, key: &[u8; KEY_BYTES]) -> Result<Self, KeyringError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let well_formed = !id.is_empty()
            && id.len() <= KEK_ID_CHARS_MAX
            && id
                .bytes()
                .all(|byte| allowed(byte) || byte == b'-' || byte == b'_');
        let cipher = Cipher::new(key)
            .filter(|_| well_formed)
            .ok_or(KeyringError::Id)?;
        let [a, b, c, d, ..] = hmac_sha256(key, b"tollkeep|kek fingerprint");
        Ok(Self {
            id: id.into(),
            fingerprint: format!("{a:02x}{b:02x}{c:02x}{d:02x}"),
            key: cipher,
        })
    }
}

/// The parts of a sealed text, decoded and not yet trusted.
struct SealedParts<'a> {
    kek: &'a str,
    wrapped: Vec<u8>,
    payload: Vec<u8>,
}

impl<'a> SealedParts<'a> {
    fn of(sealed: &'a str) -> Option<Self> {
        let rest = sealed.strip_prefix(VERSION)?.strip_prefix(':')?;
        let (kek, rest) = rest.split_once(':')?;
        let (wrapped, payload) = rest.split_once(':')?;
        Some(Self {
            kek,
            wrapped: URL_SAFE_NO_PAD.decode(wrapped).ok()?,
            payload: URL_SAFE_NO_PAD.decode(payload).ok()?,
        })
    }
}

/// The associated data of the payload and of the wrapped key. `None` when a part could be read as
/// two parts, or is missing.
fn bindings(place: &SealContext<'_>, kek: &str) -> Option<(String, String)> {
    let SealContext {
        tenant,
        table,
        row,
        field,
    } = place;
    let ambiguous = |part: &str| part.is_empty() || part.contains('|');
    if ambiguous(tenant) || ambiguous(table) || ambiguous(row) || ambiguous(field) {
        return None;
    }
    Some((
        format!("tollkeep|2|{tenant}|{table}|{row}|{field}|{kek}"),
        format!("tollkeep|dek|{row}|{kek}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    const KEY: [u8; 32] = [3; 32];
    const PLACE: SealContext<'static> = SealContext {
        tenant: "ten_a",
        table: "credentials",
        row: "crd_1",
        field: "secret",
    };

    fn ring() -> Keyring {
        Keyring::new("k1", &KEY).unwrap()
    }

    fn sealed() -> String {
        ring().seal(b"sk-upstream", &PLACE, &SystemEntropy).unwrap()
    }

    // ID-62
    #[test]
    fn a_sealed_value_has_the_documented_form_and_opens() {
        let text = sealed();
        let parts: Vec<_> = text.split(':').collect();
        assert_eq!(parts[..3], ["enc", "v2", "k1"]);
        assert_eq!(parts.len(), 5);
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap().len();
        assert_eq!(bytes(parts[3]), 12 + 32 + 16);
        assert_eq!(bytes(parts[4]), 12 + "sk-upstream".len() + 16);
        assert!(!text.contains("upstream"));
        assert_eq!(
            ring().open(&text, &PLACE).unwrap().as_slice(),
            b"sk-upstream"
        );
    }

    // ID-62
    #[test]
    fn a_value_sealed_by_another_program_opens() {
        // Made with Python's `cryptography` 48 from the written rules: data key 09…, nonces 01… and
        // 02…, AAD `tollkeep|dek|crd_1|k1` and `tollkeep|2|ten_a|credentials|crd_1|secret|k1`.
        let text = concat!(
            "enc:v2:k1:",
            "AQEBAQEBAQEBAQEBlbs4l4Y6VksQqr0UTH0008QHqcwFirRXNlxNNCFH4Sy0OGSSVJuZ__MB6lpfKJSk:",
            "AgICAgICAgICAgICknGKGDGf8BhTXo8LhoyJ3vAAhZOF"
        );
        assert_eq!(ring().open(text, &PLACE).unwrap().as_slice(), b"hello");
    }

    // ID-62
    #[test]
    fn sealing_twice_gives_two_texts() {
        assert_ne!(sealed(), sealed());
    }

    // ID-62
    #[test]
    fn a_moved_value_does_not_open() {
        let text = sealed();
        for (name, place) in [
            (
                "other tenant",
                SealContext {
                    tenant: "ten_b",
                    ..PLACE
                },
            ),
            (
                "other table",
                SealContext {
                    table: "meta",
                    ..PLACE
                },
            ),
            (
                "other row",
                SealContext {
                    row: "crd_2",
                    ..PLACE
                },
            ),
            (
                "other field",
                SealContext {
                    field: "label",
                    ..PLACE
                },
            ),
        ] {
            assert_eq!(
                ring().open(&text, &place),
                Err(OpenError::Refused),
                "{name}"
            );
        }
    }

    // ID-62
    #[test]
    fn parts_of_two_values_do_not_make_a_third() {
        let (first, second) = (sealed(), sealed());
        let (head, _) = first.rsplit_once(':').unwrap();
        let (_, tail) = second.rsplit_once(':').unwrap();
        let mixed = format!("{head}:{tail}");
        assert_eq!(ring().open(&mixed, &PLACE), Err(OpenError::Refused));
    }

    #[test]
    fn a_place_that_could_be_read_in_two_ways_is_refused() {
        for (name, place) in [
            (
                "separator",
                SealContext {
                    row: "crd_1|secret",
                    ..PLACE
                },
            ),
            (
                "empty part",
                SealContext {
                    tenant: "",
                    ..PLACE
                },
            ),
        ] {
            let got = ring().seal(b"x", &place, &SystemEntropy);
            assert_eq!(got, Err(SealError::Context), "{name}");
            assert_eq!(
                ring().open(&sealed(), &place),
                Err(OpenError::Malformed),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_not_a_sealed_value_is_refused() {
        let good = sealed();
        for (name, text, want) in [
            ("empty", String::new(), OpenError::Malformed),
            ("plain text", "sk-upstream".to_owned(), OpenError::Malformed),
            (
                "older version",
                good.replace("v2", "v1"),
                OpenError::Malformed,
            ),
            (
                "no payload",
                good.rsplit_once(':').unwrap().0.to_owned(),
                OpenError::Malformed,
            ),
            ("one part more", format!("{good}:x"), OpenError::Malformed),
            ("padded", format!("{good}=="), OpenError::Malformed),
            (
                "empty payload",
                format!("{}:", good.rsplit_once(':').unwrap().0),
                OpenError::Refused,
            ),
            (
                "other key",
                good.replace("k1", "k2"),
                OpenError::UnknownKek("k2".to_owned()),
            ),
        ] {
            assert_eq!(ring().open(&text, &PLACE), Err(want), "{name}");
        }
    }

    // ID-62
    #[test]
    fn an_older_key_opens_and_does_not_seal() {
        let both = Keyring::new("k2", &[4; 32])
            .unwrap()
            .with_older("k1", &KEY)
            .unwrap();
        assert_eq!(
            both.open(&sealed(), &PLACE).unwrap().as_slice(),
            b"sk-upstream"
        );
        let new = both.seal(b"x", &PLACE, &SystemEntropy).unwrap();
        assert!(new.starts_with("enc:v2:k2:"));
        assert_eq!(
            ring().open(&new, &PLACE),
            Err(OpenError::UnknownKek("k2".to_owned()))
        );
    }

    #[test]
    fn key_ids_are_short_and_plain() {
        for (name, id, ok) in [
            ("usual", "kek-1", true),
            ("underscore", "k_1", true),
            ("longest", &"k".repeat(32), true),
            ("longer", &"k".repeat(33), false),
            ("empty", "", false),
            ("colon", "k:1", false),
            ("bar", "k|1", false),
            ("upper case", "K1", false),
        ] {
            assert_eq!(Keyring::new(id, &KEY).is_ok(), ok, "{name}");
        }
        let twice = ring().with_older("k1", &KEY).map(|_| ());
        assert_eq!(twice, Err(KeyringError::Twice("k1".to_owned())));
    }

    #[test]
    fn debug_shows_ids_only() {
        let both = ring().with_older("k0", &KEY).unwrap();
        assert_eq!(format!("{both:?}"), "Keyring(k1, k0)");
    }

    proptest::proptest! {
        // ID-62
        #[test]
        fn sealing_and_opening_are_inverse(plain: Vec<u8>) {
            let text = ring().seal(&plain, &PLACE, &SystemEntropy).unwrap();
            let opened = ring().open(&text, &PLACE).unwrap();
            proptest::prop_assert_eq!(opened.as_slice(), plain.as_slice());
        }

        // ID-62
        #[test]
        fn one_flipped_bit_and_it_does_not_open(at: proptest::sample::Index, bit in 0_u8..8) {
            let mut bytes = sealed().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let opened = String::from_utf8(bytes).map(|text| ring().open(&text, &PLACE).is_ok());
            proptest::prop_assert_ne!(opened, Ok(true));
        }

        #[test]
        fn no_text_panics(text in "(enc:v2:k1:)?[A-Za-z0-9_:-]{0,200}") {
            proptest::prop_assert!(ring().open(&text, &PLACE).is_err());
        }
    }
}
