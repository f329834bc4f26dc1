//! The table behind [`super::LiveTokens`]: 256 maps, each replaced as a whole.

use super::LiveToken;
use crate::Standing;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use tollkeep_types::{TokenHash, WallMillis};

const SHARDS: usize = 256;

type Map = HashMap<TokenHash, Arc<LiveToken>, BuildHasherDefault<DigestHasher>>;

/// A digest is uniform already and a stranger can't choose it (it is keyed), so eight of its bytes
/// are its hash. The first byte is left out: it has chosen the shard.
#[derive(Default)]
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.get(8..).and_then(<[u8]>::first_chunk) {
            self.0 = u64::from_ne_bytes(*bytes);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) struct Shards(Box<[ArcSwap<Map>]>);

impl Default for Shards {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| ArcSwap::default()).collect())
    }
}

impl Shards {
    pub(super) fn find(&self, digest: &TokenHash) -> Option<Arc<LiveToken>> {
        self.of(digest)?.load().get(digest).map(Arc::clone)
    }

    /// Adds a token. Callers take turns: two changes of one shard at once would lose one.
    pub(super) fn insert(&self, token: Arc<LiveToken>) {
        if let Some(shard) = self.of(&token.digest) {
            let mut map = Map::clone(&shard.load());
            map.insert(token.digest, token);
            shard.store(Arc::new(map));
        }
    }

    /// Fills an empty table. Callers take turns.
    pub(super) fn fill(&self, tokens: impl Iterator<Item = Arc<LiveToken>>) {
        let mut maps: Vec<Map> = (0..SHARDS).map(|_| Map::default()).collect();
        for token in tokens {
            if let Some(map) = maps.get_mut(place(&token.digest)) {
                map.insert(token.digest, token);
            }
        }
        for (shard, map) in self.0.iter().zip(maps) {
            shard.store(Arc::new(map));
        }
    }

    /// Drops the tokens that ended before `now` and gives them. Callers take turns.
    pub(super) fn sweep(&self, now: WallMillis) -> Vec<Arc<LiveToken>> {
        let mut swept = Vec::new();
        for shard in &self.0 {
            let ended = |token: &LiveToken| match token.standing(now) {
                Standing::Live | Standing::Suspended => false,
                Standing::Expired | Standing::Revoked => true,
            };
            let current = shard.load();
            if !current.values().any(|token| ended(token)) {
                continue;
            }
            let (gone, kept): (Vec<_>, Map) = current.iter().fold(
                (Vec::new(), Map::default()),
                |(mut gone, mut kept), (digest, token)| {
                    if ended(token) {
                        gone.push(Arc::clone(token));
                    } else {
                        kept.insert(*digest, Arc::clone(token));
                    }
                    (gone, kept)
                },
            );
            shard.store(Arc::new(kept));
            swept.extend(gone);
        }
        swept
    }

    pub(super) fn each(&self, mut visit: impl FnMut(&Arc<LiveToken>)) {
        for shard in &self.0 {
            shard.load().values().for_each(&mut visit);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.load().len()).sum()
    }

    fn of(&self, digest: &TokenHash) -> Option<&ArcSwap<Map>> {
        self.0.get(place(digest))
    }
}

fn place(digest: &TokenHash) -> usize {
    let [first, ..] = digest.bytes();
    usize::from(*first)
}
