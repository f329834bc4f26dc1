//! The key of closed audit files that are sealed: made when the first are to be, kept sealed in the store
//! like other secrets, so that a new key-encryption key covers the files of every replica.

use super::key_service::{self, Missing};
use super::vault::{opened, sealed_key};
use super::{Base, keks};
use anyhow::Context;
use tollkeep_crypto::Keyring;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_store::Store;
use zeroize::Zeroizing;

/// Its name in the store.
const ARCHIVE_KEY: &str = "audit.archive_key";

/// Opens it. Where files are not sealed any more, it is needed for those that are.
///
/// # Errors
/// Files are to be sealed, and it can't be made or opened.
pub(super) async fn open(
    base: &Base,
    store: &Store,
    keyring: &Keyring,
) -> anyhow::Result<Option<ArchiveKey>> {
    if base.settings.audit.encrypt {
        let bytes =
            Zeroizing::new(sealed_key(base.entropy.as_ref(), store, keyring, ARCHIVE_KEY).await?);
        let key = ArchiveKey::new(&bytes).context(ARCHIVE_KEY)?;
        return Ok(Some(key));
    }
    match kept(store, keyring).await {
        Ok(key) => Ok(key),
        Err(error) => {
            tracing::warn!("Closed audit files that are sealed can't be read: {error:#}");
            Ok(None)
        }
    }
}

/// What was made of it; `None` if none ever was.
async fn kept(store: &Store, keyring: &Keyring) -> anyhow::Result<Option<ArchiveKey>> {
    let Some(sealed) = store.meta(ARCHIVE_KEY).await? else {
        return Ok(None);
    };
    let tenant = store.default_tenant().id.to_string();
    let bytes = opened(keyring, &sealed, &tenant, ARCHIVE_KEY)?;
    Ok(Some(ArchiveKey::new(&bytes).context(ARCHIVE_KEY)?))
}

/// Opens it, changing nothing; `None` if none was ever made.
///
/// # Errors
/// It can't be opened.
pub(super) async fn look(base: &Base, store: &Store) -> anyhow::Result<Option<ArchiveKey>> {
    let from_services = key_service::open(base, store, &[], Missing::LeaveOut).await?;
    let found = keks::find(base, from_services)?;
    kept(store, &found.keyring).await
}
