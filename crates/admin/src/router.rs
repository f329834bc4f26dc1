//! What is served where: a list.

use crate::authn::{self, Operator, PeerUser, Who};
use crate::problem::{Family, Problem};
use crate::request::Asked;
use crate::serve::Peer;
use crate::{State, front_door, metrics, openapi, operation, session};
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{DefaultBodyLimit, Request, State as Of};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use std::sync::Arc;
use tollkeep_config::settings::AllowedHosts;
use tollkeep_observe::metrics::Listener;
use tollkeep_policy::ip_list::Listing;

/// Bytes of a request body at most.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What a handler gives.
pub(crate) type Answer = Result<Response, Problem>;

/// 200 with a JSON body.
pub(crate) fn ok(value: &Value) -> Response {
    json(StatusCode::OK, value)
}

/// 201 with the place of what was made.
pub(crate) fn created(location: &str, value: &Value) -> Response {
    let mut response = json(StatusCode::CREATED, value);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// 303: what is wanted is at that place.
pub(crate) fn see_other(place: &str) -> Answer {
    let place = HeaderValue::from_str(place).map_err(|_| Problem::internal())?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, place);
    Ok(response)
}

/// 202: the work was begun, and stands at that place.
pub(crate) fn accepted(location: &str, value: &Value) -> Response {
    let mut response = json(StatusCode::ACCEPTED, value);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

fn probes() -> Router<Arc<State>> {
    Router::new()
        .route("/health", get(metrics::health))
        .route("/healthz", get(metrics::healthz))
        .route("/live", get(metrics::live))
        .route("/ready", get(metrics::ready))
}

/// The management listener: a key for everything but the probes.
pub(crate) fn keyed(state: &Arc<State>) -> Router {
    let operations = operation::routes().layer(from_fn_with_state(Arc::clone(state), need_key));
    let door = || from_fn_with_state(Arc::clone(state), front_door::pass);
    let operations = operations
        .layer(door())
        .layer(from_fn_with_state(Arc::clone(state), check_lists))
        .layer(from_fn_with_state(Arc::clone(state), check_management_host));
    // Probes are beside the key, but not beside the front door.
    finish(probes().layer(door()).merge(operations), state)
}

/// On the data listener, which has judged the host and the peer: a key for everything.
pub(crate) fn on_data_port(state: &Arc<State>) -> Router {
    let operations = operation::routes().layer(from_fn_with_state(Arc::clone(state), need_key));
    let operations = operations.layer(from_fn_with_state(Arc::clone(state), front_door::pass));
    let operations = operations.layer(from_fn_with_state(Arc::clone(state), check_lists));
    finish(operations, state)
}

/// The local socket: its permissions are the key.
pub(crate) fn local(state: &Arc<State>) -> Router {
    finish(
        probes().merge(operation::routes().layer(from_fn(need_own_user))),
        state,
    )
}

/// Where llm-proxy has its counters; they are there too, whatever the settings say.
const PROMETHEUS_PATH: &str = "/metrics/prometheus";

/// The metrics listener.
pub(crate) fn counters(state: &Arc<State>) -> Router {
    let counted = Router::new()
        .route(PROMETHEUS_PATH, get(metrics::metrics))
        .fallback(metrics::at_configured_path)
        .layer(from_fn_with_state(Arc::clone(state), check_metrics_host));
    finish(probes().merge(counted), state)
}

fn finish(router: Router<Arc<State>>, state: &Arc<State>) -> Router {
    router
        .layer(from_fn(only_json))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
        }))
        .layer(from_fn_with_state(Arc::clone(state), harden))
        .with_state(Arc::clone(state))
}

/// Whether the client may operate at all, before anything it brings is looked at (ID-55).
async fn check_lists(Of(state): Of<Arc<State>>, request: Request, next: Next) -> Answer {
    let settings = state.settings();
    let lists = &settings.management.ip_lists;
    if !lists.is_off() {
        let asked = asked(&request)?;
        let listing = asked.client_ip.map(|ip| lists.judge(ip));
        if listing == Some(Listing::Denied) {
            state.record_denied(&asked);
            let problem = Problem::address_forbidden();
            let metrics = &state.parts.metrics;
            metrics.refusal(problem.code(), Listener::Management);
            return Err(problem);
        }
    }
    Ok(next.run(request).await)
}

async fn need_key(Of(state): Of<Arc<State>>, mut request: Request, next: Next) -> Answer {
    if openapi::is_open_to(&request) {
        return Ok(ok(&openapi::document(state.parts.version)));
    }
    let fields = request.headers().clone();
    let presented = authn::presented(&fields);
    let identified = if operation::is_open(request.method(), request.uri().path()) {
        session::nobody(&state, &fields, asked(&request)?).await
    } else if state.settings().management.loopback_without_key
        && authn::is_of_this_machine(&request)
    {
        Ok(Operator {
            who: Who::Loopback,
            asked: asked(&request)?,
            session: None,
        })
    } else {
        authn::identify(&state, &fields, asked(&request)?).await
    };
    let operator = match identified {
        Ok(operator) => operator,
        Err(problem) => {
            state
                .parts
                .metrics
                .refusal(problem.code(), Listener::Management);
            return Err(problem);
        }
    };
    if let Some(presented) = presented {
        request.extensions_mut().insert(presented);
    }
    request.extensions_mut().insert(operator);
    Ok(next.run(request).await)
}

