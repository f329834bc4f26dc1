//! What can go wrong with the store, as its callers tell it apart.

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;
use std::path::PathBuf;

/// Why the store did not do what it was asked. Nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// No such row, or none that the scope may see.
    #[error("not found")]
    NotFound,
    /// The row as it is doesn't allow it.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// The value could never be stored.
    #[error("invalid: {0}")]
    Invalid(&'static str),
    /// No room on the disk; reads still work.
    #[error("the store's disk is full: free some space, nothing was written")]
    Full,
    /// The file can't be read or written now.
    #[error("store unavailable: {0}")]
    Unavailable(String),
}

/// What a change collided with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// The tenant has a project of that name.
    #[error("a project of that name exists")]
    ProjectName,
    /// The tenant has a project of that slug.
    #[error("a project of that slug exists")]
    ProjectSlug,
    /// A token or key with that text exists.
    #[error("that token exists already")]
    TokenKnown,
    /// The text belonged to a token that was revoked or expired.
    #[error("that token was revoked or has expired")]
    TokenBlocked,
    /// The token was rotated before; its successor can be rotated.
    #[error("the token was rotated already")]
    TokenRotated,
    /// The token is not one that its holder replaces.
    #[error("the token is not replaced by its holder")]
    TokenNotOwn,
    /// The line of the token is as old as one may become.
    #[error("the line of the token is over")]
    LineageOver,
    /// There are as many entries of address lists as there may be.
    #[error("the address lists are full")]
    IpEntriesFull,
    /// The token is revoked, suspended or expired.
    #[error("the token is no longer active")]
    TokenNotActive,
    /// There are as many service tokens as there may be.
    #[error("there are too many service tokens")]
    ServiceTokensFull,
    /// There is a tenant of that slug.
    #[error("a tenant of that slug exists")]
    TenantSlug,
    /// The default tenant can't be suspended or deleted.
    #[error("the default tenant stays")]
    TenantDefault,
    /// The tenant was deleted.
    #[error("the tenant was deleted")]
    TenantDeleted,
    /// There are as many tenants as there may be.
    #[error("there are too many tenants")]
    TenantsFull,
    /// There are as many management keys as there may be.
    #[error("there are too many management keys")]
    ManagementKeysFull,
    /// There is an operator who signs in with that name.
    #[error("an operator of that name exists")]
    OperatorName,
    /// There are as many operators as there may be.
    #[error("there are too many operators")]
    OperatorsFull,
    /// There are as many console sessions as there may be.
    #[error("there are too many console sessions")]
    SessionsFull,
    /// There are as many credentials as there may be.
    #[error("there are too many credentials")]
    CredentialsFull,
    /// The call is under way.
    #[error("the call is under way")]
    HoldOpen,
    /// What the call cost is known.
    #[error("the cost is known")]
    HoldSettled,
    /// With its markup the cost is more than can be reckoned with.
    #[error("with its markup the cost is too large")]
    CostTooLarge,
    /// There are as many prices or price tables as there may be.
    #[error("there are too many prices")]
    PricesFull,
    /// Another override is of the same model or of the same calls.
    #[error("another override is of the same")]
    PriceKnown,
    /// Nothing of the slice is in doubt.
    #[error("nothing of the slice is in doubt")]
    SliceResolved,
    /// Less of the slice is in doubt than was used.
    #[error("less of the slice is in doubt")]
    SliceShort,
    /// The tenant has a budget of that name.
    #[error("a budget of that name exists")]
    BudgetName,
    /// There are as many budgets as there may be.
    #[error("there are too many budgets")]
    BudgetsFull,
    /// The holder has an open account in that unit.
    #[error("the holder has an account in that unit")]
    AccountOpen,
    /// The account was closed.
    #[error("the account is closed")]
    AccountClosed,
    /// Something is on the account, or taken aside of it.
    #[error("the account is not empty")]
    AccountNotEmpty,
    /// Less is there than is to be taken.
    #[error("there is not so much")]
    AccountShort,
    /// There are as many accounts as there may be.
    #[error("there are too many accounts")]
    AccountsFull,
    /// Something was given back of the call before.
    #[error("the call was refunded")]
    Refunded,
    /// What the call cost may still change.
    #[error("the cost is not final")]
    CostNotFinal,
    /// Another credential of the same place has that secret.
    #[error("another credential has that secret")]
    CredentialKnown,
    /// The key was revoked or has expired.
    #[error("the management key has ended")]
    ManagementKeyEnded,
    /// What is to be changed is no longer as it was seen.
    #[error("it was changed meanwhile")]
    Changed,
    /// It is not as the asker expects it.
    #[error("it is not as expected")]
    Unexpected,
    /// Another run of the same request took over.
    #[error("another run of the request took over")]
    Overtaken,
    /// Without this key no owner would remain.
    #[error("it is the last owner key")]
    LastOwner,
}

