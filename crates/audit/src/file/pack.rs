//! What becomes of closed parts of the log: they are compressed, or sealed. Each is whole on disk in its
//! new form, and was read back from there, before the old one goes.

use super::segments::Form;
use super::{Place, Segment};
use crate::open_log;
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_types::Entropy;

/// Of zlib-rs the best bargain: half the time of its default level for a twentieth more bytes.
const LEVEL: Compression = Compression::new(2);

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes of a frame of what is compressed before it is sealed.
const FRAME_BYTES: usize = 1 << 20;

/// What a form that is being made is called, behind its name.
const UNFINISHED: &str = ".part";

/// What becomes of closed parts.
#[derive(Clone)]
pub(crate) struct Packing {
    pub(crate) compress: bool,
    /// What seals them, if they are to be.
    pub(crate) seal: Option<(ArchiveKey, Arc<dyn Entropy>)>,
}

/// Gives closed parts the form that they are to have.
pub(crate) fn pack_closed(place: &Place, packing: &Packing) -> io::Result<()> {
    clear_unfinished(place)?;
    let mut segments = place.segments()?;
    let Some(seal) = &packing.seal else {
        if packing.compress {
            // The last is left plain: whoever ships it may still be reading.
            segments.pop();
            for segment in segments.iter().filter(|one| one.form == Form::Plain) {
                compress(segment)?;
            }
        }
        return Ok(());
    };
    for segment in segments.iter().filter(|one| one.form != Form::Sealed) {
        self::seal(segment, packing.compress, seal)?;
    }
    Ok(())
}

