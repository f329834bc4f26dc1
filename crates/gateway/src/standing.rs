//! The lines that every answer has: security headers, and what browsers are told of origins.
//!
//! Made once with the plan, so that an answer copies one slice whether CORS is on or not.

use tollkeep_config::settings::{Cors, SecurityHeaders};
use tollkeep_http1::write;
use tollkeep_policy::cors::{AllowedOrigins, CorsRules};

/// CORS, and the lines of every answer while it is on.
pub(crate) struct CorsLines {
    pub(crate) rules: CorsRules,
    /// For each allowed origin; one entry where all are.
    allowed: Vec<Lines>,
    /// For everybody else.
    pub(crate) others: Lines,
    /// What the answer to a preflight says besides.
    pub(crate) preflight: Box<[u8]>,
}

/// The lines of an answer, security headers among them.
pub(crate) struct Lines {
    pub(crate) plain: Box<[u8]>,
    /// The answer to a preflight depends on more fields.
    pub(crate) preflight: Box<[u8]>,
}

impl Lines {
    fn new(security: &[u8], cors: &[u8]) -> Self {
        const PLAIN: &[u8] = b"vary: Origin\r\n";
        const PREFLIGHT: &[u8] =
            b"vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n";
        Self {
            plain: [security, cors, PLAIN].concat().into(),
            preflight: [security, cors, PREFLIGHT].concat().into(),
        }
    }
}

impl CorsLines {
    pub(crate) fn new(cors: &Cors, headers: Option<&SecurityHeaders>) -> Self {
        // A page may only use an answer that no resource policy keeps from it.
        let mut open = headers.cloned();
        if let Some(open) = &mut open
            && !open.cross_origin_resource_policy.is_empty()
        {
            open.cross_origin_resource_policy = "cross-origin".to_owned();
        }
        let (open, _) = security_headers(open.as_ref());
        let (closed, _) = security_headers(headers);
        let of = |origin: &str| {
            let mut lines = Vec::new();
            write::field(
                &mut lines,
                b"access-control-allow-origin",
                origin.as_bytes(),
            );
            if cors.allow_credentials {
                write::field(&mut lines, b"access-control-allow-credentials", b"true");
            }
            if !cors.exposed_headers.is_empty() {
                let exposed = cors.exposed_headers.join(", ");
                write::field(
                    &mut lines,
                    b"access-control-expose-headers",
                    exposed.as_bytes(),
                );
            }
            Lines::new(&open, &lines)
        };
        let allowed = match &cors.rules.origins {
            AllowedOrigins::All => vec![of("*")],
            AllowedOrigins::Listed(origins) => origins.iter().map(|own| of(own.as_str())).collect(),
        };
        let mut preflight = Vec::new();
        let headers = cors.rules.headers.join(", ");
        write::field(
            &mut preflight,
            b"access-control-allow-headers",
            headers.as_bytes(),
        );
        preflight.extend_from_slice(b"access-control-max-age: ");
        write::number(&mut preflight, cors.max_age.as_secs());
        preflight.extend_from_slice(b"\r\n");
        Self {
            rules: cors.rules.clone(),
            allowed,
            others: Lines::new(&closed, b""),
            preflight: preflight.into(),
        }
    }

    /// The lines of an answer to a request with this `Origin`.
    pub(crate) fn lines(&self, origin: Option<&[u8]>) -> &Lines {
        let all = matches!(self.rules.origins, AllowedOrigins::All);
        let place = match origin {
            Some(origin) => self.rules.allows(origin),
            None => all.then_some(0),
        };
        place
            .and_then(|place| self.allowed.get(place))
            .unwrap_or(&self.others)
    }
}

/// The security headers of every answer as lines ready to write; HSTS apart, which clear text
/// must not carry (RFC 6797, section 7.2).
pub(crate) fn security_headers(headers: Option<&SecurityHeaders>) -> (Box<[u8]>, Box<[u8]>) {
    let Some(headers) = headers else {
        return (Box::default(), Box::default());
    };
    let lines = [
        ("x-content-type-options", &headers.content_type_options),
        ("x-frame-options", &headers.frame_options),
        ("x-xss-protection", &headers.xss_protection),
        ("content-security-policy", &headers.content_security_policy),
        ("referrer-policy", &headers.referrer_policy),
        (
            "cross-origin-opener-policy",
            &headers.cross_origin_opener_policy,
        ),
        (
            "cross-origin-resource-policy",
            &headers.cross_origin_resource_policy,
        ),
    ];
    // A field set to nothing is left out.
    let text: String = lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let hsts = match headers.strict_transport_security.as_str() {
        "" => String::new(),
        value => format!("strict-transport-security: {value}\r\n"),
    };
    (text.into_bytes().into(), hsts.into_bytes().into())
}
