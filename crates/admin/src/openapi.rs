//! `/api/v1/openapi.json`: the API's own description (OpenAPI 3.1), made from the declarations of
//! its operations and from nothing else.

use crate::etag;
use crate::operation::{self, Call, Content, Method, Operation};
use crate::parameters::DRY_RUN;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::serve::Peer;
use crate::shape::{self, Member, Way, id, number, text};
use axum::extract::Request;
use axum::extract::connect_info::ConnectInfo;
use serde_json::{Map, Value, json};

const PATH: &str = "/api/v1/openapi.json";

pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "openapi",
    command: "openapi",
    about: "This description",
    method: Method::Get,
    path: PATH,
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Document)],
    refusals: &[],
    run: |call| Box::pin(get(call)),
}];

/// What a refusal says (RFC 9457).
const PROBLEM: &[Member] = &[
    text("type", 200, "`urn:tollkeep:problem:` and the code"),
    text("title", 200, "The status in words"),
    number("status", "The status"),
    text("detail", 2000, "What was wrong"),
    text("code", 100, "What was wrong, in a word"),
    id("request_id", "req_", "The request, as the records name it"),
];

/// Statuses that any operation may meet, and why.
const REFUSALS: [(u16, &str); 16] = [
    (400, "The request can't be read"),
    (401, "No valid management key"),
    (403, "Not allowed to this key or from this address"),
    (404, "No such thing, or none that this key may see"),
    (405, "Another method is meant"),
    (409, "In conflict with what is there"),
    (410, "Not offered"),
    (412, "It was changed meanwhile"),
    (413, "The body is larger than 1 MiB"),
    (415, "The body is not JSON"),
    (421, "Another host is meant"),
    (422, "Members that can't be taken"),
    (428, "`If-Match` is required"),
    (
        429,
        "Too many failed attempts from this address, or too many requests of this kind",
    ),
    (500, "Something went wrong here"),
    (503, "The store or the audit log is not available"),
];

async fn get(call: Call) -> Answer {
    Ok(ok(&document(call.state.parts.version)))
}

/// Whether the description is asked for from this machine itself: that needs no key.
pub(crate) fn is_open_to(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let is_local = peer.is_some_and(|ConnectInfo(peer)| peer.addr.ip().is_loopback());
    let is_forwarded = ["forwarded", "x-forwarded-for", "x-real-ip"]
        .iter()
        .any(|name| request.headers().contains_key(*name));
    is_local && !is_forwarded && request.method() == "GET" && request.uri().path() == PATH
}

/// The API's own description (OpenAPI 3.1), of a build of this version.
pub fn document(version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operation::all() {
        for path in std::iter::once(operation.path).chain(operation.also) {
            let described = described(operation, path);
            let entry = paths
                .entry(path.replace("{*", "{"))
                .or_insert_with(|| json!({}));
            if let Some(methods) = entry.as_object_mut() {
                let method = operation.method.as_str().to_ascii_lowercase();
                methods.insert(method, described);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Tollkeep management API", "version": version },
        "paths": paths,
        "components": {
            "schemas": { "Problem": problem(&[]), "SeedProblem": problem(&["error"]) },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "header": { "type": "apiKey", "in": "header", "name": "X-Management-Key" },
            },
        },
        "security": [{ "bearer": [] }, { "header": [] }],
    })
}

/// The schema of a refusal; other families' clients look for further members.
fn problem(further: &[&str]) -> Value {
    let mut schema = shape::schema(&[PROBLEM], Way::Out);
    let fault = json!({
        "type": "object",
        "properties": {
            "path": { "type": "string" },
            "code": { "type": "string" },
            "message": { "type": "string" },
        },
        "required": ["path", "code", "message"],
        "additionalProperties": false,
    });
    if let Some(properties) = schema
        .pointer_mut("/properties")
        .and_then(Value::as_object_mut)
    {
        let errors = json!({ "type": "array", "items": fault });
        properties.insert("errors".to_owned(), errors);
        for name in further {
            properties.insert((*name).to_owned(), json!({ "type": "string" }));
        }
    }
    schema
}

fn described(operation: &Operation, path: &str) -> Value {
    let is_seeds = !path.starts_with("/api/v1/");
    let id = operation.id;
    let mut described = json!({
        "operationId": if path != operation.path { format!("{id}_v0") } else { id.to_owned() },
        "summary": operation.about,
        "tags": [operation.command.split(' ').next().unwrap_or_default()],
        "x-tollkeep-command": operation.command,
        "x-tollkeep-scope": operation.scope(),
        "parameters": parameters(operation, path),
        "responses": responses(operation, is_seeds),
    });
    if let (Some(body), Some(members)) = (operation.body, described.as_object_mut()) {
        let is_required = body.iter().any(|member| member.is_required);
        let schema = shape::schema(&[body], Way::In);
        let content = json!({ "application/json": { "schema": schema } });
        let body = json!({ "required": is_required, "content": content });
        members.insert("requestBody".to_owned(), body);
    }
    described
}