/// Lets go of what was being made when the process ended.
fn clear_unfinished(place: &Place) -> io::Result<()> {
    for entry in std::fs::read_dir(place.dir())? {
        let path = entry?.path();
        if place.is_unfinished(&path, UNFINISHED) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Opens a part; `None` if it was old enough to be deleted meanwhile.
fn open(segment: &Segment) -> io::Result<Option<BufReader<File>>> {
    match File::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => Ok(Some(BufReader::with_capacity(CHUNK_BYTES, opened?))),
    }
}

fn compress(segment: &Segment) -> io::Result<()> {
    let Some(mut input) = open(segment)? else {
        return Ok(());
    };
    let packed = with_ending(&segment.path, ".gz");
    make(&packed, |out| {
        let mut encoder = GzEncoder::new(out, LEVEL);
        io::copy(&mut input, &mut encoder)?;
        encoder.finish()
    })?;
    put_in_place(&packed, &segment.path)
}

fn seal(segment: &Segment, compress: bool, by: &(ArchiveKey, Arc<dyn Entropy>)) -> io::Result<()> {
    let shrinks = compress && segment.form == Form::Plain;
    match seal_as(segment, shrinks, by) {
        // It is sealed at all events.
        Err(error) if shrinks && error.kind() == io::ErrorKind::InvalidData => {
            let path = segment.path.display();
            tracing::warn!("`{path}` is sealed without being compressed: {error}");
            seal_as(segment, false, by)
        }
        sealed => sealed,
    }
}

fn seal_as(
    segment: &Segment,
    shrinks: bool,
    (key, entropy): &(ArchiveKey, Arc<dyn Entropy>),
) -> io::Result<()> {
    let Some(mut input) = open(segment)? else {
        return Ok(());
    };
    let sealed = with_ending(&segment.path, if shrinks { ".zst.enc" } else { ".enc" });
    make(&sealed, |out| {
        let mut sealing = key.seal(out, entropy.as_ref())?;
        if shrinks {
            shrink(&mut input, &mut sealing)?;
        } else {
            io::copy(&mut input, &mut sealing)?;
        }
        sealing.finish()
    })?;
    // Nobody else has what it says any more once it is gone.
    let unfinished = with_ending(&sealed, UNFINISHED);
    if !says_the_same(&segment.path, &unfinished, key).unwrap_or(false) {
        std::fs::remove_file(&unfinished)?;
        return Err(garbled());
    }
    put_in_place(&sealed, &segment.path)?;
    if segment.form == Form::Plain {
        // Of an earlier time, when it was only compressed.
        return remove_if_there(&with_ending(&segment.path, ".gz"));
    }
    Ok(())
}

/// Compresses frame by frame (RFC 8878), each by itself.
fn shrink(input: &mut impl Read, out: &mut impl Write) -> io::Result<()> {
    let most = u64::try_from(FRAME_BYTES).unwrap_or(u64::MAX);
    let mut frame = Vec::with_capacity(FRAME_BYTES);
    loop {
        frame.clear();
        input.take(most).read_to_end(&mut frame)?;
        if frame.is_empty() {
            return Ok(());
        }
        let shrunk = catch_unwind(|| compress_to_vec(&*frame, CompressionLevel::Fastest));
        out.write_all(&shrunk.map_err(|_| garbled())?)?;
    }
}

/// The compression, or the disk, made something else of it.
fn garbled() -> io::Error {
    let problem = "what was made of it does not say what it was";
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Whether two files say the same, whatever forms they have.
fn says_the_same(one: &Path, other: &Path, key: &ArchiveKey) -> io::Result<bool> {
    let (mut one, mut other) = (open_log(one, Some(key))?, open_log(other, Some(key))?);
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let len = left.len().min(right.len());
        if left.get(..len) != right.get(..len) {
            return Ok(false);
        }
        if len == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        one.consume(len);
        other.consume(len);
    }
}

/// Writes a new form under a name of its own, to the disk.
fn make(path: &Path, write: impl FnOnce(File) -> io::Result<File>) -> io::Result<()> {
    let out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(with_ending(path, UNFINISHED))?;
    write(out)?.sync_all()
}

/// Gives the new form its name, and lets go of the old one.
fn put_in_place(new: &Path, old: &Path) -> io::Result<()> {
    std::fs::rename(with_ending(new, UNFINISHED), new)?;
    if let Some(dir) = new.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir)?.sync_all()?;
    }
    match std::fs::remove_file(old) {
        // It was old enough to be deleted meanwhile, and so is this.
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::remove_file(new),
        removed => removed,
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::first_record;
    use tollkeep_crypto::SystemEntropy;

    const LINES: &str = include_str!("../../tests/data/every_action.jsonl");

    fn place(dir: &Path) -> Place {
        Place {
            path: dir.join("audit.log"),
            mode: 0o600,
            key: ArchiveKey::new(&[7; 32]),
        }
    }

    fn packing(place: &Place, compress: bool, seals: bool) -> Packing {
        let key = place.key.clone().filter(|_| seals);
        Packing {
            compress,
            seal: key.map(|key| (key, Arc::new(SystemEntropy) as Arc<dyn Entropy>)),
        }
    }

    fn names(place: &Place) -> Vec<String> {
        let all = std::fs::read_dir(place.dir()).unwrap();
        let all = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    }

    fn text(place: &Place, name: &str) -> String {
        let mut text = String::new();
        let input = open_log(&place.dir().join(name), place.key.as_ref());
        input.unwrap().read_to_string(&mut text).unwrap();
        text
    }

    const ONE: &str = "audit-20261122T101530Z-2.log";
    const TWO: &str = "audit-20261123T101530Z-9.log";

    // AUD-60
    #[test]
    fn a_part_is_compressed_whole_and_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let path = dir.path().join(ONE);
        std::fs::write(&path, LINES).unwrap();
        std::fs::write(dir.path().join(TWO), LINES).unwrap();
        let before = first_record(&path, None).unwrap().unwrap();
        pack_closed(&place, &packing(&place, true, false)).unwrap();
        let packed = format!("{ONE}.gz");
        assert_eq!(names(&place), [&*packed, TWO], "the last stays plain");
        let packed = first_record(&dir.path().join(packed), None).unwrap();
        assert_eq!(packed, Some(before));
        assert_eq!(text(&place, &format!("{ONE}.gz")), LINES);
    }

    // AUD-63
    #[test]
    fn every_closed_part_is_sealed_and_nothing_plain_is_left_of_it() {
        for (name, compress, before, want) in [
            (
                "compressed",
                true,
                [ONE, TWO].to_vec(),
                [".zst.enc", ".zst.enc"],
            ),
            ("as it is", false, [ONE, TWO].to_vec(), [".enc", ".enc"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let place = place(dir.path());
            for part in before {
                std::fs::write(dir.path().join(part), LINES).unwrap();
            }
            let first = first_record(&dir.path().join(ONE), None).unwrap();
            pack_closed(&place, &packing(&place, compress, true)).unwrap();
            let want = [format!("{ONE}{}", want[0]), format!("{TWO}{}", want[1])];
            assert_eq!(names(&place), want, "{name}");
            for part in &want {
                assert_eq!(text(&place, part), LINES, "{name}");
                let raw = std::fs::read(dir.path().join(part)).unwrap();
                let shows = |word: &[u8]| raw.windows(word.len()).any(|found| found == word);
                assert!(!shows(b"timestamp") && !shows(b"token.create"), "{name}");
                let path = dir.path().join(part);
                assert_eq!(first_record(&path, place.key.as_ref()).unwrap(), first);
                let told = first_record(&path, None).unwrap_err();
                assert!(told.to_string().contains("not at hand"), "{told}");
            }
            assert!(place.last_closed().is_some(), "{name}: its chain goes on");
        }
    }

    // AUD-63
    #[test]
    fn whatever_a_crash_left_one_sealed_form_remains_and_nothing_is_lost() {
        let sealed = {
            let dir = tempfile::tempdir().unwrap();
            let place = place(dir.path());
            std::fs::write(dir.path().join(ONE), LINES).unwrap();
            pack_closed(&place, &packing(&place, true, true)).unwrap();
            std::fs::read(dir.path().join(format!("{ONE}.zst.enc"))).unwrap()
        };
        let packed = {
            let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
            encoder.write_all(LINES.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let half = sealed.get(..sealed.len() / 2).unwrap().to_vec();
        let plain = LINES.as_bytes().to_vec();
        let of = |ending: &str, bytes: &[u8]| (format!("{ONE}{ending}"), bytes.to_vec());
        for (name, there, want) in [
            ("before", vec![of("", &plain)], ".zst.enc"),
            (
                "while it was written",
                vec![of("", &plain), of(".zst.enc.part", &half)],
                ".zst.enc",
            ),
            (
                "before it had its name",
                vec![of("", &plain), of(".zst.enc.part", &sealed)],
                ".zst.enc",
            ),
            (
                "before the plain one went",
                vec![of("", &plain), of(".zst.enc", &sealed)],
                ".zst.enc",
            ),
            (
                "while it was compressed, before it was to be sealed",
                vec![of("", &plain), of(".gz.part", &packed)],
                ".zst.enc",
            ),
            (
                "with all forms there",
                vec![of("", &plain), of(".gz", &packed), of(".zst.enc", &sealed)],
                ".zst.enc",
            ),
            ("compressed long ago", vec![of(".gz", &packed)], ".gz.enc"),
            ("after", vec![of(".zst.enc", &sealed)], ".zst.enc"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let place = place(dir.path());
            for (part, bytes) in there {
                std::fs::write(dir.path().join(part), bytes).unwrap();
            }
            pack_closed(&place, &packing(&place, true, true)).unwrap();
            let want = format!("{ONE}{want}");
            assert_eq!(names(&place), [&*want], "{name}");
            assert_eq!(text(&place, &want), LINES, "{name}");
        }
    }

    // AUD-63
    #[test]
    fn what_is_larger_than_a_frame_comes_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let long: String = (0..3 * FRAME_BYTES / 40)
            .map(|number| format!("{{\"number\":{number},\"text\":\"{:x}\"}}\n", number * 7919))
            .collect();
        std::fs::write(dir.path().join(ONE), &long).unwrap();
        pack_closed(&place, &packing(&place, true, true)).unwrap();
        assert!(text(&place, &format!("{ONE}.zst.enc")) == long);
    }
}
