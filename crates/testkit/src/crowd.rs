//! Many callers at once on connections that stay open, driven by one thread: so little work of the
//! test's own that a gateway is kept busy by a handful of threads.

use crate::wait::PATIENCE;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long one caller is waited for before it is looked who else was answered.
const NAP: Duration = Duration::from_millis(20);
/// A connection that was idle for longer is made anew: the gateway may be about to close it.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// The longest answer to a caller of a crowd.
const ANSWER_MAX: usize = 64 * 1024;

/// What a caller does after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It sends its request again at once.
    Again,
    /// It does so after this time.
    After(Duration),
    /// It is done.
    Rest,
}

/// Callers with a connection each.
pub struct Crowd {
    callers: Vec<Caller>,
    piece: Vec<u8>,
}

struct Caller {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    unread: Vec<u8>,
    used: Instant,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Resting,
    Asked,
    Paused(Instant),
}

/// The head of an answer as far as a crowd looks at it.
struct Whole {
    status: u16,
    length: usize,
    closes: bool,
}

impl Crowd {
    /// So many callers, each of one of these addresses in turn.
    pub fn new(addrs: &[SocketAddr], callers: usize) -> Self {
        let callers = addrs.iter().cycle().take(callers).map(|addr| Caller {
            addr: *addr,
            stream: None,
            unread: Vec::new(),
            used: Instant::now(),
            state: State::Resting,
        });
        Self {
            callers: callers.collect(),
            piece: vec![0; 16 * 1024],
        }
    }

    /// All send this request at the same time; `next` is told each status, and says what the one
    /// who got it does then. Ends when all rest.
    ///
    /// # Panics
    /// A connection ends without an answer, or nobody is answered for long.
    pub fn call(&mut self, request: &[u8], next: impl FnMut(u16) -> Next) {
        drive(&mut self.callers, &mut self.piece, request, next);
    }

    /// One of them sends the request; the status of its answer.
    ///
    /// # Panics
    /// As [`Self::call`].
    pub fn call_one(&mut self, number: usize, request: &[u8]) -> u16 {
        let (mut status, number) = (0, number % self.callers.len());
        let caller = &mut self.callers[number..=number];
        drive(caller, &mut self.piece, request, |told| {
            status = told;
            Next::Rest
        });
        status
    }
}

fn drive(
    callers: &mut [Caller],
    piece: &mut [u8],
    request: &[u8],
    mut next: impl FnMut(u16) -> Next,
) {
    callers.iter_mut().for_each(Caller::connect);
    for caller in callers.iter_mut() {
        caller.ask(request);
    }
    let (mut active, mut moved_at) = (callers.len(), Instant::now());
    while active > 0 {
        let mut moved = false;
        for caller in callers.iter_mut() {
            let told = match caller.state {
                State::Resting => None,
                State::Paused(until) => {
                    if until <= Instant::now() {
                        caller.ask(request);
                        moved = true;
                    }
                    None
                }
                State::Asked => caller.told(piece),
            };
            let Some(status) = told else { continue };
            moved = true;
            match next(status) {
                Next::Again => caller.ask(request),
                Next::After(time) => caller.state = State::Paused(Instant::now() + time),
                Next::Rest => {
                    caller.state = State::Resting;
                    active -= 1;
                }
            }
        }
        if moved {
            moved_at = Instant::now();
        }
        assert!(
            moved_at.elapsed() < PATIENCE,
            "{active} callers are not answered"
        );
        // Answers come in batches: when one is here, others are too.
        let mut asked = callers.iter_mut();
        match asked.find(|caller| matches!(caller.state, State::Asked)) {
            Some(caller) => caller.read_for_a_while(piece),
            None if active > 0 => std::thread::sleep(NAP),
            None => {}
        }
    }
}

impl Caller {
    fn connect(&mut self) {
        if self.used.elapsed() > IDLE_MAX {
            self.stream = None;
        }
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.addr).expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_read_timeout(Some(NAP)).expect("a timeout");
            self.unread.clear();
            self.stream = Some(stream);
        }
    }

    fn ask(&mut self, request: &[u8]) {
        self.connect();
        let stream = self.stream.as_mut().expect("a connection");
        stream.write_all(request).expect("the gateway reads");
        self.state = State::Asked;
    }

    /// The status of the answer, if it is here.
    fn told(&mut self, piece: &mut [u8]) -> Option<u16> {
        if let Some(status) = self.whole() {
            return Some(status);
        }
        let stream = self.stream.as_ref().expect("a connection");
        match recv(stream, &mut *piece, RecvFlags::DONTWAIT) {
            Ok((_, read)) => self.take(&piece[..read]),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(error) => panic!("no answer: {error}"),
        }
        self.whole()
    }

    fn read_for_a_while(&mut self, piece: &mut [u8]) {
        // Nothing within the nap is no fault yet.
        let stream = self.stream.as_mut().expect("a connection");
        if let Ok(read) = stream.read(piece) {
            self.take(&piece[..read]);
        }
    }

    fn take(&mut self, read: &[u8]) {
        assert!(!read.is_empty(), "the connection ended without an answer");
        self.unread.extend_from_slice(read);
        assert!(self.unread.len() <= ANSWER_MAX, "an answer without end");
    }

    /// Takes a whole answer off what was read.
    fn whole(&mut self) -> Option<u16> {
        let whole = whole(&self.unread)?;
        self.unread.drain(..whole.length);
        self.used = Instant::now();
        if whole.closes {
            self.stream = None;
        }
        Some(whole.status)
    }
}

/// The answer that these bytes begin with, if all of it is there.
fn whole(bytes: &[u8]) -> Option<Whole> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head of ASCII");
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let status = start
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|code| code.parse().ok());
    let (mut length, mut chunked, mut closes) = (None, false, false);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value == "chunked";
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        }
    }
    let body = bytes.get(end + 4..)?;
    let body_length = if chunked {
        // Bodies of a crowd's answers are small JSON texts, without an empty line.
        let last = b"0\r\n\r\n";
        body.windows(last.len()).position(|part| part == last)? + last.len()
    } else {
        length.expect("a length")
    };
    (body.len() >= body_length).then(|| Whole {
        status: status.unwrap_or_else(|| panic!("not a status line: {start:?}")),
        length: end + 4 + body_length,
        closes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Option<(u16, usize, bool)> {
        whole(bytes).map(|it| (it.status, it.length, it.closes))
    }

    #[test]
    fn an_answer_is_whole_where_its_framing_says() {
        for (name, bytes, want) in [
            ("nothing", "", None),
            ("a part of a head", "HTTP/1.1 200 OK\r\ncontent-le", None),
            (
                "a part of a body",
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
                None,
            ),
            (
                "a body, and more behind it",
                "HTTP/1.1 402 Payment Required\r\nContent-Length: 3\r\n\r\nabcHTTP",
                Some((402, 55, false)),
            ),
            (
                "the last of a connection",
                "HTTP/1.1 503 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                Some((503, 56, true)),
            ),
            (
                "a part of chunks",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
                None,
            ),
            (
                "chunks",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
                Some((200, 59, false)),
            ),
        ] {
            assert_eq!(told(bytes.as_bytes()), want, "{name}");
        }
    }
}
