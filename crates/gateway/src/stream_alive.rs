//! What tells the reader of a silent stream that it is not over.
//!
//! Models think for minutes, and whatever stands between them and their reader closes a connection on
//! which nothing is said. So something is said that says nothing, between two events.

use std::time::Duration;
use tollkeep_llm::Dialect;

/// A comment, which readers of events pass over.
const COMMENT: &[u8] = b": keep-alive\n\n";
/// Empty lines: Google's clients take a comment for an answer that is broken.
const EMPTY: &[u8] = b"\n\n";
/// What Anthropic sends itself.
const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// Keeps a stream of events alive.
pub(crate) struct StreamAlive {
    /// After so long without a word.
    pub(crate) every: Duration,
    /// This is said.
    pub(crate) word: &'static [u8],
    /// The last bytes that were written.
    tail: [u8; 4],
}

impl StreamAlive {
    /// For a stream of this dialect that has not begun.
    pub(crate) const fn new(every: Duration, dialect: Dialect) -> Option<Self> {
        let word = match dialect {
            Dialect::Anthropic => PING,
            Dialect::Chat | Dialect::Responses => COMMENT,
            Dialect::Gemini => EMPTY,
            Dialect::Plain => return None,
        };
        if every.is_zero() {
            return None;
        }
        let tail = *b"\n\n\n\n";
        Some(Self { every, word, tail })
    }

    /// Takes note of what is written.
    pub(crate) fn note(&mut self, written: &[u8]) {
        match written.last_chunk() {
            Some(tail) => self.tail = *tail,
            None => {
                self.tail.rotate_left(written.len());
                let kept = self.tail.len().saturating_sub(written.len());
                for (place, byte) in self.tail.iter_mut().skip(kept).zip(written) {
                    *place = *byte;
                }
            }
        }
    }

    /// Whether nothing stands between the last event and the next: an empty line does not end the
    /// first line of one (WHATWG HTML 9.2.6).
    pub(crate) fn is_between_events(&self) -> bool {
        let ([line @ .., b'\r', b'\n'] | [line @ .., b'\r' | b'\n']) = self.tail.as_slice() else {
            return false;
        };
        matches!(line.last(), Some(b'\r' | b'\n'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-D12
    #[test]
    fn events_end_with_an_empty_line_however_it_is_written_and_cut() {
        for (written, between) in [
            ("", true),
            ("data: x\n\n", true),
            ("data: x\r\n\r\n", true),
            ("data: x\r\r", true),
            ("data: x\n\r\n", true),
            ("data: x\r\n", false),
            ("data: x\n", false),
            ("data: x\r", false),
            ("data: x", false),
            ("\n\nx", false),
        ] {
            for cut in 0..=written.len() {
                let (first, rest) = written.as_bytes().split_at(cut);
                let mut alive = StreamAlive::new(Duration::from_secs(1), Dialect::Chat).unwrap();
                alive.note(first);
                alive.note(rest);
                assert_eq!(alive.is_between_events(), between, "{written:?} at {cut}");
            }
        }
    }

    // LLM-D12
    #[test]
    fn nothing_is_said_where_nobody_would_understand_it_or_nobody_wants_it() {
        let every = Duration::from_secs(1);
        assert!(StreamAlive::new(every, Dialect::Plain).is_none());
        assert!(StreamAlive::new(Duration::ZERO, Dialect::Chat).is_none());
    }
}
