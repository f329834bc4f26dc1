//! The body of an upstream's answer, piece by piece, whatever its framing.

use crate::refusal::Refusal;
use tollkeep_http1::{AnswerFraming, ChunkDecoder, ChunkEvent};
use tollkeep_net::UpstreamConn;

/// What is next in a body.
pub(crate) enum BodyStep<'a> {
    /// These bytes, which stay unread until they are consumed.
    Data(&'a [u8]),
    /// Nothing until more is read.
    More,
    /// The body is whole.
    End,
}

enum Left {
    Length(u64),
    Chunks(ChunkDecoder),
    UntilClose,
    Nothing,
}

/// Reads a body of one framing.
pub(crate) struct UpstreamBody {
    left: Left,
    keep_alive: bool,
    /// Bytes of the last piece that were not taken.
    kept: usize,
}

impl UpstreamBody {
    pub(crate) fn new(framing: AnswerFraming, keep_alive: bool, head_request: bool) -> Self {
        let left = match framing {
            _ if head_request => Left::Nothing,
            AnswerFraming::None => Left::Nothing,
            AnswerFraming::Length(length) => Left::Length(length),
            AnswerFraming::Chunked => Left::Chunks(ChunkDecoder::new()),
            AnswerFraming::UntilClose => Left::UntilClose,
        };
        Self {
            left,
            keep_alive,
            kept: 0,
        }
    }

    /// Looks at what is unread.
    pub(crate) fn step<'u>(
        &mut self,
        upstream: &'u mut UpstreamConn,
    ) -> Result<BodyStep<'u>, Refusal> {
        let kept = std::mem::take(&mut self.kept);
        if kept > 0 {
            return Ok(piece(upstream.unread().get(..kept).unwrap_or_default()));
        }
        match &mut self.left {
            Left::Nothing | Left::Length(0) => Ok(BodyStep::End),
            Left::Length(left) => {
                let unread = upstream.unread();
                let take = unread
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= u64::try_from(take).unwrap_or(0);
                Ok(piece(unread.get(..take).unwrap_or_default()))
            }
            Left::UntilClose => Ok(piece(upstream.unread())),
            Left::Chunks(decoder) => {
                let event = decoder.next(upstream.unread());
                match event.map_err(|fault| Refusal::UpstreamProtocol(fault.reason().to_owned()))? {
                    ChunkEvent::More { used } => {
                        upstream.consume(used);
                        Ok(BodyStep::More)
                    }
                    ChunkEvent::End { used } => {
                        upstream.consume(used);
                        self.left = Left::Nothing;
                        Ok(BodyStep::End)
                    }
                    ChunkEvent::Data { skip, len } => {
                        upstream.consume(skip);
                        Ok(BodyStep::Data(
                            upstream.unread().get(..len).unwrap_or_default(),
                        ))
                    }
                }
            }
        }
    }

    /// So many bytes of the piece that was given last are not consumed: they come again.
    pub(crate) const fn keep(&mut self, bytes: usize) {
        self.kept = bytes;
    }

    /// The connection ended: whether that was the body's proper end.
    pub(crate) fn end_of_stream(&mut self) -> bool {
        self.keep_alive = false;
        matches!(
            self.left,
            Left::UntilClose | Left::Nothing | Left::Length(0)
        )
    }

    /// Whether the connection may serve another request.
    pub(crate) fn ended_exactly(&self) -> bool {
        self.keep_alive && self.kept == 0 && matches!(self.left, Left::Nothing | Left::Length(0))
    }
}

fn piece(bytes: &[u8]) -> BodyStep<'_> {
    if bytes.is_empty() {
        BodyStep::More
    } else {
        BodyStep::Data(bytes)
    }
}
