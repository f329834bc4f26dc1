//! Services that keep a key-encryption key for us: they seal it, and open it at each start.

use super::Egress;
use super::egress::is_clear_text;
use super::vault::KekSource;
use crate::check::Checks;
use crate::tree::KeyPath;
use ipnet::IpNet;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Giver, Purpose, parse_url};
use tollkeep_types::Secret;

/// A service that seals and opens a key-encryption key.
#[derive(Clone, Debug)]
pub struct KeyService {
    /// Where it is: of Transit the whole place below which are `encrypt` and `decrypt`.
    pub url: EgressUrl,
    /// Private networks it may be in.
    pub allow_private: Vec<IpNet>,
    /// What it calls the key that seals ours.
    pub key: String,
    /// How it is spoken to.
    pub kind: KeyServiceKind,
}

/// How a service is spoken to.
#[derive(Clone, Debug)]
pub enum KeyServiceKind {
    /// The Transit secrets engine of HashiCorp Vault or OpenBao.
    Transit {
        /// Who we are there.
        token: Secret,
        /// The namespace, where there are some.
        namespace: Option<String>,
    },
    /// AWS Key Management Service.
    AwsKms {
        /// The region, which is signed.
        region: String,
        /// Who we are there.
        access_key_id: String,
        /// How we prove it.
        secret_access_key: Secret,
        /// Of keys that work for a while.
        session_token: Option<Secret>,
    },
}

/// What stands in the settings of one key about its service.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: Option<String>,
    pub(super) address: Option<String>,
    pub(super) mount: String,
    pub(super) token: Option<Secret>,
    pub(super) namespace: Option<String>,
    pub(super) region: Option<String>,
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<Secret>,
    pub(super) session_token: Option<Secret>,
    pub(super) allow_private: Vec<IpNet>,
}

impl Written {
    /// Keys that a source does not read and that are there.
    pub(super) fn strange(&self, source: KekSource) -> Vec<&'static str> {
        let (transit, kms) = (KekSource::VaultTransit, KekSource::AwsKms);
        let both: &[KekSource] = &[transit, kms];
        let all = [
            ("address", self.address.is_some(), both),
            ("allow_private", !self.allow_private.is_empty(), both),
            ("mount", self.mount != MOUNT, &[transit]),
            ("token", self.token.is_some(), &[transit]),
            ("namespace", self.namespace.is_some(), &[transit]),
            ("region", self.region.is_some(), &[kms]),
            ("access_key_id", self.access_key_id.is_some(), &[kms]),
            (
                "secret_access_key",
                self.secret_access_key.is_some(),
                &[kms],
            ),
            ("session_token", self.session_token.is_some(), &[kms]),
        ];
        let strange = all
            .into_iter()
            .filter(|(_, is_there, of)| *is_there && !of.contains(&source));
        strange.map(|(key, ..)| key).collect()
    }

    /// The service; `None` once a fault is told.
    pub(super) fn check(
        self,
        source: KekSource,
        (at, egress): (&KeyPath, &Egress),
        checks: &mut Checks<'_>,
    ) -> Option<KeyService> {
        self.check_written(source, at, checks);
        let (key, allow_private) = (self.name.clone(), self.allow_private.clone());
        let (kind, url) = self.kind(source)?;
        let place = at.name("address");
        let url = match parse_url(&url, Purpose::KeyService, Giver::Operator) {
            Ok(url) => url,
            Err(refusal) => {
                checks.error_at(&place, refusal.to_string());
                return None;
            }
        };
        let exceptions = Exceptions {
            allow_private,
            allow_metadata: false,
        };
        if let Err(problem) = egress.admit(&url, &exceptions) {
            checks.error_at(&place, problem);
        }
        if is_clear_text(&url) && exceptions.allow_private.is_empty() {
            let problem =
                "is `http` outside of `allow_private`: anybody on the way would see the key";
            checks.error_at(&place, problem);
        }
        Some(KeyService {
            url,
            allow_private: exceptions.allow_private,
            key: key?,
            kind,
        })
    }

    /// Tells what is missing.
    fn check_written(&self, source: KekSource, at: &KeyPath, checks: &mut Checks<'_>) {
        let is_transit = source == KekSource::VaultTransit;
        let needed = [
            ("name", self.name.is_some(), true),
            ("address", self.address.is_some(), is_transit),
            ("token", self.token.is_some(), is_transit),
            ("region", self.region.is_some(), !is_transit),
            ("access_key_id", self.access_key_id.is_some(), !is_transit),
            (
                "secret_access_key",
                self.secret_access_key.is_some(),
                !is_transit,
            ),
        ];
        for (key, ..) in needed
            .into_iter()
            .filter(|(_, is_there, is_needed)| *is_needed && !is_there)
        {
            checks.error_at(&at.name(key), "is missing");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        let fits = |name: &str| {
            name.len() <= 2048
                && name.bytes().all(plain)
                && (source == KekSource::AwsKms || !name.contains('/'))
        };
        if self.name.as_deref().is_some_and(|name| !fits(name)) {
            checks.error_at(&at.name("name"), "is no name of a key");
        }
    }

    /// How the service is spoken to, and where it is.
    fn kind(self, source: KekSource) -> Option<(KeyServiceKind, String)> {
        match source {
            KekSource::VaultTransit => {
                let url = format!("{}/v1/{}", self.address?.trim_end_matches('/'), self.mount);
                let (token, namespace) = (self.token?, self.namespace);
                Some((KeyServiceKind::Transit { token, namespace }, url))
            }
            KekSource::AwsKms => {
                let region = self.region?;
                let url = self
                    .address
                    .unwrap_or_else(|| format!("https://kms.{region}.amazonaws.com"));
                let kind = KeyServiceKind::AwsKms {
                    region,
                    access_key_id: self.access_key_id?,
                    secret_access_key: self.secret_access_key?,
                    session_token: self.session_token,
                };
                Some((kind, url))
            }
            KekSource::Env | KekSource::File | KekSource::SystemdCredential => None,
        }
    }
}

/// Where Transit is, unless it is said.
pub(super) const MOUNT: &str = "transit";
