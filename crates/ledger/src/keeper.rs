//! One replica's side of the ledger that is not hot: a state machine that takes slices, renews and
//! returns them, asks the store for strict holds, calls slices back, and writes down every end.
//!
//! Events and times come in, effects go out. It is driven by one task in the product and by the
//! simulator in the proof. It may be stopped for ever between any two events.

mod asks;
mod budgets;
mod calls;
mod slices;

use crate::amount::{Amount, Charge, Measure};
use crate::budget::{Budget, Durability};
use crate::hold::{Ended, Held, Outbox, Partial, Reserved, Sure};
use crate::row::{LeaseRow, Pot, WindowRow};
use crate::slice::Slice;
use crate::step::{Command, Life, Wish};
use crate::window::WindowKey;
use crate::write::{NoAnswer, Reply};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tollkeep_types::{AccountId, BudgetId, HoldId, LeaseId, MonoNanos, ReplicaId};

/// How often a keeper looks for what is overdue in the store.
pub const SWEEP_MS: u64 = 10_000;
/// How long before a command without an answer is given again.
pub const RETRY_MS: u64 = 200;
/// How often the row of a budget is looked at while calls wait for it.
const LOOK_WAITING_MS: u64 = 100;
/// After a recall no slice is taken of a budget for this long.
const NO_SLICE_MS: u64 = 2000;
/// Asks that wait for this replica's life to begin.
const EARLY_MAX: usize = 4096;
/// How often a call under way renews its strict hold, at the latest: a shorter one when half of its
/// time is over.
const RENEW_HOLD_MS: u64 = 60_000;

/// Names one command until it is answered.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub u64);

/// A call that wants to be held.
#[derive(Clone, Debug)]
pub struct Ask {
    pub hold: HoldId,
    pub bound: Charge,
    pub budgets: SmallVec<[BudgetId; 5]>,
    /// What its upstream may ask at most, where that is another amount than the bound.
    pub owed: Option<Amount>,
    /// Whether the bound is one, or a guess for pots without a hard limit.
    pub sure: Sure,
    /// Prepaid credit that has to bear it too, and in which measure.
    pub accounts: SmallVec<[(AccountId, Measure); 1]>,
    /// Whether a durable *held* comes first, to be confirmed before anything is sent.
    pub confirm: bool,
    /// How long a hold in the store is there without being renewed: longer than the call may take.
    pub ttl_ms: u64,
}

impl Ask {
    const fn worth(&self) -> (Charge, Sure) {
        (self.bound, self.sure)
    }
}

/// What comes in.
#[expect(
    clippy::large_enum_variant,
    reason = "one is alive at a time, and none is on the path of a call"
)]
#[derive(Debug)]
pub enum Event {
    /// All budgets in force. What is missing has been ended: its slices go back, and no call has to
    /// fit it any more.
    Budgets(Vec<Budget>),
    Ask(Ask),
    /// The holder of a reserved hold wants to send.
    Confirm(Reserved),
    Ended(Arc<Ended>),
    Homeless(LeaseId, Amount),
    /// A slice was seen low.
    Low(BudgetId),
    Answer(CallId, Result<Box<Reply>, NoAnswer>),
    /// Somebody else wants the slices of this budget back.
    Recall(BudgetId),
    /// No new slices or holds; return what is free.
    Drain,
    Tick,
}

/// What goes out.
#[expect(
    clippy::large_enum_variant,
    reason = "one is alive at a time, and the large ones are not on the path of most calls"
)]
#[derive(Debug)]
pub enum Effect {
    Write {
        call: CallId,
        command: Command,
    },
    Send(Notice),
    /// Tick again at this time, at the latest.
    Wake(MonoNanos),
}

