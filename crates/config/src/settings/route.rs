//! Routes to plain upstreams.

use super::cache::RouteCacheFile;
use super::discovery::ShownFile;
use super::hooks::{Hooks, HooksFile};
use super::market::Market;
use super::policy::PolicyFile;
use super::route_pattern::{Methods, PathPattern, is_reserved_path};
use super::sale::{Sale, SaleFile};
use super::server_cors::origin;
use super::{DAY_MS, Egress, GIB, MIB, RouteCache, Upstream, UpstreamPath};
use crate::check::Checks;
use crate::error::nearest;
use crate::field::{KindExt, OnOrOff, flat, section, section_or_off};
use crate::kind::{bytes, choice, duration, list, network, switch, text, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_policy::ip_list::IpSet;
use tollkeep_policy::origin::Origin;

/// Which requests go to which upstream, and on what terms.
#[derive(Clone, Debug)]
pub struct Route {
    /// The methods it takes.
    pub methods: Methods,
    /// The paths it takes.
    pub path: PathPattern,
    /// Name of its upstream; it exists.
    pub upstream: String,
    /// Who may call.
    pub access: Access,
    /// Origins that calls must come from; empty: any, or none.
    pub allowed_origins: Vec<Origin>,
    /// The only addresses that may call; `None` is any.
    pub allowed_ips: Option<IpSet>,
    /// Its own limit; a free route always has one (EDGE-86).
    pub rate: Option<RateLimit>,
    /// Bytes of a request body, instead of the server's limit.
    pub body_bytes_max: Option<u64>,
    /// Whether GET, HEAD and OPTIONS may carry a body.
    pub allow_body: bool,
    /// Whether a body is sent on while it arrives (EDGE-20).
    pub streaming: bool,
    /// The path at the upstream; `None` is the caller's.
    pub upstream_path: Option<UpstreamPath>,
    /// Whether `%2F` may stand in a path segment.
    pub allow_encoded_slash: bool,
    /// Whether `;` may stand in a path segment.
    pub allow_semicolon: bool,
    /// The content codings a body may have; it is sent on decoded.
    pub content_encodings: Vec<ContentCoding>,
    /// What calls may ask for; `None` is anything.
    pub policy: Option<Arc<CallPolicy>>,
    /// Bytes of a streamed answer, instead of the server's limit.
    pub response_stream_bytes_max: Option<u64>,
    /// What its requests cost; `None` is nothing that callers without a token could pay.
    pub sale: Option<Sale>,
    /// Whether strangers are told of it.
    pub discoverable: bool,
    /// What they are told besides.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What is asked at certain moments of its requests, and who is told.
    pub hooks: Hooks,
    /// Which of its answers are kept; `None` is none.
    pub cache: Option<RouteCache>,
}

impl Route {
    /// Whether somebody may pay for it.
    pub const fn is_paid(&self) -> bool {
        match self.access {
            Access::Payment | Access::TokenOrPayment => true,
            Access::Token | Access::Free => false,
        }
    }

    /// `GET,POST /path`, as in the file.
    pub fn name(&self) -> String {
        format!("{} {}", self.methods, self.path)
    }
}

/// Who may call a route (PAY-13).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Who holds a live access token.
    Token,
    /// Anybody.
    Free,
    /// Who pays for the request.
    Payment,
    /// Who holds a live access token, or pays.
    TokenOrPayment,
}

/// A content coding of request bodies (EDGE-37).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContentCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
}

impl ContentCoding {
    /// Those that are taken where nothing is said.
    pub const DEFAULT: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// The name in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
        }
    }
}

const CODINGS: [(&str, ContentCoding); 3] = [
    (ContentCoding::Gzip.name(), ContentCoding::Gzip),
    (ContentCoding::Zstd.name(), ContentCoding::Zstd),
    (ContentCoding::Brotli.name(), ContentCoding::Brotli),
];

/// A limit of one route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RateLimit {
    /// Requests in a window.
    pub requests: u64,
    /// The window.
    pub window: Duration,
    /// Requests at once.
    pub burst: u64,
    /// What a cell of the limit is.
    pub by: RateBy,
    /// Nobody wrote it: it is the one that a free route has at least.
    pub is_default: bool,
}

