//! One HTTP/1.1 connection: sends a request, reads the answer's head and body.

use std::io::{Error, ErrorKind};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

type Io<T> = std::io::Result<T>;

pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// Where the unread bytes begin.
    at: usize,
}

pub(crate) struct Head {
    pub(crate) status: u16,
    framing: Framing,
    keep_alive: bool,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Connection {
    pub(crate) async fn open(host: &str) -> Io<Self> {
        let socket = TcpStream::connect(host).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
            at: 0,
        })
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Io<Head> {
        self.socket.write_all(request).await?;
        loop {
            self.fill().await?;
            let mut fields = [httparse::EMPTY_HEADER; 96];
            let mut answer = httparse::Response::new(&mut fields);
            match answer.parse(&self.buffer[self.at..]) {
                Ok(httparse::Status::Partial) => {}
                Ok(httparse::Status::Complete(length)) => {
                    let head = head(&answer)?;
                    self.at += length;
                    return Ok(head);
                }
                Err(error) => return Err(Error::new(ErrorKind::InvalidData, error)),
            }
        }
    }

    /// Hands the decoded body on piece by piece. Answers whether the connection can be used again.
    pub(crate) async fn body(&mut self, head: &Head, mut take: impl FnMut(&[u8])) -> Io<bool> {
        match head.framing {
            Framing::Length(length) => self.exactly(length, &mut take).await?,
            Framing::Chunked => loop {
                let size = self.chunk_size().await?;
                self.exactly(size, &mut take).await?;
                // The line end after a chunk, or the empty line after the last.
                self.exactly(2, &mut |_| ()).await?;
                if size == 0 {
                    break;
                }
            },
            Framing::UntilClose => loop {
                take(&self.buffer[self.at..]);
                self.at = self.buffer.len();
                match self.fill().await {
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                    other => other?,
                }
            },
        }
        Ok(head.keep_alive)
    }

    /// Gives back the buffer's memory, for a connection that will be idle.
    pub(crate) fn rest(&mut self) {
        self.buffer = Vec::new();
        self.at = 0;
    }

    async fn exactly(&mut self, mut left: usize, take: &mut impl FnMut(&[u8])) -> Io<()> {
        while left > 0 {
            if self.at == self.buffer.len() {
                self.fill().await?;
            }
            let length = left.min(self.buffer.len() - self.at);
            take(&self.buffer[self.at..self.at + length]);
            self.at += length;
            left -= length;
        }
        Ok(())
    }

    async fn chunk_size(&mut self) -> Io<usize> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.at..]) {
                let line = &self.buffer[self.at..self.at + end];
                let digits = line
                    .split(|b| matches!(b, b';' | b'\r'))
                    .next()
                    .unwrap_or(line);
                let size = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|text| usize::from_str_radix(text, 16).ok());
                self.at += end + 1;
                return size.ok_or_else(|| ErrorKind::InvalidData.into());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Io<()> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        self.buffer.reserve(4096);
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn head(answer: &httparse::Response<'_, '_>) -> Io<Head> {
    let mut head = Head {
        status: answer.code.unwrap_or(0),
        framing: Framing::UntilClose,
        keep_alive: true,
    };
    for field in answer.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(field.value)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            head.framing = Framing::Length(length.ok_or(ErrorKind::InvalidData)?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            head.framing = Framing::Chunked;
        } else if field.name.eq_ignore_ascii_case("connection")
            && field.value.eq_ignore_ascii_case(b"close")
        {
            head.keep_alive = false;
        }
    }
    Ok(head)
}
