//! `/api/v1/own-keys`: keys that people make for themselves, to work without signing in. Such a key may
//! do what its person may at most, and ends with them; whoever is disabled, or gets another role, has
//! none.

use crate::authn::{Operator, Who};
use crate::end::{self, DAY_MS};
use crate::key::{self, SHOWN, Wanted, list_of};
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::Answer;
use crate::shape::{Member, duration, text};
use tollkeep_audit::Action;
use tollkeep_store::Operator as Person;
use tollkeep_types::OperatorId;

/// Nobody here hears when an identity provider lets somebody go: what they hold ends sooner.
const OF_PROVIDER_TTL_MS: u64 = 30 * DAY_MS;

const CREATE: &[Member] = &[
    text("name", 200, "Its name in lists").required(),
    key::SCOPES,
    key::ALLOWED_IPS,
    key::EXPIRES_AT,
    duration(
        "ttl",
        "How long it works; 90d if not given, and 30d at most for people of an identity provider",
    ),
];

const BASE: Operation = Operation {
    id: "own_key_list",
    command: "own-key list",
    about: "One's own keys, newest first",
    method: Method::Get,
    path: "/api/v1/own-keys",
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[SHOWN]))],
    refusals: &[409],
    run: |call| Box::pin(list(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        query: &[LIMIT, CURSOR],
        answers: &[(200, Content::Page(SHOWN))],
        ..BASE
    },
    Operation {
        id: "own_key_create",
        command: "own-key create",
        about: "Make a key for oneself; its text is shown once",
        method: Method::Post,
        change: Some(Action::ManagementKeyCreate),
        body: Some(CREATE),
        answers: &[(201, Content::Object(&[SHOWN, key::SECRET]))],
        run: |call| Box::pin(create(call)),
        ..BASE
    },
    Operation {
        id: "own_key_revoke",
        command: "own-key revoke",
        about: "End a key of one's own for good",
        method: Method::Post,
        path: "/api/v1/own-keys/{id}/revoke",
        change: Some(Action::ManagementKeyRevoke),
        body: Some(&[]),
        run: |call| Box::pin(revoke(call)),
        ..BASE
    },
];

async fn list(call: Call) -> Answer {
    let own = whose(&call.operator)?;
    list_of(call, Some(own)).await
}

async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let now = state.parts.store.now();
    let name = members.name("name");
    let scopes = key::take_scopes(&mut members);
    let allowed_ips = members.networks("allowed_ips").unwrap_or_default();
    let wanted_end = key::take_end(&mut members, now);
    let person = person(&operator)?;
    let usual = end::after(now, key::TTL_MS_DEFAULT);
    let latest = match person.issuer {
        Some(_) => end::after(now, OF_PROVIDER_TTL_MS),
        None => wanted_end.unwrap_or(usual),
    };
    if wanted_end.is_some_and(|end| end > latest) {
        members.fault("expires_at", "30 days from now at most");
    }
    members.done()?;
    let wanted = Wanted {
        operator_id: Some(person.id),
        name: name.unwrap_or_default(),
        role: person.role,
        scopes,
        allowed_ips,
        expires_at: wanted_end.unwrap_or(usual).min(latest),
    };
    key::make(&state, &operator, operator.scope(), wanted).await
}

async fn revoke(call: Call) -> Answer {
    let own = whose(&call.operator)?;
    let key = key::find(&call).await?;
    if key.operator_id != Some(own) {
        return Err(Problem::not_found());
    }
    call.body.done()?;
    key::end(&call.state, &call.operator, key).await
}

/// The person who is signed in.
fn person(operator: &Operator) -> Result<&Person, Problem> {
    match &operator.who {
        Who::Person(person) => Ok(person),
        Who::Key(_) | Who::Environment | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => {
            let detail = "Only people have keys of their own: sign in as an operator.";
            Err(Problem::conflict(detail))
        }
    }
}

/// The person who asks, by signing in or by a key of their own.
fn whose(operator: &Operator) -> Result<OperatorId, Problem> {
    let of_key = match &operator.who {
        Who::Key(key) => key.operator_id,
        Who::Environment | Who::Person(_) | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => {
            None
        }
    };
    of_key.map_or_else(|| person(operator).map(|person| person.id), Ok)
}
