//! The most that a call can use and cost, and the cap of output that makes it so.

use crate::refusal::Refusal;
use tollkeep_config::settings::Budgets;
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::bound::{Bound, NotBounded, Options, bound};
use tollkeep_ledger::price::{Book, Provider};
use tollkeep_llm::Surface;
use tollkeep_llm::demand::{self, Form, Known, KnownTool};
use tollkeep_types::WallMillis;
use tollkeep_types::money::NanoUsd;

/// What the settings say about bounds.
#[derive(Clone, Debug, Default)]
pub struct BoundOptions {
    /// Caps, and whether the service is written into calls.
    pub options: Options,
    /// What the operator knows of members and tools.
    pub known: Known,
}

impl BoundOptions {
    /// As the settings say.
    pub fn of(budgets: &Budgets) -> Self {
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
        }
    }
}

/// A call to be quoted.
pub(super) struct Quoting<'a> {
    pub(super) provider: Provider<'a>,
    pub(super) model: &'a str,
    pub(super) surface: Surface,
    pub(super) body: &'a [u8],
    pub(super) at: WallMillis,
}

/// What is taken aside for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote {
    pub(super) charge: Charge,
    pub(super) input_tokens: u64,
    /// The cap of output to write into the body.
    pub(super) cap: Option<u64>,
    pub(super) pins_service: bool,
    /// Whether its cost was reckoned, and not its tokens alone.
    pub(super) is_priced: bool,
    /// Whether the provider goes on billing a call that is cancelled.
    pub(super) is_billed_to_its_end: bool,
    /// By what its tokens are bounded.
    pub(super) method: Method,
}

/// By what the tokens of a call are bounded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
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
            input_tokens: 0,
            cap: None,
            pins_service: false,
            is_priced: false,
            is_billed_to_its_end: false,
            method: Method::Bytes,
        }
    }
}

pub(super) const ONE: Amount = match Amount::new(1) {
    Some(one) => one,
    None => Amount::ZERO,
};

impl Quoting<'_> {
    /// The quote of the call, for budgets of these measures.
    ///
    /// # Errors
    /// 400 where nothing bounds the call, or its model has no price and money is counted.
    pub(super) fn quote(
        &self,
        book: &Book,
        measures: impl Iterator<Item = Measure>,
        (settings, method): (&BoundOptions, Method),
    ) -> Result<Quote, Refusal> {
        let (mut costs, mut tokens) = (false, false);
        for measure in measures {
            match measure {
                Measure::Cost => costs = true,
                Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => tokens = true,
                Measure::Requests => {}
            }
        }
        let Some(form) = Form::of(self.surface).filter(|_| costs || tokens) else {
            return Ok(Quote::one_request());
        };
        let found = match book.find(self.provider, self.model, self.at) {
            Ok(found) => found,
            // Tokens are bounded by what the request says, whatever they cost.
            Err(_) if !costs => book.free().ok_or(Refusal::Internal)?,
            Err(_) => return Err(not_priced(self.model)),
        };
        let pins_service = settings.options.pin_service && has_services(self.provider.kind);
        let options = Options {
            pin_service: pins_service || !has_services(self.provider.kind),
            ..settings.options
        };
        let mut demand = demand::read(form, self.body, &settings.known);
        // What is inline is taken off as it is written, with escapes of its own.
        if method == Method::Texts && demand.media_bytes == 0 {
            let escapes = demand::escape_bytes(self.body);
            demand.bytes = demand.bytes.saturating_sub(escapes);
        }
        let bound = bound(&demand, found, &options).map_err(|refused| of(refused, self.model))?;
        Ok(Quote {
            charge: charge(&bound, costs).ok_or_else(too_large)?,
            input_tokens: bound.input_tokens,
            cap: bound.cap.map(|cap| cap.tokens),
            pins_service,
            is_priced: costs,
            is_billed_to_its_end: !found.model.facts.cancel_stops_billing,
            method,
        })
    }
}

/// Kinds whose account may have another service than the default one in mind (LED-42).
fn has_services(kind: &str) -> bool {
    matches!(kind, "openai" | "azure-openai")
}

fn charge(bound: &Bound, costs: bool) -> Option<Charge> {
    let tokens = bound.input_tokens.checked_add(bound.output_tokens)?;
    let tokens = amount(tokens)?;
    Some(Charge {
        cost: if costs {
            cost(bound.amount)?
        } else {
            Amount::ZERO
        },
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
pub(super) fn not_boundable(why: &str) -> Refusal {
    Refusal::CostNotBoundable(format!("The cost of this request cannot be bounded: {why}.").into())
}

fn not_priced(what: &str) -> Refusal {
    let told = format!("The model `{what}` has no price here, and a budget counts its cost.");
    Refusal::ModelNotPriced(told.into())
}

fn of(refused: NotBounded, model: &str) -> Refusal {
    match refused {
        NotBounded::NotBoundable(why) => not_boundable(&why),
        NotBounded::NotPriced(what) => not_priced(&format!("{model}` with `{what}")),
        NotBounded::ThinkingTooSmall { .. } => not_boundable(&refused.to_string()),
    }
}
