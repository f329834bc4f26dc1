//! Commands and their answers: each is given until there is an answer, and each may be given twice.

use super::{At, Call, CallId, Keeper, Notice, RETRY_MS};
use crate::lease::{LOOK_MS, TTL_MS};
use crate::row::{HoldState, LeaseState, WindowRow};
use crate::step::{Command, Life};
use crate::window::WindowKey;
use crate::write::{NoAnswer, Refusal, Reply};
use tollkeep_types::HoldId;

impl Keeper {
    pub(super) fn call(&mut self, command: Command, at: &mut At<'_>) {
        self.next_call = self.next_call.wrapping_add(1);
        let call = CallId(self.next_call);
        at.out.push(super::Effect::Write {
            call,
            command: command.clone(),
        });
        self.calls.insert(
            call,
            Call {
                command,
                asked_at: at.now,
                retry_at: None,
                tries: 1,
            },
        );
    }

    pub(super) fn retry_calls(&mut self, at: &mut At<'_>) {
        while let Some((due, id)) = self.retries.first().copied()
            && at.now >= due
        {
            self.retries.pop_first();
            let Some(call) = self.calls.get_mut(&id) else {
                continue;
            };
            call.retry_at = None;
            call.tries = call.tries.saturating_add(1);
            at.out.push(super::Effect::Write {
                call: id,
                command: call.command.clone(),
            });
        }
    }

    pub(super) fn answered(
        &mut self,
        id: CallId,
        answer: Result<Box<Reply>, NoAnswer>,
        at: &mut At<'_>,
    ) {
        let Ok(reply) = answer else {
            // What was given twice may fail twice, and is given again once.
            if let Some(call) = self.calls.get_mut(&id)
                && call.retry_at.is_none()
            {
                let due = at.after(RETRY_MS);
                call.retry_at = Some(due);
                self.retries.insert((due, id));
            }
            return;
        };
        // A second answer to a command that was given twice says nothing new.
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.learn(&reply, at);
        self.conclude(&call, &reply, at);
    }

    fn conclude(&mut self, call: &Call, reply: &Reply, at: &mut At<'_>) {
        match &call.command {
            Command::Join { replica, .. } => {
                self.joining = false;
                self.life = Some(Life {
                    replica: *replica,
                    epoch: reply.epoch,
                });
                for ask in std::mem::take(&mut self.early) {
                    self.ask(ask, at);
                }
            }
            Command::Look(budget) => {
                if let Some(book) = self.books.get_mut(budget) {
                    book.looking = false;
                    book.look_at = at.after(LOOK_MS);
                }
            }
            Command::Take { budget, lease, .. } => {
                self.took((*budget, *lease), call.asked_at, reply, at);
            }
            Command::Refill { lease, amount } => self.refilled(lease, *amount, reply, at),
            Command::Renew(lease) => self.renewed(lease, call.asked_at, reply, at),
            Command::Return { lease, amount } => self.returned(lease, *amount, reply, at),
            Command::Grant(grant) => self.granted(grant.hold, call.tries, reply, at),
            Command::Confirm { hold, version } => self.confirmed(*hold, *version, reply, at),
            Command::RenewHold { hold, version, .. } => {
                self.hold_renewed(*hold, *version, reply, at);
            }
            Command::End { ended, .. } => end_written(ended.hold, reply, at),
            Command::Bury { .. } => self.buried(reply, at),
            Command::Due => self.sweep(reply, at),
            Command::Warn { key, percent } => {
                let book = self.books.get(&key.budget);
                let present = book.and_then(|book| book.present.as_ref());
                let shown = reply.windows.iter().find(|(of, _)| of == key);
                let row = shown.or(present.filter(|(of, _)| of == key));
                if let (None, Some((_, row))) = (reply.refusal, row) {
                    at.send(Notice::Threshold {
                        key: *key,
                        percent: *percent,
                        row: Box::new(row.clone()),
                    });
                }
            }
            // Told by whoever found it, whose slice it may have been.
            Command::Lose(lease) if reply.refusal.is_none() => at.send(Notice::LeaseLost {
                lease: lease.id,
                key: lease.key,
                rest: lease.rest(),
            }),
            Command::Expire(_)
            | Command::Lose(_)
            | Command::Resolve { .. }
            | Command::Correct { .. }
            | Command::Recall(_)
            | Command::Limit { .. }
            | Command::Transfer { .. }
            | Command::Refund { .. } => {}
        }
    }

