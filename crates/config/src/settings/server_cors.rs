//! Whose pages may call through their visitors' browsers (EDGE-80).

use super::{DAY_MS, Method};
use crate::check::Checks;
use crate::field::{KindExt, field_name};
use crate::kind::{Parsed, list, parsed, seconds, switch};
use crate::reader::keys;
use std::time::Duration;
use tollkeep_policy::cors::{AllowedOrigins, CorsRules};
use tollkeep_policy::origin::Origin;

/// CORS, switched on.
#[derive(Clone, Debug)]
pub struct Cors {
    /// What is allowed.
    pub rules: CorsRules,
    /// Fields of answers that pages may read, lower case.
    pub exposed_headers: Vec<Box<str>>,
    /// Whether browsers may send cookies and the like.
    pub allow_credentials: bool,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: Duration,
}

keys! {
    /// Whose pages may call through their visitors' browsers (CORS). Off while no origin is
    /// allowed: then `OPTIONS` is a method like any other. A `cors` section outside `server` is
    /// read as this one.
    pub(crate) struct CorsFile {
        /// Origins whose pages may call, such as `https://app.example.com`; compared exactly.
        allowed_origins: Vec<Origin> = list(origin()).or_empty(),
        /// Methods that pages may use. Empty: those of the route.
        allowed_methods: Vec<Method> = list(method()).or_empty(),
        /// Fields that pages may send. Empty: `content-type`, `authorization`, `x-api-key`,
        /// `payment-signature`, `x-payment`, `x-session-token`, `x-tollkeep-credit`, `payment-authorization`,
        /// `idempotency-key`, `anthropic-version`, `anthropic-beta`.
        allowed_headers: Vec<Box<str>> = list(name()).or_empty(),
        /// Fields of answers that pages may read. Empty: `payment-required`, `payment-response`,
        /// `x-payment-response`, `payment-receipt`, all `x-tollkeep-…` of answers, `x-bolthub-payment`,
        /// `x-bolthub-payment-code`, `x-session-token`, `x-session-expires`, `x-session-balance`,
        /// `www-authenticate`, `x-request-id`, `retry-after`, `ratelimit`, `ratelimit-policy`.
        exposed_headers: Vec<Box<str>> = list(name()).or_empty(),
        /// Whether browsers send cookies and the like.
        allow_credentials as "allow_credentials" | "credentials": bool = switch().or(false),
        /// How long browsers may remember the answer to a preflight.
        max_age as "max_age_s" | "max_age": Duration = seconds(0..=DAY_MS)
            .or(Duration::from_millis(DAY_MS.unsigned_abs())),
        /// Whether every page may call. Refused in production.
        allow_all: bool = switch().or(false),
    }
}

const ALLOWED: [&str; 11] = [
    "content-type",
    "authorization",
    "x-api-key",
    "payment-signature",
    "x-payment",
    "x-session-token",
    "x-tollkeep-credit",
    "payment-authorization",
    "idempotency-key",
    "anthropic-version",
    "anthropic-beta",
];

const EXPOSED: [&str; 26] = [
    "payment-required",
    "payment-response",
    "x-payment-response",
    "payment-receipt",
    "x-tollkeep-payment",
    "x-tollkeep-credit",
    "x-tollkeep-replayed",
    "x-tollkeep-receipt",
    "x-tollkeep-sandbox",
    "x-tollkeep-error",
    "x-tollkeep-cost",
    "x-tollkeep-hold",
    "x-tollkeep-budget",
    "x-tollkeep-budget-remaining",
    "x-tollkeep-reset",
    "x-tollkeep-max-output",
    "x-bolthub-payment",
    "x-bolthub-payment-code",
    "x-session-token",
    "x-session-expires",
    "x-session-balance",
    "www-authenticate",
    "x-request-id",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
];

/// What was written, or else these.
fn names_or(written: Vec<Box<str>>, names: &[&str]) -> Vec<Box<str>> {
    if written.is_empty() {
        names.iter().copied().map(Box::from).collect()
    } else {
        written
    }
}

/// An origin.
pub(super) const fn origin() -> Parsed<Origin> {
    parsed("origin such as `https://app.example.com`", |text| {
        text.parse().map_err(|fault| match text {
            "*" => "is no origin; to allow all write `allow_all: true`".to_owned(),
            _ => format!("{text:?} {fault}"),
        })
    })
}

const fn method() -> Parsed<Method> {
    parsed("method", |text| {
        let mut all = Method::ALL.into_iter();
        all.find(|method| method.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no method that routes have"))
    })
}

/// The name of a field. A wildcard would not cover `authorization`, and looks as if it did.
const fn name() -> Parsed<Box<str>> {
    parsed("field name", |text| {
        let name = text.to_ascii_lowercase();
        if name.contains('*') {
            return Err("want the names of fields, not a wildcard".to_owned());
        }
        field_name(&name)?;
        Ok(name.into())
    })
}

impl CorsFile {
    pub(super) fn check(self, checks: &mut Checks<'_>) -> Option<Cors> {
        const ALL: &str = "server.cors.allow_all";
        if self.allow_all && checks.in_production() {
            checks.error(ALL, "is refused in production: list `allowed_origins`");
        } else if self.allow_all {
            checks.warn(ALL, "lets pages of every origin call");
        }
        if self.allow_all && self.allow_credentials {
            checks.error(ALL, "is refused together with `allow_credentials`");
        }
        if self.allow_all && !self.allowed_origins.is_empty() {
            checks.error(ALL, "says something else than `allowed_origins`: write one");
        }
        let origins = match self.allow_all {
            true => AllowedOrigins::All,
            false if self.allowed_origins.is_empty() => return None,
            false => AllowedOrigins::Listed(self.allowed_origins),
        };
        let methods = self.allowed_methods.iter().map(|own| own.as_str().into());
        let methods: Vec<Box<str>> = methods.collect();
        Some(Cors {
            rules: CorsRules {
                origins,
                methods: Some(methods).filter(|methods| !methods.is_empty()),
                headers: names_or(self.allowed_headers, &ALLOWED),
            },
            exposed_headers: names_or(self.exposed_headers, &EXPOSED),
            allow_credentials: self.allow_credentials,
            max_age: self.max_age,
        })
    }
}
