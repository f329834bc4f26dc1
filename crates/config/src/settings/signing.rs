//! How requests to an upstream are signed.

use super::headers::place_of;
use super::{SecretOrText, ms};
use crate::check::Checks;
use crate::field::{KindExt, field_name, listed};
use crate::kind::{Parsed, choice, list, millis, parsed, shared_key, switch};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::collections::BTreeSet;
use std::time::Duration;
use tollkeep_types::Secret;

/// How requests to an upstream are signed.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The form.
    pub mode: SigningMode,
    /// The key that signs.
    pub key: SigningKey,
}

/// A key shared with the origin.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// The name the origin knows it by.
    pub id: String,
    /// The bytes of its text are the key.
    pub secret: Secret,
}

/// The form of the signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SigningMode {
    /// `X-Gateway-Signature`, as verifiers of bolthub check it (EDGE-120).
    Bolthub {
        /// Which path is signed.
        path: BoltPath,
        /// How far in the past the timestamp is: verifiers refuse one that is ahead of them.
        backdate: Duration,
    },
    /// `X-Tollkeep-Signature` (EDGE-121).
    V1 {
        /// Whether the body is covered.
        body: bool,
        /// Names of covered fields, lower case and sorted.
        headers: Vec<String>,
        /// Whether the caller's project and token are told, and covered.
        identity: bool,
    },
    /// `X-Gateway-Secret`: the secret itself.
    Secret,
}

impl SigningMode {
    /// Whether the body is part of what is signed.
    pub(crate) const fn covers_body(&self) -> bool {
        matches!(self, Self::Bolthub { .. } | Self::V1 { body: true, .. })
    }
}

/// Which path a bolthub signature covers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BoltPath {
    /// As sent, which Express shows.
    Raw,
    /// Percent-decoded, which Flask, Django and Starlette show.
    Decoded,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    #[default]
    Off,
    Bolthub,
    V1,
    Secret,
}

const MODES: [(&str, Mode); 4] = [
    ("off", Mode::Off),
    ("bolthub", Mode::Bolthub),
    ("v1", Mode::V1),
    ("secret", Mode::Secret),
];

/// How far in the past a bolthub timestamp is, unless the settings say so: clocks differ.
const BACKDATE: Duration = ms(1_000);

/// Fields that settings may add to those covered.
const HEADERS_MAX: usize = 32;

keys! {
    /// Signatures by which the upstream knows that a request came through here unchanged.
    pub(crate) struct SigningFile {
        /// `bolthub` for origins with a verifier of that gateway, `v1` for the form that covers
        /// the whole request, `secret` for a static field that proves the sender only.
        mode: Mode = choice(&MODES).or(Mode::Off),
        /// The keys that the origin may know.
        keys: Vec<KeyFile> = listed(),
        /// The `id` of the key that signs. Default: the one there is.
        active: Option<String> = key_id().optional(),
        /// Mode `bolthub`: `raw` signs the path as sent (Express), `decoded` the
        /// percent-decoded one (Flask, Django, Starlette). Default `raw`.
        path_form: Option<BoltPath> =
            choice(&[("raw", BoltPath::Raw), ("decoded", BoltPath::Decoded)]).optional(),
        /// Mode `bolthub`: how far in the past the timestamp is. Default 1000, since verifiers
        /// refuse one that is ahead of their clock, and one older than 30 seconds.
        backdate as "backdate_ms": Option<Duration> = millis(0..=25_000).optional(),
        /// Mode `v1`: whether the body is covered. Default `signed`.
        body: Option<bool> = choice(&[("signed", true), ("unsigned", false)]).optional(),
        /// Mode `v1`: fields covered besides `content-type` and `x-request-id`, when sent.
        headers: Vec<String> = list(covered()).or_empty(),
        /// Mode `v1`: whether `X-Tollkeep-Project` and `X-Tollkeep-Token` tell the ids of the
        /// caller's project and token, covered.
        identity: bool = switch().or(false),
    }
}

keys! {
    /// A key shared with the origin.
    pub(crate) struct KeyFile {
        /// The name the origin knows it by.
        id: Option<String> = key_id().required(),
        /// The secret; the bytes of its text are the key.
        secret: Option<Secret> = shared_key().required(),
    }
}

const fn key_id() -> Parsed<String> {
    parsed("id of 1 to 64 letters, digits, `.`, `_`, `-`", |text| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(text.to_owned());
        }
        Err("want 1 to 64 of letters, digits, `.`, `_`, `-`".to_owned())
    })
}

