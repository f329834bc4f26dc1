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
