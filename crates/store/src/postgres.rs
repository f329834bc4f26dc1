//! The database as a server that several processes share.
//!
//! Whoever asks for a tenant asks as one login, in a transaction that names the tenant, and the
//! server shows it that tenant's rows alone. The gateway's own work is done as another login.

mod who;

use crate::query::{Connection, query};
use crate::{OpenError, Scope, StoreError};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection as _, Error, PgConnection, Postgres};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tollkeep_types::Secret;
use who::Who;

/// A PostgreSQL database of the gateway's own, and how it is used.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The login for what is done for one tenant.
    pub app: PostgresLogin,
    /// The login for the gateway's own work.
    pub jobs: PostgresLogin,
    /// The login that may change the schema.
    pub owner: Option<PostgresLogin>,
    /// Connections at most, for each of the first two logins.
    pub pool_size: u32,
    /// How old a connection becomes.
    pub conn_max_lifetime: Duration,
}

impl PostgresOptions {
    /// How the database is called in messages.
    pub(crate) fn place(&self) -> String {
        format!("database `{}` on {}", self.app.database, self.app.host)
    }
}

/// Where the server is, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct PostgresLogin {
    /// Its host; the folder of its socket, if it begins with `/`.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// Whether it is spoken to over TLS.
    pub tls: PostgresTls,
    /// Certificates of authorities that are trusted besides the usual ones.
    pub roots: Option<PathBuf>,
}

/// TLS towards the server, as `sslmode` calls it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PostgresTls {
    /// `disable`.
    Off,
    /// `prefer`: if the server has it.
    Preferred,
    /// `require`: whoever answers is believed.
    Required,
    /// `verify-ca`: with a certificate of a trusted authority, for any name.
    VerifiedAuthority,
    /// `verify-full`: with a certificate for its name.
    Verified,
}

/// What the roles of the database are called.
const APP: &str = "tollkeep_app";
const JOBS: &str = "tollkeep_jobs";

/// Where changes are announced.
const CHANNEL: &str = "tollkeep_changes";

/// How long the one who watches for changes waits for an answer.
const WATCH_PATIENCE: Duration = Duration::from_secs(2);

/// How long one statement may take that looks at whole tables.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);
/// How long the audit log waits for a connection, before it tries again.
const AUDIT_PATIENCE: Duration = Duration::from_secs(2);

/// Read committed whatever the server's or the login's default is: what is read after the turn to
/// write came must be what the one before wrote, and a snapshot taken before the turn would not be.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

const BEGIN_READING: &str = "BEGIN READ ONLY";

const COMMIT: &str = "COMMIT";

const ROLLBACK: &str = "ROLLBACK";

/// Names the tenant, and ends by the server what hangs. What is acknowledged is on disk, also on a server
/// whose settings are content with less; what asks for more stays (LED-71). It holds for the transaction
/// alone, so a pooler may stand in between.
const SET: &str = "SELECT set_config('tollkeep.tenant', $1, true),
  set_config('lock_timeout', $2, true), set_config('statement_timeout', $2, true),
  set_config('idle_in_transaction_session_timeout', $2, true),
  CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
    THEN set_config('synchronous_commit', 'on', true) END";

/// One change at a time, by whichever process: so they are seen in the order of their numbers.
const TURN: &str = "SELECT pg_advisory_xact_lock(8390045675397410160)";

const BECOME_OWNER: &str = "SET LOCAL ROLE tollkeep_owner";

const ANNOUNCE: &str = "SELECT pg_notify('tollkeep_changes', '')";

/// The server, with a pool of connections for each purpose.
pub(crate) struct Server {
    /// The turn among the changes of this process: each takes one connection at most.
    pub(crate) turn: Arc<Mutex<()>>,
    app: PgPool,
    jobs: PgPool,
    /// For news alone, so that nothing else holds it up.
    watch: PgPool,
    /// For calls of counted tokens alone, for which callers wait.
    lend: PgPool,
    /// For money alone.
    ledger: PgPool,
    /// For the audit log alone.
    audit: PgPool,
    patience: Duration,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Read,
    /// Statements that look at whole tables, which take as long as those are large.
    LongRead,
    Write,
    /// A change that is undone, beside another that has the turn.
    Beside,
}

impl Server {
    /// Reaches the server once with each login, so that what is wrong is told at the start.
    pub(crate) async fn open(
        options: &PostgresOptions,
        patience: Duration,
    ) -> Result<Self, OpenError> {
        for (key, login) in [
            ("store.url", &options.app),
            ("store.jobs_url", &options.jobs),
        ] {
            try_login(key, login, patience).await?;
        }
        let pool = |login, size, patience| pool(login, options, size, patience);
        Ok(Self {
            turn: Arc::default(),
            app: pool(&options.app, options.pool_size, patience),
            jobs: pool(&options.jobs, options.pool_size, patience),
            watch: pool(&options.jobs, 2, patience.min(WATCH_PATIENCE)),
            lend: pool(&options.jobs, 1, patience.min(WATCH_PATIENCE)),
            ledger: pool(&options.jobs, 1, patience),
            audit: pool(&options.jobs, 2, patience.min(AUDIT_PATIENCE)),
            patience,
        })
    }

