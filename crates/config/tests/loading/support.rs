//! A configuration in a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tollkeep_config::{Env, LoadRequest, Loaded, Settings, load};

pub(crate) struct Case {
    folder: TempDir,
    request: LoadRequest,
}

impl Case {
    /// A folder without a file.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let request = LoadRequest {
            working_dir: folder.path().to_path_buf(),
            ..LoadRequest::default()
        };
        Self { folder, request }
    }

    /// A folder with this `tollkeep.yaml`.
    pub(crate) fn yaml(text: &str) -> Self {
        Self::bare().file("tollkeep.yaml", text)
    }

    pub(crate) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        self.file_with_mode(name, text, 0o600)
    }

    pub(crate) fn file_with_mode(self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> Self {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Reads this file instead of looking for one.
    pub(crate) fn config(mut self, name: impl AsRef<Path>) -> Self {
        self.request.file = Some(self.folder.path().join(name));
        self
    }

    pub(crate) fn env_file(mut self, name: &str) -> Self {
        self.request.env_file = Some(self.path(name));
        self
    }

    pub(crate) fn env(mut self, pairs: &[(&str, &str)]) -> Self {
        self.request.env = Env::from_pairs(pairs.iter().copied());
        self
    }

    pub(crate) fn set(mut self, set: &str) -> Self {
        self.request.sets.push(set.to_owned());
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration, or the lines of its faults with the folder left out.
    pub(crate) fn load(&self) -> Result<Loaded, String> {
        load(&self.request).map_err(|errors| self.without_folder(&errors.to_string()))
    }

    pub(crate) fn settings(&self) -> Settings {
        self.loaded().settings
    }

    #[track_caller]
    pub(crate) fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[track_caller]
    pub(crate) fn errors(&self) -> String {
        self.load().expect_err("the configuration is valid")
    }

    pub(crate) fn warnings(&self) -> String {
        self.without_folder(&self.loaded().warnings.join("\n"))
    }

    fn without_folder(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}
