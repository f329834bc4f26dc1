//! One strict pass over a JSON object (RFC 8259): grammar, depth, digits, and no key twice.

use super::keys::{Duplicate, Keys, ObjectKeys, Stack, place, text_at};
use super::pointer::push_segment;
use super::tokens::{Token, Tokens, syntax};
use crate::body::{BodyFault, BodyRefusal};

/// A string or a boolean; of the body itself also a number, and that a container begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar {
    Text(Token),
    Bool(bool),
    Number(Token),
    Opened,
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

impl Place<'_, '_> {
    /// Whether the member has this name.
    #[inline]
    pub(crate) fn is(&self, name: &str) -> bool {
        self.key.is(self.body, name)
    }

    /// Whether the object is the value of this member of the body.
    pub(crate) fn is_below(&self, name: &str) -> bool {
        matches!(self.parents, [Frame { kind: FrameKind::Object, here, .. }]
            if text_at(self.body, *here) == name)
    }
}

#[derive(Clone, Copy)]
struct Frame {
    kind: FrameKind,
    /// Those of an object.
    keys: ObjectKeys,
    /// In an object the start of the key whose value is open, in an array which element that is.
    here: u32,
}

// As wide as the rest of a frame: copies have no gaps to go around.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u32)]
enum FrameKind {
    Object = b'}' as u32,
    Array = b']' as u32,
}

impl FrameKind {
    /// The bracket that closes it.
    const fn end(self) -> u8 {
        self as u8
    }
}

/// The key of a member.
#[derive(Clone, Copy, Default)]
struct Key {
    token: Token,
    hash: u32,
}

/// What changes with containers only. Where the scan is, and in which frame, are locals of its
/// loop.
struct Scanner<'a> {
    body: &'a str,
    depth_max: usize,
    keys: Keys,
    /// The containers around the one that is open.
    parents: Stack<Frame, 8>,
    /// The hash of the key `ttl`, which matters at any depth.
    ttl_hash: u32,
}

/// Reads a whole body that must be one object; `note` is told of every string and boolean that is
/// a member of the body itself or one object below it, and of every one whose key may be `ttl`.
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
        kind: FrameKind::Object,
        keys: keys.open(),
        here: 0,
    };
    let mut scanner = Scanner {
        body,
        depth_max,
        ttl_hash: keys.hasher().of("ttl"),
        keys,
        parents: Stack::new(frame),
    };
    let mut tokens = scanner.object(frame, note)?;
    if tokens.next_byte().is_some() {
        return Err(tokens.wants("nothing after the object"));
    }
    Ok(())
}

