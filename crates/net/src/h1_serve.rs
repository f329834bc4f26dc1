//! A caller's HTTP/1.1 connection: idle without a buffer, read with look-ahead, written whole.
//!
//! The bytes of a request stay where they were read until the exchange is over, so that a head's
//! spans stay true; what arrives meanwhile (pipelined requests) gathers behind them.

use crate::buffers::Buffers;
use crate::deadlines::Slot;
use crate::io::Io;
use crate::tls::Session;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;

/// Bytes of later requests that are read ahead while one is in work.
const LOOK_AHEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a connection that we end is drained, so that the caller can read the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes thrown away at most while draining.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What reading brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fill {
    /// More bytes are in [`Downstream::unread`].
    Bytes,
    /// The caller closed, or the connection broke.
    Closed,
    /// The deadline passed first.
    Late,
}

/// The caller can't be written to: it closed, broke, or took nothing for too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gone {
    /// Closed or broken.
    Closed,
    /// It took no byte until the deadline.
    Stalled,
}

/// How a wait for something else ended, with the caller watched meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Raced<T> {
    /// It came.
    Done(T),
    /// The deadline passed first.
    Late,
    /// The caller hung up first.
    Gone,
}

/// A caller's connection.
pub struct Downstream {
    pub(crate) io: Io,
    pub(crate) tls: Option<Rc<Session>>,
    pub(crate) peer: SocketAddr,
    pub(crate) door: usize,
    pub(crate) buffer: Vec<u8>,
    pub(crate) at: usize,
    pub(crate) read_closed: bool,
    /// The kernel took bytes though it had not told of room: there may be more.
    pub(crate) roomy: bool,
    pub(crate) slot: Slot,
    pub(crate) buffers: Rc<Buffers>,
}

impl Downstream {
    pub(crate) fn new(
        io: Io,
        tls: Option<Rc<Session>>,
        (peer, door): (SocketAddr, usize),
        slot: Slot,
        buffers: Rc<Buffers>,
    ) -> Self {
        Self {
            io,
            tls,
            peer,
            door,
            buffer: Vec::new(),
            at: 0,
            read_closed: false,
            roomy: false,
            slot,
            buffers,
        }
    }

    /// The other end of the TCP connection.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The listener it came in by, as its place among them.
    pub fn door(&self) -> usize {
        self.door
    }

    /// The caller's TLS connection, if it came over TLS of ours.
    pub fn tls(&self) -> Option<&Session> {
        self.tls.as_deref()
    }

    /// The connection's deadline.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Bytes read and not yet consumed. The start moves only with [`Self::consume`].
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

    /// Waits between requests, for at most `wait`. Holds no buffer while nothing is there. Bytes
    /// that are already read (pipelined requests) answer at once.
    pub async fn idle(&mut self, wait: Duration) -> Fill {
        if !self.unread().is_empty() {
            self.buffer.drain(..self.at);
            self.at = 0;
            return Fill::Bytes;
        }
        if self.read_closed {
            return Fill::Closed;
        }
        self.slot.set_idle(wait);
        self.buffers.give_back(std::mem::take(&mut self.buffer));
        let mut first = true;
        let fill = poll_fn(|cx| {
            if self.slot.is_late(cx) {
                return Poll::Ready(Fill::Late);
            }
            // What wakes an idle connection is mostly a request: it is read without asking again.
            if std::mem::take(&mut first) && self.io.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            self.poll_idle(cx)
        })
        .await;
        if fill != Fill::Bytes {
            self.buffers.give_back(std::mem::take(&mut self.buffer));
        }
        fill
    }

