//! Serving the routers on listeners that the binary has bound.

use crate::authn::PeerUser;
use crate::{Admin, State, router};
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::serve::IncomingStream;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tollkeep_types::ClientCertificate;
use tower_service::Service;

/// How long a request may take that is under way when its connection shall end.
const LAST_REQUEST_MAX: Duration = Duration::from_secs(60);

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
}

/// Whether an authority is for another of our certificates than a caller was shown.
pub type Misdirects = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Whether what a caller showed in its handshake holds by the settings of now.
pub type IsBelieved = Arc<dyn Fn() -> bool + Send + Sync>;

/// The other end of a connection.
#[derive(Clone)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// Judges authorities, where it came over TLS.
    pub tls: Option<Misdirects>,
    /// Its certificate, verified, if it was asked for one and showed it.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Whether the certificate would let in now too.
    pub is_believed: Option<IsBelieved>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)
    }
}

impl Peer {
    /// Its certificate, if it would let in now too.
    pub(crate) fn certificate_now(&self) -> Option<&ClientCertificate> {
        let certificate = self.certificate.as_deref()?;
        let is_believed = self.is_believed.as_ref()?;
        is_believed().then_some(certificate)
    }
}

impl Admin {
    /// Serves the API on the management listener until `stop`.
    pub fn serve_tcp(
        &self,
        door: impl Door,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve(door, router::keyed(&self.0), Arc::clone(&self.0), stop)
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
        serve(door, router::counters(&self.0), Arc::clone(&self.0), stop)
    }
}

/// Each connection by itself, as its age is bounded: what is revoked, or asked for anew, must reach
/// those that are open.
async fn serve(
    mut door: impl Door,
    router: Router,
    state: Arc<State>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let mut stop = pin!(stop);
    let (stops, stopped) = watch::channel(());
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next() => {}
            (stream, peer) = door.accept() => {
                let age_max = state.settings().server.timeouts.connection_age_max;
                let mut stopped = stopped.clone();
                let end = async move {
                    tokio::select! {
                        () = tokio::time::sleep(age_max) => {}
                        // That nobody can say it any more says it too.
                        _ = stopped.changed() => {}
                    }
                };
                open.spawn(connection(stream, peer, router.clone(), end));
            }
        }
    }
    drop(stops);
    while open.join_next().await.is_some() {}
}

/// Serves a connection until `end`, and then the request it is about.
async fn connection<S>(stream: S, peer: Peer, router: Router, end: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        // A router is always ready.
        router.clone().call(request)
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = end => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = serving => {}
        () = tokio::time::sleep(LAST_REQUEST_MAX) => {}
    }
}

fn ended(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!("A control listener ended: {error}");
    }
}
