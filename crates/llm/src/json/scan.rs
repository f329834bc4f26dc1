//! One strict pass over a JSON object (RFC 8259): grammar, depth, digits, and no key twice.

use super::keys::{Duplicate, Keys, ObjectKeys, Stack, text_at};
use super::pointer::push_segment;
use super::tokens::{Token, Tokens, syntax};
use crate::body::{BodyFault, BodyRefusal};

/// A string or a boolean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar {
    Text(Token),
    Bool(bool),
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
        self.key.text(self.body) == name
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
    /// In an object the start of the key whose value is open, in an array which element that is.
    here: u32,
}

#[derive(Clone, Copy)]
enum FrameKind {
    Object(ObjectKeys),
    Array,
}

/// What the grammar wants next.
enum Next {
    /// A member or an item.
    Part,
    /// `,` or the end of the container.
    AfterPart,
    /// Nothing: the object has ended.
    End,
}

struct Scanner<'a> {
    tokens: Tokens<'a>,
    depth_max: usize,
    keys: Keys,
    /// The container that is open, and those around it.
    frame: Frame,
    parents: Stack<Frame, 8>,
    key: Token,
    key_hash: u32,
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
        kind: FrameKind::Object(keys.open()),
        here: 0,
    };
    let mut scanner = Scanner {
        tokens: Tokens { text: body, at: 0 },
        depth_max,
        key_hash: 0,
        ttl_hash: keys.hasher().of("ttl"),
        keys,
        frame,
        parents: Stack::new(frame),
        key: Token {
            start: 0,
            end: 0,
            escaped: false,
        },
    };
    scanner.object(note)?;
    if scanner.tokens.next_byte().is_some() {
        return Err(scanner.tokens.wants("nothing after the object"));
    }
    Ok(())
}

/// A place in a body, which is below 4 GiB.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

// What runs for every token is inlined into this one loop.
impl<'a> Scanner<'a> {
    fn object(&mut self, mut note: impl FnMut(&Place<'a, '_>, Scalar)) -> Result<(), BodyRefusal> {
        if self.tokens.next_byte() != Some(b'{') {
            return Err(self.tokens.wants("a JSON object"));
        }
        self.tokens.at += 1;
        if self.depth_max == 0 {
            return Err(self.too_deep());
        }
        let mut next = self.first(b'}');
        loop {
            next = match next {
                Next::Part => {
                    if let FrameKind::Object(_) = self.frame.kind {
                        self.member_key()?;
                    }
                    self.value(&mut note)?
                }
                Next::AfterPart => self.after_part()?,
                Next::End => return Ok(()),
            };
        }
    }

    /// What is next in a container that was opened.
    #[inline]
    fn first(&mut self, end: u8) -> Next {
        if self.tokens.next_byte() == Some(end) {
            Next::AfterPart
        } else {
            Next::Part
        }
    }

    #[inline]
    fn after_part(&mut self) -> Result<Next, BodyRefusal> {
        match (self.tokens.next_byte(), &mut self.frame.kind) {
            (Some(b','), kind) => {
                if let FrameKind::Array = kind {
                    self.frame.here = self.frame.here.saturating_add(1);
                }
                self.tokens.at += 1;
                return Ok(Next::Part);
            }
            (Some(b'}'), FrameKind::Object(keys)) => {
                self.tokens.at += 1;
                if let Err(duplicate) = self.keys.close(*keys, self.tokens.text) {
                    return Err(self.duplicate(&duplicate));
                }
            }
            (Some(b']'), FrameKind::Array) => self.tokens.at += 1,
            (_, FrameKind::Object(_)) => return Err(self.tokens.wants("`,` or `}`")),
            (_, FrameKind::Array) => return Err(self.tokens.wants("`,` or `]`")),
        }
        let Some(frame) = self.parents.pop() else {
            return Ok(Next::End);
        };
        self.frame = frame;
        Ok(Next::AfterPart)
    }

    #[inline]
    fn opened(&mut self, kind: FrameKind) -> Result<(), BodyRefusal> {
        if self.depth() >= self.depth_max {
            return Err(self.too_deep());
        }
        self.tokens.at += 1;
        if let FrameKind::Object(_) = self.frame.kind {
            self.frame.here = place(self.key.start);
        }
        self.parents.push(self.frame);
        self.frame = Frame { kind, here: 0 };
        Ok(())
    }

    #[inline]
    fn depth(&self) -> usize {
        self.parents.len() + 1
    }

    /// A key and its colon.
    #[inline]
    fn member_key(&mut self) -> Result<(), BodyRefusal> {
        if self.tokens.next_byte() != Some(b'"') {
            return Err(self.tokens.wants("a key"));
        }
        (self.key, self.key_hash) = self.tokens.key(self.keys.hasher())?;
        if let FrameKind::Object(keys) = &mut self.frame.kind {
            let (text, start) = (self.tokens.text, place(self.key.start));
            if let Err(duplicate) = self.keys.add(keys, text, self.key_hash, start) {
                return Err(self.duplicate(&duplicate));
            }
        }
        if self.tokens.next_byte() != Some(b':') {
            return Err(self.tokens.wants("`:`"));
        }
        self.tokens.at += 1;
        Ok(())
    }

    #[inline]
    fn value(
        &mut self,
        note: &mut impl FnMut(&Place<'a, '_>, Scalar),
    ) -> Result<Next, BodyRefusal> {
        let tokens = &mut self.tokens;
        let scalar = match tokens.next_byte() {
            Some(b'"') => Scalar::Text(tokens.string()?),
            Some(b'{') => {
                self.opened(FrameKind::Object(self.keys.open()))?;
                return Ok(self.first(b'}'));
            }
            Some(b'[') => {
                self.opened(FrameKind::Array)?;
                return Ok(self.first(b']'));
            }
            Some(b'-' | b'0'..=b'9') => {
                tokens.number()?;
                return Ok(Next::AfterPart);
            }
            Some(b't') => tokens.literal("true", Scalar::Bool(true))?,
            Some(b'f') => tokens.literal("false", Scalar::Bool(false))?,
            Some(b'n') => return tokens.literal("null", Next::AfterPart),
            _ => return Err(tokens.wants("a value")),
        };
        if let FrameKind::Object(_) = self.frame.kind {
            let depth = self.depth();
            if depth <= 2 || self.key_hash == self.ttl_hash {
                let place = Place {
                    body: self.tokens.text,
                    depth,
                    key: self.key,
                    parents: self.parents.as_slice(),
                };
                note(&place, scalar);
            }
        }
        Ok(Next::AfterPart)
    }

    #[cold]
    fn too_deep(&self) -> BodyRefusal {
        BodyRefusal {
            fault: BodyFault::TooDeep(self.depth_max),
            offset: self.tokens.at,
        }
    }

    /// The refusal of a second key, with the pointer to it.
    #[cold]
    fn duplicate(&self, duplicate: &Duplicate) -> BodyRefusal {
        let mut pointer = String::new();
        for frame in self.parents.as_slice() {
            match frame.kind {
                FrameKind::Object(_) => {
                    push_segment(&mut pointer, &text_at(self.tokens.text, frame.here));
                }
                FrameKind::Array => push_segment(&mut pointer, &frame.here.to_string()),
            }
        }
        push_segment(&mut pointer, &text_at(self.tokens.text, duplicate.0));
        BodyRefusal {
            fault: BodyFault::DuplicateKey(pointer),
            offset: (duplicate.0 as usize).saturating_sub(1),
        }
    }
}
