//! The settings of the data plane, made ready for the request path: one immutable snapshot.

mod catalog;
mod place;
mod provider;
mod tls;

pub use place::CredentialPlace;
pub use tls::TlsToUpstreams;

use crate::breaker::Guard;
use crate::cache::CachePlan;
use crate::credentials::CredentialPool;
use crate::discovery::Discovery;
use crate::doors::Doors;
use crate::edge_limits::EdgeLimits;
use crate::front_door::FrontDoorPlan;
use crate::holds::{BoundOptions, HungUp};
use crate::kept::{keep_endpoint, keep_routes};
use crate::labels::{self, ModelLabels};
use crate::route::{PlainRoute, RouteTable};
use crate::set_fields::{names, set_fields};
use crate::sign::Signer;
use crate::standing::{CorsLines, security_headers};
use crate::surface_routes::SurfaceRoutes;
use crate::token_rates::ProviderRates;
use catalog::Catalog;
use provider::HeadStart;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tollkeep_config::settings::{
    AllowedHosts, Hooks, Limits, Maintenance, OnDataPort, Pool, PoolScope, Provider, Retry,
    SecretOrText, Settings, Timeouts, Upstream, UpstreamTimeouts, UsageMode,
};
use tollkeep_counters::Breakers;
use tollkeep_crypto::jwt::JwtKeys;
use tollkeep_llm::Surface;
use tollkeep_llm::catalog::{Kind, Speaks};
use tollkeep_llm::resolve::{Resolver, Source};
use tollkeep_net::Dialer;
use tollkeep_net::dial::{Endpoint, PoolSettings};
use tollkeep_net::tls::UpstreamTls;
use tollkeep_observe::metrics::{Metrics, ProviderLabel};
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_policy::client_ip::ClientIpRules;
use tollkeep_policy::egress::{EgressUrl, Exceptions};
use tollkeep_policy::ip_list::IpLists;
use tollkeep_policy::origin::Origin;
use tollkeep_policy::rate::Quota;
use tollkeep_policy::shed::Thresholds;
use tollkeep_types::{AuthorityPattern, Secret, TenantId, WallMillis};

/// The snapshot a request keeps from its start to its end.
pub struct Plan {
    pub(crate) hosts: Vec<AuthorityPattern>,
    /// The first authority that fitted one of [`Self::hosts`]: mostly the only one there is.
    pub(crate) served_authority: OnceLock<Box<[u8]>>,
    pub(crate) head_limits: tollkeep_http1::Limits,
    pub(crate) underscore_headers: Vec<Box<str>>,
    pub(crate) limits: Limits,
    /// Memory the process may use, if that is bounded.
    memory_bytes_max: Option<u64>,
    /// From how many running requests on some are turned away.
    pub(crate) shed: Thresholds,
    pub(crate) timeouts: Timeouts,
    /// Where callers come in.
    pub(crate) doors: Doors,
    pub(crate) client_ip: ClientIpRules,
    pub(crate) trust_request_id: bool,
    pub(crate) edge_limits: EdgeLimits,
    pub(crate) ip_lists: IpLists,
    pub(crate) maintenance: Maintenance,
    /// What may be asked for by anybody, on every route.
    pub(crate) policy: Option<Arc<CallPolicy>>,
    /// What is asked on the surfaces.
    pub(crate) hooks: Option<Arc<Hooks>>,
    /// Management is on the data listener too.
    pub(crate) on_data_port: bool,
    pub(crate) failing_credentials: Quota,
    pub(crate) failure_floor: Duration,
    /// How old the knowledge of what was revoked elsewhere may be, in nanoseconds.
    pub(crate) revocation_stale_ns: u64,
    pub(crate) token_prefix: Box<str>,
    pub(crate) security_headers: Box<[u8]>,
    pub(crate) hsts: Box<[u8]>,
    /// What every answer says while payments move no money.
    pub(crate) mark: &'static [u8],
    /// Whose pages may call; `None` while CORS is off.
    pub(crate) cors: Option<CorsLines>,
    pub(crate) front_door: Option<FrontDoorPlan>,
    pub(crate) routes: RouteTable,
    /// What strangers may read of them; `None` if there is nothing to sell.
    pub(crate) discovery: Option<Discovery>,
    pub(crate) surfaces: SurfaceRoutes,
    pub(crate) llm: LlmPlan,
    /// Names this process in the `Tollkeep-Hop` field.
    pub(crate) instance: Box<str>,
    pub(crate) sandbox: bool,
    /// Whether `X-RateLimit-*` is told too.
    pub(crate) x_ratelimit: bool,
    /// Which answers are kept; `None` is none.
    pub(crate) cache: Option<CachePlan>,
    /// What plain routes call.
    pub(crate) upstreams: Vec<Arc<Target>>,
}

