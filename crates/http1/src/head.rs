//! The head of a request: from bytes to a checked model, or the reason why not.

use crate::Progress;
use crate::connection::{Options, names_reserved};
use crate::field_lines::{FieldLine, FieldLines, Line, LineLimits};
use crate::fields::{Duty, Field, Known, first_value, is_list};
use crate::framing::{Framing, content_length, is_chunked};
use crate::head_fault::{HeadFault, HeadRefusal};
use crate::request_line::{Method, RequestLine, RequestLineReader, Version};
use crate::reserved::is_reserved;
use crate::span::Span;
use crate::target;

/// How much head a caller may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Fields, those that are dropped included.
    pub fields_max: usize,
    /// The whole head with its line endings, without an empty line before it.
    pub head_bytes_max: usize,
    /// One field line without its ending.
    pub line_bytes_max: usize,
    /// The request target as sent.
    pub target_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fields_max: 100,
            head_bytes_max: 32 * 1024,
            line_bytes_max: 8 * 1024,
            target_bytes_max: 8 * 1024,
        }
    }
}

/// What a request asks the connection to become.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Upgrade {
    /// Nothing else.
    #[default]
    None,
    /// A WebSocket.
    WebSocket,
    /// Something that is ignored.
    Other,
}

/// A request head. One value serves a connection for its life: the list of fields keeps its
/// memory from request to request.
#[derive(Debug, Default)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The version.
    pub version: Version,
    /// The target as sent, without the scheme and authority of an absolute-form.
    pub target: Span,
    /// The target is `*` (OPTIONS only).
    pub asterisk: bool,
    /// The value of `Host`, well-formed; whether it is served is not decided here.
    pub authority: Span,
    /// The fields in order, without those whose name holds an underscore and is not listed.
    pub fields: Vec<Field>,
    /// How the body is delimited.
    pub framing: Framing,
    /// The connection ends after this message: nothing behind it may be parsed.
    pub close: bool,
    /// The caller waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The caller expects something else, which is refused with 417.
    pub expect_other: bool,
    /// What the caller wants the connection to become.
    pub upgrade: Upgrade,
    /// Bytes of the buffer that are the head, a skipped empty line included: where the body is.
    pub len: usize,
    progress: Reading,
}

/// What is known while the head is still arriving.
#[derive(Debug, Default)]
struct Reading {
    stage: Stage,
    /// Where the request line starts: behind an empty line.
    origin: usize,
    line: RequestLine,
    /// Known names seen, as [`Known::bit`].
    seen: u64,
    host: Option<Span>,
    options: Options,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Start,
    RequestLine(RequestLineReader),
    Fields(FieldLines),
    /// The head was completed or refused; the next call starts afresh.
    Ended,
}

impl Head {
    /// An empty head. It allocates with the first field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the message, so that the next [`Head::read`] starts at the start of its buffer.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// HOT. Reads a head at the start of `buf`. After [`Progress::More`] it is called again with
    /// the same buffer, grown, and goes on where it stopped. After anything else the next call
    /// reads another message.
    ///
    /// `underscore` lists the names with an underscore that pass. Fails with the same fault
    /// however the bytes are split over calls, and as early as the fault is certain.
    pub fn read(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        underscore: &[Box<str>],
    ) -> Result<Progress, HeadRefusal> {
        if matches!(self.progress.stage, Stage::Ended) {
            self.reset();
        }
        let read = self.advance(buf, limits, underscore);
        if read != Ok(Progress::More) {
            self.progress.stage = Stage::Ended;
        }
        read.map_err(|kind| HeadRefusal { kind })
    }

