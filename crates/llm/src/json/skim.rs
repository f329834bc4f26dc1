//! A quick look into JSON that others wrote: one pass, which goes into what is wanted and steps
//! over the rest.
//!
//! What is stepped over is only measured, not judged: strings must end, and brackets must pair
//! by number. That is enough to know that a member stands where it seems to stand. Keys are
//! compared as written; vendors don't escape theirs.

use super::unescaped;
use super::words::{brackets_and_quotes, plain_run, word_of};
use std::borrow::Cow;

/// A place in a text where a value begins.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// The text ended early, is not JSON, or has another form than was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken;

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let mut cursor = Self { text, at: 0 };
        cursor.unblank();
        cursor
    }

    /// After the value: whether nothing but blanks is left.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Bytes before this place.
    pub(crate) const fn offset(&self) -> usize {
        self.at
    }

    /// Takes an object. For every member `each` gets the key and must take the value.
    pub(crate) fn members<E: From<Broken>>(
        &mut self,
        mut each: impl FnMut(&'a [u8], &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.parts(b'{', b'}', |cursor| {
            let key = cursor.inside()?;
            cursor.expect(b':')?;
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

    fn parts<E: From<Broken>>(
        &mut self,
        open: u8,
        close: u8,
        mut part: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(open)?;
        if self.byte() == Some(close) {
            return Ok(self.expect(close)?);
        }
        loop {
            part(self)?;
            if self.byte() != Some(b',') {
                return Ok(self.expect(close)?);
            }
            self.expect(b',')?;
        }
    }

    /// Takes any value.
    pub(crate) fn skip(&mut self) -> Result<(), Broken> {
        match self.byte() {
            Some(b'"') => self.inside().map(|_| ()),
            Some(b'{' | b'[') => self.skip_container(),
            _ => self.word().map(|_| ()),
        }
    }

    /// Takes a value by `read`, or steps over it when that can't.
    pub(crate) fn or_skip<T, E>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Result<T, E>, Broken> {
        let start = self.at;
        let read = read(self);
        if read.is_err() {
            self.at = start;
            self.skip()?;
        }
        Ok(read)
    }

    /// Takes null, if it is here.
    pub(crate) fn null(&mut self) -> bool {
        let here = self.byte() == Some(b'n');
        here && self.skip().is_ok()
    }

    /// Takes any value. Whether it says anything: not null, an empty string, an empty array.
    pub(crate) fn has_substance(&mut self) -> Result<bool, Broken> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let empty = match rest {
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

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        let inside = self.inside()?;
        std::str::from_utf8(inside)
            .map(unescaped)
            .map_err(|_| Broken)
    }

    /// Takes a string as it is written.
    fn inside(&mut self) -> Result<&'a [u8], Broken> {
        if self.byte() != Some(b'"') {
            return Err(Broken);
        }
        let start = self.at + 1;
        let end = self.string_end(start)?;
        self.at = end + 1;
        self.unblank();
        self.text.get(start..end).ok_or(Broken)
    }

    /// Where the closing quote stands.
    fn string_end(&self, start: usize) -> Result<usize, Broken> {
        let mut end = start;
        loop {
            end += plain_run(self.text.get(end..).unwrap_or_default());
            match self.text.get(end) {
                Some(b'"') => return Ok(end),
                Some(b'\\') => end += 2,
                _ => return Err(Broken),
            }
        }
    }

    fn skip_container(&mut self) -> Result<(), Broken> {
        let mut depth = 0_usize;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let found = brackets_and_quotes(word_of(rest));
            if found == 0 {
                if rest.len() < 8 {
                    return Err(Broken);
                }
                self.at += 8;
                continue;
            }
            self.at += found.trailing_zeros() as usize / 8;
            match self.byte() {
                Some(b'"') => self.skip_strings()?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                _ => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
            }
            if depth == 0 {
                self.unblank();
                return Ok(());
            }
        }
    }

    /// Steps over the string that starts here, and on over those that follow it at once, as the
    /// value does its key.
    fn skip_strings(&mut self) -> Result<(), Broken> {
        self.at = self.string_end(self.at + 1)? + 1;
        while let Some([b':' | b',', b'"', ..]) = self.text.get(self.at..) {
            self.at = self.string_end(self.at + 2)? + 1;
        }
        Ok(())
    }

    /// A number or literal, not judged.
    fn word(&mut self) -> Result<&'a [u8], Broken> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest
            .iter()
            .position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E'))
            .unwrap_or(rest.len());
        self.at += len;
        self.unblank();
        rest.get(..len)
            .filter(|word| !word.is_empty())
            .ok_or(Broken)
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.byte() != Some(byte) {
            return Err(Broken);
        }
        self.at += 1;
        self.unblank();
        Ok(())
    }

    fn unblank(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }
}
