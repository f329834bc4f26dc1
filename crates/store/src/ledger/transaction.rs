//! One transaction of the ledger: lock, load, judge, write, commit.

use super::kept::AccountKey;
use super::load::{self, Chain};
use super::named::{self, Needs};
use super::rows::{Part, Rows};
use super::{Failure, Job, keep};
use crate::open::Inner;
use crate::query::Connection;
use std::collections::BTreeSet;
use std::sync::Arc;
use tollkeep_ledger::step::{Command, WishFrom};
use tollkeep_ledger::write::Reply;
use tollkeep_types::{AccountId, HoldId, TenantId};

/// What is believed of usage records that are to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Belief {
    /// There are none: only a command that was given before has written one. If that is wrong, the
    /// tables or a refusal show it, and all is done again with a look.
    New,
    /// They are looked for first.
    Looked,
}

/// Runs the jobs, and gives their answers once they are on disk.
pub(super) async fn run(
    inner: &Inner,
    jobs: &[Job],
    belief: Belief,
) -> Result<Vec<Reply>, Failure> {
    let mut turn = inner.database.begin_ledger().await?;
    match run_in(inner, turn.connection(), jobs, belief).await {
        Ok(replies) => {
            let _turn = turn.commit_raw().await?;
            Ok(replies)
        }
        Err(failure) => {
            turn.undo().await;
            Err(failure)
        }
    }
}

async fn run_in(
    inner: &Inner,
    connection: &mut Connection,
    jobs: &[Job],
    belief: Belief,
) -> Result<Vec<Reply>, Failure> {
    let (mut rows, mut chain) = load::begin(connection, inner.wall.now()).await?;
    load::budgets(connection, jobs, &inner.ledger.windows, &mut rows).await?;
    let plans: Vec<_> = jobs.iter().map(|job| job.command.plan(&rows)).collect();
    let mut needs = Needs::default();
    for (job, plan) in jobs.iter().zip(&plans) {
        needs.add_named(&job.command, &rows);
        if let Ok(writes) = plan {
            needs.add_writes(writes);
        }
    }
    if belief == Belief::Looked {
        needs.usage.append(&mut needs.usage_new);
    }
    load::load(connection, &needs, &mut rows).await?;
    let parts: Vec<_> = (0..)
        .zip(jobs)
        .map(|(number, job)| part(number, job, &rows, inner.default_tenant.id))
        .collect();
    let mut accounts = BTreeSet::new();
    for (plan, part) in plans.iter().zip(&parts) {
        if let Ok(writes) = plan {
            named::accounts(writes, (part.tenant, part.provider.as_ref()), &mut accounts);
        }
    }
    load::accounts(connection, &accounts, &mut rows).await?;
    let mut replies = Vec::with_capacity(jobs.len());
    for ((job, plan), part) in jobs.iter().zip(plans).zip(&parts) {
        if matches!(job.command, Command::Due) {
            see_due(connection, jobs, &mut rows, &mut chain).await?;
        }
        let refusal = plan.and_then(|writes| rows.apply(&writes, part)).err();
        if refusal.is_some() && belief == Belief::New && writes_usage(&job.command) {
            return Err(Failure::Believed);
        }
        replies.push(rows.reply(&job.command, refusal));
    }
    keep::keep(connection, jobs, &rows, &mut chain).await?;
    for (job, hash) in chain.made {
        if let Some(reply) = replies.get_mut(job) {
            reply.entries.push(hash);
        }
    }
    Ok(replies)
}

/// Whether a step writes a usage record that may be there already.
const fn writes_usage(command: &Command) -> bool {
    matches!(command, Command::End { .. } | Command::Expire(_))
}

/// What is overdue is asked of the database, so what came before has to stand there.
async fn see_due(
    connection: &mut Connection,
    jobs: &[Job],
    rows: &mut Rows,
    chain: &mut Chain,
) -> Result<(), Failure> {
    keep::keep(connection, jobs, rows, chain).await?;
    rows.are_stored();
    load::due(connection, rows).await
}

