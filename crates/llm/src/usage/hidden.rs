//! The usage line of a chat stream, asked for by the gateway and not by the caller: it is taken out
//! again on the way back (LLM-D34). Every other byte goes on as it came.

use crate::json::values::key_text;
use crate::json::{Broken, Cursor};

/// An event whose end does not come within so many bytes is passed on unread, and so is the rest.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Takes the usage line out of a stream.
#[derive(Debug, Default)]
pub struct HiddenUsage {
    /// The beginning of an event whose end has not come.
    held: Vec<u8>,
    /// Nothing is looked at any more.
    is_open: bool,
}

impl HiddenUsage {
    /// Takes the next bytes, and gives those that go on.
    pub fn feed(&mut self, bytes: &[u8], mut go_on: impl FnMut(&[u8])) {
        if self.is_open {
            return go_on(bytes);
        }
        if self.held.is_empty() {
            let rest = pass(bytes, &mut go_on);
            self.held.extend_from_slice(rest);
        } else {
            self.held.extend_from_slice(bytes);
            let held = std::mem::take(&mut self.held);
            let rest = pass(&held, &mut go_on).len();
            self.held = held;
            let passed = self.held.len().saturating_sub(rest);
            self.held.drain(..passed);
        }
        if self.held.len() > EVENT_BYTES_MAX {
            self.is_open = true;
            go_on(&std::mem::take(&mut self.held));
        }
    }

    /// What is left when the stream has ended.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Passes whole events on, all but the usage line; gives what is no whole event.
fn pass<'b>(bytes: &'b [u8], go_on: &mut impl FnMut(&[u8])) -> &'b [u8] {
    let (mut rest, mut kept) = (bytes, bytes);
    let mut kept_len = 0;
    while let Some(len) = event_len(rest) {
        let (event, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        if is_usage_line(event) {
            if let Some(kept) = kept.get(..kept_len).filter(|kept| !kept.is_empty()) {
                go_on(kept);
            }
            (kept, kept_len) = (after, 0);
        } else {
            kept_len = kept_len.saturating_add(len);
        }
        rest = after;
    }
    if let Some(kept) = kept.get(..kept_len).filter(|kept| !kept.is_empty()) {
        go_on(kept);
    }
    rest
}

/// The length of the first event with the blank line that ends it.
pub(super) fn event_len(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = memchr::memchr2(b'\n', b'\r', bytes.get(from..)?)?.saturating_add(from);
        let next = match bytes.get(end..)? {
            [b'\r', b'\n', ..] => end.saturating_add(2),
            // Whether an LF follows is not known yet.
            [b'\r'] => return None,
            _ => end.saturating_add(1),
        };
        match bytes.get(next..)? {
            [b'\r', b'\n', ..] => return Some(next.saturating_add(2)),
            [b'\r'] | [] => return None,
            [b'\n' | b'\r', ..] => return Some(next.saturating_add(1)),
            _ => from = next,
        }
    }
}

/// Whether an event tells of usage and of nothing else: without choices, with usage.
fn is_usage_line(event: &[u8]) -> bool {
    let mut lines = event
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter(|line| !line.is_empty());
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let Some(data) = line.strip_prefix(b"data:") else {
        return false;
    };
    let (mut no_choices, mut usage) = (false, false);
    let read = Cursor::new(data).members(|key, cursor| match &*key_text(key)? {
        "choices" => {
            let mut some = false;
            cursor.items(|cursor| {
                some = true;
                cursor.skip()
            })?;
            no_choices = !some;
            Ok::<_, Broken>(())
        }
        "usage" => {
            usage = cursor.first() == Some(b'{');
            cursor.skip()
        }
        _ => cursor.skip(),
    });
    read.is_ok() && no_choices && usage
}
