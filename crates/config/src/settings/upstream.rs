//! Plain upstreams, and what every upstream connection has.

use super::egress::operator_url;
use super::headers::{HeaderRules, HeadersFile, section_or_fields};
use super::signing::{self, Signing, SigningFile};
use super::upstream_tls::{UpstreamTls, UpstreamTlsFile};
use super::{Breaker, DAY_MS, Egress, Retry, ms};
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff, section, section_or_off};
use crate::kind::{
    Parsed, choice, list, millis, networks_or_all_private, parsed, priced, switch,
    upstream_timeout, whole,
};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;
use tollkeep_payments::price::Price;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Purpose};
use tollkeep_types::Secret;

/// A plain upstream.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name in the file.
    pub name: String,
    /// Scheme, host, port and base path.
    pub url: EgressUrl,
    /// Which fields go there, and which come back.
    pub headers: HeaderRules,
    /// Times.
    pub timeouts: UpstreamTimeouts,
    /// Connections kept.
    pub pool: Pool,
    /// When it is left alone; `None` is never.
    pub breaker: Option<Breaker>,
    /// What is repeated.
    pub retry: Retry,
    /// Private networks this upstream may be in (EDGE-97).
    pub allow_private: Vec<IpNet>,
    /// Whether cloud metadata addresses are allowed too.
    pub allow_metadata: bool,
    /// Whether fresh forwarding fields tell the upstream who called (EDGE-71).
    pub forward_client_ip: bool,
    /// Names of the caller's cookies that go there (EDGE-71).
    pub forward_cookies: Vec<Box<str>>,
    /// How requests to it are signed.
    pub signing: Option<Signing>,
    /// TLS towards it, where it is not that of all.
    pub tls: Option<UpstreamTls>,
    /// The document that says which routes it has.
    pub openapi: Option<OpenApiAt>,
    /// When that is fetched.
    pub openapi_refresh: OpenApiRefresh,
    /// It bills a call no further that is cancelled (LED-58).
    pub cancel_stops_billing: bool,
}

/// Where an `OpenAPI` document is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OpenApiAt {
    /// On this machine.
    File(PathBuf),
    /// At this address; what is read is the copy of what was fetched.
    Url(EgressUrl),
}

/// When a document is fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenApiRefresh {
    /// By `tollkeep import` alone.
    Never,
    /// At each start too.
    Start,
}

const REFRESHES: [(&str, OpenApiRefresh); 2] = [
    ("never", OpenApiRefresh::Never),
    ("start", OpenApiRefresh::Start),
];

/// The value of a field we set.
#[derive(Clone, Debug)]
pub enum SecretOrText {
    /// Written in the file.
    Text(String),
    /// Came from the environment or a file, or belongs to a credential field.
    Secret(Secret),
}

