//! Conditions of policies, asked when everything that a call says is there. A call without any
//! pays for a look at each policy that binds it.

use crate::admit::Entry;
use crate::identify::Caller;
use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use tollkeep_llm::Surface;
use tollkeep_llm::asks::Asks;
use tollkeep_policy::call_policy::check_when;
use tollkeep_policy::cel::{CallerFacts, Facts, Field};

/// Fields that hold credentials: no condition compares them.
pub(crate) const HIDDEN: [&str; 7] = [
    "api-key",
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "x-goog-api-key",
    "x-management-key",
];

impl Exchange<'_> {
    /// Asks the conditions of this call. The body was read.
    ///
    /// # Errors
    /// 403, if one does not hold or it can't be said.
    pub(crate) fn check_conditions(
        &self,
        entry: &Entry<'_>,
        caller: &Caller,
        called: Option<(Surface, &str)>,
    ) -> Result<(), Refusal> {
        let policies = &self.policies;
        if !policies.iter().any(|policy| policy.has_condition()) {
            return Ok(());
        }
        let (head, bytes) = (&self.work.head, self.work.request.as_slice());
        let fields = head.fields.iter();
        let fields = fields.map(|field| (field.name.of(bytes), field.value.of(bytes)));
        let field = |name: &str| {
            if HIDDEN.contains(&name) {
                return Field::Never;
            }
            Field::find(&fields, name)
        };
        let query = entry.query().and_then(|at| head.target.of(bytes).get(at));
        let names = caller.token().map(|token| {
            let project = &token.project;
            let ids = [
                token.id.to_string(),
                project.id.to_string(),
                project.tenant_id.to_string(),
            ];
            (ids, &*project.slug)
        });
        let tokens_in = match called {
            Some((surface, _)) if policies.iter().any(|policy| policy.counts_tokens()) => {
                let asks = Asks::read(surface, self.body());
                asks.map_err(|_| Refusal::unreadable_body())?.input_tokens()
            }
            Some(_) | None => 0,
        };
        let facts = Facts {
            method: head.method.as_str(),
            path: &self.work.path,
            query: std::str::from_utf8(query.unwrap_or_default()).unwrap_or_default(),
            size: u64::try_from(self.body().len()).unwrap_or(u64::MAX),
            field: &field,
            ip: entry.client_ip(),
            caller: names
                .as_ref()
                .map(|([token, project_id, tenant_id], project)| CallerFacts {
                    token,
                    project,
                    project_id,
                    tenant_id,
                }),
            model: called.map_or("", |(_, model)| model),
            tokens_in,
            now: self.store_now(),
        };
        check_when(policies, &facts).map_err(Refusal::Policy)
    }
}
