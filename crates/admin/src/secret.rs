//! Texts of tokens and keys: made here, shown once, kept as hashes.

use crate::State;
use crate::acting::Acting;
use crate::problem::{Fault, Problem};
use serde_json::Value;
use tollkeep_crypto::mint::{self, MintError};
use tollkeep_crypto::samples;
use tollkeep_store::{ManagementSecret, ServiceSecret, TokenSecret};
use tollkeep_types::{Secret, TokenHash};

impl State {
    /// A new text with this prefix and length.
    pub(crate) fn mint(&self, prefix: &str, length: Option<usize>) -> Result<Secret, Problem> {
        let minted = mint::mint(prefix, length, self.parts.entropy.as_ref());
        let minted = minted.map_err(|error| {
            let place = match error {
                MintError::Prefix => "/prefix",
                MintError::TooShort { .. } | MintError::TooLong => "/length",
                MintError::Entropy => return Problem::internal(),
            };
            Problem::invalid(vec![Fault {
                path: place.to_owned(),
                message: error.to_string(),
            }])
        })?;
        if self.acting == Acting::Trying {
            return Ok(never_valid(prefix, &minted));
        }
        if samples::is_sample(minted.expose()) {
            Err(Problem::internal())
        } else {
            Ok(minted)
        }
    }

    /// What is kept of an access token's text.
    pub(crate) fn kept_of_token(&self, secret: &Secret) -> TokenSecret {
        let (digest, pepper_id, hint) = self.kept_of(secret);
        TokenSecret {
            digest,
            pepper_id,
            hint,
            fingerprint: tollkeep_audit::fingerprint(&self.parts.fingerprint_key, secret.expose()),
        }
    }

    /// What is kept of a service token's secret.
    pub(crate) fn kept_of_service(&self, secret: &Secret) -> ServiceSecret {
        let (digest, pepper_id, hint) = self.kept_of(secret);
        ServiceSecret {
            digest,
            pepper_id,
            hint,
        }
    }

    /// What is kept of a management key.
    pub(crate) fn kept_of_key(&self, secret: &Secret) -> ManagementSecret {
        let (digest, pepper_id, hint) = self.kept_of(secret);
        ManagementSecret {
            digest,
            pepper_id,
            hint,
        }
    }

    fn kept_of(&self, secret: &Secret) -> (TokenHash, String, String) {
        (
            self.parts.hasher.hash(secret.expose()),
            self.parts.pepper_id.to_owned(),
            tollkeep_audit::mask(secret.expose()),
        )
    }
}

/// A text like the one that would be made, and that can't be taken for one: a token of a dry run
/// would never work.
fn never_valid(prefix: &str, like: &Secret) -> Secret {
    let chars = like.expose().chars().count();
    let rest = chars.saturating_sub(prefix.chars().count());
    Secret::new(format!("{prefix}{}", "x".repeat(rest)))
}

/// The object of the one answer that has the text in it, under these names.
pub(crate) fn with_secret(mut shown: Value, names: &[&str], secret: &Secret) -> Value {
    if let Some(members) = shown.as_object_mut() {
        for name in names {
            members.insert((*name).to_owned(), secret.expose().into());
        }
    }
    shown
}