/// What somebody in this replica is told.
#[derive(Debug)]
pub enum Notice {
    Granted(Held),
    Reserved(Reserved),
    Refused {
        hold: HoldId,
        why: Refused,
    },
    /// The store gave no slice back, or calls were found that nobody wrote down.
    LeaseLost {
        lease: LeaseId,
        key: WindowKey,
        rest: Amount,
    },
    Threshold {
        key: WindowKey,
        percent: u8,
        /// The window as it was last seen.
        row: Box<WindowRow>,
    },
    /// More was billed than the bound: the excess is nobody's, and the model is to be quarantined.
    /// Beyond a guess, it is charged.
    Overrun {
        hold: HoldId,
        sure: Sure,
    },
    /// The store and the core disagree, which is a fault of ours.
    Broken {
        hold: Option<HoldId>,
    },
}

/// Why there is no hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It does not fit; so much is left, as far as anybody knows.
    Short(Pot, Amount),
    /// It was ended by its time before it was confirmed.
    TooLate,
    /// The gateway is ending, or the budget is not there; too many wait for it to begin.
    Closed,
}

/// A lease in the keeper's hands.
#[derive(Debug)]
struct Desk {
    slice: Arc<Slice>,
    row: LeaseRow,
    closing: bool,
    to_return: Amount,
    busy: bool,
    renew_at: MonoNanos,
    filled_at: MonoNanos,
    filled: Amount,
    still: (Amount, MonoNanos),
}

/// A budget as the keeper knows it.
#[derive(Debug)]
struct Book {
    budget: Budget,
    present: Option<(WindowKey, WindowRow)>,
    current: Option<LeaseId>,
    /// The lease that is being taken.
    awaited: Option<LeaseId>,
    taking: bool,
    looking: bool,
    wants_look: bool,
    look_at: MonoNanos,
    bound_seen: Amount,
    tight: bool,
    recall_seen: u32,
    quiet_until: MonoNanos,
    no_slice_until: MonoNanos,
    told: BTreeSet<(WindowKey, u8)>,
}

#[derive(Debug)]
struct Asking {
    ask: Ask,
    partial: Partial,
    wishes: SmallVec<[Wish; 4]>,
    recalled: SmallVec<[BudgetId; 2]>,
    /// The store did not know a budget of it.
    was_absent: bool,
}

/// One that waits for room in a budget, until then at most.
#[derive(Debug)]
struct Waiting {
    asking: Asking,
    budget: BudgetId,
    until: MonoNanos,
}

#[derive(Debug)]
struct Strict {
    version: u32,
    ttl_ms: u64,
    renew_at: MonoNanos,
    busy: bool,
    ended: Option<Arc<Ended>>,
    confirm: Option<Reserved>,
}

#[derive(Debug)]
struct Call {
    command: Command,
    /// When it was given first: whatever the store wrote, it was not earlier.
    asked_at: MonoNanos,
    /// Where it stands among those to be given again.
    retry_at: Option<MonoNanos>,
    tries: u32,
}

/// The keeper of one replica, in one life.
#[derive(Debug)]
pub struct Keeper {
    replica: ReplicaId,
    boot: u64,
    joining: bool,
    life: Option<Life>,
    outbox: Arc<dyn Outbox>,
    books: BTreeMap<BudgetId, Book>,
    /// Budgets that were ended lately, and until when calls may still name them.
    gone: BTreeMap<BudgetId, MonoNanos>,
    slices_version: u64,
    desks: BTreeMap<LeaseId, Desk>,
    /// Those that came before this life had begun.
    early: Vec<Ask>,
    /// Those that the store was asked about.
    asks: BTreeMap<HoldId, Asking>,
    waiting: BTreeMap<HoldId, Waiting>,
    strict: BTreeMap<HoldId, Strict>,
    /// No strict hold is to be renewed earlier.
    strict_from: MonoNanos,
    calls: BTreeMap<CallId, Call>,
    /// Those that got no answer, by when they are given again.
    retries: BTreeSet<(MonoNanos, CallId)>,
    next_call: u64,
    next_lease: u32,
    sweep_at: MonoNanos,
    told_wake: MonoNanos,
    draining: bool,
}

