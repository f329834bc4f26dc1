//! Who operates: a management key by its carriers, or the gateway's own user on the local socket.

use crate::State;
use crate::idempotency::Presented;
use crate::operation::Operation;
use crate::problem::Problem;
use crate::request::Asked;
use crate::rights::{self, Right};
use crate::serve::Peer;
use crate::session::{self, Brought, Signed};
use crate::unproven::Refused;
use axum::extract::Request;
use axum::extract::connect_info::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_audit::{Action, Actor, ActorId, Event, Key, Outcome, Value};
use tollkeep_store::{ManagementKey, Operator as Person, Role, Scope, TenantStatus};
use tollkeep_types::field_name::{Reserved, reserved};
use tollkeep_types::{Authority, ManagementKeyId, Secret, TenantId, TokenHash, WallMillis};

/// Who acts, and by which request.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) who: Who,
    pub(crate) asked: Asked,
    /// The session by which they came, if not by a key.
    pub(crate) session: Option<Arc<Signed>>,
}

/// Who acts.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A stored key.
    Key(Arc<ManagementKey>),
    /// The key of the settings.
    Environment,
    /// A person.
    Person(Arc<Person>),
    /// A user of this machine, by the local socket.
    Local { uid: u32 },
    /// Somebody about to sign in.
    Nobody(Arc<Brought>),
    /// A program of this machine, where it needs no key.
    Loopback,
}

impl Operator {
    /// Whose rows the operator may see.
    pub(crate) fn scope(&self) -> Scope {
        self.tenant()
            .map_or(Scope::Service("management API"), Scope::Tenant)
    }

    /// The one tenant that the operator is bound to.
    pub(crate) fn tenant(&self) -> Option<TenantId> {
        match &self.who {
            Who::Key(key) => key.tenant_id,
            Who::Person(person) => person.tenant_id,
            Who::Environment | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => None,
        }
    }

    pub(crate) fn role(&self) -> Role {
        match &self.who {
            Who::Key(key) => key.role,
            Who::Person(person) => person.role,
            Who::Environment | Who::Local { .. } | Who::Loopback => Role::Owner,
            Who::Nobody(_) => Role::Viewer,
        }
    }

    /// What the operator is narrowed to; `None`: all that the role allows.
    pub(crate) fn scopes(&self) -> Option<&[String]> {
        match &self.who {
            Who::Key(key) => key.scopes.as_deref(),
            Who::Environment
            | Who::Person(_)
            | Who::Local { .. }
            | Who::Loopback
            | Who::Nobody(_) => None,
        }
    }

    /// Who acts, for the records; the key of the settings has no record of its own.
    pub(crate) fn actor(&self) -> (Actor, Option<ActorId>) {
        match &self.who {
            Who::Key(key) => (Actor::Management, Some(ActorId::ManagementKey(key.id))),
            Who::Person(person) => (Actor::Management, Some(ActorId::Operator(person.id))),
            Who::Environment => (Actor::Management, None),
            Who::Local { uid } => (Actor::Local, Some(ActorId::LocalUid(*uid))),
            Who::Nobody(_) => (Actor::Anonymous, None),
            Who::Loopback => (Actor::Local, None),
        }
    }

    /// Who acts, in a word that is kept with what was made.
    pub(crate) fn name(&self) -> String {
        match &self.who {
            Who::Key(key) => key.id.to_string(),
            Who::Person(person) => person.id.to_string(),
            Who::Environment => "env".to_owned(),
            Who::Local { uid } => format!("local:{uid}"),
            Who::Nobody(_) => "nobody".to_owned(),
            Who::Loopback => "loopback".to_owned(),
        }
    }

