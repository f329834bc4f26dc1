//! `/api/v1/receipts/keys`: the keys that receipts are signed with.

use crate::State;
use crate::acting::Acting;
use crate::audit_log::{KEYS, Keeping};
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, ok};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};

/// The keys that sign receipts, as the binary keeps them.
pub trait ReceiptKeeper: Send + Sync {
    /// All public keys, the first one first, as they are published.
    fn keys(&self) -> Vec<Json>;

    /// Whether there can be no further one.
    fn is_full(&self) -> bool;

    /// Makes another key, which the last one signs; gives all of them. It signs within seconds.
    fn rotate(&self) -> Keeping<'_, Vec<Json>>;
}

const BASE: Operation = Operation {
    id: "receipt_keys",
    command: "receipt keys",
    about: "The public keys that receipts are signed with",
    method: Method::Get,
    path: "/api/v1/receipts/keys",
    also: None,
    right: Right::ReadDeployment,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[KEYS]))],
    refusals: &[409],
    run: |call| Box::pin(keys(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    BASE,
    Operation {
        id: "receipt_key_rotate",
        command: "receipt rotate-key",
        about: "Sign receipts with a new key, which the one before signs",
        method: Method::Post,
        right: Right::Vault,
        change: Some(Action::ReceiptKeyRotate),
        body: Some(&[]),
        answers: &[(201, Content::Object(&[KEYS]))],
        run: |call| Box::pin(rotate(call)),
        ..BASE
    },
];

fn keeper(state: &State) -> Result<&dyn ReceiptKeeper, Problem> {
    let keeper = state.parts.runtime.receipt_keeper();
    keeper.ok_or_else(|| Problem::conflict("No receipts are made (`ledger.receipts`)."))
}

async fn keys(call: Call) -> Answer {
    let keys = keeper(&call.state)?.keys();
    Ok(ok(&json!({ "keys": keys })))
}

async fn rotate(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    call.body.done()?;
    let keeper = keeper(state)?;
    if keeper.is_full() {
        return Err(Problem::conflict("There are too many keys already."));
    }
    state.check_audit()?;
    let keys = if state.acting == Acting::Really {
        keeper.rotate().await?
    } else {
        keeper.keys()
    };
    let text = |name: &str| {
        let last = keys.last()?.get(name)?.as_str()?;
        Some(Value::OwnedWord(last.to_owned().into()))
    };
    let mut event = state.event(operator, Action::ReceiptKeyRotate);
    for (key, name) in [
        (Key::PublicKey, "x"),
        (Key::Previous, "previous"),
        (Key::KeyId, "kid"),
        (Key::Sig, "sig"),
    ] {
        if let Some(value) = text(name) {
            event = event.with_detail(key, value);
        }
    }
    state.record(event).await?;
    Ok(created("/api/v1/receipts/keys", &json!({ "keys": keys })))
}
