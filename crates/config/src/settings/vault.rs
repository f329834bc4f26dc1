//! Where the keys come from that seal secrets in the store (ID-64, ID-65).

use super::Egress;
use super::key_service::{KeyService, MOUNT, Written};
use crate::check::Checks;
use crate::field::{KindExt, listed};
use crate::kind::{Parsed, choice, networks_or_all_private, parsed, path, secret, switch, text};
use crate::reader::keys;
use crate::secret_file;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::path::{Path, PathBuf};
use tollkeep_types::Secret;

/// Where key-encryption keys come from, besides `auth.encryption.key`.
#[derive(Clone, Debug, Default)]
pub struct Vault {
    /// Whether production may keep its key-encryption key as a file beside the database.
    pub allow_local_kek: bool,
    /// Further keys, in the order of the file.
    pub keks: Vec<KekSetting>,
}

/// A key-encryption key.
#[derive(Clone, Debug)]
pub struct KekSetting {
    /// What records under it name.
    pub id: String,
    /// Where it comes from.
    pub source: KekSource,
    /// What it is for.
    pub state: KekUse,
    /// Its text; none of a retired one, which is not looked for, or of one that a service keeps.
    pub key: Option<Secret>,
    /// The service that keeps it; none of a retired one.
    pub service: Option<KeyService>,
}

/// Where a key-encryption key comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KekSource {
    /// A variable of the environment.
    Env,
    /// A file.
    File,
    /// A credential that systemd hands over.
    SystemdCredential,
    /// The Transit engine of a Vault.
    VaultTransit,
    /// AWS KMS.
    AwsKms,
}

impl KekSource {
    /// Whether a service is asked for the key.
    pub const fn is_service(self) -> bool {
        matches!(self, Self::VaultTransit | Self::AwsKms)
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::File => "file",
            Self::SystemdCredential => "systemd-credential",
            Self::VaultTransit => "vault-transit",
            Self::AwsKms => "aws-kms",
        }
    }
}

/// What a key-encryption key is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KekUse {
    /// It may seal.
    Active,
    /// It opens what it sealed; at the next start that is sealed under an active one.
    DecryptOnly,
    /// It is gone, and may have sealed nothing that is still there.
    Retired,
}

impl PartialEq for KekSetting {
    fn eq(&self, other: &Self) -> bool {
        let text = |kek: &Self| kek.key.as_ref().map(|key| key.expose().to_owned());
        // A service is asked at the start alone: how it is reached may change.
        self.id == other.id
            && self.source == other.source
            && self.state == other.state
            && text(self) == text(other)
    }
}

impl Vault {
    /// Whether one of the keys may seal.
    pub fn has_active(&self) -> bool {
        self.keks.iter().any(|kek| kek.state == KekUse::Active)
    }
}

keys! {
    /// Where key-encryption keys come from.
    pub(crate) struct VaultFile {
        /// Whether production may keep its key-encryption key as a file beside the database.
        allow_local_kek: bool = switch().or(false),
        /// Key-encryption keys besides `auth.encryption.key`, whose id is `k1`. The first active
        /// one seals, until `tollkeep vault rekey --kek` names another.
        keks: Vec<KekFile> = listed(),
    }
}

keys! {
    /// A key-encryption key.
    pub(crate) struct KekFile {
        /// Its id, which stands in every record under it and can't be changed.
        id: Option<String> = kek_id().required(),
        /// Where it comes from: `env` a variable, `file` a file, `systemd-credential` a file in
        /// the folder that `CREDENTIALS_DIRECTORY` names. What it holds is read as
        /// `auth.encryption.key` is. Of `vault-transit` and `aws-kms` the key is made here once and
        /// sealed by the service; the store keeps it sealed, and each start asks the service to
        /// open it, for 2 s at most.
        source: Option<KekSource> = choice(SOURCES).required(),
        /// The name of the variable or of the credential; what the service calls its key, for AWS
        /// an id, an ARN or `alias/…`.
        name: Option<String> = text().optional(),
        /// The path of the file.
        path: Option<PathBuf> = path().optional(),
        /// The URL of the service; for AWS that of the region if it is not given.
        address: Option<String> = text().optional(),
        /// Where the Transit engine is in the Vault.
        mount: String = mount().or(MOUNT.to_owned()),
        /// The token that the Vault knows us by; it may encrypt and decrypt with the key.
        token: Option<Secret> = secret().optional(),
        /// The namespace in the Vault, where there are some.
        namespace: Option<String> = text().optional(),
        /// The region of AWS, such as `eu-central-1`.
        region: Option<String> = region().optional(),
        /// The access key of AWS, which may use the key to encrypt and decrypt.
        access_key_id: Option<String> = text().optional(),
        /// Its secret.
        secret_access_key: Option<Secret> = secret().optional(),
        /// The session token of an access key that works for a while.
        session_token: Option<Secret> = secret().optional(),
        /// Private networks the service may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
        /// `active` keys may seal. What `decrypt-only` ones sealed is sealed anew at the next start.
        /// `retired` ones are not looked for, and the start is refused while something is sealed
        /// under them.
        state: KekUse = choice(STATES).or(KekUse::Active),
    }
}

const SOURCES: &[(&str, KekSource)] = &[
    ("env", KekSource::Env),
    ("file", KekSource::File),
    ("systemd-credential", KekSource::SystemdCredential),
    ("vault-transit", KekSource::VaultTransit),
    ("aws-kms", KekSource::AwsKms),
];

