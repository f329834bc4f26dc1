//! Checked settings: what every part of the program sees after start-up.
//!
//! A value of these types has passed every check; nothing in them is raw text that somebody
//! still has to parse. Each file declares the keys of its part as they stand in the file, and
//! turns them into settings where the two differ.

mod acme;
mod anomaly;
mod audit;
mod audit_kept;
mod audit_sinks;
mod auth;
mod between;
mod billing;
mod breaker;
mod budget_scope;
mod budget_text;
mod budgets;
mod cache;
mod compat;
mod credential_tenant;
mod credit;
mod discovery;
mod egress;
mod egress_proxy;
mod facilitator;
mod front_door;
mod headers;
mod hooks;
mod ip_lists;
mod key_service;
mod llm;
mod logging;
mod maintenance;
mod management;
mod market;
mod metrics;
mod models;
mod oidc;
mod payment_sandbox;
mod payments;
mod paywall;
mod policy;
mod postgres;
mod prices;
mod provider;
mod provider_kind;
mod rate_classes;
mod redis;
mod retry;
mod route;
mod route_pattern;
mod sale;
mod server;
mod server_cors;
mod server_guard;
mod server_listen;
mod signing;
mod store;
mod tls;
mod token_prices;
mod trust_proxy;
mod upstream;
mod upstream_path;
mod upstream_tls;
mod vault;

pub use acme::{Acme, AcmeChallenge};
pub use anomaly::{Anomaly, AnomalyAction};
pub use audit::{
    AccessOnFailure, AccessSuccess, Audit, Hold, MaskIp, ProxyRequests, Require, UnknownTokenMask,
    UserAgent,
};
pub use audit_kept::{
    Anchor, AnchorHook, AuditEvents, AuditFormat, AuditUserId, CheckpointEvery, Rotate,
};
pub use audit_sinks::{AuditSink, SinkPlace, SinkSecret, SinkUrl};
pub use auth::Auth;
pub use breaker::Breaker;
pub use budget_scope::{BudgetScope, PairText, TokenName};
pub use budget_text::{limit_of, measure_of, window_of};
pub use budgets::{BudgetSetting, Budgets, KnownTool, Ledger, ReceiptsMode, UsageMode};
pub use cache::{Cache, CacheMethod, CacheScope, HitPrice, RouteCache, SurfaceCache};
pub use compat::Compat;
pub use egress::{Egress, Resolver, ResolverMode};
pub use egress_proxy::Proxy;
pub use front_door::{FrontDoor, Jwt, ServiceTokenFields};
pub use headers::HeaderRules;
pub use hooks::{Callout, HookStep, Hooks, Receiver, Webhook, WebhookEvent};
pub use key_service::{KeyService, KeyServiceKind};
pub use llm::{Llm, Surface, Surfaces};
pub use logging::{AccessLog, Format, Level, LineStyle, LogRotation, Logging};
pub use maintenance::{MESSAGE_CHARS_MAX as MAINTENANCE_MESSAGE_CHARS_MAX, Maintenance};
pub use management::{Management, ManagementListen, OnDataPort, SessionTimes};
pub use metrics::Metrics;
pub use models::{CatalogModel, Models};
pub use oidc::Oidc;
pub use payments::{
    Facilitator, FacilitatorAt, FacilitatorTimeouts, FailedProofs, MidStream, Payments, Terms,
    Verify, X402,
};
pub use paywall::Paywall;
pub use postgres::{PostgresServer, PostgresTls};
pub use prices::Prices;
pub use provider::{Credential, CredentialTenant, Provider, ProviderRate};
pub use provider_kind::ProviderKind;
pub use rate_classes::StrictRate;
pub use redis::{Redis, RedisServer};
pub use retry::Retry;
pub use route::{Access, ContentCoding, RateBy, RateLimit, Route};
pub(crate) use route_pattern::is_reserved_path;
pub use route_pattern::{Method, Methods, PathPattern, Segment};
pub use sale::{Accept, Sale};
pub use server::{
    AllowedHosts, ClientIp, ClientIpSource, Drain, Limits, SecurityHeaders, Server, Timeouts,
};
pub use server_cors::Cors;
pub use server_guard::{IpRate, Rate, RateScope};
pub use server_listen::Listen;
pub use signing::{BoltPath, Signing, SigningKey, SigningMode};
pub use store::{Migrate, Postgres, StoreSettings};
pub use tls::{CertificateFiles, ClientAuth, Tls};
pub use token_prices::{TokenCalls, TokenPrices};
pub use upstream::{
    OpenApiAt, OpenApiRefresh, Pool, PoolScope, SecretOrText, Upstream, UpstreamTimeouts,
};
pub use upstream_path::UpstreamPath;
pub use upstream_tls::UpstreamTls;
pub use vault::{KekSetting, KekSource, KekUse, Vault};

