//! Certificates that are ordered from an authority (ACME).

use super::Egress;
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{Parsed, choice, list, maybe, networks_or_all_private, parsed, path, switch};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::path::{Path, PathBuf};
use tollkeep_policy::egress::{EgressUrl, Exceptions, Giver, Purpose, parse_url};

/// Names of one certificate: what the usual authorities allow.
const DOMAINS_MAX: usize = 100;

/// What stands for a directory.
const DIRECTORIES: [(&str, &str); 2] = [
    (
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
];

/// Certificates that are ordered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acme {
    /// The names, lower case, each once; at least one.
    pub domains: Vec<String>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// The authority.
    pub directory: EgressUrl,
    /// The roots that vouch for it, instead of those of all.
    pub directory_ca_file: Option<PathBuf>,
    /// Private networks it may be in.
    pub allow_private: Vec<IpNet>,
    /// How it is shown that the names are ours.
    pub challenge: AcmeChallenge,
    cache_dir: Option<PathBuf>,
}

/// How it is shown that names are ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcmeChallenge {
    /// Within a TLS handshake.
    TlsAlpn01,
    /// By a request in clear text.
    Http01,
}

const CHALLENGES: [(&str, AcmeChallenge); 2] = [
    ("tls-alpn-01", AcmeChallenge::TlsAlpn01),
    ("http-01", AcmeChallenge::Http01),
];

impl Acme {
    /// The folder that keeps the account and the certificates.
    pub fn cache_dir(&self, data_dir: &Path) -> PathBuf {
        let own = self.cache_dir.clone();
        own.unwrap_or_else(|| data_dir.join("acme"))
    }
}

keys! {
    /// Certificates ordered from an authority, by ACME, and renewed in time. Those of `cert_file`
    /// and `certificates` are served beside them.
    pub(crate) struct AcmeFile {
        /// Whether a certificate is ordered.
        enabled: bool = switch().or(false),
        /// The names it is ordered for, all in one certificate. No `*.`: that would need DNS.
        domains: Vec<String> = list(domain()).or_empty(),
        /// Where the authority may write to. Empty: nowhere.
        email: Option<String> = maybe(email()).or(None),
        /// The authority: `letsencrypt`, `letsencrypt-staging`, or the `https` URL of a directory.
        directory: String = directory().or("letsencrypt".to_owned()),
        /// PEM file with the root certificates that vouch for the directory, instead of those of
        /// `egress`: that of a private authority.
        directory_ca_file: Option<PathBuf> = maybe(path()).or(None),
        /// Private networks the directory may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
        /// Whether its terms of service are agreed to; without that nothing can be ordered.
        terms_agreed: bool = switch().or(false),
        /// How the authority is shown that the names are ours: `tls-alpn-01` within a handshake
        /// at port 443, `http-01` by a request in clear text at port 80. Both must lead to a
        /// listener of this gateway.
        challenge: AcmeChallenge = choice(&CHALLENGES).or(AcmeChallenge::TlsAlpn01),
        /// Folder of the account and the certificates; made with mode 0700. Replicas that serve
        /// the same names share it. Without it: `acme` in `data_dir`.
        cache_dir: Option<PathBuf> = path().optional(),
    }
}

/// A name that a certificate can be ordered for.
const fn domain() -> Parsed<String> {
    parsed("name such as `api.example.com`", |text| {
        let name = text.to_ascii_lowercase();
        if name.starts_with("*.") {
            return Err(
                "is a wildcard, which neither challenge can prove: list the names".to_owned(),
            );
        }
        let label = |label: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let edges = !label.starts_with('-') && !label.ends_with('-');
            (1..=63).contains(&label.len()) && label.bytes().all(fits) && edges
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
        if name.len() > 253 || is_address || !name.split('.').all(label) {
            return Err(format!(
                "want a name such as `api.example.com`, not {text:?}"
            ));
        }
        Ok(name)
    })
}

const fn email() -> Parsed<String> {
    parsed("e-mail address", |text| {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b",;<>\"\\".contains(&byte);
        let parts = text.split_once('@');
        let whole = parts.is_some_and(|(local, host)| {
            !local.is_empty() && !host.is_empty() && !host.contains('@')
        });
        if text.len() > 254 || !text.bytes().all(fits) || !whole {
            return Err("want one e-mail address".to_owned());
        }
        Ok(text.to_owned())
    })
}

const fn directory() -> Parsed<String> {
    parsed("`letsencrypt`, `letsencrypt-staging` or a URL", |text| {
        directory_url(text).map(|_| text.to_owned())
    })
}

fn directory_url(text: &str) -> Result<EgressUrl, String> {
    let named = DIRECTORIES.iter().find(|(word, _)| *word == text);
    let url = named.map_or(text, |(_, url)| url);
    parse_url(url, Purpose::Acme, Giver::Operator).map_err(|_| {
        "want `letsencrypt`, `letsencrypt-staging`, or a URL that starts with `https://`".to_owned()
    })
}

impl AcmeFile {
    /// `path` is that of the section.
    pub(super) fn check(
        self,
        path: &KeyPath,
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Option<Acme> {
        if !self.enabled {
            return None;
        }
        let mut domains: Vec<String> = Vec::new();
        for (index, name) in self.domains.into_iter().enumerate() {
            if domains.contains(&name) {
                let problem = format!("{name} is there twice");
                checks.error_at(&path.name("domains").index(index), problem);
            }
            domains.push(name);
        }
        if domains.is_empty() {
            let problem = "is empty: name what a certificate is ordered for";
            checks.error_at(&path.name("domains"), problem);
        }
        if domains.len() > DOMAINS_MAX {
            let problem = format!("names more than {DOMAINS_MAX}");
            checks.error_at(&path.name("domains"), problem);
        }
        if !self.terms_agreed {
            let problem = "is needed: read the authority's terms of service, and say `true`";
            checks.error_at(&path.name("terms_agreed"), problem);
        }
        let directory = directory_url(&self.directory).ok()?;
        let exceptions = Exceptions {
            allow_private: self.allow_private,
            allow_metadata: false,
        };
        if let Err(problem) = egress.admit(&directory, &exceptions) {
            checks.error_at(&path.name("directory"), problem);
        }
        Some(Acme {
            domains,
            email: self.email,
            directory,
            directory_ca_file: self.directory_ca_file,
            allow_private: exceptions.allow_private,
            challenge: self.challenge,
            cache_dir: self.cache_dir,
        })
    }
}
