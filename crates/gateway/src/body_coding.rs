//! Content codings of request bodies: decoded in steps, so that a small body that means a large
//! one costs no more than its cap allows and keeps nobody else waiting.

use crate::lifecycle::{Exchange, Stop};
use crate::read_call::{UNCOUNTED_BYTES, count_body};
use crate::refusal::Refusal;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::Read;
use tollkeep_config::settings::ContentCoding;
use tollkeep_http1::Framing;

/// What a step decodes at most, but for the last one of a zstd frame, which gives its window too.
const STEP_BYTES_MAX: usize = 256 * 1024;
/// Blocks a step decodes; one has 128 KiB at most.
const STEP_BLOCKS: usize = 2;
/// Members or frames of one body: each costs a decoder of its own, and an empty one few bytes.
const PARTS_MAX: usize = 64;
/// A larger window is refused (RFC 9659).
const WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The bits of the widest window of brotli within that bound.
const BROTLI_WINDOW_BITS_MAX: u32 = 23;
/// What brotli's codes may take beside its window.
const BROTLI_CODES_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a brotli body that a step reads: what gives no output costs time too.
const BROTLI_STEP_BYTES: usize = 16 * 1024;

/// The body is not what its coding says, or wants too much memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Corrupt;

/// What comes after a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    More,
    Done,
}

impl Exchange<'_> {
    /// Decodes the body in the scratch, within the same bound as one that was not coded.
    pub(crate) async fn decode_body(
        &mut self,
        coding: ContentCoding,
        bytes_max: u64,
    ) -> Result<(), Stop> {
        if self.body().is_empty() {
            return Ok(());
        }
        let request = std::mem::take(&mut self.work.request);
        let chunked = std::mem::take(&mut self.work.body);
        let coded = match self.work.head.framing {
            Framing::Chunked => &*chunked,
            Framing::None | Framing::Length(_) => {
                request.get(self.work.head.len..).unwrap_or_default()
            }
        };
        let decoded = self.decoded(coding, coded, bytes_max).await;
        self.work.request = request;
        self.work.body = decoded?;
        let len = self.work.body.len();
        self.body_held = match len {
            0..=UNCOUNTED_BYTES => None,
            _ => Some(count_body(&self.worker.shared.body_bytes, len, self.plan)?),
        };
        self.work.head.framing = Framing::Chunked;
        Ok(())
    }

    /// What `coded` means. Others on this thread have their turn after each step.
    async fn decoded(
        &self,
        coding: ContentCoding,
        coded: &[u8],
        bytes_max: u64,
    ) -> Result<Vec<u8>, Refusal> {
        let gauge = &self.worker.shared.body_bytes;
        let mut counted = vec![count_body(gauge, Decoder::memory(coding), self.plan)?];
        let mut decoder = Decoder::new(coding, coded);
        let mut out = Vec::new();
        loop {
            while counted.len() * STEP_BYTES_MAX < out.len() + STEP_BYTES_MAX {
                counted.push(count_body(gauge, STEP_BYTES_MAX, self.plan)?);
            }
            let step = decoder.step(&mut out);
            if u64::try_from(out.len()).unwrap_or(u64::MAX) > bytes_max {
                return Err(Refusal::BodyTooLarge);
            }
            match step {
                Ok(Step::Done) => return Ok(out),
                Ok(Step::More) => tokio::task::yield_now().await,
                Err(Corrupt) => return Err(Refusal::BadRequest("coding")),
            }
        }
    }
}

/// The coding of a body, if it is one of those that may be: never a list.
pub(crate) fn content_coding(
    sent: &[u8],
    allowed: &[ContentCoding],
) -> Result<Option<ContentCoding>, Refusal> {
    if sent.eq_ignore_ascii_case(b"identity") {
        return Ok(None);
    }
    let mut allowed = allowed.iter();
    let found = allowed.find(|coding| sent.eq_ignore_ascii_case(coding.name().as_bytes()));
    found.copied().map(Some).ok_or(Refusal::UnsupportedEncoding)
}

/// A body being decoded.
enum Decoder<'b> {
    Gzip(Gzip<'b>),
    Zstd(Box<Zstd<'b>>),
    Brotli(Box<Brotli<'b>>),
}

/// A brotli stream.
struct Brotli<'b> {
    input: &'b [u8],
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    is_begun: bool,
}

/// The members of a gzip body.
struct Gzip<'b> {
    member: Box<GzDecoder<&'b [u8]>>,
    parts: usize,
}

/// The frames of a zstd body.
struct Zstd<'b> {
    input: &'b [u8],
    frame: FrameDecoder,
    parts: usize,
    /// Within a frame, and how many bytes it has given so far.
    within: Option<u64>,
}

