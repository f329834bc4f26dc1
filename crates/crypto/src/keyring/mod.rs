//! Secrets that must come back: sealed for one field of one row, under a key with an id.
//!
//! Each record has its own data key (AES-256-GCM), wrapped by a key-encryption key (KEK). Where a
//! record stands is part of what is authenticated, so a sealed text moved to another row, field or
//! tenant doesn't open.

mod check;
mod cipher;
mod reseal;
#[cfg(test)]
mod tests;

pub use check::CheckError;
pub use reseal::{Depth, kek_of};

use crate::hmac_sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cipher::Cipher;
use std::fmt;
use std::sync::Arc;
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

/// What a key on the keyring is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KekState {
    /// It opens, and may seal.
    Active,
    /// It opens what it sealed in the past, until that is sealed under another.
    DecryptOnly,
}

impl KekState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::DecryptOnly => "decrypt-only",
        }
    }
}

#[derive(Clone)]
struct Kek {
    id: Box<str>,
    fingerprint: String,
    key: Arc<Cipher>,
    state: KekState,
}

/// A key as operators may know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShownKek<'a> {
    /// Its id.
    pub id: &'a str,
    /// Tells keys apart and gives nothing away.
    pub fingerprint: &'a str,
    /// What it is for.
    pub state: KekState,
    /// Whether it is the one that seals.
    pub seals: bool,
}

/// The key-encryption keys of this process, by id. One seals; all open. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    sealing: Kek,
    others: Vec<Kek>,
}

impl Keyring {
    /// A keyring with the key that seals from now on.
    ///
    /// # Errors
    /// [`KeyringError::Id`].
    pub fn new(id: &str, key: &[u8; KEY_BYTES]) -> Result<Self, KeyringError> {
        let sealing = Kek::new(id, key, KekState::Active)?;
        Ok(Self {
            sealing,
            others: Vec::new(),
        })
    }

    /// The keyring with one more key, which seals nothing for now.
    ///
    /// # Errors
    /// [`KeyringError`]: the id is malformed or taken.
    pub fn with(
        mut self,
        id: &str,
        key: &[u8; KEY_BYTES],
        state: KekState,
    ) -> Result<Self, KeyringError> {
        if self.find(id).is_some() {
            return Err(KeyringError::Twice(id.to_owned()));
        }
        self.others.push(Kek::new(id, key, state)?);
        Ok(self)
    }

    /// The same keys, of which the active one of that id seals; `None` if there is no such one.
    #[must_use]
    pub fn sealing_under(&self, id: &str) -> Option<Self> {
        let mut all: Vec<_> = self.all().cloned().collect();
        let can_seal = |kek: &Kek| *kek.id == *id && kek.state == KekState::Active;
        let at = all.iter().position(can_seal)?;
        let sealing = all.remove(at);
        Some(Self {
            sealing,
            others: all,
        })
    }

    /// The keyring with a new key that seals; those before it only open from now on.
    ///
    /// # Errors
    /// [`KeyringError`]: the id is malformed or taken.
    pub fn succeeded_by(&self, id: &str, key: &[u8; KEY_BYTES]) -> Result<Self, KeyringError> {
        if self.find(id).is_some() {
            return Err(KeyringError::Twice(id.to_owned()));
        }
        let sealing = Kek::new(id, key, KekState::Active)?;
        let mut others: Vec<_> = self.all().cloned().collect();
        for kek in &mut others {
            kek.state = KekState::DecryptOnly;
        }
        Ok(Self { sealing, others })
    }

    /// The keys, the one that seals first.
    pub fn keks(&self) -> impl Iterator<Item = ShownKek<'_>> {
        self.all().map(|kek| ShownKek {
            id: &kek.id,
            fingerprint: &kek.fingerprint,
            state: kek.state,
            seals: kek.id == self.sealing.id,
        })
    }

    /// The id of the key that seals.
    pub fn sealing_id(&self) -> &str {
        &self.sealing.id
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
        let data_key = fresh_key(entropy);
        self.sealing.seal(&data_key, plain, place, entropy)
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
        let (_, plain) = kek.open(&parts, place)?;
        Ok(plain)
    }

    fn find(&self, id: &str) -> Option<&Kek> {
        let mut all = self.all();
        all.find(|kek| *kek.id == *id)
    }

    fn all(&self) -> impl Iterator<Item = &Kek> {
        std::iter::once(&self.sealing).chain(&self.others)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({}", self.sealing.id)?;
        for kek in &self.others {
            write!(f, ", {}", kek.id)?;
        }
        f.write_str(")")
    }
}

impl Kek {
    fn new(id: &str, key: &[u8; KEY_BYTES], state: KekState) -> Result<Self, KeyringError> {
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
            key: Arc::new(cipher),
            state,
        })
    }

    /// Seals under this key, the payload under that data key.
    fn seal(
        &self,
        data_key: &DataKey,
        plain: &[u8],
        place: &SealContext<'_>,
        entropy: &dyn Entropy,
    ) -> Result<String, SealError> {
        let (payload_aad, wrap_aad) = bindings(place, &self.id).ok_or(SealError::Context)?;
        let record = Cipher::new(data_key).ok_or(SealError::TooLarge)?;
        let wrapped = self.key.encrypt(data_key, &wrap_aad, entropy);
        let payload = record.encrypt(plain, &payload_aad, entropy);
        let (wrapped, payload) = wrapped.zip(payload).ok_or(SealError::TooLarge)?;
        Ok(format!(
            "{VERSION}:{}:{}:{}",
            self.id,
            URL_SAFE_NO_PAD.encode(wrapped),
            URL_SAFE_NO_PAD.encode(payload)
        ))
    }

    /// The data key and the value of a record under this key.
    fn open(
        &self,
        parts: &SealedParts<'_>,
        place: &SealContext<'_>,
    ) -> Result<(DataKey, Zeroizing<Vec<u8>>), OpenError> {
        let (payload_aad, wrap_aad) = bindings(place, &self.id).ok_or(OpenError::Malformed)?;
        let unwrapped = self.key.decrypt(&parts.wrapped, &wrap_aad);
        let data_key = unwrapped.ok_or(OpenError::Refused)?;
        let record = Cipher::new(&data_key).ok_or(OpenError::Refused)?;
        let plain = record.decrypt(&parts.payload, &payload_aad);
        Ok((data_key, plain.ok_or(OpenError::Refused)?))
    }
}

/// The key of one record.
type DataKey = Zeroizing<Vec<u8>>;

fn fresh_key(entropy: &dyn Entropy) -> DataKey {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    entropy.fill(&mut key);
    key
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
