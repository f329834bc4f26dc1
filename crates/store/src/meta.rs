//! Facts of the deployment by name: instance id, sealed pepper, greatest wall time.

use crate::{Store, StoreError};
use sqlx::SqliteConnection;

/// Where the greatest wall time is kept, in milliseconds.
pub(crate) const HIGHEST_WALL_TIME: &str = "highest_wall_time_ms";

const READ: &str = "SELECT value FROM meta WHERE key = ?1";

const WRITE: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value";

impl Store {
    /// The fact of that name. Facts belong to the deployment, so there is no scope.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.0.readers.acquire().await?;
        read(&mut connection, key).await
    }

    /// Sets the fact of that name.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.unattended(async move |inner| {
            let mut write = inner.begin().await?;
            self::write(write.connection(), &key, &value).await?;
            write.commit(&[]).await
        })
        .await
    }
}

pub(crate) async fn write(
    connection: &mut SqliteConnection,
    key: &str,
    value: &str,
) -> Result<(), StoreError> {
    let write = sqlx::query(WRITE).bind(key).bind(value);
    write.execute(connection).await?;
    Ok(())
}

pub(crate) async fn read(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Option<String>, StoreError> {
    let value = sqlx::query_scalar(READ).bind(key);
    Ok(value.fetch_optional(connection).await?)
}
