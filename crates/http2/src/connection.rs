//! A client's connection: what it may do, what we send, and the streams on it.

use crate::budget::{Breach, Budget};
use crate::frame::{self, FRAME_BYTES_MAX, Kind, Reason};
use crate::head_text::{Fields, StreamFault};
use crate::hpack::{Decoder, Encoder, TABLE_BYTES};
use crate::opening::PREFACE;
use crate::stream::{Answer, Credit, Read, ResetBy, STREAM_WINDOW, Stream};
use std::collections::VecDeque;
use tollkeep_types::MonoNanos;

/// Streams a client may have open (EDGE-41).
pub(crate) const STREAMS_MAX: usize = 100;
/// Streams that are there at all, with those that were reset and are not left yet.
pub(crate) const STREAMS_KEPT_MAX: usize = 2 * STREAMS_MAX;
/// Streams for which an idle connection keeps room.
const STREAMS_ROOM_KEPT: usize = 16;
/// Bytes of all streams that may be on their way to us.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What a client grants before it has said so.
const WINDOW_AT_FIRST: u32 = 65_535;
/// The largest window there is.
pub(crate) const WINDOW_MAX: i64 = (1 << 31) - 1;
/// Bytes that wait to be sent before bodies wait too.
pub(crate) const OUT_BYTES_MAX: usize = 32 * 1024;
/// Bytes of frames other than answers that wait to be sent at most (EDGE-42).
const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// Streams we have reset that frames may still come for.
const RESET_STREAMS_KEPT: usize = 100;
/// What the PING carries that follows our first GOAWAY.
pub(crate) const LEAVING_PING: [u8; 8] = *b"leaving!";

/// A client's connection. `T` is kept by each stream for whoever serves it.
#[derive(Debug)]
pub struct Connection<T> {
    /// Bytes of the preface that are still to come.
    pub(crate) preface_left: usize,
    pub(crate) settings_came: bool,
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    pub(crate) fields: Fields,
    pub(crate) fields_bytes_max: usize,
    /// A block of fields that goes on in further frames.
    pub(crate) block: Option<Block>,
    pub(crate) streams: Vec<Stream<T>>,
    /// The newest stream of the client.
    pub(crate) newest: u32,
    /// The last streams that it passed over, from and up to.
    pub(crate) passed_over: (u32, u32),
    pub(crate) send_window: i64,
    pub(crate) first_send_window: i64,
    pub(crate) receive_window: i64,
    credit: u32,
    pub(crate) out: Vec<u8>,
    pub(crate) sent: usize,
    control: ControlBytes,
    /// The stream whose body was taken last, and how many pieces of bodies were.
    pub(crate) wrote_last: u32,
    pub(crate) pieces: u32,
    /// Somebody waits until less waits to be sent.
    pub(crate) full: bool,
    pub(crate) budget: Budget,
    pub(crate) breach: Option<Breach>,
    pub(crate) now: MonoNanos,
    pub(crate) leaving: Leaving,
    /// Streams that we have reset while the client could still send.
    reset_streams: VecDeque<u32>,
    /// Older ones of those are not known any more.
    forgotten: u32,
    pub(crate) fields_since: Option<MonoNanos>,
}

/// A block of fields whose end has not come.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) stream: u32,
    pub(crate) ends_stream: bool,
    pub(crate) depends_on_itself: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Bytes of frames other than answers that wait to be sent: never fewer than there are, and those
/// that were sent count on no longer than what was written before the mark waits.
#[derive(Clone, Copy, Debug, Default)]
struct ControlBytes {
    /// A place in what is to be sent.
    mark: usize,
    before_mark: usize,
    since_mark: usize,
}

impl ControlBytes {
    const fn count(self) -> usize {
        self.before_mark + self.since_mark
    }

    /// What is to be sent was sent up to `sent`, of `len`.
    const fn were_sent(&mut self, sent: usize, len: usize) {
        if sent >= self.mark {
            *self = Self {
                mark: len,
                before_mark: self.since_mark,
                since_mark: 0,
            };
        }
    }
}

/// How far we are on the way out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Leaving {
    No,
    /// The client was told, and may have opened streams before it heard.
    Told,
    /// Streams after this one are not served.
    After(u32),
}

/// What a frame has changed for somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// A request begins on this stream.
    Request(u32),
    /// This stream has more to read, or was reset.
    Changed(u32),
    /// More may be sent on some streams.
    Windows,
    /// The head of a request was none, and its stream is reset.
    Malformed,
}

/// Why nothing more is read of a connection. The client is told with the bytes that are left to
/// send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It overdid it.
    Breach(Breach),
    /// It broke the protocol.
    Fault(Reason),
}

