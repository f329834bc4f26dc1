//! What a key may do: by its role, by the tenant it is bound to, and by scopes that make it
//! narrower. Decisions only.

use tollkeep_store::Role;

/// What an operation needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Right {
    /// Signing in: nobody is asked who they are before.
    Open,
    /// The caller's own session.
    Own,
    /// Reading what belongs to a tenant, or concerns the key itself.
    Read,
    /// Reading what belongs to no tenant.
    ReadDeployment,
    Tokens,
    Projects,
    /// Secrets of providers.
    Credentials,
    Breakers,
    /// Saying by hand what was spent.
    Money,
    /// Management keys; which ones is [`may_grant`]'s.
    Keys,
    Tenants,
    /// Address lists, maintenance, lock-outs: what keeps the whole deployment running.
    Operate,
    Configuration,
    ServiceTokens,
    /// Who is signed in.
    Sessions,
    /// The keys that everything is sealed under.
    Vault,
}

impl Right {
    /// Whether a key of this role has it.
    pub(crate) const fn is_of(self, role: Role, is_bound: bool) -> bool {
        use Role::{Admin, Operator, Owner, TenantAdmin, Viewer};
        let by_role = match self {
            Self::Open | Self::Own | Self::Read => true,
            Self::ReadDeployment => matches!(role, Owner | Admin | Operator | Viewer),
            Self::Tokens | Self::Breakers => matches!(role, Owner | Admin | Operator | TenantAdmin),
            Self::Projects | Self::Credentials | Self::Keys => {
                matches!(role, Owner | Admin | TenantAdmin)
            }
            Self::Operate => matches!(role, Owner | Admin | Operator),
            Self::Configuration | Self::ServiceTokens => matches!(role, Owner | Admin),
            Self::Tenants | Self::Sessions | Self::Vault | Self::Money => matches!(role, Owner),
        };
        by_role && (!is_bound || self.is_of_tenants())
    }

    /// Whether a session must have been proven lately for what it lets do (ID-122).
    pub(crate) const fn needs_proof(self) -> bool {
        match self {
            Self::Vault | Self::Money => true,
            Self::Open
            | Self::Own
            | Self::Read
            | Self::ReadDeployment
            | Self::Tokens
            | Self::Projects
            | Self::Credentials
            | Self::Breakers
            | Self::Keys
            | Self::Tenants
            | Self::Operate
            | Self::Configuration
            | Self::ServiceTokens
            | Self::Sessions => false,
        }
    }

    /// Whether it ends at the border of a tenant.
    const fn is_of_tenants(self) -> bool {
        match self {
            Self::Open
            | Self::Own
            | Self::Read
            | Self::Tokens
            | Self::Projects
            | Self::Credentials
            | Self::Breakers
            | Self::Money
            | Self::Keys => true,
            Self::ReadDeployment
            | Self::Tenants
            | Self::Operate
            | Self::Configuration
            | Self::ServiceTokens
            | Self::Sessions
            | Self::Vault => false,
        }
    }
}

/// Whether a key of one role may make, change or end one of another: those below its own, owners
/// all.
pub(crate) const fn may_grant(own: Role, wanted: Role) -> bool {
    use Role::{Admin, Operator, Owner, TenantAdmin, Viewer};
    match own {
        Owner => true,
        Admin => matches!(wanted, Operator | Viewer | TenantAdmin),
        TenantAdmin => matches!(wanted, TenantAdmin | Viewer),
        Operator | Viewer => false,
    }
}

/// Whether one of the scopes names the operation `noun:verb`. No scopes: all that the role allows.
pub(crate) fn in_scope(scopes: Option<&[String]>, operation: &str) -> bool {
    scopes.is_none_or(|scopes| scopes.iter().any(|scope| matches(scope, operation)))
}

/// Whether a key with the scopes `own` may give `wanted` to another: nothing that it has not.
/// A `*` that is wanted is matched by a `*` of its own alone.
pub(crate) fn covers(own: Option<&[String]>, wanted: Option<&[String]>) -> bool {
    match (own, wanted) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(_), Some(wanted)) => wanted.iter().all(|scope| in_scope(own, scope)),
    }
}

/// What is wrong with a scope as it is written.
pub(crate) fn scope_fault(scope: &str) -> Option<&'static str> {
    let is_part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'*');
        !part.is_empty() && part.bytes().all(allowed)
    };
    let parts = scope.split_once(':');
    if parts.is_some_and(|(noun, verb)| is_part(noun) && is_part(verb)) {
        None
    } else {
        Some("must be `noun:verb`, such as `token:create`, `token:*` or `*:list`")
    }
}

