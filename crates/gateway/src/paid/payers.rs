//! What payers have running, so that none of them has more than its share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_config::settings::Terms;
use tollkeep_payments::evm::Address;

/// What payers have running. There are never more of them than requests.
#[derive(Debug, Default)]
pub struct Payers {
    running: Mutex<HashMap<[u8; 20], Running>>,
}

/// What one has.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    requests: u32,
    /// Of it not settled yet, in nano-dollars.
    unsettled: i64,
}

/// A request of a payer, until it is over.
#[derive(Debug)]
pub struct PayerSeat {
    payers: Arc<Payers>,
    payer: [u8; 20],
    unsettled: i64,
}

impl Payers {
    /// A request of this payer begins, of which so much is not settled. `None`: it has as much as
    /// it may have already.
    pub(crate) fn enter(
        self: &Arc<Self>,
        payer: Address,
        unsettled: i64,
        terms: &Terms,
    ) -> Option<PayerSeat> {
        let payer = *payer.bytes();
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = all.get(&payer).copied().unwrap_or_default();
        let more = Running {
            requests: running.requests.saturating_add(1),
            unsettled: running.unsettled.saturating_add(unsettled),
        };
        let is_too_much = unsettled > 0 && more.unsettled > terms.exposure_max.get();
        if more.requests > terms.concurrent_max || is_too_much {
            return None;
        }
        all.insert(payer, more);
        Some(PayerSeat {
            payers: Arc::clone(self),
            payer,
            unsettled,
        })
    }
}

impl Drop for PayerSeat {
    fn drop(&mut self) {
        let all = &self.payers.running;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = all.get_mut(&self.payer) {
            running.requests = running.requests.saturating_sub(1);
            running.unsettled = running.unsettled.saturating_sub(self.unsettled);
            if running.requests == 0 {
                all.remove(&self.payer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_config::settings::MidStream;
    use tollkeep_payments::state::Mode;
    use tollkeep_types::money::NanoUsd;

    const PAYER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
    const OTHER: &str = "0x667fF918754239Bc5DfB39EfE943f29c735E7CB4";

    // PAY-66
    #[test]
    fn a_payer_has_so_much_running_and_no_more() {
        let terms = Terms {
            mode: Mode::After,
            mid_stream: MidStream::Credit,
            charge_on_4xx: true,
            concurrent_max: 2,
            exposure_max: NanoUsd::new(100),
            verified_for: None,
            expose_cost: false,
        };
        let payers = Arc::new(Payers::default());
        let enter = |payer: &str, unsettled| {
            let payer = payer.parse().unwrap();
            payers.enter(payer, unsettled, &terms)
        };
        let first = enter(PAYER, 60).unwrap();
        assert!(enter(PAYER, 41).is_none(), "more than it may owe");
        let second = enter(PAYER, 40).unwrap();
        assert!(enter(PAYER, 0).is_none(), "more than it may have running");
        assert!(enter(OTHER, 100).is_some(), "another payer");
        drop(first);
        assert!(enter(PAYER, 61).is_none());
        assert!(enter(PAYER, 60).is_some());
        drop(second);
        assert!(payers.running.lock().unwrap().is_empty());
    }
}