impl<T> Connection<T> {
    /// A connection that has just begun; our settings wait to be sent. A request's fields may
    /// take `fields_bytes_max`.
    pub fn new(fields_bytes_max: usize, now: MonoNanos) -> Self {
        let mut conn = Self {
            preface_left: PREFACE.len(),
            settings_came: false,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            fields: Fields::default(),
            fields_bytes_max,
            block: None,
            streams: Vec::new(),
            newest: 0,
            passed_over: (0, 0),
            send_window: i64::from(WINDOW_AT_FIRST),
            first_send_window: i64::from(WINDOW_AT_FIRST),
            receive_window: i64::from(CONNECTION_WINDOW),
            credit: 0,
            out: Vec::new(),
            sent: 0,
            control: ControlBytes::default(),
            wrote_last: 0,
            pieces: 0,
            full: false,
            budget: Budget::default(),
            breach: None,
            now,
            leaving: Leaving::No,
            reset_streams: VecDeque::new(),
            forgotten: 0,
            fields_since: Some(now),
        };
        conn.write_settings();
        conn
    }

    fn write_settings(&mut self) {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let settings: [(u8, u32); 5] = [
            (1, number(TABLE_BYTES)),
            (3, number(STREAMS_MAX)),
            (4, STREAM_WINDOW),
            (5, number(FRAME_BYTES_MAX)),
            (6, number(self.fields_bytes_max)),
        ];
        frame::write_head(&mut self.out, Kind::Settings, 0, 0, settings.len() * 6);
        for (setting, value) in settings {
            self.out.extend_from_slice(&[0, setting]);
            self.out.extend_from_slice(&value.to_be_bytes());
        }
        frame::write_window(&mut self.out, 0, CONNECTION_WINDOW - WINDOW_AT_FIRST);
    }

