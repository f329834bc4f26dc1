//! Server-sent events out of pieces of a body: line ends LF, CR and CRLF, bounded memory.

use memchr::memchr2;

/// Longest line that is read.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Longest event that is read, its `data` lines joined.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A buffer above this is not kept for the next line.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Splits a body into the `data` of its events. What lies whole in one piece is not copied.
#[derive(Debug, Default)]
pub(crate) struct EventLines {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The `data` lines of the event so far, joined by LF, where the event was not all here.
    data: Vec<u8>,
    /// The last piece ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Not at the start of the body any more.
    begun: bool,
    /// The line that is open is too long and left out.
    skipping: bool,
    /// A line or an event was beyond the limits.
    overlong: bool,
}

impl EventLines {
    /// Takes the next piece and gives the data of each event that it completes.
    pub(crate) fn feed(&mut self, piece: &[u8], mut event: impl FnMut(&[u8])) {
        let mut rest = piece;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = match tail {
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => &[],
            };
            self.after_cr = rest.is_empty() && tail == b"\r";
            // The common event is one `data` line and a blank one, both here.
            let ends_here = matches!(rest, [b'\n' | b'\r', ..]);
            if self.line.is_empty() && !self.skipping {
                self.whole_line(line, ends_here, &mut event);
            } else {
                self.keep(line);
                let joined = std::mem::take(&mut self.line);
                if std::mem::take(&mut self.skipping) {
                    self.begun = true;
                } else {
                    self.whole_line(&joined, ends_here, &mut event);
                }
                self.line = emptied(joined);
            }
        }
        self.keep(rest);
    }

    /// The data of an event that was begun and not ended.
    pub(crate) fn unfinished(&mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.line);
        if !self.skipping {
            self.whole_line(&line, false, &mut |_| ());
        }
        std::mem::take(&mut self.data)
    }

    /// Whether something was left out because it was too long.
    pub(super) const fn overlong(&self) -> bool {
        self.overlong
    }

    fn keep(&mut self, part: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len().saturating_add(part.len()) > LINE_BYTES_MAX {
            self.overlong = true;
            self.skipping = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn whole_line(&mut self, line: &[u8], ends_here: bool, event: &mut impl FnMut(&[u8])) {
        if line.len() > LINE_BYTES_MAX {
            self.overlong = true;
            self.begun = true;
            return;
        }
        let mut line = line;
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            if !self.data.is_empty() {
                let data = std::mem::take(&mut self.data);
                event(&data);
                self.data = emptied(data);
            }
            return;
        }
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let data = data.strip_prefix(b" ").unwrap_or(data);
        if ends_here && self.data.is_empty() {
            // An event without data is none, as where its lines come apart.
            if !data.is_empty() {
                event(data);
            }
        } else if self.data.len().saturating_add(data.len()) < EVENT_BYTES_MAX {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data);
        } else {
            self.overlong = true;
        }
    }
}

/// The buffer for its next use.
fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    if buffer.capacity() > KEPT_BYTES_MAX {
        return Vec::new();
    }
    buffer.clear();
    buffer
}
