//! The vault: the keys that seal, what is sealed under them, and the secrets of the process itself.

use super::Base;
use super::archive_key;
use super::audit_keys;
use super::keks::{self, Found};
use super::key_service::{self, Missing};
use super::receipt_keys;
use crate::exit::{self, Failed};
use anyhow::Context;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_admin::{KekRefused, KnownKek, Survey};
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Signer, Value};
use tollkeep_config::settings::ReceiptsMode;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_crypto::{Depth, KekState, Keyring, SealContext, TokenHasher, kek_of};
use tollkeep_store::{SealedRecord, Store};
use tollkeep_types::Entropy;
use zeroize::Zeroizing;

/// Names of the sealed values in the store.
const PEPPER: &str = "pepper.1";
const FINGERPRINT_KEY: &str = "audit.fingerprint_key";
/// The check value of the one key of earlier versions.
const CHECK: &str = "vault.check";
/// The id of the key that an operator chose to seal.
const SEALING: &str = "vault.sealing";
/// The id of the pepper in token records.
pub(crate) const PEPPER_ID: &str = "1";

/// The opened vault.
pub(crate) struct Vault {
    /// Makes the digests of tokens.
    pub(crate) hasher: Arc<TokenHasher>,
    /// Makes fingerprints of found secrets.
    pub(crate) fingerprint_key: [u8; 32],
    /// The keys that sign receipts, where receipts are made.
    pub(crate) receipt_keys: Mutex<Option<receipt_keys::Known>>,
    /// Signs the audit log.
    pub(crate) audit_signer: Signer,
    /// Seals closed files of the audit log, where that is wanted, and opens those that are sealed.
    pub(crate) archive_key: Option<ArchiveKey>,
    /// The keys; another one may seal from one moment to the next.
    pub(crate) chooser: Arc<Chooser>,
    /// What happened at the start, to be recorded when records can be written.
    pub(crate) report: Report,
}

/// What the start found and did.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Records that were sealed anew, and the key they are sealed under now.
    migrated: u64,
    sealing: String,
    survey: Survey,
}

