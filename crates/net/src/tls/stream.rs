//! A caller's connection behind TLS, after its handshake and during it.
//!
//! rustls works here without buffers of its own: records are read into a buffer of the worker,
//! opened in place, and the buffer goes back as soon as nothing of a record is left in it. What
//! is sent is sealed into another and written with one system call. An idle connection holds the
//! session's keys and no buffer.

use super::server::{HTTP_2, Served, ServerTls};
use super::session::{Protocol, Session, UnreadableClient};
use crate::buffers::Buffers;
use crate::socket;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes read and not yet opened at most: the largest handshake message and a record behind it.
const INCOMING_BYTES_MAX: usize = 96 * 1024;
/// Bytes sealed and not yet sent at which nothing more is sealed, as answers to what the client
/// asks of the session.
const OUTGOING_BYTES_MAX: usize = 128 * 1024;
/// Bytes sealed at once: three whole records, which with their frames fit a buffer that is kept.
const SEALED_AT_ONCE_MAX: usize = 48 * 1024;
/// Bytes of a record's content at most, and of its frame.
const RECORD_BYTES_MAX: usize = 16 * 1024;
const FRAME_BYTES_MAX: usize = 64;

/// A connection behind TLS.
pub(crate) struct TlsStream {
    stream: TcpStream,
    session: UnbufferedServerConnection,
    /// What was read of records that are not whole yet.
    incoming: Vec<u8>,
    /// Records that the kernel has not taken yet.
    outgoing: Vec<u8>,
    sent: usize,
    /// What was opened while nobody asked.
    opened: Vec<u8>,
    /// The client will send nothing more.
    ended: bool,
    buffers: Rc<Buffers>,
}

