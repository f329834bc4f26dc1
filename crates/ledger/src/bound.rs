//! The most that one attempt of a call can cost, and the cap that makes it so.
//!
//! Sound means: no answer that an upstream can give to the request as it is sent costs more. A
//! token is at least a byte of the body, so that bytes bound tokens; what templates, roles and
//! tools add has margins; what is not understood is refused, never guessed.

mod made;

use crate::price::{Choice, Facts, Found, Rates};
use tollkeep_types::demand::{CacheWrites, CapForm, Demand};
use tollkeep_types::money::{ExactSum, NanoUsd, PicoUsd, Ratio};
use tollkeep_types::usage::{Class, Service, Unit};

/// Tokens of a template around a whole prompt.
const TEMPLATE: u64 = 64;
/// Tokens around each message.
const PER_MESSAGE: u64 = 16;
/// Tokens around each tool.
const PER_TOOL: u64 = 64;
/// Tokens that tools add as such.
const WITH_TOOLS: u64 = 1024;
/// Thinking budgets below this are refused by their vendor.
const THINKING_MIN: u64 = 1024;

/// What is set by route, token, project and settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// The least of the limits of output that apply.
    pub max_output_tokens: Option<u64>,
    /// The cap where neither the caller nor the model names one.
    pub default_output_cap: u64,
    /// The service is written into the request where it names none, so that no other is billed.
    pub pin_service: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_output_tokens: None,
            default_output_cap: 32_768,
            pin_service: true,
        }
    }
}

/// The most a call can use and cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens, over all choices and rounds.
    pub output_tokens: u64,
    /// The cost.
    pub amount: NanoUsd,
    /// The cap to write into the request, if it has output.
    pub cap: Option<Cap>,
    /// The thinking budget to write instead of the one it has.
    pub thinking_budget: Option<u64>,
}

/// A cap and where it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cap {
    /// The field, with points between its parts.
    pub field: &'static str,
    /// Another field of the same meaning, which is removed.
    pub removed: Option<&'static str>,
    /// Output tokens of one answer.
    pub tokens: u64,
}

/// Why there is no bound.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotBounded {
    /// Nothing bounds the cost.
    #[error("the cost of this request cannot be bounded: {0}")]
    NotBoundable(Box<str>),
    /// Something has no price.
    #[error("the model has no price for {0}")]
    NotPriced(Box<str>),
    /// The thinking budget does not fit below the cap.
    #[error(
        "thinking.budget_tokens does not fit: with at most {cap} output tokens less than 1024 are left for it"
    )]
    ThinkingTooSmall {
        /// The cap.
        cap: u64,
    },
}

impl NotBounded {
    /// The code that callers are told.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotBoundable(_) => "cost_not_boundable",
            Self::NotPriced(_) => "model_not_priced",
            Self::ThinkingTooSmall { .. } => "invalid_request_error",
        }
    }

    fn not(what: &str) -> Self {
        Self::NotBoundable(what.into())
    }
}

/// The bound of one attempt of a call to a model with these prices.
///
/// # Errors
/// When something of the request is not understood, not known of the model, or has no price.
pub fn bound(demand: &Demand, found: Found<'_>, options: &Options) -> Result<Bound, NotBounded> {
    if let Some(obstacle) = &demand.obstacle {
        return Err(NotBounded::NotBoundable(obstacle.clone()));
    }
    let facts = &found.model.facts;
    let rounds = rounds(demand)?;
    let input_tokens = input_tokens(demand, facts, rounds)?;
    let (cap, output_tokens) = output_tokens(demand, facts, options, rounds)?;
    let thinking_budget = thinking(demand, cap)?;
    let pricing = Pricing {
        demand,
        found,
        input_tokens,
        services: services(demand, options),
    };
    let (output_tokens, amount) = match (&demand.images_wanted, demand.chars_in) {
        (Some(images), _) => made::images(&pricing, images)?,
        (None, Some(chars)) => (0, made::speech(&pricing, chars)?),
        (None, None) => (output_tokens, pricing.amount(output_tokens)?),
    };
    Ok(Bound {
        input_tokens,
        output_tokens,
        amount,
        cap: cap.and_then(|tokens| cap_of(demand.cap_form, facts, tokens)),
        thinking_budget,
    })
}

fn too_large() -> NotBounded {
    NotBounded::not("its counts are larger than can be reckoned with")
}

/// How often the model may be asked anew while a server uses its tools.
fn rounds(demand: &Demand) -> Result<u64, NotBounded> {
    let searches = &demand.searches;
    let uses = searches.web.checked_add(searches.fetches);
    let uses = uses.and_then(|uses| uses.checked_add(searches.files));
    let others = demand.tool_uses.iter();
    let uses = others.fold(uses, |sum, tool| sum?.checked_add(tool.uses));
    uses.and_then(|uses| uses.checked_add(1))
        .ok_or_else(too_large)
}

