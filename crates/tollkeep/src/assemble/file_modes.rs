//! Folders and files that are nobody else's business: their owner and their modes (ID-68).

use super::keks;
use crate::exit::{self, Failed};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tollkeep_config::settings::{Environment, Settings};

/// A folder or file that others may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Offender {
    path: PathBuf,
    /// Its mode where that is wrong, and the mode it should have.
    mode: Option<(u32, u32)>,
    /// Its owner where that is not us.
    owner: Option<u32>,
}

/// Refuses what others may use in production, and warns of it otherwise.
///
/// # Errors
/// In production, every folder and file that others may use.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    let offenders = Offender::all(settings);
    if offenders.is_empty() {
        return Ok(());
    }
    if settings.environment == Environment::Production {
        let told: Vec<_> = offenders.iter().map(Offender::told).collect();
        let problem = format!(
            "files that others may use are refused in production:\n{}",
            told.join("\n")
        );
        return Err(Failed::new(exit::INVALID, problem).into());
    }
    for offender in &offenders {
        tracing::warn!("Others may use what is ours: {}", offender.told());
    }
    Ok(())
}

impl Offender {
    /// All of them.
    pub(crate) fn all(settings: &Settings) -> Vec<Self> {
        let own = rustix::process::geteuid().as_raw();
        let (data, keys) = (&settings.data_dir, keks::folder(settings));
        let folders = [data.clone(), keys.clone()].into_iter();
        let folders = folders.filter_map(|path| Self::look(path, 0o700, own));
        let audit = &settings.audit;
        let mut files = vec![
            (data.join("usage.jsonl"), 0o600),
            // Nobody runs a socket.
            (data.join("tollkeep.sock"), 0o700),
            (data.join("first-management-key"), 0o600),
        ];
        files.extend(audit.file.clone().map(|file| (file, audit.mode)));
        if settings.store.postgres.is_none() {
            let database = settings.store.path.display().to_string();
            let sides = ["", "-wal", "-shm", ".lock"];
            files.extend(sides.map(|side| (format!("{database}{side}").into(), 0o600)));
        }
        let in_keys = fs::read_dir(&keys).into_iter().flatten();
        let in_keys = in_keys.filter_map(|entry| Some(entry.ok()?.path()));
        files.extend(in_keys.map(|path| (path, 0o600)));
        let files = files
            .into_iter()
            .filter_map(|(path, mode)| Self::look(path, mode, own));
        folders.chain(files).collect()
    }

    /// `None` if it is as it should be, or not there.
    fn look(path: PathBuf, wanted: u32, own: u32) -> Option<Self> {
        let about = fs::metadata(&path).ok()?;
        let mode = about.mode() & 0o777;
        let is_wide = mode & !wanted != 0;
        let is_foreign = about.uid() != own;
        (is_wide || is_foreign).then(|| Self {
            path,
            mode: is_wide.then_some((mode, wanted)),
            owner: is_foreign.then_some(about.uid()),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> String {
        let mode = self.mode.map(|(mode, _)| format!("has mode {mode:04o}"));
        let owner = self.owner.map(|owner| format!("belongs to user {owner}"));
        let both: Vec<_> = mode.into_iter().chain(owner).collect();
        both.join(" and ")
    }

    /// What mends it.
    pub(crate) fn fix(&self) -> String {
        let path = shell_word(&self.path);
        let mode = self
            .mode
            .map(|(_, wanted)| format!("chmod {wanted:04o} {path}"));
        let own = rustix::process::geteuid().as_raw();
        let owner = self.owner.map(|_| format!("chown {own} {path}"));
        let both: Vec<_> = mode.into_iter().chain(owner).collect();
        both.join(" && ")
    }

    /// Gives it the mode that it should have.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn mend(&self) -> io::Result<()> {
        match self.mode {
            Some((mode, wanted)) => {
                fs::set_permissions(&self.path, Permissions::from_mode(mode & wanted))
            }
            None => Ok(()),
        }
    }

    fn told(&self) -> String {
        let (path, problem, fix) = (self.path.display(), self.problem(), self.fix());
        format!("{path} {problem}: {fix}")
    }
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_config::{Env, LoadRequest};

    // ID-68
    #[test]
    fn what_others_may_use_is_found_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let path = folder.path().join("a file");
        fs::write(&path, "x").unwrap();
        for (mode, wanted, fits) in [
            (0o600, 0o600, true),
            (0o400, 0o600, true),
            (0o640, 0o640, true),
            (0o640, 0o600, false),
            (0o602, 0o600, false),
            (0o700, 0o600, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let found = Offender::look(path.clone(), wanted, own);
            assert_eq!(found.is_none(), fits, "{mode:o} {wanted:o}");
            let Some(found) = found else { continue };
            assert_eq!(found.problem(), format!("has mode {mode:04o}"));
            let told = found.fix();
            assert_eq!(told, format!("chmod {wanted:04o} '{}'", path.display()));
            found.mend().unwrap();
            assert_eq!(Offender::look(path.clone(), wanted, own), None);
        }
        let foreign = Offender::look(path, 0o600, own + 1).unwrap();
        assert_eq!(foreign.problem(), format!("belongs to user {own}"));
        assert!(foreign.fix().starts_with("chown "));
        assert_eq!(Offender::look(folder.path().join("none"), 0o600, own), None);
    }

    // ID-68
    #[test]
    fn wide_files_keep_production_from_starting_and_are_warned_of_else() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let settings = |environment: &str| {
            let request = LoadRequest {
                file: None,
                sets: vec![
                    format!("environment={environment}"),
                    format!("data_dir={}", data.display()),
                    "vault.allow_local_kek=true".to_owned(),
                ],
                env: Env::empty(),
                working_dir: folder.path().to_owned(),
                env_file: None,
                running: false,
                looks_only: false,
                documents: tollkeep_config::Documents::Unread,
            };
            tollkeep_config::load(&request).unwrap().settings
        };
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        let refused = check(&settings("production")).unwrap_err();
        assert_eq!(exit::code_of(&refused), exit::INVALID);
        let fix = format!("has mode 0755: chmod 0700 {}", data.display());
        assert!(refused.to_string().contains(&fix), "{refused}");
        assert!(check(&settings("development")).is_ok());
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        assert!(check(&settings("production")).is_ok());
    }
}