    /// The value of the first field under a known name.
    pub fn value<'a>(&self, buf: &'a [u8], known: Known) -> Option<&'a [u8]> {
        if !self.has(known) {
            return None;
        }
        first_value(&self.fields, buf, known)
    }

    /// HOT. Whether a field of a known name was sent.
    #[inline]
    pub fn has(&self, known: Known) -> bool {
        self.progress.seen & known.bit() != 0
    }

    fn advance(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        underscore: &[Box<str>],
    ) -> Result<Progress, HeadFault> {
        if matches!(self.progress.stage, Stage::Start) && !self.skip_empty_line(buf)? {
            return Ok(Progress::More);
        }
        let head_end_max = self.progress.origin.saturating_add(limits.head_bytes_max);
        let within = buf.get(..head_end_max).unwrap_or(buf);
        let progress = self.lines(within, limits, underscore)?;
        if progress == Progress::More && buf.len() > within.len() {
            return Err(HeadFault::HeadersTooLarge);
        }
        Ok(progress)
    }

    /// Skips one empty line (RFC 9112, 2.2). False while it can't be told whether there is one.
    fn skip_empty_line(&mut self, buf: &[u8]) -> Result<bool, HeadFault> {
        let origin = match buf {
            [] | [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] => 2,
            [b'\r', ..] => return Err(HeadFault::LineEnding),
            [_, ..] => 0,
        };
        self.progress.origin = origin;
        self.progress.stage = Stage::RequestLine(RequestLineReader::starting_at(origin));
        Ok(true)
    }

    fn lines(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        underscore: &[Box<str>],
    ) -> Result<Progress, HeadFault> {
        if let Stage::RequestLine(reader) = &mut self.progress.stage {
            let line = match reader.clean_line(buf, limits) {
                Some(line) => line,
                None => match reader.read(buf, limits)? {
                    Some(line) => line,
                    None => return Ok(Progress::More),
                },
            };
            self.progress.line = line;
            self.version = line.version.unwrap_or_default();
            self.progress.stage = Stage::Fields(FieldLines::starting_at(line.next));
        }
        let line_limits = LineLimits {
            lines_max: limits.fields_max,
            line_bytes_max: limits.line_bytes_max,
        };
        let Stage::Fields(mut lines) = self.progress.stage else {
            return Ok(Progress::More);
        };
        loop {
            let line = match lines.next(buf, line_limits)? {
                Line::Field(line) => line,
                Line::Partial => {
                    self.progress.stage = Stage::Fields(lines);
                    return Ok(Progress::More);
                }
                Line::End(len) => {
                    self.len = len;
                    self.complete(buf)?;
                    return Ok(Progress::Done);
                }
            };
            self.take_field(buf, line, underscore)?;
        }
    }

    #[inline]
    fn take_field(
        &mut self,
        buf: &[u8],
        line: FieldLine,
        underscore: &[Box<str>],
    ) -> Result<(), HeadFault> {
        if line.underscore && !may_pass(line.name.of(buf), underscore)? {
            return Ok(());
        }
        if line.duty != Duty::None {
            self.act_on(buf, line)?;
        }
        self.progress.seen |= line.known.bit();
        self.fields.push(Field {
            name: line.name,
            value: line.value,
            known: line.known,
            hop: false,
        });
        Ok(())
    }

    /// HOT. Does what the duty of a field asks for.
    fn act_on(&mut self, buf: &[u8], line: FieldLine) -> Result<(), HeadFault> {
        let seen = self.progress.seen & line.known.bit() != 0;
        let comes_often = matches!(line.duty, Duty::OncePerName | Duty::Connection);
        if seen && !comes_often {
            return Err(HeadFault::Duplicate);
        }
        match line.duty {
            Duty::None | Duty::Once => Ok(()),
            Duty::OnceNoList => refuse_list(line.value.of(buf)),
            Duty::Host => {
                self.progress.host = Some(line.value);
                Ok(())
            }
            Duty::Length => {
                let length = content_length(line.value.of(buf)).ok_or(HeadFault::ContentLength)?;
                self.frame(Framing::Length(length))
            }
            Duty::OncePerName | Duty::Coding | Duty::Connection | Duty::Expect | Duty::Upgrade => {
                self.act_on_rare(buf, line, seen)
            }
        }
    }

    #[inline(never)]
    fn act_on_rare(&mut self, buf: &[u8], line: FieldLine, seen: bool) -> Result<(), HeadFault> {
        let text = line.value.of(buf);
        match line.duty {
            Duty::OncePerName => {
                refuse_list(text)?;
                if seen && self.has_field_named(buf, line.name) {
                    return Err(HeadFault::Duplicate);
                }
            }
            Duty::Coding => {
                if self.version == Version::Http10 || !is_chunked(text) {
                    return Err(HeadFault::TransferEncoding);
                }
                self.frame(Framing::Chunked)?;
            }
            Duty::Connection => {
                let options = &mut self.progress.options;
                options.read(text).map_err(|_| HeadFault::Connection)?;
                if options.name_fields && names_reserved(text) {
                    return Err(HeadFault::Connection);
                }
            }
            Duty::Expect => self.expect(text),
            Duty::Upgrade => self.upgrade = read_upgrade(text)?,
            Duty::None | Duty::Once | Duty::OnceNoList | Duty::Host | Duty::Length => {}
        }
        Ok(())
    }

    fn has_field_named(&self, buf: &[u8], name: Span) -> bool {
        let name = name.of(buf);
        let same = |field: &Field| field.name.of(buf).eq_ignore_ascii_case(name);
        self.fields.iter().any(same)
    }

    fn frame(&mut self, framing: Framing) -> Result<(), HeadFault> {
        if self.framing != Framing::None {
            return Err(HeadFault::BothLengths);
        }
        self.framing = framing;
        Ok(())
    }

    /// Under HTTP/1.0 an expectation means nothing (RFC 9110, 10.1.1).
    fn expect(&mut self, value: &[u8]) {
        if self.version == Version::Http11 {
            self.expect_continue = value.eq_ignore_ascii_case(b"100-continue");
            self.expect_other = !self.expect_continue;
        }
    }

    /// What can be judged only when all fields are there.
    fn complete(&mut self, buf: &[u8]) -> Result<(), HeadFault> {
        let reading = &self.progress;
        self.version = reading.line.version?;
        self.method = reading.line.method?;
        let form = target::form(buf, self.method, &reading.line, reading.host)?;
        self.target = form.target;
        self.asterisk = form.asterisk;
        self.authority = reading.host.unwrap_or_default();
        self.close = reading.options.close || self.version == Version::Http10;
        reading.options.mark(&mut self.fields, buf);
        Ok(())
    }
}

/// Whether a name with an underscore is kept: if it is listed, and no reserved name to those who
/// read the underscore as a hyphen.
#[cold]
fn may_pass(name: &[u8], listed: &[Box<str>]) -> Result<bool, HeadFault> {
    if is_reserved(name) {
        return Err(HeadFault::Underscore);
    }
    let mut listed = listed.iter().map(|listed| listed.as_bytes());
    Ok(listed.any(|listed| listed.eq_ignore_ascii_case(name)))
}

fn refuse_list(value: &[u8]) -> Result<(), HeadFault> {
    if is_list(value) {
        return Err(HeadFault::Duplicate);
    }
    Ok(())
}

/// Reads `Upgrade`. Among several offers none may be a WebSocket: which one counts would be
/// anybody's guess.
fn read_upgrade(value: &[u8]) -> Result<Upgrade, HeadFault> {
    let names_websocket = value
        .split(|byte| *byte == b',')
        .filter_map(|offer| offer.split(|byte| *byte == b'/').next())
        .any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"));
    match (names_websocket, value.contains(&b',')) {
        (true, true) => Err(HeadFault::Duplicate),
        (true, false) => Ok(Upgrade::WebSocket),
        (false, _) => Ok(Upgrade::Other),
    }
}
