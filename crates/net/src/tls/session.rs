//! What is known of a caller's TLS connection, shared by everything that is served over it.

use super::certificate::client_certificate;
use super::server::{Certificates, Served, ServerTls};
use rustls_pki_types::CertificateDer;
use std::sync::{Arc, Mutex, PoisonError, Weak};
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
    shown: Shown,
}

/// What a client showed, to judge it by other settings than those it came in by.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    tls: Arc<ServerTls>,
    /// By what it was judged last, and how.
    judged: Mutex<(Weak<Served>, bool)>,
}

/// The client showed a certificate that was verified, but says nothing that we could read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client's certificate can't be read")]
pub(crate) struct UnreadableClient;

/// The certificate of a client after the handshake, which verified it.
fn client_of(
    chain: Option<&[CertificateDer<'_>]>,
) -> Result<Option<Arc<ClientCertificate>>, UnreadableClient> {
    let Some(leaf) = chain.and_then(<[_]>::first) else {
        return Ok(None);
    };
    let read = client_certificate(leaf).map(Arc::new);
    read.map(Some).ok_or(UnreadableClient)
}

impl Session {
    /// A connection that was opened by what `tls` served then.
    ///
    /// # Errors
    /// The client's certificate says nothing.
    pub(super) fn new(
        tls: &Arc<ServerTls>,
        served: &Arc<Served>,
        named: Option<Box<str>>,
        protocol: Protocol,
        chain: Option<&[CertificateDer<'_>]>,
    ) -> Result<Self, UnreadableClient> {
        let client = client_of(chain)?;
        let chain = chain.unwrap_or_default().iter();
        Ok(Self {
            certificates: Arc::clone(&served.certificates),
            named,
            protocol,
            client,
            shown: Shown {
                chain: chain.map(|der| der.clone().into_owned()).collect(),
                tls: Arc::clone(tls),
                judged: Mutex::new((Arc::downgrade(served), true)),
            },
        })
    }

    /// The client's certificate, if it would let in now too: it may have been revoked, or its
    /// authority taken off, since the handshake.
    pub fn client_now(&self) -> Option<&Arc<ClientCertificate>> {
        let client = self.client.as_ref()?;
        self.shown.is_believed().then_some(client)
    }

    /// Whether `authority` belongs to another certificate of ours than this connection was opened
    /// with.
    pub fn misdirects(&self, authority: &[u8]) -> bool {
        self.certificates.parts(self.named.as_deref(), authority)
    }
}

impl Shown {
    /// Judged once by each settings.
    fn is_believed(&self) -> bool {
        let served = self.tls.served();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(judged.0.as_ptr(), Arc::as_ptr(&served)) {
            *judged = (Arc::downgrade(&served), served.believes(&self.chain));
        }
        judged.1
    }
}
