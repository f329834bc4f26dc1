//! `/api/v1/ledger`: whether the rows of money are what they must be (LED-84).

use crate::operation::{Call, Content, Method, Operation};
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, number, switch, texts};
use serde_json::json;

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

pub(crate) const OPERATIONS: &[Operation] = &[Operation {
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
}];

async fn check(call: Call) -> Answer {
    let report = call.state.parts.store.ledger().check().await?;
    Ok(ok(&json!({
        "valid": report.violations.is_empty(),
        "entries": report.entries,
        "violations": report.violations,
    })))
}
