//! The identity provider: what it says of itself, its keys, and the exchange of codes for tokens.

use crate::State;
use crate::problem::Problem;
use crate::runtime::{ProviderAsk, ProviderForm};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tollkeep_config::settings::Oidc;
use tollkeep_crypto::jwt::KeySet;
use tollkeep_policy::egress::{EgressUrl, Giver, Purpose, Scheme, parse_url};
use tollkeep_types::{MonoNanos, Secret};

/// How long what it says is believed without asking again.
const FRESH: Duration = Duration::from_secs(3_600);
/// Between two looks for a key that is not known (ID-124), and after one that failed.
const KEYS_AGAIN: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What it says of itself (OpenID Connect Discovery, section 3).
#[derive(Debug, Deserialize)]
pub(super) struct Discovery {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub(super) authorization_response_iss_parameter_supported: Option<bool>,
}

/// What is known of it.
pub(super) struct Known {
    pub(super) discovery: Discovery,
    token_url: EgressUrl,
    jwks_url: EgressUrl,
    pub(super) keys: Arc<KeySet>,
    at: MonoNanos,
    keys_at: MonoNanos,
}

/// A code, and what shows that it was given to us.
pub(super) struct Code<'c> {
    pub(super) code: &'c str,
    pub(super) redirect_uri: &'c str,
    pub(super) verifier: &'c Secret,
}

