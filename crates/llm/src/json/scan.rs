//! One strict pass over a JSON object (RFC 8259): grammar, depth, digits, and no key twice.

use super::keys::{Duplicate, Keys, ObjectKeys, Stack, text_at};
use super::pointer::push_segment;
use super::unescaped;
use super::words::{plain_run, specials, word_of};
use crate::body::{BodyFault, BodyRefusal};
use std::borrow::Cow;
use std::ops::Range;

/// Most digits in one number.
const DIGITS_MAX: usize = 400;
/// The key that says how long a cache entry lives, as a word.
const TTL: u64 = u64::from_le_bytes(*b"ttl\0\0\0\0\0");

/// The inside of a string in the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    start: usize,
    end: usize,
    escaped: bool,
}

impl Token {
    /// Unescaped.
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

/// A value that is no container.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar {
    Text(Token),
    True,
    False,
    Null,
    Number,
}

/// Where a scalar member stands.
pub(crate) struct Place<'a, 's> {
    /// The whole body.
    pub(crate) body: &'a str,
    /// 1 for members of the body itself.
    pub(crate) depth: usize,
    key: Token,
    parents: &'s [Frame],
}

impl<'a> Place<'a, '_> {
    pub(crate) fn key(&self) -> Cow<'a, str> {
        self.key.text(self.body)
    }

    /// Whether the object is the value of this member of the body.
    pub(crate) fn is_below(&self, name: &str) -> bool {
        matches!(self.parents, [Frame { kind: FrameKind::Object(_), here, .. }]
            if text_at(self.body, *here) == name)
    }
}

#[derive(Clone, Copy)]
struct Frame {
    kind: FrameKind,
    /// In an object where the current key starts, in an array which element this is.
    here: u32,
}

#[derive(Clone, Copy)]
enum FrameKind {
    Object(ObjectKeys),
    Array,
}

/// What the grammar wants next.
enum Next {
    /// A key or, where the flag says so, `}`.
    Member { may_close: bool },
    /// A value or, where the flag says so, `]`.
    Value { may_close: bool },
    /// `,` or the end of the container.
    AfterValue,
}

struct Scanner<'a> {
    body: &'a str,
    at: usize,
    depth_max: usize,
    keys: Keys,
    /// The container that is open, and those around it.
    frame: Frame,
    parents: Stack<Frame, 16>,
    key: Token,
    key_may_be_ttl: bool,
}

/// Reads a whole body that must be one object; `note` is told of every scalar member that stands
/// in the body itself or one object below it, and of every one whose key may be `ttl`.
pub(crate) fn scan<'a>(
    body: &'a [u8],
    depth_max: usize,
    note: impl FnMut(&Place<'a, '_>, Scalar),
) -> Result<(), BodyRefusal> {
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(syntax("no byte order mark", 0));
    }
    let body = std::str::from_utf8(body).map_err(|error| syntax("UTF-8", error.valid_up_to()))?;
    if u32::try_from(body.len()).is_err() {
        return Err(syntax("a body below 4 GiB", 0));
    }
    let keys = Keys::new(body);
    let frame = Frame {
        kind: FrameKind::Object(keys.open()),
        here: 0,
    };
    let mut scanner = Scanner {
        body,
        at: 0,
        depth_max,
        keys,
        frame,
        parents: Stack::new(frame),
        key: Token {
            start: 0,
            end: 0,
            escaped: false,
        },
        key_may_be_ttl: false,
    };
    scanner.object(note)?;
    if scanner.spaced() {
        return Err(scanner.wants("nothing after the object"));
    }
    Ok(())
}

const fn syntax(wanted: &'static str, offset: usize) -> BodyRefusal {
    BodyRefusal {
        fault: BodyFault::Syntax(wanted),
        offset,
    }
}

impl<'a> Scanner<'a> {
    fn object(&mut self, mut note: impl FnMut(&Place<'a, '_>, Scalar)) -> Result<(), BodyRefusal> {
        self.spaced();
        if !self.took(b'{') {
            return Err(self.wants("a JSON object"));
        }
        if self.depth_max == 0 {
            return Err(self.too_deep());
        }
        let mut next = Next::Member { may_close: true };
        loop {
            self.spaced();
            next = match next {
                Next::Member { may_close } => {
                    if may_close && self.took(b'}') {
                        if self.closed()? {
                            return Ok(());
                        }
                        Next::AfterValue
                    } else {
                        self.member_key()?;
                        Next::Value { may_close: false }
                    }
                }
                Next::Value { may_close } => {
                    if may_close && self.took(b']') {
                        self.closed()?;
                        Next::AfterValue
                    } else {
                        self.value(&mut note)?
                    }
                }
                Next::AfterValue => match self.after_value()? {
                    Some(next) => next,
                    None => return Ok(()),
                },
            };
        }
    }

