//! Drives the keeper of holds, on the control runtime: hands it what workers left, gives its
//! commands to the store, many in one transaction, and shows workers the slices in hand.

use super::inbox::{Due, Message};
use super::money::{End, Money, OnMoney};
use super::take::Granted;
use super::{Holds, Left};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::hold::Outbox;
use tollkeep_ledger::keeper::{Ask, CallId, Effect, Event, Keeper, Notice, Refused};
use tollkeep_ledger::step::Command;
use tollkeep_ledger::write::{NoAnswer, Reply};
use tollkeep_observe::metrics::LedgerMeter;
use tollkeep_store::ledger::{CallRecord, Job, Ledger};
use tollkeep_types::{BudgetId, Clock, HoldId, LeaseId, MonoNanos, ReplicaId};

/// Commands in one transaction.
pub(super) const BATCH_MAX: usize = 512;
/// Ends for which nobody waits are gathered for so many times what the last transaction took, and
/// no longer than this.
const GATHER_TIMES: u32 = 3;
const GATHER_MAX: Duration = Duration::from_millis(50);
/// Holds that the store has been asked for and not answered, at most.
const ASKS_MAX: usize = 8192;
/// Records that wait for the end of their hold: as many as there are holds.
const RECORDS_MAX: usize = super::OPEN_MAX;

/// What the keeper is made of.
pub struct HoldsParts {
    /// What workers and the keeper have together.
    pub holds: Arc<Holds>,
    /// Where holds are written.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Who this is among those that share the store.
    pub replica: ReplicaId,
    /// A number that no other process of this replica has.
    pub boot: u64,
    /// The budgets in force.
    pub budgets: Vec<Budget>,
    /// How long ends wait for others to be written with.
    pub flush: Duration,
    /// Told what operators should know.
    pub on_money: OnMoney,
    /// Counts what happens.
    pub meter: LedgerMeter,
}

/// One command for the store.
struct Wanted {
    call: CallId,
    job: Job,
}

/// Who waits for a hold, and for which call.
struct Asker {
    about: Arc<CallRecord>,
    tell: oneshot::Sender<Granted>,
}

/// What the store answered to one transaction.
struct Answers {
    replies: Vec<(CallId, Result<Box<Reply>, NoAnswer>)>,
    took: Duration,
}

/// The keeper and its surroundings.
pub struct HoldsKeeper {
    keeper: Keeper,
    holds: Arc<Holds>,
    clock: Arc<dyn Clock>,
    on_money: OnMoney,
    meter: LedgerMeter,
    /// Slices that are asked for.
    takes: HashMap<CallId, (LeaseId, BudgetId, Amount)>,
    /// Who waits for the answer about which hold.
    waiting: HashMap<HoldId, Asker>,
    /// What is known of calls whose ends have not come yet.
    records: HashMap<HoldId, Arc<CallRecord>>,
    /// Ends that the store has not answered yet.
    ends: HashMap<CallId, (HoldId, End)>,
    /// Ends of holds whose time was over, and whose process may be gone.
    swept: HashMap<CallId, (HoldId, End)>,
    budgets: Vec<Arc<Budget>>,
    /// What is left of each, for those who are told.
    left: HashMap<BudgetId, Arc<Left>>,
    /// Which slices workers see.
    shown: Option<u64>,
    /// The store takes what is written, as its last answer was.
    writes: bool,
    wake: MonoNanos,
    out: Vec<Effect>,
    /// For the writer, at the end of this turn.
    wanted: Vec<Wanted>,
    to_writer: mpsc::UnboundedSender<Vec<Wanted>>,
    answers: mpsc::UnboundedReceiver<Answers>,
    flush: Duration,
    /// What the last transaction took.
    took: Duration,
    resting: Option<oneshot::Sender<()>>,
}

