//! Calls that the slices in hand can't bear: strict holds in the store, and calling slices back
//! before anybody is refused.

use super::{
    Ask, Asking, At, EARLY_MAX, Keeper, NO_SLICE_MS, Notice, RENEW_HOLD_MS, Refused, Strict,
    Waiting,
};
use crate::amount::{Amount, Charge};
use crate::hold::{Ended, NotBilled, Outcome, Partial, Reserved, Sure};
use crate::lease::{RECALL_QUIET_MS, RECALL_WAIT_MS, WAITING_MAX};
use crate::row::{HoldRow, HoldState, Pot};
use crate::step::{Command, Grant, Wish, WishFrom};
use crate::write::{Refusal, Reply};
use smallvec::SmallVec;
use std::sync::Arc;
use tollkeep_types::{BudgetId, HoldId, MonoNanos};

impl Keeper {
    pub(super) fn ask(&mut self, mut ask: Ask, at: &mut At<'_>) {
        ask.budgets.sort_unstable();
        ask.budgets.dedup();
        let known = |id: &BudgetId| self.books.contains_key(id) || self.gone.contains_key(id);
        let known = ask.budgets.iter().all(known);
        let has_begun = self.life.is_some();
        let is_early = !has_begun && self.early.len() < EARLY_MAX;
        if self.draining || !known || !(has_begun || is_early) {
            at.send(Notice::Refused {
                hold: ask.hold,
                why: Refused::Closed,
            });
            return;
        }
        if is_early {
            return self.early.push(ask);
        }
        let asking = Asking {
            ask,
            partial: Partial::default(),
            wishes: SmallVec::new(),
            recalled: SmallVec::new(),
            was_absent: false,
        };
        self.attempt(asking, at);
    }

    /// Takes what slices have, and asks the store for the rest: all pots, or none.
    fn attempt(&mut self, mut asking: Asking, at: &mut At<'_>) {
        let Some(life) = self.life else {
            return;
        };
        let mut wanted: SmallVec<[BudgetId; 4]> = SmallVec::new();
        asking.wishes.clear();
        for budget in asking.ask.budgets.clone() {
            // One that was ended meanwhile need not be fitted.
            let Some(book) = self.books.get_mut(&budget) else {
                continue;
            };
            let amount = asking.ask.bound.of(book.budget.measure);
            book.bound_seen = amount;
            let measure = book.budget.measure;
            if let Some(slice) = self.slice(budget)
                && asking.partial.add(amount, slice, at.now)
            {
                continue;
            }
            wanted.push(budget);
            asking.wishes.push(Wish {
                from: WishFrom::Budget(budget),
                measure,
                amount,
            });
        }
        for (account, measure) in &asking.ask.accounts {
            asking.wishes.push(Wish {
                from: WishFrom::Account(*account),
                measure: *measure,
                amount: asking.ask.bound.of(*measure),
            });
        }
        if asking.wishes.is_empty() {
            self.grant_from_slices(asking, at);
            return;
        }
        let grant = Grant {
            hold: asking.ask.hold,
            life,
            bound: asking.ask.bound,
            owed: asking.ask.owed,
            wishes: asking.wishes.clone(),
            state: if asking.ask.confirm {
                HoldState::Held
            } else {
                HoldState::Committed
            },
            ttl_ms: asking.ask.ttl_ms,
        };
        self.asks.insert(asking.ask.hold, asking);
        self.call(Command::Grant(Box::new(grant)), at);
        for budget in wanted {
            self.consider_slice(budget, at);
        }
    }

    fn grant_from_slices(&self, asking: Asking, at: &mut At<'_>) {
        let (hold, bound) = (asking.ask.hold, asking.ask.worth());
        let none = SmallVec::new();
        let held = asking.partial.held(hold, bound, none, &self.outbox);
        at.send(Notice::Granted(held.owing(asking.ask.owed)));
    }

