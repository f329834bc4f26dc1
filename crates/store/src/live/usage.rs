//! What was counted in memory on its way to the disk.

use super::LiveToken;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tollkeep_types::{LineageId, TokenId, WallMillis};

/// Use of one token since the last flush.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// The token.
    pub token: TokenId,
    /// Its lineage.
    pub lineage: LineageId,
    /// Calls granted less calls refunded, to the whole lineage.
    pub count: i64,
    /// When the token was last used, if that is news.
    pub last_used_at: Option<WallMillis>,
}

/// Uses taken out of the live table. Unless [`UsageBatch::stored`] is called, they go back when
/// the batch is dropped: a failed or abandoned flush loses no count.
#[derive(Default)]
#[must_use]
pub struct UsageBatch {
    rows: Vec<Usage>,
    tokens: Vec<Arc<LiveToken>>,
}

impl UsageBatch {
    /// The uses.
    pub fn rows(&self) -> &[Usage] {
        &self.rows
    }

    /// They are on disk.
    pub fn stored(mut self) {
        for (usage, token) in self.rows.iter().zip(&self.tokens) {
            if let Some(at) = usage.last_used_at {
                token.stored_use_at.fetch_max(at.0, Ordering::Relaxed);
            }
        }
        self.rows.clear();
    }

    /// Takes what a token has to tell; whether it had anything.
    pub(super) fn take(&mut self, token: &Arc<LiveToken>) -> bool {
        let count = token.lineage.take_pending();
        let last_used_at = token.unstored_use();
        if count == 0 && last_used_at.is_none() {
            return false;
        }
        self.rows.push(Usage {
            token: token.id,
            lineage: token.lineage.id,
            count,
            last_used_at,
        });
        self.tokens.push(Arc::clone(token));
        true
    }
}

impl Drop for UsageBatch {
    fn drop(&mut self) {
        for (usage, token) in self.rows.iter().zip(&self.tokens) {
            token.lineage.put_back(usage.count);
        }
    }
}
