//! What waits to be written, and who goes first when too much does.

use std::collections::VecDeque;

/// How many lines may wait.
pub const LINES_MAX: usize = 16_384;

/// How many bytes may wait.
pub const BYTES_MAX: usize = 16 << 20;

/// Buffers kept for reuse, and the size above which one is not; a worker's full batch fits.
const SPARES_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 512 << 10;

/// Which lines go first when too many wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Urgency {
    /// Dropped when there is no room.
    Ordinary,
    /// Warnings and errors: kept while there is an ordinary line to drop instead.
    Urgent,
}

/// Whole lines that were handed over together.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: usize,
}

/// Two queues, so that ordinary lines are found without a search; tickets keep the common order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ordinary: VecDeque<(u64, Entry)>,
    urgent: VecDeque<(u64, Entry)>,
    ticket: u64,
    lines: usize,
    bytes: usize,
    spares: Vec<Vec<u8>>,
    /// Lines lost since the last note about them.
    pub(super) dropped: usize,
    /// Whether something taken out is being written.
    pub(super) busy: bool,
    pub(super) closed: bool,
}

impl Queue {
    /// Adds an entry; returns how many lines were lost for it, or instead of it.
    pub(super) fn push(&mut self, entry: Entry, urgency: Urgency) -> usize {
        let mut lost = 0;
        while !self.fits(&entry) {
            let Some((_, oldest)) = self.ordinary.pop_front() else {
                lost += entry.lines;
                self.dropped += lost;
                self.keep_spare(entry.bytes);
                return lost;
            };
            self.forget(&oldest);
            lost += oldest.lines;
            self.keep_spare(oldest.bytes);
        }
        self.dropped += lost;
        self.lines += entry.lines;
        self.bytes += entry.bytes.len();
        self.ticket += 1;
        let queue = match urgency {
            Urgency::Ordinary => &mut self.ordinary,
            Urgency::Urgent => &mut self.urgent,
        };
        queue.push_back((self.ticket, entry));
        lost
    }

    fn fits(&self, entry: &Entry) -> bool {
        self.lines.saturating_add(entry.lines) <= LINES_MAX
            && self.bytes.saturating_add(entry.bytes.len()) <= BYTES_MAX
    }

    fn forget(&mut self, entry: &Entry) {
        self.lines -= entry.lines;
        self.bytes -= entry.bytes.len();
    }

    /// The oldest entry.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let ticket = |queue: &VecDeque<(u64, Entry)>| queue.front().map_or(u64::MAX, |(at, _)| *at);
        let queue = if ticket(&self.urgent) < ticket(&self.ordinary) {
            &mut self.urgent
        } else {
            &mut self.ordinary
        };
        let (_, entry) = queue.pop_front()?;
        self.forget(&entry);
        Some(entry)
    }

    /// Takes a written buffer back; returns how many lines to own up to, once nothing waits.
    pub(super) fn written(&mut self, bytes: Vec<u8>) -> usize {
        self.keep_spare(bytes);
        if self.is_empty() {
            std::mem::take(&mut self.dropped)
        } else {
            0
        }
    }

    fn keep_spare(&mut self, mut bytes: Vec<u8>) {
        if self.spares.len() < SPARES_MAX && bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spares.push(bytes);
        }
    }

    /// An empty buffer, a used one if there is one.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ordinary.is_empty() && self.urgent.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && !self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, lines: usize) -> Entry {
        Entry {
            bytes: name.as_bytes().to_vec(),
            lines,
        }
    }

    fn drain(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop())
            .map(|entry| String::from_utf8(entry.bytes).unwrap())
            .collect()
    }

    // AUD-82
    #[test]
    fn a_full_queue_drops_the_oldest_ordinary_lines() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(entry("old", 4), Urgency::Ordinary), 0);
        assert_eq!(queue.push(entry("warning", 1), Urgency::Urgent), 0);
        assert_eq!(
            queue.push(entry("many", LINES_MAX - 5), Urgency::Ordinary),
            0
        );
        assert_eq!(queue.push(entry("new", 1), Urgency::Ordinary), 4);
        assert_eq!(drain(&mut queue), ["warning", "many", "new"]);
        assert_eq!(queue.written(Vec::new()), 4);
        assert_eq!(queue.written(Vec::new()), 0);
    }

    // AUD-82
    #[test]
    fn a_queue_full_of_warnings_takes_no_more() {
        let mut queue = Queue::default();
        queue.push(entry("warnings", LINES_MAX), Urgency::Urgent);
        assert_eq!(queue.push(entry("line", 1), Urgency::Ordinary), 1);
        assert_eq!(queue.push(entry("warning", 1), Urgency::Urgent), 1);
        assert_eq!(drain(&mut queue), ["warnings"]);
    }

    #[test]
    fn few_long_lines_are_bounded_too() {
        let mut queue = Queue::default();
        let long = || Entry {
            bytes: vec![b'x'; BYTES_MAX / 2 + 1],
            lines: 1,
        };
        assert_eq!(queue.push(long(), Urgency::Ordinary), 0);
        assert_eq!(queue.push(long(), Urgency::Ordinary), 1);
    }
}