impl HoldsKeeper {
    /// A keeper, and the writer of its commands.
    pub fn new(parts: HoldsParts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (to_writer, wanted) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let outbox = Arc::clone(&parts.holds.outbox) as Arc<dyn Outbox>;
        let budgets: Vec<_> = parts.budgets.iter().cloned().map(Arc::new).collect();
        parts.holds.in_force().clone_from(&budgets);
        let mut this = Self {
            keeper: Keeper::new(parts.replica, parts.boot, outbox, parts.budgets),
            holds: parts.holds,
            clock: parts.clock,
            on_money: parts.on_money,
            meter: parts.meter.clone(),
            takes: HashMap::new(),
            waiting: HashMap::new(),
            records: HashMap::new(),
            ends: HashMap::new(),
            swept: HashMap::new(),
            budgets,
            left: HashMap::new(),
            shown: None,
            writes: true,
            wake: MonoNanos(0),
            out: Vec::new(),
            wanted: Vec::new(),
            to_writer,
            answers,
            flush: parts.flush,
            took: Duration::ZERO,
            resting: None,
        };
        this.publish();
        let clock = Arc::clone(&this.clock);
        let writer = write(parts.ledger, (wanted, answer), (clock, parts.meter));
        (this, writer)
    }

    /// Works until everything that sends to it is gone.
    pub async fn serve(mut self) {
        let (mut taken, holds) = (Vec::new(), Arc::clone(&self.holds));
        let (gathered, mut gathers) = (tokio::time::sleep(Duration::ZERO), false);
        tokio::pin!(gathered);
        self.tick();
        loop {
            let wait = Duration::from_nanos(self.wake.since(self.clock.mono()));
            let due = tokio::select! {
                due = holds.inbox.came() => due,
                () = &mut gathered, if gathers => Due::Now,
                answers = self.answers.recv() => {
                    let Some(answers) = answers else { return };
                    self.took = answers.took;
                    for (call, answer) in answers.replies {
                        self.answered(call, answer);
                    }
                    self.all_taken();
                    Due::Never
                }
                () = tokio::time::sleep(wait) => {
                    self.tick();
                    Due::Never
                }
            };
            match due {
                Due::Never => {}
                Due::Soon => {
                    gathered.set(tokio::time::sleep(self.gather()));
                    gathers = true;
                }
                Due::Now => {
                    gathers = false;
                    holds.inbox.take(&mut taken);
                    for message in taken.drain(..) {
                        self.message(message);
                    }
                    self.all_taken();
                }
            }
            self.publish();
            self.tell_writer();
            if self.resting.is_some() && self.keeper.is_resting() && self.ends.is_empty() {
                self.resting.take().map(|tell| tell.send(()));
            }
        }
    }

    /// How long ends for which nobody waits are gathered: what a transaction costs by itself is shared
    /// by more, the longer it takes.
    fn gather(&self) -> Duration {
        let gather = self.took.saturating_mul(GATHER_TIMES).min(GATHER_MAX);
        self.flush.max(gather)
    }

    fn tell_writer(&mut self) {
        if !self.wanted.is_empty() {
            // The writer ends with the process.
            let _gone = self.to_writer.send(std::mem::take(&mut self.wanted));
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Ask(ask, about, tell) => self.ask(*ask, about, tell),
            Message::Ended(ended) => self.handle(Event::Ended(ended)),
            Message::Record(hold, record) => {
                if self.records.len() < RECORDS_MAX {
                    self.records.insert(hold, record);
                }
            }
            Message::Homeless(lease, amount) => self.handle(Event::Homeless(lease, amount)),
            Message::Low(budget) => self.handle(Event::Low(budget)),
            Message::Budgets(budgets) => {
                self.budgets = budgets.iter().cloned().map(Arc::new).collect();
                self.shown = None;
                self.handle(Event::Budgets(budgets));
            }
            Message::Recall(budget) => self.handle(Event::Recall(budget)),
            Message::Drain(tell) => {
                self.resting = Some(tell);
                self.handle(Event::Drain);
            }
        }
    }

