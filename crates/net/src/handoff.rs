//! Even shares of connections among workers.
//!
//! The kernel spreads new connections over SO_REUSEPORT listeners by hash, so by chance. A worker
//! that holds more than the emptiest one hands the new socket over to it.

use crate::descriptors::Taken;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Sockets on their way to one worker at most; more stay where they were accepted.
const QUEUE_MAX: usize = 1024;

/// Where a connection comes from.
pub(crate) struct Arrival {
    /// Its other end.
    pub(crate) peer: SocketAddr,
    /// The door it came in by.
    pub(crate) door: usize,
    /// The descriptor it was counted as.
    pub(crate) taken: Taken,
}

/// A socket on its way to another worker.
pub(crate) type Handed = (TcpStream, Arrival);

/// One worker's seat at the table.
struct Seat {
    live: AtomicUsize,
    inbox: mpsc::Sender<Handed>,
}

/// All workers' counts and inboxes.
pub(crate) struct Handoff {
    seats: Vec<Seat>,
}

impl Handoff {
    /// A table for `workers`, and each one's inbox.
    pub(crate) fn new(workers: usize) -> (Arc<Self>, Vec<mpsc::Receiver<Handed>>) {
        let (seats, inboxes) = (0..workers)
            .map(|_| {
                let (inbox, receiver) = mpsc::channel(QUEUE_MAX);
                (
                    Seat {
                        live: AtomicUsize::new(0),
                        inbox,
                    },
                    receiver,
                )
            })
            .unzip();
        (Arc::new(Self { seats }), inboxes)
    }

    /// The worker that should serve a connection accepted by `own`: the emptiest, itself on a tie.
    pub(crate) fn emptiest(&self, own: usize) -> usize {
        let live = |seat: &Seat| seat.live.load(Ordering::Relaxed);
        let by_load = |(index, seat): &(usize, &Seat)| (live(seat), *index != own);
        self.seats
            .iter()
            .enumerate()
            .min_by_key(by_load)
            .map_or(own, |(index, _)| index)
    }

    /// Counts a connection that worker `index` serves; undone by [`Self::left`].
    pub(crate) fn entered(&self, index: usize) {
        if let Some(seat) = self.seats.get(index) {
            seat.live.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands a socket to worker `index`, which already counts it when this returns.
    ///
    /// # Errors
    /// Its inbox is full or closed: the socket comes back, uncounted.
    pub(crate) fn hand_over(&self, index: usize, handed: Handed) -> Result<(), Handed> {
        let Some(seat) = self.seats.get(index) else {
            return Err(handed);
        };
        seat.live.fetch_add(1, Ordering::Relaxed);
        seat.inbox.try_send(handed).map_err(|refused| {
            seat.live.fetch_sub(1, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back) => {
                    back
                }
            }
        })
    }

    /// A connection of worker `own` ended.
    pub(crate) fn left(&self, own: usize) {
        if let Some(seat) = self.seats.get(own) {
            seat.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
