//! What guards the data listener: limits of all and of each address, the fields on every answer.

use super::ip_lists::{self, AllowFile, DenyFile};
use crate::check::Checks;
use crate::field::{KindExt, section, switched};
use crate::kind::{Parsed, choice, list, network, parsed, switch, whole};
use crate::reader::{Field, Key, Reader, keys};
use ipnet::IpNet;
use std::time::Duration;
use tollkeep_policy::ip_list::IpLists;

/// So many requests in a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Requests in a window once the burst is used.
    pub requests: u64,
    /// The window.
    pub window: Duration,
    /// Requests at once.
    pub burst: u64,
}

/// The limit of each address, or of all together (EDGE-85, EDGE-93).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpRate {
    /// The limit.
    pub rate: Rate,
    /// Whether each address has its own; else all share one.
    pub per_ip: bool,
    /// Which requests count.
    pub scope: RateScope,
}

/// Which requests the per-address limit counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RateScope {
    /// Those that end without a proven caller.
    Unproven,
    /// All.
    All,
}

const SCOPES: [(&str, RateScope); 2] = [("unproven", RateScope::Unproven), ("all", RateScope::All)];

keys! {
    /// What guards the data listener.
    pub(crate) struct Security {
        ip_allowlist: AllowFile = section(),
        ip_denylist: DenyFile = section(),
        rate_limiting: IpRateFile = section(),
        headers: Option<SecurityHeaders> = switched(),
    }
}

keys! {
    /// The limit of all data requests together.
    pub(crate) struct GlobalRateFile {
        /// Whether there is one. A gateway that caps itself surprises, so it is off.
        enabled: bool = switch().or(false),
        /// Requests per second once the burst is used.
        requests_per_second: u32 = whole(1..=1_000_000).or(1_000),
        /// Requests per minute, instead of `requests_per_second`.
        requests_per_minute: Option<u32> = whole(1..=1_000_000).optional(),
        /// Requests at once. With `requests_per_minute` its default is as many as that.
        burst: u32 = whole(1..=1_000_000).or(2_000),
    }
}

keys! {
    /// The limit of one address (IPv6: of its /64).
    pub(crate) struct IpRateFile {
        /// Whether there is one.
        enabled: bool = switch().or(true),
        /// Requests per second once the burst is used.
        requests_per_second: u32 = whole(1..=1_000_000).or(10),
        /// Requests per minute, instead of `requests_per_second`.
        requests_per_minute: Option<u32> = whole(1..=1_000_000).optional(),
        /// Requests at once. With `requests_per_minute` its default is as many as that.
        burst: u32 = whole(1..=1_000_000).or(20),
        /// Whether each address has its own limit; `false` is one more limit for all together.
        per_ip: bool = switch().or(true),
        /// Which requests count: `unproven` are those that end without a proven caller, so that
        /// an office behind one address is bound by its tokens. When `requests_per_second`,
        /// `requests_per_minute` or `per_ip` is written and this is not, it is `all`.
        scope: RateScope = Scope,
        /// Addresses without this limit, and without the default limit of free routes.
        exempt: Vec<IpNet> = list(network()).or_empty(),
    }
}

keys! {
    /// Fields on every answer. An empty value leaves the field out.
    #[derive(Eq, PartialEq)]
    pub struct SecurityHeaders {
        /// Sent only where the caller came over TLS (RFC 6797).
        strict_transport_security: String = value()
            .or("max-age=31536000; includeSubDomains".into()),
        /// `X-Content-Type-Options`.
        content_type_options: String = value().or("nosniff".into()),
        /// `X-Frame-Options`.
        frame_options: String = value().or("DENY".into()),
        /// `X-XSS-Protection`; the filter it asked for is gone, and was a hole itself.
        xss_protection: String = value().or("0".into()),
        /// `Content-Security-Policy`.
        content_security_policy: String = value()
            .or("default-src 'none'; frame-ancestors 'none'".into()),
        /// `Referrer-Policy`.
        referrer_policy: String = value().or("no-referrer".into()),
        /// `Cross-Origin-Opener-Policy`.
        cross_origin_opener_policy: String = value().or("same-origin".into()),
        /// `Cross-Origin-Resource-Policy`.
        cross_origin_resource_policy: String = value().or("same-origin".into()),
    }
}

