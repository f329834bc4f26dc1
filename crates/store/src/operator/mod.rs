//! Operators: people who sign in with a password, or by an identity provider.

mod change;
mod login;

pub use change::OperatorChange;
pub(crate) use login::forget_logins;
pub use login::{Attempt, ProviderOperator, SecondFactor};

use crate::console_session::end_of_operator;
use crate::database::GATEWAY;
use crate::error::is_duplicate_of;
use crate::owner::owner_stays;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{Conflict, LastOwner, Page, PageRequest, Role, Scope, Store, StoreError, tenant};
use tollkeep_types::{OperatorId, TenantId, TokenHash, WallMillis};

/// Operators at most, in all.
const OPERATORS_MAX: i64 = 10_000;
/// Operators of one tenant at most.
const TENANT_OPERATORS_MAX: i64 = 200;
/// A person who operates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operator {
    /// Its id.
    pub id: OperatorId,
    /// The one tenant they are bound to.
    pub tenant_id: Option<TenantId>,
    /// Their name in lists.
    pub name: String,
    /// What they sign in with; `None` for those of an identity provider.
    pub login: Option<String>,
    /// Who vouches for them; `None` if their password does.
    pub issuer: Option<String>,
    /// Their address.
    pub email: Option<String>,
    /// What they may do.
    pub role: Role,
    /// Whether they have a password.
    pub has_password: bool,
    /// Whether a one-time code is asked for.
    pub totp_is_on: bool,
    /// How many recovery codes are left.
    pub recovery_codes: usize,
    /// Until when their password is not looked at.
    pub locked_until: Option<WallMillis>,
    /// Since when they may not sign in.
    pub disabled_at: Option<WallMillis>,
    /// When they were made known.
    pub created_at: WallMillis,
    /// Who made them known; `None` for an identity provider.
    pub created_by: Option<String>,
    /// When they last signed in.
    pub last_login_at: Option<WallMillis>,
}

impl Operator {
    /// Whether they may do everything, and sign in by what is known here.
    const fn is_owner(&self) -> bool {
        matches!(self.role, Role::Owner) && self.disabled_at.is_none() && self.has_password
    }
}

/// What proves that it is them.
#[derive(Clone)]
pub struct OperatorSecrets {
    /// The hash of their password.
    pub password: Option<String>,
    /// The sealed secret of their one-time codes, if these are asked for or soon will be.
    pub totp: Option<String>,
    /// The time step of the last code that was used.
    pub totp_step: Option<u64>,
}

/// An operator to be made, who signs in with a password. They are bound to the tenant of the scope
/// that makes them.
#[derive(Clone)]
pub struct NewOperator {
    /// Their name in lists.
    pub name: String,
    /// What they sign in with.
    pub login: String,
    /// Their address.
    pub email: Option<String>,
    /// What they may do.
    pub role: Role,
    /// The hash of their password.
    pub password: Option<String>,
    /// Who makes them.
    pub created_by: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, name, login, issuer, email, role, password, totp, totp_is_on,
               totp_step, recovery_codes, failures, locked_until, disabled_at, created_at,
               created_by, last_login_at
             FROM operators ",
            $rest
        )
    };
}

use select;

const BY_ID: &str = select!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");

const LIVE: &str = select!(
    "WHERE id = $1 AND disabled_at IS NULL AND NOT EXISTS (SELECT 1 FROM tenants
       WHERE tenants.id = operators.tenant_id AND tenants.status = 'deleted')"
);

const LIST: &str = select!(
    "WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR (created_at, id) < ($2, $3))
     ORDER BY created_at DESC, id DESC LIMIT $4"
);

const COUNT: &str = "SELECT count(*) FROM operators WHERE ($1 IS NULL OR tenant_id = $1)";

const INSERT: &str = "INSERT INTO operators
  (id, tenant_id, name, login, issuer, subject, email, role, password, created_at, created_by)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const DELETE: &str = "DELETE FROM operators WHERE id = $1";

impl Store {
    /// Makes an operator who signs in with a password.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if somebody signs in with that name already, there are too many,
    /// or the tenant was deleted; or the disk.
    pub async fn create_operator(
        &self,
        scope: Scope,
        new: NewOperator,
    ) -> Result<Operator, StoreError> {
        self.unattended(async move |inner| {
            let id = OperatorId::new(inner.wall.clock(), inner.entropy.as_ref());
            // A tenant can't see how many there are in all.
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            if let Scope::Tenant(id) = scope {
                tenant::hold(connection, id).await?;
            }
            check_room(connection, scope.tenant()).await?;
            let inserted = query(INSERT)
                .bind(id.to_string())
                .bind(scope.tenant())
                .bind(new.name)
                .bind(new.login)
                .bind(None::<String>)
                .bind(None::<String>)
                .bind(new.email)
                .bind(new.role.as_str())
                .bind(new.password)
                .bind(millis(inner.wall.now()))
                .bind(new.created_by)
                .execute(connection)
                .await;
            inserted.map_err(known)?;
            let operator = by_id(connection, scope, id).await?.0;
            write.commit(&[]).await?;
            Ok(operator)
        })
        .await
    }

