//! Finds the frames in a stream of bytes (RFC 9113, section 4.1).

use super::PREFACE;

/// A frame, as far as budgets care.
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

impl Frame {
    /// Whether a block of fields ends with it.
    pub const fn ends_fields(self) -> bool {
        const END_HEADERS: u8 = 4;
        self.flags & END_HEADERS != 0
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

/// Bytes in front of what a frame carries.
const HEAD: usize = 9;

/// The place in a direction's bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Bytes to pass over before the next frame.
    skip: usize,
    head: [u8; HEAD + 4],
    have: usize,
}

impl Frames {
    /// Bytes of a client, which begin with the preface.
    pub const fn of_client() -> Self {
        Self::after(PREFACE.len())
    }

    /// Bytes of a server.
    pub const fn of_server() -> Self {
        Self::after(0)
    }

    const fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; HEAD + 4],
            have: 0,
        }
    }

    /// Whether all is there of the frame that was told last.
    pub fn is_whole(&self) -> bool {
        self.skip == 0
    }

    /// HOT. Reads on in `bytes` to the next frame: it, and how many bytes were read. A frame is
    /// told as soon as its head is there. Without one all bytes were read.
    pub fn next(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let mut used = skipped;
        while let Some(byte) = bytes.get(used) {
            used += 1;
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *byte;
            }
            self.have += 1;
            if let Some(frame) = self.whole() {
                self.skip = (HEAD + frame.length as usize).saturating_sub(self.have);
                self.have = 0;
                return (used, Some(frame));
            }
        }
        (used, None)
    }

    /// The frame, if enough of its head is there.
    fn whole(&self) -> Option<Frame> {
        let [l0, l1, l2, code, flags, s0, s1, s2, s3, i0, i1, i2, i3] = self.head;
        let kind = Kind::of(code);
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        let steps = kind == Kind::WindowUpdate && length >= 4;
        let needed = if steps { HEAD + 4 } else { HEAD };
        (self.have >= needed).then_some(Frame {
            kind,
            length,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            increment: if steps {
                u32::from_be_bytes([i0 & 0x7f, i1, i2, i3])
            } else {
                0
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame_bytes(code: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[code, flags, 0, 0, 0, 1], payload].concat()
    }

    fn all(frames: &mut Frames, mut bytes: &[u8]) -> Vec<Frame> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let (used, frame) = frames.next(bytes);
            assert!(used > 0);
            bytes = &bytes[used..];
            found.extend(frame);
        }
        found
    }

    #[test]
    fn a_window_update_tells_its_step_and_a_short_one_none() {
        let bytes = [
            frame_bytes(8, 0, &[0x80, 0, 0, 1]),
            frame_bytes(8, 0, &[1]),
            frame_bytes(6, 1, &[0; 8]),
        ]
        .concat();
        let found = all(&mut Frames::of_server(), &bytes);
        let told: Vec<_> = found
            .iter()
            .map(|f| (f.kind, f.length, f.increment))
            .collect();
        assert_eq!(
            told,
            [
                (Kind::WindowUpdate, 4, 1),
                (Kind::WindowUpdate, 1, 0),
                (Kind::Ping, 8, 0)
            ]
        );
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_bytes_are_cut(
            sent in proptest::collection::vec((0_u8..12, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in proptest::collection::vec(1_usize..30, 1..20),
        ) {
            let mut bytes = PREFACE.to_vec();
            for (code, flags, payload) in &sent {
                bytes.extend(frame_bytes(*code, *flags, payload));
            }
            let mut frames = Frames::of_client();
            let (mut found, mut rest) = (Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                found.extend(all(&mut frames, piece));
                rest = after;
            }
            prop_assert!(frames.is_whole());
            let told: Vec<_> = found.iter().map(|f| (f.kind, f.length, f.flags)).collect();
            let want: Vec<_> = sent
                .iter()
                .map(|(code, flags, payload)| (Kind::of(*code), u32::try_from(payload.len()).unwrap(), *flags))
                .collect();
            prop_assert_eq!(told, want);
        }
    }
}