/// `*` stands for any text, also none.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    while let Some((middle, next)) = rest.split_once('*') {
        let Some((_, behind)) = text.split_once(middle) else {
            return false;
        };
        (text, rest) = (behind, next);
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Admin, Operator, Owner, TenantAdmin, Viewer};

    const ROLES: [Role; 5] = [Owner, Admin, Operator, Viewer, TenantAdmin];

    // ID-53
    #[test]
    fn each_role_has_its_rights_and_no_others() {
        for (right, roles) in [
            (Right::Read, &ROLES[..]),
            (Right::ReadDeployment, &[Owner, Admin, Operator, Viewer]),
            (Right::Tokens, &[Owner, Admin, Operator, TenantAdmin]),
            (Right::Breakers, &[Owner, Admin, Operator, TenantAdmin]),
            (Right::Projects, &[Owner, Admin, TenantAdmin]),
            (Right::Credentials, &[Owner, Admin, TenantAdmin]),
            (Right::Keys, &[Owner, Admin, TenantAdmin]),
            (Right::Operate, &[Owner, Admin, Operator]),
            (Right::Configuration, &[Owner, Admin]),
            (Right::ServiceTokens, &[Owner, Admin]),
            (Right::Tenants, &[Owner]),
            (Right::Money, &[Owner]),
            (Right::Sessions, &[Owner]),
            (Right::Open, &ROLES),
            (Right::Own, &ROLES),
            (Right::Vault, &[Owner]),
        ] {
            for role in ROLES {
                assert_eq!(
                    right.is_of(role, false),
                    roles.contains(&role),
                    "{right:?} {role:?}"
                );
            }
        }
    }

    // ID-53
    #[test]
    fn a_key_of_one_tenant_has_no_right_over_the_deployment() {
        for role in ROLES {
            for right in [
                Right::ReadDeployment,
                Right::Tenants,
                Right::Vault,
                Right::Operate,
                Right::Configuration,
                Right::ServiceTokens,
                Right::Sessions,
            ] {
                assert!(!right.is_of(role, true), "{right:?} {role:?}");
            }
        }
        assert!(Right::Tokens.is_of(Operator, true));
    }

    // ID-53
    #[test]
    fn nobody_makes_a_key_above_their_own() {
        for (own, below) in [
            (Owner, &ROLES[..]),
            (Admin, &[Operator, Viewer, TenantAdmin]),
            (TenantAdmin, &[TenantAdmin, Viewer]),
            (Operator, &[]),
            (Viewer, &[]),
        ] {
            for wanted in ROLES {
                assert_eq!(
                    may_grant(own, wanted),
                    below.contains(&wanted),
                    "{own:?} {wanted:?}"
                );
            }
        }
    }

    fn scopes(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    // ID-52
    #[test]
    fn scopes_make_a_role_narrower() {
        assert!(in_scope(None, "token:create"));
        for (scope, operation, want) in [
            ("token:create", "token:create", true),
            ("token:create", "token:creates", false),
            ("token:*", "token:revoke", true),
            ("token:*", "service-token:revoke", false),
            ("*:list", "project:list", true),
            ("*:list", "project:listen", false),
            ("*:*", "key:rotate", true),
            ("t*n:c*e", "token:create", true),
            ("t*n:c*e", "token:revoke", false),
            ("*-*:get", "ip:get", false),
        ] {
            let own = scopes(&[scope]);
            assert_eq!(in_scope(Some(&own), operation), want, "{scope} {operation}");
        }
        assert!(!in_scope(Some(&[]), "token:list"));
    }

    // ID-52
    #[test]
    fn a_narrow_key_gives_nothing_that_it_has_not() {
        for (own, wanted, want) in [
            (None, None, true),
            (None, Some(&["*:*"][..]), true),
            (Some(&["token:*"][..]), None, false),
            (Some(&["token:*"]), Some(&["token:create"]), true),
            (Some(&["token:*"]), Some(&["token:*"]), true),
            (Some(&["token:*"]), Some(&["*:*"]), false),
            (Some(&["token:c*"]), Some(&["token:*"]), false),
            (
                Some(&["token:*", "key:create"]),
                Some(&["key:create", "token:get"]),
                true,
            ),
            (
                Some(&["token:*"]),
                Some(&["token:get", "key:create"]),
                false,
            ),
        ] {
            let (own, wanted) = (own.map(scopes), wanted.map(scopes));
            assert_eq!(
                covers(own.as_deref(), wanted.as_deref()),
                want,
                "{own:?} {wanted:?}"
            );
        }
    }

    // ID-52
    #[test]
    fn a_scope_has_one_form() {
        for (scope, is_good) in [
            ("token:create", true),
            ("service-token:*", true),
            ("*:*", true),
            ("token", false),
            ("token:", false),
            (":list", false),
            ("Token:list", false),
            ("token:list:all", false),
            ("", false),
        ] {
            assert_eq!(scope_fault(scope).is_none(), is_good, "{scope}");
        }
    }
}
