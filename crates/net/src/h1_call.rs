//! A connection to an upstream: written whole, read strictly, given back only when both messages
//! ended exactly.

use crate::buffers::Buffers;
use crate::descriptors::Taken;
use crate::io::Io;
use crate::pool::Owner;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tollkeep_types::MonoNanos;

/// Unread bytes a connection holds at most: back-pressure for an upstream faster than its caller.
pub const UNREAD_BYTES_MAX: usize = 256 * 1024;

/// What came of sending while the upstream is listened to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pushed {
    /// All was written.
    Whole,
    /// The upstream sent something before that.
    Answering,
    /// The connection ended or broke before that.
    Broken,
}

/// What one TLS record holds (RFC 8446 section 5.1): of a part of it, nobody can read anything.
const RECORD_BYTES: usize = 16 * 1024;

/// A connection to an upstream.
pub struct UpstreamConn {
    io: Io,
    buffer: Vec<u8>,
    at: usize,
    reused: bool,
    pub(crate) owner: Owner,
    /// Whether a byte of the last request was taken.
    wrote: bool,
    pub(crate) idle_since: MonoNanos,
    pub(crate) idle_ns_max: u64,
    buffers: Rc<Buffers>,
    _open: OpenConn,
}

/// Counts a connection as open while it lives.
pub(crate) struct OpenConn {
    pub(crate) open: Rc<std::cell::Cell<usize>>,
    pub(crate) _descriptor: Taken,
}

impl Drop for OpenConn {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

impl UpstreamConn {
    pub(crate) fn new(io: Io, buffers: Rc<Buffers>, open: OpenConn) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            at: 0,
            reused: false,
            owner: None,
            wrote: false,
            idle_since: MonoNanos(0),
            idle_ns_max: 0,
            buffers,
            _open: open,
        }
    }

    /// Whether this connection has served a request before: it may have died of old age.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether a byte of the request was sent that the upstream can read.
    pub fn wrote(&self) -> bool {
        self.wrote
    }

    /// Bytes read and not yet consumed.
    pub fn unread(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Drops the first `count` unread bytes.
    pub fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
    }

    /// Writes all of `head` and then all of `body`, in one system call while they fit.
    ///
    /// # Errors
    /// The connection broke.
    pub fn write<'a>(
        &'a mut self,
        mut head: &'a [u8],
        mut body: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Unpin + 'a {
        let mut turn = self.io.turn();
        poll_fn(move |cx| {
            ready!(turn.poll(cx));
            while !head.is_empty() || !body.is_empty() {
                let slices = [io::IoSlice::new(head), io::IoSlice::new(body)];
                let writing = if body.is_empty() {
                    Pin::new(&mut self.io).poll_write(cx, head)
                } else {
                    Pin::new(&mut self.io).poll_write_vectored(cx, &slices)
                };
                let written = match writing {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => {
                        // Of several records some may have gone before it broke.
                        self.wrote |= self.io.is_sealed() && head.len() + body.len() > RECORD_BYTES;
                        return Poll::Ready(Err(error));
                    }
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(written)) => written,
                };
                self.wrote = true;
                let from_head = written.min(head.len());
                head = head.get(from_head..).unwrap_or_default();
                body = body.get(written - from_head..).unwrap_or_default();
            }
            Pin::new(&mut self.io).poll_flush(cx)
        })
    }

    /// Writes all of `bytes`, unless the upstream has something to say first. What was written
    /// is taken from `bytes`.
    pub fn push<'a>(
        &'a mut self,
        bytes: &'a mut &[u8],
    ) -> impl Future<Output = Pushed> + Unpin + 'a {
        poll_fn(move |cx| {
            while !bytes.is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, bytes) {
                    Poll::Pending => return self.poll_answer(cx),
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Pushed::Broken),
                    Poll::Ready(Ok(written)) => {
                        self.wrote = true;
                        *bytes = bytes.get(written..).unwrap_or_default();
                    }
                }
            }
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => self.poll_answer(cx),
                Poll::Ready(Ok(())) => Poll::Ready(Pushed::Whole),
                Poll::Ready(Err(_)) => Poll::Ready(Pushed::Broken),
            }
        })
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Pushed> {
        self.poll_fill(cx).map(|read| match read {
            Ok(1..) => Pushed::Answering,
            Ok(0) | Err(_) => Pushed::Broken,
        })
    }

    /// Reads more behind the unread bytes; 0 is the end of the stream.
    ///
    /// # Errors
    /// The connection broke.
    pub fn fill(&mut self) -> impl Future<Output = io::Result<usize>> + Unpin {
        poll_fn(|cx| self.poll_fill(cx))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            self.buffer = self.buffers.take();
        }
        if self.buffer.len() == self.buffer.capacity() {
            if self.at > 0 {
                self.buffer.drain(..self.at);
                self.at = 0;
            } else {
                self.buffer
                    .reserve(self.buffer.len().clamp(4 * 1024, UNREAD_BYTES_MAX));
            }
        }
        self.io.poll_fill(cx, &mut self.buffer)
    }

    /// Whether the connection may serve another request: nothing unread, nothing pending, not
    /// closed. Costs no system call when the kernel has reported nothing.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.unread().is_empty() && self.io.is_quiet()
    }

    /// Gives the buffer back while nothing is expected.
    pub(crate) fn rest(&mut self, now: MonoNanos, idle_ns_max: u64) {
        self.reused = true;
        self.wrote = false;
        self.idle_since = now;
        self.idle_ns_max = idle_ns_max;
        self.at = 0;
        self.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}

impl Drop for UpstreamConn {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::Descriptors;
    use std::net::{TcpListener, TcpStream};
    use tokio::io::AsyncReadExt;

    /// A connection and its other end.
    #[expect(clippy::disallowed_methods, reason = "both ends are the test's own")]
    async fn pair() -> (UpstreamConn, tokio::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let of = |stream: TcpStream| {
            stream.set_nonblocking(true).unwrap();
            tokio::net::TcpStream::from_std(stream).unwrap()
        };
        let open = OpenConn {
            open: Rc::default(),
            _descriptor: Descriptors::new(1_000, 0).for_upstream().unwrap(),
        };
        (
            UpstreamConn::new(Io::Clear(of(ours)), Rc::default(), open),
            of(theirs),
        )
    }

    // LED-50
    #[tokio::test]
    async fn a_connection_that_died_before_it_took_a_byte_says_so() {
        let (mut ours, theirs) = pair().await;
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        // The reset is on its way within the same kernel.
        let gone = ours.fill().await;
        assert!(!matches!(gone, Ok(1..)), "{gone:?}");
        assert!(ours.write(b"POST /x", b"body").await.is_err());
        assert!(!ours.wrote());
    }

    // LED-50
    #[tokio::test]
    async fn a_connection_that_took_a_part_of_a_request_says_so_though_it_died_then() {
        let (mut ours, mut theirs) = pair().await;
        let most = vec![0; 64 * 1024 * 1024];
        let dies = async {
            let mut some = [0; 1];
            theirs.read_exact(&mut some).await.unwrap();
            theirs.set_zero_linger().unwrap();
            drop(theirs);
        };
        let (written, ()) = tokio::join!(ours.write(b"POST /x", &most), dies);
        assert!(written.is_err());
        assert!(ours.wrote());
    }
}