    /// Refuses logins that rows are not hidden from, or that rule over the tables.
    pub(crate) async fn check_roles(&self) -> Result<(), OpenError> {
        let app = Who::ask(self.begin_on(&self.app, "", Purpose::Read).await?).await?;
        let jobs = Who::ask(self.begin_on(&self.jobs, "", Purpose::Read).await?).await?;
        let fault = app.fault(APP, app.is_app).map(|fault| ("store.url", fault));
        let shared = app.is_jobs.then_some((
            "store.url",
            "is a member of tollkeep_jobs: rows of all tenants would be seen",
        ));
        let jobs_fault = jobs
            .fault(JOBS, jobs.is_jobs)
            .map(|fault| ("store.jobs_url", fault));
        match fault.or(shared).or(jobs_fault) {
            None => Ok(()),
            Some((key, fault)) => Err(OpenError::Server(format!("{key}: the login {fault}"))),
        }
    }

    /// Begins a transaction that sees what the scope may see.
    pub(crate) async fn begin(
        &self,
        scope: Scope,
        purpose: Purpose,
    ) -> Result<Connection, StoreError> {
        match scope {
            Scope::Tenant(tenant) => {
                let tenant = tenant.to_string();
                self.begin_on(&self.app, &tenant, purpose).await
            }
            Scope::Service(_) => self.begin_on(&self.jobs, "", purpose).await,
        }
    }

    /// A connection for one statement that stands for itself, and waits for no other's turn.
    pub(crate) async fn lending(&self) -> Result<Connection, StoreError> {
        Ok(Connection::Postgres(Link {
            connection: Some(self.lend.acquire().await?),
            patience: self.patience.min(WATCH_PATIENCE),
            begun: false,
            late: false,
        }))
    }

    /// Begins a transaction of the ledger.
    pub(crate) async fn begin_ledger(&self) -> Result<Connection, Error> {
        self.begin_raw(&self.ledger, "", Purpose::Beside).await
    }

    /// Begins a transaction of the audit log.
    pub(crate) async fn begin_audit(&self) -> Result<Connection, StoreError> {
        self.begin_on(&self.audit, "", Purpose::Beside).await
    }

    /// Begins a transaction of the one who watches for changes.
    pub(crate) async fn watch(&self) -> Result<Connection, StoreError> {
        self.begin_on(&self.watch, "", Purpose::Read).await
    }

    /// Waits for news, and says so each time; to the end, which is when it can't wait any more.
    pub(crate) async fn listen(&self, mut heard: impl FnMut()) -> Result<(), Error> {
        let mut listener = PgListener::connect_with(&self.watch).await?;
        listener.listen(CHANNEL).await?;
        while listener.try_recv().await?.is_some() {
            heard();
        }
        Ok(())
    }

    /// Closes the connections; one that hangs is not waited for.
    pub(crate) async fn close(&self) {
        let all = async {
            tokio::join!(
                self.app.close(),
                self.jobs.close(),
                self.watch.close(),
                self.lend.close(),
                self.ledger.close(),
                self.audit.close()
            );
            Ok(())
        };
        let closed = within(self.patience, all).await;
        if closed.is_err() {
            tracing::warn!("Connections to the database did not close in time");
        }
    }

    async fn begin_on(
        &self,
        pool: &PgPool,
        tenant: &str,
        purpose: Purpose,
    ) -> Result<Connection, StoreError> {
        Ok(self.begin_raw(pool, tenant, purpose).await?)
    }

    async fn begin_raw(
        &self,
        pool: &PgPool,
        tenant: &str,
        purpose: Purpose,
    ) -> Result<Connection, Error> {
        let mut link = Link {
            connection: Some(pool.acquire().await?),
            patience: self.patience,
            begun: true,
            late: false,
        };
        let begin = match purpose {
            Purpose::Read | Purpose::LongRead => BEGIN_READING,
            Purpose::Write | Purpose::Beside => BEGIN,
        };
        link.run(begin).await?;
        if purpose == Purpose::LongRead {
            link.patience = LONG_PATIENCE;
        }
        let patience = link.patience;
        let mut connection = Connection::Postgres(link);
        query(SET)
            .bind(tenant)
            .bind(patience.as_millis().to_string())
            .fetch_one(&mut connection)
            .await?;
        if purpose == Purpose::Write {
            query(TURN).fetch_one(&mut connection).await?;
        }
        Ok(connection)
    }
}

/// The owner of the tables, for changes of the schema.
pub(crate) struct Owner(Server);

