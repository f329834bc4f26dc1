//! TLS towards upstreams: rustls with the system's roots, or with those of a file as well.

pub use rustls::ClientConfig;

use super::fault::Fault;
use super::pair::{Pair, PairFiles, Rules};
use rustls::RootCertStore;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use std::path::Path;
use std::sync::Arc;
use tollkeep_types::WallMillis;

/// Why upstream TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The file of extra roots can't be read or holds no certificate.
    #[error("cannot read certificates from {path}: {problem}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate to show, or its key, can't be used.
    #[error("cannot show a certificate: {0}")]
    Identity(Fault),
    /// rustls refused the settings.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The TLS settings of calls to upstreams: TLS 1.2 and 1.3, HTTP/1.1, certificates checked against
/// the system's roots and those in `extra_roots` (PEM).
///
/// # Errors
/// The file is unreadable or empty, or the system has no usable roots.
pub fn client(extra_roots: Option<&Path>) -> Result<Arc<ClientConfig>, TlsSetupError> {
    config(extra_roots).map(Arc::new)
}

/// As [`client()`], with a certificate to show where it is asked for.
///
/// # Errors
/// Those of [`client()`]; the certificate or its key is wrong.
pub fn client_showing(
    extra_roots: Option<&Path>,
    identity: &PairFiles,
    now: WallMillis,
) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let mut config = config(extra_roots)?;
    let rules = Rules {
        now,
        insecure_key_mode: false,
        in_production: false,
    };
    let pair = Pair::load(identity, rules).map_err(|faults| {
        let first = faults.into_iter().next();
        let unknown = || Fault::Setup("the certificate is refused".to_owned());
        TlsSetupError::Identity(first.unwrap_or_else(unknown))
    })?;
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair.certified));
    Ok(Arc::new(config))
}

fn config(extra_roots: Option<&Path>) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let extra = extra_roots.map(read_roots).transpose()?.unwrap_or_default();
    let verifier =
        match Verifier::new_with_extra_roots(extra.iter().cloned(), Arc::clone(&provider)) {
            Ok(verifier) => {
                Arc::new(verifier) as Arc<dyn rustls::client::danger::ServerCertVerifier>
            }
            // A system without any roots: those of the file alone.
            Err(_) if !extra.is_empty() => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(extra);
                rustls::client::WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                )
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?
            }
            Err(error) => return Err(error.into()),
        };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let wrong = |problem: String| TlsSetupError::Roots {
        path: path.display().to_string(),
        problem,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        Err(wrong("no certificate in it".to_owned()))
    } else {
        Ok(certificates)
    }
}
