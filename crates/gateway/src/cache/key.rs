//! What an answer is found by: a hash over whose it is and everything that decided what it became
//! (LLM-81). Each part stands behind its length, so that no two requests are one by how their parts
//! are cut.

use super::plan::{CachePlan, Rules};
use crate::lifecycle::Exchange;
use crate::read_call::{Call, LlmCall};
use crate::refusal::Refusal;
use crate::route::PlainRoute;
use crate::upstream_head::is_among;
use std::sync::atomic::Ordering;
use tollkeep_config::settings::CacheScope;
use tollkeep_counters::kept::KeptKey;
use tollkeep_crypto::sha256;
use tollkeep_http1::Known;
use tollkeep_llm::exact::canonical_body;
use tollkeep_policy::headers;

/// Of what stands in the hash, and how. Another form has another name.
const VERSION: &[u8] = b"tollkeep-cache/1";

/// Fields of a plain request that are another one each time and change no answer, and those that
/// speak to caches.
const LEFT_OUT: [&[u8]; 5] = [
    b"x-request-id",
    b"traceparent",
    b"tracestate",
    b"cache-control",
    b"pragma",
];

/// The parts of a key.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn push(&mut self, part: &[u8]) {
        let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(part);
    }

    fn number(&mut self, number: u64) {
        self.push(&number.to_be_bytes());
    }

    /// What may not be there: nothing differs from what is empty.
    fn maybe(&mut self, part: Option<&[u8]>) {
        self.number(u64::from(part.is_some()));
        self.push(part.unwrap_or_default());
    }
}

impl Exchange<'_> {
    /// The key of a call.
    ///
    /// # Errors
    /// What goes upstream can't be made; that was looked at before.
    pub(super) fn cache_key(
        &mut self,
        plan: &CachePlan,
        rules: &Rules,
        call: &Call<'_>,
    ) -> Result<Option<KeptKey>, Refusal> {
        let mut parts = Parts::default();
        parts.push(VERSION);
        self.push_permissions(&mut parts, plan);
        self.push_owner(&mut parts, rules.scope);
        parts.push(self.work.facts.route().as_bytes());
        parts.push(self.work.head.method.as_str().as_bytes());
        parts.push(self.work.path.as_bytes());
        match call {
            Call::Own(_) => return Ok(None),
            Call::Plain(route) => self.push_plain(&mut parts, route)?,
            Call::Llm(call) => self.push_llm(&mut parts, call),
        }
        Ok(Some(sha256(&[&parts.0])))
    }

    /// What was decided by: when that changes, what was kept is not found any more. Read before
    /// anything is chosen by it, so that what is chosen by the new is never kept under the old.
    fn push_permissions(&self, parts: &mut Parts, plan: &CachePlan) {
        let shared = &self.worker.shared;
        parts.number(plan.number);
        parts.number(shared.cache.credentials.load(Ordering::Acquire));
        let book = shared.prices.load();
        let (version, sha256) = book.version();
        parts.push(version.as_bytes());
        parts.push(sha256.as_bytes());
    }

    fn push_owner(&self, parts: &mut Parts, scope: CacheScope) {
        let token = self.work.facts.token.as_deref();
        let tenant = token.map_or(self.plan.llm.default_tenant, |token| {
            token.project.tenant_id
        });
        parts.push(tenant.bytes());
        let Some(token) = token else {
            return parts.push(b"nobody");
        };
        match scope {
            CacheScope::Token => {
                parts.push(b"token");
                parts.push(token.id.bytes());
            }
            CacheScope::Project => parts.push(b"project"),
            CacheScope::Tenant => {
                parts.push(b"tenant");
                return parts.number(self.worker.shared.tokens.changes());
            }
        }
        parts.push(token.project.id.bytes());
        parts.number(token.project.changes());
    }

    /// A plain upstream sees all of this, so all of it may decide what it answers.
    fn push_plain(&mut self, parts: &mut Parts, route: &PlainRoute) -> Result<(), Refusal> {
        parts.push(route.target.name.as_bytes());
        self.write_plain_head(route)?;
        let out = std::mem::take(&mut self.work.out);
        let end = memchr::memmem::find(&out, b"\r\n\r\n").unwrap_or(out.len());
        let head = out.get(..end).unwrap_or_default();
        for line in head.split(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if !LEFT_OUT.iter().any(|out| headers::same_field(name, out)) {
                parts.push(line);
            }
        }
        self.work.out = out;
        self.work.out.clear();
        parts.push(&sha256(&[self.body()]));
        Ok(())
    }

    /// A provider sees the body, and of the fields those that are listed. Whether a stream is asked
    /// for stands beside the body, which is without it.
    fn push_llm(&self, parts: &mut Parts, call: &LlmCall) {
        let provider = self.plan.llm.providers.get(call.provider);
        parts.maybe(provider.map(|target| target.name.as_bytes()));
        parts.push(call.surface.name().as_bytes());
        parts.push(call.model.as_bytes());
        parts.maybe(call.prefix.as_deref().map(str::as_bytes));
        parts.number(u64::from(call.stream));
        let listed = provider.and_then(|target| target.provider());
        let listed = listed.map_or(&[][..], |provider| &provider.forward_headers);
        let (head, bytes) = (&self.work.head, &self.work.request);
        for field in head.fields.iter().filter(|field| !field.hop) {
            let (name, value) = (field.name.of(bytes), field.value.of(bytes));
            let is_sent = headers::llm_request_field_allowed(name)
                || is_among(listed, name)
                || field.known == Known::UserAgent && self.plan.llm.forward_user_agent;
            if is_sent || name.eq_ignore_ascii_case(b"accept") {
                parts.push(&name.to_ascii_lowercase());
                parts.push(value);
            }
        }
        match canonical_body(self.body()) {
            Some(body) => {
                parts.push(b"canonical");
                parts.push(&sha256(&[&body]));
            }
            None => {
                parts.push(b"as it is");
                parts.push(&sha256(&[self.body()]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-81
    #[test]
    fn parts_that_are_cut_otherwise_are_others() {
        let of = |texts: &[&str]| {
            let mut parts = Parts::default();
            texts.iter().for_each(|text| parts.push(text.as_bytes()));
            parts.0
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab", ""]), of(&["", "ab"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        let maybe = |part: Option<&[u8]>| {
            let mut parts = Parts::default();
            parts.maybe(part);
            parts.0
        };
        assert_ne!(maybe(None), maybe(Some(b"")));
    }
}
