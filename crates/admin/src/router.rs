//! What is served where: a list.

use crate::authn::{self, Operator, PeerUser, Who};
use crate::problem::{Family, Problem};
use crate::request::Asked;
use crate::serve::Peer;
use crate::{
    State, breaker, config, front_door, ip_list, maintenance, metrics, project, service_token,
    status, tls, token,
};
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Of};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::Value;
use std::sync::Arc;
use tollkeep_audit::Action;
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

/// The API's operations.
fn operations() -> Router<Arc<State>> {
    Router::new()
        .route(
            "/api/v1/projects",
            get(project::list)
                .post(project::create)
                .fallback(|| async { Problem::method_not_allowed("GET, HEAD, POST") }),
        )
        .route(
            "/api/v1/projects/{project}",
            get(project::get).fallback(|| async { Problem::method_not_allowed("GET, HEAD") }),
        )
        .route(
            "/api/v1/tokens",
            get(token::list)
                .post(token::create)
                .fallback(|| async { Problem::method_not_allowed("GET, HEAD, POST") }),
        )
        .route(
            "/api/v1/tokens/{id}",
            get(token::get).fallback(|| async { Problem::method_not_allowed("GET, HEAD") }),
        )
        .route(
            "/api/v1/tokens/{id}/revoke",
            post(token::revoke).fallback(|| async { Problem::method_not_allowed("POST") }),
        )
        .route(
            "/api/v1/tokens/{id}/rotate",
            post(token::rotate).fallback(|| async { Problem::method_not_allowed("POST") }),
        )
        .route(
            "/api/v1/service-tokens",
            get(service_token::list)
                .post(service_token::create)
                .fallback(|| async { Problem::method_not_allowed("GET, HEAD, POST") }),
        )
        .route(
            "/api/v1/service-tokens/{id}/rotate",
            post(service_token::rotate).fallback(|| async { Problem::method_not_allowed("POST") }),
        )
        .route(
            "/api/v1/service-tokens/{id}/revoke",
            post(service_token::revoke).fallback(|| async { Problem::method_not_allowed("POST") }),
        )
        .merge(running())
        .merge(switches("/api/v1/security", "/api/v1/maintenance"))
        .merge(switches(
            "/v0/management/security",
            "/v0/management/maintenance",
        ))
        .fallback(|| async { Problem::not_found() })
}

/// How the gateway does, and what can be done to it while it runs.
fn running() -> Router<Arc<State>> {
    Router::new()
        .route(
            "/api/v1/config/reload",
            post(config::reload).fallback(|| async { Problem::method_not_allowed("POST") }),
        )
        .route(
            "/api/v1/tls/reload",
            post(tls::reload).fallback(|| async { Problem::method_not_allowed("POST") }),
        )
        .route(
            "/api/v1/breakers",
            get(breaker::list).fallback(|| async { Problem::method_not_allowed("GET, HEAD") }),
        )
        .route(
            "/api/v1/breakers/{id}/reset",
            post(breaker::reset).fallback(|| async { Problem::method_not_allowed("POST") }),
        )
        .route(
            "/api/v1/status",
            get(status::status).fallback(|| async { Problem::method_not_allowed("GET, HEAD") }),
        )
        .route(
            "/api/v1/whoami",
            get(status::whoami).fallback(|| async { Problem::method_not_allowed("GET, HEAD") }),
        )
}

