//! The most that a call can use and cost, and the cap of output that makes it so.

use crate::refusal::Refusal;
use std::time::Duration;
use tollkeep_config::settings::{Settings, UpstreamTimeouts};
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::bound::{Bound, NotBounded, Options, bound};
use tollkeep_ledger::decide::largest_fitting;
use tollkeep_ledger::hold::Sure;
use tollkeep_ledger::price::{Book, Cost, Marked, Provider, Source};
use tollkeep_llm::Surface;
use tollkeep_llm::demand::{self, Form, Known, KnownTool};
use tollkeep_types::WallMillis;
use tollkeep_types::demand::{CapForm, Demand};
use tollkeep_types::money::{NanoUsd, Ratio};
use tollkeep_types::usage::{Class, Lines, Usage};

/// What the settings say about bounds.
#[derive(Clone, Debug, Default)]
pub struct BoundOptions {
    /// Caps, and whether the service is written into calls.
    pub options: Options,
    /// What the operator knows of members and tools.
    pub known: Known,
    /// Below this cap no call is made smaller.
    pub min_output_cap: u64,
    /// Whether models are refused whose provider billed more than a bound.
    pub quarantine: bool,
    /// Who pays for attempts that failed and were billed.
    pub failed: Bears,
    /// How long what is held in the store outlasts the longest call.
    pub hold_grace: Duration,
}

/// Who pays for what a call was billed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Bears {
    /// Whoever made it.
    #[default]
    Payer,
    /// The operator.
    Operator,
}

impl BoundOptions {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        let budgets = &settings.budgets;
        let tools = budgets.known_tools.iter().map(|tool| KnownTool {
            kind: tool.kind.clone(),
            extra_tokens: tool.extra_tokens,
            unit: tool.unit,
            max_uses: tool.max_uses,
        });
        Self {
            known: Known {
                fields: budgets.known_fields.clone(),
                tools: tools.collect(),
            },
            options: Options {
                max_output_tokens: None,
                default_output_cap: budgets.default_output_cap,
                pin_service: budgets.pin_service,
            },
            min_output_cap: budgets.min_output_cap,
            quarantine: budgets.quarantine,
            failed: match budgets.charge_failed_attempts {
                true => Bears::Payer,
                false => Bears::Operator,
            },
            hold_grace: settings.ledger.hold_grace,
        }
    }

    /// How long a hold is in the store without being renewed, of a call with these times.
    pub(super) fn hold_ms(&self, times: &UpstreamTimeouts) -> u64 {
        let longest = times.total.max(times.total_stream);
        let all = longest.saturating_add(self.hold_grace);
        u64::try_from(all.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Most output that a guess reckons with.
const GUESSED_OUTPUT_MAX: u64 = 4_096;

/// A call to be quoted.
pub(crate) struct Quoting<'a> {
    pub(crate) provider: Provider<'a>,
    pub(crate) model: &'a str,
    pub(crate) surface: Surface,
    pub(crate) body: &'a [u8],
    pub(crate) at: WallMillis,
    /// By how much more than the upstream asks it is charged.
    pub(crate) markup: Ratio,
}

/// What is taken aside for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    pub(crate) charge: Charge,
    /// The cost of it that the upstream may ask, without a markup.
    pub(crate) upstream_cost: Amount,
    /// By how much more than that it is charged.
    pub(crate) markup: Ratio,
    /// Whether it can't be more.
    pub(crate) sure: Sure,
    pub(crate) input_tokens: u64,
    /// The cap of output to write into the body: that of one answer.
    pub(crate) cap: Option<u64>,
    /// Answers that are asked for, where the body was read for that.
    pub(crate) choices: Option<u64>,
    /// Its upstream may work in rounds of its own, of which a stream tells at its end alone.
    pub(crate) works_in_rounds: bool,
    pub(crate) pins_service: bool,
    /// Whether its cost was reckoned, and not its tokens alone.
    pub(crate) is_priced: bool,
    /// Whether the provider goes on billing a call that is cancelled.
    pub(crate) is_billed_to_its_end: bool,
    /// By what its tokens are bounded.
    pub(crate) method: Method,
}

/// By what the tokens of a call are bounded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    /// The bytes of its body.
    Bytes,
    /// The bytes of its texts, without what escapes add: closer, and looked at only if the other
    /// bound does not fit.
    Texts,
}

impl Method {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Texts => "texts",
        }
    }
}

impl Quote {
    /// Of a call that is counted and nothing more.
    pub(super) const fn one_request() -> Self {
        Self {
            charge: Charge {
                requests: ONE,
                ..Charge::NOTHING
            },
            upstream_cost: Amount::ZERO,
            markup: Ratio::ONE,
            sure: Sure::Bound,
            input_tokens: 0,
            cap: None,
            choices: None,
            works_in_rounds: false,
            pins_service: false,
            is_priced: false,
            is_billed_to_its_end: false,
            method: Method::Bytes,
        }
    }