fn parameters(operation: &Operation, path: &str) -> Vec<Value> {
    let in_path = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let name = name.trim_start_matches('*');
        Some(json!({
            "name": name, "in": "path", "required": true,
            "schema": { "type": "string", "minLength": 1 },
        }))
    });
    let in_query = operation.query.iter().map(|member| {
        let mut schema = member.kind.schema(Way::In);
        if let Some(members) = schema.as_object_mut() {
            members.remove("description");
        }
        json!({
            "name": member.name, "in": "query", "required": member.is_required,
            "description": member.about, "schema": schema,
        })
    });
    let mut all: Vec<Value> = in_path.chain(in_query).collect();
    all.extend(of_changes(operation));
    all
}

/// What every change takes besides.
fn of_changes(operation: &Operation) -> Vec<Value> {
    if !operation.can_be_tried() {
        return Vec::new();
    }
    let header = |name: &str, about: &str, schema: Value| {
        json!({
            "name": name, "in": "header", "required": false,
            "description": about, "schema": schema,
        })
    };
    let mut all = vec![json!({
        "name": DRY_RUN.name, "in": "query", "required": false,
        "description": DRY_RUN.about, "schema": { "type": "boolean" },
    })];
    if operation.method == Method::Post {
        all.push(header(
            "Idempotency-Key",
            "The request is carried out once per key, within 24 hours",
            json!({ "type": "string", "pattern": "^[!-~]{1,200}$" }),
        ));
    }
    if etag::reading_of(operation).is_some() {
        all.push(header(
            "If-Match",
            "Entity tags of the versions that may be changed, or `*`",
            json!({ "type": "string" }),
        ));
    }
    all
}

fn responses(operation: &Operation, is_seeds: bool) -> Value {
    let mut responses = Map::new();
    let mut answers: Vec<(u16, &Content)> = operation
        .answers
        .iter()
        .map(|(status, content)| (*status, content))
        .collect();
    // What would be made is told without being made.
    let made = answers.iter().find(|(status, _)| *status == 201).copied();
    if let Some((_, content)) = made
        && answers.iter().all(|(status, _)| *status != 200)
    {
        answers.push((200, content));
    }
    for (status, content) in answers {
        let schema = match content {
            Content::None => None,
            Content::Document => Some(json!({ "type": "object" })),
            Content::Yaml => Some(json!({ "type": "string" })),
            Content::Object(parts) => Some(shape::schema(parts, Way::Out)),
            Content::List(members) => {
                let items = shape::schema(&[members], Way::Out);
                Some(json!({ "type": "array", "items": items }))
            }
            Content::Page(members) => Some(json!({
                "type": "object",
                "properties": {
                    "data": { "type": "array", "items": shape::schema(&[members], Way::Out) },
                    "next_cursor": { "type": ["string", "null"] },
                    "has_more": { "type": "boolean" },
                },
                "required": ["data", "next_cursor", "has_more"],
                "additionalProperties": false,
            })),
        };
        let mut response = json!({ "description": operation.about });
        if let (Some(schema), Some(members)) = (schema, response.as_object_mut()) {
            let kind = if matches!(content, Content::Yaml) {
                "application/yaml"
            } else {
                "application/json"
            };
            let content = json!({ kind: { "schema": schema } });
            members.insert("content".to_owned(), content);
        }
        responses.insert(status.to_string(), response);
    }
    let has_reading = etag::reading_of(operation).is_some();
    let name = if is_seeds { "SeedProblem" } else { "Problem" };
    let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
    for (status, about) in REFUSALS {
        let is_met = match status {
            404 => operation.path.contains('{') || operation.refusals.contains(&404),
            422 => operation.method != Method::Get || operation.refusals.contains(&422),
            409 => operation.method == Method::Post || operation.refusals.contains(&409),
            412 => operation.method != Method::Get && has_reading,
            428 => {
                let is_change = !matches!(operation.method, Method::Get | Method::Post);
                is_change && has_reading
            }
            400 | 401 | 403 | 413 | 415 | 421 | 429 | 500 | 503 => true,
            other => operation.refusals.contains(&other),
        };
        if is_met {
            let content = json!({ "application/problem+json": { "schema": schema } });
            let response = json!({ "description": about, "content": content });
            responses.insert(status.to_string(), response);
        }
    }
    responses.into()
}
