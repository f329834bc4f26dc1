//! The rates of one model from one instant on, and which of them a class has.

use tollkeep_types::WallMillis;
use tollkeep_types::money::{PicoUsd, Ratio};
use tollkeep_types::usage::{Class, Service, Unit};

/// Rates by class and unit. Absent is not zero.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RateSet {
    pub(super) tokens: Vec<(Class, PicoUsd)>,
    pub(super) units: Vec<(Unit, PicoUsd)>,
    /// By `<quality>:<size>`.
    pub(super) images: Vec<(Box<str>, PicoUsd)>,
}

impl RateSet {
    /// The rate of this very class.
    pub fn token(&self, class: Class) -> Option<PicoUsd> {
        let mut rates = self.tokens.iter();
        rates.find(|(has, _)| *has == class).map(|(_, rate)| *rate)
    }

    /// The rate of a unit.
    pub fn unit(&self, unit: Unit) -> Option<PicoUsd> {
        let mut rates = self.units.iter();
        rates.find(|(has, _)| *has == unit).map(|(_, rate)| *rate)
    }

    /// The rate of an image of this quality and size.
    pub fn image(&self, sort: &str) -> Option<PicoUsd> {
        let mut rates = self.images.iter();
        rates.find(|(has, _)| **has == *sort).map(|(_, rate)| *rate)
    }

    /// The rates of images, by `<quality>:<size>`.
    pub fn images(&self) -> impl Iterator<Item = (&str, PicoUsd)> {
        self.images.iter().map(|(sort, rate)| (&**sort, *rate))
    }

    /// Names and rates, tokens first.
    pub fn named(&self) -> impl Iterator<Item = (String, PicoUsd)> {
        let tokens = self
            .tokens
            .iter()
            .map(|(class, rate)| (class.name().to_owned(), *rate));
        let units = self
            .units
            .iter()
            .map(|(unit, rate)| (unit.name().to_owned(), *rate));
        let images = self.images.iter();
        let images = images.map(|(sort, rate)| (format!("image:{sort}"), *rate));
        tokens.chain(units).chain(images)
    }
}

/// Rates above a number of input tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tier {
    /// Reached by strictly more input tokens than these.
    pub over_input_tokens: u64,
    /// What differs from the base.
    pub rates: RateSet,
}

/// What a service changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceRates {
    /// The factor of token rates.
    pub multiply: Ratio,
    /// Rates of its own, which win over the product.
    pub rates: RateSet,
    /// Tiers of its own, which win over both.
    pub tiers: Vec<Tier>,
}

/// The rates of a model from one instant on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rates {
    /// From when on, inclusive.
    pub from: WallMillis,
    /// Until when, exclusive; without it until the next ones.
    pub until: Option<WallMillis>,
    /// What holds where nothing else says otherwise.
    pub base: RateSet,
    /// Ascending.
    pub tiers: Vec<Tier>,
    /// What services change.
    pub services: Vec<(Service, ServiceRates)>,
    /// Factors by name, as `speed:fast`.
    pub modifiers: Vec<(Box<str>, Ratio)>,
}

/// Which of the rates apply.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Input tokens, which decide the tier.
    pub input_tokens: u64,
    /// The service.
    pub service: Service,
}

impl Rates {
    /// The rate of a class and the factor of its service: of the class itself, or of the one it
    /// falls back to. `None`: it has no price.
    pub fn token(&self, class: Class, choice: Choice) -> Option<(PicoUsd, Ratio)> {
        let service = self.service(choice.service);
        std::iter::successors(Some(class), |class| fallback(*class))
            .find_map(|class| self.of_class(class, service, choice.input_tokens))
    }

    fn of_class(
        &self,
        class: Class,
        service: Option<&ServiceRates>,
        input_tokens: u64,
    ) -> Option<(PicoUsd, Ratio)> {
        if let Some(service) = service {
            let own = tier_of(&service.tiers, input_tokens)
                .and_then(|tier| tier.rates.token(class))
                .or_else(|| service.rates.token(class));
            if let Some(own) = own {
                return Some((own, Ratio::ONE));
            }
        }
        let rate = tier_of(&self.tiers, input_tokens)
            .and_then(|tier| tier.rates.token(class))
            .or_else(|| self.base.token(class))?;
        Some((rate, service.map_or(Ratio::ONE, |service| service.multiply)))
    }

    /// What a service changes. A service that the table does not know has no discount.
    pub fn service(&self, service: Service) -> Option<&ServiceRates> {
        let mut services = self.services.iter();
        services
            .find(|(has, _)| *has == service)
            .map(|(_, rates)| rates)
    }

    /// The factor of a modifier.
    pub fn modifier(&self, kind: &str, value: &str) -> Option<Ratio> {
        let is = |name: &str| {
            name.strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix(':'))
                == Some(value)
        };
        let mut modifiers = self.modifiers.iter();
        modifiers
            .find(|(name, _)| is(name))
            .map(|(_, factor)| *factor)
    }

    /// The threshold of the tier that so many input tokens reach.
    pub fn tier(&self, input_tokens: u64) -> Option<u64> {
        tier_of(&self.tiers, input_tokens).map(|tier| tier.over_input_tokens)
    }

    /// Every number of input tokens at which rates change, up to this one: one for each tier that
    /// can be reached.
    pub fn steps(&self, service: Service, input_tokens: u64) -> impl Iterator<Item = u64> {
        let own = self
            .service(service)
            .map_or(&[][..], |service| &service.tiers);
        let over = |tier: &Tier| tier.over_input_tokens.saturating_add(1);
        let steps = self.tiers.iter().chain(own).map(over);
        std::iter::once(0).chain(steps.filter(move |step| *step <= input_tokens))
    }
}

fn tier_of(tiers: &[Tier], input_tokens: u64) -> Option<&Tier> {
    tiers
        .iter()
        .rev()
        .find(|tier| input_tokens > tier.over_input_tokens)
}

/// The class whose rate a class without one has.
pub(super) const fn fallback(class: Class) -> Option<Class> {
    match class {
        Class::CacheReadText | Class::CacheWrite | Class::InImage => Some(Class::InText),
        Class::CacheReadAudio => Some(Class::InAudio),
        Class::CacheReadImage | Class::InVideo => Some(Class::InImage),
        Class::CacheReadVideo => Some(Class::InVideo),
        Class::CacheWrite5m | Class::CacheWrite1h => Some(Class::CacheWrite),
        Class::OutReasoning => Some(Class::OutText),
        Class::InText | Class::InAudio | Class::OutText | Class::OutAudio | Class::OutImage => None,
    }
}
