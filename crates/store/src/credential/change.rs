//! Making, changing and deleting credentials.

use super::{
    CREDENTIALS_MAX, Credential, CredentialFilter, CredentialRest, CredentialRules, CredentialUse,
    NewCredential, SealedSecret, read,
};
use crate::database::GATEWAY;
use crate::error::is_duplicate_of;
use crate::follow::Changed;
use crate::open::Inner;
use crate::query::{Connection, Query, query};
use crate::row::{self, millis};
use crate::write::Write;
use crate::{Conflict, Scope, Store, StoreError};
use std::sync::Arc;
use tollkeep_types::{CredentialId, ProjectId, WallMillis};

/// What became of a credential that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PutCredential {
    /// It is new.
    Made(Credential),
    /// Its secret was there already, in this credential, and is sealed anew.
    Resealed(Credential),
}

const COUNT: &str = "SELECT count(*) FROM credentials";

const INSERT: &str = "INSERT INTO credentials
  (id, tenant_id, project_id, provider, type, label, secret, digest, pepper_id, hint, origin, file,
   created_at, updated_at, sealed_at, models, excluded_models, headers, priority, weight, is_disabled,
   base_url, egress_proxy, prefix, limits)
  VALUES ($1, $2, $3, $4, 'api_key', $5, $6, $7, $8, $9, $10, $11, $12, $12, $12, $13, $14, $15, $16,
   $17, $18, $19, $20, $21, $22)";

const RESEAL: &str = "UPDATE credentials SET secret = $3, digest = $4, pepper_id = $5, hint = $6,
    origin = $7, updated_at = $8, sealed_at = $8, recovered_at = $8, rests_since = NULL,
    rests_until = NULL, rests_reason = NULL
  WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)";

const SET_RULES: &str = "UPDATE credentials SET label = $3, updated_at = $4, models = $5,
    excluded_models = $6, headers = $7, priority = $8, weight = $9, is_disabled = $10,
    base_url = $11, egress_proxy = $12, prefix = $13, limits = $14
  WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)";

const REST: &str = "UPDATE credentials SET rests_since = $3, rests_until = $4, rests_reason = $5
  WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)";

const RECOVER: &str = "UPDATE credentials SET rests_since = NULL, rests_until = NULL,
    rests_reason = NULL, recovered_at = $3
  WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)";

const DELETE: &str = "DELETE FROM credentials WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)";

const IDS_OF_PROJECT: &str = "SELECT id FROM credentials WHERE project_id = $1";

const DELETE_OF_PROJECT: &str = "DELETE FROM credentials WHERE project_id = $1";

const USE: &str = "UPDATE credentials
  SET last_used_at = CASE WHEN last_used_at >= $2 THEN last_used_at ELSE $2 END,
    last_error_code = coalesce($3, last_error_code), last_error_at = coalesce($4, last_error_at)
  WHERE id = $1";