use self::trust_proxy::{TrustProxy, TrustProxyKind};
use self::vault::VaultFile;
use crate::check::Checks;
use crate::field::{KindExt, listed, mapped, named, plain_name, section};
use crate::kind::{choice, maybe, path, pay_to, switch, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_payments::evm::Address;
use tollkeep_payments::x402::Networks;
use tollkeep_policy::call_policy::CallPolicy;

/// Everything the program is told, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How strict start-up is (OPS-5).
    pub environment: Environment,
    /// Database, keys, sockets, first management key. Made with mode 0700.
    pub data_dir: PathBuf,
    /// Where files with credentials of providers are read from.
    pub auth_dir: Option<PathBuf>,
    /// The data listener and everything that guards it.
    pub server: Server,
    /// The management listener.
    pub management: Management,
    /// The metrics listener.
    pub metrics: Metrics,
    /// Access tokens, management keys and the encryption key.
    pub auth: Auth,
    /// Where key-encryption keys may come from.
    pub vault: Vault,
    /// The database.
    pub store: StoreSettings,
    /// Where replicas share the counters of rate limits; `None` is nowhere.
    pub redis: Option<Redis>,
    /// The counters of rate limits.
    pub counters: Counters,
    /// What may be dialled.
    pub egress: Egress,
    /// What calls may ask for; `None` is anything.
    pub policy: Option<Arc<CallPolicy>>,
    /// Plain upstreams, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Routes to plain upstreams, in the order of the file.
    pub routes: Vec<Route>,
    /// The networks that payments name, with their short names.
    pub networks: Networks,
    /// How payments are taken.
    pub payments: Payments,
    /// What is asked at certain moments of requests, where their routes don't say otherwise.
    pub hooks: Hooks,
    /// Who is told of events.
    pub webhooks: Vec<Webhook>,
    /// What people see where a request is to be paid for.
    pub paywall: Paywall,
    /// LLM providers, in the order of the file.
    pub providers: Vec<Provider>,
    /// Model names.
    pub models: Models,
    /// What is unusual in the use of tokens.
    pub anomaly: Anomaly,
    /// The LLM surfaces.
    pub llm: Llm,
    /// What models cost.
    pub prices: Prices,
    /// How money of calls is written down.
    pub ledger: Ledger,
    /// Limits of what calls may cost or use.
    pub budgets: Budgets,
    /// Answers that are kept; `None` is none.
    pub cache: Option<Cache>,
    /// The audit log.
    pub audit: Audit,
    /// The process log and the access log.
    pub logging: Logging,
    /// The built-in sandbox.
    pub sandbox: Sandbox,
    /// What other gateways' callers expect.
    pub compat: Compat,
    /// When the settings are taken over anew.
    pub reload: Reload,
}

/// `production` turns advice into errors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Environment {
    /// Advice is printed; start-up goes on.
    Development,
    /// Advice stops start-up.
    Production,
}

pub(crate) const ENVIRONMENTS: [(&str, Environment); 2] = [
    ("development", Environment::Development),
    ("production", Environment::Production),
];

keys! {
    /// The built-in sandbox, for first steps and tests.
    #[derive(Copy, Eq, PartialEq)]
    pub struct Sandbox {
        /// Whether the built-in upstream is there as provider `sandbox`, where no provider of that
        /// kind is written. Refused in production and on a public bind.
        upstream: bool = switch().or(false),
    }
}