impl<'b> Decoder<'b> {
    fn new(coding: ContentCoding, input: &'b [u8]) -> Self {
        match coding {
            ContentCoding::Gzip => Self::Gzip(Gzip {
                member: Box::new(GzDecoder::new(input)),
                parts: 1,
            }),
            ContentCoding::Zstd => {
                let mut frame = FrameDecoder::new();
                frame.set_max_window_size(WINDOW_BYTES_MAX as u64);
                Self::Zstd(Box::new(Zstd {
                    input,
                    frame,
                    parts: 0,
                    within: None,
                }))
            }
            ContentCoding::Brotli => Self::Brotli(Box::new(Brotli {
                input,
                // Strict: without windows that RFC 7932 does not know.
                state: BrotliState::new_strict(
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                ),
                is_begun: false,
            })),
        }
    }

    /// What decoding itself may need.
    const fn memory(coding: ContentCoding) -> usize {
        match coding {
            ContentCoding::Gzip => 64 * 1024,
            ContentCoding::Zstd => WINDOW_BYTES_MAX,
            ContentCoding::Brotli => WINDOW_BYTES_MAX + BROTLI_CODES_BYTES,
        }
    }

    /// Decodes a little more behind what stands in `out`.
    ///
    /// # Errors
    /// The body is corrupt, cut, or followed by what does not belong to it.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<Step, Corrupt> {
        match self {
            Self::Gzip(members) => members.step(out),
            Self::Zstd(frames) => frames.step(out),
            Self::Brotli(stream) => stream.step(out),
        }
    }
}

impl Gzip<'_> {
    fn step(&mut self, out: &mut Vec<u8>) -> Result<Step, Corrupt> {
        let mut piece = self.member.by_ref().take(STEP_BYTES_MAX as u64);
        let read = piece.read_to_end(out).map_err(|_| Corrupt)?;
        if read == STEP_BYTES_MAX {
            return Ok(Step::More);
        }
        let rest = *self.member.get_ref();
        if rest.is_empty() {
            return Ok(Step::Done);
        }
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(Corrupt);
        }
        *self.member = GzDecoder::new(rest);
        Ok(Step::More)
    }
}

impl Zstd<'_> {
    fn step(&mut self, out: &mut Vec<u8>) -> Result<Step, Corrupt> {
        let Some(given) = self.within else {
            return self.begin();
        };
        let blocks = BlockDecodingStrategy::UptoBlocks(STEP_BLOCKS);
        let ended = self.frame.decode_blocks(&mut self.input, blocks);
        let ended = ended.map_err(|_| Corrupt)?;
        let before = out.len();
        self.frame
            .collect_to_writer(&mut *out)
            .map_err(|_| Corrupt)?;
        let given = given + (out.len() - before) as u64;
        self.within = Some(given).filter(|_| !ended);
        if ended && !self.is_as_announced(given) {
            return Err(Corrupt);
        }
        Ok(Step::More)
    }

    /// The head of the next frame, or the end of the body.
    fn begin(&mut self) -> Result<Step, Corrupt> {
        if self.input.is_empty() && self.parts > 0 {
            return Ok(Step::Done);
        }
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(Corrupt);
        }
        match self.frame.reset(&mut self.input) {
            Ok(()) => {
                self.within = Some(0);
                Ok(Step::More)
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = usize::try_from(length).map_err(|_| Corrupt)?;
                self.input = self.input.get(length..).ok_or(Corrupt)?;
                Ok(Step::More)
            }
            Err(_) => Err(Corrupt),
        }
    }

    /// Whether length and checksum of the frame that ended are those it tells, where it does.
    fn is_as_announced(&self, given: u64) -> bool {
        let length = self.frame.content_size();
        let sum = self.frame.get_checksum_from_data();
        (length == 0 || length == given)
            && sum.is_none_or(|sum| self.frame.get_calculated_checksum() == Some(sum))
    }
}

impl Brotli<'_> {
    fn step(&mut self, out: &mut Vec<u8>) -> Result<Step, Corrupt> {
        if !std::mem::replace(&mut self.is_begun, true)
            && brotli_window_bits(self.input).is_none_or(|bits| bits > BROTLI_WINDOW_BITS_MAX)
        {
            return Err(Corrupt);
        }
        let length = self.input.len().min(BROTLI_STEP_BYTES);
        let (piece, rest) = self.input.split_at_checked(length).ok_or(Corrupt)?;
        let before = out.len();
        out.resize(before + STEP_BYTES_MAX, 0);
        let (mut left, mut read) = (piece.len(), 0);
        let (mut room, mut written, mut total) = (STEP_BYTES_MAX, 0, 0);
        let space = out.get_mut(before..).unwrap_or_default();
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            piece,
            &mut room,
            &mut written,
            space,
            &mut total,
            &mut self.state,
        );
        out.truncate(before + written.min(STEP_BYTES_MAX));
        self.input = self.input.get(read..).ok_or(Corrupt)?;
        match result {
            BrotliResult::ResultSuccess if self.input.is_empty() => Ok(Step::Done),
            BrotliResult::NeedsMoreOutput if written > 0 => Ok(Step::More),
            BrotliResult::NeedsMoreInput if !rest.is_empty() && read > 0 => Ok(Step::More),
            BrotliResult::ResultSuccess
            | BrotliResult::NeedsMoreOutput
            | BrotliResult::NeedsMoreInput
            | BrotliResult::ResultFailure => Err(Corrupt),
        }
    }
}