    /// Reads with a buffer that goes back if nothing came.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Fill> {
        self.buffer = self.buffers.take();
        let polled = self.poll_read(cx);
        if polled.is_pending() {
            self.buffers.give_back(std::mem::take(&mut self.buffer));
        }
        polled
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Fill> {
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer
                .reserve(self.buffer.len().clamp(4 * 1024, 256 * 1024));
        }
        self.io
            .poll_fill(cx, &mut self.buffer)
            .map(|read| match read {
                Ok(0) | Err(_) => {
                    self.read_closed = true;
                    Fill::Closed
                }
                Ok(_) => Fill::Bytes,
            })
    }

    /// Reads more behind the unread bytes, until the deadline of the slot.
    pub fn fill(&mut self) -> impl Future<Output = Fill> + Unpin {
        poll_fn(|cx| {
            if self.read_closed {
                return Poll::Ready(Fill::Closed);
            }
            if self.slot.is_late(cx) {
                return Poll::Ready(Fill::Late);
            }
            self.poll_read(cx)
        })
    }

    /// As [`Self::fill`], unless `work` is done first.
    pub fn fill_unless<F: Future + Unpin>(
        &mut self,
        mut work: F,
    ) -> impl Future<Output = Result<F::Output, Fill>> + Unpin {
        poll_fn(move |cx| {
            if let Poll::Ready(done) = Pin::new(&mut work).poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if self.read_closed {
                return Poll::Ready(Err(Fill::Closed));
            }
            if self.slot.is_late(cx) {
                return Poll::Ready(Err(Fill::Late));
            }
            self.poll_read(cx).map(Err)
        })
    }

    /// Drops the unread bytes `from..to` and keeps those before and after.
    pub fn forget(&mut self, from: usize, to: usize) {
        let (from, to) = (self.at + from, (self.at + to).min(self.buffer.len()));
        if from < to {
            self.buffer.drain(from..to);
        }
    }

    /// Takes the first `count` unread bytes out, for an exchange that keeps them while the
    /// connection goes on reading ahead.
    pub fn detach(&mut self, count: usize) -> Vec<u8> {
        let mut taken = std::mem::take(&mut self.buffer);
        taken.drain(..self.at);
        self.at = 0;
        if let Some(ahead) = taken.get(count..).filter(|ahead| !ahead.is_empty()) {
            self.buffer = self.buffers.take();
            self.buffer.extend_from_slice(ahead);
            taken.truncate(count);
        }
        taken
    }

    /// Makes room for a body of known length, so that reading it never grows the buffer twice.
    pub fn reserve(&mut self, unread_total: usize) {
        let missing = unread_total.saturating_sub(self.unread().len());
        self.buffer.reserve_exact(missing);
    }

    /// Waits for `work` until the slot's deadline, reading ahead meanwhile; ends early when the
    /// caller hangs up.
    pub fn race<F: Future + Unpin>(
        &mut self,
        mut work: F,
    ) -> impl Future<Output = Raced<F::Output>> + Unpin {
        poll_fn(move |cx| {
            if let Poll::Ready(done) = Pin::new(&mut work).poll(cx) {
                return Poll::Ready(Raced::Done(done));
            }
            if self.slot.is_late(cx) {
                return Poll::Ready(Raced::Late);
            }
            self.poll_watch(cx).map(|()| Raced::Gone)
        })
    }

    /// Ready when the caller has hung up. Reads what it sends ahead, up to a bound.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.read_closed {
            return Poll::Ready(());
        }
        if let Io::Http2(stream) = &mut self.io {
            return stream.poll_gone(cx);
        }
        if self.buffer.capacity() == 0 {
            if self.io.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            self.buffer = self.buffers.take();
        }
        let ahead_from = self.buffer.len();
        while self.buffer.len() - ahead_from < LOOK_AHEAD_BYTES_MAX {
            match self.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Fill::Bytes) => {}
                Poll::Ready(Fill::Closed | Fill::Late) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Writes all of `bytes`; the caller must take a byte at least every `stall`.
    ///
    /// # Errors
    /// The caller closed, or took nothing for `stall`.
    pub fn write(
        &mut self,
        bytes: &[u8],
        stall: Duration,
    ) -> impl Future<Output = Result<(), Gone>> + Unpin {
        let mut left = bytes;
        let mut waited = false;
        let mut turn = self.io.turn();
        poll_fn(move |cx| {
            ready!(turn.poll(cx));
            while !left.is_empty() || !self.io.is_flushed() {
                match self.io.poll_send(cx, left) {
                    Poll::Ready(Ok(written)) => {
                        left = left.get(written..).unwrap_or_default();
                        waited = false;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Gone::Closed)),
                    // Whoever may no longer come is given nothing more.
                    Poll::Pending if self.slot.is_denied() => {
                        return Poll::Ready(Err(Gone::Closed));
                    }
                    Poll::Pending => {
                        // The kernel tells of room only once a third of its buffer is free; a
                        // slow reader may have made some all the same.
                        let late = waited && self.slot.is_late(cx);
                        if late || self.roomy {
                            let sent = self.io.send_now(left);
                            if late && sent.moved == 0 {
                                return Poll::Ready(Err(Gone::Stalled));
                            }
                            left = left.get(sent.taken..).unwrap_or_default();
                            self.roomy = left.is_empty() && self.io.is_flushed();
                            waited = false;
                            continue;
                        }
                        if !waited {
                            self.slot.set(stall);
                            waited = true;
                            continue;
                        }
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Ends the connection so that the last answer arrives: half-closes, then throws away what
    /// the caller still sends for at most a second (closing with unread bytes would reset the
    /// connection and take the answer with it).
    pub async fn close(mut self) {
        self.slot.set(LINGER);
        let ended = poll_fn(|cx| {
            // Behind TLS the end is a record, which may find no room.
            if self.slot.is_late(cx) {
                return Poll::Ready(false);
            }
            let ending = Pin::new(&mut self.io).poll_shutdown(cx);
            ending.map(|ended| ended.is_ok())
        });
        if !ended.await || self.read_closed {
            return;
        }
        let mut thrown_away = 0;
        while thrown_away < LINGER_BYTES_MAX {
            thrown_away += self.buffer.len();
            self.buffer.clear();
            if self.fill().await != Fill::Bytes {
                return;
            }
        }
    }

    /// Ends the connection at once, so that the caller sees a cut and not an end. Used where a
    /// clean close could be taken for a whole answer.
    pub fn abort(mut self) {
        self.cut();
    }

    /// As [`Self::abort`], at the moment the connection is dropped.
    pub fn cut(&mut self) {
        let stream = match &mut self.io {
            Io::Clear(stream) => &*stream,
            Io::TlsFromCaller(stream) => stream.tcp(),
            Io::Http2(stream) => return stream.reset(),
            Io::TlsToUpstream(_) | Io::TlsInTls(_) => return,
        };
        // A reset on close; if the option can't be set, the caller still sees a body that is
        // shorter than announced.
        drop(socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)));
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}
