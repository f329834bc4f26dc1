//! `/api/v1/cooldowns`: for what credentials are left alone in this process, those of the settings
//! too (LLM-R55). What operators say of a credential of the store is stored, and holds in every
//! replica.

use crate::State;
use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, no_content, ok};
use crate::runtime::{CoolDownsOf, CooledCredential};
use crate::shape::{Member, UNBOUND, bounded, choice, switch, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_store::CredentialRest;
use tollkeep_types::WallMillis;

/// Cool-downs that are listed at most.
const LISTED_MAX: usize = 1_000;
/// Longest time that an operator can say: 30 days.
const SECONDS_MAX: i64 = 30 * 86_400;

const PROVIDER: Member = text("provider", 60, "Those of this provider");
const CREDENTIAL: Member = text(
    "credential",
    200,
    "Those of this credential: its id, or its name in the settings",
);

const SHOWN: &[Member] = &[
    text("provider", 60, "The provider"),
    text(
        "credential",
        200,
        "The credential: its id, or its name in the settings",
    ),
    text("model", 256, "The model; `null`: all").or_null(),
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
    ),
    choice(
        "source",
        &["vendor", "default", "manual"],
        "Who said how long",
    ),
    time("since", "Since when").or_null(),
    time("until", "Until when"),
    bounded(
        "level",
        0,
        UNBOUND,
        "How often it was met again right after",
    ),
    switch(
        "forbids",
        "Nothing is called meanwhile; else others are preferred",
    ),
];

const SET: &[Member] = &[
    text("provider", 60, "The provider").required(),
    text(
        "credential",
        200,
        "The credential: its id, or its name in the settings; all of the provider if not given",
    ),
    crate::shape::signed("seconds", 1, SECONDS_MAX, "How long it is left alone").required(),
];

const BASE: Operation = Operation {
    id: "cooldown_list",
    command: "cooldown list",
    about: "For what credentials are left alone in this process",
    method: Method::Get,
    path: "/api/v1/cooldowns",
    also: Some("/manage/routing/cooldowns"),
    right: Right::ReadDeployment,
    change: None,
    query: &[PROVIDER, CREDENTIAL],
    body: None,
    answers: &[(200, Content::Page(SHOWN))],
    refusals: &[],
    run: |call| Box::pin(list(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    BASE,
    Operation {
        id: "cooldown_clear",
        command: "cooldown clear",
        about: "Forget for what credentials are left alone",
        method: Method::Delete,
        right: Right::Operate,
        change: Some(Action::CredentialCooldown),
        query: &[
            PROVIDER,
            CREDENTIAL,
            text("model", 256, "What they met with this model, and no more"),
        ],
        answers: &[(204, Content::None)],
        run: |call| Box::pin(clear(call)),
        ..BASE
    },
    Operation {
        id: "cooldown_set",
        command: "cooldown set",
        about: "Leave a credential, or all of a provider, alone for a while",
        method: Method::Post,
        right: Right::Operate,
        change: Some(Action::CredentialCooldown),
        query: &[],
        body: Some(SET),
        answers: &[(204, Content::None)],
        refusals: &[404],
        run: |call| Box::pin(set(call)),
        ..BASE
    },
];

/// What the query names.
fn asked(call: &Call) -> CoolDownsOf {
    let given = |name: &str| call.query.get(name).map(str::to_owned);
    CoolDownsOf {
        provider: given("provider"),
        credential: given("credential"),
    }
}

async fn list(call: Call) -> Answer {
    let state = &call.state;
    let found = state.parts.runtime.cooled_credentials(&asked(&call));
    let mut rows: Vec<Json> = found.iter().flat_map(shown).collect();
    let more = rows.len() > LISTED_MAX;
    rows.truncate(LISTED_MAX);
    Ok(ok(
        &json!({ "data": rows, "has_more": more, "next_cursor": null }),
    ))
}

fn shown(of: &CooledCredential) -> impl Iterator<Item = Json> {
    let row = |model: Option<&str>, reason: &str, source: &str| {
        json!({
            "provider": of.provider,
            "credential": of.credential,
            "model": model,
            "reason": reason,
            "source": source,
        })
    };
    let with = |mut row: Json, more: Json| {
        if let (Some(row), Json::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
        row
    };
    let rest = of.rests_until.map(|until| {
        let more = json!({ "since": null, "until": until, "level": 0, "forbids": true });
        with(row(None, "manual", "manual"), more)
    });
    let met = of.cool_downs.iter().map(|cool| {
        let source = if cool.is_told { "vendor" } else { "default" };
        let more = json!({
            "since": cool.since,
            "until": cool.until,
            "level": cool.level,
            "forbids": cool.forbids,
        });
        with(row(cool.model.as_deref(), cool.reason, source), more)
    });
    rest.into_iter().chain(met).collect::<Vec<_>>().into_iter()
}

async fn clear(call: Call) -> Answer {
    let of = asked(&call);
    let model = call.query.get("model").map(str::to_owned);
    let (state, operator) = (call.state, call.operator);
    state.check_audit()?;
    let runtime = &state.parts.runtime;
    let found = runtime.cooled_credentials(&of);
    runtime.clear_cool_downs(&of, model.as_deref());
    for one in found.iter().filter(|_| model.is_none()) {
        if let Some(id) = one.stored {
            let scope = operator.scope();
            state.parts.store.recover_credential(scope, id).await?;
        }
    }
    runtime.apply_credentials();
    if found.is_empty() {
        let nothing = state.event(&operator, Action::CredentialCooldown);
        let nothing = nothing.with_detail(Key::Count, Value::Number(0));
        state.record(nothing).await?;
    }
    for one in &found {
        let mut event = told(&state, &operator, one).with_detail(Key::Kind, Value::Word("recover"));
        if let Some(model) = &model {
            event = event.with_detail(Key::Model, Value::Text(model.as_str().into()));
        }
        state.record(event).await?;
    }
    Ok(no_content())
}

async fn set(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let of = CoolDownsOf {
        provider: members.text("provider"),
        credential: members.text("credential"),
    };
    let seconds = members.signed("seconds").unwrap_or_default();
    members.done()?;
    let runtime = &state.parts.runtime;
    let found = runtime.known_credentials(&of);
    if found.is_empty() {
        return Err(Problem::not_found());
    }
    state.check_audit()?;
    let since = state.parts.store.now();
    let ms = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
    let until = WallMillis(since.0.saturating_add(ms));
    for one in &found {
        if let Some(id) = one.stored {
            let rest = CredentialRest {
                since,
                until,
                reason: None,
            };
            let scope = operator.scope();
            state.parts.store.rest_credential(scope, id, rest).await?;
        }
    }
    runtime.rest_credentials(&of, until);
    runtime.apply_credentials();
    for one in &found {
        let end = Value::OwnedWord(until.to_string().into());
        let event = told(&state, &operator, one).with_detail(Key::ExpiresAt, end);
        state.record(event).await?;
    }
    Ok(no_content())
}

fn told<'e>(state: &State, operator: &Operator, of: &'e CooledCredential) -> Event<'e> {
    state
        .event(operator, Action::CredentialCooldown)
        .with_detail(Key::Provider, Value::Word(&of.provider))
        .with_detail(Key::Name, Value::Word(&of.credential))
}
