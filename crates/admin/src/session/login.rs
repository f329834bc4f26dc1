//! Signing in, and proving again who is signed in.

use super::cookie::Cookie;
use super::{found, own, set, signed, told};
use crate::State;
use crate::authn::{self, Operator, Who};
use crate::operation::Call;
use crate::operator::login_of;
use crate::problem::Problem;
use crate::request::Channel;
use crate::router::{Answer, created, ok};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Action, Actor, ActorId, Event, Outcome};
use tollkeep_policy::lockout::account_wait;
use tollkeep_store::{Attempt, ConsoleSession, NewConsoleSession, SecondFactor, SessionHolder};
use tollkeep_types::{MonoNanos, OperatorId, Secret, WallMillis};

/// No refusal of a login comes sooner, whatever was wrong.
const FAILURE_FLOOR: Duration = Duration::from_millis(300);
/// Characters of a user agent that are kept with a session.
const USER_AGENT_CHARS_MAX: usize = 200;
/// What the text of a session starts with.
const PREFIX: &str = "csn-";

/// Somebody who has proved who they are.
pub(super) struct Proven {
    pub(super) who: Who,
    pub(super) holder: SessionHolder,
    pub(super) proved_at: WallMillis,
}

pub(super) async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let since = state.parts.clock.mono();
    let key = members.text("key").map(Secret::new);
    let name = members.text("operator");
    let password = members.text("password").map(Secret::new);
    let code = members.text("code").map(Secret::new);
    let handed = members.text("login").map(Secret::new);
    let verifier = members.text("verifier").map(Secret::new);
    let by_person = name.is_some() || password.is_some() || code.is_some();
    let by_browser = handed.is_some() || verifier.is_some();
    let ways = [key.is_some(), by_person, by_browser];
    if ways.into_iter().filter(|is_it| *is_it).count() > 1 {
        members.fault(
            "key",
            "is one way to sign in, `operator` another, `login` a third: send one",
        );
    } else if !members.is_faulty() {
        let is_whole = key.is_some()
            || (name.is_some() && password.is_some())
            || (handed.is_some() && verifier.is_some());
        if !is_whole {
            let problem = "required, or `operator` and `password`, or `login` and `verifier`";
            members.fault("key", problem);
        }
    }
    members.done()?;
    check_channel(&operator)?;
    state.check_audit()?;
    let proven = match (key, name.zip(password), handed.zip(verifier)) {
        (Some(key), ..) => by_key(&state, &operator, &key).await,
        (None, Some((name, password)), _) => {
            by_password(&state, &operator, (&*name, password), code).await
        }
        (None, None, Some((login, verifier))) => {
            by_browser_login(&state, &operator, (&login, &verifier)).await
        }
        (None, None, None) => Err(Problem::not_signed_in()),
    };
    match proven {
        Ok(proven) => begin(&state, &operator, proven).await,
        Err(problem) => Err(refused(&state, &operator, since, problem).await),
    }
}

pub(super) async fn prove(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let since = state.parts.clock.mono();
    let key = members.text("key").map(Secret::new);
    let password = members.text("password").map(Secret::new);
    let code = members.text("code").map(Secret::new);
    members.done()?;
    let signed = signed(&operator)?;
    let login = match &operator.who {
        Who::Person(person) => person.login.clone(),
        Who::Key(_) | Who::Environment | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => None,
    };
    let is_same = |proven: Proven| {
        if proven.holder == signed.session.holder {
            Ok(())
        } else {
            Err(Problem::not_signed_in())
        }
    };
    let proven = match (key, password) {
        (Some(key), _) => by_key(&state, &operator, &key).await.and_then(is_same),
        (None, Some(password)) => {
            let login = login.unwrap_or_default();
            let proven = by_password(&state, &operator, (&*login, password), code).await;
            proven.and_then(is_same)
        }
        (None, None) => Err(Problem::not_signed_in()),
    };
    if let Err(problem) = proven {
        return Err(refused(&state, &operator, since, problem).await);
    }
    let store = &state.parts.store;
    let session = store.prove_console_session(signed.session.id).await?;
    let event = state.event(&operator, Action::AdminAccess);
    state.record(told(event, &session)).await?;
    Ok(ok(&own(&session, &signed.csrf)))
}

/// Whether somebody may sign in by this way at all.
pub(super) fn check_channel(operator: &Operator) -> Result<(), Problem> {
    match operator.asked.channel {
        Channel::Tls | Channel::Local => Ok(()),
        Channel::Clear => Err(Problem::tls_required()),
    }
}

async fn by_key(state: &Arc<State>, operator: &Operator, key: &Secret) -> Result<Proven, Problem> {
    let digest = state.parts.hasher.hash(key.expose());
    let who = authn::of_digest(state, &digest, &operator.asked).await;
    let who = who.map_err(|problem| match problem.code() {
        code if code == Problem::unauthorized().code() => {
            state.record_failed_login(operator, None, "unknown_key");
            Problem::not_signed_in()
        }
        _ => problem,
    })?;
    let id = match &who {
        Who::Key(key) => {
            authn::touch(state, key, &operator.asked).await;
            Some(key.id)
        }
        Who::Environment | Who::Person(_) | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => {
            None
        }
    };
    Ok(Proven {
        who,
        holder: SessionHolder::Key { id, digest },
        proved_at: state.parts.store.now(),
    })
}

