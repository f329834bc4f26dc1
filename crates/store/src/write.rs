//! Changes: one at a time, whole or not at all, and to their end even if the asker goes away.

use crate::follow::Changed;
use crate::live::Change;
use crate::open::Inner;
use crate::query::{Connection, query};
use crate::trial;
use crate::{Scope, Store, StoreError};
use sqlx::Error;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

const BEGIN: &str = "BEGIN IMMEDIATE";

const COMMIT: &str = "COMMIT";

const ROLLBACK: &str = "ROLLBACK";

/// The one connection of SQLite that writes; whoever holds its lock has the turn.
///
/// Transactions are begun and ended here and not by `sqlx`: a full disk makes SQLite roll back by
/// itself, after which `sqlx` would go on counting an open transaction and refuse every later one.
pub(crate) struct Writer(Arc<Mutex<Option<Writing>>>);

pub(crate) struct Writing {
    connection: Connection,
    /// A transaction was begun and not committed.
    begun: bool,
}

impl Writer {
    pub(crate) fn new(connection: Connection) -> Self {
        let begun = false;
        Self(Arc::new(Mutex::new(Some(Writing { connection, begun }))))
    }

    /// Waits for the turn and begins a transaction.
    pub(crate) async fn begin(&self) -> Result<Turn, StoreError> {
        self.begin_raw().await.map_err(|error| {
            if matches!(error, Error::PoolClosed) {
                StoreError::Unavailable("closed".to_owned())
            } else {
                error.into()
            }
        })
    }

    /// The same, with the reason as the database tells it.
    pub(crate) async fn begin_raw(&self) -> Result<Turn, Error> {
        let turn = Arc::clone(&self.0).lock_owned().await;
        let mut writing =
            OwnedMutexGuard::try_map(turn, Option::as_mut).map_err(|_| Error::PoolClosed)?;
        writing.undo().await;
        query(BEGIN).execute(&mut writing.connection).await?;
        writing.begun = true;
        Ok(Turn::Sqlite(writing))
    }

    /// Waits for the change under way, which may be one whose asker is gone, and closes.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        match self.0.lock().await.take() {
            Some(writing) => Ok(writing.connection.close().await?),
            None => Ok(()),
        }
    }

    /// Closes the connection and opens another in its place. Until that works, nothing is written.
    pub(crate) async fn reopen(
        &self,
        open: impl AsyncFnOnce() -> Result<Connection, Error>,
    ) -> Result<(), Error> {
        let mut turn = self.0.lock().await;
        if let Some(writing) = turn.take()
            && let Err(error) = writing.connection.close().await
        {
            tracing::debug!(%error, "A broken connection was not closed in order");
        }
        let connection = open().await?;
        let begun = false;
        *turn = Some(Writing { connection, begun });
        Ok(())
    }

    /// Undoes what was begun and not committed, unless the next change is doing so already.
    pub(crate) async fn settle(&self) {
        if let Ok(mut turn) = self.0.try_lock()
            && let Some(writing) = turn.as_mut()
        {
            writing.undo().await;
        }
    }
}

impl Writing {
    async fn undo(&mut self) {
        if self.begun {
            // Fails if SQLite has rolled back already; then there is nothing to undo.
            let undone = query(ROLLBACK).execute(&mut self.connection).await;
            if let Err(error) = undone {
                tracing::debug!(%error, "Nothing to roll back");
            }
            self.begun = false;
        }
    }
}

/// The turn to write, and a transaction. Dropped before it is committed, it is undone.
pub(crate) enum Turn {
    /// With the file's one connection that writes.
    Sqlite(OwnedMappedMutexGuard<Option<Writing>, Writing>),
    /// With a connection of the server, and the turn among the changes of this process.
    Postgres(Connection, Option<OwnedMutexGuard<()>>),
}

