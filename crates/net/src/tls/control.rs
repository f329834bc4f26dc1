//! The listeners of the control plane: few callers, so the plain way through `tokio-rustls` does.
//! A handshake is shaken aside, so that one that takes its time holds up nobody.

use super::handshake::{HANDSHAKE_RECORD, Hello, UNRECOGNIZED_NAME, say};
use super::server::{Offers, ServerTls};
use super::session::{Protocol, Session, client_of};
use rustls::server::Acceptor;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{LazyConfigAcceptor, server};

/// Handshakes at a time; more callers wait in the backlog.
const SHAKING_MAX: usize = 64;

/// A listener of the control plane, in clear or behind TLS.
pub struct ControlListener {
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    shaking: JoinSet<Option<(ControlStream, SocketAddr)>>,
}

/// A caller of the control plane.
pub struct ControlStream(Carrier);

enum Carrier {
    Clear(TcpStream),
    Tls(Box<server::TlsStream<TcpStream>>, Arc<Session>),
}

impl ControlListener {
    /// Over a bound listener.
    ///
    /// # Errors
    /// The listener can't be used.
    pub fn new(listener: std::net::TcpListener, tls: Option<Arc<ServerTls>>) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            tls,
            shaking: JoinSet::new(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next caller, behind TLS after its handshake.
    pub async fn accept(&mut self) -> (ControlStream, SocketAddr) {
        loop {
            tokio::select! {
                Some(shaken) = self.shaking.join_next() => {
                    if let Ok(Some(caller)) = shaken {
                        return caller;
                    }
                }
                accepted = self.listener.accept(), if self.shaking.len() < SHAKING_MAX => {
                    let Ok((stream, peer)) = accepted else {
                        // Out of descriptors or memory: let others finish instead of spinning.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let Some(tls) = &self.tls else {
                        return (ControlStream(Carrier::Clear(stream)), peer);
                    };
                    let tls = Arc::clone(tls);
                    self.shaking.spawn(async move {
                        Some((shake_in_time(&tls, stream).await?, peer))
                    });
                }
            }
        }
    }
}

async fn shake_in_time(tls: &ServerTls, stream: TcpStream) -> Option<ControlStream> {
    let wait = tls.served().handshake;
    tokio::select! {
        shaken = shake(tls, stream) => match shaken {
            Ok(shaken) => shaken,
            Err(error) => {
                tracing::debug!("No TLS connection: {error}");
                None
            }
        },
        () = tokio::time::sleep(wait) => None,
    }
}

/// `None` is what is not TLS, or asks for a name that is not ours.
async fn shake(tls: &ServerTls, stream: TcpStream) -> io::Result<Option<ControlStream>> {
    let served = tls.served();
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 || first != [HANDSHAKE_RECORD] {
        return Ok(None);
    }
    let started = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = Hello::of(&started.client_hello());
    if let Some(proof) = tls.proof(&hello) {
        // The handshake is all of it: nothing is served behind it.
        started.into_stream(proof).await?.shutdown().await?;
        return Ok(None);
    }
    let named = hello.named;
    if named
        .as_ref()
        .is_some_and(|name| !served.certificates.cover(name))
    {
        say(&started.io, &UNRECOGNIZED_NAME);
        return Ok(None);
    }
    let stream = started
        .into_stream(Arc::clone(served.config(Offers::Http11)))
        .await?;
    let client = client_of(stream.get_ref().1.peer_certificates()).map_err(io::Error::other)?;
    let session = Session {
        certificates: Arc::clone(&served.certificates),
        named,
        protocol: Protocol::Http11,
        client,
    };
    let carrier = Carrier::Tls(Box::new(stream), Arc::new(session));
    Ok(Some(ControlStream(carrier)))
}

impl ControlStream {
    /// The TLS connection, if it is one.
    pub fn tls(&self) -> Option<&Arc<Session>> {
        match &self.0 {
            Carrier::Clear(_) => None,
            Carrier::Tls(_, session) => Some(session),
        }
    }
}

impl AsyncRead for ControlStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Carrier::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            Carrier::Tls(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ControlStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Carrier::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Carrier::Tls(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Carrier::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Carrier::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
