//! `/api/v1/audit/keys` and what else concerns the log as a whole: the keys that sign it, its
//! checkpoints, whether it is what was written, and opening its file again.

use crate::State;
use crate::acting::Acting;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, no_content, ok};
use crate::shape::{Member, number, objects, switch, text, time};
use serde_json::{Value as Json, json};
use std::io::Read;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tollkeep_audit::{Action, Key, Report, Trust, Value, Verifier, log_files, open_log};
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_crypto::audit_key::AuditKey;
use tollkeep_store::StoreError;
use zeroize::Zeroizing;

/// Bytes of a log that are looked at on request; for more there is the command.
const VERIFIED_BYTES_MAX: u64 = 4 << 30;
/// One at a time.
static VERIFYING: Semaphore = Semaphore::const_new(1);

/// The keys that sign the audit log, as the binary keeps them.
pub trait AuditKeeper: Send + Sync {
    /// All public keys, the first one first, as they are published.
    fn keys(&self) -> Keeping<'_, Vec<Json>>;

    /// The one that signs now.
    fn key(&self) -> Arc<AuditKey>;

    /// What opens closed files that are sealed.
    fn archive_key(&self) -> Option<ArchiveKey>;

    /// Another key, signed by the one in use; nothing is kept of it. `None` if none can be made.
    fn next(&self) -> Option<NextKey>;

    /// Keeps it and signs with it from now on.
    fn take(&self, next: NextKey) -> Keeping<'_, ()>;
}

/// Something that is read or kept.
pub type Keeping<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A key that is about to sign.
pub struct NextKey {
    /// What its record says.
    pub details: Vec<(Key, Value<'static>)>,
    /// What it is made of.
    pub seed: Zeroizing<[u8; 32]>,
}

const KEY: &[Member] = &[
    text("kid", 16, "Its id, which stands in what it signs").required(),
    text("kty", 10, "`OKP`").required(),
    text("crv", 10, "`Ed25519`").required(),
    text("alg", 10, "`EdDSA`").required(),
    text("use", 10, "`sig`").required(),
    text("x", 43, "The public key, as base64url").required(),
    time("since", "When it was made").required(),
    text("previous", 16, "The id of the key before it"),
    text("sig", 86, "The signature of that key over this one"),
];

pub(crate) const KEYS: &[Member] = &[objects(
    "keys",
    KEY,
    "The first one first; the last one signs",
)];

const FAULT: &[Member] = &[
    text("file", 1000, "The file").required(),
    number("line", "Its line").required(),
    number("seq", "The record").or_null(),
    text("code", 40, "What is wrong, in a word").required(),
    text("problem", 400, "What is wrong").required(),
];

const STREAM: &[Member] = &[
    text("stream", 40, "The chain").required(),
    number("first", "Number of its first record").required(),
    number("last", "Number of its last record").required(),
    text("head", 64, "Hash of its last record").required(),
    number("signed_through", "The last good checkpoint").or_null(),
    number("unsigned_tail", "Records after that").required(),
    number("pruned_through", "Up to where it was deleted on purpose").or_null(),
];

const FOUND: &[Member] = &[
    switch("valid", "Whether nothing is wrong"),
    number("files", "Files that were read"),
    number("records", "Records that were read"),
    number("checkpoints", "Checkpoints whose signature is right"),
    number(
        "unchecked_signatures",
        "Signatures by keys that are not known here",
    ),
    number("told_lost", "Events that the log itself says were lost"),
    objects("streams", STREAM, "Its chains"),
    objects("faults", FAULT, "The first faults"),
    number("faults_in_all", "How many there are"),
];

const BASE: Operation = Operation {
    id: "audit_keys",
    command: "audit keys",
    about: "The public keys that the audit log is signed with",
    method: Method::Get,
    path: "/api/v1/audit/keys",
    also: None,
    right: Right::ReadDeployment,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[KEYS]))],
    refusals: &[],
    run: |call| Box::pin(keys(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    BASE,
    Operation {
        id: "audit_key_rotate",
        command: "audit rotate-key",
        about: "Sign the audit log with a new key, which the one before signs",
        method: Method::Post,
        right: Right::Vault,
        change: Some(Action::AuditKeyRotate),
        body: Some(&[]),
        answers: &[(201, Content::Object(&[KEYS]))],
        run: |call| Box::pin(rotate_key(call)),
        ..BASE
    },
    Operation {
        id: "audit_checkpoints",
        command: "audit checkpoints",
        about: "The last checkpoint of each chain, as the store keeps it",
        path: "/api/v1/audit/checkpoints",
        answers: &[(200, Content::Document)],
        run: |call| Box::pin(checkpoints(call)),
        ..BASE
    },
    Operation {
        id: "audit_verify",
        command: "audit check",
        about: "Look whether the files of the audit log are what was written",
        method: Method::Post,
        path: "/api/v1/audit/verify",
        right: Right::Operate,
        change: Some(Action::AuditVerify),
        body: Some(&[]),
        answers: &[(200, Content::Object(&[FOUND]))],
        refusals: &[409],
        run: |call| Box::pin(verify(call)),
        ..BASE
    },
    Operation {
        id: "audit_reopen",
        command: "audit reopen",
        about: "Open the audit file by its name again: somebody moved it away",
        method: Method::Post,
        path: "/api/v1/audit/reopen",
        right: Right::Operate,
        change: Some(Action::AuditRotate),
        body: Some(&[]),
        answers: &[(204, Content::None)],
        run: |call| Box::pin(reopen(call)),
        ..BASE
    },
];

async fn keys(call: Call) -> Answer {
    let state = &call.state;
    let keys = state.parts.runtime.audit_keeper().keys().await?;
    state
        .record(state.event(&call.operator, Action::AuditKeyList))
        .await?;
    Ok(ok(&json!({ "keys": keys })))
}

async fn rotate_key(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    call.body.done()?;
    state.check_audit()?;
    let keeper = state.parts.runtime.audit_keeper();
    let next = keeper.next().ok_or_else(Problem::internal)?;
    // First the record: whoever reads the log knows the new key before what it signed.
    let mut event = state.event(operator, Action::AuditKeyRotate);
    for (key, value) in next.details.iter().cloned() {
        event = event.with_detail(key, value);
    }
    state.record(event).await?;
    if state.acting == Acting::Really {
        keeper.take(next).await?;
    }
    let keys = keeper.keys().await?;
    Ok(created("/api/v1/audit/keys", &json!({ "keys": keys })))
}

async fn checkpoints(call: Call) -> Answer {
    let state = &call.state;
    let lines = state.parts.store.audit_checkpoints().await?;
    let all = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok());
    let all: Vec<Json> = all.collect();
    state
        .record(state.event(&call.operator, Action::AuditList))
        .await?;
    Ok(ok(&json!({ "checkpoints": all })))
}

