//! What is known of a caller's TLS connection, shared by everything that is served over it.

use super::server::Certificates;
use std::sync::Arc;

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
}

impl Session {
    /// Whether `authority` belongs to another certificate of ours than this connection was opened
    /// with.
    pub fn misdirects(&self, authority: &[u8]) -> bool {
        self.certificates.parts(self.named.as_deref(), authority)
    }
}