/// What a cell of a limit is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RateBy {
    /// The client address (IPv6: its /64).
    Ip,
    /// The access token.
    Token,
    /// The project.
    Project,
    /// All requests together.
    Global,
}

const BY: [(&str, RateBy); 4] = [
    ("ip", RateBy::Ip),
    ("token", RateBy::Token),
    ("project", RateBy::Project),
    ("global", RateBy::Global),
];

const ACCESS: [(&str, Access); 4] = [
    (Access::Token.name(), Access::Token),
    (Access::Free.name(), Access::Free),
    (Access::Payment.name(), Access::Payment),
    (Access::TokenOrPayment.name(), Access::TokenOrPayment),
];

impl Access {
    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Free => "free",
            Self::Payment => "payment",
            Self::TokenOrPayment => "token_or_payment",
        }
    }
}

keys! {
    /// A route to a plain upstream.
    pub(crate) struct RouteFile {
        /// Name of its upstream.
        upstream: Option<String> = text().required(),
        /// Who may call: `token`, holders of a live access token; `free`, anybody; `payment`, who
        /// pays; `token_or_payment`. Default: `payment` where a request costs something, `free`
        /// where its price is `"$0"`, `token` where it has none.
        access: Option<Access> = choice(&ACCESS).optional(),
        /// Origins that calls must come from; one without `Origin` is refused too. Empty: any.
        allowed_origins: Vec<Origin> = list(origin()).or_empty(),
        /// The only addresses that may call; others get 403.
        allowed_ips: Option<Vec<IpNet>> = list(network()).optional(),
        rate_limit: OnOrOff<RateFile> = section_or_off(),
        sale: SaleFile = flat(),
        shown: ShownFile = flat(),
        hooks: HooksFile = section(),
        request: RequestFile = section(),
        path: PathFile = section(),
        response: ResponseFile = section(),
        cache: RouteCacheFile = section(),
        policy: PolicyFile = section(),
    }
}

keys! {
    /// A limit of this route, or `off`. A free route without one has 10 a second, burst 20, by
    /// address, except for those in `server.security.rate_limiting.exempt`, and can't be without
    /// any.
    pub(crate) struct RateFile {
        /// Requests in a window.
        requests: Option<u64> = whole(1..=1_000_000_000).required(),
        /// The window.
        window: Option<Duration> = duration(1..=31 * DAY_MS).required(),
        /// Requests at once. Default: `requests`.
        burst: Option<u64> = whole(1..=1_000_000_000).optional(),
        /// Whose requests are counted together.
        by: RateBy = choice(&BY).or(RateBy::Ip),
    }
}

keys! {
    /// What a request may bring.
    pub(crate) struct RequestFile {
        /// Bytes of a body. Default: `server.limits.request_body_bytes_max`.
        body_bytes_max: Option<u64> = bytes(1..=256 * MIB).optional(),
        /// Whether GET, HEAD and OPTIONS may carry a body.
        allow_body: bool = switch().or(false),
        /// Whether a body is sent on while it arrives, instead of once it is whole: for uploads
        /// that are better not kept. Nothing looks into such a body, and its request is never
        /// repeated; so no `signing` of it, no `policy` here, no content coding. Calls that a
        /// project's or token's policy binds are read whole all the same.
        streaming: bool = switch().or(false),
        /// Content codings a body may have. It is decoded within its bound and sent on without
        /// one; any other coding gets 415, and with `streaming` every one.
        content_encodings: Vec<ContentCoding> = list(choice(&CODINGS))
            .or(ContentCoding::DEFAULT.to_vec()),
    }
}

keys! {
    /// What a path may hold besides plain segments, and what it is at the upstream. A text alone,
    /// `path: "/v1/x"`, is the same as `to`.
    pub(crate) struct PathFile {
        /// The path at the upstream, behind that of its `url`: `/v1/items/${params.id}`, with
        /// `${params.rest}` for `*` and `${query.NAME}`. Behind a `?` stands a query instead of the
        /// caller's. Default: the caller's path.
        to: Option<String> = text().optional(),
        /// Whether `%2F` may stand in a segment; it stays encoded and separates nothing.
        allow_encoded_slash: bool = switch().or(false),
        /// Whether `;` may stand in a segment.
        allow_semicolon: bool = switch().or(false),
    }
}

