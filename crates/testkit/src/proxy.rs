//! A proxy on loopback that opens tunnels (CONNECT) or does what the test says.

use crate::origin::Stream;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long one look for bytes of either side takes.
const LOOK: Duration = Duration::from_millis(2);
/// How long the head of a request may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// What a proxy does with a request.
#[derive(Clone, Debug)]
pub enum Tunnel {
    /// Answers 200 and moves bytes to and from there.
    To(SocketAddr),
    /// Sends these bytes, then moves bytes to and from there.
    After(Vec<u8>, SocketAddr),
    /// Sends these bytes and closes.
    Answer(Vec<u8>),
    /// Says nothing until the other side leaves.
    Hang,
}

/// A request to open a tunnel.
#[derive(Clone, Debug)]
pub struct Connect {
    /// What follows `CONNECT`, or the whole line of another request.
    pub target: String,
    /// The head as it came.
    pub head: String,
}

impl Connect {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

type Script = dyn Fn(&Connect) -> Tunnel + Send + Sync;
type Carrier = dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync;

#[derive(Default)]
struct Seen {
    asked: Mutex<Vec<Connect>>,
    connections: AtomicUsize,
}

/// A running proxy.
pub struct ConnectProxy {
    addr: SocketAddr,
    seen: Arc<Seen>,
    stopping: Arc<AtomicBool>,
}

impl ConnectProxy {
    /// Starts a proxy that does what `script` says.
    pub fn start(script: impl Fn(&Connect) -> Tunnel + Send + Sync + 'static) -> Self {
        Self::start_on(|stream| Some(Box::new(stream)), script)
    }

    /// As [`Self::start`], over what `carrier` makes of an accepted socket, such as TLS.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start_on(
        carrier: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
        script: impl Fn(&Connect) -> Tunnel + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let (seen, stopping) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let proxy = Self {
            addr,
            seen: Arc::clone(&seen),
            stopping: Arc::clone(&stopping),
        };
        let (carrier, script): (Arc<Carrier>, Arc<Script>) = (Arc::new(carrier), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                seen.connections.fetch_add(1, Ordering::Relaxed);
                let (carrier, script) = (Arc::clone(&carrier), Arc::clone(&script));
                let (seen, stopping) = (Arc::clone(&seen), Arc::clone(&stopping));
                thread::spawn(move || {
                    stream.set_nodelay(true).ok();
                    stream.set_read_timeout(Some(LOOK)).ok();
                    if let Some(stream) = carrier(stream) {
                        serve(stream, &*script, &seen, &stopping);
                    }
                });
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<Connect> {
        let asked = self.seen.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The targets it was asked for so far.
    pub fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.addr));
    }
}

fn serve(mut client: Box<dyn Stream>, script: &Script, seen: &Seen, stopping: &AtomicBool) {
    let Some((head, rest)) = read_head(&mut *client) else {
        return;
    };
    let line = head.lines().next().unwrap_or_default();
    let target = line
        .strip_prefix("CONNECT ")
        .and_then(|line| line.strip_suffix(" HTTP/1.1"));
    let asked = Connect {
        target: target.unwrap_or(line).to_owned(),
        head: head.clone(),
    };
    let tunnel = script(&asked);
    let list = seen.asked.lock();
    list.unwrap_or_else(PoisonError::into_inner).push(asked);
    let (first, to) = match tunnel {
        Tunnel::To(to) => (b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(), to),
        Tunnel::After(first, to) => (first, to),
        Tunnel::Answer(bytes) => {
            client.write_all(&bytes).and_then(|()| client.flush()).ok();
            return;
        }
        Tunnel::Hang => {
            let mut piece = [0; 1024];
            while !stopping.load(Ordering::Relaxed) && read(&mut *client, &mut piece) != Some(0) {}
            return;
        }
    };
    let Ok(mut origin) = TcpStream::connect(to) else {
        return;
    };
    origin.set_nodelay(true).ok();
    origin.set_read_timeout(Some(LOOK)).ok();
    let began = client.write_all(&first).and_then(|()| client.flush());
    if began.is_ok() && origin.write_all(&rest).is_ok() {
        pump(&mut *client, &mut origin, stopping);
    }
}

/// Moves bytes until a side ends.
fn pump(client: &mut dyn Stream, origin: &mut TcpStream, stopping: &AtomicBool) {
    let mut piece = vec![0; 64 * 1024];
    while !stopping.load(Ordering::Relaxed) {
        match read(client, &mut piece) {
            Some(0) => return,
            Some(read) if origin.write_all(&piece[..read]).is_err() => return,
            Some(_) | None => {}
        }
        match read(origin, &mut piece) {
            Some(0) => return,
            Some(read) => {
                let sent = client
                    .write_all(&piece[..read])
                    .and_then(|()| client.flush());
                if sent.is_err() {
                    return;
                }
            }
            None => {}
        }
    }
}

/// Bytes that were there; 0 at the end, `None` for nothing now.
fn read(stream: &mut (impl std::io::Read + ?Sized), piece: &mut [u8]) -> Option<usize> {
    match stream.read(piece) {
        Ok(read) => Some(read),
        Err(error) => {
            let later = [
                ErrorKind::WouldBlock,
                ErrorKind::TimedOut,
                ErrorKind::Interrupted,
            ];
            (!later.contains(&error.kind())).then_some(0)
        }
    }
}

/// A head, and what came behind it.
fn read_head(stream: &mut dyn Stream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    let until = Instant::now() + HEAD_PATIENCE;
    while Instant::now() < until {
        match read(stream, &mut piece) {
            Some(0) => return None,
            Some(read) => bytes.extend_from_slice(&piece[..read]),
            None => continue,
        }
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
    }
    None
}
