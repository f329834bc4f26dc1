//! The key-encryption keys of the process: those that the settings name, and those in files of our
//! own beside the database.

use super::Base;
use crate::exit::{self, Failed};
use anyhow::Context;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tollkeep_config::settings::{Environment, KekUse, Settings};
use tollkeep_crypto::{KekState, Keyring, key_text};
use tollkeep_types::{Entropy, Secret};
use zeroize::Zeroizing;

/// What files of our own are called, before their number.
const LOCAL: &str = "kek-";
/// Files of our own at most. Those that seal nothing any more can be deleted.
const LOCAL_MAX: usize = 32;
/// The id of `auth.encryption.key`.
const EXTERNAL: &str = "k1";

/// A key.
pub(crate) type KeyBytes = Zeroizing<[u8; 32]>;

/// A key and where it comes from.
struct Kek {
    id: String,
    source: &'static str,
    state: KekState,
    bytes: KeyBytes,
}

/// The keys that were found.
pub(crate) struct Found {
    /// All that open.
    pub(crate) keyring: Keyring,
    /// Where each comes from, by id.
    pub(crate) sources: Vec<(String, &'static str)>,
    /// Ids of those that are said to be gone.
    pub(crate) retired: Vec<String>,
    /// Whether the key that seals is a file of our own.
    pub(crate) is_local: bool,
}

/// Finds all keys, those that services `kept` among them, and makes the first one where none is given from outside.
///
/// # Errors
/// A key is no key, or none is given where one is required.
pub(crate) fn find(base: &Base, kept: Vec<(String, KeyBytes)>) -> anyhow::Result<Found> {
    let settings = &base.settings;
    let mut all = external(settings, kept)?;
    let folder = folder(settings);
    let mut local = local(&folder)?;
    // A file whose key was moved into the settings is not needed any more.
    local.retain(|file| all.iter().all(|kek| kek.id != file.id));
    let is_local = !all.iter().any(|kek| kek.state == KekState::Active);
    if is_local {
        let production = settings.environment == Environment::Production;
        if production && !settings.vault.allow_local_kek {
            let how = "no encryption key: set TOLLKEEP_ENCRYPTION_KEY (`openssl rand -base64 32`), or `vault.allow_local_kek: true`";
            return Err(Failed::new(exit::INVALID, how).into());
        }
        if local.is_empty() {
            local.push(make(&folder, 1, base.entropy.as_ref())?);
        }
        if let Some(newest) = local.last_mut() {
            newest.state = KekState::Active;
        }
    }
    all.extend(local);
    let sources = all.iter().map(|kek| (kek.id.clone(), kek.source)).collect();
    let retired = settings.vault.keks.iter();
    let retired = retired.filter(|kek| kek.state == KekUse::Retired);
    Ok(Found {
        keyring: on_a_ring(all)?,
        sources,
        retired: retired.map(|kek| kek.id.clone()).collect(),
        is_local,
    })
}

/// Whether there is a key already.
pub(crate) fn is_there(settings: &Settings) -> bool {
    let has_external = settings.auth.encryption_key.is_some() || settings.vault.has_active();
    has_external || local(&folder(settings)).is_ok_and(|files| !files.is_empty())
}

/// The first active one seals.
fn on_a_ring(mut all: Vec<Kek>) -> anyhow::Result<Keyring> {
    let first = all.iter().position(|kek| kek.state == KekState::Active);
    let sealing = all.remove(first.context("no key-encryption key")?);
    let mut keyring = Keyring::new(&sealing.id, &sealing.bytes)?;
    for kek in all {
        keyring = keyring.with(&kek.id, &kek.bytes, kek.state)?;
    }
    Ok(keyring)
}

/// Those of the settings.
fn external(settings: &Settings, mut kept: Vec<(String, KeyBytes)>) -> anyhow::Result<Vec<Kek>> {
    let mut all = Vec::new();
    for kek in &settings.vault.keks {
        let state = match kek.state {
            KekUse::Active => KekState::Active,
            KekUse::DecryptOnly => KekState::DecryptOnly,
            KekUse::Retired => continue,
        };
        let bytes = if let Some(key) = &kek.key {
            parsed(&kek.id, key)?
        } else if let Some(at) = kept.iter().position(|(id, _)| *id == kek.id) {
            kept.swap_remove(at).1
        } else {
            // One of a service that was never made seals nothing.
            continue;
        };
        all.push(Kek {
            bytes,
            id: kek.id.clone(),
            source: kek.source.as_str(),
            state,
        });
    }
    if let Some(key) = &settings.auth.encryption_key {
        all.push(Kek {
            bytes: parsed(EXTERNAL, key)?,
            id: EXTERNAL.to_owned(),
            source: "settings",
            state: KekState::Active,
        });
    }
    Ok(all)
}

fn parsed(id: &str, key: &Secret) -> anyhow::Result<KeyBytes> {
    let key = key_text::parse(key.expose())
        .map_err(|error| Failed::new(exit::INVALID, format!("key {id:?}: {error}")))?;
    Ok(key.bytes)
}

/// Where files of our own are.
pub(crate) fn folder(settings: &Settings) -> PathBuf {
    settings.data_dir.join("keys")
}

/// Files of our own, the newest last; they only open unless somebody says otherwise.
fn local(folder: &Path) -> anyhow::Result<Vec<Kek>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(LOCAL));
        let number = number.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        numbers.extend(number.and_then(|digits| digits.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    let keys = numbers.into_iter().map(|number| {
        let path = folder.join(format!("{LOCAL}{number}"));
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        let file = fs::File::open(&path);
        file.and_then(|file| file.take(64).read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = <[u8; 32]>::try_from(bytes.as_slice())
            .ok()
            .with_context(|| format!("{} is not a key of 32 bytes", path.display()))?;
        Ok(Kek {
            id: local_id(number),
            source: "local file",
            state: KekState::DecryptOnly,
            bytes: Zeroizing::new(bytes),
        })
    });
    keys.collect()
}

/// The number that the next file of our own may have, or a greater one.
///
/// # Errors
/// There are too many.
pub(crate) fn next_number(folder: &Path) -> anyhow::Result<u32> {
    let there = local(folder)?;
    if there.len() >= LOCAL_MAX {
        let problem = format!("there are {LOCAL_MAX} key files: delete those that seal nothing");
        return Err(Failed::new(exit::CONFLICT, problem).into());
    }
    let number = |kek: &Kek| kek.id.strip_prefix(LOCAL)?.parse::<u32>().ok();
    let last = there.last().and_then(number).unwrap_or(0);
    last.checked_add(1).context("no number is left")
}

/// What a file of our own of that number is called.
pub(crate) fn local_id(number: u32) -> String {
    format!("{LOCAL}{number}")
}

/// Makes a file of our own, whose key seals; those before it only open.
///
/// # Errors
/// The disk.
pub(crate) fn make_next(
    folder: &Path,
    number: u32,
    ring: &Keyring,
    entropy: &dyn Entropy,
) -> anyhow::Result<Keyring> {
    let kek = make(folder, number, entropy)?;
    Ok(ring.succeeded_by(&kek.id, &kek.bytes)?)
}

/// Makes a file of our own: whole or not at all, whenever the process is killed.
fn make(folder: &Path, number: u32, entropy: &dyn Entropy) -> anyhow::Result<Kek> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    entropy.fill(bytes.as_mut_slice());
    let path = folder.join(format!("{LOCAL}{number}"));
    let unfinished = folder.join(format!(".{LOCAL}{number}.new"));
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(bytes.as_slice())?;
        file.sync_all()?;
        // Not over another key, which something may be sealed under; this process is the only one
        // with this folder.
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&unfinished, &path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Kek {
        id: local_id(number),
        source: "local file",
        state: KekState::DecryptOnly,
        bytes,
    })
}
