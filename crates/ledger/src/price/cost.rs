//! What usage costs: an exact sum over lines and classes, rounded up once.

use super::book::{Book, Found, NotPriced, Provider};
use super::rates::Choice;
use tollkeep_types::WallMillis;
use tollkeep_types::money::{ExactSum, NanoUsd, PicoUsd, Ratio};
use tollkeep_types::usage::{Line, Lines, Unit, Usage};

/// Whose usage it is, and when it was quoted.
#[derive(Clone, Copy, Debug)]
pub struct Cost<'a> {
    /// Who served it.
    pub provider: Provider<'a>,
    /// The model that was asked for.
    pub asked: &'a str,
    /// The model that the answer names.
    pub served: Option<&'a str>,
    /// The instant that selects rates.
    pub at: WallMillis,
}

/// Why usage has no cost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CostError {
    /// A model without a price.
    #[error("the model `{0}` has no price")]
    NotPriced(Box<str>),
    /// Classes, units or modifiers without a price.
    #[error("no price for {}", .0.join(", "))]
    Unpriced(Vec<String>),
    /// More than an amount can hold.
    #[error("the cost is larger than an amount can be")]
    TooLarge,
}

/// What a call costs whoever pays for it, and what its upstream asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Marked {
    /// What is charged.
    pub cost: NanoUsd,
    /// What the upstream asks, by the same prices without a markup.
    pub upstream: NanoUsd,
}

/// The prices of one line.
#[derive(Clone, Copy, Debug)]
pub struct LinePrice<'b> {
    /// The model whose prices apply.
    pub found: Found<'b>,
    /// The threshold of the tier that was reached.
    pub tier: Option<u64>,
}

impl Cost<'_> {
    /// HOT. The cost of a call.
    ///
    /// # Errors
    /// When something of it has no price, or the sum is too large.
    pub fn of(&self, book: &Book, lines: &Lines) -> Result<NanoUsd, CostError> {
        let sum = self.exact(book, lines)?;
        sum.rounded_up().ok_or(CostError::TooLarge)
    }

    /// HOT. The same with a markup on the exact sum: each of the two amounts is rounded up once.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn marked_up(
        &self,
        book: &Book,
        lines: &Lines,
        markup: Ratio,
    ) -> Result<Marked, CostError> {
        let sum = self.exact(book, lines)?;
        let upstream = sum.rounded_up().ok_or(CostError::TooLarge)?;
        let cost = if markup == Ratio::ONE {
            Some(upstream)
        } else {
            sum.times(markup).and_then(ExactSum::rounded_up)
        };
        let cost = cost.ok_or(CostError::TooLarge)?;
        Ok(Marked { cost, upstream })
    }

    fn exact(&self, book: &Book, lines: &Lines) -> Result<ExactSum, CostError> {
        let mut sum = ExactSum::default();
        let mut unpriced = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let mut found = self.model_of(book, line)?;
            if let Some(other) = line.or_dearer.as_deref()
                && let Ok(other) = book.find(self.provider, other, self.at)
            {
                let cost =
                    |found: Found<'_>| add(ExactSum::default(), found, line, &mut Vec::new());
                let (this, that) = (cost(found), cost(other));
                let dearer = |sum: Option<ExactSum>| sum.and_then(ExactSum::rounded_up);
                if dearer(that) > dearer(this) {
                    found = other;
                }
            }
            let before = unpriced.len();
            let with_line = add(sum, found, line, &mut unpriced);
            if unpriced.len() > before {
                continue;
            }
            sum = with_line.ok_or(CostError::TooLarge)?;
            // A fee for each call, which no upstream reports.
            if at == 0
                && let Some(fee) = found.rates.base.unit(Unit::Request)
                && !line.usage.units().any(|(unit, _)| unit == Unit::Request)
            {
                sum = sum.plus(1, fee, &[]).ok_or(CostError::TooLarge)?;
            }
        }
        if !unpriced.is_empty() {
            unpriced.dedup();
            return Err(CostError::Unpriced(unpriced));
        }
        Ok(sum)
    }

    /// The model and tier of one line.
    ///
    /// # Errors
    /// When the model has no price.
    pub fn line<'b>(&self, book: &'b Book, line: &Line) -> Result<LinePrice<'b>, CostError> {
        let found = self.model_of(book, line)?;
        let tier = found.rates.tier(line.usage.input());
        Ok(LinePrice { found, tier })
    }

    /// What the answer names counts if it is listed, else what was asked for.
    fn model_of<'b>(&self, book: &'b Book, line: &Line) -> Result<Found<'b>, CostError> {
        let named = line.model.as_deref();
        if let Some(other) = named {
            let found = book.find(self.provider, other, self.at);
            return found.map_err(|NotPriced| CostError::NotPriced(other.into()));
        }
        let served = self
            .served
            .filter(|served| *served != self.asked)
            .and_then(|served| book.listed(self.provider, served, self.at));
        let found = served.map_or_else(|| book.find(self.provider, self.asked, self.at), Ok);
        found.map_err(|NotPriced| CostError::NotPriced(self.asked.into()))
    }
}

/// Adds a line. What has no price is named, and the sum then means nothing.
fn add(
    mut sum: ExactSum,
    found: Found<'_>,
    line: &Line,
    unpriced: &mut Vec<String>,
) -> Option<ExactSum> {
    /// Kinds of modifiers there are, and the service before them.
    const FACTORS: usize = 3;
    let mut factors = [Ratio::ONE; FACTORS];
    for ((kind, value), factor) in line.modifiers.iter().zip(factors.iter_mut().skip(1)) {
        match found.rates.modifier(kind, value) {
            Some(known) => *factor = known,
            None => unpriced.push(format!("{kind}:{value}")),
        }
    }
    let choice = Choice {
        input_tokens: line.usage.input(),
        service: line.service,
    };
    for (class, count) in line.usage.iter() {
        let Some((rate, of_service)) = found.rates.token(class, choice) else {
            unpriced.push(class.name().to_owned());
            continue;
        };
        if let Some(first) = factors.first_mut() {
            *first = of_service;
        }
        sum = sum.plus(count, rate, &factors)?;
    }
    add_units(sum, found, &line.usage, unpriced)
}

/// Units have one price, whatever the service.
fn add_units(
    mut sum: ExactSum,
    found: Found<'_>,
    usage: &Usage,
    unpriced: &mut Vec<String>,
) -> Option<ExactSum> {
    let mut one = |count: u64, rate: Option<PicoUsd>, name: &dyn Fn() -> String| {
        match rate {
            Some(rate) => sum = sum.plus(count, rate, &[])?,
            None => unpriced.push(name()),
        }
        Some(())
    };
    for (unit, count) in usage.units() {
        one(count, found.rates.base.unit(unit), &|| {
            unit.name().to_owned()
        })?;
    }
    if let Some(images) = usage.images() {
        let rate = found.rates.base.image(&images.sort);
        one(images.count, rate, &|| format!("image:{}", images.sort))?;
    }
    Some(sum)
}
