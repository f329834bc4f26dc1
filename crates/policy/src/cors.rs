//! What pages of other origins may do through their visitors' browsers (CORS).
//!
//! A browser asks first (a preflight) and shows the page an answer only where the origin is
//! allowed. None of this guards against callers that are no browsers: an `Origin` is whatever
//! they write.

use crate::origin::Origin;

/// Fields one preflight may ask for; browsers ask for a handful.
const ASKED_MAX: usize = 64;

/// Whose pages may call, and with what.
#[derive(Clone, Debug)]
pub struct CorsRules {
    /// The origins whose pages may call.
    pub origins: AllowedOrigins,
    /// Methods that preflights allow; `None`: those of the route.
    pub methods: Option<Vec<Box<str>>>,
    /// Fields that preflights allow, lower case.
    pub headers: Vec<Box<str>>,
}

/// The origins whose pages may call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AllowedOrigins {
    /// Everybody's.
    All,
    /// These, and no others.
    Listed(Vec<Origin>),
}

/// What a preflight asks for.
#[derive(Clone, Debug)]
pub struct Preflight<'f, H> {
    /// `Origin`.
    pub origin: &'f [u8],
    /// `Access-Control-Request-Method`; `None` where it is there twice.
    pub method: Option<&'f [u8]>,
    /// The values of `Access-Control-Request-Headers`.
    pub headers: H,
}

/// Why a preflight is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CorsRefusal {
    /// Not this origin.
    Origin,
    /// Not with this method.
    Method,
    /// Not with one of these fields.
    Header,
}

impl CorsRefusal {
    /// The reason in audit and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Origin => "cors_origin",
            Self::Method => "cors_method",
            Self::Header => "cors_header",
        }
    }
}

impl CorsRules {
    /// The place among [`AllowedOrigins::Listed`] of an origin that may call; 0 where all may.
    pub fn allows(&self, sent: &[u8]) -> Option<usize> {
        match &self.origins {
            AllowedOrigins::All => Some(0),
            AllowedOrigins::Listed(listed) => listed.iter().position(|origin| origin.is(sent)),
        }
    }

    /// Whether the browser may send the request it asks about, but for whether its route takes
    /// the method.
    ///
    /// # Errors
    /// The first thing that is not allowed.
    pub fn judge<'f>(
        &self,
        asked: Preflight<'f, impl Iterator<Item = &'f [u8]>>,
    ) -> Result<(), CorsRefusal> {
        self.allows(asked.origin).ok_or(CorsRefusal::Origin)?;
        let method = asked.method.ok_or(CorsRefusal::Method)?;
        let listed = |methods: &Vec<Box<str>>| methods.iter().any(|own| own.as_bytes() == method);
        if !self.methods.as_ref().is_none_or(listed) {
            return Err(CorsRefusal::Method);
        }
        let names = asked.headers.flat_map(|value| value.split(|b| *b == b','));
        for (count, name) in names.map(<[u8]>::trim_ascii).enumerate() {
            let mut listed = self.headers.iter().map(|own| own.as_bytes());
            let known = name.is_empty() || listed.any(|own| own.eq_ignore_ascii_case(name));
            if count >= ASKED_MAX || !known {
                return Err(CorsRefusal::Header);
            }
        }
        Ok(())
    }
}
