//! Console sessions: `/api/v1/session` is the caller's own, `/api/v1/console-sessions` are those of
//! all. (The sessions that callers pay for are another thing.)

mod claims;
mod cookie;
mod found;
mod handover;
mod login;
mod oidc;
mod provider;

pub(crate) use found::{Brought, Signed, find, nobody};
pub(crate) use provider::Provider;

use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, listed};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, no_content, ok};
use crate::shape::{Member, choice, id, switch, text, time};
use axum::http::header;
use axum::response::Response;
use cookie::Cookie;
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_store::{ConsoleSession, SessionHolder};
use tollkeep_types::{ConsoleSessionId, Secret};

/// What somebody signs in with: one of the three.
const LOGIN: &[Member] = &[
    text("key", 300, "A management key"),
    text("operator", 200, "An operator's name, with `password`"),
    text("password", 1000, "The operator's password"),
    text(
        "code",
        100,
        "A one-time code of the operator's device, or a recovery code",
    ),
    text(
        "login",
        400,
        "What a browser brought from the identity provider, with `verifier`",
    ),
    text(
        "verifier",
        128,
        "What the challenge of that login was made of",
    ),
];

const PROOF: &[Member] = &[
    text("key", 300, "The management key that the session began with"),
    text("password", 1000, "The operator's password"),
    text(
        "code",
        100,
        "A one-time code of the operator's device, or a recovery code",
    ),
];

pub(crate) const SHOWN: &[Member] = &[
    id("id", "csn_", "Its id"),
    choice("kind", &["key", "env", "operator"], "Who signed in"),
    text("holder", 100, "The key's or operator's id, or `env`"),
    text("role", 20, "What it may do"),
    id("tenant_id", "ten_", "The one tenant it is bound to").or_null(),
    time("created_at", "When it began"),
    time("last_seen_at", "When it was last used, to the minute"),
    time("proved_at", "When its holder last proved who they are"),
    time("expires_at", "When it ends at the latest"),
    text("ip", 60, "From where it began").or_null(),
    text("user_agent", 200, "With what it began").or_null(),
    switch("is_current", "Whether it is this one"),
];

const OWN: &[Member] = &[text(
    "csrf",
    64,
    "What changes by this session carry in `X-Tollkeep-CSRF`",
)];

const BASE: Operation = Operation {
    id: "session_get",
    command: "console-session get",
    about: "The session that the caller is signed in by",
    method: Method::Get,
    path: "/api/v1/session",
    also: None,
    right: Right::Own,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[SHOWN, OWN]))],
    refusals: &[404],
    run: |call| Box::pin(get(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "session_create",
        command: "console-session begin",
        about: "Sign in: the answer sets a cookie",
        method: Method::Post,
        right: Right::Open,
        change: Some(Action::AdminLogin),
        body: Some(LOGIN),
        answers: &[(201, Content::Object(&[SHOWN, OWN]))],
        refusals: &[409],
        run: |call| Box::pin(login::create(call)),
        ..BASE
    },
    BASE,
    Operation {
        id: "session_end",
        command: "console-session leave",
        about: "Sign out",
        method: Method::Delete,
        change: Some(Action::AdminLogout),
        answers: &[(204, Content::None)],
        run: |call| Box::pin(logout(call)),
        ..BASE
    },
    Operation {
        id: "session_prove",
        command: "console-session prove",
        about: "Prove again who is signed in, for what needs a fresh proof",
        method: Method::Post,
        path: "/api/v1/session/proof",
        change: Some(Action::AdminAccess),
        body: Some(PROOF),
        run: |call| Box::pin(login::prove(call)),
        ..BASE
    },
    Operation {
        id: "session_oidc",
        command: "console-session begin",
        about: "Sign in by the identity provider: leads a browser there",
        path: "/api/v1/session/oidc",
        right: Right::Open,
        query: oidc::BEGIN,
        answers: &[(303, Content::None)],
        run: |call| Box::pin(oidc::begin(call)),
        ..BASE
    },
    Operation {
        id: "session_oidc_callback",
        command: "console-session begin",
        about: "Where the identity provider sends a browser back to: the answer sets a cookie",
        path: "/api/v1/session/oidc/callback",
        right: Right::Open,
        query: oidc::CALLBACK_QUERY,
        answers: &[(200, Content::Object(&[SHOWN, OWN])), (303, Content::None)],
        refusals: &[404, 409],
        run: |call| Box::pin(oidc::end(call)),
        ..BASE
    },
    Operation {
        id: "console_session_list",
        command: "console-session list",
        about: "Who is signed in, newest first",
        path: "/api/v1/console-sessions",
        right: Right::Sessions,
        query: &[LIMIT, CURSOR],
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
        ..BASE
    },
    Operation {
        id: "console_session_end",
        command: "console-session end",
        about: "Sign somebody out",
        method: Method::Delete,
        path: "/api/v1/console-sessions/{id}",
        right: Right::Sessions,
        change: Some(Action::SessionEnd),
        answers: &[(204, Content::None)],
        run: |call| Box::pin(end(call)),
        ..BASE
    },
];

