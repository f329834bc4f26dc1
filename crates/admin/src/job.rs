//! `/api/v1/jobs`: work that takes longer than a request, one of a kind at a time.
//!
//! Jobs live in memory: what they do is restartable, and a process that ends says so by forgetting
//! them.

use crate::acting::Acting;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, no_content, ok};
use crate::shape::{Member, choice, id, number, object, text, time};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tollkeep_audit::Action;
use tollkeep_types::{Clock, Entropy, JobId, WallMillis};

/// Jobs that are remembered, the newest last; those that run are never forgotten.
const REMEMBERED_MAX: usize = 100;

const PROGRESS: &[Member] = &[
    number("done", "Records that were looked at").required(),
    number("total", "Records there were when it began").required(),
];

const RESULT: &[Member] = &[
    text("kek", 32, "The key that everything is sealed under now"),
    number("records", "Records that were looked at"),
    number("resealed", "Records that were sealed anew"),
    number("unreadable", "Records that don't open and were left alone"),
];

const FAULT: &[Member] = &[
    text("code", 100, "What went wrong, in a word").required(),
    text("detail", 2000, "What went wrong").required(),
];

const SHOWN: &[Member] = &[
    id("id", "job_", "Its id").required(),
    choice("kind", &["vault.rekey"], "What it does").required(),
    choice(
        "state",
        &["running", "done", "failed"],
        "Whether it goes on",
    )
    .required(),
    object("progress", PROGRESS, "How far it has come"),
    object("result", RESULT, "What it did").or_null(),
    object("problem", FAULT, "Why it failed").or_null(),
    time("created_at", "When it began").required(),
    time("ended_at", "When it ended").or_null(),
];

const BASE: Operation = Operation {
    id: "job_get",
    command: "job get",
    about: "How far a job has come",
    method: Method::Get,
    path: "/api/v1/jobs/{id}",
    also: None,
    right: Right::ReadDeployment,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[SHOWN]))],
    refusals: &[],
    run: |call| Box::pin(get(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "job_list",
        command: "job list",
        about: "Jobs since the start, the newest first",
        path: "/api/v1/jobs",
        answers: &[(200, Content::Page(SHOWN))],
        run: |call| Box::pin(list(call)),
        ..BASE
    },
    BASE,
    Operation {
        id: "job_cancel",
        command: "job cancel",
        about: "End a job early; what it has done stays done",
        method: Method::Delete,
        right: Right::Vault,
        change: Some(Action::VaultRekey),
        answers: &[(204, Content::None)],
        refusals: &[409],
        run: |call| Box::pin(cancel(call)),
        ..BASE
    },
];

/// What a job does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Rekey,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rekey => "vault.rekey",
        }
    }
}

struct Job {
    id: JobId,
    kind: Kind,
    created_at: WallMillis,
    done: u64,
    total: u64,
    is_cancelled: bool,
    end: Option<(WallMillis, Result<Value, Fault>)>,
}

/// Why a job failed.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    code: &'static str,
    detail: String,
}

impl Fault {
    pub(crate) fn cancelled() -> Self {
        Self {
            code: "cancelled",
            detail: "It was ended early; what it had done stays done.".to_owned(),
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code(),
            detail: problem.detail().to_owned(),
        }
    }
}

/// The jobs of this process.
#[derive(Default)]
pub struct Jobs {
    table: Mutex<Table>,
    work: Mutex<JoinSet<()>>,
    ended: Notify,
}

#[derive(Default)]
struct Table {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Table {
    fn find(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }
}

impl Table {
    fn check_free(&self, kind: Kind) -> Result<(), Problem> {
        if self.is_closed {
            return Err(Problem::conflict("The gateway is stopping."));
        }
        let mut running = self.jobs.iter().filter(|job| job.end.is_none());
        match running.find(|job| job.kind == kind) {
            Some(job) => Err(Problem::conflict(format!("{} is at it already.", job.id))),
            None => Ok(()),
        }
    }
}

impl Jobs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job, if none of its kind runs.
    pub(crate) fn begin(
        self: &Arc<Self>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
        kind: Kind,
    ) -> Result<Ticket, Problem> {
        let mut table = self.table();
        table.check_free(kind)?;
        if table.jobs.len() >= REMEMBERED_MAX
            && let Some(oldest) = table.jobs.iter().position(|job| job.end.is_some())
        {
            table.jobs.remove(oldest);
        }
        let id = JobId::new(clock.as_ref(), entropy);
        table.jobs.push_back(Job {
            id,
            kind,
            created_at: clock.wall(),
            done: 0,
            total: 0,
            is_cancelled: false,
            end: None,
        });
        Ok(Ticket {
            id,
            jobs: Arc::clone(self),
            clock: Arc::clone(clock),
            is_ended: false,
        })
    }

    /// Whether a job could begin.
    pub(crate) fn check_free(&self, kind: Kind) -> Result<(), Problem> {
        self.table().check_free(kind)
    }

    /// Runs the work of a job.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(work);
    }

    fn close(&self) {
        let mut table = self.table();
        table.is_closed = true;
        for job in &mut table.jobs {
            job.is_cancelled = true;
        }
    }

    /// Ends all of them early and waits until they have ended; none begins any more.
    pub async fn stop(&self) {
        self.close();
        loop {
            let ended = self.ended.notified();
            if self.table().jobs.iter().all(|job| job.end.is_some()) {
                return;
            }
            ended.await;
        }
    }
}

/// Held by the work of a job. Dropped before it has ended, the job has failed.
pub(crate) struct Ticket {
    id: JobId,
    jobs: Arc<Jobs>,
    clock: Arc<dyn Clock>,
    is_ended: bool,
}

