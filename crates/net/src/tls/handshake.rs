//! The handshake of a caller, under the connection's deadline.
//!
//! The hello is read first and looked at alone: what is not TLS gets no answer, and a server name
//! that is not ours is refused by its own alert. rustls does the rest.

use super::session::{Session, UnreadableClient};
use super::stream::TlsStream;
use crate::acme::ACME_TLS;
use crate::buffers::Buffers;
use crate::deadlines::Slot;
use crate::socket;
use crate::worker::DoorTls;
use rustls::server::{Acceptor, ClientHello};
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
    #[error("it was proven to an authority that the name is ours")]
    Proven,
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
    let hello = match read_hello(&mut stream, &mut incoming, slot).await {
        Ok(hello) => hello,
        Err(refused) => {
            buffers.give_back(incoming);
            return Err(refused);
        }
    };
    if let Some(proof) = door.server.proof(&hello) {
        let opened = TlsStream::new(stream, &proof, incoming, buffers)?;
        return Err(prove(opened, slot).await);
    }
    let named = hello.named;
    if named
        .as_ref()
        .is_some_and(|name| !served.certificates.cover(name))
    {
        buffers.give_back(incoming);
        say(&stream, &UNRECOGNIZED_NAME);
        return Err(NotOpened::UnknownName);
    }
    let mut opened = TlsStream::new(stream, served.config(door.offers), incoming, buffers)?;
    shake(&mut opened, slot).await?;
    let session = opened.agreed(&served.certificates, named)?;
    Ok((opened, session))
}

async fn shake(opened: &mut TlsStream, slot: &Slot) -> Result<(), NotOpened> {
    let shaken = poll_fn(|cx| {
        if slot.is_late(cx) {
            return Poll::Ready(Err(NotOpened::Late));
        }
        opened.poll_handshake(cx).map_err(NotOpened::from)
    });
    shaken.await
}

/// Shows an authority that a name is ours. The handshake is all of it: nothing is read or served
/// behind it.
async fn prove(mut opened: TlsStream, slot: &Slot) -> NotOpened {
    if let Err(error) = shake(&mut opened, slot).await {
        return error;
    }
    let ended = poll_fn(|cx| {
        if slot.is_late(cx) {
            return Poll::Ready(Err(NotOpened::Late));
        }
        opened.poll_end(cx).map_err(NotOpened::from)
    });
    ended.await.err().unwrap_or(NotOpened::Proven)
}

/// What a client says first, as far as it is looked at here.
pub(super) struct Hello {
    /// The server name it asks for, lower case.
    pub(super) named: Option<Box<str>>,
    /// It wants to be shown that this name is ours, and nothing else.
    pub(super) asks_for_proof: bool,
}

impl Hello {
    pub(super) fn of(hello: &ClientHello<'_>) -> Self {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let asks_for_proof = hello.alpn().is_some_and(|offered| {
            let mut offered = offered.into_iter();
            offered.next() == Some(ACME_TLS) && offered.next().is_none()
        });
        Self {
            named: name.map(Into::into),
            asks_for_proof,
        }
    }
}

/// Reads until the hello is whole.
async fn read_hello(
    stream: &mut TcpStream,
    incoming: &mut Vec<u8>,
    slot: &Slot,
) -> Result<Hello, NotOpened> {
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
                    return Ok(Hello::of(&accepted.client_hello()));
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
