//! The handshake of a caller, under the connection's deadline.
//!
//! The hello is read first and looked at alone: what is not TLS gets no answer, and a server name
//! that is not ours is refused by its own alert. rustls does the rest.

use super::session::{Session, UnreadableClient};
use super::stream::TlsStream;
use crate::buffers::Buffers;
use crate::deadlines::Slot;
use crate::socket;
use crate::worker::DoorTls;
use rustls::server::Acceptor;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use tokio::net::TcpStream;

/// Bytes of a hello at most.
const HELLO_BYTES_MAX: usize = 64 * 1024;
/// The first byte of every TLS connection: a handshake record (RFC 8446, section 5.1).
pub(super) const HANDSHAKE_RECORD: u8 = 22;
/// A fatal `unrecognized_name` in clear (RFC 6066, section 3).
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOpened {
    #[error("the client left, or the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the handshake took too long")]
    Late,
    #[error("the client does not speak TLS")]
    NotTls,
    #[error("the client asks for a server name that is not ours")]
    UnknownName,
    #[error("{0}")]
    Unreadable(#[from] UnreadableClient),
    #[error("{0}")]
    Refused(#[from] rustls::Error),
}

/// Shakes hands over `stream` until the deadline.
///
/// # Errors
/// There is no connection; what was to be said about it was said.
pub(crate) async fn accept(
    door: &DoorTls,
    mut stream: TcpStream,
    slot: &Slot,
    buffers: &Rc<Buffers>,
) -> Result<(TlsStream, Session), NotOpened> {
    let served = door.server.served();
    slot.set(served.handshake);
    let mut incoming = buffers.take();
    let named = match read_hello(&mut stream, &mut incoming, slot).await {
        Ok(named) => named,
        Err(refused) => {
            buffers.give_back(incoming);
            return Err(refused);
        }
    };
    if named
        .as_ref()
        .is_some_and(|name| !served.certificates.cover(name))
    {
        buffers.give_back(incoming);
        say(&stream, &UNRECOGNIZED_NAME);
        return Err(NotOpened::UnknownName);
    }
    let mut opened = TlsStream::new(stream, served.config(door.offers), incoming, buffers)?;
    let shaken = poll_fn(|cx| {
        if slot.is_late(cx) {
            return Poll::Ready(Err(NotOpened::Late));
        }
        opened.poll_handshake(cx).map_err(NotOpened::from)
    });
    shaken.await?;
    let session = opened.agreed(&door.server, &served, named)?;
    Ok((opened, session))
}

/// Reads until the hello is whole: the server name in it, lower case.
async fn read_hello(
    stream: &mut TcpStream,
    incoming: &mut Vec<u8>,
    slot: &Slot,
) -> Result<Option<Box<str>>, NotOpened> {
    let mut acceptor = Acceptor::default();
    loop {
        if incoming.len() >= HELLO_BYTES_MAX {
            return Err(NotOpened::NotTls);
        }
        let from = incoming.len();
        incoming.reserve(1024);
        let read = poll_fn(|cx| {
            if slot.is_late(cx) {
                return Poll::Ready(Err(NotOpened::Late));
            }
            socket::poll_recv(stream, cx, incoming).map_err(NotOpened::from)
        });
        if read.await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if incoming.first() != Some(&HANDSHAKE_RECORD) {
            return Err(NotOpened::NotTls);
        }
        let mut came = incoming.get(from..).unwrap_or_default();
        while !came.is_empty() {
            acceptor.read_tls(&mut came)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted
                        .client_hello()
                        .server_name()
                        .map(str::to_ascii_lowercase);
                    return Ok(name.map(Into::into));
                }
                Err((error, mut alert)) => {
                    let mut text = Vec::new();
                    alert.write_all(&mut text)?;
                    say(stream, &text);
                    return Err(error.into());
                }
            }
        }
    }
}

/// Says the last word, if there is room for it: the connection ends either way.
pub(super) fn say(stream: &TcpStream, alert: &[u8]) {
    drop(stream.try_write(alert));
}