impl Ticket {
    pub(crate) const fn id(&self) -> JobId {
        self.id
    }

    /// Tells how far it has come.
    pub(crate) fn progress(&self, done: u64, total: u64) {
        if let Some(job) = self.jobs.table().find(self.id) {
            (job.done, job.total) = (done, total.max(done));
        }
    }

    /// Whether it shall end.
    pub(crate) fn is_cancelled(&self) -> bool {
        let mut table = self.jobs.table();
        table.find(self.id).is_none_or(|job| job.is_cancelled)
    }

    pub(crate) fn end(mut self, result: Result<Value, Fault>) {
        self.note_end(result);
    }

    fn note_end(&mut self, result: Result<Value, Fault>) {
        self.is_ended = true;
        let now = self.clock.wall();
        if let Some(job) = self.jobs.table().find(self.id) {
            job.end = Some((now, result));
        }
        self.jobs.ended.notify_waiters();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_ended {
            self.note_end(Err(Problem::internal().into()));
        }
    }
}

async fn list(call: Call) -> Answer {
    let table = call.state.parts.jobs.table();
    let shown: Vec<Value> = table.jobs.iter().rev().map(shown).collect();
    Ok(ok(
        &json!({ "data": shown, "has_more": false, "next_cursor": null }),
    ))
}

async fn get(call: Call) -> Answer {
    let id = call.id.parse().map_err(|_| Problem::not_found())?;
    let mut table = call.state.parts.jobs.table();
    let job = table.find(id).ok_or_else(Problem::not_found)?;
    Ok(ok(&shown(job)))
}

async fn cancel(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body,
        ..
    } = call;
    body.done()?;
    let id: JobId = id.parse().map_err(|_| Problem::not_found())?;
    state.check_audit()?;
    {
        let mut table = state.parts.jobs.table();
        let job = table.find(id).ok_or_else(Problem::not_found)?;
        if job.end.is_some() {
            return Err(Problem::conflict("The job has ended."));
        }
        if state.acting == Acting::Really {
            job.is_cancelled = true;
        }
    }
    let event = state.event(&operator, Action::VaultRekey);
    state.record(event.with_reason("cancelled")).await?;
    Ok(no_content())
}

fn shown(job: &Job) -> Value {
    let (state, result, problem) = match &job.end {
        None => ("running", None, None),
        Some((_, Ok(result))) => ("done", Some(result), None),
        Some((_, Err(fault))) => ("failed", None, Some(fault)),
    };
    json!({
        "id": job.id,
        "kind": job.kind.as_str(),
        "state": state,
        "progress": { "done": job.done, "total": job.total },
        "result": result,
        "problem": problem.map(|fault| json!({ "code": fault.code, "detail": fault.detail })),
        "created_at": job.created_at,
        "ended_at": job.end.as_ref().map(|(at, _)| *at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_crypto::SystemEntropy;
    use tollkeep_types::MonoNanos;

    struct StandStill;

    impl Clock for StandStill {
        fn mono(&self) -> MonoNanos {
            MonoNanos(0)
        }

        fn wall(&self) -> WallMillis {
            WallMillis(1_795_342_530_000)
        }
    }

    fn begin(jobs: &Arc<Jobs>) -> Result<Ticket, Problem> {
        let clock: Arc<dyn Clock> = Arc::new(StandStill);
        jobs.begin(&clock, &SystemEntropy, Kind::Rekey)
    }

    fn state_of(jobs: &Jobs, id: JobId) -> (Value, Value) {
        let mut table = jobs.table();
        let shown = shown(table.find(id).unwrap());
        (shown["state"].clone(), shown["problem"]["code"].clone())
    }

    #[test]
    fn one_of_a_kind_runs_at_a_time() {
        let jobs = Arc::default();
        let first = begin(&jobs).unwrap();
        assert_eq!(begin(&jobs).err().unwrap().code(), "conflict");
        first.progress(3, 9);
        first.end(Ok(json!({})));
        assert!(begin(&jobs).is_ok());
    }

    #[test]
    fn a_job_whose_work_broke_off_has_failed() {
        let jobs = Arc::default();
        let ticket = begin(&jobs).unwrap();
        let id = ticket.id();
        assert_eq!(state_of(&jobs, id), (json!("running"), Value::Null));
        drop(ticket);
        assert_eq!(state_of(&jobs, id), (json!("failed"), json!("internal")));
    }

    #[test]
    fn old_jobs_are_forgotten_and_those_that_run_are_not() {
        let jobs = Arc::default();
        let mut ids = Vec::new();
        for _ in 0..REMEMBERED_MAX + 5 {
            let ticket = begin(&jobs).unwrap();
            ids.push(ticket.id());
            ticket.end(Ok(json!({})));
        }
        let running = begin(&jobs).unwrap();
        let mut table = jobs.table();
        assert_eq!(table.jobs.len(), REMEMBERED_MAX);
        assert!(table.find(ids[0]).is_none());
        assert!(table.find(running.id()).is_some());
        drop(table);
    }

    #[tokio::test]
    async fn stopping_ends_what_runs_and_lets_nothing_begin() {
        let jobs: Arc<Jobs> = Arc::default();
        let ticket = begin(&jobs).unwrap();
        let id = ticket.id();
        let work = async {
            while !ticket.is_cancelled() {
                tokio::task::yield_now().await;
            }
            ticket.end(Err(Fault::cancelled()));
        };
        tokio::join!(jobs.stop(), work);
        assert_eq!(state_of(&jobs, id), (json!("failed"), json!("cancelled")));
        assert!(begin(&jobs).is_err());
    }
}