impl TlsStream {
    /// A session over `stream`, of which `incoming` was read, the hello at least.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub(crate) fn new(
        stream: TcpStream,
        config: &Arc<ServerConfig>,
        incoming: Vec<u8>,
        buffers: &Rc<Buffers>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            session: UnbufferedServerConnection::new(Arc::clone(config))?,
            stream,
            incoming,
            outgoing: Vec::new(),
            sent: 0,
            opened: Vec::new(),
            ended: false,
            buffers: Rc::clone(buffers),
        })
    }

    /// What was agreed with the client, after the handshake.
    ///
    /// # Errors
    /// Its certificate says nothing.
    pub(crate) fn agreed(
        &self,
        tls: &Arc<ServerTls>,
        served: &Arc<Served>,
        named: Option<Box<str>>,
    ) -> Result<Session, UnreadableClient> {
        let protocol = match self.session.alpn_protocol() {
            Some(HTTP_2) => Protocol::Http2,
            Some(_) | None => Protocol::Http11,
        };
        let chain = self.session.peer_certificates();
        Session::new(tls, served, named, protocol, chain)
    }

    /// The socket below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether everything sealed is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Goes on with the handshake until it is over and its last record is with the kernel.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut opened = std::mem::take(&mut self.opened);
            let driven = self.drive(&mut opened, &[]);
            self.opened = opened;
            if let Err(error) = driven {
                // What is queued tells the client why, if there is room for it.
                self.queue_alert();
                self.send_now();
                return Poll::Ready(Err(io::Error::other(error)));
            }
            ready!(self.poll_flushed(cx))?;
            if !self.session.is_handshaking() {
                self.rest();
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_read_records(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads and opens records until there is content, which is put behind what is in `buffer`.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let before = buffer.len();
        buffer.append(&mut self.opened);
        loop {
            let filled = buffer.len() - before;
            if filled > 0 || self.ended {
                return Poll::Ready(Ok(filled));
            }
            match self.poll_read_records(cx) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {
                    self.drive(buffer, &[]).map_err(io::Error::other)?;
                    self.send_now();
                    self.rest();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Waits for something to read, without a buffer.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended || !self.opened.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    /// Seals some of `bytes` and sends what is sealed: how many bytes were sealed, which may be
    /// none while earlier ones move.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_flushed() {
            return self.poll_send_sealed(cx).map_ok(|_| 0);
        }
        let taken = bytes.get(..SEALED_AT_ONCE_MAX).unwrap_or(bytes);
        let mut opened = std::mem::take(&mut self.opened);
        let driven = self.drive(&mut opened, taken);
        self.opened = opened;
        driven.map_err(io::Error::other)?;
        if self.is_flushed() {
            // The session has ended and seals nothing more.
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match socket::try_send(&self.stream, &self.outgoing) {
            Ok(written) => self.went(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
        Poll::Ready(Ok(taken.len()))
    }

    /// As [`Self::poll_send`], of several pieces, which go into the same records.
    pub(crate) fn poll_send_pieces(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flushed(cx))?;
        let mut some = pieces.iter().filter(|piece| !piece.is_empty());
        let (Some(first), second) = (some.next(), some.next()) else {
            return Poll::Ready(Ok(0));
        };
        if second.is_none() || first.len() >= RECORD_BYTES_MAX {
            return self.poll_send(cx, first);
        }
        let mut all = self.buffers.take();
        for piece in pieces {
            let room = RECORD_BYTES_MAX - all.len();
            all.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        let sent = self.poll_send(cx, &all);
        self.buffers.give_back(all);
        sent
    }

    /// Sends what the kernel takes at once of what is sealed, whatever it has told of its
    /// readiness: how many bytes.
    pub(crate) fn send_now(&mut self) -> usize {
        let left = self.outgoing.get(self.sent..).unwrap_or_default();
        if left.is_empty() {
            return 0;
        }
        let sent = socket::send(&self.stream, left).unwrap_or(0);
        self.went(sent);
        sent
    }

    /// Says that nothing more will be sent, once what is sealed has gone.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flushed(cx))?;
        self.queue_end();
        self.send_now();
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_flushed() {
            ready!(self.poll_send_sealed(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_sealed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.outgoing.get(self.sent..).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, left))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.went(written);
        Poll::Ready(Ok(written))
    }

    fn went(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.outgoing.len() {
            self.sent = 0;
            self.buffers.give_back(std::mem::take(&mut self.outgoing));
        }
    }

    /// Reads what the kernel has, once.
    fn poll_read_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.incoming.capacity() == 0 {
            self.incoming = self.buffers.take();
        }
        if self.incoming.len() == self.incoming.capacity() {
            if self.incoming.len() >= INCOMING_BYTES_MAX {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            self.incoming.reserve(RECORD_BYTES_MAX);
        }
        socket::poll_recv(&self.stream, cx, &mut self.incoming)
    }

    /// Gives the buffer back while no part of a record is in it.
    fn rest(&mut self) {
        if self.incoming.is_empty() {
            self.buffers.give_back(std::mem::take(&mut self.incoming));
        }
    }

    /// Opens the records that are whole: content goes behind `opened`, what the session has to
    /// say behind what is sealed. Then seals `bytes`, if the handshake is over.
    fn drive(&mut self, opened: &mut Vec<u8>, bytes: &[u8]) -> Result<(), rustls::Error> {
        let mut at = 0;
        let mut done = false;
        while !done {
            let records = self.incoming.get_mut(at..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(records);
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        opened.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let sealed = sealing(&mut self.outgoing, &self.buffers);
                    let encoded = append(sealed, FRAME_BYTES_MAX, |out| match data.encode(out) {
                        Err(EncodeError::InsufficientSize(needed)) => Err(Some(needed)),
                        other => other.map_err(|_| None),
                    });
                    encoded?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                ConnectionState::WriteTraffic(mut traffic) => {
                    done = true;
                    if !bytes.is_empty() {
                        let sealed = sealing(&mut self.outgoing, &self.buffers);
                        let frames = bytes.len() / RECORD_BYTES_MAX + 2;
                        let room = bytes.len() + frames * FRAME_BYTES_MAX;
                        append(sealed, room, |out| match traffic.encrypt(bytes, out) {
                            Err(EncryptError::InsufficientSize(needed)) => Err(Some(needed)),
                            other => other.map_err(|_| None),
                        })?;
                    }
                }
                ConnectionState::BlockedHandshake => done = true,
                ConnectionState::Closed => {
                    self.ended = true;
                    done = true;
                }
                // Early data is off, and there are no other states.
                ConnectionState::ReadEarlyData(_) | _ => {
                    return Err(rustls::Error::General("unexpected state".to_owned()));
                }
            }
            at += discard;
        }
        if at >= self.incoming.len() {
            self.incoming.clear();
        } else {
            self.incoming.drain(..at);
        }
        if self.outgoing.len() > OUTGOING_BYTES_MAX {
            return Err(rustls::Error::General(
                "asked for too many answers".to_owned(),
            ));
        }
        Ok(())
    }

    /// Seals the alert that a failed session still has to send.
    fn queue_alert(&mut self) {
        loop {
            let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut []);
            match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let sealed = sealing(&mut self.outgoing, &self.buffers);
                    let encoded = append(sealed, FRAME_BYTES_MAX, |out| match data.encode(out) {
                        Err(EncodeError::InsufficientSize(needed)) => Err(Some(needed)),
                        other => other.map_err(|_| None),
                    });
                    if encoded.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Seals the end of what we send (RFC 8446, section 6.1).
    fn queue_end(&mut self) {
        let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut self.incoming);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let sealed = sealing(&mut self.outgoing, &self.buffers);
            let queued = append(sealed, FRAME_BYTES_MAX, |out| {
                match traffic.queue_close_notify(out) {
                    Err(EncryptError::InsufficientSize(needed)) => Err(Some(needed)),
                    other => other.map_err(|_| None),
                }
            });
            // Without it the client sees the connection end all the same.
            drop(queued);
        }
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        for buffer in [&mut self.incoming, &mut self.outgoing] {
            self.buffers.give_back(std::mem::take(buffer));
        }
    }
}

/// The buffer of what is sealed, taken from the worker's where there is none.
fn sealing<'b>(outgoing: &'b mut Vec<u8>, buffers: &Buffers) -> &'b mut Vec<u8> {
    if outgoing.capacity() == 0 {
        *outgoing = buffers.take();
    }
    outgoing
}

/// Lets `write` write behind what is in `out`, for which `room` bytes should do; it says so if it
/// needs more.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Result<(), rustls::Error> {
    let start = out.len();
    let mut room = room;
    for _ in 0..2 {
        out.resize(start + room, 0);
        match write(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Some(needed)) => room = needed.required_size,
            Err(None) => break,
        }
    }
    out.truncate(start);
    Err(rustls::Error::EncryptError)
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut opened = std::mem::take(&mut this.opened);
        if opened.is_empty() {
            let polled = this.poll_fill(cx, &mut opened);
            if !matches!(polled, Poll::Ready(Ok(_))) {
                return polled.map_ok(|_| ());
            }
        }
        let count = opened.len().min(buffer.remaining());
        buffer.put_slice(opened.get(..count).unwrap_or_default());
        opened.drain(..count);
        this.opened = opened;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_flushed(cx))?;
        this.poll_send(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_end(cx)
    }
}
