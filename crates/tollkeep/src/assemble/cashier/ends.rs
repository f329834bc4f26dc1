//! Calls of sessions that are over and not yet kept as such: who comes again at once waits for that,
//! and is not asked to pay for what is on its way back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tollkeep_types::SessionId;

/// By session; those of this process.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<HashMap<SessionId, Ended>>);

/// How many of a session, and who is told when there is none any more.
#[derive(Debug, Default)]
struct Ended {
    count: usize,
    done: Arc<Notify>,
}

/// One of them, until it is kept.
#[derive(Debug)]
pub(super) struct Ending {
    of: Arc<Ends>,
    session: SessionId,
}

impl Ends {
    /// A call of this session is over.
    pub(super) fn begin(self: &Arc<Self>, session: SessionId) -> Ending {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = all.entry(session).or_default();
        ended.count = ended.count.saturating_add(1);
        Ending {
            of: Arc::clone(self),
            session,
        }
    }

    /// The moment when all that are over by now are kept; `None`: they are.
    pub(super) fn of(&self, session: SessionId) -> Option<impl Future<Output = ()> + use<>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Made before the lock is let go: it is told from then on.
        let done = Arc::clone(&all.get(&session)?.done).notified_owned();
        Some(done)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut all = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ended) = all.get_mut(&self.session) else {
            return;
        };
        ended.count = ended.count.saturating_sub(1);
        if ended.count == 0 {
            ended.done.notify_waiters();
            all.remove(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    // PAY-77
    #[tokio::test]
    async fn whoever_comes_again_waits_for_all_that_are_over_of_its_session() {
        let ends = Arc::new(Ends::default());
        let [own, other] = [1, 2].map(|number| SessionId::from_bytes([number; 16]));
        assert!(ends.of(own).is_none());
        let (first, second, foreign) = (ends.begin(own), ends.begin(own), ends.begin(other));
        let waiting = tokio::spawn(ends.of(own).expect("two are over"));
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "one is not kept");
        drop(second);
        let told = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        assert!(told.is_ok());
        assert!(ends.of(own).is_none() && ends.of(other).is_some());
        drop(foreign);
        assert!(ends.of(other).is_none());
    }
}