/// By what a browser brought from the identity provider.
async fn by_browser_login(
    state: &Arc<State>,
    operator: &Operator,
    (login, verifier): (&Secret, &Secret),
) -> Result<Proven, Problem> {
    let taken = state.take_over(login, verifier).await?;
    taken.map_err(|reason| {
        state.record_failed_login(operator, None, reason);
        Problem::not_signed_in()
    })
}

/// By a name and a password. Whatever is wrong, it takes as long and is told alike.
async fn by_password(
    state: &Arc<State>,
    operator: &Operator,
    (name, password): (&str, Secret),
    code: Option<Secret>,
) -> Result<Proven, Problem> {
    let store = &state.parts.store;
    let login = login_of(name);
    let begun = store.begin_password_login(login, account_wait).await?;
    let kept = match &begun {
        Some((_, secrets, Attempt::Allowed { .. })) => secrets.password.clone(),
        Some((_, _, Attempt::Refused)) | None => None,
    };
    let is_right = state.verify_password(password, kept).await?;
    let (person, reason) = match begun {
        None => (None, "unknown_operator"),
        Some((person, _, Attempt::Refused)) => (Some(person), "locked"),
        Some((person, _, Attempt::Allowed { .. })) if !is_right => (Some(person), "wrong_password"),
        Some((person, secrets, Attempt::Allowed { failures })) => {
            let factor = match (&code, person.totp_is_on) {
                (_, false) => Some(SecondFactor::None),
                (Some(code), true) => state.second_factor(&person, &secrets, code)?,
                (None, true) => {
                    store.forgive_password_login(person.id, failures).await?;
                    return Err(Problem::code_required());
                }
            };
            let known = match factor {
                Some(factor) => store.end_password_login(person.id, factor).await?,
                None => None,
            };
            if let Some(known) = known {
                return Ok(Proven {
                    holder: SessionHolder::Operator(known.id),
                    who: Who::Person(Arc::new(known)),
                    proved_at: store.now(),
                });
            }
            (Some(person), "wrong_code")
        }
    };
    state.record_failed_login(operator, person.map(|person| person.id), reason);
    Err(Problem::not_signed_in())
}

/// Begins the session of somebody who has proved who they are. Whatever cookie they brought, the
/// new one is another.
pub(super) async fn begin(state: &Arc<State>, nobody: &Operator, proven: Proven) -> Answer {
    let (session, text) = open(state, nobody, &proven).await?;
    let csrf = found::csrf(state, &text);
    let mut answer = created("/api/v1/session", &own(&session, &csrf));
    set(&mut answer, Cookie::Session, Some(&text), nobody);
    Ok(answer)
}

async fn open(
    state: &Arc<State>,
    nobody: &Operator,
    proven: &Proven,
) -> Result<(ConsoleSession, Secret), Problem> {
    let store = &state.parts.store;
    let operator = Operator {
        who: proven.who.clone(),
        asked: nobody.asked.clone(),
        session: None,
    };
    let absolute = state.settings().management.session.absolute;
    let absolute_ms = u64::try_from(absolute.as_millis()).unwrap_or(u64::MAX);
    let text = state.mint(PREFIX, None)?;
    let instead_of = match &nobody.who {
        Who::Nobody(brought) => brought.session,
        Who::Key(_) | Who::Environment | Who::Person(_) | Who::Local { .. } | Who::Loopback => None,
    };
    let agent = operator.asked.user_agent.as_deref();
    let new = NewConsoleSession {
        digest: state.parts.hasher.hash(text.expose()),
        tenant_id: operator.tenant(),
        role: operator.role(),
        holder: proven.holder.clone(),
        proved_at: proven.proved_at,
        expires_at: WallMillis(store.now().0.saturating_add(absolute_ms)),
        ip: operator.asked.client_ip,
        user_agent: agent.map(|agent| agent.chars().take(USER_AGENT_CHARS_MAX).collect()),
        instead_of,
    };
    let session = store.create_console_session(new).await?;
    let event = state.event(&operator, Action::AdminLogin);
    if let Err(problem) = state.record(told(event, &session)).await {
        // What can't be recorded isn't given out.
        store
            .end_console_session(operator.scope(), session.id)
            .await?;
        return Err(problem);
    }
    Ok((session, text))
}

impl State {
    /// Why somebody was not signed in; they are not told.
    pub(super) fn record_failed_login(
        &self,
        operator: &Operator,
        id: Option<OperatorId>,
        reason: &'static str,
    ) {
        let event = Event::new(Action::AdminLogin, Actor::Anonymous, Outcome::Failure)
            .at(self.parts.clock.wall())
            .with_reason(reason);
        let event = operator.asked.told_in(event);
        let event = match id {
            Some(id) => event.with_actor_id(ActorId::Operator(id)),
            None => event,
        };
        self.record_unproven(&event, "A failed login");
    }
}

/// A refusal, counted, and held back until nothing can be told from when it comes.
pub(super) async fn refused(
    state: &Arc<State>,
    operator: &Operator,
    since: MonoNanos,
    problem: Problem,
) -> Problem {
    if problem.code() == Problem::not_signed_in().code() {
        state.count_failure(&operator.asked);
    }
    let taken = Duration::from_nanos(state.parts.clock.mono().since(since));
    tokio::time::sleep(FAILURE_FLOOR.saturating_sub(taken)).await;
    problem
}
