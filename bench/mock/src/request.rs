//! Reads requests off a connection: enough of HTTP/1.1 for a gateway that writes it well.

use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Larger requests are refused: the benchmark sends none.
const REQUEST_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Request<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: &'a [u8],
    /// The value of `x-mock`.
    pub(crate) knobs: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// One connection's buffer.
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// Where the request that was handed out ends.
    used: usize,
    /// The body of a chunked request.
    joined: Vec<u8>,
}

/// What the head says of the body.
enum Body {
    Length(usize),
    Chunked,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(4096),
            used: 0,
            joined: Vec::new(),
        }
    }

    /// Forgets the request handed out last, so that its bytes can be overwritten.
    pub(crate) fn done(&mut self) {
        if self.used == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.used);
        }
        self.used = 0;
    }

    /// The next request, or none when the other side has closed.
    pub(crate) async fn next(
        &mut self,
        socket: &mut TcpStream,
    ) -> anyhow::Result<Option<Request<'_>>> {
        self.done();
        let head = loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill(socket).await? {
                ensure!(self.buffer.is_empty(), "closed inside a head");
                return Ok(None);
            }
        };
        match body_of(&self.buffer[..head])? {
            Body::Length(length) => {
                while self.buffer.len() < head + length {
                    ensure!(self.fill(socket).await?, "closed inside a body");
                }
                self.used = head + length;
                Ok(Some(request(
                    &self.buffer[..head],
                    &self.buffer[head..self.used],
                )?))
            }
            Body::Chunked => {
                self.join_chunks(socket, head).await?;
                Ok(Some(request(&self.buffer[..head], &self.joined)?))
            }
        }
    }

    async fn fill(&mut self, socket: &mut TcpStream) -> anyhow::Result<bool> {
        ensure!(self.buffer.len() <= REQUEST_BYTES_MAX, "request too large");
        self.buffer.reserve(4096);
        Ok(socket.read_buf(&mut self.buffer).await? > 0)
    }

    async fn join_chunks(&mut self, socket: &mut TcpStream, head: usize) -> anyhow::Result<()> {
        self.joined.clear();
        let mut at = head;
        loop {
            let line = loop {
                if let Some(n) = memchr::memmem::find(&self.buffer[at..], b"\r\n") {
                    break at + n;
                }
                ensure!(self.fill(socket).await?, "closed inside a chunk");
            };
            let digits = self.buffer[at..line]
                .split(|b| *b == b';')
                .next()
                .unwrap_or_default();
            let size = usize::from_str_radix(std::str::from_utf8(digits)?.trim(), 16)?;
            let data = line + 2;
            while self.buffer.len() < data + size + 2 {
                ensure!(self.fill(socket).await?, "closed inside a chunk");
            }
            self.joined
                .extend_from_slice(&self.buffer[data..data + size]);
            at = data + size + 2;
            if size == 0 {
                self.used = at;
                return Ok(());
            }
        }
    }
}

fn request<'a>(head: &'a [u8], body: &'a [u8]) -> anyhow::Result<Request<'a>> {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, target) = (
        words.next().context("no method")?,
        words.next().context("no target")?,
    );
    let mut parts = target.splitn(2, |b| *b == b'?');
    let path = parts.next().unwrap_or_default();
    let query = parts.next().unwrap_or_default();
    let knobs = fields(head).find(|(name, _)| name.eq_ignore_ascii_case(b"x-mock"));
    Ok(Request {
        method,
        path,
        query,
        knobs: knobs.map_or(&[], |(_, value)| value),
        body,
    })
}

fn body_of(head: &[u8]) -> anyhow::Result<Body> {
    for (name, value) in fields(head) {
        if name.eq_ignore_ascii_case(b"content-length") {
            return Ok(Body::Length(std::str::from_utf8(value)?.parse()?));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                bail!("unknown transfer coding");
            }
            return Ok(Body::Chunked);
        }
    }
    Ok(Body::Length(0))
}

fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|b| *b == b'\n').skip(1).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}
