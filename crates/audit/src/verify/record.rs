//! One line, read strictly: what it says of its chain, and the canonical form that its hash is
//! over. It runs for every line of a log of years, so it copies nothing that needs no escapes.

use crate::chain::parse_hash;
use crate::details::canonical_string;
use tollkeep_crypto::sha256;
use tollkeep_observe::json;

/// A part of the line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    pub(super) fn of(self, line: &[u8]) -> &[u8] {
        line.get(self.start..self.end).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A text without quotes in its span, that needs no escapes.
    Plain,
    /// A text with something in it that may need some.
    Escaped,
    /// A number or a word.
    Bare,
    Object,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    name: Span,
    value: Span,
    kind: Kind,
}

/// What a record says of its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stated {
    pub(super) stream: Span,
    pub(super) seq: u64,
    pub(super) prev: Option<[u8; 32]>,
    pub(super) hash: Option<[u8; 32]>,
    /// The hash of what it says, after `prev`.
    pub(super) real: [u8; 32],
    /// It is written as we write.
    pub(super) is_ours: bool,
    pub(super) action: Span,
}

impl Stated {
    /// Whether the hash is that of what it says.
    pub(super) fn is_true(&self) -> bool {
        self.is_ours && self.prev.is_some() && self.hash == Some(self.real)
    }
}

/// Reads lines; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Reader {
    members: Vec<Member>,
    details: Vec<Member>,
    hashed: Vec<u8>,
}

/// More members are none of ours.
const MEMBERS_MAX: usize = 64;

impl Reader {
    /// Reads a line; `None` if it is no record.
    pub(super) fn read(&mut self, line: &[u8]) -> Option<Stated> {
        std::str::from_utf8(line).ok()?;
        let mut scan = Scan { line, at: 0 };
        self.details.clear();
        let mut details = std::mem::take(&mut self.details);
        let read = scan.object(&mut self.members, Some(&mut details));
        self.details = details;
        read?;
        (scan.at == line.len()).then_some(())?;
        sort(&mut self.members, line)?;
        sort(&mut self.details, line)?;
        let text = |name: &[u8]| {
            let found = self.member(line, name)?;
            (found.kind == Kind::Plain).then_some(found.value)
        };
        let (stream, prev, hash) = (text(b"stream")?, text(b"prev")?, text(b"hash")?);
        let action = text(b"action").unwrap_or_default();
        let seq = self.member(line, b"seq")?;
        let seq = number(seq.value.of(line))?;
        let digits = |span: Span| std::str::from_utf8(span.of(line)).ok().and_then(parse_hash);
        let (prev, hash) = (digits(prev), digits(hash));
        self.hashed.clear();
        self.hashed.push(1);
        self.hashed.extend_from_slice(&prev.unwrap_or_default());
        let mut hashed = std::mem::take(&mut self.hashed);
        let is_ours = self.canonical(line, &mut hashed, &self.members, b"hash");
        let real = sha256(&[&hashed]);
        self.hashed = hashed;
        Some(Stated {
            stream,
            seq,
            prev,
            hash,
            real,
            is_ours: is_ours?,
            action,
        })
    }

    fn member(&self, line: &[u8], name: &[u8]) -> Option<Member> {
        let found = self.members.iter();
        found.copied().find(|member| member.name.of(line) == name)
    }

    /// The text of a detail of the line that was read last.
    pub(super) fn detail<'l>(&self, line: &'l [u8], name: &str) -> Option<&'l str> {
        let mut found = self.details.iter();
        let found = found.find(|member| member.name.of(line) == name.as_bytes())?;
        std::str::from_utf8(found.value.of(line)).ok()
    }

    /// The number of a detail of the line that was read last.
    pub(super) fn detail_number(&self, line: &[u8], name: &str) -> Option<u64> {
        self.detail(line, name)?.parse().ok()
    }

    /// What the signature in the details of the line that was read last is over.
    pub(super) fn signed_text(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let details = std::mem::take(&mut self.details);
        let written = self.canonical(line, &mut text, &details, b"sig");
        self.details = details;
        written?;
        Some(text)
    }

    /// Appends the canonical form of members but one. Says whether each text is written as we write
    /// it, so that no two lines say the same.
    fn canonical(
        &self,
        line: &[u8],
        out: &mut Vec<u8>,
        members: &[Member],
        without: &[u8],
    ) -> Option<bool> {
        let mut is_ours = true;
        out.push(b'{');
        let mut is_first = true;
        for member in members {
            let name = member.name.of(line);
            if name == without {
                continue;
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.push(b'"');
            out.extend_from_slice(name);
            out.extend_from_slice(b"\":");
            let value = member.value.of(line);
            match member.kind {
                Kind::Plain => {
                    out.push(b'"');
                    out.extend_from_slice(value);
                    out.push(b'"');
                }
                Kind::Escaped => is_ours &= put_escaped(out, value)?,
                Kind::Bare => out.extend_from_slice(value),
                Kind::Object => is_ours &= self.canonical(line, out, &self.details, b"")?,
            }
        }
        out.push(b'}');
        Some(is_ours)
    }
}

