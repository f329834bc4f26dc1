//! One request through the egress door, for what the control plane needs from elsewhere. It runs
//! on the control runtime; no redirect is followed, and size and time are bounded.

use crate::dial::{Connected, DialError, Endpoint, Tried};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tollkeep_policy::egress::check_redirect;

/// How a fetch is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of the body; with 0 nothing of it is read, however long it is.
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
pub async fn get(endpoint: &Endpoint, bounds: Bounds) -> Result<Bytes, FetchError> {
    let request = Request::get(target(endpoint))
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| FetchError::Protocol(error.to_string()))?;
    let answer = send(endpoint, request, bounds).await?;
    match answer.status().as_u16() {
        200 => Ok(answer.into_body()),
        status => Err(FetchError::Status(status)),
    }
}

/// The body of the answer to a form that is posted.
///
/// # Errors
/// See [`FetchError`].
pub async fn post_form(
    endpoint: &Endpoint,
    form: Vec<u8>,
    authorization: Option<HeaderValue>,
    bounds: Bounds,
) -> Result<Bytes, FetchError> {
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut fields = vec![(header::CONTENT_TYPE, kind)];
    fields.extend(authorization.map(|authorization| (header::AUTHORIZATION, authorization)));
    post(endpoint, fields, form, bounds).await
}

/// The body of the answer to what is posted with these fields, none of which is shown.
///
/// # Errors
/// See [`FetchError`].
pub async fn post(
    endpoint: &Endpoint,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
    bounds: Bounds,
) -> Result<Bytes, FetchError> {
    let mut request = Request::post(target(endpoint)).header(header::ACCEPT, "application/json");
    for (name, mut value) in fields {
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    let request = request
        .body(Bytes::from(body))
        .map_err(|error| FetchError::Protocol(error.to_string()))?;
    let answer = send(endpoint, request, bounds).await?;
    match answer.status().as_u16() {
        200 => Ok(answer.into_body()),
        status => Err(FetchError::Status(status)),
    }
}

fn target(endpoint: &Endpoint) -> String {
    let url = &endpoint.url;
    let path = match url.path() {
        "" => "/",
        path => path,
    };
    match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// The answer to a request, whose target is the path and query alone. The fields that every
/// request of ours has are put in.
///
/// # Errors
/// See [`FetchError`]; of all statuses, only that of a redirect is one.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no connection of a caller whose slot could time it"
)]
pub(crate) async fn send(
    endpoint: &Endpoint,
    request: Request<Bytes>,
    bounds: Bounds,
) -> Result<Response<Bytes>, FetchError> {
    tokio::time::timeout(
        bounds.patience,
        exchange(endpoint, request, bounds.bytes_max),
    )
    .await
    .unwrap_or(Err(FetchError::Late(bounds.patience)))
}

/// What became of a request that must not be sent twice unknowingly.
#[derive(Debug)]
pub enum Sent {
    /// There was never a connection: not a byte of it was written.
    Never(String),
    /// It may have arrived, and no whole answer came.
    Cut(String),
    /// It was answered. What the answer of a redirect says is left out.
    Answered {
        /// The status.
        status: u16,
        /// The body.
        body: Bytes,
    },
}

/// Sends a request, whose target is the path and query alone, and tells apart whether it can have
/// arrived: `connecting` bounds the way to a connection, `bounds` what comes after.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no connection of a caller whose slot could time it"
)]
pub async fn once(
    endpoint: &Endpoint,
    request: Request<Bytes>,
    connecting: Duration,
    bounds: Bounds,
) -> Sent {
    let mut tried = Tried::default();
    let connected = endpoint.dialer.connect(endpoint, &mut tried);
    let connected = match tokio::time::timeout(connecting, connected).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return Sent::Never(error.to_string()),
        Err(_) => return Sent::Never(FetchError::Late(connecting).to_string()),
    };
    let asked = ask_by(connected, endpoint, request, bounds.bytes_max);
    match tokio::time::timeout(bounds.patience, asked).await {
        Ok(Ok(answer)) => Sent::Answered {
            status: answer.status().as_u16(),
            body: answer.into_body(),
        },
        Ok(Err(FetchError::Status(status))) => Sent::Answered {
            status,
            body: Bytes::new(),
        },
        Ok(Err(error)) => Sent::Cut(error.to_string()),
        Err(_) => Sent::Cut(FetchError::Late(bounds.patience).to_string()),
    }
}

