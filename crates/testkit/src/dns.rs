//! A name server on loopback that answers what the test says, over UDP and, where an answer is
//! too long for that, over TCP.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What a question is answered with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These addresses (of the family asked for), after these aliases.
    Addresses(Vec<IpAddr>),
    /// An alias; the rest of the chain is in the same answer.
    Aliases(Vec<String>, Vec<IpAddr>),
    /// The name does not exist.
    NoSuchName,
    /// The server failed.
    Failed,
    /// No answer at all.
    Silence,
}

/// Bytes of an answer over UDP; a longer one is to be asked for over TCP.
const UDP_BYTES_MAX: usize = 1232;

type Script = Mutex<Box<dyn Fn(&str) -> Reply + Send>>;

/// A running name server.
pub struct NameServer {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stopping: Arc<AtomicBool>,
}

impl NameServer {
    /// Starts a server that answers questions for a name's addresses; lifetimes are 0.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start(reply: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let (socket, streams) = sockets();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a timeout");
        let addr = socket.local_addr().expect("its address");
        let reply: Arc<Script> = Arc::new(Mutex::new(Box::new(reply)));
        let (asked, stopping) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let server = Self {
            addr,
            asked: Arc::clone(&asked),
            stopping: Arc::clone(&stopping),
        };
        let (of_streams, ended) = (Arc::clone(&reply), Arc::clone(&stopping));
        thread::spawn(move || {
            for stream in streams.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                answer_stream(stream, &of_streams);
            }
        });
        thread::spawn(move || {
            let mut packet = [0; 4096];
            while !stopping.load(Ordering::Relaxed) {
                let Ok((len, peer)) = socket.recv_from(&mut packet) else {
                    continue;
                };
                let Some(question) = Question::read(&packet[..len]) else {
                    continue;
                };
                asked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(question.name.clone());
                if let Some(mut answer) = question.answer(&ask(&reply, &question.name)) {
                    if answer.len() > UDP_BYTES_MAX {
                        answer = question.cut();
                    }
                    socket.send_to(&answer, peer).ok();
                }
            }
        });
        server
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The names asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.addr));
    }
}

/// Both kinds of socket at one port.
fn sockets() -> (UdpSocket, TcpListener) {
    let both = || {
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        let streams = TcpListener::bind(socket.local_addr().ok()?).ok()?;
        Some((socket, streams))
    };
    let mut tries = (0..50).filter_map(|_| both());
    tries.next().expect("a free port")
}

fn ask(script: &Script, name: &str) -> Reply {
    script.lock().unwrap_or_else(PoisonError::into_inner)(name)
}

/// Answers the questions of one TCP connection (RFC 1035, section 4.2.2).
fn answer_stream(mut stream: TcpStream, script: &Script) {
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .ok();
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        let read = stream.read_exact(&mut query).ok();
        let Some(question) = read.and_then(|()| Question::read(&query)) else {
            return;
        };
        let Some(answer) = question.answer(&ask(script, &question.name)) else {
            return;
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return;
        };
        if stream
            .write_all(&[&length.to_be_bytes()[..], &answer].concat())
            .is_err()
        {
            return;
        }
    }
}

const CLASS_IN: [u8; 2] = [0, 1];
const KIND_A: u16 = 1;
const KIND_CNAME: u16 = 5;
const KIND_AAAA: u16 = 28;

/// The one question of a query (RFC 1035, section 4).
struct Question {
    id: [u8; 2],
    name: String,
    kind: u16,
    /// As it stands in the query, to be repeated.
    bytes: Vec<u8>,
}

impl Question {
    fn read(query: &[u8]) -> Option<Self> {
        let (header, rest) = query.split_at_checked(12)?;
        let (mut at, mut labels) = (0, Vec::new());
        loop {
            let len = usize::from(*rest.get(at)?);
            at += 1;
            if len == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(rest.get(at..at + len)?).to_lowercase());
            at += len;
        }
        let kind = u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]);
        Some(Self {
            id: [header[0], header[1]],
            name: labels.join("."),
            kind,
            bytes: rest.get(..at + 4)?.to_vec(),
        })
    }

    /// An answer that says that it is too long.
    fn cut(&self) -> Vec<u8> {
        let header = [self.id, [0x83, 0x80], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
        [header, self.bytes.clone()].concat()
    }

    fn answer(&self, reply: &Reply) -> Option<Vec<u8>> {
        let none: &[IpAddr] = &[];
        let (code, aliases, addresses) = match reply {
            Reply::Addresses(addresses) => (0, &[][..], addresses.as_slice()),
            Reply::Aliases(aliases, addresses) => (0, aliases.as_slice(), addresses.as_slice()),
            Reply::NoSuchName => (3, &[][..], none),
            Reply::Failed => (2, &[][..], none),
            Reply::Silence => return None,
        };
        let mut records = Vec::new();
        let mut owner = vec![0xc0, 12];
        for alias in aliases {
            records.push(record(&owner, KIND_CNAME, &name_bytes(alias)));
            owner = name_bytes(alias);
        }
        let of_kind = addresses.iter().filter_map(|ip| match (ip, self.kind) {
            (IpAddr::V4(ip), KIND_A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), KIND_AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        });
        records.extend(of_kind.map(|octets| record(&owner, self.kind, &octets)));
        let count = u16::try_from(records.len()).ok()?.to_be_bytes();
        let flags = [0x81, 0x80 | code];
        let header = [self.id, flags, [0, 1], count, [0, 0], [0, 0]].concat();
        Some([header, self.bytes.clone(), records.concat()].concat())
    }
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let lifetime = [0; 4];
    let len = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
    [owner, &kind.to_be_bytes(), &CLASS_IN, &lifetime, &len, data].concat()
}

fn name_bytes(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        let len = u8::try_from(label.len()).unwrap_or(63);
        std::iter::once(len).chain(label.bytes())
    });
    labels.chain([0]).collect()
}
