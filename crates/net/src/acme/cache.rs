//! The folder that keeps accounts, certificates and what became of orders: mode 0700, its files
//! 0600, each exchanged at one moment. Replicas may share it: whoever orders has its [`Turn`], and
//! all of them answer the challenges that stand in it.
//!
//! Names in it carry the digest of the directory, so that what a test authority made is never
//! served for the real one.

use super::challenges::Challenge;
use crate::tls::Fault;
use crate::tls::pair::{Pair, PairFiles, Rules};
use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::AccountCredentials;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tollkeep_policy::acme::{Chosen, Draw, Failures, Kept, Life, Window, choose};
use tollkeep_policy::egress::EgressUrl;
use tollkeep_types::WallMillis;
use zeroize::Zeroizing;

/// Certificates that are looked at; a folder has one for each set of names that ever was wanted.
const KEPT_MAX: usize = 64;
/// Files of open challenges that are looked at: one for each authority.
const OPEN_MAX: usize = 16;
/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The folder, as it is for one authority and one set of names.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    /// Stands for the authority in names of files.
    authority: String,
    /// The certificate for exactly these names, without what is behind its dot.
    stem: String,
}

/// A certificate that is kept.
#[derive(Clone, Debug)]
pub struct KeptPair {
    /// Its file, which holds its key too.
    pub path: PathBuf,
    /// The names it is for, lower case.
    pub names: Vec<String>,
    /// Its life.
    pub life: Life,
    /// Its serial number.
    pub(super) serial: Vec<u8>,
    /// What stands for its issuer's key.
    pub(super) issuer_key: Option<Vec<u8>>,
}

/// What became of orders, kept over restarts: whoever starts again and again must not ask the
/// authority as often.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct State {
    /// Orders that failed since the last that did not.
    pub failures: u32,
    /// When the last one did.
    pub failed_at_ms: u64,
    /// When the authority wants to be asked again.
    pub asked_ms: Option<u64>,
    /// Why the last one failed.
    pub problem: Option<String>,
    /// The window that the authority suggests, of the certificate with this serial number.
    pub window_ms: Option<(u64, u64)>,
    /// That serial number.
    pub window_of: String,
    /// When it is asked for again.
    pub look_at_ms: u64,
    /// The chance that was drawn.
    pub draw: u32,
}

impl State {
    /// The orders that failed.
    pub fn failures(&self) -> Option<Failures> {
        (self.failures > 0).then_some(Failures {
            count: self.failures,
            at: WallMillis(self.failed_at_ms),
            asked: self.asked_ms.map(WallMillis),
        })
    }

    /// The window of this certificate.
    pub fn window(&self, kept: &KeptPair) -> Option<Window> {
        let (from, to) = self.window_ms.filter(|_| self.window_of == kept.serial())?;
        Some(Window {
            from: WallMillis(from),
            to: WallMillis(to),
        })
    }

    /// The chance that was drawn.
    pub const fn draw(&self) -> Draw {
        Draw(self.draw)
    }
}

impl KeptPair {
    /// Its serial number, as text.
    pub fn serial(&self) -> String {
        hex(&self.serial)
    }

    fn as_kept(&self) -> Kept<'_> {
        Kept {
            names: &self.names,
            life: self.life,
        }
    }
}

/// Whose turn it is to order; the kernel takes it back when the process ends in any way.
pub struct Turn {
    _file: File,
}

#[derive(Deserialize, Serialize)]
struct Published {
    until_ms: u64,
    challenges: Vec<Challenge>,
}

impl Cache {
    /// The folder, which is not looked at yet.
    pub fn new(folder: &Path, directory: &EgressUrl, domains: &[String]) -> Self {
        let mut sorted = domains.to_vec();
        sorted.sort_unstable();
        let authority = short(&directory.to_string());
        let first = sorted.first().map_or("none", String::as_str);
        let stem = format!("{first}-{authority}-{}", short(&sorted.join("\n")));
        Self {
            folder: folder.to_owned(),
            authority,
            stem,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells certificates apart: which names by which authority.
    pub fn id(&self) -> &str {
        &self.stem
    }

    /// Tells authorities apart.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The file of the certificate for exactly these names.
    pub fn certificate(&self) -> PathBuf {
        self.path("pem")
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.stem))
    }

    fn account_path(&self) -> PathBuf {
        self.folder.join(format!("account-{}.json", self.authority))
    }

    fn published_path(&self) -> PathBuf {
        self.folder.join(format!("{}.challenges", self.authority))
    }

    /// Makes the folder where there is none, and closes it to others.
    ///
    /// # Errors
    /// It can't be made, is no folder, or is another's.
    pub fn prepare(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.folder)?;
        let mode = fs::metadata(&self.folder)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
            tracing::warn!(
                "{}: was open to others, and is closed now",
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Takes the turn to order, unless another process has it.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn take_turn(&self) -> io::Result<Option<Turn>> {
        let path = self.folder.join(format!("{}.lock", self.authority));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Turn { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What became of orders. What can't be read is forgotten.
    pub fn state(&self) -> State {
        read_json(&self.path("json")).unwrap_or_default()
    }

    /// Keeps what became of orders.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn keep_state(&self, state: &State) -> io::Result<()> {
        exchange(&self.path("json"), &serde_json::to_vec(state)?)
    }

    /// The account at this authority. One that can't be read is told and put aside.
    pub(super) fn account(&self) -> Option<AccountCredentials> {
        let path = self.account_path();
        let known = read_json(&path);
        if known.is_none() && path.exists() {
            self.forget_account();
        }
        known
    }

    pub(super) fn keep_account(&self, account: &AccountCredentials) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(account)?);
        exchange(&self.account_path(), &text)
    }

