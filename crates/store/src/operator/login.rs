//! Logins of operators, by a password or at an identity provider.

use super::change::DETAILS;
use super::{INSERT, Operator, OperatorSecrets, by_id, check_room, hex, read, select};
use crate::console_session::end_of_operator;
use crate::database::GATEWAY;
use crate::query::{Connection, query};
use crate::row::{self, count, millis};
use crate::{Conflict, Role, Store, StoreError};
use std::time::Duration;
use tollkeep_types::{OperatorId, TokenHash, WallMillis};

/// Answered logins at an identity provider that are remembered at most.
const LOGINS_MAX: i64 = 10_000;

/// Somebody an identity provider vouches for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProviderOperator {
    /// The provider.
    pub issuer: String,
    /// Who they are there.
    pub subject: String,
    /// Their name in lists.
    pub name: String,
    /// Their address.
    pub email: Option<String>,
    /// What they may do.
    pub role: Role,
}

/// Whether a password may be looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// It may; the attempt counts as a failure until the login is through.
    Allowed {
        /// How many failures in a row there are with it.
        failures: u64,
    },
    /// It may not: there were too many failures, or they are disabled.
    Refused,
}

/// What was shown beside the password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecondFactor {
    /// Nothing; it was not asked for.
    None,
    /// The code of this time step.
    Totp {
        /// The time step.
        step: u64,
    },
    /// A recovery code with this hash.
    Recovery(TokenHash),
}

const BY_LOGIN: &str = select!(
    "WHERE login = $1 AND NOT EXISTS (SELECT 1 FROM tenants
       WHERE tenants.id = operators.tenant_id AND tenants.status = 'deleted')"
);

const BY_SUBJECT: &str = select!("WHERE issuer = $1 AND subject = $2");

const BY_ID: &str = select!("WHERE id = $1");

const ATTEMPT: &str = "UPDATE operators SET failures = $2, locked_until = $3 WHERE id = $1";

const FORGIVE: &str = "UPDATE operators SET failures = failures - 1, locked_until = NULL
  WHERE id = $1 AND failures = $2";

const THROUGH: &str = "UPDATE operators SET failures = 0, locked_until = NULL, last_login_at = $2,
  totp_step = $3, recovery_codes = $4 WHERE id = $1";

const USE_LOGIN: &str = "INSERT INTO provider_logins (digest, expires_at) VALUES ($1, $2)
  ON CONFLICT (digest) DO NOTHING";

const COUNT_LOGINS: &str = "SELECT count(*) FROM provider_logins";

const FORGET_LOGINS: &str = "DELETE FROM provider_logins WHERE expires_at <= $1";

