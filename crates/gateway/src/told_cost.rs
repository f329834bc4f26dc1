//! What a call cost, told with its answer (LED-81, LED-82): in fields where it is known when the head
//! leaves, else as comments before the end of the stream, for those who ask.

use crate::holds::Bears;
use crate::lifecycle::Exchange;
use crate::own_token::TokenAsk;
use crate::paid::charges;
use crate::pump::write_piece;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_http1::write;
use tollkeep_net::Raced;
use tollkeep_types::money::NanoUsd;

/// What a caller sends who wants a receipt with the answer.
const ASKED: (&[u8], &[u8]) = (b"x-tollkeep-receipt", b"inline");
/// How long an answer waits for its receipt. It can be had later too.
const WAIT: Duration = Duration::from_secs(2);

/// What is told with an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Telling {
    /// The cost, the hold, and what is left.
    pub(crate) cost: bool,
    /// The caller has asked for it on streams too.
    pub(crate) inline: bool,
    /// A receipt.
    pub(crate) receipt: bool,
}

impl Telling {
    pub(crate) const fn is_any(self) -> bool {
        self.cost || self.receipt
    }
}

impl Exchange<'_> {
    /// What is told with this answer. HOT: mostly nothing.
    pub(crate) fn telling(&self) -> Telling {
        let cost = self.exposes_cost();
        let makes_receipts =
            self.work.facts.hold.is_some() && self.worker.shared.receipt_keys.get().is_some();
        if !cost && !makes_receipts {
            return Telling::default();
        }
        let inline = self.asks_inline();
        Telling {
            cost,
            inline,
            receipt: inline && makes_receipts,
        }
    }

    /// Whether callers are told what it costs: by what its route says, if that has a price.
    pub(crate) fn exposes_cost(&self) -> bool {
        self.sold.map_or(self.plan.llm.expose_cost, |sold| {
            sold.sale.terms.expose_cost
        })
    }

    /// What an answer of this status costs the access token, where its route says that this is told.
    pub(crate) fn tell_charge(&mut self, status: u16) {
        let Some(sold) = self.sold.filter(|sold| sold.sale.terms.expose_cost) else {
            return;
        };
        if self.paying.is_some() {
            return;
        }
        let cost = self
            .token_cost
            .filter(|_| charges(&sold.sale.terms, status));
        let cost = cost.unwrap_or(NanoUsd::ZERO).to_string();
        write::field(&mut self.work.out, b"x-tollkeep-cost", cost.as_bytes());
        self.write_hold();
    }

    fn asks_inline(&self) -> bool {
        let (bytes, (wanted, value)) = (self.request_bytes(), ASKED);
        let mut fields = self.work.head.fields.iter();
        fields.any(|field| {
            let name = field.name.of(bytes);
            name.len() == wanted.len()
                && name.eq_ignore_ascii_case(wanted)
                && field.value.of(bytes).eq_ignore_ascii_case(value)
        })
    }

    /// Settles the call, and if a receipt is told, ends its hold and waits until the record of that is
    /// kept and its receipt made.
    pub(crate) async fn settled_receipt(&mut self, telling: Telling) -> Option<Arc<str>> {
        self.settle_now();
        if !telling.receipt {
            return None;
        }
        self.note_told();
        self.end_hold(Bears::Payer);
        let door = self.worker.shared.token_door.get().map(Arc::clone)?;
        let ask = TokenAsk {
            token: self.work.facts.token.clone()?,
            request: self.work.facts.id,
            client_ip: self.work.facts.client_ip,
            user_agent: None,
        };
        let receipt = door.receipt(ask, self.work.facts.attempts.saturating_add(1));
        self.conn.slot().set(WAIT);
        let receipt = match self.conn.race(receipt).await {
            Raced::Done(Ok(receipt)) => receipt,
            Raced::Done(Err(_)) | Raced::Late | Raced::Gone => return None,
        };
        String::from_utf8(receipt).ok().map(Arc::from)
    }

    /// What is known of the hold is kept, since it ends before the answer does.
    fn note_told(&mut self) {
        let facts = &mut self.work.facts;
        if let (Some(hold), Some(llm)) = (&facts.hold, &mut facts.llm) {
            llm.told_hold = Some(hold.told());
        }
    }

    /// The fields of an answer whose cost is known.
    pub(crate) fn write_cost(&mut self, telling: Telling, receipt: Option<&str>) {
        if telling.cost {
            if let Some(cost) = self.told_amount() {
                write::field(&mut self.work.out, b"x-tollkeep-cost", cost.as_bytes());
            }
            self.write_hold();
        }
        if let Some(receipt) = receipt {
            write::field(&mut self.work.out, ASKED.0, receipt.as_bytes());
        }
    }

    /// The hold, and what is left of the budget with the least.
    pub(crate) fn write_hold(&mut self) {
        let facts = &self.work.facts;
        let told = facts.llm.as_ref().and_then(|llm| llm.told_hold.clone());
        let told = told.or_else(|| Some(facts.hold.as_ref()?.told()));
        let Some((hold, left)) = told else { return };
        let out = &mut self.work.out;
        write::field(out, b"x-tollkeep-hold", hold.to_string().as_bytes());
        if let Some(left) = left {
            write::field(out, b"x-tollkeep-budget-remaining", left.as_bytes());
        }
    }

    fn told_amount(&self) -> Option<String> {
        let facts = &self.work.facts;
        let cost = *facts.llm.as_ref()?.cost.as_ref()?.as_ref().ok()?;
        let most = facts.hold.as_ref().and_then(|hold| hold.charged_at_most());
        Some(most.map_or(cost, |most| cost.min(most)).to_string())
    }

    /// Comments, and then the end of the stream.
    pub(crate) async fn tell_before_end(&mut self, telling: Telling, last: &[u8], chunked: bool) {
        let receipt = self.settled_receipt(telling).await;
        let mut told = String::new();
        if telling.cost
            && let Some(cost) = self.told_amount()
        {
            told.push_str(": tollkeep-cost ");
            told.push_str(&cost);
            told.push('\n');
        }
        if let Some(receipt) = receipt {
            told.push_str(": tollkeep-receipt ");
            told.push_str(&receipt);
            told.push('\n');
        }
        if !told.is_empty() {
            told.push('\n');
            write_piece(&mut self.work.out, told.as_bytes(), chunked);
        }
        if !last.is_empty() {
            write_piece(&mut self.work.out, last, chunked);
        }
    }
}
