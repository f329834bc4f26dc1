//! Whose signatures are believed: keys that were given, and those that a believed key signed.

use crate::signing::NEXT_KEY;
use serde::Deserialize;
use tollkeep_crypto::audit_key::AuditPublicKey;

/// Keys at most.
const KEYS_MAX: usize = 1_000;

/// Keys whose signatures are believed.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<AuditPublicKey>,
}

/// Why a text gives no keys.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrustFault {
    /// Neither a list of keys nor a key.
    #[error("is neither a list of keys, as `tollkeep audit keys --json` prints it, nor one key")]
    Malformed,
    /// A key that can't be used.
    #[error("key {0} can't be used")]
    Key(String),
    /// A signature of one key by another is wrong.
    #[error("key {0} is not signed by the one before it")]
    Succession(String),
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    #[serde(default)]
    kid: String,
    x: String,
    previous: Option<String>,
    sig: Option<String>,
}

impl Trust {
    /// Reads the list that the gateway publishes, or a public key alone.
    ///
    /// # Errors
    /// See [`TrustFault`].
    pub fn read(text: &str) -> Result<Self, TrustFault> {
        let mut trust = Self::default();
        if let Some(key) = AuditPublicKey::read(text.trim()) {
            trust.keys.push(key);
            return Ok(trust);
        }
        let published: Published = serde_json::from_str(text).map_err(|_| TrustFault::Malformed)?;
        if published.keys.is_empty() || published.keys.len() > KEYS_MAX {
            return Err(TrustFault::Malformed);
        }
        for given in published.keys {
            let key = AuditPublicKey::read(&given.x);
            let key = key.filter(|key| given.kid.is_empty() || key.id() == given.kid);
            let key = key.ok_or_else(|| TrustFault::Key(given.kid.clone()))?;
            // Each is given, so each is believed; a signature that is there must hold.
            if let (Some(previous), Some(sig)) = (&given.previous, &given.sig)
                && !trust.signed_next(&key, previous, sig)
            {
                return Err(TrustFault::Succession(given.kid));
            }
            trust.keys.push(key);
        }
        Ok(trust)
    }

    /// Whether there is no key.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn key(&self, id: &str) -> Option<&AuditPublicKey> {
        self.keys.iter().find(|key| key.id() == id)
    }

    fn signed_next(&self, next: &AuditPublicKey, previous: &str, sig: &str) -> bool {
        let text = format!(
            r#"{{"key_id":"{}","previous":"{previous}","public_key":"{}"}}"#,
            next.id(),
            next.text()
        );
        let before = self.key(previous);
        before.is_some_and(|key| key.verifies(NEXT_KEY, text.as_bytes(), sig))
    }

    /// Believes a key that a believed one signed; says whether it did.
    pub(super) fn extend(&mut self, public: &str, previous: &str, sig: &str) -> bool {
        let Some(next) = AuditPublicKey::read(public) else {
            return false;
        };
        if !self.signed_next(&next, previous, sig) {
            return false;
        }
        if self.key(next.id()).is_none() && self.keys.len() < KEYS_MAX {
            self.keys.push(next);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_crypto::audit_key::AuditKey;

    fn key(seed: u8) -> AuditKey {
        AuditKey::from_seed(&[seed; 32]).unwrap()
    }

    fn sig(old: &AuditKey, new: &AuditKey) -> String {
        let text = format!(
            r#"{{"key_id":"{}","previous":"{}","public_key":"{}"}}"#,
            new.id(),
            old.id(),
            new.public()
        );
        old.sign(NEXT_KEY, text.as_bytes())
    }

    // AUD-51
    #[test]
    fn a_key_is_believed_if_it_is_given_or_signed_by_a_believed_one() {
        let (one, two, three) = (key(1), key(2), key(3));
        let mut trust = Trust::read(&one.public()).unwrap();
        assert!(!trust.extend(&three.public(), two.id(), &sig(&two, &three)));
        assert!(!trust.extend(&two.public(), one.id(), &sig(&three, &two)));
        assert!(trust.key(two.id()).is_none());
        assert!(trust.extend(&two.public(), one.id(), &sig(&one, &two)));
        assert!(trust.extend(&three.public(), two.id(), &sig(&two, &three)));
        assert!(trust.key(three.id()).is_some());
    }

    // AUD-51
    #[test]
    fn a_published_list_is_read_whole_or_not_at_all() {
        let (one, two) = (key(1), key(2));
        let list = |sig: &str| {
            format!(
                r#"{{"keys":[{{"kid":"{}","x":"{}"}},{{"kid":"{}","x":"{}","previous":"{}","sig":"{sig}"}}]}}"#,
                one.id(),
                one.public(),
                two.id(),
                two.public(),
                one.id()
            )
        };
        let trust = Trust::read(&list(&sig(&one, &two))).unwrap();
        assert!(trust.key(one.id()).is_some() && trust.key(two.id()).is_some());
        let wrong = Trust::read(&list(&sig(&two, &one))).unwrap_err();
        assert_eq!(wrong, TrustFault::Succession(two.id().to_owned()));
        for text in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":[{"x":7}]}"#] {
            assert_eq!(
                Trust::read(text).unwrap_err(),
                TrustFault::Malformed,
                "{text}"
            );
        }
    }
}
