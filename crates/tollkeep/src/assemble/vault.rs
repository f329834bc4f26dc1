//! The keys of the process: the key-encryption key, and the secrets sealed under it.

use super::Base;
use crate::exit::{self, Failed};
use anyhow::Context;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use tollkeep_config::settings::Environment;
use tollkeep_crypto::{Keyring, SealContext, TokenHasher, key_text};
use tollkeep_store::Store;
use tollkeep_types::Entropy;

/// Names of the sealed values in the store.
const PEPPER: &str = "pepper.1";
const FINGERPRINT_KEY: &str = "audit.fingerprint_key";
const CHECK: &str = "vault.check";
/// The id of the pepper in token records.
pub(crate) const PEPPER_ID: &str = "1";

/// The opened vault.
pub(crate) struct Vault {
    /// Seals and opens secrets.
    pub(crate) keyring: Arc<Keyring>,
    /// Makes the digests of tokens.
    pub(crate) hasher: Arc<TokenHasher>,
    /// Makes fingerprints of found secrets.
    pub(crate) fingerprint_key: [u8; 32],
}

/// Opens the vault, making what is missing at first start.
///
/// # Errors
/// No key-encryption key where one is required, the wrong one, or one that does not open the
/// store.
pub(crate) async fn open(base: &Base, store: &Store) -> anyhow::Result<Vault> {
    let keyring = keyring(base)?;
    let check = match store.meta(CHECK).await? {
        Some(check) => check,
        // Another replica may be starting for the first time too, with another key.
        None => {
            let check = keyring.check_value(base.entropy.as_ref())?;
            store.set_meta_once(CHECK, &check).await?
        }
    };
    keyring
        .verify(&check)
        .map_err(|error| Failed::new(exit::INVALID, error.to_string()))?;
    let pepper = sealed_key(base, store, &keyring, PEPPER).await?;
    Ok(Vault {
        hasher: Arc::new(TokenHasher::new(&pepper)),
        fingerprint_key: sealed_key(base, store, &keyring, FINGERPRINT_KEY).await?,
        keyring: Arc::new(keyring),
    })
}

fn keyring(base: &Base) -> anyhow::Result<Keyring> {
    if let Some(text) = &base.settings.auth.encryption_key {
        let key = key_text::parse(text.expose())
            .map_err(|error| Failed::new(exit::INVALID, error.to_string()))?;
        return Ok(Keyring::new("k1", &key.bytes)?);
    }
    let production = base.settings.environment == Environment::Production;
    if production && !base.settings.vault.allow_local_kek {
        let how = "no encryption key: set TOLLKEEP_ENCRYPTION_KEY (`openssl rand -base64 32`), or `vault.allow_local_kek: true`";
        return Err(Failed::new(exit::INVALID, how).into());
    }
    let key = local_key(&base.settings.data_dir.join("keys"), base.entropy.as_ref())?;
    Ok(Keyring::new("kek-1", &key)?)
}

/// The key in `folder`, made at first use.
fn local_key(folder: &Path, entropy: &dyn Entropy) -> anyhow::Result<[u8; 32]> {
    let path = folder.join("kek-1");
    match fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice())
            .ok()
            .with_context(|| format!("{} is not a key of 32 bytes", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut key = [0_u8; 32];
            entropy.fill(&mut key);
            let write = || -> std::io::Result<()> {
                fs::create_dir_all(folder)?;
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?;
                file.write_all(&key)?;
                file.sync_all()?;
                fs::File::open(folder)?.sync_all()
            };
            write().with_context(|| format!("cannot write {}", path.display()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A random key kept sealed in the store, made at first use.
async fn sealed_key(
    base: &Base,
    store: &Store,
    keyring: &Keyring,
    name: &str,
) -> anyhow::Result<[u8; 32]> {
    let tenant = store.default_tenant().id.to_string();
    let context = SealContext {
        tenant: &tenant,
        table: "meta",
        row: name,
        field: "value",
    };
    let sealed = match store.meta(name).await? {
        Some(sealed) => sealed,
        None => {
            let mut key = [0_u8; 32];
            base.entropy.fill(&mut key);
            let sealed = keyring.seal(&key, &context, base.entropy.as_ref())?;
            store.set_meta_once(name, &sealed).await?
        }
    };
    let opened = keyring
        .open(&sealed, &context)
        .map_err(|error| Failed::new(exit::INVALID, error.to_string()))?;
    <[u8; 32]>::try_from(opened.as_slice())
        .ok()
        .with_context(|| format!("{name} is not a key of 32 bytes"))
}
