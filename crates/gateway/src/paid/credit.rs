//! Credit that a caller asks to buy ahead, by a field of its request: instead of the price of the
//! request, that amount is asked for, and the session that it becomes pays for all that its tenant
//! sells by the request.

use super::PaymentNo;
use super::sold::Sold;
use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use tollkeep_http1::Known;
use tollkeep_payments::price::Price;
use tollkeep_payments::pricing::Quote;
use tollkeep_payments::session::credit_asked;
use tollkeep_payments::x402::{Offer, Scheme};
use tollkeep_types::money::NanoUsd;

/// Credit that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wished {
    pub(crate) amount: NanoUsd,
    /// Why it is not sold. It may have been, so what was bought then is still had.
    pub(crate) fault: Option<Box<str>>,
}

impl Exchange<'_> {
    /// The credit that the request asks to buy.
    ///
    /// # Errors
    /// 400 for what is no such wish, or none that is ever fulfilled here.
    pub(super) fn wished_credit(&self, sold: &Sold) -> Result<Option<NanoUsd>, Refusal> {
        if !sold.takes_payment {
            return Ok(None);
        }
        let bytes = self.request_bytes();
        let fields = self.work.head.fields.iter();
        let mut wished = None;
        for field in fields.filter(|field| field.known == Known::Credential) {
            let name = field.name.of(bytes);
            if name.eq_ignore_ascii_case(b"x-bolthub-credit") {
                return Err(self.payment_no(PaymentNo::CREDIT_IN_SATS));
            }
            if name.eq_ignore_ascii_case(b"x-tollkeep-credit") {
                let text = std::str::from_utf8(field.value.of(bytes)).unwrap_or_default();
                let amount = credit_asked(text);
                let unread = || self.payment_no(PaymentNo::NO_CREDIT);
                wished = Some(amount.ok_or_else(unread)?);
            }
        }
        if wished.is_some() && !sold.takes_credit() {
            return Err(self.payment_no(PaymentNo::CREDIT_NOT_SOLD));
        }
        Ok(wished)
    }
}

impl Sold {
    /// Whether what is sold is had for credit: one call for one price.
    pub(super) const fn takes_credit(&self) -> bool {
        self.sale.billing.is_none()
    }

    /// The ways to buy so much credit, for a request that costs what was quoted.
    pub(super) fn credit_offers(&self, quote: &Quote, amount: NanoUsd) -> (Vec<Offer>, Wished) {
        let price = Price::Usd(amount);
        let offer = |accept: &tollkeep_config::settings::Accept| {
            let units = Offer::amount_of(&price, &accept.asset)?;
            // What is paid for at once is less than that.
            i64::try_from(units).ok()?;
            Some(Offer {
                scheme: Scheme::Exact,
                amount: units,
                asset: accept.asset.clone(),
                pay_to: quote.pay_to.unwrap_or(accept.pay_to),
                max_timeout_s: self.sale.timeout_s,
                facilitator: None,
            })
        };
        let mut offers: Vec<Offer> = self.sale.accepts.iter().filter_map(offer).collect();
        let covers = |offer: &Offer| {
            let call = Offer::amount_of(&quote.price, &offer.asset);
            call.is_some_and(|call| call <= offer.amount)
        };
        let fault = match self.credit {
            Some(terms) if !terms.sells(amount) => Some(terms.told()),
            Some(_) if offers.iter().any(covers) => {
                offers.retain(covers);
                None
            }
            Some(_) => Some(format!(
                "at least what this request costs, {}, in a token for dollars",
                quote.price
            )),
            // What was bought before that is had all the same.
            None => Some("none".to_owned()),
        };
        let fault = fault.map(String::into_boxed_str);
        (offers, Wished { amount, fault })
    }
}

impl Wished {
    /// In words, for those who are asked to pay.
    pub(super) fn told(&self) -> String {
        let amount = self.price();
        format!("Credit of {amount}: it pays for all that is sold by the request here.")
    }

    /// As a price.
    pub(super) const fn price(&self) -> Price {
        Price::Usd(self.amount)
    }
}