impl Store {
    /// Makes a credential. If the same place has one of the same secret, that one is sealed anew
    /// by `reseal`, which is given its id.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there are too many; [`StoreError::NotFound`] for a project
    /// that is not there; the disk.
    pub async fn put_credential(
        &self,
        scope: Scope,
        new: NewCredential,
        reseal: impl FnOnce(CredentialId) -> Option<SealedSecret> + Send + 'static,
    ) -> Result<PutCredential, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let same = CredentialFilter {
                provider: Some(new.provider.clone()),
                project_id: new.project_id,
                digest: Some(new.secret.digest),
            };
            let owner = Scope::Tenant(new.tenant_id);
            let found = read::like(write.connection(), owner, same).await?;
            let mut found = found.iter().filter(|one| one.project_id == new.project_id);
            if let Some(found) = found.next() {
                let sealed = reseal(found.id).ok_or(StoreError::Invalid("it can't be sealed"))?;
                seal(&mut write, scope, found.id, &sealed, now).await?;
                let credential = shown(&inner, write, scope, found.id).await?;
                return Ok(PutCredential::Resealed(credential));
            }
            insert(&mut write, &new, now).await?;
            let credential = shown(&inner, write, scope, new.id).await?;
            Ok(PutCredential::Made(credential))
        })
        .await
    }

    /// Gives a credential another secret; what kept it from use is forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`] if another one has that secret; the disk.
    pub async fn reseal_credential(
        &self,
        scope: Scope,
        id: CredentialId,
        secret: SealedSecret,
    ) -> Result<Credential, StoreError> {
        self.change(scope, id, Act::Seal(secret)).await
    }

    /// Changes how a credential is used.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn set_credential_rules(
        &self,
        scope: Scope,
        id: CredentialId,
        rules: CredentialRules,
    ) -> Result<Credential, StoreError> {
        self.change(scope, id, Act::Rules(rules)).await
    }

    /// Lets a credential rest, for every process.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn rest_credential(
        &self,
        scope: Scope,
        id: CredentialId,
        rest: CredentialRest,
    ) -> Result<Credential, StoreError> {
        self.change(scope, id, Act::Rest(rest)).await
    }

    /// Forgets whatever keeps a credential from use, in every process.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn recover_credential(
        &self,
        scope: Scope,
        id: CredentialId,
    ) -> Result<Credential, StoreError> {
        self.change(scope, id, Act::Recover).await
    }

    /// Deletes credentials for good, secrets and all; those that are not there count as done. Says
    /// which were.
    ///
    /// # Errors
    /// The disk.
    pub async fn delete_credentials(
        &self,
        scope: Scope,
        ids: Vec<CredentialId>,
    ) -> Result<Vec<CredentialId>, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(scope).await?;
            let mut gone = Vec::new();
            for id in ids {
                let deleted = query(DELETE).bind(id.to_string()).bind(scope.tenant());
                if deleted.execute(write.connection()).await? > 0 {
                    gone.push(id);
                }
            }
            let changed: Vec<_> = gone.iter().copied().map(Changed::credential).collect();
            let show = || gone.iter().for_each(|id| inner.forget_credential(*id));
            write.commit_then(&changed, show).await?;
            Ok(gone)
        })
        .await
    }

    /// Stores when credentials were used, and what errors they met. Nobody needs to be told.
    ///
    /// # Errors
    /// The disk.
    pub async fn note_credential_uses(&self, uses: Vec<CredentialUse>) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            for used in uses {
                let (code, at) = used.error.unzip();
                query(USE)
                    .bind(used.id.to_string())
                    .bind(millis(used.used_at))
                    .bind(code)
                    .bind(at.map(millis))
                    .execute(write.connection())
                    .await?;
            }
            write.commit(&[]).await
        })
        .await
    }

    async fn change(
        &self,
        scope: Scope,
        id: CredentialId,
        act: Act,
    ) -> Result<Credential, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            match act {
                Act::Seal(secret) => seal(&mut write, scope, id, &secret, now).await?,
                Act::Rules(rules) => set_rules(&mut write, scope, id, &rules, now).await?,
                Act::Rest(rest) => {
                    let rested = query(REST)
                        .bind(id.to_string())
                        .bind(scope.tenant())
                        .bind(millis(rest.since))
                        .bind(millis(rest.until))
                        .bind(rest.reason);
                    rested.execute(write.connection()).await?;
                }
                Act::Recover => {
                    let recovered = query(RECOVER).bind(id.to_string()).bind(scope.tenant());
                    let recovered = recovered.bind(millis(now));
                    recovered.execute(write.connection()).await?;
                }
            }
            shown(&inner, write, scope, id).await
        })
        .await
    }
}

/// What is changed of a credential.
enum Act {
    Seal(SealedSecret),
    Rules(CredentialRules),
    Rest(CredentialRest),
    Recover,
}

async fn set_rules(
    write: &mut Write<'_>,
    scope: Scope,
    id: CredentialId,
    rules: &CredentialRules,
    now: WallMillis,
) -> Result<(), StoreError> {
    let set = query(SET_RULES)
        .bind(id.to_string())
        .bind(scope.tenant())
        .bind(rules.label.as_str())
        .bind(millis(now));
    with_rules(set, rules)?.execute(write.connection()).await?;
    Ok(())
}