/// The surroundings of one event.
struct At<'a> {
    now: MonoNanos,
    out: &'a mut Vec<Effect>,
}

impl At<'_> {
    const fn after(&self, ms: u64) -> MonoNanos {
        MonoNanos(self.now.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    fn send(&mut self, notice: Notice) {
        self.out.push(Effect::Send(notice));
    }
}

impl Keeper {
    /// A keeper that has not begun: its first tick asks the store for its epoch. `boot` is a number
    /// that no other process of this replica has.
    pub fn new(
        replica: ReplicaId,
        boot: u64,
        outbox: Arc<dyn Outbox>,
        budgets: Vec<Budget>,
    ) -> Self {
        let mut keeper = Self {
            replica,
            boot,
            joining: false,
            life: None,
            outbox,
            books: BTreeMap::new(),
            gone: BTreeMap::new(),
            slices_version: 0,
            desks: BTreeMap::new(),
            early: Vec::new(),
            asks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            strict: BTreeMap::new(),
            strict_from: MonoNanos(u64::MAX),
            calls: BTreeMap::new(),
            retries: BTreeSet::new(),
            next_call: 0,
            next_lease: 0,
            sweep_at: MonoNanos(0),
            told_wake: MonoNanos(0),
            draining: false,
        };
        for budget in budgets {
            keeper.books.insert(budget.id, Book::new(budget));
        }
        keeper
    }

    /// One event, at this time of a clock that also runs while the machine sleeps.
    pub fn handle(&mut self, event: Event, now: MonoNanos, out: &mut Vec<Effect>) {
        // A tick uses up the wake that brought it.
        let is_tick = matches!(event, Event::Tick);
        self.take(event, now, out);
        self.tell_wake(is_tick, now, out);
    }

    /// One of several events, after the last of which comes [`Self::taken`].
    pub fn take(&mut self, event: Event, now: MonoNanos, out: &mut Vec<Effect>) {
        let at = &mut At { now, out };
        match event {
            Event::Budgets(budgets) => self.set_budgets(budgets, at),
            Event::Ask(ask) => self.ask(ask, at),
            Event::Confirm(reserved) => self.confirm(reserved, at),
            Event::Ended(ended) => self.ended(ended, at),
            Event::Homeless(lease, amount) => self.homeless(lease, amount, at),
            Event::Low(budget) => self.consider_slice(budget, at),
            Event::Answer(call, answer) => self.answered(call, answer, at),
            Event::Recall(budget) => self.close_current(budget, at),
            Event::Drain => self.drain(at),
            Event::Tick => self.tick(at),
        }
    }

    /// When to wake after the events that were taken: it looks at every budget.
    pub fn taken(&mut self, now: MonoNanos, out: &mut Vec<Effect>) {
        self.tell_wake(false, now, out);
    }

    fn tell_wake(&mut self, anyway: bool, now: MonoNanos, out: &mut Vec<Effect>) {
        self.mark_looks(now);
        let wake = self.next_wake(now);
        if wake != self.told_wake || anyway {
            self.told_wake = wake;
            out.push(Effect::Wake(wake));
        }
    }

    /// The slice in hand of a budget, for the hot path.
    pub fn slice(&self, budget: BudgetId) -> Option<&Arc<Slice>> {
        let lease = self.books.get(&budget)?.current?;
        self.desks.get(&lease).map(|desk| &desk.slice)
    }

    /// Another number after each event that changed what [`Self::slice`] says of any budget.
    pub const fn slices_version(&self) -> u64 {
        self.slices_version
    }

    /// Whether everything it began is written down and all leases are returned: after a drain it
    /// may end.
    pub fn is_resting(&self) -> bool {
        let sweeping = |call: &Call| matches!(call.command, Command::Due);
        self.desks.is_empty()
            && self.early.is_empty()
            && self.asks.is_empty()
            && self.waiting.is_empty()
            && self.strict.is_empty()
            && self.calls.values().all(sweeping)
    }

    /// Begins a life, or if somebody else began one in this replica's name, another.
    fn join(&mut self, at: &mut At<'_>) {
        if !self.joining {
            self.joining = true;
            let (replica, boot) = (self.replica, self.boot);
            self.call(Command::Join { replica, boot }, at);
        }
    }

    fn drain(&mut self, at: &mut At<'_>) {
        self.draining = true;
        for ask in std::mem::take(&mut self.early) {
            self.ask(ask, at);
        }
        let budgets: Vec<_> = self.books.keys().copied().collect();
        for budget in budgets {
            self.close_current(budget, at);
        }
    }

    fn tick(&mut self, at: &mut At<'_>) {
        if self.life.is_none() {
            self.join(at);
        }
        self.retry_calls(at);
        if self.life.is_some() {
            self.tick_leases(at);
            self.tick_books(at);
            self.tick_strict(at);
            self.tick_asks(at);
            self.gone.retain(|_, until| at.now < *until);
            if at.now >= self.sweep_at {
                self.sweep_at = at.after(SWEEP_MS);
                self.call(Command::Due, at);
            }
        }
    }

    /// When the next tick is due, with nothing else happening. It comes after nearly every event, so it
    /// looks at nothing of which there is one for each running call.
    fn next_wake(&self, now: MonoNanos) -> MonoNanos {
        let mut next = if self.life.is_some() {
            self.sweep_at
        } else {
            MonoNanos(now.0.saturating_add(SWEEP_MS * 1_000_000))
        };
        let calls = self.retries.first().map(|(at, _)| *at);
        let asks = self.waiting.values().map(|waiting| waiting.until);
        let desks = self.desks.values().filter(|desk| !desk.busy);
        let books = self
            .books
            .values()
            .filter(|book| !book.looking && book.wants_look);
        let times = asks
            .chain(calls)
            .chain([self.strict_from])
            .chain(desks.map(|desk| desk.renew_at))
            .chain(books.map(|book| book.look_at));
        for time in times {
            next = next.min(time);
        }
        // A time that is over has been dealt with, or waits for an answer.
        next.max(MonoNanos(now.0.saturating_add(1_000_000)))
    }

    fn tick_books(&mut self, at: &mut At<'_>) {
        self.mark_looks(at.now);
        let mut looks = Vec::new();
        for (id, book) in &mut self.books {
            if book.wants_look && !book.looking && at.now >= book.look_at {
                book.looking = true;
                looks.push(*id);
            }
        }
        for budget in looks {
            self.call(Command::Look(budget), at);
        }
    }

    /// Rows are looked at while there is a slice of the budget in hand, and more often while calls
    /// wait for it.
    fn mark_looks(&mut self, now: MonoNanos) {
        for book in self.books.values_mut() {
            book.wants_look = book.current.is_some();
        }
        let soon = MonoNanos(now.0.saturating_add(LOOK_WAITING_MS * 1_000_000));
        for waiting in self.waiting.values() {
            if let Some(book) = self.books.get_mut(&waiting.budget) {
                book.wants_look = true;
                book.look_at = book.look_at.min(soon);
            }
        }
    }
}

impl Book {
    const fn new(budget: Budget) -> Self {
        Self {
            budget,
            present: None,
            current: None,
            awaited: None,
            taking: false,
            looking: false,
            wants_look: false,
            look_at: MonoNanos(0),
            bound_seen: Amount::ZERO,
            tight: false,
            recall_seen: 0,
            quiet_until: MonoNanos(0),
            no_slice_until: MonoNanos(0),
            told: BTreeSet::new(),
        }
    }

    const fn measure(&self) -> Measure {
        self.budget.measure
    }

    const fn leases(&self) -> bool {
        matches!(self.budget.durability, Durability::Lease)
    }
}