    /// What every answer shows of rows, whatever was asked.
    fn learn(&mut self, reply: &Reply, at: &mut At<'_>) {
        for row in &reply.leases {
            if let Some(desk) = self.desks.get_mut(&row.id)
                && desk.row.version <= row.version
            {
                desk.row = row.clone();
            }
            // What was out of one that closes has come to its end.
            if row.state == LeaseState::Active && row.rest().is_zero() {
                self.push_return(row.id, at);
            }
            if row.state == LeaseState::Lost {
                self.lease_lost(row, at);
            }
        }
        for (key, row) in &reply.windows {
            self.learn_window(*key, row, at);
        }
    }

    fn learn_window(&mut self, key: WindowKey, row: &WindowRow, at: &mut At<'_>) {
        self.warn(key, row, at);
        let Some(book) = self.books.get_mut(&key.budget) else {
            return;
        };
        let newer = book.present.as_ref().is_none_or(|(known, had)| {
            key.start > known.start || (key == *known && row.version >= had.version)
        });
        if newer {
            book.present = Some((key, row.clone()));
            self.judge_slice(key.budget, at);
            self.wake_asks(key.budget, at);
        }
    }

    fn warn(&mut self, key: WindowKey, row: &WindowRow, at: &mut At<'_>) {
        let Some(book) = self.books.get_mut(&key.budget) else {
            return;
        };
        let mut due = Vec::new();
        for percent in &book.budget.warn {
            // Marked as told at once, so that it is asked for once.
            if row.has_reached(*percent) && book.told.insert((key, *percent)) {
                due.push(*percent);
            }
        }
        for percent in due {
            self.call(Command::Warn { key, percent }, at);
        }
    }

    fn sweep(&mut self, reply: &Reply, at: &mut At<'_>) {
        for hold in &reply.due_holds {
            self.call(Command::Expire(Box::new(hold.clone())), at);
        }
        for lease in &reply.due_leases {
            let ours = self
                .life
                .is_some_and(|life| life.replica == lease.replica && life.epoch == lease.epoch);
            if ours && !self.desks.contains_key(&lease.id) && !self.is_taking(lease.id) {
                // Taken by a command that was thought refused.
                self.return_untouched(lease, at);
            } else {
                self.call(Command::Lose(Box::new(lease.clone())), at);
            }
        }
    }

    /// A refused grant may still be done by an earlier giving of it; that one is released.
    fn buried(&mut self, reply: &Reply, at: &mut At<'_>) {
        let Some(row) = reply.hold.as_deref() else {
            return;
        };
        if reply.refusal == Some(Refusal::Repeat)
            && matches!(row.state, HoldState::Held | HoldState::Committed)
        {
            self.release_orphan(row, at);
        }
    }

    pub(super) const fn ttl_ns() -> u64 {
        TTL_MS * 1_000_000
    }
}

/// An end that is neither written nor was before is a fault of ours.
fn end_written(hold: HoldId, reply: &Reply, at: &mut At<'_>) {
    let done = match reply.refusal {
        None | Some(Refusal::Repeat) => true,
        // Done by an earlier giving of the same command.
        Some(Refusal::Moved) => reply
            .hold
            .as_ref()
            .is_some_and(|row| row.state.is_terminal()),
        Some(Refusal::Short(_) | Refusal::NotDue | Refusal::Absent | Refusal::Broken) => false,
    };
    if !done {
        at.send(Notice::Broken { hold: Some(hold) });
    }
}
