//! Changes of an operator.

use super::{Operator, OperatorSecrets, by_id, hex, known};
use crate::console_session::end_of_operator;
use crate::owner::owner_stays;
use crate::query::{Connection, query};
use crate::row::{self, count, millis};
use crate::{Conflict, LastOwner, Scope, Store, StoreError};
use tollkeep_types::{ConsoleSessionId, TokenHash, WallMillis};

/// What to change of an operator. What they may not do any more, their sessions may not either.
#[derive(Clone)]
pub enum OperatorChange {
    /// Name, address and role, as of this record.
    Details(Operator),
    /// Another password; it is looked at again, and other sessions than this end.
    Password {
        /// Its hash.
        hash: String,
        /// The session in which it was changed.
        keep: Option<ConsoleSessionId>,
    },
    /// They may not sign in.
    Disable,
    /// They may sign in again.
    Enable,
    /// A secret of one-time codes that is not asked for yet.
    TotpBegin {
        /// The secret, sealed.
        sealed: String,
    },
    /// Codes are asked for from now on.
    TotpOn {
        /// The time step of the code that showed it works.
        step: u64,
        /// Hashes of the recovery codes.
        recovery_codes: Vec<TokenHash>,
    },
    /// Codes are not asked for.
    TotpOff,
}

pub(super) const DETAILS: &str =
    "UPDATE operators SET name = $2, login = $3, email = $4, role = $5 WHERE id = $1";

const PASSWORD: &str =
    "UPDATE operators SET password = $2, failures = 0, locked_until = NULL WHERE id = $1";

const DISABLED: &str = "UPDATE operators SET disabled_at = $2 WHERE id = $1";

const TOTP: &str = "UPDATE operators SET totp = $2, totp_is_on = $3, totp_step = $4,
  recovery_codes = $5, sealed_at = coalesce($6, sealed_at) WHERE id = $1";

impl Store {
    /// Changes an operator who is as they `were` when they were looked at.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if they changed meanwhile, somebody signs in with that name, or they
    /// are the last owner and must stay;
    /// [`StoreError::NotFound`]; or the disk.
    pub async fn change_operator(
        &self,
        scope: Scope,
        was: Operator,
        change: OperatorChange,
        last: LastOwner,
    ) -> Result<Operator, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(scope).await?;
            let connection = write.connection();
            let (is, secrets) = by_id(connection, scope, was.id).await?;
            let settled = |operator: &Operator| Operator {
                locked_until: None,
                last_login_at: None,
                recovery_codes: 0,
                ..operator.clone()
            };
            if settled(&is) != settled(&was) {
                return Err(StoreError::Conflict(Conflict::Changed));
            }
            make_change(connection, &is, &secrets, change, now).await?;
            let after = by_id(connection, scope, is.id).await?.0;
            if is.is_owner() && !after.is_owner() && last == LastOwner::Stays {
                owner_stays(connection, now).await?;
            }
            write.commit(&[]).await?;
            Ok(after)
        })
        .await
    }
}

async fn make_change(
    connection: &mut Connection,
    is: &Operator,
    secrets: &OperatorSecrets,
    change: OperatorChange,
    now: WallMillis,
) -> Result<(), StoreError> {
    let id = is.id.to_string();
    let totp = |sealed: Option<String>, is_on: bool, step: Option<u64>, codes: String| {
        let (step, at) = (step.map(count), (!is_on).then(|| millis(now)));
        let statement = query(TOTP).bind(id.as_str()).bind(sealed).bind(is_on);
        statement.bind(step).bind(codes).bind(at)
    };
    match change {
        OperatorChange::Details(wanted) => {
            if wanted.role != is.role {
                end_of_operator(connection, is.id, None).await?;
            }
            let changed = query(DETAILS)
                .bind(id)
                .bind(wanted.name)
                .bind(wanted.login)
                .bind(wanted.email)
                .bind(wanted.role.as_str())
                .execute(connection);
            changed.await.map_err(known)?;
        }
        OperatorChange::Password { hash, keep } => {
            end_of_operator(connection, is.id, keep).await?;
            query(PASSWORD)
                .bind(id)
                .bind(hash)
                .execute(connection)
                .await?;
        }
        OperatorChange::Disable => {
            end_of_operator(connection, is.id, None).await?;
            let since = is.disabled_at.unwrap_or(now);
            let disabled = query(DISABLED).bind(id).bind(millis(since));
            disabled.execute(connection).await?;
        }
        OperatorChange::Enable => {
            let enabled = query(DISABLED).bind(id).bind(None::<i64>);
            enabled.execute(connection).await?;
        }
        OperatorChange::TotpBegin { sealed } => {
            let begun = totp(Some(sealed), false, None, "[]".to_owned());
            begun.execute(connection).await?;
        }
        OperatorChange::TotpOn {
            step,
            recovery_codes,
        } => {
            let codes: Vec<String> = recovery_codes.iter().map(hex).collect();
            let sealed = secrets.totp.clone();
            let on = totp(sealed, true, Some(step), row::to_json(&codes)?);
            on.execute(connection).await?;
        }
        OperatorChange::TotpOff => {
            let off = totp(None, false, None, "[]".to_owned());
            off.execute(connection).await?;
        }
    }
    Ok(())
}