impl Store {
    /// Somebody whom an identity provider has vouched for now: made known, or brought up to date.
    /// Where their role is another one, their sessions end. One who is disabled stays as they are.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there are too many, or the disk.
    pub async fn provider_operator(&self, is: ProviderOperator) -> Result<Operator, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let found = query(BY_SUBJECT)
                .bind(is.issuer.as_str())
                .bind(is.subject.as_str())
                .fetch_optional(connection)
                .await?;
            let id = match found.as_ref().map(read).transpose()? {
                Some((known, ..)) if known.disabled_at.is_some() => return Ok(known),
                Some((known, ..)) => {
                    if known.role != is.role {
                        end_of_operator(connection, known.id, None).await?;
                    }
                    query(DETAILS)
                        .bind(known.id.to_string())
                        .bind(is.name)
                        .bind(None::<String>)
                        .bind(is.email)
                        .bind(is.role.as_str())
                        .execute(connection)
                        .await?;
                    known.id
                }
                None => {
                    check_room(connection, None).await?;
                    let id = OperatorId::new(inner.wall.clock(), inner.entropy.as_ref());
                    query(INSERT)
                        .bind(id.to_string())
                        .bind(None::<String>)
                        .bind(is.name)
                        .bind(None::<String>)
                        .bind(is.issuer)
                        .bind(is.subject)
                        .bind(is.email)
                        .bind(is.role.as_str())
                        .bind(None::<String>)
                        .bind(millis(now))
                        .bind(None::<String>)
                        .execute(connection)
                        .await?;
                    id
                }
            };
            through(connection, id, None, &[], now).await?;
            let operator = by_id(connection, GATEWAY, id).await?.0;
            write.commit(&[]).await?;
            Ok(operator)
        })
        .await
    }

    /// Somebody tries a password. The attempt is counted before it is judged, so that none of many
    /// at once goes uncounted; `lock` says for how long so many failures keep the next one waiting.
    /// `None` if nobody signs in with that name.
    ///
    /// # Errors
    /// The disk.
    pub async fn begin_password_login(
        &self,
        login: String,
        lock: fn(u64) -> Option<Duration>,
    ) -> Result<Option<(Operator, OperatorSecrets, Attempt)>, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let found = query(BY_LOGIN).bind(login).fetch_optional(connection);
            let Some(row) = found.await? else {
                return Ok(None);
            };
            let (operator, secrets) = read(&row)?;
            let is_locked = operator.locked_until.is_some_and(|until| now < until);
            if is_locked || operator.disabled_at.is_some() {
                return Ok(Some((operator, secrets, Attempt::Refused)));
            }
            let failures = row::number(&row, "failures")?.saturating_add(1);
            let until = lock(failures).map(|wait| {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                millis(WallMillis(now.0.saturating_add(wait_ms)))
            });
            query(ATTEMPT)
                .bind(operator.id.to_string())
                .bind(count(failures))
                .bind(until)
                .execute(connection)
                .await?;
            write.commit(&[]).await?;
            Ok(Some((operator, secrets, Attempt::Allowed { failures })))
        })
        .await
    }

    /// An attempt was no failure, though the login is not through: its password was right, and
    /// nothing else was tried. Where others failed meanwhile, it stays counted.
    ///
    /// # Errors
    /// The disk.
    pub async fn forgive_password_login(
        &self,
        id: OperatorId,
        failures: u64,
    ) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            query(FORGIVE)
                .bind(id.to_string())
                .bind(count(failures))
                .execute(write.connection())
                .await?;
            write.commit(&[]).await
        })
        .await
    }

    /// A login whose password was right: its second factor is used up, and failures before it are
    /// forgotten. `None` if the factor was used already.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the disk.
    pub async fn end_password_login(
        &self,
        id: OperatorId,
        factor: SecondFactor,
    ) -> Result<Option<Operator>, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            let row = query(BY_ID)
                .bind(id.to_string())
                .fetch_one(connection)
                .await?;
            let mut codes: Vec<String> = row::json(&row, "recovery_codes")?;
            let mut step = row::number_if_set(&row, "totp_step")?;
            match factor {
                SecondFactor::None => {}
                SecondFactor::Totp { step: used } => {
                    if step.is_some_and(|last| used <= last) {
                        return Ok(None);
                    }
                    step = Some(used);
                }
                SecondFactor::Recovery(digest) => {
                    let used = hex(&digest);
                    let Some(place) = codes.iter().position(|code| *code == used) else {
                        return Ok(None);
                    };
                    codes.remove(place);
                }
            }
            through(connection, id, step, &codes, now).await?;
            let operator = by_id(connection, GATEWAY, id).await?.0;
            write.commit(&[]).await?;
            Ok(Some(operator))
        })
        .await
    }

    /// A login at an identity provider is answered: whether for the first time. It is remembered
    /// until it would be over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there are too many, or the disk.
    pub async fn use_provider_login(
        &self,
        digest: TokenHash,
        until: WallMillis,
    ) -> Result<bool, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let connection = write.connection();
            forget_logins(connection, inner.wall.now()).await?;
            if query(COUNT_LOGINS).fetch_number(connection).await? >= LOGINS_MAX {
                return Err(StoreError::Conflict(Conflict::SessionsFull));
            }
            let used = query(USE_LOGIN)
                .bind(digest.bytes().to_vec())
                .bind(millis(until))
                .execute(connection)
                .await?;
            write.commit(&[]).await?;
            Ok(used > 0)
        })
        .await
    }
}

/// Deletes answered logins that are over.
pub(crate) async fn forget_logins(
    connection: &mut Connection,
    now: WallMillis,
) -> Result<u64, StoreError> {
    let forgotten = query(FORGET_LOGINS).bind(millis(now)).execute(connection);
    Ok(forgotten.await?)
}

async fn through(
    connection: &mut Connection,
    id: OperatorId,
    step: Option<u64>,
    codes: &[String],
    now: WallMillis,
) -> Result<(), StoreError> {
    query(THROUGH)
        .bind(id.to_string())
        .bind(millis(now))
        .bind(step.map(count))
        .bind(row::to_json(&codes)?)
        .execute(connection)
        .await?;
    Ok(())
}
