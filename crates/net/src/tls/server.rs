//! What a listener speaks TLS with: made from the settings whole or not at all, and replaced in
//! one step while it serves.

use super::certificate::KeyKind;
use super::client_auth::{ClientAuth, ClientAuthFiles};
use super::fault::{Fault, Warning};
use super::handshake::Hello;
use super::pair::{Pair, PairFiles, Rules};
use crate::acme::Challenges;
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite, version};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_types::WallMillis;
use tollkeep_types::tls::{CipherSuite, SuiteKey, TlsVersion};

/// How a listener shall speak TLS.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The certificates; the first is for clients that name no server.
    pub pairs: Vec<PairFiles>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// The suites that may be used; empty for all.
    pub cipher_suites: Vec<CipherSuite>,
    /// Whether keys that group or others can read are accepted.
    pub insecure_key_mode: bool,
    /// Whether a self-signed certificate is worth a warning.
    pub in_production: bool,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// Certificates of clients, if they are asked for.
    pub client_auth: Option<ClientAuthFiles>,
    /// Whether certificates are ordered: there may be none yet.
    pub ordered: bool,
}

/// What may be agreed with a client by ALPN; the first is preferred, and a client that offers
/// others only is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offers {
    /// HTTP/2 and HTTP/1.1.
    Http2,
    /// HTTP/1.1 alone.
    Http11,
}

/// What comes to an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ends {
    /// A certificate of ours.
    Certificate,
    /// An authority of clients' certificates.
    ClientAuthority,
    /// A list of what such an authority revoked.
    RevocationList,
}

/// Until when something is valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expiry {
    /// What it is.
    pub ends: Ends,
    /// Its file.
    pub path: String,
    /// Its subject.
    pub subject: String,
    /// Until when.
    pub not_after: WallMillis,
}

/// What a listener serves with. A connection keeps what it began with.
pub struct Served {
    with_http2: Arc<ServerConfig>,
    with_http11: Arc<ServerConfig>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) handshake: Duration,
    /// Until when each certificate is valid.
    pub expiries: Vec<Expiry>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// `None` where sessions are not resumed: a ticket would carry the verdict on a client's
    /// certificate to where other authorities are believed, or where it has ended or is revoked.
    tickets: Option<Arc<dyn ProducesTickets>>,
}

/// HTTP/2, as it is named in ALPN.
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

impl Served {
    /// Reads and judges everything.
    ///
    /// # Errors
    /// Every fault of every pair.
    pub fn load(settings: &ServerSettings, now: WallMillis) -> Result<Self, Vec<Fault>> {
        Self::load_with(settings, now, None)
    }

