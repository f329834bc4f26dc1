//! What a request costs: rules over what it asks for, a price, a fallback, and bounds.
//!
//! Everything that a rule reads must be certain: a parameter that stands twice, a body that two
//! readers may read differently or that is no JSON is refused, since the cheaper reading would be
//! paid and the dearer one served.

mod asked;
mod condition;
mod decimal;
mod models;
mod pattern;

pub use asked::Asked;
pub use condition::{Condition, ConditionFault, Wanted};
pub use decimal::Decimal;
pub use models::{ModelPrices, UnknownModel};
pub use pattern::Pattern;

use crate::evm::Address;
use crate::price::Price;
use asked::Read;
use std::fmt;
use tollkeep_types::money::NanoUsd;

/// A price for requests that fit.
#[derive(Clone, Debug)]
pub struct Rule {
    /// All of them hold; there is one at least.
    pub conditions: Vec<Condition>,
    /// What such a request costs.
    pub price: Price,
    /// Who is paid, if somebody else than usual.
    pub pay_to: Option<Address>,
}

/// What requests of one route cost, as it is written.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Asked in this order; the first that fits wins.
    pub rules: Vec<Rule>,
    /// What a request costs that no rule fits.
    pub price: Option<Price>,
    /// The same, where there is no `price`.
    pub fallback: Option<Price>,
    /// What holds where the route says nothing.
    pub default: Option<Price>,
    /// No price is below.
    pub min: Option<NanoUsd>,
    /// No price is above.
    pub max: Option<NanoUsd>,
    /// Prices by the model that is asked for.
    pub models: Option<ModelPrices>,
    /// A request costs what it uses, which somebody else reckons.
    pub by_tokens: bool,
}

/// What requests of one route cost.
#[derive(Clone, Debug)]
pub struct Pricing {
    parts: Parts,
    /// Names of query parameters and fields that rules read.
    read: Read,
}

/// Why prices of a route don't hold together.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PricingFault {
    /// Requests that no rule fits would have no price of their own.
    #[error(
        "needs a `fallback` beside `match`: requests that no rule fits would cost what is usual elsewhere (fallback_missing)"
    )]
    FallbackMissing,
    /// The bounds exclude each other.
    #[error("`min_price` is above `max_price`")]
    BoundsCrossed,
    /// A price without dollars can't be held against them.
    #[error("`min_price` and `max_price` are dollars, and a price here has none")]
    BoundsWithoutDollars,
}

/// Where a price comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The rule of this number, from 0.
    Rule(usize),
    /// The price of a model, by the route or by the built-in table.
    Model(Box<str>),
    /// `price`.
    Price,
    /// `fallback`.
    Fallback,
    /// `defaults.price`.
    Default,
    /// The most that it can use.
    Tokens,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(at) => write!(out, "match[{at}]"),
            Self::Model(model) => write!(out, "model {model}"),
            Self::Price => out.write_str("price"),
            Self::Fallback => out.write_str("fallback"),
            Self::Default => out.write_str("defaults.price"),
            Self::Tokens => out.write_str("pricing.model: tokens"),
        }
    }
}

/// The price of one concrete request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quote {
    /// What it costs.
    pub price: Price,
    /// What said so.
    pub origin: Origin,
    /// Whether `min_price` raised it.
    pub is_raised: bool,
    /// Who is paid, if somebody else than usual.
    pub pay_to: Option<Address>,
}

/// Why a request has no price.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QuoteFault {
    /// Its body decides the price and is no JSON.
    #[error("the price depends on the body, which must be JSON in UTF-8")]
    NotJson,
    /// Its body is broken, or a member stands in it twice.
    #[error("the price depends on the body, which is broken or has a member twice")]
    BrokenBody,
    /// What decides the price stands in it twice, or can be read in two ways.
    #[error("the price depends on a parameter that stands twice or is broken")]
    Ambiguous,
    /// The price is that of a model, and none is named.
    #[error("the price is that of the model, and the body names none")]
    NoModel,
    /// The model has no price.
    #[error("the model has no price here")]
    UnknownModel,
    /// Nothing says what it costs.
    #[error("nothing says what this request costs")]
    Unresolved,
    /// It costs more than it may.
    #[error("the price is above `max_price`")]
    OutOfBounds,
}

impl QuoteFault {
    /// The status it is refused with.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotJson => 415,
            Self::BrokenBody | Self::Ambiguous | Self::NoModel | Self::UnknownModel => 400,
            Self::Unresolved | Self::OutOfBounds => 500,
        }
    }

    /// The code it is refused with.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotJson => "unsupported_media_type",
            Self::BrokenBody => "invalid_json",
            Self::Ambiguous => "ambiguous_parameter",
            Self::NoModel => "model_required",
            Self::UnknownModel => "model_not_priced",
            Self::Unresolved => "price_unresolved",
            Self::OutOfBounds => "price_out_of_bounds",
        }
    }
}

