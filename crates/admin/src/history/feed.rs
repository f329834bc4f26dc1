//! What happened, as a stream: all that fits, the last first; or with `follow` what happens, as it
//! does, line by line or as server-sent events.
//!
//! Nothing is read that is not taken: the next part is asked for when the one before is sent. A
//! stream that follows ends after a while, so that who may no longer look stops looking; who follows
//! by `EventSource` comes back by itself, and says with `Last-Event-ID` where it was.

use super::follow::{FOLLOWING, STEP, settled, until};
use crate::State;
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::Answer;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::SemaphorePermit;
use tollkeep_audit::Action;
use tollkeep_store::{AuditFilter, AuditOrder, AuditPlace, Scope};
use tollkeep_types::EventId;

/// Records that are read at once.
const PART: u32 = 200;
/// Records that come first where somebody follows and doesn't say how many.
const FIRST: u32 = 10;
/// How many steps of waiting there are without a sign of life, and until a stream that follows ends:
/// fifteen seconds and ten minutes.
const QUIET_STEPS: u32 = 30;
const STEPS_MAX: u32 = 1_200;

/// How a stream is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// A record a line.
    Lines,
    /// `text/event-stream`.
    Events,
}

/// What the asker wants instead of a page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Streaming {
    form: Option<Form>,
    last: Option<EventId>,
}

impl Streaming {
    /// What the fields of a request ask for.
    pub(crate) fn of(fields: &HeaderMap) -> Self {
        let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
        let accepts = text("accept").unwrap_or_default();
        let mut kinds = accepts.split(',').map(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            match kind.to_ascii_lowercase().as_str() {
                "application/x-ndjson" => Some(Form::Lines),
                "text/event-stream" => Some(Form::Events),
                _ => None,
            }
        });
        Self {
            form: kinds.next().flatten(),
            last: text("last-event-id").and_then(|id| id.parse().ok()),
        }
    }

    /// Whether a stream is wanted.
    pub(super) const fn is_wanted(&self) -> bool {
        self.form.is_some()
    }
}

/// Where a stream stands.
struct Feed {
    state: Arc<State>,
    scope: Scope,
    filter: AuditFilter,
    form: Form,
    /// Behind which record it goes on.
    place: Option<AuditPlace>,
    /// How many records may come, if not all.
    left: Option<u32>,
    /// It goes on with what happens.
    follows: Option<Following>,
}

struct Following {
    /// Steps that were waited, and since something was sent.
    waited: u32,
    quiet: u32,
    _permit: SemaphorePermit<'static>,
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// The body of a stream: its next part, being read.
struct Parts(Option<Next>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let Poll::Ready(read) = next.as_mut().poll(context) else {
            return Poll::Pending;
        };
        let (part, feed) = match read {
            Some((part, feed)) => (Some(part), Some(feed)),
            None => (None, None),
        };
        self.0 = feed.map(|feed| -> Next { Box::pin(feed.next()) });
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }
}

/// Answers with a stream.
pub(super) async fn stream(call: &Call, filter: AuditFilter) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let form = call.streaming.form.unwrap_or(Form::Lines);
    let follows = call.query.is_on("follow") || form == Form::Events;
    let limit = call.query.get("limit").and_then(|text| text.parse().ok());
    let following = match follows.then(|| FOLLOWING.try_acquire()) {
        Some(Ok(permit)) => Some(Following {
            waited: 0,
            quiet: 0,
            _permit: permit,
        }),
        Some(Err(_)) => return Err(Problem::too_many_follow()),
        None => None,
    };
    state
        .record(state.event(operator, Action::AuditList))
        .await?;
    let mut feed = Feed {
        state: Arc::clone(state),
        scope: operator.scope(),
        filter,
        form,
        place: None,
        left: limit,
        follows: following,
    };
    let first = match (&feed.follows, call.streaming.last) {
        (None, _) => Bytes::new(),
        (Some(_), Some(last)) => {
            feed.place = Some(AuditPlace {
                at: last.made_at(),
                id: last.to_string(),
            });
            feed.left = None;
            Bytes::new()
        }
        (Some(_), None) => feed.begin().await?,
    };
    let next: Next = Box::pin(async move { Some((first, feed)) });
    let kind = match form {
        Form::Lines => "application/x-ndjson",
        Form::Events => "text/event-stream",
    };
    let mut response = Response::new(Body::new(Parts(Some(next))));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

