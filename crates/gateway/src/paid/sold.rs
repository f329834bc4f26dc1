//! A route that is sold, made ready for the request path, and what one request on it costs.

use super::credit::Wished;
use super::metered::MeteredCall;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::{
    Access, FailedProofs, PathPattern, Paywall, Route, Sale, Settings, Verify,
};
use tollkeep_crypto::{TokenHasher, sha256};
use tollkeep_payments::price::Price;
use tollkeep_payments::pricing::{Asked, Pricing, Quote, QuoteFault};
use tollkeep_payments::session::{Billing, CreditTerms};
use tollkeep_payments::state::Mode;
use tollkeep_payments::x402::{Extensions, Networks, Offer, QuoteTag, Resource, Scheme};
use tollkeep_policy::hook::HookPrice;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::{TenantId, WallMillis};

/// A route that is sold.
pub(crate) struct Sold {
    pub(crate) sale: Sale,
    pub(crate) route: Arc<str>,
    pub(crate) upstream: Box<str>,
    pattern: PathPattern,
    pub(crate) networks: Arc<Networks>,
    /// Which prices these are.
    prices: u32,
    /// Those before them, as long as somebody may be held to them.
    former: Option<Former>,
    /// Whether the body is part of what is paid for.
    reads_body: bool,
    /// How long the upstream may take before a signature is used.
    pub(crate) head_s: u64,
    /// How long a whole answer may take before a signature for less is used.
    pub(crate) whole_s: u64,
    pub(crate) verify: bool,
    pub(crate) smart_wallets: bool,
    pub(crate) v1_in_either: bool,
    quote_ttl_s: u64,
    pub(crate) challenge_bytes_max: usize,
    pub(crate) failed_proofs: FailedProofs,
    /// How long a caller waits for its money to move.
    pub(crate) wait: Duration,
    pub(crate) public_url: Option<Box<str>>,
    pub(crate) paywall: Paywall,
    /// Whether somebody may pay; otherwise its price is what access tokens are charged.
    pub(crate) takes_payment: bool,
    /// On what terms credit is sold; `None`: not here.
    pub(crate) credit: Option<CreditTerms>,
    /// What a challenge of version 2 takes besides.
    extensions: Extensions,
    /// Whether strangers are told of it.
    is_listed: bool,
    pub(crate) requires_identifier: bool,
}

/// What a route cost until its prices changed.
#[derive(Clone)]
struct Former {
    pricing: Pricing,
    /// When nobody is held to it any more.
    until: WallMillis,
}

/// Beyond what a settlement may take by itself.
const WAIT_MORE: Duration = Duration::from_secs(60);
/// To settle what was delivered, before what was signed ends.
const TO_SETTLE_S: u64 = 60;
/// To sign, and to show it.
const TO_SHOW_S: u64 = 60;
/// What is told of exact payments where a call costs what it uses.
const REST: &str = "At most this: what the call does not use of an exact payment is credit.";
const NANO: u128 = 1_000_000_000;

/// One request, as far as its price and what it is bound to depend on it.
#[derive(Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) method: &'a str,
    /// The canonical path.
    pub(crate) path: &'a str,
    pub(crate) asked: Asked<'a>,
    pub(crate) tenant: TenantId,
    pub(crate) metered: Option<Arc<MeteredCall>>,
    /// The credit that is asked for instead.
    pub(crate) credit: Option<NanoUsd>,
    pub(crate) at: WallMillis,
}

/// What one request costs, and how it can be paid.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) price: Price,
    /// What it cost by the prices before these, while that holds for some.
    pub(crate) former: Option<Price>,
    pub(crate) offers: Vec<Offer>,
    pub(crate) resource: Resource,
    pub(crate) digest: [u8; 32],
    pub(crate) tenant: TenantId,
    /// The call of a model that it is, where its price is what that uses.
    pub(crate) metered: Option<Arc<MeteredCall>>,
    /// What the offers are for instead.
    pub(crate) credit: Option<Wished>,
}

