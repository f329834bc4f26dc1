//! What is older than `audit.retention` leaves the database, hour by hour; or sooner, if an owner
//! wants that (AUD-62).
//!
//! What is deleted is always the beginning of a chain, and a signed record that says so is durable
//! before anything is gone.

use super::is_in_database;
use crate::acting::Acting;
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use crate::{Admin, State};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Actor, ActorId, PrunedRecords};
use tollkeep_config::settings::Environment;
use tollkeep_store::{Prunable, StoreError};
use tollkeep_types::{ProjectId, WallMillis};

/// How often it is looked for what is old.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Records deleted at once, and the pause until the next.
const BATCH: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(50);
/// The lease of whichever replica does it.
const LEASE: &str = "audit_prune";
/// What production keeps at least.
const PRODUCTION_MS: u64 = 7 * 86_400_000;

pub(super) async fn prune(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let older_ms = members.duration("before");
    let audit = state.settings().audit.clone();
    let is_short = older_ms.is_some_and(|older| older < PRODUCTION_MS);
    let in_production = state.settings().environment == Environment::Production;
    if is_short && in_production && !audit.insecure_short_retention {
        members.fault("before", "must be at least 7d in production");
    }
    members.done()?;
    if !is_in_database(&state) {
        return Err(Problem::audit_not_kept());
    }
    state.check_audit()?;
    let before = before(&state, older_ms.unwrap_or(u64::MAX));
    let held = held(&state);
    let found = state.parts.store.audit_prunable(before, &held).await?;
    if state.acting == Acting::Really {
        let actor = operator.actor();
        for chain in &found {
            tell(&state, chain, actor).await?;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "what is half done when the gateway ends is done by the next"
        )]
        tokio::task::spawn(delete_all(Arc::clone(&state), found.clone()));
    }
    let chains: Vec<Value> = found.iter().map(shown).collect();
    let records: u64 = found.iter().map(|chain| chain.records).sum();
    Ok(ok(&json!({ "records": records, "chains": chains })))
}

fn shown(chain: &Prunable) -> Value {
    json!({
        "stream": chain.stream,
        "through_seq": chain.through,
        "head": chain.head,
        "records": chain.records,
    })
}

fn before(state: &State, older_ms: u64) -> WallMillis {
    WallMillis(state.parts.store.now().0.saturating_sub(older_ms))
}

/// Projects whose records stay now.
fn held(state: &State) -> Vec<ProjectId> {
    let now = state.parts.store.now();
    let settings = state.settings();
    let holds = settings.audit.hold.iter().filter(|hold| hold.until > now);
    holds.map(|hold| hold.project).collect()
}

/// Records what is about to go, durably.
async fn tell(
    state: &State,
    chain: &Prunable,
    (actor, id): (Actor, Option<ActorId>),
) -> Result<(), Problem> {
    let Some(audit) = &state.parts.audit else {
        return Err(Problem::audit_not_kept());
    };
    let pruned = PrunedRecords {
        stream: &chain.stream,
        through: chain.through,
        head: &chain.head,
        records: chain.records,
    };
    let told = audit.log_pruned(&pruned, (actor, id));
    match told.await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!("Nothing is pruned, as that could not be recorded: {error}");
            Err(Problem::audit_unavailable())
        }
    }
}

async fn delete_all(state: Arc<State>, chains: Vec<Prunable>) {
    for chain in &chains {
        if let Err(error) = delete(&state, chain).await {
            // What is left is found again.
            tracing::warn!("Old audit records can't be deleted: {error}");
        }
    }
}

async fn delete(state: &State, chain: &Prunable) -> Result<(), StoreError> {
    let store = &state.parts.store;
    while store
        .prune_audit(&chain.stream, chain.through, BATCH)
        .await?
        > 0
    {
        tokio::time::sleep(PAUSE).await;
    }
    tracing::info!(
        "{} audit records up to {} of {} were pruned",
        chain.records,
        chain.through,
        chain.stream
    );
    Ok(())
}

impl Admin {
    /// Takes away what is older than the settings want, hour by hour, for as long as the process
    /// lives; one replica at a time.
    pub async fn prune_audit(self, replica: String) {
        let state = self.0;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if is_in_database(&state)
                && let Err(error) = prune_old(&state, &replica).await
            {
                tracing::warn!("Old audit records are not pruned: {error:?}");
            }
        }
    }
}

async fn prune_old(state: &Arc<State>, replica: &str) -> Result<(), Problem> {
    let store = &state.parts.store;
    if !store.take_lease(LEASE, replica, LOOK_EVERY).await? {
        return Ok(());
    }
    let retention = state.settings().audit.retention;
    let older_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let found = store
        .audit_prunable(before(state, older_ms), &held(state))
        .await?;
    for chain in &found {
        tell(state, chain, (Actor::System, None)).await?;
        delete(state, chain).await?;
    }
    Ok(())
}
