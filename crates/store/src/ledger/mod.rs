//! The rows of the ledger, and the runner of its commands (`tollkeep_ledger::step`).
//!
//! Commands that come together are one transaction: each is planned in it, by the store's clock, and
//! each is done as a whole or not at all. What they have to look at is loaded at once, the writes are
//! judged in memory, and what has changed is written at once; a window that a hundred calls were paid
//! from is written once. That is right because transactions of the ledger come one after the other,
//! over all processes: each begins by locking the one row that holds the clock and the end of the
//! chain of entries. What the tables check beside that is a net for faults of ours.

mod about;
mod account;
mod chain;
mod check;
mod columns;
mod entry;
mod fault;
mod hold;
mod keep;
mod kept;
mod load;
mod lost;
mod named;
mod rail;
mod receipt;
mod record;
mod recorded;
mod retain;
mod rows;
mod table;
mod transaction;
mod usage;

pub use account::{AccountEntry, AccountRecord, Movement};
pub use check::CheckReport;
pub use entry::{EntryRecord, digests};
pub use hold::{HoldRecord, HoldStanding};
pub use lost::LostSlice;
pub(crate) use rail::{RailAccount, RailMove};
pub use receipt::NewReceipt;
pub use record::{CallRecord, PriceMark};
pub use recorded::UsageRecord;
pub(crate) use retain::USAGE_DAYS;
pub use usage::{Groups, UsageBy, UsageFilter, UsageSum, UsageSums};

use crate::Store;
use crate::open::Inner;
use fault::{Failure, Standing};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_ledger::step::Command;
use tollkeep_ledger::write::{NoAnswer, Refusal, Reply};
use transaction::Belief;

/// How often a transaction is tried that another one was in the way of.
const TRIES: u32 = 6;
/// How long to wait before the next try: at least, and at most so much more.
const WAIT_MS: u64 = 5;
const WAIT_MORE_MS: u64 = 75;
/// The job of a row whose record nobody here can complete.
const NO_JOB: usize = usize::MAX;

/// A command, and what a usage record says of its call.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is asked.
    pub command: Command,
    /// Of a call that ends, or is granted: the rest of its record.
    pub about: Option<Arc<CallRecord>>,
}

/// What all handles of the ledger share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    windows: load::Windows,
    standing: Standing,
}

impl Shared {
    /// Nothing is reopened any more.
    pub(crate) fn close(&self) {
        self.standing.close();
    }
}

/// A handle of the ledger's rows. Clones are the same.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

impl Store {
    /// The ledger's rows.
    pub fn ledger(&self) -> Ledger {
        Ledger(Arc::clone(&self.0))
    }
}

impl Ledger {
    /// Does all jobs in one transaction, in their order; a job that is refused changes nothing.
    ///
    /// Gives an answer to each, or to none: then nobody knows whether they were done, and they have
    /// to be given again. A future that is dropped leaves the same behind.
    pub async fn run(&self, jobs: &[Job]) -> Vec<Result<Reply, NoAnswer>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        if !self.heal().await {
            return no_answers(jobs);
        }
        match self.try_run(jobs).await {
            Ok(replies) => {
                self.0.ledger.standing.works();
                replies.into_iter().map(Ok).collect()
            }
            Err(failure) if failure.is_of_one() => self.one_by_one(jobs, &failure).await,
            Err(failure) => {
                self.note(&failure).await;
                tracing::warn!("The ledger can't write: {failure}");
                no_answers(jobs)
            }
        }
    }

    /// Whether the last transaction failed, and nothing has worked since. After a fault of the disk
    /// the file is reopened and checked before anything is written again.
    pub fn is_down(&self) -> bool {
        self.0.ledger.standing.is_down()
    }

    /// One fault must not keep all others from being written.
    async fn one_by_one(&self, jobs: &[Job], failure: &Failure) -> Vec<Result<Reply, NoAnswer>> {
        if jobs.len() == 1 {
            tracing::error!("The ledger can't write a command, which is a fault: {failure}");
            return match failure {
                Failure::Store(_) => no_answers(jobs),
                Failure::Sql(_) | Failure::Overtaken | Failure::Believed => {
                    vec![Ok(self.broken())]
                }
            };
        }
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.extend(Box::pin(self.run(std::slice::from_ref(job))).await);
        }
        answers
    }

    /// What is said where the tables refuse what the core wants.
    fn broken(&self) -> Reply {
        Reply {
            refusal: Some(Refusal::Broken),
            now: self.0.wall.now(),
            ..Reply::default()
        }
    }

    async fn try_run(&self, jobs: &[Job]) -> Result<Vec<Reply>, Failure> {
        let (mut tries, mut belief) = (1, Belief::New);
        loop {
            match transaction::run(&self.0, jobs, belief).await {
                Err(failure) if belief == Belief::New && failure.is_of_belief() => {
                    belief = Belief::Looked;
                }
                Err(failure) if failure.is_passing() && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(self.pause()).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// A while, not the same for any two processes.
    fn pause(&self) -> Duration {
        let mut random = [0; 8];
        self.0.entropy.fill(&mut random);
        let more = u64::from_le_bytes(random) % (WAIT_MORE_MS + 1);
        Duration::from_millis(WAIT_MS + more)
    }
}

fn no_answers(jobs: &[Job]) -> Vec<Result<Reply, NoAnswer>> {
    jobs.iter().map(|_| Err(NoAnswer)).collect()
}
