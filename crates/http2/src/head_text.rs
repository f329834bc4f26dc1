//! The head of a request, from its fields to strict HTTP/1.1 text.
//!
//! The text goes through the one reader of heads, so little here decides what a request may be;
//! what is decided here is what that reader could no longer see (RFC 9113, section 8).

use tollkeep_http1::{ChunkDecoder, ChunkEvent, write};

/// What a field counts besides its bytes (RFC 9113, section 6.5.2).
const FIELD_BYTES: usize = 32;
/// Blocks of fields that are so many times as large as they may be end the connection.
const BOMB_FACTOR: usize = 8;
/// Scratch that grew past this is freed rather than kept.
const KEPT_BYTES_MAX: usize = 1024;

/// Why a stream's head is no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StreamFault {
    /// Neither `:authority` nor one `host`, or both and not the same.
    #[error("the authority is missing or told in two ways")]
    Authority,
    /// Another scheme than `http` and `https`.
    #[error("a scheme that is not served")]
    Scheme,
    /// A path of other than visible characters.
    #[error("a path that is none")]
    Path,
    /// A value that begins or ends with a blank.
    #[error("a value with blanks around it")]
    Value,
    /// More fields than the settings allow.
    #[error("more fields than allowed")]
    TooLarge,
}

impl StreamFault {
    /// Its name in metrics and audit.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Scheme => "scheme",
            Self::Path => "target",
            Self::Value => "field_value",
            Self::TooLarge => "head_too_large",
        }
    }
}

/// A head that is malformed: its stream is reset (RFC 9113, section 8.1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

/// A request's head.
#[derive(Debug, Default)]
pub(crate) struct HeadText {
    /// The text without the empty line, and without `transfer-encoding`.
    pub(crate) text: Vec<u8>,
    pub(crate) fault: Option<StreamFault>,
    pub(crate) length: Length,
    /// Its sender waits for leave to send the body.
    pub(crate) expects: bool,
}

/// What a head says of its body's length.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Length {
    #[default]
    Unknown,
    /// One length, which is 0 also where it is none: the reader of heads refuses those.
    Announced(u64),
    /// For the reader to refuse.
    Several,
}

/// Gathers the fields of one block. It is kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    method: Vec<u8>,
    scheme: Vec<u8>,
    path: Vec<u8>,
    authority: Vec<u8>,
    host: Vec<u8>,
    hosts: u32,
    cookie: Vec<u8>,
    cookies: u32,
    length: Vec<u8>,
    lengths: u32,
    lines: Vec<u8>,
    pseudo: u8,
    regular: bool,
    expects: bool,
    malformed: bool,
    fault: Option<StreamFault>,
    bytes: usize,
    bytes_max: usize,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;

impl Fields {
    /// Makes ready for a block.
    pub(crate) fn begin(&mut self, bytes_max: usize) {
        self.texts().into_iter().for_each(Vec::clear);
        (self.hosts, self.cookies, self.lengths, self.bytes) = (0, 0, 0, 0);
        self.pseudo = 0;
        (self.regular, self.expects, self.malformed) = (false, false, false);
        self.fault = None;
        self.bytes_max = bytes_max;
    }

    /// Gives back what an unusual block has made grow.
    pub(crate) fn rest(&mut self) {
        for text in self.texts() {
            if text.capacity() > KEPT_BYTES_MAX {
                *text = Vec::new();
            }
        }
    }

    fn texts(&mut self) -> [&mut Vec<u8>; 8] {
        [
            &mut self.method,
            &mut self.scheme,
            &mut self.path,
            &mut self.authority,
            &mut self.host,
            &mut self.cookie,
            &mut self.length,
            &mut self.lines,
        ]
    }

    /// Whether the block is so large that it was made to hurt.
    pub(crate) fn is_bomb(&self) -> bool {
        self.bytes > self.bytes_max.saturating_mul(BOMB_FACTOR)
    }

