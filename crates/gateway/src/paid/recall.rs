//! A proof whose payer named what it bought, shown once more: what was answered is sent again, and
//! nobody is asked for money.
//!
//! It is looked up before the proof is judged, since that may have ended meanwhile, by a hash of all of
//! the proof: whoever knows that has it.

use super::call::payment_field;
use super::{PaymentNo, Recalled, Recalling};
use crate::admit::Entry;
use crate::answer::{Body, Framed};
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use crate::route::{Destination, Route};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_crypto::sha256;
use tollkeep_http1::{Method, write};
use tollkeep_net::Raced;
use tollkeep_observe::RequestOutcome;
use tollkeep_payments::x402::{Field, Proof, Version};

/// How long a look-up may take.
const WAIT: Duration = Duration::from_secs(5);
/// Bytes of a body that are kept at most.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

impl<'p> Exchange<'p> {
    /// Whether what was shown names what it buys.
    pub(crate) fn names_purchase(&self, route: &Route<'p>) -> bool {
        let Destination::Plain(plain) = route.destination() else {
            return false;
        };
        let shown = plain.sold.as_deref().map(|_| self.shown_proof());
        let Some(Ok(Some((field, text)))) = shown else {
            return false;
        };
        let proof = Proof::read(field, text);
        proof.is_ok_and(|proof| matches!(proof.identifier(), Ok(Some(_))))
    }

    /// Sends what was answered to this very proof before. `false`: nothing was, and it is judged.
    ///
    /// # Errors
    /// 409 while that is under way, or where it was shown for something else; 429; 503 while nobody
    /// knows what became of it.
    pub(crate) async fn recall(
        &mut self,
        entry: &Entry<'_>,
        route: &Route<'p>,
    ) -> Result<bool, Stop> {
        let Destination::Plain(plain) = route.destination() else {
            return Ok(false);
        };
        let (Some(sold), Some(door)) = (plain.sold.as_deref(), self.worker.shared.payments.get())
        else {
            return Ok(false);
        };
        let door = Arc::clone(door);
        let Some((Field::PaymentSignature, text)) = self.shown_proof()? else {
            return Ok(false);
        };
        let Some(payload) = Proof::bytes(text) else {
            return Ok(false);
        };
        self.check_failed_proofs(entry, sold)?;
        let Some(asking) = self.asking(sold)? else {
            return Ok(false);
        };
        let recalling = door.recall(Recalling {
            tenant: asking.tenant,
            route: Arc::clone(&sold.route),
            payload_hash: sha256(&[&payload]),
            digest: asking.digest,
        });
        self.conn.slot().set(WAIT);
        let recalled = match self.conn.race(recalling).await {
            Raced::Done(recalled) => recalled,
            Raced::Late => return Err(self.payment_no(PaymentNo::UNAVAILABLE).into()),
            Raced::Gone => return Err(Stop::CallerGone),
        };
        match recalled {
            Recalled::Nothing => Ok(false),
            Recalled::No(no) => {
                self.debit_address(entry);
                let id = no.payment.map(|id| id.to_string());
                Err(self.recalled_no(no.answer, id.as_deref()).into())
            }
            Recalled::Answer(answer) => {
                self.debit_address(entry);
                self.begin_answer(answer.status);
                let out = &mut self.work.out;
                write::field(out, b"x-tollkeep-payment", b"charged");
                write::field(out, b"x-tollkeep-replayed", b"true");
                write::field(out, b"cache-control", b"private, no-store");
                write::field(
                    out,
                    b"vary",
                    b"PAYMENT-SIGNATURE, X-PAYMENT, X-Session-Token",
                );
                if let Some(receipt) = &answer.receipt {
                    payment_field(out, receipt, Version::Two, &sold.networks);
                }
                self.send_again(&answer.kind, answer.body.as_deref())
                    .await?;
                Ok(true)
            }
        }
    }

    async fn send_again(&mut self, kind: &str, body: Option<&[u8]>) -> Result<(), Stop> {
        let bytes = body.unwrap_or_default();
        if !kind.is_empty() {
            return self.end_whole(Body { kind, bytes }).await;
        }
        let has_none = matches!(self.work.facts.status, 204 | 304);
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        self.end_head(if has_none {
            Framed::None
        } else {
            Framed::Length(length)
        });
        if self.work.head.method != Method::Head {
            self.work.out.extend_from_slice(bytes);
        }
        self.flush().await?;
        self.work.facts.outcome = RequestOutcome::Served;
        Ok(())
    }

    /// Whether a proof has to name what it buys, and does not.
    pub(super) fn check_named(&self, is_required: bool, proof: &Proof) -> Result<(), Refusal> {
        match proof.identifier() {
            Err(_) => Err(self.payment_no(PaymentNo::MALFORMED)),
            Ok(None) if is_required => Err(self.payment_no(PaymentNo::UNNAMED)),
            Ok(_) => Ok(()),
        }
    }
}
