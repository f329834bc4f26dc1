//! Finding out what became of payments: of those that nobody works on any more, and of those that
//! nobody knows about.

use super::case::{Case, Told, with_expected};
use super::closing::RoutesSeen;
use super::settle::{due_body, hex, meant};
use super::{Cashier, LOOK_EVERY, SCOPE};
use serde_json::Value;
use std::sync::Arc;
use tollkeep_crypto::SealContext;
use tollkeep_observe::metrics::Settlement;
use tollkeep_payments::U256;
use tollkeep_payments::state::{self, Event, Found};
use tollkeep_payments::x402::{Scheme, settle_outcome};
use tollkeep_rails::{Authorization, Fate, Node, Permit};
use tollkeep_store::{PaymentMode, PaymentRecord};

/// The longest time between two looks.
const LOOK_MAX_S: u64 = 60;
/// So long after its proof ended, a payment is an operator's to decide.
pub(super) const HOPELESS_MS: u64 = 3_600_000;
/// So long after its proof ended, what was not used will not be.
const OVER_MS: u64 = 600_000;
/// How often such a payment is looked at.
const HOPELESS_EVERY_MS: u64 = 3_600_000;

impl Cashier {
    /// Looks after what nobody works on.
    pub(super) async fn look_after(self: Arc<Self>) {
        if let Err(error) = self.store.end_payment_leases_of_file().await {
            tracing::error!("What an earlier life left of payments can't be taken up: {error}");
        }
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut routes_seen = RoutesSeen::default();
        loop {
            ticks.tick().await;
            self.end_abandoned_uses().await;
            self.close_sessions(&mut routes_seen).await;
            // Nobody could be asked.
            if self.rails.load().is_empty() {
                continue;
            }
            self.take_up().await;
            self.look_at_due().await;
        }
    }

    /// Payments whose worker is gone go where their state says.
    async fn take_up(&self) {
        let now = self.now();
        let abandoned = match self.store.abandoned_payments(SCOPE, now).await {
            Ok(abandoned) => abandoned,
            Err(error) => return tracing::debug!("Payments can't be looked at: {error}"),
        };
        for record in abandoned {
            let id = record.id;
            let mut case = Case::new(record, "".into(), Vec::new());
            match self
                .step(&mut case, Event::LeaseEnded, Told::default())
                .await
            {
                Ok(_) => {
                    let state = case.record.state.as_str();
                    tracing::warn!("Payment {id} was left by its worker: it is {state} now");
                }
                Err(error) => tracing::debug!("Payment {id} is not taken up: {error:?}"),
            }
        }
    }

    async fn look_at_due(self: &Arc<Self>) {
        let now = self.now();
        let due = match self.store.payments_to_look_at(SCOPE, now).await {
            Ok(due) => due,
            Err(error) => return tracing::debug!("Payments can't be looked at: {error}"),
        };
        let mut looks = tokio::task::JoinSet::new();
        for record in due {
            let cashier = Arc::clone(self);
            looks.spawn(async move { cashier.look_at(record, false).await });
        }
        while looks.join_next().await.is_some() {}
    }

    /// A caller shows the proof of an unknown payment.
    pub(super) async fn look_for_caller(&self, record: &PaymentRecord) {
        self.look_at(record.clone(), true).await;
    }

    /// Finds out what became of a payment, if nobody else is about to.
    async fn look_at(&self, record: PaymentRecord, is_shown: bool) {
        let (id, looks) = (record.id, record.looks);
        let is_hopeless = self.now().0 > record.ends_at.0.saturating_add(HOPELESS_MS);
        let next = if is_hopeless {
            HOPELESS_EVERY_MS
        } else {
            pause_s(looks).saturating_mul(1000)
        };
        let turn = self
            .store
            .look_at_payment((id, looks), self.in_ms(next))
            .await;
        match turn {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::debug!("Payment {id} can't be looked at: {error}"),
        }
        if is_hopeless {
            tracing::error!(
                "Nobody knows what became of payment {id}, an hour after its proof ended: see \
                 `tollkeep payment resolve`"
            );
        }
        let Some(body) = self.open(&record) else {
            return tracing::warn!("What was said of payment {id} can't be opened");
        };
        match self.rails.load().node(&record.network) {
            Some(node) => self.read_chain(record, &body, (&node, is_shown)).await,
            None => self.ask_again(record, &body).await,
        }
    }

