//! Asking and telling others: hooks that wait for an answer, and what is told of payments, budgets
//! and failures, again and again until it is taken.

mod deliver;
mod notices;

use super::Base;
use super::egress::Door;
use super::reload::Reloader;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tollkeep_config::settings::{Callout, Receiver};
use tollkeep_crypto::webhook_signature;
use tollkeep_gateway::{FailedRequest, HookAnswer, HookDoor, Shared};
use tollkeep_net::dial::{Endpoint, PoolSettings};
use tollkeep_net::fetch::{self, Bounds, Sent};
use tollkeep_policy::egress::Exceptions;
use tollkeep_store::Store;
use tollkeep_types::{Clock, Entropy, WallMillis};

/// Callouts under way at most; more fail at once.
const CALLOUTS_MAX: usize = 64;
/// Bytes of what somebody answers who is asked (PAY-37).
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Failures that wait to be written down; more are not told.
const FAILURES_MAX: usize = 256;

/// Asks and tells others.
pub(crate) struct Telling {
    store: Store,
    reloader: Arc<Reloader>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    control: Handle,
    callouts: Semaphore,
    failures: mpsc::Sender<FailedRequest>,
}

impl Telling {
    /// Starts to ask and to tell.
    pub(crate) fn start(
        base: &Base,
        store: &Store,
        reloader: &Arc<Reloader>,
        (shared, control): (&Shared, &Handle),
    ) {
        let (failures, come) = mpsc::channel(FAILURES_MAX);
        let telling = Arc::new(Self {
            store: store.clone(),
            reloader: Arc::clone(reloader),
            clock: Arc::clone(&base.clock),
            entropy: Arc::clone(&base.entropy),
            control: control.clone(),
            callouts: Semaphore::new(CALLOUTS_MAX),
            failures,
        });
        store.tell_with(telling.teller());
        control.spawn(Arc::clone(&telling).deliver());
        control.spawn(Arc::clone(&telling).keep_failures(come));
        // Nobody else sets it.
        drop(shared.hooks.set(Arc::new(Asked(telling))));
    }
}

/// Where hooks of the data plane ask.
struct Asked(Arc<Telling>);

impl HookDoor for Asked {
    fn ask(&self, callout: Arc<Callout>, body: Vec<u8>) -> HookAnswer {
        let telling = Arc::clone(&self.0);
        let done = self.0.control.spawn(async move {
            let wait = callout.timeout;
            let asked = tokio::time::timeout(wait, telling.call_out(&callout, body));
            asked.await.unwrap_or(Err("it took too long"))
        });
        Box::pin(async move { done.await.unwrap_or(Err("it broke off")) })
    }

    fn failed(&self, request: FailedRequest) {
        if self.0.failures.try_send(request).is_err() {
            tracing::warn!("A failed request is not told to `onError`: too many wait");
        }
    }
}

/// What is signed and posted.
struct Letter<'a> {
    to: &'a Receiver,
    id: &'a str,
    event: &'a str,
    body: Vec<u8>,
    at: WallMillis,
}

impl Telling {
    async fn call_out(&self, callout: &Callout, body: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        let Ok(_place) = self.callouts.try_acquire() else {
            return Err("too many are asked at once");
        };
        let id = self.event_id();
        let letter = Letter {
            to: &callout.receiver,
            id: &id,
            event: "hook",
            body,
            at: self.clock.wall(),
        };
        let bounds = Bounds {
            bytes_max: ANSWER_BYTES_MAX,
            patience: callout.timeout,
        };
        match self.post(letter, bounds).await {
            Some(Sent::Answered { status: 200, body }) => Ok(body.to_vec()),
            Some(Sent::Answered { .. }) => Err("it answered with another status than 200"),
            Some(Sent::Never(why)) => {
                tracing::debug!("Somebody who is asked can't be reached: {why}");
                Err("there is no connection")
            }
            Some(Sent::Cut(why)) => {
                tracing::debug!("Somebody who is asked does not answer: {why}");
                Err("no whole answer came, or one that is too long")
            }
            None => Err("it can't be sent"),
        }
    }

    /// Posts something, signed. `None`: there is no way out yet, or it can't be written.
    async fn post(&self, letter: Letter<'_>, bounds: Bounds) -> Option<Sent> {
        let door = self.reloader.door()?;
        let endpoint = endpoint(letter.to, &door);
        let at = letter.at.0.to_string();
        let signature = webhook_signature(letter.to.secret.expose(), &at, &letter.body);
        let value = |text: &str| HeaderValue::try_from(text).ok();
        let json = HeaderValue::from_static("application/json");
        let fields = vec![
            (CONTENT_TYPE, json),
            (
                HeaderName::from_static("x-webhook-signature"),
                value(&signature)?,
            ),
            (HeaderName::from_static("x-webhook-timestamp"), value(&at)?),
            (HeaderName::from_static("x-webhook-id"), value(letter.id)?),
            (
                HeaderName::from_static("x-webhook-event"),
                value(letter.event)?,
            ),
        ];
        Some(fetch::post_once(&endpoint, fields, letter.body, bounds).await)
    }
}

fn endpoint(of: &Receiver, door: &Door) -> Endpoint {
    let url = of.url.clone();
    Endpoint {
        dialer: door.dialer.clone(),
        // It is never pooled.
        id: 0,
        tls: url.scheme().is_tls().then(|| Arc::clone(&door.tls.of_all)),
        url,
        exceptions: Exceptions {
            allow_private: of.allow_private.to_vec(),
            allow_metadata: false,
        },
        pool: PoolSettings {
            idle_per_host_max: 0,
            idle: Duration::ZERO,
            connections_max: 1,
            by_owner: false,
        },
    }
}
