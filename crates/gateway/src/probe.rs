//! A credential tried out for an operator: one small request that costs nothing, from the control
//! plane and through the same door as calls.

use crate::credentials::{StoredCredential, field};
use crate::plan::Target;
use crate::worker::Shared;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_http1::write;
use tollkeep_llm::catalog::Speaks;
use tollkeep_net::fetch::{self, Bounds, FetchError};
use zeroize::Zeroizing;

/// The list of models, which every kind of provider has.
const PATH: &str = "/v1/models";
/// The same at Google, whose version is another.
const GEMINI_PATH: &str = "/v1beta/models";
/// The list may be long.
const BOUNDS: Bounds = Bounds {
    bytes_max: 8 * 1024 * 1024,
    patience: Duration::from_secs(10),
};

/// A request that shows whether a provider takes a secret.
pub struct CredentialProbe {
    target: Arc<Target>,
    path: String,
    lines: Zeroizing<Vec<u8>>,
}

impl Shared {
    /// How this credential is tried out; `None` where the settings in force have no such provider,
    /// or it may not go where it says.
    pub fn credential_probe(&self, credential: &StoredCredential) -> Option<CredentialProbe> {
        let StoredCredential {
            provider,
            secret,
            headers,
            place,
            ..
        } = credential;
        let plan = self.plan.load();
        let mut targets = plan.llm.providers.iter();
        let target = targets.find(|target| *target.name == **provider)?;
        let provider = target.provider()?;
        let kind = provider.kind;
        let target = match place.is_of_provider() {
            true => Arc::clone(target),
            false => Arc::new(target.at(provider, place, &plan.llm.tls).ok()?),
        };
        let mut lines = field(Some(secret), kind.credential);
        lines.extend_from_slice(&target.set_fields);
        let own = headers
            .iter()
            .filter(|(name, _)| !target.settles(name.as_bytes()));
        for (name, value) in own.clone() {
            write::field(&mut lines, name.as_bytes(), value.as_bytes());
        }
        let settles =
            |name: &str| target.settles(name.as_bytes()) || own.clone().any(|(own, _)| own == name);
        if kind.name == "anthropic" && !settles("anthropic-version") {
            lines.extend_from_slice(b"anthropic-version: 2023-06-01\r\n");
        }
        let path = match kind.speaks {
            Speaks::Gemini => GEMINI_PATH,
            Speaks::Chat | Speaks::ChatAndResponses | Speaks::Anthropic | Speaks::All => PATH,
        };
        Some(CredentialProbe {
            path: kind.path(target.endpoint.url.path(), path),
            target,
            lines,
        })
    }
}

impl CredentialProbe {
    /// The status that the provider answers with.
    ///
    /// # Errors
    /// No answer.
    pub async fn run(self) -> Result<u16, FetchError> {
        fetch::status_of(&self.target.endpoint, &self.path, &self.lines, BOUNDS).await
    }
}
