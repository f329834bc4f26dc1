//! An operation of the API, declared once: from its declaration come the route, the check of
//! rights, the reading of what is sent, and the OpenAPI document.

use crate::State;
use crate::acting::tried;
use crate::authn::Operator;
use crate::etag::{self, Precondition};
use crate::idempotency::{self, Once, Presented, Wanted};
use crate::members::Members;
use crate::parameters::{Parameters, wants_trial};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::Answer;
use crate::shape::Member;
use crate::{
    account, audit_export, audit_log, breaker, budget, config, cooldown, credential, history, hold,
    ip_list, job, key, ledger, lockout, log_level, maintenance, manage, not_offered, openapi,
    operator, own_key, payment, payment_session, price, price_own, project, receipt_keys, route,
    service_token, session, status, tenant, tls, token, usage, vault,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State as Of};
use axum::http::StatusCode;
use axum::routing::{MethodFilter, MethodRouter, on};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tollkeep_audit::Action;
use tollkeep_types::Secret;

/// One thing that can be asked of the API.
pub(crate) struct Operation {
    /// Its name in the OpenAPI document.
    pub(crate) id: &'static str,
    /// The command that does it: a noun and a verb. Scopes name it with `:` between them.
    pub(crate) command: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// Where another family of clients looks for it.
    pub(crate) also: Option<&'static str>,
    pub(crate) right: Right,
    /// The change that is told even if it was refused.
    pub(crate) change: Option<Action>,
    pub(crate) query: &'static [Member],
    /// The members of its body; `None` if it has none.
    pub(crate) body: Option<&'static [Member]>,
    pub(crate) answers: &'static [(u16, Content)],
    /// Statuses of refusals besides those that any operation may meet.
    pub(crate) refusals: &'static [u16],
    pub(crate) run: fn(Call) -> Running,
}

/// What an answer is.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// Nothing.
    None,
    /// An object of these members, in parts.
    Object(&'static [&'static [Member]]),
    /// A bare list of such objects.
    List(&'static [Member]),
    /// A document of its own form.
    Document,
    /// A file of that kind.
    Yaml,
    /// A part of a list of such objects.
    Page(&'static [Member]),
}

/// The methods that operations have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// What runs an operation.
pub(crate) type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A request of an operation, as far as its declaration reads it.
pub(crate) struct Call {
    pub(crate) state: Arc<State>,
    pub(crate) operator: Operator,
    /// What stands in the path where the operation's has braces.
    pub(crate) id: String,
    pub(crate) query: Parameters,
    pub(crate) body: Members,
    /// Whether a stream is wanted, where there is one.
    pub(crate) streaming: history::Streaming,
}

/// A file per noun, and its operations.
static NOUNS: &[&[Operation]] = &[
    project::OPERATIONS,
    tenant::OPERATIONS,
    token::OPERATIONS,
    key::OPERATIONS,
    own_key::OPERATIONS,
    operator::OPERATIONS,
    session::OPERATIONS,
    service_token::OPERATIONS,
    credential::OPERATIONS,
    credential::auths::OPERATIONS,
    credential::pool::OPERATIONS,
    config::OPERATIONS,
    tls::OPERATIONS,
    route::OPERATIONS,
    breaker::OPERATIONS,
    cooldown::OPERATIONS,
    history::OPERATIONS,
    audit_log::OPERATIONS,
    audit_export::OPERATIONS,
    price::OPERATIONS,
    price_own::OPERATIONS,
    budget::OPERATIONS,
    usage::OPERATIONS,
    ledger::OPERATIONS,
    receipt_keys::OPERATIONS,
    account::OPERATIONS,
    hold::OPERATIONS,
    payment::OPERATIONS,
    payment_session::OPERATIONS,
    status::OPERATIONS,
    ip_list::DENY,
    ip_list::ALLOW,
    lockout::OPERATIONS,
    manage::OPERATIONS,
    maintenance::OPERATIONS,
    log_level::OPERATIONS,
    vault::OPERATIONS,
    job::OPERATIONS,
    openapi::OPERATIONS,
];

/// Every operation.
pub(crate) fn all() -> impl Iterator<Item = &'static Operation> {
    NOUNS.iter().copied().flatten()
}

/// Whether it is asked for before anybody has signed in.
pub(crate) fn is_open(method: &http::Method, path: &str) -> bool {
    all().any(|operation| {
        operation.right == Right::Open
            && operation.path == path
            && operation.method.as_str() == method.as_str()
    })
}