    pub(super) fn granted(&mut self, hold: HoldId, tries: u32, reply: &Reply, at: &mut At<'_>) {
        let Some(asking) = self.asks.remove(&hold) else {
            return;
        };
        let row = reply.hold.as_deref();
        match (reply.refusal, row) {
            (None | Some(Refusal::Repeat), Some(row)) if !row.state.is_terminal() => {
                self.hold_is_there(asking, row, at);
            }
            (Some(Refusal::Short(pot)), _) => self.short(asking, pot, tries, at),
            (Some(Refusal::Absent), _) => self.absent(asking, tries, at),
            _ => self.refuse(asking, Refused::TooLate, at),
        }
    }

    fn hold_is_there(&mut self, asking: Asking, row: &HoldRow, at: &mut At<'_>) {
        let mut strict = Strict {
            version: row.version,
            ttl_ms: asking.ask.ttl_ms,
            renew_at: at.now,
            busy: false,
            ended: None,
            confirm: None,
        };
        strict.renew_at = strict.renewal(at);
        self.strict_from = self.strict_from.min(strict.renew_at);
        self.strict.insert(row.id, strict);
        let (bound, covers) = (asking.ask.worth(), row.covers.clone());
        let owed = asking.ask.owed;
        if row.state == HoldState::Held {
            let hold = asking.partial.reserved(row.id, bound, covers, &self.outbox);
            at.send(Notice::Reserved(hold.owing(owed)));
        } else {
            let hold = asking.partial.held(row.id, bound, covers, &self.outbox);
            at.send(Notice::Granted(hold.owing(owed)));
        }
    }

    /// A pot is short. While others have slices of it, these are called back, once.
    fn short(&mut self, mut asking: Asking, pot: Pot, tries: u32, at: &mut At<'_>) {
        let left = self.left_of(pot);
        if tries > 1 {
            self.bury(asking, Refused::Short(pot, left), at);
            return;
        }
        let Pot::Window(key) = pot else {
            self.refuse(asking, Refused::Short(pot, left), at);
            return;
        };
        self.undo(&mut asking, at);
        let waiting = self
            .waiting
            .values()
            .filter(|other| other.budget == key.budget);
        let room = waiting.count() < WAITING_MAX;
        let Some(book) = self.books.get_mut(&key.budget) else {
            self.attempt(asking, at);
            return;
        };
        let leased = book
            .present
            .as_ref()
            .is_some_and(|(present, row)| *present == key && !row.leased.is_zero());
        let again = asking.recalled.contains(&key.budget);
        if again {
            book.quiet_until = at.after(RECALL_QUIET_MS);
        }
        if !leased || again || !room || at.now < book.quiet_until {
            self.refuse(asking, Refused::Short(pot, left), at);
            return;
        }
        book.no_slice_until = at.after(NO_SLICE_MS);
        asking.recalled.push(key.budget);
        self.wait(asking, key.budget, at);
        self.close_current(key.budget, at);
        self.call(Command::Recall(key), at);
    }

    fn wait(&mut self, asking: Asking, budget: BudgetId, at: &At<'_>) {
        let (hold, until) = (asking.ask.hold, at.after(RECALL_WAIT_MS));
        let waiting = Waiting {
            asking,
            budget,
            until,
        };
        self.waiting.insert(hold, waiting);
    }

    /// What the last answer showed to be left of a budget, all of it where nothing was ever taken: a
    /// smaller call may fit.
    fn left_of(&self, pot: Pot) -> Amount {
        let Pot::Window(key) = pot else {
            return Amount::ZERO;
        };
        let Some(book) = self.books.get(&key.budget) else {
            return Amount::ZERO;
        };
        let shown = book.present.as_ref().filter(|(of, _)| *of == key);
        shown.map_or(book.budget.limit, |(_, row)| row.left())
    }

