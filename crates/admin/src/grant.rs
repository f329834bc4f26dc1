//! What an operator may give to a management key: nothing beyond its own.

use crate::State;
use crate::authn::{Operator, Who};
use crate::problem::Problem;
use crate::rights;
use ipnet::IpNet;
use tollkeep_store::{LastOwner, ManagementKey, Role};
use tollkeep_types::WallMillis;

/// The key by which the operator came; the key of the settings and the local socket are not one.
fn own(operator: &Operator) -> Option<&ManagementKey> {
    match &operator.who {
        Who::Key(key) => Some(key),
        Who::Environment | Who::Person(_) | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => {
            None
        }
    }
}

impl State {
    /// Whether the last owner that is stored may go: the key of the settings is an owner too.
    pub(crate) fn last_owner(&self) -> LastOwner {
        match self.settings().management.key {
            Some(_) => LastOwner::MayGo,
            None => LastOwner::Stays,
        }
    }
}

/// What is wrong with a role, for one that is bound to a tenant or is not.
pub(crate) const fn binding_fault(role: Role, is_bound: bool) -> Option<&'static str> {
    match (role, is_bound) {
        (Role::TenantAdmin, false) => Some("needs a tenant_id"),
        (Role::Owner | Role::Admin, true) => Some("is of the whole deployment, not of one tenant"),
        (Role::TenantAdmin, true)
        | (Role::Owner | Role::Admin, false)
        | (Role::Operator | Role::Viewer, _) => None,
    }
}

/// Whether the operator may make, change or end a key of this role and these scopes.
pub(crate) fn check_role(
    operator: &Operator,
    role: Role,
    scopes: Option<&[String]>,
) -> Result<(), Problem> {
    let may = rights::may_grant(operator.role(), role);
    allowed(may && rights::covers(operator.scopes(), scopes))
}

/// Whether the operator may make, change or take over a key that is used from these addresses.
pub(crate) fn check_addresses(operator: &Operator, wanted: &[IpNet]) -> Result<(), Problem> {
    allowed(own(operator).is_none_or(|key| lies_within(&key.allowed_ips, wanted)))
}

/// The end of what the operator makes: the one asked for if its own key works as long, else the
/// usual one, or that of its own key if this is sooner.
pub(crate) fn end(
    operator: &Operator,
    wanted: Option<WallMillis>,
    usual: WallMillis,
) -> Result<WallMillis, Problem> {
    let latest = own(operator).map_or(WallMillis::MAX, |key| key.expires_at);
    match wanted {
        None => Ok(usual.min(latest)),
        Some(end) => allowed(end <= latest).map(|()| end),
    }
}

/// Whether the operator may change a key to what is wanted.
pub(crate) fn check_change(
    operator: &Operator,
    key: &ManagementKey,
    wanted: &ManagementKey,
) -> Result<(), Problem> {
    for key in [key, wanted] {
        check_role(operator, key.role, key.scopes.as_deref())?;
        check_addresses(operator, &key.allowed_ips)?;
    }
    if wanted.expires_at > key.expires_at || is_wider(wanted, key) {
        end(operator, Some(wanted.expires_at), wanted.expires_at)?;
    }
    Ok(())
}

/// Whether a key may do something that the other may not, its end aside.
fn is_wider(key: &ManagementKey, other: &ManagementKey) -> bool {
    let by_role = key.role != other.role && !rights::may_grant(other.role, key.role);
    by_role
        || !rights::covers(other.scopes.as_deref(), key.scopes.as_deref())
        || !lies_within(&other.allowed_ips, &key.allowed_ips)
}

/// Whether `wanted` lets a key be used from nowhere that `own` doesn't. An empty list is anywhere.
fn lies_within(own: &[IpNet], wanted: &[IpNet]) -> bool {
    let is_inside = |net: &IpNet| own.iter().any(|own| own.contains(net));
    own.is_empty() || (!wanted.is_empty() && wanted.iter().all(is_inside))
}

fn allowed(may: bool) -> Result<(), Problem> {
    if may {
        Ok(())
    } else {
        Err(Problem::forbidden())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-52
    #[test]
    fn a_key_of_some_addresses_gives_nothing_beyond_them() {
        for (own, wanted, want) in [
            (&[][..], &[][..], true),
            (&[], &["192.0.2.0/24"], true),
            (&["10.0.0.0/8"], &[], false),
            (&["10.0.0.0/8"], &["10.0.0.0/8"], true),
            (&["10.0.0.0/8"], &["10.1.2.3/32"], true),
            (&["10.0.0.0/8"], &["10.0.0.0/7"], false),
            (&["10.0.0.0/8"], &["10.1.0.0/16", "192.0.2.1/32"], false),
            (&["10.0.0.0/8"], &["::/0"], false),
            (
                &["::1/128", "10.0.0.0/8"],
                &["::1/128", "10.0.0.1/32"],
                true,
            ),
        ] {
            let nets = |texts: &[&str]| -> Vec<IpNet> {
                texts.iter().map(|text| text.parse().unwrap()).collect()
            };
            assert_eq!(
                lies_within(&nets(own), &nets(wanted)),
                want,
                "{own:?} {wanted:?}"
            );
        }
    }
}
