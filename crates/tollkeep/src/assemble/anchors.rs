//! Checkpoints of the audit log, kept elsewhere: in the store, in a file, with whoever is told of
//! them. Nothing waits for it; what could not be kept is told, and the next checkpoint says more.

use super::egress::Door;
use super::reload::Reloader;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use ipnet::IpNet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tollkeep_audit::{Anchor, ChainHead, Told};
use tollkeep_config::settings::{self, AnchorHook};
use tollkeep_net::dial::{Endpoint, PoolSettings};
use tollkeep_net::fetch::{self, Bounds};
use tollkeep_policy::egress::{EgressUrl, Exceptions};
use tollkeep_store::Store;

/// Checkpoints that may wait; the oldest are worth least.
const WAITING_MAX: usize = 256;

/// How long checkpoints are gathered, so that a busy log costs a transaction a second.
const GATHERED: Duration = Duration::from_secs(1);

/// Nobody reads what it answers.
const BOUNDS: Bounds = Bounds {
    bytes_max: 64 * 1024,
    patience: Duration::from_secs(10),
};

/// How often an answer other than 200 is tried again, and how long it waits before.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// How often it is looked where the ledger stands.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where checkpoints come out, and what they say of the ledger.
pub(crate) struct Anchors {
    sender: Sender<Anchor>,
    come: Receiver<Anchor>,
    /// The head of the ledger's entries, as the next checkpoint says it.
    pub(crate) ledger_head: Arc<Mutex<Option<String>>>,
    /// Where the chains of all replicas stand, as the next checkpoint says it.
    pub(crate) chains: Arc<Mutex<Vec<ChainHead>>>,
}

/// Chains that are looked at: this one, and as many others as a checkpoint tells of.
const CHAINS_MAX: u32 = 17;

impl Anchors {
    /// Nothing has come yet.
    pub(crate) fn new() -> Self {
        let (sender, come) = channel(WAITING_MAX);
        Self {
            sender,
            come,
            ledger_head: Arc::default(),
            chains: Arc::default(),
        }
    }

    /// What is told of checkpoints.
    pub(crate) fn told(&self) -> Told {
        let sender = self.sender.clone();
        Arc::new(move |anchor| hand_over(&sender, anchor))
    }

    /// Keeps checkpoints as the settings want, until the log is closed, and looks where the ledger
    /// stands.
    pub(crate) fn start(
        self,
        control: &Runtime,
        store: &Store,
        reloader: &Arc<Reloader>,
    ) -> JoinHandle<()> {
        drop(self.sender);
        control.spawn(follow_heads(store.clone(), self.ledger_head, self.chains));
        control.spawn(keep(self.come, store.clone(), Arc::clone(reloader)))
    }
}

/// Keeps the head of the ledger's entries, and those of all chains, as they are, more or less.
async fn follow_heads(
    store: Store,
    head: Arc<Mutex<Option<String>>>,
    chains: Arc<Mutex<Vec<ChainHead>>>,
) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.ledger_head().await {
            Ok(found) => *head.lock().unwrap_or_else(PoisonError::into_inner) = found,
            Err(error) => tracing::debug!("The end of the ledger can't be read: {error}"),
        }
        match store.audit_heads(CHAINS_MAX).await {
            Ok(found) => {
                let found = found.into_iter().filter_map(|one| {
                    Some(ChainHead {
                        stream: one.stream.parse().ok()?,
                        seq: one.seq,
                        hash: one.hash,
                    })
                });
                *chains.lock().unwrap_or_else(PoisonError::into_inner) = found.collect();
            }
            Err(error) => tracing::debug!("The ends of audit chains can't be read: {error}"),
        }
    }
}

fn hand_over(sender: &Sender<Anchor>, anchor: Anchor) {
    if sender.try_send(anchor).is_err() {
        tracing::warn!("A checkpoint of the audit log is not kept elsewhere: too many wait");
    }
}

/// Keeps them as the settings want.
async fn keep(mut come: Receiver<Anchor>, store: Store, reloader: Arc<Reloader>) {
    loop {
        let gathered = gather(&mut come).await;
        let Some(last) = gathered.last() else { return };
        for of_stream in gathered.chunk_by(|one, other| one.stream == other.stream) {
            keep_in_store(&store, of_stream).await;
        }
        let settings = reloader.settings();
        let settings::Anchor { file, webhook } = &settings.audit.anchor;
        if let Some(path) = file
            && let Err(error) = append(path, &gathered)
        {
            let path = path.display();
            tracing::error!("A checkpoint of the audit log is not in `{path}`: {error}");
        }
        // It speaks for those before it.
        if let Some(hook) = webhook
            && let Err(error) = post(reloader.door(), hook, &last.line).await
        {
            tracing::error!("A checkpoint of the audit log was not taken: {error}");
        }
    }
}

/// Those that come within a while of the first; none when the log is closed.
async fn gather(come: &mut Receiver<Anchor>) -> Vec<Anchor> {
    let mut gathered = Vec::new();
    if come.recv_many(&mut gathered, WAITING_MAX).await == 0 {
        return gathered;
    }
    let all = async { while come.recv_many(&mut gathered, WAITING_MAX).await > 0 {} };
    tokio::time::timeout(GATHERED, all)
        .await
        .unwrap_or_default();
    gathered
}

async fn keep_in_store(store: &Store, anchors: &[Anchor]) {
    let Some(stream) = anchors.first().map(|anchor| anchor.stream.to_string()) else {
        return;
    };
    let told = |anchor: &Anchor| {
        (
            anchor.seq,
            String::from_utf8_lossy(&anchor.line).into_owned(),
        )
    };
    let checkpoints: Vec<_> = anchors.iter().map(told).collect();
    if let Err(error) = store.keep_audit_checkpoints(&stream, &checkpoints).await {
        tracing::warn!("Checkpoints of the audit log are not in the store: {error}");
    }
}

/// Opened each time, so that a volume may come and go.
fn append(path: &Path, anchors: &[Anchor]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let lines: Vec<&[u8]> = anchors
        .iter()
        .flat_map(|anchor| [&*anchor.line, b"\n"])
        .collect();
    file.write_all(&lines.concat())?;
    file.sync_data()
}

/// Whoever records are sent to, as a connection is made to them.
pub(super) fn hook_endpoint(door: &Door, url: &EgressUrl, allow_private: &[IpNet]) -> Endpoint {
    Endpoint {
        dialer: door.dialer.clone(),
        // It is never pooled.
        id: 0,
        tls: url.scheme().is_tls().then(|| Arc::clone(&door.tls.of_all)),
        url: url.clone(),
        exceptions: Exceptions {
            allow_private: allow_private.to_vec(),
            allow_metadata: false,
        },
        pool: PoolSettings {
            idle_per_host_max: 0,
            idle: Duration::ZERO,
            connections_max: 1,
            by_owner: false,
        },
    }
}

async fn post(door: Option<Door>, hook: &AnchorHook, line: &[u8]) -> Result<(), String> {
    let door = door.ok_or("there is no way out yet")?;
    let endpoint = hook_endpoint(&door, &hook.url, &hook.allow_private);
    let mut fields = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    if let Some(token) = &hook.token {
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        fields.push((AUTHORIZATION, value.map_err(|error| error.to_string())?));
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let body = line.to_vec();
        match fetch::post(&endpoint, fields.clone(), body, BOUNDS).await {
            Ok(_) | Err(fetch::FetchError::Status(201..=299)) => return Ok(()),
            Err(error) if tries >= TRIES => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
