//! Serving the routers on listeners that the binary has bound.

use crate::authn::PeerUser;
use crate::{Admin, router};
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};

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

impl Admin {
    /// Serves the API on the management listener until `stop`.
    ///
    /// # Errors
    /// The listener can't be used.
    pub fn serve_tcp(
        &self,
        listener: StdTcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let listener = TcpListener::from_std(listener)?;
        let service = router::keyed(&self.0).into_make_service_with_connect_info::<SocketAddr>();
        Ok(async move {
            ended(
                axum::serve(listener, service)
                    .with_graceful_shutdown(stop)
                    .await,
            );
        })
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
    ///
    /// # Errors
    /// The listener can't be used.
    pub fn serve_metrics(
        &self,
        listener: StdTcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let listener = TcpListener::from_std(listener)?;
        let router = router::counters(&Arc::clone(&self.0));
        Ok(async move {
            ended(
                axum::serve(listener, router)
                    .with_graceful_shutdown(stop)
                    .await,
            );
        })
    }
}

fn ended(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!("A control listener ended: {error}");
    }
}
