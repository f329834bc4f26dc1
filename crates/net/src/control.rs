//! Calls from the command line to a running gateway: over its local socket, or to its management
//! address. No retries, no redirects, one answer of bounded size.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the gateway is.
#[derive(Clone, Debug)]
pub enum Target {
    /// Its local socket.
    Unix(PathBuf),
    /// Its management address.
    Tcp(SocketAddr),
    /// Its management address behind TLS.
    Tls {
        /// Name or address, which its certificate must be for.
        host: String,
        /// Port.
        port: u16,
        /// Whom its certificate may be from.
        roots: Arc<ClientConfig>,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Tls { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// Listens on a socket of our own user alone. One that a dead process left is replaced.
///
/// # Errors
/// Another process listens there, or the folder does not let us.
pub fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A call that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("cannot reach {target}: {source}")]
    Unreachable {
        /// Where.
        target: String,
        /// What the system said.
        source: io::Error,
    },
    /// It answered, but not as HTTP.
    #[error("no proper answer: {0}")]
    Protocol(String),
}

/// One request.
pub struct Request {
    /// Method.
    pub method: http::Method,
    /// Path and query.
    pub path: String,
    /// Fields besides Host and Content-Length.
    pub fields: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Body, empty for none.
    pub body: Vec<u8>,
}

/// Sends `request` to `target` and reads the whole answer.
///
/// # Errors
/// Nobody listens, the connection breaks, or the answer is too large.
pub async fn call(
    target: &Target,
    request: Request,
) -> Result<http::Response<Bytes>, ControlError> {
    let unreachable = |source: io::Error| ControlError::Unreachable {
        target: target.to_string(),
        source,
    };
    match target {
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            exchange(TokioIo::new(stream), "localhost", request).await
        }
        Target::Tcp(addr) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "an operator's own address, given on the command line"
            )]
            let stream = TcpStream::connect(addr).await.map_err(unreachable)?;
            exchange(TokioIo::new(stream), &addr.to_string(), request).await
        }
        Target::Tls { host, port, roots } => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(bare.to_owned());
            let name = name.map_err(|error| unreachable(io::Error::other(error)))?;
            #[expect(
                clippy::disallowed_methods,
                reason = "an operator's own address, given on the command line"
            )]
            let stream = TcpStream::connect((bare, *port)).await;
            let connector = TlsConnector::from(Arc::clone(roots));
            let stream = connector.connect(name, stream.map_err(unreachable)?).await;
            let stream = TokioIo::new(stream.map_err(unreachable)?);
            exchange(stream, &target.to_string(), request).await
        }
    }
}

async fn exchange<S>(
    stream: S,
    host: &str,
    request: Request,
) -> Result<http::Response<Bytes>, ControlError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| ControlError::Protocol(error.to_string());
    let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
    let mut built = http::Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(http::header::HOST, host);
    for (name, value) in request.fields {
        built = built.header(name, value);
    }
    let built = built
        .body(Full::new(Bytes::from(request.body)))
        .map_err(|error| ControlError::Protocol(error.to_string()))?;
    let answered = async {
        let (head, body) = sender
            .send_request(built)
            .await
            .map_err(broken)?
            .into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body
            .map_err(|error| ControlError::Protocol(error.to_string()))?
            .to_bytes();
        Ok(http::Response::from_parts(head, body))
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
