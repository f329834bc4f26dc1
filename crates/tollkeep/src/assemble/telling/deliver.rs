//! Telling what is due: as often as it takes, for a day. Each receiver has turns of its own, so that one
//! who hangs holds up no other.

use super::notices::receivers;
use super::{Letter, Telling};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tollkeep_net::fetch::{Bounds, Sent};
use tollkeep_store::DueNotice;
use tollkeep_types::WallMillis;

/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Told at once at most, of each receiver.
const AT_ONCE_MAX: usize = 4;
/// What waits to be told at most, for all receivers; the oldest goes first.
const WAITING_MAX: u32 = 100_000;
/// Turns after which it is looked whether too much waits: a minute.
const CLEAR_EVERY: u64 = 60;
/// The same while nobody is to be told anything: an hour.
const CLEAR_SELDOM: u64 = 3_600;
/// How long rows of a receiver are left that these settings don't know: another gateway may know it
/// already, or still.
const UNKNOWN_MS: u64 = 3_600_000;
/// Until there is a connection, and again until there is an answer, nothing of whose body is read.
const BOUNDS: Bounds = Bounds {
    bytes_max: 0,
    patience: Duration::from_secs(5),
};
/// The pause after the first try; each further one is twice as long, up to the longest.
const PAUSE_MS: u64 = 10_000;
const PAUSE_MAX_MS: u64 = 3_600_000;
/// What was not taken by then is given up.
const LIFE_MS: u64 = 86_400_000;

impl Telling {
    /// Tells what is due, for as long as the process lives.
    pub(super) async fn deliver(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut busy: HashMap<String, JoinHandle<()>> = HashMap::new();
        let mut turns_since = None;
        loop {
            ticks.tick().await;
            // There is no way out yet.
            if self.reloader.door().is_none() {
                continue;
            }
            let settings = self.reloader.settings();
            let known: BTreeSet<_> = receivers(&settings).map(|(key, _)| key).collect();
            let every = if known.is_empty() {
                CLEAR_SELDOM
            } else {
                CLEAR_EVERY
            };
            turns_since = turns_since.map(|turns: u64| turns.saturating_add(1));
            if turns_since.is_none_or(|turns| turns >= every) {
                self.clear(&known).await;
                turns_since = Some(0);
            }
            busy.retain(|_, telling| !telling.is_finished());
            for receiver in known {
                if busy.contains_key(&receiver) {
                    continue;
                }
                match self.store.due_notices(&receiver, self.clock.wall()).await {
                    Ok(due) if due.is_empty() => {}
                    Ok(due) => {
                        let telling = Arc::clone(&self).tell_all(due);
                        busy.insert(receiver, self.control.spawn(telling));
                    }
                    Err(error) => tracing::debug!("What is to be told can't be read: {error}"),
                }
            }
        }
    }

    /// Lets go of what nobody will be told.
    async fn clear(&self, known: &BTreeSet<String>) {
        let before = WallMillis(self.clock.wall().0.saturating_sub(UNKNOWN_MS));
        let known = known.iter().cloned().collect();
        let cleared = self.store.clear_notices(known, before, WAITING_MAX).await;
        let untold = match cleared {
            Ok(untold) => untold,
            Err(error) => return tracing::debug!("What waits can't be looked at: {error}"),
        };
        if untold.of_nobody > 0 {
            let count = untold.of_nobody;
            tracing::warn!(
                "{count} events are told to nobody any more: no webhook has their address"
            );
        }
        if untold.surplus > 0 {
            let count = untold.surplus;
            tracing::warn!("{count} events are not told: more than {WAITING_MAX} waited");
        }
    }

    /// Tells one receiver what is due for it.
    async fn tell_all(self: Arc<Self>, due: Vec<DueNotice>) {
        let mut telling = JoinSet::new();
        for notice in due {
            if telling.len() >= AT_ONCE_MAX {
                telling.join_next().await;
            }
            let all = Arc::clone(&self);
            telling.spawn(async move { all.tell(notice).await });
        }
        while telling.join_next().await.is_some() {}
    }

    async fn tell(&self, due: DueNotice) {
        let now = self.clock.wall();
        let settings = self.reloader.settings();
        let known = receivers(&settings).find(|(key, _)| *key == due.receiver);
        let Some((_, to)) = known else {
            tracing::warn!("`{}` {} is told to nobody any more", due.event, due.id);
            return self.end(&due).await;
        };
        if now.0.saturating_sub(due.created_at.0) > LIFE_MS {
            let authority = to.url.authority();
            tracing::error!(
                "`{}` {} was not taken by {authority} for a day, and is given up",
                due.event,
                due.id
            );
            return self.end(&due).await;
        }
        let next = WallMillis(now.0.saturating_add(pause_ms(due.tries)));
        match self.store.take_notice(&due, next).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::debug!("What is to be told is not taken: {error}"),
        }
        let letter = Letter {
            to,
            id: &due.id,
            event: &due.event,
            body: due.body.clone().into_bytes(),
            at: now,
        };
        match self.post(letter, BOUNDS).await {
            Some(Sent::Answered {
                status: 200..=299, ..
            }) => self.end(&due).await,
            Some(Sent::Answered { status, .. }) => {
                tracing::warn!("`{}` {} was answered with {status}", due.event, due.id);
            }
            Some(Sent::Never(why) | Sent::Cut(why)) => {
                tracing::warn!("`{}` {} was not taken: {why}", due.event, due.id);
            }
            None => tracing::debug!("`{}` {} can't be sent", due.event, due.id),
        }
    }

    async fn end(&self, due: &DueNotice) {
        if let Err(error) = self.store.end_notice(due).await {
            tracing::warn!("`{}` {} may be told again: {error}", due.event, due.id);
        }
    }
}

/// How long to wait after so many tries: 10, 20, 40 seconds, up to an hour.
const fn pause_ms(tries: u32) -> u64 {
    let shift = if tries > 10 { 10 } else { tries };
    let pause = PAUSE_MS << shift;
    if pause > PAUSE_MAX_MS {
        PAUSE_MAX_MS
    } else {
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-80
    #[test]
    fn pauses_double_up_to_an_hour() {
        let pauses = [0, 1, 2, 8, 9, 20, u32::MAX].map(|tries| pause_ms(tries) / 1_000);
        assert_eq!(pauses, [10, 20, 40, 2_560, 3_600, 3_600, 3_600]);
    }
}