/// What the LLM surfaces are served with.
pub(crate) struct LlmPlan {
    pub(crate) providers: Vec<Arc<Target>>,
    pub(crate) resolver: Resolver,
    pub(crate) max_depth: usize,
    pub(crate) query_key: bool,
    pub(crate) forward_user_agent: bool,
    pub(crate) expose_upstream_limits: bool,
    pub(crate) stream_max: Duration,
    pub(crate) keep_alive: Duration,
    /// How long the head of a stream waits for its first content; zero is not at all.
    pub(crate) head_hold: Duration,
    /// How long an answer is read without its caller at most.
    pub(crate) drain_max: Duration,
    /// What lists tell of models.
    catalog: Catalog,
    /// Origins that calls must come from; empty: any, or none.
    pub(crate) allowed_origins: Vec<Origin>,
    /// Whose calls of nobody are.
    pub(crate) default_tenant: TenantId,
    /// How the cost of calls is bounded.
    pub(crate) bounds: BoundOptions,
    /// Callers are told what calls cost.
    pub(crate) expose_cost: bool,
    /// Whether calls that no budget counts are written down too.
    pub(crate) records_all: bool,
    pub(crate) model_labels: ModelLabels,
    /// TLS with whoever has no settings of their own.
    pub(crate) tls: Arc<UpstreamTls>,
    /// Whether a credential has a prefix.
    pub(crate) has_prefixes: AtomicBool,
}

/// Something to call: a provider, or the upstream of a plain route.
pub(crate) struct Target {
    pub(crate) name: Arc<str>,
    pub(crate) label: ProviderLabel,
    pub(crate) endpoint: Endpoint,
    pub(crate) timeouts: UpstreamTimeouts,
    pub(crate) retry: Retry,
    /// When it is left alone; `None` is never.
    pub(crate) guard: Option<Guard>,
    pub(crate) kind: TargetKind,
    /// Fields set on every request, ready to write; they win over the caller's.
    pub(crate) set_fields: Box<[u8]>,
    /// Names of the fields that the settings set or remove, lower case.
    pub(crate) settled: Vec<Box<[u8]>>,
    /// Names of answer fields that come back though they commonly don't, lower case.
    pub(crate) returned: Vec<Box<[u8]>>,
    /// The secrets among those fields, which no answer may bring back.
    pub(crate) secrets: Vec<Secret>,
    /// Whether it may be another gateway on this machine: it is told our instance.
    pub(crate) is_private: bool,
    pub(crate) signer: Option<Signer>,
    /// A credential's own server: what it does says nothing of the provider.
    pub(crate) is_elsewhere: bool,
}

pub(crate) enum TargetKind {
    Plain {
        forward_client_ip: bool,
        /// Names of the caller's cookies that go there; mostly none.
        forward_cookies: Vec<Box<str>>,
        /// The caller's fields that go there, lower case, where only these do.
        only: Option<Vec<Box<[u8]>>>,
        hung_up: HungUp,
    },
    Provider(ProviderPlan),
}

pub(crate) struct ProviderPlan {
    pub(crate) kind: &'static Kind,
    pub(crate) self_hosted: bool,
    pub(crate) hung_up: HungUp,
    pub(crate) forward_headers: Vec<Box<[u8]>>,
    /// Globs of the values of `anthropic-beta` that go there; `None`: all.
    pub(crate) allowed_betas: Option<Arc<[String]>>,
    pub(crate) credentials: CredentialPool,
    /// What passes in a minute; `None` is anything.
    pub(crate) rates: Option<Box<ProviderRates>>,
    /// By surface: the request line and the fields that every call has.
    heads: Vec<(Surface, HeadStart)>,
}