impl Turn {
    /// The connection to write with.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        match self {
            Self::Sqlite(writing) => &mut writing.connection,
            Self::Postgres(connection, _) => connection,
        }
    }

    /// Undoes what was begun.
    pub(crate) async fn undo(self) {
        match self {
            Self::Sqlite(mut writing) => writing.undo().await,
            // What is dropped is undone.
            Self::Postgres(..) => {}
        }
    }

    /// Makes it so, and keeps the turn until what this gives is dropped.
    pub(crate) async fn commit(self) -> Result<impl Sized, StoreError> {
        Ok(self.commit_raw().await?)
    }

    /// The same, with the reason as the database tells it.
    pub(crate) async fn commit_raw(self) -> Result<impl Sized, Error> {
        match self {
            Self::Sqlite(mut writing) => {
                query(COMMIT).execute(&mut writing.connection).await?;
                writing.begun = false;
                Ok((Some(writing), None))
            }
            Self::Postgres(connection, turn) => {
                connection.commit().await?;
                Ok((None, turn))
            }
        }
    }
}

/// A change under way. Dropped without [`Write::commit`], it is undone.
pub(crate) struct Write<'store> {
    held: Held,
    inner: &'store Inner,
}

/// What a change is made with.
enum Held {
    /// A turn of its own.
    Turn(Turn),
    /// The connection of a trial, which undoes it.
    Trial(Connection),
}

impl Inner {
    /// A connection that reads what the scope may see.
    pub(crate) async fn read(&self, scope: Scope) -> Result<Connection, StoreError> {
        if let Some(trial) = &self.intent.trial
            && let Some(lent) = trial.read(scope).await?
        {
            return Ok(lent);
        }
        self.database.read(scope).await
    }

    /// Waits for the turn and begins a change of what the scope may see.
    pub(crate) async fn begin(&self, scope: Scope) -> Result<Write<'_>, StoreError> {
        let held = match &self.intent.trial {
            Some(trial) => Held::Trial(trial.begin(&self.database, scope).await?),
            None => Held::Turn(self.expected(scope).await?),
        };
        Ok(Write { held, inner: self })
    }
}

impl Write<'_> {
    /// The connection to write with.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        match &mut self.held {
            Held::Turn(turn) => turn.connection(),
            Held::Trial(connection) => connection,
        }
    }

    /// Puts the change on disk, then shows it to the data plane. The turn ends after both, so
    /// changes are seen in the order in which they were stored.
    pub(crate) async fn commit(self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let live = &self.inner.live;
        let changed: Vec<_> = changes.iter().map(Changed::from).collect();
        let show = || changes.iter().for_each(|change| live.apply(*change));
        self.commit_then(&changed, show).await
    }

    /// As [`Self::commit`], for what is shown in another way.
    pub(crate) async fn commit_then(
        mut self,
        changed: &[Changed],
        show: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let (inner, now) = (self.inner, self.inner.wall.now());
        if let Held::Trial(connection) = &mut self.held {
            return trial::keep(connection).await;
        }
        let run = inner.intent.run.as_ref();
        if let Some(run) = run {
            run.mark(self.connection(), now).await?;
        }
        let due = inner.intent.due.as_ref();
        if let Some(due) = due {
            due.mark(self.connection(), now).await?;
        }
        let told = inner.follower.tell(self.connection(), changed, now);
        told.await?;
        // What others changed since then must not be shown before this.
        let _shown = inner.follower.pause().await;
        let Held::Turn(turn) = self.held else {
            return Ok(());
        };
        let _turn = turn.commit().await?;
        inner.follower.told(changed);
        if let Some(run) = run {
            run.is_marked();
        }
        if let Some(due) = due {
            due.is_marked();
        }
        show();
        Ok(())
    }
}

