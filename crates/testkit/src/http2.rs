//! A caller of HTTP/2: what any client does, by the client of a library.

use crate::client::{Answer, BodyEnd};
use crate::wait::PATIENCE;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// A connection to the gateway that speaks HTTP/2.
pub struct Http2Client {
    runtime: Arc<Runtime>,
    requests: SendRequest<Bytes>,
    authority: String,
    ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// A request on its way.
pub struct Exchange {
    runtime: Arc<Runtime>,
    answer: Option<ResponseFuture>,
    /// For more of the request's body.
    pub send: SendStream<Bytes>,
    body: Option<RecvStream>,
}

/// How a stream or connection was ended by the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reset(pub Option<Reason>);

impl Http2Client {
    /// Connects without TLS.
    ///
    /// # Panics
    /// Nobody speaks HTTP/2 there.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::with_window(addr, 65_535)
    }

    /// Connects without TLS, with this window for each answer.
    ///
    /// # Panics
    /// Nobody speaks HTTP/2 there.
    pub fn with_window(addr: SocketAddr, window: u32) -> Self {
        Self::over(addr, window, |stream| async { stream })
    }

    /// Connects over what `carrier` makes of the socket, such as TLS.
    ///
    /// # Panics
    /// Nobody speaks HTTP/2 there.
    pub fn over<S, F>(addr: SocketAddr, window: u32, carrier: impl FnOnce(TcpStream) -> F) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = S>,
    {
        let runtime = runtime();
        let stream = runtime.block_on(async {
            let stream = TcpStream::connect(addr).await.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            carrier(stream).await
        });
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        let shaking = builder.handshake::<_, Bytes>(stream);
        let (requests, driver) = runtime.block_on(shaking).expect("a handshake");
        let ended = runtime.spawn(driver);
        Self {
            runtime: Arc::new(runtime),
            requests,
            authority: addr.to_string(),
            ended,
        }
    }

    /// A request for `path` with these fields.
    ///
    /// # Panics
    /// They are no request.
    pub fn request(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
        let uri = format!("http://{}{path}", self.authority);
        let request = Request::builder().method(method).uri(uri);
        let request = fields.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).expect("a request")
    }

    /// Begins a request; its body follows with `send` unless it ends at once.
    ///
    /// # Errors
    /// The connection takes no more requests.
    pub fn begin(&mut self, request: Request<()>, ends: bool) -> Result<Exchange, h2::Error> {
        let requests = self.requests.clone();
        self.requests = self.runtime.block_on(requests.ready())?;
        let (answer, send) = self.requests.send_request(request, ends)?;
        Ok(Exchange {
            runtime: Arc::clone(&self.runtime),
            answer: Some(answer),
            send,
            body: None,
        })
    }

    /// Sends requests at once, with bodies of announced length, and reads their answers.
    ///
    /// # Errors
    /// Each one's: it was reset.
    ///
    /// # Panics
    /// The connection takes no requests, or an answer does not come.
    pub fn call_all(&mut self, calls: &[(Request<()>, &[u8])]) -> Vec<Result<Answer, Reset>> {
        let begun: Vec<_> = calls
            .iter()
            .map(|(request, body)| {
                let mut request = request.clone();
                if !body.is_empty() {
                    request
                        .headers_mut()
                        .insert("content-length", body.len().into());
                }
                let requests = self.requests.clone();
                self.requests = self.runtime.block_on(requests.ready()).expect("room");
                let (answer, send) = self
                    .requests
                    .send_request(request, body.is_empty())
                    .expect("a request that is sent");
                let body = Bytes::copy_from_slice(body);
                let runtime = self.runtime.handle();
                runtime.spawn(async move { exchange(answer, send, body).await })
            })
            .collect();
        begun
            .into_iter()
            .map(|task| {
                let waited = async { tokio::time::timeout(PATIENCE, task).await };
                let waited = self.runtime.block_on(waited);
                waited.expect("an answer in time").expect("no panic")
            })
            .collect()
    }

    /// One request with a body of announced length, and its answer.
    ///
    /// # Errors
    /// It was reset.
    ///
    /// # Panics
    /// No answer comes.
    pub fn call(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, Reset> {
        self.call_all(&[(request, body)])
            .pop()
            .expect("as many answers as requests")
    }

    /// How the connection ended, if it does within `patience`: the reason of its GOAWAY.
    ///
    /// # Panics
    /// It does not end.
    pub fn ended(self, patience: Duration) -> Reset {
        drop(self.requests);
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(patience, self.ended).await });
        let ended = ended.expect("the end in time").expect("no panic");
        Reset(ended.err().and_then(|error| error.reason()))
    }

    /// Whether the gateway has told us to open no more streams.
    pub fn is_going_away(&self) -> bool {
        let ready = self.requests.clone().ready();
        let waited = async { tokio::time::timeout(Duration::from_millis(10), ready).await };
        matches!(self.runtime.block_on(waited), Ok(Err(_)))
    }
}