// What runs for every token is inlined into this one loop.
impl<'a> Scanner<'a> {
    /// Takes the object that is the body; what stands after it.
    fn object(
        &mut self,
        mut frame: Frame,
        mut note: impl FnMut(&Place<'a, '_>, Scalar),
    ) -> Result<Tokens<'a>, BodyRefusal> {
        let mut tokens = Tokens::new(self.body);
        if tokens.next_byte() != Some(b'{') {
            return Err(tokens.wants("a JSON object"));
        }
        tokens.advance(1);
        if self.depth_max == 0 {
            return Err(self.too_deep(tokens.at()));
        }
        let mut key = Key::default();
        let mut is_empty = tokens.next_byte() == Some(b'}');
        loop {
            if !is_empty {
                if frame.kind == FrameKind::Object {
                    key = self.member_key(&mut tokens, &mut frame.keys)?;
                }
                match tokens.next_byte() {
                    Some(b'"') => {
                        let text = Scalar::Text(tokens.string()?);
                        self.scalar(frame.kind, &key, text, &mut note);
                    }
                    Some(b'-' | b'0'..=b'9') => {
                        let start = tokens.at();
                        tokens.number()?;
                        if self.parents.len() == 0 {
                            let number = Token::of(start, tokens.at());
                            self.scalar(frame.kind, &key, Scalar::Number(number), &mut note);
                        }
                    }
                    Some(open @ (b'{' | b'[')) => {
                        let kind = match open {
                            b'{' => FrameKind::Object,
                            _ => FrameKind::Array,
                        };
                        if self.parents.len() == 0 {
                            self.scalar(frame.kind, &key, Scalar::Opened, &mut note);
                        }
                        frame = self.opened(tokens.at(), frame, kind, &key)?;
                        tokens.advance(1);
                        is_empty = tokens.next_byte() == Some(kind.end());
                        continue;
                    }
                    _ => {
                        if let Some(flag) = tokens.literal()? {
                            self.scalar(frame.kind, &key, Scalar::Bool(flag), &mut note);
                        }
                    }
                }
            }
            while tokens.next_byte() != Some(b',') {
                frame = match self.closed(&mut tokens, frame)? {
                    Some(around) => around,
                    None => return Ok(tokens),
                };
            }
            tokens.advance(1);
            if frame.kind == FrameKind::Array {
                frame.here = frame.here.saturating_add(1);
            }
            is_empty = false;
        }
    }

    /// The frame of a container whose bracket stands at `at`.
    #[inline]
    fn opened(
        &mut self,
        at: usize,
        mut around: Frame,
        kind: FrameKind,
        key: &Key,
    ) -> Result<Frame, BodyRefusal> {
        if self.depth() >= self.depth_max {
            return Err(self.too_deep(at));
        }
        if around.kind == FrameKind::Object {
            around.here = place(key.token.start);
        }
        self.parents.push(around);
        let keys = self.keys.open();
        Ok(Frame {
            kind,
            keys,
            here: 0,
        })
    }

    /// Takes the end of a container, which must stand here, and gives the one around it.
    #[inline]
    fn closed(
        &mut self,
        tokens: &mut Tokens<'a>,
        frame: Frame,
    ) -> Result<Option<Frame>, BodyRefusal> {
        if tokens.next_byte() != Some(frame.kind.end()) {
            return Err(tokens.wants(match frame.kind {
                FrameKind::Object => "`,` or `}`",
                FrameKind::Array => "`,` or `]`",
            }));
        }
        tokens.advance(1);
        if frame.kind == FrameKind::Object
            && let Err(duplicate) = self.keys.close(frame.keys, self.body)
        {
            return Err(self.duplicate(&duplicate));
        }
        Ok(self.parents.pop())
    }

    #[inline]
    const fn depth(&self) -> usize {
        self.parents.len() + 1
    }

    /// A key and its colon.
    #[inline]
    fn member_key(
        &mut self,
        tokens: &mut Tokens<'a>,
        keys: &mut ObjectKeys,
    ) -> Result<Key, BodyRefusal> {
        if tokens.next_byte() != Some(b'"') {
            return Err(tokens.wants("a key"));
        }
        let (token, hash) = tokens.key(self.keys.hasher())?;
        if let Err(duplicate) = self.keys.add(keys, self.body, hash, place(token.start)) {
            return Err(self.duplicate(&duplicate));
        }
        if tokens.next_byte() != Some(b':') {
            return Err(tokens.wants("`:`"));
        }
        tokens.advance(1);
        Ok(Key { token, hash })
    }

    #[inline]
    fn scalar(
        &self,
        frame: FrameKind,
        key: &Key,
        value: Scalar,
        note: &mut impl FnMut(&Place<'a, '_>, Scalar),
    ) {
        let depth = self.depth();
        if frame == FrameKind::Object && (depth <= 2 || key.hash == self.ttl_hash) {
            let place = Place {
                body: self.body,
                depth,
                key: key.token,
                parents: self.parents.as_slice(),
            };
            note(&place, value);
        }
    }

    #[cold]
    const fn too_deep(&self, offset: usize) -> BodyRefusal {
        BodyRefusal {
            fault: BodyFault::TooDeep(self.depth_max),
            offset,
        }
    }

    /// The refusal of a second key, with the pointer to it.
    #[cold]
    fn duplicate(&self, duplicate: &Duplicate) -> BodyRefusal {
        let mut pointer = String::new();
        for frame in self.parents.as_slice() {
            match frame.kind {
                FrameKind::Object => {
                    push_segment(&mut pointer, &text_at(self.body, frame.here));
                }
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
