//! `tollkeep login` and `logout`, and the file of gateways that they keep: a management address
//! and its key under a name, mode 0600.

use super::client::Client;
use super::{Connection, connection, output, secret_input, status};
use crate::exit::{self, Failed};
use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tollkeep_net::tls::PairFiles;
use tollkeep_types::Secret;

/// The profile that is meant when none is named.
pub(super) const DEFAULT: &str = "default";
/// Bytes of the file at most.
const BYTES_MAX: u64 = 1024 * 1024;

/// A gateway that is remembered.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) url: String,
    pub(super) key: Secret,
    pub(super) ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

/// Remember a gateway and its key
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// The name to remember it by
    #[arg(long = "as", value_name = "NAME", default_value = DEFAULT)]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

/// Forget a gateway and its key
#[derive(Args, Debug)]
pub(crate) struct Logout {
    /// The name it is remembered by
    #[arg(long, value_name = "NAME", default_value = DEFAULT)]
    profile: String,
}

impl Login {
    /// Tries the key, and keeps it.
    ///
    /// # Errors
    /// The gateway does not take the key or can't be reached; the file can't be written.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        check_name(&self.name)?;
        let connection = &self.connection;
        let Some(url) = &connection.url else {
            let problem = "say where the gateway is: --url https://gateway.example:8318";
            return Err(Failed::new(2, problem).into());
        };
        let key = match &connection.key_file {
            Some(path) => key_of_file(path)?,
            None => match tollkeep_config::management_key() {
                Some(key) => key,
                None => asked_key()?,
            },
        };
        let client = Client::with_key(connection, Some(key.clone()))?;
        let who = client.get("/api/v1/whoami")?;
        let absolute = |path: &Option<PathBuf>| {
            let path = path.as_ref().map(std::path::absolute);
            path.transpose().map(|path| path.map(|path| json!(path)))
        };
        let kept = json!({
            "url": url,
            "key": key.expose(),
            "ca_file": absolute(&connection.ca_file)?,
            "client_cert_file": absolute(&connection.client_cert_file)?,
            "client_key_file": absolute(&connection.client_key_file)?,
        });
        let path = file()?;
        let mut all = read(&path)?;
        all.insert(self.name, kept);
        write(&path, &all)?;
        output::one(&who, connection.json(), status::WHO);
        Ok(())
    }
}

impl Logout {
    /// Forgets it.
    ///
    /// # Errors
    /// There is no such profile, or the file can't be written.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = file()?;
        let mut all = read(&path)?;
        if all.remove(&self.profile).is_none() {
            let problem = format!("no profile `{}`", self.profile);
            return Err(Failed::new(exit::NOT_FOUND, problem).into());
        }
        write(&path, &all)
    }
}

impl Profile {
    /// The certificate to show, if there is one.
    pub(super) fn client_pair(&self) -> Option<PairFiles> {
        connection::pair(
            self.client_cert_file.as_ref(),
            self.client_key_file.as_ref(),
        )
    }
}

/// The profile of that name.
///
/// # Errors
/// The file can't be read, or others may read it.
pub(super) fn find(name: &str) -> anyhow::Result<Option<Profile>> {
    // Without a home there is nothing to remember.
    let Ok(path) = file() else { return Ok(None) };
    let all = read(&path)?;
    let Some(kept) = all.get(name) else {
        return Ok(None);
    };
    let text = |name: &str| kept.get(name).and_then(Value::as_str);
    let file = |name: &str| text(name).map(PathBuf::from);
    let (Some(url), Some(key)) = (text("url"), text("key")) else {
        return Err(damaged(&path).into());
    };
    Ok(Some(Profile {
        url: url.to_owned(),
        key: Secret::new(key),
        ca_file: file("ca_file"),
        client_cert_file: file("client_cert_file"),
        client_key_file: file("client_key_file"),
    }))
}

/// The key in a file.
///
/// # Errors
/// The file can't be read.
pub(super) fn key_of_file(path: &Path) -> anyhow::Result<Secret> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Secret::new(text.trim()))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let problem = "a profile's name is 1 to 64 letters, digits, `-`, `_` and `.`";
        return Err(Failed::new(2, problem).into());
    }
    Ok(())
}

/// The key as it is typed or piped in; on a terminal it is not shown.
fn asked_key() -> anyhow::Result<Secret> {
    let text = secret_input::read("Management key", None)?;
    let key = text.expose().trim();
    if key.is_empty() {
        let problem = "no management key: type it, pipe it in, or give --key-file";
        return Err(Failed::new(2, problem).into());
    }
    Ok(Secret::new(key))
}

fn file() -> anyhow::Result<PathBuf> {
    let folder = tollkeep_config::user_folder();
    let folder = folder.context("there is no home folder to remember gateways in")?;
    Ok(folder.join("profiles.json"))
}

fn damaged(path: &Path) -> Failed {
    let problem = format!("{} is damaged: remove it and log in again", path.display());
    Failed::new(exit::INVALID, problem)
}

/// All profiles; none if there is no file.
fn read(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let name = path.display();
    if about.mode() & 0o077 != 0 {
        let problem = format!("{name} has keys in it and others may use it: chmod 0600 {name}");
        return Err(Failed::new(exit::INVALID, problem).into());
    }
    if about.len() > BYTES_MAX {
        return Err(damaged(path).into());
    }
    let text = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(all)) => Ok(all),
        Ok(_) | Err(_) => Err(damaged(path).into()),
    }
}

/// Puts another file in its place, whole or not at all.
fn write(path: &Path, all: &Map<String, Value>) -> anyhow::Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    let new = folder.join(format!(".profiles.{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(all)?)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
