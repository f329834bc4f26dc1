//! The one egress door: a name is resolved once, every address is vetted, and only vetted
//! addresses are dialled. TLS checks the name, never the address.

use crate::descriptors::{Descriptors, Taken};
use crate::io::Io;
use crate::resolve::{Names, ResolveError};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tollkeep_policy::egress::{
    EgressPolicy, EgressRefusal, EgressUrl, Exceptions, Host, VettedAddr,
};

/// How long the first address may take before the next one is tried beside it (RFC 8305).
const HAPPY_EYEBALLS: Duration = Duration::from_millis(250);

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
    pub tls: Option<Arc<ClientConfig>>,
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
        matches!(self, Self::Connect(_) | Self::Tls(_))
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
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Opens connections to upstreams by one set of rules. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    names: Names,
    policy: Arc<EgressPolicy>,
    descriptors: Arc<Descriptors>,
}

impl Dialer {
    /// A dialer that asks `names`, obeys `policy` and counts its sockets in `descriptors`.
    pub fn new(names: Names, policy: Arc<EgressPolicy>, descriptors: Arc<Descriptors>) -> Self {
        Self {
            names,
            policy,
            descriptors,
        }
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
        })
    }

    /// As [`Self::dial`], for threads that own no connection of a caller.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        tried: &mut Tried,
    ) -> Result<Connected, DialError> {
        let mut vetted = self.vetted(endpoint).await?;
        tried.sort(&mut vetted);
        let stream = connect_any(&vetted).await.map_err(DialError::Connect)?;
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        let Some(config) = &endpoint.tls else {
            return Ok(Connected::Clear(stream));
        };
        let name = server_name(&endpoint.url).map_err(DialError::Tls)?;
        let peer = stream.peer_addr().map_err(DialError::Connect)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Connected::Tls(Box::new(stream))),
            Err(error) => {
                tried.0.push(peer);
                Err(DialError::Tls(error))
            }
        }
    }

    /// Every address of the endpoint, or a refusal: one bad record in a mixed answer is an attack.
    async fn vetted(&self, endpoint: &Endpoint) -> Result<Vec<VettedAddr>, DialError> {
        // What can be refused before DNS is not even asked for.
        self.policy.admit(&endpoint.url, &endpoint.exceptions)?;
        let port = endpoint.url.port();
        let addresses: Vec<SocketAddr> = match endpoint.url.host() {
            Host::V4(ip) => vec![SocketAddr::new((*ip).into(), port)],
            Host::V6(ip) => vec![SocketAddr::new((*ip).into(), port)],
            Host::Name(name) => {
                let found = self.names.addresses(name).await?;
                found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
            }
        };
        Ok(self
            .policy
            .vet(&endpoint.url, &endpoint.exceptions, &addresses)?)
    }
}

fn server_name(url: &EgressUrl) -> io::Result<ServerName<'static>> {
    match url.host() {
        Host::V4(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::V6(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(io::Error::other),
    }
}

/// Connects to the first vetted address that answers, starting the next one every 250 ms or as
/// soon as one fails.
async fn connect_any(vetted: &[VettedAddr]) -> io::Result<TcpStream> {
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
