//! A quick look into JSON that others wrote: one pass, which goes into what is wanted and steps
//! over the rest.
//!
//! What is stepped over is only measured, not judged: strings must end, and brackets must pair
//! by number. That is enough to know that a member stands where it seems to stand. Keys are
//! compared as written; vendors don't escape theirs.

use super::unescaped;
use super::words::{after_blanks, brackets_and_quotes, name_run, plain_run, word_of};
use std::borrow::Cow;

/// A place in a text where a value begins.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    /// What stands here and after.
    rest: &'a [u8],
}

/// The text ended early, is not JSON, or has another form than was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken;

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let mut cursor = Self { rest: text };
        cursor.unblank();
        cursor
    }

    /// After the value: whether nothing but blanks is left.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes from this place on.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The byte that begins the value here.
    #[inline]
    pub(crate) fn first(&self) -> Option<u8> {
        self.byte()
    }

    /// Takes `true`, `false` or `null` as it is written.
    pub(crate) fn literal(&mut self) -> Result<&'a [u8], Broken> {
        match self.byte() {
            Some(b't' | b'f' | b'n') => self.word(),
            _ => Err(Broken),
        }
    }

    /// Takes an object. For every member `each` gets the key and must take the value.
    pub(crate) fn members<E: From<Broken>>(
        &mut self,
        mut each: impl FnMut(&'a [u8], &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.parts(b'{', b'}', |cursor| {
            let key = cursor.key()?;
            each(key, cursor)
        })
    }

    /// Takes an array, each of whose items `each` must take.
    pub(crate) fn items<E: From<Broken>>(
        &mut self,
        each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.parts(b'[', b']', each)
    }

    #[inline]
    fn parts<E: From<Broken>>(
        &mut self,
        open: u8,
        close: u8,
        mut part: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(open)?;
        if self.took(close) {
            return Ok(());
        }
        loop {
            part(self)?;
            if !self.took(b',') {
                return Ok(self.expect(close)?);
            }
        }
    }

    /// Takes any value.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<(), Broken> {
        match self.byte() {
            Some(b'"') => self.skip_string(),
            Some(b'{' | b'[') => self.skip_container(),
            _ => self.word().map(|_| ()),
        }
    }

    /// Takes a value by `read`, or steps over it when that can't.
    #[inline]
    pub(crate) fn or_skip<T, E>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Result<T, E>, Broken> {
        let start = self.rest;
        let read = read(self);
        if read.is_err() {
            self.rest = start;
            self.skip()?;
        }
        Ok(read)
    }

    /// Takes any value, as it is written.
    pub(crate) fn taken(&mut self) -> Result<&'a [u8], Broken> {
        let start = self.rest;
        self.skip()?;
        let len = start.len().saturating_sub(self.rest.len());
        start.get(..len).ok_or(Broken)
    }

    /// Takes null, if it is here.
    #[inline]
    pub(crate) fn null(&mut self) -> bool {
        let here = self.byte() == Some(b'n');
        here && self.skip().is_ok()
    }

    /// Takes any value. Whether it says anything: not null, an empty string, an empty array.
    pub(crate) fn has_substance(&mut self) -> Result<bool, Broken> {
        let empty = match self.rest {
            [b'n', ..] | [b'"', b'"', ..] => true,
            [b'[', inside @ ..] => inside.trim_ascii_start().starts_with(b"]"),
            _ => false,
        };
        self.skip()?;
        Ok(!empty)
    }

    /// Takes a number as it is written.
    pub(crate) fn number(&mut self) -> Result<&'a [u8], Broken> {
        match self.byte() {
            Some(b'-' | b'0'..=b'9') => self.word(),
            _ => Err(Broken),
        }
    }

    /// Takes a number that is nothing but a few digits, if it is here and seen to end.
    #[inline]
    pub(crate) fn digits(&mut self) -> Option<u64> {
        const DIGITS_MAX: usize = 18;
        let (mut number, mut rest) = (0_u64, self.rest);
        while let [digit @ b'0'..=b'9', after @ ..] = rest {
            number = number
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0'));
            rest = after;
        }
        let len = self.rest.len() - rest.len();
        if !(1..=DIGITS_MAX).contains(&len) || !matches!(rest, [b',' | b'}', ..]) {
            return None;
        }
        self.rest = rest;
        Some(number)
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        if let Some(name) = self.name() {
            return std::str::from_utf8(name)
                .map(Cow::Borrowed)
                .map_err(|_| Broken);
        }
        std::str::from_utf8(self.inside()?)
            .map(unescaped)
            .map_err(|_| Broken)
    }

    /// Takes the key of a member and its colon.
    #[inline]
    fn key(&mut self) -> Result<&'a [u8], Broken> {
        let Some((key, [b'"', b':', after @ ..])) = name_and_rest(self.rest) else {
            return self.odd_key();
        };
        self.rest = after;
        self.unblank();
        Ok(key)
    }

    #[inline(never)]
    fn odd_key(&mut self) -> Result<&'a [u8], Broken> {
        let key = self.inside()?;
        self.expect(b':')?;
        Ok(key)
    }

    fn skip_string(&mut self) -> Result<(), Broken> {
        if self.name().is_some() {
            return Ok(());
        }
        self.inside().map(|_| ())
    }

    /// Takes a string that is a short one without blanks and escapes.
    #[inline]
    fn name(&mut self) -> Option<&'a [u8]> {
        let (name, [b'"', after @ ..]) = name_and_rest(self.rest)? else {
            return None;
        };
        self.rest = after;
        self.unblank();
        Some(name)
    }

    /// Takes a string as it is written.
    #[inline(never)]
    fn inside(&mut self) -> Result<&'a [u8], Broken> {
        let [b'"', text @ ..] = self.rest else {
            return Err(Broken);
        };
        let (inside, after) = text.split_at_checked(string_len(text)?).ok_or(Broken)?;
        self.rest = after;
        self.advance(1);
        Ok(inside)
    }

    #[inline(never)]
    fn skip_container(&mut self) -> Result<(), Broken> {
        let mut depth = 0_usize;
        let mut rest = self.rest;
        loop {
            rest = match rest {
                [b'"', text @ ..] => after_strings(text)?,
                [b'{' | b'[', after @ ..] => {
                    depth += 1;
                    after
                }
                [b'}' | b']', after @ ..] if depth > 1 => {
                    depth -= 1;
                    after
                }
                [b'}' | b']', after @ ..] => {
                    self.rest = after;
                    self.unblank();
                    return Ok(());
                }
                _ => from_mark(rest)?,
            };
        }
    }

    /// A number or literal, not judged.
    #[inline(never)]
    fn word(&mut self) -> Result<&'a [u8], Broken> {
        let ends = |byte: &u8| OF_WORD.get(usize::from(*byte)) != Some(&true);
        let len = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let word = self.rest.get(..len).filter(|word| !word.is_empty());
        self.advance(len);
        word.ok_or(Broken)
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn took(&mut self, byte: u8) -> bool {
        let here = self.byte() == Some(byte);
        if here {
            self.advance(1);
        }
        here
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.took(byte) { Ok(()) } else { Err(Broken) }
    }

    /// Over so many bytes and the blanks after them.
    #[inline]
    fn advance(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
        self.unblank();
    }

    #[inline]
    fn unblank(&mut self) {
        if self.byte().is_some_and(|byte| byte <= b' ') {
            self.rest = after_blanks(self.rest);
        }
    }
}