impl Owner {
    pub(crate) async fn open(
        options: &PostgresOptions,
        login: &PostgresLogin,
        patience: Duration,
    ) -> Result<Self, OpenError> {
        try_login("store.owner_url", login, patience).await?;
        let pool = pool(login, options, 1, patience);
        Ok(Self(Server {
            turn: Arc::default(),
            app: pool.clone(),
            jobs: pool.clone(),
            watch: pool.clone(),
            lend: pool.clone(),
            ledger: pool.clone(),
            audit: pool,
            patience,
        }))
    }

    pub(crate) async fn begin(&self) -> Result<Connection, StoreError> {
        let begun = self.0.begin_on(&self.0.jobs, "", Purpose::Write);
        let mut connection = begun.await?;
        query(BECOME_OWNER).execute(&mut connection).await?;
        Ok(connection)
    }

    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}

/// A connection within a transaction. Dropped before it is committed, the transaction is undone.
pub(crate) struct Link {
    connection: Option<PoolConnection<Postgres>>,
    patience: Duration,
    /// A transaction was begun and not committed.
    begun: bool,
    /// The server did not answer in time: nobody can tell what this connection would say next.
    late: bool,
}

impl Link {
    /// The connection to ask.
    pub(crate) fn server(&mut self) -> Result<&mut PgConnection, Error> {
        self.connection.as_deref_mut().ok_or(Error::PoolClosed)
    }

    /// How long an answer may take.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes note of how asking ended.
    pub(crate) fn judge<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.late |= outcome.as_ref().is_err_and(is_late);
        outcome
    }

    /// Makes it so.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        self.run(COMMIT).await?;
        self.begun = false;
        Ok(())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), Error> {
        let patience = self.patience;
        let done = sqlx::raw_sql(statement).execute(self.server()?);
        let done = within(patience, done).await;
        self.judge(done).map(|_| ())
    }
}

impl Drop for Link {
    #[expect(
        clippy::disallowed_methods,
        reason = "one statement long, and closing the pool waits for the connection it holds"
    )]
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if self.late {
            // It would keep its place in the pool for as long as the server hangs.
            drop(connection.detach());
        } else if self.begun {
            let patience = self.patience;
            drop(tokio::spawn(async move {
                let undo = sqlx::raw_sql(ROLLBACK).execute(&mut *connection);
                if within(patience, undo).await.is_err() {
                    drop(connection.detach());
                }
            }));
        }
    }
}

/// Tells the others when this transaction is committed.
pub(crate) async fn announce(connection: &mut Connection) -> Result<(), Error> {
    query(ANNOUNCE).fetch_one(connection).await.map(|_| ())
}

/// The outcome, or that it took too long.
#[expect(
    clippy::disallowed_methods,
    reason = "the control runtime has no deadline slots, and a server that hangs must not hang us"
)]
pub(crate) async fn within<T>(
    patience: Duration,
    outcome: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = || Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(patience, outcome)
        .await
        .unwrap_or_else(|_| Err(late()))
}

pub(crate) fn is_late(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

async fn try_login(key: &str, login: &PostgresLogin, patience: Duration) -> Result<(), OpenError> {
    let options = login.options();
    let tried = within(patience, PgConnection::connect_with(&options)).await;
    let closed = match tried {
        Ok(connection) => within(patience, connection.close()).await,
        Err(error) => Err(error),
    };
    closed.map_err(|error| {
        let at = format!("{key}: {}:{}", login.host, login.port);
        if let Error::Io(error) = &error {
            return OpenError::Unreachable(format!("{at} can't be reached: {error}"));
        }
        match error.as_database_error() {
            Some(refusal) => OpenError::Server(format!("{at} refuses: {refusal}")),
            None => OpenError::Server(format!("{at}: {error}")),
        }
    })
}

fn pool(login: &PostgresLogin, options: &PostgresOptions, size: u32, patience: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(patience)
        .max_lifetime(options.conn_max_lifetime)
        .connect_lazy_with(login.options())
}

impl PostgresLogin {
    fn options(&self) -> PgConnectOptions {
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(self.port)
            .username(&self.user)
            .database(&self.database)
            .application_name("tollkeep")
            .ssl_mode(match self.tls {
                PostgresTls::Off => PgSslMode::Disable,
                PostgresTls::Preferred => PgSslMode::Prefer,
                PostgresTls::Required => PgSslMode::Require,
                PostgresTls::VerifiedAuthority => PgSslMode::VerifyCa,
                PostgresTls::Verified => PgSslMode::VerifyFull,
            })
            .disable_statement_logging();
        options = if self.host.starts_with('/') {
            options.socket(&self.host)
        } else {
            options.host(&self.host)
        };
        // Without one, what the environment says must not be sent.
        let password = self.password.as_ref().map_or("", Secret::expose);
        options = options.password(password);
        match &self.roots {
            Some(roots) => options.ssl_root_cert(roots),
            None => options,
        }
    }
}
