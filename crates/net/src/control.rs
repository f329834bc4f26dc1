//! Calls from the command line to a running gateway: over its local socket, or to its management
//! address. No retries, no redirects, one answer of bounded size.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use tokio::net::{TcpStream, UnixStream};

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the gateway is.
#[derive(Clone, Debug)]
pub enum Target {
    /// Its local socket.
    Unix(PathBuf),
    /// Its management address.
    Tcp(SocketAddr),
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
        target: match target {
            Target::Unix(path) => path.display().to_string(),
            Target::Tcp(addr) => addr.to_string(),
        },
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
