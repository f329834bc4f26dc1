//! Changes and their records: whoever changes something owes the audit log a record, which the
//! change itself says in the store (AUD-40).
//!
//! A record is durable before its answer. Where it can't be, the answer says so, and the record
//! follows: at once when the log can be written again, and after a crash at the next start. It says
//! what was known of the act before it was done, and `recorded_late`.

use crate::acting::Acting;
use crate::authn::Operator;
use crate::history::is_recorded;
use crate::operation::Operation;
use crate::problem::Problem;
use crate::{Admin, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_audit::{Action, Actor, ActorId, Event, Outcome};
use tollkeep_store::{DueRecord, OwedRecord};
use tollkeep_types::{RequestId, TenantId, WallMillis};

/// How often it is looked for records that can be written now.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the store is asked for acts whose asker went away.
const ASK_EVERY: u32 = 60;
/// No act of this process takes longer to be recorded.
const OWN_MS: u64 = 60_000;
/// A replica that has not recorded its acts by then is gone.
const ANY_MS: u64 = 600_000;

/// Acts of this process that are over.
#[derive(Default)]
pub(crate) struct Dues {
    over: Mutex<Over>,
}

#[derive(Default)]
struct Over {
    /// Their records are durable: nothing is owed any more.
    recorded: Vec<String>,
    /// Their records could not be written.
    owed: BTreeMap<String, OwedRecord>,
}

/// An act under way. Dropped, it is over.
pub(crate) struct Act {
    state: Arc<State>,
    record: DueRecord,
    owed: OwedRecord,
}

/// What is known of an act before it is done.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Told {
    action: String,
    actor: String,
    actor_id: Option<String>,
    tenant: Option<TenantId>,
    method: String,
    path: String,
}

impl Dues {
    fn lock(&self) -> std::sync::MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The same, for an act that owes a record, and that act; `None` if none is owed.
    pub(crate) fn owing(
        self: &Arc<Self>,
        operation: &Operation,
        operator: &Operator,
    ) -> Option<(Arc<Self>, Act)> {
        let action = operation.change.filter(|_| {
            let is_kept = self.parts.audit.is_some();
            is_kept && self.acting == Acting::Really
        })?;
        let (actor, actor_id) = operator.actor();
        let told = Told {
            action: action.as_str().to_owned(),
            actor: actor.as_str().to_owned(),
            actor_id: actor_id.map(word),
            tenant: operator.tenant(),
            method: operation.method.as_str().to_owned(),
            path: operator.asked.path().to_owned(),
        };
        let told = serde_json::to_string(&told).ok()?;
        let owed = OwedRecord {
            act: operator.asked.id.to_string(),
            at: self.parts.clock.wall(),
            told: told.clone(),
        };
        let parts = &self.parts;
        let (store, record) = parts.store.owing(&owed.act, &parts.replica, told);
        let state = Arc::new(Self {
            due: Some(record.clone()),
            ..Self::clone(&self.with_store(store))
        });
        let act = Act {
            state: Arc::clone(self),
            record,
            owed,
        };
        Some((state, act))
    }
}

impl Act {
    /// It is done as asked: what it had to record is recorded, or on its way.
    pub(crate) fn done(self) {
        self.record.is_recorded();
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        let Some((act, is_recorded)) = self.record.owed() else {
            return;
        };
        let mut over = self.state.dues.lock();
        if is_recorded {
            over.recorded.push(act.to_owned());
        } else {
            over.owed.insert(act.to_owned(), self.owed.clone());
        }
    }
}

impl Admin {
    /// Records what is owed, for as long as the process lives.
    pub async fn record_due(self) {
        let state = self.0;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Before the first request is served, nothing of this replica's is under way.
        let began = state.started_at;
        for tick in 0_u32.. {
            ticks.tick().await;
            if let Some(audit) = &state.parts.audit {
                let now = state.parts.clock.wall();
                state.parts.unproven.tell_kept_back(audit, now);
            }
            if tick.is_multiple_of(ASK_EVERY) {
                let now = state.parts.store.now();
                let own = began.max(WallMillis(now.0.saturating_sub(OWN_MS)));
                ask(&state, own, WallMillis(now.0.saturating_sub(ANY_MS))).await;
            }
            if let Err(error) = catch_up(&state).await {
                tracing::debug!("Changes still owe the audit log their records: {error:?}");
            }
        }
    }
}

