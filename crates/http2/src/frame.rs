//! Frames: their heads read and written (RFC 9113, sections 4.1, 6 and 7).

/// Bytes in front of what a frame carries.
pub(crate) const HEAD_BYTES: usize = 9;
/// Bytes that a frame may carry, in both directions: nobody may ask for less.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024;

/// The stream has no more than this frame, or the frame answers another.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
/// The block of fields has no more than this frame.
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITY: u8 = 32;

/// A frame's head, and what budgets want to know besides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Bytes it carries.
    pub length: u32,
    /// Its flags.
    pub flags: u8,
    /// The stream it is about; 0 is the connection.
    pub stream: u32,
    /// How far a WINDOW_UPDATE opens the window.
    pub increment: u32,
}

/// Kinds of frames, by their codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are those of RFC 9113, section 6")]
#[repr(u8)]
pub enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    Unknown,
}

/// Why a stream or a connection ends (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are those of RFC 9113, section 7")]
#[repr(u8)]
pub enum Reason {
    NoError = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    CompressionError = 9,
    EnhanceYourCalm = 11,
}

impl Reason {
    /// Its name in metrics and records, as the reason for which a client was refused.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoError => "http2_no_error",
            Self::ProtocolError => "http2_protocol_error",
            Self::InternalError => "http2_internal_error",
            Self::FlowControlError => "http2_flow_control_error",
            Self::StreamClosed => "http2_stream_closed",
            Self::FrameSizeError => "http2_frame_size_error",
            Self::RefusedStream => "http2_refused_stream",
            Self::CompressionError => "http2_compression_error",
            Self::EnhanceYourCalm => "http2_enhance_your_calm",
        }
    }
}

impl Frame {
    /// The head of a frame.
    pub(crate) fn of(head: [u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, code, flags, s0, s1, s2, s3] = head;
        Self {
            kind: Kind::of(code),
            length: u32::from_be_bytes([0, l0, l1, l2]),
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            increment: 0,
        }
    }

    /// Whether a block of fields ends with it.
    pub(crate) const fn ends_fields(self) -> bool {
        self.has(END_HEADERS)
    }

    pub(crate) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Kind {
    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::ResetStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// HOT. Writes a frame's head.
pub(crate) fn write_head(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, length: usize) {
    out.extend_from_slice(&head(kind, flags, stream, length));
}

/// A frame's head. No frame of ours is longer than [`FRAME_BYTES_MAX`].
pub(crate) fn head(kind: Kind, flags: u8, stream: u32, length: usize) -> [u8; HEAD_BYTES] {
    debug_assert!(length <= FRAME_BYTES_MAX, "{length}");
    let [.., l0, l1, l2] = length.to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [l0, l1, l2, kind as u8, flags, s0, s1, s2, s3]
}

/// RST_STREAM.
pub(crate) fn write_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    write_head(out, Kind::ResetStream, 0, stream, 4);
    out.extend_from_slice(&u32::from(reason as u8).to_be_bytes());
}

/// WINDOW_UPDATE; stream 0 is the connection.
pub(crate) fn write_window(out: &mut Vec<u8>, stream: u32, increment: u32) {
    write_head(out, Kind::WindowUpdate, 0, stream, 4);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// GOAWAY: streams after `last` are not served.
pub(crate) fn write_go_away(out: &mut Vec<u8>, last: u32, reason: Reason) {
    write_head(out, Kind::GoAway, 0, 0, 8);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&u32::from(reason as u8).to_be_bytes());
}

/// What a padded frame carries between its padding (RFC 9113, section 6.1); nothing if the
/// padding is longer than the frame.
pub(crate) fn unpadded(frame: Frame, payload: &[u8]) -> Option<&[u8]> {
    if !frame.has(PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    let len = rest.len().checked_sub(usize::from(*padding))?;
    rest.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let mut out = Vec::new();
        write_head(&mut out, Kind::Data, END_STREAM, 0x7fff_fffd, 0x3fff);
        assert_eq!(out, [0, 0x3f, 0xff, 0, 1, 0x7f, 0xff, 0xff, 0xfd]);
        let frame = Frame::of(*out.first_chunk().unwrap());
        assert_eq!(
            (frame.kind, frame.length, frame.flags, frame.stream),
            (Kind::Data, 0x3fff, END_STREAM, 0x7fff_fffd)
        );
        assert_eq!(
            Frame::of([0, 0, 0, 77, 0, 0xff, 0, 0, 1]).stream,
            0x7f00_0001
        );
    }

    #[test]
    fn padding_may_fill_a_frame_and_not_more() {
        let frame = Frame::of([0, 0, 3, 0, PADDED, 0, 0, 0, 1]);
        for (payload, want) in [
            (&[0, b'a', b'b'][..], Some(&b"ab"[..])),
            (&[1, b'a', 0], Some(b"a")),
            (&[2, 0, 0], Some(b"")),
            (&[3, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(unpadded(frame, payload), want, "{payload:?}");
        }
    }
}
