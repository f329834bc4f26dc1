//! One stream: what of its request is still to be read, and what of its answer may be sent.

use crate::head_text::{HeadText, Length, StreamFault, trailers_pass};
use tollkeep_http1::write;

/// Bytes of a request's body that may be on their way to us (EDGE-41).
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
/// What of that must have been read before the client is told.
const CREDIT_TOLD: u32 = STREAM_WINDOW / 2;

/// How an answer tells where its body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEnd {
    /// There is no body: the head ends the stream.
    Head,
    /// After so many bytes.
    Length(u64),
    /// When [`Connection::end`](crate::Connection::end) says so.
    Open,
}

/// What reading a request brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Read {
    /// So many bytes of text; 0 is the end.
    Bytes(usize),
    /// Nothing yet.
    Wait,
    /// The stream was reset, and nothing more will come.
    Broken,
}

/// What of the request's text is still to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Body {
    /// The head.
    Head,
    /// So many bytes.
    Length(u64),
    Chunked,
    Over,
}

/// What has become of the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Awaited,
    /// Its head was sent; so many bytes of body are missing, if that was told.
    Begun(Option<u64>),
    Ended,
}

/// Who ended a stream before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ResetBy {
    Client,
    /// We, for a mistake of the client.
    Mistake,
    /// Whoever serves it.
    Owner,
}

/// A stream, with whatever its owner keeps by it.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    pub(crate) id: u32,
    pub(crate) tag: T,
    head: HeadText,
    body: Body,
    /// What came of the body and was not read.
    inbox: Vec<u8>,
    came: u64,
    trailers: Vec<u8>,
    /// The client sends nothing more.
    pub(crate) ended: bool,
    pub(crate) answer: Answer,
    pub(crate) reset: Option<ResetBy>,
    /// Bytes that we may send.
    pub(crate) send_window: i64,
    /// Bytes that the client may send.
    receive_window: i64,
    /// Bytes that were read, which the client was not told.
    credit: u32,
    /// Its owner waits until more may be sent.
    pub(crate) blocked: bool,
}

/// What the connection has to do for a stream that was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Credit {
    /// Bytes that left the inbox.
    pub(crate) connection: usize,
    /// What the client is to be told for the stream.
    pub(crate) stream: u32,
}

impl<T> Stream<T> {
    pub(crate) fn new(id: u32, head: HeadText, ended: bool, send_window: i64, tag: T) -> Self {
        Self {
            id,
            tag,
            head,
            body: Body::Head,
            inbox: Vec::new(),
            came: 0,
            trailers: Vec::new(),
            ended,
            answer: Answer::Awaited,
            reset: None,
            send_window,
            receive_window: i64::from(STREAM_WINDOW),
            credit: 0,
            blocked: false,
        }
    }

    /// Whether it counts among those a client may have open.
    pub(crate) fn is_open(&self) -> bool {
        self.reset.is_none() && !(self.ended && self.answer == Answer::Ended)
    }

    /// Takes a piece of the body. `flow` is what the frame counts besides.
    pub(crate) fn take_data(&mut self, data: &[u8], flow: usize, ends: bool) -> DataTaken {
        self.receive_window -= i64::try_from(data.len() + flow).unwrap_or(i64::MAX);
        if self.receive_window < 0 {
            return DataTaken::TooMuch;
        }
        self.came += data.len() as u64;
        let as_announced = match self.head.length {
            Length::Announced(length) if ends => self.came == length,
            Length::Announced(length) => self.came <= length,
            Length::Unknown | Length::Several => true,
        };
        if !as_announced {
            return DataTaken::NotAsAnnounced;
        }
        self.inbox.extend_from_slice(data);
        self.ended |= ends;
        DataTaken::Taken
    }

