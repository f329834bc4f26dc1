//! TLS of a listener: which certificates, and how strict.

use super::Egress;
use super::acme::{Acme, AcmeFile};
use crate::check::Checks;
use crate::field::{KindExt, listed, section};
use crate::kind::{Parsed, choice, list, maybe, parsed, path, switch};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::path::PathBuf;
use tollkeep_types::tls::{CipherSuite, ClientCertNeed, TlsVersion};

/// TLS of a listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The certificates from files; the first is for clients that name no server. At least one,
    /// if none is ordered.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// The suites that may be used; empty for all.
    pub cipher_suites: Vec<CipherSuite>,
    /// Whether keys that group or others can read are accepted.
    pub insecure_key_mode: bool,
    /// The certificate that is ordered.
    pub acme: Option<Acme>,
    /// Certificates of clients, if they are asked for.
    pub client_auth: Option<ClientAuth>,
}

/// How clients show who they are by a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientAuth {
    /// Whether there may be clients without one.
    pub need: ClientCertNeed,
    /// The authorities that issue them (PEM).
    pub ca_file: PathBuf,
    /// What those have revoked (PEM).
    pub crl_file: Option<PathBuf>,
}

/// A certificate, its key, and whom it is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The chain, leaf first (PEM).
    pub cert_file: PathBuf,
    /// The key (PEM).
    pub key_file: PathBuf,
    /// The server names it is for, lower case; empty for those it carries itself.
    pub names: Vec<String>,
}

keys! {
    /// TLS of this listener.
    pub(crate) struct TlsFile {
        /// Whether the listener speaks TLS; clear text is then closed without an answer.
        enabled: bool = switch().or(false),
        /// The certificate and its chain, leaf first (PEM).
        cert_file: Option<PathBuf> = maybe(path()).or(None),
        /// The key of the certificate: PEM of PKCS#8, PKCS#1 or SEC1, mode 0600.
        key_file: Option<PathBuf> = maybe(path()).or(None),
        /// The oldest version spoken; with `1.2`, 1.3 is spoken to clients that can.
        min_version: TlsVersion = choice(&VERSIONS).or(TlsVersion::V1_2),
        /// Cipher suites by their names at IANA; empty for all nine. If all named are of TLS 1.2,
        /// those of TLS 1.3 stay on.
        cipher_suites: Vec<CipherSuite> = list(suite()).or_empty(),
        /// Certificates for further server names.
        certificates: Vec<CertificateFile> = listed(),
        /// Whether key files may be readable by group or others.
        insecure_key_mode: bool = switch().or(false),
        /// Whether clients are asked for a certificate: `required` lets nobody in without one,
        /// `optional` nobody with a bad one. It must chain to `client_ca_file`, be valid, and be
        /// for clients. Sessions are then never resumed: each connection is verified anew.
        client_auth: Asked = choice(&CLIENT_AUTH).or(Asked::Off),
        /// The authorities that issue the certificates of clients (PEM).
        client_ca_file: Option<PathBuf> = maybe(path()).or(None),
        /// Their revocation lists (PEM), one for each authority that issues certificates.
        /// Without it nothing is revoked; once one has expired, nobody it is about gets in.
        client_crl_file: Option<PathBuf> = maybe(path()).or(None),
        acme: AcmeFile = section(),
    }
}

keys! {
    /// A certificate for some server names.
    pub(crate) struct CertificateFile {
        /// The certificate and its chain, leaf first (PEM).
        cert_file: Option<PathBuf> = path().required(),
        /// Its key.
        key_file: Option<PathBuf> = path().required(),
        /// The server names it is for, `*.example.com` being one label more. Empty: those the
        /// certificate carries.
        names: Vec<String> = list(server_name()).or_empty(),
    }
}

pub(super) const VERSIONS: [(&str, TlsVersion); 2] =
    [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

/// Whether certificates of clients are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asked {
    Off,
    For(ClientCertNeed),
}

const CLIENT_AUTH: [(&str, Asked); 3] = [
    ("off", Asked::Off),
    ("optional", Asked::For(ClientCertNeed::Optional)),
    ("required", Asked::For(ClientCertNeed::Required)),
];

