//! The tokens of a strict JSON text: blanks, strings, numbers, literals (RFC 8259).

use super::keys::KeyHash;
use super::unescaped;
use super::words::{after_blanks, no_name, plain_run, specials};
use crate::body::{BodyFault, BodyRefusal};
use std::borrow::Cow;
use std::ops::Range;

/// Most digits in one number.
const DIGITS_MAX: usize = 400;

/// The inside of a string in the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(super) start: usize,
    pub(super) raw: &'a [u8],
    pub(super) escaped: bool,
}

impl Token<'_> {
    /// Unescaped. The body is the one it came from.
    #[inline]
    pub(crate) fn text<'b>(&self, body: &'b str) -> Cow<'b, str> {
        let rest = body.get(self.start..).unwrap_or_default();
        let raw = rest.get(..self.raw.len()).unwrap_or_default();
        if self.escaped {
            unescaped(raw)
        } else {
            Cow::Borrowed(raw)
        }
    }

    /// Whether this is its text.
    #[inline]
    pub(crate) fn is(&self, body: &str, text: &str) -> bool {
        if self.escaped {
            self.text(body) == text
        } else {
            self.raw == text.as_bytes()
        }
    }

    /// The place with its quotes.
    pub(crate) const fn quoted(&self) -> Range<usize> {
        let end = self.start.saturating_add(self.raw.len());
        self.start.saturating_sub(1)..end.saturating_add(1)
    }
}

pub(super) const fn syntax(wanted: &'static str, offset: usize) -> BodyRefusal {
    BodyRefusal {
        fault: BodyFault::Syntax(wanted),
        offset,
    }
}

/// A place in a text, and the tokens that are taken from there. What is not inlined takes it by
/// value: a loop over tokens then has it in registers.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    /// What stands here and after.
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        let rest = text.as_bytes();
        Self { text, rest }
    }

    /// Bytes before this place.
    #[inline]
    pub(super) const fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The next byte that is no blank, which is where this then stands.
    #[inline]
    pub(super) fn next_byte(&mut self) -> Option<u8> {
        match self.byte() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => {
                self.rest = after_blanks(self.rest);
                self.byte()
            }
        }
    }

    /// `true`, `false`, or `null`, which is `None`.
    #[inline]
    pub(super) fn literal(&mut self) -> Result<Option<bool>, BodyRefusal> {
        let (value, rest) = match self.rest {
            [b't', b'r', b'u', b'e', rest @ ..] => (Some(true), rest),
            [b'f', b'a', b'l', b's', b'e', rest @ ..] => (Some(false), rest),
            [b'n', b'u', b'l', b'l', rest @ ..] => (None, rest),
            _ => return Err(self.wants("a value")),
        };
        self.rest = rest;
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
            self.advance(1);
            if let Some(b'+' | b'-') = self.byte() {
                self.advance(1);
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
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        if count == 0 {
            return Err(self.wants("a digit"));
        }
        self.advance(count);
        Ok(count)
    }

    /// The key that begins here, and its hash, made on the way.
    #[inline]
    pub(super) fn key(&mut self, hasher: KeyHash) -> Result<(Token<'a>, u32), BodyRefusal> {
        self.advance(1);
        let mut hash = hasher;
        for (index, word) in self.rest.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let other = no_name(word);
            if other == 0 {
                hash.whole(word);
                continue;
            }
            let bits = other.trailing_zeros() & !7;
            let Some(key) = self.ended(8 * index + bits as usize / 8) else {
                break;
            };
            let hash = hash.last(word & !(u64::MAX << bits), key.raw.len());
            return Ok((key, hash));
        }
        let key = self.any_string(0)?;
        Ok((key, hasher.of(&key.text(self.text))))
    }

    /// The string that begins here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Token<'a>, BodyRefusal> {
        /// What is longer is mostly much longer.
        const WORDS: usize = 10;
        self.advance(1);
        let mut plain = 0;
        for word in self.rest.as_chunks::<8>().0.iter().take(WORDS) {
            let special = specials(u64::from_le_bytes(*word));
            if special != 0 {
                plain += special.trailing_zeros() as usize / 8;
                if let Some(token) = self.ended(plain) {
                    return Ok(token);
                }
                break;
            }
            plain += 8;
        }
        self.any_string(plain)
    }

    /// The string whose opening quote has been taken, and so many bytes of which are plain.
    #[inline]
    fn any_string(&mut self, plain: usize) -> Result<Token<'a>, BodyRefusal> {
        let (token, after) = self.rest_of_string(plain)?;
        self.rest = after;
        Ok(token)
    }

    /// The same, and what stands after it.
    #[inline(never)]
    fn rest_of_string(mut self, plain: usize) -> Result<(Token<'a>, &'a [u8]), BodyRefusal> {
        let inside = self;
        self.advance(plain);
        let mut escaped = false;
        loop {
            self.advance(plain_run(self.rest));
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let len = self.escape_len()?;
                    self.advance(len);
                    escaped = true;
                }
                Some(_) => return Err(self.wants("control characters escaped")),
                None => return Err(self.wants("the end of a string")),
            }
        }
        let start = inside.at();
        let raw = inside.rest.get(..self.at() - start).unwrap_or_default();
        self.advance(1);
        let token = Token {
            start,
            raw,
            escaped,
        };
        Ok((token, self.rest))
    }

    /// Inside a string: takes it if it ends after so many bytes, none of them escaped.
    #[inline]
    fn ended(&mut self, len: usize) -> Option<Token<'a>> {
        let start = self.at();
        let (raw, [b'"', after @ ..]) = self.rest.split_at_checked(len)? else {
            return None;
        };
        self.rest = after;
        Some(Token {
            start,
            raw,
            escaped: false,
        })
    }

    fn escape_len(self) -> Result<usize, BodyRefusal> {
        match self.rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') => match self.unit(0) {
                Some(0xd800..=0xdbff) => match self.unit(6) {
                    Some(0xdc00..=0xdfff) => Ok(12),
                    _ => Err(self.wants("both halves of a surrogate pair")),
                },
                Some(0xdc00..=0xdfff) => Err(self.wants("both halves of a surrogate pair")),
                Some(_) => Ok(6),
                None => Err(self.wants("four hex digits after `\\u`")),
            },
            _ => Err(self.wants("an escape of JSON")),
        }
    }

    /// The code unit of a `\uXXXX` that stands so far from here.
    fn unit(self, offset: usize) -> Option<u32> {
        let escape = self.rest.get(offset..)?.first_chunk::<6>()?;
        let [b'\\', b'u', digits @ ..] = escape else {
            return None;
        };
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | char::from(*digit).to_digit(16)?)
        })
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    pub(super) fn advance(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    #[inline]
    fn took(&mut self, wanted: u8) -> bool {
        let here = self.byte() == Some(wanted);
        if here {
            self.advance(1);
        }
        here
    }

    #[cold]
    pub(super) fn wants(self, wanted: &'static str) -> BodyRefusal {
        syntax(wanted, self.at())
    }
}
