//! What a call was bounded by stands in what goes to its upstream.

use super::quote::{Quote, not_boundable};
use crate::lifecycle::Exchange;
use crate::read_call::LlmCall;
use crate::refusal::Refusal;
use tollkeep_http1::Framing;
use tollkeep_ledger::hold::Sure;
use tollkeep_llm::Surface;
use tollkeep_llm::asks::{self, BoundFault, Bounds};

/// Where the service is named, and as what.
const SERVICE: &str = "default";

impl Exchange<'_> {
    /// Writes the cap into the body, and the service where it matters: what was reckoned with is
    /// what the upstream is asked for.
    pub(super) fn write_bounds(&mut self, llm: &LlmCall, quote: &Quote) -> Result<(), Refusal> {
        // A stream that does not tell its usage is charged by an estimate, which is never in favour of
        // its caller.
        let counts_usage =
            quote.cap.is_some() || (quote.sure == Sure::Guess && quote.input_tokens > 0);
        let asks_for_usage = llm.stream && llm.surface == Surface::Chat && counts_usage;
        let bounds = Bounds {
            output_tokens: quote.cap,
            choices: None,
            service: quote.pins_service.then_some(SERVICE),
            usage: asks_for_usage,
        };
        let name = self.output_bound_name(llm.surface, llm.provider);
        let edited = asks::bounded(llm.surface, self.body(), &bounds, name);
        let edited = edited.map_err(|fault| match fault {
            BoundFault::Unreadable => Refusal::Internal,
            BoundFault::Thinking => {
                not_boundable("thinking.budget_tokens does not fit below the cap of output")
            }
        })?;
        if let Some(facts) = &mut self.work.facts.llm
            && counts_usage
        {
            facts.output_cap = quote.cap;
            facts.hides_usage = asks_for_usage && !llm.wants_usage;
        }
        let Some(edited) = edited else {
            return Ok(());
        };
        self.work.body = edited;
        self.work.head.framing = Framing::Chunked;
        if let Some(cap) = quote.cap {
            let cap = cap.to_string();
            tollkeep_http1::write::field(
                &mut self.work.limits,
                b"x-tollkeep-max-output",
                cap.as_bytes(),
            );
        }
        Ok(())
    }
}