    /// Reads on the chain what became of a payment. Only while a caller shows its proof, and it was
    /// not used, the facilitator is told once more.
    async fn read_chain(&self, record: PaymentRecord, body: &str, (node, is_shown): (&Node, bool)) {
        let is_over = self.now().0 > record.ends_at.0.saturating_add(OVER_MS);
        let fate = match signed_for(&record, body) {
            Some(Signed::Authorization(authorization)) => node.fate(&authorization).await,
            Some(Signed::Permit(permit)) => node.fate_of_permit(&permit).await,
            None => return self.ask_again(record, body).await,
        };
        let (found, transaction) = match fate {
            Some(Fate::Moved(transaction)) => (Found::Transfer, Some(transaction)),
            Some(Fate::Unused) if is_over => (Found::Unused, None),
            // Who was served already is made to pay: the chain takes that once.
            Some(Fate::Unused) if is_shown || record.mode == PaymentMode::Upto => {
                return self.ask_again(record, body).await;
            }
            Some(Fate::Used | Fate::Unused) | None => return,
        };
        let told = Told {
            transaction,
            ..Told::default()
        };
        self.found(record, Event::Reconciled(found), told).await;
    }

    async fn found(&self, record: PaymentRecord, event: Event, told: Told) {
        let id = record.id;
        let mut case = Case::new(record, "".into(), Vec::new());
        match self.step(&mut case, event, told).await {
            Ok(_) => {
                let state = case.record.state.as_str();
                tracing::info!("It is known what became of payment {id}: {state}");
            }
            Err(error) => tracing::warn!("What became of payment {id} is not kept: {error:?}"),
        }
    }

    /// Tells the same facilitator the same once more.
    async fn ask_again(&self, record: PaymentRecord, body: &str) {
        let id = record.id;
        let rails = self.rails.load_full();
        let Some(known) = rails.named(&record.facilitator) else {
            let name = &record.facilitator;
            return tracing::warn!("Payment {id} waits for facilitator `{name}`, which is gone");
        };
        let Some(body) = due_body(&record, body) else {
            return;
        };
        let reply = known.facilitator.settle(&body, &hex(&record.key)).await;
        let outcome = with_expected(&record, &rails.settings, |expected| {
            settle_outcome(&reply.answered(), expected)
        });
        let Some((told, more)) = outcome.map(meant) else {
            return;
        };
        known.health.note(told);
        if told == state::Told::Settled {
            self.meter.settlement(Settlement::Success);
            self.found(record, Event::SettleTold(told), more).await;
        }
    }

    /// What a facilitator was told of a payment.
    pub(super) fn open(&self, record: &PaymentRecord) -> Option<String> {
        let (tenant, row) = (record.tenant.to_string(), record.id.to_string());
        let place = SealContext {
            tenant: &tenant,
            table: "payments",
            row: &row,
            field: "proof",
        };
        let sealed = record.proof.as_ref()?;
        let opened = self.chooser.keyring().open(sealed, &place).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

/// What a payer signed, as a chain is asked for it.
enum Signed {
    /// For the token itself.
    Authorization(Authorization),
    /// For Permit2.
    Permit(Permit),
}

/// What a facilitator was told to settle, if a chain can be asked for it.
fn signed_for(record: &PaymentRecord, body: &str) -> Option<Signed> {
    let body: Value = serde_json::from_str(body).ok()?;
    let payload = body.pointer("/paymentPayload/payload")?;
    let (_, token) = record.unit.rsplit_once("erc20:")?;
    let transfer = |nonce: String| {
        Some(Authorization {
            token: token.parse().ok()?,
            from: record.payer.parse().ok()?,
            to: record.pay_to.parse().ok()?,
            nonce,
            amount: record.amount(),
        })
    };
    if let Some(signed) = payload.get("authorization") {
        let nonce = signed.get("nonce")?.as_str()?.to_owned();
        return transfer(nonce).map(Signed::Authorization);
    }
    let nonce = payload.pointer("/permit2Authorization/nonce")?.as_str()?;
    let nonce = U256::from_decimal(nonce)?;
    Some(Signed::Permit(Permit {
        transfer: transfer(format!("0x{}", hex(nonce.bytes())))?,
        scheme: match record.mode {
            PaymentMode::Before | PaymentMode::After => Scheme::Exact,
            PaymentMode::Upto => Scheme::Upto,
        },
    }))
}

/// How long to wait after so many looks: 4, 8, 16 … 60 s.
const fn pause_s(looks: u32) -> u64 {
    let shift = if looks > 5 { 5 } else { looks };
    let pause = 4_u64 << shift;
    if pause > LOOK_MAX_S {
        LOOK_MAX_S
    } else {
        pause
    }
}
