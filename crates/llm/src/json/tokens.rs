//! The tokens of a strict JSON text: blanks, strings, numbers, literals (RFC 8259).

use super::keys::KeyHash;
use super::unescaped;
use super::words::{name_run, no_name, plain_run};
use crate::body::{BodyFault, BodyRefusal};
use std::borrow::Cow;
use std::ops::Range;

/// Most digits in one number.
const DIGITS_MAX: usize = 400;

/// The inside of a string in the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) escaped: bool,
}

impl Token {
    /// Unescaped.
    #[inline]
    pub(crate) fn text<'a>(&self, body: &'a str) -> Cow<'a, str> {
        let raw = body.get(self.start..self.end).unwrap_or_default();
        if self.escaped {
            unescaped(raw)
        } else {
            Cow::Borrowed(raw)
        }
    }

    /// The place with its quotes.
    pub(crate) const fn quoted(&self) -> Range<usize> {
        self.start.saturating_sub(1)..self.end.saturating_add(1)
    }
}

pub(super) const fn syntax(wanted: &'static str, offset: usize) -> BodyRefusal {
    BodyRefusal {
        fault: BodyFault::Syntax(wanted),
        offset,
    }
}

/// A place in a text, and the tokens that are taken from there.
pub(super) struct Tokens<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Tokens<'a> {
    /// The next byte that is no blank, which is where this then stands.
    #[inline]
    pub(super) fn next_byte(&mut self) -> Option<u8> {
        match self.byte() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => {
                self.skip_blanks();
                self.byte()
            }
        }
    }

    /// One of `true`, `false`, `null`, which stands for `value`.
    pub(super) fn literal<T>(&mut self, name: &'static str, value: T) -> Result<T, BodyRefusal> {
        if !self.rest().starts_with(name.as_bytes()) {
            return Err(self.wants("a value"));
        }
        self.at += name.len();
        Ok(value)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<(), BodyRefusal> {
        self.took(b'-');
        let mut digits = 1;
        if !self.took(b'0') {
            digits = self.digits()?;
        }
        if self.took(b'.') {
            digits += self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            digits += self.digits()?;
        }
        if digits > DIGITS_MAX {
            return Err(self.wants("numbers of at most 400 digits"));
        }
        Ok(())
    }

    /// One or more digits.
    #[inline]
    fn digits(&mut self) -> Result<usize, BodyRefusal> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        if count == 0 {
            return Err(self.wants("a digit"));
        }
        self.at += count;
        Ok(count)
    }

    /// The key that begins here, and its hash, made on the way.
    #[inline]
    pub(super) fn key(&mut self, hasher: KeyHash) -> Result<(Token, u32), BodyRefusal> {
        self.at += 1;
        let mut hash = hasher;
        let (words, _) = self.rest().as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let other = no_name(word);
            if other == 0 {
                hash.whole(word);
                continue;
            }
            let bits = other.trailing_zeros() & !7;
            if (word >> bits) & 0xff != u64::from(b'"') {
                break;
            }
            let len = 8 * index + bits as usize / 8;
            let hash = hash.last(word & !(u64::MAX << bits), len);
            return Ok((self.ended(len, false), hash));
        }
        let key = self.any_string()?;
        Ok((key, hasher.of(&key.text(self.text))))
    }

    /// The string that begins here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Token, BodyRefusal> {
        self.at += 1;
        if let Some(len) = name_run(self.rest())
            && self.rest().get(len) == Some(&b'"')
        {
            return Ok(self.ended(len, false));
        }
        self.any_string()
    }

    /// The string whose opening quote has been taken.
    #[inline(never)]
    fn any_string(&mut self) -> Result<Token, BodyRefusal> {
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_run(self.rest());
            match self.byte() {
                Some(b'"') => {
                    let len = self.at - start;
                    self.at = start;
                    return Ok(self.ended(len, escaped));
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                Some(_) => return Err(self.wants("control characters escaped")),
                None => return Err(self.wants("the end of a string")),
            }
        }
    }

    /// At the inside of a string that is so long.
    #[inline]
    const fn ended(&mut self, len: usize, escaped: bool) -> Token {
        let start = self.at;
        let end = start + len;
        self.at = end + 1;
        Token {
            start,
            end,
            escaped,
        }
    }

    fn escape(&mut self) -> Result<(), BodyRefusal> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.unit(self.at) {
                Some(0xd800..=0xdbff) => match self.unit(self.at + 6) {
                    Some(0xdc00..=0xdfff) => {
                        self.at += 12;
                        Ok(())
                    }
                    _ => Err(self.wants("both halves of a surrogate pair")),
                },
                Some(0xdc00..=0xdfff) => Err(self.wants("both halves of a surrogate pair")),
                Some(_) => {
                    self.at += 6;
                    Ok(())
                }
                None => Err(self.wants("four hex digits after `\\u`")),
            },
            _ => Err(self.wants("an escape of JSON")),
        }
    }

    /// The code unit of a `\uXXXX` that stands at `at`.
    fn unit(&self, at: usize) -> Option<u32> {
        let escape = self.text.as_bytes().get(at..)?.first_chunk::<6>()?;
        let [b'\\', b'u', digits @ ..] = escape else {
            return None;
        };
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | char::from(*digit).to_digit(16)?)
        })
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn took(&mut self, wanted: u8) -> bool {
        let here = self.byte() == Some(wanted);
        if here {
            self.at += 1;
        }
        here
    }

    #[inline(never)]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    #[cold]
    pub(super) fn wants(&self, wanted: &'static str) -> BodyRefusal {
        syntax(wanted, self.at)
    }
}