impl Feed {
    /// What happened last, where somebody follows.
    async fn begin(&mut self) -> Result<Bytes, Problem> {
        let store = &self.state.parts.store;
        let settled = settled(store.now());
        let filter = until(&self.filter, settled);
        let limit = self.left.take().unwrap_or(FIRST);
        let order = (AuditOrder::LastFirst, None);
        let (mut lines, _) = store.audit_lines(self.scope, &filter, order, limit).await?;
        lines.reverse();
        self.place = Some(AuditPlace {
            at: settled,
            id: String::new(),
        });
        Ok(self.written(&lines))
    }

    /// The next part; `None` at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        match self.part().await {
            Ok(part) => part.map(|part| (part, self)),
            Err(error) => {
                tracing::warn!("A stream of audit records ends early: {error:?}");
                None
            }
        }
    }

    async fn part(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.follows.is_some() {
            return self.following().await;
        }
        let limit = self.left.map_or(PART, |left| left.min(PART));
        if limit == 0 {
            return Ok(None);
        }
        let store = &self.state.parts.store;
        let order = (AuditOrder::LastFirst, self.place.as_ref());
        let found = store.audit_lines(self.scope, &self.filter, order, limit);
        let (lines, last) = found.await?;
        let count = u32::try_from(lines.len()).unwrap_or(PART);
        // Behind the last part nothing is asked.
        self.left = match last {
            Some(place) => {
                self.place = Some(place);
                self.left.map(|left| left.saturating_sub(count))
            }
            None => Some(0),
        };
        Ok((!lines.is_empty()).then(|| self.written(&lines)))
    }

    /// What happened meanwhile, or a sign of life.
    async fn following(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let store = &self.state.parts.store;
            let settled = settled(store.now());
            let filter = until(&self.filter, settled);
            let order = (AuditOrder::AsHappened, self.place.as_ref());
            let found = store.audit_lines(self.scope, &filter, order, PART);
            let (lines, last) = found.await?;
            self.place = Some(last.unwrap_or(AuditPlace {
                at: settled,
                id: String::new(),
            }));
            let Some(following) = &mut self.follows else {
                return Ok(None);
            };
            if !lines.is_empty() {
                following.quiet = 0;
                return Ok(Some(self.written(&lines)));
            }
            following.waited += 1;
            following.quiet += 1;
            if following.waited > STEPS_MAX {
                return Ok(None);
            }
            if following.quiet > QUIET_STEPS {
                following.quiet = 0;
                return Ok(Some(self.sign_of_life()));
            }
            tokio::time::sleep(STEP).await;
        }
    }

    const fn sign_of_life(&self) -> Bytes {
        Bytes::from_static(match self.form {
            Form::Lines => b"\n",
            Form::Events => b":\n\n",
        })
    }

    fn written(&self, lines: &[String]) -> Bytes {
        let written = lines.iter().map(|line| match self.form {
            Form::Lines => format!("{line}\n"),
            Form::Events => format!("id: {}\ndata: {line}\n\n", id_of(line).unwrap_or_default()),
        });
        written.collect::<String>().into()
    }
}

/// The id of a record, in its line.
fn id_of(line: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    event.get("id")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-71
    #[test]
    fn a_stream_is_wanted_by_who_names_its_kind_first() {
        for (accept, want) in [
            ("application/x-ndjson", Some(Form::Lines)),
            (
                "Application/X-NDJSON; q=1, application/json",
                Some(Form::Lines),
            ),
            ("text/event-stream", Some(Form::Events)),
            ("application/json, text/event-stream", None),
            ("*/*", None),
            ("", None),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert("accept", HeaderValue::from_static(accept));
            assert_eq!(Streaming::of(&fields).form, want, "{accept}");
        }
        let mut fields = HeaderMap::new();
        fields.insert("last-event-id", HeaderValue::from_static("evt_x"));
        assert_eq!(Streaming::of(&fields), Streaming::default());
    }
}
