//! A scripted upstream on loopback: records what reaches it, answers what the test says.

use crate::request::{self, Bodies, Read, Request};
use crate::wait;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One step of an answer.
#[derive(Clone)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits a fixed time.
    Sleep(Duration),
    /// Waits until a gate opens, but never forever.
    Wait(Gate),
    /// Closes the connection, here and now.
    Close,
    /// Sends and reads nothing more until the other side is gone.
    Hang,
}

/// Something an answer waits for until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Opens the gate.
    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// Shuts it again, for whoever comes from now on.
    pub fn close(&self) {
        *lock(&self.0.0) = false;
    }

    fn wait(&self) {
        let closed = |open: &mut bool| !*open;
        drop(
            self.0
                .1
                .wait_timeout_while(lock(&self.0.0), wait::PATIENCE, closed),
        );
    }
}

type Answer = dyn Fn(&Request) -> Vec<Step> + Send + Sync;
/// What carries bytes: a socket, or a TLS session over one.
type Carrier = dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync;

/// A byte stream an origin can serve.
pub trait Stream: std::io::Read + Write + Send {}
impl<T: std::io::Read + Write + Send> Stream for T {}

#[derive(Default)]
struct Seen {
    keeps_nothing: AtomicBool,
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    raw: Mutex<BTreeMap<usize, Vec<u8>>>,
    faults: Mutex<Vec<String>>,
    left: Mutex<Vec<Instant>>,
    open: AtomicUsize,
}

impl Seen {
    fn keeps(&self) -> bool {
        !self.keeps_nothing.load(Ordering::Relaxed)
    }
}

/// A running origin.
pub struct Origin {
    addr: SocketAddr,
    seen: Arc<Seen>,
    stopping: Arc<AtomicBool>,
}

/// The steps of an answer with status 200, a length and this body.
pub fn ok(body: &[u8]) -> Vec<Step> {
    with_fields("", body)
}

/// As [`ok`], of JSON.
pub fn json(body: &serde_json::Value) -> Vec<Step> {
    with_fields(
        "content-type: application/json\r\n",
        body.to_string().as_bytes(),
    )
}

/// As [`ok`], with field lines that each end with CRLF.
pub fn with_fields(fields: &str, body: &[u8]) -> Vec<Step> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    vec![Step::Send(bytes)]
}

/// The head of a chunked answer.
pub fn chunked_head(kind: &str) -> Step {
    Step::Send(
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")
            .into_bytes(),
    )
}

/// One chunk; an empty one is the last.
pub fn chunk(data: &[u8]) -> Step {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    Step::Send(bytes)
}

impl Origin {
    /// Starts an origin that answers each strict request with the steps `answer` gives.
    pub fn start(answer: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_over(Arc::new(answer), Arc::new(clear), Bodies::OfLength)
    }

    /// As [`Self::start`]; it takes bodies in chunks too.
    pub fn start_chunked(answer: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_over(Arc::new(answer), Arc::new(clear), Bodies::InChunks)
    }

    /// As [`Self::start`], over what `carrier` makes of an accepted socket, such as TLS.
    pub fn start_on(
        carrier: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::start_over(Arc::new(answer), Arc::new(carrier), Bodies::OfLength)
    }

    fn start_over(answer: Arc<Answer>, carrier: Arc<Carrier>, bodies: Bodies) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let (seen, stopping) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let origin = Self {
            addr,
            seen: Arc::clone(&seen),
            stopping: Arc::clone(&stopping),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let number = seen.connections.fetch_add(1, Ordering::Relaxed);
                let (answer, carrier, seen) =
                    (Arc::clone(&answer), Arc::clone(&carrier), Arc::clone(&seen));
                let served = move || {
                    stream.set_nodelay(true).ok();
                    seen.open.fetch_add(1, Ordering::Relaxed);
                    if let Some(stream) = carrier(stream) {
                        serve(stream, (number, bodies), &*answer, &seen);
                    }
                    seen.open.fetch_sub(1, Ordering::Relaxed);
                };
                thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(served)
                    .expect("a thread");
            }
        });
        origin
    }

    /// Starts an origin that answers everything with 200 and `ok`.
    pub fn plain() -> Self {
        Self::start(|_| ok(b"ok"))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The strict requests so far, in the order their reading ended.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.seen.requests).clone()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.seen.requests).len()
    }

    /// The last one.
    ///
    /// # Panics
    /// There is none.
    pub fn last(&self) -> Request {
        lock(&self.seen.requests)
            .last()
            .cloned()
            .expect("a request at the origin")
    }

    /// Forgets the requests so far, and their bytes.
    pub fn forget(&self) {
        lock(&self.seen.requests).clear();
        lock(&self.seen.raw).clear();
    }

    /// Keeps no requests and no bytes from now on: for very many of them, which `answer` counts.
    pub fn keep_nothing(&self) {
        self.seen.keeps_nothing.store(true, Ordering::Relaxed);
        self.forget();
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// Every byte so far of each connection that sent some.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        lock(&self.seen.raw).values().cloned().collect()
    }

    /// What was not a strict request; the connection ended there.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.seen.faults).clone()
    }

    /// When the other side left while it was still being answered.
    pub fn left(&self) -> Vec<Instant> {
        lock(&self.seen.left).clone()
    }

    /// Waits until `count` requests have come.
    pub fn wait_for(&self, count: usize) {
        wait::eventually("requests at the origin", || {
            (self.count() >= count).then_some(())
        });
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.addr));
    }
}

/// A socket without more.
fn clear(socket: TcpStream) -> Option<Box<dyn Stream>> {
    Some(Box::new(socket))
}

fn serve(
    mut stream: Box<dyn Stream>,
    (number, bodies): (usize, Bodies),
    answer: &Answer,
    seen: &Seen,
) {
    let (mut buffer, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match request::read(&buffer, number, bodies) {
            Err(fault) => return lock(&seen.faults).push(fault),
            Ok(Read::Whole(request, len)) => {
                buffer.drain(..len);
                let steps = answer(&request);
                if seen.keeps() {
                    lock(&seen.requests).push(request);
                }
                if !steps.into_iter().all(|step| take(step, &mut *stream, seen)) {
                    return;
                }
            }
            Ok(Read::More) => match stream.read(&mut piece) {
                Ok(read) if read > 0 => {
                    buffer.extend_from_slice(&piece[..read]);
                    if seen.keeps() {
                        let mut raw = lock(&seen.raw);
                        raw.entry(number)
                            .or_default()
                            .extend_from_slice(&piece[..read]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) if buffer.is_empty() => return,
                Ok(_) | Err(_) => {
                    return lock(&seen.faults).push("closed within a request".to_owned());
                }
            },
        }
    }
}

/// Takes a step; `false` ends the connection.
fn take(step: Step, stream: &mut dyn Stream, seen: &Seen) -> bool {
    let leave = || {
        lock(&seen.left).push(Instant::now());
        false
    };
    match step {
        Step::Send(bytes) => {
            let sent = stream.write_all(&bytes).and_then(|()| stream.flush());
            if sent.is_ok() { true } else { leave() }
        }
        Step::Sleep(time) => {
            thread::sleep(time);
            true
        }
        Step::Wait(gate) => {
            gate.wait();
            true
        }
        Step::Close => false,
        Step::Hang => {
            let mut piece = [0; 4096];
            while stream.read(&mut piece).is_ok_and(|read| read > 0) {}
            leave()
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
