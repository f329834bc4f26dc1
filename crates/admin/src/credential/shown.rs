//! Credentials as answers show them: never a secret.

use crate::State;
use crate::authn::Operator;
use crate::shape::{
    Member, UNBOUND, bounded, choice, id, number, objects, pairs, signed, switch, text, texts, time,
};
use crate::token::limits;
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_store::Credential;

const MODEL: &[Member] = &[
    text("name", 256, "Its name upstream, or a glob of names").required(),
    text("alias", 256, "What callers call it"),
];

const COOL_DOWN: &[Member] = &[
    text("model", 256, "The model; all if not given"),
    choice(
        "reason",
        &[
            "rate_limit",
            "quota",
            "billing",
            "auth",
            "overload",
            "timeout",
            "transient",
            "model_missing",
            "manual",
        ],
        "Why",
    )
    .required(),
    choice(
        "source",
        &["vendor", "default", "manual"],
        "Who said how long",
    )
    .required(),
    time("since", "Since when").required(),
    time("until", "Until when").required(),
    bounded(
        "level",
        0,
        UNBOUND,
        "How often it was met again right after",
    )
    .required(),
    switch(
        "forbids",
        "Nothing is called meanwhile; else others are preferred",
    )
    .required(),
];

/// What `status` may say.
pub(super) const STATUSES: &[&str] = &["active", "cooling", "disabled", "unreadable", "unbound"];

pub(super) const SHOWN: &[Member] = &[
    id("id", "crd_", "Its id"),
    id("tenant_id", "ten_", "Its tenant"),
    id("project_id", "prj_", "The one project that may use it").or_null(),
    text("provider", 60, "The provider"),
    choice("type", &["api_key"], "What it is"),
    text("label", 200, "Its name in lists"),
    text("token_hint", 100, "Its secret, masked"),
    objects(
        "models",
        MODEL,
        "The models it serves; none: all of its provider",
    ),
    texts(
        "excluded_models",
        200,
        256,
        "Globs of models it does not serve",
    ),
    pairs("headers", 16, "Fields set on calls that go out with it"),
    signed("priority", i64::MIN, i64::MAX, "Higher is used first"),
    number("weight", "Share among those of one priority"),
    switch("disabled", "Whether it is kept without being used"),
    text(
        "base_url",
        2_000,
        "Where its calls go, if not to its provider's own place",
    )
    .or_null(),
    text("egress_proxy", 2_000, "The proxy that they go through").or_null(),
    text(
        "prefix",
        63,
        "The word before `/` by which callers ask for it",
    )
    .or_null(),
    limits("What it bears"),
    choice(
        "status",
        STATUSES,
        "What it is now; `unbound`: its provider moved",
    ),
    objects("cooldowns", COOL_DOWN, "For what it is left alone"),
    text("file", 300, "The file it is read from").or_null(),
    time("created_at", "When it was made"),
    time("updated_at", "When it last changed"),
    time("sealed_at", "When its secret was sealed"),
    time("last_used_at", "When a call last used it").or_null(),
    text("last_error_code", 40, "What it last met").or_null(),
    time("last_error_at", "When").or_null(),
];

pub(super) const TESTED: &[Member] = &[
    choice(
        "status_class",
        &["1xx", "2xx", "3xx", "4xx", "5xx"],
        "Of the provider's answer; `null`: there was none",
    )
    .or_null(),
    choice(
        "problem",
        &[
            "timeout",
            "protocol",
            "egress_refused",
            "proxy",
            "dns",
            "overloaded",
            "tls",
            "connect",
        ],
        "Why there was no answer",
    )
    .or_null(),
    number("latency_ms", "How long it took"),
];

/// An event about a credential.
pub(crate) fn event<'a>(
    state: &State,
    operator: &Operator,
    action: Action,
    credential: &'a Credential,
) -> Event<'a> {
    let mut event = state
        .event(operator, action)
        .with_tenant_id(credential.tenant_id);
    if let Some(project) = credential.project_id {
        event = event.with_project_id(project);
    }
    event
        .with_detail(Key::Provider, Value::Word(&credential.provider))
        .with_detail(
            Key::Name,
            Value::OwnedWord(credential.id.to_string().into()),
        )
}

/// What it is now, in a word.
pub(super) fn status(state: &State, credential: &Credential) -> &'static str {
    let view = state.parts.runtime.credential_view(credential.id);
    let now = state.parts.store.now();
    let rests = credential.rest.as_ref();
    let cools = view.cool_downs.iter().any(|cool| cool.forbids)
        || rests.is_some_and(|rest| now < rest.until);
    let provider = state.provider_of(credential);
    let is_bound = provider.is_some_and(|now| now.origin == credential.secret.origin);
    if view.is_unreadable {
        "unreadable"
    } else if credential.rules.is_disabled {
        "disabled"
    } else if !is_bound {
        "unbound"
    } else if cools {
        "cooling"
    } else {
        "active"
    }
}

/// The object of answers.
pub(crate) fn shown(state: &State, credential: &Credential) -> Json {
    let view = state.parts.runtime.credential_view(credential.id);
    let now = state.parts.store.now();
    let rest = credential.rest.as_ref().filter(|rest| now < rest.until);
    let rest = rest.map(|rest| {
        json!({
            "reason": "manual",
            "source": "manual",
            "since": rest.since,
            "until": rest.until,
            "level": 0,
            "forbids": true,
        })
    });
    let cool_downs = view.cool_downs.iter().map(|cool| {
        let mut told = json!({
            "reason": cool.reason,
            "source": if cool.is_told { "vendor" } else { "default" },
            "since": cool.since,
            "until": cool.until,
            "level": cool.level,
            "forbids": cool.forbids,
        });
        if let (Some(members), Some(model)) = (told.as_object_mut(), &cool.model) {
            members.insert("model".to_owned(), (&**model).into());
        }
        told
    });
    let cool_downs: Vec<Json> = rest.into_iter().chain(cool_downs).collect();
    let used = view.last_used_at.max(credential.last_used_at);
    let stored = credential.last_error_code.as_deref();
    let error = view.last_error.or(stored.zip(credential.last_error_at));
    let rules = &credential.rules;
    json!({
        "id": credential.id,
        "tenant_id": credential.tenant_id,
        "project_id": credential.project_id,
        "provider": credential.provider,
        "type": "api_key",
        "label": rules.label,
        "token_hint": credential.secret.hint,
        "models": rules.models,
        "excluded_models": rules.excluded_models,
        "headers": rules.headers,
        "priority": rules.priority,
        "weight": rules.weight,
        "disabled": rules.is_disabled,
        "base_url": rules.base_url.as_ref().map(|given| &given.url),
        "egress_proxy": rules.egress_proxy.as_ref().map(|given| &given.url),
        "prefix": rules.prefix,
        "limits": rules.limits,
        "status": status(state, credential),
        "cooldowns": cool_downs,
        "file": credential.file,
        "created_at": credential.created_at,
        "updated_at": credential.updated_at,
        "sealed_at": credential.sealed_at,
        "last_used_at": used,
        "last_error_code": error.map(|(code, _)| code),
        "last_error_at": error.map(|(_, at)| at),
    })
}
