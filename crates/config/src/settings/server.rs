//! The data listener: where it binds, whom it believes, what it lets through.

use super::discovery::PublicFile;
use super::front_door::{FrontDoor, FrontDoorFile};
use super::maintenance::{self, Maintenance, message};
use super::rate_classes::{RateClassesFile, StrictRate};
use super::server_cors::{Cors, CorsFile};
use super::server_guard::{GlobalRateFile, IpRate, Rate, Security};
use super::server_listen::{self, Guards, LOOPBACK, Listen, ListenFile};
use super::tls::{Tls, TlsFile, knows_certificates};
use super::trust_proxy::{TrustProxy, TrustProxyKind};
use super::{DAY_MS, Egress, GIB, KIB, MIB, ms};
use crate::check::Checks;
use crate::field::{KindExt, field_name, flat, listed, section};
use crate::kind::{
    Parsed, address, bytes, bytes_or_auto, list, millis, network, parsed, seconds, switch, whole,
    whole_or_auto,
};
use crate::reader::keys;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;
use tollkeep_policy::client_ip::{self as rules, ClientIpRules};
use tollkeep_policy::ip_list::{IpLists, IpSet};
use tollkeep_types::AuthorityPattern;

pub use super::server_guard::SecurityHeaders;

/// The data listener and everything that guards it.
#[derive(Clone, Debug)]
pub struct Server {
    /// The data listeners, at least one.
    pub listen: Vec<Listen>,
    /// Whether they are those of `server.listen`.
    pub listen_written: bool,
    /// Workers; `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// Replicas that share limits.
    pub replicas: u32,
    /// Listen backlog, set explicitly.
    pub backlog: u32,
    /// Whether HTTP/2 is offered over TLS (EDGE-13).
    pub http2: bool,
    /// Whether HTTP/2 is spoken in clear text too (EDGE-21).
    pub h2c: bool,
    /// TLS towards callers; `None` is clear text.
    pub tls: Option<Tls>,
    /// Authorities served (EDGE-3).
    pub allowed_hosts: AllowedHosts,
    /// How callers know this gateway, without `/` at its end.
    pub public_url: Option<Box<str>>,
    /// Whether anybody may read what is sold.
    pub discovery: bool,
    /// Peers that may speak for a client.
    pub trusted_proxies: Vec<IpNet>,
    /// How the client address is found behind a trusted proxy.
    pub client_ip: ClientIp,
    /// Whether a caller's well-formed `X-Request-Id` is kept.
    pub trust_request_id: bool,
    /// Field names with `_` that pass (EDGE-24), lower case.
    pub underscore_headers: Vec<Box<str>>,
    /// Whose pages may call; `None` is nobody's.
    pub cors: Option<Cors>,
    /// The limit of all data requests together; `None` is off.
    pub rate: Option<Rate>,
    /// The limit of log-ins and of tests of outside things.
    pub strict_rate: StrictRate,
    /// Who may come at all.
    pub ip_lists: IpLists,
    /// The per-address limit; `None` is off.
    pub ip_rate: Option<IpRate>,
    /// Addresses without that limit, and without the default limit of free routes.
    pub rate_exempt: Vec<IpNet>,
    /// The fields on every answer; `None` is off (development only).
    pub security_headers: Option<SecurityHeaders>,
    /// Whether callers are told to come back later.
    pub maintenance: Maintenance,
    /// Sizes and counts.
    pub limits: Limits,
    /// Times a connection may take.
    pub timeouts: Timeouts,
    /// The second factor.
    pub front_door: Option<FrontDoor>,
    /// How the process stops.
    pub drain: Drain,
}

/// The authorities a listener serves (EDGE-3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AllowedHosts {
    /// Loopback names and the address bound; only a loopback listener has this.
    Defaults,
    /// These, and no others.
    Listed(Vec<AuthorityPattern>),
}