impl ProviderPlan {
    pub(crate) fn speaks(&self) -> Speaks {
        self.kind.speaks
    }

    /// Whether a call of this surface says `max_completion_tokens` to it rather than `max_tokens`.
    pub(crate) fn says_completion_tokens(&self, surface: Surface) -> bool {
        surface == Surface::Chat && self.kind.name == "openai"
    }

    /// How every head of a call to this surface begins.
    pub(crate) fn head(&self, surface: Surface) -> Option<&HeadStart> {
        let mut heads = self.heads.iter();
        heads.find(|(of, _)| *of == surface).map(|(_, head)| head)
    }
}

/// What can't be planned from the settings.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A provider kind the gateway can't call.
    #[error("providers.{0}: this kind can't be called yet")]
    Kind(String),
    /// A route names an upstream that is not there.
    #[error("routes: no upstream `{0}`")]
    NoUpstream(String),
}

/// What a plan is made with, beside the settings.
pub struct PlanParts<'a> {
    /// Where labels are registered.
    pub metrics: &'a Metrics,
    /// The addresses the data listeners are bound to, in the order of the settings.
    pub bound: &'a [SocketAddr],
    /// TLS towards upstreams.
    pub tls: &'a TlsToUpstreams,
    /// The door out.
    pub dialer: Dialer,
    /// A random name of this process.
    pub instance: &'a str,
    /// The plan that this one follows: what did not change keeps its connections and limits.
    pub before: Option<&'a Plan>,
    /// When: prices that change hold for a while more.
    pub now: WallMillis,
    /// Memory the process may use, if that is bounded.
    pub memory_bytes_max: Option<u64>,
    /// Whose calls of nobody are.
    pub default_tenant: TenantId,
    /// The breakers, which live on when settings change.
    pub breakers: &'a Breakers,
    /// The keys of the identity provider at the front door, where there is one.
    pub jwt_keys: Option<&'a Arc<JwtKeys>>,
}

impl Plan {
    /// The memory the process may use, if that is bounded, and from how many percent of it on it
    /// is short.
    pub fn memory(&self) -> Option<(u64, u8)> {
        Some((self.memory_bytes_max?, self.limits.shed_at_percent))
    }

