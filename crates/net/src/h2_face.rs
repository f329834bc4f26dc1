//! What a [`Downstream`] does differently when it is one stream of an HTTP/2 connection, and what
//! such a connection needs of the [`Downstream`] below it.

use crate::h1_serve::{Downstream, Fill};
use crate::h2_stream::Stream;
use crate::io::Io;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tollkeep_http2::{Opening, StreamEnd, StreamFault};

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
    pub fn is_taken_back(&self) -> bool {
        match &self.io {
            Io::Http2(stream) => stream.is_gone(),
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
    pub(crate) fn of_stream(&self, stream: Stream) -> Self {
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

    /// Reads more behind the unread bytes. Holds no buffer while there are none.
    pub(crate) fn poll_raw_fill(&mut self, cx: &mut Context<'_>) -> Poll<Fill> {
        if self.buffer.capacity() == 0 {
            self.buffer = self.buffers.take();
        } else {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let polled = self.poll_read(cx);
        if self.buffer.is_empty() {
            self.buffers.give_back(std::mem::take(&mut self.buffer));
        }
        polled
    }
}
