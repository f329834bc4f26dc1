//! One stream of an HTTP/2 connection, with the face of a connection of HTTP/1.1: it reads as the
//! text of one request, and is written a head and bytes.

use crate::h2_head::{self, StreamFault, TextBody};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tollkeep_http1::write;
use tollkeep_types::MonoNanos;

use crate::deadlines::Deadlines;

/// Bytes handed over in one frame's worth at most: what a peer takes without asking for more.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// How an answer tells where its body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEnd {
    /// There is no body: the head ends the stream.
    Head,
    /// After so many bytes.
    Length(u64),
    /// When [`Downstream::end`](crate::Downstream::end) says so.
    Open,
}

/// The streams of one connection that are being served.
pub(crate) struct Running {
    count: Cell<usize>,
    last_left: Cell<MonoNanos>,
    clock: Rc<Deadlines>,
}

impl Running {
    pub(crate) fn new(clock: Rc<Deadlines>) -> Rc<Self> {
        Rc::new(Self {
            count: Cell::new(0),
            last_left: Cell::new(clock.now()),
            clock,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// When the last one ended, or the connection began.
    pub(crate) fn quiet_since(&self) -> MonoNanos {
        self.last_left.get()
    }

    fn enter(self: &Rc<Self>) -> Seat {
        self.count.set(self.count.get() + 1);
        Seat(Rc::clone(self))
    }
}

struct Seat(Rc<Running>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get().saturating_sub(1));
        self.0.last_left.set(self.0.clock.now());
    }
}

/// A stream.
pub(crate) struct Stream {
    request: request::Parts,
    recv: RecvStream,
    body: Body,
    answer: Answer,
    _seat: Seat,
}

/// What of the request's body is still to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Body {
    /// So many bytes.
    Length(u64),
    Chunked,
    TrailersOfLength,
    TrailersOfChunks,
    Over,
}

enum Answer {
    Awaited(SendResponse<Bytes>),
    Begun {
        send: SendStream<Bytes>,
        left: Option<u64>,
    },
    /// Ended by us, or never to be ended.
    Over(SendStream<Bytes>),
    Failed,
}

impl Stream {
    pub(crate) fn new(
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
        running: &Rc<Running>,
    ) -> Self {
        let (request, recv) = request.into_parts();
        Self {
            request,
            recv,
            body: Body::Over,
            answer: Answer::Awaited(respond),
            _seat: running.enter(),
        }
    }

