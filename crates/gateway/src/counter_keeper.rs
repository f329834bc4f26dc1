//! Keeps the connection to the counters that replicas share, on the control runtime: answers
//! workers in batches, finds out when the counters fail, and rejoins them (EDGE-89, EDGE-90).

use crate::shared_limits::{Answer, Ask, Asks, SharedLimits, Take};
use crate::worker::Shared;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_counters::{
    Class, Counting, Given, Key, RateTable, TAKE_SCRIPT, Taken, Want, probe_wait_ns,
};
use tollkeep_crypto::hmac_sha256;
use tollkeep_net::redis::{RedisConnection, RedisFailure, RedisTarget, ScriptCall};
use tollkeep_net::resolve::Names;
use tollkeep_policy::rate::{Quota, Verdict};
use tollkeep_types::MonoNanos;

/// Questions answered in one batch.
const BATCH_MAX: usize = 256;

/// Told when counting changes: why the counters are no longer shared, or nothing when they are.
pub type OnChange = Box<dyn Fn(Option<&RedisFailure>) + Send + Sync>;

/// What the keeper is made of.
pub struct KeeperParts {
    /// What workers and the keeper have together.
    pub limits: Arc<SharedLimits>,
    /// What workers ask.
    pub asks: Asks,
    /// The data plane: its settings, its counters, its clock.
    pub shared: Arc<Shared>,
    /// Where Redis is.
    pub target: RedisTarget,
    /// Finds it.
    pub names: Names,
    /// How counters are called there.
    pub naming: CounterNaming,
    /// How long one answer may take.
    pub wait: Duration,
    /// Told when counting changes.
    pub on_change: OnChange,
}

/// How counters are called in Redis: by a keyed hash, since addresses and ids are nobody's business
/// there.
pub struct CounterNaming {
    /// What stands before all names.
    pub prefix: String,
    /// The key of the hash, the same for all replicas.
    pub key: [u8; 32],
}

/// The keeper of the connection.
pub struct Keeper {
    parts: KeeperParts,
    connection: Option<RedisConnection>,
    /// Whether somebody was told that this replica is alone.
    alone: bool,
}

/// One call of a batch, and who waits for it.
struct Call {
    limits: SmallVec<[(Key, Quota); 2]>,
    wants: SmallVec<[Want; 2]>,
    take: Option<Take>,
}

impl Keeper {
    /// A keeper that has tried once to reach the counters.
    pub async fn start(parts: KeeperParts) -> Self {
        let mut keeper = Self {
            parts,
            connection: None,
            alone: true,
        };
        if let Err(failure) = keeper.rejoin().await {
            (keeper.parts.on_change)(Some(&failure));
        }
        keeper
    }

    /// Serves to the end of the process.
    pub async fn serve(mut self) {
        loop {
            match self.parts.limits.sharing.counting() {
                Counting::Shared => {
                    if let Err(failure) = self.serve_batch().await {
                        self.be_alone(&failure);
                    }
                }
                Counting::Alone { .. } => {
                    // A worker may have found out first.
                    self.be_alone(&RedisFailure::Late);
                    self.wait_alone().await;
                    if let Err(failure) = self.rejoin().await {
                        tracing::debug!("the shared counters are still away: {failure}");
                    }
                }
            }
        }
    }

    async fn serve_batch(&mut self) -> Result<(), RedisFailure> {
        let parts = &mut self.parts;
        let first = tokio::select! {
            ask = parts.asks.0.recv() => ask,
            () = parts.limits.failed.notified() => None,
        };
        let mut asks: Vec<Ask> = first.into_iter().collect();
        while let Some(ask) = parts
            .asks
            .0
            .try_recv()
            .ok()
            .filter(|_| asks.len() < BATCH_MAX)
        {
            asks.push(ask);
        }
        self.answer(asks).await
    }

