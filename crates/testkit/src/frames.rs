//! A caller of HTTP/2 that sends any frames: fields as literals, nothing checked.

use crate::wait::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What an HTTP/2 client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Codes of frames (RFC 9113, section 6).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// A frame as it came or is to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawFrame {
    /// Its code.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// A frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// HEADERS with these fields, whole.
    pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        Self::new(kind::HEADERS, END_HEADERS | flags, stream, block(fields))
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a short payload");
        [
            &length.to_be_bytes()[1..],
            &[self.kind, self.flags],
            &self.stream.to_be_bytes(),
            &self.payload,
        ]
        .concat()
    }

    /// The code of an RST_STREAM or GOAWAY.
    ///
    /// # Panics
    /// It is neither.
    pub fn code(&self) -> u32 {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            other => panic!("a frame of kind {other} has no code"),
        };
        let code: [u8; 4] = self.payload[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(code)
    }
}

impl RawFrame {
    /// The status of an answer's HEADERS: whatever else is in them, it comes first.
    ///
    /// # Panics
    /// They begin with something else.
    pub fn status(&self) -> u16 {
        assert_eq!(self.kind, kind::HEADERS, "{self:?}");
        // What every table has (RFC 7541, appendix A), then literals under that name.
        let listed = [200, 204, 206, 304, 400, 404, 500];
        match self.payload[..] {
            [index @ 0x88..=0x8e, ..] => listed[usize::from(index - 0x88)],
            [0x48 | 0x08, 0x03, a, b, c, ..] => [a, b, c]
                .iter()
                .fold(0, |status, digit| status * 10 + u16::from(digit - b'0')),
            [0x48 | 0x08, length @ 0x82..=0x83, ..] => {
                digits(&self.payload[2..2 + usize::from(length & 0x7f)])
            }
            _ => panic!("no status: {:?}", self.payload),
        }
    }
}

/// Three digits in Huffman code (RFC 7541, appendix B).
fn digits(coded: &[u8]) -> u16 {
    let bits: Vec<u16> = coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)))
        .collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |number, bit| number * 2 + bit);
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(&bits[at..at + 5]);
        let (digit, len) = if short < 3 {
            (short, 5)
        } else {
            (number(&bits[at..at + 6]) - 0b01_1001 + 3, 6)
        };
        status = status * 10 + digit;
        at += len;
    }
    status
}

/// Fields as literals that enter no table (RFC 7541, section 6.2.2), without Huffman coding.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer of seven bits prefix (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let byte = |number: usize| u8::try_from(number).expect("a byte");
    if length < 127 {
        return block.push(byte(length));
    }
    block.push(127);
    let mut left = length - 127;
    while left >= 128 {
        block.push(byte(left % 128 + 128));
        left /= 128;
    }
    block.push(byte(left));
}

/// A connection that sends and reads frames.
pub struct FrameClient {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// What ended a wait for a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoFrame {
    /// The gateway closed.
    Closed,
    /// Nothing in time.
    Silent,
}

impl FrameClient {
    /// Connects and sends the preface and empty SETTINGS.
    ///
    /// # Panics
    /// Nobody listens there.
    pub fn connect(addr: SocketAddr) -> Self {
        let mut client = Self::silent(addr);
        client.send_bytes(PREFACE);
        client.send(&RawFrame::new(kind::SETTINGS, 0, 0, []));
        client
    }

    /// Connects and sends nothing.
    ///
    /// # Panics
    /// Nobody listens there.
    pub fn silent(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// The connection itself.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a frame; `false` when the gateway takes no more.
    pub fn send(&mut self, frame: &RawFrame) -> bool {
        self.send_bytes(&frame.bytes())
    }

    /// Sends bytes; `false` when the gateway takes no more.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame.
    ///
    /// # Errors
    /// None came within `patience`.
    ///
    /// # Panics
    /// The socket has no timeouts.
    pub fn frame(&mut self, patience: Duration) -> Result<RawFrame, NoFrame> {
        let end = Instant::now() + patience;
        loop {
            if let Some(frame) = self.whole() {
                return Ok(frame);
            }
            let left = end.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a timeout");
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(NoFrame::Closed),
                Ok(read) => self.unread.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err(NoFrame::Silent);
                }
                Err(_) => return Err(NoFrame::Closed),
            }
        }
    }

    /// The next frame that is wanted; others are passed over.
    ///
    /// # Errors
    /// None came within [`PATIENCE`].
    pub fn frame_where(&mut self, wanted: impl Fn(&RawFrame) -> bool) -> Result<RawFrame, NoFrame> {
        loop {
            let frame = self.frame(PATIENCE)?;
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }

    fn whole(&mut self) -> Option<RawFrame> {
        let head: [u8; 9] = self.unread.first_chunk().copied()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        let end = 9 + usize::try_from(length).expect("a length");
        if self.unread.len() < end {
            return None;
        }
        let payload = self.unread[9..end].to_vec();
        self.unread.drain(..end);
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Some(RawFrame::new(kind, flags, stream, payload))
    }
}