    /// HOT. Takes a field of a request.
    pub(crate) fn request(&mut self, name: &[u8], value: &[u8]) {
        if !self.counts(name, value) {
            return;
        }
        if let Some(pseudo) = name.strip_prefix(b":") {
            return self.pseudo(pseudo, value);
        }
        self.regular = true;
        if !is_name(name) || !is_value(value) {
            self.malformed = true;
            return;
        }
        if is_blank(value.first()) || is_blank(value.last()) {
            self.fault = self.fault.or(Some(StreamFault::Value));
            return;
        }
        match name {
            b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive"
            | b"proxy-connection" => self.malformed = true,
            b"te" if value != b"trailers" => self.malformed = true,
            b"host" => {
                self.hosts += 1;
                self.host.clear();
                self.host.extend_from_slice(value);
            }
            b"cookie" => {
                if self.cookies > 0 {
                    self.cookie.extend_from_slice(b"; ");
                }
                self.cookies += 1;
                self.cookie.extend_from_slice(value);
            }
            b"content-length" => {
                self.lengths += 1;
                if self.lengths > 1 {
                    write::field(&mut self.lines, name, value);
                } else {
                    self.length.extend_from_slice(value);
                }
            }
            _ => {
                self.expects |= name == b"expect";
                write::field(&mut self.lines, name, value);
            }
        }
    }

    /// Takes a field behind a body.
    pub(crate) fn trailer(&mut self, name: &[u8], value: &[u8]) {
        if !self.counts(name, value) {
            self.malformed = true;
        } else if is_name(name) && is_value(value) {
            write::field(&mut self.lines, name, value);
        } else {
            self.malformed = true;
        }
    }

    /// Counts a field; says whether it is still to be looked at.
    fn counts(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.bytes = self
            .bytes
            .saturating_add(name.len() + value.len() + FIELD_BYTES);
        self.bytes <= self.bytes_max
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        let (bit, text) = match name {
            b"method" => (METHOD, &mut self.method),
            b"scheme" => (SCHEME, &mut self.scheme),
            b"path" => (PATH, &mut self.path),
            b"authority" => (AUTHORITY, &mut self.authority),
            _ => {
                self.malformed = true;
                return;
            }
        };
        if self.regular || self.pseudo & bit != 0 || !is_value(value) {
            self.malformed = true;
        }
        self.pseudo |= bit;
        text.extend_from_slice(value);
    }

    /// HOT. The head that the fields make; `ended` is whether nothing follows it.
    ///
    /// # Errors
    /// They make none.
    pub(crate) fn head(&mut self, ended: bool) -> Result<HeadText, Malformed> {
        let connect = self.method == b"CONNECT";
        let target: &[u8] = if connect { b"/" } else { &self.path };
        let needed = if connect {
            METHOD | AUTHORITY
        } else {
            METHOD | SCHEME | PATH
        };
        let others = if connect { 0 } else { AUTHORITY };
        let complete = self.pseudo & needed == needed && self.pseudo & !(needed | others) == 0;
        let told = self.pseudo & AUTHORITY != 0;
        let target_form = target.starts_with(b"/") || target == b"*";
        if self.malformed || !complete || !is_token(&self.method) || !target_form {
            return Err(Malformed);
        }
        if told && self.authority.is_empty() {
            return Err(Malformed);
        }
        let too_large = self.bytes > self.bytes_max;
        let mut head = HeadText {
            text: Vec::new(),
            fault: too_large.then_some(StreamFault::TooLarge).or(self.fault),
            length: self.length(),
            expects: self.expects,
        };
        if ended && matches!(head.length, Length::Announced(1..)) {
            return Err(Malformed);
        }
        if head.fault.is_none() {
            head.fault = self.write(&mut head.text, connect, ended).err();
        }
        Ok(head)
    }

    fn length(&self) -> Length {
        match self.lengths {
            0 => Length::Unknown,
            1 => Length::Announced(number(&self.length)),
            _ => Length::Several,
        }
    }

