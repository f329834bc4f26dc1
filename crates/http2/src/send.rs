//! Answers on their way out: heads as fields, bodies as far as windows go, and ends.

use crate::connection::{Connection, OUT_BYTES_MAX};
use crate::frame::{self, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEAD_BYTES, Kind, Reason};
use crate::stream::{Answer, ResetBy, StreamEnd};

/// What came of sending a piece of body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Write {
    /// So many bytes are on their way.
    Taken(usize),
    /// There is no room now.
    Wait,
    /// There is nobody to send to.
    Broken,
}

impl<T> Connection<T> {
    /// Leave to send the body (RFC 9110, section 15.2.1).
    pub fn say_continue(&mut self, id: u32) {
        let awaited = self
            .stream(id)
            .is_some_and(|stream| stream.reset.is_none() && stream.answer == Answer::Awaited);
        if awaited {
            self.write_fields(id, 0, 100, b"");
        }
    }

    /// HOT. Begins an answer with a status and field lines as HTTP/1.1 writes them.
    pub fn answer(&mut self, id: u32, status: u16, lines: &[u8], end: StreamEnd) {
        let Some(stream) = self.stream(id) else {
            return;
        };
        if stream.reset.is_some() || stream.answer != Answer::Awaited {
            return;
        }
        let (answer, flags) = match end {
            StreamEnd::Head | StreamEnd::Length(0) => (Answer::Ended, END_STREAM),
            StreamEnd::Length(left) => (Answer::Begun(Some(left)), 0),
            StreamEnd::Open => (Answer::Begun(None), 0),
        };
        stream.answer = answer;
        self.write_fields(id, flags, status, lines);
    }

    fn write_fields(&mut self, id: u32, flags: u8, status: u16, lines: &[u8]) {
        let start = self.out.len();
        let flags = flags | END_HEADERS;
        frame::write_head(&mut self.out, Kind::Headers, flags, id, 0);
        self.encoder.answer(&mut self.out, status, lines);
        let length = self.out.len() - start - HEAD_BYTES;
        if length > FRAME_BYTES_MAX {
            return self.split_fields(start, flags, id);
        }
        let head = frame::head(Kind::Headers, flags, id, length);
        if let Some(place) = self.out.get_mut(start..start + HEAD_BYTES) {
            place.copy_from_slice(&head);
        }
    }

    /// Writes a block of fields anew that is too long for one frame.
    fn split_fields(&mut self, start: usize, flags: u8, id: u32) {
        let block = self.out.split_off(start + HEAD_BYTES);
        self.out.truncate(start);
        let pieces = block.chunks(FRAME_BYTES_MAX);
        let last = pieces.len() - 1;
        for (at, piece) in pieces.enumerate() {
            let (kind, first) = if at == 0 {
                (Kind::Headers, flags & END_STREAM)
            } else {
                (Kind::Continuation, 0)
            };
            let flags = first | if at == last { END_HEADERS } else { 0 };
            frame::write_head(&mut self.out, kind, flags, id, piece.len());
            self.out.extend_from_slice(piece);
        }
    }

    /// HOT. Sends what the client's windows leave room for.
    pub fn write(&mut self, id: u32, bytes: &[u8]) -> Write {
        let waiting = self.out.len() - self.sent;
        let room = self.send_window;
        let Some(stream) = self.stream(id) else {
            return Write::Broken;
        };
        let Answer::Begun(left) = &mut stream.answer else {
            return Write::Broken;
        };
        if stream.reset.is_some() {
            return Write::Broken;
        }
        let room = usize::try_from(room.min(stream.send_window)).unwrap_or(0);
        if room == 0 || waiting >= OUT_BYTES_MAX {
            stream.blocked = true;
            self.full |= waiting >= OUT_BYTES_MAX;
            return Write::Wait;
        }
        let room = room.min(FRAME_BYTES_MAX);
        let piece = bytes.get(..room).unwrap_or(bytes);
        let ends = left.as_mut().is_some_and(|left| {
            *left = left.saturating_sub(piece.len() as u64);
            *left == 0
        });
        let count = i64::try_from(piece.len()).unwrap_or(i64::MAX);
        stream.send_window -= count;
        if ends {
            stream.answer = Answer::Ended;
        }
        self.send_window -= count;
        self.wrote_last = id;
        self.pieces = self.pieces.wrapping_add(1);
        let flags = if ends { END_STREAM } else { 0 };
        frame::write_head(&mut self.out, Kind::Data, flags, id, piece.len());
        self.out.extend_from_slice(piece);
        Write::Taken(piece.len())
    }

    /// How many pieces of bodies were taken so far, of any stream, if this one waits for its turn:
    /// its own window is open. While that grows, the client takes what it is sent.
    pub fn pieces_before(&mut self, id: u32) -> Option<u32> {
        let pieces = self.pieces;
        let stream = self.stream(id)?;
        (stream.reset.is_none() && stream.send_window > 0).then_some(pieces)
    }

    /// Ends an answer regularly, if that has not been done.
    pub fn end(&mut self, id: u32) {
        let Some(stream) = self.stream(id).filter(|stream| stream.reset.is_none()) else {
            return;
        };
        match stream.answer {
            Answer::Begun(Some(1..)) => self.reset(id, Reason::InternalError),
            Answer::Begun(_) => {
                stream.answer = Answer::Ended;
                frame::write_head(&mut self.out, Kind::Data, END_STREAM, id, 0);
            }
            Answer::Awaited | Answer::Ended => {}
        }
    }

    /// Ends a stream so that its answer can't be taken for a whole one.
    pub fn reset(&mut self, id: u32, reason: Reason) {
        self.end_by(id, ResetBy::Owner, reason);
    }

    pub(crate) fn end_by(&mut self, id: u32, by: ResetBy, reason: Reason) {
        let Some(stream) = self.stream(id).filter(|stream| stream.reset.is_none()) else {
            return;
        };
        if stream.ended && stream.answer == Answer::Ended {
            return;
        }
        stream.reset = Some(by);
        let unread = stream.forget_body();
        self.give_credit_of_connection(unread);
        self.write_reset(id, reason);
    }
}
