//! Worker threads: each a current-thread runtime with its own listener, accepting and serving.

use crate::buffers::Buffers;
use crate::deadlines::{Deadlines, TICK};
use crate::descriptors::{Descriptors, Taken};
use crate::drain::Drain;
use crate::h1_serve::Downstream;
use crate::handoff::{Handed, Handoff};
use crate::io::Io;
use crate::tls::{self, ServerTls};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Settings of the worker pool.
pub struct Workers {
    /// One listener per worker.
    pub listeners: Vec<TcpListener>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The process's drain state.
    pub drain: Arc<Drain>,
    /// Connections served at a time, all workers together; more are accepted and closed.
    pub connections_max: Arc<AtomicUsize>,
    /// What sockets may take of the process's file descriptors.
    pub descriptors: Arc<Descriptors>,
    /// TLS towards callers; without it they speak in clear.
    pub tls: Option<Arc<ServerTls>>,
}

/// A running worker.
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// Starts one thread per listener. `make` runs on each thread and builds its service.
    ///
    /// # Errors
    /// A thread or runtime could not be started.
    pub fn start(
        self,
        make: &Arc<dyn Fn(WorkerParts) -> Service + Send + Sync>,
    ) -> io::Result<Running> {
        let (stop, stopped) = watch::channel(false);
        let (handoff, inboxes) = Handoff::new(self.listeners.len());
        let mut threads = Vec::new();
        for (index, (listener, inbox)) in self.listeners.into_iter().zip(inboxes).enumerate() {
            let worker = Worker {
                index,
                clock: Arc::clone(&self.clock),
                drain: Arc::clone(&self.drain),
                handoff: Arc::clone(&handoff),
                connections_max: Arc::clone(&self.connections_max),
                descriptors: Arc::clone(&self.descriptors),
                tls: self.tls.clone(),
            };
            let (make, stopped) = (Arc::clone(make), stopped.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()?;
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, worker.run(listener, inbox, &*make, stopped));
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
    tls: Option<Arc<ServerTls>>,
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
        listener: TcpListener,
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
                () = seats.accept(listener) => {}
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

/// Where accepted connections become tasks.
struct Seats<'a> {
    worker: &'a Worker,
    service: &'a Service,
    deadlines: &'a Rc<Deadlines>,
    buffers: &'a Rc<Buffers>,
}

impl Seats<'_> {
    async fn accept(&self, listener: TcpListener) {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
            return;
        };
        let mut pause = PAUSE_MIN;
        loop {
            // Without one to spare, connections wait in the kernel's queue.
            let accepted = match self.worker.descriptors.for_caller() {
                Some(taken) => listener.accept().await.ok().zip(Some(taken)),
                None => None,
            };
            // Out of descriptors or memory: let running requests finish instead of spinning.
            let Some(((stream, peer), taken)) = accepted else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            };
            pause = PAUSE_MIN;
            let max = self.worker.connections_max.load(Ordering::Relaxed);
            if self.worker.drain.live() >= max || !(self.service.admits)(peer) {
                continue; // dropped, which closes it
            }
            self.seat(stream, peer, taken);
        }
    }

    /// Serves a new connection here, or hands it to a worker that holds fewer.
    fn seat(&self, stream: TcpStream, peer: SocketAddr, taken: Taken) {
        let (own, handoff) = (self.worker.index, &self.worker.handoff);
        let emptiest = handoff.emptiest(own);
        if emptiest != own {
            let Ok(stream) = stream.into_std() else {
                return;
            };
            let Err(back) = handoff.hand_over(emptiest, (stream, peer, taken)) else {
                return;
            };
            handoff.entered(own);
            return self.receive(back);
        }
        handoff.entered(own);
        self.spawn(stream, peer, taken);
    }

    /// Serves a connection that another worker accepted (and that is counted as ours already).
    fn receive(&self, (stream, peer, taken): Handed) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.spawn(stream, peer, taken),
            Err(_) => self.worker.handoff.left(self.worker.index),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the worker loop is the one place that spawns connection tasks"
    )]
    fn spawn(&self, stream: TcpStream, peer: SocketAddr, taken: Taken) {
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
        let Some(tls) = self.worker.tls.clone() else {
            tokio::task::spawn_local(async move {
                let _live = live;
                let io = Io::Clear(stream);
                serve(Downstream::new(io, None, peer, slot, buffers)).await;
            });
            return;
        };
        tokio::task::spawn_local(async move {
            let _live = live;
            // Boxed: what is needed for a moment must not stay as long as the connection.
            match Box::pin(tls::accept(&tls, stream, &slot, &buffers)).await {
                Ok((opened, session)) => {
                    let (io, session) = (Io::TlsFromCaller(Box::new(opened)), Rc::new(session));
                    serve(Downstream::new(io, Some(session), peer, slot, buffers)).await;
                }
                Err(error) => tracing::debug!("No TLS connection: {error}"),
            }
        });
    }
}

#[cfg(test)]
mod tests;