impl Sold {
    /// `None`: the route has no price for anybody.
    pub(crate) fn new(
        route: &Route,
        name: &Arc<str>,
        all: &Settings,
        (head, stream): (Duration, Duration),
    ) -> Option<Self> {
        let sale = route.sale.clone();
        let sale = sale.filter(|sale| match route.access {
            Access::Payment | Access::TokenOrPayment => true,
            Access::Token => sale.pricing.may_cost(),
            Access::Free => false,
        })?;
        let payments = &all.payments;
        let prices = format!(
            "{:?} {:?} {:?}",
            sale.pricing, route.hooks.price, sale.tokens
        );
        let digest = sha256(&[prices.as_bytes()]);
        let [a, b, c, d, ..] = digest;
        let settle = payments.x402.facilitators.iter();
        let settle = settle
            .map(|it| it.timeouts.settle)
            .max()
            .unwrap_or_default();
        Some(Self {
            route: Arc::clone(name),
            upstream: route.upstream.as_str().into(),
            pattern: route.path.clone(),
            networks: Arc::new(all.networks.clone()),
            prices: u32::from_be_bytes([a, b, c, d]),
            former: None,
            reads_body: sale.pricing.reads_body() || sale.bind_body || route.hooks.reads_body(),
            head_s: match sale.terms.mode {
                Mode::Before | Mode::Upto => 0,
                Mode::After => head.as_secs().saturating_add(1),
            },
            whole_s: stream.as_secs().saturating_add(TO_SETTLE_S),
            verify: payments.x402.verify == Verify::LocalThenFacilitator,
            smart_wallets: payments.x402.smart_wallets,
            v1_in_either: all.compat.tollbooth_headers,
            quote_ttl_s: payments.quote_ttl.as_secs(),
            challenge_bytes_max: payments.challenge_bytes_max,
            failed_proofs: payments.failed_proofs,
            wait: payments
                .settle_wait
                .saturating_add(settle)
                .saturating_add(WAIT_MORE),
            public_url: all.server.public_url.clone(),
            paywall: all.paywall.clone(),
            takes_payment: route.is_paid(),
            credit: payments.credit.filter(|_| sale.billing.is_none()),
            extensions: Extensions::new(payments.x402.requires_identifier),
            is_listed: route.discoverable && all.server.discovery,
            requires_identifier: payments.x402.requires_identifier,
            sale,
        })
    }

    /// Takes up what this route has cost until now.
    pub(crate) fn follow(&mut self, before: &Self, now: WallMillis) {
        if self.prices == before.prices {
            self.former.clone_from(&before.former);
            return;
        }
        let (ours, theirs) = (&self.sale, &before.sale);
        // What is bought must be the same, and never more than asked for.
        let is_same = before.takes_payment && ours.billing == theirs.billing;
        let is_fixed = ours.tokens.is_none() && theirs.tokens.is_none();
        let lasts_ms = self.quote_ttl_s.saturating_mul(1000);
        self.former = (is_same && is_fixed).then(|| Former {
            pricing: theirs.pricing.clone(),
            until: WallMillis(now.0.saturating_add(lasts_ms)),
        });
    }

    /// What this request has cost, while somebody may be held to that.
    fn former_price(&self, wanted: &Wanted<'_>) -> Option<Price> {
        let former = self.former.as_ref().filter(|it| wanted.at <= it.until)?;
        if wanted.credit.is_some() {
            return None;
        }
        let quote = former.pricing.quote(&wanted.asked).ok()?;
        (!quote.price.is_free()).then_some(quote.price)
    }

    /// Whether an exact payment here is for the most that a call can cost, and its rest credit.
    pub(super) fn keeps_rest(&self) -> bool {
        self.sale.tokens.is_some_and(|tokens| tokens.keeps_rest)
    }

    /// What a challenge of version 2 takes besides, and tells those who list what is sold.
    pub(crate) fn extensions(&self, method: &str) -> Extensions {
        let extensions = self.extensions.clone();
        if self.is_listed {
            extensions.listed(method)
        } else {
            extensions
        }
    }

