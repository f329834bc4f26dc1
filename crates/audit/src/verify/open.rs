//! Files of the log as they lie about: plain, or compressed by whatever rotates them.

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use tollkeep_crypto::archive::{ArchiveError, ArchiveKey, MAGIC};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// Opens a file of the log: plain, gzip or Zstandard, by what it begins with; also one that is
/// sealed, if that is the key.
///
/// # Errors
/// It can't be opened, is sealed under another key, or is no proper compressed file.
pub fn open_log(path: &Path, key: Option<&ArchiveKey>) -> io::Result<Box<dyn BufRead>> {
    let mut input = BufReader::with_capacity(CHUNK_BYTES, File::open(path)?);
    if input.fill_buf()?.starts_with(&MAGIC) {
        return unpacked(key.ok_or(ArchiveError::NoKey)?.open(input)?);
    }
    unpacked(input)
}

/// Whether a file is sealed.
///
/// # Errors
/// It can't be read.
pub fn is_sealed(path: &Path) -> io::Result<bool> {
    // A pipe would be waited for.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut head = Vec::with_capacity(MAGIC.len());
    let most = u64::try_from(MAGIC.len()).unwrap_or(0);
    File::open(path)?.take(most).read_to_end(&mut head)?;
    Ok(head == MAGIC)
}

fn unpacked(mut input: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let head = input.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let unpacked = MultiGzDecoder::new(input);
        return Ok(Box::new(BufReader::with_capacity(CHUNK_BYTES, unpacked)));
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let unpacked = Frames(Some(input), None);
        return Ok(Box::new(BufReader::with_capacity(CHUNK_BYTES, unpacked)));
    }
    Ok(Box::new(input))
}

/// Zstandard frames, one after the other.
struct Frames<R: Read>(
    Option<R>,
    Option<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
);

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(mut input) = self.0.take() {
                if input.fill_buf()?.is_empty() {
                    self.0 = Some(input);
                    return Ok(0);
                }
                let frame = StreamingDecoder::new(input);
                self.1 = Some(frame.map_err(io::Error::other)?);
            }
            let Some(frame) = &mut self.1 else {
                return Ok(0);
            };
            let len = frame.read(out)?;
            if len > 0 || out.is_empty() {
                return Ok(len);
            }
            self.0 = self.1.take().map(StreamingDecoder::into_inner);
        }
    }
}

#[derive(Deserialize)]
struct Head {
    timestamp: String,
    seq: u64,
}

/// Files by the times of their first records, so that faults are told in the order of what happened
/// and a key is known before what it signed. What can't be read comes last.
pub fn in_order(mut files: Vec<PathBuf>, key: Option<&ArchiveKey>) -> Vec<PathBuf> {
    files.sort_by_cached_key(|path| match head(path, key) {
        Some(head) => (false, head.timestamp, head.seq),
        None => (true, String::new(), 0),
    });
    files
}

fn head(path: &Path, key: Option<&ArchiveKey>) -> Option<Head> {
    let mut line = Vec::new();
    let mut input = open_log(path, key).ok()?.take(LINE_BYTES_MAX);
    input.read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}
