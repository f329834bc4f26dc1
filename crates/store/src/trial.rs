//! Changes on trial: made in one transaction that is always undone, so that what they would do can
//! be told and nothing is done.
//!
//! A change on trial ends with a savepoint where another is put on disk. Nothing of it is shown to
//! the data plane or told to other processes. The trial has the turn to write from its first change
//! to its end.

use crate::database::Database;
use crate::intent::Intent;
use crate::postgres::within;
use crate::query::{Connection, query};
use crate::write::Turn;
use crate::{Scope, Store, StoreError};
use sqlx::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long one change of a trial waits for another of the same trial.
const PATIENCE: Duration = Duration::from_secs(5);

const BEGIN: &str = "SAVEPOINT change";

const KEEP: &str = "RELEASE SAVEPOINT change";

const UNDO: &str = "ROLLBACK TO SAVEPOINT change";

/// A trial under way. Dropped with the handles of its store, it is undone too, a little later.
#[derive(Clone)]
pub struct Trial(Arc<Mutex<Tried>>);

#[derive(Default)]
struct Tried {
    /// One for all on a file; one for each scope on a server.
    parts: Vec<Part>,
    is_over: bool,
}

struct Part {
    tenant: Option<String>,
    turn: Turn,
    /// A change was begun and not kept.
    begun: bool,
}

impl Store {
    /// A handle that sees its own changes, which nobody else does, until [`Trial::end`].
    pub fn trial(&self) -> (Self, Trial) {
        let trial = Trial(Arc::default());
        let intent = Intent {
            trial: Some(trial.clone()),
            ..Intent::default()
        };
        (self.with(intent), trial)
    }
}

impl Trial {
    /// One that goes on with a change that was begun.
    pub(crate) fn of(scope: Scope, turn: Turn) -> Self {
        let part = Part {
            tenant: scope.tenant(),
            turn,
            begun: false,
        };
        let parts = vec![part];
        Self(Arc::new(Mutex::new(Tried {
            parts,
            is_over: false,
        })))
    }

    /// The change it went on with; the trial is over.
    pub(crate) async fn give_back(&self) -> Result<Turn, StoreError> {
        let mut tried = self.lock().await?;
        tried.is_over = true;
        let part = tried.parts.pop();
        let gone = || StoreError::Unavailable("a change was lost".to_owned());
        part.map(|part| part.turn).ok_or_else(gone)
    }

    /// Undoes everything. Handles that are still around change nothing any more.
    pub async fn end(self) {
        let Ok(mut tried) = self.lock().await else {
            return;
        };
        tried.is_over = true;
        for part in std::mem::take(&mut tried.parts) {
            part.turn.undo().await;
        }
    }

    /// The connection that sees the changes of the scope so far, if there are any.
    pub(crate) async fn read(&self, scope: Scope) -> Result<Option<Connection>, StoreError> {
        let tried = self.lock().await?;
        let Some(at) = tried.part_of(scope) else {
            return Ok(None);
        };
        let mut lent = Lent { tried, at };
        lent.tidy().await?;
        Ok(Some(Connection::Lent(lent)))
    }

    /// Begins a change.
    pub(crate) async fn begin(
        &self,
        database: &Database,
        scope: Scope,
    ) -> Result<Connection, StoreError> {
        let mut tried = self.lock().await?;
        if tried.is_over {
            return Err(StoreError::Unavailable("the trial is over".to_owned()));
        }
        let at = match tried.part_of(scope) {
            Some(at) => at,
            None => {
                let turn = match tried.parts.len() {
                    0 => database.begin(scope).await?,
                    _ => database.begin_beside(scope).await?,
                };
                let tenant = scope.tenant();
                tried.parts.push(Part {
                    tenant,
                    turn,
                    begun: false,
                });
                tried.parts.len() - 1
            }
        };
        let mut lent = Lent { tried, at };
        lent.tidy().await?;
        query(BEGIN).execute(lent.connection()?).await?;
        lent.part()?.begun = true;
        Ok(Connection::Lent(lent))
    }

    async fn lock(&self) -> Result<OwnedMutexGuard<Tried>, StoreError> {
        let lock = async { Ok(Arc::clone(&self.0).lock_owned().await) };
        Ok(within(PATIENCE, lock).await?)
    }
}

impl Tried {
    fn part_of(&self, scope: Scope) -> Option<usize> {
        let tenant = scope.tenant();
        let serves = |part: &Part| match &part.turn {
            Turn::Sqlite(_) => true,
            Turn::Postgres(..) => part.tenant == tenant,
        };
        self.parts.iter().position(serves)
    }
}

/// Keeps a change, for the rest of the trial.
pub(crate) async fn keep(connection: &mut Connection) -> Result<(), StoreError> {
    query(KEEP).execute(connection).await?;
    if let Connection::Lent(lent) = connection {
        lent.part()?.begun = false;
    }
    Ok(())
}

/// The connection of a trial, for as long as this is there.
pub(crate) struct Lent {
    tried: OwnedMutexGuard<Tried>,
    at: usize,
}

impl Lent {
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Error> {
        Ok(self.part()?.turn.connection())
    }

    /// The text for the database, as [`Connection::dialect`].
    pub(crate) fn dialect(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        let part = self.tried.parts.get(self.at);
        match part.map(|part| &part.turn) {
            Some(Turn::Sqlite(_)) | None => sqlite,
            Some(Turn::Postgres(..)) => postgres,
        }
    }

    fn part(&mut self) -> Result<&mut Part, Error> {
        self.tried.parts.get_mut(self.at).ok_or(Error::PoolClosed)
    }

    /// Undoes a change that was given up.
    async fn tidy(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.part()?.begun) {
            query(UNDO).execute(self.connection()?).await?;
            query(KEEP).execute(self.connection()?).await?;
        }
        Ok(())
    }
}
