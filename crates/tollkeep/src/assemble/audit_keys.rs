//! The keys that sign the audit log: made at first start, kept sealed, exchanged by operators. What
//! is published is kept in the open beside them.

use super::Base;
use super::vault::{Chooser, Vault, audit_seed, seal_audit_seed};
use anyhow::Context;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tollkeep_admin::{AuditKeeper, Keeping, NextKey};
use tollkeep_audit::{Key, Signer, Value, succession};
use tollkeep_crypto::Keyring;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_crypto::audit_key::AuditKey;
use tollkeep_store::{Store, StoreError};
use tollkeep_types::{Clock, Entropy};
use zeroize::Zeroizing;

/// Where the public keys are kept.
const PUBLISHED: &str = "audit.signing_keys";
/// Keys at most: whoever exchanges one a day is there in three years.
const KEYS_MAX: usize = 1_000;

/// The key in use, and how another takes its place.
pub(crate) struct AuditKeys {
    store: Store,
    chooser: Arc<Chooser>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    signer: Signer,
    archive_key: Option<ArchiveKey>,
    turn: tokio::sync::Mutex<()>,
}

/// The key that signs; the first one is made if there is none.
///
/// # Errors
/// The store, or a key that can't be opened.
pub(crate) async fn open(base: &Base, store: &Store, keyring: &Keyring) -> anyhow::Result<Signer> {
    let known = match store.meta(PUBLISHED).await? {
        Some(known) => known,
        None => {
            let seed = audit_seed(base, store, keyring, 1).await?;
            let key = AuditKey::from_seed(&seed)?;
            let first = json!([published(&key, &base.clock.wall().to_string())]);
            store.set_meta_once(PUBLISHED, &first.to_string()).await?
        }
    };
    let known: Vec<Json> = serde_json::from_str(&known).context(PUBLISHED)?;
    let seed = audit_seed(base, store, keyring, known.len()).await?;
    Ok(Signer::new(AuditKey::from_seed(&seed)?))
}

fn published(key: &AuditKey, since: &str) -> Json {
    json!({
        "kid": key.id(),
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "x": key.public(),
        "since": since,
    })
}

impl AuditKeys {
    /// With the key that was opened.
    pub(crate) fn new(base: &Base, store: &Store, vault: &Vault) -> Self {
        Self {
            store: store.clone(),
            chooser: Arc::clone(&vault.chooser),
            clock: Arc::clone(&base.clock),
            entropy: Arc::clone(&base.entropy),
            signer: vault.audit_signer.clone(),
            archive_key: vault.archive_key.clone(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    async fn known(&self) -> Result<Vec<Json>, StoreError> {
        let known = self.store.meta(PUBLISHED).await?.unwrap_or_default();
        serde_json::from_str(&known)
            .map_err(|_| StoreError::Unavailable(format!("{PUBLISHED} can't be read")))
    }

    async fn exchange(&self, next: NextKey) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let mut known = self.known().await?;
        let unusable = |what: &str| StoreError::Unavailable(what.to_owned());
        if known.len() >= KEYS_MAX {
            return Err(unusable("there are too many audit keys"));
        }
        let key = AuditKey::from_seed(&next.seed).map_err(|error| unusable(&error.to_string()))?;
        let keyring = self.chooser.keyring();
        let number = known.len() + 1;
        let sealed = seal_audit_seed(
            &self.store,
            &keyring,
            self.entropy.as_ref(),
            (number, &next.seed),
        );
        sealed
            .await
            .map_err(|error| unusable(&format!("{error:#}")))?;
        let mut told = published(&key, &self.clock.wall().to_string());
        for (key, value) in &next.details {
            if let (Key::Previous | Key::Sig, Value::OwnedWord(text)) = (key, value)
                && let Some(told) = told.as_object_mut()
            {
                told.insert(key.as_str().to_owned(), Json::from(&**text));
            }
        }
        known.push(told);
        let known = Json::from(known).to_string();
        self.store.set_meta(PUBLISHED, &known).await?;
        self.signer.take(key);
        Ok(())
    }
}

impl AuditKeeper for AuditKeys {
    fn keys(&self) -> Keeping<'_, Vec<Json>> {
        Box::pin(self.known())
    }

    fn key(&self) -> Arc<AuditKey> {
        self.signer.key()
    }

    fn archive_key(&self) -> Option<ArchiveKey> {
        self.archive_key.clone()
    }

    fn next(&self) -> Option<NextKey> {
        let mut seed = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut *seed);
        let key = AuditKey::from_seed(&seed).ok()?;
        Some(NextKey {
            details: succession(&self.signer.key(), &key),
            seed,
        })
    }

    fn take(&self, next: NextKey) -> Keeping<'_, ()> {
        Box::pin(self.exchange(next))
    }
}
