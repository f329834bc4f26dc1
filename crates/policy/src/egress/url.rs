//! A URL from outside, parsed once.

use super::refusal::{EgressReason, EgressRefusal};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a URL is for; it decides the schemes, and whether a redirect is relayed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// The origin of a plain route.
    Upstream,
    /// An LLM provider.
    Provider,
    /// A webhook, wallet or facilitator: we call, nobody waits for its answer's fields.
    Webhook,
    /// A WebSocket relay.
    Relay,
    /// An identity provider: its keys, and where it exchanges codes for tokens.
    Jwks,
    /// The proxy that public destinations are reached through.
    Proxy,
    /// An authority that certificates are ordered from.
    Acme,
    /// A service that seals a key-encryption key and opens it.
    KeyService,
}

impl Purpose {
    /// All purposes, for registering the metric.
    pub const ALL: [Self; 8] = [
        Self::Upstream,
        Self::Provider,
        Self::Webhook,
        Self::Relay,
        Self::Jwks,
        Self::Proxy,
        Self::Acme,
        Self::KeyService,
    ];

    /// The value of the `purpose` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Provider => "provider",
            Self::Webhook => "webhook",
            Self::Relay => "relay",
            Self::Jwks => "jwks",
            Self::Proxy => "proxy",
            Self::Acme => "acme",
            Self::KeyService => "key_service",
        }
    }
}

/// Who gave us a URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Giver {
    /// Anybody with a management key of a tenant: encrypted schemes, few ports, no exceptions.
    Tenant,
    /// Whoever writes the configuration file.
    Operator,
}

/// How the connection is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// HTTP in clear text.
    Http,
    /// HTTP over TLS.
    Https,
    /// WebSocket in clear text.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// As written in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether TLS comes first.
    pub const fn is_tls(self) -> bool {
        match self {
            Self::Http | Self::Ws => false,
            Self::Https | Self::Wss => true,
        }
    }

    /// The port a URL of this scheme means when it names none.
    pub const fn default_port(self) -> u16 {
        if self.is_tls() { 443 } else { 80 }
    }

    fn of(text: &str, purpose: Purpose, giver: Giver) -> Option<Self> {
        let scheme = [Self::Http, Self::Https, Self::Ws, Self::Wss]
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))?;
        let for_sockets = match scheme {
            Self::Http | Self::Https => false,
            Self::Ws | Self::Wss => true,
        };
        let encrypted_enough = match giver {
            Giver::Tenant => scheme.is_tls(),
            // What it says is only as good as the connection (RFC 8555, section 6.1).
            Giver::Operator => purpose != Purpose::Acme || scheme.is_tls(),
        };
        (for_sockets == (purpose == Purpose::Relay) && encrypted_enough).then_some(scheme)
    }
}

/// A host, clean: a name is lower-case ASCII without a trailing dot.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// To be resolved.
    Name(Box<str>),
    /// Literal.
    V4(Ipv4Addr),
    /// Literal.
    V6(Ipv6Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(ip) => write!(f, "{ip}"),
            Self::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

/// A URL that may be carried on; whether it may be dialled is [`super::EgressPolicy`]'s to say.
/// Its text is never parsed again. `Display` is the URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EgressUrl {
    scheme: Scheme,
    host: Host,
    port: u16,
    authority: Box<str>,
    path: Box<str>,
    query: Option<Box<str>>,
    purpose: Purpose,
    giver: Giver,
}

impl EgressUrl {
    /// How it is spoken.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whom to call.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port, also where the text named none.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` field: the port stands in it only if it is not the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `https://host:port`, without the port where it is the scheme's own.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority)
    }

    /// The base path to put other paths behind: without a trailing slash, so empty for `/`.
    pub fn path(&self) -> &str {
        self.path.trim_end_matches('/')
    }

    /// What follows `?`, if that stands there.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// What it is for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Who gave it to us.
    pub const fn giver(&self) -> Giver {
        self.giver
    }
}

impl fmt::Display for EgressUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority,
            self.path
        )?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// Bytes of a URL that is read.
const URL_BYTES_MAX: usize = 8_192;

/// Reads a URL given to us (EDGE-95). Ports, names and addresses are judged by
/// [`super::EgressPolicy::admit`].
///
/// # Errors
/// `scheme`, `userinfo`, `port` or `host_syntax`.
pub fn parse_url(text: &str, purpose: Purpose, giver: Giver) -> Result<EgressUrl, EgressRefusal> {
    if text.len() > URL_BYTES_MAX {
        return Err(EgressReason::HostSyntax.into());
    }
    let raw = RawUrl::split(text)?;
    let scheme = Scheme::of(raw.scheme, purpose, giver).ok_or(EgressReason::Scheme)?;
    raw.check()?;
    let parsed = ::url::Url::parse(text).map_err(|error| {
        if error == ::url::ParseError::InvalidPort {
            EgressReason::Port
        } else {
            EgressReason::HostSyntax
        }
    })?;
    let host = match parsed.host().ok_or(EgressReason::HostSyntax)? {
        ::url::Host::Domain(name) if is_clean_name(name) => Host::Name(name.into()),
        // A tenant's address is written as one: other spellings are there to be overlooked.
        ::url::Host::Ipv4(ip) if giver == Giver::Operator || raw.host() == ip.to_string() => {
            Host::V4(ip)
        }
        ::url::Host::Domain(_) | ::url::Host::Ipv4(_) => {
            return Err(EgressReason::HostSyntax.into());
        }
        ::url::Host::Ipv6(ip) => Host::V6(ip),
    };
    let port = parsed.port().unwrap_or(scheme.default_port());
    let authority = if port == scheme.default_port() {
        host.to_string()
    } else {
        format!("{host}:{port}")
    };
    Ok(EgressUrl {
        scheme,
        host,
        port,
        authority: authority.into(),
        path: parsed.path().into(),
        query: parsed.query().map(Into::into),
        purpose,
        giver,
    })
}

/// The text before any parser that repairs has seen it.
struct RawUrl<'a> {
    text: &'a str,
    scheme: &'a str,
    authority: &'a str,
}

impl<'a> RawUrl<'a> {
    fn split(text: &'a str) -> Result<Self, EgressReason> {
        let (scheme, rest) = text.split_once(':').ok_or(EgressReason::Scheme)?;
        let authority = rest.strip_prefix("//").unwrap_or_default();
        let end = authority
            .find(['/', '?', '#', '\\'])
            .unwrap_or(authority.len());
        let authority = authority.get(..end).unwrap_or_default();
        Ok(Self {
            text,
            scheme,
            authority,
        })
    }

    /// WHATWG parsers strip blanks, turn `\` into `/`, read user names and decode `%`; a URL that
    /// needs any of it is not one an honest caller wrote.
    fn check(&self) -> Result<(), EgressReason> {
        if self.authority.contains('@') {
            return Err(EgressReason::Userinfo);
        }
        let unclean = |c: char| c.is_control() || c.is_whitespace() || c == '\\' || c == '#';
        if self.text.contains(unclean) || self.authority.contains('%') || self.authority.is_empty()
        {
            return Err(EgressReason::HostSyntax);
        }
        Ok(())
    }

    /// The host as written.
    fn host(&self) -> &'a str {
        match self.authority.rsplit_once(':') {
            Some((host, _)) => host,
            None => self.authority,
        }
    }
}

fn is_clean_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| (1..=63).contains(&label.len()))
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}