    /// Whether the operator may ask for this at all, now.
    pub(crate) fn check(&self, operation: &Operation, state: &State) -> Result<(), Problem> {
        if matches!(operation.right, Right::Open | Right::Own) {
            return Ok(());
        }
        if matches!(self.who, Who::Nobody(_)) {
            return Err(Problem::unauthorized());
        }
        let by_role = operation.right.is_of(self.role(), self.tenant().is_some());
        if !by_role || !rights::in_scope(self.scopes(), &operation.scope()) {
            return Err(Problem::forbidden());
        }
        match &self.session {
            Some(signed) if operation.needs_proof() => {
                let holds = state.settings().management.session.proof;
                signed.check_proof(state.parts.store.now(), holds)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// How long a key that was taken from an address is not told of again.
const TOLD_MS: u64 = 600_000;
/// Keys and addresses that are remembered; with more, each is told of.
const LET_IN_MAX: usize = 10_000;

/// The keys that were taken lately, and from where; `None` is the key of the settings.
#[derive(Debug, Default)]
pub(crate) struct LetIn(Mutex<HashMap<KeyAndPlace, WallMillis>>);

type KeyAndPlace = (Option<ManagementKeyId>, Option<IpAddr>);

impl LetIn {
    fn is_first(&self, key: Option<ManagementKeyId>, ip: Option<IpAddr>, now: WallMillis) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |since: WallMillis| now.0.saturating_sub(since.0) < TOLD_MS;
        if seen.get(&(key, ip)).is_some_and(|since| is_fresh(*since)) {
            return false;
        }
        if seen.len() >= LET_IN_MAX {
            seen.retain(|_, since| is_fresh(*since));
        }
        if seen.len() < LET_IN_MAX {
            seen.insert((key, ip), now);
        }
        true
    }
}

/// Who is at the other end of the local socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerUser(pub(crate) u32);

/// Identifies the operator of a request that came over the network or a keyed socket: by the key
/// it carries, or else by its session.
pub(crate) async fn identify(
    state: &Arc<State>,
    fields: &HeaderMap,
    asked: Asked,
) -> Result<Operator, Problem> {
    state.check_lockout(&asked)?;
    // Whoever sends a key means it: cookies come along by themselves.
    let has_key = has_credential(fields);
    let found = if has_key {
        let found = find(state, fields, &asked).await;
        found.map(|who| (who, None))
    } else {
        session::find(state, fields, &asked).await
    };
    match found {
        Ok((who, session)) => {
            let operator = Operator {
                who,
                asked,
                session,
            };
            state.record_let_in(&operator);
            Ok(operator)
        }
        Err(problem) => {
            state.record_failed_authn(&asked, problem.code(), credential(fields));
            // Who brings no key at all does not try keys.
            if problem.code() == Problem::unauthorized().code() && has_key {
                state.count_failure(&asked);
            }
            Err(problem)
        }
    }
}

async fn find(state: &Arc<State>, fields: &HeaderMap, asked: &Asked) -> Result<Who, Problem> {
    let text = credential(fields).ok_or_else(Problem::unauthorized)?;
    let digest = state.parts.hasher.hash(text);
    let who = of_digest(state, &digest, asked).await?;
    if let Who::Key(key) = &who {
        touch(state, key, asked).await;
    }
    Ok(who)
}

/// Whose key has this digest, if it may be used from there.
pub(crate) async fn of_digest(
    state: &Arc<State>,
    digest: &TokenHash,
    asked: &Asked,
) -> Result<Who, Problem> {
    let parts = &state.parts;
    let settings = state.settings();
    let of_settings = settings.management.key.as_ref();
    let of_settings = of_settings.map(|key| parts.hasher.hash(key.expose()));
    if of_settings.as_ref() == Some(digest) {
        return Ok(Who::Environment);
    }
    let service = Scope::Service("authentication");
    let key = parts
        .store
        .find_management_key(service, digest)
        .await?
        .ok_or_else(Problem::unauthorized)?;
    let ips = &key.allowed_ips;
    let is_within = |ip: IpAddr| ips.iter().any(|net| net.contains(&ip));
    if !ips.is_empty() && !asked.client_ip.is_some_and(is_within) {
        return Err(Problem::address_forbidden());
    }
    Ok(Who::Key(Arc::new(key)))
}

/// Records that a key was used.
pub(crate) async fn touch(state: &Arc<State>, key: &ManagementKey, asked: &Asked) {
    let service = Scope::Service("authentication");
    let store = &state.parts.store;
    let touched = store.touch_management_key(service, key.id, asked.client_ip);
    if let Err(error) = touched.await {
        tracing::warn!("The last use of a management key was not stored: {error}");
    }
}

/// Whether a request comes from a program of this machine itself: no proxy's, whose callers would
/// all be local, and no web page's, which a browser sends for a stranger. One that brings a key
/// wants to be known by it.
pub(crate) fn is_of_this_machine(request: &Request) -> bool {
    let fields = request.headers();
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let is_here = |ip: IpAddr| ip.to_canonical().is_loopback();
    if !peer.is_some_and(|ConnectInfo(peer)| is_here(peer.addr.ip())) || has_credential(fields) {
        return false;
    }
    let host = fields.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let is_loopback_name = host.is_some_and(|authority| {
        let bare = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        bare == "localhost" || bare.parse().is_ok_and(is_here)
    });
    let is_strange = |(name, value): (&HeaderName, &HeaderValue)| match name.as_str() {
        "origin" | "referer" => true,
        "sec-fetch-site" => value != "none",
        name => matches!(reserved(name.as_bytes()), Some(Reserved::Forwarding)),
    };
    is_loopback_name && !fields.iter().any(is_strange)
}

/// The one key a request carries, good or not.
pub(crate) fn presented(fields: &HeaderMap) -> Option<Presented> {
    Some(Presented(Secret::new(credential(fields)?)))
}

/// Whether a request carries a key, good or not.
fn has_credential(fields: &HeaderMap) -> bool {
    fields.contains_key(header::AUTHORIZATION) || fields.contains_key("x-management-key")
}

/// The one key a request carries; several different ones are none.
fn credential(fields: &HeaderMap) -> Option<&str> {
    let mut bearer = fields.get_all(header::AUTHORIZATION).iter();
    let mut named = fields.get_all("x-management-key").iter();
    let (first, second) = (bearer.next(), named.next());
    if bearer.next().is_some() || named.next().is_some() {
        return None;
    }
    let bearer = first.map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| key.trim_start())
    });
    let named = second.map(|value| value.to_str().ok());
    match (bearer, named) {
        (Some(one), None) | (None, Some(one)) => one,
        (Some(one), Some(other)) if one == other => one,
        (Some(_), Some(_)) | (None, None) => None,
    }
    .filter(|key| !key.is_empty())
}