/// A short string's inside and what follows it, if here stands one.
#[inline]
fn name_and_rest(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let [b'"', text @ ..] = text else { return None };
    text.split_at_checked(name_run(text)?)
}

/// The length of a string whose opening quote has been taken.
#[inline(never)]
fn string_len(text: &[u8]) -> Result<usize, Broken> {
    let mut len = 0;
    loop {
        len += plain_run(text.get(len..).unwrap_or_default());
        match text.get(len) {
            Some(b'"') => return Ok(len),
            Some(b'\\') => len += 2,
            _ => return Err(Broken),
        }
    }
}

/// What stands after the string whose opening quote has been taken, and after those that follow
/// it at once, as the value does its key.
fn after_strings(mut text: &[u8]) -> Result<&[u8], Broken> {
    loop {
        let name = name_run(text).and_then(|len| text.get(len..));
        let after = match name {
            Some([b'"', after @ ..]) => after,
            _ => text.get(string_len(text)? + 1..).ok_or(Broken)?,
        };
        match after {
            [b':' | b',', b'"', next @ ..] => text = next,
            _ => return Ok(after),
        }
    }
}

/// What begins with the next quote or bracket.
fn from_mark(mut text: &[u8]) -> Result<&[u8], Broken> {
    loop {
        let found = brackets_and_quotes(word_of(text));
        if found != 0 {
            return text
                .get(found.trailing_zeros() as usize / 8..)
                .ok_or(Broken);
        }
        text = text.get(8..).ok_or(Broken)?;
    }
}

/// Whether a byte may be part of a number or literal.
#[expect(
    clippy::indexing_slicing,
    reason = "a table of all bytes, made by the compiler"
)]
static OF_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        table[byte as usize] =
            matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E');
        byte += 1;
    }
    table
};
