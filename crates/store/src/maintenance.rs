//! Whether operators have switched maintenance on; kept over restarts.

use crate::database::GATEWAY;
use crate::follow::Changed;
use crate::query::Connection;
use crate::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tollkeep_types::WallMillis;

/// Where it is kept.
const KEY: &str = "maintenance";

/// Maintenance as an operator switched it on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MaintenanceOn {
    /// What callers are told, instead of the settings' text.
    pub message: Option<String>,
    /// When they should come back, instead of what the settings say.
    pub retry_after_s: Option<u64>,
    /// Since when.
    pub since: WallMillis,
    /// Who switched it on.
    pub by: String,
}

impl Store {
    /// Maintenance, if an operator switched it on. It is the deployment's, so there is no scope.
    pub fn maintenance(&self) -> Option<Arc<MaintenanceOn>> {
        self.0.maintenance.load_full()
    }

    /// Switches maintenance on, or off with `None`.
    ///
    /// # Errors
    /// The disk.
    pub async fn set_maintenance(&self, on: Option<MaintenanceOn>) -> Result<(), StoreError> {
        let text = serde_json::to_string(&on)
            .map_err(|_| StoreError::Invalid("maintenance has no JSON form"))?;
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            crate::meta::write(write.connection(), KEY, &text).await?;
            let on = on.map(Arc::new);
            let show = || inner.maintenance.store(on);
            write.commit_then(&[Changed::MAINTENANCE], show).await
        })
        .await
    }
}

/// As it is in the database.
pub(crate) async fn read(
    connection: &mut Connection,
) -> Result<Option<Arc<MaintenanceOn>>, StoreError> {
    let Some(text) = crate::meta::read(connection, KEY).await? else {
        return Ok(None);
    };
    let on: Option<MaintenanceOn> = serde_json::from_str(&text)
        .map_err(|_| StoreError::Unavailable("the kept maintenance can't be read".to_owned()))?;
    Ok(on.map(Arc::new))
}