keys! {
    /// The data listener, which callers use.
    pub(crate) struct ServerFile {
        /// Address of the data listener. Another than loopback needs `tls`, `trusted_proxies` or
        /// `insecure_public_http`, and `allowed_hosts`.
        host as "host" | "hostname": IpAddr = address().or(LOOPBACK),
        /// Port of the data listener; 0 lets the system choose one.
        port: u16 = whole(0..=65_535).or(8317),
        /// Several data listeners, instead of `host` and `port`. Read at start only.
        listen: Vec<ListenFile> = listed(),
        /// Worker threads; `auto` is one per core.
        workers: Option<NonZeroUsize> = whole_or_auto(1_024).or(None),
        /// Replicas that share limits in Redis. While Redis is away, each keeps this part of every
        /// limit.
        replicas: u32 = whole(1..=1_000).or(1),
        /// Connections the kernel queues before they are accepted.
        backlog: u32 = whole(1..=65_535).or(4_096),
        /// Whether callers over TLS are offered HTTP/2, by ALPN; HTTP/1.1 always is.
        http2: bool = switch().or(true),
        /// Whether callers may speak HTTP/2 without TLS, with prior knowledge; HTTP/1.1 is served
        /// on the same port as ever.
        h2c: bool = switch().or(false),
        tls: TlsFile = section(),
        /// Hosts that are served; any other gets 421. `*.example.com` is one label more;
        /// without a port any port is served. Empty: loopback names and the addresses bound.
        /// `*` serves every host, outside production only.
        allowed_hosts: Vec<AuthorityPattern> = list(authority()).or_empty(),
        public: PublicFile = flat(),
        /// Peers whose forwarding fields are believed.
        trusted_proxies: Vec<IpNet> = list(network()).or_empty(),
        /// Whom to believe, as tollbooth's files say it: `true` or a number of hops trusts a
        /// proxy on this machine, `{hops, cidrs}` the proxies named. Instead of `trusted_proxies`
        /// and `client_ip.hops`.
        trust_proxy: Option<TrustProxy> = TrustProxyKind.optional(),
        client_ip: ClientIp = section(),
        /// Whether a caller's well-formed `X-Request-Id` is kept instead of a new one, and its
        /// `X-Correlation-ID` answered.
        trust_request_id: bool = switch().or(false),
        http: Http = section(),
        /// Whether a public bind may be without TLS and without a proxy in front of it.
        insecure_public_http: bool = switch().or(false),
        cors: CorsFile = section(),
        security: Security = section(),
        rate_limit: GlobalRateFile = section(),
        rate_limit_classes: RateClassesFile = section(),
        /// Whether callers get 503 and `message`; health, management and metrics stay.
        maintenance_mode: bool = switch().or(false),
        /// What callers are told in maintenance.
        message: String = message().or(maintenance::MESSAGE.into()),
        /// When callers are told to come back.
        maintenance_retry_after as "maintenance_retry_after_s": Duration =
            seconds(1_000..=3_600_000).or(ms(120_000)),
        /// Addresses that are served in maintenance all the same.
        maintenance_allow_ips: Vec<IpNet> = list(network()).or_empty(),
        limits: Limits = section(),
        timeouts: Timeouts = section(),
        front_door: FrontDoorFile = section(),
        drain: Drain = section(),
    }
}

keys! {
    /// Details of HTTP.
    pub(crate) struct Http {
        /// Fields with `_` in the name that pass; others are dropped, since `_` and `-` are one
        /// to many upstreams. Coding tools send these two.
        underscore_headers: Vec<Box<str>> = list(underscore_name())
            .or(vec!["session_id".into(), "conversation_id".into()]),
    }
}

keys! {
    /// How the client address is found behind a trusted proxy.
    #[derive(Eq, PartialEq)]
    pub struct ClientIp {
        /// The one field that is read: `x-forwarded-for`, `forwarded`, `x-real-ip`, or another
        /// that holds one address, such as `cf-connecting-ip`.
        source: ClientIpSource = parsed("field name", str::parse)
            .or(ClientIpSource::XForwardedFor),
        /// Entries to walk back at most; 0 walks to the first that is no trusted proxy.
        hops: usize = whole(0..=32).or(0),
    }
}