impl SecretOrText {
    /// The value itself.
    pub fn expose(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

/// Times of one call to an upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamTimeouts {
    /// Name look-up, TCP and TLS.
    pub connect: Duration,
    /// Request sent to first byte of the answer.
    pub first_byte: Duration,
    /// Between two bytes of the answer.
    pub idle: Duration,
    /// A streamed answer in all.
    pub total_stream: Duration,
    /// Any other answer in all.
    pub total: Duration,
}

keys! {
    /// An upstream of plain routes.
    pub(crate) struct UpstreamFile {
        /// Scheme, host, port and base path; the path of a request is put behind the base path.
        url: Option<EgressUrl> = parsed("URL", |text| operator_url(text, Purpose::Upstream))
            .required(),
        headers: HeadersFile = section_or_fields(),
        /// The same as `timeouts.first_byte_ms`.
        timeout: Option<Duration> = upstream_timeout(1..=DAY_MS).optional(),
        timeouts: TimeoutsFile = section(),
        pool: Pool = section(),
        breaker: OnOrOff<Breaker> = section_or_off(),
        retry: Retry = section(),
        /// Private networks this upstream may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
        /// Whether metadata services of clouds within `allow_private` may be called. They hand
        /// out the machine's own credentials.
        dangerously_allow_metadata: bool = switch().or(false),
        /// Whether fresh `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Real-IP` tell the upstream
        /// who called; the caller's own are never sent.
        forward_client_ip: bool = switch().or(false),
        /// Names of cookies that go to the upstream; it gets no others. It can set none, unless
        /// `headers.response.allow` has `set-cookie`.
        forward_cookies: Vec<Box<str>> = list(cookie_name()).or_empty(),
        /// Whether it is known to bill a call of a model no further that is cancelled, on routes with
        /// `pricing.model: tokens`. Say so only if it does: else a stream that is cut off is charged less
        /// than you are.
        cancel_stops_billing: bool = switch().or(false),
        /// Whether the caller's `Origin` goes to the upstream. Default: not in mode `allow` of
        /// `headers.request`, else it does.
        forward_origin: Option<bool> = switch().optional(),
        signing: SigningFile = section(),
        tls: UpstreamTlsFile = section(),
        /// An OpenAPI document, 3.0 or 3.1 in JSON or YAML, at most 8 MiB: a file, or a URL. Each of
        /// its operations is a route `METHOD /<name of the upstream>/<path>`, unless a route that is
        /// written takes all of its requests. A URL is fetched by `tollkeep import --from openapi`.
        openapi: Option<OpenApiAt> = parsed("file or URL", openapi_at).optional(),
        /// When a document at a URL is fetched: `never`, by `tollkeep import` alone; `start`, at each
        /// start too. If that fails, the last good copy is used.
        openapi_refresh: OpenApiRefresh = choice(&REFRESHES).or(OpenApiRefresh::Never),
        /// What a request of the document's routes costs. Default: `defaults.price`; without it they
        /// want an access token.
        default_price: Option<Price> = priced().optional(),
    }
}

fn openapi_at(text: &str) -> Result<OpenApiAt, String> {
    match text {
        "" => Err("is empty: want a file or a URL".to_owned()),
        text if text.contains("://") => operator_url(text, Purpose::Upstream).map(OpenApiAt::Url),
        text => Ok(OpenApiAt::File(text.into())),
    }
}

/// The name of a cookie (RFC 6265, section 4.1.1).
const fn cookie_name() -> Parsed<Box<str>> {
    parsed("cookie name", |text| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(token) {
            return Err("is no name of a cookie".to_owned());
        }
        Ok(text.into())
    })
}

keys! {
    /// Times of one call.
    pub(crate) struct TimeoutsFile {
        /// Name look-up, TCP and TLS. Default 5000; of a provider `llm.connect_timeout_ms`.
        connect as "connect_ms": Option<Duration> = millis(1..=DAY_MS).optional(),
        /// Request sent to first byte of the answer. Default 60000; of a provider
        /// `llm.upstream_timeout_ms`.
        first_byte as "first_byte_ms": Option<Duration> = millis(1..=DAY_MS).optional(),
        /// Between two bytes of the answer. Default 120000; of a provider
        /// `llm.idle_timeout_ms`.
        idle as "idle_ms": Option<Duration> = millis(1..=DAY_MS).optional(),
        /// The whole answer. Default 3600000 for streams, of a provider `llm.stream.max_s`;
        /// 600000 for other answers.
        total as "total_ms": Option<Duration> = millis(1..=DAY_MS).optional(),
    }
}

keys! {
    /// Connections kept.
    #[derive(Eq, PartialEq)]
    pub struct Pool {
        /// Idle connections kept per host and worker.
        idle_per_host_max: usize = whole(0..=10_000).or(Self::DEFAULT.idle_per_host_max),
        /// How long an idle connection is kept.
        idle as "idle_ms": Duration = millis(1..=DAY_MS).or(Self::DEFAULT.idle),
        /// Open connections per host and worker; a call beyond is refused with 503 `overloaded`.
        connections_max: usize = whole(1..=100_000).or(Self::DEFAULT.connections_max),
        /// Who uses a connection: `shared`, one caller after the other; `project`, callers of one
        /// project only.
        scope: PoolScope = choice(&POOL_SCOPES).or(Self::DEFAULT.scope),
    }
}

/// Who uses one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolScope {
    /// One caller after the other.
    Shared,
    /// Callers of one project.
    Project,
}

const POOL_SCOPES: [(&str, PoolScope); 2] = [
    ("shared", PoolScope::Shared),
    ("project", PoolScope::Project),
];

