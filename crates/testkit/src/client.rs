//! A caller that sends any bytes and reads answers strictly.

use crate::origin::Stream;
use crate::request::decimal;
use crate::wait::PATIENCE;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

/// A connection to the gateway.
pub struct Client {
    stream: TcpStream,
    /// What carries the bytes over the socket, if that is not it itself.
    carrier: Option<Box<dyn Stream>>,
    unread: Vec<u8>,
    reset: bool,
    /// The read timeout the socket has.
    patience: Option<Duration>,
}

/// An answer, or what came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Statuses of the interim answers before it.
    pub interim: Vec<u16>,
    /// Its fields in order, names as sent.
    pub fields: Vec<(String, String)>,
    /// Its body, as far as it came.
    pub body: Vec<u8>,
    /// How its body ended.
    pub end: BodyEnd,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyEnd {
    /// Where its framing says.
    Whole,
    /// The connection ended before.
    Cut,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The gateway closed before a first byte.
    Closed,
    /// Nothing came in time.
    Silent,
}

enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

impl Answer {
    /// The one value of a field.
    ///
    /// # Panics
    /// It is there more than once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() <= 1, "{name} is there {} times", values.len());
        values.first().copied()
    }

    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of a refusal, wherever its dialect has it.
    pub fn code(&self) -> String {
        self.field("x-tollkeep-error")
            .unwrap_or_default()
            .to_owned()
    }

    /// Whether it says that the connection ends.
    pub fn closes(&self) -> bool {
        self.field("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// Nobody listens there.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).expect("a connection"))
    }

    /// Connects from this address of the loopback network. The connection ends with a reset, so
    /// that a test of many leaves no ports behind that wait.
    ///
    /// # Panics
    /// Nobody listens there.
    pub fn connect_from(own: Ipv4Addr, addr: SocketAddr) -> Self {
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let socket =
            rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).expect("a socket");
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("a reset at the end");
        rustix::net::bind(&socket, &SocketAddrV4::new(own, 0)).expect("a loopback address");
        rustix::net::connect(&socket, &addr).expect("a connection");
        Self::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            carrier: None,
            unread: Vec::new(),
            reset: false,
            patience: None,
        }
    }

    /// A client whose bytes go over `carrier`, which uses a copy of `socket`.
    ///
    /// # Panics
    /// The socket can't be used.
    pub fn carried(socket: TcpStream, carrier: impl Stream + 'static) -> Self {
        let mut client = Self::over(socket);
        client.carrier = Some(Box::new(carrier));
        client
    }

    /// Sends all of `bytes`; `false` when the gateway stopped taking them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = match &mut self.carrier {
            Some(carrier) => carrier.write_all(bytes).and_then(|()| carrier.flush()),
            None => self.stream.write_all(bytes),
        };
        sent.is_ok()
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Panics
    /// There is no strict answer.
    pub fn call(&mut self, request: &[u8]) -> Answer {
        self.send(request);
        let head_only = request.starts_with(b"HEAD ");
        self.answer_within(PATIENCE, head_only)
            .unwrap_or_else(|ended| panic!("no answer: {ended:?}"))
    }

    /// Reads the next answer, which is not to HEAD.
    ///
    /// # Errors
    /// None began within `patience`.
    pub fn answer(&mut self, patience: Duration) -> Result<Answer, Ended> {
        self.answer_within(patience, false)
    }

    /// Reads the next answer; `head_only` if it answers HEAD.
    ///
    /// # Errors
    /// None began within `patience`.
    ///
    /// # Panics
    /// What came is not a strict answer.
    pub fn answer_within(&mut self, patience: Duration, head_only: bool) -> Result<Answer, Ended> {
        let (mut answer, framing) = self.framed_head(patience, head_only)?;
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                while self.unread.len() < length && self.more(PATIENCE) {}
                let came = length.min(self.unread.len());
                answer.body = self.unread.drain(..came).collect();
                answer.end = if came == length {
                    BodyEnd::Whole
                } else {
                    BodyEnd::Cut
                };
            }
            Framing::Chunked => {
                while let Some(piece) = self.piece(&mut answer) {
                    answer.body.extend(piece);
                }
            }
            Framing::UntilClose => {
                while self.more(PATIENCE) {}
                answer.body = std::mem::take(&mut self.unread);
                // Only a proper end of the connection is an end of such a body.
                answer.end = if self.reset {
                    BodyEnd::Cut
                } else {
                    BodyEnd::Whole
                };
            }
        }
        Ok(answer)
    }

    /// Reads the head of the next answer; its chunked body is read with [`Self::piece`].
    ///
    /// # Errors
    /// None began within `patience`.
    pub fn head(&mut self, patience: Duration) -> Result<Answer, Ended> {
        Ok(self.framed_head(patience, false)?.0)
    }

    fn framed_head(
        &mut self,
        patience: Duration,
        head_only: bool,
    ) -> Result<(Answer, Framing), Ended> {
        let mut interim = Vec::new();
        loop {
            let head = self.head_text(patience)?;
            let mut answer = parse_head(&head);
            if (100..200).contains(&answer.status) {
                interim.push(answer.status);
                continue;
            }
            answer.interim = interim;
            let framing = framing_of(&answer, head_only);
            return Ok((answer, framing));
        }
    }

    /// The data of the next chunk as it was sent; `None` at the end, whose kind `answer` tells.
    ///
    /// # Panics
    /// The chunk is malformed, or does not come.
    pub fn piece(&mut self, answer: &mut Answer) -> Option<Vec<u8>> {
        let line = self.line();
        let size = line.as_deref().map(|line| {
            usize::from_str_radix(line, 16).unwrap_or_else(|_| panic!("chunk size {line:?}"))
        });
        let Some(size) = size else {
            answer.end = BodyEnd::Cut;
            return None;
        };
        while self.unread.len() < size + 2 && self.more(PATIENCE) {}
        if self.unread.len() < size + 2 {
            answer.body.append(&mut self.unread);
            answer.end = BodyEnd::Cut;
            return None;
        }
        let data: Vec<u8> = self.unread.drain(..size).collect();
        let end: Vec<u8> = self.unread.drain(..2).collect();
        assert_eq!(end, b"\r\n", "a chunk ends with CRLF");
        if size == 0 { None } else { Some(data) }
    }

    /// A line without its CRLF; `None` when the connection ends within it.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).take(at).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            if !self.more(PATIENCE) {
                return None;
            }
        }
    }

    fn head_text(&mut self, patience: Duration) -> Result<String, Ended> {
        let end = Instant::now() + patience;
        loop {
            if let Some(at) = self
                .unread
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.unread.drain(..at + 4).take(at).collect();
                return Ok(String::from_utf8(head).expect("a head of ASCII"));
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.read_within(left) {
                Some(0) if self.unread.is_empty() => return Err(Ended::Closed),
                Some(0) => panic!(
                    "the connection ended within a head: {:?}",
                    String::from_utf8_lossy(&self.unread)
                ),
                Some(_) => {}
                None if self.unread.is_empty() => return Err(Ended::Silent),
                None => panic!(
                    "silence within a head: {:?}",
                    String::from_utf8_lossy(&self.unread)
                ),
            }
        }
    }

    /// Reads more; `false` at the end of the connection.
    fn more(&mut self, patience: Duration) -> bool {
        let read = self.read_within(patience);
        read.unwrap_or_else(|| {
            panic!(
                "nothing more within {patience:?}, {} bytes unread",
                self.unread.len()
            )
        }) > 0
    }

    /// Reads more: how many bytes, 0 at the end; `None` when nothing came in time.
    fn read_within(&mut self, patience: Duration) -> Option<usize> {
        let mut piece = [0; 16 * 1024];
        let end = Instant::now() + patience;
        let mut left = patience;
        loop {
            // Mostly the same as before: a system call that can be spared.
            let left_now = Some(left.max(Duration::from_millis(1)));
            if self.patience != left_now {
                self.stream.set_read_timeout(left_now).expect("a timeout");
                self.patience = left_now;
            }
            let read = match &mut self.carrier {
                Some(carrier) => carrier.read(&mut piece),
                None => self.stream.read(&mut piece),
            };
            match read {
                Ok(read) => {
                    self.unread.extend_from_slice(&piece[..read]);
                    return Some(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    left = end.saturating_duration_since(Instant::now());
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(_) => {
                    self.reset = true;
                    return Some(0);
                }
            }
        }
    }

    /// Bytes that came and were not read as an answer.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Reads at least one byte of whatever comes next, raw.
    ///
    /// # Errors
    /// Nothing came within `patience`.
    pub fn bytes(&mut self, patience: Duration) -> Result<Vec<u8>, Ended> {
        if self.unread.is_empty() {
            match self.read_within(patience) {
                Some(0) => return Err(Ended::Closed),
                Some(_) => {}
                None => return Err(Ended::Silent),
            }
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// Whether the gateway closes within `patience` without sending anything more.
    pub fn closed_within(&mut self, patience: Duration) -> bool {
        self.unread.is_empty() && self.read_within(patience) == Some(0)
    }
}

fn parse_head(head: &str) -> Answer {
    let stray = |c: char| c.is_control() && c != '\t';
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let status = start
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..4))
        .filter(|code| code.ends_with(' '));
    let status = status.and_then(|code| code.trim_end().parse().ok());
    let fields = lines.map(|line| {
        let (name, value) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("not a field line: {line:?}"));
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(
            !name.is_empty() && name.bytes().all(is_token) && !value.contains(stray),
            "not a field line: {line:?}"
        );
        (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
    });
    Answer {
        status: status.unwrap_or_else(|| panic!("not a status line: {start:?}")),
        interim: Vec::new(),
        fields: fields.collect(),
        body: Vec::new(),
        end: BodyEnd::Whole,
    }
}

fn framing_of(answer: &Answer, head_only: bool) -> Framing {
    let length = answer
        .field("content-length")
        .map(|value| decimal(value).expect("a length"));
    let coding = answer.field("transfer-encoding");
    assert!(
        coding.is_none_or(|coding| coding == "chunked"),
        "{coding:?}"
    );
    assert!(
        coding.is_none() || length.is_none(),
        "a length and a coding"
    );
    let bodiless = head_only || matches!(answer.status, 204 | 304);
    match (bodiless, coding, length) {
        (true, ..) => Framing::None,
        (false, Some(_), _) => Framing::Chunked,
        (false, None, Some(length)) => Framing::Length(length),
        (false, None, None) => {
            assert!(
                answer.closes(),
                "a body until close, but the connection does not say so"
            );
            Framing::UntilClose
        }
    }
}