/// Whose the rows of a job are, as far as anything tells: else the default tenant's.
fn part(number: usize, job: &Job, rows: &Rows, default: TenantId) -> Part {
    let about = job.about.as_deref();
    let granted = of_end(&job.command).and_then(|hold| rows.holds.get(&hold));
    let granted = granted.and_then(|kept| kept.about.as_deref());
    let tenant = about
        .map(|about| about.tenant)
        .or_else(|| tenant_of(&job.command, rows))
        .unwrap_or(default);
    Part {
        job: number,
        tenant,
        request: about
            .or(granted)
            .map(|about| (about.request, about.attempt)),
        provider: provider_of(job, rows),
        about: job.about.clone(),
    }
}

/// Who was called. What a call was granted for stays: what corrects its cost later is booked where its cost
/// was.
fn provider_of(job: &Job, rows: &Rows) -> Option<Arc<str>> {
    let hold = of_end(&job.command)?;
    if let Some(kept) = rows.holds.get(&hold) {
        let about = kept.about.as_ref();
        return about.map(|about| Arc::clone(&about.provider));
    }
    let ended = rows.usage.get(&hold).map(|kept| kept.provider.clone());
    let told = || (job.about.as_ref()).map(|about| Arc::clone(&about.provider));
    ended.unwrap_or_else(told)
}

/// The hold whose end a command is, or puts right.
fn of_end(command: &Command) -> Option<HoldId> {
    match command {
        Command::End { ended, .. } => Some(ended.hold),
        Command::Expire(hold) => Some(hold.id),
        Command::Correct { usage, .. } => Some(usage.hold),
        Command::Join { .. }
        | Command::Look(_)
        | Command::Take { .. }
        | Command::Refill { .. }
        | Command::Renew(_)
        | Command::Return { .. }
        | Command::Grant(_)
        | Command::Confirm { .. }
        | Command::RenewHold { .. }
        | Command::Bury { .. }
        | Command::Lose(_)
        | Command::Resolve { .. }
        | Command::Recall(_)
        | Command::Warn { .. }
        | Command::Limit { .. }
        | Command::Transfer { .. }
        | Command::Refund { .. }
        | Command::Due => None,
    }
}

fn tenant_of(command: &Command, rows: &Rows) -> Option<TenantId> {
    let mut budgets = BTreeSet::new();
    named::budgets(command, &mut budgets);
    let known = budgets.iter().find_map(|id| rows.budgets.get(id));
    if let Some(known) = known {
        return Some(known.tenant);
    }
    let of_hold = |id: &HoldId| rows.holds.get(id).map(|kept| kept.tenant);
    match command {
        Command::Confirm { hold, .. }
        | Command::RenewHold { hold, .. }
        | Command::Bury { hold, .. } => of_hold(hold),
        Command::End { ended, .. } => of_hold(&ended.hold),
        Command::Expire(hold) => of_hold(&hold.id),
        Command::Correct { usage, .. } => rows.usage.get(&usage.hold).map(|kept| kept.tenant),
        Command::Transfer { account, .. } | Command::Refund { account, .. } => {
            of_account(*account, rows)
        }
        Command::Grant(grant) => grant.wishes.iter().find_map(|wish| match wish.from {
            WishFrom::Account(account) => of_account(account, rows),
            WishFrom::Budget(_) => None,
        }),
        Command::Join { .. }
        | Command::Look(_)
        | Command::Take { .. }
        | Command::Refill { .. }
        | Command::Renew(_)
        | Command::Return { .. }
        | Command::Lose(_)
        | Command::Resolve { .. }
        | Command::Recall(_)
        | Command::Warn { .. }
        | Command::Limit { .. }
        | Command::Due => None,
    }
}

fn of_account(account: AccountId, rows: &Rows) -> Option<TenantId> {
    let key = AccountKey::credit(account);
    rows.balances.get(&key).map(|balance| balance.tenant)
}
