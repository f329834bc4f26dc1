//! What a payer is told of a payment of its own.

use super::case::receipt_of;
use super::{Cashier, SCOPE};
use serde_json::json;
use tollkeep_payments::x402::{Offer, Proof, Scheme, Version, signed_key};
use tollkeep_store::{PaymentMode, PaymentRecord, PaymentState, StoreError};
use tollkeep_types::PaymentId;

impl Cashier {
    /// What became of a payment, for whoever shows its proof.
    pub(super) async fn standing(
        &self,
        id: PaymentId,
        proof: &Proof,
    ) -> Result<Option<Vec<u8>>, ()> {
        let record = match self.store.payment(SCOPE, id).await {
            Ok(record) => record,
            Err(StoreError::NotFound) => return Ok(None),
            Err(error) => {
                tracing::error!("Payment {id} can't be read: {error}");
                return Err(());
            }
        };
        let offer = self.offer_of(&record);
        let key = offer.and_then(|offer| signed_key(proof, &offer));
        if key.is_none_or(|key| *key.bytes() != record.key) {
            return Ok(None);
        }
        Ok(Some(self.told(&record).into_bytes()))
    }

    /// What the payment was made for, as far as its signature depends on it. `None`: no route takes
    /// that token any more.
    fn offer_of(&self, record: &PaymentRecord) -> Option<Offer> {
        let settings = &self.rails.load().settings;
        let sales = settings
            .routes
            .iter()
            .filter_map(|route| route.sale.as_ref());
        let mut accepts = sales.flat_map(|sale| &sale.accepts);
        let named = |accept: &&tollkeep_config::settings::Accept| {
            let asset = &accept.asset;
            format!("{}/erc20:{}", asset.network, asset.address) == record.unit
        };
        let asset = accepts.find(named)?.asset.clone();
        Some(Offer {
            scheme: match record.mode {
                PaymentMode::Before | PaymentMode::After => Scheme::Exact,
                PaymentMode::Upto => Scheme::Upto,
            },
            asset,
            amount: record.quoted.into(),
            pay_to: record.pay_to.parse().ok()?,
            max_timeout_s: 0,
            facilitator: None,
        })
    }

    fn told(&self, record: &PaymentRecord) -> String {
        let rails = self.rails.load();
        let receipt = receipt_of(record);
        let receipt = receipt.map(|receipt| receipt.encode(Version::Two, &rails.settings.networks));
        let ttl = rails.settings.payments.credit_ttl.as_millis();
        let since = record.settled_at.unwrap_or(record.created_at).0;
        let until = since.saturating_add(u64::try_from(ttl).unwrap_or(u64::MAX));
        let is_credit = record.state == PaymentState::Credit;
        let credit = is_credit.then(|| {
            json!({
                "amount": record.received.unwrap_or(0).to_string(),
                "served_until_ms": until,
                "is_served": self.now().0 <= until,
            })
        });
        json!({
            "payment_id": record.id.to_string(),
            "state": record.state.as_str(),
            "route": record.route,
            "network": record.network,
            "asset": record.symbol,
            "amount": record.quoted.to_string(),
            "received": record.received.map(|received| received.to_string()),
            "transaction": record.transaction,
            "receipt": receipt,
            "credit": credit,
            "created_at_ms": record.created_at.0,
            "updated_at_ms": record.updated_at.0,
        })
        .to_string()
    }
}
