//! Waiting for room where more calls have ended than are written down yet.

use super::Holds;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use std::time::Duration;
use tollkeep_net::Raced;

/// How often a call looks whether ends of others were written, and how long it waits in between: a
/// quarter of a second in all (LED-75).
const LOOKS: u32 = 25;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Longer than all of these.
const WAIT_MAX: Duration = Duration::from_secs(1);

impl Holds {
    /// Whether there is room, or comes.
    async fn room_comes(&self) -> bool {
        for _ in 0..LOOKS {
            if !self.is_full() {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        !self.is_full()
    }
}

impl Exchange<'_> {
    /// Goes on where there is room for another hold, or soon is.
    ///
    /// # Errors
    /// 503: too many ends of calls wait to be written.
    pub(super) async fn room(&mut self, holds: &Holds) -> Result<(), Stop> {
        self.conn.slot().set(WAIT_MAX);
        match self.conn.race(Box::pin(holds.room_comes())).await {
            Raced::Gone => Err(Stop::CallerGone),
            Raced::Done(true) => Ok(()),
            Raced::Done(false) | Raced::Late => {
                Err(Refusal::Overloaded("ends of calls wait to be written").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds::OPEN_MAX;
    use std::sync::atomic::Ordering;

    // LED-75
    #[tokio::test]
    async fn a_call_waits_for_room_for_a_quarter_of_a_second_and_no_longer() {
        let holds = Holds::default();
        assert!(holds.room_comes().await, "there is room");
        holds.unwritten.store(OPEN_MAX, Ordering::Relaxed);
        assert!(!holds.room_comes().await, "there is none");
        let room = async {
            tokio::task::yield_now().await;
            holds.unwritten.store(OPEN_MAX - 1, Ordering::Relaxed);
        };
        let (comes, ()) = tokio::join!(holds.room_comes(), room);
        assert!(comes, "room came");
    }
}
