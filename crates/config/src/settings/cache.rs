//! Answers that are kept and given again (LLM-80).

use super::{DAY_MS, GIB, MIB, Route};
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{bytes, choice, duration, list, seconds, switch, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::time::Duration;

/// Answers are kept for a week at most.
const TTL_MS_MAX: i64 = 7 * DAY_MS;

/// What a call costs that is answered from the cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HitPrice {
    /// Nothing; it counts as a request.
    Free,
    /// What the call would have cost that was kept.
    Full,
}

const PRICES: [(&str, HitPrice); 2] = [("free", HitPrice::Free), ("full", HitPrice::Full)];

/// Which answers are given again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CacheMode {
    /// None.
    Off,
    /// Those to the very same request.
    Exact,
}

const MODES: [(&str, CacheMode); 2] = [("off", CacheMode::Off), ("exact", CacheMode::Exact)];

/// To whom an answer is given again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheScope {
    /// The token that asked.
    Token,
    /// All tokens of its project.
    Project,
    /// All tokens of its tenant.
    Tenant,
}

const SCOPES: [(&str, CacheScope); 3] = [
    ("token", CacheScope::Token),
    ("project", CacheScope::Project),
    ("tenant", CacheScope::Tenant),
];

/// A method whose answers may be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheMethod {
    /// GET.
    Get,
    /// POST.
    Post,
}

impl CacheMethod {
    /// The method as requests name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

const METHODS: [(&str, CacheMethod); 2] = [
    (CacheMethod::Get.name(), CacheMethod::Get),
    (CacheMethod::Post.name(), CacheMethod::Post),
];

/// Answers that are kept and given again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cache {
    /// Bytes of all of them.
    pub bytes_max: u64,
    /// How many.
    pub entries_max: usize,
    /// Bytes of one.
    pub object_bytes_max: u64,
    /// How long they are given again.
    pub ttl: Duration,
    /// What a call costs that is answered so.
    pub hit_price: HitPrice,
    /// Those of models; `None`: none is kept.
    pub surfaces: Option<SurfaceCache>,
}

/// Which answers of models are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SurfaceCache {
    /// To whom they are given again.
    pub scope: CacheScope,
    /// Streamed ones too.
    pub streams: bool,
    /// Only where the call asks for the same answer each time.
    pub only_deterministic: bool,
    /// Those that call tools too.
    pub tools: bool,
    /// Whether `private` and `no-store` of a provider are passed over.
    pub ignore_upstream_directives: bool,
}

keys! {
    /// Answers that are kept in memory and given again to the very same request. Off: answers are
    /// personal. The keys from `mode` on are for the model surfaces; a plain route has its own in
    /// `routes.<name>.cache`.
    pub(crate) struct CacheFile {
        /// Whether any answer is kept.
        enabled: bool = switch().or(false),
        /// Where: `in-memory`, each process by itself. `redis` is not supported yet.
        _backend as "backend": () = choice(&[("in-memory", ())]).later(&["redis"]).or(()),
        /// Bytes of all answers that are kept. A tenant has at most a quarter.
        max_bytes: u64 = bytes(64 * 1024..=64 * GIB).or(64 << 20),
        /// Answers that are kept. A tenant has at most a quarter.
        max_entries: usize = whole(4..=1_000_000).or(10_000),
        /// Bytes of an answer; longer ones are not kept.
        max_object_bytes: u64 = bytes(1..=64 * MIB).or(1 << 20),
        /// How long an answer is given again.
        default_ttl: Duration = duration(1_000..=TTL_MS_MAX).or(Duration::from_secs(300)),
        /// What a call costs that is answered from the cache: `free`, nothing, or `full`, what it
        /// would have cost. It counts as a request in any case. On routes that are paid by the
        /// request it is always `full`.
        hit_price: HitPrice = choice(&PRICES).or(HitPrice::Free),
        /// `exact`: answers of models are kept; `off`: only those of plain routes that say so.
        mode: CacheMode = choice(&MODES).or(CacheMode::Exact),
        /// To whom an answer of a model is given again: to the `token` that asked, to all of its
        /// `project`, or to all of its `tenant`.
        scope: CacheScope = choice(&SCOPES).or(CacheScope::Token),
        /// Whether streamed answers are kept.
        streams: bool = switch().or(false),
        /// Whether only calls are answered again that ask for the same answer each time:
        /// `temperature` 0, or a `seed` and no `temperature`. Embeddings always do.
        only_deterministic: bool = switch().or(true),
        /// Whether answers that call tools are kept.
        tools: bool = switch().or(false),
        /// Whether `private` and `no-store` of a provider are passed over: most say so always.
        ignore_upstream_directives: bool = switch().or(true),
    }
}