/// Appends a text in canonical form; says whether it was written as we write it.
fn put_escaped(out: &mut Vec<u8>, value: &[u8]) -> Option<bool> {
    let mut quoted = Vec::with_capacity(value.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(value);
    quoted.push(b'"');
    let text: String = serde_json::from_slice(&quoted).ok()?;
    canonical_string(out, &text);
    let mut ours = Vec::with_capacity(quoted.len());
    json::string(&mut ours, &text);
    Some(ours == quoted)
}

/// Sorts by name; `None` if one is there twice, which could be read in two ways.
fn sort(members: &mut [Member], line: &[u8]) -> Option<()> {
    members.sort_unstable_by(|a, b| a.name.of(line).cmp(b.name.of(line)));
    let mut pairs = members.windows(2);
    let twice = pairs.any(|pair| matches!(pair, [a, b] if a.name.of(line) == b.name.of(line)));
    (!twice).then_some(())
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

struct Scan<'l> {
    line: &'l [u8],
    at: usize,
}

impl Scan<'_> {
    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.line.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// An object without blanks, whose values are texts, numbers and words; one level below may be
    /// another.
    fn object(
        &mut self,
        members: &mut Vec<Member>,
        mut below: Option<&mut Vec<Member>>,
    ) -> Option<()> {
        members.clear();
        self.eat(b'{')?;
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            let (name, kind) = self.string()?;
            (kind == Kind::Plain && members.len() < MEMBERS_MAX).then_some(())?;
            self.eat(b':')?;
            let (value, kind) = match self.line.get(self.at)? {
                b'"' => self.string()?,
                b'{' => {
                    let start = self.at;
                    self.object(below.take()?, None)?;
                    let end = self.at;
                    (Span { start, end }, Kind::Object)
                }
                _ => self.bare()?,
            };
            members.push(Member { name, value, kind });
            if self.eat(b',').is_some() {
                continue;
            }
            return self.eat(b'}');
        }
    }

    /// A text; its span is what is between the quotes.
    fn string(&mut self) -> Option<(Span, Kind)> {
        self.eat(b'"')?;
        let start = self.at;
        let mut is_plain = true;
        loop {
            let rest = self.line.get(self.at..)?;
            let found = memchr::memchr2(b'"', b'\\', rest)?;
            let part = rest.get(..found)?;
            is_plain &= part.iter().all(|byte| (0x20..0x7f).contains(byte));
            if part.iter().any(|byte| *byte < 0x20) {
                return None;
            }
            self.at += found;
            if self.eat(b'"').is_some() {
                break;
            }
            is_plain = false;
            self.at += 2;
        }
        let end = self.at - 1;
        let kind = if is_plain { Kind::Plain } else { Kind::Escaped };
        Some((Span { start, end }, kind))
    }

    /// A number without fraction, or a word.
    fn bare(&mut self) -> Option<(Span, Kind)> {
        let rest = self.line.get(self.at..)?;
        let len = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b'}'))
            .unwrap_or(rest.len());
        let value = rest.get(..len)?;
        let is_word = matches!(value, b"true" | b"false" | b"null");
        let digits = value.strip_prefix(b"-").unwrap_or(value);
        let is_number = !digits.is_empty()
            && digits.len() <= 20
            && digits.iter().all(u8::is_ascii_digit)
            && (digits.len() == 1 || !digits.starts_with(b"0"));
        (is_word || is_number).then_some(())?;
        let start = self.at;
        self.at += len;
        let end = self.at;
        Some((Span { start, end }, Kind::Bare))
    }
}