fn input_tokens(demand: &Demand, facts: &Facts, rounds: u64) -> Result<u64, NotBounded> {
    let searches = rounds > 1 || demand.searches.in_round || demand.searches.grounded;
    if searches || demand.whole_window || demand.audio_in {
        let window = facts.max_input.ok_or_else(|| {
            NotBounded::not("the model's price entry has no `max_input`, which audio, documents, stored context and searches need")
        })?;
        return window.checked_mul(rounds).ok_or_else(too_large);
    }
    let text = demand.bytes.saturating_sub(demand.media_bytes);
    let of_images = match (demand.images, facts.image_tokens_max) {
        (0, _) => Some(0),
        (images, Some(each)) => images.checked_mul(each),
        (_, None) => {
            let problem = "the model's price entry has no `image_tokens_max`, which images need";
            return Err(NotBounded::not(problem));
        }
    };
    let sum = |parts: [Option<u64>; 6]| {
        parts
            .into_iter()
            .try_fold(0_u64, |sum, part| sum.checked_add(part?))
    };
    let all = sum([
        facts.tokens_per_byte.of_rounded_up(text),
        Some(TEMPLATE),
        demand.messages.checked_mul(PER_MESSAGE),
        demand
            .tools
            .checked_mul(PER_TOOL)
            .and_then(|each| each.checked_add(if demand.tools > 0 { WITH_TOOLS } else { 0 })),
        Some(demand.tool_tokens),
        of_images,
    ]);
    let all = all.ok_or_else(too_large)?;
    Ok(facts.max_input.map_or(all, |max| max.min(all)))
}

/// The cap of one answer, and the most tokens of all.
fn output_tokens(
    demand: &Demand,
    facts: &Facts,
    options: &Options,
    rounds: u64,
) -> Result<(Option<u64>, u64), NotBounded> {
    if demand.cap_form == CapForm::NoOutput {
        return Ok((None, 0));
    }
    let asked = demand.cap.unwrap_or(options.default_output_cap);
    let limits = [facts.max_output, options.max_output_tokens];
    let cap = limits.into_iter().flatten().fold(asked, u64::min);
    let beyond = match (facts.reasoning_in_cap, demand.thinking_budget) {
        (true, _) => 0,
        (false, Some(budget)) => budget,
        (false, None) => facts.max_output.ok_or_else(|| {
            NotBounded::not(
                "the model thinks beyond its cap, and its price entry has no `max_output`",
            )
        })?,
    };
    let one = cap.checked_add(beyond);
    let all = one.and_then(|one| one.checked_mul(demand.choices));
    let all = all
        .and_then(|all| all.checked_mul(rounds))
        .ok_or_else(too_large)?;
    Ok((Some(cap), all))
}

/// A budget that the cap does not leave room for is lowered below it.
fn thinking(demand: &Demand, cap: Option<u64>) -> Result<Option<u64>, NotBounded> {
    let (Some(budget), Some(cap)) = (demand.thinking_budget, cap) else {
        return Ok(None);
    };
    if demand.cap_form != CapForm::MaxTokens || budget < cap {
        return Ok(None);
    }
    let lowered = cap.saturating_sub(1);
    if lowered < THINKING_MIN {
        return Err(NotBounded::ThinkingTooSmall { cap });
    }
    Ok(Some(lowered))
}

fn cap_of(form: CapForm, facts: &Facts, tokens: u64) -> Option<Cap> {
    use crate::price::CapField::{MaxCompletionTokens, MaxTokens};
    let (field, removed) = match form {
        CapForm::Chat => match facts.cap_field.unwrap_or(MaxTokens) {
            MaxCompletionTokens => (MaxCompletionTokens.name(), Some(MaxTokens.name())),
            MaxTokens => (MaxTokens.name(), Some(MaxCompletionTokens.name())),
        },
        CapForm::MaxTokens => (MaxTokens.name(), None),
        CapForm::Responses => ("max_output_tokens", None),
        CapForm::Gemini => ("generationConfig.maxOutputTokens", None),
        CapForm::NoOutput => return None,
    };
    Some(Cap {
        field,
        removed,
        tokens,
    })
}

/// The services that may be billed. A discount that was asked for may not be given.
fn services(demand: &Demand, options: &Options) -> Vec<Service> {
    let mut services = vec![Service::Default];
    match demand.service {
        Some(Service::Default) => {}
        Some(asked) => services.push(asked),
        None if !options.pin_service => services.push(Service::Priority),
        None => {}
    }
    services
}

struct Pricing<'a> {
    demand: &'a Demand,
    found: Found<'a>,
    input_tokens: u64,
    services: Vec<Service>,
}

