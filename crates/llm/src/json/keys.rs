//! The keys of the objects that are open, so that none comes twice.
//!
//! A small object is compared key by key. A large one is sorted whenever it has doubled and when
//! it closes, so that a body made of keys costs n log n however they were chosen, and eight bytes
//! a key.

use super::unescaped;
use std::borrow::Cow;

/// Objects up to this size are compared key by key.
const SMALL: usize = 32;
/// A larger one is sorted first when it has so many keys.
const FIRST_CHECK: u32 = 64;

/// Growing storage that holds its first `N` items in place.
pub(super) struct Stack<T, const N: usize> {
    inline: [T; N],
    inline_len: usize,
    /// Holds everything once it holds anything.
    spill: Vec<T>,
}

impl<T: Copy, const N: usize> Stack<T, N> {
    pub(super) fn new(filler: T) -> Self {
        Self {
            inline: [filler; N],
            inline_len: 0,
            spill: Vec::new(),
        }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        if self.spill.is_empty() {
            self.inline.get(..self.inline_len).unwrap_or_default()
        } else {
            &self.spill
        }
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        if self.spill.is_empty() {
            self.inline.get_mut(..self.inline_len).unwrap_or_default()
        } else {
            &mut self.spill
        }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.spill.is_empty() {
            if let Some(slot) = self.inline.get_mut(self.inline_len) {
                *slot = item;
                self.inline_len += 1;
                return;
            }
            self.spill.extend_from_slice(&self.inline);
            self.inline_len = 0;
        }
        self.spill.push(item);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        if let Some(item) = self.spill.pop() {
            return Some(item);
        }
        let last = self.inline_len.checked_sub(1)?;
        self.inline_len = last;
        self.inline.get(last).copied()
    }

    fn truncate(&mut self, len: usize) {
        self.spill.truncate(len);
        self.inline_len = self.inline_len.min(len);
    }
}

/// Where the keys of one open object stand in the table.
#[derive(Clone, Copy)]
pub(super) struct ObjectKeys {
    base: u32,
    /// The number of keys at which to look for duplicates next.
    next_check: u32,
}

/// A key that came a second time; where the text of the second one starts.
pub(super) struct Duplicate(pub(super) u32);

/// One key. Sorts by hash, then by place.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    hash: u32,
    start: u32,
}

pub(super) struct Keys {
    all: Stack<Key, 64>,
    seed: u64,
}

impl Keys {
    /// The address of the body goes into the hash, so that colliding keys can't be computed in
    /// advance. What is decided does not depend on it.
    pub(super) fn new(body: &str) -> Self {
        Self {
            all: Stack::new(Key { hash: 0, start: 0 }),
            seed: body.as_ptr().addr() as u64 ^ 0x9e37_79b9_7f4a_7c15,
        }
    }

    pub(super) fn open(&self) -> ObjectKeys {
        ObjectKeys {
            base: u32::try_from(self.all.as_slice().len()).unwrap_or(u32::MAX),
            next_check: FIRST_CHECK,
        }
    }

    pub(super) const fn hasher(&self) -> KeyHash {
        KeyHash(self.seed)
    }

    /// Adds a key to the object that was opened last.
    pub(super) fn add(
        &mut self,
        object: &mut ObjectKeys,
        body: &str,
        hash: u32,
        start: u32,
    ) -> Result<(), Duplicate> {
        let keys = self.of(*object);
        let count = keys.len();
        if count < SMALL {
            for key in keys {
                if key.hash == hash && text_at(body, key.start) == text_at(body, start) {
                    return Err(Duplicate(start));
                }
            }
        }
        self.all.push(Key { hash, start });
        if count >= object.next_check as usize {
            object.next_check = object.next_check.saturating_mul(2);
            return self.check(*object, body);
        }
        Ok(())
    }

    /// Forgets the keys of the object that was opened last.
    pub(super) fn close(&mut self, object: ObjectKeys, body: &str) -> Result<(), Duplicate> {
        let large = self.of(object).len() > SMALL;
        let checked = if large {
            self.check(object, body)
        } else {
            Ok(())
        };
        self.all.truncate(object.base as usize);
        checked
    }

    fn of(&self, object: ObjectKeys) -> &[Key] {
        self.all
            .as_slice()
            .get(object.base as usize..)
            .unwrap_or_default()
    }

    /// Of all keys that came before, the one that stands first in the body.
    #[cold]
    fn check(&mut self, object: ObjectKeys, body: &str) -> Result<(), Duplicate> {
        let keys = self
            .all
            .as_mut_slice()
            .get_mut(object.base as usize..)
            .unwrap_or_default();
        keys.sort_unstable();
        keys.chunk_by(|a, b| a.hash == b.hash)
            .filter(|group| group.len() > 1)
            .filter_map(|group| first_repeated(group, body))
            .min()
            .map_or(Ok(()), |start| Err(Duplicate(start)))
    }
}

/// Of keys with one hash, the first that repeats another.
fn first_repeated(group: &[Key], body: &str) -> Option<u32> {
    let mut texts: Vec<(Cow<'_, str>, u32)> = group
        .iter()
        .map(|key| (text_at(body, key.start), key.start))
        .collect();
    texts.sort_unstable();
    texts
        .windows(2)
        .filter_map(|pair| match pair {
            [(a, _), (b, start)] if a == b => Some(*start),
            _ => None,
        })
        .min()
}

/// The unescaped text of the key whose inside starts here.
pub(super) fn text_at(body: &str, start: u32) -> Cow<'_, str> {
    let rest = body.get(start as usize..).unwrap_or_default();
    let mut escaped = false;
    let end = rest
        .bytes()
        .position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        })
        .unwrap_or(rest.len());
    unescaped(rest.get(..end).unwrap_or_default())
}

/// A hash over eight bytes at a time, so that the scanner can feed the words it has loaded.
#[derive(Clone, Copy)]
pub(super) struct KeyHash(u64);

impl KeyHash {
    /// Eight more bytes of the key.
    pub(super) fn whole(&mut self, word: u64) {
        const ODD: u64 = 0xa076_1d64_78bd_642f;
        let mixed = self.0 ^ word;
        let high = ((u128::from(mixed) * u128::from(ODD)) >> 64) as u64;
        self.0 = high ^ mixed.wrapping_mul(ODD);
    }

    /// The bytes that are left, zeros above them, and the length of the whole key.
    pub(super) fn last(mut self, word: u64, len: usize) -> u32 {
        self.whole(word);
        self.whole(len as u64);
        (self.0 >> 32) as u32
    }

    /// The same over a text.
    pub(super) fn of(mut self, text: &str) -> u32 {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            self.whole(u64::from_le_bytes(*word));
        }
        let mut last = [0_u8; 8];
        for (slot, byte) in last.iter_mut().zip(rest) {
            *slot = *byte;
        }
        self.last(u64::from_le_bytes(last), text.len())
    }
}
