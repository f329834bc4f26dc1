//! Telling at start-up whether the keys at hand are those that sealed the store.

use super::{Keyring, SealContext, SealError, SealedParts, fresh_key};
use tollkeep_types::Entropy;

/// What a check value holds.
const CHECK_TEXT: &[u8] = b"tollkeep kek check";

/// What a stored check value says about the keys that are loaded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// Another key of that id sealed the store.
    #[error(
        "decryption failed: key {id:?} is not the one that sealed this store \
         (expected fingerprint {expected}, got {got})"
    )]
    OtherKey {
        /// Id of the key.
        id: String,
        /// Fingerprint of the key that sealed the store.
        expected: String,
        /// Fingerprint of the key that is loaded under that id.
        got: String,
    },
    /// No key of that id is loaded.
    #[error("decryption failed: key {id:?} (fingerprint {expected}) is not loaded")]
    Missing {
        /// Id of the key.
        id: String,
        /// Fingerprint of the key that sealed the store.
        expected: String,
    },
    /// The check value itself is damaged.
    #[error("the check value of the store is damaged")]
    Damaged,
}

impl Keyring {
    /// A text to store beside what the key of that id seals, so that [`Keyring::verify`] can tell
    /// at the next start whether the same key is loaded. `None` if no such key is loaded.
    ///
    /// # Errors
    /// [`SealError`] (not with ids that [`Keyring::new`] takes).
    pub fn check_value(
        &self,
        id: &str,
        entropy: &dyn Entropy,
    ) -> Option<Result<String, SealError>> {
        let kek = self.find(id)?;
        let sealed = kek.seal(&fresh_key(entropy), CHECK_TEXT, &check_place(id), entropy);
        Some(sealed.map(|sealed| format!("{}:{sealed}", kek.fingerprint)))
    }

    /// Whether the key that made the check value is on this keyring.
    ///
    /// # Errors
    /// [`CheckError`], worded for the operator who has to find the right key.
    pub fn verify(&self, check_value: &str) -> Result<(), CheckError> {
        let (expected, sealed) = check_value.split_once(':').ok_or(CheckError::Damaged)?;
        let parts = SealedParts::of(sealed).ok_or(CheckError::Damaged)?;
        let (id, expected) = (parts.kek.to_owned(), expected.to_owned());
        let Some(kek) = self.find(parts.kek) else {
            return Err(CheckError::Missing { id, expected });
        };
        match self.open(sealed, &check_place(&kek.id)) {
            Ok(text) if text.as_slice() == CHECK_TEXT => Ok(()),
            Ok(_) => Err(CheckError::Damaged),
            Err(_) if expected == kek.fingerprint => Err(CheckError::Damaged),
            Err(_) => Err(CheckError::OtherKey {
                id,
                expected,
                got: kek.fingerprint.clone(),
            }),
        }
    }
}

const fn check_place(kek: &str) -> SealContext<'_> {
    SealContext {
        tenant: "-",
        table: "keyring",
        row: kek,
        field: "check",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    const KEY: [u8; 32] = [3; 32];

    fn ring() -> Keyring {
        Keyring::new("k1", &KEY).unwrap()
    }

    fn fingerprint(ring: &Keyring) -> String {
        ring.sealing.fingerprint.clone()
    }

    fn value_of_k1() -> String {
        let value = ring().check_value("k1", &SystemEntropy);
        value.unwrap().unwrap()
    }

    // ID-67
    #[test]
    fn another_key_of_the_same_id_is_told_by_fingerprint() {
        let value = value_of_k1();
        assert_eq!(ring().verify(&value), Ok(()));
        let wrong = Keyring::new("k1", &[4; 32]).unwrap();
        let message = wrong.verify(&value).unwrap_err().to_string();
        let (mine, theirs) = (fingerprint(&ring()), fingerprint(&wrong));
        assert_ne!(mine, theirs);
        assert_eq!(
            message,
            format!(
                "decryption failed: key \"k1\" is not the one that sealed this store \
                 (expected fingerprint {mine}, got {theirs})"
            )
        );
    }

    // ID-67
    #[test]
    fn a_check_value_of_a_key_that_is_not_loaded_says_which() {
        let value = value_of_k1();
        let other = Keyring::new("k2", &KEY).unwrap();
        let id = "k1".to_owned();
        let expected = fingerprint(&ring());
        assert_eq!(
            other.verify(&value),
            Err(CheckError::Missing { id, expected })
        );
        for damaged in [
            "",
            "abcd",
            "abcd:enc:v2:k1",
            value.trim_end_matches(char::is_alphanumeric),
        ] {
            assert_eq!(
                ring().verify(damaged),
                Err(CheckError::Damaged),
                "{damaged}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_passes_for_a_check_value(text in "([0-9a-f]{8}:enc:v2:k1:)?[A-Za-z0-9_:-]{0,200}") {
            proptest::prop_assert!(ring().verify(&text).is_err());
        }
    }
}
