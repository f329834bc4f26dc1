//! What is known of a caller's TLS connection, shared by everything that is served over it.

use super::certificate::client_certificate;
use super::server::Certificates;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use tollkeep_types::ClientCertificate;

/// The application protocol a client chose by ALPN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1, also where nothing was chosen.
    Http11,
    /// HTTP/2.
    Http2,
}

/// A caller's TLS connection, as it was opened.
pub struct Session {
    pub(crate) certificates: Arc<Certificates>,
    /// The server name the client asked for, lower case.
    pub(crate) named: Option<Box<str>>,
    /// The protocol chosen by ALPN.
    pub protocol: Protocol,
    /// The client's certificate, verified, if it was asked for one and showed it.
    pub client: Option<Arc<ClientCertificate>>,
}

/// The client showed a certificate that was verified, but says nothing that we could read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client's certificate can't be read")]
pub(crate) struct UnreadableClient;

/// The certificate of a client after the handshake, which verified it.
pub(super) fn client_of(
    chain: Option<&[CertificateDer<'_>]>,
) -> Result<Option<Arc<ClientCertificate>>, UnreadableClient> {
    let Some(leaf) = chain.and_then(<[_]>::first) else {
        return Ok(None);
    };
    let read = client_certificate(leaf).map(Arc::new);
    read.map(Some).ok_or(UnreadableClient)
}

impl Session {
    /// Whether `authority` belongs to another certificate of ours than this connection was opened
    /// with.
    pub fn misdirects(&self, authority: &[u8]) -> bool {
        self.certificates.parts(self.named.as_deref(), authority)
    }
}
