//! A caller's HTTP/2 connection: bytes in and out, streams as they come, ends.

use crate::deadlines::Slot;
use crate::h1_serve::{Downstream, Fill};
use crate::h2_stream::{Driven, Shared, Stream};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tollkeep_http2::{Breach, Ended, Reason, Told};
use tollkeep_types::MonoNanos;

/// How long a connection that is over may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes that wait to be sent before nothing more is heard: answers' heads have no window.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// Reads in a row before others of the worker have their turn.
const READS_AT_ONCE_MAX: usize = 16;

/// What a connection of HTTP/2 comes up with next.
pub enum Incoming {
    /// A stream with a request.
    Request(Downstream),
    /// The deadline of the slot passed.
    Late,
    /// The client overdid it.
    Breach(Breach),
    /// It sent the head of a request that is none; its other streams go on.
    Malformed,
    /// It broke the protocol, and the connection is over.
    Broken(Reason),
    /// The connection is over, and both sides know.
    Over,
}

/// A caller's connection of HTTP/2.
pub struct Http2 {
    lower: Downstream,
    shared: Driven,
    slot: Slot,
    stuck_since: Option<MonoNanos>,
}

impl Http2 {
    /// Takes over a connection on which a client's preface is due. The fields of a request may
    /// take `fields_bytes_max`.
    pub fn begin(lower: Downstream, fields_bytes_max: usize) -> Self {
        let slot = lower.slot().another();
        let buffers = Rc::clone(&lower.buffers);
        Self {
            shared: Driven(Shared::new(fields_bytes_max, slot.clock(), buffers)),
            lower,
            slot,
            stuck_since: None,
        }
    }

    /// Drives the connection until something is to be done.
    pub fn incoming(&mut self) -> impl Future<Output = Incoming> {
        poll_fn(|cx| {
            self.shared.0.borrow_mut().drive(cx);
            let mut behind = false;
            for turn in 0.. {
                if self.is_behind() {
                    if self.poll_send(cx) == Poll::Ready(false) {
                        return Poll::Ready(Incoming::Over);
                    }
                    behind = self.is_behind();
                    if behind {
                        break;
                    }
                }
                if let Some(incoming) = self.hear() {
                    return Poll::Ready(incoming);
                }
                if turn == READS_AT_ONCE_MAX {
                    cx.waker().wake_by_ref();
                    break;
                }
                match self.lower.poll_raw_fill(cx) {
                    Poll::Ready(Fill::Bytes) => {}
                    Poll::Ready(Fill::Closed | Fill::Late) => return Poll::Ready(Incoming::Over),
                    Poll::Pending => break,
                }
            }
            // Whatever streams have to say since the last time goes out together.
            let sent = self.poll_send(cx);
            if sent == Poll::Ready(false) {
                return Poll::Ready(Incoming::Over);
            }
            if sent.is_ready() && self.shared.0.borrow().conn.is_over() {
                return Poll::Ready(Incoming::Over);
            }
            if behind && !self.is_behind() {
                cx.waker().wake_by_ref();
            }
            if self.slot.is_late(cx) {
                return Poll::Ready(Incoming::Late);
            }
            Poll::Pending
        })
    }

    /// Whether the client should first take what waits for it.
    fn is_behind(&self) -> bool {
        self.shared.0.borrow().conn.to_send().len() > WAITING_BYTES_MAX
    }

    /// Hears what the client has said so far.
    fn hear(&mut self) -> Option<Incoming> {
        let mut shared = self.shared.0.borrow_mut();
        let now = self.slot.now();
        loop {
            let (used, told) = match shared.conn.receive(self.lower.unread(), now) {
                Ok(Some(heard)) => heard,
                Ok(None) => return None,
                Err(Ended::Breach(breach)) => return Some(Incoming::Breach(breach)),
                Err(Ended::Fault(reason)) => return Some(Incoming::Broken(reason)),
            };
            self.lower.consume(used);
            match told {
                Told::Nothing => {}
                Told::Changed(id) => shared.wake(id),
                Told::Windows => shared.wake_blocked(),
                Told::Malformed => return Some(Incoming::Malformed),
                Told::Request(id) => {
                    let stream = Stream::new(id, &self.shared.0);
                    return Some(Incoming::Request(self.lower.of_stream(stream)));
                }
            }
        }
    }

    /// Sends all there is; ready with `false` if that can't be done.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut shared = self.shared.0.borrow_mut();
        let io = &mut self.lower.io;
        while !shared.conn.to_send().is_empty() || !io.is_flushed() {
            match io.poll_send(cx, shared.conn.to_send()) {
                Poll::Ready(Ok(sent)) => {
                    shared.conn.was_sent(sent);
                    self.stuck_since = None;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => {
                    self.stuck_since = self.stuck_since.or(Some(self.slot.now()));
                    break;
                }
            }
        }
        if shared.conn.has_room_again() {
            shared.wake_blocked();
        }
        self.lower.buffers.give_back(shared.conn.take_buffer());
        if self.stuck_since.is_some() {
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    /// The connection's deadline.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The other end of the TCP connection.
    pub fn peer(&self) -> SocketAddr {
        self.lower.peer()
    }

    /// Requests in work.
    pub fn running(&self) -> usize {
        self.shared.0.borrow().conn.streams()
    }

    /// Since when no request is in work; meaningless while one is.
    pub fn quiet_since(&self) -> MonoNanos {
        self.shared.0.borrow().quiet_since()
    }

    /// Whether the client has taken no byte of those that wait for it for so long.
    pub fn is_stuck(&mut self, wait: Duration) -> bool {
        let now = self.slot.now();
        let late = |at: MonoNanos| Duration::from_nanos(now.since(at)) >= wait;
        if !self.stuck_since.is_some_and(late) {
            return false;
        }
        // The kernel tells of room only once a third of its buffer is free; a slow reader may
        // have made some all the same.
        let mut shared = self.shared.0.borrow_mut();
        let sent = self.lower.io.send_now(shared.conn.to_send());
        shared.conn.was_sent(sent.taken);
        if sent.moved > 0 {
            self.stuck_since = Some(now);
        }
        sent.moved == 0
    }

    /// Since when the fields of a request, or its first frames, are on their way.
    pub fn fields_since(&self) -> Option<MonoNanos> {
        self.shared.0.borrow().conn.fields_since()
    }

    /// Tells the client to open no more streams; those that are open go on.
    pub fn go_away(&mut self) {
        self.shared.0.borrow_mut().conn.go_away();
    }

    /// Streams that come from now on are not served, if the client was told to open no more.
    pub fn part(&mut self) {
        self.shared.0.borrow_mut().conn.heard();
    }

    /// Ends the connection and all its streams because the client overdid it.
    pub async fn calm(self) {
        self.shared
            .0
            .borrow_mut()
            .conn
            .part(Reason::EnhanceYourCalm);
        self.close().await;
    }

    /// Ends the connection so that its last words arrive. Streams still served are gone.
    pub async fn close(mut self) {
        self.shared.0.borrow_mut().die();
        self.slot.set(LAST_WORDS);
        let said = poll_fn(|cx| {
            if self.slot.is_late(cx) {
                return Poll::Ready(false);
            }
            self.poll_send(cx)
        });
        if said.await {
            self.lower.close().await;
        }
    }
}
