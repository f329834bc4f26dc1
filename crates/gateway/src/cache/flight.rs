//! One call for many that ask for the same at the same time (LLM-85).

use super::{Kept, ResponseCache};
use std::sync::Arc;
use tokio::sync::watch;
use tollkeep_counters::kept::KeptKey;

/// Callers who wait for the same answer, at most; others go by themselves.
const WAITING_MAX: usize = 1_024;

/// What became of the call that the others wait for.
#[derive(Clone, Debug)]
enum State {
    Flying,
    /// Here it is.
    Landed(Arc<Kept>),
    /// It brought nothing that others may have.
    Lost,
}

/// A call that others wait for.
#[derive(Debug)]
pub(super) struct Flight {
    number: u64,
    state: Arc<watch::Sender<State>>,
}

impl Flight {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            state: Arc::new(watch::Sender::new(State::Flying)),
        }
    }

    pub(super) const fn is(&self, number: u64) -> bool {
        self.number == number
    }

    /// Waits for it too, unless too many do.
    pub(super) fn join(&self) -> Option<Wait> {
        let waits = self.state.receiver_count();
        (waits < WAITING_MAX).then(|| Wait(self.state.subscribe()))
    }
}

/// The one who goes. Whatever becomes of it, the others hear of it by its end.
pub(super) struct Lead {
    cache: Arc<ResponseCache>,
    key: KeptKey,
    number: u64,
    state: Arc<watch::Sender<State>>,
}

impl Lead {
    pub(super) fn new(cache: Arc<ResponseCache>, key: KeptKey, flight: &Flight) -> Self {
        Self {
            cache,
            key,
            number: flight.number,
            state: Arc::clone(&flight.state),
        }
    }

    /// Gives the others what it brought.
    pub(super) fn land(self, kept: &Arc<Kept>) {
        self.state.send_replace(State::Landed(Arc::clone(kept)));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.cache.land(&self.key, self.number);
        self.state.send_if_modified(|state| {
            let is_lost = matches!(state, State::Flying);
            if is_lost {
                *state = State::Lost;
            }
            is_lost
        });
    }
}

/// One who waits.
pub(super) struct Wait(watch::Receiver<State>);

impl Wait {
    /// What the other one brought; `None`: nothing that would do here.
    pub(super) async fn landed(mut self) -> Option<Arc<Kept>> {
        let ended = self.0.wait_for(|state| !matches!(state, State::Flying));
        match &*ended.await.ok()? {
            State::Landed(kept) => Some(Arc::clone(kept)),
            State::Lost | State::Flying => None,
        }
    }
}
