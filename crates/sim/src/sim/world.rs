//! The world of one run: what happens next, to whom, and what goes wrong with it.

mod budgets;
mod calling;
mod network;

use super::audit::{Audit, Violation};
use super::call::{Call, Habits};
use super::faults::{Faults, Scenario};
use super::random::Random;
use super::replica::{InHand, Process, Queue, Replica, Told};
use super::store::Store;
use crate::ledger::amount::{Amount, Delta, Measure};
use crate::ledger::budget::Budget;
use crate::ledger::hold::Outbox;
use crate::ledger::keeper::{CallId, Effect, Event, Keeper, Notice};
use crate::ledger::posting::{Account, Unit};
use crate::ledger::row::Enforcement;
use crate::ledger::step::Command;
use crate::ledger::write::{NoAnswer, Refusal, Reply};
use std::collections::BTreeMap;
use std::sync::Arc;
use tollkeep_types::{AccountId, BudgetId, HoldId, MonoNanos, WallMillis};

pub(crate) const MS: u64 = 1_000_000;
/// Sums of all rows are made anew after so many changes.
const SUMS_EVERY: u64 = 8;

/// What happens.
#[derive(Debug)]
pub(crate) enum What {
    Arrive(Box<Call>),
    Confirm(HoldId),
    Send(HoldId),
    Over(HoldId),
    Deliver(Box<Letter>),
    Answer(usize, u64, CallId, Result<Box<Reply>, NoAnswer>),
    Tick(usize, u64),
    Crash(usize),
    Start(usize),
    Pause(usize, u64),
    Outage(u64),
    Jump(i64),
    Limit(BudgetId, Amount),
    /// A budget is ended, or becomes strict or leased and gets another limit.
    EndBudget(BudgetId),
    ChangeBudget(BudgetId, Amount),
    /// A replica hears which budgets are in force.
    Budgets(usize),
}

/// A command on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    replica: usize,
    life: u64,
    call: CallId,
    command: Command,
    fails: bool,
    answer_lost: bool,
}

pub(crate) struct World {
    pub(crate) faults: Faults,
    pub(crate) random: Random,
    pub(crate) time: u64,
    pub(crate) queue: BTreeMap<(u64, u64), What>,
    next: u64,
    pub(crate) store: Store,
    pub(crate) wall: u64,
    pub(crate) jump: i64,
    pub(crate) jump_most: i64,
    outage_until: u64,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) budgets: Vec<Budget>,
    pub(crate) ended_at: BTreeMap<BudgetId, u64>,
    pub(crate) account: Option<(AccountId, Measure)>,
    /// What was paid into it.
    pub(crate) paid: Amount,
    pub(crate) calls: BTreeMap<HoldId, Call>,
    pub(crate) audit: Audit,
    pub(crate) trace: Option<Vec<String>>,
    /// Room for what a keeper says.
    effects: Vec<Effect>,
    /// When sums are made anew, in changes.
    sums_at: u64,
    pub(crate) granted: u32,
    pub(crate) refused: u32,
    pub(crate) may_lose_slices: bool,
    pub(crate) answers_arrive: bool,
    pub(crate) limits_change: bool,
    pub(crate) habits: Habits,
}

impl World {
    /// Whether the process that made the call is still there.
    pub(crate) fn lives(&self, call: &Call) -> bool {
        let replica = self.replicas.get(call.replica);
        replica.is_some_and(|replica| replica.life == call.life && replica.process.is_some())
    }

    pub(crate) fn empty(scenario: &Scenario, habits: Habits) -> Self {
        Self {
            faults: scenario.faults,
            random: Random::new(scenario.seed),
            time: 0,
            queue: BTreeMap::new(),
            next: 0,
            store: Store::default(),
            wall: 0,
            jump: 0,
            jump_most: 0,
            outage_until: 0,
            replicas: Vec::new(),
            budgets: Vec::new(),
            ended_at: BTreeMap::new(),
            account: None,
            paid: Amount::ZERO,
            calls: BTreeMap::new(),
            audit: Audit::default(),
            trace: None,
            effects: Vec::new(),
            sums_at: 0,
            granted: 0,
            refused: 0,
            may_lose_slices: false,
            answers_arrive: true,
            limits_change: false,
            habits,
        }
    }

    pub(crate) fn at(&mut self, time: u64, what: What) {
        self.next += 1;
        self.queue.insert((time, self.next), what);
    }

