//! Which route a request is for: the written ones first, then the built-in LLM surfaces.

use crate::admit::Entry;
use crate::answer::Framed;
use crate::form::{FormRules, unrouted};
use crate::lifecycle::{Exchange, Stop};
use crate::management_door::is_place;
use crate::paid::Sold;
use crate::plan::Target;
use crate::refusal::Refusal;
use crate::route_index::RouteIndex;
use std::ops::ControlFlow;
use std::sync::Arc;
use tollkeep_config::settings::{
    self, Access, ContentCoding, Hooks, Methods, PathPattern, RateBy, RouteCache, Settings,
    UpstreamPath,
};
use tollkeep_counters::{Class, Key};
use tollkeep_http1::{Method, write};
use tollkeep_llm::{Surface, SurfaceMatch, surface_of};
use tollkeep_observe::RequestOutcome;
use tollkeep_observe::metrics::{Metrics, RouteLabel};
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_policy::ip_list::IpSet;
use tollkeep_policy::origin::Origin;
use tollkeep_policy::rate::Quota;
use tollkeep_types::path::PathRules;

/// A rate limit of a route.
pub(crate) struct RouteLimit {
    pub(crate) quota: Quota,
    pub(crate) requests: u64,
    pub(crate) window_s: u64,
    pub(crate) by: RateBy,
    /// Addresses in `exempt` are free of it.
    pub(crate) is_default: bool,
}

/// A route that the operator wrote.
pub(crate) struct PlainRoute {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) label: RouteLabel,
    pub(crate) target: Arc<Target>,
    pub(crate) access: Access,
    pub(crate) allowed_ips: Option<IpSet>,
    pub(crate) limit: Option<RouteLimit>,
    pub(crate) body_bytes_max: u64,
    pub(crate) stream_bytes_max: u64,
    /// Origins that calls must come from; empty: any, or none.
    pub(crate) allowed_origins: Vec<Origin>,
    /// What may be asked for on it.
    pub(crate) policy: Option<Arc<CallPolicy>>,
    content_encodings: Vec<ContentCoding>,
    allow_body: bool,
    /// A body is sent on while it arrives.
    pub(crate) streaming: bool,
    /// What is asked at certain moments of its requests.
    pub(crate) hooks: Option<Arc<Hooks>>,
    /// Which of its answers are kept; `None` is none.
    pub(crate) cache: Option<RouteCache>,
    /// What its requests cost, where somebody is asked to pay.
    pub(crate) sold: Option<Box<Sold>>,
    /// The path at the upstream, where it is not the caller's.
    upstream_path: Option<UpstreamPath>,
    allow_encoded_slash: bool,
    allow_semicolon: bool,
    methods: Methods,
    path: PathPattern,
}

impl PlainRoute {
    pub(crate) fn new(
        route: &settings::Route,
        target: &Arc<Target>,
        all: &Settings,
        metrics: &Metrics,
    ) -> Self {
        let name: Arc<str> = route.name().into();
        let sold = Sold::new(
            route,
            &name,
            all,
            (target.timeouts.first_byte, target.timeouts.total_stream),
        );
        Self {
            id: 0,
            sold: sold.map(Box::new),
            cache: route.cache.clone(),
            hooks: (!route.hooks.is_empty()).then(|| Arc::new(route.hooks.clone())),
            label: metrics.route(&name),
            name,
            target: Arc::clone(target),
            access: route.access,
            allowed_ips: route.allowed_ips.clone(),
            limit: route.rate.as_ref().map(|rate| {
                let window_ns = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
                RouteLimit {
                    quota: Quota::per(rate.requests, window_ns, rate.burst),
                    requests: rate.requests,
                    window_s: rate.window.as_secs().max(1),
                    by: rate.by,
                    is_default: rate.is_default,
                }
            }),
            body_bytes_max: route
                .body_bytes_max
                .unwrap_or(all.server.limits.request_body_bytes_max),
            stream_bytes_max: route
                .response_stream_bytes_max
                .unwrap_or(all.server.limits.response_stream_bytes_max),
            allowed_origins: route.allowed_origins.clone(),
            policy: route.policy.clone(),
            content_encodings: route.content_encodings.clone(),
            allow_body: route.allow_body,
            streaming: route.streaming,
            upstream_path: route.upstream_path.clone(),
            allow_encoded_slash: route.allow_encoded_slash,
            allow_semicolon: route.allow_semicolon,
            methods: route.methods.clone(),
            path: route.path.clone(),
        }
    }

    fn serves(&self, method: Method) -> bool {
        matches!(self.methods, Methods::Any) || self.takes(method.as_str())
    }
}

impl PlainRoute {
    /// Whether it takes the method of this name; HEAD follows GET.
    pub(crate) fn takes(&self, method: &str) -> bool {
        let listed = |wanted: &str| self.methods().iter().any(|own| own.as_str() == wanted);
        listed(method) || (method == "HEAD" && listed("GET"))
    }