/// How wide the window of a brotli stream is, by its first bits (RFC 7932, section 9.1).
fn brotli_window_bits(input: &[u8]) -> Option<u32> {
    let first = u32::from(*input.first()?);
    if first & 1 == 0 {
        return Some(16);
    }
    match ((first >> 1) & 7, (first >> 4) & 7) {
        (0, 0) => Some(17),
        // Another format, with windows of up to a gigabyte.
        (0, 1) => None,
        (0, bits) => Some(8 + bits),
        (bits, _) => Some(17 + bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    /// What another encoder makes of the plain text below.
    const BROTLI: &[u8] = &[
        0x1b, 0xe5, 0x01, 0xc0, 0x9c, 0x07, 0x76, 0x0c, 0x99, 0x06, 0x5a, 0x58, 0xc0, 0xe9, 0xdd,
        0xaf, 0xd5, 0x22, 0x65, 0x5b, 0x7b, 0xf3, 0x4d, 0xae, 0xae, 0x75, 0xfa, 0xba, 0x58, 0xb6,
        0x08, 0x9b, 0xdc, 0x1c, 0xd8, 0x80, 0x03, 0x87, 0x80, 0xa3, 0x40, 0x79, 0x01, 0x1b, 0x36,
        0xe0, 0x30, 0xd0, 0xa0, 0x79, 0x4f, 0xa6, 0xd9, 0xc5, 0xe0, 0xcb, 0x04, 0xe1, 0xf4, 0xe0,
        0x6a, 0xf4, 0x36,
    ];

    fn decoded(coding: ContentCoding, coded: &[u8]) -> Result<Vec<u8>, Corrupt> {
        let (mut decoder, mut out) = (Decoder::new(coding, coded), Vec::new());
        while decoder.step(&mut out)? == Step::More {
            assert!(out.len() < 1 << 24, "no end to {} bytes", coded.len());
        }
        Ok(out)
    }

    // EDGE-37
    #[test]
    fn changed_bodies_are_refused_or_mean_something_else_and_nothing_panics() {
        let plain = br#"{"messages":[{"role":"user","content":"hello hello"}]}"#.repeat(9);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&plain).unwrap();
        let zstd = compress_to_vec(&plain[..], CompressionLevel::Fastest);
        let bodies = [
            (ContentCoding::Gzip, gzip.finish().unwrap(), 900),
            (ContentCoding::Zstd, zstd, 900),
            // It has no checksum: much of what is changed means something else.
            (ContentCoding::Brotli, BROTLI.to_vec(), 300),
        ];
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
        let mut roll = |bound: usize| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            usize::try_from(dice % u64::try_from(bound).unwrap()).unwrap()
        };
        for (coding, body, least) in &bodies {
            assert_eq!(decoded(*coding, body).as_deref(), Ok(&*plain), "{coding:?}");
            let mut refused = 0;
            for _ in 0..1_000 {
                let mut changed = body.clone();
                for _ in 0..=roll(3) {
                    let at = roll(changed.len());
                    match roll(3) {
                        0 => changed[at] ^= 1 << roll(8),
                        1 => changed.truncate(at.max(1)),
                        _ => changed.insert(at, 0),
                    }
                }
                refused += u32::from(decoded(*coding, &changed).is_err());
            }
            assert!(refused > *least, "{coding:?}: {refused} of 1000");
        }
    }

    // EDGE-37
    #[test]
    fn the_window_of_brotli_is_read_as_the_rfc_writes_it() {
        for (first, bits) in [
            (0x06, Some(16)),
            (0x01, Some(17)),
            (0x11, None),
            (0x21, Some(10)),
            (0x71, Some(15)),
            (0x33, Some(18)),
            (0x3b, Some(22)),
            (0x3d, Some(23)),
            (0x3f, Some(24)),
        ] {
            assert_eq!(brotli_window_bits(&[first]), bits, "{first:#x}");
        }
        assert_eq!(brotli_window_bits(&[]), None);
    }
}