keys! {
    /// When the settings of a running gateway are taken over anew.
    #[derive(Copy, Eq, PartialEq)]
    pub struct Reload {
        /// Whether that is done when the file, or a file that it names for a secret or for
        /// certificates, has changed and been left alone for 300 ms. `tollkeep config reload`
        /// and SIGHUP do it in any case.
        watch: bool = switch().or(true),
    }
}

keys! {
    /// The counters of rate limits in memory.
    #[derive(Copy, Eq, PartialEq)]
    pub struct Counters {
        /// Limits counted at a time, by address, token and the like; each takes up to 128 bytes.
        /// With all of them in use, new ones share cells.
        keys_max: usize = whole(1_024..=10_000_000).or(100_000),
    }
}

keys! {
    /// Routes that cost nothing.
    pub(crate) struct FreeRoutes {
        /// Whether each must say its own `rate_limit`, instead of having 10 a second, burst 20.
        require_explicit_limit: bool = switch().or(false),
    }
}

keys! {
    /// How this file itself is read.
    pub(crate) struct FileRules {
        /// Whether secrets may be written out in production too, instead of `${NAME}` or
        /// `${file:/path}`.
        insecure_literal_secrets: bool = switch().or(false),
    }
}

keys! {
    /// The configuration of Tollkeep.
    pub(crate) struct File {
        /// Version of this format.
        _version as "version": u32 = whole(1..=1).or(1),
        /// `production` turns advice into errors.
        environment: Environment = choice(&ENVIRONMENTS).or(Environment::Development),
        /// Folder of the database, keys, sockets and the audit log; made with mode 0700.
        data_dir: PathBuf = path().or(PathBuf::from("./data")),
        /// A folder of credentials: `<provider>*.json`, each `{"type": "api_key", "token": "…",
        /// "priority": 0}`. What stands in them is sealed in the store, at start and when one
        /// changes; the files stay as they are. Mode 0700, its files 0600. Without it: none.
        auth_dir: Option<PathBuf> = maybe(path()).or(None),
        config: FileRules = section(),
        /// As `server.trust_proxy`.
        trust_proxy: Option<TrustProxy> = TrustProxyKind.optional(),
        server as "server" | "gateway": server::ServerFile = section(),
        management: management::ManagementFile = section(),
        metrics: metrics::MetricsFile = section(),
        auth: auth::AuthFile = section(),
        vault: VaultFile = section(),
        anomaly: anomaly::AnomalyFile = section(),
        store: store::StoreFile = section(),
        redis: redis::RedisFile = section(),
        counters: Counters = section(),
        egress: egress::EgressFile = section(),
        policy: policy::PolicyFile = section(),
        /// Upstreams of plain routes, by name.
        upstreams: Vec<(String, upstream::UpstreamFile)> = named(plain_name),
        /// Plain routes, by `METHOD /path`; several methods as `GET,POST`, all as `ANY`. A path
        /// segment is literal, `:name` for one, or `*` at the end for the rest.
        routes: Vec<(String, route::RouteFile)> = named(|_| Ok(())),
        /// LLM providers, by name.
        providers: Vec<(String, provider::ProviderFile)> = named(plain_name),
        free_routes: FreeRoutes = section(),
        defaults: market::DefaultsFile = section(),
        /// With what routes can be paid that don't say it themselves.
        accepts: Vec<sale::AcceptFile> = listed(),
        /// Who is paid, by network.
        wallets: Vec<(String, Address)> = mapped(pay_to()),
        /// Who verifies and settles: a URL, or `{default: URL, chains: {base/USDC: URL}}`. The short
        /// form of `payments.x402.facilitators` and `payments.x402.use`.
        facilitator: Option<facilitator::Addresses> = facilitator::AddressesKind.optional(),
        payments: payments::PaymentsFile = section(),
        hooks: hooks::HooksFile = section(),
        /// Who is told of events.
        webhooks: Vec<hooks::WebhookFile> = listed(),
        paywall: Paywall = section(),
        models: models::ModelsFile = section(),
        llm: llm::LlmFile = section(),
        prices: Prices = section(),
        ledger: Ledger = section(),
        budgets: budgets::BudgetsFile = section(),
        cache: cache::CacheFile = section(),
        audit: audit::AuditFile = section(),
        logging: Logging = section(),
        sandbox: Sandbox = section(),
        compat: Compat = section(),
        reload: Reload = section(),
    }
}