    /// Bytes to send.
    pub fn to_send(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of [`Self::to_send`] were sent.
    pub fn was_sent(&mut self, count: usize) {
        self.sent += count;
        self.control.were_sent(self.sent, self.out.len());
        if self.sent >= self.out.len() {
            self.sent = 0;
            self.control = ControlBytes::default();
            self.out.clear();
        } else if self.sent >= OUT_BYTES_MAX {
            // A client that is always a little behind must not make what it has taken stay.
            self.out.drain(..self.sent);
            self.control.mark -= self.sent.min(self.control.mark);
            self.sent = 0;
        }
    }

    /// Whether those who wait for room may go on, though no window has changed; told once.
    pub fn has_room_again(&mut self) -> bool {
        self.full && self.to_send().len() < OUT_BYTES_MAX && std::mem::take(&mut self.full)
    }

    /// Gives away the buffer of what is to be sent, if nothing is.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        if self.out.is_empty() {
            std::mem::take(&mut self.out)
        } else {
            Vec::new()
        }
    }

    /// Takes a buffer for what is to be sent, if there is none.
    pub fn lend(&mut self, buffer: impl FnOnce() -> Vec<u8>) {
        if self.out.capacity() == 0 {
            self.out = buffer();
        }
    }

    /// What there was too much of, told once.
    pub fn take_breach(&mut self) -> Option<Breach> {
        self.breach.take()
    }

    /// Streams that are served.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Since when the fields of a request, or the first frames, are on their way.
    pub fn fields_since(&self) -> Option<MonoNanos> {
        self.fields_since
    }

    /// Whether the last stream that was to be served has left.
    pub fn is_over(&self) -> bool {
        matches!(self.leaving, Leaving::After(_)) && self.streams.is_empty()
    }

    /// What the owner of a stream keeps by it.
    pub fn tag(&mut self, id: u32) -> Option<&mut T> {
        self.stream(id).map(|stream| &mut stream.tag)
    }

    /// What the owners of those streams keep by them that wait for room; from now on they don't.
    /// They come in turn: first those after the one whose body was taken last.
    pub fn unblocked(&mut self) -> impl Iterator<Item = &mut T> {
        let last = self.wrote_last;
        let next = self.streams.partition_point(|stream| stream.id <= last);
        let (first, later) = self.streams.split_at_mut(next);
        let in_turn = later.iter_mut().chain(first);
        in_turn.filter(|stream| stream.blocked).map(|stream| {
            stream.blocked = false;
            &mut stream.tag
        })
    }

    /// What the owners of all streams keep by them.
    pub fn tags(&mut self) -> impl Iterator<Item = &mut T> {
        self.streams.iter_mut().map(|stream| &mut stream.tag)
    }

    pub(crate) fn stream(&mut self, id: u32) -> Option<&mut Stream<T>> {
        let at = self.place(id)?;
        self.streams.get_mut(at)
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.streams
            .binary_search_by_key(&id, |stream| stream.id)
            .ok()
    }

    /// HOT. Writes the head of a stream's request as text; see [`StreamFault`]. Nothing while it
    /// is not known whether there is a body, unless that is asked `now`.
    ///
    /// # Errors
    /// The head is none that could be written as text.
    pub fn read_head(
        &mut self,
        id: u32,
        now: bool,
        text: &mut Vec<u8>,
    ) -> Option<Result<(), StreamFault>> {
        let Some(stream) = self.stream(id) else {
            return Some(Ok(()));
        };
        let (head, credit) = stream.head(now, text);
        self.give_credit(id, credit);
        head
    }

    /// HOT. Writes more of the request's text: the body as it came, or in chunks if its length
    /// was not announced.
    pub fn read(&mut self, id: u32, text: &mut Vec<u8>) -> Read {
        let Some(stream) = self.stream(id) else {
            return Read::Broken;
        };
        let (read, credit) = stream.read(text);
        self.give_credit(id, credit);
        read
    }

    /// Whether the client has taken the request back, or has spoilt it.
    pub fn is_gone(&self, id: u32) -> bool {
        let stream = self.place(id).and_then(|at| self.streams.get(at));
        stream.is_none_or(|stream| matches!(stream.reset, Some(ResetBy::Client | ResetBy::Mistake)))
    }

    /// Writes RST_STREAM, which has its budget whoever makes us send it.
    pub(crate) fn write_reset(&mut self, id: u32, reason: Reason) {
        let counted = self.budget.sent_reset(self.now);
        self.breach = self.breach.or(counted.err());
        self.write_control(|out| frame::write_reset(out, id, reason));
    }

    /// Lets go of a stream that nobody serves any more.
    pub fn leave(&mut self, id: u32) {
        let Some(at) = self.place(id) else {
            return;
        };
        let Some(stream) = self.streams.get(at) else {
            return;
        };
        let (answered, ended) = (stream.answer == Answer::Ended, stream.ended);
        if stream.reset.is_none() && !(answered && ended) {
            let reason = if answered {
                Reason::NoError
            } else {
                Reason::InternalError
            };
            self.reset(id, reason);
        }
        let mut stream = self.streams.remove(at);
        if self.streams.is_empty() && self.streams.capacity() > STREAMS_ROOM_KEPT {
            self.streams = Vec::new();
        }
        let unread = stream.forget_body();
        self.give_credit_of_connection(unread);
        if !ended && stream.reset != Some(ResetBy::Client) {
            self.remember_reset(id);
        }
    }

    /// Frames may still come for a stream that we have reset.
    pub(crate) fn remember_reset(&mut self, id: u32) {
        if self.reset_streams.len() >= RESET_STREAMS_KEPT
            && let Some(oldest) = self.reset_streams.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.reset_streams.push_back(id);
    }

    /// Whether frames for a stream that is not there may have been sent before the client knew.
    pub(crate) fn was_reset(&self, id: u32) -> bool {
        id <= self.forgotten || self.reset_streams.contains(&id)
    }

    /// Tells the client to open no more streams; those that are open go on.
    pub fn go_away(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Told;
            self.write_control(|out| {
                frame::write_go_away(out, u32::MAX >> 1, Reason::NoError);
                frame::write_head(out, Kind::Ping, 0, 0, LEAVING_PING.len());
                out.extend_from_slice(&LEAVING_PING);
            });
        }
    }

    /// The client has heard that we leave, or has had the time to.
    pub fn heard(&mut self) {
        if self.leaving == Leaving::Told {
            self.part(Reason::NoError);
        }
    }

    /// The last words to the client: streams that come now are not served.
    pub fn part(&mut self, reason: Reason) {
        let newest = self.newest;
        self.leaving = Leaving::After(newest);
        self.write_control(|out| frame::write_go_away(out, newest, reason));
    }

    pub(crate) fn write_control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.out.len();
        write(&mut self.out);
        self.control.since_mark += self.out.len() - before;
        if self.control.count() > CONTROL_BYTES_MAX {
            self.breach = self.breach.or(Some(Breach::Unread));
        }
    }

    fn give_credit(&mut self, id: u32, credit: Credit) {
        if credit.stream > 0 {
            self.write_control(|out| frame::write_window(out, id, credit.stream));
        }
        self.give_credit_of_connection(credit.connection);
    }

    /// Bytes of bodies need no room any more.
    pub(crate) fn give_credit_of_connection(&mut self, bytes: usize) {
        self.credit += u32::try_from(bytes).unwrap_or(0);
        if self.credit >= CONNECTION_WINDOW / 2 {
            let credit = std::mem::take(&mut self.credit);
            self.receive_window += i64::from(credit);
            self.write_control(|out| frame::write_window(out, 0, credit));
        }
    }
}

#[cfg(test)]
mod tests;
