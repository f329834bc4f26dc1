//! `/v0/operations`: the pool of credentials as cliproxyapi++'s operations ask for it: who is left
//! alone and why, who is used before whom, and how each provider is doing. Of each provider those
//! credentials are told of that the store keeps and the operator may see.

use super::given::OfProvider;
use super::shown::{event, shown, status};
use super::{REST_MS_DEFAULT, REST_MS_MAX};
use crate::State;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::runtime::BreakerState;
use crate::shape::{Member, choice, duration, id, number, objects, signed, switch, text, time};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::{Credential, CredentialFilter, CredentialRest};
use tollkeep_types::WallMillis;

const COOLING: &[Member] = &[
    text("provider", 60, "The provider").required(),
    id("credential", "crd_", "The credential").required(),
    text("model", 256, "The model; all if `null`")
        .or_null()
        .required(),
    text("reason", 40, "Why").required(),
    text(
        "source",
        40,
        "Who said how long: `vendor`, `default` or `manual`",
    )
    .required(),
    time("since", "Since when").required(),
    time("until", "Until when").required(),
    number("remaining_seconds", "How long that is yet").required(),
];

const OF_POOL: &[Member] = &[
    id("id", "crd_", "The credential").required(),
    text("label", 200, "Its name in lists").required(),
    choice("status", super::shown::STATUSES, "What it is now").required(),
    signed("priority", i64::MIN, i64::MAX, "Lower is used first").required(),
    number("weight", "Share among those of one priority").required(),
    switch(
        "in_use",
        "Whether calls go to it now, by its priority and weight",
    )
    .required(),
    text("last_error_code", 40, "What it last met")
        .or_null()
        .required(),
    time("last_error_at", "When").or_null().required(),
    time("last_used_at", "When a call last used it")
        .or_null()
        .required(),
];

const PROVIDER: &[Member] = &[
    text("provider", 60, "The provider").required(),
    switch("enabled", "Whether the settings have it").required(),
    switch(
        "healthy",
        "Whether no breaker of it is open and a credential can be used",
    )
    .required(),
    choice(
        "breaker",
        &["closed", "half_open", "open"],
        "The worst of its breakers",
    )
    .required(),
    objects("credentials", OF_POOL, "Its credentials").required(),
];

const BALANCED: &[Member] = &[
    text("provider", 60, "The provider").required(),
    objects(
        "credentials",
        OF_POOL,
        "Its credentials, those that are used first in front",
    )
    .required(),
];

const COOLDOWNS: &[Member] = &[objects("cooldowns", COOLING, "Who is left alone")];
const PROVIDERS: &[Member] = &[objects("providers", PROVIDER, "The providers")];
const BALANCE: &[Member] = &[
    text("strategy", 40, "How one of several is chosen"),
    objects("providers", BALANCED, "The providers"),
];
const RESTED: &[Member] = &[
    text("provider", 60, "The provider"),
    number("credentials", "How many of its credentials"),
    time("until", "Until when they are left alone").or_null(),
];

