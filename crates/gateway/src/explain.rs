//! What would become of a request, as far as its method and target decide: for operators who
//! wonder. It asks the same tables that calls are led by, and sends nothing.

use crate::plan::Plan;
use crate::route::{PlainRoute, allow};
use crate::served::Served;
use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::{Access, Method, RateBy};
use tollkeep_llm::gemini::{judged_path, model_of};
use tollkeep_llm::{Surface, SurfaceMatch, surface_of};
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::path::{PathRules, canonicalize, split_target};

/// What would become of a request.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// The canonical path.
    pub path: String,
    /// The path that policies are asked about, if that is another.
    pub judged_path: Option<String>,
    /// The model that the path names, if it does.
    pub asked: Option<String>,
    /// The code of the refusal, if the request has no route.
    pub refused: Option<&'static str>,
    /// The methods that the path has, if the one asked about is none of them.
    pub allow: Option<String>,
    /// The name of its route.
    pub route: Option<Arc<str>>,
    /// The upstream of a plain route; the provider of a model call.
    pub upstream: Option<Arc<str>>,
    /// What the provider calls the model.
    pub model: Option<String>,
    /// Whether a token is needed.
    pub needs_token: bool,
    /// Bytes of a body at most.
    pub body_bytes_max: Option<u64>,
    /// The route's own limit: requests, their window, and whose are counted together.
    pub rate: Option<(u64, Duration, &'static str)>,
    /// The policies of the settings and of the route, each with where it stands.
    pub policies: Vec<(&'static str, Arc<CallPolicy>)>,
}

impl Plan {
    /// What would become of a request with this method, target and model.
    pub fn explain(&self, method: &str, target: &str, model: Option<&str>) -> Explained {
        let mut told = Explained::default();
        let (path, _) = split_target(without_authority(target).as_bytes());
        if canonicalize(path, PathRules::PERMISSIVE, &mut told.path).is_err() {
            told.refused = Some("bad_request");
            return told;
        }
        if !Method::ALL.iter().any(|known| known.as_str() == method) && method != "HEAD" {
            told.refused = Some("method_unknown");
            return told;
        }
        told.policies
            .extend(self.policy.clone().map(|policy| ("settings", policy)));
        let mut others = Vec::new();
        let found = self.routes.fitting(&told.path, |route| {
            if route.takes(method) {
                return ControlFlow::Break(route);
            }
            others.extend_from_slice(route.methods());
            ControlFlow::Continue(())
        });
        if let Some(route) = found {
            told.of_route(route);
            return told;
        }
        if !others.is_empty() {
            told.refused = Some("method_not_allowed");
            told.allow = Some(allow(&others).into());
            return told;
        }
        match surface_of(method, &told.path) {
            SurfaceMatch::Surface(surface) => self.explain_surface(surface, model, &mut told),
            SurfaceMatch::MethodNotAllowed { allow, .. } => {
                told.refused = Some("method_not_allowed");
                told.allow = Some(allow.to_owned());
            }
            SurfaceMatch::Unknown(_) | SurfaceMatch::NotLlm => {
                told.refused = Some("endpoint_not_found");
            }
        }
        told
    }

    fn explain_surface(&self, surface: Surface, model: Option<&str>, told: &mut Explained) {
        let Some((name, _)) = self.surfaces.find(surface) else {
            told.refused = Some("endpoint_not_found");
            return;
        };
        told.route = Some(Arc::clone(name));
        told.needs_token = true;
        told.body_bytes_max = Some(self.surfaces.body_bytes_max());
        told.judged_path = judged_path(&told.path).map(Cow::into_owned);
        told.asked = model_of(&told.path).map(Cow::into_owned);
        let asked = told.asked.clone();
        self.explain_model(surface, asked.as_deref().or(model), told);
    }

    fn explain_model(&self, surface: Surface, model: Option<&str>, told: &mut Explained) {
        let Some(model) = model.filter(|_| surface.upstream_path().is_some()) else {
            return;
        };
        let served = self.llm.served(surface, (model, None), &mut Vec::new());
        let target = |served: &Served<'_>| self.llm.providers.get(served.provider);
        match served
            .as_ref()
            .and_then(|served| Some((served, target(served)?)))
        {
            Some((served, target)) => {
                told.model = Some(served.model.to_owned());
                told.upstream = Some(Arc::clone(&target.name));
            }
            None => told.refused = Some("model_not_found"),
        }
    }
}

impl Explained {
    fn of_route(&mut self, route: &PlainRoute) {
        self.route = Some(Arc::clone(&route.name));
        self.upstream = Some(Arc::clone(&route.target.name));
        self.needs_token = route.access != Access::Free;
        self.body_bytes_max = Some(route.body_bytes_max);
        self.rate = route.limit.as_ref().map(|limit| {
            let by = match limit.by {
                RateBy::Ip => "ip",
                RateBy::Token => "token",
                RateBy::Project => "project",
                RateBy::Global => "global",
            };
            (limit.requests, Duration::from_secs(limit.window_s), by)
        });
        self.policies
            .extend(route.policy.clone().map(|policy| ("route", policy)));
    }
}

/// The path and query of a URL; what is none already is one.
fn without_authority(target: &str) -> &str {
    let Some((_, rest)) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
    else {
        return target;
    };
    match rest.find(['/', '?']) {
        Some(at) if rest.as_bytes().get(at) == Some(&b'/') => rest.get(at..).unwrap_or("/"),
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_its_path_and_query() {
        for (target, want) in [
            ("/v1/x?a=b", "/v1/x?a=b"),
            ("https://api.example/v1/x?a=b", "/v1/x?a=b"),
            ("https://api.example", "/"),
            ("https://api.example?x=/y", "/"),
            ("/x?to=https://a.example/y", "/x?to=https://a.example/y"),
            ("v1/x", "v1/x"),
        ] {
            assert_eq!(without_authority(target), want, "{target}");
        }
    }
}