    fn write(&self, out: &mut Vec<u8>, connect: bool, ended: bool) -> Result<(), StreamFault> {
        let authority = self.authority_told().ok_or(StreamFault::Authority)?;
        if !connect && !matches!(&*self.scheme, b"http" | b"https") {
            return Err(StreamFault::Scheme);
        }
        if !self.path.iter().all(u8::is_ascii_graphic) {
            return Err(StreamFault::Path);
        }
        let method = std::str::from_utf8(&self.method).unwrap_or_default();
        let sums = [&self.lines, &self.path, &self.cookie].map(Vec::len);
        out.reserve_exact(sums.iter().sum::<usize>() + method.len() + authority.len() + 96);
        let target: &[u8] = if connect { b"/" } else { &self.path };
        write::request_line(out, method, target);
        write::field(out, b"host", authority);
        // A length of 0 says nothing yet: only the end of the stream does.
        if self.lengths > 0 && (ended || self.lengths > 1 || self.length != b"0") {
            write::field(out, b"content-length", &self.length);
        }
        out.extend_from_slice(&self.lines);
        if self.cookies > 0 {
            write::field(out, b"cookie", &self.cookie);
        }
        Ok(())
    }

    /// `:authority`, or the one `host` where a proxy left it so; if both are there they are the
    /// same.
    fn authority_told(&self) -> Option<&[u8]> {
        let told = self.pseudo & AUTHORITY != 0;
        let authority = match (told, self.hosts) {
            (true, 0) => &self.authority,
            (false, 1) => &self.host,
            (true, 1) if self.authority.eq_ignore_ascii_case(&self.host) => &self.authority,
            _ => return None,
        };
        // What ends a line or a name can't be in it, and the reader judges the rest.
        let plain = authority.iter().all(u8::is_ascii_graphic);
        plain.then_some(authority)
    }

    /// The lines of fields behind a body.
    ///
    /// # Errors
    /// They may not stand there.
    pub(crate) fn trailers(&self) -> Result<&[u8], Malformed> {
        if self.malformed {
            return Err(Malformed);
        }
        Ok(&self.lines)
    }
}

/// Whether fields behind a body whose length was announced are what the reader of chunks lets pass
/// behind others.
pub(crate) fn trailers_pass(lines: &[u8]) -> bool {
    let text = [b"0\r\n", lines, b"\r\n"].concat();
    matches!(ChunkDecoder::new().next(&text), Ok(ChunkEvent::End { .. }))
}

/// The reader of heads refuses what this takes for 0.
fn number(digits: &[u8]) -> u64 {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().unwrap_or_default()
    } else {
        0
    }
}

fn is_blank(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t'))
}

/// HOT. Whether a name is of small letters and what else a token may have (RFC 9113, section
/// 8.2.1).
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().fold(0, |seen, byte| seen | class(*byte)) == 0
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().fold(0, |seen, byte| seen | class(*byte)) & NO_TOKEN == 0
}

/// HOT. Whether the bytes may stand in a value: no control byte but the tab.
fn is_value(value: &[u8]) -> bool {
    let control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    // Without an early end, so that many bytes are looked at at once.
    !value.iter().fold(false, |seen, byte| seen | control(*byte))
}

const NO_TOKEN: u8 = 1;
const UPPER: u8 = 2;

/// What keeps a byte out of a name.
static CLASS: [u8; 256] = {
    let mut classes = [0_u8; 256];
    let mut rest: &mut [u8] = &mut classes;
    let mut byte = 0_u8;
    while let Some((class, after)) = rest.split_first_mut() {
        *class = match byte {
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z'
            | b'0'..=b'9'
            | b'!'
            | b'#'..=b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~' => 0,
            _ => NO_TOKEN,
        };
        byte = byte.wrapping_add(1);
        rest = after;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or(NO_TOKEN)
}

#[cfg(test)]
mod tests;
