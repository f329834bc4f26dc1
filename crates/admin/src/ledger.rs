//! `/api/v1/ledger`: whether the rows of money are what they must be (LED-84).

use crate::operation::{Call, Content, Method, Operation};
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, bounded, choice, id, number, switch, text, texts, time};
use serde_json::{Value as Json, json};
use tollkeep_store::ledger::EntryRecord;

const REPORT: &[Member] = &[
    switch("valid", "Nothing was found"),
    number("entries", "How many entries of accounts were followed"),
    texts(
        "violations",
        250,
        300,
        "What is not as it must be: the invariant, and the row",
    ),
];

/// Entries of one answer, unless fewer are asked for.
const ENTRIES_MAX: u32 = 10_000;

const ENTRY: &[Member] = &[
    number("number", "Its place among all entries, from 1"),
    id("id", "ent_", "Its id"),
    choice(
        "kind",
        &["hold", "settle", "correct", "lease", "transfer"],
        "Why it was made",
    ),
    time("at", "When it was written"),
    text(
        "hash",
        64,
        "Over all of it and the hash of the one before; the event that tells of it has the same",
    ),
    switch("is_gain", "A payer has more by it than before its call"),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    CHECK,
    Operation {
        id: "ledger_entries",
        command: "ledger entries",
        about: "Entries of all accounts in the order of their chain, to be compared with the audit log",
        method: Method::Get,
        path: "/api/v1/ledger/entries",
        also: None,
        right: Right::ReadDeployment,
        change: None,
        query: &[
            bounded("limit", 1, 10_000, "How many at most; 10,000 if not given"),
            number("after", "Those behind this number"),
        ],
        body: None,
        answers: &[(200, Content::List(ENTRY))],
        refusals: &[],
        run: |call| Box::pin(entries(call)),
    },
];

const CHECK: Operation = Operation {
    id: "ledger_check",
    command: "ledger check",
    about: "Look at all rows of money for what can't be: sums that differ, a broken chain",
    method: Method::Get,
    path: "/api/v1/ledger/check",
    also: None,
    right: Right::ReadDeployment,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[REPORT]))],
    refusals: &[],
    run: |call| Box::pin(check(call)),
};

async fn check(call: Call) -> Answer {
    let report = call.state.parts.store.ledger().check().await?;
    Ok(ok(&json!({
        "valid": report.violations.is_empty(),
        "entries": report.entries,
        "violations": report.violations,
    })))
}

async fn entries(call: Call) -> Answer {
    let number = |name| {
        call.query
            .get(name)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let limit = number("limit").and_then(|limit| u32::try_from(limit).ok());
    let (after, limit) = (number("after").unwrap_or(0), limit.unwrap_or(ENTRIES_MAX));
    let ledger = call.state.parts.store.ledger();
    let rows = ledger.entries(after, limit.min(ENTRIES_MAX)).await?;
    Ok(ok(&rows.iter().map(shown).collect::<Json>()))
}

fn shown(entry: &EntryRecord) -> Json {
    json!({
        "number": entry.number,
        "id": entry.id,
        "kind": entry.kind,
        "at": entry.at,
        "hash": entry.hash,
        "is_gain": entry.is_gain,
    })
}