const fn suite() -> Parsed<CipherSuite> {
    parsed("cipher suite such as `TLS_AES_128_GCM_SHA256`", |text| {
        text.parse()
            .map_err(|error: tollkeep_types::tls::ParseSuiteError| error.to_string())
    })
}

const fn server_name() -> Parsed<String> {
    parsed(
        "name such as `api.example.com` or `*.example.com`",
        |text| {
            let name = text.to_ascii_lowercase();
            let label = |label: &str| {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                (1..=63).contains(&label.len()) && label.bytes().all(fits)
            };
            let exact = name.strip_prefix("*.").unwrap_or(&name);
            if name.len() > 253 || !exact.split('.').all(label) {
                return Err(format!(
                    "want a name such as `api.example.com`, not {text:?}"
                ));
            }
            Ok(name)
        },
    )
}

/// Whether a listener with this TLS knows the certificates of its clients. `key` is where its
/// settings stand.
pub(super) fn knows_certificates(tls: Option<&Tls>, key: &str) -> Result<(), String> {
    let asks = tls.is_some_and(|tls| tls.client_auth.is_some());
    asks.then_some(()).ok_or_else(|| {
        format!(
            "needs certificates of clients, and nobody is asked for one: set `{key}.client_auth` \
             to `optional` or `required`"
        )
    })
}

impl TlsFile {
    /// The settings, if TLS is on. `key` is where this stands.
    pub(super) fn check(self, key: &str, egress: &Egress, checks: &mut Checks<'_>) -> Option<Tls> {
        let client_auth = self.client_auth(key, checks);
        let first = match (self.cert_file, self.key_file) {
            (Some(cert_file), Some(key_file)) => Some(CertificateFiles {
                cert_file,
                key_file,
                names: Vec::new(),
            }),
            (None, None) => None,
            (Some(_), None) => {
                checks.error(&format!("{key}.key_file"), "is missing");
                None
            }
            (None, Some(_)) => {
                checks.error(&format!("{key}.cert_file"), "is missing");
                None
            }
        };
        if !self.enabled {
            return None;
        }
        let others = self.certificates.into_iter().filter_map(|file| {
            Some(CertificateFiles {
                cert_file: file.cert_file?,
                key_file: file.key_file?,
                names: file.names,
            })
        });
        let certificates: Vec<_> = first.into_iter().chain(others).collect();
        let orders = self.acme.enabled;
        let acme = self
            .acme
            .check(&KeyPath::of(key).name("acme"), egress, checks);
        if certificates.is_empty() && !orders {
            let problem =
                "is on, but no certificate is named: set `cert_file` and `key_file`, or `acme`";
            checks.error_at(&KeyPath::of(key).name("enabled"), problem);
        }
        Some(Tls {
            certificates,
            min_version: self.min_version,
            cipher_suites: self.cipher_suites,
            insecure_key_mode: self.insecure_key_mode,
            acme,
            client_auth,
        })
    }

    /// What is half said about certificates of clients would let in whom nobody meant.
    fn client_auth(&self, key: &str, checks: &mut Checks<'_>) -> Option<ClientAuth> {
        let (ca, crl) = (&self.client_ca_file, &self.client_crl_file);
        let Asked::For(need) = self.client_auth else {
            for (name, file) in [("client_ca_file", ca), ("client_crl_file", crl)] {
                if file.is_some() {
                    let problem = format!(
                        "has no effect while `{key}.client_auth` is off: set it to `optional` or \
                         `required`"
                    );
                    checks.error(&format!("{key}.{name}"), problem);
                }
            }
            return None;
        };
        if !self.enabled {
            let problem = format!("asks for certificates, but `{key}.enabled` is off");
            checks.error(&format!("{key}.client_auth"), problem);
        }
        let Some(ca_file) = ca.clone() else {
            let problem = format!("is missing: `{key}.client_auth` needs to know whom to believe");
            checks.error(&format!("{key}.client_ca_file"), problem);
            return None;
        };
        let crl_file = crl.clone();
        Some(ClientAuth {
            need,
            ca_file,
            crl_file,
        })
    }
}