    /// What stands in a path where it has names.
    pub(crate) fn params<'r>(&'r self, path: &'r str) -> Vec<(&'r str, &'r str)> {
        self.path.params(path)
    }

    /// The methods it takes.
    pub(crate) fn methods(&self) -> &[settings::Method] {
        match &self.methods {
            Methods::Any => &settings::Method::ALL,
            Methods::Listed(methods) => methods,
        }
    }

    /// Whether its path at the upstream is another than the caller's.
    pub(crate) const fn rewrites(&self) -> bool {
        self.upstream_path.is_some()
    }

    /// Path and query of a request at the upstream.
    ///
    /// # Errors
    /// 400: they can't be made of what the request says.
    pub(crate) fn upstream_target(&self, path: &str, target: &[u8]) -> Result<String, Refusal> {
        let refused = || Refusal::BadRequest("path");
        let to = self.upstream_path.as_ref().ok_or_else(refused)?;
        let query = match memchr::memchr(b'?', target) {
            Some(at) => target.get(at + 1..).map(std::str::from_utf8),
            None => None,
        };
        let query = query.transpose().map_err(|_| refused())?;
        let rules = PathRules {
            allow_encoded_slash: self.allow_encoded_slash,
            allow_semicolon: self.allow_semicolon,
        };
        let filled = to.fill(&self.path.params(path), query, rules);
        filled.ok_or_else(refused)
    }

    /// What its requests may bring that others may not.
    pub(crate) fn form(&self) -> FormRules {
        FormRules {
            body: self.allow_body,
            encoded_slash: self.allow_encoded_slash,
            semicolon: self.allow_semicolon,
        }
    }
}

/// The written routes, most specific first: literal beats `:name` beats `*`, segment by segment
/// from the left.
pub(crate) struct RouteTable {
    routes: Vec<Arc<PlainRoute>>,
    index: RouteIndex,
}

impl RouteTable {
    pub(crate) fn new(mut routes: Vec<PlainRoute>) -> Self {
        routes.sort_by_cached_key(|route| (route.path.precedence(), route.methods.precedence()));
        Self {
            index: RouteIndex::new(routes.iter().map(|route| &route.path)),
            routes: routes.into_iter().map(Arc::new).collect(),
        }
    }

    /// HOT. Shows the routes whose path fits, most specific first, until it is told to stop.
    pub(crate) fn fitting<'r, B>(
        &'r self,
        path: &str,
        mut visit: impl FnMut(&'r Arc<PlainRoute>) -> ControlFlow<B>,
    ) -> Option<B> {
        self.index
            .fitting(path, |number| match self.routes.get(number) {
                Some(route) => visit(route),
                None => ControlFlow::Continue(()),
            })
    }

    /// Names of the routes, with the numbers their limits are counted by.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.routes.iter().map(|route| (&*route.name, route.id))
    }

    /// Names of the routes that are sold, with what they cost.
    pub(crate) fn sold(&self) -> impl Iterator<Item = (&str, &Sold)> {
        let routes = self.routes.iter();
        routes.filter_map(|route| Some((&*route.name, route.sold.as_deref()?)))
    }

    /// The name of the route whose limit has this key.
    pub(crate) fn name_of(&self, key: Key) -> Option<&str> {
        let mut routes = self.routes.iter();
        let of_route = key.class() == Class::Route;
        let route = routes.find(|route| of_route && route.id == key.route())?;
        Some(&route.name)
    }

    fn find(&self, method: Method, path: &str) -> Found<'_> {
        let mut other_methods = Vec::new();
        let found = self.fitting(path, |route| {
            if route.serves(method) {
                return ControlFlow::Break(Found::Route(route));
            }
            if let Methods::Listed(methods) = &route.methods {
                other_methods.extend(methods.iter().copied());
            }
            ControlFlow::Continue(())
        });
        if let Some(found) = found {
            found
        } else if other_methods.is_empty() {
            Found::Nothing
        } else {
            Found::OtherMethods(allow(&other_methods))
        }
    }
}

enum Found<'a> {
    Route(&'a PlainRoute),
    OtherMethods(Box<str>),
    Nothing,
}

/// The value of `Allow`; HEAD comes with GET.
pub(crate) fn allow(methods: &[settings::Method]) -> Box<str> {
    let mut names: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ").into()
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(crate) enum Destination<'p> {
    Plain(&'p PlainRoute),
    Surface(Surface),
}

/// The request has a route, and its method and form fit it.
pub(crate) struct Route<'p> {
    destination: Destination<'p>,
    access: Access,
    body_bytes_max: u64,
}

impl<'p> Route<'p> {
    pub(crate) fn destination(&self) -> Destination<'p> {
        self.destination
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    pub(crate) fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max
    }

    /// The content codings a body may have.
    pub(crate) fn content_encodings(&self) -> &'p [ContentCoding] {
        match self.destination {
            Destination::Plain(plain) => &plain.content_encodings,
            Destination::Surface(_) => &ContentCoding::DEFAULT,
        }
    }

    pub(crate) fn surface(&self) -> Option<Surface> {
        match self.destination {
            Destination::Surface(surface) => Some(surface),
            Destination::Plain(_) => None,
        }
    }
}

