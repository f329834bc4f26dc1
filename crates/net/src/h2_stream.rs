//! One stream of an HTTP/2 connection, with the face of a connection of HTTP/1.1: it reads as the
//! text of one request, and is written a head and bytes.

use crate::buffers::Buffers;
use crate::deadlines::Deadlines;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tollkeep_http2::{Connection, Read, Reason, StreamEnd, StreamFault, Write};
use tollkeep_types::MonoNanos;

/// A connection as its streams and whoever drives it share it.
pub(crate) struct Shared {
    /// By each stream, who waits for it.
    pub(crate) conn: Connection<Option<Waker>>,
    /// Who drives the connection.
    driver: Option<Waker>,
    /// The driver knows that there is something to send.
    driver_called: bool,
    /// Nothing is sent or received any more.
    dead: bool,
    last_left: MonoNanos,
    clock: Rc<Deadlines>,
    buffers: Rc<Buffers>,
}

impl Shared {
    pub(crate) fn new(
        fields_bytes_max: usize,
        clock: Rc<Deadlines>,
        buffers: Rc<Buffers>,
    ) -> Rc<RefCell<Self>> {
        let now = clock.now();
        Rc::new(RefCell::new(Self {
            conn: Connection::new(fields_bytes_max, now),
            driver: None,
            driver_called: false,
            dead: false,
            last_left: now,
            clock,
            buffers,
        }))
    }

    /// Since when there is no stream; meaningless while there is one.
    pub(crate) fn quiet_since(&self) -> MonoNanos {
        self.last_left
    }

    /// Notes who drives the connection, which is at it now.
    pub(crate) fn drive(&mut self, cx: &Context<'_>) {
        note(&mut self.driver, cx);
        self.driver_called = false;
    }

    /// Wakes who waits for a stream.
    pub(crate) fn wake(&mut self, id: u32) {
        if let Some(waker) = self.conn.tag(id).and_then(Option::take) {
            waker.wake();
        }
    }

    /// Wakes who waits for room.
    pub(crate) fn wake_blocked(&mut self) {
        self.conn
            .unblocked()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }

    /// Ends all streams.
    pub(crate) fn die(&mut self) {
        self.dead = true;
        self.conn
            .tags()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }

    /// Reading makes room, which the client may have to be told.
    fn may_have_written(&mut self) {
        if !self.conn.to_send().is_empty() {
            self.about_to_write();
        }
    }

    /// A stream is about to write: there is a buffer, and who drives the connection will send.
    fn about_to_write(&mut self) {
        self.conn.lend(|| self.buffers.take());
        if !std::mem::replace(&mut self.driver_called, true)
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }
}

fn note(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place
        .as_ref()
        .is_some_and(|known| known.will_wake(cx.waker()))
    {
        *place = Some(cx.waker().clone());
    }
}

/// A connection in the hands of who drives it. Dropped, all its streams end.
pub(crate) struct Driven(pub(crate) Rc<RefCell<Shared>>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.borrow_mut().die();
    }
}

/// A stream. Dropped, it is left, and reset if it has not come to its end.
pub(crate) struct Stream {
    id: u32,
    /// Pieces of bodies that were taken when it last asked.
    pieces_before: u32,
    shared: Rc<RefCell<Shared>>,
}

impl Stream {
    pub(crate) fn new(id: u32, shared: &Rc<RefCell<Shared>>) -> Self {
        Self {
            id,
            pieces_before: 0,
            shared: Rc::clone(shared),
        }
    }

    /// Waits for the stream to change.
    fn wait<T>(shared: &mut Shared, id: u32, cx: &Context<'_>) -> Poll<T> {
        if let Some(place) = shared.conn.tag(id) {
            note(place, cx);
        }
        Poll::Pending
    }

    /// Writes the request's head. Ready once it is known whether there is a body: with the first
    /// bytes of one that was not announced.
    pub(crate) fn poll_head(
        &mut self,
        cx: &Context<'_>,
        text: &mut Vec<u8>,
    ) -> Poll<Result<(), StreamFault>> {
        let mut shared = self.shared.borrow_mut();
        let now = shared.dead;
        let head = shared.conn.read_head(self.id, now, text);
        shared.may_have_written();
        match head {
            Some(head) => Poll::Ready(head),
            None => Self::wait(&mut shared, self.id, cx),
        }
    }

    /// As [`Self::poll_head`], without knowing whether there is a body.
    pub(crate) fn head_now(&mut self, text: &mut Vec<u8>) -> Result<(), StreamFault> {
        let mut shared = self.shared.borrow_mut();
        let head = shared.conn.read_head(self.id, true, text);
        shared.may_have_written();
        head.unwrap_or(Ok(()))
    }

    /// Reads more of the request's text.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &Context<'_>,
        text: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let mut shared = self.shared.borrow_mut();
        if shared.dead {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let read = shared.conn.read(self.id, text);
        shared.may_have_written();
        match read {
            Read::Bytes(count) => Poll::Ready(Ok(count)),
            Read::Wait => Self::wait(&mut shared, self.id, cx),
            Read::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ready when the client has reset the stream, or is gone.
    pub(crate) fn poll_gone(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut shared = self.shared.borrow_mut();
        if shared.dead || shared.conn.is_gone(self.id) {
            return Poll::Ready(());
        }
        Self::wait(&mut shared, self.id, cx)
    }

    /// Whether the client has reset the stream, or is gone.
    pub(crate) fn is_gone(&self) -> bool {
        let shared = self.shared.borrow();
        shared.dead || shared.conn.is_gone(self.id)
    }

    /// Leave to send the body (RFC 9110, section 15.2.1).
    pub(crate) fn say_continue(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.about_to_write();
        shared.conn.say_continue(self.id);
    }

    /// Begins the answer with a status and field lines as HTTP/1.1 writes them.
    pub(crate) fn send_head(&mut self, status: u16, lines: &[u8], end: StreamEnd) {
        let mut shared = self.shared.borrow_mut();
        shared.about_to_write();
        shared.conn.answer(self.id, status, lines, end);
    }

    /// Sends what the client's windows leave room for.
    pub(crate) fn poll_write(&mut self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.shared.borrow_mut();
        if shared.dead {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        shared.about_to_write();
        match shared.conn.write(self.id, bytes) {
            Write::Taken(count) => Poll::Ready(Ok(count)),
            Write::Wait => Self::wait(&mut shared, self.id, cx),
            Write::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Whether it waits for nothing but its turn, and others have had theirs since this was asked.
    pub(crate) fn others_go_on(&mut self) -> bool {
        let mut shared = self.shared.borrow_mut();
        let pieces = shared.conn.pieces_before(self.id);
        pieces.is_some_and(|pieces| std::mem::replace(&mut self.pieces_before, pieces) != pieces)
    }

    /// Ends an answer regularly, if that has not been done.
    pub(crate) fn end(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.about_to_write();
        shared.conn.end(self.id);
    }

    /// Ends the stream so that its answer can't be taken for a whole one.
    pub(crate) fn reset(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.about_to_write();
        shared.conn.reset(self.id, Reason::InternalError);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.about_to_write();
        shared.conn.leave(self.id);
        shared.last_left = shared.clock.now();
    }
}
