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
const FIRST_CHECK: usize = 64;

/// Growing storage that holds its first `N` items in place.
pub(super) struct Stack<T, const N: usize> {
    inline: [T; N],
    len: usize,
    /// Holds everything once it holds anything.
    spill: Vec<T>,
}

impl<T: Copy, const N: usize> Stack<T, N> {
    pub(super) fn new(filler: T) -> Self {
        Self {
            inline: [filler; N],
            len: 0,
            spill: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[T] {
        if self.spill.is_empty() {
            self.inline.get(..self.len).unwrap_or_default()
        } else {
            &self.spill
        }
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        if self.spill.is_empty() {
            self.inline.get_mut(..self.len).unwrap_or_default()
        } else {
            &mut self.spill
        }
    }

    #[inline]
    pub(super) fn push(&mut self, item: T) {
        if !self.pushed_inline(item) {
            self.push_spill(item);
        }
    }

    /// Whether there was room in place.
    #[inline]
    fn pushed_inline(&mut self, item: T) -> bool {
        if self.spill.is_empty()
            && let Some(slot) = self.inline.get_mut(self.len)
        {
            *slot = item;
            self.len += 1;
            return true;
        }
        false
    }

    #[cold]
    fn push_spill(&mut self, item: T) {
        if self.spill.is_empty() {
            self.spill.extend_from_slice(&self.inline);
        }
        self.spill.push(item);
        self.len += 1;
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.as_slice().last().copied()?;
        self.truncate(self.len - 1);
        Some(last)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if !self.spill.is_empty() {
            self.spill.truncate(len);
        }
    }
}

/// A place in a body, or a number of keys in it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the body is below 4 GiB, which is seen to before its first key"
)]
pub(super) const fn place(at: usize) -> u32 {
    at as u32
}

/// Where the keys of one open object stand in the table.
#[derive(Clone, Copy)]
pub(super) struct ObjectKeys {
    base: u32,
    /// A bit for every hash: a key whose bit is not set is new.
    seen: u32,
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
    all: Stack<Key, 32>,
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
            base: place(self.all.len()),
            seen: 0,
        }
    }

    pub(super) const fn hasher(&self) -> KeyHash {
        KeyHash(self.seed)
    }

    /// Adds a key to the object that was opened last.
    #[inline]
    pub(super) fn add(
        &mut self,
        object: &mut ObjectKeys,
        body: &str,
        hash: u32,
        start: u32,
    ) -> Result<(), Duplicate> {
        let key = Key { hash, start };
        let seen = 1 << (hash % u32::BITS);
        let is_new = object.seen & seen == 0;
        object.seen |= seen;
        if is_new && self.all.pushed_inline(key) {
            return Ok(());
        }
        self.add_checked(*object, body, key)
    }

    /// Adds a key that is perhaps not new, or one of many.
    #[inline(never)]
    fn add_checked(&mut self, object: ObjectKeys, body: &str, key: Key) -> Result<(), Duplicate> {
        let before = self.all.as_slice().get(object.base as usize..);
        let before = before.unwrap_or_default();
        let count = before.len();
        if count < SMALL {
            for other in before {
                if other.hash == key.hash && text_at(body, other.start) == text_at(body, key.start)
                {
                    return Err(Duplicate(key.start));
                }
            }
        }
        self.all.push(key);
        if count >= FIRST_CHECK && count.is_power_of_two() {
            return self.check(object, body);
        }
        Ok(())
    }

    /// Forgets the keys of the object that was opened last.
    #[inline]
    pub(super) fn close(&mut self, object: ObjectKeys, body: &str) -> Result<(), Duplicate> {
        let mut checked = Ok(());
        if self.all.len() - object.base as usize > SMALL {
            checked = self.check(object, body);
        }
        self.all.truncate(object.base as usize);
        checked
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
        // Fewer than eight bytes are left: the highest is free.
        self.whole(word | (len as u64) << 56);
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