/// The operations as routes.
pub(crate) fn routes() -> Router<Arc<State>> {
    let mut by_path: BTreeMap<&'static str, Vec<&'static Operation>> = BTreeMap::new();
    for operation in all() {
        for path in std::iter::once(operation.path).chain(operation.also) {
            by_path.entry(path).or_default().push(operation);
        }
    }
    let mut router = Router::new();
    for (path, operations) in by_path {
        router = router.route(path, route(&operations));
    }
    router.fallback(not_offered::elsewhere)
}

/// The operations of one path; other methods are told what is allowed.
fn route(operations: &[&'static Operation]) -> MethodRouter<Arc<State>> {
    let mut allowed = Vec::new();
    let mut route = MethodRouter::new();
    for operation in operations {
        let operation: &'static Operation = operation;
        allowed.push(operation.method.as_str());
        if operation.method == Method::Get {
            allowed.push("HEAD");
        }
        let serve =
            move |Of(state): Of<Arc<State>>, request: Request| operation.serve(state, request);
        route = route.merge(on(operation.method.filter(), serve));
    }
    let order = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let allowed: Vec<_> = order
        .into_iter()
        .filter(|method| allowed.contains(method))
        .collect();
    let allow = allowed.join(", ");
    let is_file = operations.iter().any(|one| one.path == config::FILE);
    route.fallback(move || {
        let problem = match is_file {
            true => Problem::managed_by_file(allow.clone()),
            false => Problem::method_not_allowed(allow.clone()),
        };
        async move { problem }
    })
}

/// A body, up to what is read of one.
async fn bytes_of(request: Request) -> Result<Bytes, Problem> {
    let bytes = Bytes::from_request(request, &()).await;
    bytes.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        _ => Problem::bad_request("The body could not be read."),
    })
}

impl Operation {
    /// The operation in the words of scopes.
    pub(crate) fn scope(&self) -> String {
        match self.command.split_once(' ') {
            Some((noun, verb)) => format!("{noun}:{verb}"),
            None => format!("{}:get", self.command),
        }
    }

    /// Whether a session must have been proven lately for it (ID-122): it shows a secret
    /// once, says what somebody may do, or is of a right that wants it. All of that stands in its
    /// declaration, so that none forgets to ask.
    pub(crate) fn needs_proof(&self) -> bool {
        let shows = |content: &Content| match content {
            Content::Object(parts) => parts.iter().copied().flatten().any(Member::is_shown_once),
            Content::List(members) | Content::Page(members) => {
                members.iter().any(Member::is_shown_once)
            }
            Content::None | Content::Document | Content::Yaml => false,
        };
        let sets_role = |members: &[Member]| members.iter().any(|member| member.name == "role");
        let is_read = self.method == Method::Get;
        (self.right.needs_proof() && !is_read)
            || self.answers.iter().any(|(_, content)| shows(content))
            || self.body.is_some_and(sets_role)
    }

    /// Whether it is a change that can be tried without making it, and asked for twice. A login is
    /// neither: what is guessed counts, and its answer is for one browser.
    pub(crate) fn can_be_tried(&self) -> bool {
        self.method != Method::Get && !matches!(self.right, Right::Open | Right::Own)
    }

    async fn serve(&'static self, state: Arc<State>, request: Request) -> Answer {
        let operator = request.extensions().get::<Operator>();
        let operator = operator.cloned().ok_or_else(Problem::internal)?;
        let refused = match self.can_be_tried() && wants_trial(request.uri()) {
            true => state.trying(state.parts.store.clone()),
            false => Arc::clone(&state),
        };
        let refused = (refused, operator.clone());
        let answer = self.checked(state, operator, request).await;
        // What was done, its own handler has recorded.
        // Why nobody was signed in, the login has recorded.
        let is_told = |problem: &&Problem| {
            self.right == Right::Open && problem.code() == Problem::not_signed_in().code()
        };
        let refusal = answer.as_ref().err().filter(|problem| !is_told(problem));
        if let (Some(problem), Some(action)) = (refusal, self.change) {
            let (state, operator) = refused;
            state.record_refused(&operator, action, problem);
        }
        answer
    }

