//! The keys that sign receipts: the first one made at the first start, kept sealed, succeeded by
//! others when operators say so. What is published is kept in the open beside them, so that every
//! replica knows the keys of all.

use super::Base;
use super::vault::{Chooser, sealed_key};
use anyhow::Context as _;
use arc_swap::ArcSwap;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tollkeep_admin::{Keeping, ReceiptKeeper};
use tollkeep_crypto::Keyring;
use tollkeep_crypto::receipt::ReceiptKey;
use tollkeep_store::{Store, StoreError};
use tollkeep_types::{Clock, Entropy, WallMillis};
use zeroize::Zeroizing;

/// Where the first key is kept, sealed; the others have their number behind it.
const SEED: &str = "ledger.receipt_key";
/// Where the public keys are kept.
const PUBLISHED: &str = "ledger.receipt_keys";
/// Keys at most, all of which are published.
const KEYS_MAX: usize = 50;
/// A new key is known everywhere before it signs.
const SIGNS_AFTER_MS: u64 = 5_000;

/// The keys as the store has them.
pub(crate) struct Known {
    all: Vec<Json>,
    /// Which of them signs, counted from 1.
    number: usize,
    signs: Arc<ReceiptKey>,
}

/// What keys are read and made with.
struct Room<'a> {
    store: &'a Store,
    keyring: &'a Keyring,
    entropy: &'a dyn Entropy,
    now: WallMillis,
}

/// The keys in use, and how another one succeeds the last.
pub(crate) struct ReceiptKeys {
    store: Store,
    chooser: Arc<Chooser>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    known: ArcSwap<Known>,
    published: Arc<ArcSwap<String>>,
    turn: tokio::sync::Mutex<()>,
}

/// The keys; the first one is made if there is none.
///
/// # Errors
/// The store, or a key that can't be opened.
pub(crate) async fn open(base: &Base, store: &Store, keyring: &Keyring) -> anyhow::Result<Known> {
    let room = Room {
        store,
        keyring,
        entropy: base.entropy.as_ref(),
        now: base.clock.wall(),
    };
    room.known().await
}

impl Room<'_> {
    async fn known(&self) -> anyhow::Result<Known> {
        let all = match self.store.meta(PUBLISHED).await? {
            Some(all) => all,
            None => {
                let first = json!([published(&self.key(1).await?, self.now)]);
                self.store
                    .set_meta_once(PUBLISHED, &first.to_string())
                    .await?
            }
        };
        let all: Vec<Json> = serde_json::from_str(&all).context(PUBLISHED)?;
        let number = signing(&all, self.now);
        let signs = self.key(number).await?;
        let told = all
            .get(number.saturating_sub(1))
            .and_then(|key| key.get("kid"));
        anyhow::ensure!(
            told.and_then(Json::as_str) == Some(signs.id()),
            "key {number} of receipts is not the one that is published"
        );
        Ok(Known {
            all,
            number,
            signs: Arc::new(signs),
        })
    }

    /// The key of this number, which is made if there is none.
    async fn key(&self, number: usize) -> anyhow::Result<ReceiptKey> {
        let name = match number {
            0 | 1 => SEED.to_owned(),
            more => format!("{SEED}.{more}"),
        };
        let seed = sealed_key(self.entropy, self.store, self.keyring, &name).await?;
        Ok(ReceiptKey::from_seed(&Zeroizing::new(seed))?)
    }

    /// All keys with one more, signed by the last.
    async fn with_next(&self, mut all: Vec<Json>) -> anyhow::Result<Vec<Json>> {
        let number = all.len();
        let (last, next) = (self.key(number).await?, self.key(number + 1).await?);
        let mut told = published(&next, self.now);
        if let Some(told) = told.as_object_mut() {
            told.insert("previous".to_owned(), last.id().into());
            told.insert("sig".to_owned(), last.succeeded_by(&next).into());
        }
        all.push(told);
        Ok(all)
    }
}

