//! The request line: method, target, version, with single spaces and nothing else.
//!
//! As with field lines, a quick reader takes what is whole and clean, and a slow one decides the
//! rest byte by byte.

use crate::bytes::{is_target_byte, is_token_byte, leading_target};
use crate::head::Limits;
use crate::head_fault::HeadFault;
use crate::span::Span;

/// The methods this gateway knows.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// The method as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Methods are case-sensitive. The tunnels and echoes are known and never served.
    fn read(token: &[u8]) -> Result<Self, HeadFault> {
        match token {
            b"GET" => Ok(Self::Get),
            b"POST" => Ok(Self::Post),
            b"HEAD" => Ok(Self::Head),
            b"PUT" => Ok(Self::Put),
            b"PATCH" => Ok(Self::Patch),
            b"DELETE" => Ok(Self::Delete),
            b"OPTIONS" => Ok(Self::Options),
            b"CONNECT" | b"TRACE" | b"TRACK" => Err(HeadFault::MethodNotAllowed),
            _ => Err(HeadFault::MethodUnknown),
        }
    }
}

/// The protocol version of a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

impl Version {
    /// `HTTP/0.9` never was written, so the text is a malformed line; other versions are not ours.
    fn read(text: &[u8]) -> Result<Self, HeadFault> {
        match text {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            b"HTTP/0.9" => Err(HeadFault::StartLine),
            _ => Err(HeadFault::VersionUnsupported),
        }
    }
}

/// A well-formed request line. What is wrong with version or method is told when the whole head
/// has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine {
    pub(crate) method: Result<Method, HeadFault>,
    pub(crate) target: Span,
    /// A `#` is in the target.
    pub(crate) has_fragment: bool,
    pub(crate) version: Result<Version, HeadFault>,
    /// Where the first field line starts.
    pub(crate) next: usize,
}

impl Default for RequestLine {
    fn default() -> Self {
        Self {
            method: Ok(Method::Get),
            target: Span::default(),
            has_fragment: false,
            version: Ok(Version::Http11),
            next: 0,
        }
    }
}

/// The reader's place in the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLineReader {
    start: usize,
    at: usize,
    part: Part,
    method_end: usize,
    target_end: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Method,
    Target,
    Version,
    /// After the CR of a whole line.
    End,
    /// After a CR too early: a short line, or a bare CR.
    EarlyEnd,
}

/// `d` stands for a digit.
const VERSION: &[u8] = b"HTTP/d.d";

impl RequestLineReader {
    pub(crate) const fn starting_at(start: usize) -> Self {
        Self {
            start,
            at: start,
            part: Part::Method,
            method_end: start,
            target_end: start,
        }
    }

    /// HOT. Reads the line if it has arrived whole, is clean, and has a method and version we
    /// serve. Whatever else it is, [`Self::read`] tells.
    #[inline]
    pub(crate) fn clean_line(&self, buf: &[u8], limits: &Limits) -> Option<RequestLine> {
        if self.at > self.start {
            return None;
        }
        let (method, after) = leading_method(buf.get(self.start..)?)?;
        let target_len = leading_target(after);
        let version = match after.get(target_len..)?.first_chunk()? {
            b" HTTP/1.1\r\n" => Version::Http11,
            b" HTTP/1.0\r\n" => Version::Http10,
            _ => return None,
        };
        let method_len = method.as_str().len();
        let clean = target_len > 0
            && target_len <= limits.target_bytes_max
            && method_len <= limits.line_bytes_max;
        let target_start = self.start + method_len + 1;
        let target_end = target_start + target_len;
        clean.then_some(RequestLine {
            method: Ok(method),
            target: Span::new(target_start, target_end),
            has_fragment: false,
            version: Ok(version),
            next: target_end + b" HTTP/1.1\r\n".len(),
        })
    }

    /// Reads the line, whatever it is. `None` means that it has not arrived whole, and the next
    /// call gets more of the same buffer.
    #[cold]
    pub(crate) fn read(
        &mut self,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<Option<RequestLine>, HeadFault> {
        while let Some(&byte) = buf.get(self.at) {
            match (self.part, byte) {
                (Part::End, b'\n') => return self.line(buf).map(Some),
                (Part::EarlyEnd, b'\n') => return Err(HeadFault::StartLine),
                (Part::End | Part::EarlyEnd, _) | (_, b'\n') => return Err(HeadFault::LineEnding),
                (Part::Version, b'\r') if self.at - self.target_end > VERSION.len() => {
                    self.part = Part::End;
                }
                (_, b'\r') => self.part = Part::EarlyEnd,
                (Part::Method, b' ') if self.at > self.start => {
                    self.method_end = self.at;
                    self.part = Part::Target;
                }
                (Part::Target, b' ') if self.at > self.method_end + 1 => {
                    self.target_end = self.at;
                    self.part = Part::Version;
                }
                _ => self.check_content(byte, limits)?,
            }
            self.at += 1;
        }
        Ok(None)
    }

    /// Whether the byte may stand here.
    fn check_content(&self, byte: u8, limits: &Limits) -> Result<(), HeadFault> {
        let allowed = match self.part {
            Part::Method if self.at - self.start >= limits.line_bytes_max => {
                return Err(HeadFault::HeadersTooLarge);
            }
            Part::Target if self.at - self.method_end > limits.target_bytes_max => {
                return Err(HeadFault::TargetTooLong);
            }
            Part::Method => is_token_byte(byte),
            Part::Target => is_target_byte(byte),
            Part::Version => match VERSION.get(self.at - self.target_end - 1) {
                Some(b'd') => byte.is_ascii_digit(),
                Some(letter) => byte == *letter,
                None => false,
            },
            Part::End | Part::EarlyEnd => false,
        };
        allowed.then_some(()).ok_or(HeadFault::StartLine)
    }

    /// The line that ends with the LF at this place.
    fn line(&self, buf: &[u8]) -> Result<RequestLine, HeadFault> {
        let version = Version::read(Span::new(self.target_end + 1, self.at - 1).of(buf));
        if version == Err(HeadFault::StartLine) {
            return Err(HeadFault::StartLine);
        }
        let target = Span::new(self.method_end + 1, self.target_end);
        Ok(RequestLine {
            method: Method::read(Span::new(self.start, self.method_end).of(buf)),
            target,
            has_fragment: target.of(buf).contains(&b'#'),
            version,
            next: self.at + 1,
        })
    }
}

/// The method at the start and what follows its space, if it is a method we serve.
fn leading_method(bytes: &[u8]) -> Option<(Method, &[u8])> {
    match bytes {
        [b'G', b'E', b'T', b' ', rest @ ..] => Some((Method::Get, rest)),
        [b'P', b'O', b'S', b'T', b' ', rest @ ..] => Some((Method::Post, rest)),
        _ => {
            let (method, rest) =
                bytes.split_at_checked(bytes.iter().position(|byte| *byte == b' ')?)?;
            Some((Method::read(method).ok()?, rest.get(1..)?))
        }
    }
}
