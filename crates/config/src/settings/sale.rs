//! What requests of a route cost, and with what they can be paid.

use super::billing::{self, BillingFile};
use super::market::Market;
use super::payments::{MID_STREAM, MidStream, SETTLEMENT, Terms, Verify};
use super::route::Access;
use super::token_prices::{TokenPrices, TokenPricesFile};
use crate::check::Checks;
use crate::field::{KindExt, flat, listed, mapped, section};
use crate::kind::{
    RoutePrice, choice, dollars, duration, list, one_or_more, pay_to, priced, route_price, rule,
    switch, text, whole,
};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_payments::evm::Address;
use tollkeep_payments::price::Price;
use tollkeep_payments::pricing::{ModelPrices, Parts, Pattern, Pricing, Quote, Rule, UnknownModel};
use tollkeep_payments::session::Billing;
use tollkeep_payments::state::Mode;
use tollkeep_payments::x402::{Asset, Assets, Offer, Scheme};
use tollkeep_policy::hook::{Moment, Program};
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
    /// How what a request uses is reckoned, where it costs that.
    pub tokens: Option<TokenPrices>,
    /// What says what a request costs, where that is an expression; it stands among the hooks.
    pub computed: Option<Program>,
    /// Who settles, best first; empty: whoever does so on the network.
    pub facilitators: Arc<[Box<str>]>,
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
        let schemes: &[Scheme] = match self.tokens {
            // Who has signed for an exact amount can't be given back the rest.
            Some(tokens) if !tokens.keeps_rest => &[Scheme::Upto],
            None if !self.upto => &[Scheme::Exact],
            Some(_) | None => &[Scheme::Upto, Scheme::Exact],
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

/// What is paid for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PricedBy {
    Request,
    Time,
    Tokens,
}

const MODEL: [(&str, PricedBy); 3] = [
    ("request", PricedBy::Request),
    ("time", PricedBy::Time),
    ("tokens", PricedBy::Tokens),
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
        /// `{asset: USDC, amount: "10000"}`. `"$0"` is free. `{cel: "…"}` is an expression as in
        /// `hooks.onPriceResolved`, which gives nano-dollars. Default: `defaults.price`.
        price: Option<RoutePrice> = route_price().optional(),
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
        /// Who settles on this route, best first: names in `payments.x402.facilitators`. Default: as
        /// `payments.x402.use`.
        facilitator: Vec<String> = one_or_more(text()).or_empty(),
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
        /// As `llm.expose_cost`, of calls that are charged to access tokens here.
        expose_cost: bool = switch().or(false),
        verification_cache: VerificationCache = section(),
    }
}

keys! {
    /// What is remembered of what facilitators say.
    pub(crate) struct VerificationCache {
        /// For how long a facilitator is not asked again about a proof that it said yes to, where that
        /// comes once more, byte for byte. It is settled as ever. Default: each time it is asked.
        ttl: Option<Duration> = duration(1_000..=3_600_000).optional(),
    }
}

keys! {
    /// How prices are made.
    pub(crate) struct PricingFile {
        /// What is paid for: `request`, each by itself; `time`, all of them for `duration`, as
        /// `billing.model: time_pass`; `tokens`, what a call of a model uses, by the price table: the
        /// most that it can cost is signed for, in scheme `upto` of x402, and what it came to is
        /// settled at its end.
        model: PricedBy = choice(&MODEL).or(PricedBy::Request),
        /// How long a pass lasts, with `model: time`.
        duration: Option<Duration> = duration(60_000..=366 * super::DAY_MS).optional(),
        tokens: TokenPricesFile = flat(),
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
            verified_for: self.verification_cache.ttl,
            expose_cost: self.expose_cost,
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
        let mut terms = self.terms.over(&market.terms);
        let (bind_body, upto) = (self.terms.bind_body, self.terms.upto);
        let token_price = self.token_price;
        let pass = self.pricing.pass(path, checks);
        let billing = self.billing.clone().check(pass, path, checks);
        if billing.is_some() {
            self.terms.check_session(path, checks);
            terms.mode = Mode::Before;
        }
        let tokens = self.by_use(billing.is_some(), path, checks);
        let computed = self.computed(path, market, checks);
        let facilitators = market.named(&self.facilitator, &path.name("facilitator"), checks);
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
        let is_paid = matches!(access, Access::Payment | Access::TokenOrPayment);
        let never_asked = market.payments.x402.verify == Verify::LocalOnly;
        if terms.verified_for.is_some() && (!is_paid || never_asked) {
            let problem = "has no effect: no facilitator is asked before money is taken here";
            checks.error_at(&path.name("verification_cache"), problem);
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
            tokens,
            computed,
            facilitators,
        });
        let checked = (sale.as_ref().filter(|_| costs), access);
        let of_tokens = (token_price.is_some(), terms.expose_cost);
        billing::check_costs(checked, (path, of_tokens), market, checks);
        (access, sale)
    }

    /// How what a request uses is reckoned, if it costs that.
    fn by_use(
        &self,
        has_billing: bool,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<TokenPrices> {
        let others = [
            ("price", self.price.is_some()),
            ("match", !self.rules.is_empty()),
            (
                "fallback",
                self.fallback.is_some() || self.pricing.fallback.is_some(),
            ),
            ("type", self.by_model),
            ("billing", has_billing),
        ];
        let by_tokens = (self.pricing.model == PricedBy::Tokens, &others[..]);
        self.pricing.tokens.check(by_tokens, path, checks)
    }

    /// The expression that says what a request costs, if it is one.
    fn computed(
        &self,
        path: &KeyPath,
        market: &Market,
        checks: &mut Checks<'_>,
    ) -> Option<Program> {
        let Some(RoutePrice::Cel(text)) = &self.price else {
            return None;
        };
        let at = path.name("price");
        let fallback = self.fallback.is_some() || self.pricing.fallback.is_some();
        if !self.rules.is_empty()
            || self.by_model
            || fallback
            || self.pricing.model == PricedBy::Tokens
        {
            let problem = "stands beside `match`, `fallback`, `type` or `pricing.model: tokens`, \
                           which is not supported: an expression says the whole price";
            checks.error_at(&at, problem);
        }
        let bounds = (
            self.min_price.or(market.min_price),
            self.max_price.or(market.max_price),
        );
        if !matches!(bounds, (Some(_), Some(_))) {
            checks.error_at(
                &at,
                "needs `min_price` and `max_price`: it says a price between the two",
            );
        }
        // Alone first: what is wrong in it is told where it stands.
        let read = Program::new(Moment::Price, text);
        let read =
            read.and_then(|_| Program::new(Moment::Price, &format!("{{'price': ({text})}}")));
        let read = read.map_err(|fault| checks.error_at(&at, fault.to_string()));
        read.ok()
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
        let by_tokens = self.pricing.model == PricedBy::Tokens;
        let default = default.filter(|_| !by_tokens);
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
        let min = self.min_price.or(market.min_price);
        let price = match self.price {
            Some(RoutePrice::Fixed(price)) => Some(price),
            // What it is before it is worked out.
            Some(RoutePrice::Cel(_)) => min.map(Price::Usd),
            None => None,
        };
        let parts = Parts {
            rules: self.rules,
            price,
            fallback,
            default,
            min,
            max: self.max_price.or(market.max_price),
            models,
            by_tokens,
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
        self.check_tokens(path, checks);
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
            if self.facilitators.is_empty() && !market.is_settled(&accept.asset.network) {
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