/// The keys, of which another one may come to seal.
pub(crate) struct Chooser {
    keyring: ArcSwap<Keyring>,
    store: Store,
    entropy: Arc<dyn Entropy>,
    folder: PathBuf,
    is_local: bool,
    retired: Vec<String>,
    sources: Mutex<Vec<(String, &'static str)>>,
}

/// Opens the vault: judges the keys, seals anew what stands under keys that only open, and makes
/// what is missing at first start.
///
/// # Errors
/// No key-encryption key where one is required, the wrong one, or one that does not open the
/// store.
pub(crate) async fn open(base: &Base, store: &Store, own: &[SocketAddr]) -> anyhow::Result<Vault> {
    let kept = key_service::open(base, store, own, Missing::Make).await?;
    let found = keks::find(base, kept)?;
    let keyring = chosen(&found, store).await?;
    let survey = Survey::take(store, &keyring).await?;
    verify(base, store, (&keyring, Checks::Kept), &survey).await?;
    refuse_retired(&found.retired, &survey)?;
    let migrated = migrate(base, store, &keyring).await?;
    if migrated > 0 {
        tracing::info!(
            "Sealed {migrated} records anew under key `{}`",
            keyring.sealing_id()
        );
    }
    for unreadable in &survey.unreadable {
        tracing::warn!("A sealed record can't be opened and is left alone: {unreadable}");
    }
    let entropy = base.entropy.as_ref();
    let pepper = sealed_key(entropy, store, &keyring, PEPPER).await?;
    let fingerprint_key = sealed_key(entropy, store, &keyring, FINGERPRINT_KEY).await?;
    // A key that signs nothing is not made.
    let receipt_keys = if base.settings.ledger.receipts == ReceiptsMode::Off {
        None
    } else {
        Some(receipt_keys::open(base, store, &keyring).await?)
    };
    let audit_signer = audit_keys::open(base, store, &keyring).await?;
    let archive_key = archive_key::open(base, store, &keyring).await?;
    let report = Report {
        migrated,
        sealing: keyring.sealing_id().to_owned(),
        survey,
    };
    let chooser = Chooser {
        keyring: ArcSwap::from_pointee(keyring),
        store: store.clone(),
        entropy: Arc::clone(&base.entropy),
        folder: keks::folder(&base.settings),
        is_local: found.is_local,
        retired: found.retired,
        sources: Mutex::new(found.sources),
    };
    Ok(Vault {
        hasher: Arc::new(TokenHasher::new(&pepper)),
        fingerprint_key,
        receipt_keys: Mutex::new(receipt_keys),
        audit_signer,
        archive_key,
        chooser: Arc::new(chooser),
        report,
    })
}

impl Report {
    /// Records what the start found and did.
    pub(crate) fn record(&self, base: &Base, audit: &Logger) {
        let event =
            |action, outcome| Event::new(action, Actor::System, outcome).at(base.clock.wall());
        let mut events = Vec::new();
        if self.migrated > 0 {
            events.push(
                event(Action::VaultMigrate, Outcome::Success)
                    .with_detail(Key::Count, Value::Number(self.migrated))
                    .with_detail(Key::Kek, Value::Word(&self.sealing))
                    .with_detail(Key::Unreadable, Value::Number(self.survey.unreadable_count)),
            );
        }
        for unreadable in &self.survey.unreadable {
            let place = unreadable.to_string();
            events.push(
                event(Action::VaultOpenFailed, Outcome::Error)
                    .with_detail(Key::Name, Value::Text(place.into())),
            );
        }
        for event in events {
            if let Err(error) = audit.enqueue(&event) {
                tracing::error!("cannot record what the vault did: {error}");
            }
        }
    }
}

/// The keys, of which the one seals that an operator chose, if it may still.
async fn chosen(found: &Found, store: &Store) -> anyhow::Result<Keyring> {
    let chosen = store.meta(SEALING).await?;
    let chosen = chosen.and_then(|id| found.keyring.sealing_under(&id));
    Ok(chosen.unwrap_or_else(|| found.keyring.clone()))
}

fn check_name(kek: &str) -> String {
    format!("{CHECK}.{kek}")
}

/// What the vault is like, changing nothing.
///
/// # Errors
/// As [`open`], but for what only the process itself misses.
pub(crate) async fn inspect(base: &Base, store: &Store) -> anyhow::Result<Survey> {
    let kept = key_service::open(base, store, &[], Missing::LeaveOut).await?;
    let found = keks::find(base, kept)?;
    let keyring = chosen(&found, store).await?;
    let survey = Survey::take(store, &keyring).await?;
    verify(base, store, (&keyring, Checks::Read), &survey).await?;
    refuse_retired(&found.retired, &survey)?;
    Ok(survey)
}

/// What fingerprints are made with, changing nothing; `None` if it was never made.
///
/// # Errors
/// It can't be opened.
pub(crate) async fn look_at_fingerprint_key(
    base: &Base,
    store: &Store,
) -> anyhow::Result<Option<[u8; 32]>> {
    let from_services = key_service::open(base, store, &[], Missing::LeaveOut).await?;
    let found = keks::find(base, from_services)?;
    let Some(sealed) = store.meta(FINGERPRINT_KEY).await? else {
        return Ok(None);
    };
    let tenant = store.default_tenant().id.to_string();
    let key = opened(&found.keyring, &sealed, &tenant, FINGERPRINT_KEY)?;
    Ok(Some(*key))
}

/// What is done about a key without a check value.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Checks {
    /// It gets one.
    Kept,
    /// Nothing.
    Read,
}

