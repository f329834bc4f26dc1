//! Management as the data listener serves it, to callers of this machine (EDGE-4): the data plane
//! reads the request and writes the answer.

use crate::{Admin, Peer, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::ConnectInfo;
use http::{Request, Response};
use std::net::SocketAddr;
use tower_service::Service;

/// Bytes of an answer at most; a list of 200 entries is far smaller.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The API for requests that somebody else has read.
#[derive(Clone)]
pub struct DataPort(Router);

impl Admin {
    /// The API for the data listener, by key.
    pub fn on_data_port(&self) -> DataPort {
        DataPort(router::on_data_port(&self.0))
    }
}

impl DataPort {
    /// Answers a request from `peer`; `None` if the answer broke off.
    pub async fn answer(
        &self,
        request: Request<Vec<u8>>,
        peer: SocketAddr,
    ) -> Option<Response<Vec<u8>>> {
        let mut request = request.map(Body::from);
        // TLS of the data listener was judged there, and whom it believes is its own affair.
        let peer = Peer {
            addr: peer,
            tls: None,
            certificate: None,
            is_believed: None,
        };
        request.extensions_mut().insert(ConnectInfo(peer));
        // A router is always ready.
        let answered = self.0.clone().call(request).await;
        let (head, body) = match answered {
            Ok(response) => response.into_parts(),
            Err(never) => match never {},
        };
        let body = to_bytes(body, ANSWER_BYTES_MAX).await.ok()?;
        Some(Response::from_parts(head, body.into()))
    }
}