/// Takes up acts of processes that ended before their records, and of askers who went away.
async fn ask(state: &State, own: WallMillis, any: WallMillis) {
    let found = state.parts.store.audit_owed(&state.parts.replica, own, any);
    match found.await {
        Ok(found) => {
            let mut over = state.dues.lock();
            for owed in found {
                if !over.recorded.contains(&owed.act) {
                    over.owed.entry(owed.act.clone()).or_insert(owed);
                }
            }
        }
        Err(error) => tracing::warn!("It is not known which records are due: {error}"),
    }
}

/// Records what is owed, and takes note of all that is recorded.
async fn catch_up(state: &Arc<State>) -> Result<(), Problem> {
    let owed: Vec<_> = state.dues.lock().owed.values().cloned().collect();
    for one in owed {
        // What can't be written now is tried again.
        state.check_audit()?;
        if !is_recorded(state, &one.act).await? {
            record(state, &one).await?;
        }
        let mut over = state.dues.lock();
        over.owed.remove(&one.act);
        over.recorded.push(one.act);
    }
    let recorded = std::mem::take(&mut state.dues.lock().recorded);
    if recorded.is_empty() {
        return Ok(());
    }
    let forgotten = state.parts.store.audit_recorded(recorded.clone()).await;
    if forgotten.is_err() {
        state.dues.lock().recorded.extend(recorded);
    }
    Ok(forgotten?)
}

async fn record(state: &State, owed: &OwedRecord) -> Result<(), Problem> {
    let Ok(told) = serde_json::from_str::<Told>(&owed.told) else {
        tracing::error!(
            "Change {} can't be recorded: its row is unreadable",
            owed.act
        );
        return Ok(());
    };
    let event = event(&told, owed);
    tracing::warn!("Change {} is recorded late", owed.act);
    state.record(event).await
}

fn event<'a>(told: &'a Told, owed: &OwedRecord) -> Event<'a> {
    let known = |all: &'static [Action]| all.iter().find(|one| one.as_str() == told.action);
    let action = known(Action::ALL).copied();
    let actor = Actor::ALL.iter().find(|one| one.as_str() == told.actor);
    let mut event = Event::new(
        action.unwrap_or(Action::SystemRecovered),
        actor.copied().unwrap_or(Actor::Management),
        Outcome::Success,
    )
    .at(owed.at)
    .with_reason("recorded_late")
    .with_http_method(&told.method)
    .with_endpoint(told.path.as_str());
    if let Ok(id) = owed.act.parse::<RequestId>() {
        event = event.with_request_id(id);
    }
    if let Some(id) = told.tenant {
        event = event.with_tenant_id(id);
    }
    match told.actor_id.as_deref().and_then(actor_of) {
        Some(id) => event.with_actor_id(id),
        None => event,
    }
}

/// An actor's id in a word, and back.
fn word(id: ActorId) -> String {
    match id {
        ActorId::Token(id) => id.to_string(),
        ActorId::ManagementKey(id) => id.to_string(),
        ActorId::Operator(id) => id.to_string(),
        ActorId::LocalUid(uid) => format!("local:{uid}"),
    }
}

fn actor_of(word: &str) -> Option<ActorId> {
    if let Some(uid) = word.strip_prefix("local:") {
        return uid.parse().ok().map(ActorId::LocalUid);
    }
    let token = word.parse().ok().map(ActorId::Token);
    let key = || word.parse().ok().map(ActorId::ManagementKey);
    let operator = || word.parse().ok().map(ActorId::Operator);
    token.or_else(key).or_else(operator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_types::{ManagementKeyId, OperatorId, TokenId};

    // AUD-40
    #[test]
    fn an_actor_is_the_same_after_a_crash() {
        for id in [
            ActorId::Token(TokenId::from_bytes([1; 16])),
            ActorId::ManagementKey(ManagementKeyId::from_bytes([2; 16])),
            ActorId::Operator(OperatorId::from_bytes([3; 16])),
            ActorId::LocalUid(65_534),
        ] {
            assert_eq!(actor_of(&word(id)), Some(id));
        }
        for unreadable in ["", "local:", "local:x", "root"] {
            assert_eq!(actor_of(unreadable), None, "{unreadable}");
        }
    }
}
