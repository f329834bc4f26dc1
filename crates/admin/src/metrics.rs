//! The metrics listener: counters as text, and health.

use crate::State;
use crate::problem::Problem;
use crate::runtime::BreakerState;
use axum::body::Body;
use axum::extract::{Request, State as Of};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tollkeep_observe::health::Reason;

/// `GET /metrics` in the text format 0.0.4 of Prometheus.
pub(crate) async fn metrics(Of(state): Of<Arc<State>>) -> Response {
    let parts = &state.parts;
    let states = parts.runtime.upstream_states().into_iter();
    let states = states.map(|(upstream, state)| {
        let level = match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        (upstream, level)
    });
    parts.metrics.breaker_states(states.collect());
    if let Some(seeds) = parts.metrics.seeds() {
        seeds.now(parts.clock.mono());
    }
    text(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        parts.metrics.render(),
    )
}

/// The same where the settings want it; nothing else is there.
pub(crate) async fn at_configured_path(Of(state): Of<Arc<State>>, request: Request) -> Response {
    let configured = &state.settings().metrics.path;
    let is_json = request.uri().path().strip_prefix(&**configured) == Some(JSON);
    let is_json = is_json && state.parts.metrics.seeds().is_some();
    if request.uri().path() != configured && !is_json {
        return Problem::not_found().into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::method_not_allowed("GET, HEAD").into_response();
    }
    let wanted = is_json || accepts_json(request.headers());
    match wanted.then(|| llm_proxy(&state)).flatten() {
        Some(object) => object,
        None => metrics(Of(state)).await,
    }
}

/// What stands behind the path of the scrape where llm-proxy's object is.
const JSON: &str = "/json";

/// Whether JSON is what is wanted first. Scrapers never name it.
fn accepts_json(fields: &HeaderMap) -> bool {
    let accept = fields.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    let first = accept.and_then(|accept| accept.split([',', ';']).next());
    first.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// llm-proxy's object, where it is wanted.
fn llm_proxy(state: &State) -> Option<Response> {
    let metrics = &state.parts.metrics;
    metrics.seeds()?.now(state.parts.clock.mono());
    let object = metrics.llm_proxy_json()?;
    Some(text(StatusCode::OK, "application/json", object))
}

/// `GET /health`
pub(crate) async fn health(Of(state): Of<Arc<State>>) -> Response {
    let parts = &state.parts;
    let reasons = parts.health.reasons(parts.clock.mono());
    let maintenance = if reasons.contains(&Reason::Maintenance) {
        ",\"maintenance\":true"
    } else {
        ""
    };
    let body = format!(
        "{{\"status\":\"ok\",\"timestamp\":\"{}\",\"version\":\"{}\"{maintenance}}}",
        parts.clock.wall(),
        parts.version
    );
    text(StatusCode::OK, "application/json", body)
}

/// `GET /healthz`
pub(crate) async fn healthz() -> Response {
    text(
        StatusCode::OK,
        "application/json",
        "{\"status\":\"ok\"}".to_owned(),
    )
}

/// `GET /live`
pub(crate) async fn live(Of(state): Of<Arc<State>>) -> Response {
    let alive = state.parts.health.live(state.parts.clock.mono());
    let (status, word) = if alive {
        (StatusCode::OK, "alive")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stuck")
    };
    text(status, "text/plain; charset=utf-8", word.to_owned())
}

/// `GET /ready`
pub(crate) async fn ready(Of(state): Of<Arc<State>>) -> Response {
    let (status, kind, body) = state.parts.health.ready(state.parts.clock.mono());
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    text(status, kind, body)
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
