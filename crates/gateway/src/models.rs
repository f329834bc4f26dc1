//! The models a caller may use, in its dialect: the gateway's own answer.

use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use tollkeep_http1::Known;
use tollkeep_llm::surface::model_id;
use tollkeep_llm::{Dialect, Surface, models};
use tollkeep_policy::call_policy::allow_model;

/// The body of a list, or of one model.
pub(crate) fn body(exchange: &Exchange<'_>, surface: Surface) -> Result<Vec<u8>, Refusal> {
    let head = &exchange.work.head;
    let version = head.value(&exchange.work.request, Known::AnthropicVersion);
    let form = models::form(&exchange.work.path, version);
    let policies = &exchange.policies;
    let bound = |name: &&str| match &exchange.work.facts.token {
        Some(token) => crate::identify::bindings_of(token)
            .check_model(name)
            .is_ok(),
        None => true,
    };
    let llm = &exchange.plan.llm;
    let token = exchange.work.facts.token.as_ref();
    let mut prefixed = llm.prefixed_names(token.map(|token| &*token.project));
    prefixed.sort_unstable();
    prefixed.dedup();
    let mut names = llm.resolver.names();
    if !prefixed.is_empty() {
        names.extend(prefixed.iter().map(String::as_str));
        names.sort_unstable();
    }
    let names: Vec<&str> = names
        .into_iter()
        .filter(bound)
        .filter(|name| policies.is_empty() || allow_model(policies, name))
        .collect();
    if surface == Surface::Model {
        let id = percent_decoded(model_id(&exchange.work.path).unwrap_or_default());
        let known = names.contains(&id.as_str());
        return match (known, form) {
            (false, _) => Err(Refusal::ModelNotFound(id)),
            (true, Dialect::Anthropic) => Ok(models::one_anthropic(&id)),
            (true, _) => Ok(models::one_openai(&id)),
        };
    }
    if form != Dialect::Anthropic {
        return Ok(models::list_openai(names.iter().copied()));
    }
    let target = head.target.of(&exchange.work.request);
    let query = memchr::memchr(b'?', target).and_then(|at| target.get(at + 1..));
    let page = models::Page::parse(query).map_err(|_| Refusal::BadRequest("query"))?;
    Ok(models::list_anthropic(&names, &page))
}

/// An encoded slash is the one coding a canonical path keeps that an id may hold.
fn percent_decoded(id: &str) -> String {
    id.replace("%2F", "/")
}
