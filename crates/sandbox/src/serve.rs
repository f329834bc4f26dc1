//! Plays plans over HTTP/1.1 on a loopback listener.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use crate::answer::{answer, too_large};
use crate::plan::{Ending, Framing, Piece, Plan};

/// Largest request body that is read; more is the vendor's 413.
pub const BODY_BYTES_MAX: usize = 67_108_864;
/// Most connections at once; further ones wait in the backlog.
pub const CONNECTIONS_MAX: usize = 8_192;

/// Longest wait for a request head on an open connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after a failed accept: what fails is a lack of file descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for the bytes before a cut to leave, since a failing body takes unsent ones with it.
const CUT_PAUSE: Duration = Duration::from_millis(5);

/// Serves the emulated vendors until `shutdown` is ready, then drops what is open.
///
/// # Errors
/// When the listener is not bound to a loopback address (the emulator is never public), or cannot
/// be registered with the runtime.
pub async fn serve(
    listener: std::net::TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        let problem = "the sandbox listens on loopback only";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "The sandbox could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One connection. How it ends is the caller's business, and the caller sees it.
async fn converse(stream: TcpStream) {
    let undelayed = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service_fn(respond));
    if let Err(error) = connection.await {
        tracing::debug!(%error, ?undelayed, "A sandbox connection ended early");
    }
}

async fn respond(request: Request<Incoming>) -> Result<Response<Player>, hyper::Error> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let plan = match read(body).await? {
        Some(body) => answer(head.method.as_str(), target, &head.headers, &body),
        None => too_large(target, &head.headers),
    };
    if plan.delay_ms > 0 {
        sleep(Duration::from_millis(plan.delay_ms.into())).await;
    }
    let status = StatusCode::from_u16(plan.status).unwrap_or_default();
    let fields = fields(&plan);
    let mut response = Response::new(Player::of(plan));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    Ok(response)
}

/// The body, or nothing if it is or says it will be over the limit.
async fn read(body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Ok(None);
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) => error.downcast().map_or(Ok(None), |broken| Err(*broken)),
    }
}

fn fields(plan: &Plan) -> HeaderMap {
    let pairs = plan.headers.iter().filter_map(|(name, value)| {
        let value = HeaderValue::from_str(value).ok()?;
        Some((HeaderName::from_static(name), value))
    });
    pairs.collect()
}

/// A body that sends a plan's pieces when they are due.
struct Player {
    pieces: vec::IntoIter<Piece>,
    next: Option<Piece>,
    timer: Option<Pin<Box<Sleep>>>,
    framing: Framing,
    ending: Ending,
}

/// The connection is to be closed here.
#[derive(Debug, thiserror::Error)]
#[error("cut as asked")]
struct Cut;

impl Player {
    fn of(plan: Plan) -> Self {
        Self {
            pieces: plan.pieces.into_iter(),
            next: None,
            timer: None,
            framing: plan.framing,
            ending: plan.ending,
        }
    }

    /// Takes the next piece and sets the timer it waits for.
    fn advance(&mut self) {
        self.next = self.pieces.next();
        let wait = match (&self.next, self.ending) {
            (Some(piece), _) => Duration::from_millis(piece.delay_ms.into()),
            (None, Ending::Cut) => CUT_PAUSE,
            (None, Ending::Clean) => Duration::ZERO,
        };
        self.timer = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
    }
}

impl Body for Player {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let player = self.get_mut();
        if player.next.is_none() && player.timer.is_none() {
            player.advance();
        }
        if let Some(timer) = &mut player.timer {
            ready!(timer.as_mut().poll(context));
            player.timer = None;
        }
        Poll::Ready(match (player.next.take(), player.ending) {
            (Some(piece), _) => Some(Ok(Frame::data(piece.bytes))),
            (None, Ending::Clean) => None,
            (None, Ending::Cut) => Some(Err(Cut)),
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(bytes) => SizeHint::with_exact(bytes),
            Framing::Chunked => SizeHint::default(),
        }
    }
}
