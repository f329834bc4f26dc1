//! Signing in at the management API by an identity provider (OpenID Connect).

use super::Egress;
use super::egress::is_clear_text;
use crate::check::Checks;
use crate::field::{KindExt, mapped};
use crate::kind::{Parsed, choice, list, networks_or_all_private, parsed, secret};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Giver, Purpose, parse_url};
use tollkeep_types::Secret;

/// An identity provider that operators sign in by.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// Who it is, exactly as in its tokens.
    pub issuer: String,
    /// Where it tells the rest.
    pub discovery_url: EgressUrl,
    /// Who we are there.
    pub client_id: String,
    /// How we prove it.
    pub client_secret: Option<Secret>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The claim that roles follow from.
    pub role_claim: String,
    /// Values of the claim, and the words of the roles they give; the mightiest is taken.
    pub role_map: Vec<(String, &'static str)>,
    /// Where addresses must be of; empty: anywhere.
    pub allowed_domains: Vec<String>,
    /// The word of the role of those whom no value gives one; `None`: they are refused.
    pub default_role: Option<&'static str>,
    /// Private networks it may be in.
    pub allow_private: Vec<IpNet>,
}

/// Roles of people the deployment knows by their provider alone: none is bound to a tenant.
const ROLES: [(&str, &str); 4] = [
    ("owner", "owner"),
    ("admin", "admin"),
    ("operator", "operator"),
    ("viewer", "viewer"),
];

const DEFAULT_ROLES: [(&str, Option<&str>); 5] = [
    ("none", None),
    ("owner", Some("owner")),
    ("admin", Some("admin")),
    ("operator", Some("operator")),
    ("viewer", Some("viewer")),
];

keys! {
    /// An identity provider that operators sign in by: `GET /api/v1/session/oidc`. It sends them
    /// back to `/api/v1/session/oidc/callback` of the address they came to, which must be known
    /// there.
    pub(crate) struct OidcFile {
        /// Who it is, exactly as in its tokens: `https`, or `http` in a private network. Below it
        /// is `/.well-known/openid-configuration`.
        issuer: Option<String> = named().required(),
        /// Who this gateway is there.
        client_id: Option<String> = named().required(),
        /// How it proves that; a client without a secret has none.
        client_secret: Option<Secret> = secret().optional(),
        /// What is asked for; `openid` is needed.
        scopes: Vec<String> = list(scope())
            .or(vec!["openid".to_owned(), "email".to_owned(), "groups".to_owned()]),
        /// The claim of the identity token that roles follow from: its name, or the place of one
        /// further inside as `/realm_access/roles`.
        role_claim: String = named().or("groups".to_owned()),
        /// Which role a value of the claim gives; of several the mightiest is taken.
        role_map: Vec<(String, &'static str)> = mapped(choice(&ROLES)),
        /// Domains of e-mail addresses that may sign in; the provider must have verified the
        /// address. Empty: all.
        allowed_domains: Vec<String> = list(domain()).or_empty(),
        /// The role of those to whom no value gives one; `none` refuses them.
        default_role: Option<&'static str> = choice(&DEFAULT_ROLES).or(None),
        /// Private networks it may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
    }
}

const fn named() -> Parsed<String> {
    parsed("text of 1 to 512 characters", |text| {
        let fits = (1..=512).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
            .ok_or_else(|| "want 1 to 512 characters, none of them a control character".to_owned())
    })
}

/// A scope (RFC 6749, section 3.3).
const fn scope() -> Parsed<String> {
    parsed("scope", |text| {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| text.to_owned())
            .ok_or_else(|| "is no scope".to_owned())
    })
}

const fn domain() -> Parsed<String> {
    parsed("domain", |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let fits = (1..=253).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| text.to_ascii_lowercase())
            .ok_or_else(|| "is no domain".to_owned())
    })
}

impl OidcFile {
    pub(super) fn check(
        self,
        path: &KeyPath,
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Option<Oidc> {
        let (issuer, client_id) = (self.issuer?, self.client_id?);
        if self.role_map.is_empty() && self.default_role.is_none() {
            let problem = "is empty, and `default_role` is `none`: nobody could sign in";
            checks.error_at(&path.name("role_map"), problem);
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            checks.error_at(
                &path.name("scopes"),
                "lacks `openid`: there would be no token",
            );
        }
        let place = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let at_issuer = path.name("issuer");
        let discovery_url = match parse_url(&place, Purpose::Jwks, Giver::Operator) {
            Ok(url) => url,
            Err(refusal) => {
                checks.error_at(&at_issuer, refusal.to_string());
                return None;
            }
        };
        let exceptions = Exceptions {
            allow_private: self.allow_private,
            allow_metadata: false,
        };
        if let Err(problem) = egress.admit(&discovery_url, &exceptions) {
            checks.error_at(&at_issuer, problem);
        }
        if is_clear_text(&discovery_url) && exceptions.allow_private.is_empty() {
            let problem = "is `http` outside of `allow_private`: anybody on the way could sign in";
            checks.error_at(&at_issuer, problem);
        }
        Some(Oidc {
            issuer,
            discovery_url,
            client_id,
            client_secret: self.client_secret,
            scopes: self.scopes,
            role_claim: self.role_claim,
            role_map: self.role_map,
            allowed_domains: self.allowed_domains,
            default_role: self.default_role,
            allow_private: exceptions.allow_private,
        })
    }
}