    /// `None` after the last brace.
    fn after_value(&mut self) -> Result<Option<Next>, BodyRefusal> {
        let (byte, here) = (self.byte(), self.at);
        self.at += 1;
        match (byte, &mut self.frame.kind) {
            (Some(b','), FrameKind::Object(_)) => Ok(Some(Next::Member { may_close: false })),
            (Some(b','), FrameKind::Array) => {
                self.frame.here = self.frame.here.saturating_add(1);
                Ok(Some(Next::Value { may_close: false }))
            }
            (Some(b'}'), FrameKind::Object(_)) | (Some(b']'), FrameKind::Array) => {
                Ok((!self.closed()?).then_some(Next::AfterValue))
            }
            (_, FrameKind::Object(_)) => Err(syntax("`,` or `}`", here)),
            (_, FrameKind::Array) => Err(syntax("`,` or `]`", here)),
        }
    }

    /// Leaves the open container. `true` when it was the body itself.
    fn closed(&mut self) -> Result<bool, BodyRefusal> {
        if let FrameKind::Object(keys) = self.frame.kind
            && let Err(duplicate) = self.keys.close(keys, self.body)
        {
            return Err(self.duplicate(&duplicate));
        }
        match self.parents.pop() {
            Some(frame) => {
                self.frame = frame;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn opened(&mut self, kind: FrameKind) -> Result<(), BodyRefusal> {
        if self.depth() >= self.depth_max {
            return Err(self.too_deep());
        }
        self.parents.push(self.frame);
        self.frame = Frame { kind, here: 0 };
        Ok(())
    }

    fn depth(&self) -> usize {
        self.parents.as_slice().len() + 1
    }

    /// A key and its colon.
    fn member_key(&mut self) -> Result<(), BodyRefusal> {
        if !self.took(b'"') {
            return Err(self.wants("a key"));
        }
        let start = self.at;
        let (hash, escaped) = self.key_hash()?;
        self.key = Token {
            start,
            end: self.at - 1,
            escaped,
        };
        // The body is below 4 GiB.
        let here = u32::try_from(start).unwrap_or(u32::MAX);
        self.frame.here = here;
        if let FrameKind::Object(keys) = &mut self.frame.kind
            && let Err(duplicate) = self.keys.add(keys, self.body, hash, here)
        {
            return Err(self.duplicate(&duplicate));
        }
        self.spaced();
        if !self.took(b':') {
            return Err(self.wants("`:`"));
        }
        Ok(())
    }

    /// Reads to the end of a key, hashing on the way; tells whether it has escapes.
    fn key_hash(&mut self) -> Result<(u32, bool), BodyRefusal> {
        let start = self.at;
        let mut hash = self.keys.hasher();
        loop {
            let word = self.word();
            let special = specials(word);
            if special == 0 {
                hash.whole(word);
                self.at += 8;
                continue;
            }
            let bits = special.trailing_zeros() & !7;
            self.at += bits as usize / 8;
            if self.byte() != Some(b'"') {
                break;
            }
            let last = word & !(u64::MAX << bits);
            let len = self.at - start;
            self.key_may_be_ttl = len == 3 && last == TTL;
            self.at += 1;
            return Ok((hash.last(last, len), false));
        }
        self.key_may_be_ttl = true;
        self.string_end()?;
        let text = self.body.get(start..self.at - 1).unwrap_or_default();
        Ok((self.keys.hasher().of(&unescaped(text)), true))
    }

    fn value(
        &mut self,
        note: &mut impl FnMut(&Place<'a, '_>, Scalar),
    ) -> Result<Next, BodyRefusal> {
        let scalar = match self.byte() {
            Some(b'"') => {
                self.at += 1;
                let start = self.at;
                let escaped = self.string_end()?;
                Scalar::Text(Token {
                    start,
                    end: self.at - 1,
                    escaped,
                })
            }
            Some(b'{') => {
                self.opened(FrameKind::Object(self.keys.open()))?;
                self.at += 1;
                return Ok(Next::Member { may_close: true });
            }
            Some(b'[') => {
                self.opened(FrameKind::Array)?;
                self.at += 1;
                return Ok(Next::Value { may_close: true });
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Scalar::Number
            }
            Some(b't') => self.literal("true", Scalar::True)?,
            Some(b'f') => self.literal("false", Scalar::False)?,
            Some(b'n') => self.literal("null", Scalar::Null)?,
            _ => return Err(self.wants("a value")),
        };
        if let FrameKind::Object(_) = self.frame.kind {
            let depth = self.depth();
            if depth <= 2 || self.key_may_be_ttl {
                let place = Place {
                    body: self.body,
                    depth,
                    key: self.key,
                    parents: self.parents.as_slice(),
                };
                note(&place, scalar);
            }
        }
        Ok(Next::AfterValue)
    }

    fn literal(&mut self, name: &'static str, scalar: Scalar) -> Result<Scalar, BodyRefusal> {
        let rest = self.body.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(name.as_bytes()) {
            return Err(self.wants("a value"));
        }
        self.at += name.len();
        Ok(scalar)
    }

    fn number(&mut self) -> Result<(), BodyRefusal> {
        let mut digits = 0;
        self.took(b'-');
        if self.took(b'0') {
            digits += 1;
        } else {
            digits += self.digits()?;
        }
        if self.took(b'.') {
            digits += self.digits()?;
        }
        if self.took(b'e') || self.took(b'E') {
            if !self.took(b'+') {
                self.took(b'-');
            }
            digits += self.digits()?;
        }
        if digits > DIGITS_MAX {
            return Err(self.wants("numbers of at most 400 digits"));
        }
        Ok(())
    }

    /// One or more digits.
    fn digits(&mut self) -> Result<usize, BodyRefusal> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wants("a digit"));
        }
        Ok(self.at - start)
    }

