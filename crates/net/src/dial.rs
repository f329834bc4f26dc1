//! The one egress door: a name is resolved once, every address is vetted, and only vetted
//! addresses are dialled. TLS checks the name, never the address.

use crate::descriptors::{Descriptors, Taken};
use crate::io::{Encrypted, Io};
use crate::resolve::{Names, ResolveError};
use crate::tls::UpstreamTls;
use crate::tunnel::{Carrier, Proxy, ProxyFault};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tollkeep_policy::egress::{
    EgressPolicy, EgressReason, EgressRefusal, EgressUrl, Exceptions, Giver, Host, VettedAddr,
};

/// How long the first address may take before the next one is tried beside it (RFC 8305).
const HAPPY_EYEBALLS: Duration = Duration::from_millis(250);

/// Addresses of one name that a proxy is asked for at most; each is a connection of its own.
const TUNNELS_TRIED_MAX: usize = 4;

/// Pool settings of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Idle connections kept per worker.
    pub idle_per_host_max: usize,
    /// How long one may stay idle.
    pub idle: Duration,
    /// Connections open per worker at most.
    pub connections_max: usize,
    /// Whether a connection serves one owner only.
    pub by_owner: bool,
}

/// An upstream address as configured: where to dial and how to be sure who answers.
pub struct Endpoint {
    /// Stands for everything below in pools; unique in the process.
    pub id: u64,
    /// Where it is.
    pub url: EgressUrl,
    /// The addresses the operator allows beyond the public ones.
    pub exceptions: Exceptions,
    /// TLS settings, for `https`.
    pub tls: Option<Arc<UpstreamTls>>,
    /// The door out.
    pub dialer: Dialer,
    /// Pool settings.
    pub pool: PoolSettings,
}

impl Endpoint {
    /// Whether its host is called only because hosts that are not listed are reported.
    pub fn is_reported(&self) -> bool {
        self.dialer.policy.is_reported(&self.url)
    }