const BASE: Operation = Operation {
    id: "operations_cooldowns",
    command: "cooldown list",
    about: "Credentials that are left alone (cliproxyapi++)",
    method: Method::Get,
    path: "/v0/operations/cooldown/status",
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[COOLDOWNS]))],
    refusals: &[],
    run: |call| Box::pin(cooldowns(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    BASE,
    Operation {
        id: "operations_providers",
        command: "credential providers",
        about: "How each provider and its credentials are doing (cliproxyapi++)",
        path: "/v0/operations/providers/status",
        answers: &[(200, Content::Object(&[PROVIDERS]))],
        run: |call| Box::pin(providers(call)),
        ..BASE
    },
    Operation {
        id: "operations_balance",
        command: "credential pool",
        about: "Which credentials are used before which (cliproxyapi++)",
        path: "/v0/operations/load_balancing/status",
        answers: &[(200, Content::Object(&[BALANCE]))],
        run: |call| Box::pin(balance(call)),
        ..BASE
    },
    Operation {
        id: "operations_cooldown",
        command: "cooldown set",
        about: "Leave all credentials of a provider alone for a while (cliproxyapi++)",
        method: Method::Post,
        path: "/v0/operations/providers/{provider}/cooldown",
        right: Right::Breakers,
        change: Some(Action::CredentialCooldown),
        body: Some(&[
            duration("duration", "How long, 30d at most; 1h if not given"),
            text("reason", 200, "Why, for the records"),
        ]),
        answers: &[(200, Content::Object(&[RESTED]))],
        run: |call| Box::pin(rest(call)),
        ..BASE
    },
    Operation {
        id: "operations_recover",
        command: "cooldown clear",
        about: "Use all credentials of a provider again at once (cliproxyapi++)",
        method: Method::Post,
        path: "/v0/operations/providers/{provider}/recover",
        right: Right::Breakers,
        change: Some(Action::CredentialCooldown),
        body: Some(&[]),
        answers: &[(200, Content::Object(&[RESTED]))],
        run: |call| Box::pin(recover(call)),
        ..BASE
    },
];

/// The credentials that the operator may see, of one provider or all.
async fn seen(call: &Call, provider: Option<String>) -> Result<Vec<Credential>, Problem> {
    let filter = CredentialFilter {
        provider,
        ..CredentialFilter::default()
    };
    let store = &call.state.parts.store;
    let found = store.credentials_like(call.operator.scope(), filter);
    Ok(found.await?)
}

async fn read(call: &Call) -> Result<Vec<Credential>, Problem> {
    let found = seen(call, None).await?;
    let listed = call.state.event(&call.operator, Action::CredentialList);
    call.state.record(listed).await?;
    Ok(found)
}

async fn cooldowns(call: Call) -> Answer {
    let found = read(&call).await?;
    let now = call.state.parts.store.now();
    let mut all = Vec::new();
    for credential in &found {
        let told = shown(&call.state, credential);
        let cooling = told.get("cooldowns").and_then(Json::as_array);
        for cool in cooling.into_iter().flatten() {
            let member = |name: &str| cool.get(name).cloned().unwrap_or_default();
            let until = member("until").as_str().and_then(|text| text.parse().ok());
            let until = until.unwrap_or(now);
            all.push(json!({
                "provider": credential.provider,
                "credential": credential.id,
                "model": member("model"),
                "reason": member("reason"),
                "source": member("source"),
                "since": member("since"),
                "until": until,
                "remaining_seconds": until.0.saturating_sub(now.0).div_ceil(1000),
            }));
        }
    }
    Ok(ok(&json!({ "cooldowns": all })))
}

/// Every provider that the settings have, or that a credential is of.
fn names(state: &State, found: &[Credential]) -> BTreeSet<String> {
    let settings = state.settings();
    let known = settings
        .providers
        .iter()
        .map(|provider| provider.name.clone());
    let kept = found.iter().map(|credential| credential.provider.clone());
    known.chain(kept).collect()
}

async fn providers(call: Call) -> Answer {
    let found = read(&call).await?;
    let state = &call.state;
    let breakers = state.parts.runtime.upstream_states();
    let all = names(state, &found).into_iter().map(|name| {
        let credentials = pool(state, &found, &name);
        let mut worst = breakers.iter().filter(|(upstream, _)| **upstream == *name);
        let breaker = worst
            .next()
            .map_or(BreakerState::Closed, |(_, breaker)| *breaker);
        let is_enabled = OfProvider::named(state, &name).is_some();
        let can_be_used = |one: &Json| one.get("status").is_some_and(|status| status == "active");
        let is_usable = credentials.is_empty() || credentials.iter().any(can_be_used);
        json!({
            "provider": name,
            "enabled": is_enabled,
            "healthy": is_enabled && breaker != BreakerState::Open && is_usable,
            "breaker": match breaker {
                BreakerState::Closed => "closed",
                BreakerState::HalfOpen => "half_open",
                BreakerState::Open => "open",
            },
            "credentials": credentials,
        })
    });
    Ok(ok(&json!({ "providers": all.collect::<Vec<_>>() })))
}

async fn balance(call: Call) -> Answer {
    let found = read(&call).await?;
    let state = &call.state;
    let all = names(state, &found).into_iter().map(|name| {
        let credentials = pool(state, &found, &name);
        json!({ "provider": name, "credentials": credentials })
    });
    Ok(ok(&json!({
        "strategy": "priority",
        "providers": all.collect::<Vec<_>>(),
    })))
}

/// The credentials of a provider, those that are used first in front.
fn pool(state: &State, found: &[Credential], provider: &str) -> Vec<Json> {
    let own = found.iter().filter(|one| one.provider == provider);
    let mut own: Vec<&Credential> = own.collect();
    own.sort_by_key(|one| (std::cmp::Reverse(one.rules.priority), one.id));
    let is_usable = |one: &&&Credential| status(state, one) == "active" && one.rules.weight > 0;
    let first = own.iter().find(is_usable).map(|one| one.rules.priority);
    let shown = own.iter().map(|one| {
        let told = shown(state, one);
        let member = |name: &str| told.get(name).cloned().unwrap_or_default();
        json!({
            "id": one.id,
            "label": one.rules.label,
            "status": member("status"),
            "priority": -i64::from(one.rules.priority),
            "weight": one.rules.weight,
            "in_use": is_usable(&one) && Some(one.rules.priority) == first,
            "last_error_code": member("last_error_code"),
            "last_error_at": member("last_error_at"),
            "last_used_at": member("last_used_at"),
        })
    });
    shown.collect()
}

/// The credentials of the provider that is named; there is at least one, or the settings have it.
async fn of_named(call: &Call) -> Result<(String, Vec<Credential>), Problem> {
    let known = OfProvider::named(&call.state, &call.id);
    let name = known.as_ref().map_or(&call.id, |known| &known.name).clone();
    let found = seen(call, Some(name.clone())).await?;
    if known.is_none() && found.is_empty() {
        return Err(Problem::not_found());
    }
    Ok((name, found))
}

async fn rest(mut call: Call) -> Answer {
    let (provider, found) = of_named(&call).await?;
    let duration_ms = call.body.duration("duration").unwrap_or(REST_MS_DEFAULT);
    if duration_ms == 0 || duration_ms > REST_MS_MAX {
        call.body
            .fault("duration", "more than nothing and at most 30d");
    }
    let reason = call.body.text("reason");
    call.body.done()?;
    let (state, operator) = (call.state, call.operator);
    state.check_audit()?;
    let store = &state.parts.store;
    let since = store.now();
    let until = WallMillis(since.0.saturating_add(duration_ms));
    for credential in &found {
        let rest = CredentialRest {
            since,
            until,
            reason: reason.clone(),
        };
        let rested = store.rest_credential(operator.scope(), credential.id, rest);
        let rested = rested.await?;
        let event = event(&state, &operator, Action::CredentialCooldown, &rested);
        let until = Value::OwnedWord(until.to_string().into());
        state
            .record(event.with_detail(Key::ExpiresAt, until))
            .await?;
    }
    state.parts.runtime.apply_credentials();
    Ok(told(&provider, &found, Some(until)))
}

async fn recover(call: Call) -> Answer {
    let (provider, found) = of_named(&call).await?;
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    state.check_audit()?;
    let store = &state.parts.store;
    for credential in &found {
        let changed = store.recover_credential(operator.scope(), credential.id);
        let changed = changed.await?;
        let event = event(&state, &operator, Action::CredentialCooldown, &changed);
        let kind = Value::Word("recover");
        state.record(event.with_detail(Key::Kind, kind)).await?;
    }
    state.parts.runtime.apply_credentials();
    Ok(told(&provider, &found, None))
}

fn told(
    provider: &str,
    found: &[Credential],
    until: Option<WallMillis>,
) -> axum::response::Response {
    ok(&json!({ "provider": provider, "credentials": found.len(), "until": until }))
}