impl<'p> Exchange<'p> {
    /// Finds the route of the canonical path.
    ///
    /// # Errors
    /// 404, 405, and 400 for what the route does not take: an encoded slash or semicolon, an
    /// upgrade, a body on GET.
    pub(crate) fn route(&mut self, entry: &Entry<'_>) -> Result<Route<'p>, Refusal> {
        let found = self.find_route(entry);
        // Whoever is told no here has proven nothing yet.
        found.inspect_err(|_| self.debit_address(entry))
    }

    /// Answers `OPTIONS *`, which asks about the server and not about a path (RFC 9110, 9.3.7).
    ///
    /// # Errors
    /// 400 for what no OPTIONS takes; the caller is gone.
    pub(crate) async fn answer_asterisk(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        self.debit_address(entry);
        self.check_form(
            entry,
            &FormRules {
                body: false,
                encoded_slash: false,
                semicolon: false,
            },
        )?;
        self.begin_answer(204);
        write::field(
            &mut self.work.out,
            b"allow",
            b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
        );
        self.end_head(Framed::None);
        self.work.facts.outcome = RequestOutcome::Served;
        self.flush().await
    }

    fn find_route(&mut self, entry: &Entry<'_>) -> Result<Route<'p>, Refusal> {
        let method = self.work.head.method;
        let plan = self.plan;
        // Whoever may not take management's way finds nothing at its end.
        if plan.on_data_port && is_place(self.work.path.as_bytes()) {
            return Err(Refusal::EndpointNotFound);
        }
        let (route, rules) = match plan.routes.find(method, &self.work.path) {
            Found::Route(found) => {
                self.work.facts.route = Some(Arc::clone(&found.name));
                self.work.facts.route_label = found.label;
                let rules = found.form();
                let (access, body_bytes_max) = (found.access, found.body_bytes_max);
                (
                    Route {
                        destination: Destination::Plain(found),
                        access,
                        body_bytes_max,
                    },
                    rules,
                )
            }
            Found::OtherMethods(allow) => {
                return Err(Refusal::MethodNotAllowed {
                    allow,
                    closes: false,
                });
            }
            Found::Nothing => self
                .surface_route(method)
                .map_err(|refusal| unrouted(entry, refusal))?,
        };
        self.work.facts.is_call = true;
        self.check_form(entry, &rules)?;
        if let Destination::Plain(plain) = route.destination
            && plain.rewrites()
        {
            // Before anything is taken for it.
            let target = self.work.head.target.of(self.request_bytes());
            plain.upstream_target(&self.work.path, target)?;
        }
        Ok(route)
    }

    fn surface_route(&mut self, method: Method) -> Result<(Route<'p>, FormRules), Refusal> {
        let surface = match surface_of(method.as_str(), &self.work.path) {
            SurfaceMatch::Surface(surface) => surface,
            SurfaceMatch::MethodNotAllowed { allow, .. } => {
                return Err(Refusal::MethodNotAllowed {
                    allow: allow.into(),
                    closes: false,
                });
            }
            SurfaceMatch::Unknown(_) | SurfaceMatch::NotLlm => {
                return Err(Refusal::EndpointNotFound);
            }
        };
        let (name, label) = self
            .plan
            .surfaces
            .find(surface)
            .ok_or(Refusal::EndpointNotFound)?;
        self.work.facts.route = Some(Arc::clone(name));
        self.work.facts.route_label = label;
        let route = Route {
            destination: Destination::Surface(surface),
            access: Access::Token,
            body_bytes_max: self.plan.surfaces.body_bytes_max(),
        };
        Ok((route, FormRules::of_surface(surface)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_config::settings::Segment;

    fn pattern(text: &str) -> PathPattern {
        let segments = text.strip_prefix('/').unwrap().split('/').map(|segment| {
            match segment.strip_prefix(':') {
                Some(name) => Segment::Param(name.into()),
                None if segment == "*" => Segment::Rest,
                None => Segment::Literal(segment.into()),
            }
        });
        PathPattern(segments.collect())
    }

    #[test]
    fn patterns_fit_whole_segments_only() {
        for (name, written, path, want) in [
            ("literal", "/v1/x", "/v1/x", true),
            ("prefix is not enough", "/v1/x", "/v1/xy", false),
            ("case matters", "/v1/x", "/v1/X", false),
            ("trailing slash is another path", "/v1/x", "/v1/x/", false),
            ("one segment", "/v1/:id", "/v1/a", true),
            ("a segment is not empty", "/v1/:id", "/v1/", false),
            ("a segment is one", "/v1/:id", "/v1/a/b", false),
            ("the rest", "/v1/*", "/v1/a/b", true),
            ("the rest may be empty", "/v1/*", "/v1/", true),
            (
                "nothing is not the rest of a longer path",
                "/v1/x/*",
                "/v1",
                false,
            ),
            ("root", "/", "/", true),
        ] {
            assert_eq!(pattern(written).fits(path), want, "{name}");
        }
    }
}
