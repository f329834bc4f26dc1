//! Prices that operators wrote while the gateway ran, and the signed table that they took in (LED-34,
//! LED-35). What they say is for whoever reads them: here they are texts.

use crate::database::GATEWAY;
use crate::follow::Changed;
use crate::open::Inner;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Conflict, Store, StoreError};
use std::sync::Arc;
use tollkeep_types::WallMillis;

/// Overrides at most.
const OVERRIDES_MAX: u32 = 1_000;
/// Tables that were ever taken in, at most: they are kept for ever.
const TABLES_MAX: u32 = 1_000;

/// All of it, as it is in the database.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeptPrices {
    /// In order of their ids.
    pub overrides: Vec<PriceOverride>,
    /// The table to use instead of the shipped one.
    pub table: Option<KeptTable>,
}

/// A price of the operator's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PriceOverride {
    /// Its name.
    pub id: String,
    /// A model, as JSON.
    pub document: String,
    /// When it was written.
    pub updated_at: WallMillis,
}

/// A table that was taken in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptTable {
    /// The hash of its document, in hex.
    pub sha256: String,
    /// Its version.
    pub version: String,
    /// The document.
    pub document: String,
    /// When it was taken in.
    pub imported_at: WallMillis,
}

const OVERRIDES: &str = "SELECT id, document, updated_at FROM price_overrides ORDER BY id LIMIT $1";

const TABLE: &str =
    "SELECT sha256, version, document, imported_at FROM price_tables WHERE in_use = 1";

const PUT: &str = "INSERT INTO price_overrides (id, document, updated_at) VALUES ($1, $2, $3)
  ON CONFLICT (id) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at";

const DELETE: &str = "DELETE FROM price_overrides WHERE id = $1";

const UNUSED: &str = "UPDATE price_tables SET in_use = 0 WHERE in_use = 1";

const COUNT: &str = "SELECT count(*) FROM price_tables WHERE sha256 <> $1";

const IMPORT: &str = "INSERT INTO price_tables (sha256, version, document, imported_at, in_use)
  VALUES ($1, $2, $3, $4, 1)
  ON CONFLICT (sha256) DO UPDATE SET in_use = 1, imported_at = excluded.imported_at";

const KEEP: &str = "INSERT INTO price_tables (sha256, version, document, imported_at, in_use)
  VALUES ($1, $2, $3, $4, 0) ON CONFLICT (sha256) DO NOTHING";

const DOCUMENT: &str = "SELECT document FROM price_tables WHERE sha256 = $1";

impl Store {
    /// Keeps a table that calls are priced by and that was not taken in: a shipped one, or one of the
    /// settings. Records name it by its hash.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where there are too many; the disk.
    pub async fn keep_price_table(&self, table: KeptTable) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let others = query(COUNT).bind(&table.sha256);
            let others = others.fetch_number(write.connection()).await?;
            if others >= i64::from(TABLES_MAX) {
                return Err(StoreError::Conflict(Conflict::PricesFull));
            }
            query(KEEP)
                .bind(&table.sha256)
                .bind(&table.version)
                .bind(&table.document)
                .bind(millis(table.imported_at))
                .execute(write.connection())
                .await?;
            write.commit(&[]).await
        })
        .await
    }

    /// The document of a table by its hash, if it was ever in use.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn price_table(&self, sha256: &str) -> Result<Option<String>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let found = query(DOCUMENT).bind(sha256);
        let found = found.fetch_optional(&mut connection).await?;
        found.map(|row| row::text(&row, "document")).transpose()
    }

    /// The prices that are kept: from memory, without waiting. All of it is exchanged as a whole.
    pub fn prices(&self) -> Arc<KeptPrices> {
        self.0.prices.load_full()
    }

    /// Writes an override, in the place of one of the same name. `is_of_the_same` says of the document of
    /// another one whether it speaks of the same: as seen within the transaction that writes, since two may
    /// do so at the same moment.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where another one is of the same, or there are too many; the disk.
    pub async fn put_price(
        &self,
        id: String,
        document: String,
        is_of_the_same: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<PriceOverride, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let there = kept(write.connection()).await?;
            let mut others = there.overrides.iter().filter(|one| one.id != id);
            if others.any(|one| is_of_the_same(&one.document)) {
                return Err(StoreError::Conflict(Conflict::PriceKnown));
            }
            let updated_at = inner.wall.now();
            query(PUT)
                .bind(&id)
                .bind(&document)
                .bind(millis(updated_at))
                .execute(write.connection())
                .await?;
            let shown = kept(write.connection()).await?;
            if u32::try_from(shown.overrides.len()).unwrap_or(u32::MAX) > OVERRIDES_MAX {
                return Err(StoreError::Conflict(Conflict::PricesFull));
            }
            let show = || inner.prices.store(Arc::new(shown));
            write.commit_then(&[Changed::PRICES], show).await?;
            Ok(PriceOverride {
                id,
                document,
                updated_at,
            })
        })
        .await
    }

    /// Takes an override away.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; the disk.
    pub async fn delete_price(&self, id: String) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let deleted = query(DELETE).bind(&id).execute(write.connection()).await?;
            if deleted == 0 {
                return Err(StoreError::NotFound);
            }
            show(&inner, write).await
        })
        .await
    }

    /// Takes a table in, which is in use from now on; or with `None` the shipped one is again. Those
    /// that were in use before are kept.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where there are too many; the disk.
    pub async fn use_price_table(&self, table: Option<KeptTable>) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            query(UNUSED).execute(write.connection()).await?;
            if let Some(table) = table {
                let others = query(COUNT).bind(&table.sha256);
                let others = others.fetch_number(write.connection()).await?;
                if others >= i64::from(TABLES_MAX) {
                    return Err(StoreError::Conflict(Conflict::PricesFull));
                }
                query(IMPORT)
                    .bind(&table.sha256)
                    .bind(&table.version)
                    .bind(&table.document)
                    .bind(millis(inner.wall.now()))
                    .execute(write.connection())
                    .await?;
            }
            show(&inner, write).await
        })
        .await
    }
}

async fn show(inner: &Inner, mut write: crate::write::Write<'_>) -> Result<(), StoreError> {
    let shown = kept(write.connection()).await?;
    let show = || inner.prices.store(Arc::new(shown));
    write.commit_then(&[Changed::PRICES], show).await
}

impl Inner {
    /// Shows the prices as the database has them.
    pub(crate) async fn show_prices(&self, connection: &mut Connection) -> Result<(), StoreError> {
        self.prices.store(Arc::new(kept(connection).await?));
        Ok(())
    }
}

/// All of it.
pub(crate) async fn kept(connection: &mut Connection) -> Result<KeptPrices, StoreError> {
    let overrides = query(OVERRIDES).bind(OVERRIDES_MAX + 1);
    let overrides = overrides.fetch_all(connection).await?;
    let table = query(TABLE).fetch_optional(connection).await?;
    Ok(KeptPrices {
        overrides: overrides.iter().map(read).collect::<Result<_, _>>()?,
        table: table.as_ref().map(read_table).transpose()?,
    })
}

fn read(row: &Row) -> Result<PriceOverride, StoreError> {
    Ok(PriceOverride {
        id: row::text(row, "id")?,
        document: row::text(row, "document")?,
        updated_at: row::time(row, "updated_at")?,
    })
}

fn read_table(row: &Row) -> Result<KeptTable, StoreError> {
    Ok(KeptTable {
        sha256: row::text(row, "sha256")?,
        version: row::text(row, "version")?,
        document: row::text(row, "document")?,
        imported_at: row::time(row, "imported_at")?,
    })
}