    /// What stands in a path where the route has names.
    pub(crate) fn params<'r>(&'r self, path: &'r str) -> Vec<(&'r str, &'r str)> {
        self.pattern.params(path)
    }

    /// The price that a hook gives, within the bounds of the route.
    ///
    /// # Errors
    /// It can't be held against them, or is above.
    pub(crate) fn hook_price(&self, told: HookPrice) -> Result<Price, QuoteFault> {
        let HookPrice::Usd(usd) = told else {
            return Err(QuoteFault::OutOfBounds);
        };
        match self.sale.pricing.bounds() {
            (Some(min), Some(max)) if usd <= max => Ok(Price::Usd(usd.max(min))),
            _ => Err(QuoteFault::OutOfBounds),
        }
    }

    /// What this request costs, where nobody gave it another `price`; `None` is nothing.
    ///
    /// # Errors
    /// It can't be told.
    pub(crate) fn ask(
        &self,
        wanted: &Wanted<'_>,
        price: Option<&Price>,
        url: String,
    ) -> Result<Option<Asking>, QuoteFault> {
        let mut quote = match &wanted.metered {
            Some(call) => self.sale.pricing.by_tokens(call.price())?,
            None => self.sale.pricing.quote(&wanted.asked)?,
        };
        if let Some(price) = price {
            quote.price = price.clone();
        }
        if quote.price.is_free() {
            return Ok(None);
        }
        let wished = wanted.credit;
        let wished = wished.map(|amount| self.credit_offers(&quote, amount));
        let (offers, credit) = match wished {
            Some((offers, wished)) => (offers, Some(wished)),
            None => (self.offers(&quote), None),
        };
        let billing = self.sale.billing.as_ref();
        let told = credit.as_ref().map(Wished::told);
        Ok(Some(Asking {
            // A price that was computed may have been any.
            former: self.former_price(wanted).filter(|_| price.is_none()),
            price: quote.price,
            offers,
            resource: Resource {
                url,
                description: told
                    .or_else(|| billing.map(Billing::told))
                    .or_else(|| self.keeps_rest().then(|| REST.to_owned()))
                    .unwrap_or_default(),
                mime_type: "application/json".to_owned(),
            },
            digest: self.digest(wanted),
            tenant: wanted.tenant,
            metered: wanted.metered.clone(),
            credit,
        }))
    }

    /// The ways to pay what was quoted.
    fn offers(&self, quote: &Quote) -> Vec<Offer> {
        let mut offers = self.sale.offers(quote);
        for offer in &mut offers {
            // Who signs for work that takes long signs for longer.
            let work_s = match offer.scheme {
                Scheme::Exact => self.head_s,
                Scheme::Upto => self.whole_s,
            };
            if work_s > 0 {
                let least = work_s.saturating_add(TO_SHOW_S);
                offer.max_timeout_s = offer.max_timeout_s.max(least);
            }
        }
        offers
    }

    /// What is paid for, in 32 bytes.
    fn digest(&self, wanted: &Wanted<'_>) -> [u8; 32] {
        let body: &[u8] = if self.reads_body {
            wanted.asked.body
        } else {
            &[]
        };
        sha256(&[
            wanted.method.as_bytes(),
            b"\0",
            wanted.path.as_bytes(),
            b"\0",
            wanted.asked.query.as_bytes(),
            b"\0",
            body,
        ])
    }

    /// What says of an offer until when it holds.
    pub(crate) fn tag(
        &self,
        asking: &Asking,
        offer: &Offer,
        now_s: u64,
        hasher: &TokenHasher,
    ) -> String {
        let expires_s = now_s.saturating_add(self.quote_ttl_s);
        let expires_s = u32::try_from(expires_s).unwrap_or(u32::MAX);
        let prices = self.prices;
        let mac = self.mac(asking, offer, (expires_s, prices), hasher);
        QuoteTag {
            expires_s,
            prices,
            mac,
        }
        .encode()
    }

    /// Whether we said of this offer that it holds until now, or longer.
    pub(crate) fn told(
        &self,
        tag: &QuoteTag,
        (asking, offer): (&Asking, &Offer),
        now_s: u64,
        hasher: &TokenHasher,
    ) -> bool {
        let mac = self.mac(asking, offer, (tag.expires_s, tag.prices), hasher);
        // All bytes in any case: time must not tell how many are right.
        let differing = mac
            .iter()
            .zip(&tag.mac)
            .fold(0, |all, (a, b)| all | (a ^ b));
        differing == 0 && now_s <= u64::from(tag.expires_s)
    }

    fn mac(
        &self,
        asking: &Asking,
        offer: &Offer,
        (expires_s, prices): (u32, u32),
        hasher: &TokenHasher,
    ) -> [u8; 16] {
        let network = offer.network().to_string();
        // What was told of one is not said of the other.
        let what = match (&asking.credit, &self.sale.billing) {
            (Some(_), _) => "\0credit".to_owned(),
            (None, Some(billing)) => format!("\0{billing:?}"),
            (None, None) => String::new(),
        };
        let parts: [&[u8]; 13] = [
            b"tollkeep/quote/1\0",
            asking.tenant.bytes(),
            self.route.as_bytes(),
            b"\0",
            &asking.digest,
            &offer.amount.to_be_bytes(),
            offer.asset.address.bytes(),
            offer.pay_to.bytes(),
            network.as_bytes(),
            b"\0",
            &expires_s.to_be_bytes(),
            &prices.to_be_bytes(),
            what.as_bytes(),
        ];
        let hash = hasher.hash(parts.concat());
        hash.bytes().first_chunk().copied().unwrap_or_default()
    }
}

/// What an offer comes to in nano-dollars; `None` where its token is no dollar.
pub(crate) fn nano_dollars(price: &Price, offer: &Offer) -> Option<i64> {
    if let Some(usd) = price.usd() {
        return Some(usd.get());
    }
    let one = 10_u128.checked_pow(u32::from(offer.asset.decimals))?;
    let nanos = offer.amount.checked_mul(NANO)?.div_ceil(one);
    i64::try_from(nanos).ok().filter(|_| offer.asset.is_dollar)
}
