//! A way to a PostgreSQL on which commits can be held up: before the server hears of them, or before
//! anybody hears that they were done.
//!
//! So a process can be killed between two steps that are otherwise microseconds apart, without any
//! word of that in the process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The statement, as it ends in a message (`READ COMMITTED` is another).
const COMMIT: &[u8] = b"COMMIT\0";

/// What is held up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HoldUp {
    /// Everything passes.
    #[default]
    Nothing,
    /// Commits do not reach the server.
    Commits,
    /// Commits are done, and nobody is told.
    Answers,
}

#[derive(Default)]
struct State {
    hold_up: HoldUp,
    /// Commits that were held up since that was asked for.
    stuck: usize,
    /// Connections of an earlier age pass nothing on.
    age: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The way. Dropped, it is closed.
pub struct Wire {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
}

impl Wire {
    /// A way to the server at this port of the loopback address.
    ///
    /// # Panics
    /// There is no free port.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let (shared, stopping) = (Arc::<Shared>::default(), Arc::<AtomicBool>::default());
        let wire = Self {
            addr,
            shared: Arc::clone(&shared),
            stopping: Arc::clone(&stopping),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    join(client, server, &shared);
                }
            }
        });
        wire
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Holds something up from now on, and lets go what was held up otherwise.
    pub fn hold_up(&self, what: HoldUp) {
        let mut state = self.shared.lock();
        (state.hold_up, state.stuck) = (what, 0);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// How many commits were held up since that was asked for.
    pub fn stuck(&self) -> usize {
        self.shared.lock().stuck
    }

    /// Ends all connections. What was held up on them never arrives, as if whoever sent it had been
    /// gone before; later ones pass everything.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.age += 1;
        (state.hold_up, state.stuck) = (HoldUp::Nothing, 0);
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the acceptor.
        drop(TcpStream::connect(self.addr));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds_up(&self, what: HoldUp) -> bool {
        self.lock().hold_up == what
    }

    /// Waits as long as this is held up; whether the connection still passes anything on.
    fn pass(&self, what: HoldUp, age: u64) -> bool {
        let mut state = self.lock();
        if state.hold_up == what {
            state.stuck += 1;
        }
        while state.hold_up == what && state.age == age {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.age == age
    }
}

/// Moves bytes both ways.
fn join(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let age = shared.lock().age;
    // A commit went to the server, whose answer is held up.
    let asked = Arc::<AtomicBool>::default();
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let copies = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
    let Some((from_server, to_client)) = copies().map(|(client, server)| (server, client)) else {
        return;
    };
    let (to_server, answers) = (Arc::clone(shared), Arc::clone(shared));
    let asks = Arc::clone(&asked);
    thread::spawn(move || {
        relay(client, server, |piece| {
            let is_commit = piece.windows(COMMIT.len()).any(|part| part == COMMIT);
            if is_commit && to_server.holds_up(HoldUp::Answers) {
                asks.store(true, Ordering::SeqCst);
            }
            !is_commit || to_server.pass(HoldUp::Commits, age)
        });
    });
    thread::spawn(move || {
        relay(from_server, to_client, |_| {
            !asked.swap(false, Ordering::SeqCst) || answers.pass(HoldUp::Answers, age)
        });
    });
}

/// Moves bytes one way, as long as each piece may pass.
fn relay(mut from: TcpStream, mut to: TcpStream, mut may_pass: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut piece)
        && read > 0
        && may_pass(&piece[..read])
        && to.write_all(&piece[..read]).is_ok()
    {}
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
