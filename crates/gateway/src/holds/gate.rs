//! Calls that cost what their route says, whatever their upstream bills.

use super::CallHold;

/// Whether such a call is charged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gate {
    Free,
    Charged,
}

impl CallHold {
    /// Says whether the call is charged, if it costs what its route says.
    pub(crate) fn charge_price(&mut self, is_charged: bool) {
        self.gate = self.gate.map(|_| match is_charged {
            true => Gate::Charged,
            false => Gate::Free,
        });
    }
}