/// Why the store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by another process{}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The database file.
        path: PathBuf,
        /// The other process, when it said who it is.
        pid: Option<u32>,
    },
    /// Written by a later version of the program.
    #[error(
        "{place} has schema version {found}, this program knows {known}: use the newer program"
    )]
    Newer {
        /// The database.
        place: String,
        /// Version of its schema.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// Written by an earlier version of the program, and not to be changed by this one.
    #[error("{place} has schema version {found}, this program needs {known}: {how}")]
    Older {
        /// The database.
        place: String,
        /// Version of its schema.
        found: i64,
        /// Version needed here.
        known: i64,
        /// How it is brought up to date.
        how: &'static str,
    },
    /// The server can't be reached, or does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The server refuses, or is not as it must be.
    #[error("{0}")]
    Server(String),
    /// Not a database any more.
    #[error("{path} is damaged ({detail}): restore it from a backup; it is left as it is")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store opened and then failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Primary result codes of SQLite (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READ_ONLY: i32 = 8;
    pub(super) const IO: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANT_OPEN: i32 = 14;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

/// The primary result code of a failed statement: the low byte of the extended one. `None` for
/// PostgreSQL.
fn primary(error: &dyn DatabaseError) -> Option<i32> {
    error.try_downcast_ref::<SqliteError>()?;
    let extended: i32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether the file itself is broken, rather than one statement.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(primary);
    matches!(code, Some(code::CORRUPT | code::NOT_A_DATABASE))
}

/// Whether the disk under a file failed, or what is in the file.
pub(crate) fn is_disk_fault(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(primary);
    matches!(
        code,
        Some(code::IO | code::CORRUPT | code::NOT_A_DATABASE | code::CANT_OPEN)
    )
}

/// Whether the statement broke a `UNIQUE` rule whose last column is that one.
pub(crate) fn is_duplicate_of(error: &sqlx::Error, table: &str, column: &str) -> bool {
    let broken = error.as_database_error();
    let broken = broken.filter(|error| error.is_unique_violation());
    broken.is_some_and(|error| match error.constraint() {
        // As PostgreSQL names them: `projects_tenant_id_slug_key`.
        Some(rule) => rule.starts_with(table) && rule.ends_with(&format!("_{column}_key")),
        // A rule over expressions is told by its name.
        None => [
            format!("{table}.{column}"),
            format!("'{table}_{column}_key'"),
        ]
        .iter()
        .any(|end| error.message().ends_with(end)),
    })
}

/// What PostgreSQL says by its codes (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn server_reason(error: &dyn DatabaseError) -> &'static str {
    match error.code().as_deref() {
        Some("55P03" | "40P01") => "other changes take too long",
        Some("57014") => "the server took too long",
        Some("25006") => "the server only reads",
        Some(code) if code.starts_with("57P") => "the server is going away",
        Some(code) if code.starts_with("53") => "the server has no room left",
        Some(_) | None => "statement failed",
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::RowNotFound) {
            return Self::NotFound;
        }
        if crate::postgres::is_late(&error) {
            return Self::Unavailable("the server does not answer".to_owned());
        }
        let Some(database) = error.as_database_error() else {
            return Self::Unavailable(error.to_string());
        };
        if database.code().as_deref() == Some("53100") {
            return Self::Full;
        }
        if database.is_foreign_key_violation() {
            // A row refers to one that is gone, or never was.
            return Self::NotFound;
        }
        let reason = match primary(database) {
            Some(code::FULL) => return Self::Full,
            Some(code::BUSY | code::LOCKED) => "locked by another program",
            Some(code::READ_ONLY) => "the file is read-only",
            Some(code::IO) => "the disk failed",
            Some(code::CORRUPT | code::NOT_A_DATABASE) => "the file is damaged",
            Some(_) => "statement failed",
            None => server_reason(database),
        };
        Self::Unavailable(format!("{reason}: {database}"))
    }
}
