//! What is done with a credential that is there.

use super::given::{self, Given, OfProvider};
use super::shown::{event, shown, status};
use super::{REST_MS_DEFAULT, REST_MS_MAX, find, place};
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, no_content, ok};
use crate::token::InFlight;
use serde_json::json;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::live::Cut;
use tollkeep_store::{Credential, CredentialRest, CredentialRules};
use tollkeep_types::WallMillis;

pub(super) async fn update(call: Call) -> Answer {
    let credential = find(&call).await?;
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let before = credential.rules.clone();
    let rules = given::rules(&state, &operator, &mut members, Some(before));
    if rules.headers != credential.rules.headers {
        let of = (Some(&*credential.provider), &rules);
        given::check_headers(&state, &mut members, of);
    }
    members.done()?;
    if rules.base_url != credential.rules.base_url
        || rules.egress_proxy != credential.rules.egress_proxy
    {
        let provider = OfProvider::named(&state, &credential.provider).ok_or_else(gone)?;
        let change = (&rules, Some(&credential.rules));
        place::vet(&state, &operator, provider, change).await?;
    }
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let changed = store
        .set_credential_rules(scope, credential.id, rules)
        .await?;
    state.parts.runtime.apply_credentials();
    let event = event(&state, &operator, Action::CredentialUpdate, &changed);
    state.record(event).await?;
    Ok(ok(&shown(&state, &changed)))
}

pub(super) async fn enable(call: Call) -> Answer {
    switch(call, Action::CredentialEnable, false).await
}

pub(super) async fn disable(call: Call) -> Answer {
    switch(call, Action::CredentialDisable, true).await
}

async fn switch(call: Call, action: Action, is_disabled: bool) -> Answer {
    let credential = find(&call).await?;
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    state.check_audit()?;
    let rules = CredentialRules {
        is_disabled,
        ..credential.rules
    };
    let (store, scope) = (&state.parts.store, operator.scope());
    let changed = store
        .set_credential_rules(scope, credential.id, rules)
        .await?;
    state.parts.runtime.apply_credentials();
    let event = event(&state, &operator, action, &changed);
    state.record(event).await?;
    Ok(ok(&shown(&state, &changed)))
}

/// What becomes of calls on their way: they finish, unless it is said otherwise.
pub(super) fn in_flight(call: &Call) -> InFlight {
    let given = call.query.get("in_flight");
    given
        .and_then(|word| word.parse().ok())
        .unwrap_or(InFlight::Finish)
}

pub(super) async fn delete(call: Call) -> Answer {
    let credential = find(&call).await?;
    let in_flight = in_flight(&call);
    let (state, operator) = (call.state, call.operator);
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    store.delete_credentials(scope, vec![credential.id]).await?;
    state.parts.runtime.apply_credentials();
    let cut = Cut::Credential(credential.id);
    state.cut(&operator, in_flight, [cut]).await?;
    let event = event(&state, &operator, Action::CredentialDelete, &credential);
    state.record(event).await?;
    Ok(no_content())
}

pub(super) async fn rotate(call: Call) -> Answer {
    let credential = find(&call).await?;
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let given = Given::alone(&mut members, "secret");
    members.done()?;
    let secret = given.secret()?;
    let provider = state.provider_of(&credential).ok_or_else(gone)?;
    state.check_audit()?;
    let place = (credential.tenant_id, credential.id);
    let sealed = state
        .parts
        .runtime
        .sealed_secret(&secret, place, provider.origin);
    let sealed = sealed.ok_or_else(Problem::internal)?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let changed = store
        .reseal_credential(scope, credential.id, sealed)
        .await?;
    state.parts.runtime.apply_credentials();
    let event = event(&state, &operator, Action::CredentialRotate, &changed);
    state.record(event).await?;
    Ok(ok(&shown(&state, &changed)))
}

fn gone() -> Problem {
    Problem::conflict("The settings have no such provider any more.")
}

pub(super) async fn test(call: Call) -> Answer {
    let credential = find(&call).await?;
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    match status(&state, &credential) {
        "unbound" => return Err(Problem::credential_unbound()),
        "unreadable" => {
            let problem = "Its secret can't be opened: give it again by `rotate`.";
            return Err(Problem::conflict(problem));
        }
        _ => {}
    }
    state.check_audit()?;
    let testing = state.parts.runtime.test_credential(&credential);
    let Some(testing) = testing else {
        let problem = "The provider is not in use.";
        return Err(Problem::conflict(problem));
    };
    let tested = testing.await;
    let event = event(&state, &operator, Action::CredentialTest, &credential);
    state.record(event).await?;
    Ok(ok(&json!({
        "status_class": tested.status_class.map(|class| format!("{class}xx")),
        "problem": tested.problem,
        "latency_ms": u64::try_from(tested.latency.as_millis()).unwrap_or(u64::MAX),
    })))
}

pub(super) async fn rest(call: Call) -> Answer {
    let credential = find(&call).await?;
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let duration_ms = members.duration("duration").unwrap_or(REST_MS_DEFAULT);
    if duration_ms == 0 || duration_ms > REST_MS_MAX {
        members.fault("duration", "more than nothing and at most 30d");
    }
    let reason = members.text("reason");
    members.done()?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let since = store.now();
    let rest = CredentialRest {
        since,
        until: WallMillis(since.0.saturating_add(duration_ms)),
        reason,
    };
    let until = rest.until;
    let changed = store.rest_credential(scope, credential.id, rest).await?;
    state.parts.runtime.apply_credentials();
    let event = event(&state, &operator, Action::CredentialCooldown, &changed);
    let until = Value::OwnedWord(until.to_string().into());
    state
        .record(event.with_detail(Key::ExpiresAt, until))
        .await?;
    Ok(ok(&shown(&state, &changed)))
}

pub(super) async fn recover(call: Call) -> Answer {
    let credential: Credential = find(&call).await?;
    let (state, operator) = (call.state, call.operator);
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let changed = store.recover_credential(scope, credential.id).await?;
    state.parts.runtime.apply_credentials();
    let event = event(&state, &operator, Action::CredentialCooldown, &changed);
    let kind = Value::Word("recover");
    state.record(event.with_detail(Key::Kind, kind)).await?;
    Ok(ok(&shown(&state, &changed)))
}
