//! Checkpoints of the audit log, kept beside it: who cuts the log's end off would have to cut here
//! too.

use crate::database::GATEWAY;
use crate::query::{Row, query};
use crate::row::{self, count, millis};
use crate::{Store, StoreError};
use tollkeep_types::WallMillis;

/// How long one is kept that is not the last of its chain: 90 days.
const KEPT_MS: u64 = 90 * 86_400_000;
/// Chains whose last checkpoint is given.
const CHAINS_MAX: i64 = 1_000;
/// Old ones deleted at a time.
const FORGET_MAX: i64 = 100;

const KEEP: &str = "INSERT INTO audit_checkpoints (stream, seq, kept_at, line)
  VALUES ($1, $2, $3, $4) ON CONFLICT (stream, seq) DO NOTHING";

const FORGET: &str = "DELETE FROM audit_checkpoints WHERE stream = $1 AND seq IN
  (SELECT seq FROM audit_checkpoints WHERE stream = $1 AND kept_at < $2 AND seq < $3
    ORDER BY seq LIMIT $4)";

const LAST: &str = "SELECT line FROM audit_checkpoints AS one WHERE seq =
    (SELECT max(seq) FROM audit_checkpoints AS other WHERE other.stream = one.stream)
  ORDER BY kept_at DESC, stream LIMIT $1";

/// The end of the ledger's chain of entries.
const LEDGER_HEAD: &str = "SELECT number, hash FROM entries ORDER BY number DESC LIMIT 1";

impl Store {
    /// Where the chain of the ledger's entries ends, as `number:hash`; `None` before the first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ledger_head(&self) -> Result<Option<String>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let last = query(LEDGER_HEAD).fetch_optional(&mut connection).await?;
        let told = |found: &Row| {
            let (number, hash) = (row::number(found, "number")?, row::value(found, "hash")?);
            let hash: Vec<u8> = hash;
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(format!("{number}:{hash}"))
        };
        last.as_ref().map(told).transpose()
    }

    /// Keeps checkpoints of a chain, the last one last, and lets go of a few old ones of it.
    /// Checkpoints are the deployment's, so there is no scope.
    ///
    /// # Errors
    /// The disk.
    pub async fn keep_audit_checkpoints(
        &self,
        stream: &str,
        checkpoints: &[(u64, String)],
    ) -> Result<(), StoreError> {
        let Some((last, _)) = checkpoints.last() else {
            return Ok(());
        };
        let (stream, last, checkpoints) = (stream.to_owned(), *last, checkpoints.to_vec());
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let now = inner.wall.now();
            for (seq, line) in checkpoints {
                let kept = query(KEEP)
                    .bind(stream.as_str())
                    .bind(count(seq))
                    .bind(millis(now))
                    .bind(line);
                kept.execute(write.connection()).await?;
            }
            let old = WallMillis(now.0.saturating_sub(KEPT_MS));
            let forgotten = query(FORGET)
                .bind(stream)
                .bind(millis(old))
                .bind(count(last))
                .bind(FORGET_MAX);
            forgotten.execute(write.connection()).await?;
            write.commit(&[]).await
        })
        .await
    }

    /// The last checkpoint of each chain.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn audit_checkpoints(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let rows = query(LAST).bind(CHAINS_MAX);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(|found| row::text(found, "line")).collect()
    }
}