keys! {
    /// What an answer may bring.
    pub(crate) struct ResponseFile {
        /// Bytes of the answer. Default: `server.limits.response_stream_bytes_max`.
        stream_bytes_max: Option<u64> = bytes(1..=1_024 * GIB).optional(),
    }
}

/// What routes are judged by.
struct Terms<'a> {
    upstreams: &'a [Upstream],
    market: &'a Market,
    /// Hooks that hold where a route says nothing.
    hooks: &'a Hooks,
    egress: &'a Egress,
}

/// The routes that passed.
pub(super) fn check(
    files: Vec<(String, RouteFile)>,
    (upstreams, market, hooks, egress): (&[Upstream], &Market, &Hooks, &Egress),
    checks: &mut Checks<'_>,
) -> Vec<Route> {
    let terms = &Terms {
        upstreams,
        market,
        hooks,
        egress,
    };
    let mut routes: Vec<(String, Route)> = Vec::new();
    for (name, file) in files {
        let path = KeyPath::of("routes").name(&name);
        let Some(route) = file.check((&name, &path), terms, checks) else {
            continue;
        };
        let twin = routes.iter().find(|(_, other)| {
            other.path.is_same(&route.path) && other.methods.overlap(&route.methods)
        });
        if let Some((other, _)) = twin {
            checks.error_at(&path, format!("takes the same requests as `{other}`"));
        }
        routes.push((name, route));
    }
    routes.into_iter().map(|(_, route)| route).collect()
}

impl RouteFile {
    fn check(
        self,
        (name, path): (&str, &KeyPath),
        terms: &Terms<'_>,
        checks: &mut Checks<'_>,
    ) -> Option<Route> {
        let Terms {
            upstreams, market, ..
        } = *terms;
        let (methods, pattern) = read_name(name)
            .map_err(|problem| checks.error_at(path, problem))
            .ok()?;
        if is_reserved_path(&pattern) {
            checks.error_at(
                path,
                format!("`{pattern}` is answered by the gateway itself"),
            );
        }
        let upstream = self.upstream?;
        check_upstream(&upstream, &path.name("upstream"), upstreams, checks);
        if self.allowed_ips.as_ref().is_some_and(Vec::is_empty) {
            let problem = "names nobody: list addresses, or leave it out";
            checks.error_at(&path.name("allowed_ips"), problem);
        }
        let policy = self.policy.check(&path.name("policy"), checks);
        let mut content_encodings = self.request.content_encodings;
        if self.request.streaming {
            let at = path.name("request");
            let upstream = upstreams.iter().find(|known| known.name == upstream);
            check_streaming(&at, (upstream, policy.is_some()), checks);
            content_encodings = Vec::new();
        }
        let (access, sale) = self.sale.check(self.access, path, market, checks);
        let at = (&path.name("hooks"), terms.hooks);
        let hooks = self.hooks.check(at, terms.egress, checks);
        let hooks = hooks.after(sale.as_ref().and_then(|sale| sale.computed.as_ref()));
        let reads_body = |sale: &Sale| sale.bind_body || sale.pricing.reads_body();
        if self.request.streaming && (sale.as_ref().is_some_and(reads_body) || hooks.reads_body()) {
            let problem = "can't be with a price or a hook that depends on the body, or \
                           `bind_body`";
            checks.error_at(&path.name("request").name("streaming"), problem);
        }
        check_price_hooks(&hooks, sale.as_ref(), path, checks);
        let at = (&path.name("cache"), self.request.streaming);
        let cache = self.cache.check(at, checks);
        let upstream_path = self.path.to.as_ref().map(|to| {
            let read = UpstreamPath::read(to, &pattern);
            read.map_err(|problem| checks.error_at(&path.name("path"), problem))
        });
        let rate = self
            .rate_limit
            .read(access, &path.name("rate_limit"), checks);
        Some(Route {
            methods,
            path: pattern,
            upstream,
            access,
            allowed_origins: self.allowed_origins,
            allowed_ips: self.allowed_ips.map(IpSet::new),
            rate,
            body_bytes_max: self.request.body_bytes_max,
            allow_body: self.request.allow_body,
            streaming: self.request.streaming,
            content_encodings,
            upstream_path: upstream_path.and_then(Result::ok),
            allow_encoded_slash: self.path.allow_encoded_slash,
            allow_semicolon: self.path.allow_semicolon,
            policy,
            response_stream_bytes_max: self.response.stream_bytes_max,
            sale,
            discoverable: self.shown.discoverable,
            metadata: self.shown.metadata.unwrap_or_default(),
            hooks,
            cache,
        })
    }
}

