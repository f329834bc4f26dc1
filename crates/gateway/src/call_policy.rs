//! Policies on calls: those that stand on the settings, the route, the tenant, the project and the
//! token are gathered when the caller is known, and every one of them must allow the call.
//!
//! Without any, a request pays for a look at each place.

mod gemini;

use crate::admit::Entry;
use crate::gemini::Named;
use crate::identify::Caller;
use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use crate::route::{Destination, Route};
use std::sync::Arc;
use tollkeep_http1::{Framing, Known, Method};
use tollkeep_llm::asks::{self, Asks, BoundFault};
use tollkeep_llm::body::{BodyFault, BodyRefusal, CallView};
use tollkeep_llm::gemini::judged_path;
use tollkeep_llm::params::{self, Value};
use tollkeep_llm::{Dialect, Surface};
use tollkeep_policy::call_policy::{
    CallAsks, CallBounds, CallPolicy, CallRefusal, Count, HeadFacts, ParamPlace, ParamRule,
    ParamValue, check_asks, check_head, check_query,
};
use tollkeep_policy::form::{self, BodyKind, FormField};

/// How deep the JSON of a plain route may nest while a parameter of it is limited.
const DEPTH_MAX: usize = 128;
/// Spellings of the bound of output; a rule on the first is a rule on all (LLM-34).
const OUTPUT_SPELLINGS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

impl Exchange<'_> {
    /// Gathers the policies of this call, and asks them about its head.
    ///
    /// # Errors
    /// 400, 403, 404, 405 by the first rule broken.
    pub(crate) fn check_policies(
        &mut self,
        entry: &Entry<'_>,
        route: &Route<'_>,
        caller: &Caller,
    ) -> Result<(), Refusal> {
        let policies = &mut self.policies;
        policies.extend(self.plan.policy.clone());
        if let Destination::Plain(plain) = route.destination() {
            policies.extend(plain.policy.clone());
        }
        if let Some(token) = caller.token() {
            token.policies(policies);
        }
        if self.policies.is_empty() {
            return Ok(());
        }
        let bytes = self.conn.unread();
        let head = &self.work.head;
        let judged = match route.surface().map(Surface::dialect) {
            Some(Dialect::Gemini) => judged_path(&self.work.path),
            Some(_) | None => None,
        };
        let facts = HeadFacts {
            method: head.method.as_str(),
            path: judged.as_deref().unwrap_or(&self.work.path),
            fields: head
                .fields
                .iter()
                .map(|field| (field.name.of(bytes), field.value.of(bytes))),
        };
        check_head(&self.policies, &facts).map_err(|refused| Refusal::of_policy(refused, route))?;
        let query = entry.query().and_then(|at| head.target.of(bytes).get(at));
        check_query(&self.policies, query.unwrap_or_default())
            .map_err(|refused| Refusal::of_policy(refused, route))
    }

    /// What a body with limited parameters must be; nothing where none is limited, or none comes.
    pub(crate) fn limited_kind(&self, bytes: &[u8]) -> Result<Option<BodyKind>, Refusal> {
        if !self.policies.iter().any(|policy| policy.reads_params()) {
            return Ok(None);
        }
        if matches!(self.work.head.framing, Framing::None | Framing::Length(0)) {
            return Ok(None);
        }
        let content_type = self.work.head.value(bytes, Known::ContentType);
        let kind = content_type.and_then(BodyKind::of);
        kind.map(Some).ok_or(Refusal::BadContentType)
    }

    /// The parameters of a body that goes to a plain upstream.
    ///
    /// # Errors
    /// 400 for a body that can be read in more than one way, and for what is not allowed in it.
    pub(crate) fn check_plain_params(&self) -> Result<(), Refusal> {
        let kind = self.limited_kind(&self.work.request)?;
        let body = self.body();
        let rules = Rules::of(&self.policies, None);
        let Some(kind) = kind.filter(|_| !body.is_empty()) else {
            let brings_body = matches!(
                self.work.head.method,
                Method::Post | Method::Put | Method::Patch
            );
            return match brings_body {
                true => rules.check_nothing(),
                false => Ok(()),
            };
        };
        let malformed = |fault: form::FormFault| Refusal::InvalidForm(fault.to_string());
        match kind {
            BodyKind::Json => {
                CallView::read(body, DEPTH_MAX).map_err(|refused| Refusal::of_body(&refused))?;
                rules.check_json(body)
            }
            BodyKind::Urlencoded => rules.check_fields(&form::urlencoded(body).map_err(malformed)?),
            BodyKind::Multipart(boundary) => {
                rules.check_fields(&form::multipart(body, &boundary).map_err(malformed)?)
            }
        }
    }

    /// What a call asks of a model. The body was read strictly.
    ///
    /// # Errors
    /// 400 for what is not allowed.
    pub(crate) fn check_llm_asks(
        &self,
        surface: Surface,
        named: &Named<'_>,
    ) -> Result<CallBounds, Refusal> {
        let body = self.body();
        if self
            .policies
            .iter()
            .any(|policy| !policy.params().is_empty())
        {
            let rules = Rules::of(&self.policies, Some(surface));
            match surface.dialect() {
                Dialect::Gemini => rules.check_gemini(body, named)?,
                Dialect::Chat | Dialect::Responses | Dialect::Anthropic | Dialect::Plain => {
                    rules.check_json(body)?;
                }
            }
        }
        if !self.policies.iter().any(|policy| policy.reads_asks()) {
            return Ok(CallBounds::default());
        }
        let asks = Asks::read(surface, body).map_err(|_| Refusal::unreadable_body())?;
        check_asks(&self.policies, &facts(&asks)).map_err(Refusal::Policy)
    }

    /// Brings a body down to its bounds.
    ///
    /// # Errors
    /// 400 for a body that nests too deep, or wants to think with more than is left for that.
    pub(crate) fn bound_body(
        &mut self,
        surface: Surface,
        bounds: CallBounds,
        say_output_as: &str,
    ) -> Result<(), Refusal> {
        let bounds = asks::Bounds {
            output_tokens: bounds.output_tokens,
            choices: bounds.choices,
            ..asks::Bounds::default()
        };
        let edited = asks::bounded(surface, self.body(), &bounds, say_output_as);
        let edited = edited.map_err(|fault| match fault {
            BoundFault::Unreadable => Refusal::unreadable_body(),
            BoundFault::Thinking => Refusal::Policy(CallRefusal::Limit("max_output_tokens")),
        })?;
        if let Some(edited) = edited {
            self.work.body = edited;
            self.work.head.framing = Framing::Chunked;
        }
        Ok(())
    }
}