impl Pricing {
    /// Prices that hold together. `None`: nothing is written that makes a price.
    ///
    /// # Errors
    /// A request could have no price of its own, or the bounds can't be kept.
    pub fn new(mut parts: Parts) -> Result<Option<Self>, PricingFault> {
        if !parts.rules.is_empty() && parts.fallback.is_none() {
            parts.fallback = parts.price.take();
            if parts.fallback.is_none() {
                return Err(PricingFault::FallbackMissing);
            }
        }
        let says_nothing = parts.rules.is_empty()
            && parts.models.is_none()
            && parts.price.is_none()
            && parts.fallback.is_none()
            && parts.default.is_none()
            && !parts.by_tokens;
        if says_nothing {
            return Ok(None);
        }
        if let (Some(min), Some(max)) = (parts.min, parts.max)
            && min > max
        {
            return Err(PricingFault::BoundsCrossed);
        }
        let read = Read::by(&parts.rules, parts.models.is_some() || parts.by_tokens);
        let pricing = Self { parts, read };
        let is_bounded = pricing.parts.min.is_some() || pricing.parts.max.is_some();
        if is_bounded && pricing.all().any(|(_, price)| price.usd().is_none()) {
            return Err(PricingFault::BoundsWithoutDollars);
        }
        Ok(Some(pricing))
    }

    /// Every price that is written for the route, with where.
    pub fn all(&self) -> impl Iterator<Item = (Origin, &Price)> {
        let parts = &self.parts;
        let rules = parts.rules.iter().enumerate();
        let rules = rules.map(|(at, rule)| (Origin::Rule(at), &rule.price));
        let models = parts.models.iter().flat_map(ModelPrices::written);
        let models = models.map(|(model, price)| (Origin::Model(model.into()), price));
        rules.chain(models).chain(self.otherwise())
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.parts.rules
    }

    /// The bounds: no price is below the first or above the second.
    pub fn bounds(&self) -> (Option<NanoUsd>, Option<NanoUsd>) {
        (self.parts.min, self.parts.max)
    }

    /// Whether prices of models hold here.
    pub fn is_by_model(&self) -> bool {
        self.parts.models.is_some()
    }

    /// Whether a request costs what it uses.
    pub fn is_by_tokens(&self) -> bool {
        self.parts.by_tokens
    }

    /// The price of a request that costs what it uses, which is at most so much.
    ///
    /// # Errors
    /// It is above what may be asked.
    pub fn by_tokens(&self, most: NanoUsd) -> Result<Quote, QuoteFault> {
        self.told(Origin::Tokens, &Price::Usd(most), None)
    }

    /// Whether what a request costs depends on its body.
    pub fn reads_body(&self) -> bool {
        self.read.reads_body()
    }

    /// Whether some request costs something, after the bounds.
    pub fn may_cost(&self) -> bool {
        self.parts.by_tokens
            || self.parts.models.is_some()
            || self
                .all()
                .any(|(_, price)| !self.bounded(price.clone()).0.is_free())
    }

    /// The price where no rule fits and no model decides, if there is one; and those behind it,
    /// which never hold.
    fn otherwise(&self) -> impl Iterator<Item = (Origin, &Price)> {
        let parts = &self.parts;
        [
            (Origin::Price, &parts.price),
            (Origin::Fallback, &parts.fallback),
            (Origin::Default, &parts.default),
        ]
        .into_iter()
        .filter_map(|(origin, price)| Some((origin, price.as_ref()?)))
        .take(1)
    }

    /// What this request costs.
    ///
    /// # Errors
    /// It can't be told for certain, or nothing says so: it is not served.
    pub fn quote(&self, asked: &Asked<'_>) -> Result<Quote, QuoteFault> {
        let facts = self.read.facts(asked)?;
        let rules = self.parts.rules.iter().enumerate();
        for (at, rule) in rules {
            if rule.conditions.iter().all(|wanted| wanted.holds(&facts)) {
                return self.told(Origin::Rule(at), &rule.price, rule.pay_to);
            }
        }
        let otherwise = self.otherwise().next();
        if let Some(models) = &self.parts.models {
            let model = facts.model().ok_or(QuoteFault::NoModel)?;
            if let Some(price) = models.price_of(model) {
                return self.told(Origin::Model(model.into()), price, None);
            }
            let usual = otherwise.as_ref().map(|(_, price)| *price);
            if models.rejects_unknown(usual) {
                return Err(QuoteFault::UnknownModel);
            }
        }
        let (origin, price) = otherwise.ok_or(QuoteFault::Unresolved)?;
        self.told(origin, price, None)
    }

    fn told(
        &self,
        origin: Origin,
        price: &Price,
        pay_to: Option<Address>,
    ) -> Result<Quote, QuoteFault> {
        if let (Some(max), Some(usd)) = (self.parts.max, price.usd())
            && usd > max
        {
            return Err(QuoteFault::OutOfBounds);
        }
        let (price, is_raised) = self.bounded(price.clone());
        Ok(Quote {
            price,
            origin,
            is_raised,
            pay_to,
        })
    }

    /// The price, raised to the least that may be asked.
    fn bounded(&self, price: Price) -> (Price, bool) {
        match (self.parts.min, price.usd()) {
            (Some(min), Some(usd)) if usd < min => (price.with_usd(min), true),
            _ => (price, false),
        }
    }
}
