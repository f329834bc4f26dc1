//! Key-encryption keys that a service keeps: made here once, sealed by the service, kept sealed
//! in the store, and opened by the service at each start. The service sees each key twice and no
//! record at all, so that what is sealed under it can be opened without asking.

use super::Base;
use super::egress::{Door, one_shot};
use super::keks::KeyBytes;
use crate::exit::{self, Failed};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::{KekSetting, KekUse, KeyService, KeyServiceKind, Settings};
use tollkeep_crypto::aws_sign::{AwsRequest, AwsSigner, amz_date};
use tollkeep_net::dial::{Endpoint, PoolSettings};
use tollkeep_net::fetch::{self, Bounds, FetchError};
use tollkeep_policy::egress::{Exceptions, Giver, Purpose, parse_url};
use tollkeep_store::Store;
use tollkeep_types::{Clock, Secret};
use zeroize::{Zeroize, Zeroizing};

/// An answer is a key and some words; a start waits for it.
const BOUNDS: Bounds = Bounds {
    bytes_max: 64 * 1024,
    patience: Duration::from_secs(2),
};
/// What is done about a key that was never made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Missing {
    /// It is made.
    Make,
    /// It is left out.
    LeaveOut,
}

/// The keys that services keep, by id.
///
/// # Errors
/// A service can't be reached or refuses, or the store.
pub(crate) async fn open(
    base: &Base,
    store: &Store,
    own: &[SocketAddr],
    missing: Missing,
) -> anyhow::Result<Vec<(String, KeyBytes)>> {
    let keks = kept(&base.settings);
    if keks.is_empty() {
        return Ok(Vec::new());
    }
    let door = one_shot(&base.settings, Arc::clone(&base.clock), own.to_vec())?;
    let mut opened = Vec::new();
    for (kek, service) in keks {
        let asker = Asker {
            kek,
            service,
            door: &door,
            clock: base.clock.as_ref(),
        };
        let name = format!("vault.kek.{}", kek.id);
        let sealed = match store.meta(&name).await? {
            Some(sealed) => sealed,
            None if missing == Missing::LeaveOut || kek.state == KekUse::DecryptOnly => continue,
            None => {
                let mut bytes = Zeroizing::new([0_u8; 32]);
                base.entropy.fill(bytes.as_mut_slice());
                // Another replica may be starting for the first time too.
                store
                    .set_meta_once(&name, &asker.seal(&bytes).await?)
                    .await?
            }
        };
        opened.push((kek.id.clone(), asker.open(&sealed).await?));
    }
    Ok(opened)
}

/// The keys that services keep.
fn kept(settings: &Settings) -> Vec<(&KekSetting, &KeyService)> {
    let keks = settings.vault.keks.iter();
    keks.filter_map(|kek| Some((kek, kek.service.as_ref()?)))
        .collect()
}

/// Asks one service about one key.
struct Asker<'a> {
    kek: &'a KekSetting,
    service: &'a KeyService,
    door: &'a Door,
    clock: &'a dyn Clock,
}

