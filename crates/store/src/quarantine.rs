//! Models whose provider billed more than it was asked for at most: no bound of theirs is trusted
//! until somebody says that they are looked after (LED-53).

use crate::database::GATEWAY;
use crate::follow::Changed;
use crate::open::Inner;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Store, StoreError};
use std::sync::Arc;
use tollkeep_types::{HoldId, WallMillis};

/// Models in quarantine at most; past that, what is there stays.
const MODELS_MAX: u32 = 1_000;

/// A model in quarantine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quarantine {
    /// The provider, by its name in the settings.
    pub provider: String,
    /// The model, by the name that goes to the provider.
    pub model: String,
    /// The first call that cost more than its bound.
    pub hold: HoldId,
    /// When that was.
    pub since: WallMillis,
}

const ALL: &str = "SELECT provider, model, hold_id, since FROM quarantines
  ORDER BY since, provider, model LIMIT $1";

const INSERT: &str = "INSERT INTO quarantines (provider, model, hold_id, since)
  SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM quarantines) < $5
  ON CONFLICT (provider, model) DO NOTHING";

const END: &str = "DELETE FROM quarantines
  WHERE model = $1 AND ($2 IS NULL OR provider = $2)";

impl Store {
    /// The models in quarantine: from memory, without waiting. The list is exchanged as a whole.
    pub fn quarantines(&self) -> Arc<Vec<Quarantine>> {
        self.0.quarantines.load_full()
    }

    /// Puts a model into quarantine, where it stays as it is if it is there.
    ///
    /// # Errors
    /// The disk.
    pub async fn quarantine(
        &self,
        provider: String,
        model: String,
        hold: HoldId,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            query(INSERT)
                .bind(&provider)
                .bind(&model)
                .bind(hold.to_string())
                .bind(millis(inner.wall.now()))
                .bind(MODELS_MAX)
                .execute(write.connection())
                .await?;
            let shown = all(write.connection()).await?;
            let show = || inner.quarantines.store(Arc::new(shown));
            write.commit_then(&[Changed::QUARANTINES], show).await
        })
        .await
    }

    /// Ends the quarantine of a model, of one provider or of all that have it. Gives those it ended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where none is in quarantine; the disk.
    pub async fn end_quarantine(
        &self,
        model: String,
        provider: Option<String>,
    ) -> Result<Vec<Quarantine>, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let is_meant = |one: &Quarantine| {
                one.model == model && provider.as_ref().is_none_or(|name| *name == one.provider)
            };
            let mut ended = all(write.connection()).await?;
            ended.retain(is_meant);
            if ended.is_empty() {
                return Err(StoreError::NotFound);
            }
            query(END)
                .bind(&model)
                .bind(provider.clone())
                .execute(write.connection())
                .await?;
            let shown = all(write.connection()).await?;
            let show = || inner.quarantines.store(Arc::new(shown));
            write.commit_then(&[Changed::QUARANTINES], show).await?;
            Ok(ended)
        })
        .await
    }
}

impl Inner {
    /// Shows the models as the database has them.
    pub(crate) async fn show_quarantines(
        &self,
        connection: &mut Connection,
    ) -> Result<(), StoreError> {
        self.quarantines.store(Arc::new(all(connection).await?));
        Ok(())
    }
}

/// Every model in quarantine, the first first.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<Quarantine>, StoreError> {
    let rows = query(ALL).bind(MODELS_MAX).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Quarantine, StoreError> {
    Ok(Quarantine {
        provider: row::text(row, "provider")?,
        model: row::text(row, "model")?,
        hold: row::id(row, "hold_id")?,
        since: row::time(row, "since")?,
    })
}
