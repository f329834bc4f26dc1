//! Turning requests away while room is short, so that those that run come to their end.

use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use crate::worker::Worker;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::shed::{Pressure, admits, combined, retry_after_s};

/// An address that showed a valid token is known for this long at least, and twice that at most.
pub const KNOWN_SPAN_NS: u64 = 30_000_000_000;

/// How short memory is, as the control plane last saw it.
#[derive(Default)]
pub struct MemoryPressure(AtomicU8);

impl MemoryPressure {
    /// Tells the workers.
    pub fn set(&self, pressure: Pressure) {
        let told = match pressure {
            Pressure::None => 0,
            Pressure::High => 1,
            Pressure::Full => 2,
        };
        self.0.store(told, Ordering::Relaxed);
    }

    fn get(&self) -> Pressure {
        match self.0.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::High,
            _ => Pressure::Full,
        }
    }
}

impl Exchange<'_> {
    /// Turns the request away if room is short and others come first. `running` counts it too.
    ///
    /// # Errors
    /// 503.
    pub(crate) fn shed(&self, client_ip: IpAddr, running: usize) -> Result<(), Refusal> {
        let shared = &self.worker.shared;
        let count = u64::try_from(running).unwrap_or(u64::MAX);
        let count = self.plan.shed.pressure(count);
        let pressure = combined(shared.memory.get(), count, running);
        if pressure == Pressure::None {
            return Ok(());
        }
        let now = self.worker.deadlines.now();
        if admits(pressure, || shared.known.contains(client_ip, now)) {
            return Ok(());
        }
        Err(self.turned_away())
    }

    /// The refusal of a request there is no room for.
    pub(crate) fn turned_away(&self) -> Refusal {
        let wait = retry_after_s(self.worker.turn());
        Refusal::Shed(Duration::from_secs(wait))
    }
}

impl Worker {
    /// Remembers that an address has shown a valid token.
    pub(crate) fn note_known(&self, client_ip: IpAddr) {
        let now = self.deadlines.now();
        let noted = (prefix_key(client_ip), now.0 / KNOWN_SPAN_NS);
        if self.noted.replace(noted) != noted {
            self.shared.known.note(client_ip, now);
        }
    }
}