    fn ask(&mut self, ask: Ask, about: Arc<CallRecord>, tell: oneshot::Sender<Granted>) {
        // Whoever gave up meanwhile needs no hold.
        if tell.is_closed() {
            return;
        }
        // A store that takes nothing is asked again and again for those who came before, be they gone or
        // not, and nobody else need wait for that.
        let is_down = !self.writes && !self.waiting.is_empty();
        if is_down || self.waiting.len() >= ASKS_MAX {
            let _gone = tell.send(Err(Refused::Closed));
            return;
        }
        self.waiting.insert(ask.hold, Asker { about, tell });
        self.handle(Event::Ask(ask));
    }

    fn answered(&mut self, call: CallId, answer: Result<Box<Reply>, NoAnswer>) {
        self.writes = answer.is_ok();
        if let Ok(reply) = &answer
            && let Some((hold, end)) = self.swept.remove(&call)
            // Else another replica was first, or its holder came.
            && reply.refusal.is_none()
        {
            (self.on_money)(&Money::Ended {
                hold,
                end,
                record: None,
                entries: &reply.entries,
            });
        }
        if let Ok(reply) = &answer
            && let Some((hold, end)) = self.ends.remove(&call)
        {
            let record = self.records.remove(&hold);
            (self.on_money)(&Money::Ended {
                hold,
                end,
                record: record.as_deref(),
                entries: &reply.entries,
            });
            self.count_unwritten();
        }
        if let Ok(reply) = &answer
            && let Some((lease, budget, amount)) = self.takes.remove(&call)
            && reply.leases.iter().any(|row| row.id == lease)
            && let Some(budget) = self.budgets.iter().find(|of| of.id == budget)
        {
            (self.on_money)(&Money::Leased {
                lease,
                budget,
                amount,
            });
        }
        for (key, row) in answer.iter().flat_map(|reply| &reply.windows) {
            let left = self.left.entry(key.budget).or_default();
            left.0.store(row.left().units(), Ordering::Relaxed);
        }
        self.handle(Event::Answer(call, answer));
    }

    fn handle(&mut self, event: Event) {
        self.turn(|keeper, now, out| keeper.take(event, now, out));
    }

    /// After the last of the events that came together.
    fn all_taken(&mut self) {
        self.turn(Keeper::taken);
    }

    fn tick(&mut self) {
        self.turn(|keeper, now, out| keeper.handle(Event::Tick, now, out));
    }

    fn turn(&mut self, with: impl FnOnce(&mut Keeper, MonoNanos, &mut Vec<Effect>)) {
        let mut out = std::mem::take(&mut self.out);
        with(&mut self.keeper, self.clock.mono(), &mut out);
        for effect in out.drain(..) {
            match effect {
                Effect::Write { call, command } => self.write(call, command),
                Effect::Send(notice) => self.send(notice),
                Effect::Wake(at) => self.wake = at,
            }
        }
        self.out = out;
    }

    fn write(&mut self, call: CallId, command: Command) {
        let mut about = None;
        if let Command::End { ended, .. } = &command {
            self.ends.insert(call, (ended.hold, End::of(ended)));
            self.count_unwritten();
            // Kept until there is an answer: the command may be given again.
            about = self.records.get(&ended.hold).cloned();
        }
        if let Command::Grant(grant) = &command {
            let asker = self.waiting.get(&grant.hold);
            about = asker.map(|asker| Arc::clone(&asker.about));
        }
        if let Command::Expire(row) = &command {
            self.swept.insert(call, (row.id, End::of_swept(row)));
        }
        if let Command::Take {
            lease,
            budget,
            amount,
            ..
        } = &command
        {
            self.takes.insert(call, (*lease, *budget, *amount));
        }
        let job = Job { command, about };
        self.wanted.push(Wanted { call, job });
    }

    fn count_unwritten(&self) {
        let ends = self.ends.len();
        self.holds.unwritten.store(ends, Ordering::Relaxed);
        self.meter.unwritten(ends);
    }

