//! Slices: taken when wanted, refilled at half, renewed, and returned when called back, idle, over
//! or too dear for what is left.

use super::{At, Book, Desk, Keeper, NO_SLICE_MS, RETRY_MS};
use crate::amount::Amount;
use crate::lease::{self, IDLE_MS, RENEW_AFTER_MS};
use crate::row::{LeaseRow, LeaseState};
use crate::slice::{Slice, Taken};
use crate::step::{Command, LeaseRef};
use crate::window::{Window, WindowKey};
use crate::write::{Refusal, Reply};
use std::sync::Arc;
use tollkeep_types::{BudgetId, LeaseId, MonoNanos};

impl Keeper {
    /// Asks for a slice, or for more of one, if that is worth it.
    pub(super) fn consider_slice(&mut self, budget: BudgetId, at: &mut At<'_>) {
        let (Some(life), false) = (self.life, self.draining) else {
            return;
        };
        let Some(amount) = self.slice_wanted(budget, at) else {
            return;
        };
        let current = self.books.get(&budget).and_then(|book| book.current);
        let mut awaited = None;
        let command = match current.and_then(|id| self.desks.get_mut(&id)) {
            Some(desk) if desk.busy || desk.closing => return,
            Some(desk) => {
                desk.busy = true;
                Command::Refill {
                    lease: desk.reference(),
                    amount,
                }
            }
            None => {
                let lease = self.fresh_lease(life.epoch);
                awaited = Some(lease);
                Command::Take {
                    lease,
                    budget,
                    life,
                    amount,
                }
            }
        };
        if let Some(book) = self.books.get_mut(&budget) {
            book.awaited = awaited;
            book.taking = true;
        }
        self.call(command, at);
    }

    fn slice_wanted(&self, budget: BudgetId, at: &At<'_>) -> Option<Amount> {
        let book = self.books.get(&budget)?;
        if !book.leases() || book.taking || book.tight || at.now < book.no_slice_until {
            return None;
        }
        let (_, row) = book.present.as_ref()?;
        let lately = self.lately(book, at.now);
        lease::size(book.measure(), row.left(), book.bound_seen, lately)
    }

    /// What was granted from the slice in the last two seconds, going by how fast it went.
    fn lately(&self, book: &Book, now: MonoNanos) -> Amount {
        let Some(desk) = book.current.and_then(|id| self.desks.get(&id)) else {
            return Amount::ZERO;
        };
        let gone = i128::from(desk.filled.above(desk.slice.free()).units());
        let elapsed_ms = i128::from(now.since(desk.filled_at) / 1_000_000).max(1);
        let units = gone * 2000 / elapsed_ms.max(2000);
        i64::try_from(units)
            .ok()
            .and_then(Amount::new)
            .unwrap_or(Amount::ZERO)
    }

    /// An id that no other life of any replica makes.
    fn fresh_lease(&mut self, epoch: u64) -> LeaseId {
        self.next_lease = self.next_lease.wrapping_add(1);
        let mut bytes = *self.replica.bytes();
        let head = (epoch << 32) | u64::from(self.next_lease);
        for (byte, new) in bytes.iter_mut().zip(head.to_be_bytes()) {
            *byte = new;
        }
        LeaseId::from_bytes(bytes)
    }

    pub(super) fn is_taking(&self, id: LeaseId) -> bool {
        self.calls
            .values()
            .any(|call| matches!(&call.command, Command::Take { lease, .. } if *lease == id))
    }

