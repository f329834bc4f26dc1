//! Who a request with a cookie is from, and whether it is really theirs.

use super::cookie::Cookie;
use crate::State;
use crate::authn::{self, Operator, Who};
use crate::problem::Problem;
use crate::request::{Asked, Channel};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_store::{ConsoleSession, Scope, SessionHolder};
use tollkeep_types::{Authority, ConsoleSessionId, Secret, WallMillis};

const CSRF: HeaderName = HeaderName::from_static("x-tollkeep-csrf");
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) session: ConsoleSession,
    /// What their changes must carry beside the cookie: a page of another origin can't know it.
    pub(crate) csrf: Secret,
    /// It is still to be looked for in the body: no field carries it.
    is_csrf_in_body: bool,
    /// How they prove again who they are.
    how: &'static str,
}

impl Signed {
    /// Whether a change carries the session's value, in a field or as the member `_csrf` of its body.
    pub(crate) fn check_csrf(&self, member: Option<&str>) -> Result<(), Problem> {
        let sent = member.unwrap_or_default().as_bytes();
        if !self.is_csrf_in_body || is_same(sent, self.csrf.expose().as_bytes()) {
            Ok(())
        } else {
            Err(Problem::csrf())
        }
    }

    /// Whether they have proved lately who they are.
    pub(crate) fn check_proof(&self, now: WallMillis, holds: Duration) -> Result<(), Problem> {
        let age = now.0.saturating_sub(self.session.proved_at.0);
        if Duration::from_millis(age) < holds {
            Ok(())
        } else {
            Err(Problem::proof_required(self.how))
        }
    }
}

/// What somebody brings who is about to sign in.
#[derive(Debug)]
pub(crate) struct Brought {
    /// The session that the new one comes in place of.
    pub(crate) session: Option<ConsoleSessionId>,
    /// Their login at an identity provider.
    pub(crate) login: Option<Secret>,
    /// Our origin as their browser knows it.
    pub(crate) origin: Option<String>,
}

/// Somebody about to sign in, whose request is not another origin's doing.
pub(crate) async fn nobody(
    state: &Arc<State>,
    fields: &HeaderMap,
    asked: Asked,
) -> Result<Operator, Problem> {
    state.check_lockout(&asked)?;
    if !asked.is_read() && Origin::of(fields, asked.channel) == Origin::Other {
        return Err(Problem::csrf());
    }
    let session = match Cookie::Session.of(fields, asked.channel) {
        Some(text) => session_of(state, &text).await?.map(|session| session.id),
        None => None,
    };
    Ok(Operator {
        who: Who::Nobody(Arc::new(Brought {
            session,
            login: Cookie::Login.of(fields, asked.channel),
            origin: own_origin(fields, asked.channel),
        })),
        asked,
        session: None,
    })
}

/// The operator of a request by its session.
pub(crate) async fn find(
    state: &Arc<State>,
    fields: &HeaderMap,
    asked: &Asked,
) -> Result<(Who, Option<Arc<Signed>>), Problem> {
    let text = Cookie::Session.of(fields, asked.channel);
    let text = text.ok_or_else(Problem::unauthorized)?;
    let session = session_of(state, &text).await?;
    let session = session.ok_or_else(Problem::unauthorized)?;
    let who = holder(state, &session, asked).await?;
    let csrf = csrf(state, &text);
    let is_csrf_in_body = if asked.is_read() {
        false
    } else {
        !carries_csrf(fields, asked.channel, &csrf)?
    };
    let idle = state.settings().management.session.idle;
    let store = &state.parts.store;
    if let Err(error) = store.touch_console_session(&session, idle).await {
        tracing::warn!("The last use of a console session was not stored: {error}");
    }
    let how = how(&who);
    let signed = Signed {
        session,
        csrf,
        is_csrf_in_body,
        how,
    };
    Ok((who, Some(Arc::new(signed))))
}

const fn how_of_person(has_issuer: bool) -> &'static str {
    if has_issuer {
        "sign in anew by `GET /api/v1/session/oidc?fresh=true`."
    } else {
        "send `password`, and `code` if you use codes, to `POST /api/v1/session/proof`."
    }
}

fn how(who: &Who) -> &'static str {
    match who {
        Who::Person(person) => how_of_person(person.issuer.is_some()),
        Who::Key(_) | Who::Environment | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => {
            "send `key` to `POST /api/v1/session/proof`."
        }
    }
}

async fn session_of(state: &State, text: &Secret) -> Result<Option<ConsoleSession>, Problem> {
    let digest = state.parts.hasher.hash(text.expose());
    let idle = state.settings().management.session.idle;
    Ok(state
        .parts
        .store
        .find_console_session(&digest, idle)
        .await?)
}

/// Who holds a session, if they still may what they might when it began.
async fn holder(
    state: &Arc<State>,
    session: &ConsoleSession,
    asked: &Asked,
) -> Result<Who, Problem> {
    let found = match &session.holder {
        SessionHolder::Key { id, digest } => {
            let who = authn::of_digest(state, digest, asked).await;
            who.map(|who| {
                let is_same = match &who {
                    Who::Key(key) => Some(key.id) == *id && key.role == session.role,
                    Who::Environment => id.is_none(),
                    Who::Person(_) | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => false,
                };
                is_same.then_some(who)
            })
        }
        SessionHolder::Operator(id) => {
            let person = state.parts.store.live_operator(*id).await?;
            let same = person.filter(|person| {
                person.role == session.role && person.tenant_id == session.tenant_id
            });
            Ok(same.map(|person| Who::Person(Arc::new(person))))
        }
    };
    match found {
        Ok(Some(who)) => Ok(who),
        Ok(None) => Err(gone(state, session).await),
        Err(problem) if problem.code() == Problem::unauthorized().code() => {
            Err(gone(state, session).await)
        }
        Err(problem) => Err(problem),
    }
}