    /// What its upstream may ask at most, where that is another amount than is charged.
    pub(super) fn owed(&self) -> Option<Amount> {
        Some(self.upstream_cost).filter(|cost| *cost != self.charge.cost)
    }

    /// Tokens of output at most, over all answers and rounds, where they are bounded.
    pub(crate) fn output_tokens(&self) -> Option<u64> {
        self.cap?;
        u64::try_from(self.charge.output_tokens.units()).ok()
    }

    /// Of a call that costs what its route says.
    ///
    /// # Errors
    /// That is more than can be reckoned with.
    pub(super) fn price(price: NanoUsd) -> Result<Self, Refusal> {
        let one = Self::one_request();
        let price = cost(price).ok_or_else(too_large)?;
        Ok(Self {
            charge: Charge {
                cost: price,
                ..one.charge
            },
            upstream_cost: price,
            sure: Sure::Price,
            ..one
        })
    }
}

pub(super) const ONE: Amount = match Amount::new(1) {
    Some(one) => one,
    None => Amount::ZERO,
};

/// What is counted of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    costs: bool,
    tokens: bool,
}

impl Counted {
    pub(crate) fn of(measures: impl Iterator<Item = Measure>) -> Self {
        let mut counted = Self::default();
        for measure in measures {
            match measure {
                Measure::Cost => counted.costs = true,
                Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => {
                    counted.tokens = true;
                }
                Measure::Requests => {}
            }
        }
        counted
    }

    /// Whether it takes a bound to count it.
    pub(super) const fn is_bounded(self) -> bool {
        self.costs || self.tokens
    }
}

impl Quoting<'_> {
    /// The quote of the call, for budgets of these measures.
    ///
    /// # Errors
    /// 400 where nothing bounds the call, or its model has no price and money is counted.
    pub(crate) fn quote(
        &self,
        book: &Book,
        counted: Counted,
        settings: &BoundOptions,
    ) -> Result<Quote, Refusal> {
        match self.form(counted) {
            Some(form) => {
                let demand = demand::read(form, self.body, &settings.known);
                self.bounded(book, counted, settings, &demand)
            }
            None => Ok(Quote::one_request()),
        }
    }

    /// The same by what the texts of the call mean, without what escapes add to their bytes. What is
    /// inline has escapes of its own, which are taken off with it.
    pub(super) fn closer(
        &self,
        book: &Book,
        counted: Counted,
        settings: &BoundOptions,
    ) -> Option<Quote> {
        let mut demand = demand::read(self.form(counted)?, self.body, &settings.known);
        if demand.media_bytes > 0 {
            return None;
        }
        let escapes = demand::escape_bytes(self.body);
        demand.bytes = demand.bytes.saturating_sub(escapes);
        let quote = self.bounded(book, counted, settings, &demand).ok()?;
        Some(Quote {
            method: Method::Texts,
            ..quote
        })
    }

    fn form(&self, counted: Counted) -> Option<Form> {
        Form::of(self.surface).filter(|_| counted.is_bounded())
    }

    /// The same call with the largest cap that leaves it within what is left of this measure.
    pub(super) fn smaller(
        &self,
        book: &Book,
        counted: Counted,
        settings: &BoundOptions,
        (quote, measure, left): (&Quote, Measure, Amount),
    ) -> Option<Quote> {
        let demand = demand::read(self.form(counted)?, self.body, &settings.known);
        let with = |cap| {
            let mut settings = settings.clone();
            settings.options.max_output_tokens = Some(cap);
            let quote = self.bounded(book, counted, &settings, &demand).ok()?;
            Some(quote).filter(|quote| quote.charge.of(measure) <= left)
        };
        let most = quote.cap?.saturating_sub(1);
        let least = settings.min_output_cap;
        with(largest_fitting(least, most, |cap| with(cap).is_some())?)
    }

    /// What the call is likely to use, for budgets that no hard limit holds to more.
    ///
    /// # Errors
    /// 400 where its model has no price and money is counted.
    pub(super) fn guess(
        &self,
        book: &Book,
        counted: Counted,
        settings: &BoundOptions,
    ) -> Result<Quote, Refusal> {
        let Some(form) = self.form(counted) else {
            return Ok(Quote {
                sure: Sure::Guess,
                ..Quote::one_request()
            });
        };
        let demand = demand::read(form, self.body, &settings.known);
        let input = u64::try_from(self.body.len())
            .unwrap_or(u64::MAX)
            .div_ceil(4);
        let output = match demand.cap_form {
            CapForm::NoOutput => 0,
            CapForm::Chat | CapForm::MaxTokens | CapForm::Responses | CapForm::Gemini => {
                let cap = demand.cap.unwrap_or(settings.options.default_output_cap);
                cap.min(GUESSED_OUTPUT_MAX)
            }
        };
        let mut usage = Usage::default();
        usage.set(Class::InText, input);
        usage.set(Class::OutText, output);
        let of = Cost {
            provider: self.provider,
            asked: self.model,
            served: None,
            at: self.at,
        };
        let lines = Lines::from(usage);
        let price = match counted.costs {
            true => Some(
                of.marked_up(book, &lines, self.markup)
                    .map_err(|_| not_priced(self.model))?,
            ),
            false => None,
        };
        let priced = |read: fn(Marked) -> NanoUsd| {
            let price = price.map_or(Some(Amount::ZERO), |price| cost(read(price)));
            price.ok_or_else(too_large)
        };
        let tokens = input
            .checked_add(output)
            .and_then(amount)
            .ok_or_else(too_large)?;
        Ok(Quote {
            charge: Charge {
                cost: priced(|price| price.cost)?,
                tokens,
                output_tokens: amount(output).ok_or_else(too_large)?,
                billable_tokens: tokens,
                requests: ONE,
            },
            upstream_cost: priced(|price| price.upstream)?,
            markup: self.markup,
            sure: Sure::Guess,
            input_tokens: input,
            cap: None,
            choices: Some(demand.choices),
            works_in_rounds: false,
            pins_service: false,
            is_priced: counted.costs,
            is_billed_to_its_end: false,
            method: Method::Bytes,
        })
    }

    fn bounded(
        &self,
        book: &Book,
        counted: Counted,
        settings: &BoundOptions,
        demand: &Demand,
    ) -> Result<Quote, Refusal> {
        let costs = counted.costs;
        let found = match book.find(self.provider, self.model, self.at) {
            // What stands in for a model that nobody knows bounds nothing of it.
            Ok(found) if found.source != Source::Dearest => found,
            // Tokens are bounded by what the request says, whatever they cost.
            Ok(_) | Err(_) if !costs => book.free().ok_or(Refusal::Internal)?,
            Ok(_) | Err(_) => return Err(not_priced(self.model)),
        };
        let pins_service = settings.options.pin_service && has_services(self.provider.kind);
        let options = Options {
            pin_service: pins_service || !has_services(self.provider.kind),
            ..settings.options
        };
        let bound = bound(demand, found, &options).map_err(|refused| of(refused, self.model))?;
        let upstream_cost = if costs { bound.amount } else { NanoUsd::ZERO };
        // Rounded up once more, it is no less than what any answer within it comes to.
        let marked_up = self.markup.of_amount(upstream_cost);
        let marked_up = marked_up.and_then(cost).ok_or_else(too_large)?;
        Ok(Quote {
            charge: charge(&bound, marked_up).ok_or_else(too_large)?,
            upstream_cost: cost(upstream_cost).ok_or_else(too_large)?,
            markup: self.markup,
            sure: Sure::Bound,
            input_tokens: bound.input_tokens,
            cap: bound.cap.map(|cap| cap.tokens),
            choices: Some(demand.choices),
            works_in_rounds: works_in_rounds(demand),
            pins_service,
            is_priced: costs,
            is_billed_to_its_end: !found.model.facts.cancel_stops_billing,
            method: Method::Bytes,
        })
    }
}