    /// Makes the snapshot.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn new(settings: &Settings, parts: &PlanParts<'_>) -> Result<Self, PlanError> {
        parts.metrics.name(labels::of(settings));
        let before = parts.before.map_or(&[][..], |before| &before.upstreams);
        let upstreams: Vec<_> = settings
            .upstreams
            .iter()
            .map(|upstream| Arc::new(keep_endpoint(plain(upstream, parts), before)))
            .collect();
        let routes = settings.routes.iter().map(|route| {
            let target = upstreams
                .iter()
                .find(|target| *target.name == *route.upstream);
            let target = target.ok_or_else(|| PlanError::NoUpstream(route.upstream.clone()))?;
            Ok(PlainRoute::new(route, target, settings, parts.metrics))
        });
        let mut routes = routes.collect::<Result<Vec<_>, PlanError>>()?;
        keep_routes(&mut routes, parts.before, parts.now);
        let routes = RouteTable::new(routes);
        let server = &settings.server;
        let (mut security_headers, hsts) = security_headers(server.security_headers.as_ref());
        let cors = server.cors.as_ref();
        let cors = cors.map(|cors| CorsLines::new(cors, server.security_headers.as_ref()));
        if let Some(cors) = &cors {
            security_headers.clone_from(&cors.others.plain);
        }
        Ok(Self {
            hosts: hosts(&server.allowed_hosts, parts.bound),
            served_authority: OnceLock::new(),
            head_limits: tollkeep_http1::Limits {
                fields_max: server.limits.header_fields_max,
                head_bytes_max: server.limits.header_bytes_max,
                line_bytes_max: server.limits.header_line_bytes_max,
                target_bytes_max: server.limits.target_bytes_max,
            },
            underscore_headers: server.underscore_headers.clone(),
            limits: bounded(&server.limits, parts.memory_bytes_max),
            memory_bytes_max: parts.memory_bytes_max,
            shed: shed(&server.limits),
            timeouts: server.timeouts.clone(),
            doors: Doors::new(server, parts.bound),
            edge_limits: EdgeLimits::new(server),
            client_ip: server.client_ip_rules(),
            trust_request_id: server.trust_request_id,
            ip_lists: server.ip_lists.clone(),
            maintenance: server.maintenance.clone(),
            policy: settings.policy.clone(),
            hooks: (!settings.hooks.is_empty()).then(|| Arc::new(settings.hooks.clone())),
            on_data_port: settings.management.on_data_port == OnDataPort::Loopback,
            failing_credentials: tollkeep_policy::lockout::FAILED_CREDENTIALS,
            failure_floor: settings.auth.failure_floor,
            revocation_stale_ns: stale_ns(settings.auth.revocation_stale_after),
            token_prefix: settings.auth.token_prefix.as_str().into(),
            security_headers,
            hsts,
            cors,
            front_door: server
                .front_door
                .as_ref()
                .map(|door| FrontDoorPlan::new(door, parts.jwt_keys)),
            routes,
            discovery: Discovery::new(settings),
            surfaces: SurfaceRoutes::new(settings, parts.metrics),
            llm: llm(settings, parts)?,
            instance: parts.instance.into(),
            sandbox: settings.sandbox.upstream || settings.payments.sandbox,
            mark: mark(settings),
            x_ratelimit: settings.compat.x_ratelimit,
            cache: CachePlan::new(settings),
            upstreams,
        })
    }
}

/// The limits, with no more memory for bodies than their part of what there is for all.
fn bounded(limits: &Limits, memory_bytes_max: Option<u64>) -> Limits {
    let mut limits = limits.clone();
    if let Some(max) = memory_bytes_max {
        let bodies = &mut limits.request_body_memory_bytes_max;
        *bodies = (*bodies).min(Limits::room_for_bodies(max));
    }
    limits
}

fn shed(limits: &Limits) -> Thresholds {
    let max = u64::try_from(limits.concurrent_requests_max).unwrap_or(u64::MAX);
    Thresholds::of_count(max, limits.shed_at_percent)
}

fn hosts(allowed: &AllowedHosts, bound: &[SocketAddr]) -> Vec<AuthorityPattern> {
    match allowed {
        AllowedHosts::Listed(patterns) => patterns.clone(),
        AllowedHosts::Defaults => {
            let names = ["localhost", "127.0.0.1", "[::1]"]
                .map(str::to_owned)
                .into_iter();
            let own =
                bound
                    .iter()
                    .filter(|addr| !addr.ip().is_unspecified())
                    .map(|addr| match addr {
                        SocketAddr::V4(addr) => addr.ip().to_string(),
                        SocketAddr::V6(addr) => format!("[{}]", addr.ip()),
                    });
            names
                .chain(own)
                .filter_map(|text| text.parse().ok())
                .collect()
        }
    }
}

fn next_endpoint_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn endpoint(
    url: &EgressUrl,
    exceptions: Exceptions,
    (pool, tls): (&Pool, &Arc<UpstreamTls>),
    parts: &PlanParts<'_>,
) -> Endpoint {
    Endpoint {
        id: next_endpoint_id(),
        url: url.clone(),
        exceptions,
        tls: url.scheme().is_tls().then(|| Arc::clone(tls)),
        dialer: parts.dialer.clone(),
        pool: PoolSettings {
            idle_per_host_max: pool.idle_per_host_max,
            idle: pool.idle,
            connections_max: pool.connections_max,
            by_owner: pool.scope == PoolScope::Project,
        },
    }
}