impl State {
    /// Keys of a tenant that is suspended read, and change nothing (ID-4).
    pub(crate) async fn check_tenant(&self, operator: &Operator) -> Result<(), Problem> {
        let Some(id) = operator.tenant() else {
            return Ok(());
        };
        let tenant = self.parts.store.tenant(operator.scope(), id).await?;
        match tenant.status {
            TenantStatus::Active => Ok(()),
            TenantStatus::Suspended | TenantStatus::Deleted => Err(Problem::tenant_suspended()),
        }
    }

    /// An address that may not operate.
    pub(crate) fn record_denied(&self, asked: &Asked) {
        let refused = Refused::new(
            Action::IpDenied,
            Outcome::Denied,
            Some("management_ip_list"),
            asked.client_ip,
        );
        self.record_or_fold(asked, refused, |event| event);
    }

    /// A key that was taken: once in [`TOLD_MS`] for each key and address.
    fn record_let_in(&self, operator: &Operator) {
        let key = match &operator.who {
            Who::Key(key) => Some(key.id),
            Who::Environment => None,
            // Signing in has a record of its own, and this machine's users show nothing.
            Who::Person(_) | Who::Local { .. } | Who::Nobody(_) | Who::Loopback => return,
        };
        let now = self.parts.clock.wall();
        if !self.let_in.is_first(key, operator.asked.client_ip, now) {
            return;
        }
        let mut event = Event::new(Action::ManagementAuth, Actor::Management, Outcome::Success);
        if let (_, Some(id)) = operator.actor() {
            event = event.with_actor_id(id);
        }
        if let Who::Key(key) = &operator.who {
            event = event.with_token_hint(&key.hint);
        }
        self.record_unproven(&operator.asked.told_in(event.at(now)), "A management login");
    }

    /// A failure, with what was shown as its mask and fingerprint.
    pub(crate) fn record_failed_authn(
        &self,
        asked: &Asked,
        code: &'static str,
        shown: Option<&str>,
    ) {
        let (action, outcome) = (Action::ManagementAuth, Outcome::Failure);
        let reason = Some(code).filter(|code| *code == Problem::csrf().code());
        let refused = Refused::new(action, outcome, reason, asked.client_ip);
        self.record_or_fold(asked, refused, |event| {
            let Some(shown) = shown else {
                return event;
            };
            let masked = self.parts.masker.mask(shown);
            let print = tollkeep_audit::fingerprint(&self.parts.fingerprint_key, shown);
            event
                .with_detail(Key::TokenId, Value::Text(masked.into()))
                .with_detail(Key::Fingerprint, Value::OwnedWord(print.into()))
        });
    }

    pub(crate) fn record_unproven(&self, event: &Event<'_>, what: &str) {
        let Some(audit) = &self.parts.audit else {
            return;
        };
        if let Err(error) = audit.enqueue(event) {
            tracing::warn!("{what} was not recorded: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-10
    #[test]
    fn a_key_that_is_taken_is_told_of_once_in_ten_minutes_for_each_address() {
        let let_in = LetIn::default();
        let key = Some(ManagementKeyId::from_bytes([1; 16]));
        let here = "192.0.2.1".parse().ok();
        let is_first = |key, ip, ms| let_in.is_first(key, ip, WallMillis(ms));
        assert!(is_first(key, here, 0));
        assert!(!is_first(key, here, TOLD_MS - 1));
        assert!(is_first(key, "192.0.2.2".parse().ok(), 1), "elsewhere");
        assert!(is_first(None, here, 1), "another key");
        assert!(is_first(key, here, TOLD_MS));
    }

    // ID-55
    #[test]
    fn a_key_comes_by_one_carrier_or_twice_the_same() {
        for (name, given, want) in [
            ("none", &[][..], None),
            (
                "bearer",
                &[("authorization", "Bearer mgt-a")],
                Some("mgt-a"),
            ),
            (
                "scheme in any case",
                &[("authorization", "bEARER mgt-a")],
                Some("mgt-a"),
            ),
            ("header", &[("x-management-key", "mgt-a")], Some("mgt-a")),
            (
                "both the same",
                &[
                    ("authorization", "Bearer mgt-a"),
                    ("x-management-key", "mgt-a"),
                ],
                Some("mgt-a"),
            ),
            (
                "both, different",
                &[
                    ("authorization", "Bearer mgt-a"),
                    ("x-management-key", "mgt-b"),
                ],
                None,
            ),
            (
                "twice",
                &[("x-management-key", "mgt-a"), ("x-management-key", "mgt-a")],
                None,
            ),
            ("another scheme", &[("authorization", "Basic mgt-a")], None),
            ("empty", &[("x-management-key", "")], None),
        ] {
            let mut fields = HeaderMap::new();
            for (field, value) in given {
                fields.append(HeaderName::from_static(field), value.parse().unwrap());
            }
            assert_eq!(credential(&fields), want, "{name}");
        }
    }
}