/// Which of the keys signs: the last one that has been known for long enough, or the first.
fn signing(all: &[Json], now: WallMillis) -> usize {
    let is_known = |key: &Json| {
        let since = key.get("since").and_then(Json::as_str);
        let since = since.and_then(|since| since.parse::<WallMillis>().ok());
        since.is_none_or(|since| since.0.saturating_add(SIGNS_AFTER_MS) <= now.0)
    };
    all.iter().rposition(is_known).map_or(1, |place| place + 1)
}

fn published(key: &ReceiptKey, since: WallMillis) -> Json {
    json!({
        "kid": key.id(),
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "x": key.public(),
        "since": since.to_string(),
    })
}

impl ReceiptKeys {
    /// With the keys that were opened.
    pub(crate) fn new(base: &Base, store: &Store, chooser: &Arc<Chooser>, known: Known) -> Self {
        let text = Json::from(known.all.clone());
        let published = json!({ "keys": text }).to_string();
        Self {
            store: store.clone(),
            chooser: Arc::clone(chooser),
            clock: Arc::clone(&base.clock),
            entropy: Arc::clone(&base.entropy),
            known: ArcSwap::from_pointee(known),
            published: Arc::new(ArcSwap::from_pointee(published)),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The key that signs now.
    pub(crate) fn signer(&self) -> Arc<ReceiptKey> {
        Arc::clone(&self.known.load().signs)
    }

    /// What receipts are verified with.
    pub(crate) fn published(&self) -> Arc<ArcSwap<String>> {
        Arc::clone(&self.published)
    }

    /// Takes in what another replica has made, and signs with a new key once its time has come.
    ///
    /// # Errors
    /// The store, or a key that can't be opened: the keys stay as they were.
    pub(crate) async fn refresh(&self) -> anyhow::Result<()> {
        let kept = self.store.meta(PUBLISHED).await?.unwrap_or_default();
        let all: Vec<Json> = serde_json::from_str(&kept).context(PUBLISHED)?;
        let known = self.known.load_full();
        if all == known.all && signing(&all, self.clock.wall()) == known.number {
            return Ok(());
        }
        let keyring = self.chooser.keyring();
        self.show(self.room(&keyring).known().await?);
        Ok(())
    }

    fn room<'a>(&'a self, keyring: &'a Keyring) -> Room<'a> {
        Room {
            store: &self.store,
            keyring,
            entropy: self.entropy.as_ref(),
            now: self.clock.wall(),
        }
    }

    fn show(&self, known: Known) {
        let all = Json::from(known.all.clone());
        let published = json!({ "keys": all }).to_string();
        self.published.store(Arc::new(published));
        self.known.store(Arc::new(known));
    }

    async fn add(&self) -> anyhow::Result<Vec<Json>> {
        let _turn = self.turn.lock().await;
        let keyring = self.chooser.keyring();
        let room = self.room(&keyring);
        let known = room.known().await?;
        anyhow::ensure!(
            known.all.len() < KEYS_MAX,
            "there are too many keys of receipts"
        );
        let all = room.with_next(known.all).await?;
        let text = Json::from(all.clone()).to_string();
        self.store.set_meta(PUBLISHED, &text).await?;
        self.show(room.known().await?);
        Ok(all)
    }
}

impl ReceiptKeeper for ReceiptKeys {
    fn keys(&self) -> Vec<Json> {
        self.known.load().all.clone()
    }

    fn is_full(&self) -> bool {
        self.known.load().all.len() >= KEYS_MAX
    }

    fn rotate(&self) -> Keeping<'_, Vec<Json>> {
        Box::pin(async {
            let added = self.add().await;
            added.map_err(|error| StoreError::Unavailable(format!("{error:#}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-82
    #[test]
    fn a_key_signs_once_everybody_has_had_time_to_hear_of_it() {
        let at = |ms: u64| json!({"kid": "k", "since": WallMillis(ms).to_string()});
        let all = [at(1_000), at(100_000)];
        for (now, want) in [
            (0, 1),
            (1_000, 1),
            (104_999, 1),
            (105_000, 2),
            (u64::MAX / 2, 2),
        ] {
            assert_eq!(signing(&all, WallMillis(now)), want, "{now}");
        }
        assert_eq!(signing(&[], WallMillis(0)), 1);
    }
}
