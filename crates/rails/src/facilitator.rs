//! Who verifies and settles payments of x402.

use crate::breaker::Breaker;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tollkeep_net::dial::Endpoint;
use tollkeep_net::fetch::{self, Bounds, Sent};
use tollkeep_payments::x402::{Answered, Networks, PlayChain, Supported, supported};
use tollkeep_types::Clock;

/// Bytes of an answer at most.
const BYTES_MAX: usize = 256 * 1024;
/// Calls under way at most.
const IN_FLIGHT_MAX: usize = 64;

/// How long it may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// To say whether it would settle, and what it can.
    pub verify: Duration,
    /// To settle.
    pub settle: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// No connection: not a byte was written.
    Unsent,
    /// Bytes were written, and no whole answer came.
    Cut,
    /// An answer.
    Whole {
        /// Its status.
        status: u16,
        /// Its body.
        body: Bytes,
    },
}

impl Reply {
    /// As `payments` reads it.
    pub fn answered(&self) -> Answered<'_> {
        match self {
            Self::Unsent => Answered::Unsent,
            Self::Cut => Answered::Cut,
            Self::Whole { status, body } => Answered::Whole {
                status: *status,
                body,
            },
        }
    }
}

/// How calls fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// There was no connection.
    Connect,
    /// The connection broke, or the answer did not come in time or is no HTTP.
    Cut,
    /// It answered with 5xx or 429.
    Status,
    /// It was not called, since it kept failing.
    Open,
    /// It was not called, since too many calls are under way.
    Full,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Connect,
        Self::Cut,
        Self::Status,
        Self::Open,
        Self::Full,
    ];

    /// The value of the label `kind`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Cut => "cut",
            Self::Status => "status",
            Self::Open => "open",
            Self::Full => "full",
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::Cut => 1,
            Self::Status => 2,
            Self::Open => 3,
            Self::Full => 4,
        }
    }
}

/// Where a facilitator is.
pub enum Place {
    /// Somewhere else; the path stands before `supported`, `verify` and `settle`.
    Remote(Endpoint),
    /// In this process: it moves no money.
    Play(Arc<Mutex<PlayChain>>),
}

/// What a facilitator is made of.
pub struct FacilitatorParts {
    /// Its name in the settings.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Fields on every request; none of them is ever shown.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Who verifies and settles.
pub struct Facilitator {
    parts: FacilitatorParts,
    breaker: Mutex<Breaker>,
    in_flight: Semaphore,
    failures: [AtomicU64; Failure::ALL.len()],
}

impl Facilitator {
    /// One that nobody has called yet.
    pub fn new(parts: FacilitatorParts) -> Self {
        Self {
            parts,
            breaker: Mutex::new(Breaker::new()),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            failures: Default::default(),
        }
    }