    pub(super) fn took(
        &mut self,
        what: (BudgetId, LeaseId),
        asked_at: MonoNanos,
        reply: &Reply,
        at: &mut At<'_>,
    ) {
        let (budget, id) = what;
        let row = reply.leases.iter().find(|row| row.id == id);
        let ours = matches!(reply.refusal, None | Some(Refusal::Repeat));
        let row = row.filter(|row| ours && row.state == LeaseState::Active);
        let book = self.books.get_mut(&budget);
        let Some(book) = book.filter(|book| book.awaited == Some(id)) else {
            // The budget was ended meanwhile.
            if let Some(row) = row {
                self.return_untouched(row, at);
            }
            return;
        };
        book.awaited = None;
        book.taking = false;
        let Some(row) = row else {
            book.no_slice_until = at.after(NO_SLICE_MS);
            return;
        };
        let bucket_ms = match book.budget.window {
            Window::Rolling { bucket_ms } => Some(bucket_ms),
            Window::Calendar { .. } | Window::Lifetime => None,
        };
        let slice = Slice::new(&Taken {
            lease: id,
            epoch: row.epoch,
            key: row.key,
            measure: book.measure(),
            amount: row.amount,
            bucket_ms,
            store_at: reply.now,
            asked_at,
            ttl_ns: Self::ttl_ns(),
        });
        let desk = Desk {
            slice: Arc::new(slice),
            row: row.clone(),
            closing: false,
            to_return: Amount::ZERO,
            busy: false,
            renew_at: MonoNanos(asked_at.0.saturating_add(RENEW_AFTER_MS * 1_000_000)),
            filled_at: at.now,
            filled: row.amount,
            still: (row.amount, at.now),
        };
        book.current = Some(id);
        self.slices_version = self.slices_version.wrapping_add(1);
        self.desks.insert(id, desk);
        self.judge_slice(budget, at);
        if self.draining {
            self.close_current(budget, at);
        }
    }

    pub(super) fn refilled(
        &mut self,
        lease: &LeaseRef,
        amount: Amount,
        reply: &Reply,
        at: &mut At<'_>,
    ) {
        let done = owner_step_done(lease, reply);
        if let Some(book) = self.books.get_mut(&lease.key.budget) {
            book.taking = false;
            if !done {
                book.no_slice_until = at.after(NO_SLICE_MS);
            }
        }
        let Some(desk) = self.desks.get_mut(&lease.id) else {
            return;
        };
        desk.busy = false;
        if done {
            if desk.slice.refill(amount) {
                desk.filled_at = at.now;
                desk.filled = desk.slice.free();
            } else {
                desk.to_return = desk.to_return.plus(amount).unwrap_or(Amount::MAX);
            }
        }
        self.push_return(lease.id, at);
    }

    pub(super) fn renewed(
        &mut self,
        lease: &LeaseRef,
        asked_at: MonoNanos,
        reply: &Reply,
        at: &mut At<'_>,
    ) {
        let done = owner_step_done(lease, reply);
        let Some(desk) = self.desks.get_mut(&lease.id) else {
            return;
        };
        desk.busy = false;
        if done {
            desk.slice.renewed(reply.now, asked_at, Self::ttl_ns());
        }
        desk.renew_at = at.after(if done { RENEW_AFTER_MS } else { RETRY_MS });
        self.push_return(lease.id, at);
    }

    pub(super) fn returned(
        &mut self,
        lease: &LeaseRef,
        amount: Amount,
        reply: &Reply,
        at: &mut At<'_>,
    ) {
        let done = owner_step_done(lease, reply);
        let Some(desk) = self.desks.get_mut(&lease.id) else {
            return;
        };
        desk.busy = false;
        if !done {
            desk.to_return = desk.to_return.plus(amount).unwrap_or(Amount::MAX);
        }
        if desk.row.state == LeaseState::Active {
            self.push_return(lease.id, at);
        } else {
            self.desks.remove(&lease.id);
        }
    }

    /// Returns what waits to be returned; the last return ends the lease.
    pub(super) fn push_return(&mut self, id: LeaseId, at: &mut At<'_>) {
        let Some(desk) = self.desks.get_mut(&id) else {
            return;
        };
        let rest = desk.row.rest();
        if desk.busy || !desk.closing || (desk.to_return.is_zero() && !rest.is_zero()) {
            return;
        }
        let amount = std::mem::take(&mut desk.to_return);
        desk.busy = true;
        let command = Command::Return {
            lease: desk.reference(),
            amount,
        };
        self.call(command, at);
    }

