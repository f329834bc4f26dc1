//! Where the keys come from that seal secrets in the store (ID-64, ID-65).

use crate::check::Checks;
use crate::field::{KindExt, listed};
use crate::kind::{Parsed, choice, parsed, path, switch, text};
use crate::reader::keys;
use crate::secret_file;
use crate::tree::KeyPath;
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
    /// Its text; none of a retired one, which is not looked for.
    pub key: Option<Secret>,
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
}

impl KekSource {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::File => "file",
            Self::SystemdCredential => "systemd-credential",
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
        /// `auth.encryption.key` is.
        source: Option<KekSource> = choice(SOURCES)
            .later(&["vault-transit", "aws-kms"])
            .required(),
        /// The name of the variable or of the credential.
        name: Option<String> = text().optional(),
        /// The path of the file.
        path: Option<PathBuf> = path().optional(),
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

const ROOT: &str = "vault.keks";

impl VaultFile {
    pub(super) fn check(self, checks: &mut Checks<'_>) -> Vault {
        if self.keks.len() > KEKS_MAX {
            checks.error(ROOT, format!("has more than {KEKS_MAX} entries"));
        }
        let mut keks: Vec<KekSetting> = Vec::new();
        for (index, file) in self.keks.into_iter().enumerate() {
            let at = KeyPath::of(ROOT).index(index);
            let Some(kek) = file.check(&at, checks) else {
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
    fn check(self, at: &KeyPath, checks: &mut Checks<'_>) -> Option<KekSetting> {
        let (id, source) = (self.id?, self.source?);
        let of_another = match source {
            KekSource::File => self.name.is_some().then_some("name"),
            KekSource::Env | KekSource::SystemdCredential => self.path.is_some().then_some("path"),
        };
        if let Some(key) = of_another {
            let problem = format!("is not read where the source is `{}`", source.as_str());
            checks.error_at(&at.name(key), problem);
        }
        let key = if self.state == KekUse::Retired {
            None
        } else {
            match key_of(source, self.name.as_deref(), self.path.as_deref(), checks) {
                Ok((key, warning)) => {
                    if let Some(warning) = warning {
                        checks.warn_at(at, &warning);
                    }
                    Some(key)
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
    }
}

fn read(path: &Path) -> Result<(Secret, Option<String>), String> {
    let file = secret_file::read(path)?;
    Ok((Secret::new(file.text), file.warning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Env, LoadRequest, Loaded};

    const KEY: &str = "8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e";

    fn load(folder: &Path, keks: &str, env: &[(&str, &str)]) -> Result<Loaded, String> {
        let file = folder.join("tollkeep.yaml");
        std::fs::write(&file, format!("vault:\n  keks: [{keks}]\n")).unwrap();
        let request = LoadRequest {
            file: Some(file),
            sets: Vec::new(),
            env: Env::from_pairs(env.iter().copied()),
            working_dir: folder.to_owned(),
            env_file: None,
            running: false,
        };
        crate::load(&request).map_err(|faults| faults.to_string())
    }

    // ID-65
    #[test]
    fn a_key_comes_from_a_variable_a_file_or_systemd() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("kek"), format!("{KEY}\n")).unwrap();
        let path = at.join("kek");
        let file = format!("{{id: a, source: file, path: {}}}", path.display());
        let directory = at.display().to_string();
        for (name, kek, env, source) in [
            (
                "env",
                "{id: a, source: env, name: MINE}",
                ("MINE", KEY),
                KekSource::Env,
            ),
            ("file", &file, ("MINE", ""), KekSource::File),
            (
                "systemd",
                "{id: a, source: systemd-credential, name: kek}",
                ("CREDENTIALS_DIRECTORY", &directory),
                KekSource::SystemdCredential,
            ),
        ] {
            let vault = load(at, kek, &[env]).unwrap().settings.vault;
            let found = &vault.keks[0];
            assert_eq!(
                (found.source, found.state),
                (source, KekUse::Active),
                "{name}"
            );
            assert_eq!(found.key.as_ref().unwrap().expose(), KEY, "{name}");
        }
    }

    // ID-65
    #[test]
    fn what_is_wrong_with_a_key_is_told_by_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let many: Vec<_> = (0..33)
            .map(|id| format!("{{id: a{id}, source: env, name: MINE}}"))
            .collect();
        for (name, keks, want) in [
            ("no id", "{source: env, name: MINE}", "vault.keks[0].id"),
            ("no source", "{id: a, name: MINE}", "vault.keks[0].source"),
            (
                "another form",
                "{id: A, source: env, name: MINE}",
                "want 1 to 32 of a-z",
            ),
            (
                "a word",
                "{id: new, source: env, name: MINE}",
                "choose another id",
            ),
            (
                "no variable",
                "{id: a, source: env}",
                "vault.keks[0].name: is missing",
            ),
            (
                "not set",
                "{id: a, source: env, name: NOT_THERE}",
                "`NOT_THERE` is not set",
            ),
            (
                "no file",
                "{id: a, source: file, path: /nowhere/kek}",
                "can't read",
            ),
            (
                "no path",
                "{id: a, source: file}",
                "vault.keks[0].path: is missing",
            ),
            (
                "of another",
                "{id: a, source: env, name: MINE, path: /x}",
                "is not read",
            ),
            (
                "no systemd",
                "{id: a, source: systemd-credential, name: x}",
                "CREDENTIALS_DIRECTORY",
            ),
            (
                "not here",
                "{id: a, source: vault-transit, name: x}",
                "vault-transit",
            ),
            ("nor this", "{id: a, source: aws-kms, name: x}", "aws-kms"),
            (
                "state",
                "{id: a, source: env, name: MINE, state: off}",
                "vault.keks[0].state",
            ),
            (
                "twice",
                "{id: a, source: env, name: MINE}, {id: a, source: env, name: MINE}",
                "`a` is another key's id",
            ),
            ("many", &many.join(", "), "more than 32"),
        ] {
            let refused = load(folder.path(), keks, &[("MINE", KEY)]);
            let told = refused.err().unwrap_or_default();
            assert!(told.contains(want), "{name}: {told}");
            assert!(!told.contains(KEY), "{name}");
        }
    }

    // ID-65
    #[test]
    fn a_retired_key_is_not_looked_for_and_satisfies_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let retired = "{id: a, source: env, name: GONE, state: retired}";
        let vault = load(folder.path(), retired, &[]).unwrap().settings.vault;
        assert!(vault.keks[0].key.is_none() && !vault.has_active());
        let required = [("REQUIRE_ENCRYPTION_KEY", "true"), ("MINE", KEY)];
        assert!(load(folder.path(), retired, &required).is_err());
        let active = "{id: a, source: env, name: MINE}";
        assert!(load(folder.path(), active, &required).is_ok());
    }
}
