//! What the settings say about answers that are kept, and which rules a call has.

use crate::lifecycle::Exchange;
use crate::read_call::{Call, LlmCall};
use crate::route::PlainRoute;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tollkeep_config::settings::{Cache, CacheScope, HitPrice, RouteCache, Settings, SurfaceCache};
use tollkeep_counters::kept::Room;
use tollkeep_llm::exact::Repeatable;

/// Requests with a larger body are not compared with others: hashing them would cost more than it
/// saves.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the settings say.
pub(crate) struct CachePlan {
    /// Another one for each snapshot: nothing that was kept under other settings is found.
    pub(super) number: u64,
    pub(super) settings: Cache,
    /// Whether answers say `X-PROXY-CACHE` too.
    pub(super) says_proxy_cache: bool,
}

impl CachePlan {
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let cache = settings.cache.clone()?;
        Some(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            settings: cache,
            says_proxy_cache: settings.compat.llm_proxy_headers,
        })
    }

    pub(crate) const fn room(&self) -> Room {
        Room {
            bytes: self.settings.bytes_max,
            entries: self.settings.entries_max,
        }
    }
}

/// By which rules the answer to a call is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) scope: CacheScope,
    pub(super) ttl: Duration,
    pub(super) object_bytes_max: u64,
    /// Those that call tools too.
    pub(super) tools: bool,
    pub(super) ignores_directives: bool,
    pub(super) hit_price: HitPrice,
}

impl Exchange<'_> {
    /// The rules of a call whose answer may be kept; `None` where none may, whatever its caller
    /// says.
    pub(super) fn cache_rules(&self, plan: &CachePlan, call: &Call<'_>) -> Option<Rules> {
        if self.body().len() > BODY_BYTES_MAX || self.incoming.is_some() {
            return None;
        }
        match call {
            Call::Own(_) => None,
            Call::Plain(route) => self.plain_rules(plan, route),
            Call::Llm(call) => self.surface_rules(plan, call),
        }
    }

    fn plain_rules(&self, plan: &CachePlan, route: &PlainRoute) -> Option<Rules> {
        let rules: &RouteCache = route.cache.as_ref()?;
        let method = self.work.head.method.as_str();
        let is_kept = rules.methods.iter().any(|kept| kept.name() == method);
        // What is paid by its use is not known before it is had.
        if !is_kept || self.is_metered() || self.covered().is_some() {
            return None;
        }
        let settings = &plan.settings;
        Some(Rules {
            scope: rules.scope,
            ttl: rules.ttl.unwrap_or(settings.ttl),
            object_bytes_max: rules.object_bytes_max.unwrap_or(settings.object_bytes_max),
            tools: true,
            ignores_directives: rules.ignore_upstream_directives,
            hit_price: match &self.paying {
                Some(_) => HitPrice::Full,
                None => settings.hit_price,
            },
        })
    }

    fn surface_rules(&self, plan: &CachePlan, call: &LlmCall) -> Option<Rules> {
        let settings = &plan.settings;
        let SurfaceCache {
            scope,
            streams,
            only_deterministic,
            tools,
            ignore_upstream_directives,
        } = settings.surfaces?;
        if !call.surface.is_repeatable() || (call.stream && !streams) {
            return None;
        }
        let asks = Repeatable::read(call.surface, self.body(), self.plan.llm.max_depth)?;
        if !asks.may_repeat() || (only_deterministic && !asks.is_deterministic()) {
            return None;
        }
        Some(Rules {
            scope,
            ttl: settings.ttl,
            object_bytes_max: settings.object_bytes_max,
            tools,
            ignores_directives: ignore_upstream_directives,
            hit_price: settings.hit_price,
        })
    }
}