keys! {
    /// Sizes and counts. None may be 0, and none means "unlimited".
    #[derive(Eq, PartialEq)]
    pub struct Limits {
        /// Fields of a request head; more get 431.
        header_fields_max: usize = whole(1..=1_000).or(100),
        /// Bytes of a request head; more get 431.
        header_bytes_max: usize = bytes(KIB..=MIB).or(32_768),
        /// Bytes of one field line; more get 431.
        header_line_bytes_max: usize = bytes(256..=MIB).or(8_192),
        /// Bytes of the request target; more get 414.
        target_bytes_max: usize = bytes(64..=64 * KIB).or(8_192),
        /// Bytes of a request body; more get 413. LLM surfaces have `llm.max_request_body_bytes`.
        request_body_bytes_max: u64 = bytes(1..=256 * MIB).or(1_048_576),
        /// Bytes of all request bodies held in memory together; beyond, calls get 503.
        request_body_memory_bytes_max: u64 = bytes(MIB..=1_024 * GIB).or(268_435_456),
        /// Bytes of an answer that has to be read whole; more are 502.
        response_buffer_bytes_max: u64 = bytes(1..=GIB).or(10_485_760),
        /// Bytes of a streamed answer; beyond, the connection is aborted.
        response_stream_bytes_max: u64 = bytes(1..=1_024 * GIB).or(52_428_800),
        /// Open client connections; more are closed.
        connections_max: usize = whole(1..=1_000_000).or(16_384),
        /// Open client connections of one address; more get 429.
        connections_per_ip_max: usize = whole(1..=1_000_000).or(512),
        /// Requests in work; more get 503.
        concurrent_requests_max: usize = whole(1..=1_000_000).or(4_096),
        /// Requests in work of one address; more get 429.
        concurrent_requests_per_ip_max: usize = whole(1..=1_000_000).or(256),
        /// Memory the process may use; near it, new requests get 503, those of strangers first.
        /// `auto` is 90 % of what the cgroup allows, and off where it allows all; 0 is off.
        memory_bytes_max: Option<u64> = bytes_or_auto(16 * MIB..=1_024 * GIB).or(None),
        /// From how much of `memory_bytes_max` and of `concurrent_requests_max` on new requests
        /// are turned away.
        shed_at_percent: u8 = whole(50..=100).or(90),
    }
}

keys! {
    /// Times a client connection may take. A stream that makes progress is never cut by them.
    #[derive(Eq, PartialEq)]
    pub struct Timeouts {
        /// Accept to the end of the TLS handshake; later, the connection is closed.
        tls_handshake as "tls_handshake_ms": Duration = millis(1..=DAY_MS).or(ms(10_000)),
        /// Accept, or the end of the TLS handshake, to first byte.
        first_byte as "first_byte_ms": Duration = millis(1..=DAY_MS).or(ms(10_000)),
        /// First byte to the end of the head; later gets 408.
        header as "header_ms": Duration = millis(1..=DAY_MS).or(ms(10_000)),
        /// Longest silence within a body; a longer one gets 408.
        body as "body_ms": Duration = millis(1..=DAY_MS).or(ms(30_000)),
        /// Slowest body after five seconds, in bytes per second; slower gets 408.
        body_min_rate_bytes_s: u64 = whole(1..=GIB).or(512),
        /// Between two requests.
        keep_alive_idle as "keep_alive_idle_ms": Duration = millis(1..=DAY_MS).or(ms(60_000)),
        /// Requests on one connection before it is closed.
        requests_per_connection_max: u64 = whole(1..=1_000_000_000).or(10_000),
        /// Age of a connection at which it is closed after the request in work.
        connection_age_max as "connection_age_max_ms": Duration = millis(1..=DAY_MS)
            .or(ms(3_600_000)),
        /// Longest time a client takes no byte of its answer before it is aborted.
        write_stall as "write_stall_ms": Duration = millis(1..=DAY_MS).or(ms(30_000)),
    }
}

