//! Where the running gateway is, and how to print what it says: the same flags for every command
//! that asks it.

use super::output::{self, Form};
use super::profile::{self, Profile};
use crate::exit::Failed;
use crate::system::SystemClock;
use clap::Args;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tollkeep_net::control::Target;
use tollkeep_net::tls::{PairFiles, client_showing};
use tollkeep_types::{Clock, Secret};

/// Where the running gateway is, and how to print what it says.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Connection {
    /// The data folder of the gateway, whose local socket is used; `./data` if nothing else is
    /// said
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The local socket of the gateway
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "data_dir"])]
    pub(super) socket: Option<PathBuf>,
    /// The management address, such as `https://gateway.example:8318`, instead of the local socket;
    /// the key comes from TOLLKEEP_MANAGEMENT_KEY or --key-file
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// A gateway that `tollkeep login` remembers; `default` if that is one and nothing else is said
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "socket", "data_dir"])]
    pub(super) profile: Option<String>,
    /// Certificates (PEM) to trust besides the system's, for https
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// A certificate (PEM) to show where the management address asks for one
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    pub(super) client_cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM, mode 0600)
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    pub(super) client_key_file: Option<PathBuf>,
    /// A file that holds the management key
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// The session that `tollkeep console-session begin` keeps in this file, instead of a key;
    /// needs --url
    #[arg(
        long,
        value_name = "FILE",
        requires = "url",
        conflicts_with = "key_file"
    )]
    pub(super) session_file: Option<PathBuf>,
    /// Longest wait for an answer, as 500ms, 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = patience)]
    pub(super) timeout: Patience,
    /// Have the gateway say what it would do, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How to print: a table on a terminal and JSON elsewhere, if nothing is said
    #[arg(long, value_enum, value_name = "FORM", conflicts_with = "json")]
    pub(super) output: Option<Form>,
    /// Print JSON, also on a terminal
    #[arg(long)]
    pub(super) json: bool,
}

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(super) Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// A way to a gateway, found out.
pub(super) struct Way {
    pub(super) target: Target,
    pub(super) key: Option<Secret>,
}

impl Connection {
    /// To this address, or by the local socket of `./data`.
    pub(super) fn to(url: Option<String>, json: bool) -> Self {
        Self {
            url,
            json,
            ..Self::default()
        }
    }

    /// Whether JSON is asked for.
    pub(super) const fn json(&self) -> bool {
        self.json
    }

    /// Where the gateway is, and the key to show there; `own` is a key that was given otherwise.
    ///
    /// # Errors
    /// The address is malformed, the profile is not there, or there is no key.
    pub(super) fn way(&self, own: Option<Secret>) -> anyhow::Result<Way> {
        if let Some(form) = self.output {
            output::set_form(form);
        }
        if let Some(url) = &self.url {
            let key = self.key(own)?;
            let pair = self.client_pair();
            let target = management_target(url, self.ca_file.as_deref(), pair.as_ref())?;
            return Ok(Way {
                target,
                key: Some(key.ok_or_else(no_key)?),
            });
        }
        if let Some(profile) = self.found_profile()? {
            let Profile { url, key, .. } = &profile;
            let own = match own {
                None if self.key_file.is_none() => Some(key.clone()),
                given => given,
            };
            let key = self.key(own)?;
            let pair = self.client_pair().or_else(|| profile.client_pair());
            let ca_file = self.ca_file.as_ref().or(profile.ca_file.as_ref());
            let target = management_target(url, ca_file.map(PathBuf::as_path), pair.as_ref())?;
            return Ok(Way { target, key });
        }
        let data_dir = || {
            let folder = self.data_dir.clone();
            folder.unwrap_or_else(|| PathBuf::from("./data"))
        };
        let socket = self.socket.clone();
        let socket = socket.unwrap_or_else(|| data_dir().join("tollkeep.sock"));
        Ok(Way {
            target: Target::Unix(socket),
            key: None,
        })
    }

    /// The address that is given, for one who has yet to sign in there.
    ///
    /// # Errors
    /// It is missing or malformed.
    pub(super) fn unsigned(&self) -> anyhow::Result<Target> {
        if let Some(form) = self.output {
            output::set_form(form);
        }
        let Some(url) = &self.url else {
            return Err(Failed::new(2, "say --url: the local socket needs no login").into());
        };
        let pair = self.client_pair();
        management_target(url, self.ca_file.as_deref(), pair.as_ref())
    }

