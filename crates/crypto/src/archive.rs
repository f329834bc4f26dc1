//! Files that are kept sealed: a stream of parts that can be read from its beginning on, and that
//! says when it was changed, reordered or cut off.
//!
//! Each file has a data key of its own, which is wrapped by the key of the archive. A part is sealed
//! (AES-256-GCM) under a nonce that says which part it is and whether it is the last one, so the order
//! and the end of the file are authenticated too (the STREAM construction).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use tollkeep_types::Entropy;
use zeroize::Zeroizing;

use crate::hmac_sha256;

/// What a sealed file begins with.
pub const MAGIC: [u8; 8] = *b"TKSEAL1\n";

/// Bytes of a part before it is sealed; only the last may have fewer.
const PART_BYTES: usize = 64 << 10;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const ID_BYTES: usize = 8;
const WRAPPED_BYTES: usize = NONCE_LEN + KEY_BYTES + TAG_BYTES;

/// Why a sealed file is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArchiveError {
    /// Nobody gave a key.
    #[error("it is sealed, and the key is not at hand")]
    NoKey,
    /// It was sealed under another key.
    #[error("it is sealed under another key than the one at hand")]
    OtherKey,
    /// It is not what was sealed.
    #[error("it is sealed, and was changed or cut off")]
    Changed,
}

impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> Self {
        let kind = match error {
            ArchiveError::NoKey | ArchiveError::OtherKey => io::ErrorKind::PermissionDenied,
            ArchiveError::Changed => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// The key that data keys of files are wrapped by. Cheap to clone.
#[derive(Clone)]
pub struct ArchiveKey {
    id: [u8; ID_BYTES],
    key: Arc<LessSafeKey>,
}

impl ArchiveKey {
    /// The key of these bytes; `None` if the library refuses them, which does not happen.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let digest = hmac_sha256(bytes, b"tollkeep|archive key");
        let (id, _) = digest.split_first_chunk()?;
        let key = Arc::new(cipher(bytes)?);
        Some(Self { id: *id, key })
    }

    /// Seals what is written from now on into `out`, under a data key of its own.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn seal<W: Write>(&self, mut out: W, entropy: &dyn Entropy) -> io::Result<Sealing<W>> {
        let mut data_key = Zeroizing::new([0_u8; KEY_BYTES]);
        entropy.fill(&mut *data_key);
        let file = cipher(&*data_key).ok_or(io::ErrorKind::Other)?;
        let mut nonce = [0_u8; NONCE_LEN];
        entropy.fill(&mut nonce);
        let unique = Nonce::assume_unique_for_key(nonce);
        let about = Aad::from(self.about());
        let tag = self
            .key
            .seal_in_place_separate_tag(unique, about, &mut *data_key)
            .map_err(|_| io::ErrorKind::Other)?;
        out.write_all(&MAGIC)?;
        out.write_all(&self.id)?;
        out.write_all(&nonce)?;
        out.write_all(&*data_key)?;
        out.write_all(tag.as_ref())?;
        Ok(Sealing {
            out,
            file,
            held: Vec::with_capacity(PART_BYTES + TAG_BYTES),
            parts: 0,
        })
    }

    /// Reads what was sealed.
    ///
    /// # Errors
    /// [`ArchiveError`] in an [`io::Error`], or the input can't be read.
    pub fn open<R: BufRead>(&self, mut input: R) -> io::Result<Opening<R>> {
        let mut magic = [0; MAGIC.len()];
        let mut id = [0; ID_BYTES];
        let mut wrapped = [0; WRAPPED_BYTES];
        for part in [&mut magic[..], &mut id, &mut wrapped] {
            input.read_exact(part).map_err(cut_off)?;
        }
        if magic != MAGIC {
            return Err(ArchiveError::Changed.into());
        }
        if id != self.id {
            return Err(ArchiveError::OtherKey.into());
        }
        let (nonce, sealed) = wrapped
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or(ArchiveError::Changed)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(self.about()), sealed);
        let opened = Zeroizing::new(opened.map_err(|_| ArchiveError::Changed)?.to_vec());
        let file = cipher(&opened).ok_or(ArchiveError::Changed)?;
        Ok(Opening {
            input,
            file,
            held: Vec::new(),
            used: 0,
            parts: 0,
            is_over: false,
        })
    }

    /// What a wrapped key is bound to.
    fn about(&self) -> [u8; MAGIC.len() + ID_BYTES] {
        let mut about = [0; MAGIC.len() + ID_BYTES];
        let (magic, id) = about.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        id.copy_from_slice(&self.id);
        about
    }
}

impl fmt::Debug for ArchiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArchiveKey(…)")
    }
}

fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
    Some(LessSafeKey::new(key))
}

/// The nonce of a part. The data key is of one file alone, so it never comes twice.
fn nonce(number: u32, is_last: bool) -> Nonce {
    let [a, b, c, d] = number.to_be_bytes();
    Nonce::assume_unique_for_key([0, 0, 0, 0, 0, 0, 0, a, b, c, d, u8::from(is_last)])
}

fn cut_off(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ArchiveError::Changed.into();
    }
    error
}

/// Seals what is written to it. What was not [finished](Sealing::finish) does not open.
pub struct Sealing<W> {
    out: W,
    file: LessSafeKey,
    held: Vec<u8>,
    parts: u32,
}

