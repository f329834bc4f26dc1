//! What an identity token says of a person: who they are, and what role that gives. Decisions only.

use serde_json::{Map, Value};
use std::str::FromStr;
use tollkeep_config::settings::Oidc;
use tollkeep_store::{ProviderOperator, Role};

/// From the mightiest down.
const ROLES: [Role; 4] = [Role::Owner, Role::Admin, Role::Operator, Role::Viewer];

/// Why somebody whom the provider vouches for does not come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stranger {
    /// The token names nobody.
    NoSubject,
    /// Their address is of no domain that may sign in, or nobody has verified it.
    Domain,
    /// Nothing the token says gives them a role.
    NoRole,
}

impl Stranger {
    /// The reason in records.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::NoSubject => "token_claims",
            Self::Domain => "email_domain",
            Self::NoRole => "no_role",
        }
    }
}

/// Who a token is about.
pub(super) fn person(
    oidc: &Oidc,
    claims: &Map<String, Value>,
) -> Result<ProviderOperator, Stranger> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(plain);
    let subject = text("sub").filter(|subject| (1..=255).contains(&subject.len()));
    let subject = subject.ok_or(Stranger::NoSubject)?;
    let email = text("email").filter(|email| (3..=254).contains(&email.len()));
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    if !oidc.allowed_domains.is_empty() {
        let domain = email.as_deref().and_then(|email| email.rsplit_once('@'));
        let domain = domain.map(|(_, domain)| domain.to_ascii_lowercase());
        let is_allowed = |domain: String| oidc.allowed_domains.contains(&domain);
        if !is_verified || !domain.is_some_and(is_allowed) {
            return Err(Stranger::Domain);
        }
    }
    let role = role(oidc, claims).ok_or(Stranger::NoRole)?;
    let names = ["name", "preferred_username", "email"].into_iter();
    let name = names.filter_map(text).find(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| subject.clone());
    Ok(ProviderOperator {
        issuer: oidc.issuer.clone(),
        subject,
        name: name.chars().take(200).collect(),
        email,
        role,
    })
}

/// The mightiest role that a value of the claim gives, or the one of everybody.
fn role(oidc: &Oidc, claims: &Map<String, Value>) -> Option<Role> {
    let claim = &oidc.role_claim;
    let said = match claim.strip_prefix('/') {
        Some(place) => inside(claims, place),
        None => claims.get(claim),
    };
    let said: Vec<&str> = match said {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    };
    let given = oidc.role_map.iter();
    let given = given.filter(|(value, _)| said.contains(&value.as_str()));
    let given: Vec<Role> = given
        .filter_map(|(_, word)| Role::from_str(word).ok())
        .collect();
    let mightiest = ROLES.into_iter().find(|role| given.contains(role));
    mightiest.or_else(|| oidc.default_role.and_then(|word| word.parse().ok()))
}

/// A value further inside, by the names on the way (RFC 6901).
fn inside<'c>(claims: &'c Map<String, Value>, place: &str) -> Option<&'c Value> {
    let (first, rest) = match place.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (place, None),
    };
    let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    match rest {
        Some(rest) => value.pointer(&format!("/{rest}")),
        None => Some(value),
    }
}

/// A text without what could move a cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tollkeep_policy::egress::{Giver, Purpose, parse_url};

    fn oidc() -> Oidc {
        let place = "https://id.example/.well-known/openid-configuration";
        let role_map = [("ops", "operator"), ("root", "owner"), ("all", "viewer")];
        Oidc {
            issuer: "https://id.example".to_owned(),
            discovery_url: parse_url(place, Purpose::Jwks, Giver::Operator).unwrap(),
            client_id: "tollkeep".to_owned(),
            client_secret: None,
            scopes: Vec::new(),
            role_claim: "groups".to_owned(),
            role_map: role_map
                .map(|(value, role)| (value.to_owned(), role))
                .to_vec(),
            allowed_domains: vec!["team.example".to_owned()],
            default_role: None,
            allow_private: Vec::new(),
        }
    }

    fn claims() -> Value {
        json!({ "sub": "u1", "email": "jane@Team.example", "email_verified": true, "name": "Jane", "groups": ["ops"] })
    }

    fn judged(oidc: &Oidc, claims: &Value) -> Result<Role, Stranger> {
        person(oidc, claims.as_object().unwrap()).map(|person| person.role)
    }

    // ID-124
    #[test]
    #[rustfmt::skip]
    fn a_role_follows_from_the_claim_and_no_role_is_refused() {
        let oidc = oidc();
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            claims
        };
        for (name, claims, want) in [
            ("a group", claims(), Ok(Role::Operator)),
            ("one text", with("groups", json!("root")), Ok(Role::Owner)),
            ("the mightiest of several", with("groups", json!(["all", "root", "ops"])), Ok(Role::Owner)),
            ("other groups", with("groups", json!(["others"])), Err(Stranger::NoRole)),
            ("another case", with("groups", json!(["Root"])), Err(Stranger::NoRole)),
            ("no groups", with("groups", Value::Null), Err(Stranger::NoRole)),
            ("an object", with("groups", json!({ "root": true })), Err(Stranger::NoRole)),
            ("numbers", with("groups", json!([1, 2])), Err(Stranger::NoRole)),
            ("another domain", with("email", json!("jane@team.example.evil")), Err(Stranger::Domain)),
            ("two signs", with("email", json!("jane@evil@team.example")), Ok(Role::Operator)),
            ("not verified", with("email_verified", json!(false)), Err(Stranger::Domain)),
            ("verified by a word", with("email_verified", json!("true")), Err(Stranger::Domain)),
            ("no address", with("email", Value::Null), Err(Stranger::Domain)),
            ("nobody", with("sub", json!("")), Err(Stranger::NoSubject)),
        ] {
            assert_eq!(judged(&oidc, &claims), want, "{name}");
        }
        let by_default = Oidc { default_role: Some("viewer"), ..oidc.clone() };
        assert_eq!(judged(&by_default, &with("groups", json!([]))), Ok(Role::Viewer));
        assert_eq!(judged(&by_default, &claims()), Ok(Role::Operator));
        let inside = Oidc { role_claim: "/realm_access/roles".to_owned(), ..oidc };
        let claims = with("realm_access", json!({ "roles": ["root"] }));
        assert_eq!(judged(&inside, &claims), Ok(Role::Owner));
        let claims = with("realm_access", json!(["root"]));
        assert_eq!(judged(&inside, &claims), Err(Stranger::NoRole));
    }
}