    fn load_with(
        settings: &ServerSettings,
        now: WallMillis,
        tickets: Option<Arc<dyn ProducesTickets>>,
    ) -> Result<Self, Vec<Fault>> {
        let rules = Rules {
            now,
            insecure_key_mode: settings.insecure_key_mode,
            in_production: settings.in_production,
        };
        let (mut pairs, mut faults) = (Vec::new(), Vec::new());
        for files in &settings.pairs {
            match Pair::load(files, rules) {
                Ok(pair) => pairs.push(pair),
                Err(found) => faults.extend(found),
            }
        }
        let client_auth = settings.client_auth.as_ref();
        let client_auth = client_auth
            .map(|files| ClientAuth::load(files, now))
            .transpose();
        let client_auth = client_auth
            .map_err(|found| faults.extend(found))
            .ok()
            .flatten();
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut warnings: Vec<_> = pairs
            .iter()
            .flat_map(|pair| pair.warnings.clone())
            .collect();
        let suites = suites(settings);
        check_suites(settings, &pairs)?;
        if settings.min_version == TlsVersion::V1_2 && !speaks(&suites, TlsVersion::V1_2) {
            warnings.push(Warning::OnlyNewest);
        }
        let setup = |error: rustls::Error| vec![Fault::Setup(error.to_string())];
        let tickets = match (&client_auth, tickets) {
            (Some(_), _) => None,
            (None, Some(tickets)) => Some(tickets),
            // Its keys change every six hours.
            (None, None) => Some(aws_lc_rs::Ticketer::new().map_err(setup)?),
        };
        let mut expiries: Vec<_> = pairs.iter().map(Expiry::of).collect();
        if let Some(client_auth) = &client_auth {
            expiries.extend(client_auth.expiries.iter().cloned());
            warnings.extend(client_auth.warnings.iter().cloned());
        }
        let verifier = match client_auth {
            Some(client_auth) => client_auth.verifier,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let certificates = Arc::new(Certificates(pairs));
        let mut config = config(settings, &suites, &certificates, verifier).map_err(setup)?;
        match &tickets {
            Some(tickets) => config.ticketer = Arc::clone(tickets),
            None => config.send_tls13_tickets = 0,
        }
        let offering = |names: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            with_http2: offering(&[HTTP_2, HTTP_1_1]),
            with_http11: offering(&[HTTP_1_1]),
            certificates,
            handshake: settings.handshake,
            expiries,
            warnings,
            tickets,
        })
    }

    /// What rustls shakes hands with.
    pub(crate) fn config(&self, offers: Offers) -> &Arc<ServerConfig> {
        match offers {
            Offers::Http2 => &self.with_http2,
            Offers::Http11 => &self.with_http11,
        }
    }
}

impl Expiry {
    fn of(pair: &Pair) -> Self {
        Self {
            ends: Ends::Certificate,
            path: pair.path.clone(),
            subject: pair.leaf.subject.to_string(),
            not_after: pair.leaf.not_after,
        }
    }
}

fn config(
    settings: &ServerSettings,
    suites: &[CipherSuite],
    certificates: &Arc<Certificates>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = suites.iter().copied().map(implemented).collect();
    provider.kx_groups = vec![
        kx_group::X25519MLKEM768,
        kx_group::X25519,
        kx_group::SECP256R1,
        kx_group::SECP384R1,
    ];
    let spoken = [
        (TlsVersion::V1_3, &version::TLS13),
        (TlsVersion::V1_2, &version::TLS12),
    ];
    let spoken: Vec<_> = spoken
        .into_iter()
        .filter(|(version, _)| *version >= settings.min_version && speaks(suites, *version))
        .map(|(_, version)| version)
        .collect();
    let builder =
        ServerConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&spoken)?;
    let certificates = Arc::clone(certificates);
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificates);
    // No session ids, and no early data: neither is safe to replay.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// The suites spoken: those of TLS 1.3 stay on where only others are listed.
fn suites(settings: &ServerSettings) -> Vec<CipherSuite> {
    let listed = &settings.cipher_suites;
    let newest_listed = speaks(listed, TlsVersion::V1_3);
    CipherSuite::ALL
        .into_iter()
        .filter(|suite| {
            let implied = suite.version() == TlsVersion::V1_3 && !newest_listed;
            suite.version() >= settings.min_version
                && (listed.is_empty() || implied || listed.contains(suite))
        })
        .collect()
}

fn speaks(suites: &[CipherSuite], version: TlsVersion) -> bool {
    suites.iter().any(|suite| suite.version() == version)
}

/// A list that no certificate can use was meant otherwise.
fn check_suites(settings: &ServerSettings, pairs: &[Pair]) -> Result<(), Vec<Fault>> {
    // What is ordered has a key of that kind.
    let ordered = settings.ordered.then_some(KeyKind::Elliptic);
    let usable = |suite: &CipherSuite| {
        let mut keys = pairs.iter().map(|pair| pair.leaf.key).chain(ordered);
        suite.version() >= settings.min_version && keys.any(|key| fits(*suite, key))
    };
    if settings.cipher_suites.is_empty() || settings.cipher_suites.iter().any(usable) {
        return Ok(());
    }
    let paths: Vec<_> = pairs.iter().map(|pair| pair.path.as_str()).collect();
    Err(vec![Fault::NoSuite {
        certificates: paths.join(", "),
        from: match settings.min_version {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        },
    }])
}

