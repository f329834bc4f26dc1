//! The database as a file that one process holds open.

use crate::error::is_damage;
use crate::lock::ProcessLock;
use crate::migrate::Migrate;
use crate::query::{Connection, query};
use crate::write::Writer;
use crate::{OpenError, StoreError, row};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections for reading: management asks little, and a slow list must not hold up the rest.
const READERS_MAX: u32 = 4;

/// Pages that the writer keeps in memory, 16 MiB at most: what indexes of millions of rows need is read again
/// from the file otherwise, record by record.
const CACHE: &str = "-16384";
/// Pages in the log before they are written to the file, 16 MiB: those that many records change are then
/// written once for all of them.
const CHECKPOINT_PAGES: &str = "4096";

const CHECK: &str = "PRAGMA quick_check(1)";

/// How long opening the file may take: its disk may be busy while a machine starts, and nobody
/// waits for an answer yet.
const OPENING_MAX: Duration = Duration::from_secs(60);

/// The open file.
pub(crate) struct File {
    pub(crate) writer: Writer,
    pub(crate) readers: SqlitePool,
    path: PathBuf,
    busy_timeout: Duration,
    /// Held as long as the connections are, by whoever writes.
    _lock: Option<ProcessLock>,
}

impl File {
    /// Opens the file, making it and its folder if missing; beside another process it is only looked
    /// into.
    pub(crate) async fn open(
        path: &Path,
        busy_timeout: Duration,
        migrate: Migrate,
    ) -> Result<Self, OpenError> {
        let lock = if migrate == Migrate::Beside {
            None
        } else {
            make_private(path)?;
            Some(ProcessLock::take(path)?)
        };
        let writer = writing(path, busy_timeout).await;
        let writer = writer.map_err(|error| open_error(path, error))?;
        let reading = connection(path, busy_timeout).pragma("query_only", "ON");
        let readers = pool(reading, READERS_MAX, busy_timeout);
        let opened = first(&readers, busy_timeout).await;
        opened.map_err(|error| open_error(path, error))?;
        Ok(Self {
            writer: Writer::new(writer),
            readers,
            path: path.to_owned(),
            busy_timeout,
            _lock: lock,
        })
    }

    /// Opens the file anew for writing, and checks it whole. Nothing is written before that works.
    pub(crate) async fn reopen(&self) -> Result<(), StoreError> {
        let open = async || {
            let mut connection = writing(&self.path, self.busy_timeout).await?;
            let found = query(CHECK).fetch_one(&mut connection).await?;
            let found = row::text(&found, "quick_check").unwrap_or_default();
            if found == "ok" {
                return Ok(connection);
            }
            Err(sqlx::Error::Protocol(format!(
                "the file is damaged: {found}"
            )))
        };
        Ok(self.writer.reopen(open).await?)
    }

    /// A connection that only reads.
    pub(crate) async fn read(&self) -> Result<Connection, StoreError> {
        Ok(Connection::Sqlite(self.readers.acquire().await?))
    }
}

/// Makes the folder (0700) and the file (0600) if they are missing. SQLite gives its side files the
/// mode of the file.
fn make_private(path: &Path) -> Result<(), OpenError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| OpenError::Io {
            path: folder.to_owned(),
            source,
        })?;
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(OpenError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The connection that writes.
async fn writing(path: &Path, busy_timeout: Duration) -> Result<Connection, sqlx::Error> {
    let options = connection(path, busy_timeout)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", CACHE)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
    // Its one connection is taken here, for good.
    let pool = pool(options, 1, OPENING_MAX);
    Ok(Connection::Sqlite(pool.acquire().await?))
}

fn connection(path: &Path, busy_timeout: Duration) -> SqliteConnectOptions {
    use sqlx::ConnectOptions;
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(busy_timeout)
        .disable_statement_logging()
}

fn pool(options: SqliteConnectOptions, size: u32, patience: Duration) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(patience)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Opens the first connection of a pool, which has longer for it than those that are asked for
/// while somebody waits.
async fn first(pool: &SqlitePool, patience: Duration) -> Result<(), sqlx::Error> {
    let tries = OPENING_MAX.as_millis() / patience.as_millis().max(1);
    for _ in 0..tries {
        match pool.acquire().await {
            Err(sqlx::Error::PoolTimedOut) => {}
            opened => return opened.map(drop),
        }
    }
    pool.acquire().await.map(drop)
}

fn open_error(path: &Path, error: sqlx::Error) -> OpenError {
    if is_damage(&error) {
        return OpenError::Damaged {
            path: path.to_owned(),
            detail: error.to_string(),
        };
    }
    StoreError::from(error).into()
}
