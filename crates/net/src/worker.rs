//! Worker threads: each a current-thread runtime with its own listener, accepting and serving.

use crate::buffers::Buffers;
use crate::deadlines::{Deadlines, TICK};
use crate::descriptors::{Descriptors, Taken};
use crate::drain::Drain;
use crate::h1_serve::Downstream;
use crate::handoff::{Arrival, Handed, Handoff};
use crate::io::Io;
use crate::tls::{self, Offers, ServerTls};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tollkeep_types::Clock;

/// How long accepting rests first when it is out of descriptors, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What serves one connection to its end.
pub type Served = Pin<Box<dyn Future<Output = ()>>>;

/// What a worker does with connections, made once on its own thread.
pub struct Service {
    /// Whether a connection from there is served at all; asked at accept, before anything is read.
    pub admits: Box<dyn Fn(SocketAddr) -> bool>,
    /// Serves one connection; called within the connection's own task.
    pub serve: Rc<dyn Fn(Downstream) -> Served>,
    /// Called after each sweep of the deadlines, ten times a second.
    pub tick: Box<dyn Fn()>,
}

/// What a service is made with: the parts that belong to one worker.
pub struct WorkerParts {
    /// The worker's number, from 0.
    pub index: usize,
    /// Its buffers.
    pub buffers: Rc<Buffers>,
    /// Its deadlines.
    pub deadlines: Rc<Deadlines>,
}

/// An address that callers come in by.
pub struct Door {
    /// Its sockets, one per worker.
    pub sockets: Vec<TcpListener>,
    /// TLS towards callers; without it they speak in clear.
    pub tls: Option<DoorTls>,
}

/// How TLS is spoken at a door.
#[derive(Clone)]
pub struct DoorTls {
    /// The certificates and the rest.
    pub server: Arc<ServerTls>,
    /// What may be agreed there.
    pub offers: Offers,
}

/// Settings of the worker pool.
pub struct Workers {
    /// How many there are.
    pub count: usize,
    /// Where callers come in. A connection knows its door by the place in this list.
    pub doors: Vec<Door>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The process's drain state.
    pub drain: Arc<Drain>,
    /// Connections served at a time, all workers together; more are accepted and closed.
    pub connections_max: Arc<AtomicUsize>,
    /// What sockets may take of the process's file descriptors.
    pub descriptors: Arc<Descriptors>,
}

/// A running worker.
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// Starts the threads. `make` runs on each of them and builds its service.
    ///
    /// # Errors
    /// A thread or runtime could not be started.
    pub fn start(
        self,
        make: &Arc<dyn Fn(WorkerParts) -> Service + Send + Sync>,
    ) -> io::Result<Running> {
        let (stop, stopped) = watch::channel(false);
        let (handoff, inboxes) = Handoff::new(self.count);
        let mut threads = Vec::new();
        let (mut sockets, tls): (Vec<_>, Vec<_>) = self
            .doors
            .into_iter()
            .map(|door| (door.sockets.into_iter(), door.tls))
            .unzip();
        let tls: Arc<[Option<DoorTls>]> = tls.into();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let listeners = sockets.iter_mut().filter_map(Iterator::next).collect();
            let worker = Worker {
                index,
                clock: Arc::clone(&self.clock),
                drain: Arc::clone(&self.drain),
                handoff: Arc::clone(&handoff),
                connections_max: Arc::clone(&self.connections_max),
                descriptors: Arc::clone(&self.descriptors),
                tls: Arc::clone(&tls),
            };
            let (make, stopped) = (Arc::clone(make), stopped.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()?;
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, worker.run(listeners, inbox, &*make, stopped));
            })?);
        }
        Ok(Running { threads, stop })
    }
}

impl Running {
    /// Ends every worker now; connections still open are cut. Returns when all threads have ended.
    pub fn stop(self) {
        // Also seen by a worker that has hardly begun.
        self.stop.send_replace(true);
        for thread in self.threads {
            // A worker that panicked is gone already, and has said so.
            drop(thread.join());
        }
    }
}

struct Worker {
    index: usize,
    clock: Arc<dyn Clock>,
    drain: Arc<Drain>,
    handoff: Arc<Handoff>,
    connections_max: Arc<AtomicUsize>,
    descriptors: Arc<Descriptors>,
    /// By door.
    tls: Arc<[Option<DoorTls>]>,
}

/// Counts a connection as live until it is dropped, however it ends.
struct Live {
    index: usize,
    handoff: Arc<Handoff>,
    drain: Arc<Drain>,
    _descriptor: Taken,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.handoff.left(self.index);
        self.drain.closed();
    }
}

impl Worker {
    async fn run(
        self,
        listeners: Vec<TcpListener>,
        mut inbox: mpsc::Receiver<Handed>,
        make: &(dyn Fn(WorkerParts) -> Service + Send + Sync),
        mut stopped: watch::Receiver<bool>,
    ) {
        let deadlines = Deadlines::new(self.clock.mono());
        let buffers = Rc::new(Buffers::default());
        let parts = WorkerParts {
            index: self.index,
            buffers: Rc::clone(&buffers),
            deadlines: Rc::clone(&deadlines),
        };
        let service = make(parts);
        let seats = Seats {
            worker: &self,
            service: &service,
            deadlines: &deadlines,
            buffers: &buffers,
        };
        let accepting = async {
            tokio::select! {
                () = seats.accept(listeners) => {}
                () = self.drain.begun() => {}
            }
            // Handed-over connections still come while other workers stop accepting.
            std::future::pending::<()>().await;
        };
        let receiving = async {
            while let Some(handed) = inbox.recv().await {
                seats.receive(handed);
            }
        };
        tokio::select! {
            () = accepting => {}
            () = receiving => {}
            () = self.sweep(&deadlines, &service) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn sweep(&self, deadlines: &Deadlines, service: &Service) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            deadlines.sweep(self.clock.mono(), self.drain.is_draining());
            (service.tick)();
        }
    }
}