    /// One operator.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn operator(&self, scope: Scope, id: OperatorId) -> Result<Operator, StoreError> {
        let mut connection = self.0.read(scope).await?;
        Ok(by_id(&mut connection, scope, id).await?.0)
    }

    /// What proves that it is an operator.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::Unavailable`].
    pub async fn operator_secrets(
        &self,
        scope: Scope,
        id: OperatorId,
    ) -> Result<OperatorSecrets, StoreError> {
        let mut connection = self.0.read(scope).await?;
        Ok(by_id(&mut connection, scope, id).await?.1)
    }

    /// An operator who may act: not disabled, nor of a tenant that is gone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn live_operator(&self, id: OperatorId) -> Result<Option<Operator>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let found = query(LIVE)
            .bind(id.to_string())
            .fetch_optional(&mut connection)
            .await?;
        Ok(found.as_ref().map(read).transpose()?.map(|(it, ..)| it))
    }

    /// Operators, newest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn operators(
        &self,
        scope: Scope,
        page: PageRequest<OperatorId>,
    ) -> Result<Page<Operator>, StoreError> {
        let (created_at, id) = page.from();
        let mut connection = self.0.read(scope).await?;
        let rows = query(LIST)
            .bind(scope.tenant())
            .bind(created_at)
            .bind(id)
            .bind(page.rows_asked())
            .fetch_all(&mut connection)
            .await?;
        let rows = rows.iter().map(|row| Ok(read(row)?.0));
        Ok(page.page(rows.collect::<Result<_, StoreError>>()?))
    }

    /// Deletes an operator, and ends their sessions.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if they are the last owner and must stay;
    /// [`StoreError::NotFound`]; or the disk.
    pub async fn delete_operator(
        &self,
        scope: Scope,
        id: OperatorId,
        last: LastOwner,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let (operator, _) = by_id(connection, scope, id).await?;
            end_of_operator(connection, id, None).await?;
            let delete = query(DELETE).bind(id.to_string());
            delete.execute(connection).await?;
            if operator.is_owner() && last == LastOwner::Stays {
                owner_stays(connection, inner.wall.now()).await?;
            }
            write.commit(&[]).await
        })
        .await
    }
}

async fn check_room(connection: &mut Connection, tenant: Option<String>) -> Result<(), StoreError> {
    let own = match &tenant {
        Some(_) => query(COUNT).bind(tenant).fetch_number(connection).await?,
        None => 0,
    };
    let all = query(COUNT).bind(None::<String>).fetch_number(connection);
    if all.await? >= OPERATORS_MAX || own >= TENANT_OPERATORS_MAX {
        return Err(StoreError::Conflict(Conflict::OperatorsFull));
    }
    Ok(())
}

fn hex(digest: &TokenHash) -> String {
    digest
        .bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn known(error: sqlx::Error) -> StoreError {
    if is_duplicate_of(&error, "operators", "login") {
        StoreError::Conflict(Conflict::OperatorName)
    } else {
        error.into()
    }
}

async fn by_id(
    connection: &mut Connection,
    scope: Scope,
    id: OperatorId,
) -> Result<(Operator, OperatorSecrets), StoreError> {
    let row = query(BY_ID)
        .bind(id.to_string())
        .bind(scope.tenant())
        .fetch_one(connection);
    read(&row.await?)
}

fn read(row: &Row) -> Result<(Operator, OperatorSecrets), StoreError> {
    let secrets = OperatorSecrets {
        password: row::value(row, "password")?,
        totp: row::value(row, "totp")?,
        totp_step: row::number_if_set(row, "totp_step")?,
    };
    let codes: Vec<String> = row::json(row, "recovery_codes")?;
    let operator = Operator {
        id: row::id(row, "id")?,
        tenant_id: row::id_if_set(row, "tenant_id")?,
        name: row::text(row, "name")?,
        login: row::value(row, "login")?,
        issuer: row::value(row, "issuer")?,
        email: row::value(row, "email")?,
        role: row::id(row, "role")?,
        has_password: secrets.password.is_some(),
        totp_is_on: row::value(row, "totp_is_on")?,
        recovery_codes: codes.len(),
        locked_until: row::time_if_set(row, "locked_until")?,
        disabled_at: row::time_if_set(row, "disabled_at")?,
        created_at: row::time(row, "created_at")?,
        created_by: row::value(row, "created_by")?,
        last_login_at: row::time_if_set(row, "last_login_at")?,
    };
    Ok((operator, secrets))
}
