//! The bytes below an HTTP/2 connection, counted on their way.

use crate::deadlines::Deadlines;
use crate::h1_serve::Downstream;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tollkeep_policy::http2::{Breach, Budget, Frame, Frames, Kind};
use tollkeep_types::MonoNanos;

/// What is known of a connection from its bytes.
pub(crate) struct Guard {
    budget: Budget,
    received: Frames,
    sent: Frames,
    breach: Option<Breach>,
    breached: bool,
    /// Since when a block of fields is on its way, and whether its last frame is.
    fields_since: Option<(MonoNanos, bool)>,
    stuck_since: Option<MonoNanos>,
    clock: Rc<Deadlines>,
}

impl Guard {
    pub(crate) fn new(clock: Rc<Deadlines>) -> Self {
        Self {
            budget: Budget::default(),
            received: Frames::of_client(),
            sent: Frames::of_server(),
            breach: None,
            breached: false,
            fields_since: None,
            stuck_since: None,
            clock,
        }
    }

    /// What there was too much of, told once.
    pub(crate) fn take_breach(&mut self) -> Option<Breach> {
        self.breach.take()
    }

    pub(crate) fn stuck_since(&self) -> Option<MonoNanos> {
        self.stuck_since
    }

    pub(crate) fn fields_since(&self) -> Option<MonoNanos> {
        self.fields_since.map(|(since, _)| since)
    }

    fn received(&mut self, mut bytes: &[u8]) {
        let now = self.clock.now();
        while !bytes.is_empty() && !self.breached {
            let (used, frame) = self.received.next(bytes);
            bytes = bytes.get(used..).unwrap_or_default();
            let Some(frame) = frame else { break };
            self.watch_fields(frame, now);
            let counted = self.budget.received(frame, now);
            self.judge(counted);
        }
        if self.received.is_whole() && matches!(self.fields_since, Some((_, true))) {
            self.fields_since = None;
        }
    }

    fn watch_fields(&mut self, frame: Frame, now: MonoNanos) {
        self.fields_since = match (frame.kind, self.fields_since) {
            (Kind::Headers, _) | (Kind::Continuation, None) => Some((now, frame.ends_fields())),
            (Kind::Continuation, Some((since, _))) => Some((since, frame.ends_fields())),
            // Another frame within a block ends the connection, and behind one, the block.
            _ => None,
        };
    }

    fn sent(&mut self, mut bytes: &[u8]) {
        let now = self.clock.now();
        while !bytes.is_empty() && !self.breached {
            let (used, frame) = self.sent.next(bytes);
            bytes = bytes.get(used..).unwrap_or_default();
            let counted = frame.map_or(Ok(()), |frame| self.budget.sent(frame, now));
            self.judge(counted);
        }
    }

    fn judge(&mut self, counted: Result<(), Breach>) {
        if let Err(breach) = counted {
            self.breach = Some(breach);
            self.breached = true;
        }
    }

    fn wrote<T>(&mut self, polled: &Poll<io::Result<T>>) {
        match polled {
            Poll::Pending if self.stuck_since.is_none() => {
                self.stuck_since = Some(self.clock.now());
            }
            Poll::Pending => {}
            Poll::Ready(_) => self.stuck_since = None,
        }
    }
}

/// A connection's bytes, passing its guard.
pub(crate) struct Guarded {
    lower: Rc<RefCell<Downstream>>,
    guard: Rc<RefCell<Guard>>,
}

impl Guarded {
    pub(crate) fn new(lower: Rc<RefCell<Downstream>>, guard: Rc<RefCell<Guard>>) -> Self {
        Self { lower, guard }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut guard = self.guard.borrow_mut();
        if guard.breached {
            // Nothing of it is read any more: only the last words go out.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = self.lower.borrow_mut().poll_raw_read(cx, buffer);
        guard.received(buffer.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.lower.borrow_mut().poll_raw_write(cx, pieces);
        let mut guard = self.guard.borrow_mut();
        guard.wrote(&polled);
        if let Poll::Ready(Ok(written)) = &polled {
            let mut left = *written;
            for piece in pieces {
                let taken = left.min(piece.len());
                guard.sent(piece.get(..taken).unwrap_or_default());
                left -= taken;
            }
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.lower.borrow_mut().poll_raw_flush(cx);
        if polled.is_pending() {
            self.guard.borrow_mut().wrote(&polled);
        }
        polled
    }

    /// The connection is closed by whoever it was taken from, once its last words are out.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
