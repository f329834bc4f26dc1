//! A request's body that is sent on while it arrives, on routes that say so (EDGE-20).
//!
//! Nothing looks into it and nothing of it is kept, so its request is never repeated. What the
//! upstream sees is framed by us: a fault in the caller's framing, a body beyond its bound or a
//! caller who is gone ends the upstream's connection before the body's end, so that a part never
//! looks whole. An upstream that answers early gets no more of it.

use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::read_call::Pace;
use crate::refusal::Refusal;
use crate::route::{Destination, Route};
use std::time::Duration;
use tollkeep_http1::{ChunkDecoder, ChunkEvent, Framing, Progress, write};
use tollkeep_net::{Downstream, Fill, Pushed, Raced, UpstreamConn};

/// How much is taken from the caller before it is sent on.
const PIECE_BYTES: usize = 64 * 1024;

/// A body that is still coming.
pub(crate) struct Incoming {
    left: Left,
    taken: u64,
    bytes_max: u64,
    pace: Pace,
    /// Interim answers that were passed over meanwhile.
    interim: usize,
    /// The caller waits for leave to send it.
    waits: bool,
}

enum Left {
    Length(u64),
    Chunks(ChunkDecoder),
    Nothing,
}

impl Incoming {
    /// Whether all of it was taken.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.left, Left::Nothing | Left::Length(0))
    }

    /// What is still to come, where that is known and will come.
    pub(crate) fn left_to_drain(&self, bytes_max: u64) -> Option<usize> {
        match self.left {
            _ if self.is_whole() => Some(0),
            Left::Length(left) if left <= bytes_max && !self.waits => usize::try_from(left).ok(),
            Left::Length(_) | Left::Chunks(_) | Left::Nothing => None,
        }
    }

    /// The field that frames it for the upstream.
    pub(crate) fn write_framing(&self, out: &mut Vec<u8>) {
        if let Left::Length(length) = self.left {
            out.extend_from_slice(b"content-length: ");
            write::number(out, length);
            out.extend_from_slice(b"\r\n");
        } else {
            write::field(out, b"transfer-encoding", b"chunked");
        }
    }

    /// Takes what has arrived, framed for the upstream.
    fn take(&mut self, conn: &mut Downstream, out: &mut Vec<u8>) -> Result<(), Refusal> {
        while out.len() < PIECE_BYTES {
            let unread = conn.unread();
            let used = match &mut self.left {
                Left::Nothing => return Ok(()),
                Left::Length(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX);
                    let data = unread.get(..most).unwrap_or(unread);
                    out.extend_from_slice(data);
                    let len = data.len();
                    *left -= u64::try_from(len).unwrap_or(0);
                    self.taken += u64::try_from(len).unwrap_or(0);
                    conn.consume(len);
                    return Ok(());
                }
                Left::Chunks(decoder) => {
                    let event = decoder.next(unread);
                    match event.map_err(|fault| Refusal::BadRequest(fault.reason()))? {
                        ChunkEvent::End { used } => {
                            write::last_chunk(out);
                            self.left = Left::Nothing;
                            used
                        }
                        ChunkEvent::More { used } => {
                            conn.consume(used);
                            return Ok(());
                        }
                        ChunkEvent::Data { skip, len } => {
                            self.taken += u64::try_from(len).unwrap_or(u64::MAX);
                            if self.taken > self.bytes_max {
                                return Err(Refusal::BodyTooLarge);
                            }
                            let data = unread.get(skip..skip + len);
                            write::chunk(out, data.unwrap_or_default());
                            skip + len
                        }
                    }
                }
            };
            conn.consume(used);
        }
        Ok(())
    }
}