/// What concerns the whole deployment at once, in the places of either family.
fn switches(security: &str, maintenance_at: &str) -> Router<Arc<State>> {
    let list = || async { Problem::method_not_allowed("GET, HEAD, POST") };
    let entry = || async { Problem::method_not_allowed("DELETE") };
    Router::new()
        .route(
            &format!("{security}/ip-denylist"),
            get(ip_list::list_denied).post(ip_list::deny).fallback(list),
        )
        .route(
            &format!("{security}/ip-denylist/{{*entry}}"),
            delete(ip_list::undeny).fallback(entry),
        )
        .route(
            &format!("{security}/ip-allowlist"),
            get(ip_list::list_allowed)
                .post(ip_list::allow)
                .fallback(list),
        )
        .route(
            &format!("{security}/ip-allowlist/{{*entry}}"),
            delete(ip_list::disallow).fallback(entry),
        )
        .route(
            maintenance_at,
            get(maintenance::get)
                .put(maintenance::put)
                .fallback(|| async { Problem::method_not_allowed("GET, HEAD, PUT") }),
        )
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
    let operations = told(state).layer(from_fn_with_state(Arc::clone(state), need_key));
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
    let operations = told(state).layer(from_fn_with_state(Arc::clone(state), need_key));
    let operations = operations.layer(from_fn_with_state(Arc::clone(state), front_door::pass));
    let operations = operations.layer(from_fn_with_state(Arc::clone(state), check_lists));
    finish(operations, state)
}

/// The local socket: its permissions are the key.
pub(crate) fn local(state: &Arc<State>) -> Router {
    finish(
        probes().merge(told(state).layer(from_fn(need_own_user))),
        state,
    )
}

/// The operations, of which refused changes are told too.
fn told(state: &Arc<State>) -> Router<Arc<State>> {
    operations().layer(from_fn_with_state(Arc::clone(state), tell_refused))
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
    let fields = request.headers().clone();
    let operator = match authn::by_key(&state, &fields, asked(&request)?).await {
        Ok(operator) => operator,
        Err(problem) => {
            state
                .parts
                .metrics
                .refusal(problem.code(), Listener::Management);
            return Err(problem);
        }
    };
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
    };
    request.extensions_mut().insert(operator);
    Ok(next.run(request).await)
}

/// Records a change that was refused; what was done, its own handler has recorded.
async fn tell_refused(Of(state): Of<Arc<State>>, request: Request, next: Next) -> Response {
    let operator = request.extensions().get::<Operator>().cloned();
    let asked = operator.zip(change(&request));
    let response = next.run(request).await;
    if let (Some((operator, action)), Some(problem)) = (asked, response.extensions().get()) {
        state.record_refused(&operator, action, problem);
    }
    response
}

/// The change that a request asks for, by its route.
fn change(request: &Request) -> Option<Action> {
    let route = request.extensions().get::<MatchedPath>()?;
    let of_either_family = route.as_str().strip_prefix("/api/v1");
    let path = of_either_family.or_else(|| route.as_str().strip_prefix("/v0/management"));
    match (request.method().as_str(), path.unwrap_or_default()) {
        ("POST", "/security/ip-denylist" | "/security/ip-allowlist") => {
            return Some(Action::IpListAdd);
        }
        ("DELETE", path) if path.starts_with("/security/") => return Some(Action::IpListRemove),
        ("PUT", "/maintenance") => return Some(Action::MaintenanceOn),
        _ => {}
    }
    match (request.method().as_str(), route.as_str()) {
        ("POST", "/api/v1/projects") => Some(Action::ProjectCreate),
        ("POST", "/api/v1/tokens") => Some(Action::TokenCreate),
        ("POST", "/api/v1/tokens/{id}/revoke") => Some(Action::TokenRevoke),
        ("POST", "/api/v1/tokens/{id}/rotate") => Some(Action::TokenRotate),
        ("POST", "/api/v1/config/reload" | "/api/v1/tls/reload") => Some(Action::ConfigReject),
        ("POST", "/api/v1/breakers/{id}/reset") => Some(Action::CircuitClose),
        ("POST", "/api/v1/service-tokens") => Some(Action::ServiceTokenCreate),
        ("POST", "/api/v1/service-tokens/{id}/rotate") => Some(Action::ServiceTokenRotate),
        ("POST", "/api/v1/service-tokens/{id}/revoke") => Some(Action::ServiceTokenRevoke),
        _ => None,
    }
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
    if has_body && !essence.eq_ignore_ascii_case(b"application/json") {
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