fn facts(asks: &Asks) -> CallAsks {
    let count = |count: Option<asks::Count>| {
        count.map(|count| match count {
            asks::Count::Number(number) => Count::Number(number),
            asks::Count::Other => Count::Other,
        })
    };
    CallAsks {
        output_tokens: count(asks.output_tokens),
        choices: count(asks.choices),
        input_tokens: asks.input_tokens(),
        tools: asks.tools,
        images: asks.images > 0,
        files: asks.files,
        stream: asks.stream,
        web_search: asks.web_search,
        remote_urls: asks.remote_urls,
    }
}

impl Refusal {
    /// The refusal of a body that can't be looked at, though it was read strictly before.
    pub(crate) fn unreadable_body() -> Self {
        Self::InvalidJson(format!("The body nests deeper than {DEPTH_MAX}."))
    }

    /// The refusal of a body that was to be strict JSON.
    pub(crate) fn of_body(refused: &BodyRefusal) -> Self {
        match &refused.fault {
            BodyFault::DuplicateKey(_) => Self::DuplicateKey(refused.message()),
            BodyFault::Syntax(_) | BodyFault::TooDeep(_) => Self::InvalidJson(refused.message()),
        }
    }

    /// As the policy says it; methods are told as far as the route takes them.
    fn of_policy(refused: CallRefusal, route: &Route<'_>) -> Self {
        let CallRefusal::Method { allowed } = refused else {
            return Self::Policy(refused);
        };
        let takes = |method: &&str| match route.destination() {
            Destination::Plain(plain) => plain.takes(method),
            Destination::Surface(surface) => surface.allow().split(", ").any(|own| own == *method),
        };
        let allowed = allowed.into_iter().filter(takes).collect();
        Self::Policy(CallRefusal::Method { allowed })
    }
}

/// The rules on parameters of a body, each with the places where its parameter may stand.
struct Rules<'p> {
    rules: Vec<(&'p ParamRule, Vec<Vec<String>>)>,
}

impl<'p> Rules<'p> {
    fn of(policies: &'p [Arc<CallPolicy>], surface: Option<Surface>) -> Self {
        let rules = policies.iter().flat_map(|policy| policy.params());
        let rules = rules.filter_map(|rule| {
            let ParamPlace::Body(segments) = rule.place() else {
                return None;
            };
            let is_output = matches!(segments.as_slice(), [name] if name == "max_tokens");
            let places = match surface {
                Some(surface) if surface.dialect() == Dialect::Gemini => gemini::places(segments),
                Some(_) if is_output => OUTPUT_SPELLINGS.map(|name| vec![name.to_owned()]).into(),
                Some(_) | None => vec![segments.clone()],
            };
            Some((rule, places))
        });
        Self {
            rules: rules.collect(),
        }
    }

