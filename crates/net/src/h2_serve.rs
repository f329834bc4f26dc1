//! A caller's HTTP/2 connection: settings, streams as they come, budgets, ends.

use crate::deadlines::Slot;
use crate::h1_serve::Downstream;
use crate::h2_io::{Guard, Guarded};
use crate::h2_stream::{Running, Stream};
use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tollkeep_policy::http2::Breach;
use tollkeep_types::MonoNanos;

/// Streams a client may have open (EDGE-41).
const STREAMS_MAX: u32 = 100;
/// Bytes of one stream that may be on their way to us.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes of all streams that may be on their way to us.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a frame.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of the table that compresses fields.
const FIELD_TABLE_BYTES: u32 = 4 * 1024;
/// Bytes of one stream's answer that wait for the client.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams reset by the client before we saw them; the budget of resets comes on top.
const UNSEEN_RESETS_MAX: usize = 100;
/// Streams reset by the library for the client's mistakes, in all.
const MISTAKES_MAX: usize = 100;
/// Streams we have reset that frames may still come for.
const RESET_STREAMS_KEPT: usize = 100;
/// How long a connection that is over may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a connection of HTTP/2 comes up with next.
pub enum Incoming {
    /// A stream with a request.
    Request(Downstream),
    /// The deadline of the slot passed.
    Late,
    /// The client overdid it.
    Breach(Breach),
    /// The connection is over, and both sides know.
    Over,
}

/// A caller's connection of HTTP/2.
pub struct Http2 {
    conn: Connection<Guarded, Bytes>,
    lower: Rc<RefCell<Downstream>>,
    guard: Rc<RefCell<Guard>>,
    running: Rc<Running>,
    slot: Slot,
    peer: SocketAddr,
}

impl Http2 {
    /// Takes over a connection on which a client's preface stands, and exchanges settings within
    /// `wait`. `None` when that fails.
    pub async fn begin(lower: Downstream, header_list_max: usize, wait: Duration) -> Option<Self> {
        let slot = lower.slot().another();
        let peer = lower.peer();
        let clock = slot.clock();
        let lower = Rc::new(RefCell::new(lower));
        let guard = Rc::new(RefCell::new(Guard::new(Rc::clone(&clock))));
        let io = Guarded::new(Rc::clone(&lower), Rc::clone(&guard));
        let mut shaking = Box::pin(builder(header_list_max).handshake(io));
        slot.set_idle(wait);
        let conn = poll_fn(|cx| {
            if slot.is_late(cx) {
                return Poll::Ready(None);
            }
            shaking.as_mut().poll(cx).map(Result::ok)
        })
        .await?;
        Some(Self {
            conn,
            lower,
            guard,
            running: Running::new(clock),
            slot,
            peer,
        })
    }

    /// Drives the connection until something is to be done.
    pub fn incoming(&mut self) -> impl Future<Output = Incoming> {
        poll_fn(|cx| {
            let polled = self.conn.poll_accept(cx);
            if let Some(breach) = self.guard.borrow_mut().take_breach() {
                return Poll::Ready(Incoming::Breach(breach));
            }
            match polled {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let stream = Box::new(Stream::new(request, respond, &self.running));
                    let lower = self.lower.borrow();
                    Poll::Ready(Incoming::Request(lower.of_stream(stream)))
                }
                Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Incoming::Over),
                Poll::Pending if self.slot.is_late(cx) => Poll::Ready(Incoming::Late),
                Poll::Pending => Poll::Pending,
            }
        })
    }

    /// The connection's deadline.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The other end of the TCP connection.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Requests in work.
    pub fn running(&self) -> usize {
        self.running.count()
    }

    /// Since when no request is in work; meaningless while one is.
    pub fn quiet_since(&self) -> MonoNanos {
        self.running.quiet_since()
    }

    /// Since when the client takes no byte of those that wait for it.
    pub fn stuck_since(&self) -> Option<MonoNanos> {
        self.guard.borrow().stuck_since()
    }

    /// Since when the fields of a request are on their way.
    pub fn fields_since(&self) -> Option<MonoNanos> {
        self.guard.borrow().fields_since()
    }

    /// Tells the client to open no more streams; those that are open go on.
    pub fn go_away(&mut self) {
        self.conn.graceful_shutdown();
    }

    /// Ends the connection and all its streams because the client overdid it.
    pub async fn calm(mut self) {
        self.conn.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.slot.set(LAST_WORDS);
        let said = poll_fn(|cx| {
            if self.slot.is_late(cx) {
                return Poll::Ready(false);
            }
            self.conn.poll_closed(cx).map(|_| true)
        })
        .await;
        if said {
            self.close().await;
        }
    }

    /// Ends the connection so that its last words arrive. Streams still served are gone.
    pub async fn close(self) {
        let Self { conn, lower, .. } = self;
        drop(conn);
        if let Some(lower) = Rc::into_inner(lower) {
            lower.into_inner().close().await;
        }
    }
}

fn builder(header_list_max: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(header_list_max).unwrap_or(u32::MAX))
        .header_table_size(FIELD_TABLE_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(MISTAKES_MAX))
        .max_concurrent_reset_streams(RESET_STREAMS_KEPT);
    builder
}