    fn be_alone(&mut self, failure: &RedisFailure) {
        self.connection = None;
        let now = self.parts.shared.clock.mono();
        self.parts.limits.sharing.degrade(now);
        if !std::mem::replace(&mut self.alone, true) {
            (self.parts.on_change)(Some(failure));
        }
    }

    /// Waits until the counters may be tried again. Who still asks is told at once that nobody
    /// answers, by dropping what they wait on.
    async fn wait_alone(&mut self) {
        let mut random = [0_u8; 8];
        self.parts.shared.entropy.fill(&mut random);
        let wait = Duration::from_nanos(probe_wait_ns(u64::from_le_bytes(random)));
        let mut retry = std::pin::pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                Some(ask) = self.parts.asks.0.recv() => drop(ask),
                () = &mut retry => return,
            }
        }
    }

    /// Reaches the counters, debits what was accepted meanwhile, and counts with the others again.
    async fn rejoin(&mut self) -> Result<(), RedisFailure> {
        let parts = &self.parts;
        let opened = RedisConnection::open(&parts.target, &parts.names, TAKE_SCRIPT, parts.wait);
        self.connection = Some(opened.await?);
        let paid = self.pay_debts().await;
        let paid = match paid {
            Ok(()) => {
                self.parts.limits.sharing.rejoin();
                // And what was accepted while the debts were paid.
                self.pay_debts().await
            }
            Err(failure) => Err(failure),
        };
        if paid.is_err() {
            // What was read out of the table is not known to have arrived.
            let now = self.parts.shared.clock.mono();
            self.parts.limits.sharing.start_again(now);
            self.connection = None;
            return paid;
        }
        self.alone = false;
        (self.parts.on_change)(None);
        Ok(())
    }

    /// Charges what this replica accepted alone and what still counts. The first call shows that
    /// counters can be written, also where nothing is owed.
    async fn pay_debts(&mut self) -> Result<(), RedisFailure> {
        let nobody = Key::whole(Class::Global).on_route(u32::MAX);
        self.pay(&[(nobody, 1)]).await?;
        for part in 0..<RateTable>::PARTS {
            let now = self.parts.shared.clock.mono();
            let debts = self.parts.shared.rates.take_debts(part, now);
            for debts in debts.chunks(BATCH_MAX) {
                self.pay(debts).await?;
            }
        }
        Ok(())
    }

    async fn pay(&mut self, debts: &[(Key, u64)]) -> Result<(), RedisFailure> {
        let wants: Vec<_> = debts.iter().map(|(_, debt)| Want::owed(*debt)).collect();
        let keys = debts.iter().map(|(key, _)| *key);
        let calls = keys
            .zip(&wants)
            .map(|(key, want)| self.script_call(&[key], std::slice::from_ref(want)));
        let answers = self.run(calls.collect()).await?;
        for (answer, want) in answers.iter().zip(&wants) {
            read(answer, std::slice::from_ref(want))?;
        }
        Ok(())
    }

    async fn answer(&mut self, asks: Vec<Ask>) -> Result<(), RedisFailure> {
        let now = self.parts.shared.clock.mono();
        let mut leased = HashSet::new();
        let asks = asks.into_iter();
        let calls: Vec<Call> = asks
            .filter_map(|ask| self.call(ask, now, &mut leased))
            .collect();
        if calls.is_empty() {
            return Ok(());
        }
        let scripts = calls.iter().map(|call| {
            let keys: SmallVec<[Key; 2]> = call.limits.iter().map(|(key, _)| *key).collect();
            self.script_call(&keys, &call.wants)
        });
        let scripts = scripts.collect();
        let asked = self.parts.shared.clock.mono();
        let answers = self.run(scripts).await?;
        for (answer, call) in answers.iter().zip(calls) {
            let taken = read(answer, &call.wants)?;
            self.tell(asked, call, &taken);
        }
        Ok(())
    }

    /// What an ask needs; `None` if it was answered from leases that came meanwhile.
    fn call(&self, ask: Ask, now: MonoNanos, leased: &mut HashSet<Key>) -> Option<Call> {
        let take = match ask {
            Ask::Charge(key, quota, want) => {
                return Some(Call {
                    limits: SmallVec::from_elem((key, quota), 1),
                    wants: SmallVec::from_elem(want, 1),
                    take: None,
                });
            }
            Ask::Take(take) => self.parts.limits.answered(now, take)?,
        };
        let limits = take.limits.clone();
        // One lease for each limit in a batch; others take what they need.
        let wants = limits.iter().map(|(key, quota)| {
            let cells = if leased.insert(*key) {
                quota.lease()
            } else {
                1
            };
            Want::cells(quota, cells)
        });
        Some(Call {
            wants: wants.collect(),
            limits,
            take: Some(take),
        })
    }

    fn tell(&self, asked: MonoNanos, call: Call, taken: &Taken) {
        let leases = &self.parts.limits.leases;
        let answer = match taken {
            Taken::Refused { at, retry_after_ns } => {
                if let Some((key, _)) = call.limits.get(*at) {
                    leases.refuse(asked, *key, *retry_after_ns);
                }
                Answer::Refused {
                    at: *at,
                    retry_after_ns: *retry_after_ns,
                }
            }
            Taken::Given(given) if call.take.is_some() => {
                let limits = call.limits.iter().zip(given);
                let tats =
                    limits.map(|((key, quota), given)| leases.keep(asked, *key, quota, *given));
                Answer::Taken(tats.collect())
            }
            Taken::Given(given) => {
                for ((key, quota), given) in call.limits.iter().zip(given) {
                    note_charge(leases, asked, (*key, quota), *given);
                }
                return;
            }
        };
        if let Some(take) = call.take {
            // Who is gone, or waited too long, loses the cells: that lets nothing pass.
            drop(take.answer.send(answer));
        }
    }

    async fn run(&mut self, calls: Vec<ScriptCall>) -> Result<Vec<Vec<i64>>, RedisFailure> {
        match &mut self.connection {
            Some(connection) => connection.run(&calls).await,
            None => Err(RedisFailure::Failed("not connected".to_owned())),
        }
    }

    fn script_call(&self, keys: &[Key], wants: &[Want]) -> ScriptCall {
        let plan = self.parts.shared.plan.load();
        let naming = &self.parts.naming;
        ScriptCall {
            keys: keys
                .iter()
                .map(|key| naming.name(*key, plan.routes.name_of(*key)))
                .collect(),
            arguments: wants.iter().flat_map(Want::arguments).collect(),
        }
    }
}