    fn send(&mut self, notice: Notice) {
        match notice {
            Notice::Granted(held) => {
                let waiting = held.id().and_then(|id| self.waiting.remove(&id));
                if let (Some(hold), Some(bound)) = (held.id(), held.in_store()) {
                    (self.on_money)(&Money::Held {
                        hold,
                        bound,
                        record: waiting.as_ref().map(|asker| &*asker.about),
                    });
                }
                // A hold that nobody takes any more is released by its drop.
                if let Some(asker) = waiting {
                    let _gone = asker.tell.send(Ok(held));
                }
            }
            Notice::Refused { hold, why } => {
                if let Some(asker) = self.waiting.remove(&hold) {
                    let _gone = asker.tell.send(Err(why));
                }
            }
            Notice::Reserved(reserved) => drop(reserved),
            Notice::LeaseLost { lease, key, rest } => {
                let mut budgets = self.budgets.iter();
                let budget = budgets.find(|budget| budget.id == key.budget);
                let budget = budget.map(|budget| &**budget);
                (self.on_money)(&Money::LeaseLost {
                    lease,
                    budget,
                    rest,
                });
            }
            Notice::Threshold { key, percent, row } => {
                let mut budgets = self.budgets.iter();
                let known = budgets.find(|budget| budget.id == key.budget);
                (self.on_money)(&Money::Threshold {
                    budget: key.budget,
                    known: known.map(|budget| &**budget),
                    percent,
                    used: row.spent.plus(row.reserved).unwrap_or(Amount::MAX),
                    limit: row.limit,
                    window_end: known.and_then(|budget| budget.window.end_of(key.start)),
                });
            }
            Notice::Overrun { hold, sure } => {
                let record = self.records.get(&hold).map(|record| &**record);
                (self.on_money)(&Money::Overrun { hold, sure, record });
            }
            Notice::Broken { hold } => (self.on_money)(&Money::Broken { hold }),
        }
    }

    /// Shows workers the slices in hand, if they are others.
    fn publish(&mut self) {
        let version = self.keeper.slices_version();
        if self.shown.replace(version) == Some(version) {
            return;
        }
        let budgets = self.budgets.iter();
        let left: HashMap<_, _> = budgets
            .map(|budget| (budget.id, self.left.remove(&budget.id).unwrap_or_default()))
            .collect();
        self.left = left;
        let in_hand = |budget: &Budget| {
            let slice = self.keeper.slice(budget.id).map(Arc::clone);
            let left = self.left.get(&budget.id).map(Arc::clone);
            (slice, left.unwrap_or_default())
        };
        let present = self.holds.show(in_hand);
        self.meter.leases(present.slices());
    }
}

/// Gives commands to the store, as many with one transaction as there are.
async fn write(
    ledger: Ledger,
    (mut wanted, answer): (
        mpsc::UnboundedReceiver<Vec<Wanted>>,
        mpsc::UnboundedSender<Answers>,
    ),
    (clock, meter): (Arc<dyn Clock>, LedgerMeter),
) {
    let mut waiting = Vec::new();
    loop {
        if waiting.is_empty() {
            let Some(came) = wanted.recv().await else {
                return;
            };
            waiting = came;
        }
        while waiting.len() < BATCH_MAX
            && let Ok(more) = wanted.try_recv()
        {
            waiting.extend(more);
        }
        let rest = waiting.split_off(waiting.len().min(BATCH_MAX));
        let batch = std::mem::replace(&mut waiting, rest).into_iter();
        let (calls, jobs): (Vec<_>, Vec<_>) = batch.map(|wanted| (wanted.call, wanted.job)).unzip();
        let began = clock.mono();
        let replies = ledger.run(&jobs).await;
        let nanos = clock.mono().since(began);
        meter.flushed(nanos);
        let replies = replies.into_iter().map(|reply| reply.map(Box::new));
        let answers = Answers {
            replies: calls.into_iter().zip(replies).collect(),
            took: Duration::from_nanos(nanos),
        };
        if answer.send(answers).is_err() {
            return;
        }
    }
}