/// What can't be had of a body that nobody sees whole.
fn check_streaming(
    request: &KeyPath,
    (upstream, has_policy): (Option<&Upstream>, bool),
    checks: &mut Checks<'_>,
) {
    let streaming = request.name("streaming");
    if let Some(upstream) = upstream
        && let Some(signing) = &upstream.signing
        && signing.mode.covers_body()
    {
        let problem = format!(
            "can't be: `upstreams.{}.signing` signs the body, which must be whole for that",
            upstream.name
        );
        checks.error_at(&streaming, problem);
    }
    if has_policy {
        let problem = "can't be with a `policy`, which looks into bodies";
        checks.error_at(&streaming, problem);
    }
    let codings = request.name("content_encodings");
    if checks.is_written_at(&codings) {
        let problem = "has no effect with `streaming`: such a body is not decoded";
        checks.error_at(&codings, problem);
    }
}

/// What a hook makes of a price has bounds (PAY-27).
fn check_price_hooks(hooks: &Hooks, sale: Option<&Sale>, path: &KeyPath, checks: &mut Checks<'_>) {
    if let Some(sale) = sale.filter(|_| !hooks.price.is_empty())
        && !matches!(sale.pricing.bounds(), (Some(_), Some(_)))
    {
        let problem = "needs `min_price` and `max_price`: `onPriceResolved` may change what \
                       requests cost, between the two";
        checks.error_at(path, problem);
    }
    if sale.is_some_and(|sale| sale.billing.is_some()) && !hooks.price.is_empty() {
        let problem = "has `onPriceResolved` and `billing`: what was paid by one price would be \
                       good for all of its calls";
        checks.error_at(path, problem);
    }
}

fn read_name(name: &str) -> Result<(Methods, PathPattern), String> {
    let (methods, path) = name
        .split_once(' ')
        .ok_or("want `METHOD /path`, such as `GET /v1/x`")?;
    Ok((methods.parse()?, path.trim_start().parse()?))
}

fn check_upstream(name: &str, path: &KeyPath, upstreams: &[Upstream], checks: &mut Checks<'_>) {
    let known = || upstreams.iter().map(|upstream| upstream.name.as_str());
    let declared = |line: &crate::reader::Line| *line.path() == KeyPath::of("upstreams").name(name);
    // One that is written but faulty has its own line.
    if known().any(|known| known == name) || checks.lines.iter().any(declared) {
        return;
    }
    let problem = match nearest(name, known()) {
        Some(near) => format!("no upstream is named {name:?}; did you mean `{near}`?"),
        None => format!("no upstream is named {name:?}"),
    };
    checks.error_at(path, problem);
}

impl OnOrOff<RateFile> {
    /// The limit of a route; a free one always has a limit (EDGE-86, PAY-15).
    fn read(self, access: Access, path: &KeyPath, checks: &mut Checks<'_>) -> Option<RateLimit> {
        match (self, access) {
            (Self::On(file), _) => file.check(),
            (Self::Absent, Access::Free) => Some(RateLimit {
                requests: 10,
                window: Duration::from_secs(1),
                burst: 20,
                by: RateBy::Ip,
                is_default: true,
            }),
            (Self::Off, Access::Free) => {
                let problem = "is off on a free route, which has no other protection \
                               (free_route_without_limit)";
                checks.error_at(path, problem);
                None
            }
            (
                Self::Absent | Self::Off,
                Access::Token | Access::Payment | Access::TokenOrPayment,
            ) => None,
        }
    }
}

impl RateFile {
    fn check(self) -> Option<RateLimit> {
        let requests = self.requests?;
        Some(RateLimit {
            requests,
            window: self.window?,
            burst: self.burst.unwrap_or(requests),
            by: self.by,
            is_default: false,
        })
    }
}
