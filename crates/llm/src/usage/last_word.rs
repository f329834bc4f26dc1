//! The end mark of a stream, kept back so that something can be said before it. Every byte goes on as
//! it came, only the end later.

use super::hidden::event_len;

/// An event whose end does not come within so many bytes is passed on unread, and so is the rest; so is
/// what comes after the end mark.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// The last events of the dialects that name them.
const LAST_EVENTS: [&[u8]; 5] = [
    b"message_stop",
    b"response.completed",
    b"response.incomplete",
    b"response.failed",
    b"image_generation.completed",
];

/// Keeps the end mark back, and whatever follows it.
#[derive(Debug, Default)]
pub struct LastWord {
    /// The beginning of an event whose end has not come, or the end mark and what follows.
    held: Vec<u8>,
    /// The end mark is there.
    is_last: bool,
    /// Nothing is looked at any more.
    is_open: bool,
}

impl LastWord {
    /// Takes the next bytes, and gives those that go on.
    pub fn feed(&mut self, bytes: &[u8], mut go_on: impl FnMut(&[u8])) {
        if self.is_open {
            return go_on(bytes);
        }
        self.held.extend_from_slice(bytes);
        if !self.is_last {
            let mut passed = 0;
            while let Some(rest) = self.held.get(passed..)
                && let Some(len) = event_len(rest)
            {
                let (event, _) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                if is_last(event) {
                    self.is_last = true;
                    break;
                }
                passed = passed.saturating_add(len);
            }
            let passed = self.held.drain(..passed.min(self.held.len()));
            if !passed.as_slice().is_empty() {
                go_on(passed.as_slice());
            }
        }
        if self.held.len() > HELD_BYTES_MAX {
            self.is_open = true;
            go_on(&std::mem::take(&mut self.held));
        }
    }

    /// What is left when the stream has ended: the end mark, if there was one.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Whether this is the last event of its stream.
fn is_last(event: &[u8]) -> bool {
    let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.any(|line| {
        if let Some(data) = line.strip_prefix(b"data:") {
            return data.trim_ascii() == b"[DONE]";
        }
        let name = line.strip_prefix(b"event:").map(<[u8]>::trim_ascii);
        name.is_some_and(|name| LAST_EVENTS.contains(&name))
    })
}
