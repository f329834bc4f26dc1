//! Facts of the deployment by name: instance id, sealed pepper, greatest wall time.

use crate::database::GATEWAY;
use crate::query::{Connection, query};
use crate::row;
use crate::{Store, StoreError};
use tollkeep_types::WallMillis;

/// Where the greatest wall time is kept, in milliseconds.
pub(crate) const HIGHEST_WALL_TIME: &str = "highest_wall_time_ms";

const READ: &str = "SELECT value FROM meta WHERE key = $1";

const WRITE: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value";

const WRITE_ONCE: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)
  ON CONFLICT (key) DO NOTHING";

const WRITE_HIGHEST: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value
  WHERE CAST(meta.value AS BIGINT) < CAST(excluded.value AS BIGINT)";

impl Store {
    /// The fact of that name. Facts belong to the deployment, so there is no scope.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        read(&mut connection, key).await
    }

    /// Sets the fact of that name, unless it is set; gives what it is then. Of several processes
    /// that start for the first time, one sets it.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn set_meta_once(&self, key: &str, value: &str) -> Result<String, StoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let set = query(WRITE_ONCE).bind(&key).bind(value);
            set.execute(write.connection()).await?;
            let value = read(write.connection(), &key).await?;
            write.commit(&[]).await?;
            value.ok_or(StoreError::NotFound)
        })
        .await
    }

    /// Sets the fact of that name, whatever it was.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn set_meta(&self, key: &'static str, value: &str) -> Result<(), StoreError> {
        let value = value.to_owned();
        self.unattended(async move |inner| {
            let mut write_to = inner.begin(GATEWAY).await?;
            write(write_to.connection(), key, &value).await?;
            write_to.commit(&[]).await
        })
        .await
    }

    /// Stores the greatest wall time, unless a greater one is stored.
    pub(crate) async fn keep_highest_time(&self, now: WallMillis) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            query(WRITE_HIGHEST)
                .bind(HIGHEST_WALL_TIME)
                .bind(now.0.to_string())
                .execute(write.connection())
                .await?;
            write.commit(&[]).await
        })
        .await
    }
}

pub(crate) async fn write(
    connection: &mut Connection,
    key: &str,
    value: &str,
) -> Result<(), StoreError> {
    let write = query(WRITE).bind(key).bind(value);
    write.execute(connection).await?;
    Ok(())
}

pub(crate) async fn read(
    connection: &mut Connection,
    key: &str,
) -> Result<Option<String>, StoreError> {
    let found = query(READ).bind(key).fetch_optional(connection).await?;
    found.map(|row| row::text(&row, "value")).transpose()
}
