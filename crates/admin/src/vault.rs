//! `/api/v1/vault`: what is sealed under which key, and sealing it anew (ID-66).

use crate::State;
use crate::acting::Acting;
use crate::authn::Operator;
use crate::job::{Fault, Kind, Ticket};
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, accepted, ok};
use crate::runtime::{KekChoice, KekRefused};
use crate::shape::{Member, choice, id, number, objects, switch, text, time};
use crate::survey::{Survey, Unreadable, place_of};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_audit::{Action, Event, Key, Value as Detail};
use tollkeep_crypto::{Depth, Keyring};
use tollkeep_store::{SealedCursor, SealedRecord};

const KEK: &[Member] = &[
    text("id", 32, "Its id, which stands in every record under it").required(),
    choice(
        "state",
        &["active", "decrypt-only", "retired"],
        "What it is for",
    )
    .required(),
    switch("seals", "Whether it is the one that seals now").required(),
    text("source", 32, "Where it comes from"),
    text("fingerprint", 8, "Tells keys apart"),
    number("records", "Records under it").required(),
    time("oldest_sealed_at", "When the oldest of them was sealed"),
];

const UNREADABLE: &[Member] = &[
    id("tenant_id", "ten_", "Whose it is").required(),
    text("table", 64, "Its table").required(),
    text("row", 200, "Its row").required(),
    text("field", 64, "Its field").required(),
];

const SHOWN: &[Member] = &[
    objects("keks", KEK, "Key-encryption keys"),
    number("records", "Sealed records"),
    time("oldest_sealed_at", "When the oldest of them was sealed").or_null(),
    number("unreadable", "Records that don't open"),
    objects("unreadable_records", UNREADABLE, "At most 100 of them"),
];

const REKEY: &[Member] = &[
    text(
        "kek",
        32,
        "The active key that seals from now on, or `new` for one that is made; else the one that seals now",
    ),
    switch("deep", "Give every record a new data key too"),
];

const BEGUN: &[Member] = &[
    id("job", "job_", "The job that does it; none in a dry run").or_null(),
    number("records", "In a dry run, the sealed records there are").or_null(),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "vault_status",
        command: "vault status",
        about: "What is sealed under which key; every record is opened once for it",
        method: Method::Get,
        path: "/api/v1/vault",
        also: None,
        right: Right::ReadDeployment,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[],
        run: |call| Box::pin(status(call)),
    },
    Operation {
        id: "vault_rekey",
        command: "vault rekey",
        about: "Seal every record under the key that seals now, while everything goes on",
        method: Method::Post,
        path: "/api/v1/vault/rekey",
        also: None,
        right: Right::Vault,
        change: Some(Action::VaultRekey),
        query: &[],
        body: Some(REKEY),
        answers: &[(202, Content::Object(&[BEGUN]))],
        refusals: &[409],
        run: |call| Box::pin(rekey(call)),
    },
];

async fn status(call: Call) -> Answer {
    let (store, runtime) = (&call.state.parts.store, &call.state.parts.runtime);
    let survey = Survey::take(store, &runtime.keyring()).await?;
    let keks = runtime.keks();
    let known = keks.iter().map(|kek| {
        let under = survey.keks.get(&kek.id).copied().unwrap_or_default();
        let shown = json!({
            "id": kek.id,
            "state": kek.state,
            "seals": kek.seals,
            "source": kek.source,
            "fingerprint": kek.fingerprint,
            "records": under.records,
            "oldest_sealed_at": under.oldest,
        });
        without_null(shown)
    });
    Ok(ok(&json!({
        "keks": known.collect::<Vec<_>>(),
        "records": survey.records,
        "oldest_sealed_at": survey.oldest(),
        "unreadable": survey.unreadable_count,
        "unreadable_records": survey.unreadable.iter().map(told).collect::<Vec<_>>(),
    })))
}

fn told(record: &Unreadable) -> Value {
    json!({
        "tenant_id": record.tenant,
        "table": record.table,
        "row": record.row,
        "field": record.field,
    })
}

/// Members of a part that are not set are left out.
fn without_null(mut part: Value) -> Value {
    if let Some(members) = part.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    part
}

async fn rekey(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let kek = members.text("kek");
    let depth = match members.switch("deep") {
        Some(true) => Depth::DataKey,
        Some(false) | None => Depth::Wrap,
    };
    let choice = kek.map(|kek| match kek.as_str() {
        "new" => KekChoice::New,
        _ => KekChoice::Id(kek),
    });
    members.done()?;
    state.check_audit()?;
    if state.acting != Acting::Really {
        return try_rekey(&state, &operator, choice).await;
    }
    let (clock, entropy) = (&state.parts.clock, state.parts.entropy.as_ref());
    let ticket = state.parts.jobs.begin(clock, entropy, Kind::Rekey)?;
    let begun = begin(&state, &operator, choice).await;
    let keyring = match begun {
        Ok(keyring) => keyring,
        Err(problem) => {
            ticket.end(Err(problem.clone().into()));
            return Err(problem);
        }
    };
    let id = ticket.id();
    let work = work(Arc::clone(&state), operator, keyring, depth, ticket);
    state.parts.jobs.run(work);
    Ok(accepted(
        &format!("/api/v1/jobs/{id}"),
        &json!({ "job": id, "records": null }),
    ))
}