impl<W: Write> Sealing<W> {
    /// Seals the last part and gives back what was written to.
    ///
    /// # Errors
    /// It takes no more.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, is_last: bool) -> io::Result<()> {
        let next = self
            .parts
            .checked_add(1)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        let sealed = self.file.seal_in_place_append_tag(
            nonce(self.parts, is_last),
            Aad::empty(),
            &mut self.held,
        );
        sealed.map_err(|_| io::ErrorKind::Other)?;
        self.parts = next;
        self.out.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.len() == PART_BYTES && !bytes.is_empty() {
            self.put(false)?;
        }
        let room = PART_BYTES.saturating_sub(self.held.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.held.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A part is sealed when it is whole.
        Ok(())
    }
}

impl<W> fmt::Debug for Sealing<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").finish_non_exhaustive()
    }
}

/// Reads what was sealed, part by part: nothing of a part that was changed is given.
pub struct Opening<R> {
    input: R,
    file: LessSafeKey,
    /// The part that is read, open.
    held: Vec<u8>,
    used: usize,
    parts: u32,
    is_over: bool,
}

impl<R: BufRead> Opening<R> {
    fn next_part(&mut self) -> io::Result<()> {
        self.held.clear();
        self.used = 0;
        let most = PART_BYTES + TAG_BYTES;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        (&mut self.input).take(most).read_to_end(&mut self.held)?;
        let is_last = self.input.fill_buf()?.is_empty();
        let opened = self.file.open_in_place(
            nonce(self.parts, is_last),
            Aad::empty(),
            self.held.as_mut_slice(),
        );
        let len = opened.map(|open| open.len());
        // What did not open is not to be given.
        let Ok(len) = len else {
            self.held.clear();
            return Err(ArchiveError::Changed.into());
        };
        self.held.truncate(len);
        self.parts = self.parts.checked_add(1).ok_or(ArchiveError::Changed)?;
        self.is_over = is_last;
        Ok(())
    }
}

impl<R: BufRead> Read for Opening<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let rest = self.fill_buf()?;
        let len = rest.len().min(out.len());
        for (to, from) in out.iter_mut().zip(rest) {
            *to = *from;
        }
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Opening<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.used >= self.held.len() && !self.is_over {
            self.next_part()?;
        }
        Ok(self.held.get(self.used..).unwrap_or_default())
    }

    fn consume(&mut self, len: usize) {
        self.used = self.used.saturating_add(len);
    }
}

impl<R> fmt::Debug for Opening<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    const HEAD_BYTES: usize = MAGIC.len() + ID_BYTES + WRAPPED_BYTES;

    fn key(byte: u8) -> ArchiveKey {
        ArchiveKey::new(&[byte; 32]).unwrap()
    }

    fn seal(text: &[u8]) -> Vec<u8> {
        let mut sealing = key(7).seal(Vec::new(), &SystemEntropy).unwrap();
        sealing.write_all(text).unwrap();
        sealing.finish().unwrap()
    }

    fn open(sealed: &[u8], key: &ArchiveKey) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        key.open(sealed)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn told(opened: io::Result<Vec<u8>>) -> String {
        opened.unwrap_err().to_string()
    }

    // AUD-63
    #[test]
    fn what_is_sealed_comes_back_whatever_its_length() {
        for len in [
            0,
            1,
            PART_BYTES - 1,
            PART_BYTES,
            PART_BYTES + 1,
            PART_BYTES * 2,
            PART_BYTES * 3 + 5,
        ] {
            let text: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let sealed = seal(&text);
            assert_eq!(sealed.get(..8), Some(&MAGIC[..]));
            assert!(open(&sealed, &key(7)).unwrap() == text, "{len} bytes");
        }
        assert_ne!(seal(b"same"), seal(b"same"), "each has a key of its own");
    }

    // AUD-63
    #[test]
    fn nothing_of_it_opens_changed_cut_off_or_in_another_order() {
        let text = vec![b'x'; PART_BYTES * 2 + 10];
        let sealed = seal(&text);
        let part = PART_BYTES + TAG_BYTES;
        let changed = ArchiveError::Changed.to_string();
        for at in [
            0,
            9,
            20,
            50,
            HEAD_BYTES,
            HEAD_BYTES + part,
            sealed.len() - 1,
        ] {
            let mut edited = sealed.clone();
            edited[at] ^= 1;
            let told = told(open(&edited, &key(7)));
            let want = if (8..16).contains(&at) {
                ArchiveError::OtherKey.to_string()
            } else {
                changed.clone()
            };
            assert_eq!(told, want, "byte {at}");
        }
        let head = &sealed[..HEAD_BYTES];
        let first = &sealed[HEAD_BYTES..HEAD_BYTES + part];
        let second = &sealed[HEAD_BYTES + part..HEAD_BYTES + 2 * part];
        let last = &sealed[HEAD_BYTES + 2 * part..];
        for (name, bytes) in [
            ("without its end", [head, first, second].concat()),
            ("without its beginning", [head, second, last].concat()),
            ("swapped", [head, second, first, last].concat()),
            ("twice", [head, first, first, last].concat()),
            ("longer", [&sealed[..], b"x"].concat()),
            ("cut in a part", sealed[..sealed.len() - 3].to_vec()),
            ("cut in its head", sealed[..40].to_vec()),
            ("a head alone", head.to_vec()),
            (
                "another's head",
                [&seal(b"")[..HEAD_BYTES], first, second, last].concat(),
            ),
        ] {
            assert_eq!(told(open(&bytes, &key(7))), changed, "{name}");
        }
        let other = ArchiveError::OtherKey.to_string();
        assert_eq!(told(open(&sealed, &key(8))), other);
        assert_eq!(format!("{:?}", key(7)), "ArchiveKey(…)");
    }
}