const STATES: &[(&str, KekUse)] = &[
    ("active", KekUse::Active),
    ("decrypt-only", KekUse::DecryptOnly),
    ("retired", KekUse::Retired),
];

/// Keys at most: each is tried by nobody, but all are kept in memory.
const KEKS_MAX: usize = 32;

/// An id as records name it. `new` is a word of `tollkeep vault rekey --kek`.
const fn kek_id() -> Parsed<String> {
    parsed("1 to 32 of a-z, 0-9, `-` and `_`", |text| {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        if text.is_empty() || text.len() > 32 || !text.bytes().all(plain) {
            return Err(format!(
                "want 1 to 32 of a-z, 0-9, `-` and `_`, not {text:?}"
            ));
        }
        if text == "new" {
            return Err("`new` stands for a key that is made: choose another id".to_owned());
        }
        Ok(text.to_owned())
    })
}

/// The place of an engine: segments of a path.
const fn mount() -> Parsed<String> {
    parsed("path such as `transit`", |text| {
        let segment = |segment: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !segment.is_empty() && segment.bytes().all(plain)
        };
        let fits = text.len() <= 128 && text.split('/').all(segment);
        fits.then(|| text.to_owned())
            .ok_or_else(|| "want segments of letters, digits, `-` and `_`".to_owned())
    })
}

const fn region() -> Parsed<String> {
    parsed("region such as `eu-central-1`", |text| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| text.to_owned())
            .ok_or_else(|| "want a region such as `eu-central-1`".to_owned())
    })
}

const ROOT: &str = "vault.keks";

impl VaultFile {
    pub(super) fn check(self, egress: &Egress, checks: &mut Checks<'_>) -> Vault {
        if self.keks.len() > KEKS_MAX {
            checks.error(ROOT, format!("has more than {KEKS_MAX} entries"));
        }
        let mut keks: Vec<KekSetting> = Vec::new();
        for (index, file) in self.keks.into_iter().enumerate() {
            let at = KeyPath::of(ROOT).index(index);
            let Some(kek) = file.check((&at, egress), checks) else {
                continue;
            };
            if keks.iter().any(|other| other.id == kek.id) {
                let problem = format!("`{}` is another key's id", kek.id);
                checks.error_at(&at.name("id"), problem);
            }
            keks.push(kek);
        }
        Vault {
            allow_local_kek: self.allow_local_kek,
            keks,
        }
    }
}

impl KekFile {
    /// `None` once a fault is told.
    fn check(
        self,
        (at, egress): (&KeyPath, &Egress),
        checks: &mut Checks<'_>,
    ) -> Option<KekSetting> {
        let (id, source) = (self.id?, self.source?);
        let is_file = source == KekSource::File;
        let written = Written {
            name: self.name.clone(),
            address: self.address,
            mount: self.mount,
            token: self.token,
            namespace: self.namespace,
            region: self.region,
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            session_token: self.session_token,
            allow_private: self.allow_private,
        };
        let mut of_another = written.strange(source);
        of_another.extend((is_file && self.name.is_some()).then_some("name"));
        of_another.extend((!is_file && self.path.is_some()).then_some("path"));
        for key in of_another {
            let problem = format!("is not read where the source is `{}`", source.as_str());
            checks.error_at(&at.name(key), problem);
        }
        let (key, service) = if self.state == KekUse::Retired {
            (None, None)
        } else if source.is_service() {
            (None, Some(written.check(source, (at, egress), checks)?))
        } else {
            match key_of(source, self.name.as_deref(), self.path.as_deref(), checks) {
                Ok((key, warning)) => {
                    if let Some(warning) = warning {
                        checks.warn_at(at, &warning);
                    }
                    (Some(key), None)
                }
                Err((key, problem)) => {
                    checks.error_at(&at.name(key), problem);
                    return None;
                }
            }
        };
        Some(KekSetting {
            id,
            source,
            state: self.state,
            key,
            service,
        })
    }
}

/// A key and what is to be told of its file, or the key of the settings that is at fault.
type Found = Result<(Secret, Option<String>), (&'static str, String)>;

fn key_of(
    source: KekSource,
    name: Option<&str>,
    path: Option<&Path>,
    checks: &Checks<'_>,
) -> Found {
    let name = || name.ok_or_else(|| ("name", "is missing".to_owned()));
    match source {
        KekSource::Env => {
            let name = name()?;
            let text = checks.env.set(name);
            let text = text.ok_or_else(|| ("name", format!("`{name}` is not set")))?;
            Ok((Secret::new(text), None))
        }
        KekSource::File => {
            let path = path.ok_or_else(|| ("path", "is missing".to_owned()))?;
            read(path).map_err(|problem| ("path", problem))
        }
        KekSource::SystemdCredential => {
            let name = name()?;
            if name.contains('/') || name.starts_with('.') || name.is_empty() {
                return Err(("name", "is no name of a credential".to_owned()));
            }
            let folder = checks.env.set("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                let problem = "can't be found: CREDENTIALS_DIRECTORY is not set, as systemd does \
                               where a unit has `LoadCredential=`";
                ("name", problem.to_owned())
            })?;
            read(&Path::new(folder).join(name)).map_err(|problem| ("name", problem))
        }
        KekSource::VaultTransit | KekSource::AwsKms => {
            Err(("source", "is a service, which has no text here".to_owned()))
        }
    }
}

fn read(path: &Path) -> Result<(Secret, Option<String>), String> {
    let file = secret_file::read(path)?;
    Ok((Secret::new(file.text), file.warning))
}

#[cfg(test)]
mod tests;
