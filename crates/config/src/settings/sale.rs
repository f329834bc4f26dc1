//! What requests of a route cost, and with what they can be paid.

use super::billing::{self, BillingFile};
use super::market::Market;
use super::payments::{MID_STREAM, MidStream, SETTLEMENT, Terms};
use super::route::Access;
use crate::check::Checks;
use crate::field::{KindExt, flat, listed, mapped, section};
use crate::kind::{choice, dollars, duration, list, pay_to, priced, rule, switch, text, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::time::Duration;
use tollkeep_payments::evm::Address;
use tollkeep_payments::price::Price;
use tollkeep_payments::pricing::{ModelPrices, Parts, Pattern, Pricing, Quote, Rule, UnknownModel};
use tollkeep_payments::session::Billing;
use tollkeep_payments::state::Mode;
use tollkeep_payments::x402::{Asset, Assets, Offer, Scheme};
use tollkeep_types::money::NanoUsd;

/// What requests of a route cost, and with what they can be paid.
#[derive(Clone, Debug)]
pub struct Sale {
    /// What each costs.
    pub pricing: Pricing,
    /// With what it can be paid, in the order of the file.
    pub accepts: Vec<Accept>,
    /// For how many seconds payers shall sign.
    pub timeout_s: u64,
    /// On what terms.
    pub terms: Terms,
    /// Whether a price holds for the very body it was asked for with.
    pub bind_body: bool,
    /// Whether it may be settled when all was delivered, and for less than was signed.
    pub upto: bool,
    /// What a payment buys, where that is more than one call.
    pub billing: Option<Billing>,
    /// What a call costs an access token, where that is not the price.
    pub token_price: Option<NanoUsd>,
}

/// A token that is taken, and who is paid in it.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The token.
    pub asset: Asset,
    /// Who is paid, where a rule names nobody else.
    pub pay_to: Address,
}

impl Sale {
    /// The ways to pay what was quoted; those that can't express the price are left out.
    pub fn offers(&self, quote: &Quote) -> Vec<Offer> {
        let schemes: &[Scheme] = if self.upto {
            &[Scheme::Upto, Scheme::Exact]
        } else {
            &[Scheme::Exact]
        };
        let offer = |scheme: Scheme, accept: &Accept| {
            Some(Offer {
                scheme,
                amount: Offer::amount_of(&quote.price, &accept.asset)?,
                asset: accept.asset.clone(),
                pay_to: quote.pay_to.unwrap_or(accept.pay_to),
                max_timeout_s: self.timeout_s,
                facilitator: None,
            })
        };
        let of = |scheme: &Scheme| {
            let scheme = *scheme;
            let accepts = self.accepts.iter();
            accepts.filter_map(move |accept| offer(scheme, accept))
        };
        schemes.iter().flat_map(of).collect()
    }
}

const UNKNOWN_MODEL: [(&str, UnknownModel); 2] = [
    ("fallback", UnknownModel::Fallback),
    ("reject", UnknownModel::Reject),
];

const KINDS: [(&str, bool); 3] = [
    ("proxy", false),
    ("token-based", true),
    ("openai-compatible", true),
];

keys! {
    /// What requests of a route cost, and how they are paid.
    pub(crate) struct SaleFile {
        /// What a request costs: dollars as `"$0.01"`, Lightning as `"21sat"`, units of a token as
        /// `{asset: USDC, amount: "10000"}`. `"$0"` is free. Default: `defaults.price`.
        price: Option<Price> = priced().optional(),
        /// Prices for requests that fit; the first of them wins. A rule looks at `params.…` of the
        /// path, `query.…`, `headers.…` and `body.…`; `*` stands for any run of letters.
        rules as "match": Vec<Rule> = list(rule()).or_empty(),
        /// What a request costs that no rule of `match` fits; `match` needs one.
        fallback: Option<Price> = priced().optional(),
        /// The least a request costs; a lower price is raised.
        min_price: Option<NanoUsd> = dollars().optional(),
        /// The most a request costs; a request with a higher price is refused.
        max_price: Option<NanoUsd> = dollars().optional(),
        /// Whether the price is that of the model that the body names: `token-based`,
        /// `openai-compatible`. There is a table of usual prices behind `models`.
        by_model as "type": bool = choice(&KINDS).or(false),
        /// Prices of models; `*` stands for any run of letters, and exact names come first.
        models: Vec<(String, Price)> = mapped(priced()),
        pricing: PricingFile = section(),
        billing: BillingFile = section(),
        /// What a call costs an access token. Default: what it costs, or what it takes of a deposit;
        /// where a payment buys a pass, calls or KiB it has to be said.
        token_price: Option<NanoUsd> = dollars().optional(),
        /// With what it can be paid. Default: `accepts`.
        accepts: Vec<AcceptFile> = listed(),
        /// Who is paid. Default: the address in `wallets`.
        pay_to: Option<Address> = pay_to().optional(),
        terms: TermsFile = flat(),
    }
}