/// A charge shows how far a limit is; one without room is refused from then on.
fn note_charge(
    leases: &tollkeep_counters::Leases,
    asked: MonoNanos,
    (key, quota): (Key, &Quota),
    given: Given,
) {
    let tat = given.ahead_ns;
    if let Verdict::Refuse { retry_after_ns } = quota.check(tat, MonoNanos(0)) {
        leases.refuse(asked, key, retry_after_ns);
    }
}

fn read(answer: &[i64], wants: &[Want]) -> Result<Taken, RedisFailure> {
    let strange = || RedisFailure::Failed("an answer of the script makes no sense".to_owned());
    Taken::read(answer, wants).ok_or_else(strange)
}

impl CounterNaming {
    /// The name of a counter. A route is known by its name, as its number is another one in each
    /// process.
    fn name(&self, key: Key, route: Option<&str>) -> String {
        let class = key.class().told_as().label();
        let mut text = Vec::with_capacity(64);
        match route {
            Some(route) => text.extend_from_slice(route.as_bytes()),
            None => text.extend_from_slice(&key.route().to_be_bytes()),
        }
        text.push(0);
        text.push(u8::from(route.is_some()));
        for part in key.scope() {
            text.extend_from_slice(&part.to_be_bytes());
        }
        text.extend_from_slice(class.as_bytes());
        let hash = hmac_sha256(&self.key, &text);
        let hex: String = hash
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{}:rl:{class}:{hex}", self.prefix)
    }
}
