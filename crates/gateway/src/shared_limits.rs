//! Limits that replicas share, as workers see them: leases first, else a question to the keeper of
//! the connection, which is waited for briefly, else this replica's own share.

use smallvec::SmallVec;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tollkeep_counters::{
    Claim, Counting, Key, Leased, Leases, RateRefusal, RateTable, Sharing, Want,
};
use tollkeep_policy::rate::{Quota, Verdict};
use tollkeep_types::{Clock, MonoNanos};

/// Questions that wait for the keeper; with more the shared counters count as failed.
const ASKS_MAX: usize = 4_096;

/// The limits that replicas share.
pub struct SharedLimits {
    pub(crate) sharing: Sharing,
    pub(crate) leases: Leases,
    /// Told when a worker found the shared counters failing.
    pub(crate) failed: Notify,
    asks: mpsc::Sender<Ask>,
    clock: Arc<dyn Clock>,
    replicas: u64,
    wait: Duration,
}

/// The questions of workers, for the keeper.
pub struct Asks(pub(crate) mpsc::Receiver<Ask>);

/// What the keeper is asked.
pub(crate) enum Ask {
    /// A cell of each limit, or of none.
    Take(Take),
    /// A limit is charged, or given back; nobody waits for it.
    Charge(Key, Quota, Want),
}

/// A question of a request that waits.
pub(crate) struct Take {
    pub(crate) limits: SmallVec<[(Key, Quota); 2]>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What it is told. Where the shared counters fail it is told nothing.
pub(crate) enum Answer {
    /// The states after the debit, in the order of the question.
    Taken(SmallVec<[u64; 2]>),
    /// One has no room.
    Refused { at: usize, retry_after_ns: u64 },
}

impl SharedLimits {
    /// Limits that so many `replicas` share, about `keys_max` leases at a time; and the questions
    /// to the keeper, each of which is waited for as long as `wait`.
    pub fn new(
        clock: Arc<dyn Clock>,
        replicas: u32,
        keys_max: usize,
        wait: Duration,
    ) -> (Arc<Self>, Asks) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let shared = Arc::new(Self {
            sharing: Sharing::new(clock.mono()),
            leases: Leases::new(keys_max, RandomState::new()),
            failed: Notify::new(),
            asks,
            clock,
            replicas: replicas.into(),
            wait,
        });
        (shared, Asks(asked))
    }

    /// Debits all of `claims` or none. Where this replica is alone they become claims on its share.
    ///
    /// # Errors
    /// The first claim that refuses.
    pub(crate) async fn admit(
        &self,
        rates: &RateTable,
        now: MonoNanos,
        claims: &mut [Claim<'_>],
    ) -> Result<(), RateRefusal> {
        if let Counting::Alone { since } = self.sharing.counting() {
            return self.admit_alone(rates, (now, since), claims);
        }
        let missing = match self.leases.take(now, claims) {
            Leased::All => return Ok(()),
            Leased::Refused(refusal) => return Err(refusal),
            Leased::Missing(missing) => missing,
        };
        let asked: SmallVec<[usize; 4]> = (0..claims.len())
            .filter(|at| missing & (1 << at) != 0)
            .collect();
        let limits = asked.iter().filter_map(|at| limit(claims.get(*at)?));
        match self.ask(limits.collect()).await {
            Some(Answer::Taken(tats)) => {
                for (at, tat) in asked.into_iter().zip(tats) {
                    if let Some(claim) = claims.get_mut(at) {
                        claim.set_tat(tat);
                    }
                }
                Ok(())
            }
            Some(Answer::Refused { at, retry_after_ns }) => {
                self.leases.put_back_all(self.clock.mono(), claims, missing);
                Err(RateRefusal {
                    claim: asked.get(at).copied().unwrap_or_default(),
                    retry_after_ns,
                })
            }
            None => {
                let now = self.clock.mono();
                self.leases.put_back_all(now, claims, missing);
                let since = self.fail(now);
                self.admit_alone(rates, (now, since), claims)
            }
        }
    }

    /// How many replicas share the limits.
    pub(crate) const fn replicas(&self) -> u64 {
        self.replicas
    }

    async fn ask(&self, limits: SmallVec<[(Key, Quota); 2]>) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.asks
            .try_send(Ask::Take(Take { limits, answer }))
            .ok()?;
        tokio::select! {
            answer = answered => answer.ok(),
            () = tokio::time::sleep(self.wait) => None,
        }
    }

