//! Whom to believe when a server says who it is: the system's root certificates, those that came
//! with this program, those of a file.

pub use rustls::ClientConfig;

use super::fault::Fault;
use super::pair::{Pair, PairFiles, Rules};
use super::pem_file::{FILE_BYTES_MAX, PemText, read};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tollkeep_types::WallMillis;
use tollkeep_types::tls::{RootStore, TlsVersion};

/// Root certificates, and the verifier that goes by them. Cheap to share: they are read once.
pub struct Trust {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    store: RootStore,
    ca_file: Option<PathBuf>,
    /// What was in the file.
    read: Option<PemText>,
}

/// The TLS settings of a command that calls: certificates checked against the system's roots and
/// those in `extra_roots` (PEM).
///
/// # Errors
/// The file is unreadable or empty, or the system has no usable roots.
pub fn client(extra_roots: Option<&Path>) -> Result<Arc<ClientConfig>, Fault> {
    Trust::load(RootStore::System, extra_roots, None)?.client()
}

/// As [`client()`], with a certificate to show where it is asked for.
///
/// # Errors
/// Those of [`client()`]; the certificate or its key is wrong.
pub fn client_showing(
    extra_roots: Option<&Path>,
    identity: &PairFiles,
    now: WallMillis,
) -> Result<Arc<ClientConfig>, Fault> {
    let trust = Trust::load(RootStore::System, extra_roots, None)?;
    let rules = Rules {
        served: None,
        now,
        insecure_key_mode: false,
        in_production: false,
    };
    let pair = Pair::load(identity, rules).map_err(|faults| {
        let unknown = || Fault::Setup("the certificate is refused".to_owned());
        faults.into_iter().next().unwrap_or_else(unknown)
    })?;
    let config = builder(TlsVersion::V1_2)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&trust.verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified)));
    Ok(finished(config))
}

impl Trust {
    /// Reads the roots of `store`, with those of `ca_file` (PEM) besides. `known` is what was read
    /// before: where nothing has changed since, it is given back.
    ///
    /// # Errors
    /// The file is unreadable or holds what is no certificate; there are no roots at all.
    pub fn load(
        store: RootStore,
        ca_file: Option<&Path>,
        known: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Fault> {
        let read = ca_file
            .map(|path| Ok(read(path, FILE_BYTES_MAX)?.0))
            .transpose()?;
        let same = known.filter(|known| {
            known.store == store && known.ca_file.as_deref() == ca_file && known.read == read
        });
        if let Some(same) = same {
            return Ok(Arc::clone(same));
        }
        let extra = match (ca_file, &read) {
            (Some(path), Some(text)) => certificates(path, text)?,
            _ => Vec::new(),
        };
        let verifier = match store {
            RootStore::System => system(&extra)?,
            RootStore::Bundled => {
                let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
                verifier(RootCertStore { roots }, extra)?
            }
            RootStore::File => verifier(RootCertStore::empty(), extra)?,
        };
        Ok(Arc::new(Self {
            verifier,
            store,
            ca_file: ca_file.map(Path::to_path_buf),
            read,
        }))
    }

    /// TLS 1.2 and 1.3 by these roots, HTTP/1.1 inside.
    ///
    /// # Errors
    /// rustls refuses its own defaults.
    pub fn client(&self) -> Result<Arc<ClientConfig>, Fault> {
        let config = builder(TlsVersion::V1_2)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier))
            .with_no_client_auth();
        Ok(finished(config))
    }
}

pub(super) fn builder(
    oldest: TlsVersion,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Fault> {
    let versions: &[&rustls::SupportedProtocolVersion] = match oldest {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| Fault::Setup(error.to_string()))
}

pub(super) fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The verifier of the system's roots and these.
fn system(extra: &[CertificateDer<'static>]) -> Result<Arc<dyn ServerCertVerifier>, Fault> {
    match Verifier::new_with_extra_roots(extra.iter().cloned(), provider()) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        // A system without any roots: those of the file alone.
        Err(_) if !extra.is_empty() => verifier(RootCertStore::empty(), extra.to_vec()),
        Err(error) => Err(Fault::Setup(error.to_string())),
    }
}

fn verifier(
    mut roots: RootCertStore,
    extra: Vec<CertificateDer<'static>>,
) -> Result<Arc<dyn ServerCertVerifier>, Fault> {
    // Each was looked at when it was read.
    roots.add_parsable_certificates(extra);
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let built = built.map_err(|error| Fault::Setup(error.to_string()))?;
    Ok(built)
}

/// The root certificates in a file.
fn certificates(path: &Path, text: &PemText) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let (path, what) = (path.display().to_string(), "certificate");
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let damaged = || Fault::Damaged {
        path: path.clone(),
        what,
    };
    let found = found.map_err(|_| damaged())?;
    if found.is_empty() {
        let hint = "";
        return Err(Fault::NotPem { path, what, hint });
    }
    for certificate in &found {
        let added = RootCertStore::empty().add(certificate.clone());
        added.map_err(|_| damaged())?;
    }
    Ok(found)
}
