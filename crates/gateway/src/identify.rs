//! Who calls: an access token by any of its carriers, or nobody on a free route.
//!
//! Whatever is wrong with a credential, the caller sees one and the same 401, after the same
//! work (a digest and a look-up) and not before the failure floor.

use crate::admit::Entry;
use crate::lifecycle::Exchange;
use crate::refusal::{AuthnFailure, OriginRule, Refusal};
use crate::route::{Destination, PlainRoute, Route};
use std::net::IpAddr;
use std::sync::Arc;
use tollkeep_config::settings::Access;
use tollkeep_counters::{Claim, Class, Key};
use tollkeep_http1::Known;
use tollkeep_llm::Surface;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::permission::{BindingFacts, BindingRefusal, Bindings};
use tollkeep_policy::rate::Verdict;
use tollkeep_store::Standing;
use tollkeep_store::live::{LiveToken, ProjectStanding};

/// Who the request is attributed to.
pub(crate) enum Caller {
    /// A live access token within its bindings.
    Token(Arc<LiveToken>),
    /// Nobody, on a free route.
    Anonymous,
}

impl Caller {
    pub(crate) fn token(&self) -> Option<&Arc<LiveToken>> {
        match self {
            Self::Token(token) => Some(token),
            Self::Anonymous => None,
        }
    }
}