impl Exchange<'_> {
    /// Whether the body is sent on while it arrives. One that is here already is whole, and one
    /// that a policy may look into is read whole.
    pub(crate) fn streams_up(&self, route: &Route<'_>) -> bool {
        let Destination::Plain(plain) = route.destination() else {
            return false;
        };
        plain.streaming
            && self.policies.is_empty()
            && match self.work.head.framing {
                Framing::None => false,
                Framing::Chunked => true,
                Framing::Length(length) => {
                    let came = self.conn.unread().len().saturating_sub(self.work.head.len);
                    length > u64::try_from(came).unwrap_or(u64::MAX)
                }
            }
    }

    /// Takes the head out of the connection; the body stays to come.
    pub(crate) fn begin_incoming(&mut self, bytes_max: u64) {
        let left = match self.work.head.framing {
            Framing::None => Left::Nothing,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks(ChunkDecoder::new()),
        };
        let detached = self.conn.detach(self.work.head.len);
        self.worker
            .buffers
            .give_back(std::mem::replace(&mut self.work.request, detached));
        self.detached = true;
        self.incoming = Some(Box::new(Incoming {
            left,
            taken: 0,
            bytes_max,
            pace: self.pace(),
            interim: 0,
            waits: self.work.head.expect_continue,
        }));
    }

    /// Sends the body on as it comes, to its end or until the upstream answers or breaks off,
    /// which is read by whoever reads its answer.
    ///
    /// # Errors
    /// 413, 400 and 408 for the body, 504 for an upstream that takes nothing; the caller is gone.
    pub(crate) async fn send_incoming(
        &mut self,
        upstream: &mut UpstreamConn,
        target: &Target,
    ) -> Result<(), Stop> {
        let Some(mut incoming) = self.incoming.take() else {
            return Ok(());
        };
        let pushed = self.push_body(&mut incoming, upstream, target).await;
        self.work.facts.bytes_in = incoming.taken;
        self.incoming = Some(incoming);
        pushed
    }

    async fn push_body(
        &mut self,
        incoming: &mut Incoming,
        upstream: &mut UpstreamConn,
        target: &Target,
    ) -> Result<(), Stop> {
        incoming.pace = self.pace();
        let began = self.worker.deadlines.now();
        self.say_continue().await?;
        incoming.waits = false;
        let mut piece = Vec::new();
        loop {
            piece.clear();
            incoming.take(self.conn, &mut piece)?;
            let way = (&mut *upstream, target);
            if !piece.is_empty() && !self.push_piece(incoming, way, &piece).await? {
                return Ok(());
            }
            if incoming.is_whole() {
                return Ok(());
            }
            if piece.len() >= PIECE_BYTES {
                continue;
            }
            let now = self.worker.deadlines.now();
            let in_time = Duration::from_nanos(now.since(began)) < target.timeouts.total_stream;
            let left = incoming.pace.left_of(now, incoming.taken);
            let left = left.filter(|_| in_time).ok_or(Refusal::RequestTimeout)?;
            self.conn.slot().set(left);
            match self.conn.fill_unless(upstream.fill()).await {
                Ok(Ok(read)) if read > 0 => {
                    if self.is_answered(incoming, upstream)? {
                        return Ok(());
                    }
                }
                // It closed or broke off.
                Ok(_) => return Ok(()),
                Err(Fill::Bytes) => {}
                Err(Fill::Closed) => return Err(Stop::CallerGone),
                Err(Fill::Late) => return Err(Refusal::RequestTimeout.into()),
            }
        }
    }

    /// Sends a piece; `false` when the upstream wants no more. What that takes is not held
    /// against the caller.
    async fn push_piece(
        &mut self,
        incoming: &mut Incoming,
        (upstream, target): (&mut UpstreamConn, &Target),
        piece: &[u8],
    ) -> Result<bool, Stop> {
        let began = self.worker.deadlines.now();
        let mut rest = piece;
        loop {
            self.conn.slot().set(target.timeouts.idle);
            match self.conn.race(upstream.push(&mut rest)).await {
                Raced::Gone => return Err(Stop::CallerGone),
                Raced::Late => return Err(self.late().into()),
                Raced::Done(Pushed::Whole) => {
                    let took = self.worker.deadlines.now().since(began);
                    incoming.pace.excuse(took);
                    return Ok(true);
                }
                Raced::Done(Pushed::Broken) => return Ok(false),
                Raced::Done(Pushed::Answering) => {
                    if self.is_answered(incoming, upstream)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Whether the head of the final answer is here. Interim ones are passed over.
    fn is_answered(
        &mut self,
        incoming: &mut Incoming,
        upstream: &mut UpstreamConn,
    ) -> Result<bool, Refusal> {
        loop {
            let read = self.work.answer.read(upstream.unread(), false);
            let read = read.map_err(|fault| Refusal::UpstreamProtocol(fault.to_string()))?;
            match read {
                Progress::More => return Ok(false),
                Progress::Done if self.work.answer.status >= 200 => return Ok(true),
                Progress::Done => {
                    incoming.interim += 1;
                    if incoming.interim > crate::send::INTERIM_MAX {
                        let problem = "too many interim answers".to_owned();
                        return Err(Refusal::UpstreamProtocol(problem));
                    }
                    upstream.consume(self.work.answer.len);
                }
            }
        }
    }
}
