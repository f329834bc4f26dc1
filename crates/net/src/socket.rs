//! Receiving and sending on a connection of a worker, one system call each.
//!
//! The calls go to the kernel itself: in a process with threads the C library's `recv` and `send` are
//! cancellation points, and each pays two atomic operations for a cancellation that never comes.

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Room made in a full buffer: a read into none would look like the end.
const ROOM_BYTES_MIN: usize = 64;

/// Reads behind what is in `buffer`; 0 is the end. One read: a short one clears readiness, so that
/// the next poll waits without asking the kernel again.
///
/// Only for a stream of a runtime of one thread: readiness that comes in between would be lost.
pub(crate) fn poll_recv(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    if buffer.len() == buffer.capacity() {
        buffer.reserve(ROOM_BYTES_MIN);
    }
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let room = buffer.capacity() - buffer.len();
        let received = stream.try_io(Interest::READABLE, || {
            let room = spare_capacity(buffer);
            let (got, _) = rustix::net::recv(stream, room, RecvFlags::empty())?;
            Ok(got)
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(got) if got > 0 && got < room => {
                // Says that there is no more, which is how readiness is cleared.
                let none = stream.try_io(Interest::READABLE, || {
                    Err::<(), _>(io::ErrorKind::WouldBlock.into())
                });
                debug_assert!(none.is_err(), "there is nothing to read");
                return Poll::Ready(Ok(got));
            }
            received => return Poll::Ready(received),
        }
    }
}

/// Sends what the kernel has room for.
///
/// # Errors
/// `WouldBlock` when it has none, also where it had none before and did not tell of room since.
pub(crate) fn try_send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_io(Interest::WRITABLE, || send(stream, bytes))
}

/// Sends what the kernel has room for, whatever it has told of its readiness.
///
/// # Errors
/// `WouldBlock` when it has none.
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)?)
}

/// The turn of a task that is about to send: it comes after the tasks that are ready now.
///
/// So a worker reads from all that have something and then sends to all, close together. A peer
/// that slept is woken for the first of these and is awake for the rest, and to wake a process on
/// another core is a good part of what a send costs.
pub(crate) struct Turn {
    is_mine: bool,
}

impl Turn {
    /// The turn to send by a system call of one's own. What others send for us need not wait.
    pub(crate) const fn to_send(by_itself: bool) -> Self {
        Self {
            is_mine: !by_itself,
        }
    }

    /// Ready when it has come; from then on at once.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_mine {
            return Poll::Ready(());
        }
        self.is_mine = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::rc::Rc;

    #[tokio::test(flavor = "current_thread")]
    async fn who_sends_by_itself_comes_after_those_that_are_ready() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let tasks = tokio::task::LocalSet::new();
        for name in ["a", "b"] {
            let told = Rc::clone(&told);
            tasks.spawn_local(async move {
                told.borrow_mut().push(format!("{name} reads"));
                let mut turn = Turn::to_send(name == "a");
                poll_fn(|cx| turn.poll(cx)).await;
                told.borrow_mut().push(format!("{name} sends"));
                poll_fn(|cx| turn.poll(cx)).await;
            });
        }
        tasks.await;
        assert_eq!(*told.borrow(), ["a reads", "b reads", "b sends", "a sends"]);
    }
}