/// Binds what a credential is used by, in the order of both statements.
fn with_rules(statement: Query, rules: &CredentialRules) -> Result<Query, StoreError> {
    Ok(statement
        .bind(row::to_json(&rules.models)?)
        .bind(row::to_json(&rules.excluded_models)?)
        .bind(row::to_json(&rules.headers)?)
        .bind(i64::from(rules.priority))
        .bind(rules.weight)
        .bind(rules.is_disabled)
        .bind(row::json_text(rules.base_url.as_ref())?)
        .bind(row::json_text(rules.egress_proxy.as_ref())?)
        .bind(rules.prefix.clone())
        .bind(row::to_json(&rules.limits)?))
}

async fn insert(
    write: &mut Write<'_>,
    new: &NewCredential,
    now: WallMillis,
) -> Result<(), StoreError> {
    let count = query(COUNT).fetch_number(write.connection()).await?;
    if count >= CREDENTIALS_MAX.into() {
        return Err(StoreError::Conflict(Conflict::CredentialsFull));
    }
    let (secret, rules) = (&new.secret, &new.rules);
    let inserted = query(INSERT)
        .bind(new.id.to_string())
        .bind(new.tenant_id.to_string())
        .bind(new.project_id.map(|id| id.to_string()))
        .bind(new.provider.as_str())
        .bind(rules.label.as_str())
        .bind(secret.sealed.as_str())
        .bind(secret.digest.bytes().as_slice())
        .bind(secret.pepper_id.as_str())
        .bind(secret.hint.as_str())
        .bind(secret.origin.as_str())
        .bind(&new.file)
        .bind(millis(now));
    let inserted = with_rules(inserted, rules)?.execute(write.connection());
    inserted.await.map(|_| ()).map_err(known)
}

async fn seal(
    write: &mut Write<'_>,
    scope: Scope,
    id: CredentialId,
    secret: &SealedSecret,
    now: WallMillis,
) -> Result<(), StoreError> {
    let sealed = query(RESEAL)
        .bind(id.to_string())
        .bind(scope.tenant())
        .bind(secret.sealed.as_str())
        .bind(secret.digest.bytes().as_slice())
        .bind(secret.pepper_id.as_str())
        .bind(secret.hint.as_str())
        .bind(secret.origin.as_str())
        .bind(millis(now))
        .execute(write.connection())
        .await;
    sealed.map(|_| ()).map_err(known)
}

fn known(error: sqlx::Error) -> StoreError {
    if is_duplicate_of(&error, "credentials", "digest") {
        StoreError::Conflict(Conflict::CredentialKnown)
    } else {
        error.into()
    }
}

/// Commits, and shows the credential as it is then.
async fn shown(
    inner: &Inner,
    mut write: Write<'_>,
    scope: Scope,
    id: CredentialId,
) -> Result<Credential, StoreError> {
    let credential = read::by_id(write.connection(), scope, id).await?;
    let show = || inner.show_credential(&credential);
    write.commit_then(&[Changed::credential(id)], show).await?;
    Ok(credential)
}

/// Deletes the credentials that only this project may use, secrets and all. Says which they were.
pub(crate) async fn delete_of_project(
    connection: &mut Connection,
    project: ProjectId,
) -> Result<Vec<CredentialId>, StoreError> {
    let rows = query(IDS_OF_PROJECT)
        .bind(project.to_string())
        .fetch_all(connection)
        .await?;
    let gone = rows.iter().map(|row| row::id(row, "id")).collect();
    query(DELETE_OF_PROJECT)
        .bind(project.to_string())
        .execute(connection)
        .await?;
    gone
}

impl Inner {
    /// The list with this credential as it is now; callers hold the turn.
    pub(crate) fn show_credential(&self, credential: &Credential) {
        self.credentials.rcu(|before| {
            let mut list = Vec::clone(before);
            match list.iter_mut().find(|known| known.id == credential.id) {
                Some(known) => *known = credential.clone(),
                None => list.push(credential.clone()),
            }
            Arc::new(list)
        });
    }

    /// The list without it; callers hold the turn.
    pub(crate) fn forget_credential(&self, id: CredentialId) {
        self.credentials.rcu(|before| {
            let kept = before.iter().filter(|known| known.id != id);
            Arc::new(kept.cloned().collect::<Vec<_>>())
        });
    }
}
