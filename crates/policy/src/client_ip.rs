//! Who the client is: the TCP peer, or whoever a trusted proxy says.

mod element;

use self::element::Elements;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv6Addr};

/// Where a trusted proxy writes the client's address (`server.client_ip.source`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ClientIpSource {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Real-IP`.
    XRealIp,
    /// Another field, such as `CF-Connecting-IP`.
    Named(Box<str>),
}

impl ClientIpSource {
    fn field_name(&self) -> &str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
            Self::Named(name) => name,
        }
    }
}

/// What a client address turned out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientAddr {
    /// The client; never a v4-mapped IPv6 address.
    pub ip: IpAddr,
    /// The field held something that is no address: a `security_violation` of kind `header_spoof`.
    pub spoof: bool,
}

/// How the client called the proxy in front of us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientScheme {
    /// In clear text.
    Http,
    /// Over TLS.
    Https,
}

/// Whom to believe about the client (EDGE-60).
#[derive(Clone, Debug)]
pub struct ClientIpRules {
    trusted: Vec<IpNet>,
    source: ClientIpSource,
    hops: Option<u32>,
}

impl ClientIpRules {
    /// `trusted` is `server.trusted_proxies`. The walk stops after `hops` entries, if
    /// that is given.
    pub fn new(trusted: &[IpNet], source: ClientIpSource, hops: Option<u32>) -> Self {
        Self {
            trusted: trusted.iter().copied().map(fold_net).collect(),
            source,
            hops,
        }
    }

    /// Whether `peer` may speak for a client.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = fold(peer);
        self.trusted.iter().any(|net| net.contains(&peer))
    }

    /// HOT. The client of a request that came from `peer` with `fields` (name and value, in order).
    ///
    /// From a peer that is not trusted nothing is read. Else exactly one source is walked from the
    /// right, the end the trusted proxies wrote, until an address that is no proxy of ours; what is
    /// left of it anybody may have written.
    pub fn resolve<'a>(
        &self,
        peer: IpAddr,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> ClientAddr {
        let peer = fold(peer);
        let mut client = ClientAddr {
            ip: peer,
            spoof: false,
        };
        if !self.trusts(peer) {
            return client;
        }
        let Some(elements) = self.elements(fields) else {
            return client;
        };
        for (hop, element) in (1..).zip(elements.last_first()) {
            let address = match self.source {
                ClientIpSource::Forwarded => element::forwarded_for(element),
                ClientIpSource::XForwardedFor
                | ClientIpSource::XRealIp
                | ClientIpSource::Named(_) => element::address(element),
            };
            let Some(ip) = address else {
                client.spoof = true;
                break;
            };
            client.ip = ip;
            if self.hops.is_some_and(|hops| hop >= hops) || !self.trusts(ip) {
                break;
            }
        }
        client
    }

    /// All elements of the source, in order; `None` if there are too many.
    fn elements<'a>(
        &self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Elements<'a>> {
        let source = self.source.field_name().as_bytes();
        let mut elements = Elements::new();
        for (name, line) in fields {
            if !name.eq_ignore_ascii_case(source) {
                continue;
            }
            let fits = match self.source {
                ClientIpSource::Forwarded => elements.push_quoting(line),
                ClientIpSource::XForwardedFor
                | ClientIpSource::XRealIp
                | ClientIpSource::Named(_) => elements.push_plain(line),
            };
            fits?;
        }
        Some(elements)
    }

    /// How the client called a trusted proxy: `X-Forwarded-Proto`, if it stands there once and is
    /// exactly `http` or `https` (EDGE-62).
    pub fn forwarded_scheme<'a>(
        &self,
        peer: IpAddr,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<ClientScheme> {
        if !self.trusts(peer) {
            return None;
        }
        let mut values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"x-forwarded-proto"));
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return None;
        }
        match value {
            b"http" => Some(ClientScheme::Http),
            b"https" => Some(ClientScheme::Https),
            _ => None,
        }
    }
}

/// `ip` without the v4-mapped form.
pub const fn fold(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// `net` without the v4-mapped form.
pub(crate) fn fold_net(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let (Some(ip), Some(length)) = (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
    else {
        return net;
    };
    Ipv4Net::new(ip, length).map_or(net, IpNet::V4)
}

/// HOT. What limits, bans and counts go by: the address, of IPv6 its /64, which one subscriber
/// has all of.
pub const fn prefix_key(ip: IpAddr) -> IpAddr {
    match fold(ip) {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64))),
    }
}
