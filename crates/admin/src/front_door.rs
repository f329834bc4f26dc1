//! The management listener's front door: a second factor before the key is looked at. The local
//! socket has none, so that nobody locks themselves out.

use crate::State;
use crate::problem::Problem;
use crate::router::Answer;
use crate::serve::Peer;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State as Of};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Event, Outcome};
use tollkeep_config::settings::{Jwt, ServiceTokenFields};
use tollkeep_crypto::jwt::{JwtRefused, JwtRules, Wait};
use tollkeep_observe::metrics::Listener;
use tollkeep_policy::front_door::{Factor, Shown};
use tollkeep_store::Door;

/// How often a request looks whether keys that are fetched have come: for a second in all.
const KEYS_LOOKS: u32 = 50;
const KEYS_LOOK: Duration = Duration::from_millis(20);

/// Lets requests in that show what is asked for.
pub(crate) async fn pass(Of(state): Of<Arc<State>>, request: Request, next: Next) -> Answer {
    let settings = state.settings();
    let Some(door) = &settings.management.front_door else {
        return Ok(next.run(request).await);
    };
    if door.rules.guards(request.uri().path()) {
        let fields = request.headers().clone();
        let service_token = door.service_token.as_ref();
        let service_token = service_token.map(|names| state.service_token(names, &fields));
        let jwt = match &door.jwt {
            Some(jwt) => Some(state.jwt(jwt, &fields).await),
            None => None,
        };
        let mtls = door.mtls.as_ref().map(|wanted| {
            let peer = request.extensions().get::<ConnectInfo<Peer>>();
            let client = peer.and_then(|ConnectInfo(peer)| peer.certificate_now());
            wanted.judge(client, state.parts.store.now())
        });
        let findings = [
            (Factor::ServiceToken, service_token),
            (Factor::Jwt, jwt),
            (Factor::Certificate, mtls),
        ];
        let findings = findings
            .into_iter()
            .filter_map(|(factor, shown)| Some((factor, shown?)));
        if let Err(refused) = door.rules.decide(findings) {
            tracing::debug!("Management {refused}");
            return Err(state.refuse_at_front_door(&request));
        }
    }
    Ok(next.run(request).await)
}

impl State {
    fn service_token(&self, names: &ServiceTokenFields, fields: &HeaderMap) -> Shown {
        let values = |name: &str| fields.get_all(name).iter().collect::<Vec<_>>();
        let (ids, secrets) = (values(&names.id_header), values(&names.secret_header));
        let (id, secret) = match (&ids[..], &secrets[..]) {
            ([], []) => return Shown::Absent,
            ([id], [secret]) => (id, secret),
            _ => return Shown::Refused("is half there, or there twice"),
        };
        let id = id.to_str().ok().and_then(|id| id.parse().ok());
        let digest = self.parts.hasher.hash(HeaderValue::as_bytes(secret));
        let (store, door) = (&self.parts.store, Door::Management);
        let known = store.live().service_tokens();
        if known.admits(door, id, &digest, store.now()) {
            Shown::Passed
        } else {
            Shown::Refused("does not hold")
        }
    }

    /// Judges the token; one of a key that is not known waits a moment if keys are being fetched.
    async fn jwt(&self, jwt: &Jwt, fields: &HeaderMap) -> Shown {
        let mut values = fields.get_all(&jwt.header).iter();
        let keys = self.parts.jwt_keys.load_full();
        let (token, keys) = match (values.next(), values.next(), keys) {
            (None, ..) => return Shown::Absent,
            (Some(_), Some(_), _) => return Shown::Refused("is there twice"),
            (Some(_), None, None) => return Shown::Refused(JwtRefused::UnknownKey.words()),
            (Some(token), None, Some(keys)) => (token.as_bytes(), keys),
        };
        let clock = &self.parts.clock;
        let leeway_s = jwt.leeway.as_secs();
        let rules = JwtRules::new(&jwt.issuer, &jwt.audience, &jwt.algorithms, leeway_s);
        let judge = || {
            let keys = keys.current(clock.mono()).ok_or(JwtRefused::UnknownKey)?;
            rules.verify(token, &keys, self.parts.store.now().0 / 1_000)
        };
        let mut judged = judge();
        if judged == Err(JwtRefused::UnknownKey) && keys.want(clock.mono()) == Wait::ForFetch {
            for _ in 0..KEYS_LOOKS {
                if !keys.is_pending(clock.mono()) {
                    break;
                }
                tokio::time::sleep(KEYS_LOOK).await;
            }
            judged = judge();
        }
        match judged {
            Ok(()) => Shown::Passed,
            Err(refused) => Shown::Refused(refused.words()),
        }
    }

    fn refuse_at_front_door(&self, request: &Request) -> Problem {
        let problem = Problem::front_door_refused();
        let metrics = &self.parts.metrics;
        metrics.refusal(problem.code(), Listener::Management);
        if let (Some(audit), Some(asked)) = (&self.parts.audit, request.extensions().get()) {
            let event = Event::new(Action::SecurityViolation, Actor::Anonymous, Outcome::Denied)
                .at(self.parts.clock.wall())
                .with_reason("front_door");
            let event = crate::request::Asked::told_in(asked, event);
            if let Err(error) = audit.enqueue(&event) {
                tracing::warn!("A refusal at the front door was not recorded: {error}");
            }
        }
        problem
    }
}