    /// A budget has been ended in the store, of which this replica is about to hear.
    fn absent(&mut self, mut asking: Asking, tries: u32, at: &mut At<'_>) {
        if tries > 1 {
            self.bury(asking, Refused::Closed, at);
            return;
        }
        self.undo(&mut asking, at);
        let named = &asking.ask.budgets;
        let has_gone = named.iter().any(|id| !self.books.contains_key(id));
        match named.first().copied() {
            Some(first) if !asking.was_absent => {
                asking.was_absent = true;
                if has_gone {
                    self.attempt(asking, at);
                } else {
                    self.wait(asking, first, at);
                }
            }
            Some(_) | None => self.refuse(asking, Refused::Closed, at),
        }
    }

    /// Refuses what was asked for more than once: an earlier giving may yet be done. A new hold is
    /// asked for under another id only by the caller, so this one ends here.
    fn bury(&mut self, asking: Asking, why: Refused, at: &mut At<'_>) {
        if let Some(life) = self.life {
            let hold = asking.ask.hold;
            self.call(Command::Bury { hold, life }, at);
        }
        self.refuse(asking, why, at);
    }

    fn undo(&mut self, asking: &mut Asking, at: &mut At<'_>) {
        let partial = std::mem::take(&mut asking.partial);
        for (lease, amount) in partial.undo() {
            self.homeless(lease, amount, at);
        }
    }

    fn refuse(&mut self, mut asking: Asking, why: Refused, at: &mut At<'_>) {
        self.undo(&mut asking, at);
        at.send(Notice::Refused {
            hold: asking.ask.hold,
            why,
        });
    }

    /// Whoever waits for this budget tries again when it has room, before its time if need be.
    pub(super) fn wake_asks(&mut self, budget: BudgetId, at: &mut At<'_>) {
        let Some(book) = self.books.get(&budget) else {
            return;
        };
        let Some((_, row)) = book.present.as_ref() else {
            return;
        };
        let (left, measure) = (row.left(), book.measure());
        let ready = |waiting: &Waiting| {
            waiting.budget == budget && waiting.asking.ask.bound.of(measure) <= left
        };
        self.retry_asks(&ready, at);
    }

    pub(super) fn tick_asks(&mut self, at: &mut At<'_>) {
        let now = at.now;
        let late = move |waiting: &Waiting| now >= waiting.until;
        self.retry_asks(&late, at);
    }

    pub(super) fn retry_asks(&mut self, which: &dyn Fn(&Waiting) -> bool, at: &mut At<'_>) {
        let ready = self.waiting.extract_if(.., |_, waiting| which(waiting));
        let ready: Vec<_> = ready.map(|(_, waiting)| waiting.asking).collect();
        for asking in ready {
            self.attempt(asking, at);
        }
    }

    pub(super) fn confirm(&mut self, reserved: Reserved, at: &mut At<'_>) {
        let Some(hold) = reserved.id() else {
            return;
        };
        let Some(strict) = self.strict.get_mut(&hold) else {
            return;
        };
        strict.confirm = Some(reserved);
        self.push_confirm(hold, at);
    }

    fn push_confirm(&mut self, hold: HoldId, at: &mut At<'_>) {
        let Some(strict) = self.strict.get_mut(&hold) else {
            return;
        };
        if strict.busy || strict.confirm.is_none() {
            return;
        }
        strict.busy = true;
        let version = strict.version;
        self.call(Command::Confirm { hold, version }, at);
    }

    pub(super) fn confirmed(&mut self, hold: HoldId, version: u32, reply: &Reply, at: &mut At<'_>) {
        let Some(strict) = self.strict.get_mut(&hold) else {
            return;
        };
        strict.busy = false;
        self.strict_from = self.strict_from.min(strict.renew_at);
        let next = version.wrapping_add(1);
        let row = reply.hold.as_deref();
        let committed =
            row.is_some_and(|row| row.state == HoldState::Committed && row.version == next);
        let reserved = strict.confirm.take();
        if committed {
            strict.version = next;
            if let Some(reserved) = reserved {
                at.send(Notice::Granted(reserved.confirmed()));
            }
        } else {
            at.send(Notice::Refused {
                hold,
                why: Refused::TooLate,
            });
        }
        self.push_end(hold, at);
    }