keys! {
    /// On what terms a route is sold.
    pub(crate) struct TermsFile {
        /// As `payments.x402.settlement`.
        settlement: Option<Mode> = choice(&SETTLEMENT).optional(),
        /// Whether a price holds for the very body it was asked for with. Prices that are made of
        /// the body hold for that in any case.
        bind_body: bool = switch().or(false),
        /// Whether callers may also sign for scheme `upto` of x402, by Permit2: they are served first,
        /// and what was delivered is settled at its end.
        upto: bool = switch().or(false),
        /// As `payments.mid_stream`.
        mid_stream: Option<MidStream> = choice(&MID_STREAM).optional(),
        /// As `payments.charge_on_4xx`.
        charge_on_4xx: Option<bool> = switch().optional(),
        /// As `payments.max_concurrent_per_payer`.
        max_concurrent_per_payer: Option<u32> = whole(1..=10_000).optional(),
        /// As `payments.max_exposure`.
        max_exposure: Option<NanoUsd> = dollars().optional(),
    }
}

keys! {
    /// How prices are made.
    pub(crate) struct PricingFile {
        /// What is paid for: `request`, each by itself; `time`, all of them for `duration`, as
        /// `billing.model: time_pass`.
        by_time as "model": bool = choice(&[("request", false), ("time", true)])
            .later(&["tokens"])
            .or(false),
        /// How long a pass lasts, with `model: time`.
        duration: Option<Duration> = duration(60_000..=366 * super::DAY_MS).optional(),
        /// What becomes of models without a price: they cost the `fallback`, or are refused with
        /// 400. Default: `reject` where the fallback is below what most models cost.
        unknown_model: Option<UnknownModel> = choice(&UNKNOWN_MODEL).optional(),
        /// As `fallback` of the route.
        fallback: Option<Price> = priced().optional(),
    }
}

keys! {
    /// A token that is taken as payment.
    pub(crate) struct AcceptFile {
        /// Its symbol.
        asset: Option<String> = text().required(),
        /// Its network: `base`, `base-sepolia`, `polygon`, …, or a CAIP-2 name as `eip155:8453`.
        network: Option<String> = text().required(),
        /// How much of what is signed is taken: all of it.
        _scheme as "scheme": () = choice(&[("exact", ())]).later(&["upto"]).or(()),
    }
}

/// More than stock clients pay at once.
const USUAL_CAP: NanoUsd = NanoUsd::new(1_000_000_000);

impl TermsFile {
    fn over(&self, usual: &Terms) -> Terms {
        Terms {
            mode: self.settlement.unwrap_or(usual.mode),
            mid_stream: self.mid_stream.unwrap_or(usual.mid_stream),
            charge_on_4xx: self.charge_on_4xx.unwrap_or(usual.charge_on_4xx),
            concurrent_max: self
                .max_concurrent_per_payer
                .unwrap_or(usual.concurrent_max),
            exposure_max: self.max_exposure.unwrap_or(usual.exposure_max),
        }
    }
}

impl SaleFile {
    /// What is sold, and to whom, by what the route says of both.
    pub(super) fn check(
        self,
        written: Option<Access>,
        path: &KeyPath,
        market: &Market,
        checks: &mut Checks<'_>,
    ) -> (Access, Option<Sale>) {
        let usual = match written {
            None | Some(Access::Payment | Access::TokenOrPayment) => market.price.clone(),
            Some(Access::Token | Access::Free) => None,
        };
        let accepts = market.accepts(&self.accepts, self.pay_to, path, checks);
        let (mut terms, bind_body) = (self.terms.over(&market.terms), self.terms.bind_body);
        let (upto, token_price) = (self.terms.upto, self.token_price);
        let pass = self.pricing.pass(path, checks);
        let billing = self.billing.clone().check(pass, path, checks);
        if billing.is_some() {
            self.terms.check_session(path, checks);
            terms.mode = Mode::Before;
        }
        let pricing = self.pricing(usual, path, market, checks);
        let costs = pricing.as_ref().is_some_and(Pricing::may_cost);
        let access = written.unwrap_or(match (&pricing, costs) {
            (None, _) => Access::Token,
            (Some(_), true) => Access::Payment,
            (Some(_), false) => Access::Free,
        });
        let fault = match (access, costs) {
            (Access::Free, true) => {
                "costs something with `access: free`: nobody would be asked \
                                     to pay"
            }
            (Access::Token, true) if billing.is_some() => {
                "has `billing`, and nobody pays with `access: token`"
            }
            (Access::Payment | Access::TokenOrPayment, false) => {
                "needs a price above nothing with this `access`"
            }
            (Access::Free | Access::Token, false)
            | (Access::Token | Access::Payment | Access::TokenOrPayment, true) => "",
        };
        if !fault.is_empty() {
            checks.error_at(path, fault);
        }
        let sale = pricing.map(|pricing| Sale {
            pricing,
            accepts,
            timeout_s: market.timeout_s,
            terms,
            bind_body,
            upto,
            billing,
            token_price,
        });
        let checked = (sale.as_ref().filter(|_| costs), access);
        billing::check_costs(checked, (path, token_price.is_some()), market, checks);
        (access, sale)
    }