    /// Whether a connection to `other` would be one to this: the same place, found by the same
    /// rules, and proven in the same way.
    pub fn leads_where(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        same_tls
            && self.url == other.url
            && self.exceptions == other.exceptions
            && Arc::ptr_eq(&self.dialer.policy, &other.dialer.policy)
            && self.dialer.proxy_url() == other.dialer.proxy_url()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The egress policy said no.
    #[error("egress refused: {0}")]
    Refused(#[from] EgressRefusal),
    /// The name gave no address.
    #[error("cannot resolve: {0}")]
    Resolve(#[from] ResolveError),
    /// No vetted address could be connected to.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The TLS handshake failed.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The proxy opened no tunnel.
    #[error("the proxy {0}")]
    Proxy(#[from] ProxyFault),
    /// The endpoint has as many connections as it may.
    #[error("too many connections to this upstream")]
    TooMany,
    /// The process has no descriptor to spare.
    #[error("out of file descriptors")]
    NoDescriptor,
}

impl DialError {
    /// Whether it failed while connecting, so that no byte of a request was sent and the next try
    /// may fare better.
    pub const fn is_of_connecting(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Tls(_) => true,
            Self::Proxy(fault) => fault.may_pass(),
            Self::Refused(_) | Self::Resolve(_) | Self::TooMany | Self::NoDescriptor => false,
        }
    }
}

/// Addresses that failed one call so far; the next try of the same call puts them last.
#[derive(Debug, Default)]
pub struct Tried(Vec<SocketAddr>);

impl Tried {
    fn sort(&self, vetted: &mut [VettedAddr]) {
        vetted.sort_by_key(|addr| self.0.contains(&addr.addr()));
    }
}

/// A connection to an upstream.
pub(crate) enum Connected {
    Clear(TcpStream),
    Tls(Box<Encrypted<TcpStream>>),
    TlsInTls(Box<Encrypted<Encrypted<TcpStream>>>),
}

/// Opens connections to upstreams by one set of rules. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    names: Names,
    policy: Arc<EgressPolicy>,
    descriptors: Arc<Descriptors>,
    proxy: Option<Arc<Proxied>>,
}

/// A proxy, and the rules for the way to it.
struct Proxied {
    proxy: Proxy,
    policy: EgressPolicy,
    exceptions: Exceptions,
}

impl Dialer {
    /// A dialer that asks `names`, obeys `policy` and counts its sockets in `descriptors`.
    pub fn new(names: Names, policy: Arc<EgressPolicy>, descriptors: Arc<Descriptors>) -> Self {
        Self {
            names,
            policy,
            descriptors,
            proxy: None,
        }
    }

    /// The same, with a proxy that public addresses are reached through.
    ///
    /// # Errors
    /// The proxy may not be dialled.
    pub fn through(self, proxy: Proxy) -> Result<Self, EgressRefusal> {
        let policy = self.policy.to_proxy();
        self.proxied(proxy, policy, Exceptions::of_proxy())
    }

    /// The same, with the proxy of one who may not name any: it is judged like every destination,
    /// and nobody bound to a tenant leads around the operator's own.
    ///
    /// # Errors
    /// The proxy may not be dialled.
    pub fn by_way_of(self, proxy: Proxy, exceptions: Exceptions) -> Result<Self, EgressRefusal> {
        if self.proxy.is_some() && proxy.url.giver() == Giver::Tenant {
            return Err(EgressReason::NotListed.into());
        }
        let policy = EgressPolicy::clone(&self.policy);
        self.proxied(proxy, policy, exceptions)
    }

    fn proxied(
        self,
        proxy: Proxy,
        policy: EgressPolicy,
        exceptions: Exceptions,
    ) -> Result<Self, EgressRefusal> {
        policy.admit(&proxy.url, &exceptions)?;
        let proxied = Proxied {
            proxy,
            policy,
            exceptions,
        };
        Ok(Self {
            proxy: Some(Arc::new(proxied)),
            ..self
        })
    }

    fn proxy_url(&self) -> Option<&EgressUrl> {
        self.proxy.as_ref().map(|proxied| &proxied.proxy.url)
    }

    /// Whether a URL could be dialled now, by all addresses of its name: asked before it is stored.
    ///
    /// # Errors
    /// It may not, or nobody knows its name.
    pub async fn vet(&self, url: &EgressUrl, exceptions: &Exceptions) -> Result<(), DialError> {
        let vetted = self.vetted::<DialError>(&self.policy, url, exceptions);
        vetted.await.map(|_| ())
    }

    /// A descriptor for one connection.
    pub(crate) fn descriptor(&self) -> Result<Taken, DialError> {
        self.descriptors
            .for_upstream()
            .ok_or(DialError::NoDescriptor)
    }

    pub(crate) async fn dial(
        &self,
        endpoint: &Endpoint,
        tried: &mut Tried,
    ) -> Result<Io, DialError> {
        Ok(match self.connect(endpoint, tried).await? {
            Connected::Clear(stream) => Io::Clear(stream),
            Connected::Tls(stream) => Io::TlsToUpstream(stream),
            Connected::TlsInTls(stream) => Io::TlsInTls(stream),
        })
    }

    /// As [`Self::dial`], for threads that own no connection of a caller.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        tried: &mut Tried,
    ) -> Result<Connected, DialError> {
        let Endpoint {
            url, exceptions, ..
        } = endpoint;
        let vetting = self.vetted::<DialError>(&self.policy, url, exceptions);
        let mut vetted = vetting.await?;
        tried.sort(&mut vetted);
        if let Some(proxied) = &self.proxy
            && vetted.iter().any(VettedAddr::is_public)
        {
            return Box::pin(self.tunnel(proxied, endpoint, &vetted, tried)).await;
        }
        let stream = connect_any(&vetted).await.map_err(DialError::Connect)?;
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        let Some(tls) = &endpoint.tls else {
            return Ok(Connected::Clear(stream));
        };
        let peer = stream.peer_addr().map_err(DialError::Connect)?;
        match tls.shake(url, stream).await {
            Ok(stream) => Ok(Connected::Tls(Box::new(stream))),
            Err(error) => {
                tried.0.push(peer);
                Err(DialError::Tls(error))
            }
        }
    }

    /// Through the proxy to one of the addresses that are public.
    async fn tunnel(
        &self,
        proxied: &Proxied,
        endpoint: &Endpoint,
        vetted: &[VettedAddr],
        tried: &mut Tried,
    ) -> Result<Connected, DialError> {
        let Proxied {
            proxy,
            policy,
            exceptions,
        } = proxied;
        let mut last = DialError::Connect(io::ErrorKind::AddrNotAvailable.into());
        let public = vetted.iter().filter(|addr| addr.is_public());
        for target in public.map(VettedAddr::addr).take(TUNNELS_TRIED_MAX) {
            let way = self.vetted::<ProxyFault>(policy, &proxy.url, exceptions);
            let mut carrier = proxy.connect(&way.await?).await?;
            match proxy.open(&mut carrier, target).await {
                Ok(()) => {}
                Err(fault) if fault.is_of_target() && fault.may_pass() => {
                    tried.0.push(target);
                    last = fault.into();
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            }
            let connected = encrypted(carrier, endpoint).await;
            return connected.map_err(|error| {
                tried.0.push(target);
                DialError::Tls(error)
            });
        }
        Err(last)
    }

    /// Every address of the host, or a refusal: one bad record in a mixed answer is an attack.
    async fn vetted<E>(
        &self,
        policy: &EgressPolicy,
        url: &EgressUrl,
        exceptions: &Exceptions,
    ) -> Result<Vec<VettedAddr>, E>
    where
        E: From<EgressRefusal> + From<ResolveError>,
    {
        // What can be refused before DNS is not even asked for.
        policy.admit(url, exceptions)?;
        let port = url.port();
        let addresses: Vec<SocketAddr> = match url.host() {
            Host::V4(ip) => vec![SocketAddr::new((*ip).into(), port)],
            Host::V6(ip) => vec![SocketAddr::new((*ip).into(), port)],
            Host::Name(name) => {
                let found = self.names.addresses(name).await?;
                found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
            }
        };
        Ok(policy.vet(url, exceptions, &addresses)?)
    }
}

/// TLS with the endpoint, where it wants that, inside a tunnel.
async fn encrypted(carrier: Carrier, endpoint: &Endpoint) -> io::Result<Connected> {
    let Some(tls) = &endpoint.tls else {
        return Ok(match carrier {
            Carrier::Clear(stream) => Connected::Clear(stream),
            Carrier::Tls(stream) => Connected::Tls(stream),
        });
    };
    let url = &endpoint.url;
    Ok(match carrier {
        Carrier::Clear(stream) => Connected::Tls(Box::new(tls.shake(url, stream).await?)),
        Carrier::Tls(stream) => Connected::TlsInTls(Box::new(tls.shake(url, *stream).await?)),
    })
}

/// Connects to the first vetted address that answers, starting the next one every 250 ms or as
/// soon as one fails.
pub(crate) async fn connect_any(vetted: &[VettedAddr]) -> io::Result<TcpStream> {
    let mut attempts = tokio::task::JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut rest = vetted.iter();
    loop {
        let next = rest.next();
        if let Some(addr) = next {
            let addr = addr.addr();
            #[expect(
                clippy::disallowed_methods,
                reason = "the egress door, with a vetted address"
            )]
            attempts.spawn(TcpStream::connect(addr));
        }
        if attempts.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(error) => last = io::Error::other(error),
            },
            () = tokio::time::sleep(HAPPY_EYEBALLS), if next.is_some() && rest.len() > 0 => {}
        }
    }
}