keys! {
    /// How the process stops.
    #[derive(Eq, PartialEq)]
    pub struct Drain {
        /// How long the listeners still accept, so that a load balancer sees `/ready` fail first.
        delay as "delay_ms": Duration = millis(0..=DAY_MS).or(ms(0)),
        /// How long running requests get before they are aborted.
        timeout as "timeout_ms": Duration = millis(0..=DAY_MS).or(ms(30_000)),
    }
}

/// The field that names the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientIpSource {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Real-IP`.
    XRealIp,
    /// Another field holding one address, lower case.
    Field(Box<str>),
}

impl FromStr for ClientIpSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        field_name(&name)?;
        Ok(match name.as_str() {
            "x-forwarded-for" => Self::XForwardedFor,
            "forwarded" => Self::Forwarded,
            "x-real-ip" => Self::XRealIp,
            _ => Self::Field(name.into()),
        })
    }
}

impl fmt::Display for ClientIpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
            Self::Field(name) => name,
        })
    }
}

/// An authority pattern.
pub(super) const fn authority() -> Parsed<AuthorityPattern> {
    parsed(
        "host such as `api.example.com`, `*.example.com`, `[::1]:8317`, or `*`",
        |text| {
            let wrong = |_| format!("want a host such as `api.example.com`, not {text:?}");
            text.parse().map_err(wrong)
        },
    )
}

fn underscore_name() -> Parsed<Box<str>> {
    parsed("field name with `_`", |text| {
        let name = text.to_ascii_lowercase();
        field_name(&name)?;
        if !name.contains('_') {
            return Err(format!("{text:?} has no `_`"));
        }
        Ok(name.into())
    })
}

impl AllowedHosts {
    /// The hosts of a listener, by the rules of EDGE-3.
    pub(super) fn check(
        listed: Vec<AuthorityPattern>,
        host: IpAddr,
        key: &str,
        checks: &mut Checks<'_>,
    ) -> Self {
        if checks.in_production() && listed.iter().any(AuthorityPattern::is_any) {
            checks.error(
                key,
                "`*` is refused in production: name the hosts you serve",
            );
        }
        if listed.is_empty() && !host.is_loopback() {
            let problem = "must name the hosts served, since the address is not loopback";
            checks.error(key, problem);
        }
        if listed.is_empty() {
            Self::Defaults
        } else {
            Self::Listed(listed)
        }
    }
}

impl ServerFile {
    pub(super) fn check(
        mut self,
        egress: &Egress,
        top: Option<TrustProxy>,
        checks: &mut Checks<'_>,
    ) -> Server {
        let local_only = self.take_trust_proxy(top, checks);
        let listen = self.listeners(local_only, checks);
        for (index, net) in self.trusted_proxies.iter().enumerate() {
            if net.prefix_len() == 0 {
                let path = crate::tree::KeyPath::of("server.trusted_proxies").index(index);
                checks.error_at(&path, format!("{net} trusts everybody: name your proxies"));
            }
        }
        if self.limits.header_line_bytes_max > self.limits.header_bytes_max {
            let problem = "is larger than `server.limits.header_bytes_max`";
            checks.error("server.limits.header_line_bytes_max", problem);
        }
        let hosts = "server.allowed_hosts";
        let mut addresses = listen.iter().map(|listen| listen.addr.ip());
        let public = addresses.find(|ip| !ip.is_loopback()).unwrap_or(LOOPBACK);
        let tls = self.tls.check("server.tls", egress, checks);
        let front_door = self.front_door.check(
            &crate::tree::KeyPath::of("server.front_door"),
            egress,
            knows_certificates(tls.as_ref(), "server.tls"),
            checks,
        );
        if let Some(tls) = &tls {
            server_listen::check_clients(&listen, tls, checks);
        }
        Server {
            allowed_hosts: AllowedHosts::check(self.allowed_hosts, public, hosts, checks),
            public_url: self.public.public_url.filter(|url| !url.is_empty()),
            discovery: self.public.discovery,
            tls,
            listen,
            listen_written: !self.listen.is_empty(),
            workers: self.workers,
            replicas: self.replicas,
            backlog: self.backlog,
            http2: self.http2,
            h2c: self.h2c,
            trusted_proxies: self.trusted_proxies,
            client_ip: self.client_ip,
            trust_request_id: self.trust_request_id,
            underscore_headers: self.http.underscore_headers,
            cors: self.cors.check(checks),
            rate: self.rate_limit.check(checks),
            strict_rate: self.rate_limit_classes.strict(),
            ip_lists: self.security.ip_lists(checks),
            ip_rate: self.security.rate(checks),
            rate_exempt: self.security.rate_exempt(),
            security_headers: self.security.headers(checks),
            maintenance: Maintenance {
                on: self.maintenance_mode,
                message: self.message,
                retry_after: self.maintenance_retry_after,
                allow: IpSet::new(self.maintenance_allow_ips),
            },
            limits: self.limits,
            timeouts: self.timeouts,
            front_door,
            drain: self.drain,
        }
    }