/// Whether the keys are those that sealed the store, and all of them are there.
async fn verify(
    base: &Base,
    store: &Store,
    (keyring, checks): (&Keyring, Checks),
    survey: &Survey,
) -> anyhow::Result<()> {
    let refused = |error: String| Failed::new(exit::INVALID, error);
    let first = store.meta(CHECK).await?;
    for kek in keyring.keks() {
        let name = check_name(kek.id);
        let value = match store.meta(&name).await? {
            Some(value) => value,
            None if checks == Checks::Read => continue,
            None => {
                let of_first = first.as_ref().filter(|value| is_of(value, kek.id));
                let value = match of_first {
                    Some(value) => value.clone(),
                    None => check_value(keyring, kek.id, base.entropy.as_ref())?,
                };
                // Another replica may be starting for the first time too, with another key.
                store.set_meta_once(&name, &value).await?
            }
        };
        keyring
            .verify(&value)
            .map_err(|error| refused(error.to_string()))?;
    }
    for (id, used) in &survey.keks {
        if keyring.keks().any(|kek| kek.id == id) {
            continue;
        }
        let kept = store.meta(&check_name(id)).await?;
        let kept = kept.or_else(|| first.clone().filter(|value| is_of(value, id)));
        // A key that never was is a damaged record; one that was is missing.
        if let Some(Err(error)) = kept.map(|value| keyring.verify(&value)) {
            let count = used.records;
            return Err(
                refused(format!("{error}, and {count} records are sealed under it")).into(),
            );
        }
    }
    Ok(())
}

/// Whether a check value is of the key of that id.
fn is_of(check_value: &str, kek: &str) -> bool {
    let sealed = check_value.split_once(':').map(|(_, sealed)| sealed);
    sealed.and_then(kek_of) == Some(kek)
}

fn check_value(keyring: &Keyring, kek: &str, entropy: &dyn Entropy) -> anyhow::Result<String> {
    let value = keyring.check_value(kek, entropy);
    Ok(value.context("a key that is not loaded")??)
}

fn refuse_retired(retired: &[String], survey: &Survey) -> anyhow::Result<()> {
    for id in retired {
        if let Some(used) = survey.keks.get(id) {
            let problem = format!(
                "vault.keks: `{id}` is retired, and {} records are sealed under it: make it \
                 `decrypt-only` for one start",
                used.records
            );
            return Err(Failed::new(exit::INVALID, problem).into());
        }
    }
    Ok(())
}

/// Seals anew what stands under keys that only open, all of it or nothing.
async fn migrate(base: &Base, store: &Store, keyring: &Keyring) -> anyhow::Result<u64> {
    let only_opens = |id: &str| {
        let mut keks = keyring.keks();
        keks.any(|kek| kek.id == id && kek.state == KekState::DecryptOnly)
    };
    let old: Vec<String> = keyring.keks().map(|kek| kek.id.to_owned()).collect();
    let old: Vec<String> = old.into_iter().filter(|id| only_opens(id)).collect();
    if old.is_empty() {
        return Ok(0);
    }
    let (keyring, entropy) = (keyring.clone(), Arc::clone(&base.entropy));
    let seal = move |record: &SealedRecord| {
        let kek = kek_of(&record.sealed)?;
        if !old.iter().any(|id| id == kek) {
            return None;
        }
        let place = tollkeep_admin::place_of(record);
        let resealed = keyring.reseal(&record.sealed, &place, Depth::Wrap, entropy.as_ref());
        resealed.ok().flatten()
    };
    Ok(store.reseal_all(seal).await?)
}

/// A random key kept sealed in the store, made at first use.
///
/// # Errors
/// The store, or it does not open.
pub(super) async fn sealed_key(
    entropy: &dyn Entropy,
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
            entropy.fill(&mut key);
            let sealed = keyring.seal(&key, &context, entropy)?;
            store.set_sealed_once(name, &sealed).await?
        }
    };
    Ok(*opened(keyring, &sealed, &tenant, name)?)
}

/// A random key that is kept sealed under a name.
///
/// # Errors
/// It does not open, or is no key.
pub(super) fn opened(
    keyring: &Keyring,
    sealed: &str,
    tenant: &str,
    name: &str,
) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let context = SealContext {
        tenant,
        table: "meta",
        row: name,
        field: "value",
    };
    let opened = keyring
        .open(sealed, &context)
        .map_err(|error| Failed::new(exit::INVALID, format!("{name}: {error}")))?;
    let bytes = <[u8; 32]>::try_from(opened.as_slice())
        .ok()
        .with_context(|| format!("{name} is not a key of 32 bytes"))?;
    Ok(Zeroizing::new(bytes))
}