const fn covered() -> Parsed<String> {
    parsed("field name", |text| {
        let name = text.to_ascii_lowercase();
        field_name(&name)?;
        if is_of_signing(&name) || name.starts_with("x-tollkeep-") {
            return Err("is a field of the signature itself".to_owned());
        }
        Ok(name)
    })
}

impl SigningFile {
    pub(super) fn check(self, path: &KeyPath, checks: &mut Checks<'_>) -> Option<Signing> {
        let key = (self.mode != Mode::Off).then(|| self.key(path, checks));
        let only_bolthub = [
            ("path_form", self.path_form.is_some()),
            ("backdate_ms", self.backdate.is_some()),
        ];
        let only_v1 = [
            ("body", self.body.is_some()),
            ("headers", !self.headers.is_empty()),
            ("identity", self.identity),
        ];
        let mut refuse = |keys: &[(&str, bool)], mode: &str| {
            for (key, _) in keys.iter().filter(|(_, written)| *written) {
                let problem = format!("has an effect with `mode: {mode}` only");
                checks.error_at(&path.name(key), problem);
            }
        };
        let mode = match self.mode {
            Mode::Off => return None,
            Mode::Bolthub => {
                refuse(&only_v1, "v1");
                SigningMode::Bolthub {
                    path: self.path_form.unwrap_or(BoltPath::Raw),
                    backdate: self.backdate.unwrap_or(BACKDATE),
                }
            }
            Mode::V1 => {
                refuse(&only_bolthub, "bolthub");
                if self.headers.len() > HEADERS_MAX {
                    let problem = format!("more than {HEADERS_MAX} entries");
                    checks.error_at(&path.name("headers"), problem);
                }
                SigningMode::V1 {
                    body: self.body.unwrap_or(true),
                    headers: covered_names(self.headers, self.identity),
                    identity: self.identity,
                }
            }
            Mode::Secret => {
                refuse(&only_bolthub, "bolthub");
                refuse(&only_v1, "v1");
                let problem = "sends the secret itself with every request: it proves the sender, \
                               not the message; `v1` proves both";
                checks.warn_at(&path.name("mode"), problem);
                SigningMode::Secret
            }
        };
        Some(Signing { mode, key: key?? })
    }

    /// The key that signs.
    fn key(&self, path: &KeyPath, checks: &mut Checks<'_>) -> Option<SigningKey> {
        let mut keys = Vec::new();
        for (index, file) in self.keys.iter().enumerate() {
            let id = file.id.clone()?;
            if keys.iter().any(|key: &SigningKey| key.id == id) {
                let problem = "is the id of another key too";
                checks.error_at(&path.name("keys").index(index).name("id"), problem);
            }
            let secret = file.secret.clone()?;
            keys.push(SigningKey { id, secret });
        }
        match (&self.active, keys.len()) {
            (_, 0) => {
                checks.error_at(
                    &path.name("keys"),
                    "is empty, and there is nothing to sign with",
                );
                None
            }
            (None, 1) => keys.pop(),
            (None, _) => {
                let problem = "is missing: which of the keys signs?";
                checks.error_at(&path.name("active"), problem);
                None
            }
            (Some(active), _) => {
                let found = keys.into_iter().find(|key| key.id == *active);
                if found.is_none() {
                    checks.error_at(&path.name("active"), "is the id of none of `keys`");
                }
                found
            }
        }
    }
}

/// All covered names, sorted as they are signed.
fn covered_names(headers: Vec<String>, identity: bool) -> Vec<String> {
    let mut names: BTreeSet<String> = headers.into_iter().collect();
    names.extend(["content-type", "x-request-id"].map(str::to_owned));
    if identity {
        names.extend(["x-tollkeep-project", "x-tollkeep-token"].map(str::to_owned));
    }
    names.into_iter().collect()
}

fn is_of_signing(name: &str) -> bool {
    name.starts_with("x-gateway-") || name == "x-tollkeep-signature"
}

/// Fields of the signature can't be set by hand as well.
pub(super) fn check_set_headers(
    headers: &[(String, SecretOrText)],
    path: &KeyPath,
    checks: &mut Checks<'_>,
) {
    for (name, _) in headers {
        if is_of_signing(name) || name.starts_with("x-tollkeep-") {
            checks.error_at(&place_of(name, path, checks), "is written by `signing`");
        }
    }
}