    pub(crate) fn after_ms(&mut self, ms: u64, what: What) {
        let time = self.time + ms * MS;
        self.at(time, what);
    }

    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        let time = self.time;
        if let Some(trace) = &mut self.trace {
            let said = text();
            trace.push(format!("{:>10}.{:06} {said}", time / MS, time % MS));
        }
    }

    fn store_clock(&self) -> WallMillis {
        let now = self.wall + self.time / MS;
        WallMillis(now.saturating_add_signed(self.jump))
    }

    /// The next event, and whether all is well after it. Nothing if there is none before this time.
    pub(crate) fn step(&mut self, until: u64) -> Option<Result<(), Violation>> {
        let (&(time, number), _) = self.queue.first_key_value()?;
        if time > until {
            return None;
        }
        let what = self.queue.remove(&(time, number))?;
        self.time = time;
        let done = self.happen(what);
        Some(done.and_then(|()| self.audit.look(&self.store)))
    }

    fn happen(&mut self, what: What) -> Result<(), Violation> {
        if let Some(resumed) = self.who(&what).and_then(|replica| self.paused(replica)) {
            self.at(resumed, what);
            return Ok(());
        }
        match what {
            What::Arrive(call) => self.arrive(*call),
            What::Confirm(hold) => self.confirm(hold),
            What::Send(hold) => return self.send(hold),
            What::Over(hold) => self.over(hold),
            What::Deliver(letter) => return self.deliver(&letter),
            What::Answer(replica, life, call, answer) => {
                if self.is_alive(replica, life) {
                    self.tell(replica, Event::Answer(call, answer));
                }
            }
            What::Tick(replica, life) => {
                let now = self.time;
                // One that an earlier wake has overtaken is not there any more.
                let due = |process: &Process| process.tick_at.is_some_and(|at| at <= now);
                if self.is_alive(replica, life)
                    && let Some(process) = self.process(replica)
                    && due(process)
                {
                    process.tick_at = None;
                    self.tell(replica, Event::Tick);
                }
            }
            What::Crash(replica) => self.crash(replica),
            What::Start(replica) => self.start(replica),
            What::Pause(replica, ms) => {
                self.say(|| format!("replica {replica} stands still for {ms} ms"));
                let until = self.time + ms * MS;
                if let Some(replica) = self.replicas.get_mut(replica) {
                    replica.paused_until = until;
                }
            }
            What::Outage(ms) => {
                self.say(|| format!("the store is away for {ms} ms"));
                self.outage_until = self.time + ms * MS;
            }
            What::Jump(ms) => {
                self.say(|| format!("the store's clock jumps by {ms} ms"));
                self.jump += ms;
                self.jump_most = self.jump_most.max(self.jump);
            }
            What::Limit(budget, limit) => {
                let command = Command::Limit { budget, limit };
                return self.operate(&command).map(|_| ());
            }
            What::EndBudget(budget) => self.end_budget(budget),
            What::ChangeBudget(budget, limit) => return self.change_budget(budget, limit),
            What::Budgets(replica) => {
                let budgets = self.budgets.clone();
                self.tell(replica, Event::Budgets(budgets));
            }
        }
        Ok(())
    }

    /// Which replica has to be awake for this.
    fn who(&self, what: &What) -> Option<usize> {
        match what {
            What::Arrive(call) => Some(call.replica),
            What::Confirm(hold) | What::Send(hold) => self.calls.get(hold).map(|call| call.replica),
            What::Answer(replica, ..) | What::Tick(replica, _) | What::Budgets(replica) => {
                Some(*replica)
            }
            What::Over(_)
            | What::Deliver(_)
            | What::Crash(_)
            | What::Start(_)
            | What::Pause(..)
            | What::Outage(_)
            | What::Jump(_)
            | What::Limit(..)
            | What::EndBudget(_)
            | What::ChangeBudget(..) => None,
        }
    }

    fn paused(&self, replica: usize) -> Option<u64> {
        let until = self.replicas.get(replica)?.paused_until;
        (until > self.time).then_some(until)
    }

    pub(crate) fn process(&mut self, replica: usize) -> Option<&mut Process> {
        self.replicas.get_mut(replica)?.process.as_mut()
    }

    fn is_alive(&self, replica: usize, life: u64) -> bool {
        let replica = self.replicas.get(replica);
        replica.is_some_and(|replica| replica.life == life && replica.process.is_some())
    }

    fn boot_clock(&self, replica: usize) -> MonoNanos {
        let offset = self
            .replicas
            .get(replica)
            .map_or(0, |replica| replica.offset);
        MonoNanos(self.time + offset)
    }

    fn crash(&mut self, at: usize) {
        self.say(|| format!("replica {at} ends"));
        if let Some(replica) = self.replicas.get_mut(at) {
            replica.process = None;
            replica.life += 1;
            replica.paused_until = 0;
        }
    }

    pub(crate) fn start(&mut self, at: usize) {
        let budgets = self.budgets.clone();
        let boot = self.random.next();
        let Some(replica) = self.replicas.get_mut(at).filter(|it| it.process.is_none()) else {
            return;
        };
        let queue = Arc::new(Queue::default());
        let outbox: Arc<dyn Outbox> = Arc::<Queue>::clone(&queue);
        replica.process = Some(Process {
            keeper: Keeper::new(replica.id, boot, Arc::clone(&outbox), budgets),
            queue,
            outbox,
            in_hand: BTreeMap::new(),
            tick_at: None,
        });
        self.say(|| format!("replica {at} starts"));
        self.tell(at, Event::Tick);
    }

    /// Gives an event to a keeper, and what comes of it to the rest of the world.
    pub(crate) fn tell(&mut self, replica: usize, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let now = self.boot_clock(replica);
            let mut effects = std::mem::take(&mut self.effects);
            let Some(process) = self.process(replica) else {
                return;
            };
            process.keeper.handle(event, now, &mut effects);
            for effect in effects.drain(..) {
                self.effect(replica, effect);
            }
            self.effects = effects;
            // What was put into the queue meanwhile waits for its turn like everything else.
            if let Some(told) = self
                .process(replica)
                .and_then(|process| process.queue.pop())
            {
                next = Some(match told {
                    Told::Ended(ended) => Event::Ended(ended.into()),
                    Told::Homeless(lease, amount) => Event::Homeless(lease, amount),
                });
            }
        }
    }

    fn effect(&mut self, replica: usize, effect: Effect) {
        match effect {
            Effect::Write { call, command } => self.post(replica, call, command),
            Effect::Wake(at) => {
                let Some(host) = self.replicas.get_mut(replica) else {
                    return;
                };
                let time = at.0.saturating_sub(host.offset).max(self.time);
                let life = host.life;
                let Some(process) = host.process.as_mut() else {
                    return;
                };
                if process.tick_at.is_none_or(|had| time < had) {
                    process.tick_at = Some(time);
                    self.at(time, What::Tick(replica, life));
                }
            }
            Effect::Send(notice) => self.notice(replica, notice),
        }
    }

    fn notice(&mut self, replica: usize, notice: Notice) {
        self.say(|| format!("replica {replica}: {notice:?}"));
        match notice {
            Notice::Granted(held) => {
                if let Some(hold) = held.id() {
                    self.granted_to(replica, hold, InHand::Held(held));
                }
            }
            Notice::Reserved(reserved) => {
                if let Some(hold) = reserved.id() {
                    self.keep(replica, hold, InHand::Reserved(reserved));
                    let think = self.calls.get(&hold).map_or(0, |call| call.think_ms);
                    self.after_ms(think, What::Confirm(hold));
                }
            }
            Notice::Refused { .. } => self.refused += 1,
            Notice::LeaseLost { .. }
            | Notice::Threshold { .. }
            | Notice::Overrun { .. }
            | Notice::Broken { .. } => {}
        }
    }

    fn keep(&mut self, replica: usize, hold: HoldId, what: InHand) {
        if let Some(process) = self.process(replica) {
            process.in_hand.insert(hold, what);
        }
    }

    fn granted_to(&mut self, replica: usize, hold: HoldId, held: InHand) {
        self.granted += 1;
        self.keep(replica, hold, held);
        let Some(call) = self.calls.get_mut(&hold) else {
            return;
        };
        call.granted = true;
        let think = call.think_ms;
        self.after_ms(think, What::Send(hold));
    }

    pub(crate) fn operate(&mut self, command: &Command) -> Result<Option<Reply>, Violation> {
        self.operate_at(command, false)
    }

    fn operate_at(&mut self, command: &Command, fails: bool) -> Result<Option<Reply>, Violation> {
        let now = self.store_clock();
        let reply = self.store.run(command, now, fails);
        self.say(|| {
            let refusal = reply.as_ref().map(|reply| reply.refusal);
            format!("store: {command:?} -> {refusal:?}")
        });
        if self.store.changes >= self.sums_at {
            self.sums_at = self.store.changes + SUMS_EVERY;
            self.audit.check_sums(&self.store)?;
        }
        if let Some(reply) = &reply {
            Self::check_refusal(command, reply)?;
        }
        Ok(reply)
    }

    /// Nobody is refused what fits.
    fn check_refusal(command: &Command, reply: &Reply) -> Result<(), Violation> {
        if reply.refusal == Some(Refusal::Broken) {
            return Err(format!("the store refused {command:?} as broken"));
        }
        let Command::Grant(grant) = command else {
            return Ok(());
        };
        let Some(Refusal::Short(crate::ledger::row::Pot::Window(key))) = reply.refusal else {
            return Ok(());
        };
        let Some((_, row)) = reply.windows.iter().find(|(of, _)| *of == key) else {
            return Ok(());
        };
        let wish = grant
            .wishes
            .iter()
            .find(|wish| wish.from == crate::ledger::step::WishFrom::Budget(key.budget));
        let asked = wish.map_or(0, |wish| i128::from(wish.amount.units()));
        let taken = [row.spent, row.reserved, row.leased];
        let taken: i128 = taken.iter().map(|sum| i128::from(sum.units())).sum();
        if row.enforcement == Enforcement::Observe || taken + asked <= i128::from(row.limit.units())
        {
            return Err(format!("{command:?} was refused, and fits: {row:?}"));
        }
        Ok(())
    }

    /// Puts money into the payer's account.
    pub(crate) fn pay_in(&mut self, amount: Amount) -> Result<(), Violation> {
        let Some((account, measure)) = self.account else {
            return Ok(());
        };
        let entry = tollkeep_types::EntryId::from_bytes(self.random.id());
        let command = Command::Transfer {
            entry,
            account,
            by: Delta::up(amount),
            with: Account::Outside(Unit::of(measure)),
        };
        let reply = self.operate(&command)?;
        if reply.is_some_and(|reply| reply.refusal.is_none()) {
            self.paid = self.paid.plus(amount).unwrap_or(Amount::MAX);
        }
        Ok(())
    }
}