    /// Reads to the end of a string whose opening quote has been taken; tells whether it has
    /// escapes.
    fn string_end(&mut self) -> Result<bool, BodyRefusal> {
        let mut escaped = false;
        loop {
            self.at += plain_run(self.body.as_bytes().get(self.at..).unwrap_or_default());
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
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

    fn escape(&mut self) -> Result<(), BodyRefusal> {
        match self.body.as_bytes().get(self.at + 1) {
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
        let escape = self.body.as_bytes().get(at..)?.first_chunk::<6>()?;
        let [b'\\', b'u', digits @ ..] = escape else {
            return None;
        };
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | char::from(*digit).to_digit(16)?)
        })
    }

    fn byte(&self) -> Option<u8> {
        self.body.as_bytes().get(self.at).copied()
    }

    fn took(&mut self, wanted: u8) -> bool {
        let here = self.byte() == Some(wanted);
        self.at += usize::from(here);
        here
    }

    /// Skips blanks. Whether anything is left.
    fn spaced(&mut self) -> bool {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.at < self.body.len()
    }

    /// The next eight bytes, zeros beyond the end.
    fn word(&self) -> u64 {
        let rest = self.body.as_bytes().get(self.at..).unwrap_or_default();
        word_of(rest)
    }

    fn wants(&self, wanted: &'static str) -> BodyRefusal {
        syntax(wanted, self.at)
    }

    fn too_deep(&self) -> BodyRefusal {
        BodyRefusal {
            fault: BodyFault::TooDeep(self.depth_max),
            offset: self.at,
        }
    }

    /// The refusal of a second key, with the pointer to it.
    #[cold]
    fn duplicate(&self, duplicate: &Duplicate) -> BodyRefusal {
        let mut pointer = String::new();
        for frame in self.parents.as_slice() {
            match frame.kind {
                FrameKind::Object(_) => push_segment(&mut pointer, &text_at(self.body, frame.here)),
                FrameKind::Array => push_segment(&mut pointer, &frame.here.to_string()),
            }
        }
        push_segment(&mut pointer, &text_at(self.body, duplicate.0));
        BodyRefusal {
            fault: BodyFault::DuplicateKey(pointer),
            offset: (duplicate.0 as usize).saturating_sub(1),
        }
    }
}