    /// Brings `trustProxy` into `trusted_proxies` and `client_ip.hops`; says whether it trusts no
    /// other machine.
    fn take_trust_proxy(&mut self, top: Option<TrustProxy>, checks: &mut Checks<'_>) -> bool {
        let own = self.trust_proxy.take();
        let key = match &own {
            Some(_) => "server.trust_proxy",
            None => "trust_proxy",
        };
        if own.is_some() && top.is_some() && own != top {
            checks.error(
                "trust_proxy",
                "says something else than `server.trust_proxy`",
            );
        }
        let Some(trust) = own.or(top) else {
            return false;
        };
        if !self.trusted_proxies.is_empty() || self.client_ip.hops != 0 {
            let problem = "stands beside `server.trusted_proxies` or `server.client_ip.hops`, \
                           which say the same; write one";
            checks.error(key, problem);
            return false;
        }
        let local_only = matches!(trust, TrustProxy::Loopback { .. });
        if local_only {
            let problem = "trusts a proxy on this machine only; name one on another machine in \
                           `server.trusted_proxies`, or callers behind it have its address";
            checks.warn(key, problem);
        }
        (self.trusted_proxies, self.client_ip.hops) = trust.networks();
        local_only
    }

    /// Where to listen. `local_only`: no other machine's proxy is trusted.
    fn listeners(&self, local_only: bool, checks: &mut Checks<'_>) -> Vec<Listen> {
        // A proxy on this machine does not stand in front of a public address.
        let proxied = !self.trusted_proxies.is_empty() && !local_only;
        let guards = Guards {
            tls: self.tls.enabled,
            clear_text_allowed: proxied || self.insecure_public_http,
        };
        if self.listen.is_empty() {
            server_listen::one(self.host, self.port, guards, checks)
        } else {
            server_listen::several(&self.listen, guards, checks)
        }
    }
}

impl Limits {
    /// What bodies may have of `memory_bytes_max`: the program takes some 40 MiB, and a body up to
    /// as much again as it is long, in buffers of both sides and in what the allocator keeps.
    pub const fn room_for_bodies(memory_bytes_max: u64) -> u64 {
        memory_bytes_max / 3
    }
}

impl Server {
    /// Whether every listener is reached from this machine only.
    pub fn is_local(&self) -> bool {
        self.listen
            .iter()
            .all(|listen| listen.addr.ip().is_loopback())
    }

    /// Whom to believe about the client.
    pub fn client_ip_rules(&self) -> ClientIpRules {
        let source = match &self.client_ip.source {
            ClientIpSource::XForwardedFor => rules::ClientIpSource::XForwardedFor,
            ClientIpSource::Forwarded => rules::ClientIpSource::Forwarded,
            ClientIpSource::XRealIp => rules::ClientIpSource::XRealIp,
            ClientIpSource::Field(name) => rules::ClientIpSource::Named(name.clone()),
        };
        let hops = u32::try_from(self.client_ip.hops).ok();
        let hops = hops.filter(|hops| *hops > 0);
        ClientIpRules::new(&self.trusted_proxies, source, hops)
    }
}
