//! The one door out: which URLs may be stored and which addresses may be dialled.
//!
//! A URL is parsed once ([`parse_url`]) and carried as scheme, host, port and path from there on.
//! [`EgressPolicy::admit`] judges it before DNS, [`EgressPolicy::vet`] judges the answer, and the
//! dialer takes nothing but the [`VettedAddr`] that `vet` makes.

mod address;
mod host_list;
mod name;
mod port;
mod redirect;
mod refusal;
mod url;

pub use self::host_list::{HostList, HostMode, HostPattern, HostPatternError};
pub use self::redirect::{check_redirect, relayed_location};
pub use self::refusal::{EgressReason, EgressRefusal};
pub use self::url::{EgressUrl, Giver, Host, Purpose, Scheme, parse_url};

use self::address::Standing;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Addresses one answer may hold; more is no upstream but an amplifier.
pub const ADDRESSES_MAX: usize = 64;

/// What an operator allows one upstream beyond the public addresses (EDGE-97). Tenants have none:
/// for a URL given by a tenant it is not looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exceptions {
    /// Private networks the upstream may be in.
    pub allow_private: Vec<IpNet>,
    /// Whether the addresses of cloud metadata services within `allow_private` are allowed too.
    pub allow_metadata: bool,
}

impl Exceptions {
    /// Those of the operator's own proxy, which is mostly in a private network. Metadata services
    /// and our own listeners are no proxy wherever they are.
    pub fn of_proxy() -> Self {
        let every = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        let every = every.map(|ip| IpNet::new(ip, 0).ok());
        Self {
            allow_private: every.into_iter().flatten().collect(),
            allow_metadata: false,
        }
    }

    fn lists(&self, ip: IpAddr) -> bool {
        self.allow_private.iter().any(|net| net.contains(&ip))
    }
}

/// An address the gateway has agreed to dial. Only [`EgressPolicy::vet`] makes one, and the dialer
/// takes nothing else, so an unvetted address can't reach a socket.
///
/// ```compile_fail
/// let addr = "127.0.0.1:80".parse().unwrap();
/// let vetted = tollkeep_policy::egress::VettedAddr(addr);
/// ```
#[derive(Debug, Eq, PartialEq)]
pub struct VettedAddr(SocketAddr);

impl VettedAddr {
    /// The address to connect to.
    pub const fn addr(&self) -> SocketAddr {
        self.0
    }

    /// Whether it is on the public internet: what is not was let in by `allow_private`, and is
    /// reached without a proxy.
    pub fn is_public(&self) -> bool {
        address::standing(self.0.ip()) == Standing::Public
    }
}

/// The operator's rules for going out, the same for every upstream.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    /// Ports a tenant's URL may name besides 80 and 443.
    tenant_ports: Vec<u16>,
    /// Ports an operator's URL may name although they are on the block list.
    unblocked_ports: Vec<u16>,
    listeners: Vec<SocketAddr>,
    hosts: HostList,
}

impl EgressPolicy {
    /// `ports` is `egress.ports`, `allow_ports` is `egress.allow_ports`. `listeners` are the
    /// addresses this process accepts connections on; of one bound to a wildcard, also each
    /// address of a local interface with its port.
    pub const fn new(ports: Vec<u16>, allow_ports: Vec<u16>, listeners: Vec<SocketAddr>) -> Self {
        Self {
            tenant_ports: ports,
            unblocked_ports: allow_ports,
            listeners,
            hosts: HostList {
                patterns: Vec::new(),
                mode: HostMode::Enforce,
            },
        }
    }

    /// The same, with the hosts that may be called at all: `egress.allow_hosts`.
    #[must_use]
    pub fn only_to(self, hosts: HostList) -> Self {
        Self { hosts, ..self }
    }

    /// The rules for the way to a proxy: it is no destination, so that it need not be listed.
    #[must_use]
    pub fn to_proxy(&self) -> Self {
        self.clone().only_to(HostList::default())
    }

    /// Whether `url` is called although its host is not listed, since that is only to be told.
    pub fn is_reported(&self, url: &EgressUrl) -> bool {
        self.hosts.mode == HostMode::Report && !self.hosts.lists(url.host())
    }

