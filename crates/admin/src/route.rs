//! `/api/v1/routes`

use crate::State;
use crate::operation::{Call, Content, Method, Operation};
use crate::policy::POLICY;
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::runtime::Explained;
use crate::shape::{Member, choice, number, object, objects, switch, text};
use crate::token::{limits, token_id};
use serde_json::{Value, json};
use std::sync::Arc;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_store::{ProjectRef, Token};

const QUERY: &[Member] = &[
    text("method", 20, "The method of the request").required(),
    text("url", 2000, "Its path, or its URL").required(),
    text("model", 300, "The model it asks for"),
    text("token", 64, "The id of the token it would carry"),
];

const RATE: Member = object(
    "rate_limit",
    &[
        number("requests", "Requests in a window").required(),
        number("window_s", "The window, in seconds").required(),
        choice(
            "by",
            &["ip", "token", "project", "global"],
            "Whose requests are counted together",
        )
        .required(),
    ],
    "The route's own limit",
);

const STANDING: &[Member] = &[
    choice(
        "on",
        &["settings", "route", "tenant", "project", "token"],
        "Where it stands",
    )
    .required(),
    POLICY.required(),
];

const SHOWN: &[Member] = &[
    text("path", 2000, "The canonical path"),
    text(
        "refused",
        100,
        "The code of the refusal, as far as method, path and model decide",
    )
    .or_null(),
    text("allow", 200, "The methods that the path has").or_null(),
    text("route", 2000, "The route it is for").or_null(),
    text("upstream", 200, "The upstream or provider it goes to").or_null(),
    text("model", 300, "What the provider calls the model").or_null(),
    switch("needs_token", "Whether a token is needed"),
    number("body_bytes_max", "Bytes of a body at most").or_null(),
    RATE.or_null(),
    limits("Limits of the token, with what it inherits").or_null(),
    objects(
        "policies",
        STANDING,
        "The policies that bind it; each must allow it",
    ),
];

pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "route_explain",
    command: "route explain",
    about: "What would become of a request: its route, policies and limits; nothing is sent",
    method: Method::Get,
    path: "/api/v1/routes/explain",
    also: None,
    right: Right::Read,
    change: None,
    query: QUERY,
    body: None,
    answers: &[(200, Content::Object(&[SHOWN]))],
    refusals: &[404],
    run: |call| Box::pin(explain(call)),
}];

async fn explain(call: Call) -> Answer {
    let (state, query) = (&call.state, &call.query);
    let (Some(method), Some(url)) = (query.get("method"), query.get("url")) else {
        return Err(Problem::bad_request("Say `method` and `url`."));
    };
    let (model, token) = (query.get("model"), query.get("token"));
    let token = match token {
        None => None,
        Some(id) => {
            let scope = call.operator.scope();
            Some(state.parts.store.token(scope, token_id(id)?).await?)
        }
    };
    let mut told = state.parts.runtime.explain(method, url, model);
    let mut inherited = None;
    if let Some(token) = &token {
        inherited = Some(of_token(state, token, &mut told).await?);
    }
    if told.refused.is_none() {
        told.refused = told.refused_by_policies(method, model);
    }
    Ok(ok(&shown(&told, inherited.as_ref())))
}

/// Adds the policies that a token brings, and gives its limits.
async fn of_token(state: &State, token: &Token, told: &mut Explained) -> Result<Value, Problem> {
    let (store, scope) = (
        &state.parts.store,
        tollkeep_store::Scope::Tenant(token.tenant_id),
    );
    let tenant = store.tenant(scope, token.tenant_id).await?;
    let project = ProjectRef::Id(token.project_id);
    let project = store.project(scope, project).await?;
    let each = [
        ("tenant", tenant.policy),
        ("project", project.policy),
        ("token", token.policy.clone()),
    ];
    let each = each.into_iter();
    told.policies
        .extend(each.filter_map(|(on, policy)| Some((on, policy?))));
    let limits = token.limits.or(project.limits).or(tenant.limits);
    Ok(json!(limits))
}

fn shown(told: &Explained, limits: Option<&Value>) -> Value {
    let standing = |(on, policy): &(&str, Arc<CallPolicy>)| json!({ "on": on, "policy": policy });
    let policies: Vec<Value> = told.policies.iter().map(standing).collect();
    let rate = told.rate.map(|(requests, window, by)| {
        json!({ "requests": requests, "window_s": window.as_secs(), "by": by })
    });
    json!({
        "path": told.path,
        "refused": told.refused,
        "allow": told.allow,
        "route": told.route,
        "upstream": told.upstream,
        "model": told.model,
        "needs_token": told.needs_token,
        "body_bytes_max": told.body_bytes_max,
        "rate_limit": rate,
        "limits": limits,
        "policies": policies,
    })
}