/// The value of a field we send to callers.
const fn value() -> Parsed<String> {
    parsed("field value", |text| {
        let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if text.len() > 4_096 || !text.bytes().all(fits) || text.trim() != text {
            return Err("is not a field value of visible ASCII".to_owned());
        }
        Ok(text.to_owned())
    })
}

const GLOBAL: &str = "server.rate_limit";
const ADDRESS: &str = "server.security.rate_limiting";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl GlobalRateFile {
    pub(super) fn check(&self, checks: &mut Checks<'_>) -> Option<Rate> {
        let second = (self.requests_per_second, self.requests_per_minute);
        let rate = rate(GLOBAL, second, self.burst, checks);
        self.enabled.then_some(rate)
    }
}

/// The rate of a block that says it by the second or by the minute.
fn rate(
    block: &str,
    (second, minute): (u32, Option<u32>),
    burst: u32,
    checks: &mut Checks<'_>,
) -> Rate {
    let Some(minute) = minute else {
        return Rate {
            requests: second.into(),
            window: SECOND,
            burst: burst.into(),
        };
    };
    let written = |checks: &Checks<'_>, key: &str| checks.is_written(&format!("{block}.{key}"));
    if written(checks, "requests_per_second") {
        let problem = "is written besides `requests_per_second`; write one of them";
        checks.error(&format!("{block}.requests_per_minute"), problem);
    }
    let burst = if written(checks, "burst") {
        burst
    } else {
        minute
    };
    Rate {
        requests: minute.into(),
        window: MINUTE,
        burst: burst.into(),
    }
}

impl Security {
    pub(super) fn rate(&self, checks: &mut Checks<'_>) -> Option<IpRate> {
        let file = &self.rate_limiting;
        let given = (file.requests_per_second, file.requests_per_minute);
        let rate = rate(ADDRESS, given, file.burst, checks);
        file.enabled.then_some(IpRate {
            rate,
            per_ip: file.per_ip,
            scope: file.scope,
        })
    }

    pub(super) fn rate_exempt(&self) -> Vec<IpNet> {
        self.rate_limiting.exempt.clone()
    }

    pub(super) fn ip_lists(&self, checks: &mut Checks<'_>) -> IpLists {
        let (allow, deny) = (self.ip_allowlist.clone(), self.ip_denylist.clone());
        ip_lists::check(allow, deny, "server.security", checks)
    }

    pub(super) fn headers(&self, checks: &mut Checks<'_>) -> Option<SecurityHeaders> {
        if self.headers.is_none() && checks.in_production() {
            let key = "server.security.headers.enabled";
            checks.error(key, "`false` is refused in production");
        }
        self.headers.clone()
    }
}

/// The scope, whose default depends on its neighbours (EDGE-93): a block that speaks of a rate,
/// as other gateways' files do, limits everybody.
struct Scope;

impl Field for Scope {
    type Out = RateScope;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> RateScope {
        let rates = ["requests_per_second", "requests_per_minute", "per_ip"];
        let rate = rates.into_iter().find_map(|name| reader.source(name));
        let default = match rate {
            Some(source) if reader.source(key.name()).is_none() => {
                let path = reader.path.name(key.name());
                let problem = "is `all`, since the block speaks of a rate; write \
                               `scope: unproven` to spare callers with a token";
                reader.core.report.warn_at(&path, &source, problem);
                RateScope::All
            }
            Some(_) | None => RateScope::Unproven,
        };
        choice(&SCOPES).or(default).take(key, reader)
    }
}