    pub(super) fn hold_renewed(
        &mut self,
        hold: HoldId,
        version: u32,
        reply: &Reply,
        at: &mut At<'_>,
    ) {
        let Some(strict) = self.strict.get_mut(&hold) else {
            return;
        };
        strict.busy = false;
        strict.renew_at = strict.renewal(at);
        self.strict_from = self.strict_from.min(strict.renew_at);
        let next = version.wrapping_add(1);
        let row = reply.hold.as_deref();
        strict.version = match row {
            // Its end by time counted the version on once more.
            Some(row) if row.state.is_terminal() => row.version.wrapping_sub(1),
            Some(row) => row.version,
            None if reply.refusal.is_none() => next,
            None => version,
        };
        self.push_confirm(hold, at);
        self.push_end(hold, at);
    }

    pub(super) fn ended(&mut self, ended: Arc<Ended>, at: &mut At<'_>) {
        if ended.is_overrun() {
            let (hold, sure) = (ended.hold, ended.sure);
            at.send(Notice::Overrun { hold, sure });
        }
        for cover in &ended.slices {
            if !cover.homeless.is_zero() {
                self.homeless(cover.lease, cover.homeless, at);
            }
        }
        let hold = ended.hold;
        match self.strict.get_mut(&hold) {
            Some(strict) => {
                strict.ended = Some(ended);
                self.push_end(hold, at);
            }
            None => self.write_end(ended, 0, at),
        }
    }

    fn push_end(&mut self, hold: HoldId, at: &mut At<'_>) {
        let ready = self
            .strict
            .get(&hold)
            .is_some_and(|strict| !strict.busy && strict.ended.is_some());
        if ready
            && let Some(strict) = self.strict.remove(&hold)
            && let Some(ended) = strict.ended
        {
            self.write_end(ended, strict.version, at);
        }
    }

    fn write_end(&mut self, ended: Arc<Ended>, version: u32, at: &mut At<'_>) {
        self.call(Command::End { ended, version }, at);
    }

    /// A hold in the store that nobody here has: nothing was sent under it.
    pub(super) fn release_orphan(&mut self, row: &HoldRow, at: &mut At<'_>) {
        let ended = Ended {
            hold: row.id,
            bound: Charge::NOTHING,
            sure: Sure::Bound,
            outcome: Outcome::Released(NotBilled::NotSent),
            owed: None,
            slices: SmallVec::new(),
            strict: row.covers.clone(),
        };
        self.write_end(Arc::new(ended), row.version, at);
    }

    /// A call that still runs keeps its hold from being ended by time.
    pub(super) fn tick_strict(&mut self, at: &mut At<'_>) {
        if at.now < self.strict_from {
            return;
        }
        self.strict_from = MonoNanos(u64::MAX);
        let mut renewals = Vec::new();
        for (hold, strict) in &mut self.strict {
            if strict.busy {
                continue;
            }
            if at.now >= strict.renew_at {
                strict.busy = true;
                renewals.push((*hold, strict.version, strict.ttl_ms));
            } else {
                self.strict_from = self.strict_from.min(strict.renew_at);
            }
        }
        for (hold, version, ttl_ms) in renewals {
            let renew = Command::RenewHold {
                hold,
                version,
                ttl_ms,
            };
            self.call(renew, at);
        }
    }
}

impl Strict {
    /// When it is renewed next.
    const fn renewal(&self, at: &At<'_>) -> MonoNanos {
        let half = self.ttl_ms / 2;
        at.after(if half < RENEW_HOLD_MS {
            half
        } else {
            RENEW_HOLD_MS
        })
    }
}