    /// Answers a question from leases that came since it was asked; gives it back if they don't do.
    pub(crate) fn answered(&self, now: MonoNanos, take: Take) -> Option<Take> {
        let limits = take.limits.iter();
        let mut claims: SmallVec<[Claim<'_>; 2]> = limits
            .map(|(key, quota)| Claim::key(*key, *quota))
            .collect();
        let answer = match self.leases.take(now, &mut claims) {
            Leased::All => Answer::Taken(claims.iter().map(Claim::tat).collect()),
            Leased::Refused(refusal) => Answer::Refused {
                at: refusal.claim,
                retry_after_ns: refusal.retry_after_ns,
            },
            Leased::Missing(missing) => {
                self.leases.put_back_all(now, &claims, missing);
                return Some(take);
            }
        };
        // Who is gone, or waited too long, loses the cells: that lets nothing pass.
        drop(take.answer.send(answer));
        None
    }

    /// The shared counters failed: from now on alone, and since when.
    fn fail(&self, now: MonoNanos) -> MonoNanos {
        let counting = self.sharing.degrade(now);
        self.failed.notify_one();
        match counting {
            Counting::Alone { since } => since,
            // They are back already: as if they had gone just now.
            Counting::Shared => now,
        }
    }

    fn admit_alone(
        &self,
        rates: &RateTable,
        (now, since): (MonoNanos, MonoNanos),
        claims: &mut [Claim<'_>],
    ) -> Result<(), RateRefusal> {
        for claim in claims.iter_mut() {
            claim.alone(self.replicas, since);
        }
        rates.admit(now, claims)
    }

    /// What is known of one more request, without asking: nothing is debited.
    pub(crate) fn peek(&self, rates: &RateTable, now: MonoNanos, mut claim: Claim<'_>) -> Verdict {
        match self.sharing.counting() {
            Counting::Shared => {
                let wait = claim.key_of().and_then(|key| self.leases.refused(now, key));
                wait.map_or(Verdict::Pass { tat: now.0 }, |retry_after_ns| {
                    Verdict::Refuse { retry_after_ns }
                })
            }
            Counting::Alone { since } => {
                claim.alone(self.replicas, since);
                rates.peek(now, &claim)
            }
        }
    }

    /// Debits a request that was served already. Nobody waits for it.
    pub(crate) fn debit(&self, rates: &RateTable, now: MonoNanos, mut claim: Claim<'_>) {
        match self.sharing.counting() {
            Counting::Shared => self.charge(&claim, Want::charge(claim.quota())),
            Counting::Alone { since } => {
                claim.alone(self.replicas, since);
                rates.debit(now, &claim);
            }
        }
    }

    /// Takes back the debit of a request that another limit refused, as far as it still counts.
    pub(crate) fn give_back(
        &self,
        rates: &RateTable,
        now: MonoNanos,
        mut claim: Claim<'_>,
        tat: u64,
    ) {
        match self.sharing.counting() {
            Counting::Shared => {
                let owed_ns = claim.quota().interval_ns().min(tat.saturating_sub(now.0));
                self.charge(&claim, Want::returned(claim.quota(), owed_ns));
            }
            Counting::Alone { since } => {
                claim.alone(self.replicas, since);
                rates.give_back(now, &claim, tat);
            }
        }
    }

    fn charge(&self, claim: &Claim<'_>, want: Want) {
        let Some((key, quota)) = limit(claim) else {
            return;
        };
        if self.asks.try_send(Ask::Charge(key, quota, want)).is_err() {
            self.fail(self.clock.mono());
        }
    }
}

fn limit(claim: &Claim<'_>) -> Option<(Key, Quota)> {
    Some((claim.key_of()?, *claim.quota()))
}