/// Ends a session whose key or operator is gone.
async fn gone(state: &State, session: &ConsoleSession) -> Problem {
    let service = Scope::Service("authentication");
    let ended = state.parts.store.end_console_session(service, session.id);
    if let Err(error) = ended.await {
        tracing::debug!("A console session had ended already: {error}");
    }
    Problem::unauthorized()
}

/// What changes by this session must carry. It follows from the cookie, and can't be made without
/// the key of this deployment.
pub(crate) fn csrf(state: &State, cookie: &Secret) -> Secret {
    let digest = state.parts.hasher.hash(format!("csrf {}", cookie.expose()));
    Secret::new(
        digest
            .bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    )
}

/// A change by a session comes from a page of ours that knows the session's value (ID-121). Whether a
/// field carries it; if none does, its body must.
fn carries_csrf(fields: &HeaderMap, channel: Channel, csrf: &Secret) -> Result<bool, Problem> {
    let sent = once(fields, &CSRF).map_err(|()| Problem::csrf())?;
    let is_wrong = sent.is_some_and(|sent| !is_same(sent, csrf.expose().as_bytes()));
    if is_wrong || Origin::of(fields, channel) != Origin::Own {
        return Err(Problem::csrf());
    }
    Ok(sent.is_some())
}

/// In a time that does not tell how much is right.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differ = one
        .iter()
        .zip(other)
        .fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && differ == 0
}

/// Where the page is from that sends a request, as its browser says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    Own,
    Other,
    /// It says nothing: no browser of today.
    Unsaid,
}

impl Origin {
    fn of(fields: &HeaderMap, channel: Channel) -> Self {
        let site = match once(fields, &SITE) {
            Err(()) => return Self::Other,
            Ok(site) => site,
        };
        let origin = match once(fields, &header::ORIGIN) {
            Err(()) => return Self::Other,
            Ok(origin) => origin,
        };
        let own = own_origin(fields, channel);
        let is_own = |origin: &[u8]| own.as_deref().is_some_and(|own| own.as_bytes() == origin);
        match (site, origin) {
            (None, None) => Self::Unsaid,
            (site, origin)
                if site.is_none_or(|site| site == b"same-origin") && origin.is_none_or(is_own) =>
            {
                Self::Own
            }
            (_, _) => Self::Other,
        }
    }
}

/// The one value of a field; two are a fault.
fn once<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, ()> {
    let mut values = fields.get_all(name).iter();
    let first = values.next().map(HeaderValue::as_bytes);
    if values.next().is_some() {
        Err(())
    } else {
        Ok(first)
    }
}

/// Our origin as a browser writes it; the host was judged before.
fn own_origin(fields: &HeaderMap, channel: Channel) -> Option<String> {
    let host = fields.get(header::HOST)?.to_str().ok()?;
    let authority: Authority = host.parse().ok()?;
    let (scheme, usual) = match channel {
        Channel::Tls => ("https", 443),
        Channel::Local | Channel::Clear => ("http", 80),
    };
    let host = authority.host().to_ascii_lowercase();
    Some(match authority.port().filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-121
    #[test]
    #[rustfmt::skip]
    fn a_browser_says_from_where_it_sends() {
        for (name, channel, lines, want) in [
            ("nothing", Channel::Tls, &[][..], Origin::Unsaid),
            ("origin", Channel::Tls, &[("origin", "https://ops.example:8318")], Origin::Own),
            ("site", Channel::Tls, &[("sec-fetch-site", "same-origin")], Origin::Own),
            (
                "both",
                Channel::Tls,
                &[
                    ("origin", "https://ops.example:8318"),
                    ("sec-fetch-site", "same-origin"),
                ],
                Origin::Own,
            ),
            ("scheme", Channel::Tls, &[("origin", "http://ops.example:8318")], Origin::Other),
            ("port", Channel::Tls, &[("origin", "https://ops.example")], Origin::Other),
            ("host", Channel::Tls, &[("origin", "https://ops.example.evil:8318")], Origin::Other),
            ("null", Channel::Tls, &[("origin", "null")], Origin::Other),
            ("same site", Channel::Tls, &[("sec-fetch-site", "same-site")], Origin::Other),
            ("typed", Channel::Tls, &[("sec-fetch-site", "none")], Origin::Other),
            (
                "at odds",
                Channel::Tls,
                &[
                    ("origin", "https://evil.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                Origin::Other,
            ),
            (
                "twice",
                Channel::Tls,
                &[
                    ("origin", "https://ops.example:8318"),
                    ("origin", "https://ops.example:8318"),
                ],
                Origin::Other,
            ),
            ("in clear", Channel::Local, &[("origin", "http://ops.example:8318")], Origin::Own),
        ] {
            let mut fields = HeaderMap::new();
            fields.append("host", "ops.example:8318".parse().unwrap());
            for (field, value) in lines {
                fields.append(HeaderName::from_static(field), value.parse().unwrap());
            }
            assert_eq!(Origin::of(&fields, channel), want, "{name}");
        }
        for (host, channel, want) in [
            ("ops.example:443", Channel::Tls, "https://ops.example"),
            ("OPS.example", Channel::Tls, "https://ops.example"),
            ("127.0.0.1:80", Channel::Local, "http://127.0.0.1"),
            ("[::1]:8318", Channel::Local, "http://[::1]:8318"),
        ] {
            let mut fields = HeaderMap::new();
            fields.append("host", host.parse().unwrap());
            assert_eq!(
                own_origin(&fields, channel).as_deref(),
                Some(want),
                "{host}"
            );
        }
    }
}