    /// Judges what can be judged before DNS: port, name, literal address. Called before a URL is
    /// stored and before its name is resolved.
    ///
    /// # Errors
    /// The reason; its `Display` is for operators and names the setting that would allow it.
    pub fn admit(&self, url: &EgressUrl, exceptions: &Exceptions) -> Result<(), EgressRefusal> {
        self.check_port(url)?;
        if self.hosts.mode == HostMode::Enforce && !self.hosts.lists(url.host()) {
            return Err(EgressReason::NotListed.into());
        }
        match url.host() {
            Host::Name(name) if !name::is_refused(name) => Ok(()),
            Host::Name(_) if lifted(url, exceptions).is_some() => Ok(()),
            Host::Name(_) => Err(EgressReason::Name.into()),
            Host::V4(ip) => {
                self.check_addr(url, exceptions, SocketAddr::new((*ip).into(), url.port()))
            }
            Host::V6(ip) => {
                self.check_addr(url, exceptions, SocketAddr::new((*ip).into(), url.port()))
            }
        }
    }

    /// Judges all addresses `url` resolved to (of a literal: that one). Called at every dial; the
    /// addresses of an earlier dial are not kept.
    ///
    /// # Errors
    /// One bad address refuses the whole answer: a public record beside a private one is an
    /// attack, not an accident. So do no address and more than [`ADDRESSES_MAX`].
    pub fn vet(
        &self,
        url: &EgressUrl,
        exceptions: &Exceptions,
        addrs: &[SocketAddr],
    ) -> Result<Vec<VettedAddr>, EgressRefusal> {
        self.admit(url, exceptions)?;
        if addrs.is_empty() {
            return Err(EgressReason::Dns.into());
        }
        if addrs.len() > ADDRESSES_MAX {
            return Err(EgressReason::TooMany.into());
        }
        let mut first_refusal: Option<EgressRefusal> = None;
        let mut vetted = Vec::with_capacity(addrs.len());
        for addr in addrs {
            match self.check_addr(url, exceptions, *addr) {
                Ok(()) => vetted.push(VettedAddr(*addr)),
                Err(refusal) if refusal.reason() == EgressReason::Own => return Err(refusal),
                Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
            }
        }
        match first_refusal {
            None => Ok(vetted),
            Some(_) if !vetted.is_empty() => Err(EgressReason::MixedAnswer.into()),
            Some(refusal) => Err(refusal),
        }
    }

    fn check_port(&self, url: &EgressUrl) -> Result<(), EgressRefusal> {
        let port = url.port();
        let allowed = match url.giver() {
            Giver::Tenant => port == 80 || port == 443 || self.tenant_ports.contains(&port),
            Giver::Operator => !port::is_blocked(port) || self.unblocked_ports.contains(&port),
        };
        if allowed && port != 0 {
            return Ok(());
        }
        Err(EgressRefusal::port(port))
    }

    fn check_addr(
        &self,
        url: &EgressUrl,
        exceptions: &Exceptions,
        addr: SocketAddr,
    ) -> Result<(), EgressRefusal> {
        let ip = addr.ip();
        let lifted = lifted(url, exceptions).filter(|exceptions| exceptions.lists(ip));
        let refused = match address::standing(ip) {
            Standing::Public => None,
            Standing::Private => Some(EgressReason::Private).filter(|_| lifted.is_none()),
            Standing::Metadata => Some(EgressReason::Metadata)
                .filter(|_| lifted.is_none_or(|exceptions| !exceptions.allow_metadata)),
            Standing::Special => Some(EgressReason::Special),
            Standing::EmbeddedV4 => Some(EgressReason::EmbeddedV4),
        };
        if let Some(reason) = refused {
            return Err(EgressRefusal::address(reason, ip));
        }
        if self.is_own(addr) {
            return Err(EgressReason::Own.into());
        }
        // A name that is refused before DNS is here only for its private addresses.
        if matches!(url.host(), Host::Name(name) if name::is_refused(name)) && lifted.is_none() {
            return Err(EgressReason::Name.into());
        }
        Ok(())
    }

    /// Whether `addr` is one of our listeners. A wildcard listener answers on every loopback
    /// address; its other addresses are in the list.
    fn is_own(&self, addr: SocketAddr) -> bool {
        self.listeners.iter().any(|own| {
            let same_ip = own.ip().to_canonical() == addr.ip()
                || (own.ip().is_unspecified() && addr.ip().is_loopback());
            same_ip && own.port() == addr.port()
        })
    }
}

/// The exceptions, if this URL can have any.
fn lifted<'a>(url: &EgressUrl, exceptions: &'a Exceptions) -> Option<&'a Exceptions> {
    match url.giver() {
        Giver::Tenant => None,
        Giver::Operator if exceptions.allow_private.is_empty() => None,
        Giver::Operator => Some(exceptions),
    }
}
