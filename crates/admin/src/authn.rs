//! Who operates: a management key by its carriers, or the gateway's own user on the local socket.

use crate::State;
use crate::problem::Problem;
use crate::request::Asked;
use axum::http::{HeaderMap, header};
use std::sync::Arc;
use tollkeep_audit::{Action, Actor, ActorId, Event, Outcome};
use tollkeep_store::{Role, Scope};
use tollkeep_types::ManagementKeyId;

/// Who acts, and by which request.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) who: Who,
    pub(crate) asked: Asked,
}

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// A stored key.
    Key {
        id: ManagementKeyId,
        role: Role,
        scope: Scope,
    },
    /// The key of the settings.
    Environment,
    /// A user of this machine, by the local socket.
    Local { uid: u32 },
}

/// What a call needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Right {
    Read,
    Tokens,
    Projects,
    /// Address lists, maintenance, breakers: what keeps the whole deployment running.
    Operate,
    /// Reading what belongs to no tenant.
    ReadDeployment,
    Configuration,
    ServiceTokens,
}

impl Right {
    fn is_of(self, role: Role) -> bool {
        match self {
            Self::Read => true,
            Self::Tokens => role != Role::Viewer,
            Self::Operate => matches!(role, Role::Owner | Role::Admin | Role::Operator),
            Self::ReadDeployment => role != Role::TenantAdmin,
            Self::Configuration | Self::ServiceTokens => {
                matches!(role, Role::Owner | Role::Admin)
            }
            Self::Projects => matches!(role, Role::Owner | Role::Admin | Role::TenantAdmin),
        }
    }
}

impl Operator {
    /// Whose rows the operator may see.
    pub(crate) fn scope(&self) -> Scope {
        match self.who {
            Who::Key { scope, .. } => scope,
            Who::Environment | Who::Local { .. } => Scope::Service("management API"),
        }
    }

    /// Who acts, for the records; the key of the settings has no record of its own.
    pub(crate) fn actor(&self) -> (Actor, Option<ActorId>) {
        match self.who {
            Who::Key { id, .. } => (Actor::Management, Some(ActorId::ManagementKey(id))),
            Who::Environment => (Actor::Management, None),
            Who::Local { uid } => (Actor::Local, Some(ActorId::LocalUid(uid))),
        }
    }

    /// Who acts, in a word that is kept with what was made.
    pub(crate) fn name(&self) -> String {
        match self.who {
            Who::Key { id, .. } => id.to_string(),
            Who::Environment => "env".to_owned(),
            Who::Local { uid } => format!("local:{uid}"),
        }
    }

    /// Whether the role allows it.
    pub(crate) fn check(&self, right: Right) -> Result<(), Problem> {
        let role = match self.who {
            Who::Key { role, .. } => role,
            Who::Environment | Who::Local { .. } => Role::Owner,
        };
        if right.is_of(role) {
            Ok(())
        } else {
            Err(Problem::forbidden())
        }
    }
}

/// Who is at the other end of the local socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerUser(pub(crate) u32);

/// Identifies the operator of a request that came over the network or a keyed socket.
pub(crate) async fn by_key(
    state: &Arc<State>,
    fields: &HeaderMap,
    asked: Asked,
) -> Result<Operator, Problem> {
    match find(state, fields).await {
        Ok(who) => Ok(Operator { who, asked }),
        Err(problem) => {
            state.record_failed_authn(&asked);
            Err(problem)
        }
    }
}

async fn find(state: &Arc<State>, fields: &HeaderMap) -> Result<Who, Problem> {
    let text = credential(fields).ok_or_else(Problem::unauthorized)?;
    let parts = &state.parts;
    let digest = parts.hasher.hash(text);
    let settings = state.settings();
    let of_settings = settings.management.key.as_ref();
    let of_settings = of_settings.map(|key| parts.hasher.hash(key.expose()));
    if of_settings == Some(digest) {
        return Ok(Who::Environment);
    }
    let service = Scope::Service("authentication");
    let key = parts
        .store
        .find_management_key(service, &digest)
        .await?
        .ok_or_else(Problem::unauthorized)?;
    if let Err(error) = parts.store.touch_management_key(service, key.id).await {
        tracing::warn!("The last use of a management key was not stored: {error}");
    }
    let scope = key
        .tenant_id
        .map_or(Scope::Service("management API"), Scope::Tenant);
    Ok(Who::Key {
        id: key.id,
        role: key.role,
        scope,
    })
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
    /// An address that may not operate.
    pub(crate) fn record_denied(&self, asked: &Asked) {
        let event = Event::new(Action::IpDenied, Actor::Anonymous, Outcome::Denied)
            .at(self.parts.clock.wall())
            .with_reason("management_ip_list");
        self.record_unproven(&asked.told_in(event), "A denied operator");
    }

    /// Failures are recorded each; a flood of them is the audit log's own to fold.
    fn record_failed_authn(&self, asked: &Asked) {
        let event = Event::new(Action::ManagementAuth, Actor::Anonymous, Outcome::Failure)
            .at(self.parts.clock.wall());
        self.record_unproven(&asked.told_in(event), "A failed management login");
    }

    fn record_unproven(&self, event: &Event<'_>, what: &str) {
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
    use axum::http::HeaderName;

    #[test]
    fn only_those_who_run_the_whole_gateway_reload_its_settings() {
        for (role, want) in [
            (Role::Owner, true),
            (Role::Admin, true),
            (Role::TenantAdmin, false),
            (Role::Operator, false),
            (Role::Viewer, false),
        ] {
            assert_eq!(Right::Configuration.is_of(role), want, "{role:?}");
        }
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
