//! The credentials of a provider: which of them take turns, and the field that carries each.

use crate::plan::Credential;
use std::sync::Arc;
use tollkeep_config::settings::{self, Provider};
use tollkeep_llm::catalog::CredentialForm;

/// Turns by weight: a credential of weight 3 stands three times in the ring. Weights are scaled
/// so that the ring stays short.
pub(crate) fn credentials(provider: &Provider, form: CredentialForm) -> Vec<Arc<Credential>> {
    const RING_MAX: u64 = 1000;
    let usable = || {
        provider
            .credentials
            .iter()
            .filter(|credential| credential.weight > 0)
    };
    let highest = usable().map(|credential| credential.priority).max();
    let tier: Vec<_> = usable()
        .filter(|credential| Some(credential.priority) == highest)
        .collect();
    let total: u64 = tier
        .iter()
        .map(|credential| u64::from(credential.weight))
        .sum();
    let scale = total.div_ceil(RING_MAX).max(1);
    let common = tier
        .iter()
        .fold(0, |common, credential| {
            gcd(common, credential.weight.into())
        })
        .max(1);
    let mut ring = Vec::new();
    for credential in tier {
        let field = Arc::new(Credential {
            secret: credential.secret.clone(),
            field: credential_field(credential, form),
        });
        let turns = (u64::from(credential.weight)
            / common
            / if total / common > RING_MAX { scale } else { 1 })
        .max(1);
        ring.extend((0..turns).map(|_| Arc::clone(&field)));
    }
    if ring.is_empty() && form == CredentialForm::None {
        ring.push(Arc::new(Credential {
            secret: None,
            field: zeroize::Zeroizing::default(),
        }));
    }
    ring
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn credential_field(
    credential: &settings::Credential,
    form: CredentialForm,
) -> zeroize::Zeroizing<Vec<u8>> {
    let mut field = zeroize::Zeroizing::new(Vec::new());
    let Some(secret) = &credential.secret else {
        return field;
    };
    let (name, scheme) = match form {
        CredentialForm::Bearer => ("authorization", "Bearer "),
        CredentialForm::XApiKey => ("x-api-key", ""),
        CredentialForm::ApiKey => ("api-key", ""),
        CredentialForm::None => return field,
    };
    for part in [name, ": ", scheme, secret.expose(), "\r\n"] {
        field.extend_from_slice(part.as_bytes());
    }
    field
}