async fn need_own_user(
    ConnectInfo(PeerUser(uid)): ConnectInfo<PeerUser>,
    mut request: Request,
    next: Next,
) -> Answer {
    let own = rustix::process::geteuid().as_raw();
    if uid != own && uid != 0 {
        return Err(Problem::unauthorized());
    }
    let operator = Operator {
        who: Who::Local { uid },
        asked: asked(&request)?,
        session: None,
    };
    request.extensions_mut().insert(operator);
    Ok(next.run(request).await)
}

/// What [`harden`] took note of.
fn asked(request: &Request) -> Result<Asked, Problem> {
    request
        .extensions()
        .get()
        .cloned()
        .ok_or_else(Problem::internal)
}

async fn check_management_host(Of(state): Of<Arc<State>>, request: Request, next: Next) -> Answer {
    check_host(&state, &state.settings().management.allowed_hosts, &request)?;
    Ok(next.run(request).await)
}

async fn check_metrics_host(Of(state): Of<Arc<State>>, request: Request, next: Next) -> Answer {
    check_host(&state, &state.settings().metrics.allowed_hosts, &request)?;
    Ok(next.run(request).await)
}

/// A name that is not ours may be a web page's that was pointed at this machine (DNS rebinding).
fn check_host(state: &State, allowed: &AllowedHosts, request: &Request) -> Result<(), Problem> {
    let host = request
        .headers()
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let tls = peer.and_then(|ConnectInfo(peer)| peer.tls.as_ref());
    if tls.is_some_and(|misdirects| misdirects(host)) {
        return Err(Problem::misdirected());
    }
    let served = match allowed {
        AllowedHosts::Listed(patterns) => patterns.iter().any(|pattern| pattern.matches(host)),
        AllowedHosts::Defaults => is_own_name(state, host),
    };
    if served {
        Ok(())
    } else {
        Err(Problem::misdirected())
    }
}

fn is_own_name(state: &State, host: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(host)
        .unwrap_or_default()
        .parse::<tollkeep_types::Authority>()
    else {
        return false;
    };
    let bare = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let is_bound = |ip: std::net::IpAddr| {
        state
            .parts
            .listeners
            .iter()
            .any(|own| own.ip() == ip && !ip.is_unspecified())
    };
    bare == "localhost"
        || bare
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback() || is_bound(ip))
}

/// Bodies are JSON or absent, and small.
async fn only_json(request: Request, next: Next) -> Answer {
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Problem::too_large());
    }
    let has_body = length.is_some_and(|length| length > 0)
        || request.headers().contains_key(header::TRANSFER_ENCODING);
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let essence = kind
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let kinds = request.headers().get_all(header::CONTENT_TYPE).iter();
    let is_coded = request.headers().contains_key(header::CONTENT_ENCODING);
    let is_json = essence.eq_ignore_ascii_case(b"application/json");
    if has_body && (!is_json || is_coded || kinds.count() > 1) {
        return Err(Problem::not_json());
    }
    let response = next.run(request).await;
    // The body limit answers in plain text.
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Err(Problem::too_large())
    } else {
        Ok(response)
    }
}

/// The lines every answer has, and the document of every refusal.
async fn harden(Of(state): Of<Arc<State>>, mut request: Request, next: Next) -> Response {
    let asked = Asked::note(&state, &request);
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let is_secure = peer.is_some_and(|ConnectInfo(peer)| peer.tls.is_some());
    let id = asked.id.to_string();
    let family = Family::of(request.uri().path());
    let is_cpa = request.uri().path().starts_with("/v0/management");
    request.extensions_mut().insert(asked);
    let mut response = next.run(request).await;
    if let Some(problem) = Problem::of_answer(&mut response) {
        problem.write(&mut response, &id, family);
    }
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        fields.insert("x-request-id", id);
    }
    if is_cpa {
        tell_build(fields, state.parts.version);
    }
    let settings = state.settings();
    let Some(security) = &settings.server.security_headers else {
        return response;
    };
    let none = String::new();
    // Clear text must not carry it (RFC 6797, section 7.2).
    let strict = if is_secure {
        &security.strict_transport_security
    } else {
        &none
    };
    let lines = [
        ("strict-transport-security", strict),
        ("x-content-type-options", &security.content_type_options),
        ("x-frame-options", &security.frame_options),
        ("x-xss-protection", &security.xss_protection),
        ("content-security-policy", &security.content_security_policy),
        ("referrer-policy", &security.referrer_policy),
        (
            "cross-origin-opener-policy",
            &security.cross_origin_opener_policy,
        ),
        (
            "cross-origin-resource-policy",
            &security.cross_origin_resource_policy,
        ),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Which build this is, as clients of cliproxyapi++ look for it.
fn tell_build(fields: &mut HeaderMap, version: &str) {
    let lines = [
        ("x-cpa-version", version),
        (
            "x-cpa-commit",
            option_env!("TOLLKEEP_COMMIT").unwrap_or("none"),
        ),
        (
            "x-cpa-build-date",
            option_env!("TOLLKEEP_BUILD_DATE").unwrap_or("unknown"),
        ),
    ];
    for (name, value) in lines {
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.insert(HeaderName::from_static(name), value);
        }
    }
}