impl CacheFile {
    pub(super) fn check(self, routes: &[Route], checks: &mut Checks<'_>) -> Option<Cache> {
        if self.max_object_bytes > self.max_bytes / 4 {
            let problem = "is more than a quarter of `cache.max_bytes`, which is what a tenant has";
            checks.error("cache.max_object_bytes", problem);
        }
        let kept = |route: &&Route| route.cache.is_some();
        if let Some(route) = routes.iter().find(kept).filter(|_| !self.enabled) {
            let place = KeyPath::of("routes").name(&route.name());
            let problem = "has no effect while `cache.enabled` is off";
            checks.warn_at(&place.name("cache").name("mode"), problem);
        }
        let max = |route: &Route| route.cache.as_ref()?.object_bytes_max;
        for route in routes {
            if max(route).is_some_and(|max| max > self.max_bytes / 4) {
                let place = KeyPath::of("routes").name(&route.name()).name("cache");
                let problem = "is more than a quarter of `cache.max_bytes`, which is what a tenant \
                               has";
                checks.error_at(&place.name("max_object_bytes"), problem);
            }
        }
        self.enabled.then_some(Cache {
            bytes_max: self.max_bytes,
            entries_max: self.max_entries,
            object_bytes_max: self.max_object_bytes,
            ttl: self.default_ttl,
            hit_price: self.hit_price,
            surfaces: (self.mode == CacheMode::Exact).then_some(SurfaceCache {
                scope: self.scope,
                streams: self.streams,
                only_deterministic: self.only_deterministic,
                tools: self.tools,
                ignore_upstream_directives: self.ignore_upstream_directives,
            }),
        })
    }
}

/// Which answers of a plain route are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteCache {
    /// How long; `None` is as `cache` says.
    pub ttl: Option<Duration>,
    /// To whom they are given again.
    pub scope: CacheScope,
    /// To which methods.
    pub methods: Vec<CacheMethod>,
    /// Bytes of an answer; `None` is as `cache` says.
    pub object_bytes_max: Option<u64>,
    /// Whether `private` and `no-store` of the upstream are passed over.
    pub ignore_upstream_directives: bool,
}

keys! {
    /// Whether answers of this route are kept and given again to the very same request, while
    /// `cache.enabled` is on.
    pub(crate) struct RouteCacheFile {
        /// `exact`: to the same method, path, query, fields and body; `off`: never.
        mode: CacheMode = choice(&MODES).or(CacheMode::Off),
        /// How long, in seconds; less where the upstream says less. Default: `cache.default_ttl`.
        ttl as "ttl_s": Option<Duration> = seconds(1_000..=TTL_MS_MAX).optional(),
        /// To whom: to the `token` that asked, to all of its `project`, or to all of its `tenant`.
        /// Callers without a token are one caller.
        scope: CacheScope = choice(&SCOPES).or(CacheScope::Token),
        /// Which methods: `GET`, and where a POST only asks, `POST`.
        methods: Vec<CacheMethod> = list(choice(&METHODS)).or(vec![CacheMethod::Get]),
        /// Bytes of an answer; longer ones are not kept. Default: `cache.max_object_bytes`.
        max_object_bytes: Option<u64> = bytes(1..=64 * MIB).optional(),
        /// Whether `private` and `no-store` of the upstream are passed over.
        ignore_upstream_directives: bool = switch().or(false),
    }
}

impl RouteCacheFile {
    pub(super) fn check(
        self,
        (path, is_streaming): (&KeyPath, bool),
        checks: &mut Checks<'_>,
    ) -> Option<RouteCache> {
        if self.mode == CacheMode::Off {
            return None;
        }
        if is_streaming {
            let problem = "can't be with `request.streaming`: a body that is sent on while it \
                           arrives is compared with nothing";
            checks.error_at(&path.name("mode"), problem);
        }
        if self.methods.is_empty() {
            let problem = "names none: list methods, or set `mode: off`";
            checks.error_at(&path.name("methods"), problem);
        }
        Some(RouteCache {
            ttl: self.ttl,
            scope: self.scope,
            methods: self.methods,
            object_bytes_max: self.max_object_bytes,
            ignore_upstream_directives: self.ignore_upstream_directives,
        })
    }
}