impl Pool {
    /// What holds where nothing is written.
    pub(super) const DEFAULT: Self = Self {
        idle_per_host_max: 256,
        idle: ms(60_000),
        connections_max: 4_096,
        scope: PoolScope::Shared,
    };
}

impl UpstreamTimeouts {
    /// The times of plain upstreams.
    pub(super) const PLAIN: Self = Self {
        connect: ms(5_000),
        first_byte: ms(60_000),
        idle: ms(120_000),
        total_stream: ms(3_600_000),
        total: ms(600_000),
    };
}

impl TimeoutsFile {
    pub(super) fn or(self, defaults: &UpstreamTimeouts) -> UpstreamTimeouts {
        UpstreamTimeouts {
            connect: self.connect.unwrap_or(defaults.connect),
            first_byte: self.first_byte.unwrap_or(defaults.first_byte),
            idle: self.idle.unwrap_or(defaults.idle),
            total_stream: self.total.unwrap_or(defaults.total_stream),
            total: self.total.unwrap_or(defaults.total),
        }
    }
}

/// The upstreams that passed.
pub(super) fn check(
    files: Vec<(String, UpstreamFile)>,
    egress: &Egress,
    checks: &mut Checks<'_>,
) -> Vec<Upstream> {
    let checked = files
        .into_iter()
        .map(|(name, file)| file.check(name, egress, checks));
    checked.flatten().collect()
}

impl UpstreamFile {
    fn check(mut self, name: String, egress: &Egress, checks: &mut Checks<'_>) -> Option<Upstream> {
        let path = KeyPath::of("upstreams").name(&name);
        if self.timeout.is_some() && self.timeouts.first_byte.is_some() {
            let problem = "is the same as `timeouts.first_byte_ms`; write one of them";
            checks.error_at(&path.name("timeout"), problem);
        }
        self.timeouts.first_byte = self.timeouts.first_byte.or(self.timeout);
        let url = self.url?;
        let exceptions = Exceptions {
            allow_private: self.allow_private,
            allow_metadata: self.dangerously_allow_metadata,
        };
        if let Err(problem) = egress.admit(&url, &exceptions) {
            checks.error_at(&path.name("url"), problem);
        }
        let signing = self.signing.check(&path.name("signing"), checks);
        if signing.is_some() {
            signing::check_set_headers(&self.headers.set, &path.name("headers"), checks);
        }
        let headers = &path.name("headers");
        let headers = self.headers.check(self.forward_origin, headers, checks);
        let tls = self.tls.check(&url, &path.name("tls"), checks);
        if self.openapi.is_none() && self.default_price.is_some() {
            let problem = "is for the routes of `openapi`, which is not written";
            checks.error_at(&path.name("default_price"), problem);
        }
        check_document(self.openapi.as_ref(), (&path, egress, &exceptions), checks);
        Some(Upstream {
            name,
            tls,
            url,
            headers,
            timeouts: self.timeouts.or(&UpstreamTimeouts::PLAIN),
            pool: self.pool,
            breaker: self.breaker.read(),
            retry: self.retry,
            allow_private: exceptions.allow_private,
            allow_metadata: exceptions.allow_metadata,
            forward_client_ip: self.forward_client_ip,
            forward_cookies: self.forward_cookies,
            signing,
            openapi: self.openapi,
            openapi_refresh: self.openapi_refresh,
            cancel_stops_billing: self.cancel_stops_billing,
        })
    }
}

/// What can't be of a document.
fn check_document(
    at: Option<&OpenApiAt>,
    (path, egress, exceptions): (&KeyPath, &Egress, &Exceptions),
    checks: &mut Checks<'_>,
) {
    let refresh = path.name("openapi_refresh");
    match at {
        Some(OpenApiAt::Url(url)) => {
            if let Err(problem) = egress.admit(url, exceptions) {
                checks.error_at(&path.name("openapi"), problem);
            }
        }
        Some(OpenApiAt::File(_)) | None => {
            if checks.is_written_at(&refresh) {
                checks.error_at(
                    &refresh,
                    "is for a URL in `openapi`: nothing is fetched here",
                );
            }
        }
    }
}
