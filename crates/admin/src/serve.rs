//! Serving the routers on listeners that the binary has bound.

use crate::authn::PeerUser;
use crate::{Admin, router};
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tollkeep_types::ClientCertificate;

/// How callers of a socket are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// By a management key.
    Keyed,
    /// By being the gateway's own user, or root.
    PeerUser,
}

impl Connected<IncomingStream<'_, UnixListener>> for PeerUser {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        // A peer that can't be known is nobody.
        Self(stream.io().peer_cred().map_or(u32::MAX, |peer| peer.uid()))
    }
}

/// Callers of a TCP listener, in clear or behind TLS; only the binary knows which.
pub trait Door: Send + 'static {
    /// A caller's bytes.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next caller.
    fn accept(&mut self) -> impl Future<Output = (Self::Stream, Peer)> + Send;

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    fn addr(&self) -> io::Result<SocketAddr>;
}

/// Whether an authority is for another of our certificates than a caller was shown.
pub type Misdirects = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The other end of a connection.
#[derive(Clone)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// Judges authorities, where it came over TLS.
    pub tls: Option<Misdirects>,
    /// Its certificate, verified, if it was asked for one and showed it.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)
    }
}

/// A [`Door`] as axum wants it.
struct Through<D>(D);

impl<D: Door> Listener for Through<D> {
    type Io = D::Stream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let addr = self.0.addr()?;
        Ok(Peer {
            addr,
            tls: None,
            certificate: None,
        })
    }
}

impl<D: Door> Connected<IncomingStream<'_, Through<D>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Through<D>>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Admin {
    /// Serves the API on the management listener until `stop`.
    pub fn serve_tcp(
        &self,
        door: impl Door,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve(door, router::keyed(&self.0), stop)
    }

    /// Serves the API on a Unix socket until `stop`.
    ///
    /// # Errors
    /// The listener can't be used.
    pub fn serve_unix(
        &self,
        listener: StdUnixListener,
        scheme: Scheme,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let listener = UnixListener::from_std(listener)?;
        let router = match scheme {
            Scheme::Keyed => router::keyed(&self.0),
            Scheme::PeerUser => router::local(&self.0),
        };
        let service = router.into_make_service_with_connect_info::<PeerUser>();
        Ok(async move {
            ended(
                axum::serve(listener, service)
                    .with_graceful_shutdown(stop)
                    .await,
            );
        })
    }

    /// Serves the counters on the metrics listener until `stop`.
    pub fn serve_metrics(
        &self,
        door: impl Door,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve(door, router::counters(&self.0), stop)
    }
}

async fn serve(door: impl Door, router: Router, stop: impl Future<Output = ()> + Send + 'static) {
    let service = router.into_make_service_with_connect_info::<Peer>();
    let serving = axum::serve(Through(door), service).with_graceful_shutdown(stop);
    ended(serving.await);
}

fn ended(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!("A control listener ended: {error}");
    }
}
