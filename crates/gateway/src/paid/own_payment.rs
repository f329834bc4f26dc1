//! What payers ask about a payment of theirs, by the proof that they made it with.

use crate::admit::Entry;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::{CountedBy, LimitClass, Limited, Refusal};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_counters::{Claim, Class, Key};
use tollkeep_net::Raced;
use tollkeep_payments::x402::Proof;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::rate::Quota;
use tollkeep_types::PaymentId;

/// How often a client network asks: each is a look-up and a signature.
const ASKS: (u64, Duration, u64) = (30, Duration::from_secs(60), 10);
/// What that is counted under: no route has this number.
const NUMBER: u32 = u32::MAX - 7;
/// How long the store may take.
const WAIT: Duration = Duration::from_secs(5);

impl Exchange<'_> {
    /// What became of a payment. Without its proof nobody learns whether there is one.
    ///
    /// # Errors
    /// 404, 429, 503; the caller is gone.
    pub(crate) async fn ask_own_payment(
        &mut self,
        entry: &Entry<'_>,
        payment: Option<PaymentId>,
    ) -> Result<Vec<u8>, Stop> {
        self.debit_address(entry);
        self.take_own_payment(entry)?;
        let unknown = || Stop::from(Refusal::EndpointNotFound);
        let shown = self.shown_proof()?;
        let proof = shown.and_then(|(field, text)| Proof::read(field, text).ok());
        let (payment, proof) = payment.zip(proof).ok_or_else(unknown)?;
        let door = self.worker.shared.payments.get().map(Arc::clone);
        let asking = door.ok_or_else(unknown)?.standing(payment, proof);
        self.conn.slot().set(WAIT);
        match self.conn.race(asking).await {
            Raced::Done(Ok(told)) => told.ok_or_else(unknown),
            Raced::Done(Err(())) | Raced::Late => Err(Refusal::AuthUnavailable.into()),
            Raced::Gone => Err(Stop::CallerGone),
        }
    }

    fn take_own_payment(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let (requests, window, burst) = ASKS;
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let key = Key::addr(Class::FailedCredential, prefix_key(entry.client_ip()));
        let quota = Quota::per(requests, window_ns, burst);
        let claim = Claim::key(key.on_route(NUMBER), quota);
        let admitted = self.worker.shared.rates.admit(self.started, &mut [claim]);
        admitted.map_err(|refused| {
            Refusal::RateLimited(Limited {
                class: LimitClass::Ip,
                by: CountedBy::Address,
                quota: requests,
                window_s: window.as_secs(),
                retry_after: Duration::from_nanos(refused.retry_after_ns),
            })
        })
    }
}