/// What would be sealed anew.
async fn try_rekey(state: &State, operator: &Operator, choice: Option<KekChoice>) -> Answer {
    state.parts.jobs.check_free(Kind::Rekey)?;
    let keyring = begin(state, operator, choice).await?;
    let survey = Survey::take(&state.parts.store, &keyring).await?;
    let records = survey.records;
    Ok(accepted(
        "/api/v1/jobs",
        &json!({ "job": null, "records": records }),
    ))
}

/// Chooses the key, and records that it was done.
async fn begin(
    state: &State,
    operator: &Operator,
    choice: Option<KekChoice>,
) -> Result<Arc<Keyring>, Problem> {
    let runtime = &state.parts.runtime;
    let keyring = match choice {
        Some(choice) => runtime.seal_under(choice).await.map_err(refused)?,
        None => runtime.keyring(),
    };
    state
        .record(rekeyed(state, operator, &keyring).with_reason("begun"))
        .await?;
    Ok(keyring)
}

fn rekeyed<'a>(state: &State, operator: &Operator, keyring: &'a Keyring) -> Event<'a> {
    let event = state.event(operator, Action::VaultRekey);
    event.with_detail(Key::Kek, Detail::Word(keyring.sealing_id()))
}

fn refused(refused: KekRefused) -> Problem {
    match refused {
        KekRefused::NotActive => {
            let fault = crate::problem::Fault {
                path: "/kek".to_owned(),
                message: "no active key has that id: see `tollkeep vault status`".to_owned(),
            };
            Problem::invalid(vec![fault])
        }
        KekRefused::FromOutside => Problem::conflict(
            "Keys come from the settings here: add one to `vault.keks`, restart, and name it.",
        ),
        KekRefused::Full(why) => Problem::conflict(why),
        KekRefused::NotWritten(why) => {
            tracing::error!("No key-encryption key could be made: {why}");
            Problem::store_unavailable()
        }
        KekRefused::Store(error) => error.into(),
    }
}

/// What the batches counted.
#[derive(Default)]
struct Counts {
    records: AtomicU64,
    unreadable: AtomicU64,
}

/// Seals batch by batch. Killed between two, everything opens as long as both keys are there.
async fn work(
    state: Arc<State>,
    operator: Operator,
    keyring: Arc<Keyring>,
    depth: Depth,
    ticket: Ticket,
) {
    let counts = Arc::new(Counts::default());
    let outcome = batches(&state, &keyring, depth, &ticket, &counts).await;
    let unreadable = counts.unreadable.load(Ordering::Relaxed);
    let mut event = rekeyed(&state, &operator, &keyring)
        .with_detail(Key::Unreadable, Detail::Number(unreadable));
    event = match &outcome {
        Ok(resealed) => event
            .with_reason("done")
            .with_detail(Key::Count, Detail::Number(*resealed)),
        Err(_) => event.with_reason("failed"),
    };
    if state.record(event).await.is_err() {
        tracing::warn!("The end of a rekeying was not recorded");
    }
    ticket.end(outcome.map(|resealed| {
        json!({
            "kek": keyring.sealing_id(),
            "records": counts.records.load(Ordering::Relaxed),
            "resealed": resealed,
            "unreadable": unreadable,
        })
    }));
}

async fn batches(
    state: &State,
    keyring: &Arc<Keyring>,
    depth: Depth,
    ticket: &Ticket,
    counts: &Arc<Counts>,
) -> Result<u64, Fault> {
    let store = &state.parts.store;
    let total = Survey::take(store, keyring).await.map_err(Problem::from)?;
    let (mut resealed, mut next) = (0, Some(SealedCursor::default()));
    while let Some(from) = next {
        if ticket.is_cancelled() {
            return Err(Fault::cancelled());
        }
        let (keyring, counts_of) = (Arc::clone(keyring), Arc::clone(counts));
        let entropy = Arc::clone(&state.parts.entropy);
        let seal = move |record: &SealedRecord| {
            counts_of.records.fetch_add(1, Ordering::Relaxed);
            let place = place_of(record);
            let text = keyring.reseal(&record.sealed, &place, depth, entropy.as_ref());
            let counted = text.inspect_err(|_| {
                counts_of.unreadable.fetch_add(1, Ordering::Relaxed);
            });
            counted.ok().flatten()
        };
        let (exchanged, then) = store.reseal(from, seal).await.map_err(Problem::from)?;
        resealed += exchanged;
        next = then;
        ticket.progress(counts.records.load(Ordering::Relaxed), total.records);
    }
    Ok(resealed)
}