    fn pricing(
        self,
        default: Option<Price>,
        path: &KeyPath,
        market: &Market,
        checks: &mut Checks<'_>,
    ) -> Option<Pricing> {
        if self.fallback.is_some() && self.pricing.fallback.is_some() {
            let problem = "is the same as `fallback`: write one of them";
            checks.error_at(&path.name("pricing").name("fallback"), problem);
        }
        let models = self.models(path, checks);
        let fallback = self.fallback.or(self.pricing.fallback);
        match (self.rules.is_empty(), &self.price, &fallback) {
            (false, Some(_), None) => checks.warn_at(
                &path.name("price"),
                "beside `match` is read as the `fallback`: write it so",
            ),
            (_, Some(_), Some(_)) => {
                checks.warn_at(
                    &path.name("fallback"),
                    "never holds: `price` comes before it",
                );
            }
            _ => {}
        }
        let parts = Parts {
            rules: self.rules,
            price: self.price,
            fallback,
            default,
            min: self.min_price.or(market.min_price),
            max: self.max_price.or(market.max_price),
            models,
        };
        let made = Pricing::new(parts);
        made.map_err(|fault| checks.error_at(path, fault.to_string()))
            .ok()?
    }

    fn models(&self, path: &KeyPath, checks: &mut Checks<'_>) -> Option<ModelPrices> {
        if !self.by_model {
            for (name, is_written) in [
                ("models", !self.models.is_empty()),
                (
                    "pricing.unknown_model",
                    self.pricing.unknown_model.is_some(),
                ),
            ] {
                if is_written {
                    let at = name.split('.').fold(path.clone(), |at, name| at.name(name));
                    checks.error_at(&at, "has an effect with `type: token-based` only");
                }
            }
            return None;
        }
        let mut written = Vec::new();
        for (name, price) in &self.models {
            match Pattern::new(name) {
                Some(pattern) => written.push((pattern, price.clone())),
                None => checks.error_at(&path.name("models").name(name), "is no pattern"),
            }
        }
        Some(ModelPrices::new(written, self.pricing.unknown_model))
    }
}

impl Sale {
    /// What can't be sold so.
    pub(super) fn check(&self, path: &KeyPath, market: &Market, checks: &mut Checks<'_>) {
        if self.accepts.is_empty() {
            let problem = "has a price, and nothing to pay it with: write \
                           `accepts: [{asset: USDC, network: base}]` and `wallets`";
            checks.unsold(path, problem);
        }
        let mut is_above_cap = false;
        for (origin, price) in self.pricing.all() {
            is_above_cap |= price.usd().is_some_and(|usd| usd > USUAL_CAP);
            let can_pay = |accept: &Accept| Offer::amount_of(price, &accept.asset).is_some();
            let has_way = self.accepts.is_empty() || self.accepts.iter().any(can_pay);
            if !price.is_free() && !has_way {
                let problem = format!(
                    "{origin}: {price} can't be paid with anything in `accepts`: dollars are paid \
                     in tokens that are dollars, units in the token they are units of"
                );
                checks.error_at(path, problem);
            }
        }
        let usual = Assets::default();
        let mut accepts = self.accepts.iter();
        let is_usual = |asset: &Asset| usual.find(&asset.symbol, &asset.network) == Some(asset);
        if let Some(accept) = accepts.find(|accept| !is_usual(&accept.asset)) {
            let problem = format!(
                "takes {} on {}, which stock x402 clients refuse unless they are told otherwise",
                accept.asset.symbol, accept.asset.network
            );
            checks.warn_at(path, &problem);
        }
        if is_above_cap {
            let problem = "asks for more than $1.00 at once, which stock x402 clients refuse \
                           unless they are told otherwise";
            checks.warn_at(path, problem);
        }
        for accept in &self.accepts {
            if !market.is_settled(&accept.asset.network) {
                let problem = format!(
                    "costs something, and nobody settles on {}: name a facilitator in \
                     `payments.x402.facilitators`",
                    accept.asset.network
                );
                checks.unsold(path, &problem);
            }
        }
    }
}