    /// Takes the fields behind the body, which end it; `false` if they may not stand there.
    pub(crate) fn take_trailers(&mut self, lines: &[u8]) -> bool {
        let length = match self.head.length {
            Length::Announced(length) => Some(length),
            Length::Unknown | Length::Several => None,
        };
        if length.is_some_and(|length| length != self.came) {
            return false;
        }
        // Those behind chunks are judged by who reads the chunks.
        if length.is_some_and(|length| length > 0) && !trailers_pass(lines) {
            return false;
        }
        self.trailers.extend_from_slice(lines);
        self.ended = true;
        true
    }

    /// Throws away what nobody will read: how many bytes of body that were.
    pub(crate) fn forget_body(&mut self) -> usize {
        self.body = Body::Over;
        std::mem::take(&mut self.inbox).len()
    }

    /// HOT. Writes the head's text, with the first bytes of a body of unknown length. Nothing
    /// while it is not known whether there is a body, unless that is asked `now`.
    pub(crate) fn head(
        &mut self,
        now: bool,
        text: &mut Vec<u8>,
    ) -> (Option<Result<(), StreamFault>>, Credit) {
        let mut credit = Credit::default();
        if let Some(fault) = self.head.fault {
            self.body = Body::Over;
            return (Some(Err(fault)), credit);
        }
        let unread = self.inbox.is_empty();
        let chunked = match self.head.length {
            Length::Announced(length @ 1..) => {
                self.body = Body::Length(length);
                false
            }
            Length::Several => {
                self.body = Body::Length(0);
                false
            }
            Length::Announced(0) | Length::Unknown => {
                let is_known = now || self.head.expects || self.ended || self.reset.is_some();
                if unread && !is_known {
                    return (None, credit);
                }
                let nothing = unread && self.ended && self.trailers.is_empty();
                self.body = if nothing { Body::Over } else { Body::Chunked };
                !nothing
            }
        };
        text.append(&mut self.head.text);
        if chunked {
            write::field(text, b"transfer-encoding", b"chunked");
        }
        write::end(text);
        self.head = HeadText {
            length: self.head.length,
            ..HeadText::default()
        };
        // What is there of the body already saves whoever reads another look.
        if matches!(self.body, Body::Chunked | Body::Length(_)) && !unread {
            credit = self.read(text).1;
        }
        (Some(Ok(())), credit)
    }

    /// HOT. Writes more of the request's text.
    pub(crate) fn read(&mut self, text: &mut Vec<u8>) -> (Read, Credit) {
        if self.reset.is_some() {
            return (Read::Broken, Credit::default());
        }
        let before = text.len();
        let unread = self.inbox.len();
        match self.body {
            Body::Head => return (Read::Wait, Credit::default()),
            Body::Over => {}
            Body::Length(left) => {
                let left = left.saturating_sub(unread as u64);
                // The last bytes are not the whole body before the stream has ended too: one
                // that goes on is malformed, and nobody may have seen it by then.
                if !self.ended && (left == 0 || unread == 0) {
                    return (Read::Wait, Credit::default());
                }
                text.append(&mut self.inbox);
                self.body = if self.ended {
                    Body::Over
                } else {
                    Body::Length(left)
                };
            }
            Body::Chunked => {
                write::chunk(text, &self.inbox);
                self.inbox.clear();
                if self.ended {
                    text.extend_from_slice(b"0\r\n");
                    text.append(&mut self.trailers);
                    write::end(text);
                    self.body = Body::Over;
                }
                if text.len() == before {
                    return (Read::Wait, Credit::default());
                }
            }
        }
        let credit = Credit {
            connection: unread,
            stream: self.credit(unread),
        };
        (Read::Bytes(text.len() - before), credit)
    }

    /// Counts bytes that need no room any more: what the client is to be told.
    pub(crate) fn credit(&mut self, bytes: usize) -> u32 {
        self.credit += u32::try_from(bytes).unwrap_or(0);
        if self.credit < CREDIT_TOLD || self.ended {
            return 0;
        }
        self.receive_window += i64::from(self.credit);
        std::mem::take(&mut self.credit)
    }
}

/// What came of a piece of body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DataTaken {
    Taken,
    /// More than the window allowed.
    TooMuch,
    /// More, or at the end less, than the length that was announced.
    NotAsAnnounced,
}