impl Store {
    /// Runs a change in a task of its own. A caller who hangs up drops its request's future; if
    /// that were the change, a revocation could be on disk and not in force.
    #[expect(
        clippy::disallowed_methods,
        reason = "a few statements long, and `Store::close` waits for the turn it holds"
    )]
    pub(crate) async fn unattended<T, F>(
        &self,
        change: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let change = change(Arc::clone(&inner));
        let task = tokio::spawn(async move {
            let outcome = change.await;
            inner.database.settle().await;
            outcome
        });
        task.await
            .unwrap_or_else(|broken| Err(StoreError::Unavailable(broken.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use crate::database::Database;
    use crate::query::{Connection, query, script};
    use crate::row;
    use crate::sqlite::File;
    use crate::{
        NewProject, PageRequest, Place, ProjectRef, Scope, Store, StoreError, StoreOptions,
    };
    use std::sync::Arc;
    use tollkeep_crypto::SystemEntropy;
    use tollkeep_types::{Clock, MonoNanos, WallMillis};

    const SERVICE: Scope = Scope::Service("test");

    struct StandStill;

    impl Clock for StandStill {
        fn mono(&self) -> MonoNanos {
            MonoNanos(0)
        }

        fn wall(&self) -> WallMillis {
            WallMillis(1_795_342_530_000)
        }
    }

    async fn open(folder: &tempfile::TempDir) -> Store {
        let place = Place::Sqlite(folder.path().join("tollkeep.db"));
        let (clock, entropy) = (Arc::new(StandStill), Arc::new(SystemEntropy));
        Store::open(&place, &StoreOptions::default(), clock, entropy)
            .await
            .unwrap()
    }

    fn file(store: &Store) -> &File {
        match &store.0.database {
            Database::Sqlite(file) => file,
            Database::Postgres(_) => panic!("no file"),
        }
    }

    /// Does something with the connection that writes, outside of a change.
    async fn by_hand<T>(store: &Store, act: impl AsyncFnOnce(&mut Connection) -> T) -> T {
        let mut turn = file(store).writer.0.lock().await;
        act(&mut turn.as_mut().unwrap().connection).await
    }

    /// Lets the file grow to so many pages and no more: SQLite then fails as on a full disk.
    async fn pages_max(store: &Store, pages: &'static str) {
        by_hand(store, async |connection| {
            script(pages, connection).await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_and_keeps_what_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        pages_max(&store, "PRAGMA max_page_count = 1").await;
        let create = async |number: u32| {
            // Names long enough to fill the free room of the pages that exist.
            let name = format!("{number:0200}");
            let new = NewProject {
                name,
                slug: Some(format!("p{number}")),
                ..NewProject::default()
            };
            store.create_project(SERVICE, new).await
        };
        let mut made = Vec::new();
        let refused = loop {
            match create(u32::try_from(made.len()).unwrap()).await {
                Ok(project) => made.push(project),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, StoreError::Full);
        assert_eq!(
            refused.to_string(),
            "the store's disk is full: free some space, nothing was written"
        );
        let page = PageRequest {
            limit: 1000,
            after: None,
        };
        let kept = store.projects(SERVICE, page).await.unwrap();
        assert_eq!(kept.rows.len(), made.len() + 1, "reads work");
        pages_max(&store, "PRAGMA max_page_count = 100000").await;
        made.push(create(9999).await.unwrap());
        store.close().await.unwrap();
        drop(store);
        let store = open(&folder).await;
        for project in made {
            let found = store.project(SERVICE, ProjectRef::Id(project.id)).await;
            assert_eq!(found, Ok(project));
        }
    }

    #[tokio::test]
    async fn a_change_that_is_given_up_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        {
            let mut write = store.0.begin(SERVICE).await.unwrap();
            let statement = "INSERT INTO meta (key, value) VALUES ('a', 'b')";
            let done = query(statement).execute(write.connection()).await;
            done.unwrap();
        }
        assert_eq!(store.meta("a").await, Ok(None));
        store.set_meta_once("a", "c").await.unwrap();
        assert_eq!(store.meta("a").await, Ok(Some("c".to_owned())));
    }

    #[tokio::test]
    async fn what_is_acknowledged_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        for (pragma, want) in [
            (
                "SELECT journal_mode AS \"is\" FROM pragma_journal_mode",
                "wal",
            ),
            (
                "SELECT CAST(synchronous AS TEXT) AS \"is\" FROM pragma_synchronous",
                "2",
            ),
            (
                "SELECT CAST(foreign_keys AS TEXT) AS \"is\" FROM pragma_foreign_keys",
                "1",
            ),
        ] {
            let ask = async |connection: &mut Connection| query(pragma).fetch_one(connection).await;
            let row = by_hand(&store, ask).await.unwrap();
            assert_eq!(row::text(&row, "is").unwrap(), want, "{pragma}");
        }
        let refused = sqlx::query("DELETE FROM meta")
            .execute(&file(&store).readers)
            .await;
        assert!(refused.is_err(), "readers only read");
    }

    #[tokio::test]
    async fn every_table_is_strict() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        let loose: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM pragma_table_list
             WHERE schema = 'main' AND type = 'table' AND NOT strict AND name NOT LIKE 'sqlite_%'",
        )
        .fetch_all(&file(&store).readers)
        .await
        .unwrap();
        assert_eq!(loose, Vec::<String>::new());
    }
}
