//! What guards the data listener: the per-address limit and the fields on every answer.

use crate::check::Checks;
use crate::field::{KindExt, switched};
use crate::kind::{Parsed, choice, list, network, parsed, switch, whole};
use crate::reader::{Field, Key, Reader, keys};
use ipnet::IpNet;

/// The per-address limit (EDGE-85, EDGE-93).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpRate {
    /// Requests per second once the burst is used.
    pub requests_per_second: u32,
    /// Requests at once.
    pub burst: u32,
    /// Which requests count.
    pub scope: RateScope,
    /// Addresses without this limit.
    pub exempt: Vec<IpNet>,
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
        rate_limiting: Option<IpRateFile> = switched(),
        headers: Option<SecurityHeaders> = switched(),
    }
}

keys! {
    /// The limit of one address (IPv6: of its /64).
    pub(crate) struct IpRateFile {
        /// Requests per second once the burst is used.
        requests_per_second: u32 = whole(1..=1_000_000).or(10),
        /// Requests at once.
        burst: u32 = whole(1..=1_000_000).or(20),
        /// Whether each address has its own limit; `false` is not supported yet.
        per_ip: bool = switch().or(true),
        /// Which requests count: `unproven` are those that end without a proven caller, so that
        /// an office behind one address is bound by its tokens. When `requests_per_second` or
        /// `per_ip` is written and this is not, it is `all`.
        scope: RateScope = Scope,
        /// Addresses without this limit.
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

const RATE: &str = "server.security.rate_limiting";

impl Security {
    pub(super) fn rate(&self, checks: &mut Checks<'_>) -> Option<IpRate> {
        let file = self.rate_limiting.as_ref()?;
        if !file.per_ip {
            checks.error(&format!("{RATE}.per_ip"), "`false` is not supported yet");
        }
        Some(IpRate {
            requests_per_second: file.requests_per_second,
            burst: file.burst,
            scope: file.scope,
            exempt: file.exempt.clone(),
        })
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
        let rates = ["requests_per_second", "per_ip"];
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