async fn exchange(
    answer: ResponseFuture,
    mut send: SendStream<Bytes>,
    mut body: Bytes,
) -> Result<Answer, Reset> {
    if !body.is_empty() {
        send.reserve_capacity(body.len());
        while !body.is_empty() {
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
            // An answer may come before the body is taken.
            let Some(Ok(room)) = room else { break };
            let piece = body.split_to(room.min(body.len()));
            let ends = body.is_empty();
            if send.send_data(piece, ends).is_err() {
                break;
            }
        }
    }
    let (mut told, mut body) = head_of(answer.await.map_err(|error| reset(&error))?);
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                body.flow_control().release_capacity(piece.len()).ok();
                told.body.extend_from_slice(&piece);
            }
            Err(_) => {
                told.end = BodyEnd::Cut;
                break;
            }
        }
    }
    Ok(told)
}

fn reset(error: &h2::Error) -> Reset {
    Reset(error.reason())
}

fn head_of(response: Response<RecvStream>) -> (Answer, RecvStream) {
    let (head, body) = response.into_parts();
    let fields = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    });
    let answer = Answer {
        status: head.status.as_u16(),
        interim: Vec::new(),
        fields: fields.collect(),
        body: Vec::new(),
        end: BodyEnd::Whole,
    };
    (answer, body)
}

impl Exchange {
    /// The head of the answer.
    ///
    /// # Errors
    /// The stream was reset before it.
    ///
    /// # Panics
    /// It does not come, or has been read.
    pub fn head(&mut self) -> Result<Answer, Reset> {
        let answer = self.answer.take().expect("one head");
        let waited = async { tokio::time::timeout(PATIENCE, answer).await };
        let response = self.runtime.block_on(waited).expect("a head in time");
        let (answer, body) = head_of(response.map_err(|error| reset(&error))?);
        self.body = Some(body);
        Ok(answer)
    }

    /// The next bytes of the answer, `None` at its end. Their room in the window is given back
    /// only by [`Self::make_room`].
    ///
    /// # Errors
    /// The stream was reset.
    ///
    /// # Panics
    /// Nothing comes, or the head was not read.
    pub fn piece(&mut self) -> Result<Option<Bytes>, Reset> {
        self.piece_within(PATIENCE).expect("more in time")
    }

    /// As [`Self::piece`]; `None` when nothing came in time.
    ///
    /// # Panics
    /// The head was not read.
    pub fn piece_within(&mut self, patience: Duration) -> Option<Result<Option<Bytes>, Reset>> {
        let body = self.body.as_mut().expect("the head first");
        loop {
            let waited = async { tokio::time::timeout(patience, body.data()).await };
            let came = self.runtime.block_on(waited).ok()?;
            // An empty frame may end a stream; it says nothing else.
            if !matches!(&came, Some(Ok(bytes)) if bytes.is_empty()) {
                return Some(came.transpose().map_err(|error| reset(&error)));
            }
        }
    }

    /// Opens the window of this answer by so many bytes.
    ///
    /// # Panics
    /// They did not come.
    pub fn make_room(&mut self, bytes: usize) {
        let body = self.body.as_mut().expect("the head first");
        body.flow_control()
            .release_capacity(bytes)
            .expect("bytes that came");
    }

    /// Takes the request back.
    pub fn cancel(mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}
