//! What records tell of a management request.

use crate::State;
use crate::serve::Peer;
use axum::extract::Request;
use axum::extract::connect_info::ConnectInfo;
use axum::http::{HeaderMap, Method, header};
use std::net::IpAddr;
use std::sync::Arc;
use tollkeep_audit::{Event, Key, Value};
use tollkeep_policy::client_ip::ClientScheme;
use tollkeep_types::{ClientCertificate, RequestId};

/// A management request: its id, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: RequestId,
    method: Method,
    path: Box<str>,
    /// How it came.
    pub(crate) channel: Channel,
    /// `None` on the local socket.
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) user_agent: Option<Box<str>>,
    certificate: Option<Arc<ClientCertificate>>,
}

/// How far others can listen in, and so whether somebody may sign in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Channel {
    /// TLS, ours or a trusted proxy's.
    Tls,
    /// In clear, within this machine.
    Local,
    /// In clear, from elsewhere.
    Clear,
}

impl Asked {
    /// Takes note of a request and gives it an id.
    pub(crate) fn note(state: &State, request: &Request) -> Self {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let agent = request.headers().get(header::USER_AGENT);
        let client_ip =
            peer.map(|ConnectInfo(peer)| client_of(state, peer.addr.ip(), request.headers()));
        Self {
            id: RequestId::new(state.parts.clock.as_ref(), state.parts.entropy.as_ref()),
            method: request.method().clone(),
            path: request.uri().path().into(),
            channel: channel(state, peer, client_ip, request.headers()),
            client_ip,
            certificate: peer.and_then(|ConnectInfo(peer)| peer.certificate.clone()),
            user_agent: agent.and_then(|agent| agent.to_str().ok()).map(Box::from),
        }
    }

    /// What it asks about.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// The event, with what is known of the request it happened in.
    pub(crate) fn told_in<'a>(&self, event: Event<'a>) -> Event<'a> {
        let mut event = event
            .with_request_id(self.id)
            .with_detail(
                Key::HttpMethod,
                Value::OwnedWord(self.method.as_str().into()),
            )
            .with_endpoint(self.path.to_string());
        if let Some(ip) = self.client_ip {
            event = event.with_client_ip(ip);
        }
        if let Some(certificate) = &self.certificate {
            event = event.with_certificate(certificate.told());
        }
        match &self.user_agent {
            Some(agent) => event.with_user_agent(agent.to_string()),
            None => event,
        }
    }
}

/// The client of a request from `peer`: itself, or whom a trusted proxy speaks for.
fn client_of(state: &State, peer: IpAddr, fields: &HeaderMap) -> IpAddr {
    let rules = state.settings().server.client_ip_rules();
    rules.resolve(peer, bytes(fields)).ip
}

fn channel(
    state: &State,
    peer: Option<&ConnectInfo<Peer>>,
    client_ip: Option<IpAddr>,
    fields: &HeaderMap,
) -> Channel {
    // A socket of the file system has no address.
    let Some(ConnectInfo(peer)) = peer else {
        return Channel::Local;
    };
    if peer.tls.is_some() {
        return Channel::Tls;
    }
    let rules = state.settings().server.client_ip_rules();
    let ip = peer.addr.ip();
    match rules.forwarded_scheme(ip, bytes(fields)) {
        Some(ClientScheme::Https) => Channel::Tls,
        Some(ClientScheme::Http) | None
            if ip.to_canonical().is_loopback()
                && client_ip.is_some_and(|ip| ip.to_canonical().is_loopback()) =>
        {
            Channel::Local
        }
        Some(ClientScheme::Http) | None => Channel::Clear,
    }
}

fn bytes(fields: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = fields.iter();
    fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}
