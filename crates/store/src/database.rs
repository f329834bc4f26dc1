//! Whichever database it is: a file or a server.

use crate::migrate::{self, Standing};
use crate::open::{Place, StoreOptions};
use crate::postgres::{Owner, PostgresOptions, Purpose, Server};
use crate::query::Connection;
use crate::sqlite::File;
use crate::write::Turn;
use crate::{OpenError, Scope, StoreError};
use std::path::Path;
use std::sync::Arc;
use tollkeep_types::WallMillis;

/// The open database.
pub(crate) enum Database {
    Sqlite(File),
    Postgres(Box<Server>),
}

/// The gateway itself, for what no tenant asked for.
pub(crate) const GATEWAY: Scope = Scope::Service("the gateway");

impl Database {
    /// Opens it and brings its schema up to date.
    pub(crate) async fn open(
        place: &Place,
        options: &StoreOptions,
        now: WallMillis,
    ) -> Result<Self, OpenError> {
        match place {
            Place::Sqlite(path) => file(path, options, now).await,
            Place::Postgres(server) => postgres(server, options, now).await,
        }
    }

    /// A connection that reads what the scope may see.
    pub(crate) async fn read(&self, scope: Scope) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(file) => file.read().await,
            Self::Postgres(server) => server.begin(scope, Purpose::Read).await,
        }
    }

    /// The same of everything, for statements that look at whole tables.
    pub(crate) async fn read_long(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(file) => file.read().await,
            Self::Postgres(server) => server.begin(GATEWAY, Purpose::LongRead).await,
        }
    }

    /// Waits for the turn, and begins a change of what the scope may see.
    pub(crate) async fn begin(&self, scope: Scope) -> Result<Turn, StoreError> {
        match self {
            Self::Sqlite(file) => file.writer.begin().await,
            Self::Postgres(server) => {
                let turn = Arc::clone(&server.turn).lock_owned().await;
                let connection = server.begin(scope, Purpose::Write).await?;
                Ok(Turn::Postgres(connection, Some(turn)))
            }
        }
    }

    /// Begins a transaction of the ledger, which has an order of its own on a server.
    pub(crate) async fn begin_ledger(&self) -> Result<Turn, sqlx::Error> {
        match self {
            Self::Sqlite(file) => file.writer.begin_raw().await,
            Self::Postgres(server) => {
                let connection = server.begin_ledger().await?;
                Ok(Turn::Postgres(connection, None))
            }
        }
    }

    /// Begins a transaction of the audit log, which is in nobody's way on a server.
    pub(crate) async fn begin_audit(&self) -> Result<Turn, StoreError> {
        match self {
            Self::Sqlite(file) => file.writer.begin().await,
            Self::Postgres(server) => Ok(Turn::Postgres(server.begin_audit().await?, None)),
        }
    }

    /// Begins a change beside another one of the same trial, which has the turn.
    pub(crate) async fn begin_beside(&self, scope: Scope) -> Result<Turn, StoreError> {
        match self {
            // One connection serves all scopes.
            Self::Sqlite(_) => Err(StoreError::Unavailable("the turn is taken".to_owned())),
            Self::Postgres(server) => {
                let connection = server.begin(scope, Purpose::Beside).await?;
                Ok(Turn::Postgres(connection, None))
            }
        }
    }

    /// Undoes what was given up.
    pub(crate) async fn settle(&self) {
        if let Self::Sqlite(file) = self {
            file.writer.settle().await;
        }
    }

    /// Waits for the change under way, and closes.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => {
                file.readers.close().await;
                file.writer.close().await
            }
            Self::Postgres(server) => {
                let _turn = server.turn.lock().await;
                server.close().await;
                Ok(())
            }
        }
    }
}

async fn file(path: &Path, options: &StoreOptions, now: WallMillis) -> Result<Database, OpenError> {
    let file = File::open(path, options.busy_timeout, options.migrate).await?;
    let place = path.display().to_string();
    let mut connection = file.read().await?;
    let standing = migrate::look(&mut connection, &place, options.migrate).await?;
    drop(connection);
    if let Standing::Behind { .. } = standing {
        while migrate::next(file.writer.begin().await?, now).await? {}
    }
    Ok(Database::Sqlite(file))
}

async fn postgres(
    server: &PostgresOptions,
    options: &StoreOptions,
    now: WallMillis,
) -> Result<Database, OpenError> {
    let opened = Server::open(server, options.busy_timeout).await?;
    opened.check_roles().await?;
    let place = server.place();
    let mut connection = opened.begin(GATEWAY, Purpose::Read).await?;
    let standing = migrate::look(&mut connection, &place, options.migrate).await?;
    drop(connection);
    if let Standing::Behind { found, known } = standing {
        let Some(login) = &server.owner else {
            return Err(OpenError::Older {
                place,
                found,
                known,
                how: "set `store.owner_url`, whose login may change it",
            });
        };
        let owner = Owner::open(server, login, options.busy_timeout).await?;
        while migrate::next(Turn::Postgres(owner.begin().await?, None), now).await? {}
        owner.close().await;
    }
    Ok(Database::Postgres(Box::new(opened)))
}
