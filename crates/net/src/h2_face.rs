//! What a [`Downstream`] does differently when it is one stream of an HTTP/2 connection, and what
//! such a connection needs of the [`Downstream`] below it.

use crate::h1_serve::Downstream;
use crate::h2_head::StreamFault;
use crate::h2_stream::{Stream, StreamEnd};
use crate::io::Io;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tollkeep_policy::http2::Opening;

impl Downstream {
    /// What the first bytes say of the protocol.
    pub fn opening(&self) -> Opening {
        Opening::of(self.unread())
    }

    /// Whether this is a stream of an HTTP/2 connection.
    pub fn is_stream(&self) -> bool {
        matches!(self.io, Io::Http2(_))
    }

    /// Puts the head of a stream's request where it can be read as text. It waits for the first
    /// bytes of a body that was not announced, but no longer than `wait`.
    ///
    /// # Errors
    /// The head is none that could be written as text.
    pub async fn read_stream_head(&mut self, wait: Duration) -> Result<(), StreamFault> {
        self.slot.set(wait);
        if let Io::Http2(_) = &self.io {
            self.buffer = self.buffers.take();
        }
        poll_fn(|cx| {
            let Io::Http2(stream) = &mut self.io else {
                return Poll::Ready(Ok(()));
            };
            let polled = stream.poll_head(cx, &mut self.buffer);
            if polled.is_pending() && self.slot.is_late(cx) {
                return Poll::Ready(stream.head_now(&mut self.buffer));
            }
            polled
        })
        .await
    }

    /// Whether the client has taken its request back.
    pub fn is_taken_back(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match &mut self.io {
            Io::Http2(stream) => stream.poll_gone(&mut cx).is_ready(),
            Io::Clear(_) | Io::TlsToUpstream(_) | Io::TlsInTls(_) | Io::TlsFromCaller(_) => false,
        }
    }

    /// Begins a stream's answer: `lines` is a head of HTTP/1.1 without what frames a body.
    pub fn send_head(&mut self, status: u16, lines: &[u8], end: StreamEnd) {
        if let Io::Http2(stream) = &mut self.io {
            stream.send_head(status, lines, end);
        }
    }

    /// Gives a stream leave to send its body.
    pub fn say_continue(&mut self) {
        if let Io::Http2(stream) = &mut self.io {
            stream.say_continue();
        }
    }

    /// Ends a stream whose answer was written whole.
    pub fn end(mut self) {
        if let Io::Http2(stream) = &mut self.io {
            stream.end();
        }
    }

    /// A stream of the connection that this is.
    pub(crate) fn of_stream(&self, stream: Box<Stream>) -> Self {
        Self {
            io: Io::Http2(stream),
            tls: self.tls.clone(),
            peer: self.peer,
            door: self.door,
            buffer: Vec::new(),
            at: 0,
            read_closed: false,
            roomy: false,
            slot: self.slot.another(),
            buffers: std::rc::Rc::clone(&self.buffers),
        }
    }

    /// Reads as it comes, first what was read already.
    pub(crate) fn poll_raw_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.capacity() == 0 {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let count = self.unread().len().min(buffer.remaining());
        buffer.put_slice(self.unread().get(..count).unwrap_or_default());
        self.consume(count);
        if self.unread().is_empty() {
            self.buffers.give_back(std::mem::take(&mut self.buffer));
        }
        if count == 0 {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_raw_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    pub(crate) fn poll_raw_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
}
