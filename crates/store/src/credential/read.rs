//! Credentials as the database has them.

use super::{
    CREDENTIALS_MAX, Credential, CredentialFilter, CredentialRest, CredentialRules, SealedSecret,
};
use crate::query::{Connection, Row, query};
use crate::{Page, PageRequest, Scope, Store, StoreError, row};
use std::sync::Arc;
use tollkeep_types::CredentialId;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, project_id, provider, label, secret, digest, pepper_id, hint,
               origin, file, models, excluded_models, headers, priority, weight, is_disabled, base_url,
               egress_proxy, prefix, limits, rests_since, rests_until, rests_reason, recovered_at, created_at, updated_at, sealed_at,
               last_used_at, last_error_code, last_error_at
             FROM credentials ",
            $rest
        )
    };
}

const BY_ID: &str = select!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const ALL: &str = select!("ORDER BY created_at, id");

const LIST: &str = select!(
    "WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR provider = $2)
       AND ($3 IS NULL OR project_id = $3) AND ($4 IS NULL OR digest = $4)
       AND ($5 IS NULL OR (created_at, id) < ($5, $6))
     ORDER BY created_at DESC, id DESC LIMIT $7"
);

impl Store {
    /// Every credential as the data plane may use it, oldest first: from memory, without waiting.
    pub fn credentials_in_use(&self) -> Arc<Vec<Credential>> {
        self.0.credentials.load_full()
    }

    /// One credential.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn credential(
        &self,
        scope: Scope,
        id: CredentialId,
    ) -> Result<Credential, StoreError> {
        by_id(&mut self.0.read(scope).await?, scope, id).await
    }

    /// Credentials, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn credentials(
        &self,
        scope: Scope,
        filter: CredentialFilter,
        page: PageRequest<CredentialId>,
    ) -> Result<Page<Credential>, StoreError> {
        let mut connection = self.0.read(scope).await?;
        Ok(page.page(listed(&mut connection, scope, filter, &page).await?))
    }

    /// All credentials that the filter names, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn credentials_like(
        &self,
        scope: Scope,
        filter: CredentialFilter,
    ) -> Result<Vec<Credential>, StoreError> {
        like(&mut self.0.read(scope).await?, scope, filter).await
    }
}

/// All that the filter names.
pub(super) async fn like(
    connection: &mut Connection,
    scope: Scope,
    filter: CredentialFilter,
) -> Result<Vec<Credential>, StoreError> {
    rows(connection, scope, filter, (None, None), CREDENTIALS_MAX).await
}

async fn listed(
    connection: &mut Connection,
    scope: Scope,
    filter: CredentialFilter,
    page: &PageRequest<CredentialId>,
) -> Result<Vec<Credential>, StoreError> {
    rows(connection, scope, filter, page.from(), page.rows_asked()).await
}

async fn rows(
    connection: &mut Connection,
    scope: Scope,
    filter: CredentialFilter,
    (created_at, id): (Option<i64>, Option<String>),
    limit: u32,
) -> Result<Vec<Credential>, StoreError> {
    let rows = query(LIST)
        .bind(scope.tenant())
        .bind(filter.provider)
        .bind(filter.project_id.map(|id| id.to_string()))
        .bind(filter.digest.map(|digest| digest.bytes().to_vec()))
        .bind(created_at)
        .bind(id)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// Every credential, oldest first.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<Credential>, StoreError> {
    let rows = query(ALL).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: CredentialId,
) -> Result<Credential, StoreError> {
    let found = query(BY_ID).bind(id.to_string()).bind(scope.tenant());
    read(&found.fetch_one(connection).await?)
}

fn read(row: &Row) -> Result<Credential, StoreError> {
    let rests_since = row::time_if_set(row, "rests_since")?;
    let rests_until = row::time_if_set(row, "rests_until")?;
    let reason = row::value(row, "rests_reason")?;
    let priority: i64 = row::value(row, "priority")?;
    let weight = row::number(row, "weight")?;
    Ok(Credential {
        id: row::id(row, "id")?,
        tenant_id: row::id(row, "tenant_id")?,
        project_id: row::id_if_set(row, "project_id")?,
        provider: row::text(row, "provider")?,
        secret: SealedSecret {
            sealed: row::text(row, "secret")?,
            digest: row::digest(row, "digest")?,
            pepper_id: row::text(row, "pepper_id")?,
            hint: row::text(row, "hint")?,
            origin: row::text(row, "origin")?,
        },
        file: row::value(row, "file")?,
        rules: CredentialRules {
            label: row::text(row, "label")?,
            models: row::json(row, "models")?,
            excluded_models: row::json(row, "excluded_models")?,
            headers: row::json(row, "headers")?,
            priority: i32::try_from(priority).unwrap_or_default(),
            weight: u32::try_from(weight).unwrap_or_default(),
            is_disabled: row::value(row, "is_disabled")?,
            base_url: row::json_if_set(row, "base_url")?,
            egress_proxy: row::json_if_set(row, "egress_proxy")?,
            prefix: row::value(row, "prefix")?,
            limits: row::json(row, "limits")?,
        },
        rest: rests_since
            .zip(rests_until)
            .map(|(since, until)| CredentialRest {
                since,
                until,
                reason,
            }),
        recovered_at: row::time_if_set(row, "recovered_at")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        sealed_at: row::time(row, "sealed_at")?,
        last_used_at: row::time_if_set(row, "last_used_at")?,
        last_error_code: row::value(row, "last_error_code")?,
        last_error_at: row::time_if_set(row, "last_error_at")?,
    })
}
