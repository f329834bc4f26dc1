//! What the gateway answers by itself about models: lists of them, and how many tokens a call has.

use crate::answer::Body;
use crate::lifecycle::{Exchange, Stop};
use crate::read_call::Own;
use crate::refusal::Refusal;
use tollkeep_http1::{Known, write};
use tollkeep_llm::asks::Asks;
use tollkeep_llm::count::estimate_messages;
use tollkeep_llm::models::{Page, Signs};
use tollkeep_llm::surface::model_id;
use tollkeep_llm::{Dialect, Surface, models};
use tollkeep_policy::call_policy::allow_model;

/// Says how a count of tokens came about.
const COUNT_FIELD: &[u8] = b"x-tollkeep-token-count";

impl Exchange<'_> {
    /// Answers what needs no provider.
    ///
    /// # Errors
    /// 400 for a query that names no page, 404 for a model that is not there for this caller.
    pub(crate) async fn answer_own(&mut self, own: Own) -> Result<(), Stop> {
        let (body, form) = match own {
            Own::Models(surface) => (self.models(surface)?, self.dialect()),
            Own::Count(tokens) => {
                let form = self.dialect();
                let member = match form {
                    Dialect::Gemini => "totalTokens",
                    Dialect::Anthropic | Dialect::Chat | Dialect::Responses | Dialect::Plain => {
                        "input_tokens"
                    }
                };
                let body = format!("{{\"{member}\":{tokens}}}").into_bytes();
                (body, form)
            }
        };
        self.begin_answer(200);
        if form == Dialect::Anthropic {
            self.write_request_id_field();
        }
        if let Own::Count(_) = own {
            write::field(&mut self.work.out, COUNT_FIELD, b"estimate");
        }
        self.end_whole(Body {
            kind: "application/json",
            bytes: &body,
        })
        .await
    }

    /// The gateway's own count of a call's tokens.
    ///
    /// # Errors
    /// 400 for a body without what is to be counted.
    pub(crate) fn counted(&self, surface: Surface) -> Result<Own, Refusal> {
        let body = self.body();
        let counted = if surface.dialect() == Dialect::Gemini {
            let asks = Asks::read(surface, body).map_err(|_| Refusal::unreadable_body())?;
            Ok(asks.input_tokens())
        } else {
            estimate_messages(body)
        };
        let tokens = counted.map_err(|_| Refusal::BadRequest("messages"))?;
        Ok(Own::Count(tokens))
    }

    /// Says of a provider's own count that it is that.
    pub(crate) fn write_count_field(&mut self, surface: Surface) {
        if surface.counts_tokens() {
            write::field(&mut self.work.out, COUNT_FIELD, b"exact");
        }
    }

    /// The body of a list of the models that the caller may use, or of one.
    fn models(&self, surface: Surface) -> Result<Vec<u8>, Refusal> {
        let form = self.list_form();
        let policies = &self.policies;
        let token = self.work.facts.token.as_ref();
        let bound = |name: &&str| {
            token.is_none_or(|token| {
                let bindings = crate::identify::bindings_of(token);
                bindings.check_model(name).is_ok()
            })
        };
        let llm = &self.plan.llm;
        let project = token.map(|token| &*token.project);
        let mut prefixed = llm.prefixed_names(project);
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
        let book = self.worker.shared.prices.load();
        let tell = |id| llm.tell((id, project), (&book, self.work.facts.at));
        if surface == Surface::Model {
            let id = percent_decoded(model_id(&self.work.path).unwrap_or_default());
            let known = names.contains(&id.as_str());
            return match (known, form) {
                (false, _) => Err(Refusal::ModelNotFound(id)),
                (true, Dialect::Anthropic) => Ok(models::one_anthropic(tell(&id))),
                (true, Dialect::Gemini) => Ok(models::one_gemini(tell(&id))),
                (true, Dialect::Chat | Dialect::Responses | Dialect::Plain) => {
                    Ok(models::one_openai(tell(&id)))
                }
            };
        }
        let target = self.work.head.target.of(&self.work.request);
        let query = memchr::memchr(b'?', target).and_then(|at| target.get(at + 1..));
        let no_page = |_| Refusal::BadRequest("query");
        match form {
            Dialect::Anthropic => {
                let page = Page::parse(query).map_err(no_page)?;
                Ok(models::list_anthropic(&names, &page, tell))
            }
            Dialect::Gemini => {
                let page = Page::parse_gemini(query).map_err(no_page)?;
                Ok(models::list_gemini(&names, &page, tell))
            }
            Dialect::Chat | Dialect::Responses | Dialect::Plain => {
                Ok(models::list_openai(names.into_iter().map(tell)))
            }
        }
    }

    /// The form of a list of models: that of the path or of whoever asks.
    pub(crate) fn list_form(&self) -> Dialect {
        let has = |field| self.work.head.value(self.request_bytes(), field).is_some();
        let signs = Signs {
            anthropic: has(Known::AnthropicVersion),
            google: has(Known::XGoogApiKey),
        };
        models::form(&self.work.path, signs)
    }
}

/// An encoded slash is the one coding a canonical path keeps that an id may hold.
fn percent_decoded(id: &str) -> String {
    id.replace("%2F", "/")
}