    /// Writes the request's head. Ready once it is known whether there is a body: with the first
    /// bytes of one that was not announced.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        text: &mut Vec<u8>,
    ) -> Poll<Result<(), StreamFault>> {
        let fields = &self.request.headers;
        let mut body = h2_head::body_of(fields, self.recv.is_end_stream());
        let mut first = Bytes::new();
        if body == TextBody::Chunked && !h2_head::waits_for_leave(fields) {
            match ready!(self.poll_bytes(cx)) {
                Some(Ok(bytes)) => first = bytes,
                None if self.recv.is_end_stream() => body = TextBody::None,
                // A reset is seen again by whoever reads on.
                Some(Err(_)) | None => {}
            }
        }
        Poll::Ready(self.write_head(text, body, &first))
    }

    /// As [`Self::poll_head`], without knowing whether there is a body.
    pub(crate) fn head_now(&mut self, text: &mut Vec<u8>) -> Result<(), StreamFault> {
        let body = h2_head::body_of(&self.request.headers, self.recv.is_end_stream());
        self.write_head(text, body, &[])
    }

    fn write_head(
        &mut self,
        text: &mut Vec<u8>,
        body: TextBody,
        first: &[u8],
    ) -> Result<(), StreamFault> {
        self.body = match body {
            TextBody::None => Body::Over,
            TextBody::Length(left) => Body::Length(left),
            TextBody::Chunked => Body::Chunked,
        };
        h2_head::write_head(text, &self.request, body)?;
        write::chunk(text, first);
        // It is not needed again, and a stream may last.
        self.request.headers = HeaderMap::new();
        Ok(())
    }

    /// The next bytes of the body that are some.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        loop {
            let Some(data) = ready!(self.recv.poll_data(cx)).transpose()? else {
                return Poll::Ready(None);
            };
            let room = self.recv.flow_control().release_capacity(data.len());
            if !data.is_empty() {
                return Poll::Ready(Some(room.map(|()| data)));
            }
        }
    }

    /// Reads more of the request's text.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        text: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let before = text.len();
        loop {
            match self.body {
                Body::Over => return Poll::Ready(Ok(0)),
                Body::Length(left) => {
                    let Some(bytes) = ready!(self.poll_bytes(cx)).transpose().map_err(broken)?
                    else {
                        self.body = Body::TrailersOfLength;
                        continue;
                    };
                    text.extend_from_slice(&bytes);
                    let left = left.saturating_sub(bytes.len() as u64);
                    self.body = Body::Length(left);
                    // The last bytes are not the whole body before the stream has ended too:
                    // one that goes on is malformed, and nobody may have seen it by then.
                    if left > 0 {
                        return Poll::Ready(Ok(bytes.len()));
                    }
                }
                Body::Chunked => match ready!(self.poll_bytes(cx)).transpose().map_err(broken)? {
                    Some(bytes) => {
                        write::chunk(text, &bytes);
                        return Poll::Ready(Ok(text.len() - before));
                    }
                    None => self.body = Body::TrailersOfChunks,
                },
                Body::TrailersOfLength => {
                    let trailers = ready!(self.recv.poll_trailers(cx)).map_err(broken)?;
                    self.body = Body::Over;
                    if !trailers.as_ref().is_none_or(h2_head::trailers_pass) {
                        self.reset(Reason::PROTOCOL_ERROR);
                        return Poll::Ready(Ok(0));
                    }
                    return Poll::Ready(Ok((text.len() - before).max(1)));
                }
                Body::TrailersOfChunks => {
                    let trailers = ready!(self.recv.poll_trailers(cx)).map_err(broken)?;
                    self.body = Body::Over;
                    h2_head::write_last_chunk(text, trailers.as_ref());
                    return Poll::Ready(Ok(text.len() - before));
                }
            }
        }
    }

    /// Ready when the client has reset the stream, or is gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.answer {
            Answer::Awaited(respond) => respond.poll_reset(cx).map(drop),
            Answer::Begun { send, .. } => send.poll_reset(cx).map(drop),
            Answer::Over(_) => Poll::Pending,
            Answer::Failed => Poll::Ready(()),
        }
    }

    /// Leave to send the body (RFC 9110, section 15.2.1).
    pub(crate) fn say_continue(&mut self) {
        if let Answer::Awaited(respond) = &mut self.answer {
            let mut leave = Response::new(());
            *leave.status_mut() = StatusCode::CONTINUE;
            // A stream that can't be told is gone, which reading it tells.
            drop(respond.send_informational(leave));
        }
    }

    /// Begins the answer with a status and field lines as HTTP/1.1 writes them.
    pub(crate) fn send_head(&mut self, status: u16, lines: &[u8], end: StreamEnd) {
        let answer = std::mem::replace(&mut self.answer, Answer::Failed);
        let Answer::Awaited(mut respond) = answer else {
            return;
        };
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        *head.headers_mut() = fields_of(lines);
        let at_once = matches!(end, StreamEnd::Head | StreamEnd::Length(0));
        self.answer = match respond.send_response(head, at_once) {
            Ok(send) if at_once => Answer::Over(send),
            Ok(send) => Answer::Begun {
                send,
                left: match end {
                    StreamEnd::Length(left) => Some(left),
                    StreamEnd::Head | StreamEnd::Open => None,
                },
            },
            Err(_) => {
                respond.send_reset(Reason::INTERNAL_ERROR);
                Answer::Failed
            }
        };
    }

    /// Sends what the client's windows leave room for.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Answer::Begun { send, left } = &mut self.answer else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        send.reserve_capacity(bytes.len().min(PIECE_BYTES_MAX));
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let piece = bytes.get(..send.capacity()).unwrap_or(bytes);
        let ends = left.as_mut().is_some_and(|left| {
            *left = left.saturating_sub(piece.len() as u64);
            *left == 0
        });
        let sent = send.send_data(Bytes::copy_from_slice(piece), ends);
        if ends {
            self.close_answer();
        }
        Poll::Ready(sent.map(|()| piece.len()).map_err(broken))
    }

    /// Ends an answer regularly, if that has not been done.
    pub(crate) fn end(&mut self) {
        if let Answer::Begun { send, left } = &mut self.answer {
            if left.is_some_and(|left| left > 0) {
                return self.reset(Reason::INTERNAL_ERROR);
            }
            // The client may be gone; then nobody needs the end.
            drop(send.send_data(Bytes::new(), true));
            self.close_answer();
        }
    }

    fn close_answer(&mut self) {
        self.answer = match std::mem::replace(&mut self.answer, Answer::Failed) {
            Answer::Begun { send, .. } => Answer::Over(send),
            other @ (Answer::Awaited(_) | Answer::Over(_) | Answer::Failed) => other,
        };
    }

    /// Ends the stream so that its answer can't be taken for a whole one.
    pub(crate) fn reset(&mut self, reason: Reason) {
        match &mut self.answer {
            Answer::Awaited(respond) => respond.send_reset(reason),
            Answer::Begun { send, .. } | Answer::Over(send) => send.send_reset(reason),
            Answer::Failed => {}
        }
    }
}

fn broken<E>(_: E) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// Field lines, behind a start line, as the fields they are. A line that is none is left out.
fn fields_of(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(16);
    for line in lines.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    fields
}
