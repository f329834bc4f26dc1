//! A database of a test's own on the server that `TEST_POSTGRES_URL` names.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::time::Duration;
use tollkeep_crypto::SystemEntropy;
use tollkeep_store::{Place, PostgresLogin, PostgresOptions, PostgresTls};
use tollkeep_types::Entropy;

/// The roles are the server's: they are made once, by whichever test comes first.
const ROLES: &str = "DO $$ BEGIN
  PERFORM pg_advisory_xact_lock(7);
  IF to_regrole('tollkeep_owner') IS NULL THEN
    CREATE ROLE tollkeep_owner NOLOGIN;
    CREATE ROLE tollkeep_app LOGIN;
    CREATE ROLE tollkeep_jobs LOGIN;
  END IF;
END $$";

const DUMP: &str = "SELECT coalesce(string_agg(query_to_xml(
    format('SELECT * FROM %I', relname), true, true, '')::text, ''), '')
  FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";

/// A database, dropped with this.
pub(crate) struct Database {
    server: PgConnectOptions,
    pub(crate) name: String,
    is_owner: bool,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let url = std::env::var("TEST_POSTGRES_URL");
        let url = url.expect("TEST_POSTGRES_URL, as tests/services.sh sets it");
        let server: PgConnectOptions = url.parse().unwrap();
        let mut random = [0; 8];
        SystemEntropy.fill(&mut random);
        let name = format!("test_{:016x}", u64::from_ne_bytes(random));
        let database = Self {
            server,
            name,
            is_owner: true,
        };
        let create = format!("CREATE DATABASE {} OWNER tollkeep_owner", database.name);
        let mut connection = database.server.connect().await.unwrap();
        run(&mut connection, ROLES.to_owned()).await;
        run(&mut connection, create).await;
        connection.close().await.unwrap();
        database
    }

    /// The same one, dropped by the other.
    pub(crate) fn again(&self) -> Self {
        Self {
            server: self.server.clone(),
            name: self.name.clone(),
            is_owner: false,
        }
    }

    pub(crate) fn superuser(&self) -> String {
        self.server.get_username().to_owned()
    }

    /// A login to it.
    pub(crate) fn login(&self, user: &str) -> PostgresLogin {
        PostgresLogin {
            host: self.server.get_host().to_owned(),
            port: self.server.get_port(),
            user: user.to_owned(),
            password: None,
            database: self.name.clone(),
            tls: PostgresTls::Off,
            roots: None,
        }
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions {
            app: self.login("tollkeep_app"),
            jobs: self.login("tollkeep_jobs"),
            owner: Some(self.login(self.server.get_username())),
            pool_size: 4,
            conn_max_lifetime: Duration::from_secs(3600),
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::Postgres(Box::new(self.options()))
    }

    /// A connection as that role.
    pub(crate) async fn connect_as(&self, user: &str) -> PgConnection {
        let options = self.server.clone().database(&self.name).username(user);
        options.connect().await.unwrap()
    }

    /// Runs statements as the superuser.
    pub(crate) async fn run(&self, statements: String) {
        let mut connection = self.connect_as(self.server.get_username()).await;
        run(&mut connection, statements).await;
        connection.close().await.unwrap();
    }

    /// The number that a query asks for.
    pub(crate) async fn number(&self, ask: &'static str) -> i64 {
        let mut connection = self.connect_as(self.server.get_username()).await;
        let number = sqlx::query_scalar(ask).fetch_one(&mut connection).await;
        connection.close().await.unwrap();
        number.unwrap()
    }

    /// The rows of all tables, as text.
    pub(crate) async fn dump(&self) -> String {
        let mut connection = self.connect_as(self.server.get_username()).await;
        let dump = sqlx::query_scalar(DUMP).fetch_one(&mut connection).await;
        connection.close().await.unwrap();
        dump.unwrap()
    }
}

async fn run(connection: &mut PgConnection, statements: String) {
    let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection);
    done.await.unwrap();
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_owner {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // The runtime of the test may be the one that is ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut connection = server.connect().await.unwrap();
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                run(&mut connection, drop).await;
                connection.close().await.unwrap();
            });
        });
        dropped.join().ok();
    }
}