impl Settings {
    /// The settings of a file. What `checks` reported makes them void.
    pub(crate) fn check(file: File, checks: &mut Checks<'_>) -> Self {
        let egress = file.egress.check(checks);
        let server = file.server.check(&egress, file.trust_proxy, checks);
        let upstreams = upstream::check(file.upstreams, &egress, checks);
        let llm = file.llm.check(checks);
        file.compat.check(&llm.settings, checks);
        let mut providers = provider::check(file.providers, &llm, &egress, checks);
        let market = market::MarketFile {
            defaults: file.defaults,
            facilitator: file.facilitator,
            payments: file.payments,
            accepts: file.accepts,
            wallets: file.wallets,
        };
        let market = market.check(&egress, checks);
        let hooks = file.hooks.of_all(&egress, checks);
        let routes = route::check(file.routes, (&upstreams, &market, &hooks, &egress), checks);
        let cache = file.cache.check(&routes, checks);
        between::check_limits(&file.free_routes, &routes, checks);
        let webhooks = hooks::webhooks(file.webhooks, &egress, checks);
        between::check_receivers(&webhooks, &hooks, &routes, checks);
        if file.sandbox.upstream && !providers.iter().any(Provider::is_sandbox) {
            providers.extend(Provider::sandbox(&llm));
        }
        between::check_sandbox(&file.sandbox, &server, &providers, checks);
        payment_sandbox::check(&market.payments, &server, &routes, checks);
        between::check_memory(&server.limits, llm.settings.max_request_body_bytes, checks);
        between::check_audit(&file.audit, &routes, checks);
        let audit = file.audit.check(&file.data_dir, &egress, checks);
        between::check_log(&file.logging, &audit, checks);
        let vault = file.vault.check(&egress, checks);
        let management = file.management.check(&egress, checks);
        between::check_local(&management, &server, checks);
        let metrics = file.metrics.check(&egress, checks);
        let by_tls = [&server.tls, &management.tls, &metrics.tls];
        between::check_challenges(&server, by_tls, checks);
        Self {
            environment: file.environment,
            management,
            metrics,
            auth: file.auth.check(&vault, checks),
            vault,
            anomaly: file.anomaly.check(),
            store: file.store.check(&file.data_dir, checks),
            redis: file.redis.check(checks),
            counters: file.counters,
            audit,
            data_dir: file.data_dir,
            auth_dir: file.auth_dir,
            server,
            policy: file.policy.check(&KeyPath::of("policy"), checks),
            hooks,
            webhooks,
            egress,
            upstreams,
            routes,
            networks: market.networks,
            payments: market.payments,
            paywall: file.paywall,
            models: file.models.check(&providers, checks),
            providers,
            llm: llm.settings,
            prices: file.prices.check(checks),
            budgets: file.budgets.check(&file.ledger, checks),
            cache,
            ledger: file.ledger,
            logging: file.logging,
            sandbox: file.sandbox,
            compat: file.compat,
            reload: file.reload,
        }
    }
}

impl Settings {
    /// The files of certificates and keys that outgoing connections are made with.
    pub fn egress_files(&self) -> impl Iterator<Item = &PathBuf> {
        let upstreams = self
            .upstreams
            .iter()
            .filter_map(|upstream| upstream.tls.as_ref());
        let providers = self
            .providers
            .iter()
            .filter_map(|provider| provider.tls.as_ref());
        let tls = upstreams.chain(providers).flat_map(UpstreamTls::files);
        self.egress.files().chain(tls)
    }
}

/// The longest time most keys take.
const DAY_MS: i64 = 86_400_000;

/// The longest life of anything.
const TEN_YEARS_MS: i64 = 3_650 * DAY_MS;

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}