impl Pricing<'_> {
    fn amount(&self, output_tokens: u64) -> Result<NanoUsd, NotBounded> {
        let demand = self.demand;
        let mut factors = Vec::new();
        for (kind, value) in demand.modifiers.iter() {
            let factor = self
                .found
                .rates
                .modifier(kind, value)
                .ok_or_else(|| NotBounded::NotPriced(format!("{kind}:{value}").into()))?;
            factors.push(factor);
        }
        let mut sum = ExactSum::default();
        let mut tokens = |count: u64, classes: &[Class]| {
            let (rate, of_service) = self.dearest(classes)?;
            let mut all = factors.clone();
            all.push(of_service);
            sum = sum.plus(count, rate, &all).ok_or_else(too_large)?;
            Ok::<_, NotBounded>(())
        };
        tokens(self.input_tokens, &self.input_classes())?;
        if output_tokens > 0 {
            tokens(output_tokens, &self.output_classes())?;
        }
        for (unit, count) in self.units()? {
            let rate = self.unit(unit)?;
            sum = sum.plus(count, rate, &[]).ok_or_else(too_large)?;
        }
        self.with_fee(sum)
    }

    /// The sum with what each call costs, rounded up.
    fn with_fee(&self, mut sum: ExactSum) -> Result<NanoUsd, NotBounded> {
        if let Some(fee) = self.found.rates.base.unit(Unit::Request) {
            sum = sum.plus(1, fee, &[]).ok_or_else(too_large)?;
        }
        sum.rounded_up().ok_or_else(too_large)
    }

    fn input_classes(&self) -> Vec<Class> {
        let mut classes = vec![Class::InText, Class::CacheReadText];
        let facts = &self.found.model.facts;
        if facts.implicit_cache_write || self.demand.cache_writes == CacheWrites::Asked {
            classes.extend([Class::CacheWrite, Class::CacheWrite5m, Class::CacheWrite1h]);
        }
        // What the request does not show may be of any kind that has a price.
        let hidden = self.demand.whole_window;
        if self.demand.images > 0 || hidden {
            classes.extend([Class::InImage, Class::CacheReadImage]);
        }
        if hidden {
            classes.extend([Class::InVideo, Class::CacheReadVideo]);
        }
        let heard = hidden && self.found.rates.base.token(Class::InAudio).is_some();
        if self.demand.audio_in || heard {
            classes.extend([Class::InAudio, Class::CacheReadAudio]);
        }
        classes
    }

    fn output_classes(&self) -> Vec<Class> {
        let mut classes = vec![Class::OutText, Class::OutReasoning];
        if self.demand.audio_out {
            classes.push(Class::OutAudio);
        }
        if self.demand.image_out {
            classes.push(Class::OutImage);
        }
        classes
    }

    /// The dearest rate of these classes over every tier that can be reached and every service.
    fn dearest(&self, classes: &[Class]) -> Result<(PicoUsd, Ratio), NotBounded> {
        let rates: &Rates = self.found.rates;
        let mut dearest: Option<(PicoUsd, Ratio)> = None;
        for service in &self.services {
            for input_tokens in rates.steps(*service, self.input_tokens) {
                let choice = Choice {
                    input_tokens,
                    service: *service,
                };
                for class in classes {
                    let Some(rate) = rates.token(*class, choice) else {
                        return Err(NotBounded::NotPriced(class.name().into()));
                    };
                    if dearest.is_none_or(|than| is_dearer(rate, than)) {
                        dearest = Some(rate);
                    }
                }
            }
        }
        dearest.ok_or_else(|| NotBounded::NotPriced("tokens".into()))
    }

    /// Units that are billed besides tokens, and how many at most.
    fn units(&self) -> Result<Vec<(Unit, u64)>, NotBounded> {
        let searches = &self.demand.searches;
        let mut units = Vec::new();
        for (unit, count) in [
            (Unit::WebSearch, searches.web),
            (Unit::WebFetch, searches.fetches),
            (Unit::FileSearch, searches.files),
            (Unit::WebSearch, u64::from(searches.in_round)),
        ] {
            if count > 0 {
                units.push((unit, count));
            }
        }
        let others = self.demand.tool_uses.iter();
        units.extend(others.filter_map(|tool| Some((tool.unit?, tool.uses))));
        if searches.grounded {
            // How many queries a prompt takes, nobody says before.
            if self.unit(Unit::WebSearch)? != PicoUsd::default() {
                return Err(NotBounded::not(
                    "googleSearch is billed by the query on this model, and nothing bounds queries",
                ));
            }
            units.push((Unit::GroundedPrompt, self.demand.choices));
        }
        Ok(units)
    }

    fn unit(&self, unit: Unit) -> Result<PicoUsd, NotBounded> {
        let rate = self.found.rates.base.unit(unit);
        rate.ok_or_else(|| NotBounded::NotPriced(unit.name().into()))
    }
}

/// Whether a rate with its factor is above another. Rates and parts of factors are bounded, so
/// that the products fit.
fn is_dearer((rate, factor): (PicoUsd, Ratio), than: (PicoUsd, Ratio)) -> bool {
    let product = |rate: PicoUsd, over: u32, under: u32| {
        u128::from(rate.get())
            .saturating_mul(u128::from(over))
            .saturating_mul(u128::from(under))
    };
    let ((over, under), (than_over, than_under)) = (factor.parts(), than.1.parts());
    product(rate, over, than_under) > product(than.0, than_over, under)
}