fn fits(suite: CipherSuite, key: KeyKind) -> bool {
    match suite.key() {
        SuiteKey::Any => true,
        SuiteKey::Ecdsa => key == KeyKind::Elliptic,
        SuiteKey::Rsa => matches!(key, KeyKind::Rsa(_)),
    }
}

fn implemented(suite: CipherSuite) -> SupportedCipherSuite {
    match suite {
        CipherSuite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaChaCha20Poly1305 => {
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        CipherSuite::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaChaCha20Poly1305 => {
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
    }
}

/// The certificates of a listener.
pub(crate) struct Certificates(Vec<Pair>);

impl Certificates {
    /// Whether one of them is for this server name (lower case).
    pub(crate) fn cover(&self, name: &str) -> bool {
        self.0.iter().any(|pair| pair.names.cover(name))
    }

    /// Whether `authority` belongs to another certificate than `named`, the server name a
    /// connection was opened with.
    pub(crate) fn parts(&self, named: Option<&str>, authority: &[u8]) -> bool {
        if self.0.len() < 2 {
            return false;
        }
        let host = authority.split(|byte| *byte == b':').next();
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let host = std::str::from_utf8(&host).unwrap_or_default();
        let opened_with = |(index, pair): &(usize, &Pair)| match named {
            Some(name) => pair.names.cover(name),
            None => *index == 0,
        };
        let mut opened_with = self.0.iter().enumerate().filter(opened_with);
        self.cover(host) && !opened_with.any(|(_, pair)| pair.names.cover(host))
    }
}

impl ResolvesServerCert for Certificates {
    /// The first certificate for the name whose key the client understands; without a name the
    /// first of all. Names are refused before this where no certificate is for them.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let fits = |pair: &&Pair| name.as_ref().is_none_or(|name| pair.names.cover(name));
        let schemes = hello.signature_schemes();
        let speaks = |pair: &&Pair| pair.certified.key.choose_scheme(schemes).is_some();
        let candidates = || self.0.iter().filter(fits);
        let chosen = candidates().find(speaks).or_else(|| candidates().next());
        chosen.map(|pair| Arc::clone(&pair.certified))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.0.iter().map(|pair| &pair.path);
        f.debug_list().entries(paths).finish()
    }
}

/// The TLS of a listener: what is put in later holds for handshakes from then on.
pub struct ServerTls {
    served: ArcSwap<Served>,
    challenges: Arc<Challenges>,
}

impl ServerTls {
    /// TLS that begins with this, and answers these challenges.
    pub fn new(served: Served, challenges: Arc<Challenges>) -> Self {
        Self {
            served: ArcSwap::from_pointee(served),
            challenges,
        }
    }

    /// What is in force.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Reads and judges everything anew, for [`Self::take`]. Tickets that were given out stay good,
    /// unless certificates of clients are asked for.
    ///
    /// # Errors
    /// Every fault of every pair.
    pub fn prepare(
        &self,
        settings: &ServerSettings,
        now: WallMillis,
    ) -> Result<Served, Vec<Fault>> {
        let tickets = self.served.load().tickets.clone();
        Served::load_with(settings, now, tickets)
    }

    /// New handshakes are shaken with this from now on.
    pub fn take(&self, served: Served) {
        self.served.store(Arc::new(served));
    }

    /// What a hello is answered with that asks whether a name is ours (RFC 8737).
    pub(super) fn proof(&self, hello: &Hello) -> Option<Arc<ServerConfig>> {
        let named = hello.named.as_deref().filter(|_| hello.asks_for_proof)?;
        self.challenges.for_handshake(named)
    }
}