impl Asker<'_> {
    /// The key as the service seals it.
    async fn seal(&self, bytes: &KeyBytes) -> anyhow::Result<String> {
        let plain = Secret::new(BASE64_STANDARD.encode(bytes.as_slice()));
        let answer = match self.service.kind {
            KeyServiceKind::Transit { .. } => {
                self.ask("encrypt", json!({ "plaintext": plain.expose() }))
                    .await?
            }
            KeyServiceKind::AwsKms { .. } => {
                let body = json!({
                    "KeyId": self.service.key,
                    "Plaintext": plain.expose(),
                    "EncryptionContext": self.context(),
                });
                self.ask("Encrypt", body).await?
            }
        };
        let sealed = answer.text(match self.service.kind {
            KeyServiceKind::Transit { .. } => "/data/ciphertext",
            KeyServiceKind::AwsKms { .. } => "/CiphertextBlob",
        });
        let sealed = sealed.filter(|sealed| !sealed.is_empty() && sealed.len() < 16 * 1024);
        Ok(sealed
            .ok_or_else(|| self.failed("the answer holds no sealed key"))?
            .to_owned())
    }

    /// The key that the service sealed.
    async fn open(&self, sealed: &str) -> anyhow::Result<KeyBytes> {
        let answer = match self.service.kind {
            KeyServiceKind::Transit { .. } => {
                self.ask("decrypt", json!({ "ciphertext": sealed })).await?
            }
            KeyServiceKind::AwsKms { .. } => {
                let body = json!({
                    "KeyId": self.service.key,
                    "CiphertextBlob": sealed,
                    "EncryptionContext": self.context(),
                });
                self.ask("Decrypt", body).await?
            }
        };
        let plain = answer.text(match self.service.kind {
            KeyServiceKind::Transit { .. } => "/data/plaintext",
            KeyServiceKind::AwsKms { .. } => "/Plaintext",
        });
        let bytes = plain.and_then(|plain| BASE64_STANDARD.decode(plain).ok());
        let bytes = Zeroizing::new(bytes.unwrap_or_default());
        let key = <[u8; 32]>::try_from(bytes.as_slice());
        let key = key.map_err(|_| self.failed("the answer holds no key of 32 bytes"))?;
        Ok(Zeroizing::new(key))
    }

    /// What AWS binds a sealed key to, so that it opens for nothing else.
    fn context(&self) -> Value {
        json!({ "tollkeep-kek": self.kek.id })
    }

    async fn ask(&self, what: &str, body: Value) -> anyhow::Result<Told> {
        let service = self.service;
        let body = body.to_string().into_bytes();
        let mut url = service.url.clone();
        let fields =
            match &service.kind {
                KeyServiceKind::Transit { token, namespace } => {
                    let place = format!("{}{}/{what}/{}", url.origin(), url.path(), service.key);
                    url = parse_url(&place, Purpose::KeyService, Giver::Operator)?;
                    let mut fields = vec![(
                        HeaderName::from_static("x-vault-token"),
                        token.expose().to_owned(),
                    )];
                    fields.extend(namespace.clone().map(|namespace| {
                        (HeaderName::from_static("x-vault-namespace"), namespace)
                    }));
                    fields
                }
                KeyServiceKind::AwsKms { .. } => self.signed(url.authority(), what, &body),
            };
        let mut all = Vec::new();
        for (name, value) in fields {
            let value = HeaderValue::try_from(value);
            all.push((
                name,
                value.map_err(|_| self.failed("the settings hold what no header may"))?,
            ));
        }
        let kind = match service.kind {
            KeyServiceKind::Transit { .. } => "application/json",
            KeyServiceKind::AwsKms { .. } => KMS_TYPE,
        };
        all.push((header::CONTENT_TYPE, HeaderValue::from_static(kind)));
        let endpoint = Endpoint {
            dialer: self.door.dialer.clone(),
            // It is never pooled.
            id: 0,
            tls: url
                .scheme()
                .is_tls()
                .then(|| Arc::clone(&self.door.tls.of_all)),
            url,
            exceptions: Exceptions {
                allow_private: service.allow_private.clone(),
                allow_metadata: false,
            },
            pool: PoolSettings {
                idle_per_host_max: 0,
                idle: Duration::ZERO,
                connections_max: 1,
                by_owner: false,
            },
        };
        match fetch::post(&endpoint, all, body, BOUNDS).await {
            Ok(answer) => {
                let value = serde_json::from_slice(&answer).unwrap_or_default();
                if let Ok(mut bytes) = answer.try_into_mut() {
                    bytes.as_mut().zeroize();
                }
                Ok(Told(value))
            }
            Err(error @ (FetchError::Dial(_) | FetchError::Late(_))) => {
                Err(Failed::new(exit::UNREACHABLE, self.about(&error.to_string())).into())
            }
            Err(error) => Err(self.failed(&error.to_string()).into()),
        }
    }

    /// The fields of a request to AWS.
    fn signed(&self, host: &str, what: &str, body: &[u8]) -> Vec<(HeaderName, String)> {
        let KeyServiceKind::AwsKms {
            region,
            access_key_id,
            secret_access_key,
            session_token,
        } = &self.service.kind
        else {
            return Vec::new();
        };
        let (date, target) = (amz_date(self.clock.wall()), format!("TrentService.{what}"));
        let mut fields = vec![
            ("content-type", KMS_TYPE),
            ("host", host),
            ("x-amz-date", &date),
        ];
        if let Some(token) = session_token {
            fields.push(("x-amz-security-token", token.expose()));
        }
        fields.push(("x-amz-target", &target));
        let signer = AwsSigner {
            access_key_id,
            secret_access_key,
            region,
            service: "kms",
        };
        let request = AwsRequest {
            method: "POST",
            path: "/",
            query: "",
            fields: &fields,
            body,
        };
        let authorization = signer.authorization(&request, &date);
        let own = |name: &&(&str, &str)| !matches!(name.0, "content-type" | "host");
        let others = fields.iter().filter(own);
        let others = others.filter_map(|(name, value)| {
            Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                (*value).to_owned(),
            ))
        });
        let authorization = (header::AUTHORIZATION, authorization.expose().to_owned());
        others.chain([authorization]).collect()
    }

    fn failed(&self, problem: &str) -> Failed {
        Failed::new(exit::INVALID, self.about(problem))
    }

    fn about(&self, problem: &str) -> String {
        let (id, source) = (&self.kek.id, self.kek.source.as_str());
        format!("vault.keks: key `{id}`: {source}: {problem}")
    }
}

const KMS_TYPE: &str = "application/x-amz-json-1.1";

/// What a service answered; it is wiped when nobody needs it any more.
struct Told(Value);

impl Told {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer)?.as_str()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        for pointer in ["/data/plaintext", "/Plaintext"] {
            if let Some(Value::String(text)) = self.0.pointer_mut(pointer) {
                text.zeroize();
            }
        }
    }
}
