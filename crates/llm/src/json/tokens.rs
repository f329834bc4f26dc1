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
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Token {
    pub(super) start: usize,
    end: usize,
    escaped: bool,
}

impl Token {
    /// Text without escapes.
    pub(super) const fn of(start: usize, end: usize) -> Self {
        Self {
            start,
            end,
            escaped: false,
        }
    }

    /// Unescaped. The body is the one it came from.
    #[inline]
    pub(crate) fn text<'a>(&self, body: &'a str) -> Cow<'a, str> {
        let raw = body.get(self.start..self.end).unwrap_or_default();
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
            return self.is_unescaped(body, text);
        }
        body.as_bytes().get(self.start..self.end) == Some(text.as_bytes())
    }

    #[cold]
    fn is_unescaped(&self, body: &str, text: &str) -> bool {
        self.text(body) == text
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
    pub(super) fn key(&mut self, hasher: KeyHash) -> Result<(Token, u32), BodyRefusal> {
        self.advance(1);
        let mut hash = hasher;
        let mut rest = self.rest;
        while let Some((word, after)) = rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            let other = no_name(word);
            if other == 0 {
                hash.whole(word);
                rest = after;
                continue;
            }
            let bits = other.trailing_zeros() & !7;
            let Some(key) = self.ended(rest.get(bits as usize / 8..)) else {
                break;
            };
            let hash = hash.last(word & !(u64::MAX << bits), key.end - key.start);
            return Ok((key, hash));
        }
        let key = self.any_string(self.rest)?;
        Ok((key, hasher.of(&key.text(self.text))))
    }

    /// The string that begins here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Token, BodyRefusal> {
        /// What is longer is mostly much longer.
        const WORDS: usize = 10;
        self.advance(1);
        let mut rest = self.rest;
        for _ in 0..WORDS {
            let Some((word, after)) = rest.split_first_chunk::<8>() else {
                break;
            };
            let special = specials(u64::from_le_bytes(*word));
            if special == 0 {
                rest = after;
                continue;
            }
            if let Some(token) = self.ended(rest.get(special.trailing_zeros() as usize / 8..)) {
                return Ok(token);
            }
            break;
        }
        self.any_string(rest)
    }

    /// The string whose inside begins here, and which is plain up to `rest`.
    #[inline]
    fn any_string(&mut self, rest: &'a [u8]) -> Result<Token, BodyRefusal> {
        let start = self.at();
        let (quote, escaped) = Self { rest, ..*self }.quote()?;
        self.rest = quote;
        let end = self.at();
        self.advance(1);
        Ok(Token {
            start,
            end,
            escaped,
        })
    }

    /// Where the string ends inside of which this is, and whether there are escapes before.
    #[inline(never)]
    fn quote(mut self) -> Result<(&'a [u8], bool), BodyRefusal> {
        let mut escaped = false;
        loop {
            self.advance(plain_run(self.rest));
            match self.byte() {
                Some(b'"') => return Ok((self.rest, escaped)),
                Some(b'\\') => {
                    let len = self.escape_len()?;
                    self.advance(len);
                    escaped = true;
                }
                Some(_) => return Err(self.wants("control characters escaped")),
                None => return Err(self.wants("the end of a string")),
            }
        }
    }

    /// Takes the string whose inside begins here, if it ends at this place without an escape.
    #[inline]
    fn ended(&mut self, quote: Option<&'a [u8]>) -> Option<Token> {
        let Some([b'"', after @ ..]) = quote else {
            return None;
        };
        let start = self.at();
        self.rest = after;
        Some(Token {
            start,
            end: self.at() - 1,
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
