//! `/api/v1/audit/export`: records of a time for somebody else to keep, and a signed list of them.

use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, switch, text, time};
use std::io::{self, Write};
use tokio::sync::Semaphore;
use tollkeep_audit::{Action, ExportFormat, ExportRange, Exported, Key, Value, export};
use tollkeep_types::WallMillis;

/// Bytes that are given in an answer; for more there is the command.
const TEXT_BYTES_MAX: usize = 8 << 20;
/// One at a time reads the log.
static EXPORTING: Semaphore = Semaphore::const_new(1);

const ASKED: &[Member] = &[
    time("start_time", "Not before then").required(),
    time("end_time", "Before then; best one that is past").required(),
    choice(
        "format",
        &["jsonl", "json", "csv"],
        "How they are written; `jsonl` if not given: as they are in the log",
    ),
    text("file", 200, "What the file is called in the list"),
    switch("with_text", "Give the records too, up to 8 MiB"),
];

pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "audit_export",
    command: "audit export",
    about: "A signed list of the records of a time, and the records if asked for",
    method: Method::Post,
    path: "/api/v1/audit/export",
    also: None,
    right: Right::ReadDeployment,
    change: Some(Action::AuditExport),
    query: &[],
    body: Some(ASKED),
    answers: &[(200, Content::Document)],
    refusals: &[409],
    run: |call| Box::pin(run(call)),
}];

/// Keeps what fits.
struct Kept {
    text: Option<Vec<u8>>,
    is_full: bool,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(text) = &mut self.text {
            if text.len() + bytes.len() > TEXT_BYTES_MAX {
                self.is_full = true;
                self.text = None;
            } else {
                text.extend_from_slice(bytes);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn run(call: Call) -> Answer {
    let Call {
        state,
        operator,
        mut body,
        ..
    } = call;
    let (from, to) = (body.time("start_time"), body.time("end_time"));
    let format = body.choice::<ExportFormat>("format");
    let name = body.text("file").unwrap_or_else(|| "-".to_owned());
    let with_text = body.switch("with_text") == Some(true);
    body.done()?;
    if state.parts.audit.is_none() {
        return Err(Problem::audit_not_kept());
    }
    let range = ExportRange {
        from: from.unwrap_or(WallMillis(0)),
        to: to.unwrap_or(WallMillis::MAX),
        format: format.unwrap_or_default(),
    };
    let event = state.event(&operator, Action::AuditExport);
    let event = event.with_detail(Key::Kind, Value::Word(range.format.as_str()));
    let event = event.with_detail(Key::File, Value::Text(name.as_str().into()));
    // Who takes a copy is recorded before it is made.
    state.record(event).await?;
    let permit = EXPORTING.acquire().await.map_err(|_| Problem::internal())?;
    let log = state.settings().audit.file.clone();
    let log = log.ok_or_else(Problem::audit_not_kept)?;
    let archive_key = state.parts.runtime.audit_keeper().archive_key();
    let exported = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut kept = Kept {
            text: with_text.then(Vec::new),
            is_full: false,
        };
        export((&log, archive_key.as_ref()), range, &mut kept).map(|exported| (exported, kept))
    });
    let exported = exported.await.map_err(|_| Problem::internal())?;
    let (exported, kept): (Exported, Kept) = exported.map_err(|error| {
        tracing::error!("The audit log can't be read: {error}");
        Problem::audit_unreadable()
    })?;
    if kept.is_full {
        let detail = "That is more than 8 MiB: ask for less, or use `tollkeep audit export`.";
        return Err(Problem::conflict(detail));
    }
    let key = state.parts.runtime.audit_keeper().key();
    let mut manifest = exported.manifest(&name, &range, &key);
    if let (Some(text), Some(members)) = (kept.text, manifest.as_object_mut()) {
        let text = String::from_utf8_lossy(&text).into_owned();
        members.insert("text".to_owned(), text.into());
    }
    Ok(ok(&manifest))
}