impl Exchange<'_> {
    /// Identifies the caller.
    ///
    /// # Errors
    /// What a policy says no to; the uniform 401, 403 for an address that may not call the route, for a live token outside
    /// its bindings or of an inactive project, 429 for an address that fails too often, 503 while
    /// nobody knows what was revoked elsewhere.
    pub(crate) fn identify(
        &mut self,
        entry: &Entry<'_>,
        route: &Route<'_>,
    ) -> Result<Caller, Refusal> {
        if !takes(route, entry.client_ip()) {
            self.debit_address(entry);
            return Err(Refusal::Forbidden("route_allowed_ips"));
        }
        self.check_route_origin(entry, route)?;
        match route.access() {
            Access::Free => {
                self.debit_address(entry);
                self.check_policies(entry, route, &Caller::Anonymous)?;
                return Ok(Caller::Anonymous);
            }
            // Whether it is paid for is judged once its body is there.
            Access::Payment => return self.nobody(entry, route),
            Access::TokenOrPayment if !self.carries_credential() => {
                return self.nobody(entry, route);
            }
            Access::Token | Access::TokenOrPayment => self.check_news()?,
        }
        let found = self.find_token(entry, route.surface());
        let found = found.map_err(|failure| self.not_let_in(entry, route.surface(), failure))?;
        self.work.facts.token = Some(Arc::clone(&found));
        self.worker.note_known(entry.client_ip());
        check_project(&found)?;
        self.check_bindings(entry, &found)?;
        let caller = Caller::Token(found);
        self.check_policies(entry, route, &caller)?;
        Ok(caller)
    }

    /// Somebody who pays.
    fn nobody(&mut self, entry: &Entry<'_>, route: &Route<'_>) -> Result<Caller, Refusal> {
        self.check_policies(entry, route, &Caller::Anonymous)?;
        Ok(Caller::Anonymous)
    }

    /// Whether the request carries what a token comes in.
    fn carries_credential(&self) -> bool {
        let carriers = [Known::Authorization, Known::XApiKey, Known::XGoogApiKey];
        carriers.iter().any(|known| self.work.head.has(*known))
    }

    /// The origins that the route itself lists.
    fn check_route_origin(&self, entry: &Entry<'_>, route: &Route<'_>) -> Result<(), Refusal> {
        let listed = match route.destination() {
            Destination::Plain(plain) => &plain.allowed_origins,
            Destination::Surface(_) => &self.plan.llm.allowed_origins,
        };
        if listed.is_empty() {
            return Ok(());
        }
        let refusal = match self.work.head.value(self.conn.unread(), Known::Origin) {
            None => Refusal::OriginRequired(OriginRule::Route),
            Some(sent) if listed.iter().any(|origin| origin.is(sent)) => return Ok(()),
            Some(_) => Refusal::OriginNotAllowed(OriginRule::Route),
        };
        self.debit_address(entry);
        Err(refusal)
    }

    /// Whether a revocation made elsewhere would be known here. It is asked before the token is
    /// looked for, so the answer is the same for every token.
    pub(crate) fn check_news(&self) -> Result<(), Refusal> {
        let unconfirmed_ns = self.worker.shared.store.unconfirmed_ns(self.started);
        if unconfirmed_ns > self.plan.revocation_stale_ns {
            return Err(Refusal::AuthUnavailable);
        }
        Ok(())
    }

    pub(crate) fn find_token(
        &self,
        entry: &Entry<'_>,
        surface: Option<Surface>,
    ) -> Result<Arc<LiveToken>, AuthnFailure> {
        let text = self.credential(entry, surface);
        let shared = &self.worker.shared;
        // The digest and the look-up are done in every case, so that time tells nothing.
        let shown = text.unwrap_or_default();
        let digest = match self.lane.shown {
            Some(last) => last.borrow_mut().of(shown),
            None => shared.hasher.hash(shown),
        };
        let found = shared.tokens.find(&digest);
        let text = text?;
        let Some(token) = found else {
            let text = std::str::from_utf8(text);
            return Err(if text.is_ok_and(tollkeep_crypto::mint::well_formed) {
                AuthnFailure::Unknown
            } else {
                AuthnFailure::Malformed
            });
        };
        match token.standing(self.store_now()) {
            Standing::Live if token.project.standing() == ProjectStanding::Gone => {
                Err(AuthnFailure::Revoked)
            }
            Standing::Live => Ok(token),
            Standing::Expired => Err(AuthnFailure::Expired),
            Standing::Revoked => Err(AuthnFailure::Revoked),
            Standing::Suspended => Err(AuthnFailure::Suspended),
        }
    }

    /// The one credential the request carries. Equal values in two carriers are one; what is
    /// decided here depends on the request's form alone, never on the state of a secret.
    fn credential(
        &self,
        entry: &Entry<'_>,
        surface: Option<Surface>,
    ) -> Result<&[u8], AuthnFailure> {
        let bytes = self.conn.unread();
        let mut found: Option<&[u8]> = None;
        for known in [Known::Authorization, Known::XApiKey, Known::XGoogApiKey] {
            let Some(value) = self.work.head.value(bytes, known) else {
                continue;
            };
            let token = if known == Known::Authorization {
                self.bearer(value)?
            } else {
                value
            };
            if found.is_some_and(|other| other != token) {
                return Err(AuthnFailure::Carriers);
            }
            found = Some(token);
        }
        let Some(query) = entry.query().filter(|_| surface.is_some()) else {
            return found.ok_or(AuthnFailure::Missing);
        };
        let query = self
            .work
            .head
            .target
            .of(bytes)
            .get(query)
            .unwrap_or_default();
        match query_credential(query) {
            None => found.ok_or(AuthnFailure::Missing),
            Some(("key", value)) if self.plan.llm.query_key => match found {
                Some(other) if other != value => Err(AuthnFailure::Carriers),
                Some(_) | None => Ok(value),
            },
            Some(_) => Err(AuthnFailure::Query),
        }
    }

    /// The token of an `Authorization` value: after `Bearer` in any case, or bare if it has the
    /// prefix of a token.
    fn bearer<'v>(&self, value: &'v [u8]) -> Result<&'v [u8], AuthnFailure> {
        if let Some((scheme, token)) = value.split_at_checked(b"bearer ".len())
            && scheme.eq_ignore_ascii_case(b"bearer ")
        {
            return Ok(token.trim_ascii_start());
        }
        if value.starts_with(self.plan.token_prefix.as_bytes()) && !value.contains(&b' ') {
            Ok(value)
        } else {
            Err(AuthnFailure::Malformed)
        }
    }

    /// What a failure is answered with; what was shown is noted, masked.
    pub(crate) fn not_let_in(
        &mut self,
        entry: &Entry<'_>,
        surface: Option<Surface>,
        failure: AuthnFailure,
    ) -> Refusal {
        let recorder = &self.worker.shared.recorder;
        let shown = self.credential(entry, surface).ok();
        self.work.facts.shown = shown.and_then(|text| recorder.shown(text));
        self.authn_refusal(entry, failure)
    }

    /// A failure is counted against its address; too many of them, and the address is told to
    /// wait. Valid tokens from there go on working.
    pub(crate) fn authn_refusal(&self, entry: &Entry<'_>, failure: AuthnFailure) -> Refusal {
        let shared = &self.worker.shared;
        let key = Key::addr(Class::FailedCredential, prefix_key(entry.client_ip()));
        let claim = Claim::key(key, self.plan.failing_credentials);
        self.debit_address(entry);
        if failure == AuthnFailure::Missing {
            return Refusal::Unauthenticated(failure);
        }
        match shared.rates.peek(self.started, &claim) {
            Verdict::Refuse { .. } => Refusal::LockedOut,
            Verdict::Pass { .. } => {
                shared.rates.debit(self.started, &claim);
                Refusal::Unauthenticated(failure)
            }
        }
    }

    fn check_bindings(&self, entry: &Entry<'_>, token: &LiveToken) -> Result<(), Refusal> {
        let bytes = self.conn.unread();
        let facts = BindingFacts {
            ip: entry.client_ip(),
            method: self.work.head.method.as_str(),
            path: &self.work.path,
            route: self.work.facts.route.as_deref(),
            fields: self
                .work
                .head
                .fields
                .iter()
                .map(|field| (field.name.of(bytes), field.value.of(bytes))),
        };
        bindings_of(token).check(&facts).map_err(binding_refusal)
    }
}