/// What is known of the provider of the settings, shared by all logins.
#[derive(Default)]
pub(crate) struct Provider(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    known: Option<Arc<Known>>,
    failed_at: Option<MonoNanos>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl State {
    /// What is known of the provider; asked for if that was long ago.
    pub(super) async fn provider(&self, oidc: &Oidc) -> Result<Arc<Known>, Problem> {
        let now = self.parts.clock.mono();
        let mut cached = self.provider.0.lock().await;
        let is_young = |known: &Arc<Known>| {
            known.discovery.issuer == oidc.issuer && age(known.at, now) < FRESH
        };
        if let Some(known) = cached.known.clone().filter(is_young) {
            return Ok(known);
        }
        if cached
            .failed_at
            .is_some_and(|at| age(at, now) < AFTER_FAILURE)
        {
            return Err(Problem::provider_unavailable());
        }
        match self.look_up(oidc, now).await {
            Ok(known) => {
                let known = Arc::new(known);
                cached.known = Some(Arc::clone(&known));
                cached.failed_at = None;
                Ok(known)
            }
            Err(why) => {
                tracing::warn!("The identity provider `{}`: {why}", oidc.issuer);
                cached.failed_at = Some(now);
                Err(Problem::provider_unavailable())
            }
        }
    }

    /// Its keys anew, since one is not among those known; `None` if they were asked for just now.
    pub(super) async fn keys_again(&self, oidc: &Oidc, seen: &Known) -> Option<Arc<KeySet>> {
        let now = self.parts.clock.mono();
        let mut cached = self.provider.0.lock().await;
        let known = cached.known.clone()?;
        if !Arc::ptr_eq(&known.keys, &seen.keys) {
            return Some(Arc::clone(&known.keys));
        }
        if age(known.keys_at, now) < KEYS_AGAIN {
            return None;
        }
        let fetched = self.fetch_keys(oidc, &known.jwks_url).await;
        let keys = match fetched {
            Ok(keys) => Arc::new(keys),
            Err(why) => {
                tracing::warn!("The keys of the identity provider `{}`: {why}", oidc.issuer);
                Arc::clone(&known.keys)
            }
        };
        cached.known = Some(Arc::new(Known {
            discovery: Discovery::again(&known.discovery),
            token_url: known.token_url.clone(),
            jwks_url: known.jwks_url.clone(),
            keys: Arc::clone(&keys),
            at: known.at,
            keys_at: now,
        }));
        Some(keys)
    }

    async fn look_up(&self, oidc: &Oidc, now: MonoNanos) -> Result<Known, String> {
        let discovery: Discovery = read(&self.fetch(oidc, &oidc.discovery_url).await?)?;
        if discovery.issuer != oidc.issuer {
            return Err("it says that it is another issuer".to_owned());
        }
        check_place(oidc, &discovery.authorization_endpoint)?;
        let token_url = check_place(oidc, &discovery.token_endpoint)?;
        let jwks_url = check_place(oidc, &discovery.jwks_uri)?;
        let keys = self.fetch_keys(oidc, &jwks_url).await?;
        Ok(Known {
            discovery,
            token_url,
            jwks_url,
            keys: Arc::new(keys),
            at: now,
            keys_at: now,
        })
    }

    async fn fetch_keys(&self, oidc: &Oidc, url: &EgressUrl) -> Result<KeySet, String> {
        let body = self.fetch(oidc, url).await?;
        KeySet::read(&body).map_err(|fault| fault.to_string())
    }

    async fn fetch(&self, oidc: &Oidc, url: &EgressUrl) -> Result<Vec<u8>, String> {
        let ask = ProviderAsk {
            url: url.clone(),
            allow_private: oidc.allow_private.clone(),
            form: None,
        };
        self.parts.runtime.ask_provider(ask).await
    }

    /// The identity token that a code stands for (RFC 6749, section 4.1.3; RFC 7636).
    pub(super) async fn exchange(
        &self,
        oidc: &Oidc,
        known: &Known,
        given: Code<'_>,
    ) -> Result<Secret, String> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", given.code),
            ("redirect_uri", given.redirect_uri),
            ("code_verifier", given.verifier.expose()),
            ("client_id", &oidc.client_id),
        ];
        let methods = known
            .discovery
            .token_endpoint_auth_methods_supported
            .as_ref();
        let takes =
            |name: &str| methods.is_some_and(|methods| methods.iter().any(|method| method == name));
        let secret = oidc.client_secret.as_ref();
        let by_form = takes("client_secret_post") && !takes("client_secret_basic");
        if let Some(secret) = secret.filter(|_| by_form) {
            fields.push(("client_secret", secret.expose()));
        }
        let basic = secret.filter(|_| !by_form).map(|secret| {
            let pair = format!("{}:{}", encoded(&oidc.client_id), encoded(secret.expose()));
            Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        });
        let ask = ProviderAsk {
            url: known.token_url.clone(),
            allow_private: oidc.allow_private.clone(),
            form: Some(ProviderForm {
                body: Secret::new(query(&fields)),
                authorization: basic,
            }),
        };
        let body = self.parts.runtime.ask_provider(ask).await?;
        let tokens: Tokens = read(&body)?;
        Ok(Secret::new(tokens.id_token))
    }
}

impl Discovery {
    fn again(known: &Self) -> Self {
        Self {
            issuer: known.issuer.clone(),
            authorization_endpoint: known.authorization_endpoint.clone(),
            token_endpoint: known.token_endpoint.clone(),
            jwks_uri: known.jwks_uri.clone(),
            token_endpoint_auth_methods_supported: known
                .token_endpoint_auth_methods_supported
                .clone(),
            authorization_response_iss_parameter_supported: known
                .authorization_response_iss_parameter_supported,
        }
    }
}

fn age(at: MonoNanos, now: MonoNanos) -> Duration {
    Duration::from_nanos(now.since(at))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|_| "its answer is not what it should be".to_owned())
}

/// A place it names: behind TLS, unless it is in a private network that the settings name.
fn check_place(oidc: &Oidc, text: &str) -> Result<EgressUrl, String> {
    let url = parse_url(text, Purpose::Jwks, Giver::Operator).map_err(|error| error.to_string())?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || (url.scheme() == Scheme::Http && oidc.allow_private.is_empty()) {
        return Err("it names a place without TLS".to_owned());
    }
    Ok(url)
}

/// Fields as a query or a form has them.
pub(super) fn query(fields: &[(&str, &str)]) -> String {
    let each = fields.iter();
    let each: Vec<String> = each
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    each.join("&")
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
