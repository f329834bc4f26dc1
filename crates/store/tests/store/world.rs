//! A store in a fresh folder, with a clock that is set by hand.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_crypto::SystemEntropy;
use tollkeep_store::live::LiveToken;
use tollkeep_store::{
    Bindings, CallLimits, ManagementSecret, NewToken, OpenError, PageRequest, Project, ProjectRef,
    Scope, Standing, Store, StoreError, StoreOptions, Token, TokenSecret,
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

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock(AtomicU64::new(START)));
        let store = open(&folder, &clock).await.unwrap();
        Self {
            store,
            clock,
            folder,
        }
    }

    /// As after a clean stop and a start.
    pub(crate) async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        self.crash().await
    }

    /// As after a kill: nothing is flushed.
    pub(crate) async fn crash(self) -> Self {
        let Self {
            store,
            clock,
            folder,
        } = self;
        drop(store);
        let store = open(&folder, &clock).await.unwrap();
        Self {
            store,
            clock,
            folder,
        }
    }

    pub(crate) fn pass(&self, millis: u64) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    pub(crate) fn set_clock(&self, millis: u64) {
        self.clock.0.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn path(&self) -> PathBuf {
        path(&self.folder)
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
            metadata: BTreeMap::new(),
            owner: String::new(),
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

/// Opens the store of a folder.
pub(crate) async fn open(
    folder: &tempfile::TempDir,
    clock: &Arc<HandClock>,
) -> Result<Store, OpenError> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let options = StoreOptions::default();
    Store::open(&path(folder), &options, clock, Arc::new(SystemEntropy)).await
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("data").join("tollkeep.db")
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