/// Whether the route takes calls from this address.
fn takes(route: &Route<'_>, ip: IpAddr) -> bool {
    match route.destination() {
        Destination::Plain(PlainRoute {
            allowed_ips: Some(allowed),
            ..
        }) => allowed.contains(ip),
        Destination::Plain(_) | Destination::Surface(_) => true,
    }
}

pub(crate) fn check_project(token: &LiveToken) -> Result<(), Refusal> {
    match token.project.standing() {
        ProjectStanding::Active => Ok(()),
        ProjectStanding::Inactive => Err(Refusal::ProjectInactive),
        ProjectStanding::TenantSuspended => Err(Refusal::TenantSuspended),
        // Met before: see `find_token`.
        ProjectStanding::Gone => Err(Refusal::Unauthenticated(AuthnFailure::Revoked)),
    }
}

/// The bindings of a token as the policy reads them.
pub(crate) fn bindings_of(token: &LiveToken) -> Bindings<'_> {
    let kept = &token.bindings;
    Bindings {
        ips: &kept.ips,
        origins: &kept.origins,
        headers: &kept.headers,
        methods: &kept.methods,
        routes: &kept.routes,
        models: &kept.models,
    }
}

pub(crate) fn binding_refusal(refusal: BindingRefusal) -> Refusal {
    match refusal {
        BindingRefusal::OriginMissing => Refusal::OriginRequired(OriginRule::Token),
        BindingRefusal::Origin => Refusal::OriginNotAllowed(OriginRule::Token),
        BindingRefusal::Ip
        | BindingRefusal::Header
        | BindingRefusal::Method
        | BindingRefusal::Route => Refusal::TokenBinding(refusal.label()),
        BindingRefusal::Model => Refusal::ModelNotFound(String::new()),
    }
}

/// The first credential parameter of a query.
fn query_credential(query: &[u8]) -> Option<(&'static str, &[u8])> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        let name = ["key", "api_key", "auth_token"]
            .into_iter()
            .find(|known| known.as_bytes() == name)?;
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-14
    #[test]
    fn credential_parameters_are_found_by_their_whole_name() {
        for (name, query, want) in [
            ("none", "a=1&b=2", None),
            ("key", "a=1&key=tok-x", Some(("key", "tok-x"))),
            ("api_key", "api_key=x", Some(("api_key", "x"))),
            ("part of a name", "monkey=x&keys=y", None),
            ("no value", "key", None),
            ("empty value", "key=", Some(("key", ""))),
        ] {
            let got = query_credential(query.as_bytes());
            assert_eq!(
                got,
                want.map(|(key, value)| (key, value.as_bytes())),
                "{name}"
            );
        }
    }
}
