//! What can go wrong with a transaction of the ledger, and what is done about it.

use super::Ledger;
use crate::database::Database;
use crate::{StoreError, error};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why a transaction was not done, or nobody knows whether it was.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database said so.
    Sql(sqlx::Error),
    /// A row can't be read, or the store can't be reached.
    Store(StoreError),
    /// A row is not as it was when it was loaded.
    Overtaken,
    /// A usage record may be there that was believed not to be.
    Believed,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Overtaken => f.write_str("a row was changed by somebody else"),
            Self::Believed => f.write_str("a usage record may be there already"),
        }
    }
}

impl Failure {
    /// The same, for who asked for something else than a step of money.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Sql(error) => error.into(),
            Self::Store(error) => error,
            Self::Overtaken | Self::Believed => StoreError::Unavailable(self.to_string()),
        }
    }

    /// Whether it may go well the next moment, and certainly was not done.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => {
                matches!(error.code().as_deref(), Some("40001" | "40P01" | "55P03"))
            }
            Self::Overtaken => true,
            Self::Sql(_) | Self::Store(_) | Self::Believed => false,
        }
    }

    /// Whether a usage record may be there already, which is to be looked for.
    pub(super) fn is_of_belief(&self) -> bool {
        match self {
            Self::Believed => true,
            Self::Sql(sqlx::Error::Database(error)) => error.is_unique_violation(),
            Self::Sql(_) | Self::Store(_) | Self::Overtaken => false,
        }
    }

    /// Whether one command or row is at fault, and not the store.
    pub(super) fn is_of_one(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => {
                error.is_unique_violation()
                    || error.is_check_violation()
                    || matches!(error.kind(), sqlx::error::ErrorKind::NotNullViolation)
                    // A number out of range, or a text that is none.
                    || matches!(error.code().as_deref(), Some("22003" | "22021"))
            }
            Self::Sql(sqlx::Error::ColumnDecode { .. }) | Self::Overtaken => true,
            Self::Store(StoreError::Unavailable(told)) => told.ends_with("can't be read"),
            Self::Sql(_) | Self::Store(_) | Self::Believed => false,
        }
    }

    /// Whether what the file's connection knows of the disk may be wrong.
    fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Sql(failed) if error::is_disk_fault(failed))
    }
}

const WORKS: u8 = 0;
const FAILS: u8 = 1;
/// The file has to be reopened and checked.
const BROKEN: u8 = 2;
const CLOSED: u8 = 3;

/// How the ledger stands.
#[derive(Debug, Default)]
pub(super) struct Standing(AtomicU8);

impl Standing {
    pub(super) fn is_down(&self) -> bool {
        self.0.load(Ordering::Relaxed) != WORKS
    }

    pub(super) fn works(&self) {
        self.change(FAILS, WORKS);
        self.change(BROKEN, WORKS);
    }

    pub(super) fn note(&self, failure: &Failure) {
        self.change(WORKS, FAILS);
        if failure.is_of_the_disk() {
            self.change(FAILS, BROKEN);
        }
    }

    pub(super) fn close(&self) {
        self.0.store(CLOSED, Ordering::Relaxed);
    }

    fn is_broken(&self) -> bool {
        self.0.load(Ordering::Relaxed) == BROKEN
    }

    fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == CLOSED
    }

    /// Unless it is closed, or something else, meanwhile.
    fn change(&self, from: u8, to: u8) {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.0.compare_exchange(from, to, set, fetch).is_ok() {
            tracing::debug!(from, to, "The ledger stands otherwise");
        }
    }
}

impl Ledger {
    /// Takes note of a failure, and undoes what it left behind.
    pub(super) async fn note(&self, failure: &Failure) {
        self.0.ledger.standing.note(failure);
        self.0.database.settle().await;
    }

    /// Whether it may be written to. A file whose disk failed is reopened and checked first: what
    /// its connection has in memory may never have reached the disk.
    pub(super) async fn heal(&self) -> bool {
        let standing = &self.0.ledger.standing;
        if standing.is_closed() {
            return false;
        }
        if !standing.is_broken() {
            return true;
        }
        let Database::Sqlite(file) = &self.0.database else {
            return true;
        };
        match file.reopen().await {
            Ok(()) => {
                standing.change(BROKEN, FAILS);
                tracing::warn!(
                    "The store's file was reopened after a fault of the disk, and checked"
                );
                true
            }
            Err(error) => {
                tracing::warn!("The store's file can't be reopened: {error}");
                false
            }
        }
    }
}