async fn get(call: Call) -> Answer {
    let signed = signed(&call.operator)?;
    Ok(ok(&own(&signed.session, &signed.csrf)))
}

async fn logout(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let signed = signed(operator)?;
    let session = &signed.session;
    let service = tollkeep_store::Scope::Service("logout");
    state
        .parts
        .store
        .end_console_session(service, session.id)
        .await?;
    let event = state.event(operator, Action::AdminLogout);
    state.record(told(event, session)).await?;
    let mut answer = no_content();
    set(&mut answer, Cookie::Session, None, operator);
    Ok(answer)
}

async fn list(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let page = call.query.page(state, "console-sessions")?;
    let idle = state.settings().management.session.idle;
    let store = &state.parts.store;
    let page = store
        .console_sessions(operator.scope(), None, idle, page)
        .await?;
    Ok(ok(&listed(
        state,
        "console-sessions",
        (&page, |row| (row.created_at, row.id)),
        |session| shown(session, operator),
    )))
}

async fn end(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let id: ConsoleSessionId = call.id.parse().map_err(|_| Problem::not_found())?;
    state.check_audit()?;
    let store = &state.parts.store;
    let session = store.end_console_session(operator.scope(), id).await?;
    let event = state.event(operator, Action::SessionEnd);
    state.record(told(event, &session)).await?;
    Ok(no_content())
}

/// The caller's session; keys and the local socket have none.
fn signed(operator: &Operator) -> Result<&Signed, Problem> {
    operator.session.as_deref().ok_or_else(Problem::not_found)
}

/// Puts a cookie into an answer, or takes it away.
pub(crate) fn set(answer: &mut Response, cookie: Cookie, value: Option<&Secret>, to: &Operator) {
    if let Some(line) = cookie.line(value, to.asked.channel) {
        answer.headers_mut().append(header::SET_COOKIE, line);
    }
}

/// Of whom a session is, and its holder's name in records.
fn holder(session: &ConsoleSession) -> (&'static str, String) {
    match &session.holder {
        SessionHolder::Key { id: Some(id), .. } => ("key", id.to_string()),
        SessionHolder::Key { id: None, .. } => ("env", "env".to_owned()),
        SessionHolder::Operator(id) => ("operator", id.to_string()),
    }
}

/// The event, with the session it is about.
pub(crate) fn told<'a>(event: Event<'a>, session: &ConsoleSession) -> Event<'a> {
    let event = event
        .with_detail(Key::Kind, Value::Word(holder(session).0))
        .with_detail(Key::Name, Value::OwnedWord(session.id.to_string().into()));
    match session.tenant_id {
        Some(tenant) => event.with_tenant_id(tenant),
        None => event,
    }
}

/// A session as others see it.
pub(crate) fn shown(session: &ConsoleSession, to: &Operator) -> Json {
    let own = to.session.as_ref().map(|signed| signed.session.id);
    members(session, own == Some(session.id))
}

/// A session as its holder sees it.
fn own(session: &ConsoleSession, csrf: &Secret) -> Json {
    let mut shown = members(session, true);
    if let Some(members) = shown.as_object_mut() {
        members.insert("csrf".to_owned(), csrf.expose().into());
    }
    shown
}

fn members(session: &ConsoleSession, is_current: bool) -> Json {
    let (kind, holder) = holder(session);
    json!({
        "id": session.id,
        "kind": kind,
        "holder": holder,
        "role": session.role.as_str(),
        "tenant_id": session.tenant_id,
        "created_at": session.created_at,
        "last_seen_at": session.last_seen_at,
        "proved_at": session.proved_at,
        "expires_at": session.expires_at,
        "ip": session.ip,
        "user_agent": session.user_agent,
        "is_current": is_current,
    })
}
