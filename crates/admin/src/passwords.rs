//! Hashing passwords, which takes tens of milliseconds and much memory: a few at a time, beside the
//! threads that serve, and a bounded number waiting.

use crate::State;
use crate::problem::Problem;
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};
use tollkeep_crypto::password;
use tollkeep_types::Secret;

/// Passwords that are hashed at once: 19 MiB and a thread each.
const AT_ONCE: usize = 2;
/// Those that wait for their turn; more are sent away.
const WAITING_MAX: usize = 32;

/// Turns to hash a password.
pub(crate) struct Passwords {
    turns: Semaphore,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Passwords {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let waiting = self.waiting.try_acquire();
        let _waiting = waiting.map_err(|_| Problem::overloaded())?;
        // Nobody closes it.
        self.turns.acquire().await.map_err(|_| Problem::internal())
    }
}

impl State {
    /// Whether a password is that of a hash; as slow without one.
    pub(crate) async fn verify_password(
        &self,
        password: Secret,
        kept: Option<String>,
    ) -> Result<bool, Problem> {
        let _turn = self.passwords.turn().await?;
        let verify = move || password::verify(&password, kept.as_deref());
        let verified = tokio::task::spawn_blocking(verify).await;
        verified.map_err(|_| Problem::internal())
    }

    /// What is kept of a password.
    pub(crate) async fn hash_password(&self, password: Secret) -> Result<String, Problem> {
        let _turn = self.passwords.turn().await?;
        let entropy = Arc::clone(&self.parts.entropy);
        let hash = move || password::hash(&password, entropy.as_ref());
        let hashed = tokio::task::spawn_blocking(hash).await;
        hashed
            .map_err(|_| Problem::internal())?
            .map_err(|_| Problem::internal())
    }
}
