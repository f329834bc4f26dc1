//! A store in a fresh folder or database, with a clock that is set by hand.

use crate::server::Database;
use sqlx::{ConnectOptions, Connection};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_crypto::SystemEntropy;
use tollkeep_store::live::{Granting, LiveToken};
use tollkeep_store::{
    Bindings, CallLimits, ManagementSecret, NewToken, OpenError, PageRequest, Place, Project,
    ProjectRef, Scope, Standing, Store, StoreError, StoreOptions, Token, TokenSecret,
};
use tollkeep_types::{Clock, MonoNanos, TokenHash, WallMillis};

pub(crate) const SERVICE: Scope = Scope::Service("test");
pub(crate) const START: u64 = 1_795_342_530_000;
pub(crate) const SECOND: u64 = 1000;
pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const DAY: u64 = 24 * HOUR;

#[derive(Debug)]
pub(crate) struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos(0)
    }

    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::Relaxed))
    }
}

/// A clock that stands at this time.
pub(crate) fn clock(at: u64) -> Arc<HandClock> {
    Arc::new(HandClock(AtomicU64::new(at)))
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) home: Home,
    following: tokio::task::JoinHandle<()>,
}

/// Follows the store as a process does that serves.
pub(crate) fn follow(store: &Store) -> tokio::task::JoinHandle<()> {
    let store = store.clone();
    tokio::spawn(async move { store.follow(|| ()).await })
}

/// Whether a call of the token is granted now, by whoever counts.
pub(crate) async fn grants(store: &Store, token: &LiveToken) -> bool {
    match token.try_grant(store.now()) {
        Granting::Granted => true,
        Granting::UsedUp => false,
        Granting::Ask => store.take_call(token, store.now()).await.unwrap(),
    }
}

/// Where the store is kept; gone when it is dropped.
pub(crate) enum Home {
    Folder(tempfile::TempDir),
    Server(Box<Database>),
}

impl Home {
    /// A folder, or a database where the suite runs against PostgreSQL.
    async fn new() -> Self {
        if std::env::var_os(ON_POSTGRESQL).is_some() {
            Self::Server(Box::new(Database::new().await))
        } else {
            Self::Folder(tempfile::tempdir().unwrap())
        }
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Folder(folder) => Place::Sqlite(folder.path().join("data").join("tollkeep.db")),
            Self::Server(database) => database.place(),
        }
    }

    /// Runs statements past the store.
    pub(crate) async fn by_hand(&self, statements: &'static str) {
        match self {
            Self::Folder(_) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
                let mut connection = options.connect().await.unwrap();
                let done = sqlx::raw_sql(statements).execute(&mut connection).await;
                done.unwrap();
                connection.close().await.unwrap();
            }
            Self::Server(database) => database.run(statements.to_owned()).await,
        }
    }

    /// Everything in the files, or in the tables.
    pub(crate) async fn dump(&self) -> Vec<u8> {
        match self {
            Self::Folder(_) => {
                let folder = self.path().parent().unwrap().to_owned();
                let files = fs::read_dir(folder).unwrap();
                let files = files.map(|entry| entry.unwrap().path());
                files.flat_map(|path| fs::read(path).unwrap()).collect()
            }
            Self::Server(database) => database.dump().await.into_bytes(),
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        match self.place() {
            Place::Sqlite(path) => path,
            Place::Postgres(_) => panic!("a database has no path"),
        }
    }
}

/// Set where the suite runs against PostgreSQL.
pub(crate) const ON_POSTGRESQL: &str = "TOLLKEEP_TEST_ON_POSTGRESQL";

impl World {
    pub(crate) async fn new() -> Self {
        Self::at(Home::new().await).await
    }

    /// At another time.
    pub(crate) async fn starting(at: u64) -> Self {
        let (home, clock) = (Home::new().await, clock(at));
        let store = open(&home, &clock).await.unwrap();
        Self::of(store, clock, home)
    }

