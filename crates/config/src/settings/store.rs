//! The database.

use super::ms;
use crate::field::KindExt;
use crate::kind::{choice, duration, path};
use crate::reader::keys;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database (SQLite).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreSettings {
    /// The database file.
    pub path: PathBuf,
    /// How long a statement waits for another writer.
    pub busy_timeout: Duration,
}

/// Which database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Driver {
    Sqlite,
}

keys! {
    /// The database.
    pub(crate) struct StoreFile {
        /// Which database.
        driver: Driver = choice(&[("sqlite", Driver::Sqlite)])
            .later(&["postgres", "postgresql", "mysql", "memory"])
            .or(Driver::Sqlite),
        /// The database file. Default: `tollkeep.db` in `data_dir`.
        path: Option<PathBuf> = path().optional(),
        /// How long a statement waits for another writer.
        busy_timeout: Duration = duration(1..=600_000).or(ms(5_000)),
    }
}

impl StoreFile {
    pub(super) fn check(self, data_dir: &Path) -> StoreSettings {
        let Driver::Sqlite = self.driver;
        StoreSettings {
            path: self.path.unwrap_or_else(|| data_dir.join("tollkeep.db")),
            busy_timeout: self.busy_timeout,
        }
    }
}