    /// The management key, of its file or the environment.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn own_key(&self) -> anyhow::Result<Secret> {
        Ok(self.key(None)?.ok_or_else(no_key)?)
    }

    /// The same, by the profile of that name if there is one.
    ///
    /// # Errors
    /// The profiles can't be read.
    pub(super) fn by_profile(mut self, name: &str) -> anyhow::Result<(Self, bool)> {
        let is_said = self.url.is_some() || self.socket.is_some() || self.data_dir.is_some();
        let is_there = !is_said && self.profile.is_none() && profile::find(name)?.is_some();
        if is_there {
            self.profile = Some(name.to_owned());
        }
        Ok((self, is_there))
    }

    fn found_profile(&self) -> anyhow::Result<Option<Profile>> {
        if let Some(name) = &self.profile {
            let found = profile::find(name)?;
            let unknown = || {
                let problem = format!("no profile `{name}`: make it by `tollkeep login`");
                Failed::new(crate::exit::INVALID, problem)
            };
            return Ok(Some(found.ok_or_else(unknown)?));
        }
        if self.socket.is_some() || self.data_dir.is_some() {
            return Ok(None);
        }
        profile::find(profile::DEFAULT)
    }

    /// The key: one that was given otherwise, that of the file, or that of the environment.
    fn key(&self, own: Option<Secret>) -> anyhow::Result<Option<Secret>> {
        match &self.key_file {
            _ if own.is_some() => Ok(own),
            Some(path) => profile::key_of_file(path).map(Some),
            None => Ok(tollkeep_config::management_key()),
        }
    }

    /// The certificate to show, if there is one.
    pub(super) fn client_pair(&self) -> Option<PairFiles> {
        pair(
            self.client_cert_file.as_ref(),
            self.client_key_file.as_ref(),
        )
    }
}

/// A certificate and its key, if both are there.
pub(super) fn pair(cert: Option<&PathBuf>, key: Option<&PathBuf>) -> Option<PairFiles> {
    Some(PairFiles {
        cert_file: cert?.clone(),
        key_file: key?.clone(),
        names: Vec::new(),
        may_be_over: false,
    })
}

fn no_key() -> Failed {
    let problem = "no management key: set TOLLKEEP_MANAGEMENT_KEY or give --key-file";
    Failed::new(crate::exit::NOT_PERMITTED, problem)
}

fn patience(text: &str) -> Result<Patience, String> {
    let want = || "want a time such as 500ms, 30s or 2m".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(want)?;
    let (digits, unit) = text.split_at(end);
    let number: u64 = digits.parse().map_err(|_| want())?;
    let ms = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    match ms {
        Some(ms @ 1..=86_400_000) => Ok(Patience(Duration::from_millis(ms))),
        Some(_) | None => Err(want()),
    }
}

/// `https://host:port`, `http://address:port` or `address:port`.
fn management_target(
    text: &str,
    ca_file: Option<&Path>,
    identity: Option<&PairFiles>,
) -> anyhow::Result<Target> {
    let want = |example: &str| {
        let problem = format!("--url: want an address like {example}, got `{text}`");
        Failed::new(2, problem)
    };
    if let Some(authority) = text.strip_prefix("https://") {
        let authority = authority.trim_end_matches('/');
        let authority: tollkeep_types::Authority = authority
            .parse()
            .map_err(|_| want("https://gateway.example:8318"))?;
        let roots = match identity {
            Some(pair) => client_showing(ca_file, pair, SystemClock::new().wall()),
            None => tollkeep_net::tls::client(ca_file),
        };
        let roots = roots.map_err(|error| Failed::new(crate::exit::INVALID, error.to_string()))?;
        return Ok(Target::Tls {
            host: authority.host().to_owned(),
            port: authority.port().unwrap_or(443),
            roots,
        });
    }
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.trim_end_matches('/').replace("localhost", "127.0.0.1");
    let addr: SocketAddr = bare.parse().map_err(|_| want("http://127.0.0.1:8318"))?;
    Ok(Target::Tcp(addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-110
    #[test]
    fn a_wait_is_a_number_and_a_unit() {
        for (text, want) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("2m", Some(120_000)),
            ("1440m", Some(86_400_000)),
            ("1441m", None),
            ("0s", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1h", None),
            ("18446744073709551615m", None),
        ] {
            let got = patience(text).ok().map(|patience| patience.0.as_millis());
            assert_eq!(got, want, "{text}");
        }
    }
}