/// The seed of a key that signs the audit log; the first time, the key is made.
pub(super) async fn audit_seed(
    base: &Base,
    store: &Store,
    keyring: &Keyring,
    number: usize,
) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let name = audit_seed_name(number);
    Ok(Zeroizing::new(
        sealed_key(base.entropy.as_ref(), store, keyring, &name).await?,
    ))
}

/// Keeps the seed of a key that signs the audit log.
pub(super) async fn seal_audit_seed(
    store: &Store,
    keyring: &Keyring,
    entropy: &dyn Entropy,
    (number, seed): (usize, &[u8; 32]),
) -> anyhow::Result<()> {
    let name = audit_seed_name(number);
    let tenant = store.default_tenant().id.to_string();
    let context = SealContext {
        tenant: &tenant,
        table: "meta",
        row: &name,
        field: "value",
    };
    let sealed = keyring.seal(seed, &context, entropy)?;
    let kept = store.set_sealed_once(&name, &sealed).await?;
    anyhow::ensure!(kept == sealed, "another process exchanges the key too");
    Ok(())
}

fn audit_seed_name(number: usize) -> String {
    format!("audit.signing_key.{number}")
}

impl Chooser {
    /// The keys as they are now.
    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// Every key, and where it comes from.
    pub(crate) fn keks(&self) -> Vec<KnownKek> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source_of = |id: &str| {
            let mut all = sources.iter();
            all.find(|(known, _)| known == id)
                .map(|(_, source)| *source)
        };
        let keyring = self.keyring.load();
        let known = keyring.keks().map(|kek| KnownKek {
            id: kek.id.to_owned(),
            state: kek.state.as_str(),
            source: source_of(kek.id),
            fingerprint: Some(kek.fingerprint.to_owned()),
            seals: kek.seals,
        });
        let retired = self.retired.iter().map(|id| KnownKek {
            id: id.clone(),
            state: "retired",
            source: None,
            fingerprint: None,
            seals: false,
        });
        known.chain(retired).collect()
    }

    /// Whether keys are made here, in files of our own.
    pub(crate) const fn makes_keks(&self) -> bool {
        self.is_local
    }

    /// Lets this key seal from now on, also after a restart.
    ///
    /// # Errors
    /// No active key has that id, or the store.
    pub(crate) async fn seal_under(&self, id: &str) -> Result<Arc<Keyring>, KekRefused> {
        let ring = self.keyring.load_full();
        let ring = Arc::new(ring.sealing_under(id).ok_or(KekRefused::NotActive)?);
        self.store.set_meta(SEALING, id).await?;
        self.keyring.store(Arc::clone(&ring));
        Ok(ring)
    }

    /// Makes a key of our own that seals from now on; those before it only open.
    ///
    /// # Errors
    /// Keys come from outside, there are too many, or the disk or the store.
    pub(crate) async fn seal_under_new(&self) -> Result<Arc<Keyring>, KekRefused> {
        if !self.is_local {
            return Err(KekRefused::FromOutside);
        }
        let refused = |error: anyhow::Error| match error.downcast_ref::<Failed>() {
            Some(failed) => KekRefused::Full(failed.message.clone()),
            None => KekRefused::NotWritten(format!("{error:#}")),
        };
        let mut number = keks::next_number(&self.folder).map_err(refused)?;
        // The name of a key that was deleted is not given to another.
        let is_taken = async |number| {
            let name = check_name(&keks::local_id(number));
            self.store.meta(&name).await.map(|value| value.is_some())
        };
        while is_taken(number).await? {
            number = number.saturating_add(1);
        }
        let (ring, entropy) = (self.keyring.load_full(), self.entropy.as_ref());
        let made = keks::make_next(&self.folder, number, &ring, entropy).map_err(refused)?;
        let id = keks::local_id(number);
        let value = check_value(&made, &id, entropy).map_err(refused)?;
        // Before anything is sealed under it, so that no start takes another key for it.
        self.store.set_meta_once(&check_name(&id), &value).await?;
        self.store.set_meta(SEALING, &id).await?;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.push((id, "local file"));
        let made = Arc::new(made);
        self.keyring.store(Arc::clone(&made));
        Ok(made)
    }
}