    async fn checked(
        &'static self,
        state: Arc<State>,
        operator: Operator,
        request: Request,
    ) -> Answer {
        operator.check(self, &state)?;
        state.check_strict(self, &operator.asked)?;
        let is_own = matches!(self.right, Right::Open | Right::Own);
        if self.can_be_tried() {
            state.check_tenant(&operator).await?;
        }
        let (mut parts, body) = request.into_parts();
        let id = if self.path.contains('{') {
            let path = Path::<String>::from_request_parts(&mut parts, &()).await;
            path.map_err(|_| Problem::bad_request("The path could not be read."))?
                .0
        } else {
            String::new()
        };
        let (query, is_trial) = if self.can_be_tried() {
            Parameters::of_change(self.query, &parts.uri)?
        } else {
            (Parameters::read(self.query, &parts.uri)?, false)
        };
        let key = match self.method {
            Method::Post if self.can_be_tried() => idempotency::key_of(&parts.headers)?,
            Method::Post | Method::Get | Method::Put | Method::Patch | Method::Delete => None,
        };
        let asked = (&*state, &operator, &*id);
        let precondition = if is_own {
            None
        } else {
            Precondition::of(self, &parts.headers, asked)?
        };
        let path = parts.uri.path().to_owned();
        let text = parts.uri.query().unwrap_or_default().to_owned();
        let streaming = history::Streaming::of(&parts.headers);
        let presented = parts.extensions.get::<Presented>().cloned();
        // What is read has no body that could matter; every change refuses what it does not know.
        let bytes = match self.method {
            Method::Get => Bytes::new(),
            Method::Post | Method::Put | Method::Patch | Method::Delete => {
                bytes_of(Request::from_parts(parts, body)).await?
            }
        };
        let body = self.body_of(&state, &operator, &bytes)?;
        let call = Call {
            state,
            operator,
            id,
            query,
            body,
            streaming,
        };
        match key {
            _ if is_trial => self.try_out(call, precondition).await,
            None => self.carry_out(call, precondition).await,
            Some(key) => {
                let wanted = Wanted {
                    path: &path,
                    query: &text,
                    body: &bytes,
                    presented: presented.as_ref(),
                };
                let once = Once::new(&call.state, &call.operator, &key, &wanted);
                once.carry_out(self, call, precondition).await
            }
        }
    }

    /// The members of its body; of a change by a session the page is known to be ours then.
    fn body_of(
        &self,
        state: &State,
        operator: &Operator,
        bytes: &[u8],
    ) -> Result<Members, Problem> {
        let mut body = Members::read(self.body.unwrap_or_default(), bytes)?;
        let changing = operator.session.as_ref();
        if let Some(signed) = changing.filter(|_| !operator.asked.is_read()) {
            let sent = body.take_csrf();
            let checked = signed.check_csrf(sent.as_ref().map(Secret::expose));
            checked.inspect_err(|problem| {
                state.record_failed_authn(&operator.asked, problem.code(), None);
            })?;
        }
        match self.body {
            Some(_) => Ok(body),
            None => {
                body.done()?;
                Members::read(&[], &[])
            }
        }
    }

    /// Carries out what was asked, if it is about the thing as it is expected.
    pub(crate) async fn carry_out(
        &'static self,
        mut call: Call,
        precondition: Option<Precondition>,
    ) -> Answer {
        if let Some(precondition) = precondition {
            call.state = precondition.check(&call.state).await?;
        }
        let owing = call.state.owing(self, &call.operator);
        let act = owing.map(|(state, act)| {
            call.state = state;
            act
        });
        let response = (self.run)(call).await?;
        if let Some(act) = act {
            act.done();
        }
        Ok(etag::tag(self, response).await)
    }

    /// Tells what carrying it out would do.
    async fn try_out(&'static self, call: Call, precondition: Option<Precondition>) -> Answer {
        let (store, trial) = call.state.parts.store.trial();
        let call = Call {
            state: call.state.trying(store),
            ..call
        };
        let records = call.state.tried.clone();
        let answer = self.carry_out(call, precondition).await;
        trial.end().await;
        records.done().await?;
        answer.map(tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    // ID-106 ID-110
    #[test]
    fn names_and_places_of_operations_are_their_own() {
        let mut ids = HashSet::new();
        let mut places = HashSet::new();
        for operation in all() {
            assert!(ids.insert(operation.id), "{}", operation.id);
            for path in std::iter::once(operation.path).chain(operation.also) {
                let place = (operation.method.as_str(), path);
                assert!(places.insert(place), "{place:?}");
            }
            assert!(!operation.answers.is_empty(), "{}", operation.id);
            let is_read = operation.method == Method::Get;
            assert_eq!(is_read, operation.change.is_none(), "{}", operation.id);
            assert_eq!(
                crate::rights::scope_fault(&operation.scope()),
                None,
                "{}",
                operation.id
            );
        }
    }
}