async fn reopen(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    call.body.done()?;
    let audit = state.parts.audit.as_ref();
    let audit = audit.ok_or_else(Problem::audit_not_kept)?;
    if state.acting == Acting::Really {
        audit
            .reopen()
            .await
            .map_err(|_| Problem::audit_unavailable())?;
    }
    let event = state.event(operator, Action::AuditRotate);
    state
        .record(event.with_detail(Key::Kind, Value::Word("reopen")))
        .await?;
    Ok(no_content())
}

async fn verify(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    call.body.done()?;
    let keys = state.parts.runtime.audit_keeper().keys().await?;
    let trust = Trust::read(&json!({ "keys": keys }).to_string());
    let trust = trust.map_err(|_| Problem::internal())?;
    let known = state.parts.store.audit_checkpoints().await?;
    let report = look(state, trust, known).await?;
    let event = state.event(operator, Action::AuditVerify);
    let event = event.with_detail(Key::Count, Value::Number(report.faults_in_all));
    state.record(event).await?;
    Ok(ok(&report.json()))
}

async fn look(state: &Arc<State>, trust: Trust, known: Vec<String>) -> Result<Report, Problem> {
    if state.parts.audit.is_none() {
        return Err(Problem::audit_not_kept());
    }
    let permit = VERIFYING.acquire().await.map_err(|_| Problem::internal())?;
    let path = state.settings().audit.file.clone();
    let path = path.ok_or_else(Problem::audit_not_kept)?;
    let archive_key = state.parts.runtime.audit_keeper().archive_key();
    let looked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        look_at((&path, archive_key.as_ref()), trust, &known)
    });
    match looked.await.map_err(|_| Problem::internal())? {
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err(Problem::conflict(
            "The log is too long to be looked at here: use `tollkeep audit verify`.",
        )),
        Err(error) => {
            tracing::error!("The audit log can't be read: {error}");
            Err(Problem::audit_unreadable())
        }
    }
}

/// `None` if the log is too long.
fn look_at(
    (path, archive_key): (&Path, Option<&ArchiveKey>),
    trust: Trust,
    known: &[String],
) -> std::io::Result<Option<Report>> {
    let files = log_files(path, archive_key)?;
    let mut verifier = Verifier::default().trusting(trust);
    for line in known {
        verifier.expect("the store", line.as_bytes());
    }
    let mut left = VERIFIED_BYTES_MAX;
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut input = open_log(path, archive_key)?.take(left);
        verifier.read(&name, &mut input)?;
        left = input.limit();
        if left == 0 {
            return Ok(None);
        }
    }
    Ok(Some(verifier.finish()))
}