/// The secrets among set fields, without the word for their scheme.
fn secrets(fields: &[(String, SecretOrText)]) -> Vec<Secret> {
    let secrets = fields.iter().filter_map(|(_, value)| match value {
        SecretOrText::Secret(secret) => secret.expose().rsplit(' ').next(),
        SecretOrText::Text(_) => None,
    });
    secrets
        .filter(|text| !text.is_empty())
        .map(Secret::new)
        .collect()
}

fn plain(upstream: &Upstream, parts: &PlanParts<'_>) -> Target {
    let exceptions = Exceptions {
        allow_private: upstream.allow_private.clone(),
        allow_metadata: upstream.allow_metadata,
    };
    let fields = crate::sign::fields_set_on(upstream);
    let rules = &upstream.headers;
    let (set_fields, settled) = set_fields(&fields, &rules.remove);
    let how = (&upstream.pool, parts.tls.of("upstreams", &upstream.name));
    Target {
        name: Arc::from(upstream.name.as_str()),
        label: parts.metrics.provider(&upstream.name),
        is_private: !exceptions.allow_private.is_empty(),
        endpoint: endpoint(&upstream.url, exceptions, how, parts),
        timeouts: upstream.timeouts.clone(),
        retry: upstream.retry,
        guard: Guard::new(&upstream.name, upstream.breaker.as_ref(), parts.breakers),
        kind: TargetKind::Plain {
            forward_client_ip: upstream.forward_client_ip,
            forward_cookies: upstream.forward_cookies.clone(),
            only: rules.only.as_deref().map(names),
            hung_up: HungUp {
                cancel_stops_billing: upstream.cancel_stops_billing,
                ..HungUp::CANCELLED
            },
        },
        set_fields,
        settled,
        returned: names(&rules.returned),
        secrets: secrets(&fields),
        signer: upstream.signing.as_ref().and_then(Signer::new),
        is_elsewhere: false,
    }
}

fn llm(settings: &Settings, parts: &PlanParts<'_>) -> Result<LlmPlan, PlanError> {
    let before = parts.before.map_or(&[][..], |before| &before.llm.providers);
    let enabled: Vec<&Provider> = settings
        .providers
        .iter()
        .filter(|provider| provider.enabled)
        .collect();
    let sources = enabled.iter().map(|provider| Source {
        name: provider.name.clone(),
        models: provider.models.clone(),
        excluded_models: provider.excluded_models.clone(),
        priority: provider.priority,
    });
    Ok(LlmPlan {
        resolver: Resolver::new(sources.collect(), settings.models.default.clone()),
        providers: enabled
            .iter()
            .map(|provider| {
                Ok(Arc::new(keep_endpoint(
                    provider::target(provider, parts)?,
                    before,
                )))
            })
            .collect::<Result<_, _>>()?,
        model_labels: ModelLabels::new(settings, parts.metrics),
        catalog: Catalog::new(settings),
        max_depth: settings.llm.max_depth,
        query_key: settings.llm.query_key,
        forward_user_agent: settings.llm.forward_user_agent,
        expose_upstream_limits: settings.llm.expose_upstream_limits,
        stream_max: settings.llm.stream_max,
        keep_alive: settings.llm.keep_alive,
        head_hold: settings.llm.head_hold,
        drain_max: settings.llm.drain_max,
        allowed_origins: settings.llm.allowed_origins.clone(),
        default_tenant: parts.default_tenant,
        bounds: BoundOptions::of(settings),
        expose_cost: settings.llm.expose_cost,
        records_all: settings.ledger.usage == UsageMode::All,
        tls: Arc::clone(&parts.tls.of_all),
        has_prefixes: AtomicBool::new(false),
    })
}

/// `None` is for ever.
fn stale_ns(after: Option<Duration>) -> u64 {
    let nanos = after.map(|after| u64::try_from(after.as_nanos()));
    nanos.and_then(Result::ok).unwrap_or(u64::MAX)
}

/// What every answer says while payments move no money.
const fn mark(settings: &Settings) -> &'static [u8] {
    if settings.payments.sandbox {
        b"x-tollkeep-sandbox: 1\r\n"
    } else {
        b""
    }
}
