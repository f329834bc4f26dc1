//! What records tell of a management request.

use crate::State;
use crate::serve::Peer;
use axum::extract::Request;
use axum::extract::connect_info::ConnectInfo;
use axum::http::{HeaderMap, Method, header};
use std::net::IpAddr;
use std::sync::Arc;
use tollkeep_audit::{Event, Key, Value};
use tollkeep_types::{ClientCertificate, RequestId};

/// A management request: its id, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: RequestId,
    method: Method,
    path: Box<str>,
    /// `None` on the local socket.
    pub(crate) client_ip: Option<IpAddr>,
    user_agent: Option<Box<str>>,
    certificate: Option<Arc<ClientCertificate>>,
}

impl Asked {
    /// Takes note of a request and gives it an id.
    pub(crate) fn note(state: &State, request: &Request) -> Self {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let agent = request.headers().get(header::USER_AGENT);
        Self {
            id: RequestId::new(state.parts.clock.as_ref(), state.parts.entropy.as_ref()),
            method: request.method().clone(),
            path: request.uri().path().into(),
            client_ip: peer
                .map(|ConnectInfo(peer)| client_of(state, peer.addr.ip(), request.headers())),
            certificate: peer.and_then(|ConnectInfo(peer)| peer.certificate.clone()),
            user_agent: agent.and_then(|agent| agent.to_str().ok()).map(Box::from),
        }
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
    let fields = fields
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    rules.resolve(peer, fields).ip
}
