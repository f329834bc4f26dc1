//! The way to an authority: every request through the egress door, bounded, redirects refused.

use crate::dial::{Dialer, Endpoint, PoolSettings};
use crate::fetch::{self, Bounds, FetchError};
use crate::tls::UpstreamTls;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_policy::acme::{ASKED_WAIT_MAX, retry_after};
use tollkeep_policy::egress::{EgressUrl, Exceptions, Giver, Purpose, parse_url};
use tollkeep_types::{Clock, WallMillis};

/// A chain of certificates is some kilobytes; everything else is less.
const BOUNDS: Bounds = Bounds {
    bytes_max: 256 * 1024,
    patience: Duration::from_secs(30),
};

/// An authority, and how it is reached.
#[derive(Clone)]
pub struct Place {
    /// Its directory.
    pub directory: EgressUrl,
    /// The addresses the operator allows beyond the public ones, for the directory's host alone.
    pub exceptions: Exceptions,
    /// How it proves itself.
    pub tls: Arc<UpstreamTls>,
    /// The door out.
    pub dialer: Dialer,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    asked: Arc<Mutex<Option<WallMillis>>>,
}

impl Place {
    /// The authority whose directory is there.
    pub fn new(
        directory: EgressUrl,
        exceptions: Exceptions,
        (dialer, tls): (Dialer, Arc<UpstreamTls>),
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            directory,
            exceptions,
            tls,
            dialer,
            clock,
            asked: Arc::default(),
        }
    }

    /// When the authority wants to be asked again, if it has said so since the last call.
    pub fn take_asked(&self) -> Option<WallMillis> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.take()
    }

    /// As the library wants it.
    pub(super) fn http(&self) -> Box<dyn HttpClient> {
        Box::new(Through(self.clone()))
    }

    fn endpoint(&self, url: EgressUrl) -> Endpoint {
        // What the directory names elsewhere must be public, whatever the directory itself is.
        let own = url.host() == self.directory.host() && url.port() == self.directory.port();
        let exceptions = if own {
            self.exceptions.clone()
        } else {
            Exceptions::default()
        };
        Endpoint {
            // It is never pooled.
            id: 0,
            url,
            exceptions,
            tls: Some(Arc::clone(&self.tls)),
            dialer: self.dialer.clone(),
            pool: PoolSettings {
                idle_per_host_max: 0,
                idle: Duration::ZERO,
                connections_max: 1,
                by_owner: false,
            },
        }
    }

    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Error> {
        let other = |error: FetchError| Error::Other(Box::new(error));
        let (mut parts, body) = request.into_parts();
        let url = parse_url(&parts.uri.to_string(), Purpose::Acme, Giver::Operator)
            .map_err(|refused| other(FetchError::Dial(refused.into())))?;
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        parts.uri = target.parse()?;
        let Ok(body) = body.collect().await;
        let request = Request::from_parts(parts, body.to_bytes());
        let answer = fetch::send(&self.endpoint(url), request, BOUNDS).await;
        let mut answer = answer.map_err(other)?;
        let asked = self.asked_by(&answer);
        bound(&mut answer, asked, self.clock.wall());
        if answer.status().is_success() {
            return Ok(answer);
        }
        self.note(asked);
        // The library takes every failure for a problem document, and says of others only that
        // they can't be read.
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/problem+json") {
            return Ok(answer);
        }
        Err(other(FetchError::Status(answer.status().as_u16())))
    }

    fn note(&self, asked: Option<WallMillis>) {
        if asked.is_some() {
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        }
    }

    fn asked_by(&self, answer: &Response<Bytes>) -> Option<WallMillis> {
        let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
        retry_after(text, self.clock.wall())
    }
}

/// The library adds what is asked to its clock, whatever it is: no more than can be added.
fn bound(answer: &mut Response<Bytes>, asked: Option<WallMillis>, now: WallMillis) {
    let fields = answer.headers_mut();
    fields.remove(RETRY_AFTER);
    if let Some(at) = asked {
        let seconds = at.0.saturating_sub(now.0).div_ceil(1_000);
        let seconds = seconds.min(ASKED_WAIT_MAX.as_secs());
        fields.insert(RETRY_AFTER, seconds.into());
    }
}

struct Through(Place);

impl HttpClient for Through {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let place = self.0.clone();
        Box::pin(async move {
            Ok(BytesResponse::from(
                place.send(request).await?.map(Full::new),
            ))
        })
    }
}
