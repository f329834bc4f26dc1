//! Whether a proof will do: by what is asked today, by what was told or asked before a price changed,
//! or, where its price or its time is over, for nothing but what it bought then.

use super::sold::{Asking, Sold};
use crate::lifecycle::Exchange;
use tollkeep_payments::x402::{Checked, Offer, Proof, Reason, Rules, Version, check};

/// A proof that will do.
pub(super) struct Judged {
    pub(super) checked: Checked,
    /// What it was held against, where that is not what is asked for today.
    pub(super) offers: Option<Vec<Offer>>,
    /// Why nothing more can be bought with it, if that is so.
    pub(super) past: Option<Reason>,
}

/// Whether a proof that does not do for this reason may have done once: its time is over, or another
/// price was asked for, or somebody else was paid.
const fn may_be_past(reason: Reason) -> bool {
    match reason {
        Reason::ValidBefore
        | Reason::Permit2Deadline
        | Reason::PriceMismatch
        | Reason::InvalidPaymentRequirements
        | Reason::ValueMismatch
        | Reason::RecipientMismatch
        | Reason::Permit2Amount
        | Reason::Permit2Recipient => true,
        Reason::InvalidX402Version
        | Reason::InvalidScheme
        | Reason::InvalidNetwork
        | Reason::InvalidPayload
        | Reason::ValidAfter
        | Reason::Signature
        | Reason::Permit2Spender
        | Reason::UptoFacilitator
        | Reason::Permit2Token
        | Reason::Permit2NotYetValid
        | Reason::Permit2Signature
        | Reason::AlreadyUsed
        | Reason::SettlementFailed
        | Reason::Uncollected => false,
    }
}

impl Exchange<'_> {
    /// Judges by what is asked today; where that is something else than what was told, by what we
    /// said that would hold. Where that is over, it may still be good for what it bought before:
    /// whoever keeps payments knows that, and `past` is what is told if they don't.
    pub(super) fn judge_proof(
        &self,
        sold: &Sold,
        asking: &Asking,
        proof: &Proof,
    ) -> Result<Judged, Reason> {
        let is_sold = asking.credit.as_ref().is_none_or(|it| it.fault.is_none());
        if !is_sold {
            let reason = Reason::PriceMismatch;
            return self.judge_past(sold, asking, (proof, reason));
        }
        let now = self.judge_by(sold, asking, proof);
        let Err(reason) = now else {
            return now;
        };
        if let Some(former) = self.judge_by_former(sold, asking, proof) {
            return Ok(former);
        }
        if !may_be_past(reason) {
            return Err(reason);
        }
        let past = self.judge_past(sold, asking, (proof, reason));
        past.map_err(|_| reason)
    }

    /// Judges by what holds now.
    fn judge_by(&self, sold: &Sold, asking: &Asking, proof: &Proof) -> Result<Judged, Reason> {
        let now_s = self.work.facts.at.0 / 1000;
        let hasher = &self.worker.shared.hasher;
        let judge = |offers: &[Offer]| check(proof, &self.rules(sold, asking, (offers, false)));
        let judged = |checked, offers| Judged {
            checked,
            offers,
            past: None,
        };
        let echo = proof.echo();
        let told = |offer: &Offer| {
            let tell = |tag: &_| sold.told(tag, (asking, offer), now_s, hasher);
            echo.is_some_and(|echo| tell(&echo.tag))
        };
        match (judge(&asking.offers), echo) {
            (Ok(checked), Some(_)) if sold.sale.bind_body => {
                let offer = asking.offers.get(checked.offer);
                let is_told = offer.is_some_and(told);
                is_told
                    .then_some(judged(checked, None))
                    .ok_or(Reason::PriceMismatch)
            }
            (Ok(checked), _) => Ok(judged(checked, None)),
            // What is asked for of credit is what its buyer says.
            (Err(Reason::InvalidPaymentRequirements), Some(echo)) if asking.credit.is_none() => {
                let mut offers = asking.offers.clone();
                for offer in &mut offers {
                    offer.amount = echo.amount;
                }
                offers.retain(told);
                if offers.is_empty() {
                    return Err(Reason::PriceMismatch);
                }
                judge(&offers).map(|checked| judged(checked, Some(offers)))
            }
            (Err(reason), _) => Err(reason),
        }
    }

    /// Version 1 brings back nothing of what it was told: for a while it may be paid what the prices
    /// before these made of this very request.
    fn judge_by_former(&self, sold: &Sold, asking: &Asking, proof: &Proof) -> Option<Judged> {
        let price = asking.former.as_ref()?;
        if proof.version(sold.v1_in_either) != Some(Version::One) {
            return None;
        }
        let at_former_price = |offer: &Offer| {
            let amount = Offer::amount_of(price, &offer.asset)?;
            Some(Offer {
                amount,
                ..offer.clone()
            })
        };
        let offers: Vec<Offer> = asking.offers.iter().filter_map(at_former_price).collect();
        let checked = check(proof, &self.rules(sold, asking, (&offers, false))).ok()?;
        Some(Judged {
            checked,
            offers: Some(offers),
            past: None,
        })
    }

    /// Judges by nothing that may have changed since: how much is asked for, who is paid, and whether
    /// its time is over.
    fn judge_past(
        &self,
        sold: &Sold,
        asking: &Asking,
        (proof, reason): (&Proof, Reason),
    ) -> Result<Judged, Reason> {
        let mut offers = asking.offers.clone();
        if asking.credit.is_none() {
            let (amount, to) = proof.signed().ok_or(reason)?;
            for offer in &mut offers {
                offer.amount = amount;
                offer.pay_to = to;
            }
        }
        let checked = check(proof, &self.rules(sold, asking, (&offers, true)))?;
        Ok(Judged {
            checked,
            offers: Some(offers),
            past: Some(reason),
        })
    }

    fn rules<'r>(
        &self,
        sold: &'r Sold,
        asking: &Asking,
        (offers, takes_ended): (&'r [Offer], bool),
    ) -> Rules<'r> {
        Rules {
            offers,
            networks: &sold.networks,
            now_s: self.work.facts.at.0 / 1000,
            // Credit is paid before anything is done for it.
            head_s: if asking.credit.is_some() || sold.keeps_rest() {
                0
            } else {
                sold.head_s
            },
            whole_s: sold.whole_s,
            smart_wallets: sold.smart_wallets,
            v1_in_either: sold.v1_in_either,
            takes_ended,
        }
    }
}