    /// Returns a lease that nobody ever granted from.
    pub(super) fn return_untouched(&mut self, row: &LeaseRow, at: &mut At<'_>) {
        let lease = LeaseRef {
            id: row.id,
            key: row.key,
            epoch: row.epoch,
            serial: row.serial,
        };
        let amount = row.rest();
        self.call(Command::Return { lease, amount }, at);
    }

    pub(super) fn homeless(&mut self, lease: LeaseId, amount: Amount, at: &mut At<'_>) {
        if let Some(desk) = self.desks.get_mut(&lease) {
            desk.to_return = desk.to_return.plus(amount).unwrap_or(Amount::MAX);
            self.push_return(lease, at);
        }
    }

    /// Ends the slice in hand of a budget and returns what is free.
    pub(super) fn close_current(&mut self, budget: BudgetId, at: &mut At<'_>) {
        let current = self
            .books
            .get_mut(&budget)
            .and_then(|book| book.current.take());
        let Some(id) = current else {
            return;
        };
        self.slices_version = self.slices_version.wrapping_add(1);
        if let Some(desk) = self.desks.get_mut(&id) {
            desk.closing = true;
            let free = desk.slice.close();
            desk.to_return = desk.to_return.plus(free).unwrap_or(Amount::MAX);
        }
        self.push_return(id, at);
    }

    /// Looks whether a row has become one that no slice may be kept of.
    pub(super) fn judge_slice(&mut self, budget: BudgetId, at: &mut At<'_>) {
        let Some(book) = self.books.get_mut(&budget) else {
            return;
        };
        let Some((key, row)) = book.present.as_ref() else {
            return;
        };
        let tight = lease::is_tight(row.left(), book.bound_seen);
        // Once tight, a budget has to have twice the room before slices are taken again.
        let roomy = !lease::is_tight(row.left().percent(50), book.bound_seen);
        book.tight = if book.tight { !roomy } else { tight };
        let recalled = row.recall != book.recall_seen;
        book.recall_seen = row.recall;
        if recalled {
            book.no_slice_until = at.after(NO_SLICE_MS);
        }
        let over = book
            .current
            .and_then(|id| self.desks.get(&id))
            .is_some_and(|desk| desk.row.key != *key);
        if book.tight || recalled || over {
            self.close_current(budget, at);
        }
    }

    pub(super) fn lease_lost(&mut self, row: &LeaseRow, at: &mut At<'_>) {
        let Some(desk) = self.desks.remove(&row.id) else {
            return;
        };
        desk.slice.close();
        if let Some(book) = self.books.get_mut(&row.key.budget)
            && book.current == Some(row.id)
        {
            book.current = None;
            book.taking = false;
            self.slices_version = self.slices_version.wrapping_add(1);
        }
        // Perhaps since another process took our name.
        self.join(at);
    }

    pub(super) fn tick_leases(&mut self, at: &mut At<'_>) {
        let mut renewals = Vec::new();
        let mut idle: Vec<WindowKey> = Vec::new();
        for desk in self.desks.values_mut() {
            let free = desk.slice.free();
            if free != desk.still.0 {
                desk.still = (free, at.now);
            }
            let nothing_out = free == desk.row.rest();
            let still_for = at.now.since(desk.still.1);
            if !desk.closing && nothing_out && still_for >= IDLE_MS * 1_000_000 {
                idle.push(desk.row.key);
            } else if !desk.busy && at.now >= desk.renew_at {
                desk.busy = true;
                renewals.push(desk.reference());
            }
        }
        for lease in renewals {
            self.call(Command::Renew(lease), at);
        }
        for key in idle {
            self.close_current(key.budget, at);
        }
    }
}

impl Desk {
    pub(super) const fn reference(&self) -> LeaseRef {
        LeaseRef {
            id: self.row.id,
            key: self.row.key,
            epoch: self.row.epoch,
            serial: self.row.serial,
        }
    }
}

/// Whether what only the owner does was done, now or by an earlier giving of the command.
fn owner_step_done(lease: &LeaseRef, reply: &Reply) -> bool {
    reply.refusal.is_none()
        || reply
            .leases
            .iter()
            .any(|row| row.id == lease.id && row.serial == lease.serial.wrapping_add(1))
}
