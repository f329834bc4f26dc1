//! The file from its end: what operators look for happened lately.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much is read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// A longer line is none of ours, and nothing before it is looked at.
const LINE_BYTES_MAX: usize = 256 << 10;

/// The whole lines of an audit file, the last first. What is being written meanwhile is not seen.
#[derive(Debug)]
pub struct Backwards {
    file: File,
    /// The bytes of the file from `start` to the end of the next line to give.
    held: Vec<u8>,
    start: u64,
}

impl Backwards {
    /// From the line that ends at this place, or from the last one. `None` for what is no file to
    /// be read again: a pipe, a device.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(path: &Path, end: Option<u64>) -> io::Result<Option<Self>> {
        // A pipe would be waited for.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut lines = Self {
            file,
            held: Vec::new(),
            start: end.map_or(len, |end| end.min(len)),
        };
        if end.is_none() {
            lines.drop_torn()?;
        }
        Ok(Some(lines))
    }

    /// The next line before, and where it begins.
    ///
    /// # Errors
    /// It can't be read.
    #[expect(clippy::should_implement_trait, reason = "lines are lent, not given")]
    pub fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        // The line feed that ends the line is held.
        loop {
            let before = self.held.len().saturating_sub(1);
            let found = self.held.get(..before).and_then(|held| {
                held.iter()
                    .rposition(|byte| *byte == b'\n')
                    .map(|at| at + 1)
            });
            match found {
                Some(at) => return Ok(Some(self.give(at))),
                None if self.start == 0 && self.held.is_empty() => return Ok(None),
                None if self.start == 0 => return Ok(Some(self.give(0))),
                None if self.held.len() > LINE_BYTES_MAX => return Ok(None),
                None => self.read_before()?,
            }
        }
    }

    /// Gives what is held from a place on.
    fn give(&mut self, at: usize) -> (u64, Vec<u8>) {
        let mut line = self.held.split_off(at);
        line.pop();
        (self.start + u64::try_from(at).unwrap_or(0), line)
    }

    fn read_before(&mut self) -> io::Result<()> {
        let from = self.start.saturating_sub(CHUNK_BYTES);
        let mut chunk = vec![0; usize::try_from(self.start - from).unwrap_or(0)];
        self.file.read_exact_at(&mut chunk, from)?;
        chunk.append(&mut self.held);
        self.held = chunk;
        self.start = from;
        Ok(())
    }

    /// Lets go of a last line that is not whole.
    fn drop_torn(&mut self) -> io::Result<()> {
        while self.start > 0 && self.held.len() <= LINE_BYTES_MAX {
            self.read_before()?;
            if let Some(at) = self.held.iter().rposition(|byte| *byte == b'\n') {
                self.held.truncate(at + 1);
                return Ok(());
            }
        }
        self.held.clear();
        self.start = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], end: Option<u64>) -> Vec<(u64, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, text).unwrap();
        let mut lines = Backwards::open(&path, end).unwrap().unwrap();
        let mut given = Vec::new();
        while let Some((at, line)) = lines.next().unwrap() {
            given.push((at, String::from_utf8(line).unwrap()));
        }
        given
    }

    // AUD-71
    #[test]
    fn lines_come_whole_from_the_last_to_the_first() {
        let line = |at, text: &str| (at, text.to_owned());
        for (name, text, want) in [
            ("empty", "", vec![]),
            ("one", "a\n", vec![line(0, "a")]),
            ("two", "a\nbc\n", vec![line(2, "bc"), line(0, "a")]),
            ("a torn one", "a\nbc\nd", vec![line(2, "bc"), line(0, "a")]),
            ("only a torn one", "abc", vec![]),
            (
                "an empty one",
                "a\n\nb\n",
                vec![line(3, "b"), line(2, ""), line(0, "a")],
            ),
        ] {
            assert_eq!(read(text.as_bytes(), None), want, "{name}");
        }
        assert_eq!(read(b"a\nbc\nd\n", Some(5)), [line(2, "bc"), line(0, "a")]);
        assert_eq!(read(b"a\nbc\nd\n", Some(0)), []);
    }

    // AUD-71
    #[test]
    fn lines_longer_than_what_is_read_at_a_time_are_whole() {
        let long: Vec<String> = (0..20)
            .map(|number| "abcdefghij".repeat(number * 1_000))
            .collect();
        let text = long.join("\n") + "\n";
        let given = read(text.as_bytes(), None);
        let lines: Vec<_> = given.iter().rev().map(|(_, line)| line.clone()).collect();
        assert_eq!(lines, long);
        for (at, line) in &given {
            let end = at + u64::try_from(line.len()).unwrap() + 1;
            assert_eq!(read(text.as_bytes(), Some(end))[0], (*at, line.clone()));
        }
        let endless = vec![b'x'; LINE_BYTES_MAX * 3];
        assert_eq!(read(&[b"a\n", &*endless, b"\nb\n"].concat(), None).len(), 1);
    }
}
