//! Through the operator's proxy: a tunnel to a vetted address (RFC 9110, section 9.3.6).
//!
//! The proxy is asked for an address, never for a name, so that its resolver can't undo what ours
//! was judged by; TLS inside the tunnel proves the name. Its answer is read as strictly as an
//! upstream's, and what it sends behind it before anything was sent is no upstream's first word.

use crate::dial::connect_any;
use crate::io::Encrypted;
use crate::resolve::ResolveError;
use crate::tls::UpstreamTls;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tollkeep_http1::{Answer, AnswerFault, Progress};
use tollkeep_policy::egress::{EgressRefusal, EgressUrl, VettedAddr};
use tollkeep_types::Secret;

/// Bytes of a proxy's answer at most.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// A proxy that opens tunnels.
pub struct Proxy {
    /// Where it is.
    pub url: EgressUrl,
    /// TLS towards it, for `https`.
    pub tls: Option<Arc<UpstreamTls>>,
    /// The value of `Proxy-Authorization`, where it wants one.
    pub authorization: Option<Secret>,
}

/// Why the proxy opened no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum ProxyFault {
    /// It may not be dialled.
    #[error("may not be dialled: {0}")]
    Refused(#[from] EgressRefusal),
    /// Its name gives no address.
    #[error("cannot be resolved: {0}")]
    Resolve(#[from] ResolveError),
    /// It can't be connected to, or the connection broke.
    #[error("cannot be connected to: {0}")]
    Connect(io::Error),
    /// The TLS handshake with it failed.
    #[error("failed the TLS handshake: {0}")]
    Tls(io::Error),
    /// It closed the connection within its answer.
    #[error("closed without an answer to CONNECT")]
    Closed,
    /// Its answer is not proper HTTP.
    #[error("answered CONNECT improperly: {0}")]
    Protocol(#[from] AnswerFault),
    /// It sent something before anything was sent through it.
    #[error("sent bytes of its own behind its answer to CONNECT")]
    Spoke,
    /// It wants another login.
    #[error("refused our login (status 407)")]
    Login,
    /// It said no.
    #[error("answered CONNECT with status {0}")]
    Status(u16),
}

impl ProxyFault {
    /// Whether the proxy works, and told about the address it was asked for.
    pub const fn is_of_target(&self) -> bool {
        matches!(self, Self::Status(_))
    }

    /// Whether another try, or another address, may fare better.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::Tls(_) | Self::Closed | Self::Status(500..)
        )
    }
}

/// A connection to a proxy.
pub(crate) enum Carrier {
    Clear(TcpStream),
    Tls(Box<Encrypted<TcpStream>>),
}

impl Proxy {
    /// Connects to the proxy itself.
    pub(crate) async fn connect(&self, vetted: &[VettedAddr]) -> Result<Carrier, ProxyFault> {
        let stream = connect_any(vetted).await.map_err(ProxyFault::Connect)?;
        stream.set_nodelay(true).map_err(ProxyFault::Connect)?;
        let Some(tls) = &self.tls else {
            return Ok(Carrier::Clear(stream));
        };
        let stream = tls.shake(&self.url, stream).await;
        let stream = stream.map_err(ProxyFault::Tls)?;
        Ok(Carrier::Tls(Box::new(stream)))
    }

    /// Asks for a tunnel to `target` over a connection to the proxy.
    pub(crate) async fn open(
        &self,
        carrier: &mut Carrier,
        target: SocketAddr,
    ) -> Result<(), ProxyFault> {
        match carrier {
            Carrier::Clear(stream) => self.ask(stream, target).await,
            Carrier::Tls(stream) => self.ask(stream, target).await,
        }
    }

    async fn ask<S>(&self, stream: &mut S, target: SocketAddr) -> Result<(), ProxyFault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let head = self.head(target);
        stream
            .write_all(head.as_bytes())
            .await
            .map_err(ProxyFault::Connect)?;
        stream.flush().await.map_err(ProxyFault::Connect)?;
        let (mut answer, mut bytes) = (Answer::new(), Vec::with_capacity(1024));
        while answer.read(&bytes, false)? == Progress::More {
            if bytes.len() >= ANSWER_BYTES_MAX {
                return Err(AnswerFault::TooLarge.into());
            }
            let room = u64::try_from(ANSWER_BYTES_MAX - bytes.len()).unwrap_or(0);
            let mut bounded = (&mut *stream).take(room);
            match bounded.read_buf(&mut bytes).await {
                Ok(0) => return Err(ProxyFault::Closed),
                Ok(_) => {}
                Err(error) => return Err(ProxyFault::Connect(error)),
            }
        }
        // Its fields say nothing about a tunnel, lengths neither.
        match answer.status {
            200..=299 if bytes.len() > answer.len => Err(ProxyFault::Spoke),
            200..=299 => Ok(()),
            407 => Err(ProxyFault::Login),
            status => Err(ProxyFault::Status(status)),
        }
    }

    fn head(&self, target: SocketAddr) -> zeroize::Zeroizing<String> {
        let login = match &self.authorization {
            Some(value) => ["proxy-authorization: ", value.expose(), "\r\n"],
            None => ["", "", ""],
        };
        let login = zeroize::Zeroizing::new(login.concat());
        zeroize::Zeroizing::new(format!(
            "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{}\r\n",
            login.as_str()
        ))
    }
}
