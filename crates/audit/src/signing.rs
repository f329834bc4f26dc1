//! What of the log is signed: where its chain stood, what was deleted on purpose, and which key
//! comes after which.
//!
//! A signature is over a word that says what it is for and the canonical text (RFC 8785) of the
//! details of the record it stands in, without itself.

use crate::chain::hex;
use crate::{Key, Value};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_crypto::audit_key::AuditKey;
use tollkeep_types::StreamId;

/// What a signature in an `audit.checkpoint` is over.
pub const CHECKPOINT: &str = "tollkeep-audit-checkpoint-v1";
/// What a signature in an `audit.prune` is over.
pub const PRUNE: &str = "tollkeep-audit-prune-v1";
/// What a signature of a new key by the one before is over.
pub const NEXT_KEY: &str = "tollkeep-audit-key-v1";
/// What a signature of an export is over.
pub const MANIFEST: &str = "tollkeep-audit-manifest-v1";

/// The key in use, shared with whoever exchanges it.
#[derive(Clone, Debug)]
pub struct Signer(Arc<Mutex<Arc<AuditKey>>>);

impl Signer {
    /// Signs with this key from now on.
    pub fn new(key: AuditKey) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(key))))
    }

    /// The key in use.
    pub fn key(&self) -> Arc<AuditKey> {
        let key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&key)
    }

    /// Signs with another key from now on.
    pub fn take(&self, key: AuditKey) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

/// A checkpoint that is on disk, for those who keep it elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Anchor {
    /// Its chain.
    pub stream: StreamId,
    /// Up to where it speaks.
    pub seq: u64,
    /// The record as it was written, without its line feed.
    pub line: Vec<u8>,
}

/// Who is told of checkpoints. It runs in the writer thread: it hands over and returns.
pub type Told = Arc<dyn Fn(Anchor) + Send + Sync>;

/// How the log is signed.
#[derive(Clone)]
pub struct Signing {
    /// The key.
    pub signer: Signer,
    /// Records after which there is a checkpoint at the latest.
    pub every_events: u64,
    /// How long a record waits for one at most.
    pub every: Duration,
    /// Who is told of checkpoints.
    pub told: Option<Told>,
    /// The head of the ledger's entries, where there is a ledger.
    pub ledger_head: Arc<Mutex<Option<String>>>,
    /// Where other chains stand, where there are any.
    pub others: Arc<Mutex<Vec<ChainHead>>>,
}

/// Where a chain stands for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChainHead {
    /// The chain.
    pub stream: StreamId,
    /// The number of a record of it.
    pub seq: u64,
    /// The hash of that.
    pub hash: [u8; 32],
}

/// Other chains that a checkpoint tells of at most, the first ones.
const HEADS_MAX: usize = 16;

impl Signing {
    /// Where chains other than this one stand, as a checkpoint says it: `stream:seq:head`, one after
    /// the other; `None` if there are none.
    pub(crate) fn heads(&self, own: StreamId) -> Option<String> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let others = others.iter().filter(|one| one.stream != own);
        let heads: Vec<_> = others
            .take(HEADS_MAX)
            .map(|one| {
                let hash = hex(&one.hash);
                let hash = String::from_utf8_lossy(&hash);
                format!("{}:{}:{hash}", one.stream, one.seq)
            })
            .collect();
        (!heads.is_empty()).then(|| heads.join(" "))
    }
}

impl Signing {
    /// With the usual times: 1000 events or a minute.
    pub fn new(signer: Signer) -> Self {
        Self {
            signer,
            every_events: 1_000,
            every: Duration::from_secs(60),
            told: None,
            ledger_head: Arc::default(),
            others: Arc::default(),
        }
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing")
            .field("signer", &self.signer)
            .field("every_events", &self.every_events)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// Details with the key's id and its signature over them. Words must need no escapes.
pub(crate) fn signed(
    key: &AuditKey,
    kind: &str,
    mut details: Vec<(Key, Value<'static>)>,
) -> Vec<(Key, Value<'static>)> {
    details.push((Key::KeyId, Value::OwnedWord(key.id().into())));
    let sig = key.sign(kind, canonical(&details).as_bytes());
    details.push((Key::Sig, Value::OwnedWord(sig.into())));
    details
}

/// The canonical text of members.
pub(crate) fn canonical_of(members: &serde_json::Map<String, serde_json::Value>) -> String {
    crate::export::canonical(&serde_json::Value::Object(members.clone()))
}

fn canonical(details: &[(Key, Value<'_>)]) -> String {
    let mut sorted: Vec<_> = details.iter().collect();
    sorted.sort_by_key(|(key, _)| key.as_str());
    let members = sorted.into_iter().map(|(key, value)| {
        let value = match value {
            Value::Word(word) => format!("\"{word}\""),
            Value::OwnedWord(word) | Value::Long(word) => format!("\"{word}\""),
            Value::Text(text) => format!("\"{text}\""),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::TokenRef(id) => format!("\"{id}\""),
        };
        format!("\"{}\":{value}", key.as_str())
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// What the record of a new key says: signed by the one before, so that whoever knows that one
/// knows this one.
pub fn succession(old: &AuditKey, new: &AuditKey) -> Vec<(Key, Value<'static>)> {
    let details = vec![
        (Key::PublicKey, Value::OwnedWord(new.public().into())),
        (Key::Previous, Value::OwnedWord(old.id().into())),
        (Key::KeyId, Value::OwnedWord(new.id().into())),
    ];
    let sig = old.sign(NEXT_KEY, canonical(&details).as_bytes());
    let mut details = details;
    details.push((Key::Sig, Value::OwnedWord(sig.into())));
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_crypto::audit_key::AuditPublicKey;

    // AUD-51
    #[test]
    fn what_is_signed_is_the_canonical_text_of_the_details() {
        let key = AuditKey::from_seed(&[7; 32]).unwrap();
        let details = vec![
            (Key::Seq, Value::Number(7)),
            (Key::Head, Value::Word("ab")),
            (Key::Count, Value::Number(1)),
        ];
        let details = signed(&key, CHECKPOINT, details);
        let Some((Key::Sig, Value::OwnedWord(sig))) = details.last() else {
            panic!("not signed: {details:?}");
        };
        let text = format!(
            r#"{{"count":1,"head":"ab","key_id":"{}","seq":7}}"#,
            key.id()
        );
        let public = AuditPublicKey::read(&key.public()).unwrap();
        assert!(public.verifies(CHECKPOINT, text.as_bytes(), sig));
        assert!(!public.verifies(PRUNE, text.as_bytes(), sig));
    }
}
