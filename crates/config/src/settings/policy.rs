//! Policies on calls: what stands on every call, and on a route.

use crate::check::Checks;
use crate::field::{KindExt, lists_by_name};
use crate::kind::{bytes, choice, list, switch, text, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::sync::Arc;
use tollkeep_policy::call_policy::{CallPolicy, OnExcess, WrittenPolicy};

const ON_EXCESS: [(&str, OnExcess); 2] = [
    (OnExcess::Clamp.as_str(), OnExcess::Clamp),
    (OnExcess::Refuse.as_str(), OnExcess::Refuse),
];

/// The most that a bound may say.
const MANY: i64 = 1_000_000_000;

keys! {
    /// What calls may ask for. Policies stand here, on routes, tenants, projects and tokens, and
    /// each of them must allow a call. A list that is empty allows nothing; a key that is not
    /// there restricts nothing.
    pub(crate) struct PolicyFile {
        /// Methods, exact; others get 405.
        allowed_methods: Option<Vec<String>> = list(text()).optional(),
        /// Path prefixes that end on a segment border; other paths get 404. `/v1/chat` is
        /// `/v1/chat/completions` too, and not `/v1/chatter`.
        allowed_endpoints: Option<Vec<String>> = list(text()).optional(),
        /// Globs on the public name of a model, in which `*` is any run; others don't exist, in
        /// calls and in lists of models.
        allowed_models: Option<Vec<String>> = list(text()).optional(),
        /// The same, of models that don't exist; denying wins.
        denied_models: Option<Vec<String>> = list(text()).optional(),
        /// Origins of pages that may call; others get 403. A call without `Origin` passes, unless
        /// `required_headers` has `origin`.
        allowed_origins: Option<Vec<String>> = list(text()).optional(),
        /// Header fields that must be there exactly once and not empty.
        required_headers: Option<Vec<String>> = list(text()).optional(),
        /// By parameter, globs of the values it may have: `*` is any run, `?` one character.
        /// Parameters are top-level members of a JSON body or fields of a form, JSON pointers
        /// (`/metadata/team`), or keys of the query (`query.size`). Numbers are compared as
        /// shortest decimals, lists element by element, objects never match. Bodies of other
        /// media types get 415.
        param_whitelist: Vec<(String, Vec<String>)> = lists_by_name(),
        /// Parameters that must be there.
        param_required: Option<Vec<String>> = list(text()).optional(),
        /// Most tokens of output that a call of a model may ask for. It is also sent where a call
        /// says nothing.
        max_output_tokens: Option<u64> = whole(1..=MANY).optional(),
        /// Most tokens that a call of a model may bring, as estimated: one for three bytes of
        /// text, 16 a message, 32 a tool, 1600 an image, 3000 for 100 KiB of a file.
        max_input_tokens: Option<u64> = whole(1..=MANY).optional(),
        /// Most answers at once (`n`, `best_of`).
        max_n: Option<u64> = whole(1..=MANY).optional(),
        /// Most tools that a call may bring.
        max_tools: Option<u64> = whole(0..=MANY).optional(),
        /// Bytes of a body; more get 413. The limit of the route or of `llm.max_request_body_bytes`
        /// holds beside it.
        max_body_bytes: Option<u64> = bytes(0..=268_435_456).optional(),
        /// What becomes of more: `clamp` brings `max_output_tokens` and `max_n` down to what is
        /// allowed, `refuse` answers 400. Default: `clamp` for output, `refuse` for the others;
        /// input and tools are refused in any case.
        on_excess: Option<OnExcess> = choice(&ON_EXCESS).optional(),
        /// Whether calls of models may bring tools.
        allow_tools: Option<bool> = switch().optional(),
        /// Whether they may bring images.
        allow_images: Option<bool> = switch().optional(),
        /// Whether they may bring files, documents and audio.
        allow_files: Option<bool> = switch().optional(),
        /// Whether their answers may be streamed.
        allow_stream: Option<bool> = switch().optional(),
        /// Whether the provider may search the web for them.
        allow_web_search: Option<bool> = switch().optional(),
        /// Whether they may name addresses for the provider to fetch from.
        allow_remote_urls: Option<bool> = switch().optional(),
        /// A condition in CEL over `request`, `caller`, `model`, `tokens_in` and `now`, which must
        /// hold; others get 403. It has a bounded cost, and what can't be said is a no. See
        /// docs/guide/policies.md.
        when: Option<String> = text().optional(),
    }
}

impl PolicyFile {
    /// The policy, if it restricts anything.
    pub(super) fn check(self, path: &KeyPath, checks: &mut Checks<'_>) -> Option<Arc<CallPolicy>> {
        // What is allowed anyway needs no look at each call.
        let off = |allowed: Option<bool>| allowed.filter(|allowed| !allowed);
        let params = self.param_whitelist;
        let written = WrittenPolicy {
            allowed_methods: self.allowed_methods,
            allowed_endpoints: self.allowed_endpoints,
            allowed_models: self.allowed_models,
            denied_models: self.denied_models,
            allowed_origins: self.allowed_origins,
            required_headers: self.required_headers,
            param_whitelist: (!params.is_empty()).then(|| params.into_iter().collect()),
            param_required: self.param_required,
            max_output_tokens: self.max_output_tokens,
            max_input_tokens: self.max_input_tokens,
            max_n: self.max_n,
            max_tools: self.max_tools,
            max_body_bytes: self.max_body_bytes,
            on_excess: self.on_excess,
            allow_tools: off(self.allow_tools),
            allow_images: off(self.allow_images),
            allow_files: off(self.allow_files),
            allow_stream: off(self.allow_stream),
            allow_web_search: off(self.allow_web_search),
            allow_remote_urls: off(self.allow_remote_urls),
            when: self.when,
        };
        if written.is_empty() {
            return None;
        }
        match CallPolicy::new(written) {
            Ok(policy) => Some(Arc::new(policy)),
            Err(faults) => {
                for fault in faults {
                    let place = fault
                        .path
                        .iter()
                        .fold(path.clone(), |path, step| path.name(step));
                    checks.error_at(&place, fault.problem);
                }
                None
            }
        }
    }
}
