//! One GET through the egress door, for what the control plane needs from elsewhere. It runs on
//! the control runtime; no redirect is followed, and size and time are bounded.

use crate::dial::{Connected, DialError, Endpoint, Tried};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tollkeep_policy::egress::check_redirect;

/// How a fetch is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of the body.
    pub bytes_max: usize,
    /// From the look-up of the name to the last byte.
    pub patience: Duration,
}

/// Why there is nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// Another status than 200.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer is not proper HTTP, or larger than it may be.
    #[error("no proper answer: {0}")]
    Protocol(String),
}

/// The body that is there.
///
/// # Errors
/// See [`FetchError`].
#[expect(
    clippy::disallowed_methods,
    reason = "there is no connection of a caller whose slot could time it"
)]
pub async fn get(endpoint: &Endpoint, bounds: Bounds) -> Result<Bytes, FetchError> {
    tokio::time::timeout(bounds.patience, exchange(endpoint, bounds.bytes_max))
        .await
        .unwrap_or(Err(FetchError::Late(bounds.patience)))
}

async fn exchange(endpoint: &Endpoint, bytes_max: usize) -> Result<Bytes, FetchError> {
    match endpoint
        .dialer
        .connect(endpoint, &mut Tried::default())
        .await?
    {
        Connected::Clear(stream) => ask(stream, endpoint, bytes_max).await,
        Connected::Tls(stream) => ask(*stream, endpoint, bytes_max).await,
        Connected::TlsInTls(stream) => ask(*stream, endpoint, bytes_max).await,
    }
}

async fn ask<S>(stream: S, endpoint: &Endpoint, bytes_max: usize) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| FetchError::Protocol(error.to_string());
    let url = &endpoint.url;
    let path = match url.path() {
        "" => "/",
        path => path,
    };
    let target = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let request = http::Request::get(target)
        .header(http::header::HOST, url.authority())
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::USER_AGENT, "tollkeep")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Protocol(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status().as_u16();
        if status != 200 || check_redirect(url.purpose(), status).is_err() {
            return Err(FetchError::Status(status));
        }
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = body.map_err(|error| FetchError::Protocol(error.to_string()))?;
        Ok(body.to_bytes())
    };
    let mut answered = std::pin::pin!(answered);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        body = &mut answered => body,
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(broken(error)),
        },
    }
}
