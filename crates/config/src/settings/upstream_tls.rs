//! TLS towards one upstream or provider: whom to believe, and how to show who we are.

use super::tls::VERSIONS;
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{Parsed, choice, list, maybe, parsed, path};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::path::PathBuf;
use tollkeep_policy::egress::{EgressUrl, Giver, Host, Purpose, parse_url};
use tollkeep_types::KeyPin;
use tollkeep_types::tls::TlsVersion;

/// TLS towards an upstream. There is no way to leave its certificate unchecked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamTls {
    /// The only root certificates that count, PEM; `None` for those of `egress`.
    pub ca_file: Option<PathBuf>,
    /// What we show when the upstream asks who we are: chain and key, PEM.
    pub client: Option<[PathBuf; 2]>,
    /// The name that the certificate must have, where it is not that of the URL.
    pub server_name: Option<Host>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// The keys that the certificate may have; any, if there are none.
    pub pins: Vec<KeyPin>,
}

keys! {
    /// TLS towards it. Its certificate is checked in any case: nothing here, nor elsewhere, turns
    /// that off.
    pub(crate) struct UpstreamTlsFile {
        /// PEM file with the only root certificates that count here. Empty: those of
        /// `egress.roots` and `egress.ca_file`.
        ca_file: Option<PathBuf> = maybe(path()).or(None),
        /// PEM file with the certificate, and its chain, that is shown to an upstream which asks
        /// who calls.
        client_cert_file: Option<PathBuf> = maybe(path()).or(None),
        /// The key of that certificate: PEM of PKCS#8, PKCS#1 or SEC1, mode 0600.
        client_key_file: Option<PathBuf> = maybe(path()).or(None),
        /// The name that is asked for and that the certificate must have, where it is not that of
        /// the URL.
        server_name: Option<Host> = maybe(server_name()).or(None),
        /// The oldest version spoken.
        min_version: TlsVersion = choice(&VERSIONS).or(TlsVersion::V1_2),
        /// SHA-256 of public keys (`SubjectPublicKeyInfo`), in base64 or hex: the certificate of
        /// the upstream itself must have one of them, besides everything else it must be. A
        /// certificate authority's key is none of them. Empty: any key.
        pin_sha256: Vec<KeyPin> = list(pin()).or_empty(),
    }
}

const fn pin() -> Parsed<KeyPin> {
    parsed("SHA-256 of a public key, in base64 or hex", |text| {
        text.parse()
            .map_err(|error: tollkeep_types::KeyPinError| error.to_string())
    })
}

const fn server_name() -> Parsed<Host> {
    parsed("host name or address", |text| {
        let problem = || format!("want a host name or address, not {text:?}");
        let bracketed = if text.contains("::") && !text.starts_with('[') {
            format!("[{text}]")
        } else {
            text.to_owned()
        };
        let url = format!("https://{bracketed}/");
        let url = parse_url(&url, Purpose::Upstream, Giver::Operator).map_err(|_| problem())?;
        // Nothing but a host: a path or port would be left out in silence.
        let has_port = text.contains(':') && !matches!(url.host(), Host::V6(_));
        if has_port || url.to_string() != format!("https://{}/", url.host()) {
            return Err(problem());
        }
        Ok(url.host().clone())
    })
}

impl UpstreamTlsFile {
    /// What differs from how every upstream is called, if anything does. `path` is where this
    /// stands.
    pub(super) fn check(
        self,
        url: &EgressUrl,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<UpstreamTls> {
        let client = match (self.client_cert_file, self.client_key_file) {
            (Some(cert), Some(key)) => Some([cert, key]),
            (None, None) => None,
            (Some(_), None) => {
                checks.error_at(&path.name("client_key_file"), "is missing");
                None
            }
            (None, Some(_)) => {
                checks.error_at(&path.name("client_cert_file"), "is missing");
                None
            }
        };
        let tls = UpstreamTls {
            ca_file: self.ca_file,
            client,
            server_name: self.server_name,
            min_version: self.min_version,
            pins: self.pin_sha256,
        };
        if tls == UpstreamTls::DEFAULT {
            return None;
        }
        if !url.scheme().is_tls() {
            checks.error_at(path, "has no effect: the URL is not `https`");
        }
        Some(tls)
    }
}

impl UpstreamTls {
    /// As every upstream is called.
    pub const DEFAULT: Self = Self {
        ca_file: None,
        client: None,
        server_name: None,
        min_version: TlsVersion::V1_2,
        pins: Vec::new(),
    };

    /// The files it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.ca_file.iter().chain(self.client.iter().flatten())
    }
}