/// Whether an upstream may search and fetch by itself, and ask its model anew with what it found.
fn works_in_rounds(demand: &Demand) -> bool {
    let searches = &demand.searches;
    let counted = [searches.web, searches.fetches, searches.files];
    searches.in_round
        || searches.grounded
        || counted.iter().any(|uses| *uses > 0)
        || demand.tool_uses.iter().any(|tool| tool.uses > 0)
}

/// Kinds whose account may have another service than the default one in mind (LED-42).
fn has_services(kind: &str) -> bool {
    matches!(kind, "openai" | "azure-openai")
}

fn charge(bound: &Bound, cost: Amount) -> Option<Charge> {
    let tokens = bound.input_tokens.checked_add(bound.output_tokens)?;
    let tokens = amount(tokens)?;
    Some(Charge {
        cost,
        tokens,
        output_tokens: amount(bound.output_tokens)?,
        billable_tokens: tokens,
        requests: ONE,
    })
}

pub(super) fn amount(count: u64) -> Option<Amount> {
    i64::try_from(count).ok().and_then(Amount::new)
}

pub(super) fn cost(cost: NanoUsd) -> Option<Amount> {
    Amount::new(cost.get())
}

fn too_large() -> Refusal {
    not_boundable("its counts are larger than can be reckoned with")
}

/// Nothing bounds what a call may cost.
pub(crate) fn not_boundable(why: &str) -> Refusal {
    Refusal::CostNotBoundable(format!("The cost of this request cannot be bounded: {why}.").into())
}

fn not_priced(what: &str) -> Refusal {
    let told = format!(
        "The model `{what}` has no price here, and a budget counts its cost. Its operator can give it one in \
         `prices.overrides`, or says by `self_hosted` of its provider that it costs nothing."
    );
    Refusal::ModelNotPriced(told.into())
}

fn of(refused: NotBounded, model: &str) -> Refusal {
    match refused {
        NotBounded::NotBoundable(why) => not_boundable(&why),
        NotBounded::NotPriced(what) => not_priced(&format!("{model}` with `{what}")),
        NotBounded::ThinkingTooSmall { .. } => not_boundable(&refused.to_string()),
    }
}