    /// Puts the account aside: the next order begins with a new one.
    pub(super) fn forget_account(&self) {
        let path = self.account_path();
        let aside = path.with_extension("json.bad");
        if fs::rename(&path, aside).is_ok() {
            tracing::error!(
                "{}: is put aside, a new account will be made",
                path.display()
            );
        }
    }

    /// Every certificate of this authority, and what is wrong with those that can't be used.
    pub fn kept(&self, now: WallMillis, insecure_key_mode: bool) -> (Vec<KeptPair>, Vec<Fault>) {
        let (mut kept, mut faults) = (Vec::new(), Vec::new());
        let part = format!("-{}-", self.authority);
        for path in self.files(".pem", KEPT_MAX, |name| name.contains(&part)) {
            match load(&path, now, insecure_key_mode) {
                Ok(pair) => kept.push(pair),
                Err(found) => faults.extend(found),
            }
        }
        (kept, faults)
    }

    /// What is served for these names, and what is wrong with those that can't be used.
    pub fn served(
        &self,
        domains: &[String],
        now: WallMillis,
        insecure_key_mode: bool,
    ) -> (Vec<PairFiles>, Vec<Fault>) {
        let (kept, faults) = self.kept(now, insecure_key_mode);
        let all: Vec<Kept<'_>> = kept.iter().map(KeptPair::as_kept).collect();
        let files = |chosen: Chosen| {
            let path = &kept.get(chosen.index)?.path;
            Some(PairFiles {
                cert_file: path.clone(),
                key_file: path.clone(),
                names: chosen.names,
                may_be_over: true,
            })
        };
        let chosen = choose(domains, &all, now).into_iter();
        (chosen.filter_map(files).collect(), faults)
    }

    /// The certificate for exactly these names, be it over.
    pub fn exact(
        &self,
        domains: &[String],
        now: WallMillis,
        insecure_key_mode: bool,
    ) -> Option<KeptPair> {
        let pair = load(&self.certificate(), now, insecure_key_mode).ok()?;
        pair.as_kept().is_for(domains).then_some(pair)
    }

    /// Keeps a certificate and its key in place of the one before, if it is what was ordered.
    pub(super) fn keep(
        &self,
        domains: &[String],
        text: &str,
        now: WallMillis,
    ) -> Result<(), String> {
        let path = self.certificate();
        let new = path.with_extension("pem.new");
        let judged = write_new(&new, text.as_bytes()).map_err(|error| error.to_string());
        let judged = judged.and_then(|()| {
            let pair = load(&new, now, false);
            let pair = pair.map_err(|faults| {
                let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
                told.join("; ")
            })?;
            if !pair.as_kept().is_for(domains) {
                return Err(format!("it is for other names: {}", pair.names.join(", ")));
            }
            if pair.life.is_over(now) {
                return Err("its time is over".to_owned());
            }
            put_in_place(&new, &path).map_err(|error| error.to_string())
        });
        judged.map_err(|problem| {
            remove(&new);
            format!("the certificate that was sent can't be used: {problem}")
        })
    }

    /// Lets all who share the folder answer these challenges.
    pub(super) fn publish(&self, challenges: &[Challenge], until: WallMillis) -> io::Result<()> {
        let published = Published {
            until_ms: until.0,
            challenges: challenges.to_vec(),
        };
        exchange(&self.published_path(), &serde_json::to_vec(&published)?)
    }

    /// Ends that.
    pub(super) fn withdraw(&self) {
        remove(&self.published_path());
    }

    /// The challenges that are open, whoever ordered.
    pub fn open(&self, now: WallMillis) -> Vec<Challenge> {
        let files = self.files(".challenges", OPEN_MAX, |_| true);
        let read = files.iter().filter_map(|path| read_json::<Published>(path));
        let open = read.filter(|published| now.0 <= published.until_ms);
        open.flat_map(|published| published.challenges).collect()
    }

    /// Files with this ending, sorted by name, so many at most.
    fn files(&self, ending: &str, max: usize, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names
            .filter(|name| name.ends_with(ending) && wanted(name))
            .collect();
        names.sort_unstable();
        names.truncate(max);
        names.iter().map(|name| self.folder.join(name)).collect()
    }
}

fn load(path: &Path, now: WallMillis, insecure_key_mode: bool) -> Result<KeptPair, Vec<Fault>> {
    let files = PairFiles {
        cert_file: path.to_owned(),
        key_file: path.to_owned(),
        names: Vec::new(),
        may_be_over: true,
    };
    let rules = Rules {
        now,
        insecure_key_mode,
        in_production: false,
    };
    let leaf = Pair::load(&files, rules)?.leaf;
    Ok(KeptPair {
        path: path.to_owned(),
        life: Life {
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        },
        names: leaf.dns_names().map(str::to_owned).collect(),
        serial: leaf.serial,
        issuer_key: leaf.issuer_key,
    })
}

/// A file of ours; told where it is there and can't be read.
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!("{}: can't be read: {error}", path.display());
            return None;
        }
    }
    let parsed = serde_json::from_slice(&text);
    // Where in it, but nothing of what it says: it may be a key.
    let parsed = parsed.map_err(|error: serde_json::Error| {
        tracing::error!(
            "{}: is damaged (line {}, column {})",
            path.display(),
            error.line(),
            error.column()
        );
    });
    parsed.ok()
}

/// Puts a file in place of the one before, at one moment.
fn exchange(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    write_new(&new, bytes)?;
    put_in_place(&new, path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash left; whoever writes has the turn.
    remove(path);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("{}: can't be removed: {error}", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// What stands for a text in the name of a file.
fn short(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    hex(digest.as_ref().get(..6).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
