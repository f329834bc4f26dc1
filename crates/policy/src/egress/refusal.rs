//! Why something may not be dialled, for the metric label and for operators.

use std::fmt;
use std::net::IpAddr;

/// Why the egress door stays shut; [`Self::label`] is the metric label and audit reason
/// (EDGE-104).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EgressReason {
    /// The scheme is not one this use allows.
    Scheme,
    /// There is a user or password in the authority, or the `@` of one.
    Userinfo,
    /// The port is not one that may be dialled.
    Port,
    /// The text is not a URL with a clean host.
    HostSyntax,
    /// The name is refused before DNS.
    Name,
    /// A loopback, link-local or private address.
    Private,
    /// Another address that is not public.
    Special,
    /// An address of a cloud metadata service.
    Metadata,
    /// An IPv6 form that stands for an IPv4 address.
    EmbeddedV4,
    /// Some addresses of the answer are fine, some are not.
    MixedAnswer,
    /// More addresses than [`super::ADDRESSES_MAX`].
    TooMany,
    /// One of our own listeners.
    Own,
    /// The answer was a redirect, which is never followed.
    Redirect,
    /// The name has no address.
    Dns,
    /// The operator lists hosts, and this one is not among them.
    NotListed,
}

impl EgressReason {
    /// All reasons, for registering the metric.
    pub const ALL: [Self; 15] = [
        Self::Scheme,
        Self::Userinfo,
        Self::Port,
        Self::HostSyntax,
        Self::Name,
        Self::Private,
        Self::Special,
        Self::Metadata,
        Self::EmbeddedV4,
        Self::MixedAnswer,
        Self::TooMany,
        Self::Own,
        Self::Redirect,
        Self::Dns,
        Self::NotListed,
    ];

    /// The value of the `reason` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::Userinfo => "userinfo",
            Self::Port => "port",
            Self::HostSyntax => "host_syntax",
            Self::Name => "name",
            Self::Private => "private",
            Self::Special => "special",
            Self::Metadata => "metadata",
            Self::EmbeddedV4 => "embedded_v4",
            Self::MixedAnswer => "mixed_answer",
            Self::TooMany => "too_many",
            Self::Own => "self",
            Self::Redirect => "redirect",
            Self::Dns => "dns",
            Self::NotListed => "not_listed",
        }
    }

    /// The rule in words. It names no address, so it may be shown to whoever stored the URL
    /// (EDGE-99).
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Scheme => "the scheme is not allowed here",
            Self::Userinfo => "a URL must not carry a user or password",
            Self::Port => "the port is not allowed",
            Self::HostSyntax => "not a URL with a plain host",
            Self::Name => "names of the local machine or network are not allowed",
            Self::Private => "loopback, link-local and private addresses are not allowed",
            Self::Special => "special-purpose addresses are not allowed",
            Self::Metadata => "addresses of metadata services are not allowed",
            Self::EmbeddedV4 => "IPv6 forms of IPv4 addresses are not allowed",
            Self::MixedAnswer => "every address of a name must be allowed, and one is not",
            Self::TooMany => "the name has more than 64 addresses",
            Self::Own => "the address is this gateway itself",
            Self::Redirect => "redirects are not followed",
            Self::Dns => "the name has no address",
            Self::NotListed => "the host is not among those that may be called",
        }
    }
}

/// A refusal to go out. `Display` is for operators and may name the address; callers learn
/// nothing but that the upstream could not answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EgressRefusal {
    reason: EgressReason,
    detail: Detail,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Detail {
    None,
    Address(IpAddr),
    Port(u16),
}

impl EgressRefusal {
    /// Why.
    pub const fn reason(&self) -> EgressReason {
        self.reason
    }

    pub(super) const fn address(reason: EgressReason, ip: IpAddr) -> Self {
        Self {
            reason,
            detail: Detail::Address(ip),
        }
    }

    pub(super) const fn port(port: u16) -> Self {
        Self {
            reason: EgressReason::Port,
            detail: Detail::Port(port),
        }
    }
}

impl From<EgressReason> for EgressRefusal {
    fn from(reason: EgressReason) -> Self {
        Self {
            reason,
            detail: Detail::None,
        }
    }
}

impl std::error::Error for EgressRefusal {}

impl fmt::Display for EgressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.rule())?;
        match &self.detail {
            Detail::None => Ok(()),
            Detail::Port(port) => write!(f, " ({port})"),
            Detail::Address(ip) => {
                let net = if ip.is_ipv4() { 32 } else { 128 };
                match self.reason {
                    EgressReason::Private => write!(
                        f,
                        " ({ip}); to call it, give this upstream `allow_private: [\"{ip}/{net}\"]`"
                    ),
                    EgressReason::Metadata => write!(
                        f,
                        " ({ip}); to call it, give this upstream `allow_private: [\"{ip}/{net}\"]` and \
                         `dangerously_allow_metadata: true`"
                    ),
                    EgressReason::Scheme
                    | EgressReason::Userinfo
                    | EgressReason::Port
                    | EgressReason::HostSyntax
                    | EgressReason::Name
                    | EgressReason::Special
                    | EgressReason::EmbeddedV4
                    | EgressReason::MixedAnswer
                    | EgressReason::TooMany
                    | EgressReason::Own
                    | EgressReason::Redirect
                    | EgressReason::Dns
                    | EgressReason::NotListed => write!(f, " ({ip})"),
                }
            }
        }
    }
}
