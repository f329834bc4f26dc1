//! Opening, sharing and closing the store.

use crate::error::is_damage;
use crate::live::LiveTokens;
use crate::lock::ProcessLock;
use crate::wall::SteadyWall;
use crate::write::Writer;
use crate::{IpEntry, MaintenanceOn, OpenError, StoreError, Tenant};
use crate::{ip_entry, maintenance, meta, migrate, project, tenant};
use arc_swap::{ArcSwap, ArcSwapOption};
use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_types::{Clock, Entropy, WallMillis};

/// Connections for reading: management asks little, and a slow list must not hold up the rest.
const READERS_MAX: u32 = 4;

/// How the store waits.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Longest wait for a lock of the file or a free connection.
    pub busy_timeout: Duration,
}

impl Default for StoreOptions {
    /// Five seconds.
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
        }
    }
}

/// The open store. Clones are the same store.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) writer: Writer,
    pub(crate) readers: SqlitePool,
    pub(crate) live: Arc<LiveTokens>,
    /// Entries of address lists, as they are in the file.
    pub(crate) ip_entries: ArcSwap<Vec<IpEntry>>,
    /// Maintenance, as it is in the file.
    pub(crate) maintenance: ArcSwapOption<MaintenanceOn>,
    pub(crate) wall: SteadyWall,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) default_tenant: Tenant,
    /// Held as long as the connections are.
    _lock: ProcessLock,
}

impl Store {
    /// Opens the file, making it and its folder if missing, brings its schema up to date, makes the
    /// default tenant and project at first start, and loads the live tokens.
    ///
    /// # Errors
    /// [`OpenError`]: in use, newer than this program, damaged, or refused by the system. A damaged
    /// file is never replaced.
    pub async fn open(
        path: &Path,
        options: &StoreOptions,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        make_private(path)?;
        let lock = ProcessLock::take(path)?;
        let mut writer = connection(path, options)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .connect()
            .await
            .map_err(|error| open_error(path, error))?;
        let made = migrate::migrate(&mut writer, path, clock.wall()).await?;
        if made > 0 {
            tracing::info!(store.migrations = made, "Store schema brought up to date");
        }
        let default_tenant =
            tenant::ensure_default(&mut writer, clock.as_ref(), entropy.as_ref()).await?;
        let highest = meta::read(&mut writer, meta::HIGHEST_WALL_TIME).await?;
        let highest = highest
            .and_then(|text| text.parse().ok())
            .map_or(WallMillis(0), WallMillis);
        let ip_entries = ip_entry::all(&mut writer).await?;
        let maintenance = maintenance::read(&mut writer).await?;
        let mut inner = Inner {
            writer: Writer::new(writer),
            readers: readers(path, options).await?,
            live: Arc::default(),
            ip_entries: ArcSwap::from_pointee(ip_entries),
            maintenance: ArcSwapOption::new(maintenance),
            wall: SteadyWall::new(clock, highest),
            entropy,
            default_tenant,
            _lock: lock,
        };
        project::ensure_default(&inner).await?;
        inner.live = Arc::new(inner.load_live().await?);
        Ok(Self(Arc::new(inner)))
    }

    /// The tokens in use, for the data plane.
    pub fn live(&self) -> &Arc<LiveTokens> {
        &self.0.live
    }

    /// The tenant that is meant when none is named.
    pub fn default_tenant(&self) -> &Tenant {
        &self.0.default_tenant
    }

    /// The wall clock, or the greatest time it ever showed if that is later: what expired stays
    /// expired when the clock is set back. HOT: two loads.
    pub fn now(&self) -> WallMillis {
        self.0.wall.now()
    }

    /// As [`Self::now`], for one that has read the wall clock already.
    pub fn now_at(&self, wall: WallMillis) -> WallMillis {
        self.0.wall.at(wall)
    }

    /// Whether the file can be read now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.meta(meta::HIGHEST_WALL_TIME).await.map(|_| ())
    }

    /// Stores the greatest wall time, at most once a minute. Call it every few seconds.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`]; the next call tries again.
    pub async fn keep_time(&self) -> Result<(), StoreError> {
        match self.0.wall.due() {
            Some(now) => self.store_time(now).await,
            None => Ok(()),
        }
    }

    /// Stores what is still in memory, waits for changes under way, and closes the file.
    ///
    /// # Errors
    /// [`StoreError`] if something could not be stored; the file is closed all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        let usage = self.flush_usage().await;
        let time = self.store_time(self.now()).await;
        self.0.readers.close().await;
        let closed = self.0.writer.close().await;
        usage.and(time).and(closed)
    }

    async fn store_time(&self, now: WallMillis) -> Result<(), StoreError> {
        self.set_meta(meta::HIGHEST_WALL_TIME, &now.0.to_string())
            .await?;
        self.0.wall.stored(now);
        Ok(())
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

fn connection(path: &Path, options: &StoreOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .disable_statement_logging()
}

async fn readers(path: &Path, options: &StoreOptions) -> Result<SqlitePool, OpenError> {
    let connection = connection(path, options).pragma("query_only", "ON");
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(options.busy_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(connection)
        .await
        .map_err(|error| open_error(path, error))
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