    /// With PostgreSQL, however the suite runs.
    pub(crate) async fn on_server() -> Self {
        Self::at(Home::Server(Box::new(Database::new().await))).await
    }

    async fn at(home: Home) -> Self {
        let clock = clock(START);
        let store = open(&home, &clock).await.unwrap();
        Self::of(store, clock, home)
    }

    fn of(store: Store, clock: Arc<HandClock>, home: Home) -> Self {
        Self {
            following: follow(&store),
            store,
            clock,
            home,
        }
    }

    /// As after a clean stop and a start.
    pub(crate) async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        self.crash().await
    }

    /// As after a kill: nothing is flushed.
    pub(crate) async fn crash(self) -> Self {
        let (clock, home) = self.end();
        let store = open(&home, &clock).await.unwrap();
        Self::of(store, clock, home)
    }

    /// Lets go of the store; the next one finds what it left.
    pub(crate) fn end(self) -> (Arc<HandClock>, Home) {
        self.following.abort();
        (self.clock, self.home)
    }

    pub(crate) fn pass(&self, millis: u64) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    pub(crate) fn set_clock(&self, millis: u64) {
        self.clock.0.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path()
    }

    pub(crate) async fn project(&self) -> Project {
        let default = ProjectRef::Slug("default");
        self.store.project(SERVICE, default).await.unwrap()
    }

    /// A token of the default project that lives a day.
    pub(crate) async fn new_token(&self, text: u8) -> NewToken {
        NewToken {
            project_id: self.project().await.id,
            name: format!("token {text}"),
            secret: secret(text),
            expires_at: Some(WallMillis(self.store.now().0 + DAY)),
            idle_ttl_ms: None,
            max_requests: None,
            limits: CallLimits::default(),
            bindings: Bindings::default(),
            policy: None,
            permissions: Vec::new(),
            metadata: BTreeMap::new(),
            owner: String::new(),
            self_rotate: false,
        }
    }

    pub(crate) async fn token(&self, text: u8) -> Token {
        let new = self.new_token(text).await;
        self.store.create_token(SERVICE, new).await.unwrap()
    }

    pub(crate) async fn limited_token(&self, text: u8, max_requests: u64) -> Token {
        let new = NewToken {
            max_requests: NonZeroU64::new(max_requests),
            ..self.new_token(text).await
        };
        self.store.create_token(SERVICE, new).await.unwrap()
    }

    pub(crate) fn live(&self, text: u8) -> Option<Arc<LiveToken>> {
        self.store.live().find(&digest(text))
    }

    /// What the data plane would find for the text now.
    pub(crate) fn standing(&self, text: u8) -> Option<Standing> {
        let now = self.store.now();
        self.live(text).map(|token| token.standing(now))
    }
}

/// Opens the store that is kept there.
pub(crate) async fn open(home: &Home, clock: &Arc<HandClock>) -> Result<Store, OpenError> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let options = StoreOptions::default();
    Store::open(&home.place(), &options, clock, Arc::new(SystemEntropy)).await
}

pub(crate) fn digest(text: u8) -> TokenHash {
    TokenHash::from_bytes([text; 32])
}

pub(crate) fn secret(text: u8) -> TokenSecret {
    TokenSecret {
        digest: digest(text),
        pepper_id: "p1".to_owned(),
        hint: format!("tok-{text:04}****{text:04}"),
        fingerprint: format!("fp_{text:016x}"),
    }
}

pub(crate) fn management_secret(text: u8) -> ManagementSecret {
    ManagementSecret {
        digest: digest(text),
        pepper_id: "p1".to_owned(),
        hint: "mgt-AbCd****wXyZ".to_owned(),
    }
}

pub(crate) const fn first<Id>(limit: u32) -> PageRequest<Id> {
    PageRequest { limit, after: None }
}

pub(crate) fn conflict<T>(result: Result<T, StoreError>) -> tollkeep_store::Conflict {
    match result {
        Err(StoreError::Conflict(conflict)) => conflict,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no conflict"),
    }
}
