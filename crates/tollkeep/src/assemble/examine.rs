//! A look at what a gateway would find at its start, without starting one.

use super::{Base, keks, store, vault};
use crate::system::SystemClock;
use anyhow::Context;
use std::sync::Arc;
use tollkeep_admin::Survey;
use tollkeep_config::settings::Settings;
use tollkeep_crypto::SystemEntropy;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_store::Store;

/// What stands in the store.
pub(crate) enum Inside {
    /// Nothing: there was no start yet.
    Nothing,
    /// The store can't be opened.
    Shut(anyhow::Error),
    /// The store opens, and the vault does not.
    Sealed(anyhow::Error),
    /// What the vault holds.
    Open(Survey),
}

/// Opens the store and the vault, and changes nothing in them.
///
/// # Errors
/// No runtime could be made.
pub(crate) fn examine(settings: Settings) -> anyhow::Result<Inside> {
    let is_new = settings.store.postgres.is_none() && !settings.store.path.exists();
    if is_new {
        return Ok(Inside::Nothing);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let has_key = keks::is_there(&settings);
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let base = Base::new(Arc::new(settings), clock, entropy);
    Ok(runtime.block_on(async {
        let store = match store::look_into(&base).await {
            Ok(store) => store,
            Err(error) => return Inside::Shut(error),
        };
        let inside = if has_key {
            vault::inspect(&base, &store).await
        } else {
            Err(anyhow::anyhow!("there is no key-encryption key"))
        };
        let closed = store.close().await;
        match (inside, closed) {
            (Err(error), _) => Inside::Sealed(error),
            (Ok(_), Err(error)) => Inside::Shut(error.into()),
            (Ok(survey), Ok(())) => Inside::Open(survey),
        }
    }))
}

/// The key that opens sealed audit files of the gateway of these settings; `None` if it never sealed
/// any.
///
/// # Errors
/// The store or the vault can't be opened.
pub(crate) fn archive_key(settings: Settings) -> anyhow::Result<Option<ArchiveKey>> {
    beside(settings, async |base, store| {
        super::archive_key::look(base, store).await
    })
}

/// What the gateway of these settings makes fingerprints with; `None` if it never started.
///
/// # Errors
/// The store or the vault can't be opened.
pub(crate) fn fingerprint_key(settings: Settings) -> anyhow::Result<Option<[u8; 32]>> {
    beside(settings, async |base, store| {
        vault::look_at_fingerprint_key(base, store).await
    })
}

/// Reads something of the store, which a gateway may be using.
fn beside<T>(
    settings: Settings,
    read: impl AsyncFnOnce(&Base, &Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if settings.store.postgres.is_none() && !settings.store.path.exists() {
        let path = settings.store.path.display();
        anyhow::bail!("there is no store at {path}: name the configuration with --config");
    }
    if !keks::is_there(&settings) {
        anyhow::bail!("there is no key-encryption key");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let base = Base::new(Arc::new(settings), clock, entropy);
    runtime.block_on(async {
        let store = store::look_beside(&base).await.context("the store")?;
        let found = read(&base, &store).await;
        store.close().await?;
        found
    })
}
