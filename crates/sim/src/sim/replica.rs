//! A replica: an identity that outlives its processes, and the process of the moment.

use crate::ledger::amount::Amount;
use crate::ledger::hold::{Committed, Ended, Held, Outbox, Reserved};
use crate::ledger::keeper::Keeper;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_types::{HoldId, LeaseId, ReplicaId};

/// What waits between the makers of calls and their keeper.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<VecDeque<Told>>);

/// What a keeper is told by makers of calls.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one is nearly always told")]
pub(crate) enum Told {
    Ended(Ended),
    Homeless(LeaseId, Amount),
}

impl Queue {
    fn push(&self, told: Told) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(told);
    }

    pub(crate) fn pop(&self) -> Option<Told> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }
}

impl Outbox for Queue {
    fn ended(&self, ended: Ended) {
        self.push(Told::Ended(ended));
    }

    fn homeless(&self, lease: LeaseId, amount: Amount) {
        self.push(Told::Homeless(lease, amount));
    }
}

/// A hold in the hands of a call.
#[derive(Debug)]
pub(crate) enum InHand {
    Held(Held),
    Reserved(Reserved),
    Committed(Committed),
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) keeper: Keeper,
    pub(crate) queue: Arc<Queue>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) in_hand: BTreeMap<HoldId, InHand>,
    /// When it will tick, the earliest first.
    pub(crate) tick_at: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) process: Option<Process>,
    /// Counts its processes.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    /// Its boot-time clock is this far ahead.
    pub(crate) offset: u64,
}
