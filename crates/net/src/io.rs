//! A byte stream, clear or TLS, on either side.

use crate::h2_stream::Stream;
use crate::socket::{self, Turn};
use crate::tls::TlsStream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client;

/// What TLS towards an upstream or proxy makes of a stream.
pub(crate) type Encrypted<S> = client::TlsStream<S>;

/// A connection's byte stream.
pub(crate) enum Io {
    Clear(TcpStream),
    /// Boxed: a TLS session is 1 KiB that a clear connection should not carry.
    TlsToUpstream(Box<Encrypted<TcpStream>>),
    /// The same within TLS to a proxy.
    TlsInTls(Box<Encrypted<Encrypted<TcpStream>>>),
    /// One stream of a caller's HTTP/2 connection.
    Http2(Stream),
    TlsFromCaller(Box<TlsStream>),
}

/// What came of sending at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sent {
    /// Bytes that went to the kernel.
    pub(crate) moved: usize,
    /// Bytes of those given that need not be given again.
    pub(crate) taken: usize,
}

impl Io {
    /// Reads behind what is in `buffer`, which must have spare capacity. One poll: a short read
    /// clears readiness, so that the next poll waits without asking the kernel again.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        if let Self::Http2(stream) = self {
            return stream.poll_fill(cx, buffer);
        }
        if let Self::TlsFromCaller(stream) = self {
            return stream.poll_fill(cx, buffer);
        }
        if let Self::Clear(stream) = self {
            return socket::poll_recv(stream, cx, buffer);
        }
        let reading = std::pin::pin!(self.read_buf(buffer));
        reading.poll(cx)
    }

    /// Whether what is written goes out in records of TLS.
    pub(crate) const fn is_sealed(&self) -> bool {
        match self {
            Self::TlsToUpstream(_) | Self::TlsInTls(_) | Self::TlsFromCaller(_) => true,
            Self::Clear(_) | Self::Http2(_) => false,
        }
    }

    /// The turn to send something.
    pub(crate) const fn turn(&self) -> Turn {
        Turn::to_send(!matches!(self, Self::Http2(_)))
    }

    /// Sends some of `bytes`: how many, which behind TLS may be none while earlier ones move.
    /// What was taken is with the kernel once [`Self::is_flushed`].
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::TlsFromCaller(stream) = self {
            return stream.poll_send(cx, bytes);
        }
        let written = std::task::ready!(Pin::new(self).poll_write(cx, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    /// Whether everything taken from a caller of [`Self::poll_send`] is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::Clear(_) | Self::TlsToUpstream(_) | Self::TlsInTls(_) | Self::Http2(_) => true,
            Self::TlsFromCaller(stream) => stream.is_flushed(),
        }
    }

    /// Sends what the kernel takes at once, whatever it has told of its readiness. Behind TLS
    /// these are records sealed before.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) -> Sent {
        match self {
            Self::Clear(stream) => {
                let taken = socket::send(stream, bytes).unwrap_or(0);
                let moved = taken;
                Sent { moved, taken }
            }
            Self::TlsToUpstream(_) | Self::TlsInTls(_) => Sent { moved: 0, taken: 0 },
            // The connection moves for it too, as long as its turn will come.
            Self::Http2(stream) => Sent {
                moved: usize::from(stream.others_go_on()),
                taken: 0,
            },
            Self::TlsFromCaller(stream) => Sent {
                moved: stream.send_now(),
                taken: 0,
            },
        }
    }

    /// Whether there is nothing to read, not even an end. A byte that is there is lost.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        match self {
            Self::Clear(stream) => stream
                .try_read(&mut byte)
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
            Self::TlsToUpstream(stream) => is_pending(stream, &mut byte),
            Self::TlsInTls(stream) => is_pending(stream, &mut byte),
            Self::Http2(_) => false,
            Self::TlsFromCaller(stream) => is_pending(&mut **stream, &mut byte),
        }
    }

    /// Waits for something to read without holding a buffer. A TLS stream to an upstream may have
    /// decrypted bytes inside, so it always says yes.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Clear(stream) => stream.poll_read_ready(cx),
            Self::TlsToUpstream(_) | Self::TlsInTls(_) | Self::Http2(_) => Poll::Ready(Ok(())),
            Self::TlsFromCaller(stream) => stream.poll_readable(cx),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::TlsToUpstream(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::TlsInTls(stream) => Pin::new(stream).poll_read(cx, buffer),
            // Read as text by `poll_fill`.
            Self::Http2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
            Self::TlsFromCaller(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            // There is mostly room; only where there is none a waker is needed.
            Self::Clear(stream) => match socket::try_send(stream, bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Pin::new(stream).poll_write(cx, bytes)
                }
                written => Poll::Ready(written),
            },
            Self::TlsToUpstream(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::TlsInTls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Http2(stream) => stream.poll_write(cx, bytes),
            Self::TlsFromCaller(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::TlsToUpstream(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::TlsInTls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::TlsFromCaller(stream) => stream.poll_send_pieces(cx, pieces),
            Self::Http2(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsToUpstream(stream) => Pin::new(stream).poll_flush(cx),
            Self::TlsInTls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Http2(_) => Poll::Ready(Ok(())),
            Self::TlsFromCaller(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsToUpstream(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::TlsInTls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Http2(stream) => {
                stream.end();
                Poll::Ready(Ok(()))
            }
            Self::TlsFromCaller(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

/// Whether a stream has neither a byte nor an end to read.
fn is_pending(stream: &mut (impl AsyncRead + Unpin), byte: &mut [u8]) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut byte = ReadBuf::new(byte);
    Pin::new(stream).poll_read(&mut cx, &mut byte).is_pending()
}