    /// Its name in the settings.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// How often calls failed so.
    pub fn failed(&self, how: Failure) -> u64 {
        let count = self.failures.get(how.place());
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// What it takes; `None` if it does not say.
    pub async fn supported(&self, networks: &Networks) -> Option<Supported> {
        let reply = match &self.parts.place {
            Place::Play(_) => whole(PlayChain::supported()),
            Place::Remote(endpoint) => {
                let request = Request::get(target(endpoint, "supported"));
                let request = request.header(ACCEPT, "application/json");
                let patience = self.parts.timeouts.verify;
                self.call(endpoint, (request, Bytes::new()), patience).await
            }
        };
        supported(&reply.answered(), networks)
    }

    /// Whether it says what it takes, also while it is left alone for failing. If so, it is tried
    /// again without waiting.
    pub async fn is_back(&self, networks: &Networks, patience: Duration) -> bool {
        let reply = match &self.parts.place {
            Place::Play(_) => return true,
            Place::Remote(endpoint) => {
                let request = Request::get(target(endpoint, "supported"));
                let request = request.header(ACCEPT, "application/json");
                let Some(request) = self.request(request, Bytes::new()) else {
                    return false;
                };
                self.send(endpoint, request, patience).await.1
            }
        };
        let is_back = supported(&reply.answered(), networks).is_some();
        if is_back {
            self.breaker().answered();
        }
        is_back
    }

    /// Asks whether it would settle.
    pub async fn verify(&self, body: &str) -> Reply {
        match &self.parts.place {
            Place::Play(chain) => whole(locked(chain).verify(body.as_bytes(), self.now_s())),
            Place::Remote(endpoint) => {
                let request = (post(endpoint, "verify"), copied(body));
                let patience = self.parts.timeouts.verify;
                self.call(endpoint, request, patience).await
            }
        }
    }

    /// Tells it to settle. `key` is the same for each repeat, as the body is.
    pub async fn settle(&self, body: &str, key: &str) -> Reply {
        match &self.parts.place {
            Place::Play(chain) => whole(locked(chain).settle(body.as_bytes(), self.now_s())),
            Place::Remote(endpoint) => {
                let request = post(endpoint, "settle").header("idempotency-key", key);
                let patience = self.parts.timeouts.settle;
                self.call(endpoint, (request, copied(body)), patience).await
            }
        }
    }

    fn now_s(&self) -> u64 {
        self.parts.clock.wall().0 / 1000
    }

    async fn call(
        &self,
        endpoint: &Endpoint,
        (request, body): (http::request::Builder, Bytes),
        patience: Duration,
    ) -> Reply {
        let Some(request) = self.request(request, body) else {
            return self.note(Failure::Connect, Reply::Unsent);
        };
        let Ok(_place) = self.in_flight.try_acquire() else {
            return self.note(Failure::Full, Reply::Unsent);
        };
        let Some(trial) = Trial::of(self) else {
            return self.note(Failure::Open, Reply::Unsent);
        };
        let (failure, reply) = self.send(endpoint, request, patience).await;
        trial.end(failure.is_none());
        match failure {
            Some(failure) => self.note(failure, reply),
            None => reply,
        }
    }

    /// With the fields of the settings.
    fn request(&self, mut request: http::request::Builder, body: Bytes) -> Option<Request<Bytes>> {
        for (name, value) in &self.parts.fields {
            let mut value = value.clone();
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request.body(body).ok()
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
        patience: Duration,
    ) -> (Option<Failure>, Reply) {
        let bounds = Bounds {
            bytes_max: BYTES_MAX,
            patience,
        };
        let connecting = self.parts.timeouts.connect.min(patience);
        let sent = fetch::once(endpoint, request, connecting, bounds).await;
        match sent {
            Sent::Never(_) => (Some(Failure::Connect), Reply::Unsent),
            Sent::Cut(_) => (Some(Failure::Cut), Reply::Cut),
            Sent::Answered { status, body } => {
                let failed = status >= 500 || status == 429;
                (
                    failed.then_some(Failure::Status),
                    Reply::Whole { status, body },
                )
            }
        }
    }

    fn note(&self, failure: Failure, reply: Reply) -> Reply {
        if let Some(count) = self.failures.get(failure.place()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        reply
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(endpoint: &Endpoint, last: &str) -> String {
    let path = endpoint.url.path().trim_end_matches('/');
    format!("{path}/{last}")
}

fn post(endpoint: &Endpoint, last: &str) -> http::request::Builder {
    Request::post(target(endpoint, last))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
}

fn copied(body: &str) -> Bytes {
    Bytes::copy_from_slice(body.as_bytes())
}

fn locked(chain: &Mutex<PlayChain>) -> MutexGuard<'_, PlayChain> {
    chain.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer of who is in this process.
fn whole(body: String) -> Reply {
    Reply::Whole {
        status: 200,
        body: body.into(),
    }
}

/// A call that the breaker let go. One that is given up has failed, as far as anybody knows.
struct Trial<'a> {
    of: &'a Facilitator,
    succeeded: bool,
}

impl<'a> Trial<'a> {
    fn of(facilitator: &'a Facilitator) -> Option<Self> {
        let now = facilitator.parts.clock.mono();
        let may = facilitator.breaker().ask(now);
        may.then_some(Self {
            of: facilitator,
            succeeded: false,
        })
    }

    fn end(mut self, succeeded: bool) {
        self.succeeded = succeeded;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let now = self.of.parts.clock.mono();
        let mut breaker = self.of.breaker();
        if self.succeeded {
            breaker.succeeded();
        } else {
            breaker.failed(now);
        }
    }
}