    fn check_json(&self, body: &[u8]) -> Result<(), Refusal> {
        self.check_body(body, Found::new(&self.rules))
    }

    /// The same of a call that says in its path which model it wants, and whether as a stream.
    fn check_gemini(&self, body: &[u8], named: &Named<'_>) -> Result<(), Refusal> {
        let mut found = Found::new(&self.rules);
        for (number, (rule, _)) in self.rules.iter().enumerate() {
            let ParamPlace::Body(segments) = rule.place() else {
                continue;
            };
            let value = match segments.first().map(String::as_str) {
                Some("model") => ParamValue::Text(&named.model),
                Some("stream") if named.stream => ParamValue::Word("true"),
                Some("stream") => ParamValue::Word("false"),
                Some(_) | None => continue,
            };
            if segments.len() == 1 {
                found.note(number, Some(value));
            }
        }
        self.check_body(body, found)
    }

    fn check_body(&self, body: &[u8], mut found: Found<'_, '_>) -> Result<(), Refusal> {
        let (mut places, mut owners) = (Vec::new(), Vec::new());
        for (number, (_, own)) in self.rules.iter().enumerate() {
            for place in own {
                places.push(place.as_slice());
                owners.push(number);
            }
        }
        let read = params::at(body, &places, &mut |place, value| {
            let Some(number) = owners.get(place) else {
                return;
            };
            match value {
                Value::Text(text) => found.note(*number, Some(ParamValue::Text(&text))),
                Value::Number(text) => found.note(*number, Some(ParamValue::Number(text))),
                Value::Word(text) => found.note(*number, Some(ParamValue::Word(text))),
                Value::Object => found.note(*number, Some(ParamValue::Opaque)),
                Value::Nothing => found.note(*number, None),
            }
        });
        read.map_err(|_| Refusal::unreadable_body())?;
        found.verdict()
    }

    fn check_fields(&self, fields: &[FormField]) -> Result<(), Refusal> {
        let mut found = Found::new(&self.rules);
        for (number, (rule, _)) in self.rules.iter().enumerate() {
            // A pointer leads into no form; its one segment may name a field.
            let ParamPlace::Body(segments) = rule.place() else {
                continue;
            };
            let [name] = segments.as_slice() else {
                continue;
            };
            for field in fields.iter().filter(|field| field.name == *name) {
                let value = field.value.as_deref();
                found.note(
                    number,
                    Some(value.map_or(ParamValue::Opaque, ParamValue::Text)),
                );
            }
        }
        found.verdict()
    }

    /// Of a request without a body.
    fn check_nothing(&self) -> Result<(), Refusal> {
        Found::new(&self.rules).verdict()
    }
}

/// What was found of the parameters.
struct Found<'r, 'p> {
    rules: &'r [(&'p ParamRule, Vec<Vec<String>>)],
    is_there: Vec<bool>,
    broken: Option<usize>,
}

impl<'r, 'p> Found<'r, 'p> {
    fn new(rules: &'r [(&'p ParamRule, Vec<Vec<String>>)]) -> Self {
        Self {
            rules,
            is_there: vec![false; rules.len()],
            broken: None,
        }
    }

    /// A value, or an empty list.
    fn note(&mut self, number: usize, value: Option<ParamValue<'_>>) {
        if let Some(is_there) = self.is_there.get_mut(number) {
            *is_there = true;
        }
        // What is refused already costs no further look: a body may hold very many values.
        if self.broken.is_some_and(|broken| broken <= number) {
            return;
        }
        let rule = self.rules.get(number).map(|(rule, _)| rule);
        if let (Some(rule), Some(value)) = (rule, value)
            && !rule.allows(value)
        {
            self.broken = Some(number);
        }
    }

    /// The first rule that is broken.
    fn verdict(self) -> Result<(), Refusal> {
        for (number, ((rule, _), is_there)) in self.rules.iter().zip(&self.is_there).enumerate() {
            if self.broken == Some(number) {
                return Err(Refusal::Policy(rule.refusal()));
            }
            if rule.is_required() && !is_there {
                return Err(Refusal::Policy(rule.missing()));
            }
        }
        Ok(())
    }
}
