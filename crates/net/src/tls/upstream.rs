//! TLS towards one upstream: what it must prove, and what we show it. Nothing here takes a check
//! away: a pin comes on top of the chain and the name.

use super::client::{self, ClientConfig, Trust};
use super::fault::{Fault, Warning};
use super::pair::{Pair, PairFiles, Rules};
use super::pem_file::{FILE_BYTES_MAX, PemText, read};
use crate::io::Encrypted;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tollkeep_policy::egress::{EgressUrl, Host};
use tollkeep_types::tls::{RootStore, TlsVersion};
use tollkeep_types::{KeyPin, WallMillis};

/// What is asked of TLS towards an upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamSettings {
    /// The only roots that count; `None` for those of every upstream.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub client: Option<[PathBuf; 2]>,
    /// The name its certificate must have, where it is not that of the URL.
    pub server_name: Option<Host>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// The keys its certificate may have; any, if there are none.
    pub pins: Vec<KeyPin>,
}

/// TLS towards an upstream, ready for handshakes.
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    settings: UpstreamSettings,
    trust: Arc<Trust>,
    /// What was in the files.
    read: Vec<PemText>,
}

/// What a look at the files found.
pub struct LoadedUpstream {
    /// Ready for handshakes.
    pub tls: Arc<UpstreamTls>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

impl UpstreamTls {
    /// As every upstream is called that asks for nothing else.
    ///
    /// # Errors
    /// rustls refuses its own defaults.
    pub fn of_all(trust: &Arc<Trust>) -> Result<Arc<Self>, Fault> {
        Ok(Arc::new(Self {
            config: trust.client()?,
            server_name: None,
            settings: UpstreamSettings {
                ca_file: None,
                client: None,
                server_name: None,
                min_version: TlsVersion::V1_2,
                pins: Vec::new(),
            },
            trust: Arc::clone(trust),
            read: Vec::new(),
        }))
    }

    /// Reads the files. `known` is what was read before: where nothing has changed since, it is
    /// given back, and connections made with it live on.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn load(
        settings: &UpstreamSettings,
        trust: &Arc<Trust>,
        known: Option<&Arc<Self>>,
        now: WallMillis,
    ) -> Result<LoadedUpstream, Vec<Fault>> {
        let one = |fault| vec![fault];
        let paths = settings
            .ca_file
            .iter()
            .chain(settings.client.iter().flatten());
        let texts = paths.map(|path| read(path, FILE_BYTES_MAX).map(|(text, _)| text));
        // What can't be read is told below, with everything else.
        let read: Vec<_> = texts.flatten().collect();
        let same = known.filter(|known| {
            known.settings == *settings && Arc::ptr_eq(&known.trust, trust) && known.read == read
        });
        if let Some(same) = same {
            return Ok(LoadedUpstream {
                tls: Arc::clone(same),
                warnings: Vec::new(),
            });
        }
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let own = settings.ca_file.as_deref();
        let own = own.map(|path| Trust::load(RootStore::File, Some(path), None));
        let own = own.transpose().map_err(|fault| faults.push(fault));
        let pair = settings.client.as_ref().map(|[cert, key]| {
            let files = PairFiles {
                cert_file: cert.clone(),
                key_file: key.clone(),
                names: Vec::new(),
                may_be_over: false,
            };
            let rules = Rules {
                now,
                insecure_key_mode: false,
                in_production: false,
            };
            Pair::load(&files, rules)
        });
        let pair = pair.transpose().map_err(|found| faults.extend(found));
        let (Ok(own), Ok(pair)) = (own, pair) else {
            return Err(faults);
        };
        let verifier = &own.as_ref().unwrap_or(trust).verifier;
        let builder = client::builder(settings.min_version)
            .map_err(one)?
            .dangerous()
            .with_custom_certificate_verifier(pinned(verifier, &settings.pins));
        let config = match pair {
            Some(pair) => {
                // That nobody could find it by name is no fault of a client's certificate.
                let of_chain = |warning: &Warning| matches!(warning, Warning::ChainOrder { .. });
                warnings.extend(pair.warnings.into_iter().filter(of_chain));
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified)))
            }
            None => builder.with_no_client_auth(),
        };
        let server_name = settings.server_name.as_ref().map(name_of).transpose();
        let server_name = server_name.map_err(|error| one(Fault::Setup(error.to_string())))?;
        let tls = Arc::new(Self {
            config: client::finished(config),
            server_name,
            settings: settings.clone(),
            trust: Arc::clone(trust),
            read,
        });
        Ok(LoadedUpstream { tls, warnings })
    }

    /// Shakes hands with whoever answers at `url`, who must prove its name.
    pub(crate) async fn shake<S>(&self, url: &EgressUrl, stream: S) -> io::Result<Encrypted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(url.host())?,
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await.map_err(told)
    }
}

/// The error in our own words, where it is our own.
fn told(error: io::Error) -> io::Error {
    let of_rustls = error.get_ref().and_then(|error| error.downcast_ref());
    match of_rustls {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(own))) => {
            io::Error::new(error.kind(), own.0.to_string())
        }
        _ => error,
    }
}

fn name_of(host: &Host) -> io::Result<ServerName<'static>> {
    match host {
        Host::V4(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::V6(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(io::Error::other),
    }
}

fn pinned(verifier: &Arc<dyn ServerCertVerifier>, pins: &[KeyPin]) -> Arc<dyn ServerCertVerifier> {
    if pins.is_empty() {
        return Arc::clone(verifier);
    }
    Arc::new(Pinned {
        verifier: Arc::clone(verifier),
        pins: pins.to_vec(),
    })
}

/// A verifier that also wants the certificate to have one of some keys.
///
/// It looks at the server's own certificate and at no other: whoever has any valid certificate can
/// send further ones that no path leads through, a pinned authority's among them (RFC 7469,
/// section 2.6, therefore speaks of the validated chain).
#[derive(Debug)]
struct Pinned {
    verifier: Arc<dyn ServerCertVerifier>,
    pins: Vec<KeyPin>,
}

/// The certificate is valid and not one of those wanted.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is valid, but its key {0} is not in `pin_sha256`")]
struct WrongKey(KeyPin);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
        let digest: Result<[u8; 32], _> = digest.as_ref().try_into();
        let Ok(digest) = digest else {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        };
        let pin = KeyPin::new(digest);
        if self.pins.contains(&pin) {
            return Ok(verified);
        }
        Err(CertificateError::Other(OtherError(Arc::new(WrongKey(pin)))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
