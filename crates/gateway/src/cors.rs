//! Pages of other origins: what browsers are told, and the answer to their preflights.
//!
//! A preflight carries no credential and is answered without looking for one. It is judged by
//! the route of the request it asks about, and never reaches an upstream.

use crate::admit::Entry;
use crate::answer::Framed;
use crate::form::{FormRules, unrouted};
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::{OriginRule, Refusal};
use crate::route::allow;
use crate::standing::CorsLines;
use std::ops::ControlFlow;
use tollkeep_config::settings::Method as Listed;
use tollkeep_http1::{Known, Method, write};
use tollkeep_llm::{Surface, SurfaceMatch, surface_of};
use tollkeep_observe::RequestOutcome;
use tollkeep_policy::cors::{CorsRefusal, Preflight};
use tollkeep_policy::origin::Origin;

const ASKED_METHOD: &[u8] = b"access-control-request-method";
const ASKED_HEADERS: &[u8] = b"access-control-request-headers";

/// What is at the path that a preflight asks about.
struct Place<'p> {
    /// The methods there, as `Allow` lists them.
    methods: Box<str>,
    /// Whether the method asked for is one of them.
    takes: bool,
    /// The origins its route lists.
    origins: &'p [Origin],
    form: FormRules,
}

impl<'p> Exchange<'p> {
    /// Chooses the lines that this request's answer has.
    pub(crate) fn look_at_origin(&mut self, cors: &'p CorsLines) {
        let origin = self.work.head.value(self.conn.unread(), Known::Origin);
        self.lines = &cors.lines(origin).plain;
    }

    /// Whether a browser asks what it may send.
    pub(crate) fn is_preflight(&self) -> bool {
        let head = &self.work.head;
        head.method == Method::Options
            && head.has(Known::Origin)
            && self.asked(ASKED_METHOD).next().is_some()
    }

    fn asked(&self, name: &'static [u8]) -> impl Iterator<Item = &[u8]> {
        let bytes = self.conn.unread();
        let fields = self.work.head.fields.iter();
        fields
            .filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name))
            .map(move |field| field.value.of(bytes))
    }

    /// Answers a preflight.
    ///
    /// # Errors
    /// 404 for a path without a route, 403 for what is not allowed, 400; the caller is gone.
    pub(crate) async fn answer_preflight(
        &mut self,
        cors: &'p CorsLines,
        entry: &Entry<'_>,
    ) -> Result<(), Stop> {
        // Whoever asks has proven nothing.
        self.debit_address(entry);
        let origin = self.work.head.value(self.conn.unread(), Known::Origin);
        self.lines = &cors.lines(origin).preflight;
        let place = self.place(entry)?;
        // A body on it stands behind nothing, whatever the route takes.
        let form = FormRules {
            body: false,
            ..place.form
        };
        self.check_form(entry, &form)?;
        self.judge_preflight(cors, &place)
            .map_err(|refused| Refusal::OriginNotAllowed(OriginRule::Preflight(refused)))?;
        self.begin_answer(204);
        let listed = |name: &&str| match &cors.rules.methods {
            Some(methods) => methods.iter().any(|own| **own == **name),
            None => true,
        };
        let methods: Vec<&str> = place.methods.split(", ").filter(listed).collect();
        let out = &mut self.work.out;
        let methods = methods.join(", ");
        write::field(out, b"access-control-allow-methods", methods.as_bytes());
        out.extend_from_slice(&cors.preflight);
        self.end_head(Framed::None);
        self.work.facts.outcome = RequestOutcome::Served;
        self.flush().await
    }

    fn judge_preflight(&self, cors: &CorsLines, place: &Place<'_>) -> Result<(), CorsRefusal> {
        let origin = self.work.head.value(self.conn.unread(), Known::Origin);
        let origin = origin.unwrap_or_default();
        cors.rules.judge(Preflight {
            origin,
            method: self.asked_method(),
            headers: self.asked(ASKED_HEADERS),
        })?;
        if !place.takes {
            return Err(CorsRefusal::Method);
        }
        if !place.origins.is_empty() && !place.origins.iter().any(|own| own.is(origin)) {
            return Err(CorsRefusal::Origin);
        }
        Ok(())
    }

    /// The method asked for; browsers send one.
    fn asked_method(&self) -> Option<&[u8]> {
        let mut asked = self.asked(ASKED_METHOD);
        asked.next().filter(|_| asked.next().is_none())
    }

    /// What serves the path, by the method that the request itself will have.
    fn place(&self, entry: &Entry<'_>) -> Result<Place<'p>, Refusal> {
        let (plan, path) = (self.plan, self.work.path.as_str());
        let asked = self.asked_method().unwrap_or_default();
        let asked = std::str::from_utf8(asked).unwrap_or_default();
        let mut methods: Vec<Listed> = Vec::new();
        let mut serving = None;
        let _all: Option<()> = plan.routes.fitting(path, |route| {
            methods.extend(route.methods());
            if route.takes(asked) {
                serving = serving.or(Some(route));
            }
            ControlFlow::Continue(())
        });
        if !methods.is_empty() {
            return Ok(Place {
                methods: allow(&methods),
                takes: serving.is_some(),
                origins: serving.map_or(&[], |route| &route.allowed_origins),
                form: serving.map_or_else(FormRules::strict, |route| route.form()),
            });
        }
        self.surface_place(asked)
            .ok_or_else(|| unrouted(entry, Refusal::EndpointNotFound))
    }

    fn surface_place(&self, asked: &str) -> Option<Place<'p>> {
        let (methods, takes, form) = match surface_of(asked, &self.work.path) {
            SurfaceMatch::Surface(surface) => {
                self.plan.surfaces.find(surface)?;
                (surface.allow(), true, FormRules::of_surface(surface))
            }
            SurfaceMatch::MethodNotAllowed { allow, .. } => (allow, false, FormRules::strict()),
            SurfaceMatch::Unknown(_) | SurfaceMatch::NotLlm => return None,
        };
        Some(Place {
            methods: methods.into(),
            takes,
            origins: &self.plan.llm.allowed_origins,
            form,
        })
    }
}

impl FormRules {
    /// Of a request whose method has no route.
    fn strict() -> Self {
        Self::of_surface(Surface::Chat)
    }
}