/// Posts a body with these fields, none of which is shown, and tells apart whether it can have
/// arrived, as [`once`] does.
pub async fn post_once(
    endpoint: &Endpoint,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
    bounds: Bounds,
) -> Sent {
    let mut request = Request::post(target(endpoint)).header(header::ACCEPT, "application/json");
    for (name, mut value) in fields {
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    match request.body(Bytes::from(body)) {
        Ok(request) => once(endpoint, request, bounds.patience, bounds).await,
        Err(error) => Sent::Never(error.to_string()),
    }
}

async fn exchange(
    endpoint: &Endpoint,
    request: Request<Bytes>,
    bytes_max: usize,
) -> Result<Response<Bytes>, FetchError> {
    let mut tried = Tried::default();
    let connected = endpoint.dialer.connect(endpoint, &mut tried).await?;
    ask_by(connected, endpoint, request, bytes_max).await
}

async fn ask_by(
    connected: Connected,
    endpoint: &Endpoint,
    request: Request<Bytes>,
    bytes_max: usize,
) -> Result<Response<Bytes>, FetchError> {
    match connected {
        Connected::Clear(stream) => ask(stream, endpoint, request, bytes_max).await,
        Connected::Tls(stream) => ask(*stream, endpoint, request, bytes_max).await,
        Connected::TlsInTls(stream) => ask(*stream, endpoint, request, bytes_max).await,
    }
}

async fn ask<S>(
    stream: S,
    endpoint: &Endpoint,
    request: Request<Bytes>,
    bytes_max: usize,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| FetchError::Protocol(error.to_string());
    let url = &endpoint.url;
    let (mut parts, body) = request.into_parts();
    let host = HeaderValue::from_str(url.authority())
        .map_err(|error| FetchError::Protocol(error.to_string()))?;
    parts.headers.insert(header::HOST, host);
    let agent = HeaderValue::from_static("tollkeep");
    parts.headers.insert(header::USER_AGENT, agent);
    let request = Request::from_parts(parts, Full::new(body));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status().as_u16();
        if check_redirect(url.purpose(), status).is_err() {
            return Err(FetchError::Status(status));
        }
        let (parts, body) = answer.into_parts();
        if bytes_max == 0 {
            return Ok(Response::from_parts(parts, Bytes::new()));
        }
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| FetchError::Protocol(error.to_string()))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    let mut answered = std::pin::pin!(answered);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut answered => answer,
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(broken(error)),
        },
    }
}

/// The status that a GET of this target is answered with; what the answer says is thrown away.
/// `lines` are further fields, ready to write, each with its line end.
///
/// # Errors
/// See [`FetchError`]; a redirect is one.
pub async fn status_of(
    endpoint: &Endpoint,
    target: &str,
    lines: &[u8],
    bounds: Bounds,
) -> Result<u16, FetchError> {
    let mut request = Request::get(target)
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| FetchError::Protocol(error.to_string()))?;
    let fields = fields_of(lines);
    let fields = fields.ok_or_else(|| FetchError::Protocol("a field can't be sent".to_owned()))?;
    request.headers_mut().extend(fields);
    let answer = send(endpoint, request, bounds).await?;
    Ok(answer.status().as_u16())
}

/// The fields of lines that are ready to write.
fn fields_of(lines: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    let lines = std::str::from_utf8(lines).ok()?;
    for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        fields.append(name.parse::<HeaderName>().ok()?, value);
    }
    Some(fields)
}