/// A worker's sockets, one for each door.
struct Listeners {
    all: Vec<tokio::net::TcpListener>,
    /// The one that is asked first: not the one that gave the last connection, or a flood at one
    /// door would keep the others waiting.
    first: usize,
}

impl FromIterator<tokio::net::TcpListener> for Listeners {
    fn from_iter<I: IntoIterator<Item = tokio::net::TcpListener>>(all: I) -> Self {
        Self {
            all: all.into_iter().collect(),
            first: 0,
        }
    }
}

impl Listeners {
    /// The next connection, where it is from, and its door.
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr, usize)> {
        let (all, first) = (&self.all, self.first);
        let (door, accepted) = poll_fn(|cx| {
            let doors = all.iter().enumerate();
            let mut doors = doors.clone().skip(first).chain(doors.take(first));
            let accepted = doors.find_map(|(door, listener)| match listener.poll_accept(cx) {
                Poll::Ready(accepted) => Some((door, accepted)),
                Poll::Pending => None,
            });
            accepted.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        self.first = door + 1;
        accepted.map(|(stream, peer)| (stream, peer, door))
    }
}

/// Where accepted connections become tasks.
struct Seats<'a> {
    worker: &'a Worker,
    service: &'a Service,
    deadlines: &'a Rc<Deadlines>,
    buffers: &'a Rc<Buffers>,
}

impl Seats<'_> {
    async fn accept(&self, listeners: Vec<TcpListener>) {
        let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
        let Ok(mut listeners) = listeners.collect::<io::Result<Listeners>>() else {
            return;
        };
        let mut pause = PAUSE_MIN;
        loop {
            // Without one to spare, connections wait in the kernel's queue.
            let accepted = match self.worker.descriptors.for_caller() {
                Some(taken) => listeners.accept().await.ok().zip(Some(taken)),
                None => None,
            };
            // Out of descriptors or memory: let running requests finish instead of spinning.
            let Some(((stream, peer, door), taken)) = accepted else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            };
            pause = PAUSE_MIN;
            let max = self.worker.connections_max.load(Ordering::Relaxed);
            if self.worker.drain.live() >= max || !(self.service.admits)(peer) {
                continue; // dropped, which closes it
            }
            let arrival = Arrival { peer, door, taken };
            self.seat(stream, arrival);
        }
    }

    /// Serves a new connection here, or hands it to a worker that holds fewer.
    fn seat(&self, stream: TcpStream, arrival: Arrival) {
        let (own, handoff) = (self.worker.index, &self.worker.handoff);
        let emptiest = handoff.emptiest(own);
        if emptiest != own {
            let Ok(stream) = stream.into_std() else {
                return;
            };
            let Err(back) = handoff.hand_over(emptiest, (stream, arrival)) else {
                return;
            };
            handoff.entered(own);
            return self.receive(back);
        }
        handoff.entered(own);
        self.spawn(stream, arrival);
    }

    /// Serves a connection that another worker accepted (and that is counted as ours already).
    fn receive(&self, (stream, arrival): Handed) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.spawn(stream, arrival),
            Err(_) => self.worker.handoff.left(self.worker.index),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the worker loop is the one place that spawns connection tasks"
    )]
    fn spawn(&self, stream: TcpStream, arrival: Arrival) {
        let Arrival { peer, door, taken } = arrival;
        self.worker.drain.opened();
        let live = Live {
            index: self.worker.index,
            handoff: Arc::clone(&self.worker.handoff),
            drain: Arc::clone(&self.worker.drain),
            _descriptor: taken,
        };
        // Without it small answers wait for the acknowledgement of the one before.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let (slot, buffers) = (self.deadlines.slot(), Rc::clone(self.buffers));
        let serve = Rc::clone(&self.service.serve);
        // A panic ends its task and its connection, never the worker.
        let Some(tls) = self.worker.tls.get(door).cloned().flatten() else {
            tokio::task::spawn_local(async move {
                let _live = live;
                let io = Io::Clear(stream);
                serve(Downstream::new(io, None, (peer, door), slot, buffers)).await;
            });
            return;
        };
        tokio::task::spawn_local(async move {
            let _live = live;
            // Boxed: what is needed for a moment must not stay as long as the connection.
            match Box::pin(tls::accept(&tls, stream, &slot, &buffers)).await {
                Ok((opened, session)) => {
                    let (io, session) = (Io::TlsFromCaller(Box::new(opened)), Rc::new(session));
                    let from = (peer, door);
                    serve(Downstream::new(io, Some(session), from, slot, buffers)).await;
                }
                Err(error) => tracing::debug!("No TLS connection: {error}"),
            }
        });
    }
}

#[cfg(test)]
mod tests;
